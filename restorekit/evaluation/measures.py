"""Measures of an image without a reference: noise, blur, exposure, contrast. Every run's report has them.

A measure sees a gray image of values from 0 (black) to 1 (white), so that a noise of 0.1 is a tenth of the full range,
as the severity of the degradation `noise` is. Nothing is random and nothing is learnt: the same pixels give the same
numbers. No constant is tuned to an image or a kind of image.
`plugins/restorekit-analysis/benchmarks/proof.py` holds the measures against known amounts of each degradation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core.errors import DataError, RecipeError
from restorekit.core.parts import Factory
from restorekit.core.types import Batch, Domain, Metric

__all__ = [
    "LEAST",
    "LEVELS",
    "MEASURES",
    "STEP",
    "Gray",
    "Level",
    "Look",
    "Measure",
    "block_noise",
    "blur",
    "contrast",
    "exposure",
    "gray",
    "level",
    "measure",
    "noise",
    "percentiles",
]

Gray = NDArray[np.float32]
"""(H, W), values in [0, 1]."""
Values = NDArray[np.float64]
T = TypeVar("T")

LEAST = 32
"""Pixels of the shorter side below which only brightness and contrast are measured."""
STEP = 1 / 255
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
"""Blocks from which such a quantile is meaningful."""
_NARROW, _WIDE = 1.0, 2.5
"""Standard deviations of the two Gaussians through which edges are seen."""
_DIFFERENCE = 1 / 3
"""What a central difference adds to the variance of an edge's profile, in square pixels."""
_STRONGEST = 0.3
"""Share of the blocks, those with the strongest edges, in which blur is seen."""
_ABOVE_NOISE = 4
"""How often what noise adds to an edge's energy must be in it."""
_NEAR = 2
"""Blocks to each side whose noise counts as that of a block: noise differs slowly from place to place."""
_MOST_BLUR = 25.0
"""Ten times the wider Gaussian: above it, the two views hardly differ."""
_STRIP = 64
"""Rows that are smoothed at a time: whole blocks."""


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


class Look:
    """A gray image, and intermediate results that several measures share."""

    def __init__(self, x: Gray) -> None:
        self.x = x
        """(H, W), values in [0, 1]."""
        self._made: dict[Callable[[Look], Any], Any] = {}

    @property
    def small(self) -> bool:
        """True if the shorter side has less than `LEAST` pixels."""
        return bool(min(self.x.shape) < LEAST)

    def once(self, make: Callable[[Look], T]) -> T:
        """Return the result of a function for this image, computed once."""
        if make not in self._made:
            self._made[make] = make(self)
        found: T = self._made[make]
        return found


def block_noise(look: Look) -> Values:
    """Return the noise of each whole block of 16 x 16 as `noise` sees it, (rows, columns); NaN where mostly clipped."""
    return _sigmas(look.x, _BLOCK)


def percentiles(look: Look) -> Values:
    """Return the 1st, 50th and 99th percentile of the values, to 16 bits."""
    counts = np.bincount((look.x * 65535 + np.float32(0.5)).astype(np.uint16).ravel(), minlength=65536)
    return np.searchsorted(np.cumsum(counts), np.array((0.01, 0.5, 0.99)) * look.x.size) / 65535


def noise(look: Look) -> float:
    """Standard deviation of the noise, as if it were white, in fractions of the full range; 0 or more.

    Immerkaer's kernel, the second difference along both axes (doi:10.1006/cviu.1996.0060), takes structure away. Its
    root mean square is the noise of a block, the median over blocks that of the image. Clipping makes noise look
    smaller: each block is corrected by the law of a Gaussian that is clipped at one end (Foi 2009,
    doi:10.1016/j.sigpro.2009.04.035), and blocks that are mostly clipped are left out. So are those in margins of equal
    lines, as padding leaves them. JPEG and resizing take the
    finest noise away: so the same is done at half the resolution in the flattest tenth of the blocks, as texture would
    count there (flat blocks: Amer and Dubois 2005, doi:10.1109/TCSVT.2004.837017), and the greater of the two counts.
    """
    fine = look.once(block_noise)[np.isfinite(look.once(block_noise))]
    found = float(np.median(fine)) if fine.size else 0.0
    coarse = 2 * _sigmas(_halved(look.x), _BLOCK // 2)
    coarse = coarse[np.isfinite(coarse)]
    if coarse.size >= _ENOUGH:
        found = max(found, float(np.quantile(coarse, _FLATTEST)) / _FLATTEST_BIAS)
    return found


def blur(look: Look) -> float:
    """Standard deviation in pixels of the Gaussian that makes of a step an edge like the image's edges; 0 to 25.

    Edges are seen through two Gaussians, as in re-blur methods (Zhuo and Sim 2011, doi:10.1016/j.patcog.2011.03.009).
    The energy of the gradient of a step with blur s is as 1 / sqrt(s^2 + g^2), g being the Gaussian's, so the ratio of
    the two energies gives s. What the noise around a block of 16 x 16 adds to its energies is taken away first. They
    are summed over the third of the blocks with the strongest edges, without the sharpest and the softest tenth of
    them, and none counts more than twice the middle one: a letter on a soft film does not make it sharp. Soft anatomy
    without any sharp edge counts as blurred; halos of a sharpening give 0. Not defined where no edge rises above the
    noise.
    """
    energies = _edges(look.x)
    around = _noise_around(look, energies[0].shape)
    added = [around * unit for unit in _noise_edges()]
    narrow, wide = (energy - more for energy, more in zip(energies, added, strict=True))
    some, strong = np.quantile(wide, (1 - _STRONGEST, 0.95))
    chosen = wide >= np.maximum(_ABOVE_NOISE * added[1], max(some, 0.1 * strong, (STEP / 16) ** 2))
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
    from the ends, so the number is between -8.46 and 3.17: these limits stand for any image of which half or more is
    white, or black. Our definition; an image that is dark by nature is "under-exposed" by it.
    """
    return _log_gamma(min(max(float(look.once(percentiles)[1]), STEP / 2), 1 - STEP / 2))


def _log_gamma(median: float) -> float:
    return math.log2(math.log(median) / math.log(0.5))


def contrast(look: Look) -> float:
    """RMS contrast: the standard deviation of the values, 0 to 0.5.

    Peli 1990 (doi:10.1364/JOSAA.7.002032). Noise adds to it.
    """
    return float(look.x.std(dtype=np.float64))


@dataclass(frozen=True)
class Measure:
    """A measure: a number of an image."""

    of: Callable[[Look], float]
    """Its docstring begins with what it is, in a line, and names its sources as DOIs."""
    unit: str
    """Such as "px", or what it is a share of; empty for a ratio."""
    better: Literal["higher", "lower", "nearer", "neither"]
    """As `Metric.better`; without a reference, less noise or blur than good images have is no gain: nearer."""
    any_size: bool = False
    """It is defined for images of less than `LEAST` pixels a side, too."""
    undefined: str = ""
    """Why it may be NaN though the image is large enough, in a few words."""
    limits: tuple[float, float] = (-math.inf, math.inf)
    """What the method gives, at least and at most, for an image whose true value lies beyond."""

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.of.__doc__ or "").partition("\n")[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its method comes from, as DOIs; empty where the definition is our own or plain."""
        return tuple(re.findall(r"doi:[^\s,;)]+", self.of.__doc__ or ""))

    def value(self, look: Look) -> float:
        """Return the measure of an image; NaN where it is not defined."""
        return math.nan if look.small and not self.any_size else look.once(self.of)

    def is_limit(self, value: float) -> bool:
        """True if a value stands at one of the limits, or beyond: how far beyond the image is, it does not say."""
        return not math.isnan(value) and not self.limits[0] < value < self.limits[1]


MEASURES: Mapping[str, Measure] = {
    "noise": Measure(noise, "of the range", "nearer"),
    "blur": Measure(blur, "px", "nearer", undefined="no edge rises above the noise", limits=(-math.inf, _MOST_BLUR)),
    "exposure": Measure(
        exposure, "log2 gamma", "nearer", any_size=True, limits=(_log_gamma(1 - STEP / 2), _log_gamma(STEP / 2))
    ),
    "contrast": Measure(contrast, "of the range", "nearer", any_size=True),
}
"""The measures of every run's report, by name."""


def measure(x: Gray, table: Mapping[str, Measure] = MEASURES) -> dict[str, float]:
    """Return the measures of (H, W) in [0, 1] by name; NaN where one is not defined."""
    look = Look(x)
    return {name: one.value(look) for name, one in table.items()}


class Level(Metric):
    """A measure of each image by itself, as a metric; the score of many is the mean of where it is defined."""

    def __init__(self, name: str, of: Measure, size: tuple[int, ...]) -> None:
        self.of = of
        self.id = _definition(name, of)
        self.better = of.better
        self.unit = of.unit
        small = min(size) < LEAST and not of.any_size
        self.undefined = f"images of less than {LEAST} pixels a side" if small else of.undefined or "not defined"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Values:
        """Return (B, 1), a number an image, from `image` (B, C, H, W).

        Raises:
            DataError: if a value is not finite.
        """
        return np.array([[self._one(one, key)] for one, key in zip(image, batch.key, strict=True)])

    def _one(self, image: Tensor, key: str) -> float:
        try:
            return self.of.value(Look(gray(image)))
        except DataError as error:
            raise DataError(f"{key}: {error}") from error

    def reduce(self, rows: Values) -> float:
        """Return the mean of rows (N, 1) over the images where the measure is defined; NaN if there are none."""
        defined = rows[~np.isnan(rows)]
        return float(defined.mean()) if defined.size else math.nan


def _definition(name: str, of: Measure) -> str:
    sources = ", ".join(of.sources) or "our definition"
    return f"{name}: {of.about.rstrip('.')} ({sources}); channel mean; mean over images"


def level(name: str, of: Measure) -> Factory:
    """Return a measure, called `name`, as a part of kind `metric`, to be added as `name`_level."""

    def make(domain: Domain) -> Metric:
        if domain.dims != 2:
            raise RecipeError(f"metric '{name}_level': is for images, of 2 dimensions; these have {domain.dims}")
        return Level(name, of, domain.size)

    make.__doc__ = _definition(name, of)
    return make


LEVELS: Mapping[str, Factory] = {f"{name}_level": level(name, of) for name, of in MEASURES.items()}
"""`MEASURES` as metrics: what every evaluation of two-dimensional images scores beside what its recipe lists."""


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
    """Return the noise of each block, corrected for clipping; NaN where it is mostly clipped, or lies in a margin."""
    down = x[2:] + x[:-2] - 2 * x[1:-1]
    both = down[:, 2:] + down[:, :-2] - 2 * down[:, 1:-1]
    sigma = np.sqrt(_means(both * both, side)) / 6  # the kernel's gain on white noise
    mean = _means(x[1:-1, 1:-1], side)
    room = np.minimum(mean, 1 - mean)
    ratios, factors = _clipping()
    ratio = room / np.maximum(sigma, 1e-9)
    found = np.where(ratio > _UNCLIPPED, sigma * np.interp(ratio, ratios, factors), np.nan)
    for blocks, lines in ((found, x), (found.T, x.T)):
        blocks[: _margin(lines) // side] = np.nan
        blocks[max(0, -(-(len(lines) - 2 - _margin(lines[::-1])) // side)) :] = np.nan
    return found


def _noise_around(look: Look, shape: tuple[int, ...]) -> Values:
    """Return the variance of the noise around each of (rows, columns) blocks; where none is known, that of `noise`."""
    known, whole = look.once(block_noise), look.once(noise)
    middle = np.nanmedian(known) if np.isfinite(known).any() else 0.0
    rows, columns = ((_NEAR, _NEAR + of - n) for of, n in zip(shape, known.shape, strict=True))
    padded = np.pad(known, (rows, columns), constant_values=np.nan)
    side = 2 * _NEAR + 1
    near = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).reshape(*shape, side**2).copy()
    near[np.isnan(near).all(axis=-1)] = middle
    coarse = whole**2 - middle**2  # what blocks do not show, where JPEG took the finest noise
    found: Values = np.nanmedian(near, axis=-1) ** 2 + coarse
    return found


def _margin(lines: Gray) -> int:
    """Return how many lines at the beginning of an image are followed by an equal one; 0 if all are.

    So it begins where it was padded, with a value or with its own border; noise differs from line to line.
    """
    for at in range(len(lines) - 1):
        if not np.array_equal(lines[at], lines[at + 1]):
            return at
    return 0


@cache
def _clipping() -> tuple[Values, Values]:
    """Return, for a Gaussian clipped from below at 0, mean / deviation and true deviation / deviation, ascending."""
    start = np.linspace(-1, 8, 1801)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in start])
    density = np.exp(-(start**2) / 2) / math.sqrt(2 * math.pi)
    mean = start * below + density
    deviation = np.sqrt((start**2 + 1) * below + start * density - mean**2)
    return mean / deviation, 1 / deviation


def _half_gaussian(width: float) -> Gray:
    """Return the middle and one side of a Gaussian that is cut at three standard deviations."""
    side = np.exp(-0.5 * (np.arange(math.ceil(3 * width) + 1) / width) ** 2)
    found: Gray = (side / (2 * side.sum() - side[0])).astype(np.float32)
    return found


_HALF_GAUSSIANS = _half_gaussian(_NARROW), _half_gaussian(math.sqrt(_WIDE**2 - _NARROW**2))
"""From the image to the narrow view, and from there to the wide one."""


def _edges(x: Gray) -> tuple[Values, Values]:
    """Return the mean squared gradient of each block, seen through the narrow and the wide Gaussian.

    Strip by strip: what is made of a strip stays in the processor's cache, which is three times as fast.
    """
    lost = len(_HALF_GAUSSIANS[1]) - 1
    margin = len(_HALF_GAUSSIANS[0]) + lost
    padded = np.pad(x, margin, mode="edge")
    narrow, wide = [], []
    for top in range(0, len(x) // _BLOCK * _BLOCK, _STRIP):
        first = _smooth(padded[top : top + _STRIP + 2 * margin], _HALF_GAUSSIANS[0])
        narrow.append(_means(_gradient(first[lost:-lost, lost:-lost]), _BLOCK))
        wide.append(_means(_gradient(_smooth(first, _HALF_GAUSSIANS[1])), _BLOCK))
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
    first = _smooth(point, _HALF_GAUSSIANS[0])
    return float(_gradient(first).sum()), float(_gradient(_smooth(first, _HALF_GAUSSIANS[1])).sum())
