"""Checks of arguments of Python callers; errors name the argument, what was got, what is allowed."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from restorekit.core.errors import DataError

__all__ = [
    "OUTPUTS",
    "ScaleMode",
    "check_count",
    "check_flag",
    "check_format",
    "check_range",
    "check_scale",
    "check_strength",
    "check_times",
    "check_window",
    "default_jobs",
]

OUTPUTS = {"png": "PNG", "tiff": "TIFF", "dicom": "DICOM", "nifti": "NIFTI", "npy": "NPY"}
"""Formats that a call may ask for, and how `io` calls them."""
MOST_JOBS = 4
"""Threads by default, at most: more of them take memory, and the networks are slower than all of them."""

ScaleMode = Literal["native", "train"]
"""At which scale an image is restored: its own, or the one that the networks were trained at."""


def check_times(times: object, *, least: int = 0) -> int | None:
    """Return a number of passes; None stays None, for "as the recipe evaluates".

    Raises:
        DataError: if it is no integer from `least` on.
    """
    return None if times is None else _integer("times", times, least)


def check_window(window: object, *, least: int = 1) -> int | None:
    """Return the side of a window; None stays None.

    Raises:
        DataError: if it is no integer from `least` on.
    """
    return None if window is None else _integer("window", window, least)


def check_range(range: object) -> tuple[float, float] | None:
    """Return the values of black and white; None stays None.

    Raises:
        DataError: if they are not two finite numbers, the lower one first.
    """
    if range is None:
        return None
    allowed = "allowed: (LOW, HIGH), two finite numbers with LOW < HIGH"
    if isinstance(range, str | bytes) or not hasattr(range, "__iter__"):
        raise DataError(f"range: got {range!r}; {allowed}")
    values = list(range)
    if len(values) != 2 or not all(map(_is_number, values)) or not values[0] < values[1]:
        raise DataError(f"range: got {range!r}; {allowed}")
    return float(values[0]), float(values[1])


def check_scale(scale: object) -> ScaleMode:
    """Return at which scale to restore.

    Raises:
        DataError: if it is none of the known ones.
    """
    for known in get_args(ScaleMode):
        if isinstance(scale, str) and scale == known:
            found: ScaleMode = known
            return found
    raise DataError(f"scale: got {scale!r}; allowed: {_listed(get_args(ScaleMode))}")


def check_strength(strength: object) -> float:
    """Return a share.

    Raises:
        DataError: if it is no number from 0 to 1.
    """
    if isinstance(strength, numbers.Real) and _is_number(strength) and 0 <= float(strength) <= 1:
        return float(strength)
    raise DataError(f"strength: got {strength!r}; allowed: a number from 0 to 1")


def check_count(name: str, count: object) -> int:
    """Return a number of things.

    Raises:
        DataError: if it is no integer from 1 on.
    """
    return _integer(name, count, 1)


def default_jobs() -> int:
    """Return how many threads read: as many as there are cores beside that of the networks, 1 to 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, cores - 1), MOST_JOBS)


def check_format(format: object, *, own: bool) -> str | None:
    """Return the format in which restored images are written, as `io` calls it; None stays None.

    Args:
        format: what the caller gave.
        own: the model reads image files; a format of a plugin writes its own files alone.

    Raises:
        DataError: if it is unknown, or the model reads no image files.
    """
    if format is None:
        return None
    if not isinstance(format, str) or format not in OUTPUTS:
        raise DataError(f"format: got {format!r}; allowed: {_listed([*OUTPUTS])}")
    if not own:
        raise DataError(f"format: got {format!r}; allowed: none, for this model has a format of files of its own")
    return OUTPUTS[format]


def check_flag(name: str, value: object) -> bool:
    """Return a truth value.

    Raises:
        DataError: if it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise DataError(f"{name}: got {value!r}; allowed: True or False")
    return value


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise DataError(f"{name}: got {value!r}; allowed: an integer from {least} on")
    return int(value)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool | np.bool_) and isinstance(value, numbers.Real) and math.isfinite(value)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))
