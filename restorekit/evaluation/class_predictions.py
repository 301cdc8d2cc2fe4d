"""Analysis of class predictions: curves, calibration, thresholds, disagreements.

Curves and thresholds are of two classes, the last of them the positive one. A curve of a method with several seeds is
the mean of theirs, taken upright: at the same rate of false alarms, or at the same sensitivity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restorekit.evaluation.classification import BINS, class_score, confidence
from restorekit.evaluation.compare import CONFIDENCE, Comparison, mean_chances
from restorekit.evaluation.intervals import bootstrap_interval, counted, units
from restorekit.evaluation.methods import Method, Scored

__all__ = [
    "AT_THRESHOLD",
    "Calibration",
    "Case",
    "Curve",
    "Thresholds",
    "calibrations",
    "cases",
    "curves",
    "if_perfect",
    "pr_curve",
    "roc_curve",
    "thresholds",
    "youden",
]

Values = NDArray[np.float64]

GRID = np.linspace(0, 1, 101)
"""Where curves are compared."""
BANDS = 500
"""Resamples of a band: the first of those of the table."""
PERFECT = 1000
"""Draws of classes that come true as promised."""
AT_THRESHOLD = ("accuracy", "sensitivity", "specificity", "precision", "f1", "f2")
"""Scores that a threshold moves."""


@dataclass(frozen=True)
class Curve:
    """A curve over `GRID`, (101,)."""

    middle: Values
    band: tuple[Values, Values] | None
    """Its lower and upper ends, (101,) each; None where the AUROC has no interval."""


@dataclass(frozen=True)
class Calibration:
    """Calibration: confidence against accuracy."""

    ece: tuple[float, ...]
    """The expected calibration error, a number a seed."""
    perfect: tuple[float, float]
    """What its mean would be if every probability were exact: on average, and below which it stays in 95 of 100 draws.

    Classes of these images are drawn by their probabilities, image by image (consistency resampling: Bröcker and Smith,
    Weather and Forecasting 22, 2007). Few images leave an error to perfect probabilities too.
    """
    bins: tuple[tuple[Values, Values, Values], ...]
    """A seed: of each bin that holds images the mean promised, the share that is correct, and the images."""


@dataclass(frozen=True)
class Thresholds:
    """Scores of the test images at 1/2, and at the thresholds that the validation images gave."""

    chosen: tuple[float, ...]
    """A threshold a seed."""
    plain: dict[str, float]
    """Means over seeds, at the likelier class."""
    moved: dict[str, float]
    """The same at the thresholds."""


@dataclass(frozen=True)
class Case:
    """A test image on which methods disagree."""

    key: str
    group: str
    truth: str
    predicted: tuple[str, ...]
    """By method."""
    chance: tuple[float, ...]
    """By method, the probability of the positive class, or of the predicted class."""


def roc_curve(chance: Values, positive: NDArray[np.bool_], weights: Values) -> Values:
    """Return the sensitivity at each rate of false alarms of `GRID`, (R, 101).

    Args:
        chance: (N,), the probability of the positive class.
        positive: (N,), whether an image is positive.
        weights: (R, N), how often it counts.
    """
    return _along(chance, positive, weights, lambda tp, fp: np.interp(GRID, fp / fp[-1], tp / tp[-1]))


def pr_curve(chance: Values, positive: NDArray[np.bool_], weights: Values) -> Values:
    """Return the precision at the highest threshold that reaches each sensitivity of `GRID`, (R, 101)."""

    def of(tp: Values, fp: Values) -> Values:
        reached = np.searchsorted(tp / tp[-1], GRID - 1e-12)
        total = tp + fp
        reached = np.maximum(
            reached, np.searchsorted(total, 0, "right")
        )  # before the first image there is no prediction
        return np.asarray(tp[reached] / total[reached])

    return _along(chance, positive, weights, of)


def _along(
    chance: Values, positive: NDArray[np.bool_], weights: Values, of: Callable[[Values, Values], Values]
) -> Values:
    """Apply `of` to how many positives and negatives lie above each threshold, from none to all; NaN without both."""
    order = np.argsort(-chance, kind="stable")
    ends = np.flatnonzero(np.diff(chance[order], append=np.inf))  # a threshold takes all images of a tie
    made = np.full((len(weights), len(GRID)), np.nan)
    for i, weight in enumerate(weights):
        tp = np.concatenate([[0], np.cumsum(weight[order] * positive[order])[ends]])
        fp = np.concatenate([[0], np.cumsum(weight[order] * ~positive[order])[ends]])
        if tp[-1] and fp[-1]:
            made[i] = of(tp, fp)
    return made


def curves(found: Comparison, kind: Callable[[Values, NDArray[np.bool_], Values], Values]) -> dict[str, Curve]:
    """Return the ROC or PR curve of each method, with a band over resampled patients; empty if it is not defined."""
    known, target = found.truth()
    positive = target == 1
    if len(found.classes) != 2 or not 0 < positive.sum() < len(positive):
        return {}
    over = found.weights()[:BANDS, known]
    patients = counted(known, units(found.first.test.groups))
    made = {}
    for method in found.predicting:
        chances = [run.test.chances[known, 1] for run in method.runs]
        middle = np.mean([kind(chance, positive, np.ones((1, len(positive))))[0] for chance in chances], axis=0)
        band = None
        if found.cells[method.label, "auroc"].patients is not None:
            drawn = np.mean([kind(chance, positive, over) for chance in chances], axis=0)
            band = bootstrap_interval(drawn, patients, CONFIDENCE)
        made[method.label] = Curve(middle, band)
    return made


def calibrations(found: Comparison) -> dict[str, Calibration]:
    """Return how well each method's probabilities are calibrated; empty if no class is known."""
    known, target = found.truth()
    if not len(target):
        return {}
    made = {}
    for method in found.predicting:
        chances = [run.test.chances[known] for run in method.runs]
        ece = tuple(float(class_score("ece", chance, target)) for chance in chances)
        bins = tuple(_bins(chance, target) for chance in chances)
        made[method.label] = Calibration(ece, if_perfect(chances), bins)
    return made


def if_perfect(chances: Sequence[Values]) -> tuple[float, float]:
    """Return mean and 95th percentile of the calibration error, averaged over seeds, of calibrated probabilities."""
    luck = np.random.default_rng(0).random((PERFECT, len(chances[0])))  # the same for all seeds: of the same images
    drawn = np.zeros(PERFECT)
    for of in chances:
        sure, _, at = confidence(of, of.argmax(1))
        bins = np.eye(BINS)[at]
        is_correct = (luck < sure).astype(np.float64) @ bins
        drawn += np.abs(is_correct - sure @ bins).sum(1) / len(of) / len(chances)
    return float(drawn.mean()), float(np.quantile(drawn, CONFIDENCE))


def _bins(chances: Values, target: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    sure, right, at = confidence(chances, target)
    count = np.bincount(at, minlength=BINS).astype(np.float64)
    some = count > 0
    promised, true = (np.bincount(at, weights=values, minlength=BINS)[some] for values in (sure, right))
    return promised / count[some], true / count[some], count[some]


def youden(chance: Values, positive: NDArray[np.bool_]) -> float | None:
    """Return the threshold with the largest sensitivity + specificity - 1 (Youden 1950); of several the nearest to 1/2.

    An image is predicted positive from the threshold on. None if the images are not of both classes.
    """
    if not 0 < positive.sum() < len(positive):
        return None
    at = np.unique(chance)
    predicted = chance >= at[:, None]
    gain = predicted[:, positive].mean(1) - predicted[:, ~positive].mean(1)
    best = at[gain > gain.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def thresholds(found: Comparison) -> dict[str, Thresholds | str]:
    """Return each method's scores at the thresholds that its validation images gave, or why there are none."""
    if len(found.classes) != 2:
        return {}
    known, target = found.truth()
    return {method.label: _thresholds(method, known, target) for method in found.predicting}


def _thresholds(method: Method, known: NDArray[np.bool_], target: NDArray[np.int64]) -> Thresholds | str:
    chosen = []
    for run in method.runs:
        at = _chosen(run)
        if isinstance(at, str):
            return at
        chosen.append(at)
    tables: list[dict[str, float]] = []
    for cuts in ([None] * len(chosen), chosen):
        each = [
            [float(class_score(name, _decided(run.test.chances[known], cut), target)) for name in AT_THRESHOLD]
            for run, cut in zip(method.runs, cuts, strict=True)
        ]
        tables.append(dict(zip(AT_THRESHOLD, np.mean(each, axis=0).tolist(), strict=True)))
    return Thresholds(tuple(chosen), *tables)


def _chosen(run: Scored) -> float | str:
    if run.val is None or run.val.classes != run.test.classes:
        return f"no scores of validation images for seed {run.seed}: restorekit evaluate {run.folder} --split val"
    target = run.val.target
    at = youden(run.val.chances[target >= 0, 1], target[target >= 0] == 1)
    return f"the validation images of seed {run.seed} are not of both classes" if at is None else at


def _decided(chances: Values, cut: float | None) -> Values:
    """Probabilities of 0 or 1, as decided at a threshold."""
    if cut is None:
        return chances
    predicted = (chances[:, 1] >= cut).astype(np.float64)
    return np.stack([1 - predicted, predicted], axis=1)


def cases(found: Comparison) -> list[Case]:
    """Return the test images on which methods disagree, the most evenly split first, then the farthest apart.

    A method with several seeds predicts the mean of their probabilities.
    """
    if len(found.predicting) < 2:
        return []
    chances = np.stack([mean_chances(method) for method in found.predicting])  # (M, N, classes)
    predicted = chances.argmax(2)
    two = chances.shape[2] == 2
    shown = chances[:, :, 1] if two else chances.max(2)
    table = found.first.test

    def evenly(i: int) -> tuple[float, float, str]:
        most = np.bincount(predicted[:, i]).max()
        return float(most), -float(np.ptp(shown[:, i])), table.keys[i]

    split = [i for i in range(len(table.keys)) if len(set(predicted[:, i].tolist())) > 1]
    return [
        Case(
            key=table.keys[i],
            group=table.groups[i] or "",
            truth=table.truth[i],
            predicted=tuple(table.classes[c] for c in predicted[:, i]),
            chance=tuple(float(p) for p in shown[:, i]),
        )
        for i in sorted(split, key=evenly)
    ]
