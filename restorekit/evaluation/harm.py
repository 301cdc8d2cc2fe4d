"""Images that restoration made worse: their share, with an interval, and the one that lost most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.evaluation.intervals import Indices, Resamples, estimate

__all__ = ["LIMIT", "METRIC", "harm"]

METRIC = "psnr"
"""The metric that harm is counted by: it is known of each image, degraded and restored, where the truth is."""
LIMIT = 0.5
"""Decibels; an image that loses more counts as worse."""


def harm(
    keys: Sequence[str],
    degraded: NDArray[np.float64],
    restored: NDArray[np.float64],
    over: Resamples,
    confidence: float,
) -> dict[str, Any] | None:
    """Return the share of images that lost more than 0.5 dB of PSNR, and the image that lost most.

    Args:
        keys: of N images.
        degraded: (N,), decibels of the degraded images; NaN where the truth is not known.
        restored: (N,), decibels of the restored images.
        over: resamples of the N images.
        confidence: of the interval.

    Returns:
        "share" with its interval, and "n", of how many images; "worst": the "key" and "gain" in decibels of the image
        that lost most, None where none lost anything. None where the truth of no image is known.
    """
    # An image without error has an infinite PSNR; one that stays so lost nothing.
    gain = np.subtract(restored, degraded, out=np.zeros_like(degraded), where=restored != degraded)
    known = ~np.isnan(gain)
    if not known.any():
        return None

    def share(rows: Indices) -> float:
        mine = gain[rows][known[rows]]
        return float((mine < -LIMIT).mean()) if mine.size else float("nan")

    found = estimate(share, over, confidence, known, proportion=True)
    worst = int(np.nanargmin(gain))
    lost = {"key": keys[worst], "gain": float(gain[worst])} if gain[worst] < 0 else None
    return {
        "metric": METRIC,
        "limit": LIMIT,
        "share": None if found is None else {**found, "n": int(known.sum())},
        "worst": lost,
    }
