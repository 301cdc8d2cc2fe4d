"""Total variation: a restored image should be smooth (Rudin et al. 1992, doi:10.1016/0167-2789(92)90242-F)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from restorekit import Loss, Passes, wide
from torch import Tensor


class TotalVariation(Loss):
    """How far neighbours of a restored image are apart, beyond a margin: summed over axes, the mean over values."""

    def __init__(self, margin: float) -> None:
        self.margin = margin

    def generator(self, p: Passes) -> Tensor:
        """Return a value for each image, (B,), 0 or more, from `ab` (B, C, *S) in [-1, 1]; the term is their mean."""
        image = wide(p.ab.image)
        changes = [image.diff(dim=axis).abs() for axis in range(2, image.ndim)]
        sums = torch.stack([(one - self.margin).clamp(min=0).flatten(1).sum(1) for one in changes]).sum(0)
        return sums / image[0].numel()


def total_variation(*, margin: Annotated[float, Field(ge=0, le=2)] = 0.0) -> Loss:
    """Keep restored signals, images and volumes smooth.

    Args:
        margin: a difference between neighbours that costs nothing; values run from -1 to 1.
    """
    return TotalVariation(margin)
