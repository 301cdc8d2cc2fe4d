"""Tables of the readers: how far they agree, with themselves too, drift over a session, and preferred columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from restorekit_study.agreement import Agreement, agreement, column_preference, drift, repeats
from restorekit_study.score import FEW, Line, Score, cell, holm, is_shown, p_cell
from restorekit_study.table import Row, clusters, counted, repeated

__all__ = ["agreement_tables", "habit_tables"]

PARTS = 4
"""Parts of a session that are compared."""
REPEATS = 10
"""Repeats of a reader, below which their kappa is not shown: it would be chance."""


def agreement_tables(score: Score, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return tables of agreement between readers, and of each with themselves."""
    tables = []
    parts = (
        [("", rows)]
        if score.study.task == "prefer"
        else [(m, [r for r in rows if r.method == m]) for m in score.methods]
    )
    lines: list[list[Any]] = []
    for name, part in parts:
        behind = score.behind(name)
        readers, found = _agreement(score, [row for row in part if row.reader not in behind])
        lines += _agreement_lines(score, name, readers, found)
        score.cannot += _not_measured(name, behind, readers, found)
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
    own = _repeat_lines(score)
    if own:
        tables.append(
            {
                "title": "Agreement of readers with themselves",
                "caption": "Films that were shown again, unmarked: the share that was chosen alike, with Wilson's 95 % "
                f"interval, and Cohen's kappa of {REPEATS} repeats or more, by the jackknife over films or patients.",
                "head": ["Reader", "Repeats", "Chosen alike", "Kappa"],
                "rows": own,
            }
        )
    else:
        why = "was made yet" if any(one.repeats for one in score.key.queries.values()) else "is part of this study"
        score.cannot.append(f"Agreement of readers with themselves is not measured: no repeat {why}.")
    return tables


def _not_measured(
    method: str, behind: Mapping[str, tuple[int, int]], readers: Sequence[str], found: Agreement
) -> Iterator[str]:
    """Yield who is left out, and what is not measured and why."""
    of, what = (f" on {method}", "ratings") if method else ("", "choices")
    for reader, (done, asked) in behind.items():
        yield f"{reader} is left out of agreement{of}: {done} of {asked} queries made. The rule: fewer than half."
    if found.shared < 2:
        yield f"Agreement between readers{of} is not measured: no two films were seen by two readers."
    elif found.alpha is None:
        yield f"Agreement between readers{of} is not defined: all {what} are equal, and kappa is 0 / 0."
    elif found.common < 2:
        yield f"There is no Fleiss' kappa{of}: {found.common} films were seen by all of {len(readers)} readers."
    elif found.fleiss is None:
        yield f"Fleiss' kappa{of} is not defined: all {what} of films that all readers have seen are equal."
    if found.alpha is not None:
        for (a, b), (films, one) in found.pairs.items():
            if one is None and films >= 2:
                yield f"Cohen's kappa{of} of {readers[a]} and {readers[b]} is not defined: all their {what} are equal."


def _agreement(score: Score, rows: Sequence[Row]) -> tuple[list[str], Agreement]:
    """Return the readers who are there, in the order of the result's numbers, and their agreement."""
    films = list(dict.fromkeys(row.film for row in rows))
    readers = [reader for reader in score.readers if any(row.reader == reader for row in rows)]
    values = np.full((len(readers), len(films)), np.nan)
    of_film = dict(zip((row.film for row in rows), clusters(rows), strict=True))
    for row in rows:
        value = score.methods.index(row.method) if row.rating is None else row.rating
        values[readers.index(row.reader), films.index(row.film)] = value
    return readers, agreement(values, np.array([of_film[film] for film in films], np.int64), score.scale)


def _agreement_lines(score: Score, method: str, readers: Sequence[str], found: Agreement) -> Iterator[list[Any]]:
    measures = [("Fleiss' kappa", found.common, found.fleiss), ("Krippendorff's alpha", found.shared, found.alpha)]
    measures += [(f"Cohen's kappa, {readers[a]} and {readers[b]}", n, one) for (a, b), (n, one) in found.pairs.items()]
    for name, n, one in measures:
        if one is not None:
            score.add("agreement", name, method, "value", one, n=n)
            yield [name, *([method] if method else []), str(n), cell(one)]


def _repeat_lines(score: Score) -> list[list[Any]]:
    lines = []
    for reader in score.readers:
        pairs = repeated(score.rows, reader)
        first, again = (
            [score.methods.index(pair[at].method) if pair[at].rating is None else pair[at].rating for pair in pairs]
            for at in (0, 1)
        )
        found = repeats(np.array(first), np.array(again), clusters([row for row, _ in pairs]), score.scale)
        if found is None:
            continue
        score.add("repeats", reader, "", "chosen alike", found.same, n=found.count)
        kappa: Any = "too few" if found.count < REPEATS else "not defined"
        if found.kappa is not None and found.count >= REPEATS:
            score.add("repeats", reader, "", "Cohen's kappa", found.kappa, n=found.count)
            kappa = cell(found.kappa)
        lines.append([reader, str(found.count), cell(found.same), kappa])
    return lines


def habit_tables(score: Score) -> Iterator[dict[str, Any]]:
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


def _drift(score: Score, sessions: Mapping[str, Sequence[Sequence[Row]]]) -> dict[str, Any]:
    found = [drift([list(_kinds(score, part).values()) for part in parts]) for parts in sessions.values()]
    lines: list[list[Any]] = []
    for (reader, parts), p in zip(sessions.items(), holm(found), strict=True):
        if is_shown(p):
            score.cannot.append(
                f"The choices of {reader} changed over the session (p = {p_cell(p)[0]}); the ratios mix both."
            )
        for at, part in enumerate(parts, 1):
            name, seconds = f"part {at} of {PARTS}", float(np.median([row.seconds for row in part]))
            shares = {kind: count / len(part) for kind, count in _kinds(score, part).items()}
            score.lines.append(Line("drift", reader, name, "", "median seconds", seconds, n=len(part)))
            for kind, value in shares.items():
                score.lines.append(Line("drift", reader, name, kind, "share", value, p=p, n=len(part)))
            named = [reader, f"{at} of {PARTS}", str(len(part)), f"{seconds:.1f}"]
            lines.append([*named, *(f"{value:.3f}" for value in shares.values()), p_cell(p) if at == 1 else ""])
    return {
        "title": "Drift over the session",
        "caption": "Choices in equal parts of each reader's session, the median time of a choice, and the shares; "
        f"p of equal shares in all parts by reader (chi squared, corrected by Holm for all readers; {FEW}).",
        "head": ["Reader", "Part", "Choices", "Seconds", *_kinds(score, []), "p, Holm"],
        "rows": lines,
    }


def _kinds(score: Score, part: Sequence[Row]) -> dict[str, int]:
    """Return the choices of each method, or the ratings of each value."""
    if score.study.task == "prefer":
        return {method: sum(row.method == method for row in part) for method in score.methods}
    return {f"rating {value}": sum(row.rating == value for row in part) for value in range(1, 6)}


def _columns(score: Score, rows: Sequence[Row]) -> dict[str, Any]:
    count = len(score.methods)
    seen = {
        reader: np.bincount(np.array(own) - 1, minlength=count)
        for reader in score.readers
        if (own := [row.column for row in rows if row.reader == reader])
    }
    lines = []
    found = [column_preference(counts) for counts in seen.values()]
    for (reader, counts), p in zip(seen.items(), holm(found), strict=True):
        if is_shown(p):
            score.cannot.append(
                f"{reader} prefers some columns (p = {p_cell(p)[0]}). Orders are balanced, so that no method gains by "
                "it, but differences of methods look smaller than they are."
            )
        shares = counts / counts.sum()
        for at, share in enumerate(shares, 1):
            score.lines.append(
                Line("column", reader, f"column {at}", "", "share", float(share), p=p, n=int(counts.sum()))
            )
        lines.append([reader, *(f"{share:.3f}" for share in shares), p_cell(p)])
    return {
        "title": "Columns",
        "caption": f"Share of choices by column, whatever the method; without a preference 1/{count} each. p of equal "
        f"shares by reader (chi squared, corrected by Holm for all readers; {FEW}).",
        "head": ["Reader", *(f"Column {at + 1}" for at in range(count)), "p, Holm"],
        "rows": lines,
    }
