"""Scores of restored films: tone and structure separately, fine lines, and grids of networks.

Everything works on NumPy arrays of single images, so that scripts and metrics share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restorekit import bootstrap_interval

__all__ = [
    "HARM",
    "Aligned",
    "Covered",
    "Image",
    "Interval",
    "Line",
    "align",
    "by_patient",
    "checkerboard",
    "harm_coverage",
    "insert_lines",
    "kept_contrast",
    "line_contrast",
]

Values = NDArray[np.float64]
Image = NDArray[np.float64]
"""One gray image (H, W), or of any other shape (*S), in [0, 1]."""
LEVELS = 256
FLANKS = (3, 4, 5)
"""Pixels from a line to what is taken for its background, at both sides."""
STRIDES = (2, 4, 8)
"""Strides of networks, whose multiples of 1 / stride cycles a pixel `checkerboard` looks at."""
RING = 0.1
"""Half the width of a ring of frequencies, as a share of its radius."""
HARM = 0.5
"""Decibels: a film that loses more is counted as harmed."""
RESAMPLES = 2000


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
    """Return the mean contrast of lines: the difference of two images' responses to a filter for one-pixel lines.

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
    without: tuple[Image, Image] | None = None,
) -> tuple[float, float]:
    """Return the share of the contrast of inserted lines that a degraded film, and its restored one, still have.

    NaN of a film that is white all over.

    Args:
        clean: the reference (H, W) in [0, 1].
        contrast: of the lines, see `insert_lines`.
        degrade: makes a film worse, with the same random numbers at every call.
        restore: restores a film, alike at every call.
        rng: draws the lines.
        without: `clean` degraded, and that restored, where they are known already; None: they are made here.
    """
    lined, lines = insert_lines(clean, contrast, rng)
    reference = line_contrast(lined, clean, lines) or float("nan")  # a white film holds no brighter line
    if without is None:
        worse = degrade(clean)
        without = worse, restore(worse)
    with_lines = degrade(lined)
    return (
        line_contrast(with_lines, without[0], lines) / reference,
        line_contrast(restore(with_lines), without[1], lines) / reference,
    )


@dataclass(frozen=True)
class Interval:
    """A mean over rows and its 95 % interval by patient.

    The mean is NaN where no row has a value, and the ends where fewer than two patients have one.
    """

    mean: float
    low: float
    high: float


def by_patient(
    values: Mapping[str, Values], patients: Sequence[str], *, shares: Collection[str] = (), seed: int = 0
) -> dict[str, Interval]:
    """Return the mean of each column with its interval: `restorekit.bootstrap_interval` of 2000 resamples of patients.

    All columns share the resamples, so that a column of differences has the interval of a paired comparison.

    Args:
        values: columns (N,) by name; NaN where a row has no value, it then does not count.
        patients: of each of the N rows; all rows of a patient are drawn together.
        shares: columns of zeros and ones, not differences of such. Where all rows are alike, as where no film was
            harmed, all resamples are, and a width of zero would look like certainty: the interval is then the exact
            binomial one (Clopper and Pearson) over patients, each counted once.
        seed: of the resamples.

    Raises:
        ValueError: if there are no rows.
    """
    if not len(patients):
        raise ValueError("an interval requires at least one row; got none")
    names, at = np.unique(patients, return_inverse=True)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    times = np.apply_along_axis(np.bincount, 1, drawn, minlength=len(names))
    return {name: _interval(column, at, times, share=name in shares) for name, column in values.items()}


def _interval(column: Values, at: NDArray[np.int64], times: NDArray[np.int64], *, share: bool) -> Interval:
    """Return the interval of one column, from the patient of each row and how often each resample has it."""
    known = ~np.isnan(column)
    if not known.any():
        return Interval(*[float("nan")] * 3)
    mean, units, counted = float(column[known].mean()), times.shape[1], len(np.unique(at[known]))
    if counted < 2:
        return Interval(mean, float("nan"), float("nan"))
    if share and set(column[known]) in ({0.0}, {1.0}):
        end = float(0.025 ** (1 / counted))
        return Interval(mean, 0.0, 1 - end) if mean == 0 else Interval(mean, end, 1.0)
    total, size = np.bincount(at[known], column[known], units), np.bincount(at[known], minlength=units)
    weight = times @ size
    resampled = (times @ total)[weight > 0] / weight[weight > 0]
    low, high = bootstrap_interval(resampled, counted)
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True)
class Covered:
    """What a model does to all films when it leaves those below a threshold as they are."""

    threshold: float
    coverage: float
    """The share of films that it restores."""
    harmed: Interval
    """The share of all films that lose more than the limit."""
    gain: Interval
    """The mean gain of all films, in decibels; a film that is left alone gains 0."""


def harm_coverage(
    gain: Values, priority: Values, patients: Sequence[str], *, limit: float = HARM, points: int = 11
) -> list[Covered]:
    """Return the harm-coverage curve: films of the highest priority are restored, the others keep their input.

    Args:
        gain: (N,), decibels that each film gains if it is restored.
        priority: (N,), what the choice is made by, such as the root mean square of the model's own change. Films of
            equal priority are restored together.
        patients: of each film.
        limit: decibels; a film that loses more is harmed.
        points: how many, evenly spread over the coverage from 0 to 1; fewer where priorities are equal.

    Raises:
        ValueError: if a gain or a priority is not finite.
    """
    if not (np.isfinite(gain).all() and np.isfinite(priority).all()):
        raise ValueError("the harm-coverage curve requires a finite gain and priority of every film")
    order = np.sort(priority)[::-1]
    sizes = np.linspace(0, len(order), points).round().astype(int)
    thresholds = dict.fromkeys(float(order[size - 1]) if size else float("inf") for size in sizes)
    chosen = [(threshold, priority >= threshold) for threshold in thresholds]
    harmed = {f"harmed {at}": (these & (gain < -limit)).astype(np.float64) for at, (_, these) in enumerate(chosen)}
    gained = {f"gain {at}": np.where(these, gain, 0.0) for at, (_, these) in enumerate(chosen)}
    found = by_patient({**harmed, **gained}, patients, shares=harmed)
    return [
        Covered(threshold, float(these.mean()), found[f"harmed {at}"], found[f"gain {at}"])
        for at, (threshold, these) in enumerate(chosen)
    ]
