"""Signals in CSV and NumPy files, which mostly state neither their unit nor their rate."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError, write_text
from restorekit_signals.files.recording import VOLTS, Recording, Values, named_leads

__all__ = ["read_csv", "read_npy", "write_csv"]

TIME = "time"
"""The name of a column that holds times, unless the recipe names another; large and small letters are alike."""
CLOCKS = ("timestamp", "timestamps", "t", "seconds", "sec", "elapsed time", "elapsed_time", "datetime", "date")
"""Names of columns that are no leads; they must be named as the times, or other columns as the leads."""
SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "min": 60.0}
"""Units of times that a header can state."""
TOLERANCE = 0.4
"""Of a step: how far a time may be from an even grid. Times rounded to ms stay below it up to 360 Hz; a sample that is
lost, wherever, moves some time by half a step or more."""
OTHERS = (
    "mmHg",
    "bpm",
    "%",
    "°C",
    "degC",
    "Ohm",
    "kOhm",
    "uS",
    "µS",
    "g",
    "m/s2",
    "m/s^2",
    "A",
    "mA",
    "uA",
    "Pa",
    "kPa",
    "adu",
    "ADC",
    "LSB",
    "counts",
    "steps",
    "digits",
)
"""Units that are no voltage, as headers state them."""
_UNITS = {unit.casefold() for unit in (*VOLTS, *OTHERS, *SECONDS, "a.u.", "au", "NU") if unit}

_LETTER = r"[^\W\d_]"
_VOLTAGE = re.compile(rf"(?<!{_LETTER})(?!MV)(?i:[mnuµμ]V|(?:milli|micro|nano)?volts?)(?!{_LETTER})")
"""A unit of voltage that is a word of a name, in whatever letters; but MV, which has other meanings."""

_FACTOR = r"\d[\d.,]*"
_SCALED = re.compile(rf"{_FACTOR}\s*[*x\u00d7/]\s*{_VOLTAGE.pattern}|{_VOLTAGE.pattern}\s*[*x\u00d7/]\s*{_FACTOR}")
"""A voltage times or by a number, as a word of a name."""
_MULTIPLE = re.compile(rf"{_SCALED.pattern}|{_FACTOR}\s*{_VOLTAGE.pattern}")
"""The same in parentheses, where a number before a voltage is its factor too, not that of a lead."""
_WITHIN = re.compile(rf"[\[(]\s*([^\[\]()]*?)\s*[\])](\s*[*x\u00d7/]\s*{_FACTOR})?")
"""Words in brackets that do not end a name, and a factor behind them."""


@dataclass(frozen=True)
class _Style:
    """How a table is punctuated."""

    comma: str
    """Between columns."""
    point: str
    """In numbers."""


def read_csv(path: Path, time: str | None, rate: float, leads: Sequence[str] | None) -> Recording:
    """Read a row a moment, a column a lead; with or without a head line; a column of times gives the rate.

    Columns are separated by commas, semicolons or tabs; numbers have a point, or beside the latter two a comma. A head
    such as `ECG [uV]` or `ecg_mV` states a unit. An empty cell, `nan` or `NA` is a value that is not known.

    Args:
        path: the file.
        time: the name of the column of times; None: `time`, with or without a unit, if there is one.
        rate: samples a second that are taken for the file's where its times agree with them from start to end.
        leads: the names of the columns that are taken; None: all but the times.

    Raises:
        DataError: if it is missing, cut short, no table of numbers, has no such column or one name twice, or its times
            are not evenly spaced.
    """
    try:
        text = _text(path.read_bytes())
        head, _, rest = text.partition("\n")
        style = _style(text)
        cells = [cell.strip() for cell in next(csv.reader([head], delimiter=style.comma, skipinitialspace=True))]
        bare = all(_is_number(cell.replace(style.point, ".")) or not cell for cell in cells) and any(cells)
        table = _numbers(text if bare else rest, style, 1 if bare else 2)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot be read as a table of numbers ({' '.join(str(error).split())[:200]})") from error
    names = [f"lead{i + 1}" for i in range(table.shape[1])] if bare else cells
    if len(names) != table.shape[1]:
        raise DataError(f"its head names {len(names)} columns, its rows have {table.shape[1]}")
    if bare:
        _refuse_decimal_commas(text, style)
        _refuse_numbered(cells, table[1:])
    filled = [i for i, name in enumerate(names) if name or not np.isnan(table[:, i]).all()]  # not a comma at line ends
    names, table = [names[i] for i in filled], table[:, filled]
    twice = [name for name, count in Counter(names).items() if count > 1 and (leads is None or name in leads)]
    if twice:
        raise DataError(f"its head names {twice[0]!r} twice; column names must be unique")
    clock = _clock(names, time)
    header: dict[str, Any] = {"style": style} if bare else {"style": style, "head": True}
    found = None
    if clock is not None:
        header |= {"clock": names[clock], "seconds": table[:, clock], "last": 0 < clock == len(names) - 1}
        found = _rate(table[:, clock] * _second(names[clock]), names[clock], rate)
        if not _unit(names[clock])[1] and found * 2 < rate and (table[:, clock] % 1 == 0).all():
            _refuse_counts(names[clock], found, rate)
    others = [i for i in range(len(names)) if i != clock]
    taken = [others[at] for at in named_leads([names[i] for i in others], leads)]
    values = np.ascontiguousarray(table[:, taken].T)
    kept = tuple(names[i] for i in taken)
    if leads is None:
        _refuse_clocks(values, kept)
    elif clock is None:
        _refuse_other_rate(table, names, rate)
    _refuse_infinite(values, kept)
    return Recording(values, kept, tuple(_unit(name)[1] for name in kept), found, header)


def write_csv(path: Path, values: Values, leads: Sequence[str], header: Mapping[str, Any]) -> None:
    """Write what `read_csv` reads, with the times that it read; the file appears whole or not at all.

    Args:
        path: the file.
        values: (leads, samples), written with seven digits, or more where they are far from zero; NaN where not known.
        leads: the names of their columns.
        header: of the recording that was read.
    """
    style: _Style = header.get("style", _Style(",", "."))
    columns = [[f"{value:.{_digits(row)}g}" for value in row.tolist()] for row in values]
    names = list(leads)
    if "clock" in header:
        place = len(names) if header["last"] else 0
        columns.insert(place, [repr(value) for value in header["seconds"].tolist()])
        names.insert(place, header["clock"])
    if style.point != ".":
        columns = [[cell.replace(".", style.point) for cell in column] for column in columns]
    text = io.StringIO()
    rows = csv.writer(text, delimiter=style.comma, lineterminator="\n")
    if header.get("head"):
        rows.writerow(names)
    rows.writerows(zip(*columns, strict=True))
    write_text(path, text.getvalue())


def _digits(row: Values) -> int:
    """Return how many digits keep seven of the variation of a row; the first digits of a large offset do not vary."""
    known = row[np.isfinite(row)]
    most, span = (float(np.abs(known).max()), float(np.ptp(known))) if known.size else (0.0, 0.0)
    return 7 if most <= span or not span else min(17, 7 + ceil(log10(most / span)))


def _text(raw: bytes) -> str:
    """Decode a table, with one kind of line end.

    Raises:
        DataError: if it is empty, or its last line does not end, as where a copy broke off.
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4096]:
        raise DataError("cannot be read as a table of numbers (its text is UTF-16 or no text; save it as UTF-8)")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if not text.strip():
        raise DataError("holds no numbers")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        raise DataError("cannot be read as a table of numbers (its last line has no line end, so it may be cut short)")
    return text.rstrip("\n") + "\n"


def _style(text: str) -> _Style:
    """Return how a table is punctuated: semicolons or tabs where its first line has them, else commas."""
    head, _, rest = text.partition("\n")
    line = rest.partition("\n")[0] or head
    comma = next((mark for mark in (";", "\t") if mark in line), ",")
    if comma == "," or "," not in text:
        return _Style(comma, ".")
    rows = rest or head
    if "." in rows and "," in rows:
        raise DataError("cannot be read as a table of numbers (its numbers have points and commas)")
    return _Style(comma, "," if "," in rows else ".")


def _numbers(text: str, style: _Style, first: int) -> NDArray[np.float64]:
    """Return (rows, columns), NaN where a cell is empty; `first`: the number of the first line, for errors."""
    if not text.strip():
        raise DataError("holds no rows")
    lines = text.removesuffix("\n").split("\n")
    empty = next((at for at, line in enumerate(lines) if not line.strip(" ")), None)
    if empty is not None:
        raise DataError(f"cannot be read as a table of numbers (line {first + empty} is empty: a row may be missing)")
    mark = re.escape(style.comma)
    text = "\n".join(lines) if style.point == "." else "\n".join(lines).replace(style.point, ".")
    hole = rf"(?m)(^|{mark})[ ]*(?:NA|N/A|null|\"\")?[ ]*(?={mark}|$)"
    if re.search(hole, text):
        text = re.sub(hole, r"\g<1>nan", text)
    return np.loadtxt(text.split("\n"), delimiter=style.comma, ndmin=2, comments=None, quotechar='"')


def _refuse_decimal_commas(text: str, style: _Style) -> None:
    """Refuse 1,5 in a file without a head: one number with a decimal comma, or two columns: it is ambiguous."""
    lines = text.removesuffix("\n").split("\n")
    if style.comma == "," and all(re.fullmatch(r"[ ]*-?\d+,\d+[ ]*", line) for line in lines):
        raise DataError("has lines such as 1,5 and no head: one column with decimal commas, or two; add a head line")


def _refuse_numbered(cells: Sequence[str], rows: NDArray[np.float64]) -> None:
    """Refuse a first line 0, 1, 2 or 1, 2, 3: names of columns that are numbers would be read as a sample of each."""
    numbers = list(cells[1:] if not cells[0] else cells)
    counted = any(numbers == [str(start + at) for at in range(len(numbers))] for start in (0, 1))
    fractions = bool((rows[np.isfinite(rows)] % 1 != 0).any())
    if counted and len(cells) > 1 and fractions:
        got = ", ".join(cells[:4])
        raise DataError(f"begins with the line {got}, which numbers its columns or holds values; add a head line")


def _clock(names: Sequence[str], time: str | None) -> int | None:
    """Return which column holds the times."""
    if time is not None:
        if time not in names:
            raise DataError(f"has no column {time!r}, which time names; its columns are {', '.join(names)}")
        return list(names).index(time)
    found = [i for i, name in enumerate(names) if _unit(name)[0].casefold() == TIME]
    if len(found) > 1:
        raise DataError(f"has several columns of times ({', '.join(names[i] for i in found)}); name one: time: NAME")
    return found[0] if found else None


def _unit(name: str) -> tuple[str, str]:
    """Return a column's name without its unit, and the unit, empty if its head states none.

    Units are in brackets, or in parentheses, or a word of the name: `ecg_uV`, `ECG uV filtered`, `ECG [V] filtered`.
    Without brackets at the end only known ones are. A voltage in other letters (`ecg_uv`) is a unit without a factor,
    and so is a multiple of one (`I (0.1 mV)`, `ecg_mV*10`, `ECG [V] x 10`).
    """
    found = re.fullmatch(r"(.*?)[ _]*\[([^\]]*)\]", name)
    if found:
        return found[1], found[2].strip()
    found = re.fullmatch(r"(.*?)[ _]*\(([^)]*)\)", name)
    if found and (found[2].strip().casefold() in _UNITS or _MULTIPLE.search(found[2])):
        return found[1], found[2].strip()
    for found in _WITHIN.finditer(name):
        if found[1].casefold() in _UNITS:
            return name[: found.start()].rstrip(" _"), f"{found[1]}{found[2] or ''}"
    if scaled := _SCALED.search(name):
        return name[: scaled.start()].rstrip(" _/.-"), scaled[0]
    found = re.fullmatch(r"(?i)(time)[ _](ms|us|s|sec|seconds)", name)
    if found:
        return found[1], found[2]
    word = _VOLTAGE.search(name)
    return (name[: word.start()].rstrip(" _/.-"), word[0]) if word else (name, "")


def _second(name: str) -> float:
    unit = _unit(name)[1]
    if unit not in SECONDS:
        raise DataError(f"its column {name} is in {unit!r}; times are in {', '.join(filter(None, SECONDS))}")
    return SECONDS[unit]


def _rate(seconds: NDArray[np.float64], clock: str, rate: float) -> float:
    """Return the samples a second of times, or `rate` if that is theirs as far as they can show."""
    count = len(seconds)
    step = (seconds[-1] - seconds[0]) / max(count - 1, 1)
    known = bool(np.isfinite(seconds).all()) and step > 0
    off = np.abs((seconds - seconds[0]) / step - np.arange(count)) if known else np.array([np.inf])
    if off.max() > TOLERANCE or not np.diff(seconds).min() > 0:
        where = f"; row {int(off.argmax()) + 1} does not" if known else ""
        raise DataError(f"its column {clock} must grow in even steps of seconds{where}")
    same = abs(step * rate - 1) * count < TOLERANCE
    return rate if same else float(1 / step)


def _refuse_counts(clock: str, found: float, rate: float) -> None:
    """Refuse whole numbers without a unit, at a much lower rate than the recipe's: they count rows or milliseconds.

    Where the rates are far apart, the refusal of that is clearer.
    """
    if rate / found <= 100:
        got = f"holds whole numbers, {found:g} rows a second, where the recipe's format has {rate:g}"
        raise DataError(f"its column {clock} {got}; if they are no seconds, state their unit: {clock} [ms]")


def _refuse_clocks(values: Values, names: Sequence[str]) -> None:
    """Refuse a column that is no signal but a clock or a row number: it would be restored as a lead."""
    for name, row in zip(names, values, strict=True):
        even = len(row) >= 8 and _off_grid(row) <= TOLERANCE
        if even or _unit(name)[0].casefold() in CLOCKS:
            why = "grows in even steps" if even else "has the name of times"
            raise DataError(f"its column {name!r} {why}, as a clock does; name it (time: {name}), or name the leads")


def _refuse_other_rate(table: NDArray[np.float64], names: Sequence[str], rate: float) -> None:
    """Refuse times without a name that do not have the rate of the recipe in any unit."""
    for at, name in enumerate(names):
        row = table[:, at]
        if _unit(name)[0].casefold() in CLOCKS and len(row) > 1 and np.isfinite(row).all():
            step = (row[-1] - row[0]) / (len(row) - 1)
            if not any(abs(step * second * rate - 1) < 0.01 for second in {*SECONDS.values(), 1e-9}):
                got = f"grows by {step:g} a row, which is not the rate of the recipe, {rate:g}, in any unit of time"
                raise DataError(f"its column {name!r} {got}; name it with its unit (time: NAME), or set rate")


def _off_grid(row: NDArray[np.float64]) -> float:
    """Return how far, in steps, a row is from growing evenly; infinite if it does not grow."""
    step = (row[-1] - row[0]) / max(len(row) - 1, 1)
    if not (np.isfinite(row).all() and step > 0 and np.diff(row).min() > 0):
        return float("inf")
    return float(np.abs((row - row[0]) / step - np.arange(len(row))).max())


def _refuse_infinite(values: Values, names: Sequence[str]) -> None:
    for name, row in zip(names, values, strict=True):
        if np.isinf(row).any():
            raise DataError(
                f"holds {int(np.isinf(row).sum())} infinite values in {name}; write nan where nothing is known"
            )


def read_npy(path: Path, leads: Sequence[str] | None) -> Recording:
    """Read (samples,) or (leads, samples) of numbers; the leads are called lead1, lead2 and so on.

    Raises:
        DataError: if it is missing, cut short or too long, or no such array.
    """
    try:
        with path.open("rb") as stream:
            array = np.load(stream, allow_pickle=False)
            more = bool(stream.read(1))
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot be read as a NumPy array ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iuf" or not array.size:
        what = f"{array.dtype} of {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(f"holds {what}; numbers of (samples,) or (leads, samples) are expected")
    if more:
        raise DataError(f"has more bytes than its array of {array.shape}; is it two files in one?")
    values = np.atleast_2d(array).astype(np.float64)
    if len(values) > values.shape[1]:
        raise DataError(f"holds {array.shape}: more leads than samples; (leads, samples) are expected, so transpose it")
    names = tuple(f"lead{i + 1}" for i in range(len(values)))
    taken = named_leads(names, leads)
    _refuse_infinite(values[taken], [names[at] for at in taken])
    return Recording(values[taken], tuple(names[at] for at in taken), ("",) * len(taken), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
