"""Measures of a failing training, from images and losses; `health` interprets them.

docs/train.md has their sources.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import median

import torch
from torch import Tensor

from restorekit.core import nd

__all__ = ["ABOUT", "change", "checkerboard", "correlation", "discriminator", "measured", "variation"]

COARSE = 16
"""Values along an axis of the images that `variation` compares: noise is averaged out."""
BAND = 1 / 16
"""Half the width, in cycles a pixel, of the frequencies that are near one."""
STANDS_OUT = 2
"""How many times its neighbours' energy a peak must have; what is beyond that is a grid's."""
SHORTEST = 8
"""Values that an axis must have to be looked along for a checkerboard."""
FEWEST = 50
"""Frequencies that a peak must have over all images: among fewer, white noise alone may stand out."""
CONSTANT = 1e-6
"""An image of a smaller standard deviation is constant."""
ABOUT = {
    "change": "How far a restored image is from its input (root mean square), as a share of the input's standard "
    "deviation; of the image that changed most.",
    "correlation": "Pearson's correlation of a restored image with its input; the median over the images.",
    "variation": "How much restored images differ from each other, as a share of how much their truth does, or, where "
    "none is known, their inputs: root mean squares over all pairs of images, coarse, without their means.",
    "checkerboard": "Amplitude (root mean square) of a grid with a period of two pixels that the input does not have, "
    "as a share of the restored image's standard deviation.",
    "discriminator": "The discriminators' loss between its floor (0: all images are separated) and chance (1: one "
    "score for every image; above it they are worse); checked by its median over the last tenth of all steps.",
}
"""What each measure, as in health.csv, is."""


def change(degraded: Tensor, restored: Tensor) -> float:
    """Return the largest relative change of an image: |restored - degraded| / sd(degraded), root mean squares.

    Args:
        degraded: (B, C, *S).
        restored: the same images restored.

    Returns:
        0 where every restored image equals its input; NaN if all inputs are constant.
    """
    before, after = _rows(degraded), _rows(restored)
    spread = before.std(1, correction=0)
    change = (after - before).square().mean(1).sqrt()
    varied = spread > CONSTANT
    return float((change[varied] / spread[varied]).max()) if varied.any() else math.nan


def correlation(degraded: Tensor, restored: Tensor) -> float:
    """Return Pearson's correlation of (B, C, *S) with the same images restored, the median over the images.

    Returns:
        -1 to 1; NaN if no pair of images is without a constant.
    """
    before, after = _rows(degraded), _rows(restored)
    varied = (before.std(1, correction=0) > CONSTANT) & (after.std(1, correction=0) > CONSTANT)
    if not varied.any():
        return math.nan
    before, after = (x[varied] - x[varied].mean(1, keepdim=True) for x in (before, after))
    return float(median((before * after).sum(1).div(before.norm(dim=1) * after.norm(dim=1)).tolist()))


def variation(reference: Tensor, restored: Tensor) -> float:
    """Return how much restored images differ from each other, as a share of how much their truth or inputs do.

    Differences are root mean squares over all pairs of the images (B, C, *S), reduced to 16 values along an axis at
    most, each without its mean: noise and brightness, which restoration takes away, hardly count.

    Returns:
        0 where all restored images are alike; NaN for fewer than two images, or a reference that is alike.
    """
    before, after = _mean_distance(reference), _mean_distance(restored)
    return after / before if before > CONSTANT else math.nan


def checkerboard(degraded: Tensor, restored: Tensor) -> float:
    """Return the amplitude of a grid of period two that restored images (B, C, *S) have beyond that of their inputs.

    Upsampling repeats the spectrum of an image around the Nyquist frequencies (Zhang et al., arXiv:1907.06515); a
    transposed convolution need not take the copies away, and they are seen as a checkerboard (Odena et al.,
    doi:10.23915/distill.00003). The Nyquist frequencies are those at 1/2 cycle a pixel along one axis or more and 0
    along the others. Of the energy within 1/16 of them, a grid's is what is beyond twice that of as many neighbours
    (1/16 to 3/16 away). Its share of the variance counts: that of the restored images less that of the degraded ones.

    Returns:
        The square root of that share, 0 to 1; NaN if the images are small and few (under 50 such frequencies in all),
        or all images of a side are constant.
    """
    return math.sqrt(max(0.0, share)) if math.isfinite(share := _grid(restored) - _grid(degraded)) else math.nan


def discriminator(values: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> float:
    """Return the losses of discriminators between floor (0) and chance (1): the largest, so that all are below it.

    Above 1 scores are worse than one score for every image.

    Returns:
        NaN if none has a range.
    """
    found = [(values[name] - low) / (high - low) for name, (low, high) in ranges.items() if name in values]
    return max(found, default=math.nan)


def measured(images: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the measures of a sample with columns "degraded" and "restored" (B, C, *S), where they are defined."""
    if not {"degraded", "restored"} <= images.keys() or images["degraded"].shape != images["restored"].shape:
        return {}
    degraded, restored = images["degraded"].float(), images["restored"].float()
    found = {f.__name__: f(degraded, restored) for f in (change, correlation, checkerboard)}
    # Noise of many times the signal makes inputs differ far more than what they show does.
    truth = images.get("truth", degraded).float()
    found["variation"] = variation(truth if _mean_distance(truth) > CONSTANT else degraded, restored)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _rows(images: Tensor) -> Tensor:
    """Return (B, C, *S) as (B, values) in float64."""
    return images.flatten(1).double()


def _mean_distance(images: Tensor) -> float:
    if len(images) < 2:
        return math.nan
    coarse = _rows(nd.resize(images, [min(n, COARSE) for n in images.shape[2:]]))
    centred = coarse - coarse.mean(1, keepdim=True)
    return float(torch.pdist(centred).square().mean().sqrt()) / math.sqrt(centred.shape[1])


def _grid(images: Tensor) -> float:
    """Return the share of the variance that a grid of period two has, the mean over images and channels."""
    size = images.shape[2:]
    planes = [plane for plane in images.flatten(0, 1).float() if plane.std(correction=0) > CONSTANT]
    if not planes:
        return math.nan
    power = torch.stack([_spectrum(plane) for plane in planes]).mean(0)
    peak = usual = count = 0.0
    for corner in itertools.product((False, True), repeat=len(size)):
        if any(corner) and all(n >= SHORTEST for n, at in zip(size, corner, strict=True) if at):
            inside, beside = _near(size, corner, BAND), _near(size, corner, 3 * BAND)
            peak += float(power[inside].sum())
            usual += float(power[beside & ~inside].mean() * inside.sum())
            count += int(inside.sum()) * len(planes)
    return max(0.0, peak - STANDS_OUT * usual) if count >= FEWEST else math.nan


def _spectrum(plane: Tensor) -> Tensor:
    """Return the periodogram of (*S) by Hann's window, as shares of the variance."""
    window = torch.ones(plane.shape)
    for axis, n in enumerate(plane.shape):
        if n >= SHORTEST:  # an image does not go on where it ends: without a window its edges fill the spectrum
            window = window * _along(torch.hann_window(n), axis, plane.ndim)
    centred = plane - plane.mean()
    power: Tensor = torch.fft.fftn(centred * window).abs().square()
    return power / (centred.square().mean() * window.square().sum() * plane.numel())


def _near(size: Sequence[int], corner: Sequence[bool], width: float) -> Tensor:
    """Return which frequencies are within `width` of 1/2 along the axes of `corner`, and near 0 along the others."""
    near = torch.ones(size, dtype=torch.bool)
    for axis, (n, at) in enumerate(zip(size, corner, strict=True)):
        frequency = _along(torch.fft.fftfreq(n, dtype=torch.float64).abs(), axis, len(size))
        near = near & (frequency >= 0.5 - width if at else frequency <= BAND)
    return near


def _along(values: Tensor, axis: int, dims: int) -> Tensor:
    return values.reshape([-1 if at == axis else 1 for at in range(dims)])
