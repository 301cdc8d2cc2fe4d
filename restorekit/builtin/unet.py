"""The U-Net generator of pix2pix, for signals, images and volumes (Isola et al., arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Encoder, Factory, Generator, MakeLayer, RecipeError, conformance_case, hookimpl, nd

Norm = Literal["instance", "batch", "none"]
FeaturesAt = Literal["code", "decoder"]
DEEPEST = 8


class Halving(Encoder):
    """pix2pix's own encoder: kernel 4, stride 2, the channels doubling from `width` to at most 8 `width`.

    No norm at the outermost and the innermost level, where a single value a channel may be left. Maps are what stands
    before leaky ReLU 0.2.
    """

    def __init__(self, source: Domain, make: MakeLayer, width: int, depth: int, norm: Norm) -> None:
        super().__init__()
        self.widths = [width * min(2**i, 8) for i in range(depth)]
        self.strides = [2 ** (i + 1) for i in range(depth)]
        self.downs = nn.ModuleList()
        for i, c_out in enumerate(self.widths):
            kind: Norm = "none" if i in (0, depth - 1) else norm
            c_in = source.channels if i == 0 else self.widths[i - 1]
            down = make(c_in, c_out, 4, stride=2, padding=1, bias=kind == "none")
            self.downs.append(nn.Sequential(down, nd.norm(source.dims, c_out, kind)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the codes of every level, (B, F_i, *S / 2**i) with i = 1 ... depth."""
        codes: list[Tensor] = []
        for i, down in enumerate(self.downs):
            image = down(image if i == 0 else F.leaky_relu(image, 0.2))
            codes.append(image)
        return codes


class Unet(Generator):
    """An encoder, and a transposed layer for each of its maps, with skips.

    The features are the encoder's last map, or what its last layer gets: as coarse as the first map.

    With pix2pix's own encoder it is pix2pix's network: kernel 4, stride 2 up. Between maps that are r times apart the
    stride is r, and the kernel 2 r, or 2 r + 1 where r is odd. Skips carry what leaky ReLU 0.2 activated, as the
    authors' in-place layers do. Dropout acts in the three innermost decoders, as in the original Lua code. Convolutions
    that a norm follows have no bias; norms have scale and shift. Weights start as N(0, 0.02), those of another encoder
    as it states. Departure: dropout and batch norm are not kept in training mode when images are restored.
    """

    def __init__(
        self, encoder: Encoder, target: Domain, make: MakeLayer, norm: Norm, dropout: float, features_at: FeaturesAt
    ) -> None:
        super().__init__()
        widths, strides = encoder.widths, [1, *encoder.strides]
        depth = len(widths)
        self.encoder, self.ups = encoder, nn.ModuleList()
        self.multiple, self.features_at = strides[-1], features_at
        self.features = widths[-1] if features_at == "code" else widths[0] * (1 if depth == 1 else 2)
        for i in reversed(range(depth)):
            kind: Norm = "none" if i == 0 else norm
            c_out = target.channels if i == 0 else widths[i - 1]
            c_in = widths[i] * (1 if i == depth - 1 else 2)
            times = strides[i + 1] // strides[i]
            border = (times + 1) // 2
            up = make(
                c_in, c_out, times + 2 * border, stride=times, padding=border, bias=kind == "none", transposed=True
            )
            local = nd.is_local(up)
            drop = nn.Dropout(dropout if i > 0 and depth - i <= 3 else 0.0)
            self.ups.append(nn.Sequential(up, nd.norm(target.dims, c_out, kind), drop))
        # Instance norm reads the whole image, and other encoders may.
        if isinstance(encoder, Halving) and local and norm != "instance":
            self.halo = nd.halo_of(partial(_source, depth), self.multiple)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Any, Tensor]:
        """Return the encoder's maps, (B, F_i, *S / stride_i), or what the last layer gets of them; and the features."""
        maps = [*self.encoder(image)]
        if self.features_at == "code":
            return maps, maps[-1]
        last = self._before_last(maps)
        return last, last

    def decode(self, state: Any) -> Tensor:
        """Return the image (B, C', *S) for what `encode` gave."""
        last = self._before_last(state) if self.features_at == "code" else state
        return torch.tanh(self.ups[-1](F.relu(last)))

    def _before_last(self, maps: list[Tensor]) -> Tensor:
        """Return what the last layer gets, (B, F, *S / stride_0), for the maps of every level."""
        image = maps[-1]
        for i, up in enumerate(self.ups[:-1], start=1):
            image = torch.cat([F.leaky_relu(maps[-1 - i], 0.2), up(F.relu(image))], 1)
        return image


def _source(depth: int, outputs: nd.Span) -> nd.Span:
    """Return the pixels on which outputs depend, through the skip of every level and through the deepest one."""
    found = []
    for level in range(1, depth + 1):
        outputs = nd.source_of_conv(outputs, 4, stride=2, padding=1, transposed=True)
        span = outputs
        for _ in range(level):
            span = nd.source_of_conv(span, 4, stride=2, padding=1)
        found.append(span)
    return min(first for first, _ in found), max(last for _, last in found)


@conformance_case(options={"width": 4})
def unet(
    source: Domain,
    target: Domain,
    *,
    layer: Factory = nd.conv,
    encoder: Factory | None = None,
    width: Annotated[int | None, Field(ge=1, le=4096)] = None,
    depth: Annotated[int | None, Field(ge=1)] = None,
    norm: Norm = "instance",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    features_at: FeaturesAt = "code",
) -> Generator:
    """pix2pix U-Net (arXiv:1611.07004), over its own encoder or another one.

    Instance norm is what the authors' batch norm amounts to with their batch of one; their dropout is 0.5.

    Args:
        source: the images that come in.
        target: the images that go out.
        layer: what its convolutions are; those of another encoder are its own.
        encoder: what makes the maps that are decoded, such as a pretrained network; null: pix2pix's own.
        width: channels after the first layer of its own encoder; null: 64.
        depth: how often its own encoder halves the image; null: as often as `data.size` can be halved, at most 8.
        norm: what follows each convolution but the outermost and the innermost.
        dropout: share of values that the three innermost decoders drop in training.
        features_at: what a head reads. `code`: the last map of the encoder, the coarsest; `decoder`: what the last
            layer gets, as fine as the first map, as a head that predicts for each pixel needs.
    """
    make = nd.normal_start(layer(source.dims))
    if encoder is None:
        made: Encoder = Halving(source, make, 64 if width is None else width, _depth(source.size, depth), norm)
    elif width is not None or depth is not None:
        text = "generator 'unet': width and depth are of its own encoder; another one has its own"
        raise RecipeError(text, option="depth" if width is None else "width")
    else:
        made = encoder(source)
    return Unet(made, target, make, norm, dropout, features_at)


def _depth(size: tuple[int, ...], wanted: int | None) -> int:
    """Return the number of levels: as many as are wanted, or as the sizes allow."""
    halvings = _halvings(size)
    depth = min(halvings, DEEPEST) if wanted is None else wanted
    if not 1 <= depth <= halvings:
        raise RecipeError(
            f"generator 'unet': data.size {list(size)} can be halved {halvings} times, depth is {depth}; "
            "use sizes that are a multiple of 2**depth",
            option="depth",
        )
    return depth


def _halvings(size: tuple[int, ...]) -> int:
    """Return how often every size can be halved: the zeros at the end of their common bits."""
    times = 0
    while all(n % 2 ** (times + 1) == 0 for n in size):
        times += 1
    return times


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the generator."""
    add("generator", "unet", unet)
