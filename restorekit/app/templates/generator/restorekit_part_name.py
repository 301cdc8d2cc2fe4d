"""A small residual generator: one halving, blocks that add to what they are given, one doubling."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from restorekit import Domain, Factory, Generator, MakeLayer, nd
from torch import Tensor, nn


class Block(nn.Module):
    """The state and what two layers add to it (He et al. 2016, arXiv:1512.03385): (B, F, *s) keeps its shape."""

    def __init__(self, make: MakeLayer, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(make(width, width, 3, padding=1), nn.ReLU(), make(width, width, 3, padding=1))

    def forward(self, state: Tensor) -> Tensor:
        """Return the state (B, F, *s) after the block."""
        added: Tensor = self.branch(state)
        return state + added


class Residual(Generator):
    """Works at half the size. It has no norm, so any size that is a multiple of 2 will do."""

    multiple = 2

    def __init__(self, source: Domain, target: Domain, make: MakeLayer, width: int, blocks: int) -> None:
        super().__init__()
        self.features = width
        self.down = nn.Sequential(make(source.channels, width, 4, stride=2, padding=1), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(make, width) for _ in range(blocks)))
        self.up = nn.Sequential(make(width, target.channels, 4, stride=2, padding=1, transposed=True), nn.Tanh())

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (B, F, *S / 2) for (B, C, *S) in [-1, 1]: as the state, and as features for a head."""
        state: Tensor = self.blocks(self.down(image))
        return state, state

    def decode(self, state: Tensor) -> Tensor:
        """Return the translated image (B, C', *S) in [-1, 1]."""
        image: Tensor = self.up(state)
        return image


def residual(
    source: Domain,
    target: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 32,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 4,
) -> Generator:
    """A small residual generator for signals, images and volumes; sizes must be a multiple of 2.

    Args:
        source: the images that come in.
        target: the images that go out.
        layer: what its convolutions are.
        width: channels inside, and features for a head.
        blocks: residual blocks.
    """
    return Residual(source, target, nd.normal_start(layer(source.dims)), width, blocks)
