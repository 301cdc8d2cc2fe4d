"""Evaluation of a split: one row per image, one score per metric, intervals by patient where known."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import DataError, PluginError
from restorekit.core.restorer import restore_checked
from restorekit.core.tasks import HAS_MASK, UNLABELLED, Target, Task
from restorekit.core.types import Batch, Metric, Output
from restorekit.data.targets import predicted_text, target_cells, target_text, truths
from restorekit.evaluation import example_signals, gallery
from restorekit.evaluation.classification import class_score
from restorekit.evaluation.distances import distance, distances, quantiles
from restorekit.evaluation.harm import METRIC, harm
from restorekit.evaluation.intervals import (
    Indices,
    Resamples,
    counted,
    estimate,
    group_counts,
    resamples,
    unit_word,
    units,
)
from restorekit.evaluation.measures import LEVELS
from restorekit.io.files import write_text
from restorekit.io.intensity import pixel_shape
from restorekit.io.pictures import draw_grid
from restorekit.io.tables import CsvWriter
from restorekit.recipes.seeds import seed_of
from restorekit.runs.experiment import Experiment
from restorekit.runs.selection import distance_name

__all__ = [
    "all_metrics",
    "check_metrics_early",
    "defined",
    "enlarged",
    "evaluate",
    "known_targets",
    "measure_good",
    "pictures",
    "restored",
    "rows_of",
    "score",
    "targets",
]

Rows = NDArray[np.float64]
TARGETS = {"none": "class", "class": "class", "labels": "label", "numbers": "number", "mask": "mask"}
"""What a target is called, by the kind of task."""
GAINS = {"degraded": "gain", "baseline": "over_baseline"}
"""What restored images are compared with, and how the difference is called."""
DRAWS = "by split and key"
"""How val and test images are drawn that a dataset draws anew; version 1 drew them by the seed."""
GOOD = 500
"""Good images that are scored beside the degraded ones, at most: evenly spread over their split."""
SPREAD = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that describe the spread of a score over images."""


@dataclass
class _Measured:
    """Rows of each metric by which images: "degraded"; "restored"; "baseline", restored by that; or "good"."""

    metrics: Mapping[str, Metric]
    rows: dict[tuple[str, str], Rows] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    pending: dict[tuple[str, str], list[tuple[Rows | None, list[bool]]]] = field(default_factory=dict)

    def note(
        self,
        name: str,
        which: str,
        metric: Metric,
        image: Tensor,
        prediction: Tensor | None,
        batch: Batch,
        known: list[bool],
    ) -> None:
        """Measure the images of a batch that a metric can be measured of; the others have no value."""
        places = [i for i, one in enumerate(known) if one]
        if len(places) == len(known):
            rows = rows_of(name, metric, image, prediction, batch)
        elif places:
            predicted = None if prediction is None else prediction[places]
            rows = rows_of(name, metric, image[places], predicted, batch.take(places))
        else:
            rows = None
        self.pending.setdefault((name, which), []).append((rows, known))

    def finish(self) -> None:
        """Make one table of each metric's rows, NaN where an image has none; a metric of no image is left out."""
        for key, pieces in self.pending.items():
            wide = next((rows.shape[1] for rows, _ in pieces if rows is not None), None)
            if wide is None:
                continue
            table = np.full((sum(len(known) for _, known in pieces), wide), np.nan)
            table[[one for _, known in pieces for one in known]] = np.concatenate(
                [rows for rows, _ in pieces if rows is not None]
            )
            self.rows[key] = table
        self.pending.clear()

    def add(self, name: str, which: str, rows: Rows) -> None:
        have = self.rows.get((name, which))
        self.rows[name, which] = rows if have is None else np.concatenate([have, rows])

    def add_keys(self, batch: Batch) -> None:
        """Record names, patients and sources of the images of a batch."""
        self.keys += batch.key
        self.groups += batch.group or [None] * len(batch.key)
        self.sources += batch.source or [None] * len(batch.key)


def rows_of(name: str, metric: Metric, image: Tensor, prediction: Tensor | None, batch: Batch) -> Rows:
    """Return what a metric measures of a batch.

    Raises:
        PluginError: if that is no array of numbers with a row for each image: a single one would be broadcast to all.
    """
    rows, count = metric.measure(image, prediction, batch), len(batch.key)
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        got = rows.dtype if isinstance(rows, np.ndarray) else type(rows).__name__
        raise PluginError(f"metric {name!r}: measure must return a NumPy array of float64; got {got}")
    if rows.ndim != 2 or len(rows) != count or not rows.shape[1]:
        raise PluginError(
            f"metric {name!r}: measure must return ({count}, k), a row for each of {count} images; got {rows.shape}"
        )
    return rows.astype(np.float64, copy=False)


def restored(run: Experiment, batch: Batch, *, learning: bool = False) -> Output:
    """Return the restored images of a batch, (B, C, *scale*S), and the predictions; see `restore_checked`."""
    # Random restorers draw by the names of the images alone.
    rng = torch.Generator().manual_seed(seed_of(run.recipe.seed, "restore", *batch.key))
    return restore_checked(run.restorer, batch.image, batch.summary, rng, learning=learning)


def enlarged(image: Tensor, like: Tensor) -> Tensor:
    """Return degraded images at the size of the restored ones: by cubic interpolation where that is larger."""
    if image.shape[2:] == like.shape[2:]:
        return image
    return nd.resize(image, like.shape[2:], mode="cubic").clamp(-1, 1)


def score(run: Experiment, split: str) -> dict[str, float]:
    """Return the plain scores of a split: of the restored images, and of the classes.

    A metric that is better when nearer to the good images has a second score, `NAME_distance`: how far the restored
    images of the split are from them.
    """
    seen = _measure(run, split, run.metrics, before=False)
    found = {
        name: float("nan") if (name, "restored") not in seen.rows else metric.reduce(seen.rows[name, "restored"])
        for name, metric in run.metrics.items()
    }
    nearer = {name: metric for name, metric in run.metrics.items() if metric.better == "nearer"}
    known = run.images.good_rows
    if nearer and split not in known:  # they do not change with the networks
        good = measure_good(run, split, nearer)
        known[split] = {} if good is None else {name: rows[:, 0] for (name, _), rows in good[1].rows.items()}
    for name in nearer:
        aim, rows = known[split].get(name), seen.rows.get((name, "restored"))
        found[distance_name(name)] = math.nan if aim is None or rows is None else distance(rows[:, 0], aim)
    return found


def check_metrics_early(run: Experiment) -> None:
    """Score one image by the untrained networks, so that a metric that cannot score fails before the training.

    Raises:
        DataError: if a metric cannot score these images.
    """
    there = [split for split in ("test", "val") if run.images.sizes.get(split)]
    seen = _Measured(all_metrics(run))
    with run.evaluating():
        for batch in run.images.scoring(there[0], [0]) if there else ():
            moved = batch.to(run.engine.device)
            _measure_batch(run, seen, moved, restored(run, moved, learning=True), before=True)


def all_metrics(run: Experiment) -> dict[str, Metric]:
    """Return the metrics of the recipe, and of translated images the levels of noise, blur, exposure and contrast."""
    domain = run.images.domains["a"]
    levels = LEVELS if domain.dims == 2 and run.restorer.translates else {}
    return {**run.metrics, **{name: make(domain) for name, make in levels.items() if name not in run.metrics}}


def evaluate(
    run: Experiment, split: str = "test", *, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Score a split with the kept checkpoint and write scores/SPLIT.json, .csv and .png, of test also pictures/.

    Where PSNR against a known truth is scored, SPLIT.json has as `harm` the share of images that lost more than 0.5 dB,
    and the pictures begin with the image that lost most.

    Of images of two dimensions, noise, blur, exposure and contrast are scored beside what the recipe lists. Metrics
    that need nothing but an image, as these, score good images too, of the same split or else of validation or
    training, into scores/SPLIT_good.csv.

    Raises:
        DataError: if the split has no images.
        CheckpointError: if there is no checkpoint, or it does not fit.
    """
    if not run.images.sizes.get(split):
        raise DataError(f"data.a: has no images in split {split!r}, so there is nothing to evaluate")
    state = run.load()
    if run.baseline is not None:
        run.fit_to_training_images(run.baseline)
    metrics = all_metrics(run)
    seen = _measure(run, split, metrics, before=True, report=report)
    report("intervals")
    unit = unit_word(seen.groups, run.images.unit)
    patients = units(seen.groups)
    over = resamples(patients, run.recipe.evaluate.resamples, seed_of(run.recipe.seed, "bootstrap"), unit)
    found = {name: _scored(run, name, seen, over) for name in metrics}
    good = measure_good(run, split, metrics)
    if good is not None:
        _beside(run, found, seen, good[1], over)
    summary = {
        "split": split,
        "step": state["step"],
        **_facts(run, seen, over, unit),
        "good": None if good is None else {"split": good[0], "images": len(good[1].keys)},
        "metrics": found,
    }
    home = run.folder / "scores"
    write_text(home / f"{split}.csv", _table(seen, run.images.domains["a"].task))
    if good is not None:
        write_text(home / f"{split}_good.csv", _good_table(good[1]))
    write_text(home / f"{split}.json", json.dumps(_no_nan(summary), indent=1))
    _draw(run, split, seen, summary)
    return summary


def _facts(run: Experiment, seen: _Measured, over: Resamples, unit: str) -> dict[str, Any]:
    """Return what a table of scores holds beside them: conditions, and what holds for all images together."""
    domain, asked = run.images.domains["a"], run.recipe.evaluate
    return {
        "kept": run.kept,
        "times": asked.times,
        "dims": domain.dims,
        "images": len(seen.keys),
        "changed": run.images.changed,
        "draws": DRAWS,
        **group_counts(seen.groups),
        "unit": unit,
        "resamples": asked.resamples,
        "confidence": asked.confidence,
        "positive": domain.classes[-1] if len(domain.classes) == 2 else None,
        "task": asdict(domain.task) if run.recipe.predicts else None,
        "baseline": None if asked.baseline is None else asked.baseline.name,
        "confusion": _confusion(seen, domain.classes),
        "constant": _constant(seen, domain.classes, over, asked.confidence),
        "channel_spread": _channel_spread(seen),
        "harm": _harm(run, seen, over),
    }


def _draw(run: Experiment, split: str, seen: _Measured, summary: Mapping[str, Any]) -> None:
    """Write the pictures of a split; of test single ones and signals, too."""
    home = run.folder / "scores"
    images, keys, shapes = pictures(run, split)
    if split == "test":
        at = _gallery(seen, summary["harm"])
        rows = _shown(run, split, at)
        gallery.write(
            home / "pictures",
            _by_column(rows),
            [seen.keys[i] for i in at],
            synthetic=run.images.synthetic,
            shapes=[row["shape"] for row in rows],
        )
        if run.images.domains["a"].dims == 1:
            shown = {"split": split, "step": summary["step"], **_traces(run, split, seen)}
            write_text(home / "pictures" / "traces.json", json.dumps(_no_nan(shown)))
    title = f"{split}, step {summary['step']}" + (", synthetic phantoms" if run.images.synthetic else "")
    arrays = {name: shown.float().cpu().numpy() for name, shown in images.items()}
    draw_grid(home / f"{split}.png", arrays, title=title, captions=keys, shapes=shapes)


def pictures(
    run: Experiment, split: str | None = None, at: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[tuple[float, float] | None, ...]]:
    """Return fixed images of a split, or those at the positions `at`, and what the networks make of them now.

    With them, for each, a text beneath it, and height and width of its pixels where they differ.

    Without a split, those of validation, or else of training: test images must not guide a choice. Of images of
    unequal sizes the middle is shown, as large as the smallest has room for.
    """
    split = split or ("val" if run.images.sizes["val"] else "train")
    rows = _shown(run, split, gallery.evenly(run.images.sizes[split]) if at is None else at)
    images = {name: torch.stack(_middles(column)) for name, column in _by_column(rows).items()}
    return images, tuple(row["key"] for row in rows), tuple(row["shape"] for row in rows)


def _shown(run: Experiment, split: str, at: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row of pictures for each of the images at these positions of a split; see `_rows`."""
    shown: list[dict[str, Any]] = []
    with run.evaluating():
        for batch in run.images.scoring(split, at):
            moved = batch.to(run.engine.device)
            shown += _rows(run, moved, restored(run, moved, learning=True))
    return shown


def _traces(run: Experiment, split: str, seen: _Measured) -> dict[str, Any]:
    """Return a few signals of a split, chosen by the scores of all, and the marks of metrics along them."""
    name, scores = example_signals.ranking_metric(run.metrics, seen.rows) or (None, {})
    why = example_signals.chosen(seen.keys, scores.get("restored"), run.metrics[name].better if name else "higher")
    marking = {name: metric for name, metric in run.metrics.items() if (name, "restored") in seen.rows}
    signals: list[dict[str, Any]] = []
    with run.evaluating():
        for batch in run.images.scoring(split, list(why)):
            moved = batch.to(run.engine.device)
            output = restored(run, moved)
            columns = _columns(run, moved, output)
            marks = example_signals.marks(marking, columns, output.prediction, moved)
            known = batch.intensity or (None,) * len(batch.key)
            shown, predictions = _as_stored(batch, columns), _prediction_texts(run, moved, output)
            for i, intensity in enumerate(known):
                images = {column: image[i].float().cpu() for column, image in shown.items()}
                signals.append(
                    {
                        **example_signals.signal(images, intensity, run.images.domains["a"]),
                        "prediction": predictions[i],
                        "marks": marks[i],
                    }
                )
    for (i, reasons), one in zip(why.items(), signals, strict=True):
        one |= {"key": seen.keys[i], "why": reasons, "score": {which: of[i] for which, of in scores.items()}}
    return {"images": len(seen.keys), "metric": name, "signals": signals}


def _measure(
    run: Experiment,
    split: str,
    metrics: Mapping[str, Metric],
    *,
    before: bool,
    report: Callable[[str], None] = lambda line: None,
) -> _Measured:
    seen = _Measured(metrics)
    with run.evaluating():
        for batch in run.images.scoring(split):
            moved = batch.to(run.engine.device)
            output = restored(run, moved)
            _measure_batch(run, seen, moved, output, before=before)
            seen.add_keys(batch)
            report(f"{len(seen.keys)} of {run.images.sizes[split]} images scored")
    seen.finish()
    return seen


def _measure_batch(run: Experiment, seen: _Measured, batch: Batch, output: Output, *, before: bool) -> None:
    prediction, task = output.prediction, run.images.domains["a"].task
    compared = {"degraded": enlarged(batch.image, output.image)}
    if before and run.baseline is not None:
        compared["baseline"] = restore_checked(run.baseline, batch.image).image.float()
    for name, metric in seen.metrics.items():
        known = batch.with_truth.tolist() if metric.needs == "truth" else [True] * len(batch.key)
        seen.note(name, "restored", metric, output.image.float(), prediction, batch, known)
        if before and metric.needs != "target":
            for which, image in compared.items():
                seen.note(name, which, metric, image, prediction, batch, known)
    seen.targets += targets(batch, task)
    if prediction is not None and task.kind != "mask":  # masks of a whole split would fill the memory
        seen.predictions += list(prediction.cpu())
    if run.restorer.translates and _gray(batch) and output.image.shape[1] > 1:
        gap = output.image.amax(1) - output.image.amin(1)
        seen.spread += [float(g) / 2 for g in gap.flatten(1).mean(1)]


def targets(batch: Batch, task: Task) -> list[Target]:
    """Return the target of each image as a record holds it; of a mask, whether the class of any pixel is known."""
    if batch.target is None:
        return [math.nan] * len(batch.key)
    if task.kind == "mask":
        return [HAS_MASK if known else UNLABELLED for known in batch.with_target.tolist()]
    return [tuple(one) if isinstance(one, list) else one for one in batch.target.tolist()]


def measure_good(run: Experiment, split: str, metrics: Mapping[str, Metric]) -> tuple[str, _Measured] | None:
    """Score good images of that split, else of validation or training; return the split. None: nothing to score."""
    chosen = {name: metric for name, metric in metrics.items() if metric.needs is None}
    there = [name for name in (split, "val", "train") if run.images.good_sizes.get(name)]
    if not chosen or not there:
        return None
    seen = _Measured(chosen)
    for batch in run.images.scoring(there[0], gallery.evenly(run.images.good_sizes[there[0]], GOOD), name="b"):
        for name, metric in chosen.items():
            seen.add(name, "good", rows_of(name, metric, batch.image, None, batch))
        seen.add_keys(batch)
    # Counts of an image, as those of beats, are no number that images could be nearer to each other by.
    seen.rows = {key: rows for key, rows in seen.rows.items() if rows.shape[1] == 1}
    return there[0], seen


def _beside(
    run: Experiment, found: dict[str, dict[str, Any]], seen: _Measured, good: _Measured, over: Resamples
) -> None:
    """Add to each metric that good images were scored by: their score, and how far the others are from them."""
    confidence = run.recipe.evaluate.confidence
    unit = unit_word(good.groups, run.images.unit)
    drawn = "bootstrap" if good.keys == seen.keys else "bootstrap of good images"  # the same images: the same draws
    over_good = resamples(units(good.groups), len(over.rows), seed_of(run.recipe.seed, drawn), unit)
    for (name, _), rows in good.rows.items():
        metric = good.metrics[name]
        parts = _parts(metric, rows, {}, np.array([]))
        found[name]["good"] = _entry(
            *parts["restored"], over_good, confidence, biased=metric.biased, proportion=metric.proportion
        )
        if found[name]["good"] is None:
            found[name]["undefined"] = metric.undefined
        three = {which: seen.rows[name, which][:, 0] for which in ("degraded", "restored")} | {"good": rows[:, 0]}
        found[name]["spread"] = {which: quantiles(values, SPREAD) for which, values in three.items()}
        found[name]["range"] = quantiles(three["good"], (0, 1))
        found[name]["distance"] = distances(three, over, over_good, confidence)


def _gray(batch: Batch) -> bool:
    """True if every image was stored with one channel."""
    return batch.intensity is not None and all(i is not None and i.channels == 1 for i in batch.intensity)


def _columns(run: Experiment, batch: Batch, output: Output) -> dict[str, Tensor]:
    """Return images by column, (B, C, *S): "degraded" and "restored", or the input alone, and the truth if known."""
    handed = not run.restorer.translates
    degraded = enlarged(batch.image, output.image)
    columns = {"image": batch.image} if handed else {"degraded": degraded, "restored": output.image.float()}
    return columns | ({} if batch.truth is None else {"truth": batch.truth})


def _as_stored(batch: Batch, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return images with as many channels as restored files are written with."""
    return {name: column.mean(1, keepdim=True) if _gray(batch) else column for name, column in columns.items()}


def _rows(run: Experiment, batch: Batch, output: Output) -> list[dict[str, Any]]:
    """A row of pictures for each image, by column name.

    With "key": its name and class, as shown beneath, and "shape": height and width of its pixels where they differ.
    """
    columns = _columns(run, batch, output)
    degrade = run.degrade
    if degrade is not None and "restored" in columns:
        last = {"truth": columns.pop("truth")} if "truth" in columns else {}
        columns |= {"degraded again": degrade(output.image), **last}
    masks = _masks(run.images.domains["a"].task, batch, output)
    columns = _as_stored(batch, columns) | masks
    predictions = _mask_notes(batch) if masks else _prediction_texts(run, batch, output)
    known = batch.intensity or (None,) * len(batch.key)
    return [
        {
            **{name: column[i].float().cpu() for name, column in columns.items()},
            "key": "\n".join(filter(None, [Path(key).name, predictions[i]])),
            "shape": pixel_shape(known[i]),
        }
        for i, key in enumerate(batch.key)
    ]


def _masks(task: Task, batch: Batch, output: Output) -> dict[str, Tensor]:
    """Return the masks of images or volumes, true and predicted, as gray pictures.

    Classes are evenly spaced from black, the first, to white. A pixel of an unknown class has the gray halfway between
    the first two, which no class has.
    """
    if task.kind != "mask" or batch.image.ndim == 3 or batch.target is None or output.prediction is None:
        return {}
    found = {"true mask": batch.target, "predicted mask": output.prediction.argmax(1)}
    most = len(task.names) - 1
    grays = {name: torch.where(mask == UNLABELLED, 0.5, mask) for name, mask in found.items()}
    return {name: gray[:, None] * (2 / most) - 1 for name, gray in grays.items()}


def _mask_notes(batch: Batch) -> list[str]:
    """Return a note on the true mask of each image; empty where every pixel's class is known."""
    assert batch.target is not None
    unknown = (batch.target == UNLABELLED).flatten(1).any(1).tolist()
    return ["true mask: the gray between the first two classes is unknown" if any_ else "" for any_ in unknown]


def _prediction_texts(run: Experiment, batch: Batch, output: Output) -> list[str]:
    """Return the target and the prediction of each image as text; empty without a head, and of masks."""
    task, prediction = run.images.domains["a"].task, output.prediction
    if prediction is None or task.kind in ("none", "mask"):
        return [""] * len(batch.key)
    return [
        f"true: {target_text(task, target) or 'unknown'}, predicted: {predicted_text(task, one.tolist())}"
        for target, one in zip(targets(batch, task), prediction, strict=True)
    ]


def _by_column(rows: list[dict[str, Any]]) -> dict[str, list[Tensor]]:
    return {name: [row[name] for row in rows] for name in rows[0] if name not in ("key", "shape")}


def _middles(images: Sequence[Tensor]) -> list[Tensor]:
    """Return the middle of each image (C, *S), as large as all have room for."""
    size = [min(sizes) for sizes in zip(*(image.shape[1:] for image in images), strict=True)]
    corners = [[(n - most) // 2 for n, most in zip(image.shape[1:], size, strict=True)] for image in images]
    return [nd.crop(image, corner, size) for image, corner in zip(images, corners, strict=True)]


def _scored(run: Experiment, name: str, seen: _Measured, over: Resamples) -> dict[str, Any]:
    """What scores/SPLIT.json holds of a metric: its definition, and a value and an interval for each part of it."""
    metric = seen.metrics[name]
    facts = {name: getattr(metric, name) for name in ("id", "better", "unit", "needs", "biased", "proportion")}
    entry: dict[str, Any] = {**facts, "undefined": None}
    if (name, "restored") not in seen.rows:
        return entry | {"undefined": "the clean image is not known", "restored": None, "degraded": None, "gain": None}
    task = run.images.domains["a"].task
    known = known_targets(task, seen.targets)
    if metric.needs == "target" and not known.any():
        return entry | {"undefined": f"no image of this split has a known {TARGETS[task.kind]}", "score": None}
    after, others = seen.rows[name, "restored"], {which: seen.rows.get((name, which)) for which in GAINS}
    for part, (function, chosen) in _parts(metric, after, others, known).items():
        entry[part] = _entry(
            function,
            chosen,
            over,
            run.recipe.evaluate.confidence,
            biased=metric.biased,
            proportion=metric.proportion and part not in GAINS.values(),
        )
        if entry[part] is None:
            endless = any(rows is not None and np.isinf(rows).any() for rows in (after, *others.values()))
            entry["undefined"] = "infinite for one image or more" if endless else metric.undefined
    return entry


def _entry(
    function: Callable[[Indices], float],
    chosen: NDArray[np.bool_],
    over: Resamples,
    confidence: float,
    *,
    biased: bool,
    proportion: bool,
) -> dict[str, Any] | None:
    """A score of all images, its interval, and the number of its images and units; None where it is no number."""
    entry = estimate(function, over, confidence, chosen, biased=biased, proportion=proportion)
    if entry is None:
        return None
    return {**entry, "n": int(chosen.sum()), "units": counted(chosen, over.units)}


def _parts(
    metric: Metric, after: Rows, others: Mapping[str, Rows | None], known: NDArray[np.bool_]
) -> dict[str, tuple[Callable[[Indices], float], NDArray[np.bool_]]]:
    """What is reported of a metric: functions of which images count, and the images for which each is defined."""
    done = defined(metric, after, known)
    if metric.needs == "target":
        return {"score": (lambda rows: metric.reduce(after[rows]), done)}
    parts: dict[str, Any] = {"restored": (lambda rows: metric.reduce(after[rows]), done)}
    for which, other in others.items():
        if other is not None:
            parts |= _against(metric, after, other, done, which)
    return parts


def _against(
    metric: Metric, after: Rows, other: Rows, done: NDArray[np.bool_], which: str
) -> dict[str, tuple[Callable[[Indices], float], NDArray[np.bool_]]]:
    """What is reported of other images, and of the restored ones less those."""
    had = ~np.isnan(other[:, 0])
    return {
        which: (lambda rows: metric.reduce(other[rows]), had),
        GAINS[which]: (lambda rows: _gain(metric, after, other, rows[(done & had)[rows]]), done & had),
    }


def defined(metric: Metric, rows: Rows, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for which images a metric is defined, (N,), from its rows (N, C) and where the target is known, (N,)."""
    if metric.needs == "target" and rows.shape[1] > 1:  # what a score makes of all images together
        return known
    has_value = ~np.isnan(rows[:, 0])
    return known & has_value if metric.needs == "target" else has_value


def _gain(metric: Metric, after: Rows, before: Rows, both: Indices) -> float:
    """Compare the same images: those for which both are defined."""
    return metric.reduce(after[both]) - metric.reduce(before[both]) if both.size else math.nan


def _confusion(seen: _Measured, classes: tuple[str, ...]) -> dict[str, Any] | None:
    if not seen.predictions or not classes:
        return None
    matrix = np.zeros((len(classes), len(classes)), int)
    for target, prediction in zip(np.array(seen.targets), seen.predictions, strict=True):
        if target >= 0:
            matrix[int(target), int(prediction.argmax())] += 1
    return {"classes": list(classes), "matrix": matrix.tolist()} if matrix.sum() else None


def _constant(seen: _Measured, classes: tuple[str, ...], over: Resamples, confidence: float) -> dict[str, Any] | None:
    """Return the class that every image is predicted to be, and the AUROC, which does not depend on a threshold.

    None where several classes are predicted, or there is one image.
    """
    if not classes or len(seen.predictions) < 2:
        return None
    chances = np.array([prediction.double().numpy() for prediction in seen.predictions])
    predicted = set(chances.argmax(1).tolist())
    if len(predicted) != 1:
        return None
    target = np.array(seen.targets)
    known = target >= 0

    def auroc(rows: Indices) -> float:
        mine = rows[known[rows]]
        return float(class_score("auroc", chances[mine], target[mine].astype(np.int64))) if mine.size else math.nan

    return {
        "class": classes[predicted.pop()],
        "images": len(seen.predictions),
        "auroc": estimate(auroc, over, confidence, known),
    }


def _channel_spread(seen: _Measured) -> dict[str, float] | None:
    return {"mean": float(np.mean(seen.spread)), "max": float(np.max(seen.spread))} if seen.spread else None


def known_targets(task: Task, of: Sequence[Target]) -> NDArray[np.bool_]:
    """Return of which images anything of the target is known, (N,)."""
    return np.array([task.is_labelled(target) for target in of], dtype=bool)


def _table(seen: _Measured, task: Task) -> str:
    """Return one row per image: key, group, target, prediction, and each metric with one number per image."""
    single = {
        f"{name}_{'score' if seen.metrics[name].needs == 'target' else which}": rows[:, 0]
        for (name, which), rows in seen.rows.items()
        if rows.shape[1] == 1
    }
    heads = [*(["predicted"] if task.kind == "class" else []), *task.columns] if seen.predictions else []
    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(["key", "group", "source", *truths(task), *heads, *single])
    for i, key in enumerate(seen.keys):
        cells = [str(float(p)) for p in seen.predictions[i]] if heads else []  # whole, for rounding makes ties
        if "predicted" in heads:
            cells.insert(0, predicted_text(task, seen.predictions[i].tolist()))
        values = [f"{column[i]:.6g}" for column in single.values()]
        truth = target_cells(task, seen.targets[i])
        writer.writerow([key, seen.groups[i] or "", seen.sources[i] or "", *truth, *cells, *values])
    return stream.getvalue()


def _good_table(good: _Measured) -> str:
    """Return one row per good image: its key, and each score with one number per image."""
    single = {name: rows[:, 0] for (name, _), rows in good.rows.items() if rows.shape[1] == 1}
    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(["key", "group", "source", *single])
    for i, key in enumerate(good.keys):
        values = [f"{column[i]:.6g}" for column in single.values()]
        writer.writerow([key, good.groups[i] or "", good.sources[i] or "", *values])
    return stream.getvalue()


def _harm(run: Experiment, seen: _Measured, over: Resamples) -> dict[str, Any] | None:
    """Return how many images became worse; None without PSNR against a truth, and of a run that hands through."""
    before, after = (seen.rows.get((METRIC, which)) for which in ("degraded", "restored"))
    if before is None or after is None or not run.restorer.translates:
        return None
    return harm(seen.keys, before[:, 0], after[:, 0], over, run.recipe.evaluate.confidence)


def _gallery(seen: _Measured, lost: Mapping[str, Any] | None) -> list[int]:
    """Return the positions of the images that are shown: first the one that lost most, then those at fixed places."""
    at = gallery.chosen(seen.keys)
    worst = (lost or {}).get("worst")
    first = [] if worst is None else [seen.keys.index(worst["key"])]
    return [*first, *(i for i in at if i not in first)]


def _no_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: _no_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_no_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
