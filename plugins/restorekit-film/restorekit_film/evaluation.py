"""What is measured of restored films beside plain scores: tone apart from structure, fine lines, and grids of networks.

Everything works on NumPy arrays of single images, so that scripts and metrics share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Aligned", "Line", "align", "checkerboard", "insert_lines", "kept_contrast", "line_contrast"]

Image = NDArray[np.float64]
"""One gray image (H, W), or of any other shape (*S), in [0, 1]."""
LEVELS = 256
FLANKS = (3, 4, 5)
"""Pixels from a line to what is taken for its background, at both sides."""
STRIDES = (2, 4, 8)
"""Strides of networks, whose multiples of 1 / stride cycles a pixel `checkerboard` looks at."""
RING = 0.1
"""Half the width of a ring of frequencies, as a share of its radius."""


@dataclass(frozen=True)
class Aligned:
    """A restored image after the tone curve that brings it nearest to the reference, and what the curve removed."""

    image: Image
    removed: float
    """The root of the mean square error that the curve took away, in [0, 1]: with what is left it adds up, squared."""


def align(made: Image, reference: Image) -> Aligned:
    """Map `made` by the non-decreasing curve that brings it nearest to `reference`.

    The curve is the isotonic regression of the reference on the 256 levels of `made`, by least squares over all pixels;
    every level becomes one value. The other way round an image without content would be near to any reference.

    Args:
        made: (*S) in [0, 1]; values beyond are cut.
        reference: (*S) in [0, 1].
    """
    from scipy.optimize import isotonic_regression

    level = (made.clip(0, 1) * (LEVELS - 1)).round().astype(np.int64).ravel()
    count = np.bincount(level, minlength=LEVELS)
    mean = np.bincount(level, reference.ravel(), LEVELS) / count.clip(1)
    used = count > 0
    curve = np.zeros(LEVELS)
    curve[used] = isotonic_regression(mean[used], weights=count[used].astype(np.float64)).x
    image = curve[level].reshape(made.shape)
    before, after = (float(np.square(one - reference).mean()) for one in (made.clip(0, 1), image))
    return Aligned(image, max(0.0, before - after) ** 0.5)


def checkerboard(image: Image, strides: Sequence[int] = STRIDES) -> float:
    """Return how much a grid of a network's strides stands out of a gray image (H, W).

    Power spectrum of the image under a Hann window, cut to a multiple of the largest stride and averaged over 3 x 3
    frequencies. Each frequency at multiples of 1 / stride cycles a pixel is divided by the median of its ring, all
    frequencies whose radius is within 10 % of its own. Of each stride the geometric mean over its own frequencies,
    those of smaller strides left out; of these the largest. About 1 where there is no grid. NaN below 8 strides.
    """
    most = max(strides)
    height, width = (n // most * most for n in image.shape)
    if min(height, width) < 8 * most:
        return float("nan")
    values = image[:height, :width] - image[:height, :width].mean()
    power = np.abs(np.fft.fft2(values * np.outer(_hann(height), _hann(width)))) ** 2
    power = np.mean([np.roll(power, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    seen: set[tuple[int, int]] = {(0, 0)}
    found = []
    for stride in sorted(strides):
        places = {(i * height // stride, j * width // stride) for i in range(stride) for j in range(stride)} - seen
        seen |= places
        found.append(np.mean([np.log(_over_ring(power, radius, at)) for at in places]))
    return float(np.exp(max(found)))


def _over_ring(power: Image, radius: Image, at: tuple[int, int]) -> float:
    ring = power[np.abs(radius - radius[at]) <= RING * radius[at]]
    least = np.finfo(np.float64).tiny
    return float(max(power[at], least) / max(float(np.median(ring)), least))


def _hann(size: int) -> Image:
    made: Image = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return made


@dataclass(frozen=True)
class Line:
    """A line one pixel wide: `length` pixels from (row, column) on, down or to the right."""

    row: int
    column: int
    length: int
    down: bool

    def pixels(self, aside: int = 0) -> tuple[slice, slice]:
        """Return where it is, or what runs beside it at a distance of `aside` pixels."""
        if self.down:
            return slice(self.row, self.row + self.length), slice(self.column + aside, self.column + aside + 1)
        return slice(self.row + aside, self.row + aside + 1), slice(self.column, self.column + self.length)


def insert_lines(
    image: Image, contrast: float, rng: np.random.Generator, *, count: int = 24, length: int = 48
) -> tuple[Image, list[Line]]:
    """Return `image` (H, W) with up to `count` bright lines one pixel wide, and where they are.

    Args:
        image: (H, W) in [0, 1].
        contrast: what is added on a line: 5 gray levels of 255 are 5 / 255.
        rng: draws places and directions.
        count: how many; fewer where there is no room for all, as lines keep clear of each other.
        length: of each, pixels.

    Raises:
        ValueError: if the image has no room for a line.
    """
    side = length + 2 * max(FLANKS) + 2
    rows, columns = (n // side for n in image.shape)
    if rows * columns == 0:
        raise ValueError(f"an image of {image.shape} has no room for lines of {length} pixels; {side} are required")
    made, lines = image.copy(), []
    for cell in rng.permutation(rows * columns)[:count]:
        corner, down = np.array(divmod(int(cell), columns)) * side, bool(rng.integers(2))
        along, across = max(FLANKS) + 1, int(rng.integers(max(FLANKS) + 1, side - max(FLANKS) - 1))
        row, column = corner + ([along, across] if down else [across, along])
        lines.append(Line(int(row), int(column), length, down))
        made[lines[-1].pixels()] += contrast
    return made.clip(0, 1), lines


def line_contrast(with_lines: Image, without: Image, lines: Sequence[Line]) -> float:
    """Return the mean contrast of lines: what a filter matched to a one-pixel line says of both images, subtracted.

    The filter is the mean along the line less the mean along its flanks, three to five pixels aside. `without` is the
    same image made without the lines, from the same random numbers: its own structures cancel.
    """
    return float(np.mean([*_responses(with_lines - without, lines)]))


def _responses(image: Image, lines: Sequence[Line]) -> Iterator[float]:
    for line in lines:
        flanks = [image[line.pixels(sign * aside)].mean() for aside in FLANKS for sign in (-1, 1)]
        yield float(image[line.pixels()].mean() - np.mean(flanks))


def kept_contrast(
    clean: Image,
    contrast: float,
    degrade: Callable[[Image], Image],
    restore: Callable[[Image], Image],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the share of the contrast of inserted lines that a degraded film, and its restored one, still have.

    Args:
        clean: the reference (H, W) in [0, 1].
        contrast: of the lines, see `insert_lines`.
        degrade: makes a film worse, with the same random numbers at every call.
        restore: restores a film, alike at every call.
        rng: draws the lines.
    """
    lined, lines = insert_lines(clean, contrast, rng)
    reference = line_contrast(lined, clean, lines)
    worse = degrade(lined), degrade(clean)
    return (
        line_contrast(*worse, lines) / reference,
        line_contrast(restore(worse[0]), restore(worse[1]), lines) / reference,
    )
