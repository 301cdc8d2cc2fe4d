"""What is to be restored: files, folders, patterns, ZIP archives, manifests, lists, and names on standard input.

Lists and archives are taken for hostile: no name leads out of the output folder, nothing is unpacked outside its own
folder, and sizes are limited. The files of an archive are unpacked one at a time, as they are taken.
"""

from __future__ import annotations

import codecs
import csv
import glob
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from restorekit.core.errors import DataError, message_of
from restorekit.core.formats import Format
from restorekit.io.manifests import PARQUET, read_manifest

__all__ = ["ARCHIVE", "Archive", "Source", "sources"]

STDIN = "-"
LISTS = (".txt", ".lst")
ARCHIVE = ".zip"
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
    unpacked: Path | None = None
    """A folder that holds nothing but this file of an archive; who restores it removes the folder then. None: the file
    stays."""


@dataclass(frozen=True)
class Archive:
    """A ZIP archive whose files are unpacked one at a time: iterating writes each just before it is yielded."""

    path: Path
    format: Format
    """Which of its files are images."""
    folder: Path
    """Where they are unpacked, each into a folder of its own."""
    count: int
    """Its files, images or not."""

    def __iter__(self) -> Iterator[Source]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = _checked(self.path, archive)
                yield from (_refused(self.path, why, name) for name, why in found.refused)
                for at, (parts, member) in enumerate(found.members):
                    source = self._source(archive, found, parts, member, self.folder / str(at))
                    if source is not None:
                        yield source
        except (DataError, OSError, zipfile.BadZipFile) as error:  # it was changed since it was found
            yield _refused(self.path, message_of(error))

    def _source(
        self, archive: zipfile.ZipFile, found: _Members, parts: Parts, member: zipfile.ZipInfo, folder: Path
    ) -> Source | None:
        """Unpack a file; None: it is no image, and gone again."""
        target, name = folder.joinpath(*parts), Path(*parts)
        why = _unpacked(archive, member, target)
        if not why:
            try:
                for beside in found.beside(parts):
                    target.with_name(beside).touch()
                if target in self.format.find(folder):
                    return Source(target, name, str(self.path / name), unpacked=folder)
            except (DataError, OSError) as error:
                why = f"cannot be searched ({message_of(error)})"
        shutil.rmtree(folder, ignore_errors=True)
        return _refused(self.path, why, member.filename) if why else None


def sources(
    inputs: Sequence[Path], format: Format, unpack: Path, searched: Callable[[Path], None]
) -> Iterator[Source | Archive]:
    """Yield every file that inputs name; of an archive, the archive, if its files can be unpacked one at a time.

    An archive is unpacked whole if the format may make an image of several files (`Format.files`).

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


def _named(path: Path, format: Format, unpack: Path, searched: Callable[[Path], None]) -> Iterator[Source | Archive]:
    suffix = path.suffix.lower()
    if str(path) == STDIN:
        yield from _listed(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input", Path(), format, searched)
    elif path.is_dir():
        yield from _folder(path, path, format, searched)
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        yield from _pattern(path, format, searched)
    elif suffix == ARCHIVE and path.is_file():
        yield from _archive(path, format, unpack)
    elif suffix in LISTS and path.is_file():
        with path.open("rb") as stream:
            yield from _listed(stream.read(MOST_BYTES + 1), str(path), path.parent, format, searched)
    elif suffix in PARQUET or (suffix == ".csv" and _is_manifest(path)):
        yield from _manifest(path)
    else:
        yield Source(path, Path(path.name), str(path))


def _refused(path: Path, why: str, member: str = "") -> Source:
    inside = member and ".." not in PurePosixPath(member.replace("\\", "/")).parts  # else it would name another file
    shown = f"{path}/{member}" if inside else str(path)
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
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{where}: is text in UTF-16; save it as UTF-8")
    lines = [os.fsdecode(line) for line in _lines(content.removeprefix(b"\xef\xbb\xbf")) if line.strip()]
    if len(lines) > MOST_NAMES:
        raise DataError(f"{where}: holds {len(lines):,} names; allowed: {MOST_NAMES:,}")
    if not lines:
        raise DataError(f"{where}: names no file")
    for line in lines:
        path = base / line
        try:
            if path.is_dir():
                yield from _folder(path, path, format, searched)
            else:
                yield Source(path, _inside(Path(line)), str(path))
        except (DataError, OSError) as error:  # such as of a name that is too long
            yield _refused(path, message_of(error))


def _lines(content: bytes) -> list[bytes]:
    """Return the names of a list: ended by NUL, as `find -print0` does, or by the ends of lines.

    Other characters that part lines of text, such as U+2028 and form feed, may stand in names.
    """
    return content.split(b"\0") if b"\0" in content else content.splitlines()


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


Parts: TypeAlias = tuple[str, ...]
"""A name in an archive: that of its folders, then its own."""


@dataclass(frozen=True)
class _Members:
    """The files of an archive."""

    members: list[tuple[Parts, zipfile.ZipInfo]]
    """Those that may be unpacked, by name."""
    refused: list[tuple[str, str]]
    """The names of the others, with the reason."""
    names: frozenset[Parts]

    def beside(self, parts: Parts) -> list[str]:
        """Return the names in the same folder with which a name begins, up to a point: a.tif of a.tif.mask.png.

        By these a format may know that a file is none of its images.
        """
        pieces = parts[-1].split(".")
        begins = (".".join(pieces[:at]) for at in range(1, len(pieces)))
        return [name for name in begins if (*parts[:-1], name) in self.names]


def _archive(path: Path, format: Format, unpack: Path) -> Iterator[Source | Archive]:
    """Yield an archive, or unpack it whole and yield its images.

    Raises:
        DataError: if it holds more than is allowed; nothing of it is then restored.
    """
    with zipfile.ZipFile(path) as archive:
        found = _checked(path, archive)
        if type(format).files is Format.files:
            yield Archive(path, format, unpack, len(found.members) + len(found.refused))
            return
        yield from (_refused(path, why, name) for name, why in found.refused)
        unpack.mkdir(parents=True)
        for parts, member in found.members:
            if why := _unpacked(archive, member, unpack.joinpath(*parts)):
                yield _refused(path, why, member.filename)
    for file in format.find(unpack):
        name = file.relative_to(unpack)
        yield Source(file, name, str(path / name))


def _checked(path: Path, archive: zipfile.ZipFile) -> _Members:
    """Return the files of an archive.

    Raises:
        DataError: if it holds more than is allowed.
    """
    files = [member for member in archive.infolist() if not member.is_dir()]
    _check_archive(path, files)
    members: dict[Parts, zipfile.ZipInfo] = {}
    refused = []
    for member in files:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        why = _unsafe(member)
        if not why and parts in members:
            why = "another file of the archive has this name"
        if why:
            refused.append((member.filename, why))
        else:
            members[parts] = member
    for parts in [parts for parts in members if any(parts[:at] in members for at in range(1, len(parts)))]:
        refused.append((members.pop(parts).filename, "a file of the archive has the name of its folder"))
    return _Members(sorted(members.items(), key=lambda one: one[0]), refused, frozenset(members))


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
    if PurePosixPath(name).suffix.lower() == ARCHIVE:
        return "is an archive in an archive; unpack it"
    return ""


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    """Write a file of an archive, and return why it cannot be; empty: it is there.

    Its size was checked; the library yields no more than the header states.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("xb") as stream:
            shutil.copyfileobj(packed, stream, CHUNK)
    except FileExistsError:  # where capital letters make no difference
        return "another file of the archive has this name"
    except Exception as error:  # a damaged member makes the library raise anything, and half of it may be there
        with suppress(OSError):
            target.unlink()
        return f"cannot be unpacked ({message_of(error)})"
    return ""
