"""The format `signal`: WFDB, EDF, BDF, CSV and NumPy files, known by their suffix, in one physical unit at one rate."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

import restorekit
from restorekit import DataError, Format, Intensity, RecipeError, Stored, conformance_case, to_stored, to_unit
from restorekit_signals.files.edf_files import read_edf
from restorekit_signals.files.finding import SUFFIXES, find_signals, skipped_signals
from restorekit_signals.files.recording import Recording, Values, at_rate, stretches
from restorekit_signals.files.tables import read_csv, read_npy, write_csv
from restorekit_signals.files.wfdb_files import (
    Annotations,
    read_annotations,
    read_wfdb,
    record_files,
    write_annotations,
    write_wfdb,
)

__all__ = ["SignalFiles", "signal", "write_example"]

STEPS = 65_000
"""Of the range, in records without a gain."""
MOST = 100
"""How many times faster or slower than `rate` a file may be; beyond that one of the two is taken to be wrong."""
Rate = Annotated[float, Field(gt=0, le=1e6)]
Names = list[Annotated[str, Field(min_length=1)]]
Beyond = Literal["refuse", "clip", "keep"]


@dataclass(frozen=True)
class SignalFiles(Format):
    """Signal files at `rate`, their leads as channels; `low` becomes -1 and `high` 1, both in `unit`."""

    rate: float
    low: float
    high: float
    leads: tuple[str, ...] | None = None
    unit: str = "mV"
    beyond: Beyond = "refuse"
    centred: bool = False
    annotators: tuple[str, ...] = ("atr",)
    time: str | None = None
    windows = True

    @property
    def exceeds(self) -> bool:  # type: ignore[override]
        """Whether values beyond the range are kept."""
        return self.beyond == "keep"

    def find(self, folder: Path) -> list[Path]:
        """Return every WFDB header, EDF, BDF, CSV and .npy file below `folder`, but for segments of other records."""
        return find_signals(folder)

    def skipped(self, folder: Path) -> list[tuple[Path, str]]:
        """Return the signal files that `find` leaves out, each with the reason."""
        return skipped_signals(folder)

    def read(
        self, path: Path, *, range: Sequence[float] | None = None, dims: int | None = None
    ) -> tuple[NDArray[np.float32], Intensity]:
        """Read a record as (leads, samples) at `rate`.

        Stretches that the file marks as not known are bridged by straight lines. `details` of the intensity lists where
        they are (`unknown`, samples at `rate`), and holds the annotations by annotator (`annotations`, likewise).
        """
        file = _file(Path(path))
        with _naming(file, "read"):
            recording = self._opened(file)
        marks = {name: _annotations(file, name, recording) for name in self.annotators}
        with _naming(file, "read"):
            return self._mapped(file, recording, {n: m for n, m in marks.items() if m is not None}, range)

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        """Write CSV if `path` has this suffix, with the times of the input; else WFDB, with the input's annotations.

        Either way with the rate, the length and the unit of the input.
        """
        path, kept = Path(path), dict[str, Any](intensity.details)
        with _naming(path, "written"):
            values: Values = to_stored(image, replace(intensity, dtype="float64"))
            values = at_rate(values, self.rate, kept["rate"], kept["length"])
            values = np.where(kept["missing"], np.nan, values + kept["offsets"]) / np.asarray(kept["factors"])[:, None]
            if path.suffix.lower() == ".csv":
                write_csv(path, values, kept["leads"], kept["header"])
                return
            note = f" Restored by restorekit {restorekit.__version__}: a network's guess, not for diagnosis"
            header = {**kept["header"], "comments": [*(kept["header"].get("comments") or []), note]}
            write_wfdb(path, values, kept["rate"], kept["leads"], kept["units"], header)

    def files(self, path: Path) -> list[Path]:
        """Return the file, of WFDB the header and what it names, and the annotations beside it that are read."""
        file = _file(Path(path))
        marks = (file.with_suffix(f".{name}") for name in self.annotators)
        return [*(record_files(file) if file.suffix.lower() == ".hea" else [file]), *filter(Path.is_file, marks)]

    def restored_name(self, path: Path, name: Path) -> tuple[Path, str]:
        """Return NAME.csv for CSV; else NAME.hea, of WFDB, whose names hold letters, digits, - and _ alone."""
        file = _file(path)
        if file.suffix.lower() == ".csv":
            return name, ""
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", _file(name).name.removesuffix(file.suffix))
        kind = {".edf": "EDF", ".bdf": "BDF", ".npy": "NumPy"}.get(file.suffix.lower())
        return name.with_name(f"{stem}.hea"), f"{kind} is written as WFDB" if kind else ""

    def _opened(self, file: Path) -> Recording:
        suffix = file.suffix.lower()
        if suffix in (".edf", ".bdf"):
            return read_edf(file, self.leads)
        if suffix == ".csv":
            return read_csv(file, self.time, self.rate, self.leads)
        return (read_npy if suffix == ".npy" else read_wfdb)(file, self.leads)

    def _mapped(
        self, file: Path, recording: Recording, marks: dict[str, Annotations], declared: Sequence[float] | None
    ) -> tuple[NDArray[np.float32], Intensity]:
        low, high = declared or (self.low, self.high)
        rate = self.rate if recording.rate is None else recording.rate
        if not 1 / MOST <= rate / self.rate <= MOST:
            raise DataError(
                f"has {rate:g} samples a second, the recipe's format {self.rate:g}; are its times in seconds?"
            )
        factors = recording.factors(self.unit)
        values = recording.values * np.asarray(factors)[:, None]
        missing = ~np.isfinite(values)
        length = values.shape[1]
        offsets = np.nanmedian(values, axis=1, keepdims=True) if self.centred else np.zeros((len(values), 1))
        values = values - offsets
        notes = [*recording.notes, _bridged(values, missing, recording.leads, rate)]
        _refuse_flat(values, recording.leads)
        values = at_rate(values, rate, self.rate)
        if rate != self.rate:
            notes.append(f"resampled from {rate:g} to {self.rate:g} Hz, restored, and back")
        if self.beyond == "clip":
            count = int(((values < low) | (values > high)).sum())
            values = np.clip(values, low, high)
            notes.append(f"{count} values beyond {low:g} to {high:g} {self.unit} were cut" if count else "")
        ratio = self.rate / rate
        details = {
            "rate": rate,
            "length": length,
            "leads": recording.leads,
            "units": tuple(unit or self.unit for unit in recording.units),
            "factors": factors,
            "offsets": offsets,
            "missing": missing,
            "header": self._header(file, recording, marks, factors, (low, high)),
            "unknown": [(int(a * ratio), int(np.ceil(b * ratio))) for a, b in stretches(missing.any(axis=0))],
            "annotations": {
                name: Annotations(np.round(mark.samples * ratio).astype(np.int64), mark.symbols)
                for name, mark in marks.items()
            },
        }
        stored = Stored(values, low, high, spacing=(1 / self.rate,), details=details)
        kind = "WFDB" if file.suffix == ".hea" else file.suffix[1:].upper()
        image, intensity = to_unit(stored, kind, (low, high), exceeds=self.exceeds)
        return image, replace(intensity, unit=self.unit, names=recording.leads, note="; ".join(filter(None, notes)))

    def _header(
        self,
        file: Path,
        recording: Recording,
        marks: dict[str, Annotations],
        factors: Sequence[float],
        ends: tuple[float, float],
    ) -> dict[str, Any]:
        """Return what the written header keeps of the input's header, or what a record without one is given.

        A gain is steps for a unit of the file, of which `factors` make the recipe's, in which the range is.
        """
        count, steps = len(recording.leads), STEPS / (ends[1] - ends[0])
        gains = [steps * factor for factor in factors]
        plain = {"fmt": ["16"] * count, "adc_gain": gains, "baseline": [round(-steps * sum(ends) / 2)] * count}
        files = {name: file.with_suffix(f".{name}").read_bytes() for name in marks}
        return {**plain, **recording.header, "files": files}


def write_example(folder: Path) -> None:
    """Write two records of made beats, of two leads and forty seconds, with annotations."""
    for name, pace in (("good", 1.0), ("poor", 0.8)):
        rate, count = 128, 5120
        at = np.arange(0.5, 39.5, pace)
        times = np.arange(count) / rate
        beats = sum(np.exp(-(((times - t) / 0.02) ** 2)) - 0.1 * np.exp(-(((times - t - 0.2) / 0.05) ** 2)) for t in at)
        values = np.stack([beats, 0.5 * beats + 0.1 * np.sin(times)])
        kept = {"fmt": ["16", "16"], "adc_gain": [200.0, 200.0], "baseline": [0, 0]}
        write_wfdb(folder / f"{name}.hea", values, rate, ("MLII", "V1"), ("mV", "mV"), kept)
        symbols = tuple("V" if i % 5 == 4 else "N" for i in range(len(at)))
        write_annotations(folder / f"{name}.atr", Annotations(np.round(at * rate).astype(np.int64), symbols))


@conformance_case(options={"rate": 128, "range": [-2, 2]}, files=write_example)
def signal(
    *,
    rate: Rate,
    range: tuple[float, float],
    leads: Names | None = None,
    unit: Annotated[str, Field(min_length=1)] = "mV",
    offset: Literal["keep", "remove"] = "keep",
    beyond: Beyond = "refuse",
    annotators: Names = ["atr"],  # noqa: B006
    time: Annotated[str, Field(min_length=1)] | None = None,
) -> Format:
    """Recorded signals: WFDB (.hea), EDF and BDF (.edf, .bdf), CSV (.csv, a column a lead), NumPy (.npy, a row a lead).

    Leads are channels. What is read has one rate and one range, whatever each file has; what is restored is at the
    rate, length and unit of the input: CSV as CSV, with its times; the others as WFDB, with the annotations
    beside it. CSV and NumPy are taken to be in `unit` and, unless a CSV has a column of seconds, at `rate`.

    Args:
        rate: Samples a second that the networks see; files of another rate are resampled, and back when written.
        range: The values that become -1 and 1, [LOW, HIGH], in `unit`.
        leads: Which leads, in this order; default: all of the file.
        unit: What the range is in. Files in V, mV, uV or nV are brought to it if it is one of them.
        offset: `remove`: the median of each lead of a record becomes 0, for offsets of electrodes and recorders mean
            nothing; a restored record has it again.
        beyond: Of values beyond the range: `refuse` the record; `clip` them and report how many; `keep` them beyond -1
            and 1, for noise much larger than good signals. Restored signals are always within the range.
        annotators: Suffixes of annotation files that are read, and carried along with a restored record. The beats of
            a record are those of the first that marks any.
        time: The column of a CSV that holds seconds, in even steps; default: `time`, if there is one.
    """
    low, high = range
    if not (low < high and np.isfinite(high - low)):
        raise RecipeError(f"format 'signal': range is [LOW, HIGH], LOW < HIGH; got {[low, high]}", option="range")
    taken = tuple(leads) if leads else None
    return SignalFiles(rate, low, high, taken, unit, beyond, offset == "remove", tuple(annotators), time)


@contextmanager
def _naming(file: Path, done: str) -> Iterator[None]:
    """Let every error inside be a DataError that names the file; no library has the last word about a defect."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    except MemoryError as error:
        raise DataError(f"{file}: does not fit into memory") from error
    except Exception as error:  # a damaged file can make a library raise anything
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file}: cannot be {done} ({why[:200]})") from error


def _annotations(file: Path, annotator: str, recording: Recording) -> Annotations | None:
    """Read the annotations beside a record; errors name their file, not the record's."""
    with _naming(file.with_suffix(f".{annotator}"), "read"):
        return read_annotations(file, annotator, recording)


def _file(path: Path) -> Path:
    """Return the file that a path names: a WFDB record may be named as PhysioNet does, without .hea, or by its .dat."""
    if path.suffix.lower() in SUFFIXES:
        return path
    return path.with_suffix(".hea") if path.suffix == ".dat" else path.with_name(f"{path.name}.hea")


def _bridged(values: Values, missing: NDArray[np.bool_], leads: Sequence[str], rate: float) -> str:
    """Put straight lines, in place, where values are missing, and return a note on them."""
    if not missing.any():
        return ""
    for lead, row, lost in zip(leads, values, missing, strict=True):
        if lost.mean() > 0.5:
            raise DataError(
                f"{lost.sum()} of {lost.size} values of lead {lead} are not known; more than half is needed"
            )
        row[lost] = np.interp(np.flatnonzero(lost), np.flatnonzero(~lost), row[~lost])
    first = int(np.flatnonzero(missing.any(axis=0))[0])
    return f"{int(missing.sum())} values, from {first / rate:g} s on, are not known; they stay so"


def _refuse_flat(values: Values, leads: Sequence[str]) -> None:
    for lead, row in zip(leads, values, strict=True):
        if row.min() == row.max():
            raise DataError(f"lead {lead} is flat, {row[0]:g} from start to end; take it out of leads")
