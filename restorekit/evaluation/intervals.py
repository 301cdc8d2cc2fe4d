"""Bootstrap intervals: percentiles of a score over resamples of patients where they are known, else of images.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 (clustered data) and 13 (percentiles), with
percentiles that are expanded for few units (Hesterberg, The American Statistician 69, 2015, section 4.4). A score that
needs one unit, as the AUROC of a single positive patient does, has no interval: it shows nothing of others like that
one. Where all resamples are equal, as where no positive image was predicted positive, a width of 0 would look like
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
    "bootstrap_interval",
    "counted",
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


def counted(rows: NDArray[np.bool_], of: Sequence[Indices]) -> int:
    """Return how many units have one of the marked rows (N,)."""
    return sum(bool(rows[mine].any()) for mine in of)


def interval(
    score: Callable[[Indices], float], over: Resamples, confidence: float, known: NDArray[np.bool_] | None = None
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of `score` by resamples, which rests on the rows `known`; None twice where it has none."""
    return percentiles(np.array([score(rows) for rows in over.rows]), score, over.units, confidence, known)


def bootstrap_interval(
    values: NDArray[np.float64], units: int, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the low and the high end of intervals of scores, from those of resamples: their expanded percentiles.

    Resamples of n units vary less than new units would, by the root of (n - 1) / n, and of few units the normal
    distribution is too narrow. So the percentiles are those of a normal distribution at Student's quantile times the
    root of n / (n - 1): for the mean of normal scores this is Student's interval (Hesterberg, The American Statistician
    69, 2015, section 4.4).

    Args:
        values: (R, ...), scores of R resamples; those that are not finite do not count.
        units: how many patients, or other units, the resamples were drawn from; two or more.
        confidence: of the intervals.

    Returns:
        Two arrays of shape (...); NaN where no resample has a score.

    Raises:
        ValueError: if there are fewer than two units.
    """
    from scipy.special import ndtr, stdtrit  # slow to import

    if units < 2:
        raise ValueError(f"an interval requires at least two units; got {units}")
    tail = ndtr(stdtrit(units - 1, (1 - confidence) / 2) * math.sqrt(units / (units - 1)))
    known = np.where(np.isfinite(values), values, np.nan)
    low, high = np.nanquantile(known, [tail, 1 - tail], axis=0)
    return low, high


def percentiles(
    values: NDArray[np.float64],
    score: Callable[[Indices], float],
    of: Sequence[Indices],
    confidence: float,
    known: NDArray[np.bool_] | None = None,
) -> tuple[float, float] | tuple[None, None]:
    """Return the `bootstrap_interval` of a score from its values over resamples.

    None twice where there are none, where the score rests on one unit, or where all are alike.

    Args:
        values: (R,), the score of each resample.
        score: rows to the score.
        of: the rows of each unit.
        confidence: of the interval.
        known: (N,), the rows that the score rests on, such as those with a truth; None: all. Units without one do not
            count.
    """
    number = len(of) if known is None else counted(known, of)
    if number < 2 or not np.isfinite(values).any() or rests_on_one(score, of):
        return None, None
    low, high = (float(end) for end in bootstrap_interval(values, number, confidence))
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
    known: NDArray[np.bool_] | None = None,
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
        known: (N,), the rows that the score rests on; None: all.
        biased: resamples bias the score (`Metric.biased`), so that their percentiles are no interval of it.
        proportion: the score is a proportion (`Metric.proportion`).
    """
    value = score(np.arange(sum(map(len, over.units))))
    if not math.isfinite(value):
        return None
    if biased:
        return {"value": value, "low": None, "high": None, "why": BIASED}
    low, high = interval(score, over, confidence, known)
    if low is not None:
        return {"value": value, "low": low, "high": high}
    if rests_on_one(score, over.units):
        return {"value": value, "low": None, "high": None, "why": f"one {over.unit}"}
    found = exact_over_units(score, over.units, confidence) if proportion else None
    if found is None:
        return {"value": value, "low": None, "high": None, "why": ALIKE}
    return {"value": value, "low": found[0], "high": found[1], "exact": found[2]}
