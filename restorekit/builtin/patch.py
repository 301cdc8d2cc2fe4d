"""The PatchGAN discriminator, for signals, images and volumes (pix2pix, arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from restorekit import Discriminator, Domain, Factory, MakeLayer, RecipeError, hookimpl, nd, trial

Norm = Literal["instance", "batch", "none"]


class Patch(Discriminator):
    """Kernel 4 throughout: `layers` halvings, one layer at stride 1, one to a single channel; leaky ReLU 0.2.

    The channels double from `width` to at most 8 `width`. No norm after the first layer. Convolutions that a norm
    follows have no bias; norms have scale and shift. Weights start as N(0, 0.02).
    """

    def __init__(self, domain: Domain, make: MakeLayer, width: int, layers: int, norm: Norm) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        steps: list[nn.Module] = [make(domain.channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 1 if i == layers else 2
            steps += [
                make(before, after, 4, stride=stride, padding=1, bias=norm == "none"),
                nd.norm(domain.dims, after, norm),
                nn.LeakyReLU(0.2),
            ]
        self.steps = nn.Sequential(*steps, make(widths[-1], 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return a score (B, 1, *s) for each patch of (B, C, *S): s = S / 2**layers - 2."""
        scores: Tensor = self.steps(image)
        return scores


# Not wider: from 16 channels on, torch's (2.6, 2.15) bfloat16 weight gradients on a CPU are noise where a Conv3d with a
# kernel of 4 sees 3 x 3 x 3 values, as it does at the smallest size that this part takes.
@trial(options={"width": 2})
def patch(
    domain: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    layers: Annotated[int, Field(ge=1, le=16)] = 3,
    norm: Norm = "instance",
) -> Discriminator:
    """PatchGAN (arXiv:1611.07004): three halvings judge patches of 70 pixels; use fewer for small images."""
    least = 3 * 2**layers
    if min(domain.size) < least:
        raise RecipeError(
            f"discriminator 'patch': {layers} layers need sizes of at least {least}, data.size is {list(domain.size)}; "
            "use fewer layers"
        )
    return Patch(domain, nd.normal_start(layer(domain.dims)), width, layers, norm)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the discriminator."""
    add("discriminator", "patch", patch)
