"""Intervals of proportions where all resamples are equal: exact over patients, each counted once."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from restorekit import Batch, Domain, Task
from restorekit.builtin.class_metrics import FORMULAS, _maker
from restorekit.evaluation.intervals import ALIKE, estimate, exact, exact_over_units, resamples, units

DOMAIN = Domain("a", 1, (8, 8), Task("class", ("no", "yes")))


def rows(metric: Any, targets: list[int], chances: list[float]) -> Any:
    """Rows of a class metric: true classes, and the predicted probability of the positive one."""
    prediction = torch.tensor([[1 - p, p] for p in chances], dtype=torch.float64)
    image = torch.zeros(len(targets), 1, 8, 8)
    batch = Batch(image=image, key=tuple(map(str, range(len(targets)))), target=torch.tensor(targets))
    return metric.measure(image, prediction, batch)


def scored(name: str, targets: list[int], chances: list[float], groups: list[str | None]) -> Any:
    metric = _maker(name)(DOMAIN)
    table = rows(metric, targets, chances)
    over = resamples(units(groups), 200, 0, "patient")
    return estimate(lambda at: metric.reduce(table[at]), over, 0.95, biased=metric.biased, proportion=metric.proportion)


@given(st.integers(2, 60), st.data())
def test_the_exact_interval_is_that_of_clopper_and_pearson(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = exact(k, n, 0.95)
    assert low == pytest.approx(0.0 if k == 0 else beta.ppf(0.025, k, n - k + 1), abs=1e-9)
    assert high == pytest.approx(1.0 if k == n else beta.ppf(0.975, k + 1, n - k), abs=1e-9)
    if k == 0:
        assert high == pytest.approx(1 - 0.025 ** (1 / n))


def test_none_of_ten_positive_images_gets_the_exact_interval() -> None:
    targets, chances = [1] * 10 + [0] * 20, [0.1] * 30
    found = scored("sensitivity", targets, chances, [None] * 30)
    wanted = binomtest(0, 10).proportion_ci(0.95, method="exact")
    assert (found["value"], found["low"], found["high"]) == (0.0, wanted.low, pytest.approx(wanted.high))
    assert found["high"] == pytest.approx(1 - 0.025**0.1)
    assert found["exact"] == 10
    assert "why" not in found
    found = scored("specificity", targets, chances, [None] * 30)
    assert (found["value"], found["low"], found["high"]) == (1.0, pytest.approx(0.025 ** (1 / 20)), 1.0)


@pytest.mark.parametrize("each", [1, 2, 5])
def test_a_patient_is_counted_once_however_many_images(each: int) -> None:
    targets = [i % 2 for i in range(12) for _ in range(each)]
    groups: list[str | None] = [f"p{i}" for i in range(12) for _ in range(each)]
    found = scored("accuracy", targets, [0.9 if t else 0.2 for t in targets], groups)
    assert (found["value"], found["exact"]) == (1.0, 12)
    assert found["low"] == pytest.approx(0.025 ** (1 / 12))


@pytest.mark.parametrize("name", FORMULAS)
def test_every_proportion_of_classes_has_an_interval_where_all_is_right_or_wrong(name: str) -> None:
    targets = [i % 2 for i in range(20)]
    right = scored(name, targets, [0.9 if t else 0.1 for t in targets], [None] * 20)
    proportion = name in ("accuracy", "sensitivity", "specificity", "precision")
    assert ("exact" in right) is proportion
    if proportion:
        n = 20 if name == "accuracy" else 10
        assert (right["exact"], right["low"]) == (n, pytest.approx(0.025 ** (1 / n)))
    elif name != "ece":
        assert (right["low"], right["why"]) == (None, ALIKE)


def test_the_mean_of_several_classes_is_no_proportion_but_accuracy_is() -> None:
    three = Domain("a", 1, (8, 8), Task("class", ("x", "y", "z")))
    assert [name for name in FORMULAS if _maker(name)(three).proportion] == ["accuracy"]


def test_where_all_patients_have_the_same_part_right_no_interval_is_exact() -> None:
    """Half of the images of every patient: resamples are equal, and no patient is a success or a failure."""
    table = np.array([0.0, 1.0] * 8)
    over = resamples(units([f"p{i // 2}" for i in range(16)]), 50, 0)
    found = estimate(lambda at: float(table[at].mean()), over, 0.95, proportion=True)
    assert found == {"value": 0.5, "low": None, "high": None, "why": ALIKE}


@given(st.integers(2, 12), st.floats(0.05, 0.9))
def test_the_interval_over_clusters_covers_at_the_limit(count: int, p: float) -> None:
    """If a share p of patients is all right and the others all wrong, the chance of all right is p^n <= 2.5 %
    exactly where the lower end lies above p."""
    low = exact(count, count, 0.95)[0]
    assert (low > p) is (p**count < 0.025 and not math.isclose(low, p))


def test_units_without_the_class_do_not_count() -> None:
    table = np.array([1.0, 1.0, math.nan, math.nan])

    def share(at: Any) -> float:
        kept = table[at][~np.isnan(table[at])]
        return float(kept.mean()) if len(kept) else math.nan

    of: Callable[[], Any] = lambda: units([None] * 4)  # noqa: E731
    assert exact_over_units(share, of(), 0.95) == (*exact(2, 2, 0.95), 2)
