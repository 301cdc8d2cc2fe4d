"""Scores of structure without tone, of tone without structure, and of grids that networks leave."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from restorekit import Batch, DataError, Domain, Metric, RecipeError
from restorekit_film import evaluation
from restorekit_film.evaluation import Image, align

__all__ = ["checkerboard", "psnr_aligned", "ssim_aligned", "tone_error"]

_RANGE = "clipped to [-1, 1], moved to [0, 1]; channel mean; mean over images"
_ALIGNED = (
    "after the non-decreasing curve over 256 levels of the restored image that brings it nearest to the truth by least "
    "squares (isotonic regression, all pixels)"
)
_TAPS = 11


class _Scored(Metric):
    """One number an image; the score of many is the mean of where it is defined."""

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1) where the score is defined; NaN if it nowhere is."""
        defined = rows[~np.isnan(rows)]
        return float(defined.mean()) if defined.size else math.nan


class _AgainstTruth(_Scored):
    """Scores each image beside its truth."""

    needs = "truth"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1), of `image` (B, C, *S) and the batch's truth.

        Raises:
            DataError: if there is no truth, its size differs, or a value is not finite.
        """
        if batch.truth is None:
            raise DataError(f"{batch.key[0]}: {type(self).__name__} requires the truth, and there is none")
        made, truth = (_gray(one, batch.key) for one in (image, batch.truth))
        if made.shape != truth.shape:
            sizes = f"{made.shape[1:]} and {truth.shape[1:]}"
            raise DataError(f"{batch.key[0]}: an image and its truth differ in size: {sizes}")
        return np.array([[self.score(one, other)] for one, other in zip(made, truth, strict=True)])

    @abstractmethod
    def score(self, made: Image, truth: Image) -> float:
        """Return the score of one gray image (*S) in [0, 1]."""


class PsnrAligned(_AgainstTruth):
    """Decibels after alignment; with a cap, since films with tone changes alone stand at 40 to 60 dB."""

    unit = "dB"

    def __init__(self, cap: float | None) -> None:
        self.cap = math.inf if cap is None else cap
        capped = "" if cap is None else f", {cap:g} at most"
        self.id = f"PSNR in dB {_ALIGNED}: 10 log10(1 / MSE) per image{capped}; {_RANGE}"

    def score(self, made: Image, truth: Image) -> float:
        """Return decibels."""
        error = float(np.square(align(made, truth).image - truth).mean())
        return min(self.cap, -10 * math.log10(error) if error > 0 else math.inf)


class SsimAligned(_AgainstTruth):
    """SSIM after alignment, by scikit-image with the settings of restorekit's `ssim`."""

    undefined = "not defined at this size"
    id = (
        f"SSIM {_ALIGNED}: Wang et al. 2004 (doi:10.1109/TIP.2003.819861), Gaussian 11 taps a dimension, sigma 1.5, "
        f"K1 0.01, K2 0.03, L 1, population covariance, valid windows; {_RANGE}"
    )

    def score(self, made: Image, truth: Image) -> float:
        """Return a value in [-1, 1]; NaN below 11 pixels."""
        from skimage.metrics import structural_similarity

        if min(made.shape) < _TAPS:
            return math.nan
        moved = align(made, truth).image
        return float(
            structural_similarity(
                moved, truth, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
        )


class ToneError(_AgainstTruth):
    """What alignment removed."""

    better = "lower"
    id = (
        "Tone error: the root of the mean square error that alignment removes, as a share of the range. Squared, "
        f"it and the rest add up to the whole error. Alignment is {_ALIGNED.removeprefix('after ')}; {_RANGE}"
    )

    def score(self, made: Image, truth: Image) -> float:
        """Return a value in [0, 1]."""
        return align(made, truth).removed


class Checkerboard(_Scored):
    """How much a grid of strides 2, 4 and 8 stands out of the spectrum."""

    better = "nearer"
    undefined = "not defined at this size"
    id = (
        "Checkerboard index: power at multiples of 1/2, 1/4 and 1/8 cycles a pixel over the median of the ring of "
        "frequencies within 10 %, Hann window, 3 x 3 frequencies averaged; geometric mean of each stride, the largest; "
        f"{_RANGE}"
    )

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1), of `image` (B, C, H, W); NaN below 64 pixels.

        Raises:
            DataError: if a value is not finite.
        """
        return np.array([[evaluation.checkerboard(one)] for one in _gray(image, batch.key)])


def psnr_aligned(domain: Domain, *, cap: Annotated[float, Field(gt=0)] | None = None) -> Metric:
    """PSNR of structure: after the tone curve that brings the restored image nearest to the truth.

    Args:
        domain: The images.
        cap: Decibels that an image counts for at most; null: no limit.
    """
    return PsnrAligned(cap)


def ssim_aligned(domain: Domain) -> Metric:
    """SSIM of structure: after the tone curve that brings the restored image nearest to the truth.

    Args:
        domain: The images.
    """
    return SsimAligned()


def tone_error(domain: Domain) -> Metric:
    """Root mean square error that a tone curve could remove, as a share of the range.

    Args:
        domain: The images.
    """
    return ToneError()


def checkerboard(domain: Domain) -> Metric:
    """How much the grid of a network's strides stands out of the spectrum; about 1 where there is none.

    Args:
        domain: The images, of two dimensions.
    """
    if domain.dims != 2:
        raise RecipeError(f"metric 'checkerboard': takes images of 2 dimensions; got {domain.dims}")
    return Checkerboard()


def _gray(image: Tensor, keys: Sequence[str]) -> NDArray[np.float64]:
    """Return (B, *S) in [0, 1] from (B, C, *S) in [-1, 1]."""
    values = image.detach().cpu().double()
    for one, key in zip(values, keys, strict=True):
        if not one.isfinite().all():
            raise DataError(f"{key}: the image holds a value that is not finite; no score fits")
    made: NDArray[np.float64] = ((values.clamp(-1, 1).mean(1) + 1) / 2).numpy()
    return made
