"""Measures of degradation before and after, as columns of the table: those of `evaluation/measures.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "levels_of", "limits_note"]

NAMES = ("noise", "blur", "exposure", "contrast")
LEVELS = tuple(f"{name}_{when}" for name in NAMES for when in ("before", "after"))
"""The columns."""


def levels_of(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, ...]:
    """Return `LEVELS` of a source and a restored image, (C, H, W) in [-1, 1]; NaN where one is not defined.

    They are defined for two spatial sizes; those of both images may differ.
    """
    found = [_measured(image) for image in (before, after)]
    return tuple(one[name] for name in NAMES for one in found)


def limits_note(levels: Sequence[float]) -> str:
    """Return a note on those of `LEVELS` that stand at a limit of their measure, beyond which it sees nothing."""
    from restorekit.evaluation import measures

    found = [
        f"{column} {level:.3g}"
        for column, level in zip(LEVELS, levels, strict=False)
        if measures.MEASURES[column.rpartition("_")[0]].is_limit(level)
    ]
    return f"at the limit of the measure, so the true value may lie beyond: {', '.join(found)}" if found else ""


def _measured(image: NDArray[np.float32]) -> dict[str, float]:
    from restorekit.evaluation import measures  # imports torch, which this package's contract does not

    if image.ndim != 3:
        return dict.fromkeys(NAMES, math.nan)
    gray = np.clip((image.mean(axis=0, dtype=np.float32) + 1) * np.float32(0.5), 0, 1)
    return measures.measure(gray, {name: measures.MEASURES[name] for name in NAMES})
