"""Print accuracy, and precision, recall and F1 of each class, of runs of resnet50_regimes, with intervals by patient.

    python plugins/restorekit-pix2pix/benchmarks/table.py runs/resnet50_regimes-* [--against RUN ...] [-o OUT.json]

It reads scores/test.csv of each run. Runs that differ in the seed alone, by their names, are one arm: its scores are
those of the predictions of all seeds together. Intervals are percentiles of a bootstrap over patients; a film without
one counts as a patient of its own. They say how the arm does on other patients, not with other seeds; the accuracy of
each seed stands beside. An arm with a run that is not there or not scored prints "not run". `--against` adds the
differences to one of the arms, paired: patients are drawn for both at once; arms of other test films have none.
OUT.json gets the same numbers.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import bootstrap_interval, write_text
from restorekit.evaluation.scoretable import ScoreTable, read_scores

RESAMPLES, SEED = 2000, 0
SEED_OF_NAME = re.compile(r"-seed\d+$")
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


def patients_of(counts: Counts) -> int:
    """Return how many patients have a film of a known class."""
    return int((counts.sum((1, 2)) > 0).sum())


def entry(value: float, draws: Counts, patients: int) -> dict[str, float] | None:
    """Return a score with the ends of its interval, of draws (R,); None if it is not defined.

    Raises:
        SystemExit: if there are fewer than two patients, of whom nothing can be said of others.
    """
    if patients < 2:
        raise SystemExit(f"error: an interval requires two patients or more with a known class; got {patients}")
    if np.isnan(value) or np.isnan(draws).all():
        return None
    low, high = bootstrap_interval(draws, patients)
    return {"value": float(value), "low": float(low), "high": float(high)}


def named(values: Counts, draws: Counts, classes: Sequence[str], patients: int) -> dict[str, Any]:
    """Return the entries of scores (1 + 3 K,) by name, of draws (R, 1 + 3 K)."""
    found = [entry(value, of, patients) for value, of in zip(values, draws.T, strict=True)]
    each = {
        name: dict(zip(("precision", "recall", "f1"), found[1 + at :: len(classes)], strict=True))
        for at, name in enumerate(classes)
    }
    return {"accuracy": found[0], "classes": each}


@dataclass(frozen=True)
class Arm:
    """The test films of an arm, and what its runs, one of each seed, predict."""

    table: ScoreTable
    """Of the first run; the films of the others are the same."""
    seeds: list[Counts]
    """`counts_of` each run."""

    @property
    def counts(self) -> Counts:
        """(P, K, K) of all seeds together."""
        return np.sum(self.seeds, axis=0)

    @property
    def films(self) -> tuple[Sequence[object], ...]:
        """What has to be equal for two arms to be compared."""
        return _films(self.table)


def _films(table: ScoreTable) -> tuple[Sequence[object], ...]:
    return tuple(map(list, (table.keys, table.groups, table.target, table.classes)))


def arms_of(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the runs of each arm by its name, which is theirs without the seed."""
    found: dict[str, list[Path]] = {}
    for run in runs:
        found.setdefault(SEED_OF_NAME.sub("", run.name), []).append(run)
    return found


def opened(runs: Sequence[Path]) -> Arm | None:
    """Return an arm; None if one of its runs is not scored, or is of other films than the first."""
    paths = [run / "scores" / "test.csv" for run in runs]
    if not all(path.is_file() for path in paths):
        return None
    tables = [read_scores(path, ()) for path in paths]
    if any(_films(table) != _films(tables[0]) for table in tables[1:]):
        return None
    return Arm(tables[0], [counts_of(table) for table in tables])


def measured(arm: Arm | None) -> dict[str, Any] | None:
    """Return the scores of an arm with their intervals; None if it is not scored."""
    if arm is None:
        return None
    scores = named(scores_of(arm.counts.sum(0)), drawn(arm.counts), arm.table.classes, patients_of(arm.counts))
    each = [float(scores_of(counts.sum(0))[0]) for counts in arm.seeds]
    return {"films": int(arm.seeds[0].sum()), "patients": len(arm.seeds[0]), "accuracy_of_seeds": each, **scores}


def difference(one: Arm | None, two: Arm | None) -> dict[str, Any] | None:
    """Return the scores of an arm less those of another, paired by patient; None if not of the same test films."""
    if one is None or two is None or one.films != two.films:
        return None
    apart = scores_of(one.counts.sum(0)) - scores_of(two.counts.sum(0))
    return named(apart, drawn(one.counts) - drawn(two.counts), one.table.classes, patients_of(one.counts))


def lines_of(name: str, found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of an arm: its accuracy, and a line for each class."""
    if found is None:
        yield f"{name}: not run: no scores/test.csv, or seeds of other films"
        return
    head = f"{name}: {found['films']} films of {found['patients']} patients"
    yield f"{head}; accuracy {shown(found['accuracy'])}"
    if len(each := found["accuracy_of_seeds"]) > 1:
        yield f"  seeds      accuracy {', '.join(f'{value:.3f}' for value in each)}"
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
    arms, against = ({name: opened(runs) for name, runs in arms_of(of).items()} for of in (asked.runs, asked.against))
    made = {name: measured(arm) for name, arm in arms.items()}
    for name, other in product(arms, against):
        apart = difference(arms[name], against[other]) if name != other else None
        scores = made[name]
        if scores is not None and apart is not None:
            scores.setdefault("against", {})[other] = apart
    for name, found in made.items():
        print("\n".join(lines_of(name, found)))
    if asked.out is not None:
        write_text(asked.out, json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
