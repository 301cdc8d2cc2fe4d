"""Numbers to words: where a measure begins to be called a flaw, and how strong a one.

The limits are in each measure's own unit, and the same for every image. They are conventions, ours, chosen so that most
films of good quality get no word; no reader set them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SCALES", "Scale", "flaws", "sentence"]


@dataclass(frozen=True)
class Scale:
    """The bands of a measure, from its least value to its greatest."""

    edges: tuple[float, ...]
    """One more than there are bands; a value beyond the ends belongs to the last band there."""
    words: tuple[str, ...]
    """For each band what is said of it; empty: nothing."""

    def band(self, value: float) -> int:
        """Return the band of a value; one that stands on an edge belongs to the upper band."""
        return min(max(bisect_right(self.edges, value) - 1, 0), len(self.words) - 1)

    def word(self, value: float) -> str:
        """Return what is said of a value; empty: nothing, also where it is not defined."""
        return "" if math.isnan(value) else self.words[self.band(value)]

    def severity(self, band: int) -> int:
        """Return how many bands lie between a band and the nearest of which nothing is said."""
        return min(abs(band - at) for at, word in enumerate(self.words) if not word)

    def place(self, value: float) -> float:
        """Return where a value stands on a line on which all bands are equally long; 0 to 1."""
        band = self.band(value)
        low, high = self.edges[band : band + 2]
        return (band + min(max((value - low) / (high - low), 0.0), 1.0)) / len(self.words)


SCALES: Mapping[str, Scale] = {
    "noise": Scale((0, 0.01, 0.03, 0.08, 0.25), ("", "slightly noisy", "moderately noisy", "very noisy")),
    "noise_variation": Scale((0, 0.5, 1), ("", "unevenly noisy")),
    "blur": Scale((0, 1.5, 2.5, 4, 8), ("", "slightly blurred", "moderately blurred", "very blurred")),
    "exposure": Scale(
        (-4, -2, -1, 1, 2, 4), ("badly over-exposed", "over-exposed", "", "under-exposed", "badly under-exposed")
    ),
    "mean_level": Scale((0, 1), ("",)),
    "shadows": Scale((0, 0.05, 0.2, 1), ("", "clipped shadows", "much clipped in the shadows")),
    "highlights": Scale((0, 0.02, 0.1, 1), ("", "clipped highlights", "much clipped in the highlights")),
    "contrast": Scale((0, 0.06, 0.12, 0.5), ("very low contrast", "low contrast", "")),
    "usable_range": Scale((0, 0.25, 0.5, 1), ("very narrow range", "narrow range", "")),
    "blockiness": Scale((0, 0.5, 1.5, 4), ("", "visible JPEG blocks", "strong JPEG blocks")),
    "grid": Scale((0, 0.003, 0.01, 0.1), ("", "faint grid lines", "clear grid lines")),
    "resolution": Scale((0, 0.25, 0.5, 1), ("low effective resolution", "reduced resolution", "")),
}
"""By the names of `MEASURES`."""
_UNEVEN = 0.01
"""Noise below which it does not matter where it is."""


def flaws(values: Mapping[str, float]) -> dict[str, str]:
    """Return what is said of an image, by measure."""
    found = {name: word for name, scale in SCALES.items() if (word := scale.word(values.get(name, math.nan)))}
    if not values.get("noise", 0.0) >= _UNEVEN:
        found.pop("noise_variation", None)
    return found


def sentence(values: Mapping[str, float]) -> str:
    """Return the flaws of an image as one line, such as "under-exposed, moderately noisy"."""
    return ", ".join(flaws(values).values()) or "no flaw by these measures"
