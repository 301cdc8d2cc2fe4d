"""Measures as metrics of a recipe: they need no clean image, so poor, restored and good images are scored alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, DataError, Domain, Factory, Metric, RecipeError
from restorekit_kornia.analysis.measures import LEAST, MEASURES, gray, measure

__all__ = ["METRICS"]


class Level(Metric):
    """A measure of each image by itself; the score of many is the mean of where it is defined."""

    undefined = f"not defined: smaller than {LEAST} pixels, or no edge to measure"

    def __init__(self, name: str) -> None:
        self.name = name
        self.better = MEASURES[name].better
        self.id = definition(name)

    def measure(self, image: Tensor, answer: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1), a number an image, from `image` (B, C, H, W).

        Raises:
            DataError: if a value is not finite.
        """
        return np.array([[self._one(one, key)] for one, key in zip(image, batch.key, strict=True)])

    def _one(self, image: Tensor, key: str) -> float:
        try:
            return measure(gray(image), self.name)[self.name]
        except DataError as error:
            raise DataError(f"{key}: {error}") from error

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1) over the images where the measure is defined; NaN if there are none."""
        defined = rows[~np.isnan(rows)]
        return float(defined.mean()) if defined.size else math.nan


def definition(name: str) -> str:
    """Return a measure's definition in a line, with its sources."""
    sources = ", ".join(MEASURES[name].sources) or "our definition"
    return f"{name}: {MEASURES[name].about.rstrip('.')} ({sources}); channel mean; mean over images"


def _maker(name: str) -> Factory:
    def make(domain: Domain) -> Metric:
        if domain.dims != 2:
            raise RecipeError(f"metric of {name}: images of two dimensions are measured; came {domain.dims}")
        return Level(name)

    make.__doc__ = definition(name)
    return make


METRICS: dict[str, Factory] = {
    "noise_level": _maker("noise"),
    "blur_level": _maker("blur"),
    "exposure_level": _maker("exposure"),
    "contrast_level": _maker("contrast"),
    "blockiness_level": _maker("blockiness"),
    "grid_level": _maker("grid"),
    "resolution_level": _maker("resolution"),
}
"""Metrics by the name under which a recipe asks for them."""
