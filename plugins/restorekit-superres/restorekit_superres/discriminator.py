"""The discriminator `srgan`: eight strided layers and two dense ones; one score an image.

C. Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, arXiv:1609.04802.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from restorekit import Discriminator, Domain, RecipeError, conformance_case, nd

__all__ = ["Srgan", "srgan"]

Pool = Literal["none", "average"]
STAGES = ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2))
"""Width over that of the first layer, and stride, of each layer after the first."""
HALVINGS = sum(stride == 2 for _, stride in STAGES)


class Srgan(Discriminator):
    """3-wide layers of 64, 64, 128, 128, 256, 256, 512, 512 channels, the second of each pair with a stride of 2.

    Leaky ReLU of slope 0.2 after each, with batch norm before it but after the first layer. Then a dense layer of 1024,
    leaky ReLU, and a dense layer of one score, before the sigmoid.

    Args:
        domain: the images.
        width: channels of the first layer.
        dense: values between the two dense layers.
        pool: what the first dense layer reads.
    """

    def __init__(self, domain: Domain, width: int, dense: int, pool: Pool) -> None:
        super().__init__()
        dims, make = domain.dims, nd.conv(domain.dims)
        layers: list[nn.Module] = [make(domain.channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        before = width
        for times, stride in STAGES:
            after = width * times
            layers += [
                make(before, after, 3, stride=stride, padding=1, bias=False),
                nd.norm(dims, after, "batch"),
                nn.LeakyReLU(0.2),
            ]
            before = after
        self.body, self.pool = nn.Sequential(*layers), pool
        read = before if pool == "average" else before * math.prod(-(-n // 2**HALVINGS) for n in domain.size)
        self.dense = nn.Sequential(nn.Linear(read, dense), nn.LeakyReLU(0.2), nn.Linear(dense, 1))

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return a score (B, 1, *1) for each image (B, C, *S)."""
        maps = self.body(image).flatten(2)
        scores: Tensor = self.dense(maps.mean(2) if self.pool == "average" else maps.flatten(1))
        return scores.reshape(-1, *[1] * (image.ndim - 1))


@conformance_case(options={"width": 2, "dense": 4})
def srgan(
    domain: Domain,
    *,
    width: Annotated[int, Field(ge=1, le=1024)] = 64,
    dense: Annotated[int, Field(ge=1, le=65536)] = 1024,
    pool: Pool = "none",
) -> Discriminator:
    """SRGAN's discriminator (arXiv:1609.04802, figure 4): one score an image, for images of one size.

    The paper's dense layer reads all values of the last maps: 18.9 million weights at the paper's 96 x 96 pixels, 134.2
    million at 256 x 256. `pool: average` reads the mean of each map, and takes images of any size.

    Args:
        domain: The images that it scores.
        width: Channels of the first layer.
        dense: Values between the two dense layers.
        pool: `none`: the first dense layer reads all values, as in the paper; `average`: the mean of each map.
    """
    if min(domain.size) < 2 ** (HALVINGS + 1):
        raise RecipeError(
            f"discriminator 'srgan': halves images {HALVINGS} times and takes sizes from {2 ** (HALVINGS + 1)} on; got "
            f"{list(domain.size)}"
        )
    return Srgan(domain, width, dense, pool)
