"""Bootstrap intervals: percentiles of a score over resamples of patients where they are known, else of images.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 (clustered data) and 13 (percentiles). A score
that needs one unit, as the AUROC of a single positive patient does, has no interval: it shows nothing of others like
that one. Where all resamples are equal, as where no positive image was predicted positive, a width of 0 would look like
certainty. A proportion then gets the exact binomial interval (Clopper and Pearson) over units, each counted once
however many images it has; another score has none.
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
    "exact",
    "exact_over_units",
    "group_counts",
    "interval",
    "percentiles",
    "resamples",
    "rests_on_one",
    "unit_of",
    "unit_word",
    "units",
    "weights",
]

Indices = NDArray[np.int64]
NARROW = 1e-12
"""Width of an interval, as a share of its ends, up to which it has none but by rounding."""
ALIKE = "all resamples are equal"
BIASED = "the bootstrap is biased for this score"


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


def group_counts(groups: Sequence[str | None]) -> dict[str, int | None]:
    """Return how many groups images are of, None if none is known, and of how many images the group is not known."""
    known = [group for group in groups if group is not None]
    return {"groups": len(set(known)) or None, "ungrouped": len(groups) - len(known)}


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
    """Return the central percentiles of `score` over resamples; None twice where they are not defined."""
    return percentiles(np.array([score(rows) for rows in over.rows]), score, over.units, confidence)


def percentiles(
    values: NDArray[np.float64], score: Callable[[Indices], float], of: Sequence[Indices], confidence: float
) -> tuple[float, float] | tuple[None, None]:
    """Return the central percentiles of the values of a score over resamples; those that are not finite do not count.

    None twice where there are none, where the score rests on one unit, or where all are alike.

    Args:
        values: (R,), the score of each resample.
        score: rows to the score.
        of: the rows of each unit.
        confidence: between the percentiles.
    """
    known = values[np.isfinite(values)]
    if not known.size or rests_on_one(score, of):
        return None, None
    low, high = (float(end) for end in np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return (low, high) if high - low > NARROW * max(abs(low), abs(high)) else (None, None)


def rests_on_one(score: Callable[[Indices], float], of: Sequence[Indices]) -> bool:
    """Return True if there is one unit alone, or one without which the score is not defined."""
    middle = len(of) // 2
    return len(of) < 2 or _indispensable(score, of, 0, middle) or _indispensable(score, of, middle, len(of))


def _indispensable(score: Callable[[Indices], float], units: Sequence[Indices], first: int, stop: int) -> bool:
    """Return True if, of the units from `first` to `stop`, there is one without which the score is not defined."""
    if not math.isnan(score(np.concatenate([*units[:first], *units[stop:]]))):
        return False  # it can do without all of these
    middle = (first + stop) // 2
    return stop - first == 1 or any(_indispensable(score, units, *ends) for ends in ((first, middle), (middle, stop)))


def exact(count: int, of: int, confidence: float) -> tuple[float, float]:
    """Return the exact binomial interval of a proportion `count` / `of` (Clopper and Pearson, Biometrika 26, 1934)."""
    from scipy.stats import binomtest  # slow to import, and seldom needed

    found = binomtest(count, of).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def exact_over_units(
    score: Callable[[Indices], float], of: Sequence[Indices], confidence: float
) -> tuple[float, float, int] | None:
    """Return the exact interval of a proportion over units, and how many units it is of.

    A unit counts once, whatever the number of its images, if its own proportion is defined. For 0 and 1 the interval is
    valid for clusters too: if the mean of a unit's proportion is p, then at most p of the units have a proportion of 1.

    Args:
        score: rows to the proportion.
        of: the rows of each unit.
        confidence: of the interval.

    Returns:
        low, high and the number of units; None where a unit's own proportion is neither 0 nor 1, or fewer than two
        units count.
    """
    shares = [share for rows in of if math.isfinite(share := score(rows))]
    if len(shares) < 2 or not set(shares) <= {0.0, 1.0}:
        return None
    return (*exact(int(sum(shares)), len(shares), confidence), len(shares))


def estimate(
    score: Callable[[Indices], float],
    over: Resamples,
    confidence: float,
    *,
    biased: bool = False,
    proportion: bool = False,
) -> dict[str, Any] | None:
    """Return a score of all rows with its interval: "value", "low" and "high"; None where it is no number.

    Where there is no interval, low and high are None, and "why" is the reason: "one patient". Where the interval is
    the exact one, "exact" is the number of units that it is of.

    Args:
        score: rows to the score.
        over: resamples of the rows.
        confidence: of the interval.
        biased: resamples bias the score (`Metric.biased`), so that their percentiles are no interval of it.
        proportion: the score is a proportion (`Metric.proportion`).
    """
    value = score(np.arange(sum(map(len, over.units))))
    if not math.isfinite(value):
        return None
    if biased:
        return {"value": value, "low": None, "high": None, "why": BIASED}
    low, high = interval(score, over, confidence)
    if low is not None:
        return {"value": value, "low": low, "high": high}
    if rests_on_one(score, over.units):
        return {"value": value, "low": None, "high": None, "why": f"one {over.unit}"}
    found = exact_over_units(score, over.units, confidence) if proportion else None
    if found is None:
        return {"value": value, "low": None, "high": None, "why": ALIKE}
    return {"value": value, "low": found[0], "high": found[1], "exact": found[2]}
