"""EDF, EDF+, BDF and BDF+, read by their specifications (Kemp 1992; Kemp and Olivan 2003; biosemi.com for BDF).

A library reads them too, but joins what is discontinuous, pads what is cut, and reports it by a Python warning at most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError
from restorekit_signals.files.recording import Recording, Values, common_rate, named_leads, require_mostly_known

__all__ = ["read_edf"]

_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""Bytes of the fields of a signal: label, transducer, dimension, physical minimum and maximum, digital likewise,
prefiltering, samples a record, reserved."""
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15[\d.]*)?\x14")
_TEXT = re.compile(rb"\x14[^\x14\x00]+(?=\x14)")


@dataclass(frozen=True)
class _Signal:
    """A signal as its header describes it."""

    label: str
    transducer: str
    unit: str
    physical: tuple[str, str]
    digital: tuple[str, str]
    filters: str
    samples: int
    """In each data record."""

    def scale(self) -> tuple[float, int, float]:
        """Return units for a digital step, and the digital and the physical minimum, which belong together.

        Raises:
            DataError: if the header does not state them, or states one value for both.
        """
        try:
            low, high = (int(text) for text in self.digital)
            bottom, top = (float(Decimal(text)) for text in self.physical)
        except (ValueError, OverflowError, InvalidOperation):
            got = f"digital {' to '.join(self.digital)}, physical {' to '.join(self.physical)}"
            raise DataError(f"lead {self.label}: its header has no numbers for its range ({got})") from None
        if low >= high:
            raise DataError(
                f"lead {self.label}: digital minimum {low}, maximum {high}; the minimum must be the lower one"
            )
        if bottom == top or not np.isfinite([bottom, top]).all():
            raise DataError(f"lead {self.label}: physical minimum {bottom:g}, maximum {top:g}; they must differ")
        return (top - bottom) / (high - low), low, bottom


@dataclass(frozen=True)
class _Header:
    kind: str
    """EDF or BDF."""
    plus: str
    """C: continuous, D: discontinuous; empty: not EDF+ or BDF+."""
    start: tuple[str, str]
    """Date and time."""
    records: int
    seconds: Decimal
    """Of a data record."""
    signals: tuple[_Signal, ...]

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 3 if self.kind == "BDF" else 2


def read_edf(path: Path, leads: tuple[str, ...] | None) -> Recording:
    """Read the named leads, or all, of an EDF or BDF file; neither annotations nor BDF's status are leads.

    Where the time stamps of EDF+ leave gaps, the values in between are NaN.

    Raises:
        DataError: if it is damaged, shorter or longer than its header states, a lead is missing or its name not unique,
            its range is none, the leads have unequal rates, or the data records overlap.
    """
    try:
        raw = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise DataError("no such file") from None
    header = _header(raw)
    records, note = _records(raw, header)
    table = _table(raw, header, records)
    taken = _taken(header, leads)
    rates = [_rate(header.signals[at], header.seconds) for at in taken]
    names = tuple(header.signals[at].label for at in taken)
    rate = common_rate(names, rates)
    onsets, texts = _onsets(table, header)
    values, notes = [], [note]
    for at in taken:
        row, note = _values(table, header, at)
        values.append(row)
        notes.append(note)
    joined = _placed(np.stack(values), header, onsets, header.signals[taken[0]].samples)
    if texts:
        notes.append(f"{texts} annotations of the file are not written")
    signals = [header.signals[at] for at in taken]
    units = tuple(signal.unit or "NU" for signal in signals)
    kept = _kept(header, signals, onsets[0] if onsets else Decimal(0))
    return Recording(joined, names, units, rate, kept, tuple(filter(None, notes)))


def _header(raw: NDArray[np.uint8]) -> _Header:
    head = raw[:256].tobytes()
    kind = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF"}.get(head[:8], "")
    if len(head) < 256 or not kind:
        raise DataError("cannot be read as EDF or BDF (it does not begin as such a file does)")
    text = [_text(head[a:b]) for a, b in ((168, 176), (176, 184), (184, 192), (192, 236), (236, 244), (252, 256))]
    try:
        size, records, count = (int(text[at]) for at in (2, 4, 5))
        seconds = Decimal(_text(head[244:252]))
    except (ValueError, InvalidOperation):
        raise DataError("cannot be read as EDF or BDF (its header has no numbers where numbers must be)") from None
    if count < 1 or size != 256 * (count + 1) or len(raw) < size:
        got = f"{count} signals in a header of {size} bytes, in a file of {len(raw)}"
        raise DataError(
            f"cannot be read as EDF or BDF (got {got}; 256 bytes for the file and for each signal are needed)"
        )
    signals = _signals(raw[256:size].tobytes(), count)
    return _Header(kind, text[3][4:5] if text[3][3:4] == "+" else "", (text[0], text[1]), records, seconds, signals)


def _signals(data: bytes, count: int) -> tuple[_Signal, ...]:
    columns, start = [], 0
    for width in _FIELDS:
        columns.append([_text(data[start + i * width : start + (i + 1) * width]) for i in range(count)])
        start += width * count
    label, transducer, unit, bottom, top, low, high, filters, samples, _ = columns
    made = []
    for i in range(count):
        if not samples[i].isdigit():
            raise DataError(f"cannot be read as EDF or BDF (lead {label[i]} has {samples[i]!r} samples a record)")
        ends = (bottom[i], top[i]), (low[i], high[i])
        made.append(_Signal(label[i], transducer[i], unit[i], *ends, filters[i], int(samples[i])))
    return tuple(made)


def _text(field: bytes) -> str:
    """Decode a field: ASCII by the standard, UTF-8 or Latin-1 where a micro sign or a name needs it."""
    try:
        return field.decode("utf-8").strip(" \0")
    except UnicodeDecodeError:
        return field.decode("latin-1").strip(" \0")


def _records(raw: NDArray[np.uint8], header: _Header) -> tuple[int, str]:
    """Return how many data records there are, and a note if only the length of the file shows it."""
    size = header.width * sum(signal.samples for signal in header.signals)
    data = len(raw) - 256 * (len(header.signals) + 1)
    if not size or not data:
        raise DataError("holds no signal")
    there, over = divmod(data, size)
    if header.records == -1 and not over:
        return there, f"its header does not state the number of data records; the file has {there}"
    if over or there != header.records:
        stated = "no number of" if header.records == -1 else f"{header.records}"
        got = f"{there} whole ones of {size} bytes" + (f" and {over} bytes more" if over else "")
        cut = "the file may be cut short" if there < max(header.records, 0) or over else "it is longer than stated"
        raise DataError(f"its header states {stated} data records, the file has {got}; {cut}")
    return there, ""


def _table(raw: NDArray[np.uint8], header: _Header, records: int) -> NDArray[np.uint8]:
    """Return (records, bytes)."""
    return raw[256 * (len(header.signals) + 1) :].reshape(records, -1)


def _taken(header: _Header, leads: tuple[str, ...] | None) -> list[int]:
    """Return which signals are taken: no annotations, and of BDF no channel of triggers."""
    shown = [
        at
        for at, signal in enumerate(header.signals)
        if signal.label not in _ANNOTATIONS and not (header.kind == "BDF" and signal.label == "Status")
    ]
    if not shown:
        raise DataError("holds no signal")
    return [shown[at] for at in named_leads([header.signals[at].label for at in shown], leads)]


def _rate(signal: _Signal, seconds: Decimal) -> float:
    if not (seconds.is_finite() and seconds > 0 and signal.samples):
        got = f"{signal.samples} samples in {seconds} s"
        raise DataError(f"lead {signal.label}: a data record has {got}, which gives no rate; both must be above 0")
    return float(signal.samples / seconds)


def _bytes(table: NDArray[np.uint8], header: _Header, at: int) -> NDArray[np.uint8]:
    """Return (records, bytes) of a signal."""
    start = header.width * sum(signal.samples for signal in header.signals[:at])
    return table[:, start : start + header.width * header.signals[at].samples]


def _values(table: NDArray[np.uint8], header: _Header, at: int) -> tuple[Values, str]:
    """Return the physical values of a signal, and a note if some are outside of the digital range of its header."""
    signal = header.signals[at]
    if signal.unit == "Filtered" or signal.filters.lstrip().startswith("sign*LN"):
        raise DataError(f"lead {signal.label}: holds logarithms ({signal.filters}), which are not converted; export it")
    step, low, bottom = signal.scale()
    data = _bytes(table, header, at).tobytes()
    if header.kind == "BDF":
        part = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        digital = (part[:, 0] | part[:, 1] << 8 | part[:, 2] << 16) ^ 0x800000
        digital -= 0x800000  # the highest of 24 bits is the sign
    else:
        digital = np.frombuffer(data, "<i2").astype(np.int32)
    outside = int(((digital < low) | (digital > int(signal.digital[1]))).sum())
    note = f"{outside} values of lead {signal.label} are outside of the digital range of its header" if outside else ""
    return bottom + (digital - low).astype(np.float64) * step, note


def _onsets(table: NDArray[np.uint8], header: _Header) -> tuple[list[Decimal] | None, int]:
    """Return when each data record starts, in seconds, where EDF+ states it, and how many annotations have a text.

    Raises:
        DataError: if a discontinuous file does not state it.
    """
    places = [at for at, signal in enumerate(header.signals) if signal.label in _ANNOTATIONS]
    if not places:
        if header.plus == "D":
            raise DataError("is discontinuous and has no annotations, which give the starts of its data records")
        return None, 0
    rows = [_bytes(table, header, at) for at in places]
    texts = sum(len(_TEXT.findall(row.tobytes())) for part in rows for row in part)
    found = [_ONSET.match(row.tobytes()) for row in rows[0]]
    known = [Decimal(match[1].decode()) for match in found if match]
    if len(known) < len(found):
        if header.plus == "D" or known:
            raise DataError(f"data record {found.index(None)} does not state its start, as those of EDF+ must")
        return None, texts
    return known, texts


def _placed(values: Values, header: _Header, onsets: Sequence[Decimal] | None, samples: int) -> Values:
    """Put the data records at their times; what is between them is NaN.

    Raises:
        DataError: if records overlap, or a file that is called continuous has gaps.
    """
    if onsets is None or len(onsets) < 2:
        return values
    starts = [round((onset - onsets[0]) / header.seconds * samples) for onset in onsets]
    steps = np.diff(starts)
    if (steps == samples).all():
        return values
    if header.plus != "D" or steps.min() < samples:
        at = int(np.flatnonzero(steps != samples if header.plus != "D" else steps < samples)[0])
        what = "overlap" if steps[at] < samples else "have a gap between them, and the header calls the file continuous"
        raise DataError(f"data records {at} and {at + 1}, from {onsets[at]} and {onsets[at + 1]} s on, {what}")
    total = starts[-1] + samples
    require_mostly_known(values.shape[1], total)
    made = np.full((len(values), total), np.nan)
    for start, row in zip(starts, np.split(values, len(starts), axis=1), strict=True):
        made[:, start : start + samples] = row
    return made


def _kept(header: _Header, signals: Sequence[_Signal], first: Decimal) -> dict[str, Any]:
    """Return what a WFDB header keeps: the steps of the file, filters and transducers as comments, and the start."""
    gains, baselines, comments = [], [], []
    for signal in signals:
        gain, baseline = _steps(*signal.scale())
        gains.append(gain)
        baselines.append(baseline)
        for what, text in (("prefiltering", signal.filters), ("transducer", signal.transducer)):
            comments += [f"{signal.label}: {what} {text}"] if text else []
    kept: dict[str, Any] = {
        "adc_gain": gains,
        "baseline": baselines,
        "fmt": ["16"] * len(signals),
        "comments": comments,
    }
    return kept | _start(*header.start, first)


def _steps(step: float, low: int, bottom: float) -> tuple[float, int]:
    """Return the gain and the baseline with which WFDB, whose baseline is a whole number, keeps the digital values.

    Of a lead with inverted polarity they become -1 - value. Where 0 lies between two values, as it does between -1 and
    0 if both ranges are -N to N - 1 and -X to X, steps are half as large: each value then has one of its own.
    """
    zero = low - bottom / step if step > 0 else bottom / step - low - 1
    parts = 1 if abs(zero - round(zero)) <= 0.25 else 2
    return parts / abs(step), round(parts * zero)


def _start(date: str, time: str, first: Decimal) -> dict[str, str]:
    """Return dd.mm.yy and hh.mm.ss, and `first` seconds of EDF+, as WFDB writes them; years from 85 on are of 1900."""
    day, clock = (re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", text) for text in (date, time))
    if not clock:
        return {}
    kept = {"base_time": ":".join(clock.groups())}
    if day and 1 <= int(day[1]) <= 31 and 1 <= int(day[2]) <= 12:
        year = int(day[3])
        kept["base_date"] = f"{day[1]}/{day[2]}/{year + (1900 if year >= 85 else 2000)}"
    if not first:
        return kept
    try:
        moment = datetime.strptime(f"{kept.get('base_date', '01/01/2000')} {kept['base_time']}", "%d/%m/%Y %H:%M:%S")
        moment += timedelta(microseconds=round(first * 10**6))
    except (ValueError, OverflowError):  # no time of a day, or beyond all years
        return kept
    later = {"base_time": f"{moment:%H:%M:%S.%f}".rstrip("0").rstrip("."), "base_date": f"{moment:%d/%m/%Y}"}
    return {name: later[name] for name in kept}
