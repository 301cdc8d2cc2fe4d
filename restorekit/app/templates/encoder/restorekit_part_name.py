"""An encoder by means: each map is made of the one before it, averaged over pairs along every axis."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from restorekit import Domain, Encoder, nd
from torch import Tensor, nn


class Averaging(Encoder):
    """Maps at a half, a quarter, ... of the image's size, with channels that double."""

    def __init__(self, domain: Domain, width: int, levels: int) -> None:
        super().__init__()
        self.widths = [width * 2**i for i in range(levels)]
        self.strides = [2 ** (i + 1) for i in range(levels)]
        make, before = nd.conv(domain.dims), [domain.channels, *self.widths]
        self.layers = nn.ModuleList(make(c, w, 3, padding=1) for c, w in zip(before, self.widths, strict=False))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return (B, widths[i], *S / strides[i]) for each level i, for (B, C, *S) in [-1, 1]."""
        maps: list[Tensor] = []
        for layer in self.layers:
            image = layer(nd.resize(image, [n // 2 for n in image.shape[2:]], antialias=False)).tanh()
            maps.append(image)
        return maps


def averaging(
    domain: Domain,
    *,
    width: Annotated[int, Field(ge=1, le=4096)] = 32,
    levels: Annotated[int, Field(ge=1, le=8)] = 3,
) -> Encoder:
    """An encoder by means, for signals, images and volumes; sizes must be a multiple of 2**levels.

    Args:
        domain: the images that come in.
        width: channels of the first map.
        levels: how many maps there are.
    """
    return Averaging(domain, width, levels)
