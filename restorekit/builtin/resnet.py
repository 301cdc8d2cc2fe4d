"""The ResNet generator of CycleGAN, for signals, images and volumes.

Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial networks", arXiv:1703.10593, after
Johnson et al., arXiv:1603.08155.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Factory, Generator, MakeLayer, conformance_case, hookimpl, nd

Norm = Literal["instance", "batch", "none"]
Upsample = Literal["transpose", "resize"]


class Resnet(Generator):
    """Stem, `downs` halvings, residual blocks, as many doublings, tanh; reflection padding throughout.

    The features are the bottleneck after the middle block, the fifth of nine (R2C-GAN's CNN, arXiv:2209.14770), so a
    head's prediction needs half of the network. Convolutions that a norm follows have no bias; norms have scale and
    shift, as in the original Lua code (the PyTorch one has neither). Weights start as N(0, 0.02).
    Departure: `upsample: resize` (linear, then a convolution) avoids the checkerboard of transposed convolutions.
    """

    def __init__(
        self,
        source: Domain,
        target: Domain,
        make: MakeLayer,
        width: int,
        blocks: int,
        downs: int,
        norm: Norm,
        up: Upsample,
        scale: int = 1,
    ) -> None:
        super().__init__()
        dims = source.dims
        self.multiple = 2**downs
        self.scale = scale
        self.least = 2 * self.multiple  # a norm over one value has no meaning
        self.features = width * 2**downs
        widths = [width * 2**i for i in range(downs + 1)]
        bias = norm == "none"

        def active(layer: nn.Module, channels: int) -> nn.Sequential:
            return nn.Sequential(layer, nd.norm(dims, channels, norm), nn.ReLU())

        body = [_Block(dims, self.features, make, norm) for _ in range(blocks)]
        middle = (blocks + 1) // 2
        self.encoder = nn.Sequential(
            _Pad(3),
            active(make(source.channels, width, 7, bias=bias), width),
            *(active(make(n, 2 * n, 3, stride=2, padding=1, bias=bias), 2 * n) for n in widths[:-1]),
            *body[:middle],
        )
        self.decoder = nn.Sequential(
            *body[middle:], *(active(_upsampling(2 * n, n, make, bias, up), n) for n in reversed(widths[:-1]))
        )
        enlarge = [_Enlarge(scale)] if scale > 1 else []
        last = make(width, target.channels, 7)
        self.out = nn.Sequential(*enlarge, _Pad(3), last, nn.Tanh())
        if nd.is_local(last) and norm != "instance":  # that reads the whole image
            self.halo = nd.halo_of(partial(_source, blocks, downs, up, scale), self.multiple, scale)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the bottleneck (B, F, *S / multiple) for (B, C, *S), as state and as features."""
        state = self.encoder(image)
        return state, state

    def decode(self, state: Tensor) -> Tensor:
        """Return the image (B, C', *scale*S) for the bottleneck."""
        image: Tensor = self.out(self.decoder(state))
        return image


class _Pad(nn.Module):
    def __init__(self, amount: int) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, image: Tensor) -> Tensor:
        return nd.pad(image, [(self.amount, self.amount)] * (image.ndim - 2))


class _Double(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return nd.resize(image, [2 * n for n in image.shape[2:]], antialias=False)


class _Enlarge(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        return nd.resize(image, [self.scale * n for n in image.shape[2:]], antialias=False)


class _Block(nn.Module):
    """Two 3-wide layers and the input added: no activation after the sum."""

    def __init__(self, dims: int, channels: int, make: MakeLayer, norm: Norm) -> None:
        super().__init__()
        bias = norm == "none"
        self.branch = nn.Sequential(
            _Pad(1),
            make(channels, channels, 3, bias=bias),
            nd.norm(dims, channels, norm),
            nn.ReLU(),
            _Pad(1),
            make(channels, channels, 3, bias=bias),
            nd.norm(dims, channels, norm),
        )

    def forward(self, state: Tensor) -> Tensor:
        return torch.add(state, self.branch(state))


def _upsampling(c_in: int, c_out: int, make: MakeLayer, bias: bool, up: Upsample) -> nn.Module:
    if up == "transpose":
        return make(c_in, c_out, 3, stride=2, padding=1, output_padding=1, bias=bias, transposed=True)
    return nn.Sequential(_Double(), _Pad(1), make(c_in, c_out, 3, bias=bias))


def _source(blocks: int, downs: int, up: Upsample, scale: int, outputs: nd.Span) -> nd.Span:
    """Return the pixels on which outputs depend, from the last layer to the first."""
    span = nd.source_of_conv(outputs, 7, padding=3)
    if scale > 1:
        span = nd.source_of_resize(span, scale)
    for _ in range(downs):
        if up == "transpose":
            span = nd.source_of_conv(span, 3, stride=2, padding=1, transposed=True)
        else:
            span = nd.source_of_resize(nd.source_of_conv(span, 3, padding=1), 2)
    for _ in range(2 * blocks):
        span = nd.source_of_conv(span, 3, padding=1)
    for _ in range(downs):
        span = nd.source_of_conv(span, 3, stride=2, padding=1)
    return nd.source_of_conv(span, 7, padding=3)


@conformance_case(options={"width": 4, "blocks": 1})
def resnet(
    source: Domain,
    target: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 9,
    downs: Annotated[int, Field(ge=0, le=8)] = 2,
    norm: Norm = "instance",
    upsample: Upsample = "transpose",
    scale: Annotated[int, Field(ge=1, le=8)] = 1,
) -> Generator:
    """CycleGAN's ResNet generator (arXiv:1703.10593), 11.4 M parameters; sizes must be a multiple of 2**downs.

    Nine blocks are for 256 x 256, six for 128 x 128. With a `scale` above 1 its features are enlarged before the last
    layer, linearly; then it makes larger images.
    """
    make = nd.normal_start(layer(source.dims))
    return Resnet(source, target, make, width, blocks, downs, norm, upsample, scale)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the generator."""
    add("generator", "resnet", resnet)
