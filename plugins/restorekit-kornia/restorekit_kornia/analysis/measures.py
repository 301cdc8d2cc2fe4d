"""An image to numbers, without a reference: noise, blur, exposure, contrast, JPEG blocks, grid lines, resolution.

A measure sees a gray image of values from 0 (black) to 1 (white), so that a noise of 0.1 is a tenth of the full range,
as the severity of the degradation `noise` is. Nothing is random and nothing is learnt: the same pixels give the same
numbers. No constant is tuned to an image or a kind of image. `benchmarks/proof.py` holds the measures against known
amounts of each degradation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit import DataError

__all__ = ["LEAST", "MEASURES", "Gray", "Look", "Measure", "gray", "measure"]

Gray = NDArray[np.float32]
Values = NDArray[np.float64]

LEAST = 32
"""Pixels of the shorter side below which only brightness and contrast are measured."""
LEVEL = 1 / 255
"""A step of 8 bits."""

_BLOCK = 16
"""Side of the blocks in which noise is seen; half of it at half the resolution."""
_UNCLIPPED = 0.6
"""Standard deviations of a block between its mean and the nearer end of the range, below which it is mostly clipped."""
_FLATTEST = 0.1
"""Quantile of the blocks at half the resolution: there, texture looks like noise in all but the flattest."""
_FLATTEST_BIAS = 0.85
"""That quantile for white noise of standard deviation 1."""
_ENOUGH = 16
"""Blocks from which such a quantile says something."""
_NARROW, _WIDE = 1.0, 2.5
"""Standard deviations of the two Gaussians through which edges are seen."""
_DIFFERENCE = 1 / 3
"""What a central difference adds to the variance of an edge's profile, in square pixels."""
_STRONGEST = 0.3
"""Share of the blocks, those with the strongest edges, in which blur is seen."""
_ABOVE_NOISE = 4
"""How often what noise adds to an edge's energy must be in it."""
_MOST_BLUR = 25.0
"""Ten times the wider Gaussian: above it, the two views hardly differ."""
_STRIP = 64
"""Rows that are smoothed at a time: whole blocks."""
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


def gray(image: Tensor) -> Gray:
    """Return (C, H, W) in [-1, 1] as (H, W) in [0, 1]: the mean of the channels.

    Raises:
        DataError: if it is not of two dimensions, has no pixel or holds a value that is not finite.
    """
    if image.ndim != 3:
        raise DataError(f"has {image.ndim - 1} spatial sizes; what is analysed has two")
    if not image.numel():
        raise DataError("has no pixel")
    values = image.detach().cpu().float().numpy()
    mean = values[0] if len(values) == 1 else values.mean(axis=0)
    if not np.isfinite(mean.sum()):
        raise DataError("holds a value that is not finite")
    found: Gray = mean + 1
    found *= 0.5
    return np.clip(found, 0, 1, out=found)


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


class Look:
    """A gray image, and what several measures share, made when it is first asked for."""

    def __init__(self, x: Gray) -> None:
        self.x = x
        self.small = min(x.shape) < LEAST

    @cached_property
    def sigmas(self) -> Values:
        """Noise in blocks of 16 x 16; NaN where a block is mostly clipped."""
        return _sigmas(self.x, _BLOCK)

    @cached_property
    def noise(self) -> float:
        """What `noise` says."""
        return noise(self)

    @cached_property
    def percentiles(self) -> Values:
        """The 1st, 50th and 99th percentile of the values, to 16 bits."""
        counts = np.bincount((self.x * 65535 + np.float32(0.5)).astype(np.uint16).ravel(), minlength=65536)
        return np.searchsorted(np.cumsum(counts), np.array((0.01, 0.5, 0.99)) * self.x.size) / 65535

    @cached_property
    def spectra(self) -> tuple[Spectrum, Spectrum]:
        """The mean spectra of the rows and of the columns."""
        return _spectrum(self.x), _spectrum(self.x.T)


def noise(look: Look) -> float:
    """Standard deviation of the noise, as if it were white, in fractions of the full range; 0 or more.

    Immerkaer's kernel, the second difference along both axes (doi:10.1006/cviu.1996.0060), takes structure away. Its
    root mean square says the noise of a block, the median over blocks that of the image. Clipping makes noise look
    smaller: each block is corrected by the law of a Gaussian that is clipped at one end (Foi 2009,
    doi:10.1016/j.sigpro.2009.04.035), and blocks that are mostly clipped are left out. JPEG and resizing take the
    finest noise away: so the same is done at half the resolution in the flattest tenth of the blocks, as texture would
    count there (flat blocks: Amer and Dubois 2005, doi:10.1109/TCSVT.2004.837017), and the greater of the two counts.
    """
    fine = look.sigmas[np.isfinite(look.sigmas)]
    found = float(np.median(fine)) if fine.size else 0.0
    coarse = 2 * _sigmas(_halved(look.x), _BLOCK // 2)
    coarse = coarse[np.isfinite(coarse)]
    if coarse.size >= _ENOUGH:
        found = max(found, float(np.quantile(coarse, _FLATTEST)) / _FLATTEST_BIAS)
    return found


def noise_variation(look: Look) -> float:
    """How far the noise differs over the image: (high - low) / (high + low), from 0, alike everywhere, to 1.

    High and low are the 0.9 and 0.1 quantiles of the noise of sixteen parts of the image, each the median of its blocks
    (see `noise`). Fine texture counts, so the number says little where there is hardly any noise. Our definition.
    """
    if min(look.sigmas.shape) < 4:
        return math.nan
    parts = [part for row in np.array_split(look.sigmas, 4) for part in np.array_split(row, 4, axis=1)]
    known = [np.nanmedian(part) for part in parts if np.isfinite(part).any()]
    low, high = np.quantile(known, (0.1, 0.9)) if known else (0.0, 0.0)
    return float((high - low) / (high + low)) if high > 0 else 0.0


def blur(look: Look) -> float:
    """Standard deviation in pixels of the Gaussian that makes of a step an edge like the image's edges; 0 to 25.

    Edges are seen through two Gaussians, as in re-blur methods (Zhuo and Sim 2011, doi:10.1016/j.patcog.2011.03.009).
    The energy of the gradient of a step with blur s is as 1 / sqrt(s^2 + g^2), g being the Gaussian's, so the ratio of
    the two energies gives s. What noise of the measured strength adds to them is taken away first. The energies are
    summed over the third of the blocks of 16 x 16 with the strongest edges, without the sharpest and the softest tenth
    of them, and none counts more than twice the middle one: a letter on a soft film does not make it sharp. Soft
    anatomy without any sharp edge counts as blurred; halos of a sharpening give 0. Not defined where no edge rises
    above the noise.
    """
    added = [look.noise**2 * unit for unit in _noise_edges()]
    narrow, wide = (energy - more for energy, more in zip(_edges(look.x), added, strict=True))
    some, strong = np.quantile(wide, (1 - _STRONGEST, 0.95))
    chosen = wide >= max(some, 0.1 * strong, _ABOVE_NOISE * added[1], (LEVEL / 16) ** 2)
    if not chosen.any():
        return math.nan
    narrow, wide = np.maximum(narrow[chosen], 0), wide[chosen]
    ratios = narrow / wide
    low, high = np.quantile(ratios, 0.1, method="lower"), np.quantile(ratios, 0.9, method="higher")
    weights = np.minimum(1, 2 * np.median(wide) / wide) * ((ratios >= low) & (ratios <= high))
    ratio = float((weights * narrow).sum() / (weights * wide).sum()) ** 2
    if ratio <= 1:
        return _MOST_BLUR
    squared = (_WIDE**2 + _DIFFERENCE - ratio * (_NARROW**2 + _DIFFERENCE)) / (ratio - 1)
    return min(math.sqrt(max(squared, 0.0)), _MOST_BLUR)


def exposure(look: Look) -> float:
    """How wrong the exposure is, as log2 of a gamma: 0 is right, 1 squares the values (darker), -1 takes the root.

    The gamma is the one that turns middle gray into the image's median. A gamma that is applied to an image adds its
    log2 to this number, as the severity of the degradation `exposure` does. The median is held half a step of 8 bits
    from the ends, so the number is between -8.5 and 3.2. Our definition; an image that is dark by nature is
    "under-exposed" by it.
    """
    median = min(max(float(look.percentiles[1]), LEVEL / 2), 1 - LEVEL / 2)
    return math.log2(math.log(median) / math.log(0.5))


def mean_level(look: Look) -> float:
    """Mean of the values, from 0 (black) to 1 (white)."""
    return float(look.x.mean(dtype=np.float64))


def shadows(look: Look) -> float:
    """Share of the pixels that are black, to half a step of 8 bits; 0 to 1."""
    return float((look.x < LEVEL / 2).mean())


def highlights(look: Look) -> float:
    """Share of the pixels that are white, to half a step of 8 bits; 0 to 1."""
    return float((look.x > 1 - LEVEL / 2).mean())


def contrast(look: Look) -> float:
    """RMS contrast: the standard deviation of the values, 0 to 0.5.

    Peli 1990 (doi:10.1364/JOSAA.7.002032). Noise adds to it.
    """
    return float(look.x.std(dtype=np.float64))


def usable_range(look: Look) -> float:
    """Distance between the 1st and the 99th percentile of the values: the share of the range in use, 0 to 1."""
    return float(look.percentiles[2] - look.percentiles[0])


def blockiness(look: Look) -> float:
    """How much neighbours differ more across the borders of 8 x 8 blocks than elsewhere, as a share; about 0 or more.

    The mean absolute difference of neighbours across borders, over that of all others, minus 1, as JPEG's block
    artefacts are measured (Wang, Sheikh and Bovik 2002, doi:10.1109/ICIP.2002.1038064). Where the blocks begin is not
    known, as images get cut; the beginning with the greatest difference counts, for rows and columns each.
    """
    found = []
    for x in (look.x, look.x.T):
        columns = np.abs(x[:, 1:] - x[:, :-1]).mean(axis=0, dtype=np.float64)
        by_place = columns[: len(columns) // 8 * 8].reshape(-1, 8).mean(axis=0)
        at = int(by_place.argmax())
        others = (by_place.sum() - by_place[at]) / 7
        found.append(by_place[at] / others - 1 if others > 0 else 0.0)
    return float(np.mean(found))


def grid(look: Look) -> float:
    """Standard deviation of the strongest regular lines, such as those of an antiscatter grid; 0 or more.

    In fractions of the full range. A grid is a narrow peak in the spectrum (Lin et al. 2006,
    doi:10.1007/s10278-006-0630-8), here in Welch's mean spectrum of the rows or the columns
    (doi:10.1109/TAU.1967.1161901), which a slight tilt does not smear: the power of the highest peak above its
    surroundings, a running median. Slow waves, below 0.06 cycles a pixel, and the eighths at which JPEG's blocks stand
    are left out; a peak that chance explains is 0.
    """
    return max(_peak(spectrum) for spectrum in look.spectra)


def resolution(look: Look) -> float:
    """Frequency up to which detail rises above the noise, as a share of the highest that pixels can hold; 0 to 1.

    Detail ends where the spectrum of the rows, and of the columns, first falls to twice the power of white noise of the
    measured strength, where signal and noise are equal; noise is taken to be no less than rounding to 8 bits. It also
    ends where the spectrum falls to a twentieth of what sharp edges would leave, whose power falls with the square of
    the frequency from the slow waves on. The mean of both directions. An image that was enlarged twofold reaches about
    half. Our definition, on Welch's spectrum (doi:10.1109/TAU.1967.1161901).
    """
    floor = max(look.noise**2, LEVEL**2 / 12)
    found = []
    for spectrum in look.spectra:
        frequency = spectrum.frequency[1:-1]
        power = np.convolve(spectrum.power, np.ones(3) / 3, "valid")
        slow, edges = (frequency >= _SLOW[0]) & (frequency <= _SLOW[1]), power * frequency**2
        gone = (power <= 2 * floor) | ((edges <= _FADED * np.median(edges[slow])) & (frequency > _SLOW[1]))
        at = int(gone.argmax())
        found.append((2 * frequency[at] if at else 0.0) if gone.any() else 1.0)
    return float(np.mean(found))


@dataclass(frozen=True)
class Measure:
    """A number of an image."""

    of: Callable[[Look], float]
    unit: str
    """Such as "px", or what it is a share of; empty for a ratio."""
    better: Literal["higher", "lower", "neither"]
    any_size: bool = False
    """It is defined for images of less than `LEAST` pixels a side, too."""

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.of.__doc__ or "").partition("\n")[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its method comes from, as DOIs; empty where the definition is our own or plain."""
        return tuple(re.findall(r"doi:[^\s,;)]+", self.of.__doc__ or ""))


MEASURES: Mapping[str, Measure] = {
    "noise": Measure(noise, "of the range", "lower"),
    "noise_variation": Measure(noise_variation, "", "lower"),
    "blur": Measure(blur, "px", "lower"),
    "exposure": Measure(exposure, "log2 gamma", "neither", any_size=True),
    "mean_level": Measure(mean_level, "of the range", "neither", any_size=True),
    "shadows": Measure(shadows, "of the pixels", "lower", any_size=True),
    "highlights": Measure(highlights, "of the pixels", "lower", any_size=True),
    "contrast": Measure(contrast, "of the range", "neither", any_size=True),
    "usable_range": Measure(usable_range, "of the range", "neither", any_size=True),
    "blockiness": Measure(blockiness, "", "lower"),
    "grid": Measure(grid, "of the range", "lower"),
    "resolution": Measure(resolution, "of Nyquist", "higher"),
}
"""Every measure by its name: a column of the CSV file."""


def measure(x: Gray, *names: str) -> dict[str, float]:
    """Return the measures of (H, W) in [0, 1] that are named, or all; NaN where one is not defined."""
    look = Look(x)
    chosen = {name: MEASURES[name] for name in names or MEASURES}
    return {name: math.nan if look.small and not m.any_size else m.of(look) for name, m in chosen.items()}


def _halved(x: Gray) -> Gray:
    height, width = (n // 2 * 2 for n in x.shape)
    x = x[:height, :width]
    found: Gray = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) * np.float32(0.25)
    return found


def _means(values: Gray, side: int) -> Values:
    """Return the means of whole blocks; what does not fill a block at the right and the bottom is left out."""
    rows, columns = (n // side for n in values.shape)
    cut = values[: rows * side, : columns * side]
    sums = cut.reshape(rows, side, columns * side).sum(axis=1).reshape(rows, columns, side).sum(axis=2)
    found: Values = sums.astype(np.float64) / side**2
    return found


def _sigmas(x: Gray, side: int) -> Values:
    """Return the noise of each block, corrected for clipping; NaN where a block is mostly clipped."""
    down = x[2:] + x[:-2] - 2 * x[1:-1]
    both = down[:, 2:] + down[:, :-2] - 2 * down[:, 1:-1]
    sigma = np.sqrt(_means(both * both, side)) / 6  # the kernel's gain on white noise
    mean = _means(x[1:-1, 1:-1], side)
    room = np.minimum(mean, 1 - mean)
    ratios, factors = _clipping()
    ratio = room / np.maximum(sigma, 1e-9)
    return np.where(ratio > _UNCLIPPED, sigma * np.interp(ratio, ratios, factors), np.nan)


@cache
def _clipping() -> tuple[Values, Values]:
    """Return, for a Gaussian clipped from below at 0, mean / deviation and true deviation / deviation, ascending."""
    start = np.linspace(-1, 8, 1801)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in start])
    density = np.exp(-(start**2) / 2) / math.sqrt(2 * math.pi)
    mean = start * below + density
    deviation = np.sqrt((start**2 + 1) * below + start * density - mean**2)
    return mean / deviation, 1 / deviation


def _taps(width: float) -> Gray:
    """Return the middle and one side of a Gaussian that is cut at three standard deviations."""
    side = np.exp(-0.5 * (np.arange(math.ceil(3 * width) + 1) / width) ** 2)
    found: Gray = (side / (2 * side.sum() - side[0])).astype(np.float32)
    return found


_TAPS = _taps(_NARROW), _taps(math.sqrt(_WIDE**2 - _NARROW**2))
"""From the image to the narrow view, and from there to the wide one."""


def _edges(x: Gray) -> tuple[Values, Values]:
    """Return the mean squared gradient of each block, seen through the narrow and the wide Gaussian.

    Strip by strip: what is made of a strip stays in the processor's cache, which is three times as fast.
    """
    lost = len(_TAPS[1]) - 1
    margin = len(_TAPS[0]) + lost
    padded = np.pad(x, margin, mode="edge")
    narrow, wide = [], []
    for top in range(0, len(x) // _BLOCK * _BLOCK, _STRIP):
        first = _smooth(padded[top : top + _STRIP + 2 * margin], _TAPS[0])
        narrow.append(_means(_gradient(first[lost:-lost, lost:-lost]), _BLOCK))
        wide.append(_means(_gradient(_smooth(first, _TAPS[1])), _BLOCK))
    return np.concatenate(narrow), np.concatenate(wide)


def _smooth(x: Gray, taps: Gray) -> Gray:
    """Return the valid part of a convolution with symmetric taps along both axes."""
    reach = len(taps) - 1
    for axis in (0, 1):
        length = x.shape[axis] - 2 * reach
        shifted = [x[at : at + length] if axis == 0 else x[:, at : at + length] for at in range(2 * reach + 1)]
        total: Gray = shifted[reach] * taps[0]
        pair = np.empty_like(total)
        for step in range(1, reach + 1):
            np.add(shifted[reach - step], shifted[reach + step], out=pair)
            pair *= taps[step]
            total += pair
        x = total
    return x


def _gradient(x: Gray) -> Gray:
    """Return the squared length of the gradient by central differences, two pixels less a side."""
    across: Gray = (x[1:-1, 2:] - x[1:-1, :-2]) * np.float32(0.5)
    along: Gray = (x[2:, 1:-1] - x[:-2, 1:-1]) * np.float32(0.5)
    across *= across
    along *= along
    across += along  # in place: to ask for memory again takes longer than the sum
    return across


@cache
def _noise_edges() -> tuple[float, float]:
    """Return the mean squared gradients of white noise of variance 1, as `_edges` sees it."""
    point = np.zeros((65, 65), np.float32)
    point[32, 32] = 1
    first = _smooth(point, _TAPS[0])
    return float(_gradient(first).sum()), float(_gradient(_smooth(first, _TAPS[1])).sum())


def _spectrum(x: Gray) -> Spectrum:
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
