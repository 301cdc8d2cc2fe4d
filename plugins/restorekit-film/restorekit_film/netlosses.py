"""Losses that read further networks: one that learns to predict PSNR, and the features of a trained one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Discriminator, Loss, LossValue, Passes, PerImage, RecipeError, nd, wide
from restorekit_film.losses import Pair

__all__ = ["perceptual", "psnr_regressor"]

TEN = 10.0
"""Decibels a unit of a score."""
FLOOR = 0.01
"""Of the mean square of all features: no feature is divided by less."""


class PsnrRegressor(Pair):
    """The PSNR that a network of `nets.extra` predicts of a restored image must reach a cap.

    A score of the network is the PSNR of its patch, in tens of decibels above half the cap. The errors of all patches
    are averaged, as those of pixels are in PSNR.
    """

    def __init__(self, net: str, cap: float) -> None:
        self.net, self.cap = net, cap
        self.trains = (net,)

    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return cap - predicted PSNR, in decibels, 0 beyond the cap."""
        return (self.cap - self.predicted(p, made)).relu()

    def extra(self, p: Passes) -> Mapping[str, LossValue]:
        """Return the square error of the prediction, in (10 dB)², of restored images and of ones nearer to the truth.

        The latter lie at a drawn place between the restored image and its truth. So the network learns what is better
        than all that the generator makes yet, and the way there.
        """
        made = wide(p.ab.image.detach())
        truth = torch.zeros_like(made) if p.a.truth is None else wide(p.a.truth)
        place = torch.rand(len(made), generator=p.rng, device=p.rng.device).to(made)
        between = torch.lerp(truth, made, place.view(-1, *[1] * (made.ndim - 1)))
        wrong = [(self.predicted(p, one) - self.true(one, truth)) / TEN for one in (made, between)]
        return {self.net: PerImage(torch.stack(wrong).square().mean(0), p.known("truth", "a"))}

    def predicted(self, p: Passes, image: Tensor) -> Tensor:
        """Return the predicted PSNR of restored images (B, C, *S), in decibels, (B,)."""
        net = p.nets.extra[self.net]
        if not isinstance(net, Discriminator):
            raise RecipeError(
                f"loss 'psnr_regressor': nets.extra.{self.net} must be a discriminator, as `discriminator: {{name: "
                f"patch, norm: none, conditional: true}}`; got {type(net).__name__}"
            )
        found = net(image, _beside(p, image)) if net.conditional else net(image)
        scores = [wide(one).flatten(1) for one in ([found] if isinstance(found, Tensor) else found)]
        ten = math.log(10)
        pooled = [math.log(one.shape[1]) - torch.logsumexp(-ten * one, 1) for one in scores]
        return self.cap / 2 + TEN / ten * torch.stack(pooled).mean(0)

    def true(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return the PSNR of images (B, C, *S) in [-1, 1], in decibels, (B,), at most the cap."""
        error = (image - truth).square().flatten(1).mean(1) / 4
        return -10 * torch.log10(error.clamp(min=10 ** (-self.cap / 10)))


class Perceptual(Pair):
    """The features that a trained, frozen network finds in the restored image must be those of the truth."""

    def __init__(self, normalise: bool) -> None:
        self.normalise = normalise

    def distance(self, p: Passes, made: Tensor, truth: Tensor) -> Tensor:
        """Return the mean square difference of features, each over its mean square in the truth if normalised."""
        encode = p.nets.teacher.generator.encode
        with torch.no_grad():
            wanted = wide(encode(truth)[1]).flatten(2)
        difference = (wide(encode(made)[1]).flatten(2) - wanted).square().mean(2)
        if self.normalise:
            power = wanted.square().mean(2)
            difference = difference / (power + FLOOR * power.mean(1, keepdim=True)).clamp(min=1e-12)
        return difference.mean(1)


def psnr_regressor(
    *, net: Annotated[str, Field(min_length=1)] = "psnr", cap: Annotated[float, Field(gt=0, le=100)] = 45.0
) -> Loss:
    """Decibels by which the PSNR that a network predicts of the restored image falls short of `cap`.

    The master network of CoRe-Nets (arXiv:2412.03995, arXiv:2501.17125): a small convolutional network sees the
    restored image beside the degraded one and learns, in every step, to predict the PSNR against the truth. It is a
    discriminator of `nets.extra`, such as `psnr: {discriminator: {name: patch, width: 16, layers: 2, norm: none,
    conditional: true}}`: norms hide how strong noise is, and without `conditional` it sees the restored image alone.

    Its prediction means nothing in the first hundreds of steps, and never much beside what it was trained on: the loss
    is to stand beside one of pairs, with a weight around 0.01. A weight also multiplies the network's own loss.

    Args:
        net: Its name in `nets.extra`.
        cap: Decibels beyond which nothing is gained, of values moved to [0, 1]; it learns PSNR up to there.
    """
    return PsnrRegressor(net, cap)


def perceptual(*, normalise: bool = True) -> Loss:
    """Square difference of the features of `nets.teacher` in the restored image and in its truth.

    The teacher is a trained run, best one with a head, such as a classifier of your own films; it is frozen. Features
    are what its generator gives to a head. The loss is blind to all that these do not hold, as what is lost by strides,
    so it stands beside a loss of pairs. A teacher must have the channels and the number of dimensions of the run.

    Args:
        normalise: Divide the square difference of each feature by its mean square in the truth, so that each counts
            alike; one that is almost silent there is divided by a hundredth of the mean over all features.
    """
    return Perceptual(normalise)


def _beside(p: Passes, image: Tensor) -> Tensor:
    """Return the degraded images at the size of restored ones."""
    degraded = wide(p.a.image)
    return degraded if degraded.shape[2:] == image.shape[2:] else nd.resize(degraded, image.shape[2:])
