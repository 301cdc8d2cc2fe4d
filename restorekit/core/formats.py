"""The contract of a file format, and the record of a file's values. Imports no torch.

"Image" means a signal, an image or a volume, as in `core/types.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Depths", "Format", "Frames", "Intensity"]


@dataclass(frozen=True)
class Intensity:
    """How stored values were mapped to [-1, 1], so that a restored image is written the same way."""

    dtype: str
    """The NumPy name of the type of the stored values."""
    low: float
    """The value that became -1; 1 in MONOCHROME1."""
    high: float
    """The value that became 1; -1 in MONOCHROME1."""
    channels: int
    format: str = ""
    """The format of the file, by its content: PNG, TIFF, DICOM, ..."""
    photometric: str = ""
    """MONOCHROME1, MONOCHROME2 or RGB, as in DICOM."""
    window: tuple[float, float] | None = None
    """Centre and width of the DICOM window, if one was used; what lay outside it is lost."""
    spacing: tuple[float, ...] | None = None
    """From one value to the next along each spatial axis, where known: millimetres, of time seconds."""
    unit: str = ""
    """The unit of `low` and `high`, such as mV; empty: not known."""
    names: tuple[str, ...] = ()
    """The names of the channels, such as the leads of an ECG; empty: not known."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that the writer of the format needs, such as the compression."""
    note: str = ""
    """A remark on how it was read, such as that values were cut; empty: none."""
    bits: int | None = None
    """Significant bits of a stored value, as the file states them or its dataset shows them; None: not known."""


@dataclass(frozen=True)
class Depths:
    """Significant bits of those 16-bit files of a dataset that do not state them."""

    bits: int | None = None
    """0 is black and 2**bits - 1 is white in them; None: there are none, or each has a declared range."""
    files: int = 0
    """How many there are."""
    most: int = 0
    """Their largest value."""
    formats: tuple[tuple[str, int], ...] = ()
    """How many of each format."""
    dark: tuple[str, ...] = ()
    """Single files that would fit into fewer bits than all others."""
    decided: bool = False
    """The values of all files decided; else the recipe declares the bits."""
    signed: bool = False
    """Whether there are signed integers: where all 16 bits are used, black is -32768 and white 32767."""

    @property
    def ends(self) -> tuple[int, int]:
        """The values of black and white of these bits; 16 where they are not known."""
        bits = self.bits or 16
        return (-(2**15), 2**15 - 1) if self.signed and bits == 16 else (0, 2**bits - 1)

    def sentence(self) -> str:
        """Return what was decided, as a sentence; empty if nothing was."""
        if not self.decided:
            return ""
        held = ", ".join(f"{count} {format}" for format, count in self.formats)
        ends = "their largest value is {}, so black is {} and white {}".format(self.most, *self.ends)
        dark = f"; dark: {', '.join(self.dark)}" if self.dark else ""
        hint = "if that is wrong, set bits or range of the dataset"
        return f"16-bit files ({held}) are taken to hold {self.bits} bits: {ends}{dark}; {hint}"


class Frames(ABC):
    """The frames of one file: images that are restored one by one, and written together."""

    count: int
    """How many there are."""

    @abstractmethod
    def read(self, index: int) -> tuple[NDArray[np.float32], Intensity]:
        """Read frame `index`, from 0, as `Format.read` reads an image.

        Raises:
            DataError: if it cannot be used; the message names the file.
        """

    @abstractmethod
    def add(self, image: NDArray[np.float32], intensity: Intensity) -> None:
        """Take what became of the next frame, (C, *S) in [-1, 1].

        Raises:
            DataError: if it cannot be written.
        """

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the file that holds all frames that were added; it appears whole or not at all.

        Raises:
            DataError: if a frame is missing, or it cannot be written.
        """


class Format(ABC):
    """A file format: finds files, reads one as an image, and writes a restored image the same way.

    A dataset of a recipe names it (`format:`); `restorekit restore` uses it for runs of that recipe alone.
    """

    windows: bool = False
    """True if files are far longer than the training images, at the same scale, as records of hours are: they are
    then restored in overlapping windows of `data.size`."""
    exceeds: bool = False
    """True if values that it reads may lie beyond -1 and 1, as of noise many times the signal; those written do not."""

    @abstractmethod
    def find(self, folder: Path) -> list[Path]:
        """Return every file of the format below `folder`, sorted by relative path; hidden files are left out."""

    def skipped(self, folder: Path) -> list[tuple[Path, str]]:
        """Return files below `folder` that look like the format but that `find` leaves out, with reasons to report."""
        return []

    @abstractmethod
    def read(
        self, path: Path, *, range: Sequence[float] | None = None, dims: int | None = None
    ) -> tuple[NDArray[np.float32], Intensity]:
        """Read a file as a NumPy array (C, *S) of float32 in [-1, 1], which the caller may write to.

        Args:
            path: the file.
            range: the stored values that become -1 and 1; None: those of the format or the file.
            dims: how many spatial sizes S has, where that is known.

        Raises:
            DataError: if it is missing, damaged, or cannot be used; the message names it.
        """

    @abstractmethod
    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        """Write a NumPy array (C, *S) in [-1, 1] as `intensity` describes; the file appears whole or not at all.

        Raises:
            DataError: if it cannot be written so.
        """

    def frames(self, path: Path, target: Path, *, range: Sequence[float] | None = None) -> Frames | None:
        """Return the frames of a file that holds several images; None: it holds one, which `read` returns.

        Args:
            path: the file.
            target: where the restored file goes; its suffix is that of its format.
            range: as for `read`.

        Raises:
            DataError: if its frames cannot be restored, or not be written to `target`.
        """
        return None

    def files(self, path: Path) -> Sequence[Path]:
        """Return every file that holds the image `path`: it, and others beside it that it is made of.

        Restoring knows by their bytes whether the image is the one that was restored before.
        """
        return [path]

    def restored_name(self, path: Path, name: Path) -> tuple[Path, str]:
        """Return the file name of a restored copy of `path`, and a note about it."""
        return name, ""
