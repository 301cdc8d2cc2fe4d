"""Datasets of files: what folders, tables and published layouts have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from restorekit.core.errors import DataError, RecipeError
from restorekit.core.formats import Depths, Format
from restorekit.core.types import Dataset, Sample
from restorekit.io.depths import FileDepth, decide, survey
from restorekit.io.images import ImageFiles
from restorekit.io.intensity import Beyond, checked_range

__all__ = ["FileDataset"]

NO_SPLIT = "it is in no split, for its folder is not called like one"


class FileDataset(Dataset):
    """A dataset whose images are files below one folder; a record's key is the path of its file from there.

    Args:
        base: the folder.
        range: the values of black and white, [LOW, HIGH], of every file; None: as each file states.
        format: what the files are; None: the images that restorekit reads itself.
        bits: the significant bits of 16-bit integers, for files that do not state them; None: the values of all files
            decide.
        beyond: what becomes of values beyond the range, `refuse` or `clip`.
        ranges: by key, the range of single files; it overrides `range`.
        files: every file of the dataset, in all its splits: those that decide the bits; None: those of its records.

    Raises:
        RecipeError: if a range is none, or bits or beyond are given for files of another format.
    """

    def __init__(
        self,
        base: str | os.PathLike[str],
        range: Sequence[float] | None = None,
        format: Format | None = None,
        *,
        bits: int | None = None,
        beyond: Beyond = "refuse",
        ranges: Mapping[str, tuple[float, float]] = {},
        files: Sequence[Path] | None = None,
    ) -> None:
        self.base, self.range, self.bits, self.beyond = Path(base), range, bits, beyond
        self.ranges, self.files = ranges, files
        self.format = ImageFiles() if format is None else format
        self._images = type(self.format) is ImageFiles
        self._depths: Depths | DataError | None = None
        self._undecided: dict[Path, FileDepth] = {}
        if range is not None:
            try:
                checked_range(range)
            except DataError as error:
                raise RecipeError(f"dataset: {error}", option="range") from error
        if range is not None and bits is not None:
            text = "dataset: range and bits both declare black and white; give one of them"
            raise RecipeError(text, option="range")
        if not self._images and (bits is not None or beyond != "refuse"):
            text = "dataset: bits and beyond are for images that restorekit reads itself, not for a format"
            raise RecipeError(text, option="beyond" if bits is None else "bits")

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index`, (C, *S), as its file stores it; nothing is left to `rng`."""
        key = self.records[index].key
        path, range = self.base / key, self.ranges.get(key, self.range)
        if not self._images:
            image, intensity = self.format.read(path, range=range)
        else:
            bits = self._decided().bits if range is None else None
            image, intensity = ImageFiles(self.beyond, bits).read(path, range=range)
        return Sample(torch.from_numpy(image), intensity=intensity)

    def depths(self) -> Sequence[Depths]:
        """Return the bits of its 16-bit files, as declared or as all of them show."""
        return (self._decided(),)

    def file(self, index: int) -> Path | None:
        """The file of image `index`; None where `read_image` alone gives another image, as with a declared range."""
        key = self.records[index].key
        path = self.base / key
        plain = self._images and self.range is None and self.bits is None and key not in self.ranges
        if not plain:
            return None
        bits = self._decided().bits
        return path if bits in (None, 16) or path not in self._undecided else None

    def skipped(self) -> Sequence[tuple[Path, str]]:
        """Return the files below the folder that the format leaves out, or that are in no split, with the reasons.

        Nothing where the folder is missing.
        """
        if not self.base.is_dir():
            return []
        found = self.format.skipped(self.base)
        if self.files is None:
            return found
        known = set(self.files)
        return [*found, *((path, NO_SPLIT) for path in self.format.find(self.base) if path not in known)]

    def _decided(self) -> Depths:
        """Decide once; worker processes get the decision."""
        if self._depths is None:
            try:
                self._depths = self._decide()
            except DataError as error:
                self._depths = error
        if isinstance(self._depths, DataError):
            raise self._depths
        return self._depths

    def _decide(self) -> Depths:
        if not self._images or self.range is not None:
            return Depths()
        if self.bits is not None:
            return Depths(self.bits)
        every = [self.base / record.key for record in self.records] if self.files is None else self.files
        ranged = {self.base / key for key in self.ranges}
        self._undecided = survey([path for path in every if path not in ranged])
        return decide(self._undecided, str(self.base))
