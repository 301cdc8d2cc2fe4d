"""The PatchGAN discriminator, for signals, images and volumes (pix2pix, arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Discriminator, Domain, Factory, MakeLayer, RecipeError, conformance_case, hookimpl, nd

Norm = Literal["instance", "batch", "none"]


class Patch(Discriminator):
    """Kernel 4 throughout: `layers` halvings, one layer at stride 1, one to a single channel; leaky ReLU 0.2.

    The channels double from `width` to at most 8 `width`. No norm after the first layer. Convolutions that a norm
    follows have no bias; norms have scale and shift. Weights start as N(0, 0.02).
    """

    def __init__(
        self, domain: Domain, make: MakeLayer, width: int, layers: int, norm: Norm, *, conditional: bool = False
    ) -> None:
        super().__init__()
        self.conditional = conditional
        channels = domain.channels * (2 if conditional else 1)
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        steps: list[nn.Module] = [make(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 1 if i == layers else 2
            steps += [
                make(before, after, 4, stride=stride, padding=1, bias=norm == "none"),
                nd.norm(domain.dims, after, norm),
                nn.LeakyReLU(0.2),
            ]
        self.steps = nn.Sequential(*steps, make(widths[-1], 1, 4, padding=1))

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return a score (B, 1, *s) for each patch of (B, C, *S): s = S / 2**layers - 2."""
        scores: Tensor = self.steps(image if condition is None else torch.cat([condition, image], 1))
        return scores


class Scales(Discriminator):
    """Discriminators of the image and of ever smaller copies of it, each half the size of the one before it."""

    def __init__(self, scales: Sequence[Discriminator]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)
        self.conditional = scales[0].conditional

    def forward(self, image: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Return the scores of each scale for (B, C, *S)."""
        found = []
        for i, scale in enumerate(self.scales):
            if i:
                half = [n // 2 for n in image.shape[2:]]
                image = nd.resize(image, half)
                condition = None if condition is None else nd.resize(condition, half)
            found.append(scale(image, condition))
        return found


# Not wider: from 16 channels on, torch's (2.6, 2.15) bfloat16 weight gradients on a CPU are noise where a Conv3d with a
# kernel of 4 sees 3 x 3 x 3 values, as it does at the smallest size that this part takes.
@conformance_case(options={"width": 2})
def patch(
    domain: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    layers: Annotated[int, Field(ge=1, le=16)] = 3,
    norm: Norm = "instance",
    conditional: bool = False,
    scales: Annotated[int, Field(ge=1, le=4)] = 1,
) -> Discriminator:
    """PatchGAN (arXiv:1611.07004): with three halvings a score is of 70 x 70 pixels; use fewer for small images.

    Args:
        domain: The images that it scores.
        layer: What its convolutions are.
        width: Channels after the first layer.
        layers: How often the image is halved.
        norm: What follows each convolution but the first and the last.
        conditional: Score an image together with the one that it was translated from, as pix2pix does; takes pairs.
        scales: Score the image at so many sizes, each half the one before (pix2pixHD, arXiv:1711.11585).
    """
    least = 3 * 2 ** (layers + scales - 1)
    if min(domain.size) < least:
        raise RecipeError(
            f"discriminator 'patch': {layers} layers and {scales} scales need sizes of at least {least}, data.size is "
            f"{list(domain.size)}; use fewer",
            option="layers",
        )
    make = nd.normal_start(layer(domain.dims))
    made = [Patch(domain, make, width, layers, norm, conditional=conditional) for _ in range(scales)]
    return made[0] if scales == 1 else Scales(made)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the discriminator."""
    add("discriminator", "patch", patch)
