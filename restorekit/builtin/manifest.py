"""A dataset from a table: one row per image, with its domain, patient, split, source and targets."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from restorekit import (
    HAS_MASK,
    UNLABELLED,
    DataError,
    Dataset,
    Factory,
    FileDataset,
    Format,
    ManifestRow,
    RecipeError,
    Record,
    Sample,
    Task,
    conformance_case,
    hookimpl,
    read_image,
    read_manifest,
    sorted_classes,
    to_stored,
    write_image,
)

__all__ = ["manifest"]

Fraction = Annotated[float, Field(ge=0, lt=1)]
Bits = Annotated[int, Field(ge=8, le=16)]
Names = Annotated[list[str], Field(min_length=1)]
MOST = 255
"""Highest value of a pixel in a mask."""
ROUNDING = 1e-3
"""How far a value of a mask may be from a whole number: more than float32 loses between 0 and 255."""
Value = Annotated[int, Field(ge=0, le=MOST)]
KINDS: Mapping[str, Literal["numbers", "labels", "mask"]] = {
    "target": "numbers",
    "numbers": "numbers",
    "labels": "labels",
    "mask": "mask",
}
"""The kind of task that an option asks for."""


@dataclass(frozen=True)
class Masks:
    """The masks that a column of a manifest names."""

    column: str
    values: tuple[int, ...]
    """The value of each class in the files."""
    ignore: int | None
    """The value of pixels whose class is not known."""

    def read(self, path: Path) -> Tensor:
        """Return the class of each pixel, (*S) int64.

        Raises:
            DataError: if the file cannot be read, has colours, or holds a value that is none of a class.
        """
        stored = _whole(path)
        if not (stored == stored[:1]).all():
            raise DataError(f"{path}: has colours; a mask has one channel, with a whole number for each class")
        found = torch.full(stored.shape[1:], UNLABELLED - 1)
        for index, value in enumerate(self.values):
            found[stored[0] == value] = index
        if self.ignore is not None:
            found[stored[0] == self.ignore] = UNLABELLED
        if (found < UNLABELLED).any():
            wrong = int(stored[0][found < UNLABELLED][0])
            listed = ", ".join(map(str, self.values))
            hint = "give the value of each class in mask_values, or that of unknown pixels in mask_ignore"
            raise DataError(f"{path}: holds {wrong}; the values of the classes are {listed}; {hint}")
        return found


def _whole(path: Path) -> Tensor:
    """Return what a file of whole numbers from 0 to 255 stores, (C, *S) int64, whatever its type.

    Raises:
        DataError: if the file cannot be read, or a value is no whole number.
    """
    image, intensity = read_image(path, range=(0, MOST))
    stored = to_stored(image, intensity)
    whole = np.rint(stored)  # values of floating point were mapped to [-1, 1] and back, so they are near, not equal
    wrong = np.abs(stored - whole) > ROUNDING
    if wrong.any():
        value = float(stored[wrong][0])
        raise DataError(f"{path}: holds {value:g}; a mask has a whole number from 0 to {MOST} for each class")
    return torch.from_numpy(whole.astype("int64"))


class Manifest(FileDataset):
    """Some of the images that a manifest names; a key is a path as the manifest writes it."""

    def __init__(
        self,
        base: Path,
        rows: Sequence[ManifestRow],
        task: Task,
        masks: Masks | None = None,
        range: list[float] | None = None,
        format: Format | None = None,
        bits: int | None = None,
        beyond: Literal["refuse", "clip"] = "refuse",
        every: Sequence[ManifestRow] = (),
    ) -> None:
        ranges = {row.path: row.range for row in every if row.range is not None}
        files = [base / row.path for row in every]
        super().__init__(base, range, format, bits=bits, beyond=beyond, ranges=ranges, files=files)
        self.task, self.masks = task, masks
        self.classes = task.named("class")
        self._masks = [None if masks is None else _mask_of(r, masks, base) for r in rows]
        targets = [_target(r, task, mask is not None) for r, mask in zip(rows, self._masks, strict=True)]
        self.records = [Record(r.path, of, r.patient, r.source) for r, of in zip(rows, targets, strict=True)]

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index`, (C, *S), as its file stores it, with its mask; nothing is left to `rng`."""
        sample, path = super().load(index, rng), self._masks[index]
        return sample if path is None or self.masks is None else replace(sample, target=self.masks.read(path))

    def skipped(self) -> Sequence[tuple[Path, str]]:
        """Nothing: the table names its files one by one."""
        return []


def _target(row: ManifestRow, task: Task, has_mask: bool) -> float | tuple[float, ...]:
    if task.kind == "none":
        return UNLABELLED
    if task.kind == "mask":
        return HAS_MASK if has_mask else UNLABELLED
    if task.kind == "class":
        return UNLABELLED if row.label is None else task.names.index(row.label)
    if task.kind == "numbers":
        found = tuple(_number(row, name, row.more.get(name)) for name in task.names)
        return found[0] if task.single else found
    return tuple(_label(row, name, row.more.get(name)) for name in task.names)


def _number(row: ManifestRow, name: str, cell: str | None) -> float:
    try:
        return float("nan" if cell is None else cell)
    except ValueError as error:
        raise DataError(f"{row.where}: {name} is a number; got {cell!r}") from error


def _label(row: ManifestRow, name: str, cell: str | None) -> int:
    value = UNLABELLED if cell is None else _number(row, name, cell)
    if value not in (0, 1, UNLABELLED):
        raise DataError(f"{row.where}: {name} is 1 where the label is present, 0 where not, or empty; got {cell!r}")
    return int(value)


def _mask_of(row: ManifestRow, masks: Masks, base: Path) -> Path | None:
    name = row.more.get(masks.column)
    if name is not None and not (base / name).is_file():
        raise DataError(f"{row.where}: {masks.column}: no file {name!r} in {base}; paths are from that folder")
    return None if name is None else base / name


def _example(root: Path) -> None:
    """Write a table of two domains, and its images of unequal sizes."""
    rows = ("poor_1.png,poor,yes,train", "good_2.png,good,no,train", "poor_3.jpg,poor,yes,test")
    for at, row in enumerate(rows):
        write_image(root / row.partition(",")[0], torch.linspace(-1, 1, 20 + at).expand(1, 18, -1).numpy())
    (root / "table.csv").write_text("\n".join(["path,domain,label,split", *rows]), "utf-8")


@conformance_case(options={"file": "table.csv", "domain": "poor"}, files=_example)
def manifest(
    root: Path | None,
    split: str,
    *,
    file: str,
    domain: str | list[str] | None = None,
    columns: dict[str, str] = {},  # noqa: B006
    images: str | None = None,
    classes: list[str] | None = None,
    target: str = "",
    numbers: Names | None = None,
    labels: Names | None = None,
    mask: str | None = None,
    mask_values: list[Value] | None = None,
    mask_ignore: Value | None = None,
    range: list[float] | None = None,
    format: Factory | None = None,
    bits: Bits | None = None,
    beyond: Literal["refuse", "clip"] = "refuse",
    test: Fraction = 0.2,
    val: Fraction = 0.0,
    seed: int = 0,
) -> Dataset:
    """The images that a table names: CSV, or Parquet where pyarrow is installed.

    Its columns: `path`, and where known `domain`, `label`, `patient`, `split`, `source`, and `low` and `high`, the
    values of black and white of a file, which go before `range`. Without a split column, or
    where it is empty everywhere, the images are split by patient, with classes and domains in the same shares
    everywhere (scikit-learn's StratifiedGroupKFold); an image without a patient counts as a patient of its own.

    Args:
        root: Where relative paths of `file` and `images` start; None: the working folder.
        split: "train", "val" or "test".
        file: The table.
        domain: Which images: those of this domain, or of these, in any case. None: all.
        columns: What a column is called in the table, such as {label: finding}.
        images: The folder where the table's paths start; None: the folder of the table.
        classes: The classes in order, the positive one last; default: their names sorted, numbers by value.
        target: Name and unit of the regression target, such as "age, years", if the labels are numbers; empty: classes.
        numbers: Columns of numbers, several of which are predicted; an empty cell is not known.
        labels: Columns of labels, of which an image has several or none: 1, 0, or empty or -1 where not known.
        mask: The column of masks: the path of a file, from `images`, of whole numbers from 0 to 255, as large as its
            image; `classes` then are those of the pixels, the background first. An empty cell is not known.
        mask_values: The value of each class in masks, such as [0, 255]; default: 0, 1 and so on.
        mask_ignore: The value of pixels in masks whose class is not known; default: there is none.
        range: The values of black and white, [LOW, HIGH], of every file; default: as each file states.
        format: What the files are; default: images that restorekit reads itself.
        bits: The significant bits of 16-bit files that do not state them; default: the values of all files that the
            table names decide.
        beyond: Of values beyond the range: `refuse` the file, or `clip` them.
        test: The share for testing, where the table gives no splits.
        val: The share for validation, where the table gives no splits.
        seed: Of that split. Give both sides the same shares and seed.
    """
    place = root or Path()
    table = place / Path(file).expanduser()
    base = table.parent if images is None else place / Path(images).expanduser()
    rows, _ = read_manifest(table, columns, base, more=numbers or labels or ([] if mask is None else [mask]))
    if target:  # the number stands in the column of labels
        rows = [replace(row, more={} if row.label is None else {target: row.label}) for row in rows]
    task = _task(rows, target, numbers, labels, mask, classes)
    masks = None if mask is None else _masks(mask, task, mask_values, mask_ignore)
    if domain is not None:
        wanted = [domain] if isinstance(domain, str) else domain
        _check_domains(table, rows, wanted)
    splits = _splits(table, rows, test, val, seed, stratify=task.kind == "class")
    taken = [
        row
        for row, its in zip(rows, splits, strict=True)
        if its == split and (domain is None or _plain(row.domain) in map(_plain, wanted))
    ]
    files = None if format is None else format()
    made = Manifest(base, taken, task, masks, range, files, bits, beyond, rows)
    made.classes_from = "names" if classes is None and made.classes else "declared"
    return made


def _task(
    rows: Sequence[ManifestRow],
    target: str,
    numbers: list[str] | None,
    labels: list[str] | None,
    mask: str | None,
    classes: list[str] | None,
) -> Task:
    """Return what is predicted, by the options.

    Raises:
        RecipeError: if they contradict each other.
    """
    given = {"target": target, "numbers": numbers, "labels": labels, "mask": mask}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise RecipeError(f"dataset 'manifest': {' and '.join(chosen)} are several tasks; give one of them")
    if chosen not in ([], ["mask"]) and classes is not None:
        raise RecipeError(f"dataset 'manifest': targets are classes or {chosen[0]}; give one of them")
    if mask is not None and len(classes or ()) < 2:
        raise RecipeError("dataset 'manifest': mask needs classes, those of the pixels, two or more, background first")
    names = (target,) if target else tuple(numbers or labels or (() if mask is None else classes) or ())
    if len(set(names)) < len(names):
        raise RecipeError(f"dataset 'manifest': a name stands twice in {', '.join(names)}")
    if chosen:
        return Task(KINDS[chosen[0]], names)
    return Task.of_version_1(_classes(rows, classes), "")


def _masks(column: str, task: Task, values: list[int] | None, ignore: int | None) -> Masks:
    of = tuple(range(len(task.names)) if values is None else values)
    if len(set(of)) != len(task.names) or ignore in of:
        raise RecipeError(
            f"dataset 'manifest': mask_values needs another value for each of {', '.join(task.names)}, and none may be "
            f"mask_ignore; got {list(of)} and {ignore}"
        )
    return Masks(column, of, ignore)


def _classes(rows: Sequence[ManifestRow], given: list[str] | None) -> tuple[str, ...]:
    names = tuple(sorted_classes(row.label for row in rows if row.label is not None) if given is None else given)
    if len(set(names)) < len(names):
        raise RecipeError(f"dataset 'manifest': a class stands twice in {', '.join(names)}", option="classes")
    first = {name.casefold(): name for name in reversed(names)}
    for row in rows:
        if row.label is not None and row.label not in names:
            raise DataError(f"{row.where}: no class is called {row.label!r}. Known: {', '.join(names) or 'none'}")
        if row.label is not None and (other := first[row.label.casefold()]) != row.label:
            raise DataError(f"{row.where}: class {row.label!r} differs from {other!r} in case alone; name them alike")
    return names


def _plain(domain: str | None) -> str | None:
    """Compare domains without regard to case."""
    return None if domain is None else domain.casefold()


def _check_domains(table: Path, rows: Sequence[ManifestRow], wanted: Sequence[str]) -> None:
    known = sorted({row.domain for row in rows if row.domain is not None})
    lost = [name for name in wanted if _plain(name) not in map(_plain, known)]
    if lost:
        raise DataError(f"{table}: no image is of domain {lost[0]!r}. Known: {', '.join(known) or 'none'}")


def _splits(
    table: Path, rows: Sequence[ManifestRow], test: float, val: float, seed: int, *, stratify: bool
) -> list[str]:
    given = [row.split for row in rows if row.split is not None]
    if not given:
        return _drawn(table, rows, test, val, seed, stratify=stratify)
    lost = [row for row in rows if row.split is None]
    if lost:
        raise DataError(f"{lost[0].where}: names no split, and other rows do; name train, val or test in every row")
    return given


def _drawn(
    table: Path, rows: Sequence[ManifestRow], test: float, val: float, seed: int, *, stratify: bool
) -> list[str]:
    """Split by patient: as many folds as make the shares, some of them for testing, some for validation."""
    if test + val >= 1:
        text = f"dataset 'manifest': test and val leave nothing to train on; got {test} and {val}"
        raise RecipeError(text, option="test")
    if not test and not val:
        return ["train"] * len(rows)
    from sklearn.model_selection import StratifiedGroupKFold

    patients = [f"patient {row.patient}" if row.patient is not None else f"path {row.path}" for row in rows]
    strata = [f"{row.domain} {row.label if stratify else ''}" for row in rows]
    folds = _folds(test, val)
    if len(set(patients)) < folds:
        raise DataError(
            f"{table}: {len(set(patients))} patients are too few for shares of {test} and {val}, which take {folds}; "
            "add a column split"
        )
    made = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class with fewer images than folds is in some of them
            held = [fold for _, fold in made.split(strata, strata, patients)]
    except ValueError as error:
        raise DataError(f"{table}: cannot be split by patient ({error}); add a column split") from error
    splits = ["train"] * len(rows)
    for at, fold in enumerate(held):
        name = "test" if at < round(test * folds) else "val" if at < round(test * folds) + round(val * folds) else ""
        for i in fold if name else ():
            splits[int(i)] = name
    return splits


def _folds(test: float, val: float) -> int:
    """Return the least number of folds, at most twenty, that comes nearest to the shares."""

    def misses(count: int) -> float:
        shares = [share for share in (test, val) if share]
        lost = any(round(share * count) == 0 for share in shares)
        return math.inf if lost else sum(abs(round(share * count) / count - share) for share in shares)

    best = min(range(2, 21), key=lambda count: (round(misses(count), 6), count))
    return best if math.isfinite(misses(best)) else math.ceil(1 / min(share for share in (test, val) if share))


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the manifest dataset."""
    add("dataset", "manifest", manifest)
