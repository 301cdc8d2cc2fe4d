"""Restoring files: each to its own place below a folder, with a row in its table, or an error."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
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
from restorekit.core.formats import Frames, Intensity
from restorekit.io.derived import MARKED
from restorekit.io.files import as_path
from restorekit.io.filetypes import format_by_name
from restorekit.io.images import ImageFiles
from restorekit.io.intensity import carried_over, unstated_shape
from restorekit.io.quiet import without_warnings
from restorekit.restoring.anonymous import Anonymizer, anonymizer_for
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
from restorekit.restoring.frames import FramesMade
from restorekit.restoring.levels import LEVELS, levels_of, limits_note
from restorekit.restoring.masks import write_mask
from restorekit.restoring.plan import Job, jobs_of, line_of, same_file
from restorekit.restoring.table import HASHES, MASK, TABLE, Table, opened
from restorekit.restoring.text import Box, text_boxes, with_kept

__all__ = ["COLUMNS", "PRIVATE", "Row", "restore_files"]

PRIVATE = "private_left_out"
"""The column of private elements that a restored DICOM object has not."""
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
    *LEVELS,
    PRIVATE,
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
    levels: tuple[float, ...] = ()
    """The measures `LEVELS`, NaN where one is not defined; empty: nothing was measured."""
    private: int | None = None
    """Private elements at the top of a DICOM source, which the restored object has not; None: it is no DICOM."""


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
    measure: bool = False
    anonymizer: Anonymizer | None = None

    def hashed(self, model: FileModel, range: tuple[float, float] | None) -> str:
        """Return a hash of the model and of every option that decides what a file becomes."""
        kept = (self.times, self.window, range, self.scale, self.any_scale, self.strength, self.keep_text)
        more = ["measured"] if self.measure else []  # the same file, but another row
        if self.anonymizer is not None:
            more.append(self.anonymizer.digest)
        return sha256(json.dumps([model.settings(), *kept, *more]).encode()).hexdigest()


@dataclass(frozen=True)
class _Opened:
    """A file that was read."""

    image: Image
    intensity: Intensity
    prepared: Prepared
    text: tuple[Box, ...]
    hashes: tuple[str, str]
    """Of its bytes, and of the model and the options."""
    stamp: object
    """By which a file that changes while it is restored is noticed."""
    seconds: float


@dataclass(frozen=True)
class _OpenedFrames:
    """A file of frames, which are read as they are restored."""

    frames: Frames
    given: tuple[float, float] | None
    """Black and white, where the call or a manifest states them."""
    hashes: tuple[str, str]
    stamp: object
    seconds: float


@dataclass(frozen=True)
class _Finished:
    """What an image is stored as."""

    stored: Image
    intensity: Intensity
    levels: tuple[float, ...]
    notes: tuple[str, ...]
    change: float
    clipped: int


_Read = _Opened | _OpenedFrames
_Made = Restored | FramesMade


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
    measure: bool = False,
    anonymize: bool = False,
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
        measure: measure noise, blur, exposure and contrast before and after, for the table; it takes time.
        anonymize: replace what names a patient in DICOM files; see docs/restore.md for what stays.
        format: "png", "tiff", "dicom", "nifti" or "npy"; None: that of the source. "dicom" is for DICOM sources only.
        jobs: threads that read, and as many that write; None: as many as there are spare cores, at most 4. With
            another engine: in each of its processes.
        batch: images of one size in one call of the networks. More than 1 may change results by rounding.
        engine: where files are restored, and in which order; None: in threads of this process, in that of the inputs.
        unsuitable: called with each file; returns why the model must not restore it, empty if it may.
        report: called with a line for each thing that concerns the whole call, such as how many files were left out.
        planned: called with the number of files, before the first is restored; of an archive, that of all its files.

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
        check_flag("measure", measure),
        anonymizer_for(as_path(folder, "folder")) if check_flag("anonymize", anonymize) else None,
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
        count, jobs = jobs_of(model, inputs, folder, as_format, table.unpack, report)
        planned(count)
        call = Call(model, partial(_Restoring, options=options, batch=size[1]), table, *size, report)
        tasks = (_task(job, table) for job in jobs)
        recording = _Recording(model, table)
        with closing(engine.over(tasks, call)) as results:  # before the table: nobody writes any more
            for task, made in results:
                row = recording.recorded(task.job, made)
                task.job.remove()
                yield row


def _task(job: Job, table: Table) -> Task:
    """Return a file to restore, with what the table knows of its place."""
    try:
        conflict = "" if job.error else _conflict(job, table)
    except STOPPING:
        raise
    except BaseException as error:  # a hostile name costs its own file
        conflict = line_of(job.path, job.shown, error)
    return Task(job, conflict, table.done(job.target))


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

    def __init__(self, model: FileModel, options: _Options, batch: int = 1) -> None:
        self.model, self.options, self.batch = model, options, batch
        self._settings = options.hashed(model, options.range)
        self._series = replace(options, measure=False).hashed(model, options.range)

    @without_warnings()
    def read(self, task: Task) -> _Read:
        """Read a file and measure it; of a file of frames, its header.

        Raises:
            Kept: if an earlier call restored it in the same way.
            DataError: if it cannot be restored.
        """
        began, model, options, job = perf_counter(), self.model, self.options, task.job
        error = job.error or options.unsuitable(job.path) or task.conflict
        if error:
            raise DataError(error)
        given = options.range or job.range
        stamp = _stamp(model.format.files(job.path))
        hashes = _hashed(model.format.files(job.path)), self._hash_of(options, given)
        if self._is_done(task, hashes, given):
            raise Kept
        known = given or model.range
        frames = model.format.frames(job.path, job.target, range=known)
        if frames is not None:
            if model.masks:
                raise DataError("holds frames, whose masks are not written; allowed: files of one image")
            return _OpenedFrames(frames, given, hashes, stamp, perf_counter() - began)
        image, intensity = model.format.read(job.path, range=known, dims=model.dims)
        return self._opened(image, intensity, given, hashes, stamp, began)

    def _opened(
        self,
        image: Image,
        intensity: Intensity,
        given: tuple[float, float] | None,
        hashes: tuple[str, str],
        stamp: object,
        began: float,
    ) -> _Opened:
        """Check an image that was read, and bring it to what the networks take."""
        model, options, known = self.model, self.options, self.model.range
        if options.anonymizer is not None and intensity.format != "DICOM":
            raise DataError(f"anonymize: got {intensity.format or 'a file of a plugin'}; allowed: DICOM files")
        if given is None and known is not None:
            check_plausible(image, intensity)
            note = f"black is {known[0]:g} and white {known[1]:g}, as the run's data declares"
            intensity = replace(intensity, note="; ".join(filter(None, [intensity.note, note])))
        window = max(model.size) if options.window is None and model.format.windows and model.size else options.window
        prepared = model.prepared(
            image, times=options.times, window=window, scale=options.scale, any_scale=options.any_scale
        )
        text = tuple(text_boxes(image)) if options.keep_text else ()
        return _Opened(image, intensity, prepared, text, hashes, stamp, perf_counter() - began)

    def batch_key(self, read: _Read) -> object:
        """Return what is equal for images that may share a batch; a file of frames is alone."""
        return object() if isinstance(read, _OpenedFrames) else read.prepared.batch_key

    def _hash_of(self, options: _Options, given: tuple[float, float] | None) -> str:
        same = options is self.options and given == options.range
        return self._settings if same else options.hashed(self.model, given)

    def _is_done(self, task: Task, hashes: tuple[str, str], given: tuple[float, float] | None) -> bool:
        """True if the file was restored from the same bytes by the same settings, and the result is as it was.

        What was measured beside is not restored again by a call that does not measure.
        """
        job, known = task.job, task.known
        if known is None or known[1] != hashes[0]:
            return False
        settings = {hashes[1]}
        if not self.options.measure:
            settings.add(self._hash_of(replace(self.options, measure=True), given))
        return (
            known[2] in settings
            and job.target.is_file()
            and (job.mask is None or job.mask.is_file())
            and known[3] == _hashed(self.model.format.files(job.target))
        )

    def run(self, batch: list[_Read]) -> list[tuple[_Made, float]]:
        """Restore images of one size, and return with each its share of the time."""
        began = perf_counter()
        images = [one for one in batch if isinstance(one, _Opened)]
        made: list[_Made] = [self._run_frames(one) for one in batch if isinstance(one, _OpenedFrames)]
        made += self.model.restored_batch([one.prepared for one in images]) if images else []
        return [(one, (perf_counter() - began) / len(batch)) for one in made]

    @without_warnings()
    def _run_frames(self, read: _OpenedFrames) -> FramesMade:
        """Restore the frames of a file in their order; as floating point, memory holds those of one batch."""
        made: FramesMade | None = None
        count = read.frames.count
        for first in builtins.range(0, count, self.batch):
            opened = [
                self._opened(*read.frames.read(at), read.given, read.hashes, read.stamp, 0.0)
                for at in builtins.range(first, min(count, first + self.batch))
            ]
            for one, restored in zip(opened, self._restored_frames(opened), strict=True):
                done = self._finished(one, restored)
                read.frames.add(done.stored, done.intensity)
                made = FramesMade(one.intensity) if made is None else made
                notes = [one.intensity.note, restored.note, *done.notes]
                made.add(done.change, done.clipped, restored.spread, done.levels, notes, restored.prediction)
        assert made is not None
        return made

    def _restored_frames(self, opened: Sequence[_Opened]) -> list[Restored]:
        """Restore frames in one call of the networks if they have one batch_key, else each alone."""
        if all(one.prepared.batch_key == opened[0].prepared.batch_key for one in opened):
            return self.model.restored_batch([one.prepared for one in opened])
        return [self.model.restored_batch([one.prepared])[0] for one in opened]

    def _finished(self, read: _Opened, made: Restored) -> _Finished:
        """Return what a restored image is stored as, and what it is beside the source."""
        options, image, intensity = self.options, read.image, read.intensity
        stored, before = _as_stored(made.image, intensity), _as_stored(image, intensity)
        source = before
        if before.shape != stored.shape:
            before = self.model.enlarged(before, stored.shape[1:])
        if options.strength < 1:
            stored = before + np.float32(options.strength) * (stored - before)
        if read.text:
            stored = with_kept(stored, before, read.text, image.shape[1:])
        notes = (
            f"blended with the source: strength {options.strength:g}" if options.strength < 1 else "",
            f"{len(read.text)} places with text left as they were" if read.text else "",
        )
        about = "; ".join(filter(None, [self.model.about(image), *notes]))
        details = {**intensity.details, "derivation": about, "series": self._series, "finish": options.anonymizer}
        described = replace(intensity, details=details)
        levels = levels_of(source, stored) if options.measure else ()
        return _Finished(
            stored,
            _spaced(described, image, stored),
            levels,
            (*notes, limits_note(levels)),
            change=float(np.abs(stored - before).mean(dtype=np.float64)) / 2,
            clipped=int((np.abs(stored) > 1).sum()),
        )

    @without_warnings()
    def write(self, task: Task, read: _Read, found: tuple[_Made, float], place: Path) -> Row:
        """Write a restored image, or several frames, and its mask beside it."""
        began, job, (made, spent), mask = perf_counter(), task.job, found, ""
        done: FramesMade | _Finished
        if isinstance(read, _OpenedFrames):
            assert isinstance(made, FramesMade)
            read.frames.write(place)
            intensity, notes, done = made.intensity, made.notes, made
        else:
            assert isinstance(made, Restored)
            intensity, done = read.intensity, (finished := self._finished(read, made))
            notes = [intensity.note, made.note, *finished.notes]
            self.model.format.write(place, finished.stored, finished.intensity)
            mask = self._write_mask(job, place, made, _spaced(intensity, read.image, finished.stored))
        if _stamp(self.model.format.files(job.path)) != read.stamp:  # what was written may be of two images
            raise DataError("was changed or removed while it was restored; restore it again")
        digest = _hashed(self.model.format.files(place))
        bits, into = not self.model.format.windows, _written_as(job.target, intensity)
        if "derived" in intensity.details and format_by_name(job.target) not in MARKED:
            notes.append("the source was made from another image; this format cannot state it")
        notes.append(unstated_shape(intensity, format_by_name(job.target)))
        kept = into is intensity and intensity.format == "DICOM"
        if kept and intensity.details.get("shown"):
            notes.append(
                "values are stored as they are shown (VOI LUT or sigmoid window), no longer in those of the source"
            )
        return Row(
            job.shown,
            str(job.target),
            "",
            read.seconds + spent + perf_counter() - began,
            made.prediction,
            made.spread,
            "; ".join(filter(None, [job.note, *notes])),
            bits_read=_bits(intensity) if bits else None,
            bits_written=_bits(into) if bits else None,
            clipped=done.clipped,
            scale=self.options.scale,
            change=done.change,
            mask=mask,
            hashes=(*read.hashes, digest),
            levels=done.levels,
            private=intensity.details["private"] if kept else None,
        )

    def _write_mask(self, job: Job, place: Path, made: Restored, intensity: Intensity) -> str:
        """Write the predicted mask beside a restored image, and return its place; empty: there is none."""
        if made.mask is None:
            return ""
        if job.mask is None:
            what = type(self.model).__name__
            raise PluginError(f"{what}: got a mask; allowed: where `masks` is True and `dims` is known")
        write_mask(place.with_name(job.mask.name), made.mask, intensity)
        return str(job.mask)


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
                if error := _conflict(job, self.table):
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


def _stamp(files: Iterable[Path]) -> object:
    """Return what changes when one of several files is written; of a file that is gone nothing."""
    found = []
    for path in files:
        with suppress(FileNotFoundError):
            about = path.stat()
            found.append((about.st_mtime_ns, about.st_size, about.st_ino))
    return found


def _conflict(job: Job, table: Table) -> str:
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
        **dict.fromkeys(LEVELS),
        **{name: f"{level:.6g}" for name, level in zip(LEVELS, row.levels, strict=False) if level == level},
        PRIVATE: row.private,
    }
    found = [f"{row.prediction[name]:.6f}" if row.prediction else "" for name in model.outputs] if model.columns else []
    cells |= dict(zip(model.columns, found, strict=True))
    if model.masks:
        cells[MASK] = os.path.abspath(row.mask) if row.mask else ""
    return {name: "" if cell is None else str(cell) for name, cell in cells.items()}
