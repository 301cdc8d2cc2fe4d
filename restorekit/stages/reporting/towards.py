"""In words, whether restoration moved the images towards the good ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from restorekit.core.measures import LEVELS
from restorekit.stages.writing.findings import bounds, count, interval, label, listed, number, split_word, value_of
from restorekit.stages.writing.runfolder import Json

__all__ = ["KINDS", "good_images", "lacking", "sentence", "summary", "warnings"]

KINDS = ("poor", "restored", "good")
Way = Literal["nearer", "farther", "unclear", "unknown"]


def sentence(name: str, metric: Json) -> str:
    """Return in plain words whether restoration moved the images towards the good ones by a metric."""
    distance = metric.get("distance")
    if not isinstance(distance, Mapping):
        return "It cannot be told: the measure is not defined for the poor, the restored or the good images."
    values = f"from {number(distance['poor'], name)} to {number(distance['restored'], name)}"
    way = _way(metric)
    if way == "unknown":
        return f"The distance to the good images went {values}; its interval is {bounds(distance)}."
    said = {
        "nearer": f"Nearer to the good images: the distance fell {values}.",
        "farther": f"Farther from the good images: the distance rose {values}.",
        "unclear": f"No clear change of the distance to the good images: {values}.",
    }
    return f"{said[way]}{_past(metric)}"


def summary(scores: Json) -> list[str]:
    """Return the headline: by which metrics restoration moved the images towards the good ones, by which away."""
    by: dict[Way, list[str]] = {}
    for name, metric in _scored(scores).items():
        by.setdefault(_way(metric), []).append(label(name))
    told = [
        f"{way} {'to' if way == 'nearer' else 'from'} the good ones by {listed(by[way])}"
        for way in ("nearer", "farther")
        if way in by
    ]
    unclear = f"no clear change by {listed(by['unclear'])}" if "unclear" in by else ""
    if told:
        return [f"Restoration moved the images {' and '.join(told)}{f'; {unclear}' if unclear else ''}."]
    return [f"Restoration moved the images neither nearer to the good ones nor farther: {unclear}."] if unclear else []


def warnings(scores: Json) -> list[str]:
    """Return what the scores say against the run: metrics by which restoration moved the images away."""
    names = [label(name) for name, metric in _scored(scores).items() if _way(metric) == "farther"]
    if not names:
        return []
    return [
        f"Restored images are farther from the good ones than the poor images were, by {listed(names)}: look at the "
        "pictures before you use this run."
    ]


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
    """Return in words which images stand for the good ones."""
    good = scores.get("good")
    if not isinstance(good, Mapping):
        return "images of domain b"
    of = f"{count(good.get('images'))} {split_word(str(good.get('split')))} images of domain b"
    if good.get("split") == scores.get("split"):
        return of
    seen = ", which the networks were trained on" if good.get("split") == "train" else ""
    return f"{of}{seen}; domain b has no {split_word(str(scores.get('split', 'test')))} images"


def _scored(scores: Json) -> dict[str, Json]:
    """Return the metrics by which good images were scored too."""
    return {name: metric for name, metric in (scores.get("metrics") or {}).items() if "good" in metric}


def _way(metric: Json) -> Way:
    """Return which way restoration moved the images; unclear: the interval of the change holds zero."""
    distance = metric.get("distance")
    if not isinstance(distance, Mapping) or not interval(distance):
        return "unknown"
    if distance["low"] <= 0 <= distance["high"]:
        return "unclear"
    return "nearer" if distance["restored"] < distance["poor"] else "farther"


def _past(metric: Json) -> str:
    """Say it if the mean left that of the good images behind."""
    poor, restored, good = (value_of(metric.get(kind)) for kind in KINDS)
    if poor is None or restored is None or good is None or _inside(restored, metric.get("good")):
        return ""
    return " The mean went past theirs." if (restored - good) * (poor - good) < 0 else ""


def _inside(value: float, entry: Any) -> bool:
    """True if an interval holds the value."""
    return bool(interval(entry)) and bool(entry["low"] <= value <= entry["high"])
