"""Intervals of bootstrap resamples: Student's in the normal case, and as many true values within as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from restorekit import bootstrap_interval
from restorekit.evaluation.intervals import estimate, resamples, units


def resampled_means(sample: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `count` resamples of each row of (N, n), (count, N)."""
    units = sample.shape[-1]
    times = rng.multinomial(units, np.full(units, 1 / units), size=count)
    return times @ sample.T / units


@pytest.mark.parametrize("units", [5, 12, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_of_normal_resamples_is_students(units: int, confidence: float) -> None:
    sample = stats.norm.ppf((np.arange(units) + 0.5) / units)
    spread = sample.std() / math.sqrt(units)  # of the resamples of a mean
    values = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000) * spread
    low, high = stats.t.interval(confidence, units - 1, 0, stats.sem(sample))
    assert bootstrap_interval(values, units, confidence) == pytest.approx((low, high), rel=1e-2)


def test_interval_of_many_units_is_that_of_plain_percentiles() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 3))
    values[7] = [math.nan, math.inf, 0]
    found = bootstrap_interval(values, 10**7)
    for at in range(3):
        known = values[np.isfinite(values[:, at]), at]
        assert [end[at] for end in found] == pytest.approx(np.quantile(known, [0.025, 0.975]), abs=1e-5)


@pytest.mark.parametrize("units", [6, 10, 20])
def test_interval_of_few_units_holds_the_truth_as_often_as_it_says(units: int) -> None:
    studies, rng = 4000, np.random.default_rng(units)
    low, high = bootstrap_interval(resampled_means(rng.normal(size=(studies, units)), 1000, rng), units)
    held = int(((low < 0) & (high > 0)).sum())
    assert 0.92 < held / studies < 0.965  # plain percentiles: 0.86 of 6 units, 0.90 of 10, 0.93 of 20


@pytest.mark.parametrize("units", [0, 1])
def test_one_unit_has_no_interval(units: int) -> None:
    with pytest.raises(ValueError, match=f"two units; got {units}"):
        bootstrap_interval(np.zeros(3), units)


def test_units_without_a_value_do_not_make_an_interval_narrower() -> None:
    values = np.full(40, np.nan)
    values[:6] = np.random.default_rng(1).normal(size=6)
    known = np.isfinite(values)

    def mean(rows: np.ndarray) -> float:
        mine = values[rows][known[rows]]
        return float(mine.mean()) if mine.size else math.nan

    over = resamples(units([f"p{i}" for i in range(40)]), 4000, 0, "patient")
    found, narrow = estimate(mean, over, 0.95, known), estimate(mean, over, 0.95)
    assert found is not None
    assert narrow is not None
    drawn = np.array([mean(rows) for rows in over.rows])
    assert (found["low"], found["high"]) == pytest.approx(bootstrap_interval(drawn, 6))
    assert found["high"] - found["low"] > 1.1 * (narrow["high"] - narrow["low"])
    known[1:] = False
    assert estimate(mean, over, 0.95, known) == {
        "value": pytest.approx(values[0]),
        "low": None,
        "high": None,
        "why": "one patient",
    }
