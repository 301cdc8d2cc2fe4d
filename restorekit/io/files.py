"""Files that are written completely or not at all: no reader, and no resumed run, sees an incomplete file.

And where the user's own things are remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from platformdirs import user_cache_path

from restorekit.core.errors import DataError, RecipeError

__all__ = [
    "StepTable",
    "add_to_cache",
    "as_path",
    "cache_folder",
    "cache_table",
    "files_below",
    "printable",
    "read_own_json",
    "read_own_text",
    "replacing",
    "require_folder",
    "require_utf8",
    "stamp_of",
    "write_text",
]

_LONG = 200
"""Bytes of a file name beyond which its temporary name is a digest of it."""


def as_path(value: object, name: str = "path") -> Path:
    """Return a path, given as text or as a path object.

    Args:
        value: what the caller gave.
        name: the argument, for the error.

    Raises:
        DataError: if it is neither, or empty, or holds a NUL character.
    """
    if not isinstance(value, str | os.PathLike):
        raise DataError(f"{name}: got {value!r}, a {type(value).__name__}; allowed: a path, as str or pathlib.Path")
    text = os.fspath(value)
    if not isinstance(text, str) or not text or "\0" in text:
        raise DataError(f"{name}: got {text!r}; allowed: a path that is not empty, as str or pathlib.Path")
    return Path(text)


def require_utf8(name: str) -> None:
    """Refuse the name of a file that is no UTF-8, which no table or report of a run can hold.

    Raises:
        DataError: with the name.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{printable(name)}: is no UTF-8; rename the file") from error


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that every file holds: what is no UTF-8 becomes an escape in ASCII."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def require_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made because a file is in its place, before the work whose result it is to hold.

    Raises:
        RecipeError: naming that file.
    """
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise RecipeError(f"{folder}: cannot be made, for {path} is a file")
            return


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends well; else `path` stays as it was.

    `shared` is for files that other processes may write at the same time: the last to end wins.

    Raises:
        OSError: naming `path` where the system names no file, as when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a kill leaves is written over; but two writers may not meet in one file.
    name = path.name
    if len(os.fsencode(name)) > _LONG:  # the system's limit is 255 bytes, of the temporary name too
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    part = path.with_name(f".{name}.{secrets.token_hex(4)}.part" if shared else f".{name}.part")
    try:
        with _named(path), part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add this file to errors of the system that name none, such as of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:  # without a number, a name would hide the message
            error.filename = str(path)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text, line ends as they are; names of files that are no UTF-8 as the bytes that they are.

    Raises:
        DataError: if `path` is no path.
        OSError: if the file cannot be written.
    """
    with replacing(as_path(path)) as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))


def files_below(folder: str | os.PathLike[str], *, broken: bool = False, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield every file below a folder, links followed, but none of hidden names, nor round in a circle.

    Args:
        folder: where to look.
        broken: yield the links that lead to no file instead.
        above: the true places of the folders that led to it.

    Raises:
        DataError: if `folder` is no path.
    """
    folder = as_path(folder, "folder")
    here = os.path.realpath(folder)
    if here in above or not os.path.isdir(here):
        return
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in seen:
        kind = _kind(entry)
        if kind == "folder":
            yield from files_below(Path(entry.path), broken=broken, above=(*above, here))
        elif kind == "file" if not broken else not kind and entry.is_symlink():
            yield Path(entry.path)


def _kind(entry: os.DirEntry[str]) -> str:
    """Return whether an entry is a folder or a file, or leads to one; empty: neither."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError:  # of a link, such as one that leads to itself
        return ""


class StepTable:
    """A CSV file of a run whose first column is the step; a row is handed to the system when it is added.

    The file is opened for each row, some microseconds, so that a run that breaks off leaves nothing open.
    """

    rows: list[list[str]]
    """The cells of the rows that were kept from before, without the header."""

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str], step: int) -> None:
        """Begin the file, or go on after `step` steps: rows written beyond them, by a killed run, are dropped.

        Raises:
            DataError: if `path` is no path, or the file to go on with has other columns.
        """
        self.path = path = as_path(path)
        header = ",".join(columns)
        kept = _rows_until(path, header, step) if step else []
        self.rows = [line.split(",") for line in kept]
        write_text(path, "".join(f"{line}\n" for line in [header, *kept]))

    def add(self, step: int, values: Sequence[float | str | None]) -> None:
        """Append a row, whole or not at all; a value that is not known is left empty.

        Raises:
            OSError: naming the file, if the disk is full.
        """
        # Nine digits distinguish every float32.
        cells = [v if isinstance(v, str) else "" if v is None else f"{v:.9g}" for v in values]
        left = (",".join([str(step), *cells]) + "\n").encode()
        with _named(self.path), self.path.open("ab", buffering=0) as file:  # a buffer would try once more as it closes
            whole = file.tell()
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                with suppress(OSError):  # the error reported is why the row could not be written
                    file.truncate(whole)  # half of it may stand there, and reports read this file
                raise


def _rows_until(path: Path, header: str, step: int) -> list[str]:
    """Return the rows of a CSV file up to a step. A last row torn by a kill is later than any checkpoint: dropped."""
    if not path.exists():
        return []
    first, *lines = read_own_text(path).split("\n")
    if first != header:
        raise DataError(f"{path}: its columns are not those of this run; move the file away and resume again")
    whole = lines[:-1]
    return [line for line in whole if line.split(",", 1)[0].isdigit() and int(line.split(",", 1)[0]) <= step]


def read_own_text(path: Path) -> str:
    """Return the text of a file that restorekit wrote, such as one of a run folder, with its line ends as they are.

    Raises:
        DataError: if it is damaged.
        OSError: if the system refuses it.
    """
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is damaged ({error}); restore a copy of it") from error


def read_own_json(path: Path) -> dict[str, Any]:
    """Return the JSON mapping that restorekit wrote to a file.

    Raises:
        DataError: if it is damaged.
        OSError: if the system refuses it.
    """
    try:
        found = json.loads(read_own_text(path))
    except ValueError as error:
        raise DataError(f"{path}: is damaged (not JSON: {error}); restore a copy of it") from error
    if not isinstance(found, dict):
        got = type(found).__name__
        raise DataError(f"{path}: is damaged (got a {got}, a mapping is required); restore a copy of it")
    return found


def cache_folder() -> Path:
    """Return the cache folder: RESTOREKIT_CACHE, else the system's folder for caches.

    Raises:
        OSError: if there is no such folder, for the user has no home.
    """
    if given := os.environ.get("RESTOREKIT_CACHE"):
        return Path(given)
    with suppress(RuntimeError):  # without a home, new releases of platformdirs raise it, older ones return ~
        if (path := user_cache_path("restorekit", appauthor=False)).is_absolute():
            return path
    raise OSError("this user has no home folder; set RESTOREKIT_CACHE")


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Return the size of a file, and when its content and its entry were changed, in nanoseconds.

    What is remembered of a file counts while these are the same. The time of its content can be set, as copying does;
    that of its entry cannot.

    Raises:
        OSError: if it is not there.
    """
    about = os.stat(path)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def add_to_cache(base: sqlite3.Connection | None, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Add rows to a table of a cache at once, in place of those with the same key; where it cannot be, time is lost.

    No other process waits meanwhile for longer than that takes. Paths are to be bytes: not every name is text.
    """
    if base is not None and rows:
        places = ", ".join("?" * len(rows[0]))
        with suppress(sqlite3.Error), base:
            base.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", rows)


@contextmanager
def cache_table(name: str, table: str) -> Iterator[sqlite3.Connection | None]:
    """Open the cache NAME.sqlite of `cache_folder`; `add_to_cache` adds to it.

    Args:
        name: of the file, without its ending.
        table: what CREATE TABLE takes after IF NOT EXISTS: the table and its columns.

    Yields:
        The database; None where there is none, which only costs time.
    """
    base = None
    with suppress(OSError, sqlite3.Error):
        cache_folder().mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(cache_folder() / f"{name}.sqlite", timeout=5)
        base.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    try:
        yield base
    finally:
        if base is not None:
            base.close()
