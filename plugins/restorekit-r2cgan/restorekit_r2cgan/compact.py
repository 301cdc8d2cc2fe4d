"""The compact networks of R2C-GAN, arXiv:2209.14770, section III: operational of order Q, or convolutional (CNN*).

What the paper leaves open follows the authors' code; their weights give equal outputs here (tests/test_golden.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import Discriminator, Domain, Factory, Generator, conformance_case, nd
from restorekit_r2cgan.blocks import Enlarge, Residual, Same, Up, check_size, glorot
from restorekit_r2cgan.blocks import norm as norm_layer

__all__ = ["CompactDiscriminator", "CompactGenerator", "discriminator", "generator"]

Activation = Literal["tanh", "relu"]
FeaturesAt = Literal["output", "sum"]
Last = Literal["leaky", "none"]
Upsample = Literal["transposed", "resize"]


class CompactGenerator(Generator):
    """Down by 2, one residual block, up by 2.

    With "tanh", as the operational networks need: s = x + branch(tanh(x)), and the block gives tanh(s). With "relu",
    as in CNN*: x is rectified after its norm, s = x + branch(x), and the block gives s itself.
    """

    multiple = 2
    least = 4

    def __init__(
        self,
        source: Domain,
        target: Domain,
        *,
        layer: Factory,
        width: int = 128,
        activation: Activation = "tanh",
        features_at: FeaturesAt = "output",
        norm: nd.NormKind = "instance",
        upsample: Upsample = "transposed",
    ) -> None:
        super().__init__()
        dims, make = source.dims, layer(source.dims)
        self.features, self.bounded, self.features_at = width, activation == "tanh", features_at
        self.down = Same(make, source.channels, width, 3, stride=2, bias=False)
        self.down_norm = norm_layer(dims, width, norm)
        self.block = Residual(make, dims, width, nn.Tanh() if self.bounded else nn.ReLU(), norm)
        self.up = (
            Enlarge(make, dims, width, target.channels)
            if upsample == "resize"
            else Up(make, width, target.channels, bias=True)
        )
        glorot(self)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (state, features), both (B, width, *S / 2), for an image (B, C, *S)."""
        x = self.down_norm(self.down(image))
        if not self.bounded:
            x = F.relu(x)
            total = x + self.block(x)
            return total, total
        total = x + self.block(x.tanh())
        state = total.tanh()
        return state, total if self.features_at == "sum" else state

    def decode(self, state: Tensor) -> Tensor:
        """Return the image (B, C', *S) in [-1, 1]."""
        out: Tensor = self.up(state).tanh()
        return out


class CompactDiscriminator(Discriminator):
    """64 filters at stride 2, 128 at stride 4, 1 at stride 1, kernel 4 each; one value for every 8 pixels."""

    def __init__(self, domain: Domain, *, layer: Factory, last: Last = "leaky") -> None:
        super().__init__()
        make = layer(domain.dims)
        self.layers = nn.Sequential(
            Same(make, domain.channels, 64, 4, stride=2, bias=True),
            nn.LeakyReLU(0.2),
            Same(make, 64, 128, 4, stride=4, bias=False),
            norm_layer(domain.dims, 128),
            nn.LeakyReLU(0.2),
            Same(make, 128, 1, 4, stride=1, bias=True),
            nn.LeakyReLU(0.2) if last == "leaky" else nn.Identity(),
        )
        glorot(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return realness (B, 1, *S / 8) for an image (B, C, *S)."""
        out: Tensor = self.layers(image)
        return out


@conformance_case(options={"width": 8})
def generator(
    source: Domain,
    target: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 128,
    activation: Activation = "tanh",
    features_at: FeaturesAt = "output",
    norm: nd.NormKind = "instance",
    upsample: Upsample = "transposed",
) -> Generator:
    """R2C-GAN's compact generator (arXiv:2209.14770, section III); sizes must be even, and 4 or more.

    Args:
        source: the domain of the images that come in.
        target: the domain of the output images.
        layer: `{name: selfonn, q: 3}` for the paper's operational generator, `conv` for CNN*.
        width: filters; the paper has 128.
        activation: "tanh" for operational layers, which need bounded inputs; "relu" for CNN*.
        features_at: "output", as the paper: the head reads the block's output tanh(s). "sum" departs from it: the head
            reads s, which does not saturate, so that the class's gradient passes. With "relu" the two are the same.
        norm: "instance", as the paper; "batch"; or "none", with which gray levels are not lost inside the network.
        upsample: "transposed", as the paper, which leaves a checkerboard; or "resize", linear interpolation and a layer
            at the full size.
    """
    return CompactGenerator(
        source,
        target,
        layer=layer,
        width=width,
        activation=activation,
        features_at=features_at,
        norm=norm,
        upsample=upsample,
    )


def discriminator(domain: Domain, *, layer: Factory = nd.conv, last: Last = "leaky") -> Discriminator:
    """R2C-GAN's compact discriminator (arXiv:2209.14770, section III): a 32 x 32 mask for 256 x 256 pixels.

    Args:
        domain: the domain of the images that are scored.
        layer: `{name: selfonn, q: 3}` for the operational networks, `conv` for CNN*.
        last: what stands on the mask. "leaky", a leaky rectifier, in the authors' operational discriminators; "none"
            in CNN*'s.
    """
    check_size(domain, "r2cgan_compact")
    return CompactDiscriminator(domain, layer=layer, last=last)
