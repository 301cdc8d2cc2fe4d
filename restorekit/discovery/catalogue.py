"""The parts of each plugin at its last import, cached in the user's cache folder: names are known before an import.

A missing or damaged cache only costs time. A cached error only lowers the plugin's priority; it is always tried again.
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

from restorekit.discovery.installed import PluginSource, own_version
from restorekit.io.files import cache_folder, replacing

__all__ = ["Catalogue", "Known"]

FILE = "plugins.json"


@dataclass(frozen=True)
class Known:
    """The parts of a plugin, or its error, at its last import."""

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
    """The cached parts of plugins.

    An entry is valid while the files and versions of the plugin and of restorekit are the same.
    """

    def __init__(self) -> None:
        self._rows = _read()
        self._stamps: dict[str, str] = {}

    def known(self, source: PluginSource) -> Known | None:
        """Return the entry of a plugin that has not changed since; call it before the plugin is imported."""
        self._stamps[_key(source)] = _stamp(source)
        row = self._rows.get(_key(source))
        return row.known if row is not None and row.stamp == self._stamps[_key(source)] else None

    def remember(self, source: PluginSource, known: Known) -> None:
        """Store the parts of a plugin if they are new."""
        key = _key(source)
        stamp, before = self._stamps[key], self._rows.get(key)
        if not stamp or (before and before.stamp == stamp and _content(before.known) == _content(known)):
            return
        self._rows[key] = _Row(source.home[0], stamp, known)
        others = {k: row for k, row in _read().items() if os.path.exists(row.home)}
        text = json.dumps({k: asdict(row) for k, row in {**others, key: self._rows[key]}.items()}, indent=1)
        with suppress(OSError), replacing(cache_folder() / FILE, shared=True) as stream:
            stream.write(text.encode())


def _content(known: Known) -> tuple[object, ...]:
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


def _key(source: PluginSource) -> str:
    """Name and location: environments that share a cache have entries of their own."""
    return f"{source.name} {' '.join(source.home)}"


def _stamp(source: PluginSource) -> str:
    """Return a digest of all that may change a plugin's parts; empty if its files are not found."""
    files = sorted(_files(source.home))
    if not files:
        return ""
    content = [own_version(), sys.version, source.distribution, source.version, source.entry.value, *files]
    return blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


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
