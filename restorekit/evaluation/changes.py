"""The change of a score by restoration, classified once for every sentence about it.

It reads the numbers of the tables (the means of degraded, restored and good images, the interval of the gain, the
distance to the good images and its interval), so that a sentence cannot contradict the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Change", "beyond", "beyond_words", "classify", "too_few"]

Direction = Literal["rose", "fell", "same", "untested"]
Quality = Literal["improved", "worse", "same", "untested", "undirected"]
Place = Literal["nearer", "farther", "mixed", "same", "untested", "absent"]
Side = Literal["", "below", "above"]

LEAST_TESTED = 6
"""Below this number of units, such as patients, no difference is called one. The widest interval that resamples of n
give, from the lowest to the highest, misses the median of all with a probability of 2 / 2^n: 0.06 of 5, 0.5 of 2."""
FEW_GOOD = 5
"""Below this number of good images, no sentence compares with their extremes."""
OVER_SMOOTHED = {("noise_level", "below"), ("resolution_level", "below"), ("blur_level", "above")}
"""A smoothing filter moves images there: less noise, less detail or more blur than any good image has."""


@dataclass(frozen=True)
class Change:
    """How restored images differ from the degraded ones, by one score. same: no significant difference."""

    direction: Direction
    """Of the mean: the side of zero on which the interval of the gain lies. untested: none, or of too few units."""
    quality: Quality
    """Whether that is better, by `Metric.better`. undirected: the metric does not state what is better."""
    place: Place
    """Nearer to the good images, or farther from them. mixed: the mean moved one way, the distribution the other.

    The distance of the distributions decides where its interval does not hold zero. Else the mean decides, if it
    changed significantly and moved towards or out of the interval of the good images' mean. absent: no good images.
    """
    past: bool = False
    """The restored mean is on the other side of the good images' mean than the degraded one, outside its interval."""
    beyond: Side = ""
    """The median restored image is below, or above, every good image."""


def classify(metric: Mapping[str, Any]) -> Change:
    """Return what changed by a score of scores/test.json: its `degraded`, `restored`, `gain`, `good` and `distance`."""
    direction, place = _direction(metric), _place(metric)
    better = metric.get("better", "higher")
    return Change(direction, _quality(direction, place, better), place, _is_past(metric), _beyond(metric))


def too_few(entry: Any) -> bool:
    """Return True if an entry of scores/test.json has too few units for a difference to be called one."""
    count = entry.get("units", entry.get("n")) if isinstance(entry, Mapping) else None
    return isinstance(count, int) and count < LEAST_TESTED


def beyond(middle: float, low: float, high: float) -> Side:
    """Return on which side of all good images, from `low` to `high`, the median image is; empty: on none."""
    return "below" if middle < low else "above" if middle > high else ""


def beyond_words(name: str, side: Side) -> str:
    """Return as text that images lie beyond every good image by a metric: "below every good image: over-smoothed"."""
    return f"{side} every good image{': over-smoothed' if (name, side) in OVER_SMOOTHED else ''}"


def _direction(metric: Mapping[str, Any]) -> Direction:
    degraded, restored = _value(metric.get("degraded")), _value(metric.get("restored"))
    if degraded is None or restored is None:
        return "untested"
    ends = _interval(metric.get("gain"))
    if ends is None or too_few(metric.get("gain")):
        return "same" if degraded == restored else "untested"
    return "rose" if ends[0] > 0 else "fell" if ends[1] < 0 else "same"


def _quality(direction: Direction, place: Place, better: Any) -> Quality:
    if better == "nearer":
        known: dict[Place, Quality] = {"nearer": "improved", "farther": "worse", "same": "same", "untested": "untested"}
        return known.get(place, "undirected")
    if direction == "same" or direction == "untested":
        return direction
    if better not in ("higher", "lower"):
        return "undirected"
    return "improved" if (direction == "rose") == (better == "higher") else "worse"


def _place(metric: Mapping[str, Any]) -> Place:
    if "good" not in metric:
        return "absent"
    if too_few(metric.get("restored")) or too_few(metric.get("good")):
        return "untested"
    whole, mean = _of_distance(metric.get("distance")), _of_mean(metric)
    if whole in ("nearer", "farther") and mean in ("nearer", "farther") and whole != mean:
        return "mixed"
    if whole in ("nearer", "farther"):
        return whole
    if mean in ("nearer", "farther"):
        return mean
    return "same" if "same" in (whole, mean) else "untested"


def _of_distance(distance: Any) -> Place:
    ends = _interval(distance)
    if ends is None:
        return "untested"
    return "farther" if ends[0] > 0 else "nearer" if ends[1] < 0 else "same"


def _of_mean(metric: Mapping[str, Any]) -> Place:
    """Return where a significant change of the mean led: into, towards or out of the interval of the good mean."""
    direction = _direction(metric)
    degraded, restored, good = (_value(metric.get(kind)) for kind in ("degraded", "restored", "good"))
    if degraded is None or restored is None or good is None or direction == "untested":
        return "untested"
    if direction == "same" or (direction == "rose") != (restored > degraded):  # the gain is of other images
        return "same"
    low, high = _interval(metric.get("good")) or (good, good)
    before, after = (max(low - value, value - high, 0.0) for value in (degraded, restored))
    if after > before:
        return "farther"
    crossed = (degraded < low and restored > high) or (degraded > high and restored < low)
    closer = abs(restored - good) < abs(degraded - good)  # the interval may reach farther to one side
    return "nearer" if after < before and closer and not crossed else "same"


def _is_past(metric: Mapping[str, Any]) -> bool:
    degraded, restored, good = (_value(metric.get(kind)) for kind in ("degraded", "restored", "good"))
    if degraded is None or restored is None or good is None:
        return False
    ends = _interval(metric.get("good"))
    inside = ends is not None and ends[0] <= restored <= ends[1]
    return not inside and (restored - good) * (degraded - good) < 0


def _beyond(metric: Mapping[str, Any]) -> Side:
    spread, ends = metric.get("spread"), metric.get("range")
    restored = spread.get("restored") if isinstance(spread, Mapping) else None
    degraded = spread.get("degraded") if isinstance(spread, Mapping) else None
    good = metric.get("good")
    few = isinstance(good, Mapping) and (good.get("n") or FEW_GOOD) < FEW_GOOD
    if not restored or not ends or few:
        return ""
    middle = len(restored) // 2
    side = beyond(restored[middle], *ends)
    # What was there before restoration, and is less so after it, is what restoration has left, not what it did.
    moved = not degraded or (
        restored[middle] < degraded[middle] if side == "below" else restored[middle] > degraded[middle]
    )
    return side if moved else ""


def _value(entry: Any) -> float | None:
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _interval(entry: Any) -> tuple[float, float] | None:
    if not isinstance(entry, Mapping):
        return None
    low, high = _value(entry.get("low")), _value(entry.get("high"))
    return None if low is None or high is None else (low, high)
