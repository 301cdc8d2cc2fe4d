"""Manifests: tables with one row per image, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restorekit.core.errors import DataError, unknown
from restorekit.io.intensity import checked_range
from restorekit.io.vocabulary import SPLITS, split_of

__all__ = ["COLUMNS", "ManifestRow", "read_manifest"]

COLUMNS = ("path", "domain", "label", "patient", "split", "source", "low", "high")
"""Columns of a manifest; only `path` must be there."""
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class ManifestRow:
    """What is known of an image; None where nothing is written."""

    where: str
    """FILE:LINE, for messages."""
    path: str
    domain: str | None = None
    label: str | None = None
    patient: str | None = None
    split: str | None = None
    """train, val or test."""
    source: str | None = None
    range: tuple[float, float] | None = None
    """The values of black and white of this file, from the columns low and high."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Further columns that were asked for, those that are not empty."""


def read_manifest(
    file: str | os.PathLike[str],
    columns: Mapping[str, str] | None = None,
    base: str | os.PathLike[str] | None = None,
    *,
    take: Collection[str] = COLUMNS,
    more: Collection[str] = (),
    must_exist: bool = True,
) -> tuple[list[ManifestRow], set[str]]:
    """Read a manifest.

    Args:
        file: CSV with a head line, or Parquet where pyarrow is installed. Names of columns are known in any case.
        columns: what a column of ours is called there: {"label": "finding"}.
        base: where the paths start; None: the folder of the manifest.
        take: the columns to read; others, of whatever content, are passed over.
        more: further columns, by their own names; they must be there.
        must_exist: refuse the manifest if one of its files is not there.

    Returns:
        The rows in their order, and which of `take` there are.

    Raises:
        DataError: one line with file and line: it cannot be read, a column is missing, a path is named twice, is no
            file or is empty, a split is none, low and high are no range.
    """
    file = Path(file)
    called = {name: (columns or {}).get(name, name) for name in COLUMNS}
    wrong = [name for name in columns or {} if name not in COLUMNS]
    if wrong:
        raise DataError(f"{file}: {unknown('column of a manifest', wrong[0], COLUMNS)}")
    head, lines = _parquet(file) if file.suffix.lower() in PARQUET else _csv(file)
    called = {name: _written(file, called[name], head) for name in take}
    there = {name for name in take if called[name] in head}
    lacks = [called[name] for name in take if name not in there and (name == "path" or name in (columns or {}))]
    if lacks:
        raise DataError(f"{file}:1: has no column {lacks[0]!r}; columns are {', '.join(head) or 'none'}")
    others = {name: _written(file, name, head) for name in more}
    if absent := [name for name, written in others.items() if written not in head]:
        raise DataError(f"{file}:1: has no column {absent[0]!r}; columns are {', '.join(head) or 'none'}")
    rows: dict[str, ManifestRow] = {}
    lost: list[ManifestRow] = []
    folder = file.parent if base is None else Path(base)
    for number, line in lines:
        found = {name: text for name, of in others.items() if (text := line.get(of, "").strip())}
        row = _row(f"{file}:{number}", {name: line.get(called[name], "") for name in there}, found)
        if row.path in rows:
            raise DataError(f"{row.where}: {row.path!r} is named twice; one row an image is expected")
        if must_exist and not (folder / row.path).is_file():
            lost.append(row)
        rows[row.path] = row
    if lost:
        more = f", and {len(lost)} of {len(rows)} rows name none" if len(lost) > 1 else ""
        raise DataError(f"{lost[0].where}: no file {lost[0].path!r} in {folder}{more}; paths are from that folder")
    if not rows:
        raise DataError(f"{file}: names no image; a row an image is expected")
    return list(rows.values()), there


def _written(file: Path, column: str, head: Collection[str]) -> str:
    """Return how a table writes the name of a column: case and spaces around it do not count."""
    found = [name for name in head if name.strip().casefold() == column.strip().casefold()]
    if len(found) > 1:
        raise DataError(f"{file}:1: columns {found[0]!r} and {found[1]!r} both mean {column}; keep one")
    return found[0] if found else column


def _row(where: str, cells: Mapping[str, str], more: Mapping[str, str]) -> ManifestRow:
    known: dict[str, str] = {name: text for name, cell in cells.items() if (text := cell.strip())}
    if "path" not in known:
        raise DataError(f"{where}: names no path")
    known["path"] = Path(known["path"]).as_posix()
    if "split" in known:
        split = split_of(known["split"])
        if split is None:
            raise DataError(f"{where}: {unknown('split', known['split'], SPLITS)}")
        known["split"] = split
    ends = _range(where, known.pop("low", None), known.pop("high", None))
    return ManifestRow(where, **known, range=ends, more=more)


def _range(where: str, low: str | None, high: str | None) -> tuple[float, float] | None:
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise DataError(f"{where}: names {'high' if low is None else 'low'} alone; give both, or neither")
    try:
        return checked_range((float(low), float(high)))
    except ValueError as error:
        raise DataError(f"{where}: low and high are numbers; got {low!r} and {high!r}") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _csv(file: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file; a manifest is expected") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}: holds a byte that is not UTF-8; save the file as UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        head = list(reader.fieldnames or [])
    except csv.Error as error:
        raise DataError(f"{file}:1: is not CSV ({error})") from error
    return head, _csv_lines(file, reader)


def _csv_lines(file: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    read = reader.line_num
    try:
        for line in reader:
            # A row of several lines is named by its first.
            cells = {name: cell or "" for name, cell in line.items() if isinstance(name, str)}
            if any(cell.strip() for cell in line.get(None) or ()):
                why = "has more cells than the head line; quote a cell that holds a comma"
                raise DataError(f"{file}:{read + 1}: {why}")
            yield read + 1, cells
            read = reader.line_num
    except csv.Error as error:
        raise DataError(f"{file}:{read + 1}: is not CSV ({error})") from error


def _parquet(file: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataError(f"{file}: Parquet needs pyarrow; pip install 'restorekit[parquet]', or use CSV") from error
    try:
        table: Any = parquet.read_table(file)
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file; a manifest is expected") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({' '.join(str(error).split())})") from error
    rows = table.to_pylist()
    texts = ({n: "" if cell is None or cell != cell else str(cell) for n, cell in row.items()} for row in rows)
    return list(table.column_names), enumerate(texts, start=2)  # as if a head line stood before them
