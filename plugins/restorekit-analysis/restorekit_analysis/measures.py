"""What else is measured of an image, beside `restorekit.measures`: JPEG blocks, grid lines, resolution, clipped ends.

As there, a measure sees a gray image of values from 0 (black) to 1 (white), nothing is random, nothing is learnt, and
no constant is tuned to an image or a kind of image. `benchmarks/proof.py` holds the measures against known amounts of
each degradation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restorekit import measures

__all__ = ["MEASURES", "blockiness_level", "grid_level", "measure", "resolution_level"]

Values = NDArray[np.float64]

_WINDOW = 256
"""Pixels of a window of the spectrum, at most."""
_LINES = 256
"""Lines that are enough for a spectrum."""
_SLOW = 0.02, 0.08
"""Cycles a pixel of the waves by which the spectrum of sharp edges is drawn."""
_FADED = 1 / 20
"""Share of that spectrum below which detail is gone."""
_SLOWEST = 0.06
"""Cycles a pixel below which a peak is anatomy, not a grid."""


@dataclass(frozen=True)
class Spectrum:
    """The mean power of an image's lines by frequency."""

    power: Values
    """From 0 to half a cycle a pixel; white noise of standard deviation s has s^2 everywhere."""
    count: int
    """Of how many periodograms it is the mean."""

    @property
    def frequency(self) -> Values:
        """In cycles a pixel."""
        return np.linspace(0, 0.5, len(self.power))


def spectra(look: measures.Look) -> tuple[Spectrum, Spectrum]:
    """Return the mean spectra of the rows and of the columns."""
    return _spectrum(look.x), _spectrum(look.x.T)


def noise_variation(look: measures.Look) -> float:
    """How far the noise differs over the image: (high - low) / (high + low), from 0, alike everywhere, to 1.

    High and low are the 0.9 and 0.1 quantiles of the noise of sixteen parts of the image, each the median of its blocks
    (see `noise`). Fine texture counts, so the number means little where there is hardly any noise. Our definition.
    """
    blocks = look.once(measures.block_noise)
    if min(blocks.shape) < 4:
        return math.nan
    parts = [part for row in np.array_split(blocks, 4) for part in np.array_split(row, 4, axis=1)]
    known = [np.nanmedian(part) for part in parts if np.isfinite(part).any()]
    low, high = np.quantile(known, (0.1, 0.9)) if known else (0.0, 0.0)
    return float((high - low) / (high + low)) if high > 0 else 0.0


def mean_level(look: measures.Look) -> float:
    """Mean of the values, from 0 (black) to 1 (white)."""
    return float(look.x.mean(dtype=np.float64))


def shadows(look: measures.Look) -> float:
    """Share of the pixels that are black, to half a step of 8 bits; 0 to 1."""
    return float((look.x < measures.STEP / 2).mean())


def highlights(look: measures.Look) -> float:
    """Share of the pixels that are white, to half a step of 8 bits; 0 to 1."""
    return float((look.x > 1 - measures.STEP / 2).mean())


def usable_range(look: measures.Look) -> float:
    """Distance between the 1st and the 99th percentile of the values: the share of the range in use, 0 to 1."""
    low, _, high = look.once(measures.percentiles)
    return float(high - low)


def blockiness(look: measures.Look) -> float:
    """How much neighbours differ more across the borders of 8 x 8 blocks than elsewhere, as a share; about 0 or more.

    The mean absolute difference of neighbours across borders, over that of all others, minus 1, as JPEG's block
    artefacts are measured (Wang, Sheikh and Bovik 2002, doi:10.1109/ICIP.2002.1038064). It is taken along each border
    and the median over borders counts, for blocks stand all over an image and a frame or a label at one place. Where
    the blocks begin is not known, as images get cut; the beginning with the greatest difference counts, for rows and
    columns each. What lies outside of a flat margin counts alone.
    """
    found = []
    for x in (look.x, look.x.T):
        columns = np.abs(x[:, 1:] - x[:, :-1]).mean(axis=0, dtype=np.float64)
        inside = np.flatnonzero(columns)
        columns = columns[inside[0] : inside[-1] + 1] if inside.size else columns
        if len(columns) < 8:
            continue
        by_place = np.median(columns[: len(columns) // 8 * 8].reshape(-1, 8), axis=0)
        at = int(by_place.argmax())
        others = (by_place.sum() - by_place[at]) / 7
        found.append(by_place[at] / others - 1 if others > 0 else 0.0)
    return float(np.mean(found)) if found else 0.0


def grid(look: measures.Look) -> float:
    """Standard deviation of the strongest regular lines, such as those of an antiscatter grid; 0 or more.

    In fractions of the full range. A grid is a narrow peak in the spectrum (Lin et al. 2006,
    doi:10.1007/s10278-006-0630-8), here in Welch's mean spectrum of the rows or the columns
    (doi:10.1109/TAU.1967.1161901), which a slight tilt does not smear: the power of the highest peak above its
    surroundings, a running median. Slow waves, below 0.06 cycles a pixel, and the eighths at which JPEG's blocks stand
    are left out; a peak that chance explains is 0.
    """
    return max(_peak(spectrum) for spectrum in look.once(spectra))


def resolution(look: measures.Look) -> float:
    """Frequency up to which detail rises above the noise, as a share of the highest that pixels can hold; 0 to 1.

    Detail ends where the spectrum of the rows, and of the columns, first falls to twice the power of white noise of the
    measured strength, where signal and noise are equal; noise is taken to be no less than rounding to 8 bits. It also
    ends where the spectrum falls to a twentieth of what sharp edges would leave, whose power falls with the square of
    the frequency from the slow waves on. The mean of both directions. An image that was enlarged twofold reaches about
    half. Our definition, on Welch's spectrum (doi:10.1109/TAU.1967.1161901).
    """
    floor = max(look.once(measures.noise) ** 2, measures.STEP**2 / 12)
    found = []
    for spectrum in look.once(spectra):
        frequency = spectrum.frequency[1:-1]
        power = np.convolve(spectrum.power, np.ones(3) / 3, "valid")
        slow, edges = (frequency >= _SLOW[0]) & (frequency <= _SLOW[1]), power * frequency**2
        gone = (power <= 2 * floor) | ((edges <= _FADED * np.median(edges[slow])) & (frequency > _SLOW[1]))
        at = int(gone.argmax())
        found.append((2 * frequency[at] if at else 0.0) if gone.any() else 1.0)
    return float(np.mean(found))


MEASURES: Mapping[str, measures.Measure] = {
    "noise": measures.MEASURES["noise"],
    "noise_variation": measures.Measure(noise_variation, "", "nearer", undefined="fewer than four blocks along a side"),
    "blur": measures.MEASURES["blur"],
    "exposure": measures.MEASURES["exposure"],
    "mean_level": measures.Measure(mean_level, "of the range", "nearer", any_size=True),
    "shadows": measures.Measure(shadows, "of the pixels", "nearer", any_size=True),
    "highlights": measures.Measure(highlights, "of the pixels", "nearer", any_size=True),
    "contrast": measures.MEASURES["contrast"],
    "usable_range": measures.Measure(usable_range, "of the range", "nearer", any_size=True),
    "blockiness": measures.Measure(blockiness, "", "nearer"),
    "grid": measures.Measure(grid, "of the range", "nearer"),
    "resolution": measures.Measure(resolution, "of Nyquist", "nearer"),
}
"""Every measure by its name: a column of the CSV file."""
blockiness_level, grid_level, resolution_level = (
    measures.level(name, MEASURES[name]) for name in ("blockiness", "grid", "resolution")
)
"""Factories of those that are metrics of a recipe."""


def measure(x: measures.Gray, *names: str) -> dict[str, float]:
    """Return the measures of (H, W) in [0, 1] that are named, or all; NaN where one is not defined."""
    return measures.measure(x, {name: MEASURES[name] for name in names or MEASURES})


def _spectrum(x: measures.Gray) -> Spectrum:
    """Return Welch's mean spectrum of the rows: Hann windows that overlap by half; of a large image, some rows."""
    lines = np.ascontiguousarray(x[:: max(1, len(x) // _LINES)])
    length = min(_WINDOW, lines.shape[1]) // 8 * 8  # so that JPEG's eighths fall on single frequencies
    starts = np.linspace(0, lines.shape[1] - length, math.ceil(2 * lines.shape[1] / length) - 1).astype(int)
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    window /= math.sqrt(float((window**2).sum()))
    power = np.zeros(length // 2 + 1)
    for start in starts:
        piece = lines[:, start : start + length]
        waves = np.fft.rfft((piece - piece.mean(axis=1, keepdims=True)) * window, axis=1)
        power += (waves.real**2 + waves.imag**2).mean(axis=0)
    return Spectrum(power / len(starts), len(lines) * len(starts))


def _peak(spectrum: Spectrum) -> float:
    """Return the standard deviation of the strongest wave that stands out of the spectrum."""
    power, bins = spectrum.power, len(spectrum.power)
    reach = min(12, bins // 2 - 1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(power, reach, mode="edge"), 2 * reach + 1)
    floor = np.median(around, axis=1)
    over = power - floor * max(1.5, 1 + 6 / math.sqrt(spectrum.count))
    over[spectrum.frequency < _SLOWEST] = 0
    for eighth in (1, 2, 3, 4):
        over[np.abs(np.arange(bins) - eighth * (bins - 1) / 4) < 1.5] = 0
    at = int(over.argmax())
    return math.sqrt(max(0.0, float(over[max(0, at - 2) : at + 3].clip(min=0).sum()) / (bins - 1)))
