"""How far images are from the good ones by a score: the Wasserstein distance of its values over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.stages.intervals import Indices

__all__ = ["distances", "quantiles"]

Values = NDArray[np.float64]
GRID = (np.arange(100) + 0.5) / 100
"""Where quantiles are compared."""


def quantiles(values: Values, at: Sequence[float] | Values) -> list[float] | None:
    """Return quantiles of the values that are finite; None if there are none."""
    known = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(known, at)] if known.size else None


def distances(
    values: Mapping[str, Values], over: Sequence[Indices], over_good: Sequence[Indices], confidence: float
) -> dict[str, Any] | None:
    """Return how far poor and restored images are from good ones: the mean difference of quantiles (Wasserstein-1).

    Args:
        values: of "poor", "restored" and "good" images, (N,) each; poor and restored are the same images.
        over: resamples of the poor and the restored images.
        over_good: as many resamples of the good ones.
        confidence: of the interval.

    Returns:
        "poor" and "restored", in the score's unit, and "low" and "high" of what restoration added to the distance;
        None where a score is defined for no image.
    """
    curves = {which: quantiles(one, GRID) for which, one in values.items()}
    if None in curves.values():
        return None
    changes = [_apart(values, rows, good) for rows, good in zip(over, over_good, strict=True)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile([restored - poor for poor, restored in changes], [tail, 1 - tail])
    poor, restored = _apart(values, slice(None), slice(None))
    return {"poor": poor, "restored": restored, "low": float(low), "high": float(high)}


def _apart(values: Mapping[str, Values], rows: Any, good: Any) -> tuple[float, float]:
    poor, restored, aim = (
        np.array(quantiles(values[which][at], GRID) or [np.nan])
        for which, at in (("poor", rows), ("restored", rows), ("good", good))
    )
    return float(np.abs(poor - aim).mean()), float(np.abs(restored - aim).mean())
