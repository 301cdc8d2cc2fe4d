"""Repeated restoration: class probabilities and scores after each pass, with intervals by patient.

The paper restores in three passes and takes the class from the first image (arXiv:2209.14770, section IV); the curves
show what another number of passes would have predicted.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core.errors import DataError, RecipeError
from restorekit.core.restorer import restore_checked
from restorekit.core.tasks import Target, Task
from restorekit.core.types import Batch, Metric
from restorekit.evaluation.distances import distance, read_good
from restorekit.evaluation.evaluate import all_metrics, defined, known_targets, rows_of, targets
from restorekit.evaluation.intervals import Indices, Resamples, estimate, group_counts, resamples, unit_word, units
from restorekit.io.files import write_text
from restorekit.io.tables import CsvWriter
from restorekit.recipes.seeds import seed_of
from restorekit.runs.experiment import Experiment

__all__ = ["evaluate_iterations", "passes"]

Rows = NDArray[np.float64]
MOST = 100
"""Passes, at most: each takes as long as an evaluation."""


@dataclass
class _Measured:
    """Images of a split in order, and what was measured of them after each number of passes."""

    metrics: Mapping[str, Metric]
    groups: list[str | None] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    predictions: dict[int, list[Tensor]] = field(default_factory=dict)
    rows: dict[tuple[str, int], list[Rows]] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    """Metrics that are not defined for some image, and why."""


def passes(text: str) -> range:
    """Return the numbers of passes that "0..5", or "3" alone, stands for.

    Raises:
        RecipeError: if it is neither, or too much.
    """
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last or last > MOST:
        raise RecipeError(f"--times: takes a number or a range, such as 3 or 0..5, up to {MOST}; got {text!r}")
    return range(first, last + 1)


def evaluate_iterations(
    run: Experiment, times: Sequence[int], split: str = "test", *, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure the images of a split after each number of passes; write scores/times.json and .csv, or SPLIT_times.

    After 0 passes an image is as given, and its class is that which `evaluate` scores: the head's prediction for the
    image, not for its restoration.

    Args:
        run: a trained run.
        times: numbers of passes, ascending.
        split: the split that is measured.
        report: called with a line for each report of progress.

    Raises:
        DataError: if the split has no images, or the run hands its images through.
        CheckpointError: if there is no checkpoint, or it does not fit.
    """
    if not run.images.sizes.get(split):
        raise DataError(f"data.a: has no images in split {split!r}, so there is nothing to restore")
    if not run.restorer.translates:
        raise DataError(f"{run.folder}: hands its images through, so passes change nothing; give one that restores")
    state = run.load()
    seen = _Measured(all_metrics(run))
    with run.evaluating():
        for batch in run.images.scoring(split):
            _measure(run, seen, batch.to(run.engine.device), times)
            report(f"{len(seen.groups)} of {run.images.sizes[split]} images restored {times[-1]} times")
    report("intervals")
    unit = unit_word(seen.groups, run.images.unit)
    patients = units(seen.groups)
    over = resamples(patients, run.recipe.evaluate.resamples, seed_of(run.recipe.seed, "bootstrap"), unit)
    summary = {
        "split": split,
        "step": state["step"],
        "times": list(times),
        "recipe_times": run.recipe.evaluate.times,
        "images": len(seen.groups),
        **group_counts(seen.groups),
        "unit": unit,
        "resamples": run.recipe.evaluate.resamples,
        "confidence": run.recipe.evaluate.confidence,
        "curves": dict(_curves(run, seen, split, times, over)),
    }
    stem = "times" if split == "test" else f"{split}_times"
    write_text(run.folder / "scores" / f"{stem}.csv", _table(summary["curves"]))
    write_text(run.folder / "scores" / f"{stem}.json", json.dumps(summary, indent=1))
    return summary


def _measure(run: Experiment, seen: _Measured, batch: Batch, times: Sequence[int]) -> None:
    seen.groups += batch.group or [None] * len(batch.key)
    image, restorer, task = batch.image, run.once, run.images.domains["a"].task
    seen.targets += targets(batch, task)
    for done in range(times[-1] + 1):
        output = restore_checked(restorer, image)
        if done in times:
            prediction = output.prediction
            if prediction is not None and task.kind != "mask":
                seen.predictions.setdefault(done, []).append(prediction.cpu())
            for name, metric in seen.metrics.items():
                if metric.needs == "truth" and not bool(batch.with_truth.all()):
                    seen.lacking[name] = "the clean image is not known"
                else:
                    seen.rows.setdefault((name, done), []).append(
                        rows_of(name, metric, image.float(), prediction, batch)
                    )
        image = output.image


def _curves(
    run: Experiment, seen: _Measured, split: str, times: Sequence[int], over: Resamples
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, curve): first the head's predictions, then each metric."""
    confidence = run.recipe.evaluate.confidence
    labelled = known_targets(run.images.domains["a"].task, seen.targets)
    good = read_good(run.folder / "scores" / f"{split}_good.csv")[1]  # as `evaluate` measured them
    for name, title, values in _predicted(run.images.domains["a"].task, seen, times):
        lines = {
            whose: _line([partial(_mean, values[k]) for k in times], [chosen] * len(times), times, over, confidence)
            for whose, chosen in _whose(run.images.domains["a"].task, name, seen.targets).items()
        }
        yield name, {"title": title, "id": "mean over images"} | _entry("neither", lines)
    for name, metric in seen.metrics.items():
        lines, why = {}, seen.lacking.get(name)
        if why is None:
            rows = [np.concatenate(seen.rows[name, k]) for k in times]
            known = [defined(metric, of, labelled) for of in rows]
            scores = [partial(_score, metric, of) for of in rows]
            lines["all"] = _line(
                scores, known, times, over, confidence, biased=metric.biased, proportion=metric.proportion
            )
            why = None if lines["all"]["points"] else metric.undefined
            if metric.better == "nearer" and name in good:
                for point in lines["all"]["points"]:
                    point["distance"] = distance(rows[times.index(point["times"])][:, 0], good[name])
        yield name, {"id": metric.id} | _entry(metric.better, lines, why)


def _entry(better: str, lines: dict[str, dict[str, Any]], undefined: str | None = None) -> dict[str, Any]:
    return {"better": better, "undefined": undefined, "lines": {k: line for k, line in lines.items() if line["points"]}}


def _predicted(task: Task, seen: _Measured, times: Sequence[int]) -> Iterator[tuple[str, str, dict[int, Rows]]]:
    """Yield name, title and values by passes of what the head predicts: of two classes, the positive one alone."""
    if not seen.predictions:
        return
    predictions = {k: np.concatenate([t.numpy() for t in seen.predictions[k]]).astype(np.float64) for k in times}
    for i, (called, column) in enumerate(zip(task.names, task.columns, strict=True)):
        if task.kind != "class" or len(task.names) != 2 or i == 1:
            title = called if task.kind == "numbers" else f"probability of {called}"
            yield column, title, {k: v[:, i] for k, v in predictions.items()}


def _whose(task: Task, column: str, of: Sequence[Target]) -> dict[str, NDArray[np.bool_]]:
    """Return which images a curve is of: all; and where classes are known those of the class, and the others."""
    found = {"all": np.ones(len(of), bool)}
    if column in task.columns and task.kind in ("class", "labels"):
        at, values = task.columns.index(column), np.array(of)
        own = values == at if task.kind == "class" else values[:, at] == 1
        known = values >= 0 if task.kind == "class" else values[:, at] >= 0
        name = task.names[at]
        found |= {f"true: {name}": own, f"true: not {name}": known & ~own}
    return {whose: rows for whose, rows in found.items() if rows.any()}


def _mean(values: Rows, rows: Indices) -> float:
    return float(values[rows].mean())


def _score(metric: Metric, values: Rows, rows: Indices) -> float:
    return metric.reduce(values[rows])


def _line(
    of: Sequence[Callable[[Indices], float]],
    known: Sequence[NDArray[np.bool_]],
    times: Sequence[int],
    over: Resamples,
    confidence: float,
    *,
    biased: bool = False,
    proportion: bool = False,
) -> dict[str, Any]:
    """Return the points of a line, and the change from the first pass to the last.

    Args:
        of: a score of images, for each number of passes.
        known: for which images each is defined, (images,). A point is of these; the change is of the same images each
            time, those for which the first and the last are defined.
        times: the numbers of passes.
        over: resamples of the images.
        confidence: of the intervals.
        biased: resamples bias the score, so that it has no interval.
        proportion: the score is a proportion, so that it has an exact interval where all resamples are equal.
    """
    point = partial(_point, over=over, confidence=confidence, biased=biased)
    points = [
        (k, point(score, chosen, proportion=proportion)) for k, score, chosen in zip(times, of, known, strict=True)
    ]
    both = known[0] & known[-1]
    change = point(lambda rows: of[-1](rows) - of[0](rows), both) if len(of) > 1 else None
    return {"points": [{"times": k, **one} for k, one in points if one is not None], "change": change}


def _point(
    of: Callable[[Indices], float],
    known: NDArray[np.bool_],
    *,
    over: Resamples,
    confidence: float,
    biased: bool,
    proportion: bool = False,
) -> dict[str, Any] | None:
    """A value, its interval, and the number of its images; None where it is no number."""

    def score(rows: Indices) -> float:
        mine = rows[known[rows]]
        return of(mine) if mine.size else math.nan

    point = estimate(score, over, confidence, known, biased=biased, proportion=proportion)
    return None if point is None else {**point, "n": int(known.sum())}


def _table(curves: dict[str, dict[str, Any]]) -> str:
    """A row a point."""
    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(["measure", "images", "times", "value", "low", "high", "n"])
    for name, curve in curves.items():
        for whose, line in curve["lines"].items():
            for p in line["points"]:
                numbers = ["" if p[key] is None else f"{p[key]:.6g}" for key in ("value", "low", "high")]
                writer.writerow([name, whose, p["times"], *numbers, p["n"]])
    return stream.getvalue()
