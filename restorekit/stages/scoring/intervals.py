"""Bootstrap intervals: percentiles of a score over resamples of patients where they are known, else of images.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 (clustered data) and 13 (percentiles).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Indices", "interval", "resamples", "unit_of", "units", "weights"]

Indices = NDArray[np.int64]


def units(groups: Sequence[str | None]) -> list[Indices]:
    """Return the row indices of each unit: those of a group, or a row by itself where the group is not known."""
    table: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        table.setdefault(i if group is None else group, []).append(i)
    return [np.array(rows) for rows in table.values()]


def resamples(of: Sequence[Indices], count: int, seed: int) -> list[Indices]:
    """Return row indices of `count` resamples, units drawn with replacement. All scores of a run share them."""
    return [np.concatenate([of[unit] for unit in draw]) for draw in _draws(len(of), count, seed)]


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


def interval(score: Callable[[Indices], float], over: Sequence[Indices], confidence: float) -> tuple[float, float]:
    """Return the central percentiles of `score` over resamples; those where it is not defined do not count."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.array([score(rows) for rows in over]), [tail, 1 - tail])
    return float(low), float(high)
