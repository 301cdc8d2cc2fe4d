"""`restorekit study score`: the key is opened, and choices become one page and two tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from restorekit import DataError, write_text
from restorekit_study import mrmc
from restorekit_study.agreement import Agreement, Repeats, Scale, agreement, repeats
from restorekit_study.area_planning import Components
from restorekit_study.files import RATINGS, Key, Study, file_digest
from restorekit_study.page import render
from restorekit_study.preference import Estimate, Interval, bradley_terry, fixed_readers, random_readers
from restorekit_study.store import Store
from restorekit_study.table import Row, clusters, counted, joined, repeated, sample_of, write_rows

__all__ = ["PAPER", "pilot_components", "write_score"]

PAPER_METHODS = ("Original", "R2C-GAN (CNN)", "R2C-GAN (CNN*)", "R2C-GAN (Q = 3)", "R2C-GAN (Q = 5)")
PAPER: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "quality": (
        "Table III",
        {
            "I": ("0.4323", "0.2085", "0.0502", "0.2329", "0.0761"),
            "II": ("0.5162", "0.2130", "0.0090", "0.2491", "0.0126"),
            "III": ("0.210", "0.160", "0.0640", "0.5580", "0.0080"),
            "IV": ("0.0433", "0.3258", "0.0557", "0.5629", "0.0124"),
            "Overall": ("0.3169", "0.2245", "0.0442", "0.3839", "0.0305"),
        },
    ),
    "segmentation": (
        "Table IV",
        {
            "I": ("0.3837", "0.3531", "0.0323", "0.1732", "0.0577"),
            "II": ("0.2271", "0.2310", "0.1564", "0.2167", "0.1687"),
            "III": ("0.3691", "0.4787", "0.0716", "0.1186", "0.0313"),
            "IV": ("0.7085", "0.0583", "0.0135", "0.2152", "0.0045"),
            "Overall": ("0.3497", "0.2660", "0.0986", "0.1935", "0.1025"),
        },
    ),
}
"""Tables of the R2C-GAN paper (2,000 queries, four readers), for the layout: other films, readers and methods."""
PARTS = 4
"""Parts of a session that are compared."""
LEVEL = 0.05
LEAST_EXPECTED = 5
"""Choices that are expected in a cell of a table, below which chi squared is not to be trusted."""
REPEATS = 10
"""Repeats of a reader, below which their kappa is not shown: it would be chance."""
FEW = "none: too few choices for it"


@dataclass(frozen=True)
class _Line:
    """A row of tables.csv."""

    table: str
    reader: str
    stratum: str
    method: str
    what: str
    value: float
    interval: Interval = None
    p: float | None = None
    n: int | None = None


@dataclass
class _Score:
    """What has been found so far."""

    study: Study
    key: Key
    rows: list[Row]
    lines: list[_Line] = field(default_factory=list)
    lead: list[str] = field(default_factory=list)
    cannot: list[str] = field(default_factory=list)

    @property
    def readers(self) -> list[str]:
        return list(self.study.queries)

    @property
    def methods(self) -> list[str]:
        return list(self.key.sources)

    @property
    def scale(self) -> Scale:
        return "nominal" if self.study.task == "prefer" else "ordinal"

    def add(
        self,
        table: str,
        reader: str,
        method: str,
        what: str,
        found: Estimate,
        *,
        stratum: str = "",
        n: int | None = None,
        p: float | None = None,
    ) -> None:
        self.lines.append(
            _Line(table, reader, stratum, method, what, found.value, found.interval, found.p if p is None else p, n)
        )


def write_score(
    folder: Path, study: Study, key_path: Path, key: Key, out: Path, receipts: Mapping[str, str], paper: str
) -> list[str]:
    """Write `out`/score.html, choices.csv and tables.csv; return what shows that something was changed.

    Args:
        folder: the study's.
        study: what is in it.
        key_path: the key's file.
        key: what is in it.
        out: a folder, which is made.
        receipts: what readers noted, by reader.
        paper: a name of `PAPER`, or "none".

    Raises:
        DataError: if nothing was chosen yet, or the choices cannot be read.
    """
    problems = [*_changed(folder, study, key_path, key)]
    with Store.open(folder, study) as store:
        problems += store.problems(receipts)
        choices = store.choices()
    unknown = [one.query for one in choices if one.query not in key.queries]
    if unknown:
        raise DataError(f"{key_path}: has no query {unknown[0]}; it is the key of another study")
    rows = joined(study, key, choices)
    if not counted(rows):
        raise DataError(f"{folder}: no choice that counts was made yet; practice does not count")
    score = _Score(study, key, rows)
    view = _view(score, problems, paper)
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "choices.csv", rows)
    write_text(out / "tables.csv", _csv(score.lines))
    write_text(out / "score.html", render("score.html.j2", view))
    return problems


def _changed(folder: Path, study: Study, key_path: Path, key: Key) -> Iterator[str]:
    if file_digest(key_path) != study.key_sha256:
        yield f"{key_path}: is not the key whose SHA-256 was published, {study.key_sha256}"
    if study.shown_digest() != key.shown_sha256:
        yield f"{folder / 'study.json'}: was changed since the key was sealed"
    for name, known in study.images.items():
        path = folder / "images" / f"{name}.png"
        if not path.is_file():
            yield f"{path}: is absent"
        elif file_digest(path) != known:
            yield f"{path}: was changed since the study was made"


def _view(score: _Score, problems: Sequence[str], paper: str) -> dict[str, Any]:
    """Return what the page shows."""
    study, rows = score.study, counted(score.rows)
    short = _short(score, rows)
    tables = _preferences(score, rows) if study.task == "prefer" else _areas(score, rows)
    tables += _agreement_tables(score, rows)
    if study.task == "prefer":
        tables += [*_strata(score, rows), _strengths(score, rows)]
    tables += _habits(score)
    score.cannot.append(
        "Names of methods were hidden; whether readers recognised a method, as by its smoothness, is not measured."
    )
    score.cannot += score.key.notes
    return {
        "title": study.title,
        "sub": f"{len(rows)} choices of {len({row.reader for row in rows})} readers on "
        f"{len({row.film for row in rows})} films; the question: {study.question}",
        "problems": problems,
        "short": short,
        "lead": score.lead,
        "tables": tables,
        "paper": _paper(paper) if paper != "none" else None,
        "cannot": score.cannot,
        "display": study.display,
        "key": study.key_sha256,
        "made": study.made,
        "sources": score.key.sources,
    }


def _short(score: _Score, rows: Sequence[Row]) -> list[str]:
    """Return how the choices fall short of what was planned; it stands first on the page."""
    study, found = score.study, []
    if len(rows) < study.needed:
        what = "selection ratios within" if study.task == "prefer" else "differences of areas, for readers like these,"
        found.append(
            f"{len(rows)} choices count; the planner asked for {study.needed}, for {what} ± {study.margin:g}. "
            "Expect intervals that are wider than planned."
        )
    for reader, queries in study.queries.items():
        done = sum(row.reader == reader for row in score.rows)
        if done < len(queries):
            found.append(f"{reader} made {done} of {len(queries)} choices.")
    if len(score.rows) < sum(map(len, study.queries.values())):
        found.append("The study is not finished: p values do not hold if this page decides when it ends.")
    return found


# ---------------------------------------------------------------- preferences


def _preferences(score: _Score, rows: Sequence[Row]) -> list[dict[str, Any]]:
    sample = sample_of(rows, score.readers, score.methods)
    lines = []
    for at, reader in enumerate(score.readers):
        own = sample.of(sample.reader == at)
        if len(own.reader):
            found = [fixed_readers(own, own.chosen(m), share=True) for m in range(sample.methods)]
            lines.append((reader, len(own.reader), found, "ratio"))
    overall = [fixed_readers(sample, sample.chosen(m), share=True) for m in range(sample.methods)]
    others = [random_readers(sample, sample.chosen(m), share=True) for m in range(sample.methods)]
    lines.append(("Overall, these readers", len(rows), overall, "pooled ratio"))
    lines.append(("Readers like these", len(lines) - 1, others, "mean ratio of readers"))
    for name, n, found, what in lines:
        for method, one in zip(score.methods, found, strict=True):
            score.add("selection ratio", name, method, what, one, n=n)
    ratios = {
        "title": "Selection ratios",
        "caption": "Number of selections / total selections, with 95 % intervals. Overall is pooled over all choices, "
        "as in the R2C-GAN paper; its interval is for these readers on other films. Readers like these: the mean of "
        "the readers' ratios, for other readers and other films; t with the readers' degrees of freedom.",
        "head": ["Reader", "Choices", *score.methods],
        "rows": [[name, str(n), *(_cell(one) for one in found)] for name, n, found, _ in lines[:-1]]
        + [[lines[-1][0], f"{lines[-1][1]} readers", *(_cell(one) for one in others)]],
    }
    return [ratios, _differences(score, rows)]


def _differences(score: _Score, rows: Sequence[Row]) -> dict[str, Any]:
    sample = sample_of(rows, score.readers, score.methods)
    pairs = list(combinations(range(sample.methods), 2))
    fixed = [fixed_readers(sample, sample.chosen(a) - sample.chosen(b), share=False) for a, b in pairs]
    others = [random_readers(sample, sample.chosen(a) - sample.chosen(b), share=False) for a, b in pairs]
    corrected = {name: _holm([one.p for one in found]) for name, found in (("fixed", fixed), ("random", others))}
    lines = []
    for at, (a, b) in enumerate(pairs):
        name = f"{score.methods[a]} - {score.methods[b]}"
        for who, found, kind in (("these readers", fixed[at], "fixed"), ("readers like these", others[at], "random")):
            score.add("difference", who, name, "difference of ratios", found, p=corrected[kind][at])
        lines.append(
            [
                name,
                _cell(fixed[at]),
                _p(corrected["fixed"][at]),
                _cell(others[at]),
                _p(corrected["random"][at]),
            ]
        )
    _lead(score, sample, pairs, fixed, others, corrected)
    return {
        "title": "Differences of methods",
        "caption": "Differences of selection ratios with 95 % intervals, each for its own question; p is two-sided and "
        "corrected by Holm for all pairs of its column.",
        "head": ["Methods", "These readers", "p, Holm", "Readers like these", "p, Holm"],
        "rows": lines,
    }


def _lead(
    score: _Score,
    sample: Any,
    pairs: Sequence[tuple[int, int]],
    fixed: Sequence[Estimate],
    others: Sequence[Estimate],
    corrected: Mapping[str, Sequence[float | None]],
) -> None:
    """State the most chosen method, and whether it stands out, for these readers and for others."""
    totals = sample.counts().sum(0)
    first, second = (int(at) for at in np.argsort(-totals, kind="stable")[:2])
    at = pairs.index((min(first, second), max(first, second)))
    a, b = score.methods[first], score.methods[second]
    shares = totals / totals.sum()
    score.lead.append(f"{a} was chosen most often: {shares[first]:.3f} of all choices; {b} next: {shares[second]:.3f}.")
    here = _is_shown(corrected["fixed"][at])
    sign = 1 if first < second else -1  # of the pair, in its order
    there = _is_shown(corrected["random"][at]) and sign * others[at].value > 0
    if here and there:
        score.lead.append(
            f"{a} is preferred to {b} by these readers, and by readers like these (Holm, level {LEVEL:g})."
        )
    elif here:
        score.lead.append(
            f"{a} is preferred to {b} by these readers (Holm, level {LEVEL:g}); for other readers see below."
        )
        score.cannot.append(
            f"It is not shown that other readers prefer {a} to {b}: {sample.readers} readers differ too much."
        )
    else:
        score.cannot.append(f"It is not shown that these readers prefer {a} to {b}, the two that were chosen most.")
        score.cannot.append("That a difference is not shown does not mean that there is none.")
    if any(_width(other) < _width(one) for one, other in zip(fixed, others, strict=True)):
        score.cannot.append(
            "Some intervals for readers like these are narrower than those for these readers. Other readers are not "
            "better known: the few readers of this study are alike by chance. Take the wider interval."
        )
    score.cannot.append(
        "A preference is no proof that a diagnosis becomes more correct; a study of --task visible measures that."
    )


def _strata(score: _Score, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for name, attribute in (("Class", "label"), ("Quality", "quality")):
        values = sorted({getattr(row, attribute) for row in rows})
        if len(values) < 2:
            continue
        lines = []
        for value in values:
            part = [row for row in rows if getattr(row, attribute) == value]
            sample = sample_of(part, score.readers, score.methods)
            for at, reader in [*enumerate(score.readers), (-1, "Overall, these readers")]:
                own = sample if at < 0 else sample.of(sample.reader == at)
                if not len(own.reader):
                    continue
                found = [fixed_readers(own, own.chosen(m), share=True) for m in range(sample.methods)]
                for method, one in zip(score.methods, found, strict=True):
                    score.add(name.lower(), reader, method, "ratio", one, stratum=value, n=len(own.reader))
                lines.append([value or "unknown", reader, str(len(own.reader)), *(_cell(one) for one in found)])
        yield {
            "title": f"Selection ratios by {name.lower()}",
            "caption": "95 % intervals for these readers. The strata were fixed before; differences of strata are not "
            "tested.",
            "head": [name, "Reader", "Choices", *score.methods],
            "rows": lines,
        }


def _strengths(score: _Score, rows: Sequence[Row]) -> dict[str, Any]:
    found, damped = bradley_terry(sample_of(rows, score.readers, score.methods))
    for method, one in zip(score.methods, found, strict=True):
        score.add("Bradley-Terry", "these readers", method, "log strength", one)
    note = " A method was never chosen, so strengths are damped." if damped else ""
    return {
        "title": "Bradley-Terry strengths",
        "caption": "Log strengths, their mean 0, of each choice as won against every other column (choix); 95 % "
        "intervals by the jackknife, for these readers. Every query has all methods, so the strengths show the same as "
        f"the selection ratios, on a scale of log odds.{note}",
        "head": ["Method", "Log strength"],
        "rows": [[method, _cell(one)] for method, one in zip(score.methods, found, strict=True)],
    }


# ---------------------------------------------------------------- ratings


@dataclass(frozen=True)
class _Rated:
    """The films that all readers have rated by every method."""

    readers: list[str]
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


def _rated(score: _Score, rows: Sequence[Row]) -> _Rated:
    readers = [reader for reader in score.readers if any(row.reader == reader for row in rows)]
    cells = {(row.method, row.reader, row.film): row.rating for row in rows}
    of = {row.film: row for row in rows}
    films = [
        film for film in of if all((method, reader, film) in cells for method in score.methods for reader in readers)
    ]
    truth = np.array([of[film].label == score.key.positive for film in films], bool)
    ratings = np.array([[[cells[m, r, f] for f in films] for r in readers] for m in score.methods], np.float64)
    return _Rated(readers, films, truth, ratings, clusters([of[film] for film in films]))


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
    problems = [*_changed(folder, study, key_path, key)]
    with Store.open(folder, study) as store:
        problems += store.problems()
        choices = store.choices()
    if problems:
        raise DataError(f"{folder}: was changed, so nothing is planned from it: {problems[0]}")
    score = _Score(study, key, joined(study, key, choices))
    whole = _rated(score, counted(score.rows))
    if whole.is_small() or len(score.methods) < 2:
        raise DataError(
            f"{folder}: {len(whole.films)} films were rated by all of {len(whole.readers)} readers by every method, "
            f"{int(whole.truth.sum())} with the finding; a pilot needs 2 readers, and films of each "
            "kind of 2 patients"
        )
    source = f"{folder} ({len(whole.readers)} readers, {len(whole.films)} films)"
    return Components.of(whole.analysed(), len(whole.films), source)


def _areas(score: _Score, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return tables of the multi-reader multi-case analysis, over films that all readers rated by all methods."""
    whole = _rated(score, rows)
    readers, films, truth = whole.readers, whole.films, whole.truth
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
        score.cannot.append(f"{left} films are left out of the areas: not all readers rated them by every method.")
    return [_area_table(score, found, whole), *_contrast_tables(score, found)]


def _area_table(score: _Score, found: mrmc.Mrmc, whole: _Rated) -> dict[str, Any]:
    rows: list[list[Any]] = []
    films, truth = whole.films, whole.truth
    for at, reader in enumerate(whole.readers):
        for m, method in enumerate(score.methods):
            score.lines.append(_Line("area", reader, "", method, "AUROC", float(found.values[m, at]), n=len(films)))
        rows.append([reader, *((f"{value:.4f}", "") for value in found.values[:, at])])
    names = {"both": "Mean, other readers and films", "cases": "Mean, these readers, other films"}
    for kind, name in names.items():
        line: list[Any] = [name]
        for method, one in zip(score.methods, found.means[kind], strict=True):
            score.lines.append(_Line("area", name, "", method, "mean AUROC", one.value, one.interval, n=len(films)))
            line.append((f"{one.value:.4f}", _span(one.interval, 4)))
        rows.append(line)
    best = max(range(len(score.methods)), key=lambda m: found.means["both"][m].value)
    score.lead.append(
        f"Largest mean area under the curve: {score.methods[best]}, {found.means['both'][best].value:.4f}; equal areas "
        f"of all methods: p = {_p(found.both.p)[0]} for other readers and films."
    )
    if not found.both.p < LEVEL:
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


def _contrast_tables(score: _Score, found: mrmc.Mrmc) -> Iterator[dict[str, Any]]:
    names = {
        "both": "Other readers, other films",
        "cases": "These readers, other films",
        "readers": "Other readers, these films",
    }
    tests = [(f"{name} (OR)", getattr(found, kind)) for kind, name in names.items()]
    if found.dbm is not None:
        tests.append((f"{names['both']} (DBM)", found.dbm))
    for name, test in tests:
        score.lines.append(_Line("equal areas", name, "", "all", "F", test.statistic, p=test.p))
    yield {
        "title": "Are the areas equal?",
        "caption": "OR: Obuchowski and Rockette; DBM: Dorfman, Berbaum and Metz. With jackknife covariances both are "
        "the same analysis, computed in two ways. With fixed readers, F has infinite second degrees of freedom.",
        "head": ["Question", "F", "Degrees of freedom", "p"],
        "rows": [
            [name, f"{test.statistic:.3f}", f"{test.freedom[0]:g} and {_number(test.freedom[1])}", _p(test.p)]
            for name, test in tests
        ],
    }
    rows = []
    for (a, b), _ in found.differences["both"].items():
        name = f"{score.methods[a]} - {score.methods[b]}"
        row: list[Any] = [name]
        for kind in names:
            one = found.differences[kind][a, b]
            score.lines.append(_Line("area difference", names[kind], "", name, "AUROC", one.value, one.interval, one.p))
            row += [(f"{one.value:.4f}", _span(one.interval, 4)), _p(one.p)]
        rows.append(row)
    yield {
        "title": "Differences of areas",
        "caption": "95 % intervals; p is two-sided and not corrected for the number of pairs.",
        "head": ["Methods", *(part for name in names.values() for part in (name, "p"))],
        "rows": rows,
    }


# ---------------------------------------------------------------- agreement and habits


def _agreement_tables(score: _Score, rows: Sequence[Row]) -> list[dict[str, Any]]:
    tables = []
    parts = (
        [("", rows)]
        if score.study.task == "prefer"
        else [(m, [r for r in rows if r.method == m]) for m in score.methods]
    )
    lines: list[list[Any]] = []
    for name, part in parts:
        found = _agreement(score, part)
        lines += _agreement_lines(score, name, found)
    if lines:
        tables.append(
            {
                "title": "Agreement between readers",
                "caption": "0 is what chance gives, 1 is perfect; 95 % intervals by the jackknife over films. Fleiss "
                "over films that all have seen, Krippendorff's alpha over films of two readers or more, Cohen for "
                f"pairs (statsmodels, krippendorff); {score.scale} scale"
                + (", Cohen with quadratic weights, Fleiss without." if score.scale == "ordinal" else "."),
                "head": ["Measure", *([] if score.study.task == "prefer" else ["Method"]), "Films", "Value"],
                "rows": lines,
            }
        )
    else:
        score.cannot.append("Agreement between readers is not measured: no two films were seen by two readers.")
    own = _repeat_lines(score)
    if own:
        tables.append(
            {
                "title": "Agreement of readers with themselves",
                "caption": "Films that were shown again, unmarked: the share that was chosen alike, with Wilson's 95 % "
                f"interval, and Cohen's kappa of {REPEATS} repeats or more.",
                "head": ["Reader", "Repeats", "Chosen alike", "Kappa"],
                "rows": own,
            }
        )
    else:
        score.cannot.append("Agreement of readers with themselves is not measured: there are no repeats yet.")
    return tables


def _agreement(score: _Score, rows: Sequence[Row]) -> Agreement:
    films = list(dict.fromkeys(row.film for row in rows))
    readers = [reader for reader in score.readers if any(row.reader == reader for row in rows)]
    values = np.full((len(readers), len(films)), np.nan)
    of_film = dict(zip((row.film for row in rows), clusters(rows), strict=True))
    for row in rows:
        value = score.methods.index(row.method) if row.rating is None else row.rating
        values[readers.index(row.reader), films.index(row.film)] = value
    return agreement(values, np.array([of_film[film] for film in films], np.int64), score.scale)


def _agreement_lines(score: _Score, method: str, found: Agreement) -> Iterator[list[Any]]:
    readers = [reader for reader in score.readers if any(row.reader == reader for row in counted(score.rows))]
    measures = [("Fleiss' kappa", found.common, found.fleiss), ("Krippendorff's alpha", found.shared, found.alpha)]
    measures += [(f"Cohen's kappa, {readers[a]} and {readers[b]}", n, one) for (a, b), (n, one) in found.pairs.items()]
    for name, n, one in measures:
        if one is not None:
            score.add("agreement", name, method, "value", one, n=n)
            yield [name, *([method] if method else []), str(n), _cell(one)]


def _repeat_lines(score: _Score) -> list[list[Any]]:
    lines = []
    for reader in score.readers:
        pairs = repeated(score.rows, reader)
        values = [
            [score.methods.index(row.method) if row.rating is None else row.rating for row in part]
            for part in zip(*pairs, strict=True)
        ]
        found: Repeats | None = repeats(np.array(values[0]), np.array(values[1]), score.scale) if pairs else None
        if found is not None:
            score.add("repeats", reader, "", "chosen alike", found.same, n=found.count)
            kappa = "not defined" if found.kappa is None else f"{found.kappa:.3f}"
            lines.append([reader, str(found.count), _cell(found.same), kappa if found.count >= REPEATS else "too few"])
    return lines


def _habits(score: _Score) -> Iterator[dict[str, Any]]:
    """Yield what readers did whatever the method was: columns that they like, time, and drift over the session."""
    rows = counted(score.rows)
    if score.study.task == "prefer":
        yield _columns(score, rows)
    sessions = {}
    for reader in score.readers:
        own = [row for row in rows if row.reader == reader]
        if len(own) >= 2 * PARTS:
            sessions[reader] = [list(part) for part in np.array_split(np.array(own, dtype=object), PARTS)]
    if sessions:
        yield _drift(score, sessions)


def _drift(score: _Score, sessions: Mapping[str, Sequence[Sequence[Row]]]) -> dict[str, Any]:
    found = [_chi_squared([list(_kinds(score, part).values()) for part in parts]) for parts in sessions.values()]
    lines: list[list[Any]] = []
    for (reader, parts), p in zip(sessions.items(), _holm(found), strict=True):
        if _is_shown(p):
            score.cannot.append(
                f"The choices of {reader} changed over the session (p = {_p(p)[0]}); the ratios mix both."
            )
        for at, part in enumerate(parts, 1):
            name, seconds = f"part {at} of {PARTS}", float(np.median([row.seconds for row in part]))
            shares = {kind: count / len(part) for kind, count in _kinds(score, part).items()}
            score.lines.append(_Line("drift", reader, name, "", "median seconds", seconds, p=p, n=len(part)))
            for kind, value in shares.items():
                score.lines.append(_Line("drift", reader, name, kind, "share", value, n=len(part)))
            named = [reader, f"{at} of {PARTS}", str(len(part)), f"{seconds:.1f}"]
            lines.append([*named, *(f"{value:.3f}" for value in shares.values()), _p(p) if at == 1 else ""])
    return {
        "title": "Drift over the session",
        "caption": "Choices in equal parts of each reader's session, the median time of a choice, and the shares; "
        f"p of equal shares in all parts by reader (chi squared, corrected by Holm for all readers; {FEW}).",
        "head": ["Reader", "Part", "Choices", "Seconds", *_kinds(score, []), "p, Holm"],
        "rows": lines,
    }


def _kinds(score: _Score, part: Sequence[Row]) -> dict[str, int]:
    """Return the choices of each method, or the ratings of each value."""
    if score.study.task == "prefer":
        return {method: sum(row.method == method for row in part) for method in score.methods}
    return {f"rating {value}": sum(row.rating == value for row in part) for value in range(1, 6)}


def _columns(score: _Score, rows: Sequence[Row]) -> dict[str, Any]:
    count = len(score.methods)
    seen = {
        reader: np.bincount(np.array(own) - 1, minlength=count)
        for reader in score.readers
        if (own := [row.column for row in rows if row.reader == reader])
    }
    even = [
        float(stats.chisquare(counts).pvalue) if counts.sum() >= LEAST_EXPECTED * count else None
        for counts in seen.values()
    ]
    lines = []
    for (reader, counts), p in zip(seen.items(), _holm(even), strict=True):
        if _is_shown(p):
            score.cannot.append(
                f"{reader} prefers some columns (p = {_p(p)[0]}). Orders are balanced, so that no method gains by it, "
                "but differences of methods look smaller than they are."
            )
        shares = counts / counts.sum()
        for at, share in enumerate(shares, 1):
            score.lines.append(
                _Line("column", reader, f"column {at}", "", "share", float(share), p=p, n=int(counts.sum()))
            )
        lines.append([reader, *(f"{share:.3f}" for share in shares), _p(p)])
    return {
        "title": "Columns",
        "caption": f"Share of choices by column, whatever the method; without a preference 1/{count} each. p of equal "
        f"shares by reader (chi squared, corrected by Holm for all readers; {FEW}).",
        "head": ["Reader", *(f"Column {at + 1}" for at in range(count)), "p, Holm"],
        "rows": lines,
    }


def _chi_squared(counts: Sequence[Sequence[int]]) -> float | None:
    """Return p of equal shares in all rows; None where counts are too small for it, by Cochran's rule."""
    used = np.array(counts)
    used = used[:, used.sum(0) > 0]
    if used.shape[1] < 2:
        return None
    expected = stats.contingency.expected_freq(used)
    if expected.min() < 1 or (expected < LEAST_EXPECTED).mean() > 0.2:
        return None
    return float(stats.chi2_contingency(used).pvalue)


def _holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for all of them; what was not tested stays None, and counts as a test."""
    from statsmodels.stats.multitest import multipletests

    if not values:
        return []
    found = multipletests([1.0 if value is None else value for value in values], method="holm")[1]
    return [None if value is None else float(one) for value, one in zip(values, found, strict=True)]


def _is_shown(p: float | None) -> bool:
    return p is not None and p < LEVEL


def _width(found: Estimate) -> float:
    return math.inf if found.interval is None else found.interval[1] - found.interval[0]


# ---------------------------------------------------------------- texts


def _paper(name: str) -> dict[str, Any]:
    title, rows = PAPER[name]
    return {
        "title": f"R2C-GAN paper, {title}: not of this study",
        "caption": "As printed, for comparison of the layout: other films, readers and methods; no intervals are "
        "printed there.",
        "head": ["Reader", *PAPER_METHODS],
        "rows": [[reader, *values] for reader, values in rows.items()],
    }


def _cell(found: Estimate) -> tuple[str, str]:
    if math.isnan(found.value):
        return "none", ""
    return f"{found.value:.3f}", _span(found.interval)


def _span(interval: Interval, digits: int = 3) -> str:
    return "no interval" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def _p(value: float | None) -> tuple[str, str]:
    if value is None or math.isnan(value):
        return "none", ""
    return ("< 0.001" if value < 0.001 else f"{value:.3f}"), ""


def _number(value: float) -> str:
    return "infinity" if math.isinf(value) else f"{value:.2f}"


def _csv(lines: Sequence[_Line]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["table", "reader", "stratum", "method", "what", "value", "low", "high", "p", "n"])
    for one in lines:
        low, high = one.interval or ("", "")
        shown = [
            f"{value:.10g}" if isinstance(value, float) else value for value in (one.value, low, high, one.p, one.n)
        ]
        table.writerow(
            [
                one.table,
                one.reader,
                one.stratum,
                one.method,
                one.what,
                *("" if value is None else value for value in shown),
            ]
        )
    return text.getvalue()
