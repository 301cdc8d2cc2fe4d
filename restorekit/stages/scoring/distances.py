"""How far images are from the good ones by a score: the Wasserstein distance of its values over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.stages.scoring.intervals import Resamples

__all__ = ["distances", "quantiles"]

Values = NDArray[np.float64]
GRID = (np.arange(100) + 0.5) / 100
"""Where quantiles are compared."""


def quantiles(values: Values, at: Sequence[float]) -> list[float] | None:
    """Return quantiles of the values that are finite; None if there are none."""
    found = _quantiles(values, np.asarray(at))
    return None if found is None else found.tolist()


def _quantiles(values: Values, at: Values) -> Values | None:
    known = np.sort(values[np.isfinite(values)])
    # What np.quantile gives, which for a few images takes five times as long: thousands of resamples are drawn.
    return np.interp(at * (known.size - 1), np.arange(known.size), known) if known.size else None


def distances(
    values: Mapping[str, Values], over: Resamples, over_good: Resamples, confidence: float
) -> dict[str, Any] | None:
    """Return how far poor and restored images are from good ones: the mean difference of quantiles (Wasserstein-1).

    Args:
        values: of "poor", "restored" and "good" images, (N,) each; poor and restored are the same images.
        over: resamples of the poor and the restored images.
        over_good: as many resamples of the good ones.
        confidence: of the interval.

    Returns:
        "poor" and "restored", in the score's unit, and "low" and "high" of what restoration added to the distance,
        None where the poor or the good images are of one unit, which "why" then names; None where a score is defined
        for no image.
    """
    if not all(np.isfinite(one).any() for one in values.values()):
        return None
    poor, restored = _apart(values, slice(None), slice(None))
    found = {"poor": poor, "restored": restored}
    for which, of in (("poor", over), ("restored", over), ("good", over_good)):
        if sum(bool(np.isfinite(values[which][rows]).any()) for rows in of.units) < 2:
            return {**found, "low": None, "high": None, "why": f"one {of.unit}"}
    changes = [_apart(values, rows, good) for rows, good in zip(over.rows, over_good.rows, strict=True)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile([restored - poor for poor, restored in changes], [tail, 1 - tail])
    return {**found, "low": float(low), "high": float(high)}


def _apart(values: Mapping[str, Values], rows: Any, good: Any) -> tuple[float, float]:
    chosen = (("poor", rows), ("restored", rows), ("good", good))
    poor, restored, aim = (_quantiles(values[which][at], GRID) for which, at in chosen)
    return _mean_difference(poor, aim), _mean_difference(restored, aim)


def _mean_difference(one: Values | None, other: Values | None) -> float:
    """Return it; NaN where a resample holds no image by which a score is defined."""
    return np.nan if one is None or other is None else float(np.abs(one - other).mean())
