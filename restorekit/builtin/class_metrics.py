"""How well the classes are told: accuracy, sensitivity, specificity, precision, F1, F2 and AUROC.

A row is [target, probability of each class]; images without a label are left out. Of two classes the last is the
positive one and the decision is the likelier class, the first on a tie. Of more classes each is scored against the rest
and the score is the plain mean over classes. Where a ratio has nothing to divide by, it is not defined: NaN, never 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import UNLABELLED, Batch, DataError, Domain, Factory, Metric, RecipeError, hookimpl

_MEANING = {
    True: "positive: the last of two classes; decision: the likelier class",
    False: "mean over classes, each against the rest; decision: the likeliest class",
}


class _ClassMetric(Metric):
    """Scores answers against targets; what a score needs of an image is its target and the probabilities."""

    needs = "target"
    name: str
    formula: str
    undefined = "not defined: a class is missing among targets or answers"

    def __init__(self, classes: int) -> None:
        self.classes = classes
        meaning = _MEANING[classes == 2]
        self.id = f"{self.name}: {self.formula}; {meaning}; unlabelled images left out"

    def measure(self, image: Tensor, told: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1 + classes): the target, and the probabilities `told` (B, classes).

        Raises:
            DataError: if they are missing, of another width or not finite.
        """
        key = batch.key[0]
        if told is None:
            raise DataError(f"{key}: there is no answer to score; {self.name} needs a recipe with a head")
        if told.ndim != 2 or told.shape[1] != self.classes:
            raise DataError(f"{key}: {self.name} needs an answer of {self.classes} classes; came {tuple(told.shape)}")
        chances = told.detach().cpu().double()
        if not chances.isfinite().all():
            raise DataError(f"{key}: the answer holds a value that is not finite; {self.name} does not fit it")
        target = torch.full((len(chances),), UNLABELLED) if batch.target is None else batch.target.cpu()
        rows: NDArray[np.float64] = torch.cat((target.double()[:, None], chances), dim=1).numpy()
        return rows

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the score of rows (N, 1 + classes); NaN where it is not defined."""
        known = torch.from_numpy(rows[rows[:, 0] != UNLABELLED])
        return self.score(known[:, 1:], known[:, 0].long()) if len(known) else math.nan

    @abstractmethod
    def score(self, probabilities: Tensor, target: Tensor) -> float:
        """Return the score of (N, classes) probabilities and (N,) targets, N > 0."""


class _Counted(_ClassMetric):
    """A ratio of counts: true and false positives and negatives."""

    def score(self, probabilities: Tensor, target: Tensor) -> float:
        """Return the ratio of the positive class, or the mean over classes."""
        from torchmetrics.functional.classification import multiclass_stat_scores  # seconds to import: only on use

        decided = probabilities.argmax(dim=1)
        counts = multiclass_stat_scores(decided, target, self.classes, average=None, validate_args=False).tolist()
        chosen = counts[-1:] if self.classes == 2 else counts
        values = [_divide(*self.ratio(*count[:4])) for count in chosen]
        return sum(values) / len(values)

    @abstractmethod
    def ratio(self, tp: int, fp: int, tn: int, fn: int) -> tuple[float, float]:
        """Return what to divide by what."""


class Accuracy(_Counted):
    """The share of images whose class is told rightly; with any number of classes."""

    name = "accuracy"
    formula = "images told rightly / images, over all classes alike"

    def score(self, probabilities: Tensor, target: Tensor) -> float:
        """Return the share."""
        return (probabilities.argmax(dim=1) == target).double().mean().item()

    def ratio(self, tp: int, fp: int, tn: int, fn: int) -> tuple[float, float]:
        """Return (right, all)."""
        return tp + tn, tp + fp + tn + fn


class Sensitivity(_Counted):
    """The share of positive images that are told, also called recall."""

    name = "sensitivity"
    formula = "TP / (TP + FN)"

    def ratio(self, tp: int, fp: int, tn: int, fn: int) -> tuple[float, float]:
        """Return (told, positive)."""
        return tp, tp + fn


class Specificity(_Counted):
    """The share of negative images that are told."""

    name = "specificity"
    formula = "TN / (TN + FP)"

    def ratio(self, tp: int, fp: int, tn: int, fn: int) -> tuple[float, float]:
        """Return (told, negative)."""
        return tn, tn + fp


class Precision(_Counted):
    """The share of images told as positive that are."""

    name = "precision"
    formula = "TP / (TP + FP)"

    def ratio(self, tp: int, fp: int, tn: int, fn: int) -> tuple[float, float]:
        """Return (positive, told)."""
        return tp, tp + fp


class F1(_Counted):
    """The harmonic mean of precision and sensitivity."""

    name = "f1"
    beta = 1
    formula = "F1 = 2 TP / (2 TP + FN + FP)"

    def ratio(self, tp: int, fp: int, tn: int, fn: int) -> tuple[float, float]:
        """Return both sides of F beta, after van Rijsbergen 1979."""
        weight = self.beta**2
        return (1 + weight) * tp, (1 + weight) * tp + weight * fn + fp


class F2(F1):
    """F1 that holds a missed positive to be worse than a false alarm."""

    name = "f2"
    beta = 2
    formula = "F2 = 5 TP / (5 TP + 4 FN + FP)"


class Auroc(_ClassMetric):
    """The chance that a positive image is given a higher probability than a negative one; a tie counts half."""

    name = "auroc"
    formula = "area under the ROC curve of the class's probability, by trapezoids"

    def score(self, probabilities: Tensor, target: Tensor) -> float:
        """Return the area for the positive class, or the mean over classes."""
        from torchmetrics.functional.classification import binary_auroc  # seconds to import: only on use

        values = []
        for index in [1] if self.classes == 2 else range(self.classes):
            positive = (target == index).long()
            if not 0 < int(positive.sum()) < len(positive):
                return math.nan
            values.append(float(binary_auroc(probabilities[:, index], positive, validate_args=False)))
        return sum(values) / len(values)


def _divide(over: float, under: float) -> float:
    return over / under if under else math.nan


def _maker(metric: type[_ClassMetric]) -> Factory:
    def make(domain: Domain) -> _ClassMetric:
        if len(domain.classes) < 2:
            known = ", ".join(domain.classes) or "none"
            raise RecipeError(
                f"metric {metric.name!r} needs two classes or more; the data of {domain.name} has: {known}"
            )
        return metric(len(domain.classes))

    make.__doc__ = f"{metric.name}: {metric.formula}."
    return make


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the seven metrics."""
    for metric in (Accuracy, Sensitivity, Specificity, Precision, F1, F2, Auroc):
        add("metric", metric.name, _maker(metric))
