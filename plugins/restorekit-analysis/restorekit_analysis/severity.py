"""Numbers to words, and to one quality: where a measure begins to be called a flaw, and how strong a one.

The limits are in each measure's own unit, and the same for every image. They are conventions, ours, chosen so that most
films of good quality get no word; no reader set them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ASPECTS", "SCALES", "Scale", "flaws", "quality", "sentence"]


@dataclass(frozen=True)
class Scale:
    """The bands of a measure, from its least value to its greatest."""

    edges: tuple[float, ...]
    """One more than there are bands; a value beyond the ends belongs to the last band there."""
    words: tuple[str, ...]
    """The word of each band; empty: none."""

    def band(self, value: float) -> int:
        """Return the band of a value; one that stands on an edge belongs to the upper band."""
        return min(max(bisect_right(self.edges, value) - 1, 0), len(self.words) - 1)

    def word(self, value: float) -> str:
        """Return the word of a value; empty: none, also where it is not defined."""
        return "" if math.isnan(value) else self.words[self.band(value)]

    def bands_from_good(self, band: int) -> int:
        """Return how many bands lie between a band and the nearest one without a word."""
        return min(abs(band - at) for at, word in enumerate(self.words) if not word)

    def severity(self, value: float) -> float:
        """Return how far a value is from the best of the scale, 0 to 1; NaN where it is not defined.

        The best is the far end of the band without a word, or its middle if flaws lie on both sides.
        """
        if math.isnan(value):
            return math.nan
        place = self.place(value)
        if self.words[0] and self.words[-1]:
            return abs(2 * place - 1)
        return 1 - place if self.words[0] else place

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
ASPECTS: Mapping[str, tuple[str, ...]] = {
    "noise": ("noise",),
    "sharpness": ("blur", "resolution"),
    "exposure": ("exposure", "shadows", "highlights"),
    "contrast": ("contrast", "usable_range"),
    "artefacts": ("blockiness", "grid"),
}
"""What the quality of an image is made of, by measure."""
_WORST = 4
"""Power of the mean over aspects: the greater, the more the worst of them counts."""
_UNEVEN = 0.01
"""Noise below which it does not matter where it is."""


def flaws(values: Mapping[str, float]) -> dict[str, str]:
    """Return the words of an image, by measure."""
    found = {name: word for name, scale in SCALES.items() if (word := scale.word(values.get(name, math.nan)))}
    if not values.get("noise", 0.0) >= _UNEVEN:
        found.pop("noise_variation", None)
    return found


def sentence(values: Mapping[str, float]) -> str:
    """Return the flaws of an image as one line, such as "under-exposed, moderately noisy"."""
    return ", ".join(flaws(values).values()) or "no flaw by these measures"


def quality(values: Mapping[str, float]) -> float:
    """Return the quality of an image, 0 (every aspect as poor as can be) to 1.

    The severity of each aspect is the mean over its measures of how far they are along their scales; the quality is 1
    minus the mean of power 4 over aspects, in which the worst counts most. What is not defined is left out.
    """
    aspects = []
    for names in ASPECTS.values():
        known = [bad for name in names if not math.isnan(bad := SCALES[name].severity(values.get(name, math.nan)))]
        if known:
            aspects.append(sum(known) / len(known))
    mean = sum(bad**_WORST for bad in aspects) / len(aspects) if aspects else 0.0
    return float(1 - mean ** (1 / _WORST))
