"""A dataset made from another one: what datasets that change the images of any dataset are built on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from restorekit.core.errors import DataError
from restorekit.core.formats import Depths
from restorekit.core.types import Dataset, Sample

__all__ = ["WrappedDataset"]


class WrappedDataset(Dataset):
    """The records, task and files of `inner`; a subclass overrides `load`, and what its images change."""

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner
        self.task, self.classes, self.regression_target = inner.task, inner.classes, inner.regression_target
        self.classes_from, self.has_truth, self.draws = inner.classes_from, inner.has_truth, inner.draws
        self.records, self.synthetic, self.unit = inner.records, inner.synthetic, inner.unit

    def first(self) -> Sample | None:
        """Return the first sample of `inner` that can be read; None where there is none. `load` reports the others."""
        for index in range(len(self.records)):
            with suppress(DataError):
                return self.inner.load(index, torch.Generator().manual_seed(0))
        return None

    def fixed_rng(self, split: str, index: int) -> torch.Generator:
        """Return the random numbers of image `index` in a split, which depend on its key alone.

        A subclass that draws from them adds one to `draws` as it is made: of several, one inside the other, each has
        numbers of its own.
        """
        words = [split, self.records[index].key, *([str(self.draws)] if self.draws > 1 else [])]
        digest = hashlib.sha256("\0".join(words).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index` of `inner`."""
        return self.inner.load(index, rng)

    def depths(self) -> Sequence[Depths]:
        """Return the depths of `inner`."""
        return self.inner.depths()

    def file(self, index: int) -> Path | None:
        """Return the file of the image of `inner`."""
        return self.inner.file(index)

    def skipped(self) -> Sequence[tuple[Path, str]]:
        """Return the files that `inner` leaves out."""
        return self.inner.skipped()
