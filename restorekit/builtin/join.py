"""Several datasets as one: more than one collection to train on, or another one to test on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import torch

from restorekit import DataError, Dataset, Depths, Factory, RecipeError, Sample, conformance_case, hookimpl

__all__ = ["join"]


class Joined(Dataset):
    """The images of several datasets, one after the other."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = parts
        self.task, self.classes, self.regression_target = parts[0].task, parts[0].classes, parts[0].regression_target
        self.classes_from = "names" if any(part.classes_from == "names" for part in parts) else "declared"
        # A dataset without images of the split has no facts about images.
        self.synthetic = all(part.synthetic for part in [part for part in parts if len(part.records)] or parts)
        self.unit = parts[0].unit
        self.has_truth = any(part.has_truth for part in parts)
        self.draws = max(part.draws for part in parts)
        self.records = [record for part in parts for record in part.records]
        self.starts = [0, *accumulate(len(part.records) for part in parts)]

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index`, as its own dataset gives it."""
        part, place = self._at(index)
        return part.load(place, rng)

    def depths(self) -> Sequence[Depths]:
        """Those of its datasets."""
        return [depths for part in self.parts for depths in part.depths()]

    def file(self, index: int) -> Path | None:
        """The file of its own dataset."""
        part, place = self._at(index)
        return part.file(place)

    def skipped(self) -> Sequence[tuple[Path, str]]:
        """What its datasets leave out."""
        return [found for part in self.parts for found in part.skipped()]

    def _at(self, index: int) -> tuple[Dataset, int]:
        which = bisect_right(self.starts, index) - 1
        return self.parts[which], index - self.starts[which]


_FEW = {"name": "phantom", "count": 2, "val": 1, "test": 1, "size": [16, 20]}


@conformance_case(options={"datasets": [{**_FEW, "side": "a"}, {**_FEW, "side": "b"}]})
def join(root: Path | None, split: str, *, datasets: list[Factory]) -> Dataset:
    """The images of several datasets as one domain.

    Collections together; or good recordings made worse to train on and bad ones to test on: a dataset may have no
    images of a split.

    Args:
        root: Where the inner datasets' relative paths start.
        split: "train", "val" or "test".
        datasets: The datasets, with the same targets. A key stands in one of them alone.

    Raises:
        RecipeError: if there is no dataset.
        DataError: if their targets differ, some are synthetic and some recorded, or a key is in two of them.
    """
    if not datasets:
        raise RecipeError("dataset 'join': datasets is empty; name at least one", option="datasets")
    parts = [make(root, split) for make in datasets]
    if len({part.synthetic for part in parts if len(part.records)}) > 1:
        raise DataError("dataset 'join': some of its datasets are synthetic and some recorded; a domain is one of them")
    tasks = dict.fromkeys(part.task for part in parts)
    if len(tasks) > 1:
        listed = " and ".join(task.words() for task in tasks)
        raise DataError(f"dataset 'join': its datasets must have the same targets; got {listed}")
    seen: set[str] = set()
    for record in (record for part in parts for record in part.records):
        if record.key in seen:
            hint = "images of one name are taken for one; join folders by one manifest, or rename them"
            raise DataError(f"dataset 'join': {record.key} stands in two of its datasets; {hint}")
        seen.add(record.key)
    return Joined(parts)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the dataset."""
    add("dataset", "join", join)
