"""The generator `srresnet`: residual blocks on the small image, then sub-pixel shuffles.

C. Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, arXiv:1609.04802.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, conformance_case, nd
from restorekit_superres.enlarging import Block, Upsample, factors, source_of_upsamples

__all__ = ["SrResnet", "srresnet"]


class SrResnet(Generator):
    """A 9-wide stem with PReLU; residual blocks, a layer with batch norm, the stem added; shuffles; a 9-wide layer.

    Args:
        source: the images that come in.
        target: the images that go out.
        scale: output size over input size.
        blocks: residual blocks.
        width: channels.
    """

    def __init__(self, source: Domain, target: Domain, scale: int, blocks: int, width: int) -> None:
        super().__init__()
        dims, make, steps = source.dims, nd.conv(source.dims), factors(scale)
        self.stem = nn.Sequential(make(source.channels, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(Block(dims, make, width) for _ in range(blocks)),
            make(width, width, 3, padding=1, bias=False),
            nd.norm(dims, width, "batch"),
        )
        self.up = nn.Sequential(*(Upsample(dims, make, width, width, factor) for factor in steps))
        self.last = make(width, target.channels, 9, padding=4)
        self.features, self.scale, self.least = width, scale, 2  # a norm over one value has no meaning

        def depends_on(outputs: nd.Span) -> nd.Span:
            span = source_of_upsamples(nd.source_of_conv(outputs, 9, padding=4), steps)
            for _ in range(2 * blocks + 1):
                span = nd.source_of_conv(span, 3, padding=1)
            return nd.source_of_conv(span, 9, padding=4)

        self.halo = nd.halo_of(depends_on, 1, scale)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the features (B, width, *S) that are enlarged, as state and as features."""
        stem = self.stem(image)
        features = torch.add(stem, self.body(stem))
        return features, features

    def decode(self, state: Tensor) -> Tensor:
        """Return the images (B, C', *scale*S); in evaluation cut to [-1, 1]."""
        made: Tensor = self.last(self.up(state))
        return made if self.training else made.clamp(-1, 1)


@conformance_case(options={"scale": 2, "blocks": 1, "width": 4})
def srresnet(
    source: Domain,
    target: Domain,
    *,
    scale: Annotated[int, Field(ge=1, le=16)] = 4,
    blocks: Annotated[int, Field(ge=1, le=100)] = 16,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
) -> Generator:
    """SRResNet, the generator of SRGAN (arXiv:1609.04802): 1,547,350 parameters for three channels and a scale of 4.

    Convolutions that a batch norm follows have no bias, which would do nothing; a PReLU has one slope for all channels.
    Like the paper's it ends without an activation; in evaluation, values beyond [-1, 1] are cut. A scale of 3 is one
    shuffle by 3. Exact in tiles.

    Args:
        source: The images that come in.
        target: The images that go out.
        scale: Output size over input size; data.scale is the same.
        blocks: Residual blocks.
        width: Channels.
    """
    return SrResnet(source, target, scale, blocks, width)
