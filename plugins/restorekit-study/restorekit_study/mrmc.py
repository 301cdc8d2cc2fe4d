"""Multi-reader multi-case analysis of areas under the ROC curve, by Obuchowski-Rockette and Dorfman-Berbaum-Metz.

Each reader rates each case by each method. The figure of merit is the empirical area (Mann-Whitney, ties count a half).
Both analyses are those of Hillis (Statistics in Medicine 26:596, 2007; Academic Radiology 15:647, 2008), with his
degrees of freedom and with negative covariance differences set to 0. With jackknife covariances the two are one
analysis: DBM is computed from pseudovalues all the same, as others report it and as a check.

Cases of one patient are not independent. Where patients are known, the jackknife leaves out one patient at a time, with
all of their cases, and pseudovalues are of patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from restorekit import DataError
from restorekit_study.preference import LEVEL, Interval

__all__ = ["Areas", "Contrast", "Global", "Mrmc", "analyse", "areas", "from_areas"]

Floats = NDArray[np.float64]
Covariance = Literal["jackknife", "delong"]
ROUNDING = 1e-15
"""Variances of areas up to this are rounding: 0."""


@dataclass(frozen=True)
class Areas:
    """Areas under the curve, and how they vary together."""

    values: Floats
    """(methods, readers)"""
    covariance: Floats
    """(methods * readers, methods * readers), of the values in rows."""
    pseudovalues: Floats
    """(methods, readers, patients); each case is a patient of its own where patients are unknown."""


@dataclass(frozen=True)
class Global:
    """A test of equal areas of all methods."""

    statistic: float
    """F, or chi squared over its degrees of freedom where the second degrees are infinite; NaN where the error is 0."""
    freedom: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Contrast:
    """A mean area, or a difference of two, with its standard error and interval."""

    value: float
    error: float
    freedom: float
    """Infinite: normal."""
    interval: Interval
    """Of a mean between 0 and 1; None: the error is 0, as of perfect or constant ratings, which says nothing."""
    p: float | None = None
    """Two-sided, of no difference; None of a mean, or where the error is 0."""


@dataclass(frozen=True)
class Mrmc:
    """Obuchowski and Rockette's analysis."""

    values: Floats
    """(methods, readers)"""
    squares: dict[str, float]
    """Mean squares T, R and TR."""
    covariances: dict[str, float]
    """var, cov1 (two methods, one reader), cov2 (one method, two readers), cov3 (two of both)."""
    both: Global
    """Readers and cases are drawn."""
    cases: Global
    """Readers are fixed, cases are drawn."""
    readers: Global
    """Readers are drawn, cases are fixed."""
    dbm: Global | None
    """Dorfman, Berbaum and Metz: readers and cases are drawn; None where pseudovalues are not known."""
    means: dict[str, list[Contrast]]
    """By "both", "cases" and "readers": the mean area of each method, from its own data."""
    differences: dict[str, dict[tuple[int, int], Contrast]]
    """By the same names: the differences of methods."""


def areas(
    ratings: Floats,
    truth: NDArray[np.bool_],
    covariance: Covariance = "jackknife",
    patients: NDArray[np.int64] | None = None,
) -> Areas:
    """Return the areas of ratings.

    Args:
        ratings: (methods, readers, cases), higher for what has the finding.
        truth: (cases,) whether it has the finding.
        covariance: "jackknife" over patients, or "delong" (Biometrics 44:837, 1988), of independent cases.
        patients: (cases,) the patient of each case; None: each case is of another patient.

    Raises:
        DataError: if either kind of case is there of fewer than two patients.
    """
    known = np.arange(len(truth)) if patients is None else np.unique(patients, return_inverse=True)[1]
    n1, n0 = (len(np.unique(known[kind])) for kind in (truth, ~truth))
    if min(n1, n0) < 2:
        what = "cases" if patients is None else "patients"
        raise DataError(f"got {n1} {what} with the finding and {n0} without; allowed: at least 2 of each")
    positive, negative = ratings[..., truth], ratings[..., ~truth]
    above = (positive[..., :, None] > negative[..., None, :]) + 0.5 * (positive[..., :, None] == negative[..., None, :])
    of_positive, of_negative = above.mean(-1), above.mean(-2)
    values = of_positive.mean(-1)
    left = _areas_without_each(above, known[truth], known[~truth])
    count = left.shape[-1]
    flat = left.reshape(-1, count)
    if covariance == "jackknife":
        matrix = (count - 1) / count * _products(flat)
    else:
        matrix = sum(
            _products(part.reshape(len(flat), -1)) / (part.shape[-1] - 1) / part.shape[-1]
            for part in (of_positive, of_negative)
        )
    return Areas(values, np.asarray(matrix), count * values[..., None] - (count - 1) * left)


def _areas_without_each(above: Floats, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> Floats:
    """Return the areas without each patient (methods, readers, patients).

    Args:
        above: (methods, readers, positive cases, negative cases) whether the first is rated higher; a half if equally.
        positive: the patient of each positive case, from 0.
        negative: of each negative one.
    """
    count = max(positive.max(), negative.max()) + 1
    has, has_not = np.eye(count)[positive], np.eye(count)[negative]  # (cases, patients)
    rows, columns = above.sum(-1) @ has, above.sum(-2) @ has_not
    both = np.zeros_like(rows)  # pairs of two cases of the same patient are in rows and in columns
    for patient in np.intersect1d(positive, negative):
        both[..., patient] = above[:, :, positive == patient][..., negative == patient].sum((-2, -1))
    pairs = (len(positive) - has.sum(0)) * (len(negative) - has_not.sum(0))
    made: Floats = (above.sum((-2, -1))[..., None] - rows - columns + both) / pairs
    return made


def analyse(
    ratings: Floats,
    truth: NDArray[np.bool_],
    covariance: Covariance = "jackknife",
    patients: NDArray[np.int64] | None = None,
) -> Mrmc:
    """Return the analysis of ratings; arguments as of `areas`."""
    found = areas(ratings, truth, covariance, patients)
    return from_areas(found.values, found.covariance, found.pseudovalues)


def from_areas(values: Floats, covariance: Floats, pseudovalues: Floats | None = None) -> Mrmc:
    """Return Obuchowski and Rockette's analysis of areas with a covariance matrix.

    Args:
        values: (methods, readers), at least 2 of each.
        covariance: (methods * readers, methods * readers), of the values in rows.
        pseudovalues: (methods, readers, patients), for DBM.

    Raises:
        DataError: if there are fewer than two methods or readers.
    """
    methods, readers = values.shape
    if min(methods, readers) < 2:
        raise DataError(f"got {methods} methods and {readers} readers; allowed: at least 2 of each")
    squares = _mean_squares(values)
    named = _named(covariance.reshape(methods, readers, methods, readers))
    extra = max(named["cov2"] - named["cov3"], 0.0)
    freedom = (methods - 1, (methods - 1) * (readers - 1))
    error = squares["TR"] + readers * extra
    fixed = max(named["var"] - named["cov1"], 0.0) + (readers - 1) * extra
    both = _global(squares["T"], error, freedom[0], _freedom(error, squares["TR"], freedom[1]))
    by_reader = _global(squares["T"], squares["TR"], *freedom)
    by_case = _global(squares["T"], fixed, freedom[0], math.inf)
    errors = {"both": (error, both.freedom[1]), "cases": (fixed, math.inf), "readers": (squares["TR"], freedom[1])}
    own = [_method(values[at], covariance.reshape(methods, readers, methods, readers), at) for at in range(methods)]
    means = {name: [each[name] for each in own] for name in errors}
    differences = {
        name: {
            (one, other): _contrast(
                float(values[one].mean() - values[other].mean()), math.sqrt(2 / readers * variance), df, test=True
            )
            for one, other in combinations(range(methods), 2)
        }
        for name, (variance, df) in errors.items()
    }
    return Mrmc(
        values,
        squares,
        named,
        both,
        by_case,
        by_reader,
        None if pseudovalues is None else _dbm(pseudovalues),
        means,
        differences,
    )


def _method(values: Floats, covariance: Floats, at: int) -> dict[str, Contrast]:
    """Return the mean area of one method from its own data: (readers,) areas, and the covariance of all of them."""
    readers = len(values)
    own = _named(covariance[at : at + 1, :, at : at + 1])
    among, shared = float(values.var(ddof=1)), max(own["cov2"], 0.0)
    single = among + readers * shared
    parts = {
        "both": (single, _freedom(single, among, readers - 1)),
        "cases": (own["var"] + (readers - 1) * shared, math.inf),
        "readers": (among, readers - 1),
    }
    return {
        name: _contrast(float(values.mean()), math.sqrt(variance / readers), df, test=False)
        for name, (variance, df) in parts.items()
    }


def _products(rows: Floats) -> Floats:
    """Return sums of products of deviations from the means of rows (K, N): (K, K)."""
    gaps = rows - rows.mean(-1, keepdims=True)
    return np.asarray(gaps @ gaps.T)


def _mean_squares(values: Floats) -> dict[str, float]:
    methods, readers = values.shape
    mean, by_method, by_reader = values.mean(), values.mean(1), values.mean(0)
    rest = values - by_method[:, None] - by_reader[None, :] + mean
    return {
        "T": float(readers * ((by_method - mean) ** 2).sum() / (methods - 1)),
        "R": float(methods * ((by_reader - mean) ** 2).sum() / (readers - 1)),
        "TR": float((rest**2).sum() / ((methods - 1) * (readers - 1))),
    }


def _named(matrix: Floats) -> dict[str, float]:
    """Return the mean variance and covariances of (methods, readers, methods, readers); 0 where there are none."""
    methods, readers = matrix.shape[:2]
    same_method = np.eye(methods, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]
    kinds = {
        "var": same_method & same_reader,
        "cov1": ~same_method & same_reader,
        "cov2": same_method & ~same_reader,
        "cov3": ~same_method & ~same_reader,
    }
    return {name: float(matrix[kind].mean()) if kind.any() else 0.0 for name, kind in kinds.items()}


def _dbm(y: Floats) -> Global:
    """Return the test of a methods x readers x cases analysis of variance of pseudovalues."""
    methods, readers, cases = y.shape
    mean = y.mean()
    t, r, c = y.mean((1, 2)), y.mean((0, 2)), y.mean((0, 1))
    tr, tc, rc = y.mean(2), y.mean(1), y.mean(0)
    square_t = readers * cases * ((t - mean) ** 2).sum() / (methods - 1)
    rest = tr - t[:, None] - r[None, :] + mean
    square_tr = cases * (rest**2).sum() / ((methods - 1) * (readers - 1))
    rest = tc - t[:, None] - c[None, :] + mean
    square_tc = readers * (rest**2).sum() / ((methods - 1) * (cases - 1))
    rest = (
        y - tr[:, :, None] - tc[:, None, :] - rc[None] + t[:, None, None] + r[None, :, None] + c[None, None, :] - mean
    )
    square_trc = (rest**2).sum() / ((methods - 1) * (readers - 1) * (cases - 1))
    error = float(square_tr + max(square_tc - square_trc, 0.0))
    freedom = _freedom(error, float(square_tr), (methods - 1) * (readers - 1))
    return _global(float(square_t), error, methods - 1, freedom)


def _freedom(error: float, square: float, freedom: float) -> float:
    """Return Hillis' degrees of freedom of an error term of which `square` is the part that varies."""
    return (
        error**2 / (square**2 / freedom) if square > ROUNDING else math.inf
    )  # of areas: their last digits are not chance


def _global(square: float, error: float, first: float, second: float) -> Global:
    if error <= ROUNDING:
        return Global(math.nan, (first, second), math.nan)
    ratio = square / error
    p = stats.chi2.sf(ratio * first, first) if math.isinf(second) else stats.f.sf(ratio, first, second)
    return Global(ratio, (first, second), float(p))


def _contrast(value: float, error: float, freedom: float, *, test: bool) -> Contrast:
    if error <= ROUNDING**0.5:
        return Contrast(value, 0.0, freedom, None)
    law = stats.norm if math.isinf(freedom) else stats.t(freedom)
    reach = float(law.ppf(1 - LEVEL / 2)) * error
    p = float(2 * law.sf(abs(value) / error)) if test else None
    around = (value - reach, value + reach) if test else _within(value, reach)
    return Contrast(value, error, freedom, around, p)


def _within(value: float, reach: float) -> tuple[float, float]:
    """Return the interval of an area, computed in the logit: it stays between 0 and 1, and holds the truth more often.

    Hillis' tables have value - reach and value + reach, which cover 93 % of simulated areas where this covers 94 %.
    """
    middle, half = special.logit(value), reach / value / (1 - value)
    return float(special.expit(middle - half)), float(special.expit(middle + half))
