"""How well classes are predicted: accuracy, sensitivity, specificity, precision, F1, F2, AUROC and calibration error.

A row is [target, probability of each class]; images without a label are left out. Of two classes the last is the
positive one and the decision is the likelier class, the first on a tie. Of more classes each is scored against the rest
and the score is the plain mean over classes. Where a ratio has nothing to divide by, it is not defined: NaN, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import UNLABELLED, Batch, DataError, Domain, Factory, Metric, RecipeError, class_score, hookimpl

FORMULAS = {
    "accuracy": "images predicted correctly / images, over all classes alike",
    "sensitivity": "TP / (TP + FN)",
    "specificity": "TN / (TN + FP)",
    "precision": "TP / (TP + FP)",
    "f1": "F1 = 2 TP / (2 TP + FN + FP)",
    "f2": "F2 = 5 TP / (5 TP + 4 FN + FP)",
    "auroc": "area under the ROC curve of the class's probability, by trapezoids",
    "ece": "expected calibration error (arXiv:1706.04599): the gap between what was promised and what happened, "
    "weighted by images, over 10 equal bins of",
}
_MEANING = {
    True: "positive: the last of two classes; decision: the likelier class",
    False: "mean over classes, each against the rest; decision: the likeliest class",
}
_PROMISED = {True: "the probability of the last of two classes", False: "the probability of the likeliest class"}


class ClassMetric(Metric):
    """Scores predictions against targets, from the target and the probabilities of each image."""

    needs = "target"
    undefined = "not defined: a class is missing among targets or predictions"

    def __init__(self, name: str, classes: int) -> None:
        self.name, self.classes = name, classes
        calibration = name == "ece"
        self.better = "lower" if calibration else "higher"
        self.proportion = name == "accuracy" or (classes == 2 and name in ("sensitivity", "specificity", "precision"))
        self.biased = calibration  # an image drawn twice widens the chance gaps of its bin
        meaning = f" {_PROMISED[classes == 2]}" if calibration else f"; {_MEANING[classes == 2]}"
        self.id = f"{name}: {FORMULAS[name]}{meaning}; unlabelled images left out"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1 + classes): the target, and the probabilities `prediction` (B, classes).

        Raises:
            DataError: if they are missing, of another width, not finite or no probabilities.
        """
        key = batch.key[0]
        if prediction is None:
            raise DataError(f"{key}: there is no prediction to score; {self.name} needs a recipe with a head")
        if prediction.ndim != 2 or prediction.shape[1] != self.classes:
            got = tuple(prediction.shape)
            raise DataError(f"{key}: {self.name} needs predictions of {self.classes} classes; got {got}")
        chances = prediction.detach().cpu().double()
        if not chances.isfinite().all():
            raise DataError(f"{key}: the prediction holds a value that is not finite; {self.name} does not fit it")
        low, high = map(float, chances.aminmax())
        if low < 0 or high > 1 + 1e-6:  # in float32 a softmax may be above 1 by rounding
            raise DataError(f"{key}: {self.name} needs probabilities, from 0 to 1; got {low:.4g} to {high:.4g}")
        target = torch.full((len(chances),), UNLABELLED) if batch.target is None else batch.target.cpu()
        rows: NDArray[np.float64] = torch.cat((target.double()[:, None], chances), dim=1).numpy()
        return rows

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the score of rows (N, 1 + classes); NaN where it is not defined."""
        known = rows[rows[:, 0] != UNLABELLED]
        return float(class_score(self.name, known[:, 1:], known[:, 0].astype(np.int64))) if len(known) else math.nan


def _maker(name: str) -> Factory:
    def make(domain: Domain) -> ClassMetric:
        if len(domain.classes) < 2:
            raise RecipeError(
                f"metric {name!r} needs two classes or more; data.{domain.name} has {domain.task.words()}"
            )
        return ClassMetric(name, len(domain.classes))

    meaning = " the probability of the positive or likeliest class" if name == "ece" else ""
    make.__doc__ = f"{name}: {FORMULAS[name]}{meaning}."
    return make


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the eight metrics."""
    for name in FORMULAS:
        add("metric", name, _maker(name))
