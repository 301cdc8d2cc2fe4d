"""Datasets of files: what folders, tables and published layouts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from restorekit.core.images import ImageFiles
from restorekit.core.types import Dataset, Format, Sample

__all__ = ["FileDataset"]


class FileDataset(Dataset):
    """A dataset whose images are files below one folder; a record's key is the path of its file from there.

    Args:
        base: the folder.
        range: the values of black and white, [LOW, HIGH], of every file; None: what each file says.
        format: what the files are; None: the images that restorekit reads itself.
    """

    def __init__(self, base: Path, range: Sequence[float] | None = None, format: Format | None = None) -> None:
        self.base, self.range = base, range
        self.format = ImageFiles() if format is None else format

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index`, (C, *S), as its file stores it; nothing is left to `rng`."""
        image, intensity = self.format.read(self.base / self.records[index].key, range=self.range)
        return Sample(image, intensity=intensity)

    def file(self, index: int) -> Path | None:
        """The file of image `index`; none where a range or a format is declared: the file alone gives no image then."""
        plain = self.range is None and isinstance(self.format, ImageFiles)
        return self.base / self.records[index].key if plain else None
