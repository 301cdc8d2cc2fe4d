"""Paired tests of two methods on the same test images, with patients as units, and their correction.

Under the null hypothesis a patient's predictions might as well be the other method's, so the predictions of whole
patients are swapped: all images of a patient at once, and with several seeds all seeds at once. A patient is then one
witness, however many images or seeds there are (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005).
For areas under ROC curves, ranks are swapped (Bandos, Rockette and Gur 2005, doi:10.1002/sim.2149).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from restorekit.evaluation.intervals import NARROW, exact

__all__ = ["EXACT", "Difference", "exact", "holm", "mcnemar", "ranked", "summable", "swap_test", "t_interval"]

Values = NDArray[np.float64]

EXACT = 25
"""Below so many discordant images McNemar's test is the exact binomial one."""
CHUNK = 1024
"""Swaps that are held at once."""
EVEN = 1e-12
"""Differences that are nearer than this share of the scale of their scores are the same: rounding made them."""


@dataclass(frozen=True)
class Difference:
    """A difference of two methods as a function of which units are swapped: `of(base + swaps @ moves)`."""

    base: Values
    """(m,): sums over all units when nothing is swapped."""
    moves: Values
    """(units, m): what swapping a unit adds to the sums."""
    of: Callable[[Values], Values]
    """(R, m) sums to (R,) differences."""
    scale: float = 1.0
    """How large scores are, about."""


def summable(one: Values, other: Values, score: Callable[[Values], Values], units: Values) -> Difference:
    """Return the difference of a score that is a function of sums over images.

    Args:
        one: (N, *t), the terms of each image by the one method.
        other: the same by the other.
        score: sums (R, *t) to scores (R,).
        units: (units, N), 1 where an image is of a unit.
    """
    shape = one.shape[1:]
    first, second = one.reshape(len(one), -1), other.reshape(len(other), -1)
    both = first.sum(0) + second.sum(0)

    def of(sums: Values) -> Values:
        return score(sums.reshape(-1, *shape)) - score((both - sums).reshape(-1, *shape))

    scale = float(max(np.abs(first).max(initial=0), np.abs(second).max(initial=0)))
    return Difference(first.sum(0), units @ (second - first), of, scale)


def ranked(one: Values, other: Values, positive: NDArray[np.bool_], units: Values) -> Difference:
    """Return the difference of the areas under two ROC curves; swapped are ranks, for which both have one scale.

    The difference is a sum over images of what each adds to it, and swapping an image turns the sign of its part.

    Args:
        one: (N,), what the one method gave each image.
        other: (N,), what the other gave.
        positive: (N,), which images are positive; some must be, and some not.
        units: (units, N), 1 where an image is of a unit.
    """
    from scipy.stats import rankdata  # a second to import: only on use

    x, y = rankdata(one), rankdata(other)
    pairs = positive.sum() * (~positive).sum()
    parts = np.empty(len(x))
    for mine, sign in ((positive, 1), (~positive, -1)):
        won = [_counts_below(ranks[mine], against[~mine]) for ranks in (x, y) for against in (x, y)]
        parts[mine] = sign * (won[0] + won[1] - won[2] - won[3])
    parts /= 2 * pairs
    return Difference(np.array([parts.sum()]), -2 * (units @ parts)[:, None], lambda sums: sums[:, 0])


def _counts_below(ranks: Values, against: Values) -> Values:
    """How many of `against` each rank is above, a tie counting half."""
    line = np.sort(against)
    return (np.searchsorted(line, ranks, "left") + np.searchsorted(line, ranks, "right")) / 2


def swap_test(differences: Sequence[Difference], units: int, count: int, seed: int) -> tuple[Values, Values]:
    """Test many differences by the same swaps of units.

    Args:
        differences: each of the same units.
        units: how many there are.
        count: random swaps; with few units all 2^units swaps are made instead, and the test is exact.
        seed: of the swaps.

    Returns:
        What was observed, and two-sided p values: the share of swaps with a difference as large, (differences,) each.
        A swap for which a score is not defined counts against the difference.
    """
    if not differences:
        return np.empty(0), np.empty(0)
    moves = np.concatenate([d.moves for d in differences], axis=1)
    edges = np.cumsum([0, *(d.moves.shape[1] for d in differences)])
    seen = np.array([float(d.of(d.base[None])[0]) for d in differences])
    as_large, swaps = np.zeros(len(seen)), 0
    every = 2.0**units <= count
    for swap in _all_swaps(units) if every else _random_swaps(units, count, seed):
        shifts = swap @ moves
        swaps += len(swap)
        for i, d in enumerate(differences):
            found = np.abs(d.of(d.base + shifts[:, edges[i] : edges[i + 1]]))
            as_large[i] += np.sum(~(found < abs(seen[i]) - EVEN * d.scale))
    p = as_large / swaps if every else (as_large + 1) / (swaps + 1)
    return seen, np.where(np.isnan(seen), np.nan, p)


def _all_swaps(units: int) -> Iterator[Values]:
    yield np.array(list(product((0.0, 1.0), repeat=units)))


def _random_swaps(units: int, count: int, seed: int) -> Iterator[Values]:
    rng = np.random.default_rng(seed)
    for first in range(0, count, CHUNK):
        yield rng.integers(0, 2, size=(min(CHUNK, count - first), units)).astype(np.float64)


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Return images that only the one method classified correctly, those only the other, and McNemar's p value.

    The exact binomial test below `EXACT` such images, else chi squared with continuity correction (McNemar 1947,
    doi:10.1007/BF02295996). It takes images for independent.

    Args:
        one: (N,), where the one method is right.
        other: (N,), where the other is.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test  # seconds to import: only on use

    b, c = int(np.sum(one & ~other)), int(np.sum(~one & other))
    if b + c == 0:
        return 0, 0, 1.0
    table = [[int(np.sum(one & other)), b], [c, int(np.sum(~one & ~other))]]
    return b, c, float(test(table, exact=b + c < EXACT, correction=True).pvalue)


def holm(p: Values) -> Values:
    """Return p values corrected for how many there are (Holm 1979); those that are NaN are no tests and stay NaN."""
    from statsmodels.stats.multitest import multipletests

    known = ~np.isnan(p)
    found = np.full(len(p), np.nan)
    if known.any():
        found[known] = multipletests(p[known], method="holm")[1]
    return found


def t_interval(values: Values, confidence: float) -> tuple[float, float] | None:
    """Return Student's interval of the mean of a score over seeds.

    None for fewer than three, and where all are alike: a width of 0 is no certainty.
    """
    from scipy.stats import sem, t

    if len(values) < 3 or np.ptp(values) <= NARROW * np.abs(values).max():
        return None
    low, high = t.interval(confidence, len(values) - 1, values.mean(), sem(values))
    return float(low), float(high)
