"""Degradations: noise, blur, exposure, and a random blend of them, in one, two or three dimensions.

Severity 0 is the exact identity; the farther from 0, the farther the result is from the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from restorekit import (
    Degradation,
    Domain,
    Factory,
    PluginError,
    RecipeError,
    SingleDegradation,
    conformance_case,
    hookimpl,
    nd,
)

__all__ = ["bicubic", "blend", "blur", "exposure", "noise"]


Share = Annotated[float, Field(ge=0, le=10)]
Pixels = Annotated[float, Field(ge=0, le=1000)]
Stops = Annotated[float, Field(ge=-10, le=10)]


class Noise(SingleDegradation):
    """Additive white Gaussian noise; severity is its standard deviation as a fraction of the full range, which is 2."""

    name = "noise"

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Add noise of standard deviation 2 * severity."""
        drawn = torch.randn(image.shape, generator=rng, device=rng.device, dtype=image.dtype)
        return image + 2 * severity * drawn.to(image.device)


class Blur(SingleDegradation):
    """Gaussian blur; severity is its standard deviation in pixels, alike along every axis."""

    name = "blur"

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Convolve one axis after the other with a Gaussian cut at four standard deviations."""
        radius = max(1, int(np.ceil(4 * severity)))
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = torch.exp(-0.5 * (offsets / severity) ** 2)
        kernel = (kernel / kernel.sum()).to(image)
        for axis in range(1, image.ndim):
            image = _convolve(image, kernel, axis)
        return image


class Exposure(SingleDegradation):
    """A wrong exposure: gamma = 2 ** severity on values in [0, 1]. Positive darkens, negative brightens."""

    name = "exposure"

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Raise [0, 1] to the power of gamma."""
        light = ((image + 1) / 2).clamp(0, 1)
        return light.pow(2.0**severity) * 2 - 1


class Smaller(SingleDegradation):
    """Fewer pixels by cubic interpolation (Keys, a = -0.5, antialiased); severity is the factor."""

    name = "bicubic"

    def __init__(self, scale: int) -> None:
        super().__init__((scale, scale))
        self.scale = scale

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Return the image with 1 / severity of the pixels along every axis."""
        return nd.resize(image[None], [n // int(severity) for n in image.shape[1:]], mode="cubic")[0]


class Blend(Degradation):
    """A random subset of degradations in random order, each with its own severity."""

    def __init__(self, parts: list[Degradation], least: int, most: int | None = None) -> None:
        if least > len(parts):
            text = f"degradation 'blend': least is 0 to {len(parts)}, its degradations; got {least}"
            raise RecipeError(text, option="least")
        if most is not None and not least <= most <= len(parts):
            text = f"degradation 'blend': most is {least}, as least, to {len(parts)}, its degradations; got {most}"
            raise RecipeError(text, option="most")
        self.parts, self.least, self.most = parts, least, len(parts) if most is None else most
        self.owner: dict[str, Degradation] = {}
        for part in parts:
            for name in part.names:
                if name in self.owner:
                    text = f"degradation 'blend': {name!r} is given twice; each name may be used once"
                    raise RecipeError(text, option="degradations")
                self.owner[name] = part

    def for_split(self, root: Path | None, split: str) -> Degradation:
        """Return a blend of its degradations for that split."""
        return Blend([part.for_split(root, split) for part in self.parts], self.least, self.most)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of its degradations."""
        return tuple(self.owner)

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        """Draw how many, `least` to `most`, then which and in what order, then how severe."""
        count = int(torch.randint(self.least, self.most + 1, (), generator=rng)) if self.parts else 0
        order = torch.randperm(len(self.parts), generator=rng)[:count].tolist()
        drawn: dict[str, float] = {}
        for part in (self.parts[at] for at in order):
            severities = part.draw(rng)
            if foreign := [name for name in severities if self.owner.get(name) is not part]:
                raise PluginError(f"{type(part).__name__}: draws {foreign[0]!r}, which its names do not hold")
            drawn.update(severities)
        return drawn

    def apply(self, image: Tensor, drawn: Mapping[str, float], rng: torch.Generator) -> Tensor:
        """Apply to `image` (C, *S) what was drawn, in that order; names of other degradations are ignored.

        What one degradation drew under several names it is given at once, for they may belong together.
        """
        for owner, names in groupby(drawn, self.owner.get):
            if owner is not None:
                image = owner.apply(image, {name: drawn[name] for name in names}, rng)
        return image


def noise(domain: Domain, *, severity: tuple[Share, Share] = (0.0, 0.2)) -> Degradation:
    """Gaussian noise; severity: standard deviation in fractions of the full range, 0 or more."""
    return Noise(severity)


def blur(domain: Domain, *, severity: tuple[Pixels, Pixels] = (0.0, 2.0)) -> Degradation:
    """Gaussian blur; severity: standard deviation in pixels, 0 or more. Borders are mirrored."""
    return Blur(severity)


def exposure(domain: Domain, *, severity: tuple[Stops, Stops] = (-1.0, 1.0)) -> Degradation:
    """Wrong exposure; severity: log2 of gamma. 0 changes nothing, 1 squares (darker), -1 takes the root (brighter)."""
    return Exposure(severity)


@conformance_case(options={"scale": 2})
def bicubic(domain: Domain, *, scale: Annotated[int, Field(ge=2, le=16)]) -> Degradation:
    """Fewer pixels by antialiased cubic interpolation (Keys, a = -0.5), for super-resolution; data.scale is the same.

    Args:
        domain: The images.
        scale: How many times smaller the image gets, along every axis.
    """
    return Smaller(scale)


def blend(
    domain: Domain,
    *,
    degradations: list[Factory] | None = None,
    least: Annotated[int, Field(ge=0)] = 1,
    most: Annotated[int, Field(ge=0)] | None = None,
) -> Degradation:
    """A random subset of `degradations`, `least` to `most` of them, in random order.

    Args:
        domain: The images.
        degradations: What is drawn from; null: noise, blur and exposure.
        least: The least number of degradations of an image.
        most: The largest; null: all of them.
    """
    factories: list[Callable[[Domain], Degradation]] = [noise, blur, exposure] if degradations is None else degradations
    return Blend([make(domain) for make in factories], least, most)


def _convolve(image: Tensor, kernel: Tensor, axis: int) -> Tensor:
    # Mirrored with the border pixel repeated: keeps the mean, and works however small the image is.
    size, radius = image.shape[axis], len(kernel) // 2
    index = np.pad(np.arange(size), radius, mode="symmetric")
    moved = image.index_select(axis, torch.from_numpy(index).to(image.device)).movedim(axis, -1)
    rows = F.conv1d(moved.reshape(-1, 1, size + 2 * radius), kernel.view(1, 1, -1))
    return rows.reshape(*moved.shape[:-1], size).movedim(-1, axis)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the degradations that any modality can use."""
    for factory in (noise, blur, exposure, bicubic, blend):
        add("degradation", factory.__name__, factory)
