"""Scores of labels, numbers and masks, beside scikit-learn and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import Tensor
from torchmetrics.functional.classification import multilabel_auroc

from restorekit import UNLABELLED, Batch, DataError, Domain, Metric, RecipeError, Task
from restorekit.discovery import plugins

LABELS = Task("labels", ("effusion", "nodule", "mass"))
NUMBERS = Task("numbers", ("age, years", "weight, kg"))
MASK = Task("mask", ("background", "lung", "heart"))


def made(name: str, task: Task) -> Metric:
    metric: Metric = plugins.load().parts.resolve("metric", name)(Domain("a", 1, (8, 8), task))
    return metric


def score(metric: Metric, prediction: Tensor, target: Tensor) -> float:
    keys = tuple(map(str, range(len(prediction))))
    rows = metric.measure(torch.zeros(len(keys), 1, 8, 8), prediction, Batch(torch.zeros(1), keys, target))
    return metric.reduce(rows)


def test_auroc_of_labels() -> None:
    rng = torch.Generator().manual_seed(0)
    chances, target = torch.rand(60, 3, generator=rng).double(), torch.randint(-1, 2, (60, 3), generator=rng)
    whole = made("label_auroc", LABELS)
    each = multilabel_auroc(chances, target, num_labels=3, average="none", ignore_index=-1).tolist()
    assert [score(part, chances, target) for part in whole.parts().values()] == pytest.approx(each)
    assert list(whole.parts()) == ["effusion", "nodule", "mass"]
    assert score(whole, chances, target) == pytest.approx(np.mean(each))
    target[:, 1] = 0
    assert math.isnan(score(whole, chances, target)), "no nodule is present"


def test_mean_absolute_error() -> None:
    predicted, target = torch.randn(20, 2).double() * 10, torch.randn(20, 2) * 10
    target[3, 0] = target[5, 1] = math.nan
    known = ~target.isnan()
    errors = [sklearn.mean_absolute_error(target[known[:, i], i], predicted[known[:, i], i]) for i in range(2)]
    whole = made("mean_absolute_error", NUMBERS)
    assert [score(part, predicted, target) for part in whole.parts().values()] == pytest.approx(errors)
    assert [(name, part.unit) for name, part in whole.parts().items()] == [("age", "years"), ("weight", "kg")]
    assert score(whole, predicted, target) == pytest.approx(np.mean(errors))
    single = made("mean_absolute_error", Task("numbers", ("age, years",)))
    assert score(single, predicted[:, :1], target[:, 0]) == pytest.approx(errors[0])
    assert not single.parts()


def test_dice() -> None:
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (4, 6, 5), generator=rng)
    chances = torch.rand(4, 3, 6, 5, generator=rng)
    whole = made("dice", MASK)
    each = np.array(
        [
            sklearn.f1_score(t.flatten(), p.argmax(0).flatten(), labels=[1, 2], average=None)
            for t, p in zip(target, chances, strict=True)
        ]
    )
    assert [score(part, chances, target) for part in whole.parts().values()] == pytest.approx(each.mean(0))
    assert score(whole, chances, target) == pytest.approx(each.mean())
    unknown = target.clone()
    unknown[:, 2:] = UNLABELLED
    assert score(whole, chances, unknown) == pytest.approx(score(whole, chances[:, :, :2], target[:, :2]))


def test_dice_of_classes_that_are_neither_predicted_nor_there() -> None:
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    target[0, :2] = 1
    chances = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    lung, heart = (score(part, chances, target) for part in made("dice", MASK).parts().values())
    assert lung == 1, "of the first image alone"
    assert math.isnan(heart)
    assert score(made("dice", MASK), chances, target) == 1


def test_other_tasks_sizes_and_missing_predictions_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"metric 'dice': .*effusion"):
        made("dice", LABELS)
    batch = Batch(torch.zeros(1), ("x",), torch.zeros(1, 4, 4, dtype=torch.int64))
    with pytest.raises(DataError, match=r"x: .*dice"):
        made("dice", MASK).measure(torch.zeros(1, 1, 4, 4), None, batch)
    with pytest.raises(DataError, match="x: "):
        made("dice", MASK).measure(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 5, 4), batch)
