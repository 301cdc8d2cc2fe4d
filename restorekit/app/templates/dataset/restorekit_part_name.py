"""Signals from CSV files: a file a signal, a row a moment, a column a channel, no header.

PATH/SPLIT/CLASS/PATIENT_*.csv, such as good/train/slow/p07_2.csv. `python -m restorekit_part_name` writes examples.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from restorekit import (
    DataError,
    Dataset,
    RecipeError,
    Record,
    Sample,
    conformance_case,
    split_of,
    write_text,
)

NAME = "part_name"


class Signals(Dataset):
    """The signals of one split. A patient is what stands before the first _ of a file's name."""

    def __init__(self, base: Path, split: str, low: float, high: float) -> None:
        self.base, self.low, self.high = base, low, high
        files = sorted(base.glob("*/*/*.csv"))
        if not files:
            raise DataError(f"{base}: has no signals; files named SPLIT/CLASS/PATIENT_*.csv are expected there")
        # Every split is looked at, so that a class means the same number in each of them.
        self.classes = tuple(sorted({path.parent.name for path in files}))
        self.records = [self._record(path) for path in files if split_of(path.parts[-3]) == split]

    def _record(self, path: Path) -> Record:
        target = self.classes.index(path.parent.name)
        return Record(path.relative_to(self.base).as_posix(), target, group=path.stem.partition("_")[0])

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return signal `index`, (columns, rows) in [-1, 1]; nothing is left to `rng`.

        Raises:
            DataError: if the file is no table of numbers, or one lies outside of the range.
        """
        path = self.base / self.records[index].key
        try:
            rows = [[float(cell) for cell in line.split(",")] for line in path.read_text("utf-8").split("\n") if line]
            table = torch.tensor(rows, dtype=torch.float64)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a table of numbers ({error})") from error
        if not rows or not ((table >= self.low) & (table <= self.high)).all():
            raise DataError(f"{path}: takes a row or more, of numbers from {self.low:g} to {self.high:g}; see `range`")
        return Sample(((table.T - self.low) / (self.high - self.low) * 2 - 1).float())


def write_example(folder: Path) -> None:
    """Write some signals of two classes, slow and fast waves: good ones, and degraded ones with mains hum."""
    for side, hum in (("good", 0.0), ("poor", 0.5)):
        for at, name in enumerate(("train/p1", "train/p2", "train/p3", "val/p4", "test/p5", "test/p6")):
            for kind, waves in (("slow", 2), ("fast", 5)):
                split, patient = name.split("/")
                turns = [row / 64 + 0.07 * at for row in range(64)]
                values = [math.sin(2 * math.pi * waves * t) + hum * math.sin(2 * math.pi * 16 * t) for t in turns]
                path = folder / side / split / kind / f"{side}-{patient}_1.csv"
                write_text(path, "".join(f"{value:.4f}\n" for value in values))


@conformance_case(options={"path": "poor", "range": [-2, 2]}, files=write_example)
def signals(
    root: Path | None,
    split: str,
    *,
    path: Annotated[str, Field(min_length=1)],
    range: tuple[float, float] = (-1.0, 1.0),
) -> Dataset:
    """Signals from CSV files, of any number of channels.

    Args:
        root: where a relative path starts; None: the working folder.
        split: "train", "val" or "test".
        path: the folder of one side; in it SPLIT/CLASS/PATIENT_*.csv.
        range: the values that become -1 and 1, in the files' own unit.
    """
    low, high = range
    if low >= high:
        raise RecipeError(f"dataset {NAME!r}: range is [low, high], low < high; got {[low, high]}", option="range")
    return Signals((root or Path()) / Path(path).expanduser(), split, low, high)


if __name__ == "__main__":
    write_example(Path("example"))
