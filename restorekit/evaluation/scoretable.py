"""A table of scores as `evaluate` wrote it, scores/SPLIT.csv: each image, its prediction and its measurements."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.runs.upgrade import present_heads

__all__ = ["ScoreTable", "read_scores"]

Values = NDArray[np.float64]
WHICH = ("degraded", "restored", "score")
"""What a score is of; the last of predictions."""
PREDICTED = ("predicted", "called")
"""The column of the predicted class; the second is that of version 1."""
ONE = ("class", "number")
"""Columns of targets that are one value; others begin with `true_`."""


@dataclass(frozen=True)
class ScoreTable:
    """Rows by key, in the order of the keys."""

    keys: tuple[str, ...]
    groups: tuple[str | None, ...]
    """The patient of each image; None where it is not known."""
    truth: tuple[str, ...]
    """The target, as it is written; empty where it is not known. Several labels or numbers are joined by "; "."""
    classes: tuple[str, ...]
    """The classes that were predicted; empty without a head, and of any other task."""
    chances: Values
    """(N, classes): the predicted probabilities."""
    columns: Mapping[str, Values]
    """(N,) by name, such as `psnr_restored`; NaN where it is not defined."""

    @property
    def target(self) -> NDArray[np.int64]:
        """(N,): the index of the true class, -1 where it is not known."""
        at = {name: i for i, name in enumerate(self.classes)}
        return np.array([at.get(name, -1) for name in self.truth], dtype=np.int64)


def read_scores(path: Path, metrics: Collection[str]) -> ScoreTable:
    """Read scores/SPLIT.csv of a run folder.

    Args:
        path: the file.
        metrics: names of the run's scores. Their columns follow those of the classes, so they mark where these end.

    Raises:
        DataError: if it cannot be read, or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            head, *rows = [*csv.reader(stream)] or [[]]
        head = present_heads(head, ((f"{name}_", "") for name in metrics))
        table = dict(zip(head, zip(*sorted(rows), strict=True), strict=True)) if rows else {}
        return _read(head, table, {f"{name}_{which}" for name in metrics for which in WHICH})
    except (OSError, csv.Error, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: is no table of scores as this version writes them ({error}); evaluate again"
        ) from error


def _read(head: list[str], table: Mapping[str, tuple[str, ...]], measured: Collection[str]) -> ScoreTable:
    if head[:1] != ["key"] or "group" not in head:
        raise ValueError("it has no columns key and group")
    if not table:
        raise ValueError("it has no rows")
    if len(set(table["key"])) < len(table["key"]):
        raise ValueError("a key stands in it twice")
    predicted = next((name for name in PREDICTED if name in head), None)
    behind = [] if predicted is None else head[head.index(predicted) + 1 :]
    heads = list(takewhile(lambda name: name.startswith("p_") and name not in measured, behind))
    classes = tuple(name.removeprefix("p_") for name in heads)
    chances = (
        np.array([[float(cell) for cell in table[name]] for name in heads]).reshape(len(heads), len(table["key"])).T
    )
    columns = {
        name: np.array([float(cell or "nan") for cell in table[name]])
        for name in head
        if name.endswith(tuple(f"_{which}" for which in WHICH)) and name not in heads
    }
    groups = tuple(group or None for group in table["group"])
    after = [name for name in head[head.index("group") + 1 :] if name != "source"]
    of = [table[name] for name in takewhile(lambda name: name in ONE or name.startswith("true_"), after)]
    truth = tuple("; ".join(cells) for cells in zip(*of, strict=True)) if of else ("",) * len(groups)
    return ScoreTable(table["key"], groups, truth, classes, chances, columns)
