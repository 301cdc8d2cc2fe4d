"""Sentences on whether restoration moved the images towards the good ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restorekit.core.errors import many
from restorekit.data.text import bounds, from_to, label, listed, number, split_word, value_of
from restorekit.evaluation.changes import Change, beyond_words, classify
from restorekit.evaluation.measures import LEVELS
from restorekit.runs.runfolder import Json

__all__ = ["KINDS", "good_images", "lacking", "sentence", "summary", "warnings"]

KINDS = ("degraded", "restored", "good")
CHANGED = {"rose": "rose", "fell": "fell"}


def sentence(name: str, metric: Json) -> str:
    """Return whether restoration moved the images towards the good ones by a metric, for its row of the table."""
    distance = metric.get("distance")
    if not isinstance(distance, Mapping):
        return "Not known: the measure is not defined for the degraded, the restored or the good images."
    change = classify(metric)
    values = f"distance {from_to(distance['degraded'], distance['restored'], name)}"
    phrases = {
        "nearer": f"Nearer to the good images: {values}.",
        "farther": f"Farther from the good images: {values}.",
        "mixed": f"Mixed: the mean moved one way, the distribution the other: {values}.",
        "same": f"{_moved(change)}o significant difference in {values}.",
        "untested": f"{values.capitalize()}; {bounds(distance) or 'no interval'}.",
    }
    past = " The mean went past theirs." if change.past else ""
    beyond = f" The median image is {beyond_words(name, change.beyond)}." if change.beyond else ""
    return f"{phrases[change.place]}{past}{beyond}"


def _moved(change: Change) -> str:
    return f"The mean {change.direction}; n" if change.direction in CHANGED else "N"


def summary(scores: Json) -> list[str]:
    """Return the headline: by which metrics restoration moved the images towards the good ones, by which away."""
    by: dict[str, list[str]] = {}
    for name, metric in _scored(scores).items():
        if all(value_of(metric.get(kind)) is not None for kind in KINDS):
            change = classify(metric)
            group = change.direction if change.place == "same" and change.direction in CHANGED else change.place
            by.setdefault(group, []).append(f"{label(name)} {_values(name, metric)}")
    phrases = {
        "nearer": "Restored images are nearer to the good ones by",
        "farther": "Restored images are farther from the good ones by",
        "mixed": "The mean moved one way and the distribution the other by",
        "rose": "Higher, without a significant difference in distance to the good images:",
        "fell": "Lower, without a significant difference in distance to the good images:",
        "same": "No significant difference by",
        "untested": "Not tested, for there is no interval, or of too few images:",
    }
    sentences = [f"{words} {listed(by[group])}." for group, words in phrases.items() if group in by]
    return [*sentences, *_beyond(scores)]


def _values(name: str, metric: Json) -> str:
    degraded, restored, good = (value_of(metric.get(kind)) for kind in KINDS)
    return f"({from_to(degraded, restored, name)}, good images {number(good, name)})"


def _beyond(scores: Json) -> list[str]:
    """Yield by which metrics restored images lie beyond every good image: of noise, below is over-smoothed."""
    found = {name: classify(metric).beyond for name, metric in _scored(scores).items()}
    return [
        f"By {label(name)} the median restored image is {beyond_words(name, side)}."
        for name, side in found.items()
        if side
    ]


def warnings(scores: Json) -> list[str]:
    """Return the warnings of the scores: metrics by which restoration moved the images away."""
    names = [label(name) for name, metric in _scored(scores).items() if classify(metric).place == "farther"]
    away = (
        f"Restored images are farther from the good ones than the degraded images were, by {listed(names)}: look at "
        "the pictures before you use this run."
    )
    return [*([away] if names else []), *_beyond(scores)]


def lacking(scores: Json, recipe: Json) -> str:
    """Return in a sentence why noise, blur, exposure or contrast were not measured; empty if they were."""
    missing = [name for name in LEVELS if name not in (scores.get("metrics") or {})]
    if not missing:
        return ""
    dims = scores.get("dims") or len((recipe.get("data") or {}).get("size") or (0, 0))
    if dims != 2:
        return (
            "Noise, blur, exposure and contrast are not measured: these measures are defined for two-dimensional "
            f"images, and these have {dims} dimension{'s' if dims > 1 else ''}."
        )
    return (
        f"When this run was scored, {listed([label(name) for name in missing])} were not measured; to measure them, "
        "run restorekit evaluate on this folder."
    )


def good_images(scores: Json) -> str:
    """Return as text which images are taken as the good ones."""
    good = scores.get("good")
    if not isinstance(good, Mapping):
        return "images of domain b"
    of = f"{many(good.get('images'), split_word(str(good.get('split'))) + ' image')} of domain b"
    if good.get("split") == scores.get("split"):
        return of
    seen = ", which the networks were trained on" if good.get("split") == "train" else ""
    return f"{of}{seen}; domain b has no {split_word(str(scores.get('split', 'test')))} images"


def _scored(scores: Json) -> dict[str, Any]:
    """Return the metrics by which good images were scored too."""
    return {name: metric for name, metric in (scores.get("metrics") or {}).items() if "good" in metric}
