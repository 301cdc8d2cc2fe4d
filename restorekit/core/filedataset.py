"""Datasets of image files: what folders, tables and published layouts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from restorekit.core.images import read_image
from restorekit.core.types import Dataset, Sample

__all__ = ["FileDataset"]


class FileDataset(Dataset):
    """A dataset whose images are files below one folder; a record's key is the path of its file from there.

    Args:
        base: the folder.
        range: the values of black and white, [LOW, HIGH], of every file; None: what each file says.
    """

    def __init__(self, base: Path, range: Sequence[float] | None = None) -> None:
        self.base, self.range = base, range

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index`, (C, *S), as its file stores it; nothing is left to `rng`."""
        image, intensity = read_image(self.base / self.records[index].key, range=self.range)
        return Sample(image, intensity=intensity)

    def file(self, index: int) -> Path | None:
        """The file of image `index`; none where a range is declared, since the file alone does not give the image."""
        return None if self.range is not None else self.base / self.records[index].key
