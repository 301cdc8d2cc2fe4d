"""`restorekit study export`: choices as CSV, offline pages, and what offline pages saved."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restorekit import CsvWriter, DataError, write_text
from restorekit_study.files import Study
from restorekit_study.page import offline_page
from restorekit_study.serving import shown_state
from restorekit_study.store import Conflict, Store

__all__ = ["take_file", "write_csv", "write_offline"]


def write_csv(path: Path, store: Store) -> int:
    """Write a row a choice, without the key: reader, query, value, seconds, time, changes. Return how many."""
    text = io.StringIO()
    table = CsvWriter(text)
    table.writerow(["reader", "query", "value", "seconds", "at", "changes"])
    choices = store.choices()
    for one in choices:
        table.writerow([one.reader, one.query, one.value, one.seconds, one.at, one.changes])
    write_text(path, text.getvalue())
    return len(choices)


def write_offline(folder: Path, study_folder: Path, study: Study) -> Iterator[tuple[Path, int]]:
    """Write READER.html for each reader; yield the files and their sizes in bytes.

    Raises:
        DataError: if an image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for reader in study.queries:
        path = folder / f"{reader}.html"
        yield path, offline_page(study, study_folder, shown_state(study, reader), path)


def take_file(path: Path, study: Study, store: Store) -> tuple[str, int]:
    """Add the choices of a file that an offline page saved; return the reader and how many were new.

    The file may be taken in again when it has grown. Nothing is added if something in it does not fit.

    Raises:
        DataError: if it is damaged, of another study, or does not fit the choices that are there.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        reader, choices = found["reader"], list(found["choices"])
        sent = [(str(one["query"]), one["value"], float(one["seconds"]), str(one["number"])) for one in choices]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: is no file of choices that an offline page saved ({error})") from error
    if not isinstance(reader, str):
        raise DataError(f"{path}: reader is {reader!r}; expected a reader's name")
    if found.get("study") != study.key_sha256 or reader not in study.queries:
        raise DataError(f"{path}: is of another study or reader; expected the study with the key {study.key_sha256}")
    if not found.get("consented"):
        raise DataError(f"{path}: holds no consent of {reader}")
    expected = [query.id for query in study.queries[reader]][: len(sent)]
    if [one[0] for one in sent] != expected:
        raise DataError(f"{path}: its queries are not those of {reader} in their order")
    try:
        return reader, store.take(reader, sent)
    except Conflict as error:
        raise DataError(f"{path}: {error}; nothing is taken") from error
