"""A small patch discriminator: a score for each patch, and none for the whole (pix2pix, arXiv:1611.07004)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from restorekit import Discriminator, Domain, Factory, MakeLayer, RecipeError, nd
from torch import Tensor, nn

NAME = "part_name"


class Patches(Discriminator):
    """`halvings` layers of kernel 4 and stride 2, then one of kernel 1: each score is of 3 * 2**halvings - 2 pixels."""

    def __init__(self, channels: int, make: MakeLayer, width: int, halvings: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for index in range(halvings):
            steps += [make(width if index else channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.steps = nn.Sequential(*steps, make(width, 1, 1))

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return scores (B, 1, *S / 2**halvings), of any value, for images (B, C, *S) in [-1, 1]."""
        scores: Tensor = self.steps(image)
        return scores


def patches(
    domain: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 32,
    halvings: Annotated[int, Field(ge=1, le=8)] = 2,
) -> Discriminator:
    """A small patch discriminator for signals, images and volumes: two halvings score patches of 10 pixels.

    Args:
        domain: the images that are scored.
        layer: what its convolutions are.
        width: channels inside.
        halvings: how often the image is halved; each about doubles the patch.
    """
    if min(domain.size) < 2**halvings:
        needed = f"{halvings} halvings need sizes of at least {2**halvings}"
        text = f"discriminator {NAME!r}: {needed}, data.size is {list(domain.size)}; use fewer halvings"
        raise RecipeError(text, option="halvings")
    return Patches(domain.channels, nd.normal_start(layer(domain.dims)), width, halvings)
