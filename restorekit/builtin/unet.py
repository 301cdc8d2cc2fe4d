"""The U-Net generator of pix2pix, for signals, images and volumes (Isola et al., arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Factory, Generator, MakeLayer, RecipeError, hookimpl, nd, trial

Norm = Literal["instance", "batch", "none"]
DEEPEST = 8


class Unet(Generator):
    """Kernel 4, stride 2 down and up, with a skip at every level; the features are the innermost code.

    The channels double from `width` to at most 8 `width`. No norm at the outermost and the innermost level, where a
    single value a channel may be left. Skips carry what leaky ReLU 0.2 activated, as the authors' in-place layers do.
    Dropout acts in the three innermost decoders, as in the original Lua code. Convolutions that a norm follows have no
    bias; norms have scale and shift. Weights start as N(0, 0.02).
    Departure: dropout and batch norm are not kept in training mode when images are restored.
    """

    def __init__(
        self, source: Domain, target: Domain, make: MakeLayer, width: int, depth: int, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.multiple = 2**depth
        widths = [width * min(2**i, 8) for i in range(depth)]
        self.features = widths[-1]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, c_out in enumerate(widths):
            kind: Norm = "none" if i in (0, depth - 1) else norm
            c_in = source.channels if i == 0 else widths[i - 1]
            down = make(c_in, c_out, 4, stride=2, padding=1, bias=kind == "none")
            self.downs.append(nn.Sequential(down, nd.norm(source.dims, c_out, kind)))
        for i in reversed(range(depth)):
            kind = "none" if i == 0 else norm
            c_out = target.channels if i == 0 else widths[i - 1]
            c_in = widths[i] * (1 if i == depth - 1 else 2)
            up = make(c_in, c_out, 4, stride=2, padding=1, bias=kind == "none", transposed=True)
            drop = nn.Dropout(dropout if i > 0 and depth - i <= 3 else 0.0)
            self.ups.append(nn.Sequential(up, nd.norm(source.dims, c_out, kind), drop))

    def encode(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the codes of every level, (B, F_i, *S / 2**i) with i = 1 ... depth, and the innermost one."""
        codes: list[Tensor] = []
        for i, down in enumerate(self.downs):
            image = down(image if i == 0 else F.leaky_relu(image, 0.2))
            codes.append(image)
        return codes, image

    def decode(self, state: list[Tensor]) -> Tensor:
        """Return the image (B, C', *S) for the codes of every level."""
        image = state[-1]
        for i, up in enumerate(self.ups):
            if i > 0:
                image = torch.cat([F.leaky_relu(state[-1 - i], 0.2), image], 1)
            image = up(F.relu(image))
        return torch.tanh(image)


@trial(options={"width": 4})
def unet(
    source: Domain,
    target: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    depth: Annotated[int | None, Field(ge=1)] = None,
    norm: Norm = "instance",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Generator:
    """pix2pix U-Net (arXiv:1611.07004); `depth` left out: as deep as data.size can be halved, at most 8.

    Instance norm is what the authors' batch norm amounts to with their batch of one; their dropout is 0.5.
    """
    halvings = _halvings(source.size)
    wanted = min(halvings, DEEPEST) if depth is None else depth
    if not 1 <= wanted <= halvings:
        raise RecipeError(
            f"generator 'unet': data.size {list(source.size)} can be halved {halvings} times, depth is {wanted}; "
            "use sizes that are a multiple of 2**depth"
        )
    return Unet(source, target, nd.normal_start(layer(source.dims)), width, wanted, norm, dropout)


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
