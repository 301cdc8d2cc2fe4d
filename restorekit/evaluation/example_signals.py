"""A few test signals in their own unit, and the marks of metrics along them: scores/pictures/traces.json.

Some are fixed by their keys alone; where a score ranks images apart, the worst, the median and the best by it stand
beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core.formats import Intensity
from restorekit.core.types import Batch, Domain, Metric
from restorekit.evaluation import gallery

__all__ = ["FIXED", "chosen", "marks", "ranking_metric", "signal"]

FIXED = 3
"""Signals that are shown whatever their scores."""
DIGITS = 5
"""Of a value: a thousandth of a pixel."""
Rows = NDArray[np.float64]


def ranking_metric(
    metrics: Mapping[str, Metric], rows: Mapping[tuple[str, str], Rows]
) -> tuple[str, dict[str, Rows]] | None:
    """Return the first metric by which restored signals can be ranked, and its score of each.

    It compares with the truth, or marks what it measures.

    Args:
        metrics: by name, in the order of the recipe.
        rows: by metric and "degraded" or "restored" the rows (N, k), where they are defined.

    Returns:
        Its name, and (N,) scores of "degraded" and "restored" signals; None where there is no such metric.
    """
    for name, metric in metrics.items():
        ranks = metric.needs == "truth" or (metric.needs is None and _marks(metric))
        if ranks and metric.better in ("higher", "lower") and (name, "restored") in rows:
            scores = {
                which: np.array([metric.reduce(row[None]) for row in rows[name, which]])
                for which in ("degraded", "restored")
            }
            if not np.isnan(scores["restored"]).all():
                return name, scores
    return None


def chosen(keys: Sequence[str], scores: Rows | None, better: str = "higher") -> dict[int, list[str]]:
    """Return the positions to show, each with why: "worst", "median" and "best" by the scores, or "fixed".

    Args:
        keys: N names; those that are fixed depend on them alone.
        scores: (N,), NaN where not defined; None: there is no score.
        better: "higher" or "lower".
    """
    found: dict[int, list[str]] = {}
    if scores is not None:
        sign = 1 if better == "higher" else -1
        order = sorted(np.flatnonzero(~np.isnan(scores)).tolist(), key=lambda i: (sign * scores[i], keys[i]))
        for why, i in (("worst", order[0]), ("median", order[(len(order) - 1) // 2]), ("best", order[-1])):
            found.setdefault(i, []).append(why)
    for i in gallery.chosen(keys, FIXED):
        found.setdefault(i, []).append("fixed")
    return found


def signal(columns: Mapping[str, Tensor], intensity: Intensity | None, domain: Domain) -> dict[str, Any]:
    """Return one signal, (C, L) in [-1, 1] by column, as JSON holds it: in its own unit, with its axes.

    Returns:
        `values`: by column, channels of values; `unit`: theirs, empty where it is not known, and without an intensity
        they are those of [-1, 1]; `names`: of the channels; `spacing`: seconds from one value to the next, or None.
    """
    spacing = domain.spacing if intensity is None or intensity.spacing is None else intensity.spacing
    return {
        "values": {name: _numbers(one, intensity) for name, one in columns.items()},
        "unit": "" if intensity is None else intensity.unit,
        "names": [] if intensity is None else list(intensity.names),
        "spacing": None if spacing is None else spacing[0],
    }


def marks(
    metrics: Mapping[str, Metric], columns: Mapping[str, Tensor], prediction: Tensor | None, batch: Batch
) -> list[list[dict[str, Any]]]:
    """Return for each signal of a batch what metrics mark on each column, (B, C, L); equal marks once.

    Returns:
        For each signal a list of `by`, the metrics' names, and `on`: by column and name of a mark the samples.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in batch.key]
    for name, metric in metrics.items():
        if not _marks(metric) or (metric.needs == "truth" and batch.truth is None):
            continue
        seen = {column: metric.marks(image, prediction, batch) for column, image in columns.items()}
        for i, of in enumerate(found):
            on = {c: {mark: [float(p) for p in places] for mark, places in one[i].items()} for c, one in seen.items()}
            same = next((one for one in of if one["on"] == on), None)
            if same is None:
                of.append({"by": [name], "on": on})
            else:
                same["by"].append(name)
    return found


def _marks(metric: Metric) -> bool:
    return type(metric).marks is not Metric.marks


def _numbers(image: Tensor, intensity: Intensity | None) -> list[list[float]]:
    """Return (C, L) in the unit of what was stored, not rounded as its type may ask, nor cut to its range."""
    values: Rows = image.double().numpy()
    if intensity is not None:
        values = (values + 1) * ((intensity.high - intensity.low) / 2) + intensity.low
    return [[float(f"{value:.{DIGITS}g}") for value in channel] for channel in values.tolist()]
