"""WFDB records and annotations by the package wfdb (physionet.org): the home of that library's files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from numpy.typing import NDArray

from restorekit import DataError
from restorekit_signals.files.recording import Recording, Values

__all__ = ["Annotations", "read_annotations", "read_wfdb", "write_annotations", "write_wfdb"]

_DEPTHS = {"80": 7, "212": 11, "16": 15, "24": 23, "32": 31}
"""Formats that are written, and the bits of their values without the sign; the lowest value is that of none."""


@dataclass(frozen=True)
class Annotations:
    """Marks at samples of a record."""

    samples: NDArray[np.int64]
    symbols: tuple[str, ...]


def read_wfdb(path: Path) -> Recording:
    """Read the record whose header is `path`.

    Raises:
        DataError: if the header or a signal file is missing or damaged, or the leads have unequal rates.
    """
    if not path.is_file():
        raise DataError("no such file; a WFDB record is a header, .hea, and the signal files that it names")
    name = str(path.with_suffix(""))
    try:
        header = wfdb.rdheader(name)
    except Exception as error:  # a damaged header can make the library raise anything
        raise DataError(f"is no WFDB header ({_line(error)})") from error
    for file in dict.fromkeys(getattr(header, "file_name", None) or ()):
        if not (path.parent / file).is_file():
            raise DataError(f"names the signal file {file}, which is not there")
    frames = getattr(header, "samps_per_frame", None) or [1]
    if len(set(frames)) > 1:
        told = ", ".join(f"{lead} {header.fs * n:g} Hz" for lead, n in zip(header.sig_name, frames, strict=True))
        raise DataError(f"its leads have unequal rates ({told}); split them into records of one rate")
    try:
        record = wfdb.rdrecord(name, smooth_frames=False) if frames[0] > 1 else wfdb.rdrecord(name)
    except Exception as error:
        raise DataError(f"its signals cannot be read ({_line(error)}); the file may be cut short") from error
    if not record.n_sig or not record.sig_len:
        raise DataError("holds no signal")
    values = np.stack(record.e_p_signal) if record.p_signal is None else record.p_signal.T
    kept = {key: getattr(record, key) for key in ("fmt", "adc_gain", "baseline", "comments", "base_time", "base_date")}
    leads = tuple(name or f"lead{i + 1}" for i, name in enumerate(record.sig_name))
    rate = float(record.fs) * frames[0]
    return Recording(values.astype(np.float64), leads, tuple(unit or "" for unit in record.units), rate, kept)


def read_annotations(path: Path, annotator: str, samples: int) -> Annotations | None:
    """Read the annotations beside the record `path`; None if there are none.

    Args:
        path: the record's file.
        annotator: the suffix of their file, such as atr.
        samples: of the record; an annotation must lie in it.

    Raises:
        DataError: if the file is damaged or marks a place past the record's end, or counts frames of several samples.
    """
    file = path.with_suffix(f".{annotator}")
    if not file.is_file():
        return None
    if path.suffix == ".hea" and max(wfdb.rdheader(str(path.with_suffix(""))).samps_per_frame or [1]) > 1:
        mend = "xform of the WFDB software writes a record of one sample a frame, its annotations with it"
        raise DataError(f"{file}: counts frames, of which each holds several samples; {mend}")
    try:
        found = wfdb.rdann(str(path.with_suffix("")), annotator)
    except Exception as error:
        raise DataError(f"{file}: cannot be read as annotations ({_line(error)})") from error
    beyond = found.sample[(found.sample < 0) | (found.sample >= samples)]
    if beyond.size:
        more = f" (the first of {beyond.size})" if beyond.size > 1 else ""
        raise DataError(f"{file}: marks sample {beyond[0]}{more}, and the record ends at {samples}; it is another's")
    return Annotations(found.sample.astype(np.int64), tuple(found.symbol))


def write_annotations(path: Path, marks: Annotations) -> None:
    """Write annotations to `path`, NAME.ANNOTATOR."""
    wfdb.wrann(path.stem, path.suffix[1:], marks.samples, list(marks.symbols), write_dir=str(path.parent))


def write_wfdb(
    target: Path, values: Values, rate: float, leads: tuple[str, ...], units: tuple[str, ...], kept: Mapping[str, Any]
) -> None:
    """Write a record: `target` is its header, the signals lie beside it.

    Each file appears whole, the header last, so that a reader never meets a header without its signals.

    Args:
        target: NAME.hea, NAME of letters, digits, - and _.
        values: (leads, samples) in `units`; NaN where not known.
        rate: samples a second.
        leads: names.
        units: a lead each.
        kept: fmt, adc_gain, baseline, comments, base_time and base_date; and `files`, more bytes to write by suffix.
    """
    name = target.stem
    gain, baseline = np.asarray(kept["adc_gain"], float), np.asarray(kept["baseline"], float)
    digital = np.round(values * gain[:, None] + baseline[:, None])
    formats = [_format(fmt, lead) for fmt, lead in zip(kept["fmt"], digital, strict=True)]
    lowest = np.array([-(2.0 ** _DEPTHS[fmt]) for fmt in formats])
    digital = np.where(np.isnan(digital), lowest[:, None], digital)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        wfdb.wrsamp(
            name,
            int(rate) if float(rate).is_integer() else rate,
            list(units),
            list(leads),
            d_signal=digital.T.astype(np.int64),
            fmt=formats,
            adc_gain=gain.tolist(),
            baseline=[int(b) for b in baseline],
            comments=list(kept.get("comments") or []),
            base_time=kept.get("base_time"),
            base_date=kept.get("base_date"),
            write_dir=folder,
        )
        for suffix, data in kept.get("files", {}).items():
            (Path(folder) / f"{name}.{suffix}").write_bytes(data)
        for made in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == ".hea"):
            os.replace(made, target.parent / made.name)


def _format(fmt: str, digital: NDArray[np.float64]) -> str:
    """Return the format of the source if it is one that is written and holds the values; else the next that does."""
    most = float(np.nanmax(np.abs(digital)))
    fits = [name for name, bits in _DEPTHS.items() if most < 2**bits]
    if fmt in fits:
        return fmt
    wider = [name for name in ("16", "24", "32") if name in fits]
    if not wider:
        raise DataError(f"holds values of {most:g} steps, which no WFDB format does")
    return wider[0]


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
