"""Does the class of an image survive restoration? An audit classifier predicts it before and after.

The audit classifier is a run of its own: a classifier of another architecture, trained by the same loop on good and
degraded images alike. Its predictions for a test image and for its restoration are compared, image by image.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import DataError
from restorekit.core.types import Batch, Domain, Metric
from restorekit.data.targets import target_text
from restorekit.evaluation.audit_sentences import headline, proven, sentences
from restorekit.evaluation.evaluate import enlarged, restored
from restorekit.evaluation.intervals import (
    Indices,
    Resamples,
    estimate,
    exact,
    group_counts,
    resamples,
    unit_word,
    units,
)
from restorekit.io.files import read_own_text, write_text
from restorekit.io.tables import CsvWriter
from restorekit.recipes.model import Recipe
from restorekit.recipes.seeds import seed_of
from restorekit.runs.experiment import Experiment
from restorekit.runs.run import Run

__all__ = ["audit", "changes_of_mind", "check_fit", "contrast", "relation"]

Rows = NDArray[np.float64]
Score = Callable[[Indices], float]
LOOKS = ("degraded", "restored", "truth")
RING = 0.06
"""Width of the surround of a mask, as a fraction of the image's smallest side."""


@dataclass
class _Predicted:
    """Predictions of the audit classifier: rows for "degraded", "restored" and, where it is known, "truth"."""

    predictions: dict[str, list[Tensor]] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[Rows]] = field(default_factory=dict)
    contrasts: dict[str, list[float]] = field(default_factory=dict)
    """NaN where no mask is known."""
    keys: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    targets: list[float] = field(default_factory=list)


def audit(
    run: Experiment, classifier: Run, split: str = "test", *, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Classify a split before and after restoration; write scores/audit.json and .csv of the run.

    Raises:
        DataError: if there is nothing to audit, or the audit classifier predicts other classes or was trained on
            audited images.
        CheckpointError: if one of the two has no checkpoint that fits.
    """
    check_fit(run, classifier, split)
    steps = [one.load()["step"] for one in (run, classifier)]
    seen = _look(run, classifier, split, report)
    unit = unit_word(seen.groups, run.images.unit)
    over = resamples(units(seen.groups), run.recipe.evaluate.resamples, seed_of(run.recipe.seed, "audit"), unit)
    found = {"step": steps[0], "judge_step": steps[1], **_summary(run, classifier, split, seen, over)}
    found |= {"headline": headline(found), "proven": proven(found), "sentences": sentences(found)}
    write_text(run.folder / "scores" / "audit.csv", _table(seen, run.images.domains["a"]))
    write_text(run.folder / "scores" / "audit.json", json.dumps(found, indent=1))
    return found


def relation(run: str, classifier: str, split: str) -> dict[str, Any]:
    """Return from the listings (splits.csv) of two runs what the audit classifier was trained on.

    Returns:
        `trained`: how many patients the classifier was trained on, an image whose patient is not known counting as one;
        `shared`: how many of them the run was trained on too; `audited`: how many of them are audited; `unknown`: how
        many of all are such images.
    """
    ours, theirs = _units_of(run), _units_of(classifier)
    its = theirs["train"]
    return {
        "trained": len(its),
        "shared": len(its & ours["train"]),
        "audited": len(its & ours[split]),
        "unknown": sum(not is_patient for is_patient, _ in its | ours["train"]),
    }


def contrast(image: Tensor, mask: Tensor) -> Rows:
    """Return the mean inside a mask less that in a ring around it, as a fraction of the full range.

    Args:
        image: (B, C, *S) in [-1, 1].
        mask: (B, 1, *S), what is above 0.5 is inside.

    Returns:
        (B,); NaN where the mask or its ring is empty.
    """
    from scipy.ndimage import binary_dilation  # slow to import, and seldom needed

    width = max(1, round(RING * min(mask.shape[2:])))
    gray = image.double().mean(1).cpu().numpy()
    inside = mask[:, 0].cpu().numpy() > 0.5
    found = np.full(len(gray), math.nan)
    for i, (picture, within) in enumerate(zip(gray, inside, strict=True)):
        ring = binary_dilation(within, iterations=width) & ~within if within.any() else within
        if ring.any():
            found[i] = (picture[within].mean() - picture[ring].mean()) / 2
    return found


def check_fit(run: Experiment, classifier: Run, split: str) -> None:
    """Refuse a classifier that cannot audit a run; called before and after its training.

    Raises:
        DataError: if there is nothing to audit, or the audit classifier predicts other classes or was trained on
            audited images.
    """
    if not run.images.sizes.get(split):
        raise DataError(f"data.a: has no images in split {split!r}, so there is nothing to audit")
    if not run.restorer.translates:
        raise DataError(f"{run.folder}: hands its images through, so there is nothing to audit; give one that restores")
    if isinstance(run.recipe, Recipe) and run.recipe.nets.generator.name == classifier.recipe.nets.generator.name:
        raise DataError(
            f"{classifier.folder}: has the generator of the run, {run.recipe.nets.generator.name!r}; use another "
            "architecture"
        )
    _check_images(run.images.domains["a"], classifier.images.domains["a"], classifier.folder)
    ours, theirs = run.images.domains["a"].classes, classifier.images.domains["a"].classes
    if not theirs or classifier.nets.ab.head is None:
        raise DataError(f"{classifier.folder}: predicts no class; use a run with nets.head")
    if ours != theirs:
        raise DataError(
            f"{classifier.folder}: predicts the classes {theirs}, the run's data have {ours}; they must be the same"
        )
    trained = relation(_listing(run), _listing(classifier), split)
    if trained["audited"]:
        raise DataError(
            f"{classifier.folder}: was trained on {trained['audited']} patients whose {split} images are audited; take "
            "one of the same splits"
        )


def _check_images(ours: Domain, theirs: Domain, place: Path) -> None:
    """One channel is repeated for a classifier of several, as in training; other numbers of channels do not fit."""
    if ours.dims != theirs.dims:
        raise DataError(f"{place}: classifies images of {theirs.dims} dimensions, the run restores such of {ours.dims}")
    if ours.channels != theirs.channels and ours.channels != 1:
        raise DataError(
            f"{place}: classifies images of {theirs.channels} channels, the run restores such of {ours.channels}"
        )


def _listing(run: Experiment) -> str:
    """The training images of a run, as written when it began; the data may have changed since."""
    written = run.folder / "splits.csv"
    return read_own_text(written) if written.is_file() else run.images.listing


def _units_of(listing: str) -> dict[str, set[tuple[bool, str]]]:
    """By split the patients, (True, name), and the images whose patient is not known, (False, path)."""
    found: dict[str, set[tuple[bool, str]]] = {"train": set(), "val": set(), "test": set()}
    for row in csv.DictReader(io.StringIO(listing, newline="")):
        found[row["split"]].add((True, row["patient"]) if row["patient"] else (False, row["path"]))
    return found


def _look(run: Experiment, classifier: Run, split: str, report: Callable[[str], None]) -> _Predicted:
    seen = _Predicted()
    with run.evaluating(), classifier.evaluating():
        for batch in run.images.scoring(split):
            moved = batch.to(run.engine.device)
            output = restored(run, moved)
            _note(classifier, seen, moved, output.image.float())
            report(f"{len(seen.keys)} of {run.images.sizes[split]} images classified")
    if len(seen.predictions.get("truth", [])) < len(seen.keys):
        # A score of some of the images would not be the split's.
        seen.predictions.pop("truth", None)
        seen.rows = {key: rows for key, rows in seen.rows.items() if key[1] != "truth"}
    return seen


def _note(classifier: Run, seen: _Predicted, batch: Batch, image: Tensor) -> None:
    looks = {"degraded": enlarged(batch.image, image), "restored": image}
    if batch.truth is not None and bool(batch.with_truth.all()):
        looks["truth"] = batch.truth
    head = classifier.scored_nets.ab.head
    for name, look in looks.items():
        raw = classifier.scored_nets.ab.raw(_for(classifier.images.domains["a"], look))
        if head is None or raw is None:
            continue
        prediction = head.predict(raw)
        seen.predictions.setdefault(name, []).extend(prediction.cpu())
        for score, metric in classifier.metrics.items():
            if metric.needs == "target":
                seen.rows.setdefault((score, name), []).append(metric.measure(look, prediction, batch))
    for name in LOOKS:
        here = None if batch.mask is None or name not in looks else contrast(looks[name], batch.mask)
        seen.contrasts.setdefault(name, []).extend([math.nan] * len(batch.key) if here is None else here)
    seen.keys += batch.key
    seen.groups += batch.group or [None] * len(batch.key)
    seen.targets += [math.nan] * len(batch.key) if batch.target is None else batch.target.tolist()


def _for(domain: Domain, image: Tensor) -> Tensor:
    """Return an image at the classifier's size and channels. Input and restored images both go through it."""
    if image.shape[1] == 1:
        image = image.expand(-1, domain.channels, *image.shape[2:])
    return image if tuple(image.shape[2:]) == domain.size else nd.resize(image, domain.size)


def _summary(run: Experiment, classifier: Run, split: str, seen: _Predicted, over: Resamples) -> dict[str, Any]:
    confidence = run.recipe.evaluate.confidence
    classes = run.images.domains["a"].classes
    truth = np.array(seen.targets)
    before, after = (np.array([int(t.argmax()) for t in seen.predictions[which]]) for which in ("degraded", "restored"))
    flips = partial(changes_of_mind, before=before, after=after, truth=truth, over=over, confidence=confidence)
    of = classes[1:] if len(classes) == 2 else classes
    who = {"folder": relpath(classifier.folder, run.folder), "generator": classifier.recipe.nets.generator.name}
    return {
        "split": split,
        "images": len(seen.keys),
        **group_counts(seen.groups),
        "classes": list(classes),
        "confidence": confidence,
        "synthetic": run.images.synthetic,
        "times": run.recipe.evaluate.times,
        "classifier": {**who, **relation(_listing(run), _listing(classifier), split)},
        "chance": {"auroc": 0.5, "accuracy": _most(truth)},
        "scores": dict(_scores(classifier, seen, over, confidence)),
        "agreement": _share(before == after, np.ones(len(before), bool), confidence),
        "flips": [flips(name, classes.index(name)) for name in of],
        "contrast": _contrasts(seen, over, confidence),
    }


def _scores(classifier: Run, seen: _Predicted, over: Resamples, confidence: float) -> Iterator[tuple[str, Any]]:
    """Yield (metric, its score before, after, of the truth, and the change), each with an interval."""
    for name, metric in classifier.metrics.items():
        rows = {which: np.concatenate(of) for (score, which), of in seen.rows.items() if score == name}
        if rows:
            scores = {which: _reduced(metric, of) for which, of in rows.items()}
            scores["change"] = _change(scores["degraded"], scores["restored"])
            yield (
                name,
                {
                    which: estimate(
                        score,
                        over,
                        confidence,
                        biased=metric.biased,
                        proportion=metric.proportion and which != "change",
                    )
                    for which, score in scores.items()
                },
            )


def _reduced(metric: Metric, rows: Rows) -> Score:
    return lambda chosen: metric.reduce(rows[chosen])


def _change(before: Score, after: Score) -> Score:
    return lambda chosen: after(chosen) - before(chosen)


def _mean(values: Rows) -> Score:
    """The mean of those that are defined."""
    return lambda chosen: float(np.mean(kept)) if len(kept := values[chosen][np.isfinite(values[chosen])]) else math.nan


def _share(which: NDArray[np.bool_], of: NDArray[np.bool_], confidence: float) -> dict[str, Any]:
    """Count `which` among `of`, with the exact binomial interval, which assumes independent images."""
    k, n = int((which & of).sum()), int(of.sum())
    if not n:
        return {"k": 0, "n": 0, "value": None, "low": None, "high": None}
    low, high = exact(k, n, confidence)
    return {"k": k, "n": n, "value": k / n, "low": low, "high": high}


def _most(truth: Rows) -> float:
    """Return the share of the largest class among images of known class: the accuracy of a constant prediction."""
    known = truth[truth >= 0]
    return float(np.bincount(known.astype(np.int64)).max() / len(known)) if len(known) else 0.0


def changes_of_mind(
    name: str,
    index: int,
    before: NDArray[np.int_],
    after: NDArray[np.int_],
    truth: Rows,
    over: Resamples,
    confidence: float,
) -> dict[str, Any]:
    """Count changed predictions of a class: of all images, and of those that were classified correctly before.

    Of those that were lost or invented patients are counted too, each once, if it is so of one of their images. Net is
    what changed for the worse less what changed for the better, of all images of the class and of all others, as a
    share of them: by how much the classifier's sensitivity and specificity fell.

    Args:
        name: of the class.
        index: of the class.
        before: (N,), the class that each image was called before restoration.
        after: (N,), after it.
        truth: (N,), the true class; below 0 or NaN where it is not known.
        over: resamples of the images.
        confidence: of the intervals.
    """
    was, now, is_, known = before == index, after == index, truth == index, truth >= 0
    ways = {"lost": (~now, was & is_), "invented": (now, known & ~is_ & (before == truth))}
    worse = {"lost": (is_, 1.0 * was - now), "invented": (known & ~is_, 1.0 * now - was)}
    return {
        "class": name,
        "away": _share(~now, was, confidence),
        "towards": _share(now, ~was, confidence),
        **{way: _share(which, among, confidence) for way, (which, among) in ways.items()},
        **{
            f"{way}_patients": _share(_any(which & among, over.units), _any(among, over.units), confidence)
            for way, (which, among) in ways.items()
        },
        **{
            f"{way}_net": estimate(_mean(np.where(of, change, np.nan)), over, confidence, of)
            for way, (of, change) in worse.items()
        },
    }


def _any(which: NDArray[np.bool_], of: Sequence[Indices]) -> NDArray[np.bool_]:
    """Return of which patients any image is one of `which`."""
    return np.array([which[rows].any() for rows in of], bool)


def _contrasts(seen: _Predicted, over: Resamples, confidence: float) -> dict[str, Any] | None:
    """Return the mean contrast inside the masks, before, after and of the truth, and its change by restoration."""
    columns = {which: np.array(values) for which, values in seen.contrasts.items()}
    known = int(np.isfinite(columns["degraded"]).sum())
    if not known:
        return None
    columns["change"] = columns["restored"] - columns["degraded"]
    found = {which: estimate(_mean(of), over, confidence, np.isfinite(of)) for which, of in columns.items()}
    return {**found, "images": known}


def _table(seen: _Predicted, domain: Domain) -> str:
    """One row per image: the classifier's probabilities before, after and, where known, of the truth; and contrasts."""
    stream = io.StringIO()
    writer = CsvWriter(stream)
    names = [f"{which}_{column}" for which in seen.predictions for column in domain.task.columns]
    contrasts = {which: values for which, values in seen.contrasts.items() if np.isfinite(values).any()}
    writer.writerow(["key", "group", "class", *names, *(f"{which}_contrast" for which in contrasts)])
    for i, key in enumerate(seen.keys):
        cells = [str(float(p)) for of in seen.predictions.values() for p in of[i]]
        inside = [f"{values[i]:.6g}" for values in contrasts.values()]
        writer.writerow([key, seen.groups[i] or "", target_text(domain.task, seen.targets[i]), *cells, *inside])
    return stream.getvalue()
