"""Print accuracy, and precision, recall and F1 of each class, of runs of resnet50_regimes, with intervals by patient.

    python plugins/restorekit-pix2pix/benchmarks/table.py runs/resnet50_regimes-* [--against RUN ...] [-o OUT.json]

It reads scores/test.csv of each run. Intervals are percentiles of a bootstrap over patients; a film without one counts
as a patient of its own. A run that is not there or not scored prints "not run". `--against` adds the differences to one
of the runs, paired: patients are drawn for both at once; runs of other test films have none. OUT.json gets the same
numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import write_text
from restorekit.evaluation.scoretable import ScoreTable, read_scores

RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0
Counts = NDArray[np.float64]


def counts_of(table: ScoreTable) -> Counts:
    """Return (P, K, K): for each patient how many films of a class (row) are predicted as one (column).

    Patients come in the order of the table's films.
    """
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


def drawn(counts: Counts) -> Counts:
    """Return (R, 1 + 3 K): `scores_of` patients drawn anew; the same patients for tables of as many."""
    rng = np.random.default_rng(SEED)
    times = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    return scores_of(np.tensordot(times.astype(np.float64), counts, axes=1))


def entry(value: float, draws: Counts) -> dict[str, float] | None:
    """Return a score with the ends of its interval, of draws (R,); None if it is not defined."""
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not known.size:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return {"value": float(value), "low": float(low), "high": float(high)}


def named(values: Counts, draws: Counts, classes: Sequence[str]) -> dict[str, Any]:
    """Return the entries of scores (1 + 3 K,) by name, of draws (R, 1 + 3 K)."""
    found = [entry(value, of) for value, of in zip(values, draws.T, strict=True)]
    each = {
        name: dict(zip(("precision", "recall", "f1"), found[1 + at :: len(classes)], strict=True))
        for at, name in enumerate(classes)
    }
    return {"accuracy": found[0], "classes": each}


def opened(run: Path) -> ScoreTable | None:
    """Return the films of a run that are scored; None if it is not scored."""
    path = run / "scores" / "test.csv"
    return read_scores(path, ()) if path.is_file() else None


def measured(run: Path) -> dict[str, Any] | None:
    """Return the scores of a run with their intervals; None if it is not scored."""
    table = opened(run)
    if table is None:
        return None
    counts = counts_of(table)
    scores = named(scores_of(counts.sum(0)), drawn(counts), table.classes)
    return {"films": int(counts.sum()), "patients": len(counts), **scores}


def difference(run: Path, other: Path) -> dict[str, Any] | None:
    """Return the scores of a run less those of another, paired by patient; None if not of the same test films."""
    one, two = opened(run), opened(other)
    if one is None or two is None or _films(one) != _films(two):
        return None
    mine, theirs = counts_of(one), counts_of(two)
    apart = scores_of(mine.sum(0)) - scores_of(theirs.sum(0))
    return named(apart, drawn(mine) - drawn(theirs), one.classes)


def _films(table: ScoreTable) -> tuple[Sequence[object], ...]:
    return tuple(map(list, (table.keys, table.groups, table.target, table.classes)))


def lines_of(name: str, found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of a run: its accuracy, and a line for each class."""
    if found is None:
        yield f"{name}: not run: no scores/test.csv"
        return
    head = f"{name}: {found['films']} films of {found['patients']} patients"
    yield f"{head}; accuracy {shown(found['accuracy'])}"
    yield from _classes(found, "")
    for other, apart in found.get("against", {}).items():
        yield f"  less {other}: accuracy {shown(apart['accuracy'], '+')}"
        yield from _classes(apart, "+")


def _classes(found: Mapping[str, Any], sign: str) -> Iterator[str]:
    for of, scores in found["classes"].items():
        yield f"  {of:10} " + "  ".join(f"{score} {shown(value, sign)}" for score, value in scores.items())


def shown(of: Mapping[str, float] | None, sign: str = "") -> str:
    """Return a value with its interval; `sign` is "+" for a difference."""
    if of is None:
        return "not defined"
    return f"{of['value']:{sign}.3f} [{of['low']:{sign}.3f}, {of['high']:{sign}.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="RUN")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT.json")
    asked = parser.parse_args()
    made = {run.name: measured(run) for run in asked.runs}
    for run, other in product(asked.runs, asked.against):
        apart = difference(run, other) if run != other else None
        if apart is not None:
            made[run.name].setdefault("against", {})[other.name] = apart
    for name, found in made.items():
        print("\n".join(lines_of(name, found)))
    if asked.out is not None:
        write_text(asked.out, json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
