"""A dataset whose images are brought to one size before anything else is done to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Dataset, Factory, RecipeError, Sample, WrappedDataset, conformance_case, hookimpl, nd

Sizes = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)]


class Resized(WrappedDataset):
    """The images of `inner`, stretched to a size."""

    def __init__(self, inner: Dataset, size: list[int], antialias: bool) -> None:
        super().__init__(inner)
        self.size, self.antialias = size, antialias

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index` at the size; the distance of its pixels changes likewise."""
        sample = self.inner.load(index, rng)
        if sample.image.ndim - 1 != len(self.size):
            raise RecipeError(
                f"dataset 'resized': size {self.size} is for {len(self.size)} dimensions; {self.records[index].key} "
                f"has {sample.image.ndim - 1}"
            )
        intensity = sample.intensity
        if intensity is not None and intensity.spacing is not None:
            old = zip(intensity.spacing, sample.image.shape[1:], self.size, strict=True)
            intensity = replace(intensity, spacing=tuple(step * before / now for step, before, now in old))
        mask = None if sample.mask is None else (self._at_size(sample.mask.float()) > 0.5).to(sample.mask.dtype)
        truth = None if sample.truth is None else self._at_size(sample.truth)
        target = sample.target
        if target is not None:
            target = nd.resize_classes(target, self.size)
        ratios = [old / new for old, new in zip(sample.image.shape[1:], self.size, strict=True)]
        return replace(
            sample,
            image=self._at_size(sample.image),
            truth=truth,
            mask=mask,
            target=target,
            intensity=intensity,
            reduced=sample.reduced * prod(ratios) ** (1 / len(ratios)),
        )

    def _at_size(self, image: Tensor) -> Tensor:
        return nd.resize(image[None], self.size, antialias=self.antialias)[0]


@conformance_case(
    options={
        "dataset": {"name": "phantom", "side": "a", "count": 3, "val": 2, "test": 1, "size": [16, 20]},
        "size": [24, 24],
    }
)
def resized(root: Path | None, split: str, *, dataset: Factory, size: Sizes, antialias: bool = True) -> Dataset:
    """The images of `dataset`, stretched to one size: for what must be done at that size, such as making them smaller.

    Args:
        root: Where the inner dataset's relative paths start.
        split: "train", "val" or "test".
        dataset: The images.
        size: Their new spatial size.
        antialias: Filter before making smaller.
    """
    return Resized(dataset(root, split), size, antialias)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the resized dataset."""
    add("dataset", "resized", resized)
