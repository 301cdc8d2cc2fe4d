"""The loss `pair`: the translated image must be the image of b that it is shown with, whatever pairs them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from restorekit import Loss, Passes, nd, wide

__all__ = ["Pair", "pair"]


class Pair(Loss):
    """The distance of ab to the b of the same place in the batch."""

    def __init__(self, norm: Literal["l1", "l2"]) -> None:
        self.norm = norm

    def generator(self, p: Passes) -> Tensor:
        """Return the mean distance of each translated image to its pair, (B,)."""
        made, wanted = wide(p.ab.image), wide(p.b.image)
        if made.shape[2:] != wanted.shape[2:]:
            wanted = nd.resize(wanted, [*made.shape[2:]])
        difference = made - wanted
        values = difference.abs() if self.norm == "l1" else difference.square()
        return values.flatten(1).mean(1)


def pair(*, norm: Literal["l1", "l2"] = "l1") -> Loss:
    """Distance of the translated image to the image of b that stands beside it, as pix2pix (arXiv:1611.07004).

    Unlike `paired` it takes pairs of any kind, also random ones (`data.pairing`), which have no common object: what it
    then pulls to is the median of all images of b. Set `data.augment.alike: true`, so that both are changed alike.

    Args:
        norm: `l1`: mean of the absolute differences; `l2`: of their squares.
    """
    return Pair(norm)
