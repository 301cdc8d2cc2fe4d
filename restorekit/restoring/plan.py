"""What a call will restore: each file once, with its place below the output folder, or the reason why it has none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from restorekit.core.errors import STOPPING, DataError, RestorekitError, many, message_of
from restorekit.core.formats import Format
from restorekit.io.filetypes import FORMATS, SUFFIXES, format_by_name
from restorekit.restoring.contract import FileModel
from restorekit.restoring.inputs import ARCHIVE, Archive, Source, sources
from restorekit.restoring.masks import mask_place
from restorekit.restoring.table import LOCK, STAGE, TABLE, place_key, written_below

__all__ = ["Job", "jobs_of", "line_of", "same_file"]

NAMED = 3
"""Files that are named of each reason for which files are left out."""


@dataclass(frozen=True)
class Job:
    """One file to restore."""

    path: Path
    """Where its bytes are."""
    shown: str
    """How the table and messages call it."""
    target: Path
    note: str = ""
    mask: Path | None = None
    """Where the mask goes that is predicted of it; None: none is."""
    range: tuple[float, float] | None = None
    """Its values of black and white, where a manifest states them."""
    error: str = ""
    """Why it cannot be restored, where that is known beforehand."""
    unpacked: Path | None = None
    """A folder with its bytes alone, which `remove` removes; None: they stay."""

    def remove(self) -> None:
        """Remove what was unpacked of an archive."""
        _remove(self.unpacked)


def jobs_of(
    model: FileModel,
    inputs: Sequence[Path],
    folder: Path,
    as_format: str | None,
    unpack: Path,
    report: Callable[[str], None],
) -> tuple[int, Iterator[Job]]:
    """Return the number of files to restore, at most, and each once.

    Without archives all are found beforehand, and the number is exact. Files of archives are unpacked as they are
    taken, and who takes one removes it (`Job.remove`).

    Args:
        model: its format finds files and names restored copies.
        inputs: what the user named.
        folder: where restored files go.
        as_format: the format of restored images, a key of `FORMATS`; None: that of the source.
        unpack: a folder for the files of archives.
        report: called with a line for what is left out.

    Raises:
        DataError: if there is nothing, or every file would be written over itself.
    """
    products = _Products(folder)
    found = [*sources(inputs, model.format, unpack, products.look_inside)]
    for path in inputs:
        if path.is_dir():
            _report_skipped(model.format, path, report)
    planned = _Planned(model, folder, as_format, products, report)
    jobs = planned.jobs(chain.from_iterable([one] if isinstance(one, Source) else one for one in found))
    later = any(isinstance(one, Archive) for one in found)
    first = [*islice(jobs, 1 if later else None)]
    if not first:
        why = f" ({many(planned.left_out, 'file')} there written by restoring)" if planned.left_out else ""
        raise DataError(f"{', '.join(map(str, inputs))}: holds no file that this run can restore{why}")
    if not later and all(same_file(str(job.path), job.target) for job in first):
        raise DataError(f"{first[0].path}: would be overwritten; choose another -o FOLDER")
    count = sum(1 if isinstance(one, Source) else one.count for one in found) if later else len(first)
    return count, chain(first, jobs)


class _Planned:
    """Sources to jobs: what is restored already or named twice is left out, and no two have one place."""

    def __init__(
        self,
        model: FileModel,
        folder: Path,
        as_format: str | None,
        products: _Products,
        report: Callable[[str], None],
    ) -> None:
        self._format, self._dims = model.format, model.dims if model.masks else None
        self._folder, self._as_format, self._products, self._report = folder, as_format, products, report
        self._named: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self.left_out = self._repeated = 0

    def jobs(self, found: Iterable[Source]) -> Iterator[Job]:
        """Yield jobs, and report at the end what was left out."""
        for source in found:
            job = self._job(source)
            if job is None:
                _remove(source.unpacked)
            else:
                yield replace(job, unpacked=source.unpacked)
        if self.left_out:
            self._report(f"{many(self.left_out, 'file')} left out, written by restoring (see {TABLE})")
        if self._repeated:
            self._report(f"{many(self._repeated, 'file')} named more than once, restored once")

    def _job(self, source: Source) -> Job | None:
        """Return a job, which may have an error; None: the file is left out."""
        if source.error:
            return Job(source.path, source.shown, self._folder, error=source.error)
        if self._products.holds(Path(source.shown)):
            self.left_out += 1
            return None
        job = _job(self._format, source, self._folder, self._as_format)
        if source.unpacked is None and self._is_repeated(job):
            self._repeated += 1
            return None
        return job if job.error else self._placed(job)

    def _is_repeated(self, job: Job) -> bool:
        """True if a file was named before; else remember it."""
        path, real, key = os.path.abspath(job.path), os.path.realpath(job.path), place_key(job.target)
        if path in self._named or self._named.get(real) == key:
            return True
        self._named |= {path: key, real: key}
        return False

    def _placed(self, job: Job) -> Job:
        """Take the places of a file and of its mask, or give it the error that one is taken."""
        if self._dims is not None:
            job = replace(job, mask=mask_place(job.target, self._dims))
        targets = {place_key(target): target for target in (job.target, job.mask) if target is not None}
        if taken := next((at for at in targets if at in self._places), None):
            error = f"would be written to {targets[taken]}, as {self._places[taken]} is; choose another -o FOLDER"
            return replace(job, error=error)
        self._places |= dict.fromkeys(targets, job.shown)
        return job


def same_file(one: str, other: str | Path) -> bool:
    """True if two paths are of one file, links followed."""
    return os.path.realpath(one) == os.path.realpath(other)


def line_of(path: Path, shown: str, error: BaseException) -> str:
    """Return an error as one line that names the file."""
    text = message_of(error)
    if isinstance(error, MemoryError):
        text = "does not fit into memory"
    elif not isinstance(error, RestorekitError | OSError):
        text = f"cannot be restored ({type(error).__name__}: {text[:200]})"
    if shown != str(path):
        text = text.replace(str(path), shown)
    return text if text.startswith(shown) or f"'{shown}'" in text else f"{shown}: {text}"


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _report_skipped(format: Format, folder: Path, report: Callable[[str], None]) -> None:
    """Report files of a folder that are archives or look like images, and are not read: a few names a reason."""
    try:
        archives = [path for path in folder.rglob("*") if path.suffix.lower() == ARCHIVE]
        skipped = [*format.skipped(folder), *((path, "archives; name them as inputs") for path in archives)]
    except OSError as error:
        report(f"{folder}: cannot be searched for files that are left out ({error})")
        return
    reasons: dict[str, list[str]] = {}
    for path, reason in skipped:
        reasons.setdefault(reason, []).append(path.relative_to(folder).as_posix())
    for reason, names in reasons.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        report(f"{folder}: {many(len(names), 'file')} left out ({reason}): {', '.join(names[:NAMED])}{more}")


def _job(format: Format, source: Source, folder: Path, as_format: str | None) -> Job:
    path, name, shown = source.path, source.name, source.shown
    try:
        if path.exists() and not path.is_file():
            return Job(path, shown, folder / name, error="is no regular file")
        name, note = format.restored_name(path, name)
        if as_format is not None:
            name, note = _renamed(name, note, as_format)
    except STOPPING:
        raise
    except BaseException as error:  # a name may need a look into the file
        return Job(path, shown, folder / name, error=line_of(path, shown, error))
    target = folder / name
    if same_file(str(path), target):
        return Job(path, shown, target, error="would be overwritten; choose another -o FOLDER")
    first = name.parts[0] if name.parts else ""
    if place_key(Path(first)) in map(place_key, map(Path, (TABLE, LOCK, STAGE))):
        why = f"would be written to {target}, a name that restoring needs itself; rename it"
        return Job(path, shown, target, error=why)
    return Job(path, shown, target, note, range=source.range)


def _renamed(name: Path, note: str, as_format: str) -> tuple[Path, str]:
    """Return the name of a copy in another format, and a note.

    Raises:
        DataError: if it would be DICOM, and the source is not, or of a class that is not written.
    """
    before = format_by_name(name)
    if before == as_format:
        return name, note
    if as_format == "DICOM":
        raise DataError(f"format: got dicom; allowed for {before or 'this file'}: png, tiff, nifti, npy")
    stem = next((name.name[: -len(end)] for end in sorted(SUFFIXES, key=len, reverse=True)
                 if name.name.lower().endswith(end)), name.name)  # fmt: skip
    return name.with_name(stem + FORMATS[as_format].suffixes[0]), f"{before} written as {as_format}"


class _Products:
    """Files that restoring wrote: by the tables beside and above them, and by the output folder."""

    def __init__(self, folder: Path) -> None:
        self._known: dict[Path, set[str] | None] = {}
        self._home = os.path.realpath(folder)
        self._inside = False

    def look_inside(self, searched: Path) -> None:
        """Take all files of the output folder for restored ones if it lies inside a folder that is searched."""
        real = os.path.realpath(searched)
        self._inside |= real != self._home and Path(self._home).is_relative_to(real)

    def holds(self, path: Path) -> bool:
        """True if `path` is a restored file, or a table of such."""
        real = Path(os.path.realpath(path))
        if self._inside and real.is_relative_to(self._home):
            return True
        if path.name == TABLE and self._written(real.parent) is not None:
            return True
        return any(str(real) in (self._written(above) or ()) for above in real.parents)

    def _written(self, folder: Path) -> set[str] | None:
        if folder not in self._known:
            self._known[folder] = written_below(folder)
        return self._known[folder]
