"""Scores and intervals as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

__all__ = [
    "bounds",
    "difference",
    "finite",
    "from_to",
    "in_decibels",
    "interval",
    "label",
    "listed",
    "number",
    "p_value",
    "percent",
    "short",
    "split_word",
    "titled",
    "value_of",
    "with_interval",
    "within",
]

_LABELS = {
    "auroc": "AUROC",
    "ece": "ECE",
    "f1": "F1",
    "f2": "F2",
    "mae": "MAE",
    "ms_ssim": "MS-SSIM",
    "psnr": "PSNR",
    "rmse": "RMSE",
    "snr": "SNR",
    "ssim": "SSIM",
    "uqi": "UQI",
}
_DECIBELS = ("psnr", "snr")
_REASONS = {
    "no resample differs": "all resamples are equal",
    "resamples bias it": "the bootstrap is biased for this score",
}
"""Reasons why there is no interval, as runs of version 1.0 wrote them, in today's words."""
_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_MINUS = "\u2212"


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def label(name: str) -> str:
    """Return the display name of a metric."""
    if name in _LABELS:
        return _LABELS[name]
    base, _, number = name.rpartition("_")
    if number.isdigit():  # psnr_2, the second of the name
        return f"{label(base)} {number}"
    return " ".join(_LABELS.get(word, word) for word in name.split("_"))


def titled(name: str, unit: str = "") -> str:
    """Return the display name of a metric with its unit, for an axis: "PSNR (dB)", "blur level (px)"."""
    unit = unit or ("dB" if in_decibels(name) else "")
    return f"{label(name)} ({unit})" if unit else label(name)


def split_word(split: str) -> str:
    """Return the name of a split as it stands before the word "images"."""
    return _SPLITS.get(split, split)


def finite(value: Any) -> TypeGuard[float]:
    """True for a number that can be printed: neither absent nor NaN nor infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def value_of(entry: Any) -> float | None:
    """Return the value of a score, or None where it is absent or not defined."""
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return float(value) if finite(value) else None


def number(value: Any, metric: str = "", *, unit: bool = True, more: int = 0) -> str:
    """Return a score as text: dB with 2 decimals and its unit, others with 3; tiny values keep two digits.

    Args:
        value: the score; None or NaN: it is not defined.
        metric: its name.
        unit: write the unit.
        more: decimals or digits beyond these.
    """
    if not finite(value):
        return "not defined"
    decibel = in_decibels(metric)
    tiny = value != 0 and abs(value) < 0.0005 and not decibel
    digits = more + (1 if tiny else 2 if decibel else 3)
    text = f"{value:.{digits}e}" if tiny else f"{value:z,.{digits}f}"  # what is rounded to zero has no sign
    return text.replace("-", _MINUS) + (" dB" if decibel and unit else "")


def from_to(before: Any, after: Any, metric: str = "") -> str:
    """Return "0.035 to 0.019" for two values of a score, with more decimals where they would read alike."""
    first = last = ""
    for more in range(4):
        first, last = (number(value, metric, more=more) for value in (before, after))
        if first != last or before == after:
            break
    return f"{first} to {last}"


def short(value: float) -> str:
    """Return a number with three digits that count: 0.0428, −0.2, 1,850."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", _MINUS)


def in_decibels(metric: str) -> bool:
    """True for scores in dB."""
    return any(word in _DECIBELS for word in metric.split("_"))


def p_value(value: Any) -> str:
    """Return a p value with four decimals, and "< 0.0001" below them."""
    return "not defined" if not finite(value) else "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def difference(value: float, metric: str = "") -> str:
    """Return a signed number: +0.012."""
    return ("+" if value >= 0 else "") + number(value, metric)


def percent(fraction: Any) -> str:
    """Return 0.95 as "95 %"."""
    return f"{100 * fraction:.4g} %" if finite(fraction) else "?"


def interval(entry: Any, metric: str = "") -> str:
    """Return "0.780 to 0.910", or the empty string where an interval is not known."""
    if not isinstance(entry, Mapping) or not (finite(entry.get("low")) and finite(entry.get("high"))):
        return ""
    return f"{number(entry['low'], metric, unit=False)} to {number(entry['high'], metric, unit=False)}"


def bounds(entry: Any, metric: str = "") -> str:
    """Return the interval, or why there is none: "no interval: one patient"; the empty string where it is not known.

    An exact interval is marked, for it is not one of the bootstrap.
    """
    if not isinstance(entry, Mapping):
        return ""
    if why := entry.get("why"):
        return f"no interval: {_REASONS.get(why, why)}"
    return f"{interval(entry, metric)}{', exact' if entry.get('exact') and interval(entry) else ''}"


def with_interval(entry: Any, metric: str, confidence: Any) -> str:
    """Return "0.850 (95 % interval 0.780 to 0.910)"; "0.850 (no interval: one patient)"."""
    interval = bounds(entry, metric)
    text = number(value_of(entry), metric)
    return f"{text} ({within(interval, confidence)})" if interval else text


def within(interval: str, confidence: Any, of: str = "") -> str:
    """Return "95 % interval of the gain 0.1 to 0.2", or that there is none and why."""
    if interval.startswith("no interval"):
        return interval
    return f"{percent(confidence)} interval {f'{of} ' if of else ''}{interval}"
