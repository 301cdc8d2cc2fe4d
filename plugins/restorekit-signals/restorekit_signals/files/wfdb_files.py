"""WFDB records of one segment or several, and their annotations; the latter by the package wfdb (physionet.org)."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from numpy.typing import NDArray

from restorekit import DataError
from restorekit_signals.files.recording import VOLTS, Recording, Values, common_rate, named_leads, require_mostly_known
from restorekit_signals.files.wfdb_header import Header, SignalLine, header_text, read_header, signal_line
from restorekit_signals.files.wfdb_signals import INVALID, WRITTEN, encoded, read_group, sum_of, to_digital

__all__ = [
    "Annotations",
    "read_annotations",
    "read_wfdb",
    "record_files",
    "segment_files",
    "write_annotations",
    "write_wfdb",
]

_GAP = "~"
_CLOCK = re.compile(rb"## time resolution: (\d+\.?\d*)")


@dataclass(frozen=True)
class Annotations:
    """Marks at samples of a record."""

    samples: NDArray[np.int64]
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class _Lead:
    """A signal of a record, with the facts of its header."""

    line: SignalLine
    values: Values | None
    """Physical values, NaN where not known; None: nothing is stored of it."""


def read_wfdb(path: Path, leads: Sequence[str] | None) -> Recording:
    """Read the named leads, or all, of the record whose header is `path`.

    Leads with a skew are shifted into place. What segments leave out is NaN, as are samples that stand for no value.

    Raises:
        DataError: if a header or a signal file is missing, damaged, shorter or longer than stated, a checksum is not
            that of the samples, a lead is missing or its name not unique, or the leads have unequal rates or units.
    """
    if not path.is_file():
        raise DataError("no such file; a WFDB record is a header, .hea, and the signal files that it names")
    header = read_header(path)
    if not header.count:
        raise DataError("holds no signal")
    found = _segmented(path.parent, header) if header.segments else _leads(path.parent, header, header.samples)
    names = [lead.line.name for lead in found]
    taken = [found[at] for at in named_leads(names, leads)]
    lines = [lead.line for lead in taken]
    frames = [line.frame for line in lines]
    rate = common_rate([line.name for line in lines], [header.rate * frame for frame in frames])
    stored = [lead.values for lead in taken]
    empty = [line.name for line, values in zip(lines, stored, strict=True) if values is None or not values.size]
    if empty:
        raise DataError(f"holds no samples of lead {empty[0]}")
    kept = {
        "fmt": [line.fmt for line in lines],
        "adc_gain": [line.gain for line in lines],
        "baseline": [round(line.baseline) for line in lines],
        "comments": list(header.comments),
        "base_time": header.time,
        "base_date": header.date,
    }
    bare = [line.name for line in lines if not line.calibrated]
    notes = (f"uncalibrated: {', '.join(bare)}; taken as 200 steps for a unit, the default of WFDB",) if bare else ()
    values = np.stack([row for row in stored if row is not None])
    units = tuple(line.unit for line in lines)
    return Recording(values, tuple(line.name for line in lines), units, rate, kept, notes, frames[0])


def segment_files(path: Path) -> list[Path]:
    """Return the headers of the segments that the header `path` names; none of what is no sound header."""
    try:
        segments = read_header(path).segments
    except (DataError, OSError):
        return []
    return [path.with_name(f"{part.name}.hea") for part in segments if part.name != _GAP]


def record_files(path: Path) -> list[Path]:
    """Return the header `path`, its segments' headers, and the files of samples that they name, each once."""
    headers = [path, *segment_files(path)]
    samples = []
    for header in headers:
        with suppress(DataError, OSError):  # reading it has the right words
            samples += [header.with_name(line.file) for line in read_header(header).signals]
    return list(dict.fromkeys([*headers, *samples]))


def read_annotations(path: Path, annotator: str, recording: Recording) -> Annotations | None:
    """Read the annotations beside the record `path`; None if there are none.

    Args:
        path: the record's file.
        annotator: the suffix of their file, such as atr.
        recording: what was read of the record; an annotation must lie in it.

    Raises:
        DataError: if the file is damaged or marks a place past the record's end, or counts frames of several samples.
    """
    file = path.with_suffix(f".{annotator}")
    if not file.is_file():
        return None
    if recording.frame > 1:
        fix = "xform of the WFDB software writes a record of one sample a frame, its annotations with it"
        raise DataError(f"counts frames, of which each holds several samples; {fix}")
    raw = file.read_bytes()
    if raw[-2:] != b"\0\0":
        raise DataError("cannot be read as annotations (it has no end mark; the file may be cut short)")
    try:
        found = wfdb.rdann(str(path.with_suffix("")), annotator)
    except Exception as error:  # a damaged file can make the library raise anything
        raise DataError(f"cannot be read as annotations ({_line(error)})") from error
    places = found.sample.astype(np.int64)
    clock = _CLOCK.search(raw[:256])
    if clock and recording.rate and float(clock[1]) > 0:  # annotations may count ticks of their own
        places = np.round(places * (recording.rate / float(clock[1]))).astype(np.int64)
    samples = recording.values.shape[1]
    beyond = places[(places < 0) | (places >= samples)]
    if beyond.size:
        more = f" (the first of {beyond.size})" if beyond.size > 1 else ""
        raise DataError(f"marks sample {beyond[0]}{more}, and the record ends at {samples}; it is another's")
    return Annotations(places, tuple(found.symbol))


def write_annotations(path: Path, marks: Annotations) -> None:
    """Write annotations to `path`, NAME.ANNOTATOR."""
    wfdb.wrann(path.stem, path.suffix[1:], marks.samples, list(marks.symbols), write_dir=str(path.parent))


def write_wfdb(
    target: Path, values: Values, rate: float, leads: tuple[str, ...], units: tuple[str, ...], kept: Mapping[str, Any]
) -> None:
    """Write a record: `target` is its header, the signals lie beside it in one file of one format.

    Each file appears whole, the header last, so that a reader never meets a header without its signals.

    Args:
        target: NAME.hea, NAME of letters, digits, - and _.
        values: (leads, samples) in `units`; NaN where not known.
        rate: samples a second.
        leads: names.
        units: a lead each.
        kept: fmt, adc_gain and baseline for each lead; comments, base_time and base_date; and `files`, more bytes to
            write by suffix.

    Raises:
        DataError: if no format holds the values, or a name or unit cannot be written.
    """
    if not re.fullmatch(r"[-\w]+", target.stem, re.ASCII):
        raise DataError(f"got the record name {target.stem!r}; of WFDB it has letters, digits, - and _ alone")
    made = [
        to_digital(row, gain, int(baseline), lead)
        for row, gain, baseline, lead in zip(values, kept["adc_gain"], kept["baseline"], leads, strict=True)
    ]
    fmt = _format(kept["fmt"], max(bits for _, bits in made))
    digital = np.stack(
        [np.where(np.isnan(row), INVALID[fmt], steps) for row, (steps, _) in zip(values, made, strict=True)]
    )
    name = target.stem
    lines = [
        signal_line(
            f"{name}.dat", fmt, float(gain), int(baseline), unit, WRITTEN[fmt] + 1, int(row[0]), sum_of(row), lead
        )
        for row, gain, baseline, unit, lead in zip(
            digital, kept["adc_gain"], kept["baseline"], units, leads, strict=True
        )
    ]
    start = f"{kept.get('base_time') or ''} {kept.get('base_date') or ''}".strip() if kept.get("base_time") else ""
    text = header_text(name, rate, values.shape[1], lines, start, list(kept.get("comments") or []))
    files = {f".{suffix}": data for suffix, data in kept.get("files", {}).items()}
    _write_all(target, {".dat": encoded(digital.T.reshape(-1), fmt), **files, ".hea": text.encode()})


def _write_all(target: Path, files: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        for suffix, data in files.items():
            (Path(folder) / f"{target.stem}{suffix}").write_bytes(data)
        for suffix in files:
            os.replace(Path(folder) / f"{target.stem}{suffix}", target.with_suffix(suffix))


def _format(wanted: Sequence[str], bits: int) -> str:
    """Return the format of the source if all leads have it, it is written and holds the values; else one that does."""
    if len(set(wanted)) == 1 and bits <= WRITTEN.get(wanted[0], -1):
        return wanted[0]
    return next(fmt for fmt in ("16", "24", "32") if bits <= WRITTEN[fmt])


def _leads(folder: Path, header: Header, samples: int | None) -> list[_Lead]:
    """Read every signal of a record of one segment; format 0 stands for signals of which nothing is stored."""
    leads: list[_Lead] = []
    seen: set[str] = set()
    for file, group in groupby(header.signals, key=lambda line: line.file):
        lines = list(group)
        if file == _GAP or lines[0].fmt == "0":
            leads += [_Lead(line, None) for line in lines]
            continue
        if file in seen:
            raise DataError(f"names the signal file {file} for signals that do not follow each other")
        seen.add(file)
        for line, digital in zip(lines, read_group(folder, lines, samples), strict=True):
            leads.append(_Lead(line, _physical(digital, line)))
    lengths = {len(lead.values) // lead.line.frame for lead in leads if lead.values is not None}
    if len(lengths) > 1:
        raise DataError(
            f"its signal files hold {' and '.join(map(str, sorted(lengths)))} samples; one may be cut short"
        )
    return leads


def _physical(digital: NDArray[Any], line: SignalLine) -> Values:
    """Return (sample - baseline) / gain, without the skew, which leaves the end unknown."""
    values: Values = (digital - line.baseline) / line.gain
    if line.fmt in INVALID:
        values[digital == INVALID[line.fmt]] = np.nan
    if line.skew:
        lost = min(line.skew * line.frame, len(values))
        values = np.concatenate([values[lost:], np.full(lost, np.nan)])
    return values


def _segmented(folder: Path, header: Header) -> list[_Lead]:
    """Read a record of several segments. A first one of no length lists the leads (variable layout)."""
    parts = list(header.segments)
    total = sum(part.samples for part in parts)
    if header.samples is not None and header.samples != total:
        raise DataError(f"states {header.samples} samples, its segments have {total}")
    require_mostly_known(sum(part.samples for part in parts if part.name != _GAP), total)
    heads = {part.name: _segment_header(folder, part.name, part.samples, header) for part in parts if part.name != _GAP}
    if not heads:
        raise DataError("holds no signal, only gaps")
    variable = parts[0].name != _GAP and parts[0].samples == 0
    layout = heads[parts[0].name].signals if variable else next(iter(heads.values())).signals
    if len(layout) != header.count:
        raise DataError(f"states {header.count} signals, its segments have {len(layout)}")
    read = {
        name: _columns(layout, _leads(folder, head, head.samples), name, variable)
        for name, head in heads.items()
        if head.samples
    }
    return [_joined(parts, [read.get(part.name, {}).get(at) for part in parts], line) for at, line in enumerate(layout)]


def _segment_header(folder: Path, name: str, samples: int, whole: Header) -> Header:
    head = read_header(folder / f"{name}.hea")
    if head.segments:
        raise DataError(f"segment {name} has segments of its own, which a segment must not")
    if (head.samples or 0) != samples:
        raise DataError(f"segment {name} has {head.samples or 0} samples, the record states {samples} of it")
    if head.rate != whole.rate:
        raise DataError(f"segment {name} has {head.rate:g} samples a second, the record {whole.rate:g}")
    return head


def _columns(layout: Sequence[SignalLine], leads: Sequence[_Lead], name: str, variable: bool) -> dict[int, _Lead]:
    """Return which lead of a segment is which of the record: by name in a variable layout, else by place and name.

    Raises:
        DataError: if that is not certain.
    """
    wanted, names = [line.name for line in layout], [lead.line.name for lead in leads]
    if variable:
        unknown = [lead for lead in names if wanted.count(lead) != 1 or names.count(lead) != 1]
        if unknown:
            raise DataError(f"segment {name} has a lead {unknown[0]!r}, which must be in the layout and in it once")
        return {wanted.index(lead.line.name): lead for lead in leads}
    if names != wanted:
        raise DataError(f"segment {name} has the leads {', '.join(names)}, the first segment {', '.join(wanted)}")
    return dict(enumerate(leads))


def _joined(parts: Sequence[Any], leads: Sequence[_Lead | None], layout: SignalLine) -> _Lead:
    """Put the pieces of one lead end to end, in one unit; it is written with the finest steps that a piece has."""
    pieces = [lead for lead in leads if lead is not None and lead.values is not None]
    if not pieces:
        return _Lead(layout, None)
    finest = max(pieces, key=lambda lead: abs(lead.line.gain) / VOLTS.get(lead.line.unit, 1.0)).line
    finest = replace(finest, calibrated=all(lead.line.calibrated for lead in pieces))
    frames = {lead.line.frame for lead in pieces}
    if len(frames) > 1:
        raise DataError(f"lead {layout.name} has unequal samples a frame in its segments: {sorted(frames)}")
    rows = []
    for part, lead in zip(parts, leads, strict=True):
        if lead is None or lead.values is None:
            rows.append(np.full(part.samples * finest.frame, np.nan))
        else:
            rows.append(lead.values * _in_unit(lead.line, finest.unit))
    return _Lead(finest, np.concatenate(rows))


def _in_unit(line: SignalLine, unit: str) -> float:
    if line.unit == unit:
        return 1.0
    if line.unit in VOLTS and unit in VOLTS:
        return VOLTS[line.unit] / VOLTS[unit]
    raise DataError(f"lead {line.name} is in {line.unit} in one segment and in {unit} in another")


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
