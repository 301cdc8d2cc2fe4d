"""Comparison of finished runs on the same test images: scores, intervals, and tested differences.

A method is a recipe and a variant; its runs are its seeds. Every score is computed again from the rows that the runs
wrote, by the same resamples of patients for all, so that methods can be compared. No network is run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError, unknown
from restorekit.core.tasks import Task
from restorekit.core.types import Domain, Metric
from restorekit.discovery import plugins
from restorekit.evaluation.audited import with_audit
from restorekit.evaluation.changes import Side, beyond
from restorekit.evaluation.classification import CLASS_SCORES, class_score, summed
from restorekit.evaluation.distances import Grid, distance, grid
from restorekit.evaluation.inference import Difference, holm, mcnemar, ranked, summable, swap_test, t_interval
from restorekit.evaluation.intervals import (
    ALIKE,
    BIASED,
    Indices,
    exact_over_units,
    percentiles,
    rests_on_one,
    unit_of,
    unit_word,
    units,
    weights,
)
from restorekit.evaluation.methods import Method, Scored, find_runs, methods, read_run

__all__ = ["CONFIDENCE", "DRAWS", "TABLE", "Cell", "Column", "Comparison", "Discordance", "PairTest", "compare"]

Values = NDArray[np.float64]

TABLE = ("accuracy", "sensitivity", "specificity", "precision", "f1", "f2", "auroc")
"""Columns that are always there where classes are predicted: those of the paper's Table II, and the AUROC."""
DRAWS = 2000
"""Bootstrap resamples."""
SWAPS = 9999
"""Random swaps of patients, at least; more where so many tests are made that they could not reach the level."""
CONFIDENCE = 0.95
LEVEL = 0.05
"""Of p values after Holm's correction."""
HELD = 2_000_000
"""Numbers in a piece of the resamples that is scored at once."""
NEAR = 2e-3
"""How far a score of the rows may be from the one that the run wrote: rows are rounded."""


@dataclass(frozen=True)
class Column:
    """A score."""

    name: str
    better: str
    """higher, lower, nearer (to the good images) or neither."""
    id: str
    """Its definition."""
    rows: bool = True
    """False: it cannot be computed from the rows, so it is not tested."""
    of_predictions: bool = False
    """True: it needs a head; else it is of restored images."""
    biased: bool = False
    """True: resamples bias it (`Metric.biased`), so it has no interval by patient."""
    proportion: bool = False
    """True: it has an exact interval where all resamples are equal (`Metric.proportion`)."""


@dataclass(frozen=True)
class Cell:
    """A score of a method."""

    values: tuple[float, ...]
    """A number a seed; NaN where it is not defined."""
    patients: tuple[float, float] | None
    """Percentiles of the mean over seeds over resampled patients (or images); of one seed its own interval.

    None where it is not defined, as where the score rests on one patient.
    """
    seeds: tuple[float, float] | None
    """Student's interval of the mean over seeds, from three seeds on; None where all give the same value."""
    paper: float | None
    unlike: bool = False
    """Its run wrote an interval, of another confidence than the table's, which is left out."""
    best: bool = False
    """Better than every other method that can have the score, after Holm and in every seed."""
    exact: int = 0
    """Units that the interval `patients` is of, if it is the exact one of a proportion; else 0."""
    why: str = ""
    """Why there is no interval `patients`, in words."""
    distances: tuple[float, ...] = ()
    """A number a seed: how far the images are from the good ones, of a score that is better when nearer to them."""
    beyond: Side = ""
    """The median image of every seed is below, or above, every good image."""

    @property
    def value(self) -> float:
        """The mean over seeds; NaN if it is not defined for one of them."""
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def distance(self) -> float:
        """The mean distance over seeds; NaN if there is none."""
        return float(np.mean(self.distances)) if self.distances else float("nan")

    @property
    def ranked(self) -> tuple[float, ...]:
        """What methods are ordered by, a number a seed: the distances to the good images, else the values."""
        return self.distances or self.values

    @property
    def undefined(self) -> int:
        """The number of seeds for which it is not defined."""
        return int(np.isnan(self.values).sum())

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the largest over seeds; None if it is not defined for one of them."""
        return None if self.undefined else (min(self.values), max(self.values))


@dataclass(frozen=True)
class PairTest:
    """A difference of two methods in a score."""

    column: str
    one: str
    other: str
    difference: float
    """The one minus the other, each the mean over the runs that took part."""
    p: float
    corrected: float
    """After Holm, over all such tests of the table."""
    seeds: int
    """Runs of each that took part."""


@dataclass(frozen=True)
class Discordance:
    """McNemar's test of two methods: images that only one of them classifies correctly."""

    one: str
    other: str
    only_one: int
    only_other: int
    p: float
    corrected: float
    """After Holm, over all pairs of methods."""


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison."""

    methods: tuple[Method, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, str], Cell]
    """By label of the method and name of the column; absent where a method has no such score."""
    tests: tuple[PairTest, ...]
    discordances: tuple[Discordance, ...]
    swaps: int
    """Of the permutation tests; 0 where all possible ones were made."""
    images: int
    known: int
    """Images whose class is known; class scores are of these."""
    units: int
    """Patients, or images where no patient is known."""
    unit: str
    """patient, subject or image."""
    ungrouped: int
    """Images of which the patient is not known."""
    dropped: Mapping[str, Path]
    """Metrics that have no column, and the folder of a run that could have been scored by each and was not."""
    unaudited: str
    """Why audits have no columns; empty if it has, or no run was audited."""
    draws: int
    """Bootstrap resamples."""
    grids: Mapping[str, Grid] = field(default_factory=dict)
    """By column that is better when nearer to the good images: how far from them images are."""
    unranked: str = ""
    """Why such columns cannot be ranked; empty if they can, or there are none."""
    unsized: str = ""
    """Which two methods restored test images of other sizes, so no score of images is ranked; empty if none did."""

    @property
    def synthetic(self) -> bool:
        """True if images were made, not recorded."""
        return any(run.synthetic for method in self.methods for run in method.runs)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are predicted; empty if no method has a head."""
        return next((method.runs[0].test.classes for method in self.methods if method.predicts), ())

    @property
    def predicting(self) -> tuple[Method, ...]:
        """The methods that predict classes."""
        return tuple(method for method in self.methods if method.predicts)

    def having(self, column: str) -> tuple[Method, ...]:
        """The methods that have a score."""
        return tuple(method for method in self.methods if (method.label, column) in self.cells)

    @property
    def uneven(self) -> tuple[str, ...]:
        """Tested columns of which no number can be bold: the methods that have it have unequal numbers of seeds."""
        tested = dict.fromkeys(test.column for test in self.tests)
        return tuple(name for name in tested if len({len(method.runs) for method in self.having(name)}) > 1)

    @property
    def first(self) -> Scored:
        """A run that predicts classes, else any; all have the same test images."""
        return (self.predicting or self.methods)[0].runs[0]

    def truth(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return of which test images the class is known, (N,), and the class of those."""
        target = self.first.test.target
        known = target >= 0
        return known, target[known]

    def weights(self) -> Values:
        """Return how often each test image counts in each resample of patients, (draws, N)."""
        return weights(units(self.first.test.groups), self.draws, 0)

    def interval(
        self,
        score: Callable[[Values], Values],
        over: Values,
        known: NDArray[np.bool_],
        *,
        proportion: bool = False,
    ) -> tuple[tuple[float, float] | None, int, str]:
        """Return the percentiles of a score over resamples of patients, or the exact interval of a proportion.

        Args:
            score: of how often each test image counts, (R, N) to (R,).
            over: the resamples, (R, N).
            known: the images that the score rests on, (N,).
            proportion: the score is a proportion.

        Returns:
            The interval; the number of patients of an exact one, else 0; and why there is none, where it is None.
        """

        def of(rows: Indices) -> float:
            return float(score(np.bincount(rows, minlength=over.shape[1])[None].astype(np.float64))[0])

        who = units(self.first.test.groups)
        low, high = percentiles(_in_pieces(score, over), of, who, CONFIDENCE, known)
        if low is not None and high is not None:
            return (low, high), 0, ""
        if rests_on_one(of, who):
            return None, 0, f"one {self.unit}"
        found = exact_over_units(of, who, CONFIDENCE) if proportion else None
        return (None, 0, ALIKE) if found is None else ((found[0], found[1]), found[2], "")


def compare(paths: Sequence[Path], *, allow_unequal: bool = False, draws: int = DRAWS) -> Comparison:
    """Compare finished runs; files are read, nothing is written.

    Args:
        paths: run folders, or folders in which run folders stand.
        allow_unequal: take methods that were trained with other seeds than each other; tests between two of them then
            take as many runs of each as both have.
        draws: bootstrap resamples.

    Raises:
        DataError: if runs cannot be compared: other test images, another task, not finished or evaluated, other seeds.
        RecipeError: if a folder is no run folder.
    """
    runs = [read_run(folder) for folder in find_runs(paths)]
    found, unaudited = with_audit(methods(runs, allow_unequal=allow_unequal))
    runs = [run for method in found for run in method.runs]
    dropped = _dropped(runs)
    columns = _columns(found, dropped)
    nearer = [column.name for column in columns if column.better == "nearer"]
    grids, unranked = _grids(runs, nearer)
    columns = tuple(
        replace(c, better="neither") if c.better == "nearer" and (c.name not in grids or not c.rows) else c
        for c in columns
    )
    unsized = _unsized(found)
    if unsized:
        columns = tuple(c if c.of_predictions else replace(c, better="neither") for c in columns)
    groups = runs[0].test.groups
    empty = Comparison(
        methods=tuple(found),
        columns=columns,
        cells={},
        tests=(),
        discordances=(),
        swaps=0,
        images=len(groups),
        known=0,
        units=len(units(groups)),
        unit=unit_word(groups, runs[0].unit),
        ungrouped=sum(group is None for group in groups),
        dropped=dropped,
        unaudited=unaudited,
        draws=draws,
        grids=grids,
        unranked=unranked,
        unsized=unsized,
    )
    sized = replace(empty, known=int(empty.truth()[0].sum()))
    scored = replace(sized, cells=_cells(sized))
    tested = _tested(scored)
    return replace(tested, cells=_with_best(tested), discordances=_discordances(tested))


def check_column(found: Comparison, name: str) -> str:
    """Return the name of a column, or refuse it.

    Raises:
        DataError: if the table has no such column.
    """
    if name not in (known := [column.name for column in found.columns]):
        raise DataError(f"--metric: {unknown('column of this table', name, known)}")
    return name


def _dropped(runs: Sequence[Scored]) -> dict[str, Path]:
    """Return the metrics that not all runs were scored by, each with the first run that lacks it.

    A run without a head lacks no score of predictions, one that hands images through none of images; those of Table II
    come from the rows.
    """
    classifies = any(run.test.classes for run in runs)
    lacking: dict[str, Path] = {}
    for name, entry in _entries(runs).items():
        able = [run for run in runs if run.may_have(of_predictions=_of_predictions(name, entry))]
        without = [run.folder for run in able if name not in run.scores["metrics"]]
        if without and not (classifies and name in TABLE):
            lacking[name] = without[0]
    return lacking


def _entries(runs: Sequence[Scored]) -> dict[str, Mapping[str, Any]]:
    """Return the entry of each metric, of the first run that has it."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        for name, entry in run.scores["metrics"].items():
            found.setdefault(name, entry)
    return found


def _of_predictions(name: str, entry: Mapping[str, Any]) -> bool:
    return name in CLASS_SCORES or "score" in entry


def _columns(found: Sequence[Method], dropped: Collection[str]) -> tuple[Column, ...]:
    """Return the columns of Table II where classes are predicted, then every metric that all methods have."""
    runs = [run for method in found for run in method.runs]
    entries = _entries(runs)
    classes = next((run.test.classes for run in runs if run.test.classes), ())
    shared = [name for name in entries if name not in dropped]
    of_classes = [name for name in shared if name in CLASS_SCORES]
    made = []
    for name in dict.fromkeys([*(TABLE if classes else ()), *of_classes, *shared]):
        entry = entries.get(name, {})
        of_predictions = _of_predictions(name, entry)
        able = [run for run in runs if run.may_have(of_predictions=of_predictions)]
        rows = name in CLASS_SCORES or all(_by_rows(run, name) is not None for run in able)
        if able:
            made.append(_column(name, entry, classes, rows=rows, of_predictions=of_predictions))
    return tuple(made)


def _column(
    name: str, entry: Mapping[str, Any], classes: tuple[str, ...], *, rows: bool, of_predictions: bool
) -> Column:
    """Return a column, with its direction and its definition from a run.

    Scores of classes are computed again here, so their direction is the metric's, whatever version wrote the run. Runs
    of version 1.0 call less noise and blur better; here a level is better when nearer to the good images.
    """
    if name in CLASS_SCORES:
        metric: Metric = plugins.load().parts.resolve("metric", name)(Domain("a", 1, (1, 1), Task("class", classes)))
        return Column(name, metric.better, metric.id, rows, of_predictions, metric.biased, metric.proportion)
    better, identity = str(entry.get("better", "higher")), str(entry.get("id", "not recorded"))
    if name.endswith("_level") and name in plugins.load().parts.names("metric"):
        better = plugins.load().parts.resolve("metric", name)(Domain("a", 1, (64, 64))).better
    return Column(
        name, better, identity, rows, of_predictions, bool(entry.get("biased")), bool(entry.get("proportion"))
    )


def _grids(runs: Sequence[Scored], names: Sequence[str]) -> tuple[dict[str, Grid], str]:
    """Return by metric how far images are from the good ones, or why that cannot be compared."""
    able = [run for run in runs if run.restores]
    if not names or not able:
        return {}, ""
    first = able[0]
    for run in able:
        if any(name not in run.good or not np.isfinite(run.good[name]).any() for name in names):
            return {}, f"{run.folder.name} has no values of good images (scores/test_good.csv)"
        alike = run.good_keys == first.good_keys and all(
            np.allclose(run.good[name], first.good[name], rtol=1e-3, atol=1e-5, equal_nan=True) for name in names
        )
        if not alike:
            return {}, f"{first.folder} and {run.folder} were scored beside other good images"
    sets = {name: [c for run in able if (c := run.test.columns.get(f"{name}_restored")) is not None] for name in names}
    most = max(50, 40_000 // (len(names) * max(1, len(able)) ** 2))  # of many runs coarser, for the tests' memory
    return {name: grid(sets[name], first.good[name], min(400, most)) for name in names}, ""


def _unsized(found: Sequence[Method]) -> str:
    """Return two methods whose scores of images are of other pixels: "one (64 x 64) and two (96 x 96)"; else nothing.

    The same restoration has another PSNR, SSIM or blur in pixels where images were made smaller.
    """
    able = [(method.label, run) for method in found for run in method.runs if run.restores]
    for label, run in able[1:]:
        if not able[0][1].sized_as(run):
            shown = [", ".join(map(str, filter(None, one.sizing[:2]))) for one in (able[0][1], run)]
            filters = [f", antialias {one.sizing[2]}" if shown[0] == shown[1] else "" for one in (able[0][1], run)]
            return f"{able[0][0]} ({shown[0]}{filters[0]}) and {label} ({shown[1]}{filters[1]})"
    return ""


def _by_rows(run: Scored, name: str) -> Values | None:
    """Return the score of each restored image, or of its prediction, (N,), if the run's score is their mean."""
    column, entry = _values(run, name), run.scores["metrics"][name]
    entry = entry.get("score") or entry.get("restored")
    if column is None or not entry or not np.isfinite(column[~np.isnan(column)]).all():
        return None
    scale = max(1.0, abs(entry["value"]))
    return column if abs(np.nanmean(column) - entry["value"]) < NEAR * scale else None


def _values(run: Scored, name: str) -> Values | None:
    """Return a metric's number of each image, (N,), where it has one."""
    return next((c for of in ("score", "restored") if (c := run.test.columns.get(f"{name}_{of}")) is not None), None)


def _cells(sized: Comparison) -> dict[tuple[str, str], Cell]:
    over = sized.weights()
    known, target = sized.truth()
    cells = {}
    for method in sized.methods:
        for column in sized.columns:
            if not method.runs[0].may_have(of_predictions=column.of_predictions):
                continue
            if column.rows:
                scores = [_scorer(run, column.name, known, target) for run in method.runs]
                values = [float(score(None)) for score in scores]
                for run, value in zip(method.runs, values, strict=True):
                    _check_stored_score(run, column.name, value)
                rests = np.any([_rests_on(run, column.name, known) for run in method.runs], axis=0)
                patients, exact, why = (
                    (None, 0, BIASED)
                    if column.biased
                    else sized.interval(_mean_of_scores(scores), over, rests, proportion=column.proportion)
                )
                unlike = False
            else:
                values = [_entry(run, column.name).get("value", np.nan) for run in method.runs]
                patients, unlike = _written(method, column.name)
                exact, why = 0, ""
            near = column.better == "nearer"
            finite = bool(np.isfinite(values).all())
            cells[method.label, column.name] = Cell(
                values=tuple(values),
                patients=patients if finite else None,
                unlike=unlike,
                seeds=t_interval(np.array(values), CONFIDENCE) if finite else None,
                paper=method.paper.get(column.name),
                exact=exact,
                why=why,
                distances=tuple(_distance(run, column.name) for run in method.runs) if near else (),
                beyond=_beyond(method, column.name) if near else "",
            )
    return cells


def _distance(run: Scored, name: str) -> float:
    return distance(run.test.columns[f"{name}_restored"], run.good[name])


def _beyond(method: Method, name: str) -> Side:
    """Return on which side of every good image the median image of every seed is; empty: on none."""
    sides = set()
    for run in method.runs:
        values, good = run.test.columns[f"{name}_restored"], run.good[name]
        sides.add(beyond(float(np.nanmedian(values)), float(np.nanmin(good)), float(np.nanmax(good))))
    return sides.pop() if len(sides) == 1 else ""


def _entry(run: Scored, name: str) -> Mapping[str, Any]:
    entry = run.scores["metrics"][name]
    return entry.get("score") or entry.get("restored") or {}


def _written(method: Method, name: str) -> tuple[tuple[float, float] | None, bool]:
    """The interval that the only run of a method stored; None and True if its confidence differs."""
    entry = _entry(method.runs[0], name)
    low, high = entry.get("low"), entry.get("high")
    if len(method.runs) > 1 or low is None or high is None:
        return None, False
    unlike = method.runs[0].confidence != CONFIDENCE
    return (None if unlike else (float(low), float(high))), unlike


def _scorer(
    run: Scored, name: str, known: NDArray[np.bool_], target: NDArray[np.int64]
) -> Callable[[Values | None], Values]:
    """Return the score of a run as a function of how often each test image counts, (R, N) to (R,)."""
    if name in CLASS_SCORES:
        chances = run.test.chances[known]
        return lambda over: (
            class_score(name, chances, target, None if over is None else over[:, known])
            if len(target)
            else np.full(() if over is None else len(over), np.nan)
        )
    terms, score = _mean_terms(run, name)
    return lambda over: score(terms.sum(0)) if over is None else score(over @ terms)


def _rests_on(run: Scored, name: str, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the test images that a score of a run rests on, (N,)."""
    column = None if name in CLASS_SCORES else _values(run, name)
    return known if column is None else ~np.isnan(column)


def _mean_terms(run: Scored, name: str) -> tuple[Values, Callable[[Values], Values]]:
    column = _values(run, name)
    assert column is not None
    return np.stack([np.nan_to_num(column), ~np.isnan(column)], axis=1), _mean


def _mean(sums: Values) -> Values:
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def _in_pieces(score: Callable[[Values], Values], over: Values) -> Values:
    """Score resamples some at a time: the AUROC sorts copies of them."""
    step = max(1, HELD // over.shape[1])
    return np.concatenate([score(over[at : at + step]) for at in range(0, len(over), step)])


def _mean_of_scores(scores: Sequence[Callable[[Values | None], Values]]) -> Callable[[Values], Values]:
    return lambda over: np.asarray(np.mean([score(over) for score in scores], axis=0))


def _check_stored_score(run: Scored, name: str, value: float) -> None:
    """Check that the rows give the score that the run stored."""
    entry = run.scores["metrics"].get(name)
    written = (entry.get("score") or entry.get("restored") or {}).get("value") if entry else None
    if written is not None and not abs(written - value) < NEAR * max(1, abs(written)):
        raise DataError(
            f"{run.folder}: scores/test.json has {name} {written:.4f}, the rows of test.csv {value:.4f}: "
            f"they are not of one evaluation; restorekit evaluate {run.folder}"
        )


def _tested(scored: Comparison) -> Comparison:
    """Test every pair of methods in every column with a direction, by swapping patients."""
    of = units(scored.first.test.groups)
    member = np.zeros((len(of), scored.images))
    member[unit_of(of), np.arange(scored.images)] = 1
    differences, pairs = [], []
    columns = [column for column in scored.columns if column.rows and column.better != "neither"]
    for one, other in combinations(scored.methods, 2):
        pair = list(zip(one.runs, other.runs, strict=False))
        for column in columns:
            if any((method.label, column.name) not in scored.cells for method in (one, other)):
                continue
            parts = [_difference(scored, column, a, b, member) for a, b in pair]
            if all(parts):
                differences.append(_mean_of([part for part in parts if part]))
                pairs.append((column.name, one.label, other.label, len(pair)))
    count = max(SWAPS, round(2 * len(differences) / LEVEL))
    seen, p = swap_test(differences, len(of), count, 0)
    tests = (
        PairTest(column, one, other, float(gap), float(plain), float(corrected), seeds)
        for (column, one, other, seeds), gap, plain, corrected in zip(pairs, seen, p, holm(p), strict=True)
    )
    return replace(scored, tests=tuple(tests), swaps=0 if 2.0 ** len(of) <= count else count)


def _difference(scored: Comparison, column: Column, one: Scored, other: Scored, member: Values) -> Difference | None:
    """Return the difference of two runs in a score as a function of swaps, or None where it has none."""
    if column.better == "nearer":
        near = scored.grids[column.name]
        one_terms, other_terms = (near.terms(run.test.columns[f"{column.name}_restored"]) for run in (one, other))
        scale = float(np.ptp(near.at))
        return replace(summable(one_terms, other_terms, near.score, member), scale=scale)
    if column.name not in CLASS_SCORES:
        (first, score), (second, _) = (_mean_terms(run, column.name) for run in (one, other))
        return summable(first, second, score, member)
    known, target = scored.truth()
    if not len(target):
        return None
    first, second, member = one.test.chances[known], other.test.chances[known], member[:, known]
    if column.name == "auroc":
        classes = [1] if first.shape[1] == 2 else range(first.shape[1])
        if any(not 0 < (target == c).sum() < len(target) for c in classes):
            return None
        return _mean_of([ranked(first[:, c], second[:, c], target == c, member) for c in classes])
    terms, score = summed(column.name, first, target)
    return summable(terms, summed(column.name, second, target)[0], score, member)


def _mean_of(parts: Sequence[Difference]) -> Difference:
    """Return the mean of differences, such as those of the seeds of two methods, as one."""
    edges = np.cumsum([0, *(len(part.base) for part in parts)])

    def of(sums: Values) -> Values:
        each = [part.of(sums[:, edges[i] : edges[i + 1]]) for i, part in enumerate(parts)]
        return np.asarray(np.mean(each, axis=0))

    base = np.concatenate([part.base for part in parts])
    return parts[0] if len(parts) == 1 else Difference(base, np.concatenate([p.moves for p in parts], axis=1), of)


def _with_best(tested: Comparison) -> dict[tuple[str, str], Cell]:
    """Mark in each column the best cell, if after Holm it differs from that of every other method.

    The tests hold the trained networks fixed. That another training would turn the order round is ruled out as far as
    the seeds can: each of the best method's must be better than each of every other method's.
    """
    cells = dict(tested.cells)
    for column in tested.columns:
        have = [method.label for method in tested.having(column.name)]
        defined = all(np.isfinite(cells[label, column.name].value) for label in have)
        if len(have) < 2 or not defined or column.better == "neither" or column.name in tested.uneven:
            continue  # none is better than one whose score is not known; a test of fewer runs is not of these numbers
        sign = 1 if column.better == "higher" else -1
        best = max(have, key=lambda label: sign * float(np.mean(cells[label, column.name].ranked)))
        if cells[best, column.name].beyond:
            continue  # the nearest of those that left every good image behind is no good method
        against = [t for t in tested.tests if t.column == column.name and best in (t.one, t.other)]
        worst = min(sign * value for value in cells[best, column.name].ranked)
        clear = all(worst > max(sign * v for v in cells[label, column.name].ranked) for label in have if label != best)
        if clear and len(against) == len(have) - 1 and all(t.corrected < LEVEL for t in against):
            cells[best, column.name] = replace(cells[best, column.name], best=True)
    return cells


def _discordances(tested: Comparison) -> tuple[Discordance, ...]:
    """Test every pair of methods by McNemar; a method with several seeds decides by the mean of their probabilities."""
    known, target = tested.truth()
    if not len(target):
        return ()
    right = {m.label: mean_chances(m)[known].argmax(1) == target for m in tested.predicting}
    found = [(one, other, *mcnemar(right[one], right[other])) for one, other in combinations(right, 2)]
    corrected = holm(np.array([p for *_, p in found]))
    return tuple(Discordance(*row, float(value)) for row, value in zip(found, corrected, strict=True))


def run_score(found: Comparison, run: Scored, name: str) -> float:
    """Return a score of classes of one run; NaN where it is not defined."""
    known, target = found.truth()
    return float(_scorer(run, name, known, target)(None)) if len(target) else float("nan")


def mean_chances(method: Method) -> Values:
    """Return the mean of the probabilities over a method's seeds, (N, classes): one prediction for each image."""
    return np.asarray(np.mean([run.test.chances for run in method.runs], axis=0))
