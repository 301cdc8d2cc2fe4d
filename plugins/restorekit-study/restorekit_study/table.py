"""Choices with the key opened: a row a choice, with film, method, column, class, quality and patient."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restorekit import CsvWriter, write_text
from restorekit_study.files import Key, Study, unknown_queries
from restorekit_study.preference import Sample
from restorekit_study.store import Choice

__all__ = ["Row", "clusters", "counted", "joined", "repeated", "sample_of", "write_rows"]


@dataclass(frozen=True)
class Row:
    """A choice, and what was shown."""

    reader: str
    order: int
    """From 1, practice included."""
    query: str
    film: str
    method: str
    """The method that was chosen, or that was rated."""
    column: int
    """From 1."""
    rating: int | None
    """1 to 5; None for the task "prefer"."""
    seconds: float
    at: str
    changes: int
    label: str
    quality: str
    patient: str
    practice: bool
    repeats: str
    """The query whose film it shows again; empty: none."""


def joined(study: Study, key: Key, choices: Sequence[Choice]) -> list[Row]:
    """Return the choices with what they mean, by reader in the order of their queries.

    Those whose queries `unknown_queries` names are left out.
    """
    unknown = unknown_queries(study, key)
    films = {film.name: film for film in key.films}
    orders = {
        reader: {query.id: (at, query) for at, query in enumerate(queries, 1)}
        for reader, queries in study.queries.items()
    }
    rows = []
    for one in choices:
        if one.query in unknown:
            continue
        at, query = orders[one.reader][one.query]
        sealed = key.queries[one.query]
        column = one.value if study.task == "prefer" else 0
        film = films[sealed.film]
        rows.append(
            Row(
                one.reader,
                at,
                one.query,
                film.name,
                key.images[query.columns[column]][1],
                column + 1,
                None if study.task == "prefer" else one.value,
                one.seconds,
                one.at,
                one.changes,
                film.label,
                film.quality,
                film.patient,
                sealed.practice,
                sealed.repeats,
            )
        )
    return rows


def counted(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that count: no practice, and of a film that was shown twice the first time."""
    return [row for row in rows if not row.practice and not row.repeats]


def repeated(rows: Sequence[Row], reader: str) -> list[tuple[Row, Row]]:
    """Return a reader's repeats with the choice of the first time."""
    first = {row.query: row for row in rows if row.reader == reader}
    return [(first[row.repeats], row) for row in first.values() if row.repeats in first]


def clusters(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return (N,) numbers of patients; a film whose patient is unknown is one of its own."""
    names = [("patient", row.patient) if row.patient else ("film", row.film) for row in rows]
    known = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names], np.int64)


def sample_of(rows: Sequence[Row], readers: Sequence[str], methods: Sequence[str]) -> Sample:
    """Return rows as numbers; readers and methods by their place in the lists."""
    return Sample(
        np.array([readers.index(row.reader) for row in rows], np.int64),
        np.array([methods.index(row.method) for row in rows], np.int64),
        clusters(rows),
        len(readers),
        len(methods),
    )


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV with a row a choice; practice and repeats are marked."""
    text = io.StringIO()
    table = CsvWriter(text)
    names = [field.name for field in fields(Row)]
    table.writerow(names)
    for row in rows:
        table.writerow(["" if (value := getattr(row, name)) is None else value for name in names])
    write_text(path, text.getvalue())
