"""Bootstrap intervals: percentiles of a score over resamples of patients where they are known, else of images.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 (clustered data) and 13 (percentiles). A score
that rests on a single unit is the same in all resamples that have one: its interval is not of width 0, but not defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Indices",
    "Resamples",
    "estimate",
    "interval",
    "percentiles",
    "resamples",
    "unit_of",
    "unit_word",
    "units",
    "weights",
]

Indices = NDArray[np.int64]
NARROW = 1e-12
"""Width of an interval, as a share of its ends, up to which it has none but by rounding."""


@dataclass(frozen=True)
class Resamples:
    """Rows of a table, drawn again and again. All scores of a run share them."""

    units: Sequence[Indices]
    """The rows of each unit."""
    rows: Sequence[Indices]
    """The rows of each resample."""
    unit: str = "image"
    """What a unit is called: patient, subject or image."""


def units(groups: Sequence[str | None]) -> list[Indices]:
    """Return the row indices of each unit: those of a group, or a row by itself where the group is not known."""
    table: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        table.setdefault(i if group is None else group, []).append(i)
    return [np.array(rows) for rows in table.values()]


def unit_word(groups: Sequence[str | None], unit: str) -> str:
    """Return what the units of these groups are called: `unit`, or an image where no group is known."""
    return unit if any(group is not None for group in groups) else "image"


def resamples(of: Sequence[Indices], count: int, seed: int, unit: str = "image") -> Resamples:
    """Return `count` resamples of rows, units drawn with replacement."""
    drawn = [np.concatenate([of[i] for i in draw]) for draw in _draws(len(of), count, seed)]
    return Resamples(of, drawn, unit)


def weights(of: Sequence[Indices], count: int, seed: int) -> NDArray[np.float64]:
    """Return how often each row counts in each of the same resamples, (count, rows)."""
    unit = unit_of(of)
    draws = _draws(len(of), count, seed) + np.arange(count)[:, None] * len(of)  # each resample counts in its own bins
    times = np.bincount(draws.ravel(), minlength=count * len(of)).reshape(count, len(of))
    return np.asarray(times[:, unit], dtype=np.float64)


def unit_of(of: Sequence[Indices]) -> Indices:
    """Return which unit each row is of, (rows,)."""
    unit = np.empty(sum(map(len, of)), np.int64)
    for i, rows in enumerate(of):
        unit[rows] = i
    return unit


def _draws(units: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(units, size=(count, units))


def interval(
    score: Callable[[Indices], float], over: Resamples, confidence: float
) -> tuple[float, float] | tuple[None, None]:
    """Return the central percentiles of `score` over resamples; None twice where it rests on one unit."""
    return percentiles(np.array([score(rows) for rows in over.rows]), score, over.units, confidence)


def percentiles(
    values: NDArray[np.float64], score: Callable[[Indices], float], of: Sequence[Indices], confidence: float
) -> tuple[float, float] | tuple[None, None]:
    """Return the central percentiles of the values of a score over resamples; those that are not finite do not count.

    None twice where there are none, or the score rests on one unit: there is no other, or without it the score is not
    defined. Then it has the same value in every resample.

    Args:
        values: (R,), the score of each resample.
        score: rows to the score.
        of: the rows of each unit.
        confidence: between the percentiles.
    """
    known = values[np.isfinite(values)]
    if len(of) < 2 or not known.size:
        return None, None
    low, high = (float(end) for end in np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2]))
    if high - low > NARROW * max(abs(low), abs(high)):
        return low, high
    middle = len(of) // 2
    lone = _indispensable(score, of, 0, middle) or _indispensable(score, of, middle, len(of))
    return (None, None) if lone else (low, high)


def _indispensable(score: Callable[[Indices], float], units: Sequence[Indices], first: int, stop: int) -> bool:
    """Return True if, of the units from `first` to `stop`, there is one without which the score is not defined."""
    if not math.isnan(score(np.concatenate([*units[:first], *units[stop:]]))):
        return False  # it can do without all of these
    middle = (first + stop) // 2
    return stop - first == 1 or any(_indispensable(score, units, *ends) for ends in ((first, middle), (middle, stop)))


def estimate(score: Callable[[Indices], float], over: Resamples, confidence: float) -> dict[str, Any] | None:
    """Return a score of all rows with its interval: "value", "low" and "high"; None where it is no number.

    Where it rests on one unit, low and high are None, and "alone" says of whom: "one patient".
    """
    value = score(np.arange(sum(map(len, over.units))))
    if not math.isfinite(value):
        return None
    low, high = interval(score, over, confidence)
    return {"value": value, "low": low, "high": high, **({"alone": f"one {over.unit}"} if low is None else {})}
