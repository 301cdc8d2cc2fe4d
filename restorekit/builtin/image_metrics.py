"""Similarity of an image and its truth: PSNR, SSIM, MS-SSIM and UQI, each as its authors defined it.

Libraries disagree on these by more than methods do, so the definitions stand here, in one place, and every choice that
moves a value is in the metric's id: the range (SSIM and UQI are not shift invariant, so values are moved to [0, 1],
which gives the numbers of 8-bit images with L = 255), the window, the border (valid windows only), colour (the channel
mean). Signals, images and volumes share the code. All is computed in float64 on the CPU: the same numbers everywhere.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from restorekit import Batch, DataError, Domain, Factory, Metric, hookimpl

_TAPS = 11
"""Width of SSIM's Gaussian window."""
_BLOCK = 8
"""Width of UQI's uniform window."""
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales of MS-SSIM, from the finest; table of Wang 2003, section 4."""
_RANGE = "clipped to [-1, 1], moved to [0, 1]; channel mean; mean over images"
_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


class _ImageMetric(Metric):
    """Scores each image against its truth, gray, in [0, 1]; the score of many is the mean of where it is defined."""

    needs = "truth"
    undefined = "not defined at this size"
    least: int = 1
    """The smallest side at which the definition holds; below it the row is NaN."""

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1): a score an image, from `image` (B, C, *S) and the batch's truth (B, C', *S).

        Raises:
            DataError: if there is no truth, its size differs, or a value is not finite.
        """
        if batch.truth is None:
            raise DataError(
                f"{batch.key[0]}: there is no truth to compare with, which psnr, ssim, ms_ssim and uqi need"
            )
        made, truth = _gray(image, batch.key), _gray(batch.truth, batch.key)
        if made.shape != truth.shape:
            sizes = f"{tuple(made.shape[2:])} and {tuple(truth.shape[2:])}"
            raise DataError(f"{batch.key[0]}: an image and its truth differ in size: {sizes}")
        if min(made.shape[2:]) < self.least:
            return np.full((len(made), 1), math.nan)
        # One at a time: the windows of one image stay in the cache, which is three times faster than a batch.
        pairs = zip(made[:, None], truth[:, None], strict=True)
        return np.array([[self.score(x, y)] for x, y in pairs], dtype=np.float64)

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1) over the images where the score is defined; NaN if there are none."""
        defined = rows[~np.isnan(rows)]
        return float(defined.mean()) if defined.size else math.nan

    @abstractmethod
    def score(self, made: Tensor, truth: Tensor) -> float:
        """Return the score of one image: `made` and `truth` are (1, 1, *S) in [0, 1]."""


class Psnr(_ImageMetric):
    """Peak signal to noise ratio in dB. An image identical to its truth scores infinity, and so does a mean with it."""

    id = f"PSNR in dB: 10 log10(1 / MSE) per image, i.e. data range 2 on [-1, 1], identical images are inf; {_RANGE}"

    def score(self, made: Tensor, truth: Tensor) -> float:
        """Return decibels."""
        error = functional.mse_loss(made, truth).item()
        return -10 * math.log10(error) if error > 0 else math.inf


class Ssim(_ImageMetric):
    """Structural similarity."""

    id = (
        "SSIM: Wang et al. 2004 (doi:10.1109/TIP.2003.819861), Gaussian 11 taps a dimension, sigma 1.5, K1 0.01, "
        f"K2 0.03, L 1, population covariance, valid windows; {_RANGE}"
    )
    least = _TAPS

    def score(self, made: Tensor, truth: Tensor) -> float:
        """Return a value in [-1, 1]."""
        return _similarity(made, truth)[0]


class MsSsim(_ImageMetric):
    """Multi-scale structural similarity: five scales or nothing, since fewer would be another metric."""

    id = (
        "MS-SSIM: Wang et al. 2003 (doi:10.1109/ACSSC.2003.1292216), 5 scales, weights 0.0448 0.2856 0.3001 0.2363 "
        "0.1333, halved by a mean of 2 a dimension without padding, SSIM's windows, a negative scale counts as 0, "
        f"smallest side 176; {_RANGE}"
    )
    # The authors' code (ssim_mscale_new.m) refuses less: the fifth scale must still hold a window without padding.
    least = _TAPS * 2 ** (len(_WEIGHTS) - 1)

    def score(self, made: Tensor, truth: Tensor) -> float:
        """Return a value in [0, 1]: contrast and structure at every scale, luminance at the coarsest only."""
        halve = _POOLS[made.ndim - 3]
        product = 1.0
        for weight in _WEIGHTS[:-1]:
            product *= max(_similarity(made, truth)[1], 0.0) ** weight
            made, truth = halve(made, 2), halve(truth, 2)  # an odd last row is dropped, as in the authors' code
        return float(product * max(_similarity(made, truth)[0], 0.0) ** _WEIGHTS[-1])


class Uqi(_ImageMetric):
    """Universal image quality index: SSIM's ancestor, without constants, so dark flat windows weigh as others do."""

    id = (
        "UQI: Wang and Bovik 2002 (doi:10.1109/97.995823), uniform windows of 8 a dimension, stride 1, valid windows, "
        f"where both are flat the luminance term alone, where both are black 1; {_RANGE}"
    )
    least = _BLOCK

    def score(self, made: Tensor, truth: Tensor) -> float:
        """Return a value in [-1, 1]."""
        pool = _POOLS[made.ndim - 3]
        products = (made, truth, made * made, truth * truth, made * truth)
        mx, my, xx, yy, xy = (pool(one, _BLOCK, stride=1) for one in products)
        light, power = mx * my, mx * mx + my * my
        spread = (xx + yy - power).clamp(min=0)
        # Flat to rounding: the authors' code, on integers, asks for exactly zero.
        flat = spread <= 1e-12 * (xx + yy)
        one = torch.ones_like(power)
        bright = torch.where(power > 0, 2 * light / torch.where(power > 0, power, one), one)
        shape = torch.where(flat, one, 2 * (xy - light) / torch.where(flat, one, spread))
        return (bright * shape).mean().item()


def _gray(image: Tensor, keys: Sequence[str]) -> Tensor:
    """Return (B, 1, *S) float64 in [0, 1] from (B, C, *S) in [-1, 1]."""
    values = image.detach().cpu().double()
    good = values.flatten(1).isfinite().all(dim=1)
    if not good.all():
        raise DataError(f"{keys[int(good.int().argmin())]}: the image holds a value that is not finite; no score fits")
    return (values.clamp(-1, 1).mean(dim=1, keepdim=True) + 1) / 2


def _similarity(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return (SSIM, its contrast and structure alone), means over valid windows of (1, 1, *S) in [0, 1]."""
    mx, my, xx, yy, xy = (_blur(one) for one in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    shape = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
    return (light * shape).mean().item(), shape.mean().item()


def _blur(x: Tensor) -> Tensor:
    """Return the Gaussian means of valid windows, a dimension at a time; each spatial size shrinks by 10.

    Shifted sums: one code serves every number of dimensions, and a CPU does them faster than a convolution.
    """
    for axis in range(2, x.ndim):
        size = x.shape[axis] - _TAPS + 1
        mean = x.narrow(axis, 0, size) * _GAUSS[0]
        for shift in range(1, _TAPS):
            mean.add_(x.narrow(axis, shift, size), alpha=_GAUSS[shift])
        x = mean
    return x


def _gauss() -> tuple[float, ...]:
    taps = [math.exp(-((i - _TAPS // 2) ** 2) / (2 * 1.5**2)) for i in range(_TAPS)]
    return tuple(tap / sum(taps) for tap in taps)


_GAUSS = _gauss()


def _maker(metric: type[_ImageMetric]) -> Factory:
    def make(domain: Domain) -> _ImageMetric:
        return metric()

    make.__doc__ = metric.id
    return make


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the four metrics."""
    for name, metric in (("psnr", Psnr), ("ssim", Ssim), ("ms_ssim", MsSsim), ("uqi", Uqi)):
        add("metric", name, _maker(metric))
