"""Whether readers agree with each other, with themselves, and over a session, by the libraries that others use."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from restorekit_study.preference import LEVEL, TINY, Estimate, jackknife_error, wilson

__all__ = [
    "Agreement",
    "Repeats",
    "agreement",
    "cohen",
    "column_preference",
    "drift",
    "fleiss",
    "krippendorff_alpha",
    "repeats",
]

Floats = NDArray[np.float64]
Scale = Literal["nominal", "ordinal"]
GROUPS = 50
"""Groups of clusters at most of which the jackknife leaves out one at a time."""
LEAST_EXPECTED = 5
"""Choices that are expected in a cell of a table, below which chi squared is not to be trusted."""


@dataclass(frozen=True)
class Agreement:
    """What is left of agreement when that of chance is taken away: 1 is perfect, 0 is chance."""

    fleiss: Estimate | None
    """Over films that all readers have seen; None: fewer than two."""
    alpha: Estimate | None
    """Krippendorff's, over films of two readers or more."""
    pairs: dict[tuple[int, int], tuple[int, Estimate | None]]
    """Cohen's kappa by readers, with the films that both have seen."""
    common: int
    """Films that all have seen."""
    shared: int
    """Films that two or more have seen."""


@dataclass(frozen=True)
class Repeats:
    """How a reader chose when a film was shown again."""

    count: int
    same: Estimate
    """Share of equal choices."""
    kappa: Estimate | None
    """Cohen's; None where it is not defined."""


def agreement(choices: Floats, cluster: NDArray[np.int64], scale: Scale) -> Agreement:
    """Return agreement between readers, with intervals by the jackknife over groups of clusters.

    Args:
        choices: (readers, films), NaN where a reader has not seen a film.
        cluster: (films,) the patient of each film, from 0.
        scale: "nominal" for methods; "ordinal" for ratings, for which Cohen's kappa has quadratic weights.
    """
    seen = (~np.isnan(choices)).sum(0)
    common, shared = seen == len(choices), seen >= 2
    pairs = {}
    for one, other in combinations(range(len(choices)), 2):
        both = ~np.isnan(choices[[one, other]]).any(0)
        pairs[one, other] = (
            int(both.sum()),
            _with_interval(lambda c: cohen(c[0], c[1], scale), choices[[one, other]][:, both], cluster[both]),
        )
    several = len(choices) >= 2
    return Agreement(
        _with_interval(fleiss, choices[:, common], cluster[common]) if several else None,
        _with_interval(lambda c: krippendorff_alpha(c, scale), choices[:, shared], cluster[shared])
        if several
        else None,
        pairs,
        int(common.sum()),
        int(shared.sum()),
    )


def fleiss(choices: Floats) -> float:
    """Return Fleiss' kappa (readers, films), no NaN; NaN where all choices are equal."""
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    if len(np.unique(choices)) < 2:
        return math.nan
    return float(fleiss_kappa(aggregate_raters(choices.T.astype(int))[0]))


def cohen(one: Floats, other: Floats, scale: Scale) -> float:
    """Return Cohen's kappa of two readers on the same films; NaN where it is not defined."""
    from statsmodels.stats.inter_rater import cohens_kappa

    pairs = np.stack([one, other]).astype(int)
    pairs -= pairs.min()  # all values between are categories, used or not: they count in the distance of others
    size = pairs.max() + 1
    if size < 2:
        return math.nan
    table = np.bincount(pairs[0] * size + pairs[1], minlength=size**2).reshape(size, size)
    return float(cohens_kappa(table, wt="quadratic" if scale == "ordinal" else None, return_results=False))


def krippendorff_alpha(choices: Floats, scale: Scale) -> float:
    """Return Krippendorff's alpha (readers, films), NaN where not seen; NaN where all choices are equal."""
    import krippendorff

    if len(np.unique(choices[~np.isnan(choices)])) < 2:
        return math.nan
    return float(krippendorff.alpha(reliability_data=choices, level_of_measurement=scale))


def repeats(first: Floats, again: Floats, cluster: NDArray[np.int64], scale: Scale) -> Repeats | None:
    """Return how one reader agrees with themselves; None without repeats.

    Args:
        first: (n,) choices when the films were shown first.
        again: (n,) choices when they were shown again.
        cluster: (n,) the patient of each film.
        scale: as for `agreement`.
    """
    if len(first) == 0:
        return None
    share = float((first == again).mean())
    kappa = _with_interval(lambda c: cohen(c[0], c[1], scale), np.stack([first, again]), cluster)
    return Repeats(len(first), Estimate(share, wilson(share, len(first))), kappa)


def drift(parts: Sequence[Sequence[int]]) -> float | None:
    """Return p of equal shares in all parts of a session, by chi squared.

    Args:
        parts: counts of each kind of choice, by part.

    Returns:
        None where counts are too small for chi squared, by Cochran's rule, or all choices are of one kind.
    """
    counts = np.array(parts)
    counts = counts[:, counts.sum(0) > 0]
    if counts.shape[1] < 2:
        return None
    expected = stats.contingency.expected_freq(counts)
    if expected.min() < 1 or (expected < LEAST_EXPECTED).mean() > 0.2:
        return None
    return float(stats.chi2_contingency(counts).pvalue)


def column_preference(counts: NDArray[np.int64]) -> float | None:
    """Return p of equal shares of all columns (columns,), by chi squared; None where there are too few choices."""
    return float(stats.chisquare(counts).pvalue) if counts.sum() >= LEAST_EXPECTED * len(counts) else None


def _with_interval(
    statistic: Callable[[Floats], float], choices: Floats, cluster: NDArray[np.int64]
) -> Estimate | None:
    """Return a statistic with an interval by leaving out groups of clusters; None below two films or if undefined."""
    if choices.shape[1] < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a part in which all choices are equal
        value = statistic(choices)
        if math.isnan(value):
            return None
        _, at = np.unique(cluster, return_inverse=True)
        groups = at % GROUPS
        names = np.unique(groups)
        left = np.array([statistic(choices[:, groups != name]) for name in names]) if len(names) > 2 else np.array([])
    if len(left) == 0 or np.isnan(left).any():
        return Estimate(value, None)
    reach = float(stats.t.ppf(1 - LEVEL / 2, len(names) - 1) * jackknife_error(left))
    return Estimate(value, (value - reach, min(1.0, value + reach)) if reach**2 > TINY else None)
