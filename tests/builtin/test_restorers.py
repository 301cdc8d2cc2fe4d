"""Restorers of several others: what they need of sizes, and when their tiles are exact."""

import torch
from torch import Tensor

from restorekit import Domain, Output, Restorer
from restorekit.builtin.restorers import bicubic, chain, ensemble, identity, stretch

IMAGE = Domain("a", 1, (16, 16))


class Blur(Restorer):
    """The mean of three neighbours, on sizes that are a multiple."""

    halo = 1

    def __init__(self, multiple: int) -> None:
        self.multiple = multiple

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        return Output(image)


class Mean(Restorer):
    """Takes out the mean of the whole image; a tile is exact by its summary."""

    halo = 0

    def summary(self, image: Tensor) -> Tensor:
        return image.flatten(1).mean(1, keepdim=True)

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        mean = self.summary(image) if summary is None else summary
        return Output(image - mean.reshape(-1, 1, 1, 1))


def test_sizes_must_be_a_multiple_of_each() -> None:
    parts = [lambda domain: Blur(4), lambda domain: Blur(6)]
    assert chain(IMAGE, restorers=parts).multiple == ensemble(IMAGE, restorers=parts).multiple == 12


def test_halos_add_up_in_a_row_and_the_largest_counts_side_by_side() -> None:
    parts = [lambda domain: Blur(1), identity, lambda domain: bicubic(domain)]
    assert (chain(IMAGE, restorers=parts).halo, ensemble(IMAGE, restorers=parts).halo) == (3, 2)


def test_no_halo_where_a_part_must_be_given_a_summary_of_the_whole() -> None:
    parts = [identity, lambda domain: Mean()]
    assert chain(IMAGE, restorers=parts).halo is None
    assert ensemble(IMAGE, restorers=parts).halo is None


def test_stretch_takes_the_ends_of_more_values_than_float32_counts() -> None:
    values = torch.linspace(-0.5, 0.25, 2**24 + 4096).view(1, 1, 4097, 4096)
    part = stretch(IMAGE, low=0.0, high=0.0)
    assert part.summary(values).tolist() == [[-0.5, 0.25]]
