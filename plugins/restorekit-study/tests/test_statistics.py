"""Every statistic against closed forms, other libraries, printed examples and simulated readers."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from restorekit_study import area_planning, planning
from restorekit_study.agreement import (
    agreement,
    cohen,
    column_preference,
    drift,
    fleiss,
    krippendorff_alpha,
    repeats,
)
from restorekit_study.mrmc import analyse, areas, from_areas
from restorekit_study.preference import Sample, bradley_terry, fixed_readers, random_readers, wilson
from restorekit_study.score import holm
from restorekit_study.simulation import PreferenceModel, RatingModel
from scipy import special, stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from restorekit import DataError, RecipeError

# ---------------------------------------------------------------- multi-reader multi-case

VAN_DYKE = np.array(
    [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
)
"""Areas of five readers by two methods: Van Dyke's study, as OR-DBM MRMC 2.51 prints them (jackknife, trapezoidal)."""
OF_VAN_DYKE = 0.00080229, 0.00034661, 0.00034407, 0.00023903
"""What it prints of their variance and covariances 1, 2 and 3."""
FRANKEN = np.array([[0.85345997, 0.86499322, 0.85730439, 0.81524197], [0.84961556, 0.84350972, 0.84011759, 0.81433740]])
"""Areas of four readers by two methods: Franken's study, as OR-DBM MRMC 2.51 prints them (jackknife, trapezoidal)."""
OF_FRANKEN = 0.00152578, 0.00079168, 0.00048364, 0.00051251
"""Of these: covariance 3 is above 2, so their difference counts as 0."""


def covariances(methods, readers, components=OF_VAN_DYKE):
    var, cov1, cov2, cov3 = components
    matrix = np.empty((methods, readers, methods, readers))
    for i, j, k, m in np.ndindex(matrix.shape):
        matrix[i, j, k, m] = (var if j == m else cov2) if i == k else (cov1 if j == m else cov3)
    return matrix.reshape(methods * readers, methods * readers)


def test_analysis_gives_the_printed_digits_of_the_van_dyke_study():
    found = from_areas(VAN_DYKE, covariances(2, 5))
    assert [f"{found.squares[name]:.8f}" for name in ("T", "R", "TR")] == ["0.00479617", "0.00383620", "0.00055103"]
    assert f"{found.both.statistic:.2f}" == "4.46"
    assert f"{found.both.freedom[1]:.2f}" == "15.26"
    assert f"{found.both.p:.4f}" == "0.0517"
    assert f"{found.cases.statistic:.3f}" == "5.476"  # printed: 5.47595, of covariances with more digits
    assert f"{found.cases.p:.4f}" == "0.0193"
    assert f"{found.readers.statistic:.2f}" == "8.70"
    assert f"{found.readers.p:.4f}" == "0.0420"
    printed = {
        "both": (0.02075, -0.08796, 0.00036),
        "cases": (0.01872, -0.08049, -0.00711),
        "readers": (0.01485, -0.08502, -0.00258),
    }
    for name, numbers in printed.items():
        one = found.differences[name][0, 1]
        assert f"{one.value:.5f}" == "-0.04380"
        assert [one.error, *one.interval] == pytest.approx(numbers, abs=6e-6)  # covariances have 8 digits
    means = [(f"{one.value:.8f}", f"{one.error:.8f}") for one in found.means["readers"]]
    assert means == [("0.89703704", "0.02482994"), ("0.94083736", "0.01615303")]


def test_analysis_gives_the_printed_digits_of_the_franken_study():
    found = from_areas(FRANKEN, covariances(2, 4, OF_FRANKEN))
    assert [f"{found.squares[name]:.8f}" for name in ("T", "R", "TR")] == ["0.00023565", "0.00068406", "0.00005020"]
    for test, printed in ((found.both, "4.69"), (found.readers, "4.69"), (found.cases, "0.32101")):
        assert f"{test.statistic:.{len(printed) - 2}f}" == printed
    assert [f"{test.p:.4f}" for test in (found.both, found.readers, found.cases)] == ["0.1188", "0.1188", "0.5710"]
    assert found.both.freedom == pytest.approx((1, 3))
    printed = {
        "both": (0.00501, -0.00509, 0.02680),
        "cases": (0.01916, -0.02670, 0.04840),
        "readers": (0.00501, -0.00509, 0.02680),
    }
    for name, numbers in printed.items():
        one = found.differences[name][0, 1]
        assert f"{one.value:.5f}" == "0.01085"
        assert [one.error, *one.interval] == pytest.approx(numbers, abs=6e-6)
    means = [(f"{one.value:.8f}", f"{one.error:.8f}") for one in found.means["readers"]]
    assert means == [("0.84774989", "0.01109801"), ("0.83689507", "0.00777173")]


@pytest.mark.parametrize("seed", range(3))
def test_dbm_of_pseudovalues_is_obuchowski_rockette_with_jackknife(seed):
    ratings, truth = RatingModel((1.0, 1.3, 1.6)).study(4, 15, 25, np.random.default_rng(seed))
    found = analyse(np.round(ratings), truth)
    assert found.dbm.statistic == pytest.approx(found.both.statistic)
    assert found.dbm.freedom == pytest.approx(found.both.freedom)


def test_areas_and_their_covariance_are_those_of_the_definitions():
    ratings, truth = RatingModel((1.0, 1.5)).study(3, 8, 11, np.random.default_rng(5))
    ratings = np.round(2 * ratings)
    found = areas(ratings, truth)
    left = np.empty((2, 3, 19))
    for m, r in np.ndindex(2, 3):
        assert found.values[m, r] == pytest.approx(roc_auc_score(truth, ratings[m, r]))
        for case in range(19):
            rest = np.arange(19) != case
            left[m, r, case] = roc_auc_score(truth[rest], ratings[m, r, rest])
    assert found.covariance == pytest.approx(18 / 19 * 19 * np.cov(left.reshape(6, 19), bias=True))
    assert found.pseudovalues.mean(-1) == pytest.approx(found.values)
    # DeLong: the placements of the two classes, written out for one area
    high, low = ratings[0, 0, truth], ratings[0, 0, ~truth]
    above = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    expected = above.mean(1).var(ddof=1) / 8 + above.mean(0).var(ddof=1) / 11
    assert areas(ratings, truth, "delong").covariance[0, 0] == pytest.approx(expected)


def test_covariance_of_patients_is_that_of_leaving_out_all_films_of_each():
    ratings, truth = RatingModel((1.0, 1.5)).study(3, 8, 12, np.random.default_rng(6))
    patients = np.arange(20) % 7  # each has films with the finding and without
    found = areas(np.round(2 * ratings), truth, patients=patients)
    left = [
        [roc_auc_score(truth[patients != k], np.round(2 * row[patients != k])) for k in range(7)]
        for row in ratings.reshape(6, 20)
    ]
    assert found.covariance == pytest.approx(6 * np.cov(left, bias=True))
    assert found.pseudovalues.shape == (2, 3, 7)


def test_copies_of_films_change_nothing_where_patients_are_known():
    ratings, truth = RatingModel((1.0, 1.5)).study(4, 12, 15, np.random.default_rng(7))
    once = analyse(ratings, truth)
    twice = analyse(ratings.repeat(2, -1), truth.repeat(2), patients=np.arange(27).repeat(2))
    unknown = analyse(ratings.repeat(2, -1), truth.repeat(2))
    assert twice.covariances == pytest.approx(once.covariances)
    assert [twice.both.p, twice.dbm.p] == pytest.approx([once.both.p, once.dbm.p])
    assert unknown.covariances["var"] < 0.6 * once.covariances["var"]


def test_readers_only_analysis_is_a_paired_t_test():
    found = from_areas(VAN_DYKE, covariances(2, 5))
    expected = stats.ttest_rel(*VAN_DYKE)
    assert found.readers.p == pytest.approx(expected.pvalue)


def test_one_reader_or_one_case_of_a_class_is_refused():
    with pytest.raises(DataError, match="at least 2 of each"):
        from_areas(VAN_DYKE[:, :1], np.zeros((2, 2)))
    with pytest.raises(DataError, match="1 cases with the finding"):
        areas(np.zeros((2, 2, 5)), np.arange(5) == 0)
    with pytest.raises(DataError, match="1 patients with the finding"):
        areas(np.zeros((2, 2, 5)), np.arange(5) < 2, patients=np.array([0, 0, 1, 2, 3]))


# ---------------------------------------------------------------- preferences and agreement


def test_interval_of_one_reader_is_wilsons():
    choices = np.arange(50) % 5 == 0
    sample = Sample(np.zeros(50, int), choices.astype(int), np.arange(50), 1, 2)
    one = fixed_readers(sample, sample.chosen(1), share=True)
    assert one.interval == pytest.approx(wilson(0.2, 49, stats.t.ppf(0.975, 49)))
    from statsmodels.stats.proportion import proportion_confint

    assert wilson(0.2, 50) == pytest.approx(proportion_confint(10, 50, method="wilson"))


@pytest.mark.parametrize("size", range(1, 50))
def test_interval_of_a_share_of_0_or_1_holds_it(size):
    assert wilson(0, size)[0] == 0
    assert wilson(1, size)[1] == 1


def test_interval_of_readers_who_share_no_film_is_the_t_test_of_their_ratios():
    rng = np.random.default_rng(0)
    sample = PreferenceModel((0, 1), reader_spread=0.5).study(rng.normal(0, 0.5, (5, 2)), 200, rng, common=0).sample
    ratios = sample.counts()[:, 1] / sample.counts().sum(1)
    one = random_readers(sample, sample.chosen(1), share=True)
    low, high = stats.ttest_1samp(ratios, 0).confidence_interval(0.95)
    slope = 1 / one.value / (1 - one.value)  # of the logit
    assert special.logit(one.interval) == pytest.approx(
        special.logit(one.value) + slope * (np.array([low, high]) - one.value)
    )
    gap = random_readers(sample, sample.chosen(1) - sample.chosen(0), share=False)
    assert gap.p == pytest.approx(stats.ttest_1samp(2 * ratios - 1, 0).pvalue)


def test_films_of_one_patient_widen_the_interval():
    choices = np.repeat(np.arange(20) % 2, 5)
    apart = Sample(np.zeros(100, int), choices, np.arange(100), 1, 2)
    together = Sample(np.zeros(100, int), choices, np.repeat(np.arange(20), 5), 1, 2)
    low, high = fixed_readers(apart, apart.chosen(1), share=True).interval
    wide_low, wide_high = fixed_readers(together, together.chosen(1), share=True).interval
    assert wide_high - wide_low > 2 * (high - low)


@pytest.mark.parametrize("count", range(21))
def test_readers_of_equal_ratios_do_not_show_how_others_differ(count):
    """13, 5 and 2 of 20 for each of three readers, and other ratios: sums differ in their last digit."""
    chosen = np.tile(np.repeat([1, 0], [count, 20 - count]), 3)
    sample = Sample(np.repeat(np.arange(3), 20), chosen, np.arange(60), 3, 2)
    assert random_readers(sample, sample.chosen(1), share=True).interval is None
    gap = random_readers(sample, sample.chosen(1) - sample.chosen(0), share=False)
    assert (gap.interval, gap.p) == (None, None)


@pytest.mark.parametrize("patients", range(2, 30))
def test_patients_of_equal_ratios_give_no_interval_of_width_zero(patients):
    cluster = np.repeat(np.arange(patients), 5)
    sample = Sample(np.zeros(5 * patients, int), np.tile([1, 1, 0, 0, 0], patients), cluster, 1, 2)
    share = fixed_readers(sample, sample.chosen(1), share=True)
    gap = fixed_readers(sample, sample.chosen(1) - sample.chosen(0), share=False)
    assert gap.interval is None
    if patients < 3:
        assert (share.interval, gap.p) == (None, None)
    else:
        assert share.interval == pytest.approx(wilson(0.4, patients, stats.t.ppf(0.975, patients - 1)))
        assert gap.p == pytest.approx(0.5 ** (patients - 1))  # all on one side


def test_unanimous_choices_are_tested_by_signs_of_films():
    sample = Sample(np.repeat(np.arange(3), 30), np.ones(90, int), np.tile(np.arange(30), 3), 3, 3)
    gap = fixed_readers(sample, sample.chosen(1) - sample.chosen(0), share=False)
    assert (gap.value, gap.interval) == (1, None)
    assert gap.p == pytest.approx(2 * 0.5**30)
    assert fixed_readers(sample, sample.chosen(0) - sample.chosen(2), share=False).p is None


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("dealt", [(2, 2, 1, 1, 1, 1, 1, 1), (3, 3, 3, 1), (1,) * 10])
def test_interval_of_readers_of_a_single_film_holds_the_truth_in_all_studies_together(dealt, share):
    """Of all 1,024 studies of 10 films, equally likely at a ratio of a half."""
    reader, held = np.repeat(np.arange(len(dealt)), dealt), 0
    for study in range(1024):
        sample = Sample(reader, study >> np.arange(10) & 1, np.arange(10), len(dealt), 2)
        values, truth = (sample.chosen(1), 0.5) if share else (sample.chosen(1) - sample.chosen(0), 0.0)
        one = fixed_readers(sample, values, share=share)
        held += one.interval[0] <= truth <= one.interval[1] if one.interval else not one.p < 0.05
    assert held / 1024 >= 0.935


def test_bradley_terry_strengths_are_the_logs_of_the_ratios():
    method = np.repeat([0, 1, 2], [50, 30, 20])
    found, damped = bradley_terry(Sample(np.zeros(100, int), method, np.arange(100), 1, 3))
    logs = np.log([0.5, 0.3, 0.2])
    assert [one.value for one in found] == pytest.approx(list(logs - logs.mean()), abs=1e-6)
    assert not damped
    found, damped = bradley_terry(Sample(np.zeros(30, int), np.zeros(30, int), np.arange(30), 1, 3))
    assert damped
    assert [one.interval for one in found] == [None] * 3


def test_kappas_of_two_readers_are_those_of_their_definitions():
    one = np.array([0, 0, 1, 1, 2, 2, 0, 1, 2, 0.0])
    other = np.array([0, 1, 1, 1, 2, 0, 0, 1, 2, 0.0])
    agreed = (one == other).mean()
    chance = sum((one == c).mean() * (other == c).mean() for c in range(3))
    assert cohen(one, other, "nominal") == pytest.approx((agreed - chance) / (1 - chance))
    pooled = sum((np.concatenate([one, other]) == c).mean() ** 2 for c in range(3))
    scott = (agreed - pooled) / (1 - pooled)  # Fleiss' kappa of two readers is Scott's pi
    assert fleiss(np.array([one, other])) == pytest.approx(scott)
    # Krippendorff: nominal alpha of n films and two readers is Scott's pi with a correction for 2 n values
    assert krippendorff_alpha(np.array([one, other]), "nominal") == pytest.approx(1 - (1 - scott) * (1 - 1 / 20))


@pytest.mark.parametrize("tested", [[], [0.04], [0.01, 0.04, 0.03, 0.01, 0.9], [0.3, 1.0, 0.3]])
def test_holm_is_that_of_statsmodels_and_counts_what_was_not_tested(tested):
    from statsmodels.stats.multitest import multipletests

    assert holm(tested) == (list(multipletests(tested, method="holm")[1]) if tested else [])
    assert holm([*tested, None]) == [*multipletests([*tested, 1.0], method="holm")[1][:-1], None]


def test_weighted_kappa_counts_ratings_that_nobody_gave_in_the_distance_of_others():
    one, other = np.array([1, 2, 5, 5, 2, 1, 5.0]), np.array([1, 5, 5, 2, 2, 2, 5.0])  # no 3 and no 4
    apart = np.mean((one - other) ** 2)
    by_chance = np.mean((one[:, None] - other[None, :]) ** 2)
    assert cohen(one, other, "ordinal") == pytest.approx(1 - apart / by_chance)
    expected = cohen_kappa_score(one, other, labels=[1, 2, 3, 4, 5], weights="quadratic")
    assert cohen(one, other, "ordinal") == pytest.approx(expected)


@pytest.mark.parametrize("films", [7, 30, 60])
def test_perfect_agreement_has_no_interval_of_width_zero(films):
    found = agreement(np.tile(np.arange(films) % 3, (3, 1)).astype(float), np.arange(films), "nominal")
    for one in (found.fleiss, found.alpha, found.pairs[0, 1][1]):
        assert (one.value, one.interval) == (pytest.approx(1), None)


def test_agreement_needs_shared_films():
    nan = math.nan
    found = agreement(np.array([[0, 1, nan, nan], [nan, nan, 1, 0]]), np.arange(4), "nominal")
    assert found.fleiss is None
    assert found.alpha is None
    assert found.pairs == {(0, 1): (0, None)}


# ---------------------------------------------------------------- simulated readers


def test_simulated_readers_without_spread_choose_by_the_softmax():
    rng = np.random.default_rng(1)
    model = PreferenceModel((0.0, 0.5, 1.0))
    sample = model.study(np.zeros((2, 3)), 4000, rng).sample
    expected = np.exp([0, 0.5, 1]) / np.exp([0, 0.5, 1]).sum()
    assert sample.counts().sum(0) / 8000 == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 8000))
    assert model.ratios(np.zeros((1, 3)), rng)[0] == pytest.approx(expected)


def test_bias_for_a_column_favours_no_method_and_fatigue_shows_at_the_end():
    rng = np.random.default_rng(2)
    biased = PreferenceModel((0.0, 0.0, 0.0), column_bias=(2.0, 0.0, 0.0)).study(np.zeros((2, 3)), 3000, rng)
    assert (biased.column == 0).mean() > 0.7
    assert biased.sample.counts().sum(0) / 6000 == pytest.approx([1 / 3] * 3, abs=0.03)
    tired = PreferenceModel((0.0, 3.0), fatigue=1.0).study(np.zeros((1, 2)), 6000, rng)
    best = tired.sample.method == 1
    assert best[tired.order < 1000].mean() > best[tired.order >= 5000].mean() + 0.2


SCENARIOS = {
    "films shared by all": (PreferenceModel((0.0, 0.5, 1.0), 0.6, 0.5), 4, 200, 1.0),
    "films dealt out": (PreferenceModel((0.0, 0.5, 1.0), 0.4, 0.7), 4, 400, 0.0),
    "bias for a column and fatigue": (
        PreferenceModel((0.0, 0.5, 1.0), 0.5, 0.5, column_bias=(1.0, 0.0, 0.3), fatigue=0.6),
        4,
        300,
        0.0,
    ),
    "five methods, two hardly ever chosen": (PreferenceModel((0.9, 0.5, -1.0, 1.0, -1.0), 0.4, 0.5), 4, 400, 0.0),
}
"""Model, readers, films, and the share of films that all see."""


def true_ratios(model, preferences, rng, films):
    """Return (readers, methods): the ratios over all orders of columns and a whole session."""
    shown = itertools.permutations(model.column_bias or (0.0,) * len(model.quality))
    shares = [
        replace(model, quality=tuple(np.add(model.quality, bias))).ratios(preferences, rng, films)
        for bias in set(shown)
    ]
    return (1 - model.fatigue / 2) * np.mean(shares, 0) + model.fatigue / 2 / len(model.quality)


def check_shares(of, held, low, high):
    """Require of each statistic that so many intervals hold the truth; print the shares."""
    shares = {name: float(np.mean(inside)) for name, inside in held.items()}
    print(of, shares)
    assert all(low <= share <= high for share in shares.values()), (of, shares)


def coverage(model, readers, films, common, studies, rng):
    """Return, by statistic, errors of estimates and the share of intervals that hold the truth."""
    methods = len(model.quality)
    others = true_ratios(model, model.reader_preferences(20_000, rng), rng, films=20).mean(0)
    preferences = model.reader_preferences(readers, rng)
    these = true_ratios(model, preferences, rng, films=20_000)
    errors, held = {}, {}
    for _ in range(studies):
        fixed = model.study(preferences, films, rng, common=common).sample
        drawn = model.study(model.reader_preferences(readers, rng), films, rng, common=common).sample
        pooled = np.bincount(fixed.reader, minlength=readers) @ these / len(fixed.reader)
        for name, sample, truth, estimate in (
            ("these readers", fixed, pooled, fixed_readers),
            ("readers like these", drawn, others, random_readers),
        ):
            found = [estimate(sample, sample.chosen(m), share=True) for m in range(methods)]
            true = list(truth)
            found.append(estimate(sample, sample.chosen(0) - sample.chosen(1), share=False))
            true.append(truth[0] - truth[1])
            for at, (one, value) in enumerate(zip(found, true, strict=True)):
                errors.setdefault((name, at), []).append(one.value - value)
                inside = one.interval is not None and one.interval[0] <= value <= one.interval[1]
                held.setdefault((name, at), []).append(inside)
        if not common:  # strengths take long: one scenario is enough
            continue
        logs = np.log(pooled)
        for at, (one, value) in enumerate(zip(bradley_terry(fixed)[0], logs - logs.mean(), strict=True)):
            errors.setdefault(("strength", at), []).append(one.value - value)
            held.setdefault(("strength", at), []).append(one.interval[0] <= value <= one.interval[1])
    return errors, held


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    ("studies", "low", "high"),
    [
        (40, 0.8, 1.0),
        pytest.param(1000, 0.93, 0.97, marks=[pytest.mark.full, pytest.mark.timeout(2000)]),
    ],
)
def test_intervals_of_ratios_hold_the_truth_as_often_as_they_state(scenario, studies, low, high):
    errors, held = coverage(*SCENARIOS[scenario], studies, np.random.default_rng(7))
    check_shares(scenario, held, low, high)
    for name, found in errors.items():  # bias within what chance allows, at 4 standard errors
        assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(studies) + 0.003, (name, np.mean(found))


@pytest.mark.parametrize(("each", "common"), [(1, 1.0), (4, 1.0), (4, 0.0)])
@pytest.mark.parametrize(
    ("studies", "low", "high"), [(40, 0.8, 1.0), pytest.param(1000, 0.925, 0.975, marks=pytest.mark.full)]
)
def test_intervals_of_a_stratum_and_of_patients_of_several_films_hold_the_truth(studies, low, high, each, common):
    """Every fourth patient is of the stratum; the films of a patient have one effect."""
    rng = np.random.default_rng(8)
    model = PreferenceModel((0.0, 0.5, 1.0), 0.5, 1.0)
    preferences = model.reader_preferences(3, rng)
    these = model.ratios(preferences, rng, films=100_000)
    held = {}
    for _ in range(studies):
        whole = model.study(preferences, 240, rng, common=common, each=each).sample
        for name, sample in (("all", whole), ("stratum", whole.of(whole.cluster % 4 == 0))):
            truth = np.bincount(sample.reader, minlength=3) @ these / len(sample.reader)
            low_high = [fixed_readers(sample, sample.chosen(m), share=True).interval for m in range(3)]
            low_high.append(fixed_readers(sample, sample.chosen(2) - sample.chosen(1), share=False).interval)
            for at, (interval, value) in enumerate(zip(low_high, [*truth, truth[2] - truth[1]], strict=True)):
                held.setdefault((name, at), []).append(interval[0] <= value <= interval[1])
    check_shares((each, common), held, low, high)


@pytest.mark.parametrize(
    ("studies", "low", "high"), [(40, 0.8, 1.0), pytest.param(1000, 0.93, 0.97, marks=pytest.mark.full)]
)
def test_intervals_of_areas_of_these_readers_on_other_films_hold_the_truth(studies, low, high):
    rng = np.random.default_rng(9)
    model = RatingModel((1.2, 1.5), reader=0.05)
    preferences = model.reader_preferences(4, rng)
    gap = np.array(model.separation)[:, None] + preferences[..., 1] - preferences[..., 0]
    variance = model.case + model.method_case + model.reader_case + model.rest
    true = stats.norm.cdf(gap / math.sqrt(2 * variance)).mean(1)
    held = {"mean": [], "difference": []}
    for _ in range(studies):
        found = analyse(*model.study(4, 50, 50, rng, reader_preferences=preferences))
        one, other = found.means["cases"][0].interval, found.differences["cases"][0, 1].interval
        held["mean"].append(one[0] <= true[0] <= one[1])
        held["difference"].append(other[0] <= true[0] - true[1] <= other[1])
    check_shares("areas", held, low, high)


@pytest.mark.parametrize(
    ("studies", "low", "high"), [(40, 0.0, 0.2), pytest.param(1000, 0.02, 0.07, marks=pytest.mark.full)]
)
def test_equal_areas_are_called_different_as_often_as_the_level_states(studies, low, high):
    rng = np.random.default_rng(10)
    model = RatingModel((1.2, 1.2, 1.2))
    preferences = np.repeat(model.reader_preferences(4, rng)[:1], 3, 0)  # fixed readers, who treat all methods alike
    p = {"both": [], "cases": []}
    for _ in range(studies):
        p["both"].append(analyse(*model.study(4, 40, 40, rng)).both.p)
        p["cases"].append(analyse(*model.study(4, 40, 40, rng, reader_preferences=preferences)).cases.p)
    found = {name: float(np.mean(np.array(values) < 0.05)) for name, values in p.items()}
    print(found)
    for name, value in found.items():
        assert low <= value <= high, (name, value)


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize(
    ("studies", "low", "high"),
    [(40, 0.8, 1.0), pytest.param(1000, 0.93, 0.97, marks=[pytest.mark.full, pytest.mark.timeout(2000)])],
)
def test_intervals_of_area_differences_hold_the_truth(studies, low, high, each):
    rng = np.random.default_rng(3)
    model, films = RatingModel((1.2, 1.2)), 40 * each
    patients = np.arange(2 * films) // each
    found = [analyse(*model.study(5, films, films, rng, each=each), patients=patients) for _ in range(studies)]
    one = [study.differences["both"][0, 1] for study in found]
    inside = np.mean([each.interval[0] <= 0 <= each.interval[1] for each in one])
    print("difference of areas", inside)
    assert low <= inside <= high
    means = [study.means["both"][0] for study in found]
    variance = model.case + model.method_case + model.reader_case + model.rest
    area = stats.norm.cdf(1.2 / math.sqrt(2 * variance + 4 * model.reader))
    assert abs(np.mean([one.value for one in means]) - area) < 0.01
    inside = np.mean([one.interval[0] <= area <= one.interval[1] for one in means])
    print("mean area", inside)
    assert low <= inside <= high


@pytest.mark.full
@pytest.mark.timeout(2500)
def test_intervals_of_agreement_hold_the_truth():
    rng = np.random.default_rng(4)
    model = PreferenceModel((0.0, 0.5, 1.0), reader_spread=0.3, film_spread=1.5)
    preferences = model.reader_preferences(3, rng)

    def choices(films):
        sample = model.study(preferences, films, rng).sample
        values = np.empty((3, films))
        values[sample.reader, sample.cluster] = sample.method
        return values

    large = choices(60_000)
    truth = {"fleiss": fleiss(large), "alpha": krippendorff_alpha(large, "nominal")}
    truth["cohen"] = cohen(large[0], large[1], "nominal")
    held = {name: [] for name in truth}
    for _ in range(1000):
        found = agreement(choices(100), np.arange(100), "nominal")
        for name, one in (("fleiss", found.fleiss), ("alpha", found.alpha), ("cohen", found.pairs[0, 1][1])):
            held[name].append(one.interval[0] <= truth[name] <= one.interval[1])
    print({name: float(np.mean(inside)) for name, inside in held.items()})
    for name, inside in held.items():
        assert 0.93 <= np.mean(inside) <= 0.97, (name, np.mean(inside))


@pytest.mark.parametrize(
    ("studies", "low", "high"), [(40, 0.8, 1.0), pytest.param(1000, 0.93, 0.97, marks=pytest.mark.full)]
)
def test_intervals_of_agreement_between_ratings_hold_the_truth(studies, low, high):
    rng = np.random.default_rng(11)
    model = RatingModel((1.2,), reader=0.05)
    preferences = model.reader_preferences(3, rng)

    def ratings(films):
        values, _ = model.study(3, films // 2, films // 2, rng, reader_preferences=preferences)
        return np.digitize(values[0], [-0.6, 0.2, 0.9, 1.7]) + 1.0

    large = ratings(60_000)
    truth = {"fleiss": fleiss(large), "alpha": krippendorff_alpha(large, "ordinal")}
    truth["cohen"] = cohen(large[0], large[1], "ordinal")
    held = {name: [] for name in truth}
    for _ in range(studies):
        found = agreement(ratings(100), np.arange(100), "ordinal")
        for name, one in (("fleiss", found.fleiss), ("alpha", found.alpha), ("cohen", found.pairs[0, 1][1])):
            held[name].append(one.interval[0] <= truth[name] <= one.interval[1])
    check_shares("agreement of ratings", held, low, high)


@pytest.mark.parametrize("films", [25, 50])
@pytest.mark.parametrize(
    ("studies", "low", "high"), [(40, 0.8, 1.0), pytest.param(1000, 0.93, 0.97, marks=pytest.mark.full)]
)
def test_intervals_of_repeats_hold_the_truth(studies, low, high, films):
    rng = np.random.default_rng(12)
    model = PreferenceModel((0.0, 0.5, 1.0), reader_spread=0.3, film_spread=1.5)
    preferences = model.reader_preferences(1, rng)

    def twice(films):
        """Return the choices of one reader who sees each film twice: two with the same effect are one film."""
        found = model.study(preferences, 2 * films, rng, each=2)
        values = np.empty(2 * films)
        values[found.film] = found.sample.method
        return values[::2], values[1::2]

    first, again = twice(100_000)
    truth = {"same": (first == again).mean(), "kappa": cohen(first, again, "nominal")}
    held = {name: [] for name in truth}
    for _ in range(studies):
        found = repeats(*twice(films), np.arange(films), "nominal")
        for name, value in truth.items():
            low_high = getattr(found, name).interval
            held[name].append(low_high[0] <= value <= low_high[1])
    check_shares(("repeats", films), held, low, high)


@pytest.mark.parametrize(
    ("studies", "low", "high"), [(40, 0.0, 0.2), pytest.param(1000, 0.03, 0.07, marks=pytest.mark.full)]
)
def test_drift_and_preferred_columns_are_stated_of_steady_readers_as_often_as_the_level_states(studies, low, high):
    rng = np.random.default_rng(13)
    p = habits(PreferenceModel((0.0, 0.5, 1.0), 0.3, 1.0), 200, studies, rng)
    found = {name: float(np.mean(np.array(values, float) < 0.05)) for name, values in p.items()}
    print(found)
    assert all(low <= value <= high for value in found.values()), found


def test_drift_and_preferred_columns_are_found():
    rng = np.random.default_rng(14)
    p = habits(PreferenceModel((0.0, 0.0, 2.0), column_bias=(0.0, 0.0, 1.2), fatigue=1.0), 600, 20, rng)
    assert np.mean(np.array(p["drift"], float) < 0.05) > 0.8
    assert np.mean(np.array(p["columns"], float) < 0.05) > 0.8


def habits(model, films, studies, rng):
    """Return p of drift over four parts of a session, and of preferred columns, of one reader in each study."""
    preferences, p = model.reader_preferences(1, rng), {"drift": [], "columns": []}
    for _ in range(studies):
        found = model.study(preferences, films, rng)
        parts = np.array_split(found.sample.method[np.argsort(found.order)], 4)
        p["drift"].append(drift([np.bincount(part, minlength=3) for part in parts]))
        p["columns"].append(column_preference(np.bincount(found.column, minlength=3)))
    return p


# ---------------------------------------------------------------- planner


def test_planned_choices_reach_the_margin_and_no_fewer_do():
    count = planning.choices_for_margin(0.05)
    assert count == 385  # 1.96^2 / 4 / 0.05^2 = 384.1
    low, high = wilson(0.5, count)
    assert (high - low) / 2 <= 0.05


def test_planned_power_is_reached_in_simulated_studies():
    rng = np.random.default_rng(6)
    count = planning.choices_for_difference(0.45, 0.30)
    drawn = rng.multinomial(count, [0.45, 0.30, 0.25], size=4000)
    gap = (drawn[:, 0] - drawn[:, 1]) / count
    error = np.sqrt((drawn[:, 0] + drawn[:, 1]) / count - gap**2) / math.sqrt(count)
    assert np.mean(np.abs(gap) / error > 1.96) == pytest.approx(0.8, abs=0.03)


def test_spread_of_readers_bounds_what_more_films_can_give():
    endless = planning.random_reader_margin(4, 10**9, 0.5, 0.1)
    assert endless == pytest.approx(stats.t.ppf(0.975, 3) * 0.1 / 2, rel=1e-3)
    least = planning.readers_for_margin(0.05, 0.5, 0.1)
    assert planning.random_reader_margin(least, 10**9, 0.5, 0.1) < 0.05
    assert planning.random_reader_margin(least - 1, 10**9, 0.5, 0.1) > 0.05


@pytest.mark.parametrize("value", [0, 1, -0.1, 2])
def test_margin_that_is_no_share_is_refused(value):
    with pytest.raises(RecipeError, match="--margin"):
        planning.choices_for_margin(value)


# Films for a power of 0.8 to show the difference of the Van Dyke study, and powers, as RJafroc prints them: it computes
# by Hillis, Obuchowski and Berbaum (2011) from the ratings, VAN_DYKE has 8 digits of the components
PRINTED_FILMS = {5: 344, 6: 251, 7: 211, 8: 188, 9: 173, 10: 163, 12: 149, 15: 137, 20: 126, 30: 116}
PRINTED_POWER = {(10, 165, "both"): 0.80541995, (10, 131, "cases"): 0.80091813, (10, 53, "readers"): 0.80496663}
DIFFERENCE = 0.043800322


def test_planned_films_and_power_of_areas_have_the_printed_digits():
    for readers, films in PRINTED_FILMS.items():
        assert area_planning.films_for_power(area_planning.VAN_DYKE, DIFFERENCE, readers) == films
    for (readers, films, drawn), expected in PRINTED_POWER.items():
        found = area_planning.power(area_planning.VAN_DYKE, DIFFERENCE, readers, films, drawn)
        assert found == pytest.approx(expected, abs=3e-5)


def test_components_of_an_analysed_study_are_those_that_are_planned_with():
    found = area_planning.Components.of(from_areas(VAN_DYKE, covariances(2, 5)), 114, "")
    expected = area_planning.VAN_DYKE
    assert [found.method_reader, found.var, found.cov1, found.cov2, found.cov3] == pytest.approx(
        [expected.method_reader, expected.var, expected.cov1, expected.cov2, expected.cov3], abs=1e-8
    )


@pytest.mark.parametrize(("readers", "films"), [pytest.param(4, 361, marks=pytest.mark.full), (8, 134)])
def test_planned_power_and_margin_of_areas_are_reached_in_simulated_studies(readers, films):
    """Areas are drawn from the model of Obuchowski and Rockette, and analysed with its covariances."""
    rng, parts = np.random.default_rng(0), area_planning.VAN_DYKE
    matrix = covariances(2, readers) * parts.films / films
    noise = rng.multivariate_normal(np.zeros(2 * readers), matrix, 600).reshape(-1, 2, readers)
    own = rng.normal(0, math.sqrt(parts.method_reader), noise.shape)
    values = 0.85 + noise + own + np.array([0, 0.05])[:, None]
    found = [from_areas(each, matrix) for each in values]
    assert np.mean([each.both.p < 0.05 for each in found]) == pytest.approx(0.8, abs=0.05)
    halves = [np.ptp(each.differences["both"][0, 1].interval) / 2 for each in found]
    assert np.median(halves) == pytest.approx(area_planning.margin(parts, readers, films), rel=0.1)


def test_too_few_readers_reach_no_power_or_margin_of_areas_however_many_films_they_read():
    assert area_planning.films_for_power(area_planning.VAN_DYKE, 0.05, 3) is None
    assert area_planning.films_for_margin(area_planning.VAN_DYKE, 0.05, 2) is None
    films = area_planning.films_for_margin(area_planning.VAN_DYKE, 0.05, 4)
    margins = [area_planning.margin(area_planning.VAN_DYKE, 4, films - less) for less in (0, 1)]
    assert margins[0] <= 0.05 < margins[1]
