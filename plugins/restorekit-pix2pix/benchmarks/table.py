"""Print accuracy, and precision, recall and F1 of each class, of runs of resnet50_regimes, with intervals by patient.

    python plugins/restorekit-pix2pix/benchmarks/table.py runs/resnet50_regimes-* [-o OUT.json]

It reads scores/test.csv of each run. Intervals are percentiles of a bootstrap over patients; a film without one counts
as a patient of its own. A run that is not there or not scored prints "not run". OUT.json gets the same numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import write_text
from restorekit.evaluation.scoretable import ScoreTable, read_scores

RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0
Counts = NDArray[np.float64]


def counts_of(table: ScoreTable) -> Counts:
    """Return (P, K, K): for each patient how many films of a class (row) are predicted as one (column)."""
    names = [group or key for group, key in zip(table.groups, table.keys, strict=True)]
    patients = {name: at for at, name in enumerate(dict.fromkeys(names))}
    found = np.zeros((len(patients), len(table.classes), len(table.classes)))
    known = table.target >= 0
    where = np.array([patients[name] for name in names])
    np.add.at(found, (where[known], table.target[known], table.chances.argmax(1)[known]), 1)
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


def measured(run: Path) -> dict[str, Any] | None:
    """Return the scores of a run with their intervals; None if it is not scored."""
    path = run / "scores" / "test.csv"
    if not path.is_file():
        return None
    table = read_scores(path, ())
    counts = counts_of(table)
    ends = zip(scores_of(counts.sum(0)), *interval(counts), strict=True)
    values = [dict(zip(("value", "low", "high"), map(float, of), strict=True)) for of in ends]
    many = len(table.classes)
    each = {
        name: dict(zip(("precision", "recall", "f1"), values[1 + at :: many], strict=True))
        for at, name in enumerate(table.classes)
    }
    return {"films": int(counts.sum()), "patients": len(counts), "accuracy": values[0], "classes": each}


def lines_of(name: str, found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of a run: its accuracy, and a line for each class."""
    if found is None:
        yield f"{name}: not run: no scores/test.csv"
        return
    head = f"{name}: {found['films']} films of {found['patients']} patients"
    yield f"{head}; accuracy {shown(found['accuracy'])}"
    for of, scores in found["classes"].items():
        yield f"  {of:10} " + "  ".join(f"{score} {shown(value)}" for score, value in scores.items())


def shown(of: Mapping[str, float]) -> str:
    """Return a value with its interval."""
    return f"{of['value']:.3f} [{of['low']:.3f}, {of['high']:.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT.json")
    asked = parser.parse_args()
    made = {run.name: measured(run) for run in asked.runs}
    for name, found in made.items():
        print("\n".join(lines_of(name, found)))
    if asked.out is not None:
        write_text(asked.out, json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
