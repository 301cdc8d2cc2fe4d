"""Signals in CSV and NumPy files, which say neither their unit nor, mostly, their rate."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError, write_text
from restorekit_signals.files.recording import Recording, Values

__all__ = ["read_csv", "read_npy", "write_csv"]

TIME = "time"
"""The name of a column that holds seconds, unless told otherwise; large and small letters are alike."""
APART = 0.4
"""Of a step: how far a time may be from an even grid. Times rounded to ms stay below it up to 360 Hz; a sample that is
lost, wherever, moves some time by half a step or more."""


def read_csv(path: Path, time: str | None, rate: float) -> Recording:
    """Read a row a moment, a column a lead; with or without a head line; a column of seconds gives the rate.

    Args:
        path: the file.
        time: the name of the column of seconds; None: `time`, if there is one.
        rate: samples a second that are taken for the file's where its times agree with them from start to end.

    Raises:
        DataError: if it is missing, no table of numbers, has no such column, or its times are not evenly spaced.
    """
    try:
        head, _, rest = path.read_text("utf-8-sig").partition("\n")
        if not head.strip():
            raise DataError("holds no numbers")
        names = [cell.strip() for cell in next(csv.reader([head], skipinitialspace=True))]
        bare = all(_is_number(name) for name in names)
        lines = (f"{head}\n{rest}" if bare else rest).splitlines()
        if not any(line.strip() for line in lines):
            raise DataError("holds no rows")
        table = np.loadtxt(lines, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as a table of numbers ({' '.join(str(error).split())[:200]})") from error
    names = [f"lead{i + 1}" for i in range(table.shape[1])] if bare else names
    if len(names) != table.shape[1]:
        raise DataError(f"its head names {len(names)} columns, its rows have {table.shape[1]}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"its head names {twice[0]!r} twice; columns must be told apart")
    if time is not None and time not in names:
        raise DataError(f"has no column {time!r}, which time names; its columns are {', '.join(names)}")
    clock = [name for name in names if name == time or (time is None and name.lower() == TIME)]
    header: dict[str, Any] = {} if bare else {"head": True}
    if clock:
        at = names.index(clock[0])
        header |= {"clock": clock[0], "seconds": table[:, at], "last": 0 < at == len(names) - 1}
        table, names = np.delete(table, at, 1), [*names[:at], *names[at + 1 :]]
    found = _rate(header["seconds"], header["clock"], rate) if clock else None
    return Recording(table.T.copy(), tuple(names), ("",) * len(names), found, header)


def write_csv(path: Path, values: Values, leads: Sequence[str], header: Mapping[str, Any]) -> None:
    """Write what `read_csv` reads, with the times that it read; the file appears whole or not at all.

    Args:
        path: the file.
        values: (leads, samples), told to seven digits; NaN where not known.
        leads: the names of their columns.
        header: of the recording that was read.
    """
    columns = [[f"{value:.7g}" for value in row] for row in values.tolist()]
    names = list(leads)
    if "clock" in header:
        place = len(names) if header["last"] else 0
        columns.insert(place, [repr(value) for value in header["seconds"].tolist()])
        names.insert(place, header["clock"])
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if header.get("head"):
        rows.writerow(names)
    rows.writerows(zip(*columns, strict=True))
    write_text(path, text.getvalue())


def _rate(seconds: NDArray[np.float64], clock: str, rate: float) -> float:
    """Return the samples a second of times, or `rate` if that is theirs as far as can be told."""
    count = len(seconds)
    step = (seconds[-1] - seconds[0]) / max(count - 1, 1)
    known = bool(np.isfinite(seconds).all()) and step > 0
    off = np.abs((seconds - seconds[0]) / step - np.arange(count)) if known else np.array([np.inf])
    if off.max() > APART or not np.diff(seconds).min() > 0:
        where = f"; row {int(off.argmax()) + 1} does not" if known else ""
        raise DataError(f"its column {clock} must grow in even steps of seconds{where}")
    same = abs(step * rate - 1) * count < APART
    return rate if same else float(1 / step)


def read_npy(path: Path) -> Recording:
    """Read (samples,) or (leads, samples) of numbers.

    Raises:
        DataError: if it is missing, or no such array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot be read as a NumPy array ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iuf" or not array.size:
        what = f"{array.dtype} of {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(f"holds {what}; numbers of (samples,) or (leads, samples) are expected")
    values = np.atleast_2d(array).astype(np.float64)
    return Recording(values, tuple(f"lead{i + 1}" for i in range(len(values))), ("",) * len(values), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
