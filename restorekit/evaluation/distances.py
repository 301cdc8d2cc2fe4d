"""Distance to the good images by a score: the Wasserstein-1 distance of its values over images."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.evaluation.intervals import Resamples, bootstrap_interval

__all__ = ["Grid", "distance", "distances", "grid", "quantiles", "read_good"]

Values = NDArray[np.float64]
STEPS = 400
"""Values at most at which the distribution functions of a `Grid` are compared."""


def quantiles(values: Values, at: Sequence[float]) -> list[float] | None:
    """Return quantiles of the values that are finite; None if there are none."""
    found = _quantiles(values, np.asarray(at))
    return None if found is None else found.tolist()


def _quantiles(values: Values, at: Values) -> Values | None:
    known = _known(values)
    # What np.quantile gives, which for a few images takes five times as long: thousands of resamples are drawn.
    return np.interp(at * (known.size - 1), np.arange(known.size), known) if known.size else None


def distance(one: Values, other: Values) -> float:
    """Return how far the values of two sets of images are apart, (N,) and (M,): their Wasserstein-1 distance.

    It is the mean difference of their quantiles: the area between their distribution functions. NaN where a score is
    defined for no image of a set.
    """
    return _distance_of_sorted(_known(one), _known(other))


def _known(values: Values) -> Values:
    """Return the values that are finite, in their order."""
    return np.sort(values[np.isfinite(values)])


def _distance_of_sorted(one: Values, other: Values) -> float:
    """Return the distance of two sets of sorted values."""
    if not one.size or not other.size:
        return np.nan
    every = np.sort(np.concatenate([one, other]))
    gaps = (
        np.searchsorted(one, every[:-1], "right") / one.size - np.searchsorted(other, every[:-1], "right") / other.size
    )
    return float(np.abs(gaps) @ np.diff(every))


@dataclass(frozen=True)
class Grid:
    """The distance to good images as a function of sums over images, for many swaps of images at once."""

    at: Values
    """(T,): ascending values at which the distribution functions are compared."""
    aim: Values
    """(T,): that of the good images."""

    def terms(self, values: Values) -> Values:
        """Return (N, T + 1): of each image what it adds to the distribution function, and whether it is defined."""
        defined = np.isfinite(values)
        below = (values[:, None] <= self.at) & defined[:, None]
        return np.concatenate([below, defined[:, None]], axis=1).astype(np.float64)

    def score(self, sums: Values) -> Values:
        """Return the distances of sums (R, T + 1) or (T + 1,) of terms; NaN where no image is defined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            gaps = np.abs(sums[..., :-1] / sums[..., -1:] - self.aim)
        return np.asarray(gaps[..., :-1] @ np.diff(self.at))


def grid(sets: Sequence[Values], aim: Values, most: int = STEPS) -> Grid:
    """Return the grid for sets of images and good ones; with no more than `most` distinct values it is exact."""
    known = _known(aim)
    every = np.unique(np.concatenate([known, *map(_known, sets)]))
    at = every if len(every) <= most else np.unique(np.quantile(every, np.linspace(0, 1, most)))
    return Grid(at, np.searchsorted(known, at, "right") / known.size)


def distances(
    values: Mapping[str, Values], over: Resamples, over_good: Resamples, confidence: float
) -> dict[str, Any] | None:
    """Return how far degraded and restored images are from good ones, by `distance`.

    Args:
        values: of "degraded", "restored" and "good" images, (N,) each; the restored ones are made of the degraded.
        over: resamples of the degraded and the restored images.
        over_good: as many resamples of the good ones.
        confidence: of the interval.

    Returns:
        "degraded" and "restored", in the score's unit, and "low" and "high" of what restoration added to the distance,
        None where degraded or good images are of one unit, which "why" then names; None where a score is defined
        for no image.
    """
    if not all(np.isfinite(one).any() for one in values.values()):
        return None
    degraded, restored = _both(values, slice(None), slice(None))
    found = {"degraded": degraded, "restored": restored}
    fewest = len(over.units)
    for which, of in (("degraded", over), ("restored", over), ("good", over_good)):
        defined = sum(bool(np.isfinite(values[which][rows]).any()) for rows in of.units)
        if defined < 2:
            return {**found, "low": None, "high": None, "why": f"one {of.unit}"}
        fewest = min(fewest, defined)
    both = [_both(values, rows, good) for rows, good in zip(over.rows, over_good.rows, strict=True)]
    changes = np.array([restored - degraded for degraded, restored in both])
    low, high = bootstrap_interval(changes, fewest, confidence)  # the smaller set limits what is known
    return {**found, "low": float(low), "high": float(high)}


def _both(values: Mapping[str, Values], rows: Any, good: Any) -> tuple[float, float]:
    degraded, restored, aim = (
        _known(values[which][at]) for which, at in (("degraded", rows), ("restored", rows), ("good", good))
    )
    return _distance_of_sorted(degraded, aim), _distance_of_sorted(restored, aim)


def read_good(path: Path) -> tuple[tuple[str, ...], dict[str, Values]]:
    """Read scores/SPLIT_good.csv: the names of the good images, and by metric a value each; empty without the file.

    Raises:
        DataError: if it cannot be read, or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = sorted(csv.DictReader(stream), key=lambda row: row["key"])
        names = [name for name in (rows[0] if rows else {}) if name not in ("key", "group", "source")]
        values = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
        return tuple(row["key"] for row in rows), values
    except FileNotFoundError:
        return (), {}
    except (OSError, csv.Error, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no table of good images as this version writes them ({error})") from error
