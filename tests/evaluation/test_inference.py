"""Paired tests against brute force, closed forms and other libraries; patients as units."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, rankdata
from sklearn.metrics import f1_score, roc_auc_score

from restorekit.evaluation import inference
from restorekit.evaluation.classification import auroc, summed
from restorekit.evaluation.intervals import ALIKE, estimate, interval, resamples, unit_of, units, weights

PATIENTS = 8


def members(group: Any) -> Any:
    """(units, N): 1 where an image is of a unit."""
    return (np.arange(max(group) + 1)[:, None] == np.array(group)).astype(float)


def predictions(rng: Any, positive: Any, skill: float) -> Any:
    """Probabilities (N, 2) on a coarse grid, so that ties come."""
    chance = np.clip((0.5 + skill * (positive - 0.5) + 0.3 * rng.standard_normal(len(positive))), 0, 1).round(1)
    return np.stack([1 - chance, chance], axis=1)


def score_difference(one: Any, other: Any, target: Any, group: Any, name: str = "f1") -> inference.Difference:
    terms, score = summed(name, one, target)
    return inference.summable(terms, summed(name, other, target)[0], score, members(group))


def test_a_swap_of_patients_is_a_swap_of_their_answers() -> None:
    rng = np.random.default_rng(1)
    group, target = np.repeat(np.arange(PATIENTS), 3), rng.integers(0, 2, 3 * PATIENTS)
    one, other = predictions(rng, target, 0.5), predictions(rng, target, 0.1)
    found, p = inference.swap_test([score_difference(one, other, target, group)], PATIENTS, 9999, 0)
    gaps = []
    for swap in product((False, True), repeat=PATIENTS):
        swapped = np.array(swap)[group][:, None]
        first, second = np.where(swapped, other, one), np.where(swapped, one, other)
        gaps.append(f1_score(target, first.argmax(1)) - f1_score(target, second.argmax(1)))
    assert found[0] == pytest.approx(gaps[0])
    assert p[0] == pytest.approx(np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-9)), "few patients: every swap is made"


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5, 1e9])
def test_the_full_swap_is_as_large_as_what_was_seen(scale: float) -> None:
    """However large the scores are: of two methods one is always better, so that 2 of all 64 swaps are as large."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        one = scale * (1 + rng.random((12, 1)))
        other = one - rng.random((12, 1))
        terms = [np.concatenate([of, np.ones_like(of)], axis=1) for of in (one, other)]
        found = inference.summable(*terms, lambda sums: sums[..., 0] / sums[..., 1], members(np.repeat(range(6), 2)))
        assert inference.swap_test([found], 6, 9999, 0)[1][0] == 2 / 64


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_areas_are_those_of_swapped_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, PATIENTS, 20)
    positive = np.array([True, False] * 10)
    one, other = (predictions(rng, positive, skill)[:, 1] for skill in (0.5, 0.1))
    swap = rng.integers(0, 2, PATIENTS)
    found = inference.ranked(one, other, positive, (np.arange(PATIENTS)[:, None] == group).astype(float))
    swapped = swap[group] == 1
    x, y = rankdata(one), rankdata(other)
    wanted = roc_auc_score(positive, np.where(swapped, y, x)) - roc_auc_score(positive, np.where(swapped, x, y))
    assert found.of((found.base + swap @ found.moves)[None])[0] == pytest.approx(wanted)
    assert found.of(found.base[None])[0] == pytest.approx(roc_auc_score(positive, one) - roc_auc_score(positive, other))


def test_of_accuracy_and_single_images_it_is_mcnemars_exact_test() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 2, 12)
    one, other = predictions(rng, target, 0.7), predictions(rng, target, 0.0)
    right = [chances.argmax(1) == target for chances in (one, other)]
    b, c, exact = inference.mcnemar(*right)
    _, p = inference.swap_test([score_difference(one, other, target, np.arange(12), "accuracy")], 12, 9999, 0)
    assert b != c
    assert exact == pytest.approx(binomtest(b, b + c).pvalue)
    assert p[0] == pytest.approx(exact)


def test_more_images_or_seeds_of_a_patient_are_no_more_witnesses() -> None:
    rng = np.random.default_rng(4)
    target = rng.integers(0, 2, 30)
    one, other = predictions(rng, target, 0.5), predictions(rng, target, 0.2)
    often = np.repeat(np.arange(30), 5)
    single, many, loose = (
        inference.swap_test([score_difference(one[i], other[i], target[i], group, "accuracy")], n, 9999, 0)[1][0]
        for i, group, n in (
            (np.arange(30), np.arange(30), 30),
            (often, often, 30),
            (often, np.arange(150), 150),
        )
    )
    assert many == single
    assert loose < single / 2, "what would be had if images were taken for patients"


def test_the_level_holds_where_nothing_differs() -> None:
    """Of two methods that are alike, about 5 % of the tests find p < 0.05, with three images a patient that agree."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(25), 3)
    found = []
    for _ in range(200):
        target = np.repeat(rng.integers(0, 2, 25), 3)
        one, other = (np.repeat(predictions(rng, target[::3], 0.3), 3, axis=0) for _ in range(2))
        found.append(score_difference(one, other, target, group))
    p = np.array([inference.swap_test([one], 25, 499, seed)[1][0] for seed, one in enumerate(found)])
    assert 0.01 <= np.mean(p < 0.05) <= 0.095  # within three standard errors


def test_what_is_not_defined_is_no_test() -> None:
    target = np.zeros(6, int)
    one = np.tile([0.9, 0.1], (6, 1))
    found, p = inference.swap_test([score_difference(one, one, target, np.arange(6))], 6, 99, 0)
    assert np.isnan(found[0])
    assert np.isnan(p[0])
    assert inference.swap_test([], 6, 99, 0)[1].size == 0


def test_mcnemar_of_many_is_chi_squared_with_correction() -> None:
    one = np.array([True] * 40 + [False] * 15 + [True] * 45)
    other = np.array([False] * 40 + [True] * 15 + [True] * 45)
    b, c, p = inference.mcnemar(one, other)
    assert (b, c) == (40, 15)
    assert p == pytest.approx(0.00121, abs=5e-5)  # chi squared = (|40 - 15| - 1)^2 / 55 = 10.47
    assert inference.mcnemar(one, one) == (0, 0, 1.0)


def test_holm_by_hand() -> None:
    found = inference.holm(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(inference.holm(np.array([np.nan]))).all()


def test_students_interval_by_hand_from_three_seeds_on() -> None:
    low, high = inference.t_interval(np.array([1.0, 2.0, 3.0]), 0.95) or (0, 0)
    assert (low, high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), rel=1e-5)
    assert inference.t_interval(np.array([1.0, 2.0]), 0.95) is None


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -0.7])
def test_of_seeds_that_are_all_alike_there_is_no_students_interval(value: float) -> None:
    alike = np.full(3, value)  # the mean of three times 0.1 is not 0.1
    assert inference.t_interval(alike, 0.95) is None
    assert inference.t_interval(np.array([value, value, value + 1e-6]), 0.95) is not None


@given(st.lists(st.sampled_from(["p", "q", "r", None]), min_size=1, max_size=12), st.integers(0, 99))
def test_weights_count_the_rows_of_the_same_resamples(groups: list[str | None], seed: int) -> None:
    of = units(groups)
    counted = [np.bincount(rows, minlength=len(groups)) for rows in resamples(of, 5, seed).rows]
    np.testing.assert_array_equal(weights(of, 5, seed), counted)
    assert [set(of[unit]) >= {row} for row, unit in enumerate(unit_of(of))] == [True] * len(groups)


def rate(table: Any) -> Callable[[Any], float]:
    """The share of ones among rows that are known; NaN where none is."""
    return lambda rows: float(np.mean(kept)) if len(kept := table[rows][~np.isnan(table[rows])]) else math.nan


def test_one_unit_has_no_interval() -> None:
    table = np.array([0.0, 1.0, 1.0, 0.5])
    for groups, unit in ((["p"] * 4, "patient"), (["p"] * 4, "subject")):
        over = resamples(units(groups), 20, 0, unit)
        assert estimate(rate(table), over, 0.95) == {"value": 0.625, "low": None, "high": None, "why": f"one {unit}"}
    low, high = interval(rate(table), resamples(units([None] * 4), 200, 0), 0.95)  # no patient known: images count
    assert low is not None
    assert low < 0.625 < (high or 0)
    assert interval(rate(table[:1]), resamples(units([None]), 20, 0), 0.95) == (None, None)


@given(st.integers(2, 30), st.data())
def test_a_score_that_rests_on_one_of_several_units_has_no_interval(count: int, data: st.DataObject) -> None:
    known = data.draw(st.integers(0, count - 1))
    table = np.full(2 * count, math.nan)
    table[2 * known : 2 * known + 2] = [0.1, 0.7]
    over = resamples(units([f"p{i // 2}" for i in range(2 * count)]), 50, 0)
    assert interval(rate(table), over, 0.9) == (None, None)


def test_a_score_that_is_the_same_in_every_resample_is_not_taken_for_certain() -> None:
    over = resamples(units([f"p{i // 2}" for i in range(40)]), 50, 0)
    alike = {"value": 1.0, "low": None, "high": None, "why": ALIKE}
    assert estimate(rate(np.ones(40)), over, 0.9) == alike
    some = np.full(40, math.nan)
    some[[0, 1, 38]] = 1.0  # of two patients
    assert estimate(rate(some), over, 0.9) == alike


def test_a_score_that_varies_with_the_others_still_rests_on_its_one_positive() -> None:
    positive = np.arange(60) == 7
    chance = np.linspace(0, 1, 60)

    def auc(rows: Any) -> float:
        return float(auroc(chance[rows], positive[rows], np.ones((1, len(rows))))[0])

    found = estimate(auc, resamples(units([None] * 60), 200, 0), 0.95)
    assert found == {"value": auc(np.arange(60)), "low": None, "high": None, "why": "one image"}
    assert 0 < found["value"] < 1
