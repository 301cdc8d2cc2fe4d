"""How well classes are predicted: the formulas, for one set of images or for thousands of weightings of it at once.

A weighting is how often each image counts: a bootstrap resample is one. No library scores many of them in one call,
which is why the formulas stand here; tests hold them against scikit-learn and torchmetrics. Of two classes the last is
the positive one. Of more, each is scored against the rest and the score is the plain mean over classes. A ratio that
has nothing to divide by is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import unknown

__all__ = ["BINS", "CLASS_SCORES", "auroc", "class_score", "confidence", "summed"]

Values = NDArray[np.float64]
Formula = Callable[[Values, Values, Values, Values], tuple[Values, Values]]

BINS = 10
"""Equal bins of confidence in the calibration error."""

RATES: dict[str, Formula] = {
    "accuracy": lambda tp, fp, tn, fn: (tp + tn, tp + fp + tn + fn),
    "sensitivity": lambda tp, fp, tn, fn: (tp, tp + fn),
    "specificity": lambda tp, fp, tn, fn: (tn, tn + fp),
    "precision": lambda tp, fp, tn, fn: (tp, tp + fp),
    "f1": lambda tp, fp, tn, fn: (2 * tp, 2 * tp + fn + fp),
    "f2": lambda tp, fp, tn, fn: (5 * tp, 5 * tp + 4 * fn + fp),
}
"""Ratios of true and false positives and negatives; F beta after van Rijsbergen 1979."""

CLASS_SCORES = (*RATES, "auroc", "ece")


def class_score(name: str, chances: Values, target: NDArray[np.int64], weights: Values | None = None) -> Values:
    """Return a score of class predictions.

    Args:
        name: one of `CLASS_SCORES`.
        chances: (N, classes), the probability of each class; the decision is the likeliest, the first on a tie.
        target: (N,), the true class; every image's is known.
        weights: (R, N), how often each image counts; None: once.

    Returns:
        (R,), or a scalar array without weights; NaN where the score is not defined.

    Raises:
        ValueError: if there is no such score.
    """
    if name not in CLASS_SCORES:
        raise ValueError(unknown("class score", name, CLASS_SCORES))
    chosen = np.ones((1, len(target))) if weights is None else weights
    if name == "auroc":
        found = np.mean([auroc(chances[:, c], target == c, chosen) for c in _scored(chances.shape[1])], axis=0)
    else:
        terms, score = summed(name, chances, target)
        sums = (chosen @ terms.reshape(len(terms), -1)).reshape(-1, *terms.shape[1:])
        found = score(sums)
    return np.asarray(found[0] if weights is None else found)


def summed(name: str, chances: Values, target: NDArray[np.int64]) -> tuple[Values, Callable[[Values], Values]]:
    """Return terms of each image, (N, *t), and the function of their sums over images, (..., *t) to (...).

    All scores but the AUROC are such functions: of counts, or of the gaps in bins of confidence.
    """
    classes = chances.shape[1]
    if name == "ece":
        sure, right, at = confidence(chances, target)
        terms = np.eye(BINS)[at] * (sure - right)[:, None]
        return np.concatenate([terms, np.ones((len(terms), 1))], axis=1), _calibration_error
    of = np.array(_scored(classes))
    predicted, true = chances.argmax(1)[:, None] == of, target[:, None] == of
    counts = np.stack([predicted & true, predicted & ~true, ~predicted & ~true, ~predicted & true], axis=-1)
    return counts.astype(np.float64), _every if name == "accuracy" and classes > 2 else _rate(name)


def confidence(chances: Values, target: NDArray[np.int64]) -> tuple[Values, NDArray[np.bool_], NDArray[np.int64]]:
    """Return the confidence of each prediction, whether it is correct, and its bin of `BINS` equal ones, (N,) each.

    Of two classes it is the probability of the positive one, of more that of the class that was called.
    """
    two = chances.shape[1] == 2
    sure, right = (chances[:, 1], target == 1) if two else (chances.max(1), chances.argmax(1) == target)
    return sure, right, np.minimum((sure * BINS).astype(np.int64), BINS - 1)


def auroc(chance: Values, positive: NDArray[np.bool_], weights: Values) -> Values:
    """Return the chance that a positive image is given more than a negative one, a tie counting half, (R,).

    Args:
        chance: (N,), what each image was given.
        positive: (N,), whether it is positive.
        weights: (R, N), how often it counts.
    """
    order = np.argsort(chance, kind="stable")
    starts = np.flatnonzero(np.diff(chance[order], prepend=-np.inf))  # of runs of ties
    ups = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    downs = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(downs, axis=1)
    won = (ups * (below - downs / 2)).sum(1)
    return _divide(won, ups.sum(1) * below[:, -1])


def _scored(classes: int) -> list[int]:
    """The classes that are scored against the rest."""
    return [1] if classes == 2 else list(range(classes))


def _rate(name: str) -> Callable[[Values], Values]:
    def score(counts: Values) -> Values:
        return np.asarray(_divide(*RATES[name](*np.moveaxis(counts, -1, 0))).mean(-1))

    return score


def _every(counts: Values) -> Values:
    """The share of all images that are classified correctly, of more than two classes."""
    return _divide(counts[..., 0].sum(-1), counts[..., 0, :].sum(-1))


def _calibration_error(sums: Values) -> Values:
    return _divide(np.abs(sums[..., :-1]).sum(-1), sums[..., -1])


def _divide(over: Values, under: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(under > 0, over / under, np.nan), dtype=np.float64)
