"""Another modality: Raman or infrared spectra, all in one table, a row a spectrum."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from restorekit import (
    UNLABELLED,
    DataError,
    Dataset,
    Intensity,
    RecipeError,
    Record,
    Sample,
    conformance_case,
    write_text,
)

KNOWN = ("id", "patient", "label", "side", "split")
"""Columns that say what a spectrum is; all others are its intensities, in their order."""


@dataclass(frozen=True)
class Row:
    """A spectrum, and what is known of it."""

    words: dict[str, str]
    values: tuple[float, ...]


class Spectra(Dataset):
    """The spectra of one side and split; a key is a spectrum's id."""

    def __init__(self, rows: list[Row], classes: tuple[str, ...], low: float, high: float) -> None:
        self.rows, self.classes, self.low, self.high = rows, classes, low, high
        self.records = [self._record(row.words) for row in rows]

    def _record(self, words: dict[str, str]) -> Record:
        target = self.classes.index(words["label"]) if words["label"] else UNLABELLED
        return Record(words["id"], target, group=words["patient"] or None)

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return spectrum `index`, (1, values) in [-1, 1], and how it can be turned back into counts.

        Raises:
            DataError: if a value lies outside of the range.
        """
        values = torch.tensor(self.rows[index].values, dtype=torch.float64)
        if not ((values >= self.low) & (values <= self.high)).all():
            key = self.records[index].key
            raise DataError(f"{key}: holds values outside of {self.low:g} to {self.high:g}; see the option range")
        unit = (values - self.low) / ((self.high - self.low) / 2) - 1
        return Sample(unit.float()[None], intensity=Intensity("float64", self.low, self.high, channels=1))


def write_example(folder: Path) -> None:
    """Write a table of spectra with one peak, elsewhere for each class; degraded ones have a sloping background."""
    lines = [",".join([*KNOWN, *(f"{600 + 8 * i}" for i in range(64))])]
    for side in ("good", "degraded"):
        for patient in range(8):
            for label, peak in (("benign", 20), ("malignant", 40)):
                split = ("train", "train", "train", "train", "train", "val", "test", "test")[patient]
                slope = 2.0 if side == "degraded" else 0.0
                height = 80 + patient
                counts = [100 + slope * i + height * math.exp(-(((i - peak) / 3) ** 2)) for i in range(64)]
                words = (f"{side}-{patient}-{label}", f"{side}-p{patient}", label, side, split)
                lines.append(",".join([*words, *(f"{count:.3f}" for count in counts)]))
    write_text(folder / "spectra.csv", "\n".join(lines) + "\n")


@conformance_case(options={"file": "spectra.csv", "side": "degraded", "range": [0, 400]}, files=write_example)
def spectra(root: Path | None, split: str, *, file: str, side: str, range: tuple[float, float]) -> Dataset:
    """Spectra from one table: columns id, patient, label, side and split, then the intensities.

    Args:
        root: where a relative path starts; None: the working folder.
        split: "train", "val" or "test".
        file: the CSV file.
        side: what its column `side` says of the spectra of this domain.
        range: the counts that become -1 and 1.
    """
    low, high = range
    if low >= high:
        raise RecipeError(f"dataset 'spectra': range is [low, high], low < high; got {[low, high]}")
    rows = _rows((root or Path()) / file)
    classes = tuple(sorted({row.words["label"] for row in rows} - {""}))
    taken = [row for row in rows if (row.words["side"], row.words["split"]) == (side, split)]
    return Spectra(taken, classes, low, high)


def _rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            lost = [name for name in KNOWN if name not in columns]
            if lost:
                raise DataError(f"{path}:1: has no column {lost[0]!r}; {', '.join(KNOWN)} are expected")
            numbers = [name for name in columns if name not in KNOWN]
            return [
                Row({name: line[name] for name in KNOWN}, tuple(float(line[name]) for name in numbers))
                for line in reader
            ]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a table of spectra ({error})") from error


if __name__ == "__main__":
    write_example(Path())
