"""Datasets to splits: which images take part on which side, read once before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from restorekit.core.errors import DataError
from restorekit.core.parts import Parts
from restorekit.core.types import UNLABELLED, Dataset, Domain, Record, Sample
from restorekit.stages.recipe import Data, Recipe
from restorekit.stages.seeds import rng_of, seed_of

__all__ = ["SPLITS", "Side", "Splits", "open_splits"]

SPLITS = ("train", "val", "test")
SideName = Literal["a", "b"]
SIDES: tuple[SideName, SideName] = ("a", "b")


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

    def load(self, position: int, *seeds: int) -> Sample:
        """Load the image at a position, at its own size, with the channels of the domain.

        Raises:
            DataError: if it cannot be read or does not fit the domain; the message names it.
        """
        key = self.record(position).key
        sample = self.dataset.load(self.indices[position], rng_of(*seeds, self.name))
        dims = sample.image.ndim - 1
        if dims != self.domain.dims:
            size = list(self.domain.size)
            raise DataError(f"{key}: has {dims} spatial sizes; data.size has {self.domain.dims}: {size}")
        if not torch.isfinite(sample.image).all():
            raise DataError(f"{key}: holds values that are not finite")
        image = _channels(sample.image, self.domain.channels, key)
        truth = None if sample.truth is None else _channels(sample.truth, self.domain.channels, key)
        return replace(sample, image=image, truth=truth)

    def groups(self) -> set[str]:
        """The groups, patients or records, that its images come from."""
        return {group for i in range(len(self)) if (group := self.record(i).group) is not None}

    def counts(self) -> dict[str, Any]:
        """Images by class and source, as the report shows them."""
        records = [self.record(i) for i in range(len(self))]
        names = self.dataset.classes
        labelled = [r for r in records if r.target != UNLABELLED]
        by_class = Counter(names[r.target] for r in labelled)
        sources: dict[str, dict[str, int]] = {}
        for r in labelled:
            if r.source is not None:
                row = sources.setdefault(r.source, dict.fromkeys(names, 0))
                row[names[r.target]] += 1
        return {
            "images": len(records),
            "unlabelled": len(records) - len(labelled),
            "groups": len(self.groups()) or None,
            "ungrouped": sum(r.group is None for r in records),
            "skipped": len(self.skipped),
            "classes": {name: by_class[name] for name in names},
            "sources": sources,
        }


@dataclass(frozen=True)
class Splits:
    """Every side of every split; a side that does not exist is empty."""

    sides: dict[tuple[str, SideName], Side]

    def __getitem__(self, key: tuple[str, SideName]) -> Side:
        return self.sides[key]

    @property
    def synthetic(self) -> bool:
        """True if any of the images were made, not recorded."""
        return any(side.dataset.synthetic for side in self.sides.values())

    def counts(self) -> dict[str, Any]:
        """What data.json of a run folder holds."""
        splits = {split: {name: self[split, name].counts() for name in SIDES} for split in SPLITS}
        return {"synthetic": self.synthetic, "shared_groups": self.shared_groups(), "splits": splits}

    def shared_groups(self) -> list[str]:
        """Groups that stand in more than one split: what is learnt of a patient must not be tested on them."""
        of = {split: self[split, "a"].groups() | self[split, "b"].groups() for split in SPLITS}
        pairs = (("train", "val"), ("train", "test"), ("val", "test"))
        return sorted(set().union(*(of[one] & of[other] for one, other in pairs)))


def open_splits(recipe: Recipe, parts: Parts, *, verify: Callable[[str], None] | None = None) -> Splits:
    """Open the datasets of a recipe.

    Args:
        recipe: the recipe.
        parts: where its datasets come from.
        verify: if given, every recorded image is read once before anything is trained, and this is called with a
            line of progress now and then. What cannot be read is refused, or skipped, as `data.unreadable` says.

    Raises:
        DataError: if a training side is empty, the classes of the sides differ, or images cannot be read.
    """
    data = recipe.data
    root = None if data.root is None else Path(data.root)
    sides: dict[tuple[str, SideName], Side] = {}
    for name in SIDES:
        make = parts.resolve("dataset", getattr(data, name).spec)
        for split in SPLITS:
            dataset = make(root, split)
            domain = Domain(name, data.channels, tuple(data.size), tuple(dataset.classes))
            sides[split, name] = Side(name, dataset, tuple(range(len(dataset.records))), domain)
    _check_classes(sides["train", "a"], sides["train", "b"])
    if data.val is not None:
        _split_validation(sides, data.val, recipe)
    for name in SIDES:
        if not len(sides["train", name]):
            raise DataError(f"data.{name}: the training split has no images; look at data.root and the part's options")
    if verify is not None or data.unreadable == "skip":  # which files are skipped must be known each time
        for key, side in sides.items():
            sides[key] = _verified(side, data, verify or (lambda line: None))
    return Splits(sides)


def _check_classes(a: Side, b: Side) -> None:
    if a.domain.classes and b.domain.classes and a.domain.classes != b.domain.classes:
        raise DataError(
            f"data: the sides have other classes: a {a.domain.classes}, b {b.domain.classes}; name them alike"
        )


def _split_validation(sides: dict[tuple[str, SideName], Side], fraction: float, recipe: Recipe) -> None:
    """Move a fraction of the training groups to validation. Both sides go by the group's name, so none is in two."""
    paired = recipe.data.pairing == "key"
    for name in SIDES:
        train = sides["train", name]
        held = []
        for i in train.indices:
            record = train.dataset.records[i]
            alone = Path(record.key).stem if paired else record.key  # pairs stay together
            unit = record.group if record.group is not None else alone
            held.append(seed_of(recipe.seed, "val", unit) / 2**63 < fraction)
        chosen = tuple(i for i, is_held in zip(train.indices, held, strict=True) if is_held)
        rest = tuple(i for i, is_held in zip(train.indices, held, strict=True) if not is_held)
        sides["train", name] = replace(train, indices=rest)
        sides["val", name] = replace(train, indices=chosen)


def _verified(side: Side, data: Data, say: Callable[[str], None]) -> Side:
    """Read every image once. Made images cannot be unreadable, so one of them is enough."""
    faults: dict[int, str] = {}
    todo = range(min(1, len(side)) if side.dataset.synthetic else len(side))
    for position in todo:
        if position % 500 == 0 and position:
            say(f"checked {position} of {len(todo)} images of data.{side.name}")
        try:
            side.load(position, 0)
        except DataError as error:
            faults[side.indices[position]] = str(error)
    if not faults:
        return side
    if data.unreadable == "refuse":
        first = next(iter(faults.values()))
        more = f" (the first of {len(faults)} such files)" if len(faults) > 1 else ""
        raise DataError(f"data.{side.name}: {first}{more}; mend or remove it, or set data.unreadable: skip")
    kept = tuple(i for i in side.indices if i not in faults)
    if not kept and side.indices:
        raise DataError(
            f"data.{side.name}: none of {len(faults)} images can be read; the first: {next(iter(faults.values()))}"
        )
    return replace(side, indices=kept, skipped=tuple(faults.values()))


def _channels(image: Tensor, channels: int, key: str) -> Tensor:
    if image.shape[0] == channels:
        return image
    if image.shape[0] == 1:
        return image.expand(channels, *image.shape[1:])
    if channels == 1 and bool((image == image[:1]).all()):
        return image[:1]
    raise DataError(f"{key}: has {image.shape[0]} channels, data.channels is {channels}; only one channel is repeated")
