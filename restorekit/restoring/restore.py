"""Restoring files and folders: each file to its own place below a folder, with a row in its table, or an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import STOPPING, DataError, PluginError, RestorekitError, message_of
from restorekit.core.formats import Format, Intensity
from restorekit.io.files import as_path
from restorekit.io.filetypes import format_by_name
from restorekit.io.intensity import carried_over
from restorekit.restoring.arguments import (
    ScaleMode,
    check_flag,
    check_range,
    check_scale,
    check_times,
    check_window,
)
from restorekit.restoring.contract import FileModel, check_plausible
from restorekit.restoring.masks import mask_place, write_mask
from restorekit.restoring.table import LOCK, MASK, STAGE, TABLE, Table, opened, place_key, written_below

__all__ = ["COLUMNS", "Row", "restore_files"]

COLUMNS = (
    "file",
    "written",
    "error",
    "note",
    "seconds",
    "channel_spread",
    "bits_read",
    "bits_written",
    "clipped",
    "scale",
    "change",
)
"""Of restored.csv, before those of the prediction."""
LATER = COLUMNS[6:]
"""Those that the tables of version 1.0.0 lack."""


Image = NDArray[np.float32]
NAMED = 3
"""Files that are named of each reason for which files are left out."""


@dataclass(frozen=True)
class Row:
    """The result of one file: a row of restored.csv."""

    file: str
    written: str
    error: str
    seconds: float
    prediction: dict[str, float] | None
    spread: float | None
    note: str = ""
    """What there is to say of how it was read and written, such as another name than the source has."""
    bits_read: int | None = None
    """Significant bits of an integer in the source; None: the values are no integers, or it was not read."""
    bits_written: int | None = None
    """The same of the restored file."""
    clipped: int | None = None
    """Values that lay beyond black or white after restoring, and were cut when they were written."""
    scale: str = ""
    """At which scale it was restored: "native" or "train"."""
    mask: str = ""
    """Where the predicted mask was written; empty: none was."""
    change: float | None = None
    """Mean absolute difference between the restored and the read image, as a fraction of the range."""


@dataclass(frozen=True)
class _Job:
    """One file to restore."""

    path: Path
    target: Path
    note: str = ""
    mask: Path | None = None
    """Where the mask goes that is predicted of it; None: none is."""
    error: str = ""
    """Why it cannot be restored, where that is known beforehand."""


@dataclass(frozen=True)
class _Options:
    times: int | None
    window: int | None
    range: tuple[float, float] | None
    scale: ScaleMode
    any_scale: bool
    unsuitable: Callable[[Path], str]


def restore_files(
    model: FileModel,
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    times: int | None = None,
    window: int | None = None,
    range: Sequence[float] | None = None,
    scale: ScaleMode = "native",
    any_scale: bool = False,
    unsuitable: Callable[[Path], str] = lambda path: "",
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """Restore files, and the files of folders, to the same names below `folder`, and yield the result of each.

    One bad file does not stop the rest: whatever goes wrong with it becomes its row's error. `folder`/restored.csv gets
    a row as each file is done, and keeps those of earlier calls; it and the files in `folder` agree at every moment.
    A file that was restored from another source is not replaced. What an earlier call wrote is not restored again.

    Args:
        model: what `load` returned.
        inputs: a file or a folder, or several; folders are searched to the bottom.
        folder: where restored files go.
        times: how often the translator is applied, from 1 on; None: as the recipe evaluates.
        window: the side of overlapping windows, for images larger than memory allows; None: each image whole, or, where
            the run's format says so, in windows of the size of training.
        range: the values of black and white in the files; None: those that the run's data declares, if it does, and
            else what each file says.
        scale: "native" or "train", as for `Model.restore`.
        any_scale: restore also images that are much larger than the training images were.
        unsuitable: called with each file; returns why the model must not restore it, empty if it may.
        say: called with a line for each thing that concerns the whole call, such as how many files were left out.

    Raises:
        DataError: if an argument is not allowed, there is nothing to restore, every file would be written over itself,
            another process restores into `folder`, `folder` holds a table with other columns, or what the run predicts
            is called as a column of the table.
        OSError: if the table cannot be written; the file whose row it would be is then not written either.
    """
    if not isinstance(model, FileModel):
        raise DataError(f"model: got {type(model).__name__}; allowed: what restorekit.load returns")
    options = _Options(
        check_times(times, least=1),
        check_window(window),
        check_range(range),
        check_scale(scale),
        check_flag("any_scale", any_scale),
        unsuitable,
    )
    model.checked_arguments(times=times, window=window, scale=scale, any_scale=any_scale)
    return _restore_all(model, _paths(inputs), as_path(folder, "folder"), options, say)


def _paths(inputs: object) -> list[Path]:
    if isinstance(inputs, str | bytes | os.PathLike):
        return [as_path(inputs, "inputs")]
    if not isinstance(inputs, Iterable):
        raise DataError(f"inputs: got {inputs!r}; allowed: a path, or several, each as str or pathlib.Path")
    found = [as_path(path, f"inputs[{at}]") for at, path in enumerate(inputs)]
    if not found:
        raise DataError("inputs: got no path; allowed: one or more")
    return found


def _restore_all(
    model: FileModel, inputs: Sequence[Path], folder: Path, options: _Options, say: Callable[[str], None]
) -> Iterator[Row]:
    columns = _columns(model, folder / TABLE)
    jobs = _jobs(model, inputs, folder, say)
    with opened(folder, columns, LATER) as table:
        if table.gone:
            say(f"{folder / TABLE}: {table.gone} rows removed, for their files are gone; so are masks that they named")
        if table.unmasked:
            say(f"{folder / TABLE}: {table.unmasked} masks are gone; to have them again, restore their images again")
        for job in jobs:
            yield _recorded(model, job, options, table)


def _columns(model: FileModel, table: Path) -> list[str]:
    """Return the columns of the table.

    Raises:
        DataError: if a prediction would have the name of another column.
    """
    own = (*COLUMNS, MASK)
    taken = [name for at, name in enumerate(model.columns) if name in own or name in model.columns[:at]]
    if taken:
        raise DataError(
            f"{table}: a column would hold the prediction {taken[0]!r}, and the table has a column of that name; "
            f"allowed: names that differ from each other and from {', '.join(own)}. Rename it in the recipe's data, "
            "and train again"
        )
    return [*COLUMNS, *([MASK] if model.masks else model.columns)]


def _recorded(model: FileModel, job: _Job, options: _Options, table: Table) -> Row:
    """Restore one file, and add its row to the table."""
    began = perf_counter()
    try:
        error = job.error or options.unsuitable(job.path) or _clash(job, table)
        if error:
            raise DataError(error)
        row = _restored(model, job, options, table)
        row = replace(row, seconds=perf_counter() - began)
        table.add(_cells(row, model))
        return row
    except STOPPING:
        raise
    except BaseException as error:  # a library can raise anything, and the next file may be good
        table.discard()
        row = Row(str(job.path), "", _said(job.path, error), perf_counter() - began, None, None)
    table.add(_cells(row, model))
    return row


def _said(path: Path, error: BaseException) -> str:
    """Return an error as one line that names the file."""
    text = message_of(error)
    if isinstance(error, MemoryError):
        text = "does not fit into memory"
    elif not isinstance(error, RestorekitError | OSError):
        text = f"cannot be restored ({type(error).__name__}: {text[:200]})"
    return text if text.startswith(str(path)) or f"'{path}'" in text else f"{path}: {text}"


def _clash(job: _Job, table: Table) -> str:
    """Return why a file may not be written to its place; empty: it may."""
    places = [path for path in (job.target, job.mask) if path is not None]
    named = {os.path.abspath(path) for path in places}  # `staged` are absolute, and those may be relative
    for target in [*places, *(t for t in table.staged() if str(t) not in named)]:
        if not os.path.lexists(target) and table.owner(target) is None:
            continue
        source = table.owner(target) or _main_owner(job, target, table)
        if source is None:
            return f"would overwrite {target}, which restorekit did not write; choose another -o FOLDER"
        if not _same_file(source, job.path):
            moved = "" if os.path.lexists(source) else f", or delete it if {source}, no longer there, was moved"
            return f"would overwrite {target}, which was restored from {source}; choose another -o FOLDER{moved}"
    return ""


def _main_owner(job: _Job, target: Path, table: Table) -> str | None:
    """Return the source of a file that stands beside a restored one, as the samples of a record beside its header."""
    if target == job.mask:  # has an owner of its own
        return None
    beside = os.path.abspath(target.parent) == os.path.abspath(job.target.parent)
    same = target.name.partition(".")[0] == job.target.name.partition(".")[0]
    return table.owner(job.target) if beside and same else None


def _same_file(one: str, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _restored(model: FileModel, job: _Job, options: _Options, table: Table) -> Row:
    known, format = options.range or model.range, model.format
    window = max(model.size) if options.window is None and format.windows and model.size else options.window
    image, intensity = format.read(job.path, range=known, dims=model.dims)
    if options.range is None and known is not None:
        check_plausible(image, intensity)
    made = model.restored(image, times=options.times, window=window, scale=options.scale, any_scale=options.any_scale)
    stored = _as_stored(made.image, intensity)
    before = _as_stored(image, intensity)
    if before.shape != stored.shape:
        before = model.enlarged(before, stored.shape[1:])
    staged = table.stage(job.target)
    written = replace(intensity, details={**intensity.details, "derivation": model.about(image)})
    format.write(staged, stored, _spaced(written, image, stored))
    mask = ""
    if made.mask is not None:
        if job.mask is None:
            raise PluginError(f"{type(model).__name__}: got a mask; allowed: where `masks` is True and `dims` is known")
        write_mask(staged.with_name(job.mask.name), made.mask, _spaced(intensity, image, stored))
        mask = str(job.mask)
    if error := _clash(job, table):
        raise DataError(error)
    ranged = known is not None and options.range is None
    declared = f"black is {known[0]:g} and white {known[1]:g}, as the run's data declares" if known and ranged else ""
    return Row(
        str(job.path),
        str(job.target),
        "",
        0.0,
        made.prediction,
        made.spread,
        "; ".join(filter(None, [job.note, intensity.note, declared, made.note])),
        bits_read=None if format.windows else _bits(intensity),
        bits_written=None if format.windows else _bits(_written_as(job.target, intensity)),
        clipped=int((np.abs(stored) > 1).sum()),
        scale=options.scale,
        change=float(np.abs(stored - before).mean(dtype=np.float64)) / 2,
        mask=mask,
    )


def _spaced(intensity: Intensity, image: Image, made: Image) -> Intensity:
    """Return the record of an image for a restored one, whose values lie nearer to each other if it is larger."""
    if intensity.spacing is None:
        return intensity
    sizes = zip(intensity.spacing, image.shape[1:], made.shape[1:], strict=True)
    return replace(intensity, spacing=tuple(step * old / new for step, old, new in sizes))


def _as_stored(image: Image, intensity: Intensity) -> Image:
    return image if image.shape[0] == intensity.channels else image.mean(axis=0, keepdims=True)


def _written_as(target: Path, intensity: Intensity) -> Intensity:
    """Return the record by which an image is written, as `write_image` does where a file becomes another format."""
    return intensity if format_by_name(target) == intensity.format else carried_over(intensity)


def _bits(intensity: Intensity) -> int | None:
    """Return the significant bits of integers: as stated, else those that hold the range; None for other values."""
    dtype = np.dtype(intensity.dtype)
    if intensity.bits is not None or dtype.kind not in "ui":
        return intensity.bits
    if dtype.itemsize == 1:
        return 8
    return min(8 * dtype.itemsize, max(1, ceil(log2(intensity.high - intensity.low + 1))))


def _jobs(model: FileModel, inputs: Sequence[Path], folder: Path, say: Callable[[str], None]) -> list[_Job]:
    """Return what is to be restored, each file once, with its place or the reason why it has none."""
    format, dims = model.format, model.dims if model.masks else None
    products = _Products(folder)
    jobs: list[_Job] = []
    named: dict[str, str] = {}
    places: dict[str, Path] = {}
    left_out = repeated = 0
    for path, name in _found(format, inputs, products):
        if isinstance(name, str):
            jobs.append(_Job(path, folder, error=name))
            continue
        if products.holds(path):
            left_out += 1
            continue
        job = _job(format, path, name, folder)
        real, key = os.path.realpath(path), place_key(job.target)
        if os.path.abspath(path) in named or named.get(real) == key:
            repeated += 1
            continue
        named |= {os.path.abspath(path): key, real: key}
        if dims is not None and not job.error:
            job = replace(job, mask=mask_place(job.target, dims))
        targets = {place_key(target): target for target in (job.target, job.mask) if target is not None}
        if not job.error and (taken := next((at for at in targets if at in places), None)):
            said = f"would be written to {targets[taken]}, as {places[taken]} is; choose another -o FOLDER"
            job = replace(job, error=said)
        if not job.error:
            places |= dict.fromkeys(targets, path)
        jobs.append(job)
    for path in inputs:
        if path.is_dir():
            _report_skipped(format, path, say)
    if left_out:
        say(f"{left_out} files left out: they were written by restoring (see {TABLE})")
    if repeated:
        say(f"{repeated} files are named more than once; each is restored once")
    if not jobs:
        why = f"; {left_out} files there were written by restoring" if left_out else ""
        raise DataError(f"{', '.join(map(str, inputs))}: holds no file that this run can restore{why}")
    if all(_same_file(str(job.path), job.target) for job in jobs):
        raise DataError(f"{jobs[0].path}: would be overwritten; choose another -o FOLDER")
    return jobs


def _report_skipped(format: Format, folder: Path, say: Callable[[str], None]) -> None:
    """Report files of a folder that look like images and are not read, by reason, with a few names each."""
    try:
        skipped = format.skipped(folder)
    except OSError as error:
        say(f"{folder}: cannot be searched for files that are left out ({error})")
        return
    reasons: dict[str, list[str]] = {}
    for path, reason in skipped:
        reasons.setdefault(reason, []).append(path.relative_to(folder).as_posix())
    for reason, names in reasons.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        say(f"{folder}: {len(names)} files left out ({reason}): {', '.join(names[:NAMED])}{more}")


def _job(format: Format, path: Path, name: Path, folder: Path) -> _Job:
    try:
        if path.exists() and not path.is_file():
            return _Job(path, folder / name, error="is no regular file")
        name, note = format.restored_name(path, name)
    except STOPPING:
        raise
    except BaseException as error:  # a name may need a look into the file
        return _Job(path, folder / name, error=_said(path, error))
    target = folder / name
    if _same_file(str(path), target):
        return _Job(path, target, error="would be overwritten; choose another -o FOLDER")
    first = name.parts[0] if name.parts else ""
    if place_key(Path(first)) in map(place_key, map(Path, (TABLE, LOCK, STAGE))):
        return _Job(path, target, error=f"would be written to {target}, a name that restoring needs itself; rename it")
    return _Job(path, target, note)


def _found(format: Format, inputs: Sequence[Path], products: _Products) -> Iterator[tuple[Path, Path | str]]:
    """Yield every file with the name that its restored copy gets, or the reason why a folder cannot be searched."""
    for path in inputs:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        try:
            found = format.find(path)
        except OSError as error:
            yield path, f"cannot be searched ({error})"
            continue
        products.look_inside(path)
        yield from ((file, file.relative_to(path)) for file in found)


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


def _cells(row: Row, model: FileModel) -> dict[str, str]:
    """Return a row as the table holds it: with absolute paths, for the table may be read from anywhere."""
    cells: dict[str, Any] = {
        "file": os.path.abspath(row.file),
        "written": os.path.abspath(row.written) if row.written else "",
        "error": row.error,
        "note": row.note,
        "seconds": f"{row.seconds:.3f}",
        "channel_spread": None if row.spread is None else f"{row.spread:.6f}",
        "bits_read": row.bits_read,
        "bits_written": row.bits_written,
        "clipped": row.clipped,
        "scale": row.scale,
        "change": None if row.change is None else f"{row.change:.6f}",
    }
    found = [f"{row.prediction[name]:.6f}" if row.prediction else "" for name in model.outputs] if model.columns else []
    cells |= dict(zip(model.columns, found, strict=True))
    if model.masks:
        cells[MASK] = os.path.abspath(row.mask) if row.mask else ""
    return {name: "" if cell is None else str(cell) for name, cell in cells.items()}
