"""The generator `residual_sr`: residual blocks on the small image, shuffles, and cubic interpolation added.

After B. Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, arXiv:1707.02921.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, MakeLayer, conformance_case, nd
from restorekit_superres.enlarging import (
    cubic,
    factors,
    same_start,
    shuffled,
    source_of_cubic,
    source_of_upsamples,
)
from restorekit_superres.vdsr import UNCUT, require_equal_channels

__all__ = ["ResidualSr", "residual_sr"]


class _Block(nn.Module):
    """Convolution, ReLU, convolution, and the input added."""

    def __init__(self, make: MakeLayer, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(make(width, width, 3, padding=1), nn.ReLU(), make(width, width, 3, padding=1))

    def forward(self, state: Tensor) -> Tensor:
        return torch.add(state, self.branch(state))


class ResidualSr(Generator):
    """What cubic interpolation lacks, predicted at the size of the small image and shuffled to the large one.

    Args:
        channels: of the images.
        dims: of the images.
        scale: output size over input size.
        blocks: residual blocks.
        width: channels.
    """

    def __init__(self, channels: int, dims: int, scale: int, blocks: int, width: int) -> None:
        super().__init__()
        make, self.steps = nd.conv(dims), factors(scale)
        self.stem = make(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(_Block(make, width) for _ in range(blocks)), make(width, width, 3, padding=1))
        self.up = nn.ModuleList(make(width, width * step**dims, 3, padding=1) for step in self.steps)
        self.last = make(width, channels, 3, padding=1)
        for layer, step in zip(self.up, self.steps, strict=True):
            same_start(layer, step, dims)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.features, self.scale = width, scale

        def depends_on(outputs: nd.Span) -> nd.Span:
            span = source_of_upsamples(nd.source_of_conv(outputs, 3, padding=1), self.steps)
            for _ in range(2 * blocks + 2):
                span = nd.source_of_conv(span, 3, padding=1)
            other = source_of_cubic(outputs, scale)
            return min(span[0], other[0]), max(span[1], other[1])

        self.halo = nd.halo_of(depends_on, 1, scale)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return (image, features) and the features, (B, width, *S)."""
        stem = self.stem(image)
        if stem.ndim == 4:  # convolutions are faster so; not before the first, as a single channel has no order
            stem = stem.contiguous(memory_format=torch.channels_last)
        features = torch.add(stem, self.body(stem))
        return (image, features), features

    def decode(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """Return the images (B, C, *scale*S); in evaluation cut to [-1, 1]."""
        image, features = state
        for layer, step in zip(self.up, self.steps, strict=True):
            features = shuffled(layer(features), step).relu()
        made = torch.add(cubic(image, self.scale), self.last(features))
        return made if self.training else made.clamp(-1, 1)


@conformance_case(options={"scale": 2, "blocks": 1, "width": 8}, exempt={"train_eval": UNCUT})
def residual_sr(
    source: Domain,
    target: Domain,
    *,
    scale: Annotated[int, Field(ge=1, le=16)] = 4,
    blocks: Annotated[int, Field(ge=1, le=100)] = 16,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
) -> Generator:
    """A residual network on the small image, with shuffles (after EDSR, arXiv:1707.02921): 1,515,265 parameters.

    The count is for one channel and a scale of 4. It predicts what cubic interpolation lacks and starts as that: its
    last layer is zero. Sub-pixels of a shuffle start alike (ICNR, arXiv:1707.02937), so that no grid is there to
    unlearn. There are no norms, which hide the contrast of an image. Exact in tiles.

    Args:
        source: The images that come in.
        target: The images that go out, of as many channels.
        scale: Output size over input size; data.scale is the same.
        blocks: Residual blocks.
        width: Channels.
    """
    require_equal_channels("residual_sr", source, target)
    return ResidualSr(source.channels, source.dims, scale, blocks, width)
