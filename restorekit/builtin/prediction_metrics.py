"""How well labels, numbers and masks are predicted: AUROC of each label, mean absolute error, Dice coefficient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import UNLABELLED, Batch, DataError, Domain, Factory, Metric, RecipeError, class_score, hookimpl

Rows = NDArray[np.float64]


def _required(name: str, image: Tensor, prediction: Tensor | None, batch: Batch, width: int) -> Tensor:
    """Return a prediction of `width` columns or classes, on the CPU.

    Raises:
        DataError: if it is missing, of another width or not finite; the message names an image.
    """
    key = batch.key[0]
    if prediction is None:
        raise DataError(f"{key}: there is no prediction to score; {name} needs a recipe with a head")
    if prediction.ndim < 2 or prediction.shape[1] != width:
        raise DataError(f"{key}: {name} needs predictions of {width} columns; got {tuple(prediction.shape)}")
    found = prediction.detach().cpu()
    if not found.isfinite().all():
        raise DataError(f"{key}: the prediction holds a value that is not finite; {name} does not fit it")
    return found


def _short(names: Sequence[str]) -> dict[str, int]:
    """Return the place of each by a name without its unit and spaces: "age, years" is age."""
    found = {name.partition(",")[0].strip().replace(" ", "_"): i for i, name in enumerate(names)}
    return found if len(found) == len(names) else {name: i for i, name in enumerate(names)}


def _mean(rows: Rows) -> Rows:
    """Return the mean of each column over the images where it is defined; NaN where there are none."""
    defined = ~np.isnan(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, rows, 0).sum(0) / defined.sum(0), dtype=np.float64)


class LabelAuroc(Metric):
    """The area under the ROC curve of each label, and its mean; a row is the targets and the probabilities."""

    needs = "target"
    undefined = "not defined: a label is known to be present, or to be absent, in no image"

    def __init__(self, labels: Sequence[str], chosen: Sequence[int]) -> None:
        self.labels, self.chosen = labels, list(chosen)
        of = f"of label {labels[self.chosen[0]]!r}" if len(chosen) == 1 < len(labels) else "mean over labels"
        self.id = (
            f"label_auroc: area under the ROC curve of a label's probability, by trapezoids; {of}; images where the "
            "label is not known left out"
        )

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Rows:
        """Return (B, 2 K): whether each label is present, 1, 0 or -1 where unknown, and its probability."""
        chances = _required("label_auroc", image, prediction, batch, len(self.labels)).double()
        target = torch.full_like(chances, UNLABELLED) if batch.target is None else batch.target.cpu().double()
        rows: Rows = torch.cat((target[:, self.chosen], chances[:, self.chosen]), dim=1).numpy()
        return rows

    def reduce(self, rows: Rows) -> float:
        """Return the mean area of rows (N, 2 K); NaN unless each label is present in an image and absent in one."""
        target, chances = np.split(rows, 2, axis=1)
        return float(np.mean([_area(target[:, i], chances[:, i]) for i in range(target.shape[1])]))

    def parts(self) -> Mapping[str, Metric]:
        """Return that of each label, where there are several."""
        single = len(self.chosen) == 1
        return {} if single else {name: LabelAuroc(self.labels, [i]) for name, i in _short(self.labels).items()}


def _area(target: Rows, chance: Rows) -> float:
    known = target != UNLABELLED
    if not known.any():
        return math.nan
    pairs = np.stack([1 - chance[known], chance[known]], axis=1)
    return float(class_score("auroc", pairs, target[known].astype(np.int64)))


class MeanAbsoluteError(Metric):
    """The mean absolute error of each number, in its unit, and their mean; a row is the error of each."""

    needs = "target"
    better = "lower"
    undefined = "not defined: a number is known of no image"

    def __init__(self, numbers: Sequence[str], chosen: Sequence[int]) -> None:
        self.numbers, self.chosen = numbers, list(chosen)
        single = len(self.chosen) == 1
        of = numbers[self.chosen[0]] if single else f"mean over {'; '.join(numbers)}, whatever their units"
        self.unit = numbers[self.chosen[0]].partition(",")[2].strip() if single else ""
        self.id = f"mean_absolute_error: mean of |predicted - target|, {of}; images without the number left out"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Rows:
        """Return (B, K): the error of each number, NaN where that is not known."""
        found = _required("mean_absolute_error", image, prediction, batch, len(self.numbers)).double()
        target = torch.full_like(found, math.nan) if batch.target is None else batch.target.cpu().double()
        errors: Rows = (found - target.reshape(found.shape)).abs()[:, self.chosen].numpy()
        return errors

    def reduce(self, rows: Rows) -> float:
        """Return the mean over numbers of the mean of rows (N, K); NaN if one is known of no image."""
        return float(_mean(rows).mean())

    def parts(self) -> Mapping[str, Metric]:
        """Return that of each number, where there are several."""
        single = len(self.chosen) == 1
        return (
            {} if single else {name: MeanAbsoluteError(self.numbers, [i]) for name, i in _short(self.numbers).items()}
        )


class Dice(Metric):
    """The Dice coefficient of masks, image by image: 2 |P and T| / (|P| + |T|), over pixels of a known class."""

    needs = "target"
    undefined = "not defined: a class is neither predicted nor there in any image"

    def __init__(self, classes: Sequence[str], chosen: Sequence[int]) -> None:
        self.classes, self.chosen = classes, list(chosen)
        listed = ", ".join(classes[i] for i in self.chosen)
        self.id = (
            f"dice: 2 |P and T| / (|P| + |T|) of the likeliest class of each pixel; of {listed}: the mean over these "
            "classes in each image, those left out that are neither predicted nor there; mean over images; pixels of "
            "an unknown class left out"
        )

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Rows:
        """Return (B, 1): the mean over classes of each image, NaN where none is predicted or there.

        Raises:
            DataError: if there are no masks, or of another size than the target.
        """
        chances = _required("dice", image, prediction, batch, len(self.classes))
        if batch.target is None:
            raise DataError(f"{batch.key[0]}: there is no mask to compare with, which dice needs")
        target = batch.target.cpu()
        if chances.shape[2:] != target.shape[1:]:
            sizes = f"{tuple(chances.shape[2:])} and {tuple(target.shape[1:])}"
            raise DataError(f"{batch.key[0]}: a predicted mask and its target differ in size: {sizes}")
        predicted = torch.where(target == UNLABELLED, UNLABELLED, chances.argmax(1)).flatten(1)
        each = torch.stack([_dice(predicted == i, target.flatten(1) == i) for i in self.chosen], dim=1)
        return _mean(each.numpy().T)[:, None]

    def reduce(self, rows: Rows) -> float:
        """Return the mean of rows (N, 1) over the images where it is defined; NaN if there are none."""
        return float(_mean(rows)[0])

    def parts(self) -> Mapping[str, Metric]:
        """Return that of each class but the first, where there are several such."""
        single = len(self.chosen) == 1
        named = {name: i for name, i in _short(self.classes).items() if i}
        return {} if single else {name: Dice(self.classes, [i]) for name, i in named.items()}


def _dice(predicted: Tensor, target: Tensor) -> Tensor:
    """Return 2 |P and T| / (|P| + |T|) of masks (B, N), (B,); NaN where both are empty."""
    return 2 * (predicted & target).sum(1).double() / (predicted.sum(1) + target.sum(1)).double()


def label_auroc(domain: Domain) -> Metric:
    """The area under the ROC curve of each label, and their mean."""
    labels = _named("label_auroc", "labels", domain)
    return LabelAuroc(labels, range(len(labels)))


def mean_absolute_error(domain: Domain) -> Metric:
    """The mean absolute error of each number in its unit, and their mean."""
    numbers = _named("mean_absolute_error", "numbers", domain)
    return MeanAbsoluteError(numbers, range(len(numbers)))


def dice(domain: Domain) -> Metric:
    """The Dice coefficient of masks, image by image: of each class but the first, the background, and their mean."""
    classes = _named("dice", "mask", domain)
    return Dice(classes, range(1, len(classes)))


def _named(name: str, kind: Literal["labels", "numbers", "mask"], domain: Domain) -> tuple[str, ...]:
    found = domain.task.named(kind)
    if not found:
        wanted = "masks" if kind == "mask" else kind
        raise RecipeError(f"metric {name!r}: needs {wanted}; the data of {domain.name} has {domain.task.words()}")
    return found


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the metrics."""
    for factory in (label_auroc, mean_absolute_error, dice):
        add("metric", factory.__name__, factory)
