"""The generator `nafnet`: a U-shape of blocks without activation functions, which multiply halves of the channels.

L. Chen et al., Simple Baselines for Image Restoration, arXiv:2204.04676.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, conformance_case

__all__ = ["NafNet", "nafnet"]

Count = Annotated[int, Field(ge=0, le=100)]
EPS = 1e-6
"""Added to the variance of layer norm."""


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel: (B, C, H, W) keeps its shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, state: Tensor) -> Tensor:
        """Return the normalised state; a view with the channels last is what torch's fast kernel takes."""
        last = state.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias, EPS).permute(0, 3, 1, 2)


class Gate(nn.Module):
    """SimpleGate: one half of the channels times the other."""

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, C / 2, H, W) for (B, C, H, W)."""
        one, other = state.chunk(2, dim=1)
        return one * other


class Attention(nn.Module):
    """Simplified channel attention: channels are weighted by a linear map of their means over the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(width, width, 1)

    def forward(self, state: Tensor) -> Tensor:
        """Return the weighted state, (B, C, H, W)."""
        weighted: Tensor = state * self.weigh(state.mean((2, 3), keepdim=True))
        return weighted


class Block(nn.Module):
    """NAFBlock: a spatial branch and a branch of each pixel, added with scales that start at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            ChannelNorm(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width),
            Gate(),
            Attention(width),
            nn.Conv2d(width, width, 1),
        )
        self.pixel = nn.Sequential(
            ChannelNorm(width), nn.Conv2d(width, 2 * width, 1), Gate(), nn.Conv2d(width, width, 1)
        )
        self.spatial_scale, self.pixel_scale = (nn.Parameter(torch.zeros(1, width, 1, 1)) for _ in range(2))

    def forward(self, state: Tensor) -> Tensor:
        """Return the state after the block, (B, C, H, W)."""
        state = _added(state, self.spatial_scale, self.spatial(state))
        return _added(state, self.pixel_scale, self.pixel(state))


class NafNet(Generator):
    """An encoder that halves the image and doubles the channels, blocks in the middle, and a decoder that adds skips.

    Args:
        channels: of the images.
        width: channels at the full resolution.
        encoder: blocks of each level, the full resolution first.
        middle: blocks at the coarsest level.
        decoder: blocks of each level, the full resolution first.
    """

    def __init__(
        self, channels: int, width: int, encoder: tuple[int, ...], middle: int, decoder: tuple[int, ...]
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(encoder))]
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.encoder, self.decoder = (
            nn.ModuleList(_blocks(one, count) for one, count in zip(widths, counts, strict=True))
            for counts in (encoder, decoder)
        )
        self.down = nn.ModuleList(nn.Conv2d(one, 2 * one, 2, stride=2) for one in widths)
        self.features = width * 2 ** len(encoder)
        self.middle = _blocks(self.features, middle)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * one, 4 * one, 1, bias=False), nn.PixelShuffle(2)) for one in widths
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.multiple = 2 ** len(encoder)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return (image, skips, coarsest state), and the coarsest state (B, F, H / multiple, W / multiple)."""
        # After the first: a single channel has no order. Layer norm reads the channels of a pixel side by side.
        state = self.first(image).contiguous(memory_format=torch.channels_last)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            skips.append(blocks(state))
            state = down(skips[-1])
        state = self.middle(state)
        return (image, *skips, state), state

    def decode(self, state: tuple[Tensor, ...]) -> Tensor:
        """Return the restored images (B, C, H, W) in [-1, 1]."""
        image, *skips, made = state
        for skip, blocks, up in reversed(list(zip(skips, self.decoder, self.up, strict=True))):
            made = blocks(up(made) + skip)
        change: Tensor = self.last(made)
        return (image + change).clamp(-1, 1)


@conformance_case(options={"width": 4, "down": [1, 1], "up": [1, 1]})
def nafnet(
    source: Domain,
    target: Domain,
    *,
    width: Annotated[int, Field(ge=1, le=1024)] = 24,
    down: Annotated[list[Count], Field(min_length=1, max_length=8)] = [1, 1, 2],  # noqa: B006
    middle: Count = 1,
    up: Annotated[list[Count], Field(min_length=1, max_length=8)] = [1, 1, 1],  # noqa: B006
) -> Generator:
    """NAFNet (arXiv:2204.04676), of 0.7 million parameters; for images of two dimensions.

    The paper's has width 32 or 64 and down [2, 2, 4, 8] or [1, 1, 1, 28]. Channel attention reads means over the
    whole image, so tiles are not exact, and whole images differ a little from the windows of a training. Departures:
    the last convolution starts at zero, so that the untrained network is the identity; restored values are cut to
    [-1, 1]; there is no dropout.

    Args:
        source: The images that come in.
        target: The images that go out, of as many channels.
        width: Channels at the full resolution; each level doubles them.
        down: Blocks of each level on the way down, the full resolution first; each level halves the image.
        middle: Blocks at the coarsest level.
        up: Blocks of each level on the way up, the full resolution first; as many levels as `down`.
    """
    if source.dims != 2:
        raise RecipeError(f"generator 'nafnet': takes images of 2 dimensions; {source.name!r} has {source.dims}")
    if source.channels != target.channels:
        raise RecipeError(f"generator 'nafnet': channels must be alike; got {source.channels} and {target.channels}")
    if len(down) != len(up):
        raise RecipeError(
            f"generator 'nafnet': down and up must have as many levels; got {len(down)} and {len(up)}",
            option="up",
        )
    return NafNet(source.channels, width, tuple(down), middle, tuple(up))


def _added(state: Tensor, scale: Tensor, change: Tensor) -> Tensor:
    """Return state + scale * change in the type of `change`, which autocast may have lowered."""
    return torch.addcmul(state.to(change.dtype), scale.to(change.dtype), change)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(count)))
