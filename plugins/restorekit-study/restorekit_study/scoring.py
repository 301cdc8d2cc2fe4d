"""`restorekit study score`: the key is opened, and choices become one page and two tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restorekit import DataError, write_text
from restorekit_study.agreement_tables import agreement_tables, habit_tables
from restorekit_study.area_tables import area_tables
from restorekit_study.files import Key, Study, changes
from restorekit_study.page import render
from restorekit_study.preference_tables import preference_tables, strata_tables, strength_table
from restorekit_study.score import Score, as_csv
from restorekit_study.store import Store
from restorekit_study.table import Row, counted, joined, write_rows

__all__ = ["PAPER", "write_score"]

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


def write_score(
    folder: Path,
    study: Study,
    key_path: Path,
    key: Key,
    out: Path,
    receipts: Mapping[str, str],
    paper: str,
    published: str = "",
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
        published: the SHA-256 of the key that was published; empty: not given, so that the key is compared with
            study.json alone.

    Raises:
        DataError: if nothing was chosen yet, or the choices cannot be read.
    """
    problems = [*changes(folder, study, key_path, key, published)]
    with Store.open(folder, study) as store:
        found, choices = store.checked(receipts)
    problems += found
    if choices and not any(one.query in key.queries for one in choices):
        raise DataError(f"{key_path}: has no query {choices[0].query}; it is the key of another study")
    rows = joined(study, key, choices)
    if not counted(rows):
        more = f"; {len(problems)} problems, the first: {problems[0]}" if problems else ""
        raise DataError(f"{folder}: no choice that counts was made yet; practice does not count{more}")
    score = Score(study, key, rows)
    view = {**_view(score, problems, paper), "published": published}
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "choices.csv", rows)
    write_text(out / "tables.csv", as_csv(score.lines))
    write_text(out / "score.html", render("score.html.j2", view))
    return problems


def _view(score: Score, problems: Sequence[str], paper: str) -> dict[str, Any]:
    """Return what the page shows."""
    study, rows = score.study, counted(score.rows)
    tables = preference_tables(score, rows) if study.task == "prefer" else area_tables(score, rows)
    tables += agreement_tables(score, rows)
    if study.task == "prefer":
        tables += [*strata_tables(score, rows), strength_table(score, rows)]
    tables += habit_tables(score)
    score.cannot.append(
        "Names of methods were hidden; whether readers recognised a method, as by its smoothness, is not measured."
    )
    score.cannot += score.key.notes
    return {
        "title": study.title,
        "sub": f"{len(rows)} choices of {len({row.reader for row in rows})} readers on "
        f"{len({row.film for row in rows})} films; the question: {study.question}",
        "problems": problems,
        "short": _short(score, rows),
        "lead": score.lead,
        "tables": tables,
        "paper": _paper(paper) if paper != "none" else None,
        "cannot": score.cannot,
        "display": study.display,
        "key": study.key_sha256,
        "made": study.made,
        "sources": score.key.sources,
    }


def _short(score: Score, rows: Sequence[Row]) -> list[str]:
    """Return how the choices fall short of what was planned; it stands first on the page. After the tables are made."""
    study, found = score.study, []
    what = "selection ratios within" if study.task == "prefer" else "differences of areas, for readers like these,"
    if not study.needed and study.margin:
        found.append(
            f"The planner found no number of films that is enough for {what} ± {study.margin:g} with "
            f"{len(study.queries)} readers."
        )
    if score.reached is not None and round(score.reached, 3) > study.margin:
        found.append(
            f"The widest interval of {what.removesuffix(' within')} is ± {score.reached:.3f}; "
            f"± {study.margin:g} was planned."
        )
    if len(rows) < study.needed:
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


def _paper(name: str) -> dict[str, Any]:
    title, rows = PAPER[name]
    return {
        "title": f"R2C-GAN paper, {title}: not of this study",
        "caption": "As printed, for comparison of the layout: other films, readers and methods; no intervals are "
        "printed there.",
        "head": ["Reader", *PAPER_METHODS],
        "rows": [[reader, *values] for reader, values in rows.items()],
    }
