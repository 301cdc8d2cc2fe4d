"""Class metrics against scikit-learn, and where they are not defined."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as other
from torchmetrics.functional import classification as functional

from restorekit import Batch, DataError, Domain, RecipeError, Task, class_score
from restorekit.builtin import class_metrics
from restorekit.parts.registry import Parts

NAMES = ["accuracy", "auroc", "f1", "f2", "precision", "sensitivity", "specificity"]


def make(classes):
    parts = Parts()
    class_metrics.register_parts(lambda *part: parts.add(*part, owner="builtin"))
    domain = Domain("b", 1, (8, 8), Task("class", tuple(map(str, range(classes)))))
    return {name: parts.resolve("metric", name)(domain) for name in parts.names("metric")}


METRICS = {classes: make(classes) for classes in (2, 3, 4)}


def measure(metric, logits, target):
    keys = tuple(map(str, range(len(logits))))
    target = None if target is None else torch.tensor(target)
    predicted = logits.double().softmax(1)
    return metric.measure(torch.zeros(len(logits), 1, 8, 8), predicted, Batch(torch.zeros(1), keys, target))


def score(name, logits, target):
    metric = METRICS[logits.shape[1]][name]
    return metric.reduce(measure(metric, logits, target))


def one_against_rest(name, truth, predicted, chance):
    """scikit-learn's result for one class, as booleans; NaN where it is not defined."""
    if name == "auroc":
        return other.roc_auc_score(truth, chance) if 0 < truth.sum() < len(truth) else math.nan
    options = {"zero_division": math.nan}
    return {
        "sensitivity": lambda: other.recall_score(truth, predicted, **options),
        "specificity": lambda: other.recall_score(~truth, ~predicted, **options),
        "precision": lambda: other.precision_score(truth, predicted, **options),
        "f1": lambda: other.f1_score(truth, predicted, **options),
        "f2": lambda: other.fbeta_score(truth, predicted, beta=2, **options),
    }[name]()


def expected(name, logits, target):
    target, predicted, chances = np.array(target), logits.argmax(1).numpy(), logits.double().softmax(1).numpy()
    if name == "accuracy":
        return other.accuracy_score(target, predicted)
    classes = [1] if logits.shape[1] == 2 else range(logits.shape[1])
    return np.mean([one_against_rest(name, target == c, predicted == c, chances[:, c]) for c in classes])


@st.composite
def predictions(draw):
    """Logits on a coarse grid, so that ties come, and targets of which classes may be missing."""
    classes, count = draw(st.integers(2, 4)), draw(st.integers(1, 25))
    values = draw(st.lists(st.integers(-4, 4), min_size=classes * count, max_size=classes * count))
    target = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    return torch.tensor(values, dtype=torch.float32).reshape(count, classes) / 2, target


@settings(max_examples=25, deadline=None)
@given(predictions())
def test_agrees_with_scikit_learn(given_predictions):
    for name in NAMES:
        assert score(name, *given_predictions) == pytest.approx(expected(name, *given_predictions), nan_ok=True), name


@pytest.mark.parametrize(
    ("name", "predicted", "target"),
    [
        ("sensitivity", [0, 1], [0, 0]),
        ("specificity", [0, 1], [1, 1]),
        ("precision", [0, 0], [0, 1]),
        ("f1", [0, 0], [0, 0]),
        ("f2", [0, 0], [0, 0]),
        ("auroc", [0, 1], [1, 1]),
        ("sensitivity", [0, 1, 2], [0, 1, 1]),
        ("auroc", [0, 1, 2], [0, 1, 1]),
    ],
)
def test_nothing_to_divide_by_is_not_defined(name, predicted, target):
    logits = torch.eye(3)[torch.tensor(predicted)][:, : max(2, max(predicted) + 1)]
    assert math.isnan(score(name, logits, target))


def test_no_image_no_score():
    for metric in METRICS[2].values():
        assert math.isnan(metric.reduce(np.empty((0, 3))))


def test_a_missed_finding_is_zero_not_undefined():
    predicted_negative = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert score("sensitivity", predicted_negative, [0, 1]) == 0
    assert score("f1", predicted_negative, [0, 1]) == 0


def test_a_tie_is_decided_for_the_first_class():
    assert score("sensitivity", torch.zeros(2, 2), [1, 1]) == 0
    assert score("accuracy", torch.zeros(2, 2), [0, 0]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_unlabelled_images_are_left_out(name):
    rng = torch.Generator().manual_seed(0)
    logits, target = torch.randn(20, 2, generator=rng), [0, 1] * 10
    more = torch.cat((logits, torch.randn(5, 2, generator=rng)))
    assert score(name, more, [*target, *[-1] * 5]) == score(name, logits, target)
    assert math.isnan(score(name, logits, None))


def test_rows_are_the_target_and_the_probabilities():
    rows = measure(METRICS[2]["f1"], torch.tensor([[0.0, 0.0], [100.0, 0.0]]), [1, -1])
    np.testing.assert_allclose(rows, [[1, 0.5, 0.5], [-1, 1, 0]], atol=1e-12)
    assert rows.dtype == np.float64


def test_what_cannot_be_scored_is_named():
    metric = METRICS[2]["f1"]
    for prediction, named in [
        (None, "no prediction"),
        (torch.zeros(2, 3), "2 classes"),
        (torch.full((2, 2), math.nan), "finite"),
        (torch.tensor([[-2.0, 3.0], [1.0, 0.0]]), "probabilities.* -2 to 3"),
    ]:
        with pytest.raises(DataError, match=named):
            metric.measure(torch.zeros(2, 1, 8, 8), prediction, Batch(torch.zeros(1), ("x", "y"), torch.tensor([0, 1])))


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_is_a_recipe_error(classes):
    with pytest.raises(RecipeError, match="classes") as caught:
        make(classes)
    assert "\n" not in str(caught.value)


def test_ids_tell_the_definition():
    for name in [*NAMES, "ece"]:
        assert METRICS[2][name].id.startswith(name)
        assert "last of two classes" in METRICS[2][name].id
        assert ("likeliest class" if name == "ece" else "mean over classes") in METRICS[3][name].id
        assert METRICS[2][name].needs == "target"


@pytest.mark.parametrize("classes", [2, 4])
def test_calibration_error_agrees_with_torchmetrics(classes):
    rng = torch.Generator().manual_seed(classes)
    logits, target = 2 * torch.randn(300, classes, generator=rng), torch.randint(classes, (300,), generator=rng)
    predicted = logits.double().softmax(1)
    theirs = (
        functional.binary_calibration_error(predicted[:, 1].contiguous(), target, n_bins=10)
        if classes == 2
        else functional.multiclass_calibration_error(predicted, target, classes, n_bins=10)
    )
    assert score("ece", logits, target.tolist()) == pytest.approx(float(theirs), abs=1e-6)
    assert METRICS[classes]["ece"].better == "lower"
    assert [name for name in class_metrics.FORMULAS if METRICS[classes][name].biased] == ["ece"]


@settings(max_examples=25, deadline=None)
@given(predictions(), st.integers(0, 10**6))
def test_weights_say_how_often_an_image_counts(given_predictions, seed):
    logits, target = given_predictions
    chances, target = logits.double().softmax(1).numpy(), np.array(target)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(target)))
    for name in [*NAMES, "ece"]:
        found = class_score(name, chances, target, weights.astype(float))
        for weight, value in zip(weights, found, strict=True):
            rows = np.repeat(np.arange(len(target)), weight)
            wanted = float(class_score(name, chances[rows], target[rows])) if len(rows) else math.nan
            assert value == pytest.approx(wanted, nan_ok=True), name


def test_an_unknown_class_score_is_named():
    with pytest.raises(ValueError, match="Did you mean 'accuracy'"):
        class_score("acuracy", np.eye(2), np.array([0, 1]))


@pytest.mark.parametrize("name", NAMES)
def test_reduce_is_quick_enough_for_a_bootstrap(benchmark, name):
    metric = METRICS[2][name]
    rng = torch.Generator().manual_seed(0)
    rows = measure(metric, torch.randn(700, 2, generator=rng), [0, 1] * 350)
    assert 0 < benchmark(metric.reduce, rows) < 1
