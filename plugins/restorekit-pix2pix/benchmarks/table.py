"""Print accuracy, and precision, recall and F1 of each class, of runs of resnet50_regimes, with intervals by patient.

    python plugins/restorekit-pix2pix/benchmarks/table.py runs/resnet50_regimes-*

It reads scores/test.csv of each run. Intervals are percentiles of a bootstrap over patients; a film without one counts
as a patient of its own. A run that is not there or not scored prints "not run".
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0
Counts = NDArray[np.float64]


def counts_of(rows: Sequence[dict[str, str]], classes: Sequence[str]) -> Counts:
    """Return (P, K, K): for each patient how many films of a class (row) are predicted as one (column)."""
    places = {name: at for at, name in enumerate(classes)}
    patients = {name: at for at, name in enumerate(dict.fromkeys(row["group"] or row["key"] for row in rows))}
    found = np.zeros((len(patients), len(classes), len(classes)))
    for row in rows:
        found[patients[row["group"] or row["key"]], places[row["class"]], places[row["called"]]] += 1
    return found


def scores_of(confusion: Counts) -> Counts:
    """Return (..., 1 + 3 K) of confusions (..., K, K): accuracy; then precision, recall and F1 of each class."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    predicted, there, every = confusion.sum(-2), confusion.sum(-1), confusion.sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        each = [right / predicted, right / there, 2 * right / (predicted + there)]
        return np.concatenate([(right.sum(-1) / every)[..., None], *each], axis=-1)


def interval(counts: Counts) -> Counts:
    """Return (2, 1 + 3 K): the ends of the intervals of `scores_of`, over patients drawn anew."""
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    scores = scores_of(np.tensordot(drawn.astype(np.float64), counts, axes=1))
    tail = (1 - CONFIDENCE) / 2
    return np.nanquantile(scores, [tail, 1 - tail], axis=0)


def lines_of(run: Path) -> list[str]:
    """Return the lines of a run: its accuracy, and a line for each class."""
    table = run / "scores" / "test.csv"
    if not table.is_file():
        return [f"{run.name}: not run: no {table}"]
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"]]
    classes = list(dict.fromkeys(name.removeprefix("p_") for name in rows[0] if name.startswith("p_")))
    counts = counts_of(rows, classes)
    value, (low, high) = scores_of(counts.sum(0)), interval(counts)
    shown = [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in zip(value, low, high, strict=True)]
    lines = [f"{run.name}: {len(rows)} films of {len(counts)} patients; accuracy {shown[0]}"]
    for at, name in enumerate(classes):
        precision, recall, f1 = (shown[1 + at + len(classes) * i] for i in range(3))
        lines.append(f"  {name:10} precision {precision}  recall {recall}  F1 {f1}")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    for run in parser.parse_args().runs:
        print("\n".join(lines_of(run)))


if __name__ == "__main__":
    main()
