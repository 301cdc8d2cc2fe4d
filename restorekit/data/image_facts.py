"""Facts of an image for the integrity check, from one reading, cached for each file until it changes."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.formats import Intensity
from restorekit.io.derived import derived_from
from restorekit.io.files import add_to_cache, cache_table, stamp_of
from restorekit.io.images import read_image

__all__ = ["Facts", "Memory", "facts_of", "pixels_digest", "remembering"]

FORMAT = 9
"""Goes up when `read_image` or a fact changes its meaning: what was remembered before is then read again."""
_TABLE = (
    f"facts_{FORMAT} (path BLOB, dims INTEGER, size INTEGER, time INTEGER, entry INTEGER, facts TEXT"
    ", PRIMARY KEY (path, dims))"
)
HASHED = 32
"""Side of the image that is hashed: four times that of the hash."""
FLAT = 4 / 127.5
"""A line of pixels is flat if its values differ by no more: four of 255 levels, which JPEG leaves of a constant."""


@dataclass(frozen=True)
class Facts:
    """What is known of an image from one reading."""

    size: tuple[int, ...]
    channels: int
    gray: bool
    """All its channels are equal."""
    finite: bool
    depth: str
    """How it is stored, such as uint8; empty where that is not known."""
    low: float
    high: float
    """Its darkest and brightest value, in [-1, 1]."""
    pixels: str
    """A digest of its values at 16 bits: equal for equal pixels in files of any format."""
    look: str
    """The perceptual hash of a 2-D image, 64 bits as hex; empty for others and where all pixels are one value."""
    mirrored: str
    """The same hash of the image with left and right exchanged."""
    border: tuple[float, ...]
    """Share of flat lines at the top, bottom, left and right of a 2-D image."""
    format: str = ""
    """What the file is, such as DICOM; empty where that is not known."""
    black: float | None = None
    """The stored value that became -1, or 1 in MONOCHROME1."""
    white: float | None = None
    """The stored value that became 1, or -1 in MONOCHROME1."""
    source: str = ""
    """The name of the image that it was made from, as its file has it; empty: it is recorded, as far as known."""
    source_pixels: str = ""
    """The digest of the values of that image."""

    @property
    def used(self) -> float:
        """The share of the range from black to white between its darkest and its brightest value."""
        return (self.high - self.low) / 2

    @property
    def constant(self) -> bool:
        """All its values are the same."""
        return self.finite and self.low == self.high


def facts_of(values: NDArray[Any], intensity: Intensity | None = None) -> Facts:
    """Return the facts of an image (C, *S) in [-1, 1]."""
    channels = values.shape[0]
    gray = channels == 1 or bool((values == values[:1]).all())
    if gray:
        values = values[:1]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    finite = bool(np.isfinite(low) and np.isfinite(high))  # NaN and infinity show in the ends
    look = mirrored = ""
    border: tuple[float, ...] = ()
    if finite and low < high and values.ndim == 3:
        flat = values[0] if gray else values.mean(axis=0)
        (look, mirrored), border = _looks(flat, low, high), _border(flat)
    size, pixels = tuple(int(n) for n in values.shape[1:]), _digest(values, finite=finite)
    if intensity is None:
        return Facts(size, channels, gray, finite, "", low, high, pixels, look, mirrored, border)
    ends = (intensity.format, float(intensity.low), float(intensity.high))
    return Facts(size, channels, gray, finite, intensity.dtype, low, high, pixels, look, mirrored, border, *ends)


def pixels_digest(values: NDArray[Any]) -> str:
    """Return `Facts.pixels` of an image (C, *S) in [-1, 1]: equal for equal pixels in files of any format."""
    gray = values.shape[0] == 1 or bool((values == values[:1]).all())
    return _digest(values[:1] if gray else values, finite=bool(np.isfinite(values).all()))


def _digest(values: NDArray[Any], *, finite: bool) -> str:
    digest = hashlib.blake2b(str(values.shape).encode(), digest_size=16)
    if finite:
        steps = values.astype(np.float64)  # in float32, values of 12 bits lie too near to the ends of a step
        steps += 1
        steps *= 32767.5
        steps += 0.5
        values = steps.astype(np.uint16)
    digest.update(values.tobytes())
    return digest.hexdigest()


def _looks(values: NDArray[Any], low: float, high: float) -> tuple[str, str]:
    """Return the perceptual hash, the signs of the low frequencies, of an image and of its mirror image."""
    import imagehash
    from PIL import Image, ImageOps

    levels = ((values - low) * (255 / (high - low)) + 0.5).astype(np.uint8)
    small = Image.fromarray(levels).resize((HASHED, HASHED), Image.Resampling.LANCZOS)  # as phash itself does
    return str(imagehash.phash(small)), str(imagehash.phash(ImageOps.mirror(small)))


def _border(values: NDArray[Any]) -> tuple[float, ...]:
    found = []
    for axis in (1, 0):
        flat = np.ptp(values, axis=axis) <= FLAT
        for line in (flat, flat[::-1]):
            found.append(0.0 if flat.all() else float(np.argmin(line) / len(line)))
    return tuple(found)


def _with_source(found: Facts, path: Path) -> Facts:
    derived = derived_from(path)
    return found if derived is None else replace(found, source=derived.source, source_pixels=derived.pixels)


class Memory:
    """Cache of facts by file, axes, size and times of change. A damaged cache only costs time."""

    def __init__(self, base: sqlite3.Connection | None) -> None:
        self.base = base
        self.new: list[tuple[bytes, int, int, int, int, str]] = []

    def read(self, path: Path, dims: int | None = None, range: tuple[float, float] | None = None) -> Facts:
        """Return the facts of a file, from the cache or by `read_image`.

        Args:
            path: the file.
            dims: its spatial sizes, if that is known: what its axes are may depend on it.
            range: the values of black and white, where they are declared; the file is then read each time.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            of = (os.fsencode(os.path.abspath(path)), dims or 0, *stamp_of(path))
        except OSError:
            return facts_of(*read_image(path))  # which reports what is wrong
        if range is not None:
            return _with_source(facts_of(*read_image(path, range=range, dims=dims)), path)
        known = self._known(*of)
        if known is not None:
            return known
        found = _with_source(facts_of(*read_image(path, dims=dims)), path)
        self.new.append((*of, json.dumps(asdict(found))))
        if len(self.new) >= 500:
            self.keep()
        return found

    def _known(self, *of: bytes | int) -> Facts | None:
        if self.base is None:
            return None
        ask = f"SELECT facts FROM facts_{FORMAT} WHERE path = ? AND dims = ? AND size = ? AND time = ? AND entry = ?"
        try:
            row = self.base.execute(ask, of).fetchone()
            known = json.loads(row[0]) if row else None
            return Facts(**{**known, "size": tuple(known["size"]), "border": tuple(known["border"])}) if known else None
        except (sqlite3.Error, ValueError, TypeError, KeyError):
            return None

    def keep(self) -> None:
        """Store new facts."""
        add_to_cache(self.base, f"facts_{FORMAT}", self.new)
        self.new.clear()


@contextmanager
def remembering() -> Iterator[Memory]:
    """Open the user's cache; without one where its folder cannot be written."""
    with cache_table("facts", _TABLE) as base:
        memory = Memory(base)
        try:
            yield memory
        finally:
            memory.keep()
