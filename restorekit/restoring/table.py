"""restored.csv: the source of each restored file of a folder, in agreement with the disk at every moment.

A restored file is first written into a hidden folder of its own, beside the table. Then its row is added, and then it
is moved to its place. What a kill leaves of this is completed, or removed, when the folder is opened next: a row whose
files still wait is moved on, files without a row are removed. One process has the folder at a time; any of its threads
may write into hidden folders, one thread adds rows.

Rows are read when the folder is opened and when it is closed. In between, memory holds the source of each place alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from restorekit.core.errors import DataError
from restorekit.io.files import replacing
from restorekit.io.tables import CsvWriter

__all__ = ["FILES", "HASHES", "LOCK", "MASK", "STAGE", "TABLE", "Table", "opened", "place_key", "written_below"]

TABLE = "restored.csv"
"""In the folder of restored files: a row for each."""
FIRST = ["file", "written", "error"]
"""Columns of every such table, whatever the run."""
MASK = "mask"
"""The column of the mask that was written beside a restored file, of runs that predict masks."""
HASHES = ("input_sha256", "settings_sha256", "written_sha256")
"""Columns by which a later call knows what is done: of the source, of model and options, and of the restored file."""
LOCK = ".restored.lock"
STAGE = ".restoring"
FILES = "files"
"""In a hidden folder: the files, in folders as below the output folder."""
READY = "row.json"
"""In a hidden folder: the row of the files that are complete there."""
ENCODING, ERRORS = "utf-8", "surrogateescape"
"""File names may hold bytes that are no UTF-8; they must come back as they were."""
MARK = "\ufeff"
"""The byte order mark with which spreadsheets begin a table that they save."""


def place_key(path: Path) -> str:
    """Return what two paths have in common if some file systems take them for one: case and Unicode form aside."""
    return unicodedata.normalize("NFC", os.path.abspath(path)).casefold()


def written_below(folder: Path) -> set[str] | None:
    """Return the real paths of the files that the table in `folder` lists as written; None without such a table."""
    try:
        header, rows, _ = _parsed(_text(folder / TABLE))
    except (OSError, ValueError, csv.Error):
        return None
    if not set(FIRST) <= set(header):
        return None
    places = [at for at, name in enumerate(header) if name in ("written", MASK)]
    return {os.path.realpath(_placed(folder, row[at])) for row in rows for at in places if row[at]}


def _placed(folder: Path, written: str) -> Path:
    """Return where a file that was written below `folder` is now, also if the folder was moved or copied since."""
    path, here = Path(written), Path(os.path.abspath(folder))
    real, home = Path(os.path.realpath(path.parent)) / path.name, Path(os.path.realpath(here))
    if path.is_absolute() and real.is_relative_to(home):  # the folder may have been named by a link
        return here / real.relative_to(home)
    parts = path.parts[1:] if path.is_absolute() else path.parts
    ends = (here.joinpath(*parts[at:]) for at in range(len(parts)))
    return next((end for end in ends if os.path.lexists(end)), path)


@contextmanager
def opened(folder: Path, columns: Sequence[str], later: Collection[str] = ()) -> Iterator[Table]:
    """Open the table of a folder, made if it is not there, for this process alone.

    Args:
        folder: where restored files go.
        columns: those of the table.
        later: those that tables of earlier versions lack. They are added, empty in the rows that are there.

    Raises:
        DataError: if another process has it, or its columns are others.
        OSError: if it cannot be written.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    try:
        new = not os.path.lexists(folder / TABLE)
        table = Table(folder, columns, later)
        try:
            yield table
        finally:
            table.close()
            if new and table.empty:
                with suppress(OSError):
                    (folder / TABLE).unlink()
    finally:
        with suppress(OSError):  # removed while it is held, so that nothing is left among the restored files
            (folder / LOCK).unlink()
        lock.release()
        if made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _locked(folder: Path) -> FileLock:
    while True:
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            where = f"{folder}: another process restores into it"
            raise DataError(f"{where}; wait for it, or choose another -o FOLDER") from error
        if (folder / LOCK).exists():
            return lock
        lock.release()  # the process that had it removed the file after we opened it: a lock that nobody else sees


class Table:
    """The rows of restored.csv, and their files."""

    def __init__(self, folder: Path, columns: Sequence[str], later: Collection[str] = ()) -> None:
        """Read the table, and make it agree with the disk.

        Raises:
            DataError: if the table has other columns.
        """
        self.folder = Path(os.path.abspath(folder))
        self.columns = list(columns)
        self._later = frozenset(later)
        self._path, self._stage = self.folder / TABLE, self.folder / STAGE
        self._rows: dict[tuple[str, str], list[str]] = {}
        """By place, ("", place); rows without a file by source, (source, "")."""
        self._owners: dict[str, str] = {}
        self._failed: set[str] = set()
        """Sources whose row has an error."""
        self._done: dict[str, tuple[str, ...]] = {}
        """By place: the source and `HASHES`, of rows that were there at the start."""
        self.empty = True
        self._outdated = False
        """The file differs from `_rows`: it holds rows that later ones replace, other places or columns."""
        self.gone = 0
        """Rows that were removed because their files are gone; their masks are removed with them."""
        self.unmasked = 0
        """Rows whose mask alone is gone; they name none now."""
        self._agree()

    def owner(self, target: Path) -> str | None:
        """Return the source from which `target`, a restored file or a mask, was made; None if it was not."""
        return self._owners.get(place_key(target))

    def done(self, target: Path) -> tuple[str, ...] | None:
        """Return the source and `HASHES` of a restored file, as the table had them at the start; None: not known."""
        return self._done.get(place_key(target))

    def stage(self, target: Path) -> Path:
        """Return where to write the file that will be `target`."""
        self.discard(target)
        path = self.staged_path(target)
        path.parent.mkdir(parents=True)
        return path

    def staged_path(self, target: Path) -> Path:
        """Return what `stage` returns, and make nothing."""
        return self._stage_of(target) / FILES / Path(os.path.abspath(target)).relative_to(self.folder)

    def staged(self, target: Path) -> list[Path]:
        """Return the places that the files written to `stage(target)` will take."""
        return [place for _, place in self._moves(self._stage_of(target))]

    def share(self) -> Path:
        """Return the hidden folder, made if it is not there, in which other processes may make folders of theirs."""
        self._stage.mkdir(parents=True, exist_ok=True)
        return self._stage

    def take(self, target: Path, made: Path) -> None:
        """Take a hidden folder of another process for what was written to `stage(target)`.

        Raises:
            OSError: if it is not there.
        """
        self.discard(target)
        os.rename(made, self._stage_of(target))

    def discard(self, target: Path) -> None:
        """Remove what was written to `stage(target)`."""
        shutil.rmtree(self._stage_of(target), ignore_errors=True)

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row and bring the files written to `stage`, if any, to their places: both, or on an error neither.

        Raises:
            OSError: naming the file, if the disk is full or a place cannot be taken.
        """
        cells = [row[column] for column in self.columns]
        stage = self._stage_of(Path(cells[1])) if cells[1] else None
        try:
            if stage is not None:  # no fsync: should it be lost, its row is removed, and the source restored again
                stage.mkdir(parents=True, exist_ok=True)
                (stage / READY).write_bytes(json.dumps(cells).encode())
            whole = self._append(cells)
        except OSError as error:
            self._drop(stage)
            error.filename = error.filename or str(self._path)
            raise
        try:
            if stage is not None:
                self._move(stage)
        except OSError:
            self._drop(stage)
            os.truncate(self._path, whole)
            raise
        self._note(cells)

    def close(self) -> None:
        """Make the table agree with the disk, one row for each file."""
        self._agree()  # an interruption may have come between the file and what is known of it

    @property
    def unpack(self) -> Path:
        """A hidden folder for files of archives, which is removed when the table is closed, or opened after a kill."""
        return self._stage / "unpacked"

    def _agree(self) -> None:
        self._read()
        self._recover()
        self.empty = not self._rows
        self._rows.clear()

    def _note(self, cells: Sequence[str]) -> None:
        """Remember what a new row replaces and has."""
        places = self._places(cells)
        self._outdated |= cells[0] in self._failed or any(key in self._owners for key, _ in places)
        self._owners |= places
        if not cells[1]:
            self._failed.add(cells[0])

    def _stage_of(self, target: Path) -> Path:
        """Return the hidden folder of the files that will be `target` and what belongs to it."""
        return self._stage / hashlib.sha256(os.fsencode(place_key(target))).hexdigest()[:20]

    def _drop(self, stage: Path | None) -> None:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)

    def _move(self, stage: Path) -> None:
        for staged, target in self._moves(stage):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, target)
        self._drop(stage)

    def _moves(self, stage: Path) -> list[tuple[Path, Path]]:
        home = stage / FILES
        files = sorted(path for path in home.rglob("*") if path.is_file())
        return [(path, self.folder / path.relative_to(home)) for path in files]

    def _recover(self) -> None:
        """Complete or remove unfinished files, and drop rows whose files are gone."""
        for ready in self._stage.glob(f"*/{READY}"):
            with suppress(OSError, ValueError, TypeError):
                cells = json.loads(ready.read_text("utf-8"))
                if self._rows.get(self._key(cells)) == cells:
                    self._move(ready.parent)
        shutil.rmtree(self._stage, ignore_errors=True)
        lost = [key for key, cells in self._rows.items() if cells[1] and not os.path.lexists(cells[1])]
        orphans = [mask for key in lost if (mask := self._mask(self._rows.pop(key)))]
        self.gone += len(lost)
        unmasked = self._forget_masks()
        self._owners = {place: owner for cells in self._rows.values() for place, owner in self._places(cells)}
        self._failed = {cells[0] for cells in self._rows.values() if not cells[1]}
        self._done = self._known()
        for mask in orphans:  # before its row: after a kill in between, the row is removed next time
            self._remove(Path(mask))
        if lost or unmasked or self._outdated or not self._path.is_file():
            self._write()

    def _known(self) -> dict[str, tuple[str, ...]]:
        """Return the source and the hashes of each place, of rows that have them."""
        if not set(HASHES) <= set(self.columns):
            return {}
        at = [self.columns.index(name) for name in HASHES]
        hashed = ((cells, [cells[i] for i in at]) for cells in self._rows.values() if cells[1])
        return {place_key(Path(cells[1])): (cells[0], *hashes) for cells, hashes in hashed if all(hashes)}

    def _mask(self, cells: Sequence[str]) -> str:
        """Return the mask that a row names; empty: none."""
        return cells[self.columns.index(MASK)] if MASK in self.columns else ""

    def _places(self, cells: Sequence[str]) -> list[tuple[str, str]]:
        """Return the places of a row, each with its source."""
        return [(place_key(Path(place)), cells[0]) for place in (cells[1], self._mask(cells)) if place]

    def _forget_masks(self) -> int:
        """Empty the cells of masks that are gone, and return how many there were."""
        gone = [cells for cells in self._rows.values() if (m := self._mask(cells)) and not os.path.lexists(m)]
        for cells in gone:
            cells[self.columns.index(MASK)] = ""
        self.unmasked += len(gone)
        return len(gone)

    def _remove(self, mask: Path) -> None:
        """Remove the mask of a lost image, if it lies in this folder and no other row has it."""
        inside = Path(os.path.abspath(mask)).is_relative_to(self.folder)
        if inside and place_key(mask) not in self._owners:
            with suppress(OSError):  # a mask that stays is refused as a place, by name
                mask.unlink()

    def _write(self) -> None:
        with replacing(self._path) as stream:
            stream.write(_csv(self.columns, *self._rows.values()))
        self._outdated = False

    def _read(self) -> None:
        self._rows.clear()
        if not os.path.lexists(self._path):
            return
        try:
            text = _text(self._path)
            header, rows, whole = _parsed(text)
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{self._path}: cannot be read as a table ({error}); choose another -o FOLDER") from error
        lacking = set(self.columns) - set(header)
        if set(header) - set(self.columns) or lacking - self._later or len(set(header)) < len(header):
            raise DataError(
                f"{self._path}: has other columns than this run writes, as the table of a run with other classes has: "
                f"got {', '.join(header) or 'none'}; allowed: {', '.join(self.columns)}. Choose another -o FOLDER"
            )
        self._outdated |= header != self.columns
        rows = [[dict(zip(header, cells, strict=True)).get(name, "") for name in self.columns] for cells in rows]
        for cells in rows:
            for at in (at for at, name in enumerate(self.columns) if name in ("written", MASK) and cells[at]):
                place = str(_placed(self.folder, cells[at]))
                self._outdated |= place != cells[at]
                cells[at] = place
            self._keep(cells)
        self._outdated |= not whole

    def _key(self, cells: Sequence[str]) -> tuple[str, str]:
        return ("", place_key(Path(cells[1]))) if cells[1] else (cells[0], "")

    def _keep(self, cells: list[str]) -> None:
        """Take a row in; it replaces that of the same place, and an earlier error of the source."""
        key = self._key(cells)
        for old in {key, (cells[0], "")}:
            self._outdated |= self._rows.pop(old, None) is not None
        self._rows[key] = cells

    def _append(self, cells: list[str]) -> int:
        """Append a row, whole or not at all, and return where it begins."""
        left = _csv(cells)
        with self._path.open("ab", buffering=0) as file:  # a buffer would be written once more as it closes
            whole = file.tell()
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(whole)
                raise
        return whole


def _text(path: Path) -> str:
    return path.read_bytes().decode(ENCODING, ERRORS).removeprefix(MARK)


def _parsed(text: str) -> tuple[list[str], list[list[str]], bool]:
    """Return the header, the complete rows, and whether that is all: a row that a kill cut off is left out."""
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=False))
    header = rows[0] if rows else []
    if rows and not text.endswith("\n"):
        rows.pop()
    whole = [row for row in rows[1:] if len(row) == len(header)]
    return header, whole, text.endswith("\n") and len(whole) == len(rows) - 1


def _csv(*rows: Sequence[str]) -> bytes:
    """Return rows as a table holds them."""
    stream = io.StringIO()
    CsvWriter(stream).writerows(rows)
    return stream.getvalue().encode(ENCODING, ERRORS)
