"""In words, whether restoration moved the images towards the good ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restorekit.stages.findings import count, interval, number, split_word, value_of
from restorekit.stages.runfolder import Json

__all__ = ["KINDS", "good_images", "sentence"]

KINDS = ("poor", "restored", "good")


def sentence(name: str, metric: Json) -> str:
    """Return in plain words whether restoration moved the images towards the good ones by a metric."""
    distance = metric.get("distance")
    if not isinstance(distance, Mapping) or not interval(distance):
        return "It cannot be told: the measure is not defined for the poor, the restored or the good images."
    before, after = distance["poor"], distance["restored"]
    values = f"from {number(before, name)} to {number(after, name)}"
    if distance["low"] <= 0 <= distance["high"]:
        return f"No clear change of the distance to the good images: {values}.{_past(metric)}"
    if after < before:
        return f"Nearer to the good images: the distance fell {values}.{_past(metric)}"
    return f"Farther from the good images: the distance rose {values}.{_past(metric)}"


def _past(metric: Json) -> str:
    """Say it if the mean left that of the good images behind."""
    poor, restored, good = (value_of(metric.get(kind)) for kind in KINDS)
    if poor is None or restored is None or good is None or _inside(restored, metric.get("good")):
        return ""
    return " The mean went past theirs." if (restored - good) * (poor - good) < 0 else ""


def _inside(value: float, entry: Any) -> bool:
    """True if an interval holds the value."""
    return bool(interval(entry)) and bool(entry["low"] <= value <= entry["high"])


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
