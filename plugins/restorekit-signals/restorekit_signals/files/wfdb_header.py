"""The header of a WFDB record, read and written by header(5) of the WFDB Applications Guide.

Own code, since the package wfdb reads a header by patterns that skip what they do not expect: of the unit µV it keeps
V, of a rate of 2.5e2 it keeps 2.5, and of what is behind either nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from restorekit import DataError

__all__ = ["Header", "Segment", "SignalLine", "header_text", "read_header"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(rf"({_NUMBER})(?:\(({_NUMBER})\))?(?:/(\S+))?")
_RATE = re.compile(rf"({_NUMBER})(?:/{_NUMBER}(?:\({_NUMBER}\))?)?")
_NAME = re.compile(r"([-\w]+)(?:/(\d+))?")
_ASCII = {"µ": "u", "μ": "u", "°": "deg", "Ω": "Ohm", "²": "2"}
UNCALIBRATED = 200.0
"""Steps a unit of a signal that states no gain, or one of 0: the default of header(5)."""
DEFAULT_RATE = 250.0


@dataclass(frozen=True)
class SignalLine:
    """A signal specification line."""

    file: str
    fmt: str
    frame: int
    """Samples in a frame."""
    skew: int
    """Frames of the file that precede sample 0 of the record."""
    offset: int
    """Bytes, or of FLAC samples, that precede the first sample."""
    gain: float
    calibrated: bool
    """Whether the header states a gain."""
    baseline: float
    unit: str
    initial: int
    checksum: int | None
    """The 16-bit sum of all samples; None if it is not stated."""
    name: str


@dataclass(frozen=True)
class Segment:
    """A segment specification line; `~` is a gap."""

    name: str
    samples: int


@dataclass(frozen=True)
class Header:
    """A header of one segment, which has signals, or of several."""

    name: str
    rate: float
    """Frames a second."""
    samples: int | None
    """Frames; None if the header does not state them."""
    count: int
    """Of signals."""
    signals: tuple[SignalLine, ...] = ()
    segments: tuple[Segment, ...] = ()
    time: str = ""
    date: str = ""
    comments: tuple[str, ...] = field(default=())
    """The text after each #."""


def read_header(path: Path) -> Header:
    """Read a header.

    Raises:
        DataError: if it is not there, or a line of it breaks header(5).
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"has no header {path.name}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = [line.strip() for line in text.splitlines()]
    comments = tuple(line[1:] for line in lines if line.startswith("#"))
    stated = [line for line in lines if line and not line.startswith("#")]
    if not stated:
        raise DataError("is no WFDB header (it has no record line)")
    first = stated[0].split()
    name = _NAME.fullmatch(first[0])
    if name is None or len(first) < 2 or not first[1].isdigit():
        raise DataError(f"is no WFDB header (its record line is {stated[0][:80]!r})")
    rate = _rate(first[2]) if len(first) > 2 else DEFAULT_RATE
    samples = _whole(first[3], "number of samples") if len(first) > 3 else 0
    time, date = _start(first[4:6])
    if samples < 0:
        raise DataError(f"is no WFDB header (number of samples {samples})")
    expected = int(first[1]) if name[2] is None else int(name[2])
    if len(stated) - 1 != expected:
        what = "signals" if name[2] is None else "segments"
        raise DataError(f"is no sound WFDB header (its first line states {expected} {what}, it has {len(stated) - 1})")
    known = Header(name[1], rate, samples or None, int(first[1]), (), (), time, date, comments)
    if name[2] is None:
        lines_of = tuple(_signal(line, at) for at, line in enumerate(stated[1:]))
        return Header(**{**known.__dict__, "signals": lines_of})
    return Header(**{**known.__dict__, "segments": tuple(_segment(line) for line in stated[1:])})


def header_text(name: str, rate: float, samples: int, lines: Sequence[str], start: str, comments: Sequence[str]) -> str:
    """Return the text of a header of one segment."""
    first = f"{name} {len(lines)} {rate:.15g} {samples} {start}".rstrip()
    return "".join(f"{line}\n" for line in [first, *lines, *(f"#{_one_line(text)}" for text in comments)])


def signal_line(
    file: str, fmt: str, gain: float, baseline: int, unit: str, bits: int, initial: int, checksum: int, name: str
) -> str:
    """Return a signal specification line.

    Raises:
        DataError: if its unit cannot be written, which is ASCII without spaces.
    """
    return f"{file} {fmt} {gain!r}({baseline})/{_unit(unit)} {bits} 0 {initial} {checksum} 0 {_one_line(name).strip()}"


def _start(parts: Sequence[str]) -> tuple[str, str]:
    """Return base time and date, empty where they are missing or, as of some databases, written in another way."""
    if not parts or not re.fullmatch(r"\d+(:\d+){0,2}(\.\d+)?", parts[0]):
        return "", ""
    return parts[0], parts[1] if len(parts) > 1 and re.fullmatch(r"\d+/\d+/\d+", parts[1]) else ""


def _rate(text: str) -> float:
    found = _RATE.fullmatch(text)
    if found is None or not 0 < float(found[1]) < float("inf"):
        raise DataError(f"is no WFDB header (its sampling frequency is {text!r})")
    return float(found[1])


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"is no WFDB header ({what} {text!r}; a whole number is needed)") from None


def _signal(line: str, at: int) -> SignalLine:
    parts = line.split(None, 8)
    storage = _FORMAT.fullmatch(parts[1]) if len(parts) > 1 else None
    if storage is None:
        raise DataError(f"is no WFDB header (line of signal {at}: {line[:80]!r})")
    gain = _GAIN.fullmatch(parts[2]) if len(parts) > 2 else None
    if len(parts) > 2 and gain is None:
        raise DataError(f"is no WFDB header (line of signal {at}: its gain is {parts[2]!r})")
    fields = ("ADC resolution", "ADC zero", "initial value", "checksum", "block size")
    numbers = [_whole(text, f"line of signal {at}: {what}") for text, what in zip(parts[3:8], fields, strict=False)]
    zero = numbers[1] if len(numbers) > 1 else 0
    stated = float(gain[1]) if gain else 0.0
    return SignalLine(
        file=parts[0],
        fmt=storage[1],
        frame=int(storage[2] or 1) or 1,
        skew=int(storage[3] or 0),
        offset=int(storage[4] or 0),
        gain=stated or UNCALIBRATED,
        calibrated=stated != 0,
        baseline=float(gain[2]) if gain and gain[2] else float(zero),
        unit=(gain[3] or "mV") if gain else "mV",
        initial=numbers[2] if len(numbers) > 2 else zero,
        checksum=numbers[3] if len(numbers) > 3 else None,
        name=parts[8].strip() if len(parts) > 8 else f"lead{at + 1}",
    )


def _segment(line: str) -> Segment:
    parts = line.split()
    if len(parts) < 2 or not parts[1].isdigit() or not re.fullmatch(r"[-\w]+|~", parts[0]):
        raise DataError(f"is no WFDB header (segment line {line[:80]!r})")
    return Segment(parts[0], int(parts[1]))


def _unit(unit: str) -> str:
    for letter, plain in _ASCII.items():
        unit = unit.replace(letter, plain)
    unit = "_".join(unit.split()) or "NU"
    unit = "NU" if unit == "a.u." else unit
    if not unit.isascii():
        raise DataError(f"unit {unit!r} cannot be written to a WFDB header, whose units are ASCII")
    return unit


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
