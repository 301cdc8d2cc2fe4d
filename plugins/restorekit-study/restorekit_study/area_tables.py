"""Tables of ratings: areas under the ROC curve of several readers, and whether methods differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError
from restorekit_study import mrmc
from restorekit_study.area_planning import Components
from restorekit_study.files import RATINGS, Key, Study, changes
from restorekit_study.score import LEVEL, Line, Score, difference_of, number, p_cell, span, widest
from restorekit_study.store import Store
from restorekit_study.table import Row, clusters, counted, joined

__all__ = ["area_tables", "pilot_components"]


@dataclass(frozen=True)
class _Rated:
    """The films that all readers have rated by every method."""

    readers: list[str]
    """Without those who have rated fewer than half of their films by every method, where two others are left."""
    behind: dict[str, tuple[int, int]]
    """The readers who are left out, with the films that they have rated by every method, and all of theirs."""
    films: list[str]
    truth: NDArray[np.bool_]
    """(films,) whether it has the finding."""
    ratings: NDArray[np.float64]
    """(methods, readers, films)"""
    patients: NDArray[np.int64]
    """(films,) the patient of each film; a film whose patient is unknown has one of its own."""

    def is_small(self) -> bool:
        """Return whether there are too few for an area."""
        return len(self.readers) < 2 or min(self.count(True), self.count(False)) < 2

    def count(self, finding: bool) -> int:
        """Return how many patients have films with the finding, or films without it."""
        return len(np.unique(self.patients[self.truth == finding]))

    def analysed(self) -> mrmc.Mrmc:
        """Return the analysis of the areas."""
        return mrmc.analyse(self.ratings, self.truth, patients=self.patients)


def _rated(score: Score, rows: Sequence[Row]) -> _Rated:
    readers = [reader for reader in score.readers if any(row.reader == reader for row in rows)]
    cells = {(row.method, row.reader, row.film): row.rating for row in rows}
    behind = _behind(score, rows)
    readers = [reader for reader in readers if reader not in behind]
    of = {row.film: row for row in rows}
    films = [
        film for film in of if all((method, reader, film) in cells for method in score.methods for reader in readers)
    ]
    truth = np.array([of[film].label == score.key.positive for film in films], bool)
    ratings = np.array([[[cells[m, r, f] for f in films] for r in readers] for m in score.methods], np.float64)
    return _Rated(readers, behind, films, truth, ratings, clusters([of[film] for film in films]))


def _behind(score: Score, rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    rated = Counter((row.reader, row.film) for row in rows)
    found = {}
    for reader in score.readers:
        own = {one.film for one in score.asked(reader).values()}
        whole = sum(rated[reader, film] == len(score.methods) for film in own)
        if 2 * whole < len(own):
            found[reader] = whole, len(own)
    return found if len(score.readers) - len(found) >= 2 else {}


def pilot_components(folder: Path, study: Study, key_path: Path, key: Key) -> Components:
    """Return how areas vary in a study of the task "visible", to plan another one from.

    Args:
        folder: the study's.
        study: what is in it.
        key_path: the key's file.
        key: what is in it.

    Raises:
        DataError: if the study has another task, too few ratings, or was changed.
    """
    if study.task != "visible":
        raise DataError(f"{folder}: has the task {study.task!r}; a pilot of areas needs one of --task visible")
    problems = [*changes(folder, study, key_path, key)]
    with Store.open(folder, study) as store:
        problems += store.problems()
        choices = store.choices()
    if problems:
        raise DataError(f"{folder}: was changed, so nothing is planned from it: {problems[0]}")
    score = Score(study, key, joined(study, key, choices))
    whole = _rated(score, counted(score.rows))
    if whole.is_small() or len(score.methods) < 2:
        raise DataError(
            f"{folder}: {len(whole.films)} films were rated by all of {len(whole.readers)} readers by every method, "
            f"{int(whole.truth.sum())} with the finding; a pilot needs 2 readers, and films of each "
            "kind of 2 patients"
        )
    source = f"{folder} ({len(whole.readers)} readers, {len(whole.films)} films)"
    return Components.of(whole.analysed(), len(whole.films), source)


def area_tables(score: Score, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return tables of the multi-reader multi-case analysis, over films that all readers rated by all methods."""
    whole = _rated(score, rows)
    readers, films, truth = whole.readers, whole.films, whole.truth
    for reader, (done, asked) in whole.behind.items():
        made = sum(row.reader == reader for row in rows)
        score.cannot.append(
            f"{reader} is left out of the areas: {made} queries made, {done} of {asked} films rated by every method. "
            "The rule: fewer than half."
        )
    if whole.is_small():
        score.cannot.append(
            f"No area under the curve: {len(films)} films were rated by all of {len(readers)} readers by every method, "
            f"{int(truth.sum())} of them of class {score.key.positive}; at least 2 readers, and films of each kind of "
            "2 patients, are needed."
        )
        return []
    found = whole.analysed()
    left = len({row.film for row in rows}) - len(films)
    if left:
        score.cannot.append(
            f"{left} films are left out of the areas: not all of {len(readers)} readers rated them by every method."
        )
    score.reached = widest(found.differences["both"].values())
    return [_area_table(score, found, whole), *_contrast_tables(score, found)]


def _area_table(score: Score, found: mrmc.Mrmc, whole: _Rated) -> dict[str, Any]:
    rows: list[list[Any]] = []
    films, truth = whole.films, whole.truth
    for at, reader in enumerate(whole.readers):
        for m, method in enumerate(score.methods):
            score.lines.append(Line("area", reader, "", method, "AUROC", float(found.values[m, at]), n=len(films)))
        rows.append([reader, *((f"{value:.4f}", "") for value in found.values[:, at])])
    names = {"both": "Mean, other readers and films", "cases": "Mean, these readers, other films"}
    for kind, name in names.items():
        line: list[Any] = [name]
        for method, one in zip(score.methods, found.means[kind], strict=True):
            score.lines.append(Line("area", name, "", method, "mean AUROC", one.value, one.interval, n=len(films)))
            line.append((f"{one.value:.4f}", span(one.interval, 4)))
        rows.append(line)
    best = max(range(len(score.methods)), key=lambda m: found.means["both"][m].value)
    largest = found.means["both"][best].value
    named = [m for m, one in zip(score.methods, found.means["both"], strict=True) if one.value >= largest - 1e-9]
    tested = (
        "" if math.isnan(found.both.p) else f"; equal areas of all methods: p = {p_cell(found.both.p)[0]} for other "
    )
    score.lead.append(
        f"Largest mean area under the curve: {' and '.join(named)}, {largest:.4f}"
        + (f"{tested}readers and films." if tested else ".")
    )
    if any(one.interval is None for kind in names for one in found.means[kind]):
        score.cannot.append(
            "Areas whose error is 0 have no interval: ratings that are perfect, constant or alike show nothing of how "
            "areas vary."
        )
    if math.isnan(found.both.p):
        score.cannot.append(
            "Whether the areas of the methods differ for other readers and films cannot be tested: the error of their "
            "differences is 0."
        )
    elif not found.both.p < LEVEL:
        score.cannot.append("It is not shown that the areas of the methods differ for other readers and films.")
    score.cannot.append("Areas are of ratings on these films; they are no sensitivity at a threshold, nor harm or use.")
    return {
        "title": "Areas under the ROC curve",
        "caption": f"Empirical areas for ratings 1 ({RATINGS[0]}) to 5 ({RATINGS[-1]}), {int(truth.sum())} films with "
        f"the finding and {int((~truth).sum())} without, of {len(np.unique(whole.patients))} patients; 95 % "
        "intervals by Obuchowski and Rockette with covariances of a jackknife over patients and Hillis' degrees of "
        "freedom.",
        "head": ["Reader", *score.methods],
        "rows": rows,
    }


def _contrast_tables(score: Score, found: mrmc.Mrmc) -> Iterator[dict[str, Any]]:
    names = {
        "both": "Other readers, other films",
        "cases": "These readers, other films",
        "readers": "Other readers, these films",
    }
    tests = [(f"{name} (OR)", getattr(found, kind)) for kind, name in names.items()]
    if found.dbm is not None:
        tests.append((f"{names['both']} (DBM)", found.dbm))
    for name, test in tests:
        score.lines.append(Line("equal areas", name, "", "all", "F", test.statistic, p=test.p))
        for at, value in enumerate(test.freedom, 1):
            score.lines.append(Line("equal areas", name, "", "all", f"degrees of freedom {at}", value))
    yield {
        "title": "Are the areas equal?",
        "caption": "OR: Obuchowski and Rockette; DBM: Dorfman, Berbaum and Metz. With jackknife covariances both are "
        "the same analysis, computed in two ways. With fixed readers, F has infinite second degrees of freedom.",
        "head": ["Question", "F", "Degrees of freedom", "p"],
        "rows": [
            [
                name,
                "none" if math.isnan(test.statistic) else f"{test.statistic:.3f}",
                f"{test.freedom[0]:g} and {number(test.freedom[1])}",
                p_cell(test.p),
            ]
            for name, test in tests
        ],
    }
    rows = []
    for (a, b), _ in found.differences["both"].items():
        name = f"{score.methods[a]} - {score.methods[b]}"
        row: list[Any] = [difference_of(score.methods[a], score.methods[b])]
        for kind in names:
            one = found.differences[kind][a, b]
            score.lines.append(Line("area difference", names[kind], "", name, "AUROC", one.value, one.interval, one.p))
            row += [(f"{one.value:.4f}", span(one.interval, 4)), p_cell(one.p)]
        rows.append(row)
    yield {
        "title": "Differences of areas",
        "caption": "95 % intervals; p is two-sided and not corrected for the number of pairs. A difference of error 0 "
        "has neither.",
        "head": ["Methods", *(part for name in names.values() for part in (name, "p"))],
        "rows": rows,
    }
