"""Measures of a film, and their ranges among training films, by which a film unlike all of them is recognised.

A range is that of one number at a time: a film inside of all may still be unusual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["MEASURES", "Ranges"]

SHARE = 0.002
"""Of the training films at each end, outside of whose rest a measure is called unusual."""
MARGIN = 0.02
"""What a range is widened by at each end, as a share of it."""
SIDE = 16
"""Of the thumbnail whose layout is compared."""
TINY = 1e-6
LEAST_STEP = 2e-4
"""What a step between lines counts for at least: in films of 8 bits most median steps are 0."""
LAYOUT = "likeness to the mean film"
LOW, HIGH, THUMBNAIL = "low", "high", "thumbnail"


@dataclass(frozen=True)
class Ranges:
    """The ranges of all measures among training films, and the mean of their thumbnails."""

    low: Mapping[str, float]
    high: Mapping[str, float]
    thumbnail: Tensor
    """(16, 16), with the mean 0."""

    @staticmethod
    def of(films: Iterable[Tensor]) -> Ranges:
        """Measure training films (1, H, W) in [-1, 1], degraded as they are in training; several hundred."""
        rows, thumbnails = [], []
        for film in films:
            rows.append([float(measure(film)) for measure in MEASURES.values()])
            thumbnails.append(_layout(film))
        mean = torch.stack(thumbnails).mean(0)
        alike = torch.tensor([float(_likeness(one, mean)) for one in thumbnails])
        values = torch.cat([torch.tensor(rows), alike[:, None]], 1)
        low, high = values.quantile(SHARE, 0), values.quantile(1 - SHARE, 0)
        wider = MARGIN * (high - low)
        names = [*MEASURES, LAYOUT]
        return Ranges(
            dict(zip(names, (low - wider).tolist(), strict=True)),
            dict(zip(names, (high + wider).tolist(), strict=True)),
            mean,
        )

    def outside(self, image: Tensor) -> list[str]:
        """Return, of each measure of a film (1, H, W) outside of its range, the name, the value and the range."""
        found = {name: float(measure(image)) for name, measure in MEASURES.items()}
        found[LAYOUT] = float(_likeness(_layout(image), self.thumbnail))
        return [
            self._words(name, value) for name, value in found.items() if not self.low[name] <= value <= self.high[name]
        ]

    def _words(self, name: str, value: float) -> str:
        """Return a measure outside of its range as text, with as many digits as tell it from the end of the range."""
        shown, unit = SHOWN.get(name, (float, ""))
        numbers = [shown(one) for one in (value, self.low[name], self.high[name])]
        texts = [[f"{float(f'{one:.{digits}g}'):g}" for one in numbers] for digits in (2, 3, 4, 5)]
        now, low, high = next((one for one in texts if one[0] not in one[1:]), texts[-1])
        return f"{name} is {now}{unit}, in training {low} to {high}"

    def tensors(self) -> dict[str, Tensor]:
        """Return it as tensors by name, for a file."""
        ends = {f"{end}.{name}": torch.tensor(v) for end in (LOW, HIGH) for name, v in getattr(self, end).items()}
        return {**ends, THUMBNAIL: self.thumbnail}

    @staticmethod
    def load(tensors: Mapping[str, Tensor]) -> Ranges:
        """Return what `tensors` returned.

        Raises:
            KeyError: if a measure is missing.
        """
        low, high = ({name: float(tensors[f"{end}.{name}"]) for name in (*MEASURES, LAYOUT)} for end in (LOW, HIGH))
        return Ranges(low, high, tensors[THUMBNAIL])


def _noise(image: Tensor) -> Tensor:
    """Return the deviation of white noise, log10."""
    return (_diagonal(image).median() / 0.6745 + TINY).log10()


def _outliers(image: Tensor) -> Tensor:
    """Return the share of pixels that stand out of their neighbourhood by far more than noise does, log10."""
    detail = _diagonal(image)
    return ((detail > 0.2 + 4 * detail.median()).float().mean() + TINY).log10()


def _sharpness(near: int, far: int) -> Callable[[Tensor], Tensor]:
    def measure(image: Tensor) -> Tensor:
        """Return the energy of differences of pixels `near` apart over that of those `far` apart, without noise, log10.

        It cannot fall below the square of near / far, which a film has that is smooth over the far distance: so a blur
        of several pixels is seen at larger distances alone.
        """
        noise = 4 * (_diagonal(image).median() / 0.6745).square()
        fine, coarse = (
            (_step(image, 1, apart).square().mean() + _step(image, 2, apart).square().mean() - noise).clamp(min=TINY)
            for apart in (near, far)
        )
        return (fine / coarse).log10()

    return measure


def _overshoot(image: Tensor) -> Tensor:
    """Return the energy of second differences over that of first ones, log10."""
    second = (image[:, :, 2:] - 2 * image[:, :, 1:-1] + image[:, :, :-2]).square().mean()
    return (second / (_step(image, 2, 2).square().mean() + TINY) + TINY).log10()


def _bands(axis: int) -> Callable[[Tensor], Tensor]:
    def measure(image: Tensor) -> Tensor:
        """Return the largest steps that a whole line makes to the next over the median step, log10.

        The median over a line leaves anatomy and noise out; the steps before and after leave gradients out.
        """
        steps = _step(image, axis, 1).median(3 - axis).values[0]
        alone = (steps[1:-1] - (steps[2:] + steps[:-2]) / 2).abs()
        return (alone.quantile(0.985) / (alone.median() + LEAST_STEP) + TINY).log10()

    return measure


def _levels(image: Tensor) -> Tensor:
    """Return how many of 256 gray levels one of 100,000 pixels or more has, log10."""
    counts = torch.histc(image, 256, -1, 1)
    return (counts > image.numel() * 1e-5).float().sum().log10()


def _tone(share: float) -> Callable[[Tensor], Tensor]:
    return lambda image: _small(image, 2 * SIDE).flatten().quantile(share)


def _layout(image: Tensor) -> Tensor:
    small = _small(image, SIDE)
    return small - small.mean()


def _likeness(one: Tensor, other: Tensor) -> Tensor:
    """Return the correlation of two thumbnails with the mean 0."""
    return F.cosine_similarity(one.flatten(), other.flatten(), dim=0)


def _small(image: Tensor, side: int) -> Tensor:
    return F.interpolate(image[None], (side, side), mode="area")[0, 0]


def _step(image: Tensor, axis: int, apart: int) -> Tensor:
    size = image.shape[axis] - apart
    return image.narrow(axis, apart, size) - image.narrow(axis, 0, size)


def _diagonal(image: Tensor) -> Tensor:
    """Return the absolute diagonal detail of a Haar transform at every place; white noise keeps its deviation."""
    return _step(_step(image, 1, 1), 2, 1).abs() / 2


MEASURES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "noise": _noise,
    "outliers": _outliers,
    "sharpness": _sharpness(1, 4),
    "coarse sharpness": _sharpness(4, 16),
    "overshoot": _overshoot,
    "steps of rows": _bands(1),
    "steps of columns": _bands(2),
    "gray levels": _levels,
    "dark tone": _tone(0.05),
    "middle tone": _tone(0.5),
    "bright tone": _tone(0.95),
}
"""Numbers of a film (1, H, W) in [-1, 1] of 32 pixels or more along each side."""


def _power(value: float) -> float:
    """Return what a log10 is of; what was added so that a log is defined is shown as 0."""
    return 10**value if value > math.log10(2 * TINY) else 0.0


def _of_white(value: float) -> float:
    return (value + 1) / 2


SHOWN: Mapping[str, tuple[Callable[[float], float], str]] = {
    "noise": (lambda value: _power(value) / 2, " of the range"),
    "outliers": (_power, " of the pixels"),
    "sharpness": (_power, ""),
    "coarse sharpness": (_power, ""),
    "overshoot": (_power, ""),
    "steps of rows": (_power, " times the median"),
    "steps of columns": (_power, " times the median"),
    "gray levels": (_power, ""),
    "dark tone": (_of_white, " of white"),
    "middle tone": (_of_white, " of white"),
    "bright tone": (_of_white, " of white"),
}
"""How a measure is shown in a warning: from its number, which may be a log10, to what a reader expects; its unit."""
