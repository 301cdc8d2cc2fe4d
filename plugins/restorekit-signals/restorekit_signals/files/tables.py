"""Signals in CSV and NumPy files, which say neither their unit nor, mostly, their rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from restorekit import DataError
from restorekit_signals.files.recording import Recording

__all__ = ["read_csv", "read_npy"]

TIME = "time"
"""The name of a column that holds seconds."""


def read_csv(path: Path) -> Recording:
    """Read a row a moment, a column a lead; with or without a head line; a column `time`, in seconds, gives the rate.

    Raises:
        DataError: if it is missing, no table of numbers, or its times are not evenly spaced.
    """
    try:
        head, _, rest = path.read_text("utf-8-sig").partition("\n")
        if not head.strip():
            raise DataError("holds no numbers")
        names = [cell.strip() for cell in head.split(",")]
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
    rate = None
    if TIME in names:
        at = names.index(TIME)
        steps = np.diff(table[:, at])
        if not steps.size or not steps.min() > 0 or np.ptp(steps) > 0.01 * steps.mean():
            raise DataError(f"its column {TIME} must grow in even steps of seconds")
        rate = float(round(1 / steps.mean(), 6))
        table, names = np.delete(table, at, 1), [name for name in names if name != TIME]
    return Recording(table.T.copy(), tuple(names), ("",) * len(names), rate)


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
