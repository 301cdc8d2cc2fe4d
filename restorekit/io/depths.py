"""The significant bits of 16-bit files of a dataset that do not state them: all files together decide.

Values of 12 bits in files of 16 are a sixteenth as bright as they should be, and nothing in the file states it. A dark
image of 16 bits looks the same. One file cannot distinguish the two; all files of a dataset can. docs/data.md
states the rule for users.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from restorekit.core.errors import DataError
from restorekit.core.formats import Depths
from restorekit.io.files import add_to_cache, cache_table, stamp_of
from restorekit.io.filetypes import format_by_content
from restorekit.io.images import states_range, stored_image
from restorekit.io.intensity import DEPTHS, HINT, depth_of, hint_for, values_of

__all__ = ["DepthError", "FileDepth", "decide", "depths_of", "survey"]

FORMAT = 5
"""Goes up when a format's reader returns other facts of values: files that are remembered are then read again."""
_TABLE = (
    f"depths_{FORMAT} (path BLOB PRIMARY KEY, size INTEGER, time INTEGER, entry INTEGER"
    ", format TEXT, least INTEGER, most INTEGER, kind TEXT, unit TEXT)"
)
_MAY_BE_DEEP = ("PNG", "TIFF", "NPY", "NPZ", "NIFTI", "DICOM")
"""Formats that hold integers of 16 bits and need not state how many bits are used, or what is black and white."""
FEW = 10
"""One file of more than this many may be of another depth than all others: it is taken for a dark one, and named."""
_Key = tuple[bytes, int, int, int]
KEPT = 500
"""Files after which what was found is stored."""


class DepthError(DataError):
    """Files of one dataset, or its sides, are of different depths, and nothing decides."""


@dataclass(frozen=True)
class FileDepth:
    """The ends of the values of a file of integers that does not state its significant bits.

    They are of 16 bits, or of 8 or 16 and scaled by the file to values of a unit.
    """

    format: str
    least: int
    most: int
    kind: str = "u"
    """u: unsigned; i: signed; scaled: neither black nor white is known."""
    unit: str = ""
    """Of scaled values, such as HU, where the file states it."""


_seen: dict[_Key, FileDepth | None] = {}


def depths_of(files: Sequence[Path], place: str = "its images") -> Depths:
    """Return how many bits those of `files` hold that are of 16 bits and do not state it: all of them decide.

    `read_image(path, bits=depths.bits)` then reads each of them alike.

    Args:
        files: image files.
        place: what they are, for messages.

    Raises:
        DataError: as `decide`.
    """
    return decide(survey(files), place)


def survey(files: Sequence[Path]) -> dict[Path, FileDepth]:
    """Return what each file holds that is of 16-bit integers and does not state its bits.

    A file is decoded once, and remembered in the user's cache folder until its size or one of its times of change is
    another. Files that cannot be read are left out: loading them raises the error.
    """
    found: dict[Path, FileDepth] = {}
    with cache_table("depths", _TABLE) as base:
        memory = _Memory(base)
        try:
            for path in files:
                with suppress(OSError):
                    known = _of_file(path, memory)
                    if known is not None:
                        found[path] = known
        finally:
            memory.keep()
    return found


def decide(files: Mapping[Path, FileDepth], place: str = "its images") -> Depths:
    """Return the bits that the values of all files take: the fewest of 8, 10, 12, 14 and 16 that hold every one.

    Args:
        files: what `survey` found.
        place: what the files are, for messages.

    Raises:
        DepthError: if the files are of different depths, hold scaled values or negative ones of fewer than 16 bits, or
            some of 16 bits are signed and others not.
    """
    if not files:
        return Depths()
    scaled = {path: f for path, f in files.items() if f.kind == "scaled"}
    if scaled:
        path, one = next(iter(scaled.items()))
        held = f"{len(scaled)} files hold {values_of(one.unit)}, such as {one.least} to {one.most} ({path}),"
        raise DepthError(f"{place}: {held} and state no black and white; {hint_for(one.unit)}")
    least, most = min(f.least for f in files.values()), max(f.most for f in files.values())
    bits = depth_of(least, most)
    if least < 0 and bits < 16:
        raise DepthError(f"{place}: 16-bit values from {least} to {most} state no black and white; {HINT}")
    signed = [path for path, f in files.items() if f.kind == "i"]
    if bits == 16 and 0 < len(signed) < len(files):
        held = f"{len(signed)} of {len(files)} 16-bit files are signed ({signed[0]}), the others not"
        raise DepthError(f"{place}: {held}, so that black is not one value; {HINT}")
    dark = _odd_ones(files, bits, place)
    formats = tuple(sorted(Counter(f.format for f in files.values()).items()))
    return Depths(bits, len(files), most, formats, dark, decided=True, signed=bool(signed))


def _odd_ones(files: Mapping[Path, FileDepth], bits: int, place: str) -> tuple[str, ...]:
    """Return the names of single files that look like fewer bits than the others; refuse several of them.

    Files look like fewer bits where they end within a depth and hardly any ends just above it: then the limit is the
    limit of what was stored. Dark images of a greater depth end anywhere.
    """
    alone: list[str] = []
    for depth in (d for d in DEPTHS if d < bits):
        limit = 2**depth - 1
        lowest = 0 if depth == DEPTHS[0] else limit // 4
        inside = {path: f for path, f in files.items() if lowest < f.most <= limit}
        above = sum(limit < f.most <= 2 * limit + 1 for f in files.values())
        if not inside or 4 * above >= len(inside):
            continue
        path, one = max(inside.items(), key=lambda item: item[1].most)
        if len(inside) == 1 and len(files) > FEW:
            alone.append(path.name)
            continue
        other, larger = max(files.items(), key=lambda item: item[1].most)
        count = f"{len(inside)} of {len(files)} 16-bit files hold"
        raise DepthError(
            f"{place}: {count} at most {one.most}, as {depth} bits do ({path}), others up to {larger.most} ({other}), "
            f"and none states its bits. If all are of {bits} bits and some are dark, set bits: {bits}; else give each "
            f"file its range by the columns low and high of a manifest, such as 0 and {limit}"
        )
    return tuple(alone)


class _Memory:
    """What was found of files, in the user's cache folder."""

    def __init__(self, base: sqlite3.Connection | None) -> None:
        self.base = base
        self.new: list[tuple[object, ...]] = []

    def recalled(self, key: _Key) -> tuple[FileDepth | None] | None:
        if self.base is None:
            return None
        ask = (
            f"SELECT format, least, most, kind, unit FROM depths_{FORMAT}"
            " WHERE path = ? AND size = ? AND time = ? AND entry = ?"
        )
        with suppress(sqlite3.Error):
            row = self.base.execute(ask, key).fetchone()
            if row is not None:
                format, least, most, kind, unit = row
                return (
                    None if format is None else FileDepth(str(format), int(least), int(most), str(kind), str(unit)),
                )
        return None

    def add(self, key: _Key, found: FileDepth | None) -> None:
        self.new.append((*key, *(astuple(found) if found else (None,) * 5)))
        if len(self.new) >= KEPT:
            self.keep()

    def keep(self) -> None:
        add_to_cache(self.base, f"depths_{FORMAT}", self.new)
        self.new.clear()


def _of_file(path: Path, memory: _Memory) -> FileDepth | None:
    key = (os.fsencode(os.path.abspath(path)), *stamp_of(path))
    if key not in _seen:
        _seen[key] = _looked_at(path, key, memory)
    return _seen[key]


def _looked_at(path: Path, key: _Key, memory: _Memory) -> FileDepth | None:
    format = format_by_content(path)
    if format not in _MAY_BE_DEEP or (format == "PNG" and _png_depth(path) != 16):
        return None
    if format == "DICOM" and states_range(path):
        return None
    known = memory.recalled(key)
    if known is not None:
        return known[0]
    found = _decoded(path)
    memory.add(key, found)
    return found


def _decoded(path: Path) -> FileDepth | None:
    try:
        format, stored = stored_image(path)
    except DataError:
        return None
    array = stored.array
    if stored.nominal:
        return FileDepth(format, math.floor(array.min()), math.ceil(array.max()), "scaled", stored.unit)
    states = stored.low is not None or stored.high is not None or stored.bits is not None
    if states or array.dtype.kind not in "ui" or array.dtype.itemsize != 2 or not array.size:
        return None
    return FileDepth(format, int(array.min()), int(array.max()), array.dtype.kind)


def _png_depth(path: Path) -> int:
    with path.open("rb") as stream:
        head = stream.read(25)
    return head[24] if len(head) == 25 else 0
