"""Restoring files: each to its own place below a folder, with a row in its table, or an error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from math import ceil, log2
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import STOPPING, DataError, PluginError
from restorekit.core.formats import Intensity
from restorekit.io.files import as_path
from restorekit.io.filetypes import format_by_name
from restorekit.io.images import ImageFiles
from restorekit.io.intensity import carried_over
from restorekit.io.quiet import without_warnings
from restorekit.restoring.arguments import (
    ScaleMode,
    check_count,
    check_flag,
    check_format,
    check_range,
    check_scale,
    check_strength,
    check_times,
    check_window,
)
from restorekit.restoring.contract import FileModel, Prepared, Restored, check_plausible
from restorekit.restoring.engine import Call, Engine, Kept, Local, Stages, Task
from restorekit.restoring.masks import write_mask
from restorekit.restoring.plan import Job, jobs_of, line_of, same_file
from restorekit.restoring.table import HASHES, MASK, TABLE, Table, opened
from restorekit.restoring.text import Box, text_boxes, with_kept

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
    *HASHES,
)
"""Of restored.csv, before those of the prediction."""
LATER = COLUMNS[6:]
"""Those that the tables of version 1.0.0 lack."""


CHUNK = 2**20
Image = NDArray[np.float32]


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
    """Notes on how it was read and written, such as another name than the source has."""
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
    hashes: tuple[str, str, str] = ("", "", "")
    """SHA-256 of the source, of model and options, and of the restored file; empty: it was not restored."""
    skipped: bool = False
    """An earlier call restored it in the same way; the table has its row."""


@dataclass(frozen=True)
class _Options:
    times: int | None
    window: int | None
    range: tuple[float, float] | None
    scale: ScaleMode
    any_scale: bool
    strength: float
    keep_text: bool
    unsuitable: Callable[[Path], str]

    def hashed(self, model: FileModel, range: tuple[float, float] | None) -> str:
        """Return a hash of the model and of every option that decides what a file becomes."""
        kept = (self.times, self.window, range, self.scale, self.any_scale, self.strength, self.keep_text)
        return sha256(json.dumps([model.settings(), *kept]).encode()).hexdigest()


@dataclass(frozen=True)
class _Opened:
    """A file that was read."""

    image: Image
    intensity: Intensity
    prepared: Prepared
    text: tuple[Box, ...]
    hashes: tuple[str, str]
    """Of its bytes, and of the model and the options."""
    seconds: float


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
    strength: float = 1.0,
    keep_text: bool = False,
    format: str | None = None,
    jobs: int | None = None,
    batch: int = 1,
    engine: Engine | None = None,
    unsuitable: Callable[[Path], str] = lambda path: "",
    report: Callable[[str], None] = lambda line: None,
    planned: Callable[[int], None] = lambda count: None,
) -> Iterator[Row]:
    """Restore files, and the files of folders, to the same names below `folder`, and yield the result of each.

    One bad file does not stop the rest: whatever goes wrong with it becomes its row's error. `folder`/restored.csv gets
    a row as each file is done, and keeps those of earlier calls; it and the files in `folder` agree at every moment.
    A file that was restored from another source is not replaced. What an earlier call wrote is not restored again. What
    it restored from the same bytes, by the same model and options, is skipped: its row has `skipped`.

    Files are read and written by threads while the networks run.

    Args:
        model: what `load` returned.
        inputs: a file or a folder, or several; folders are searched to the bottom. Also patterns, such as
            "scans/**/*.png", ZIP archives, CSV manifests with a column `path`, lists (.txt) with a name in each line,
            and "-", such a list on standard input.
        folder: where restored files go.
        times: how often the translator is applied, from 1 on; None: as the recipe evaluates.
        window: the side of overlapping windows, for images larger than memory allows; None: each image whole, or, where
            the run's format declares it, in windows of the size of training.
        range: the values of black and white in the files; None: those that the run's data declares, if it does, and
            else what each file states.
        scale: "native" or "train", as for `Model.restore`.
        any_scale: restore also images that are much larger than the training images were.
        strength: share of the change that is made, from 0 to 1; 0: every value stays as it was.
        keep_text: leave places with burned-in text as they were; see `text_boxes` for how they are found.
        format: "png", "tiff", "dicom", "nifti" or "npy"; None: that of the source. "dicom" is for DICOM sources only.
        jobs: threads that read, and as many that write; None: as many as there are spare cores, at most 4. With
            another engine: in each of its processes.
        batch: images of one size in one call of the networks. More than 1 may change results by rounding.
        engine: where files are restored, and in which order; None: in threads of this process, in that of the inputs.
        unsuitable: called with each file; returns why the model must not restore it, empty if it may.
        report: called with a line for each thing that concerns the whole call, such as how many files were left out.
        planned: called with the number of files, before the first is restored.

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
        check_strength(strength),
        check_flag("keep_text", keep_text),
        unsuitable,
    )
    model.checked_arguments(times=times, window=window, scale=scale, any_scale=any_scale)
    size = None if jobs is None else check_count("jobs", jobs), check_count("batch", batch)
    kept = check_format(format, own=isinstance(model.format, ImageFiles))
    if engine is not None and not isinstance(engine, Engine):
        raise DataError(f"engine: got {type(engine).__name__}; allowed: an Engine of restorekit.restoring.engine")
    where, out = engine or Local(), as_path(folder, "folder")
    return _restore_all(model, _paths(inputs), out, options, kept, size, where, (report, planned))


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
    model: FileModel,
    inputs: Sequence[Path],
    folder: Path,
    options: _Options,
    as_format: str | None,
    size: tuple[int | None, int],
    engine: Engine,
    calls: tuple[Callable[[str], None], Callable[[int], None]],
) -> Iterator[Row]:
    report, planned = calls
    with opened(folder, _columns(model, folder / TABLE), LATER) as table:
        if table.gone:
            report(
                f"{folder / TABLE}: {table.gone} rows removed, for their files are gone; so are masks that they named"
            )
        if table.unmasked:
            report(f"{folder / TABLE}: {table.unmasked} masks are gone; to have them again, restore their images again")
        jobs = jobs_of(model, inputs, folder, as_format, table.unpack, report)
        planned(len(jobs))
        call = Call(model, partial(_Restoring, options=options), table, *size, report)
        tasks = (_task(job, table) for job in jobs)
        recording = _Recording(model, table)
        with closing(engine.over(tasks, call)) as results:  # before the table: nobody writes any more
            for task, made in results:
                yield recording.recorded(task.job, made)


def _task(job: Job, table: Table) -> Task:
    """Return a file to restore, with what the table knows of its place."""
    try:
        clash = "" if job.error else _clash(job, table)
    except STOPPING:
        raise
    except BaseException as error:  # a hostile name costs its own file
        clash = line_of(job.path, job.shown, error)
    return Task(job, clash, table.done(job.target))


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


class _Restoring(Stages):
    """The stages of one call."""

    def __init__(self, model: FileModel, options: _Options) -> None:
        self.model, self.options = model, options
        self._settings = options.hashed(model, options.range)

    @without_warnings()
    def read(self, task: Task) -> _Opened:
        """Read a file and measure it.

        Raises:
            Kept: if an earlier call restored it in the same way.
            DataError: if it cannot be restored.
        """
        began, model, options, job = perf_counter(), self.model, self.options, task.job
        error = job.error or options.unsuitable(job.path) or task.clash
        if error:
            raise DataError(error)
        given = options.range or job.range
        settings = self._settings if given == options.range else options.hashed(model, given)
        hashes = _hashed(model.format.files(job.path)), settings
        if self._is_done(task, hashes):
            raise Kept
        known = given or model.range
        image, intensity = model.format.read(job.path, range=known, dims=model.dims)
        if given is None and known is not None:
            check_plausible(image, intensity)
            note = f"black is {known[0]:g} and white {known[1]:g}, as the run's data declares"
            intensity = replace(intensity, note="; ".join(filter(None, [intensity.note, note])))
        window = max(model.size) if options.window is None and model.format.windows and model.size else options.window
        prepared = model.prepared(
            image, times=options.times, window=window, scale=options.scale, any_scale=options.any_scale
        )
        text = tuple(text_boxes(image)) if options.keep_text else ()
        return _Opened(image, intensity, prepared, text, hashes, perf_counter() - began)

    def alike(self, read: _Opened) -> object:
        """Return what is equal for images that may share a batch."""
        return read.prepared.alike

    def _is_done(self, task: Task, hashes: tuple[str, str]) -> bool:
        """True if the file was restored from the same bytes by the same settings, and the result is as it was."""
        job, known = task.job, task.known
        return (
            known is not None
            and known[1:3] == hashes
            and job.target.is_file()
            and (job.mask is None or job.mask.is_file())
            and known[3] == _hashed(self.model.format.files(job.target))
        )

    def run(self, batch: list[_Opened]) -> list[tuple[Restored, float]]:
        """Restore images of one size, and return with each its share of the time."""
        began = perf_counter()
        made = self.model.restored_batch([one.prepared for one in batch])
        return [(one, (perf_counter() - began) / len(batch)) for one in made]

    @without_warnings()
    def write(self, task: Task, read: _Opened, found: tuple[Restored, float], place: Path) -> Row:
        """Write a restored image, and its mask beside it."""
        began, options, job, (made, spent) = perf_counter(), self.options, task.job, found
        image, intensity = read.image, read.intensity
        stored, before = _as_stored(made.image, intensity), _as_stored(image, intensity)
        if before.shape != stored.shape:
            before = self.model.enlarged(before, stored.shape[1:])
        if options.strength < 1:
            stored = before + np.float32(options.strength) * (stored - before)
        if read.text:
            stored = with_kept(stored, before, read.text, image.shape[1:])
        notes = [
            f"blended with the source: strength {options.strength:g}" if options.strength < 1 else "",
            f"{len(read.text)} places with text left as they were" if read.text else "",
        ]
        about = "; ".join(filter(None, [self.model.about(image), *notes]))
        written = replace(intensity, details={**intensity.details, "derivation": about})
        self.model.format.write(place, stored, _spaced(written, image, stored))
        digest = _hashed(self.model.format.files(place))
        mask = ""
        if made.mask is not None:
            if job.mask is None:
                what = type(self.model).__name__
                raise PluginError(f"{what}: got a mask; allowed: where `masks` is True and `dims` is known")
            write_mask(place.with_name(job.mask.name), made.mask, _spaced(intensity, image, stored))
            mask = str(job.mask)
        bits = not self.model.format.windows
        return Row(
            job.shown,
            str(job.target),
            "",
            read.seconds + spent + perf_counter() - began,
            made.prediction,
            made.spread,
            "; ".join(filter(None, [job.note, intensity.note, made.note, *notes])),
            bits_read=_bits(intensity) if bits else None,
            bits_written=_bits(_written_as(job.target, intensity)) if bits else None,
            clipped=int((np.abs(stored) > 1).sum()),
            scale=options.scale,
            change=float(np.abs(stored - before).mean(dtype=np.float64)) / 2,
            mask=mask,
            hashes=(*read.hashes, digest),
        )


class _Recording:
    """What is done with the results of one call: files come to their places, rows into the table."""

    def __init__(self, model: FileModel, table: Table) -> None:
        self.model, self.table = model, table

    def recorded(self, job: Job, made: Row | BaseException) -> Row:
        """Bring a restored file to its place and add its row, or the row of its error."""
        if isinstance(made, Kept):
            return Row(job.shown, str(job.target), "", 0.0, None, None, skipped=True)
        if isinstance(made, Row):
            try:
                if error := _clash(job, self.table):
                    raise DataError(error)
                self.table.add(_cells(made, self.model))
                return made
            except STOPPING:
                raise
            except BaseException as error:
                made = error
        self.table.discard(job.target)
        line = line_of(job.path, job.shown, made)
        if not job.error:
            line = line.replace(str(self.table.staged_path(job.target)), str(job.target))
        row = Row(job.shown, "", line, 0.0, None, None)
        self.table.add(_cells(row, self.model))
        return row


def _hashed(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the bytes of files, one after the other; empty: one of them is not there."""
    hashed = sha256()
    try:
        for path in files:
            with path.open("rb") as stream:
                while part := stream.read(CHUNK):
                    hashed.update(part)
    except FileNotFoundError:  # the reader has the right words
        return ""
    return hashed.hexdigest()


def _clash(job: Job, table: Table) -> str:
    """Return why a file may not be written to its place; empty: it may."""
    places = [path for path in (job.target, job.mask) if path is not None]
    named = {os.path.abspath(path) for path in places}  # `staged` are absolute, and those may be relative
    for target in [*places, *(t for t in table.staged(job.target) if str(t) not in named)]:
        if not os.path.lexists(target) and table.owner(target) is None:
            continue
        source = table.owner(target) or _main_owner(job, target, table)
        if source is None:
            return f"would overwrite {target}, which restorekit did not write; choose another -o FOLDER"
        if not same_file(source, job.shown):
            moved = "" if os.path.lexists(source) else f", or delete it if {source}, no longer there, was moved"
            return f"would overwrite {target}, which was restored from {source}; choose another -o FOLDER{moved}"
    return ""


def _main_owner(job: Job, target: Path, table: Table) -> str | None:
    """Return the source of a file that stands beside a restored one, as the samples of a record beside its header."""
    if target == job.mask:  # has an owner of its own
        return None
    beside = os.path.abspath(target.parent) == os.path.abspath(job.target.parent)
    same = target.name.partition(".")[0] == job.target.name.partition(".")[0]
    return table.owner(job.target) if beside and same else None


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
        **dict(zip(HASHES, row.hashes, strict=True)),
    }
    found = [f"{row.prediction[name]:.6f}" if row.prediction else "" for name in model.outputs] if model.columns else []
    cells |= dict(zip(model.columns, found, strict=True))
    if model.masks:
        cells[MASK] = os.path.abspath(row.mask) if row.mask else ""
    return {name: "" if cell is None else str(cell) for name, cell in cells.items()}
