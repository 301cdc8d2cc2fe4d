"""What each guest brought when it was last imported, kept in the user's cache folder: names are known before an import.

What goes wrong with the file only costs time. An error that it holds says whom to try last, never that one is broken.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.machinery import all_suffixes
from pathlib import Path

from restorekit.discovery.installed import Guest, own_version
from restorekit.io.files import cache_folder, replacing

__all__ = ["Catalogue", "Known"]

FILE = "plugins.json"


@dataclass(frozen=True)
class Known:
    """What was seen of a guest."""

    parts: tuple[tuple[str, str], ...]
    """(kind, name) of each."""
    seconds: float | None
    error: str | None


@dataclass(frozen=True)
class _Row:
    home: str
    stamp: str
    known: Known


class Catalogue:
    """What is known of guests, as long as their files, their versions and ours stay as they are."""

    def __init__(self) -> None:
        self._rows = _read()
        self._stamps: dict[str, str] = {}

    def known(self, guest: Guest) -> Known | None:
        """Return what was seen of a guest that has not changed since. Ask before it is imported."""
        self._stamps[_key(guest)] = _stamp(guest)
        row = self._rows.get(_key(guest))
        return row.known if row is not None and row.stamp == self._stamps[_key(guest)] else None

    def remember(self, guest: Guest, known: Known) -> None:
        """Write down what a guest brought, if that is new."""
        key = _key(guest)
        stamp, before = self._stamps[key], self._rows.get(key)
        if not stamp or (before and before.stamp == stamp and _told(before.known) == _told(known)):
            return
        self._rows[key] = _Row(guest.home[0], stamp, known)
        others = {k: row for k, row in _read().items() if os.path.exists(row.home)}
        text = json.dumps({k: asdict(row) for k, row in {**others, key: self._rows[key]}.items()}, indent=1)
        with suppress(OSError), replacing(cache_folder() / FILE, shared=True) as stream:
            stream.write(text.encode())


def _told(known: Known) -> tuple[object, ...]:
    return known.parts, known.error  # the time differs at every import


def _read() -> dict[str, _Row]:
    try:
        rows = json.loads((cache_folder() / FILE).read_text("utf-8"))
        return {key: _Row(str(row["home"]), str(row["stamp"]), _known(row["known"])) for key, row in rows.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _known(row: dict[str, object]) -> Known:
    parts, seconds, error = row["parts"], row["seconds"], row["error"]
    if not isinstance(parts, list) or not isinstance(seconds, float | None) or not isinstance(error, str | None):
        raise TypeError
    return Known(tuple((str(kind), str(name)) for kind, name in parts), seconds, error)


def _key(guest: Guest) -> str:
    """The guest and where it lies: environments that share a cache do not take turns."""
    return f"{guest.name} {' '.join(guest.home)}"


def _stamp(guest: Guest) -> str:
    """Return a digest of all that may change what a guest brings; empty if its files are not found."""
    files = sorted(_files(guest.home))
    if not files:
        return ""
    told = [own_version(), sys.version, guest.distribution, guest.version, guest.entry.value, *files]
    return blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


def _files(home: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of every file that Python may import, so that an edit is seen in any of them."""
    for place in home:
        walked: Iterable[tuple[str, list[str], list[str]]] = os.walk(place)
        if os.path.isfile(place):
            walked = [("", [], [place])]
        for folder, folders, names in walked:
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                if name.endswith(tuple(all_suffixes())):
                    with suppress(OSError):
                        stat = (Path(folder) / name).stat()
                        yield os.path.join(folder, name), stat.st_size, stat.st_mtime_ns
