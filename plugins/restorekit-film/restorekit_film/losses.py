"""Losses of pairs beside restorekit's `paired`: decibels, gradients, structure at several scales, and tone curves.

Charbonnier is `{name: paired, norm: charbonnier}`. All are means over the images whose truth is known.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from restorekit import Loss, LossValue, Passes, PerImage, RecipeError, wide
from restorekit_film.generator import FilmRestorer
from restorekit_film.tone import curve_of

__all__ = ["decibels", "gradients", "ms_ssim", "tone"]

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, from the finest; table of Wang 2003, section 4."""
_TAPS = 11
_POOLS = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


class Pair(Loss):
    """A distance of the restored image to its truth."""

    needs: ClassVar[tuple[str, ...]] = ("truth",)

    def generator(self, p: Passes) -> LossValue:
        """Return the distance of ab to the truth of a, of each image whose truth is known."""
        made = wide(p.ab.image)
        truth = torch.zeros_like(made) if p.a.truth is None else wide(p.a.truth)
        return PerImage(self.distance(p, made, truth), p.known("truth", "a"))

    @abstractmethod
    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return (B,), of restored images and truths (B, C, *S)."""


class Decibels(Pair):
    """The error must be small on a scale of decibels, where a slight one counts as much as a great one."""

    def __init__(self, cap: float) -> None:
        self.least = 10 ** (-cap / 10)

    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return cap - PSNR, in decibels, of values moved to [0, 1]; both capped smoothly."""
        return 10 * torch.log10(_mean((made - truth).square()) / 4 / self.least + 1)


class Gradients(Pair):
    """Gradients must be those of the truth."""

    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return the mean absolute difference between neighbours' differences, over all axes."""
        difference = made - truth
        return torch.stack([_mean(difference.diff(dim=axis).abs()) for axis in range(2, difference.ndim)]).mean(0)


class MsSsim(Pair):
    """Structure must be that of the truth, at several scales."""

    def __init__(self, scales: int) -> None:
        self.weights = [weight / sum(_WEIGHTS[:scales]) for weight in _WEIGHTS[:scales]]

    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return 1 - MS-SSIM; a mean over channels."""
        least = _TAPS * 2 ** (len(self.weights) - 1)
        if min(made.shape[2:]) < least:
            raise RecipeError(
                f"loss 'ms_ssim': {len(self.weights)} scales require {least} pixels or more along every axis; got "
                f"{list(made.shape[2:])}; take a larger data.size or data.window, or fewer scales"
            )
        x, y = ((one.flatten(0, 1)[:, None] + 1) / 2 for one in (made, truth))
        halve, product = _POOLS[made.ndim - 3], torch.ones(len(x), dtype=x.dtype, device=x.device)
        for at, weight in enumerate(self.weights):
            light, shape = _similarity(x, y)
            last = at == len(self.weights) - 1
            # Never 0, whose power has no finite gradient.
            product = product * (light * shape if last else shape).flatten(1).mean(1).clamp(min=1e-6) ** weight
            x, y = halve(x, 2), halve(y, 2)
        return 1 - product.view(made.shape[:2]).mean(1)


class Tone(Pair):
    """The tone curve from the degraded image to the restored one must be that to the truth."""

    def __init__(self, likelihood: bool) -> None:
        self.likelihood = likelihood

    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return the distance of the curves, or the negative log-likelihood of the true one."""
        degraded = wide(p.a.image)
        if not self.likelihood:
            count, wanted = curve_of(degraded, truth)
            return ((curve_of(degraded, made)[1] - wanted).abs() * count).sum(1)
        generator = p.nets.ab.generator
        bend = tone = None
        if isinstance(generator, FilmRestorer):
            tone, bend = generator.tone, generator.bend(degraded, p.a.summary)
        if tone is None or bend is None:
            raise RecipeError(
                "loss 'tone': likelihood requires a generator with a tone curve of its own, `film_restorer` with tone "
                f"above 0; got {type(generator).__name__}; set likelihood: false"
            )
        return tone.negative_log_likelihood(bend, degraded, truth)


def decibels(*, cap: Annotated[float, Field(gt=0, le=100)] = 45.0) -> Loss:
    """Decibels of PSNR short of `cap`: 10 log10(1 + MSE * 10 ** (cap / 10)), of values moved to [0, 1].

    A change that an almost good film did not need costs as much as what is left of a bad one, so little harm is done.
    As NAFNet is trained (arXiv:2204.04676), which has no cap.

    Args:
        cap: Decibels beyond which nothing is gained; the loss is 3 dB there and 0 without an error.
    """
    return Decibels(cap)


def gradients() -> Loss:
    """Mean absolute difference of the gradients (of neighbours) of the restored image and its truth."""
    return Gradients()


def ms_ssim(*, scales: Annotated[int, Field(ge=1, le=5)] = 1) -> Loss:
    """1 - MS-SSIM (Wang et al. 2003), the first `scales` of its five weights scaled to add up to 1.

    Args:
        scales: How many; the smallest side must be 11 * 2 ** (scales - 1) or more. One is SSIM.
    """
    return MsSsim(scales)


def tone(*, likelihood: bool = False) -> Loss:
    """Tone curves: the mean restored value over each level of the degraded image against the mean true one.

    Args:
        likelihood: Instead, the negative log-likelihood of the true curve under the curve and the variance that
            `film_restorer` predicts: what teaches it how unsure it is.
    """
    return Tone(likelihood)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance, and contrast with structure, over valid windows of (B, 1, *S) in [0, 1]."""
    mx, my, xx, yy, xy = (_blur(one) for one in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return light, (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)


def _blur(x: Tensor) -> Tensor:
    taps = [math.exp(-((i - _TAPS // 2) ** 2) / (2 * 1.5**2)) for i in range(_TAPS)]
    for axis in range(2, x.ndim):
        size = x.shape[axis] - _TAPS + 1
        x = torch.stack([x.narrow(axis, i, size) * (tap / sum(taps)) for i, tap in enumerate(taps)]).sum(0)
    return x
