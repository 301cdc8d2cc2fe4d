"""The generator `pix2pix_unet`: pix2pix's U-Net, with the names of weights of its PyTorch code."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, conformance_case
from restorekit_pix2pix.blocks import Norm, norm_of, require_images, start

__all__ = ["Pix2pixUnet", "pix2pix_unet"]

DEEPEST = 8
DROPPED = 3
"""Innermost decoders that drop values in training."""
State = tuple[Tensor, list[Tensor]]


class _Level(nn.Module):
    """The layers of one level, and between those down and those up the next level; it is run by `Pix2pixUnet`."""

    def __init__(self, down: list[nn.Module], inner: _Level | None, up: list[nn.Module]) -> None:
        super().__init__()
        # Activations hold places in the list, and so in the names of weights, as in the files.
        self.model = nn.Sequential(*down, *([] if inner is None else [inner]), *up)
        self.inner_at = len(down)
        self.up_at = len(down) + (inner is not None)

    def down(self, x: Tensor) -> Tensor:
        for step in self.model[: self.inner_at]:
            x = step(x)
        return x

    def up(self, x: Tensor) -> Tensor:
        for step in self.model[self.up_at :]:
            x = step(x)
        return x


class Pix2pixUnet(Generator):
    """Kernel 4 and stride 2 down and up, with skips; leaky ReLU 0.2 down, ReLU up; tanh at the end.

    No norm after the outermost and the innermost layer down. Skips carry what leaky ReLU activated, as the in-place
    layers of the code make them. The features are those of the innermost level. Dropout acts in training alone; pix2pix
    keeps it when it translates, as its noise, but here an image has one translation.
    """

    def __init__(self, source: Domain, target: Domain, width: int, depth: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.multiple = self.least = 2**depth
        widths = [width * min(2**i, 8) for i in range(depth)]
        self.features = widths[-1]
        bias = norm == "instance"
        inner: _Level | None = None
        for i in reversed(range(depth)):
            given = source.channels if i == 0 else widths[i - 1]
            made = target.channels if i == 0 else widths[i - 1]
            conv = nn.Conv2d(given, widths[i], 4, 2, 1, bias=bias)
            back = nn.ConvTranspose2d(widths[i] * (1 if inner is None else 2), made, 4, 2, 1, bias=bias or i == 0)
            down: list[nn.Module] = [conv] if i == 0 else [nn.Identity(), conv]
            if i > 0 and inner is not None:
                down.append(norm_of(norm, widths[i]))
            up: list[nn.Module] = [nn.ReLU(), back, nn.Tanh() if i == 0 else norm_of(norm, made)]
            if dropout and i > 0 and depth - i <= DROPPED:
                up.append(nn.Dropout(dropout))
            inner = _Level(down, inner, up)
        assert inner is not None
        self.model = inner
        start(self)

    def _levels(self) -> list[_Level]:
        """Return the levels from the outermost to the innermost."""
        return [module for module in self.modules() if isinstance(module, _Level)]

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[State, Tensor]:
        """Return what the way up needs, and the innermost features (B, F, H / 2**depth, W / 2**depth)."""
        skips: list[Tensor] = []
        levels = self._levels()
        x = levels[0].down(image)
        for level in levels[1:]:
            skips.append(F.leaky_relu(x, 0.2))
            x = level.down(skips[-1])
        return (x, skips), x

    def decode(self, state: State) -> Tensor:
        """Return the translated image (B, C', H, W) in [-1, 1]."""
        x, skips = state
        outermost, *others = self._levels()
        for level, skip in zip(reversed(others), reversed(skips), strict=True):
            x = torch.cat([skip, level.up(x)], 1)
        return outermost.up(x)


@conformance_case(options={"width": 4})
def pix2pix_unet(
    source: Domain,
    target: Domain,
    *,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    depth: Annotated[int | None, Field(ge=1, le=16)] = None,
    norm: Norm = "batch",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
) -> Generator:
    """pix2pix's U-Net (Isola et al., arXiv:1611.07004); generators `unet_256` and `unet_128` of its PyTorch code load.

    Their .pth files are taken as they are: `nets.weights: latest_net_G.pth`, with `depth: 8` or `depth: 7`.

    Args:
        source: the images that come in.
        target: the images that go out.
        width: channels after the first layer; they double to at most 8 times that.
        depth: how often the image is halved; null: as often as `data.size` allows, at most 8.
        norm: `batch`; `instance`, without scale and shift; or none.
        dropout: share of values that the three innermost decoders drop in training.
    """
    require_images("pix2pix_unet", source)
    halvings = 0
    while all(n % 2 ** (halvings + 1) == 0 for n in source.size):
        halvings += 1
    levels = min(halvings, DEEPEST) if depth is None else depth
    if not 1 <= levels <= halvings:
        text = f"generator 'pix2pix_unet': data.size {list(source.size)} can be halved {halvings} times; got {levels}"
        raise RecipeError(f"{text}; use sizes that are a multiple of 2**depth", option="depth")
    return Pix2pixUnet(source, target, width, levels, norm, dropout)
