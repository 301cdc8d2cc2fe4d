"""Bootstrap intervals: percentiles of a score over resamples of patients where they are known, else of images.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 (clustered data) and 13 (percentiles).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Indices", "exact", "interval", "resamples", "units"]

Indices = NDArray[np.int64]


def units(groups: Sequence[str | None]) -> list[Indices]:
    """Return the row indices of each unit: those of a group, or a row by itself where the group is not known."""
    table: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        table.setdefault(i if group is None else group, []).append(i)
    return [np.array(rows) for rows in table.values()]


def resamples(of: Sequence[Indices], count: int, seed: int) -> list[Indices]:
    """Return row indices of `count` resamples, units drawn with replacement. All scores of a run share them."""
    draws = np.random.default_rng(seed).integers(len(of), size=(count, len(of)))
    return [np.concatenate([of[unit] for unit in draw]) for draw in draws]


def interval(score: Callable[[Indices], float], over: Sequence[Indices], confidence: float) -> tuple[float, float]:
    """Return the central percentiles of `score` over resamples; those where it is not defined do not count."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.array([score(rows) for rows in over]), [tail, 1 - tail])
    return float(low), float(high)


def exact(count: int, of: int, confidence: float) -> tuple[float, float]:
    """Return the exact binomial interval of a share `count` / `of` (Clopper and Pearson, Biometrika 26, 1934)."""
    from scipy.stats import binomtest  # slow to import, and seldom needed

    found = binomtest(count, of).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)
