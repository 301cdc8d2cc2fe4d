"""What is to be restored: files, folders, patterns, ZIP archives, manifests, lists, and names on standard input.

Lists and archives are taken for hostile: no name leads out of the output folder, nothing is unpacked outside its own
folder, and sizes are limited.
"""

from __future__ import annotations

import csv
import glob
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from restorekit.core.errors import DataError, message_of
from restorekit.core.formats import Format
from restorekit.io.manifests import PARQUET, read_manifest

__all__ = ["Source", "sources"]

STDIN = "-"
LISTS = (".txt", ".lst")
MOST_NAMES = 1_000_000
"""Names that a list or a manifest, and files that an archive may hold."""
MOST_BYTES = 2**28
"""Of a list or a manifest."""
MOST_UNPACKED = 2**36
"""Bytes of all files of an archive, 64 GiB."""
MOST_RATIO = 200
"""Size of a file of an archive over its compressed size, for files of `SMALL` bytes or more."""
SMALL = 2**20
CHUNK = 2**20


@dataclass(frozen=True)
class Source:
    """A file to restore, or the reason why something that was named is none."""

    path: Path
    """Where its bytes are."""
    name: Path
    """The name of its restored copy, below the output folder."""
    shown: str
    """How messages and the table call it; of a file in an archive ARCHIVE/NAME."""
    range: tuple[float, float] | None = None
    """Its values of black and white, where a manifest states them."""
    error: str = ""


def sources(inputs: Sequence[Path], format: Format, unpack: Path, searched: Callable[[Path], None]) -> Iterator[Source]:
    """Yield every file that inputs name.

    Args:
        inputs: what the user named.
        format: which files of folders and archives are images.
        unpack: a folder for the files of archives, which need not exist; the caller removes it.
        searched: called with each folder before its files are yielded.
    """
    for at, path in enumerate(inputs):
        try:
            yield from _named(path, format, unpack / str(at), searched)
        except (DataError, OSError, zipfile.BadZipFile) as error:
            yield _refused(path, message_of(error))


def _named(path: Path, format: Format, unpack: Path, searched: Callable[[Path], None]) -> Iterator[Source]:
    suffix = path.suffix.lower()
    if str(path) == STDIN:
        yield from _listed(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input", Path(), format, searched)
    elif path.is_dir():
        yield from _folder(path, path, format, searched)
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        yield from _pattern(path, format, searched)
    elif suffix == ".zip" and path.is_file():
        yield from _archive(path, format, unpack)
    elif suffix in LISTS and path.is_file():
        with path.open("rb") as stream:
            yield from _listed(stream.read(MOST_BYTES + 1), str(path), path.parent, format, searched)
    elif suffix in PARQUET or (suffix == ".csv" and _is_manifest(path)):
        yield from _manifest(path)
    else:
        yield Source(path, Path(path.name), str(path))


def _refused(path: Path, why: str, member: str = "") -> Source:
    shown = f"{path}/{member}" if member else str(path)
    return Source(Path(shown), Path(path.name), shown, error=why if why.startswith(shown) else f"{shown}: {why}")


def _folder(path: Path, base: Path, format: Format, searched: Callable[[Path], None]) -> Iterator[Source]:
    try:
        found = format.find(path)
    except OSError as error:
        raise DataError(f"cannot be searched ({error})") from error
    searched(path)
    yield from (Source(file, file.relative_to(base), str(file)) for file in found)


def _pattern(path: Path, format: Format, searched: Callable[[Path], None]) -> Iterator[Source]:
    """Yield the files that a pattern matches, and those of folders that it does, as below its fixed part."""
    fixed = [*path.parts]
    while any(map(glob.has_magic, fixed)):
        fixed.pop()
    base = Path(*fixed)
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise DataError("no file matches the pattern")
    for match in map(Path, matches):
        if match.is_dir():
            yield from _folder(match, base, format, searched)
        else:
            yield Source(match, match.relative_to(base), str(match))


def _listed(
    content: bytes, where: str, base: Path, format: Format, searched: Callable[[Path], None]
) -> Iterator[Source]:
    """Yield what the lines of a list name: files and folders, relative to `base`."""
    _check_length(len(content), where)
    lines = [line for line in os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).splitlines() if line.strip()]
    if len(lines) > MOST_NAMES:
        raise DataError(f"{where}: holds {len(lines):,} names; allowed: {MOST_NAMES:,}")
    if not lines:
        raise DataError(f"{where}: names no file")
    for line in lines:
        if "\0" in line:
            yield _refused(Path(line.replace("\0", "?")), f"{where}: a name holds a NUL character")
            continue
        path = base / line
        try:
            if path.is_dir():
                yield from _folder(path, path, format, searched)
            else:
                yield Source(path, _inside(Path(line)), str(path))
        except (DataError, OSError) as error:  # such as of a name that is too long
            yield _refused(path, message_of(error))


def _is_manifest(path: Path) -> bool:
    """True if the first line of a CSV file has a column `path`; else it is a file of its own, such as a signal."""
    try:
        with path.open("rb") as stream:
            head = stream.readline(CHUNK).decode("utf-8-sig", "replace")
        return any(cell.strip().casefold() == "path" for row in csv.reader([head]) for cell in row)
    except (OSError, csv.Error):
        return False


def _manifest(path: Path) -> Iterator[Source]:
    _check_length(path.stat().st_size, str(path))
    rows, _ = read_manifest(path, take=("path", "low", "high"), must_exist=False)
    if len(rows) > MOST_NAMES:
        raise DataError(f"{path}: holds {len(rows):,} rows; allowed: {MOST_NAMES:,}")
    for row in rows:
        file = path.parent / row.path
        yield Source(file, _inside(Path(row.path)), str(file), row.range)


def _check_length(length: int, where: str) -> None:
    if length > MOST_BYTES:
        raise DataError(f"{where}: holds more than {MOST_BYTES:,} bytes; cut it into parts")


def _inside(name: Path) -> Path:
    """Return the name of a restored copy: that of a list, unless it leads elsewhere; then its last part."""
    leads = name.is_absolute() or ".." in name.parts
    return Path(name.name) if leads else name


def _archive(path: Path, format: Format, unpack: Path) -> Iterator[Source]:
    """Unpack an archive, and yield the files of its folders.

    Raises:
        DataError: if it holds more than is allowed; nothing of it is then restored.
    """
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _check_archive(path, members)
        unpack.mkdir(parents=True)
        for member in members:
            if why := _unsafe(member) or _unpacked(archive, member, unpack):
                yield _refused(path, why, member.filename)
    for file in format.find(unpack):
        name = file.relative_to(unpack)
        yield Source(file, name, str(path / name))


def _check_archive(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > MOST_NAMES or total > MOST_UNPACKED:
        raise DataError(
            f"{path}: holds {len(members):,} files of {total:,} bytes; allowed: {MOST_NAMES:,} files, "
            f"{MOST_UNPACKED:,} bytes; unpack it"
        )
    for member in members:
        if member.file_size >= SMALL and member.file_size > MOST_RATIO * member.compress_size:
            raise DataError(
                f"{path}: {member.filename} is compressed {member.file_size // max(1, member.compress_size)} times; "
                f"allowed: {MOST_RATIO} times; unpack it"
            )
    if total > MOST_RATIO * max(SMALL, path.stat().st_size):  # members that share compressed bytes
        raise DataError(f"{path}: its files are {total:,} bytes; allowed: {MOST_RATIO} times its own size; unpack it")


def _unsafe(member: zipfile.ZipInfo) -> str:
    """Return why a file of an archive is not unpacked; empty: it is."""
    name = member.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0] or "\0" in name:
        return f"its name {name!r} leads out of the archive's folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, which is not followed"
    if member.flag_bits & 1:
        return "is encrypted; unpack it"
    return ""


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> str:
    """Write a file of an archive below `folder`, and return why it cannot be; empty: it is there.

    Its size was checked; the library yields no more than the header states.
    """
    target = folder.joinpath(*PurePosixPath(member.filename.replace("\\", "/")).parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("xb") as stream:
            shutil.copyfileobj(packed, stream, CHUNK)
    except FileExistsError:
        return "another file of the archive has this name"
    except Exception as error:  # a damaged member makes the library raise anything, and half of it may be there
        target.unlink(missing_ok=True)
        return f"cannot be unpacked ({message_of(error)})"
    return ""
