"""DICOM elements by value: empty counts as absent, and what cannot be used is refused by the element's name."""

from __future__ import annotations

import math
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

from restorekit.core.errors import DataError

__all__ = ["integer", "integers", "items", "number", "numbers", "pairs", "text", "texts"]


def numbers(data: Dataset, name: str) -> list[float]:
    """Return every value of an element as a finite number; an absent or an empty element has none.

    Raises:
        DataError: if a value is not a finite number.
    """
    return _finite(name, _values(data, name))


def pairs(data: Dataset, first: str, second: str) -> list[tuple[float, float]]:
    """Return the values of two elements that belong together by their place; where one is empty there is no pair.

    Raises:
        DataError: if a value is not a finite number.
    """
    found = zip(_several(data, first), _several(data, second), strict=False)
    whole = [pair for pair in found if all(map(_is_there, pair))]
    firsts, seconds = (_finite(name, [pair[at] for pair in whole]) for at, name in enumerate((first, second)))
    return list(zip(firsts, seconds, strict=True))


def number(data: Dataset, name: str) -> float | None:
    """Return the one value of an element, or None.

    Raises:
        DataError: if there are several, or it is not a finite number.
    """
    found = numbers(data, name)
    if len(found) > 1:
        raise DataError(f"has {name} {_shown(found)}; one number is allowed")
    return found[0] if found else None


def integer(data: Dataset, name: str, default: int | None = None) -> int:
    """Return the one value of an element; `default` where it is absent or empty.

    Raises:
        DataError: if there is neither, if there are several, or it is not an integer.
    """
    found = number(data, name)
    if found is None and default is not None:
        return default
    if found is None:
        raise DataError(f"has no {name}, without which its pixels have no meaning")
    if not found.is_integer():
        raise DataError(f"has {name} {found:g}; an integer is allowed")
    return int(found)


def integers(data: Dataset, name: str, count: int) -> list[int]:
    """Return exactly `count` integers.

    Raises:
        DataError: if there are fewer or more, or one is not an integer.
    """
    found = numbers(data, name)
    if len(found) != count or not all(value.is_integer() for value in found):
        raise DataError(f"has {name} {_shown(found)}; {count} integers are allowed")
    return [int(value) for value in found]


def text(data: Dataset, name: str) -> str:
    """Return the first value of an element in capital letters; empty where there is none."""
    found = _values(data, name)
    return str(found[0]).strip(" \0").upper() if found else ""


def texts(data: Dataset, name: str) -> list[str]:
    """Return every value of an element, empty ones among them; none where the element is absent or empty."""
    found = ["" if value is None else str(value) for value in _several(data, name)]
    return found if any(found) else []


def items(data: Dataset, name: str) -> list[Dataset]:
    """Return the items of a sequence; none where it is absent or empty.

    Raises:
        DataError: if the element is not a sequence.
    """
    found = list(_value(data, name) or [])
    if not all(isinstance(item, Dataset) for item in found):
        raise DataError(f"has a {name} that is not a sequence")
    return found


def _finite(name: str, values: list[Any]) -> list[float]:
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise DataError(f"has {name} {_shown(values)}; finite numbers are allowed")
    return found


def _values(data: Dataset, name: str) -> list[Any]:
    return list(filter(_is_there, _several(data, name)))


def _several(data: Dataset, name: str) -> list[Any]:
    value = _value(data, name)
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]


def _is_there(value: Any) -> bool:
    return value is not None and value != ""


def _value(data: Dataset, name: str) -> Any:
    try:
        return data.get(name)
    except Exception as error:  # pydicom converts a value when it is first read, and raises anything
        raise DataError(f"has a damaged {name}") from error


def _shown(values: list[Any]) -> str:
    return "\\".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)[:60]
