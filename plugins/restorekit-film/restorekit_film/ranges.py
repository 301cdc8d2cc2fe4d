"""Measures of a film, and their ranges among training films, by which a film unlike all of them is recognised.

A range is that of one number at a time: a film inside of all may still be unusual.
"""

from __future__ import annotations

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
            f"{name} is {value:.2f}, in training {self.low[name]:.2f} to {self.high[name]:.2f}"
            for name, value in found.items()
            if not self.low[name] <= value <= self.high[name]
        ]

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


def _sharpness(image: Tensor) -> Tensor:
    """Return the energy of differences of neighbours over that of pixels four apart, without noise, log10."""
    noise = 4 * (_diagonal(image).median() / 0.6745).square()
    near, far = (
        (_step(image, 1, apart).square().mean() + _step(image, 2, apart).square().mean() - noise).clamp(min=TINY)
        for apart in (1, 4)
    )
    return (near / far).log10()


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
    "sharpness": _sharpness,
    "overshoot": _overshoot,
    "steps of rows": _bands(1),
    "steps of columns": _bands(2),
    "gray levels": _levels,
    "dark tone": _tone(0.05),
    "middle tone": _tone(0.5),
    "bright tone": _tone(0.95),
}
"""Numbers of a film (1, H, W) in [-1, 1] of 32 pixels or more along each side."""
