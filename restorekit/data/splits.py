"""Datasets to splits: which images take part on which side, read once before anything is trained on them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from restorekit.core.errors import DataError, RestorekitError, either
from restorekit.core.formats import Depths
from restorekit.core.restorer import FAR
from restorekit.core.tasks import Target, Task
from restorekit.core.types import Dataset, Domain, Record, Sample
from restorekit.data.image_facts import Facts, Memory, facts_of, remembering
from restorekit.data.targets import target_cells, target_text
from restorekit.io.depths import DepthError
from restorekit.io.files import read_own_json, read_own_text, require_utf8
from restorekit.io.images import expecting
from restorekit.io.tables import CsvWriter
from restorekit.io.vocabulary import SPLITS
from restorekit.parts.registry import Parts
from restorekit.recipes.model import AnyRecipe, IncompatibleRecipeError
from restorekit.recipes.seeds import rng_of, seed_of

__all__ = [
    "SIDES",
    "SPLITS",
    "Side",
    "SideName",
    "Splits",
    "TruthOf",
    "changes",
    "count_rows",
    "depth_notes",
    "look",
    "open_splits",
    "opened",
]

SideName = Literal["a", "b"]
SIDES: tuple[SideName, SideName] = ("a", "b")


class MissingTruthError(DataError):
    """An image of side a has no truth, though side b is the truth of side a."""


class TruthOf(Dataset):
    """Side b where it is the truth of side a: the same records, in the same order.

    It has no files of its own, so that nothing looks for repeats or leaks between an image and its truth.
    """

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner
        self.task, self.classes, self.regression_target = inner.task, inner.classes, inner.regression_target
        self.synthetic, self.unit, self.records = inner.synthetic, inner.unit, inner.records

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return the truth of image `index` of side a.

        Raises:
            MissingTruthError: if it is not known.
        """
        return self.of(self.inner.load(index, rng), self.records[index].key)

    def of(self, sample: Sample, key: str) -> Sample:
        """Return the truth of a sample that was loaded.

        Raises:
            MissingTruthError: if it is not known.
        """
        if sample.truth is None:
            raise MissingTruthError(f"{key}: has no truth, which data.b: same needs of every image of a")
        return Sample(
            sample.truth, mask=sample.mask, target=sample.target, intensity=sample.intensity, reduced=sample.reduced
        )


@dataclass(frozen=True)
class Side:
    """One side of one split: a dataset, and which of its images take part."""

    name: SideName
    dataset: Dataset
    indices: tuple[int, ...]
    domain: Domain
    skipped: tuple[str, ...] = ()
    """Why images were left out, a line each."""

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, position: int) -> Record:
        """The record of the image at a position of this side."""
        return self.dataset.records[self.indices[position]]

    def load(self, position: int, *seeds: int | str) -> Sample:
        """Load the image at a position, at its own size, with the channels of the domain.

        Raises:
            DataError: if it cannot be read or does not fit the domain; the message names it.
        """
        key = self.record(position).key
        with expecting(self.domain.dims):
            sample = self.dataset.load(self.indices[position], rng_of(*seeds, self.name))
        if not isinstance(sample, Sample):
            raise DataError(f"{key}: load must return a Sample; its dataset gives a {type(sample).__name__}")
        _check_values(key, sample)
        self._check_dims(key, sample.image.ndim - 1)
        image = _channels(sample.image, self.domain.channels, key)
        truth = None if sample.truth is None else _channels(sample.truth, self.domain.channels, key)
        return replace(sample, image=image, truth=truth)

    def facts(self, position: int, memory: Memory) -> Facts:
        """Read the image at a position once; from its file, if it has one, and not even that if it is remembered.

        Raises:
            DataError: as `load` does.
        """
        file = self.dataset.file(self.indices[position])
        if file is None:
            sample = self.load(position, 0)
            return facts_of(sample.image.detach().cpu().numpy(), sample.intensity)
        found = memory.read(file, self.domain.dims)
        key = self.record(position).key
        self._check_dims(key, len(found.size))
        if not found.finite:
            raise DataError(f"{key}: holds values that are not finite")
        _check_channels(found.channels, self.domain.channels, found.gray, key)
        return found

    def _check_dims(self, key: str, dims: int) -> None:
        if dims != self.domain.dims:
            size = list(self.domain.size)
            raise DataError(f"{key}: has {dims} spatial sizes; data.size has {self.domain.dims}: {size}")

    def groups(self) -> set[str]:
        """The groups, patients or records, that its images come from."""
        return {group for i in range(len(self)) if (group := self.record(i).group) is not None}

    def counts(self) -> dict[str, Any]:
        """Images by class and source, as the report shows them."""
        rows = [(self.label(r), r.group, r.source) for r in map(self.record, range(len(self)))]
        unlabelled = sum(not self.domain.task.is_labelled(r.target) for r in map(self.record, range(len(self))))
        found = {**count_rows(rows, self.domain.classes), "unlabelled": unlabelled, "skipped": len(self.skipped)}
        return {**found, "ungrouped": 0} if self.dataset.synthetic else found  # what is made has no patient

    def unread(self) -> Domain:
        """The domain as it is known before any file is read: how many images of this side are of each class."""
        classes = self.domain.classes
        targets = Counter(self.record(i).target for i in range(len(self)) if classes)
        return replace(self.domain, counts=tuple(targets[c] for c in range(len(classes))))

    def counted(self) -> Domain:
        """The domain, how many images of this side are of each class, and the bits of its 16-bit files."""
        bits = {depths.bits for depths in self.dataset.depths()} - {None}
        return replace(self.unread(), bits=bits.pop() if len(bits) == 1 else None)

    def label(self, record: Record) -> str | None:
        """Return the name of a record's class; None where that is not known, and where targets are no classes."""
        return target_text(self.domain.task, record.target) or None if self.domain.classes else None


def count_rows(rows: Sequence[tuple[str | None, str | None, str | None]], classes: Sequence[str]) -> dict[str, Any]:
    """Count images of (class, group, source), each None where it is not known."""
    by_class = Counter(label for label, _, _ in rows)
    sources: dict[str, dict[str, int]] = {}
    for label, _, source in rows:
        if source is not None and label is not None:
            row = sources.setdefault(source, dict.fromkeys(classes, 0))
            row[label] += 1
    return {
        "images": len(rows),
        "unlabelled": by_class[None],
        "groups": len({group for _, group, _ in rows if group is not None}) or None,
        "ungrouped": sum(group is None for _, group, _ in rows),
        "classes": {name: by_class[name] for name in classes},
        "sources": sources,
    }


@dataclass(frozen=True)
class Splits:
    """Every side of every split; a side that does not exist is empty."""

    sides: dict[tuple[str, SideName], Side]
    looks: dict[tuple[str, SideName], dict[int, Facts | DataError]] = field(default_factory=dict)
    """What was seen of every image, by its index in the dataset, where they were read."""

    def __getitem__(self, key: tuple[str, SideName]) -> Side:
        return self.sides[key]

    @property
    def synthetic(self) -> bool:
        """True if any of the images were made, not recorded."""
        return any(side.dataset.synthetic for side in self.sides.values())

    def counts(self) -> dict[str, Any]:
        """What data.json of a run folder holds."""
        splits = {split: {name: self[split, name].counts() for name in SIDES} for split in SPLITS}
        unit = self["test", "a"].dataset.unit
        known = {"synthetic": self.synthetic, "unit": unit, "shared_groups": self.shared_groups(), "splits": splits}
        return {**known, "depths": self.depths()}

    def depths(self) -> dict[str, list[dict[str, Any]]]:
        """Return by side how many bits the 16-bit files of training were taken to hold, as data.json keeps it."""
        return {name: [asdict(depths) for depths in self["train", name].dataset.depths()] for name in SIDES}

    def depth_notes(self) -> list[str]:
        """Return the decided bits of 16-bit files as text, one line for each collection of files."""
        sentences = [(name, depths.sentence()) for name in SIDES for depths in self["train", name].dataset.depths()]
        return list(dict.fromkeys(f"data.{name}: {text}" for name, text in sentences if text))

    def listing(self) -> str:
        """Return which image stands in which split, as CSV: what splits.csv of a run folder holds."""
        text = io.StringIO()
        rows = CsvWriter(text)
        rows.writerow(["path", "domain", "label", "patient", "split", "source"])
        for (split, name), side in self.sides.items():
            if isinstance(side.dataset, TruthOf):
                continue  # not images of their own
            for r in map(side.record, range(len(side))):
                rows.writerow(
                    [r.key, name, target_text(side.domain.task, r.target), r.group or "", split, r.source or ""]
                )
        return text.getvalue()

    def skipped_files(self) -> list[tuple[Path, str]]:
        """Return the files that the datasets leave out though they look like images, each with the reason."""
        return sorted({found for side in self.sides.values() for found in side.dataset.skipped()})

    def shared_groups(self) -> list[str]:
        """Groups in more than one split: test patients must not be in training."""
        of = {split: self[split, "a"].groups() | self[split, "b"].groups() for split in SPLITS}
        pairs = (("train", "val"), ("train", "test"), ("val", "test"))
        return sorted(set().union(*(of[one] & of[other] for one, other in pairs)))


def opened(recipe: AnyRecipe, parts: Parts) -> Splits:
    """Open the datasets of a recipe; no image is read, but 16-bit files that do not state their bits.

    Raises:
        DataError: if a side to be trained on has no images, or the classes or the depths of the sides differ.
    """
    splits = listed(recipe, parts)
    _check_depths(splits.sides)
    return splits


def listed(recipe: AnyRecipe, parts: Parts) -> Splits:
    """Open the datasets of a recipe; no file of an image is read.

    Raises:
        DataError: if a side to be trained on has no images, or the classes of the sides differ.
    """
    data = recipe.data
    root = None if data.root is None else Path(data.root)
    sides: dict[tuple[str, SideName], Side] = {}
    for name in SIDES:
        for split in SPLITS:
            with recipe.at("data", name):
                dataset: Dataset = (
                    TruthOf(sides[split, "a"].dataset)
                    if name == "b" and data.b_is_truth
                    else recipe.part(parts, "data", name)(root, split)
                )
            domain = Domain(name, data.channels, tuple(data.sizes[name]), dataset.task)
            _check_records(name, dataset)
            sides[split, name] = Side(name, dataset, tuple(range(len(dataset.records))), domain)
    if data.b_is_truth and len(sides["train", "a"]) and not sides["train", "a"].dataset.has_truth:
        why = f"same needs a dataset of a that has the truth of its images, such as degraded; got {data.a.name}"
        raise IncompatibleRecipeError(recipe, (("data", "b"), why))
    _check_tasks(sides["train", "a"], sides["train", "b"])
    if data.val is not None:
        _split_validation(sides, data.val, recipe)
    if recipe.half is not None:
        _keep_half(sides, recipe.half, paired=data.pairing == "key")
    for name in SIDES:
        needed = ("train",) if recipe.trains else SPLITS
        if not any(len(sides[split, name]) for split in needed):
            which = "the training split has no images" if recipe.trains else "there are no images"
            raise DataError(f"data.{name}: {which}; look at data.root and the part's options")
    return Splits(sides)


def depth_notes(recipe: AnyRecipe, parts: Parts) -> list[str]:
    """Return what the 16-bit files of a recipe's datasets are taken to hold, a line each; none if the data is not here.

    Raises:
        DepthError: if files or sides are of different depths, and nothing decides.
    """
    try:
        return opened(recipe, parts).depth_notes()
    except DepthError:
        raise
    except RestorekitError:  # opening them for a run reports what else is wrong with the data
        return []


def open_splits(recipe: AnyRecipe, parts: Parts, *, verify: Callable[[str], None] | None = None) -> Splits:
    """Open the datasets of a recipe, and read every image once; arguments and errors as of `read_splits`."""
    return read_splits(recipe, listed(recipe, parts), verify=verify)


def read_splits(recipe: AnyRecipe, splits: Splits, *, verify: Callable[[str], None] | None = None) -> Splits:
    """Read every image of the datasets of a recipe once.

    Args:
        recipe: the recipe.
        splits: its datasets, as `listed` opens them.
        verify: if given, every recorded image is read once before anything is trained, and this is called with a
            line of progress now and then. Unreadable images are refused or skipped, by `data.unreadable`.

    Raises:
        DataError: if the depths of the sides differ, images cannot be read, or, before a training, no training image
            shows a class, or has another target, that the head is to predict.
    """
    _check_depths(splits.sides)
    if verify is None and recipe.data.unreadable != "skip":  # which files are skipped must be known each time
        return splits
    splits = look(splits, verify or (lambda line: None))
    if recipe.data.b_is_truth:
        splits = _alike(splits)
    sides = {key: _readable(side, splits.looks[key], recipe.data.unreadable) for key, side in splits.sides.items()}
    if verify is not None and recipe.predicts:
        _require_targets(sides["train", "a"], sides["train", "b"])
    return replace(splits, sides=sides)


def _require_targets(a: Side, b: Side) -> None:
    """Require that training images show all that a head predicts: each class, and some target of any other task.

    One side may lack a class, but not both: then labels are stored in another way than the part reads them.
    """
    task = a.domain.task if a.domain.task.kind != "none" else b.domain.task
    if task.kind not in ("none", "class"):
        _require_known(
            task, [side.record(i).target for side in (a, b) if side.domain.task == task for i in range(len(side))]
        )
        return
    shown = {side.label(side.record(i)) for side in (a, b) for i in range(len(side))}
    lost = [name for name in a.domain.classes or b.domain.classes if name not in shown]
    if lost:
        raise DataError(
            f"data: no training image of a or b is {either([repr(name) for name in lost])}, which nets.head is to "
            "predict; check how labels are stored (file name, folder, table), or remove the head and its losses"
        )


def _require_known(task: Task, targets: Sequence[Target]) -> None:
    if task.kind == "mask":
        lost = [] if any(map(task.is_labelled, targets)) else ["mask"]
    else:
        cells = [target_cells(task, target) for target in targets]
        lost = [repr(name) for i, name in enumerate(task.names) if not any(row[i] for row in cells)]
    if lost:
        raise DataError(
            f"data: {either(lost)} is known of no training image of a or b, and nets.head is to predict it; check the "
            "columns or files that targets come from, or remove the head and its losses"
        )


def changes(folder: Path, splits: Splits) -> str:
    """Return a sentence that names the images added or removed since the run began; empty if there are none, or no run.

    Raises:
        DataError: if images have moved, as when another version of a library splits them: what a run learnt from must
            not become what it is tested on.
    """
    path = folder / "splits.csv"
    if not path.is_file():
        return ""
    _check_same_depths(folder / "data.json", splits)
    began, now = _places(read_own_text(path)), _places(splits.listing())
    moved = sorted(image for image, split in now.items() if began.get(image, split) != split)
    if moved:
        raise DataError(
            f"{path}: {len(moved)} images stand in another split than when the run began, such as {moved[0][1]}; the "
            "data or the versions of libraries have changed. Give the manifest a column split, from this file"
        )
    added, removed = sorted(now.keys() - began.keys()), sorted(began.keys() - now.keys())
    changes = [
        f"{len(some)} {what}, such as {some[0][1]}" for some, what in ((added, "added"), (removed, "removed")) if some
    ]
    return f"the images have changed since the run began: {'; '.join(changes)}" if changes else ""


def _check_same_depths(path: Path, splits: Splits) -> None:
    began = read_own_json(path).get("depths", {}) if path.is_file() else {}
    now = splits.depths()
    for name in SIDES:
        was, is_now = ([depths["bits"] for depths in found.get(name, [])] for found in (began, now))
        if name in began and was != is_now:
            raise DataError(
                f"{path}: 16-bit files of data.{name} were taken to hold {_bits(was)} when the run began, and are now "
                f"taken to hold {_bits(is_now)}: files were added or removed. Restore them, or start a new run"
            )


def _bits(found: Sequence[int | None]) -> str:
    return either([f"{bits} bits" for bits in found if bits is not None] or ["no such values"])


def _places(listing: str) -> dict[tuple[str, str], str]:
    """Return the split of each image, by domain and path."""
    return {(row["domain"], row["path"]): row["split"] for row in csv.DictReader(io.StringIO(listing, newline=""))}


def look(splits: Splits, report: Callable[[str], None]) -> Splits:
    """Read every image once; of synthetic images the first alone."""
    looks: dict[tuple[str, SideName], dict[int, Facts | DataError]] = {}
    with remembering() as memory:
        for key, side in splits.sides.items():
            seen = looks.setdefault(key, {})
            todo = range(min(1, len(side)) if side.dataset.synthetic else len(side))
            for position in todo:
                if position % 100 == 0 and position:
                    report(f"checked {position} of {len(todo)} {key[0]} images of data.{side.name}")
                try:
                    seen[side.indices[position]] = side.facts(position, memory)
                except DataError as error:
                    seen[side.indices[position]] = error
    return replace(splits, looks=looks)


def _alike(splits: Splits) -> Splits:
    """Return the splits with the errors of both sides in each, where b is the truth of a: they stay pairs.

    Raises:
        MissingTruthError: of the first image without a truth; it can be read, so it is not skipped.
    """
    looks = dict(splits.looks)
    for split in SPLITS:
        of_a, of_b = looks[split, "a"], looks[split, "b"]
        for found in of_b.values():
            if isinstance(found, MissingTruthError):
                raise found
        errors = {i: found for of in (of_b, of_a) for i, found in of.items() if isinstance(found, DataError)}
        looks[split, "a"], looks[split, "b"] = {**of_a, **errors}, {**of_b, **errors}
    return replace(splits, looks=looks)


def _check_records(name: SideName, dataset: Dataset) -> None:
    seen: set[str] = set()
    for record in dataset.records:
        try:
            _require_texts(record)
            require_utf8(record.key)
            dataset.task.require(record.target, record.key)
            if record.key in seen:  # scores, comparisons and pairs find an image by its key
                raise DataError(f"{record.key}: is the key of two images; the keys of a dataset must differ")
            seen.add(record.key)
        except DataError as error:
            raise DataError(f"data.{name}: {error}") from error


def _require_texts(record: Record) -> None:
    if not isinstance(record, Record):
        raise DataError(f"the records of a dataset must each be a Record; got {record!r:.60}")
    for name in ("key", "group", "source"):
        value = getattr(record, name)
        if not isinstance(value, str) and (value is not None or name == "key"):
            raise DataError(f"{record.key}: the {name} of a record must be text; got {value!r}")


def _check_tasks(a: Side, b: Side) -> None:
    one, other = a.domain.task, b.domain.task
    if one.named("class") and other.named("class") and one != other:
        raise DataError(f"data: the sides have other classes: a {one.names}, b {other.names}; name them alike")
    # A side without targets may stand beside one that has classes, but not beside numbers, labels or masks.
    if one != other and not {one.kind, other.kind} <= {"none", "class"}:
        raise DataError(f"data: the sides have other targets: a {one.words()}, b {other.words()}; give both the same")


def _check_depths(sides: Mapping[tuple[str, SideName], Side]) -> None:
    """Refuse sides, splits or joined datasets whose 16-bit files were decided to be of different bits.

    Poor images may be dark: alone they would be taken for fewer bits, and become as bright as good ones.
    """
    decided: dict[int, tuple[str, Depths]] = {}
    for (_, name), side in sides.items():
        try:
            found = side.dataset.depths()
        except DataError as error:
            raise DepthError(f"data.{name}: {error}") from error
        for depths in found:
            if depths.decided and depths.bits is not None:
                decided.setdefault(depths.bits, (name, depths))
    if len(decided) > 1:
        (few, (one, less)), (many, (other, more)) = sorted(decided.items())[:: len(decided) - 1]
        raise DepthError(
            f"data: 16-bit files of data.{one} hold at most {less.most}, as {few} bits do, others of data.{other} up "
            f"to {more.most}, and none states its bits. If all are of {many} bits, set bits: {many} for both; else set "
            f"bits: {few} and bits: {many}"
        )


def _split_validation(sides: dict[tuple[str, SideName], Side], fraction: float, recipe: AnyRecipe) -> None:
    """Move a fraction of the training groups to validation; by their names alone, so that both sides agree."""
    paired = recipe.data.pairing == "key"
    for name in SIDES:
        train = sides["train", name]
        held = []
        for i in train.indices:
            unit = _unit(train.dataset.records[i], paired=paired)
            held.append(seed_of(recipe.seed, "val", unit) / 2**63 < fraction)
        if own := len(sides["val", name]):
            raise DataError(f"data.val: data.{name} has {own} images for validation of its own; leave data.val out")
        chosen = tuple(i for i, is_held in zip(train.indices, held, strict=True) if is_held)
        if train.indices and not chosen:
            count = len({_unit(train.dataset.records[i], paired=paired) for i in train.indices})
            raise DataError(f"data.val: {fraction:g} of the {count} groups of data.{name} round to none; raise it")
        rest = tuple(i for i, is_held in zip(train.indices, held, strict=True) if not is_held)
        sides["train", name] = replace(train, indices=rest)
        sides["val", name] = replace(train, indices=chosen)


def _keep_half(sides: dict[tuple[str, SideName], Side], half: Literal["first", "second"], *, paired: bool) -> None:
    """Keep one half of the training groups.

    It depends on their names alone, so that one audit classifier serves every seed.
    """
    for name in SIDES:
        train = sides["train", name]
        units = {i: _unit(train.dataset.records[i], paired=paired) for i in train.indices}
        kept = tuple(i for i, unit in units.items() if (seed_of(0, "half", unit) % 2 == 0) == (half == "first"))
        if train.indices and not kept:
            raise DataError(f"data.{name}: the {half} half of the training patients has no images; they are too few")
        sides["train", name] = replace(train, indices=kept)


def _unit(record: Record, *, paired: bool) -> str:
    """Return the name of what must not be split: the group, or else the image, with its pair if it has one."""
    if record.group is not None:
        return record.group
    return Path(record.key).stem if paired else record.key


def _readable(side: Side, looks: dict[int, Facts | DataError], how: Literal["refuse", "skip"]) -> Side:
    errors = {index: str(found) for index, found in looks.items() if isinstance(found, DataError)}
    if not errors:
        return side
    if how == "refuse":
        first = next(iter(errors.values()))
        more = f" (the first of {len(errors)} such files)" if len(errors) > 1 else ""
        raise DataError(f"data.{side.name}: {first}{more}; repair or remove it, or set data.unreadable: skip")
    kept = tuple(i for i in side.indices if i not in errors)
    if not kept and side.indices:
        raise DataError(
            f"data.{side.name}: none of {len(errors)} images can be read; the first: {next(iter(errors.values()))}"
        )
    return replace(side, indices=kept, skipped=tuple(errors.values()))


def _check_values(key: str, sample: Sample) -> None:
    """Refuse an image or a truth that is not finite float32 in the range of a dataset, as stored values are."""
    for what, image in (("image", sample.image), ("truth", sample.truth)):
        if image is None:
            continue
        got = image.dtype if isinstance(image, Tensor) else type(image).__name__
        if got != torch.float32:
            raise DataError(
                f"{key}: {what} must be a tensor of float32, with values in [-1, 1]; its dataset gives {got}"
            )
        low, high = map(float, image.aminmax()) if image.numel() else (0.0, 0.0)
        if not (isfinite(low) and isfinite(high)):
            raise DataError(f"{key}: holds values that are not finite")
        degraded = what == "image" and bool(sample.drawn)  # a degradation may add more than the range holds
        if not degraded and max(-low, high) > FAR and (image.ndim > 2 or _whole(image)):
            raise DataError(
                f"{key}: {what} must hold values in [-1, 1], where -1 is black and 1 is white; its dataset gives "
                f"{low:.4g} to {high:.4g}. Map stored values in its load, such as 0 to 255 by x / 127.5 - 1"
            )


def _whole(signal: Tensor) -> bool:
    """True of stored steps. Physical values of signals may lie far beyond the range: formats may keep them so."""
    return bool((signal == signal.round()).all())


def _channels(image: Tensor, channels: int, key: str) -> Tensor:
    if image.shape[0] == channels:
        return image
    _check_channels(image.shape[0], channels, bool((image == image[:1]).all()), key)
    return image.expand(channels, *image.shape[1:]) if image.shape[0] == 1 else image[:1]


def _check_channels(have: int, want: int, gray: bool, key: str) -> None:
    if have not in (1, want) and not (want == 1 and gray):
        raise DataError(f"{key}: has {have} channels, data.channels is {want}; only one channel is repeated")
