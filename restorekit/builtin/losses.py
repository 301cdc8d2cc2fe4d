"""The losses of unpaired and paired translation; every norm is a mean, and every value is computed in float32 or more.

A recipe holds the weights. R2C-GAN (arXiv:2209.14770) is lsgan + 10 cycle + 5 identity + 0.1 task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from restorekit import (
    PASSES,
    Factory,
    Loss,
    LossValue,
    Passes,
    PerImage,
    RecipeError,
    TaskHead,
    hookimpl,
    wide,
)

Fakes = Literal["pool", "fresh"]
Norm = Literal["l1", "l2"]
PassName = Literal["ab", "ba", "aba", "bab", "aa", "bb"]
Criterion = Callable[[Tensor], Tensor]


class Adversarial(Loss):
    """An adversarial loss, summed over the discriminators of the run.

    The three criteria map realness scores to a loss of each score: `fooled` is what a translator minimises for its
    fakes, `real` and `fake` what a discriminator minimises: together never below 0, nor in the mean below `chance`
    where all scores are alike. There is no factor 1/2 on the discriminators' side. A discriminator of several scales
    counts by the mean over them.
    """

    needs_discriminator: ClassVar[bool] = True

    def __init__(self, fooled: Criterion, real: Criterion, fake: Criterion, chance: float, fakes: Fakes) -> None:
        self.fooled, self.real, self.fake = fooled, real, fake
        self.discriminator_range = (0.0, chance)
        self.fresh = fakes == "fresh"

    def generator(self, p: Passes) -> LossValue:
        """Return `fooled` for each translated image, (B,) for each discriminator."""
        return [_by_image(self.fooled, scores) for scores in p.translated_scores()] or None

    def discriminator(self, p: Passes) -> LossValue:
        """Return `real` and `fake` for each image, (B,) for each discriminator."""
        return [
            _by_image(self.real, real) + _by_image(self.fake, fake)
            for real, fake in p.real_and_fake_scores(fresh=self.fresh)
        ] or None


class Cycle(Loss):
    """Both translators in a row must return the image (CycleGAN, arXiv:1703.10593): aba = a and bab = b."""

    both_ways: ClassVar[bool] = True

    def __init__(self, norm: Norm) -> None:
        self.norm = norm

    def generator(self, p: Passes) -> LossValue:
        """Return |aba - a| + |bab - b| of each image, each a mean over its values."""
        return _distance(p.aba.image, p.a.image, self.norm) + _distance(p.bab.image, p.b.image, self.norm)


class Identity(Loss):
    """A translator must keep the images of its own target domain (CycleGAN, arXiv:1703.10593): bb = b and aa = a."""

    def __init__(self, norm: Norm) -> None:
        self.norm = norm

    def generator(self, p: Passes) -> LossValue:
        """Return |bb - b| + |aa - a| of each image, each a mean over its values; a one-way run has the first alone."""
        loss = _distance(p.bb.image, p.b.image, self.norm)
        return loss if p.nets.ba is None else loss + _distance(p.aa.image, p.a.image, self.norm)


class Paired(Loss):
    """The restored image must be the clean image of the same object, where that is known."""

    needs: ClassVar[tuple[str, ...]] = ("truth",)

    def __init__(self, norm: Literal["l1", "l2", "charbonnier"], eps: float) -> None:
        self.norm, self.eps = norm, eps

    def generator(self, p: Passes) -> LossValue:
        """Return the distance of ab to the truth of a, of each image whose truth is known."""
        made = wide(p.ab.image)
        truth = torch.zeros_like(made) if p.a.truth is None else wide(p.a.truth)
        if self.norm == "charbonnier":
            values = _mean(((made - truth).square() + self.eps**2).sqrt())
        else:
            values = _distance(made, truth, self.norm)
        return PerImage(values, p.known("truth", "a"))


class Task(Loss):
    """The heads' own loss on the predictions of the named passes, against the target of the image each starts from."""

    needs: ClassVar[tuple[str, ...]] = ("target",)

    def __init__(self, passes: list[PassName] | None) -> None:
        self.passes = passes

    def generator(self, p: Passes) -> LossValue:
        """Return the heads' loss of each image with a known target, for each pass."""
        every: list[PassName] = ["ab", "bb"] if p.nets.ba is None else [*PASSES]  # type: ignore[list-item]
        return [self._one(p, name) for name in (every if self.passes is None else self.passes)]

    def _one(self, p: Passes, name: PassName) -> PerImage:
        raw, target, head = getattr(p, name).raw, p.start(name).target, _head(p, name)
        if raw is None or head is None:
            raise RecipeError("loss 'task': reads a head's output, but nets has no head; add one, as `head: classify`")
        if target is None:
            raise RecipeError(f"loss 'task': reads targets, but the images that {name!r} starts from have none")
        known = p.known("target", "a" if name.startswith("a") else "b")
        return PerImage(head.loss(raw, target, known.mask), known)


class TaskBothWays(Task):
    """`Task` over passes that need the way back."""

    both_ways: ClassVar[bool] = True


def lsgan(*, fakes: Fakes = "pool") -> Loss:
    """Least-squares adversarial loss (LSGAN, arXiv:1611.04076): real to 1, fake to 0, no factor 1/2 (as R2C-GAN).

    `fakes: pool` shows the discriminators the fakes of the generators' step through the history pool (the authors'
    code); `fresh` computes them anew with the updated generators (Algorithm 1 of the paper).
    """
    return Adversarial(_to_one, _to_one, lambda score: score.square(), 0.5, fakes)


def vanilla(*, fakes: Fakes = "pool") -> Loss:
    """Adversarial loss by cross-entropy (arXiv:1406.2661), non-saturating, on scores before the sigmoid."""
    return Adversarial(
        lambda score: F.softplus(-score), lambda score: F.softplus(-score), F.softplus, 2 * math.log(2), fakes
    )


def hinge(*, fakes: Fakes = "pool") -> Loss:
    """Adversarial hinge loss (arXiv:1705.02894): real above 1, fake below -1; translators raise the score."""
    return Adversarial(
        lambda score: -score, lambda score: F.relu(1 - score), lambda score: F.relu(1 + score), 2.0, fakes
    )


def cycle(*, norm: Norm = "l1") -> Loss:
    """Cycle consistency, both ways: |aba - a| + |bab - b|, each a mean (l2: of the squares)."""
    return Cycle(norm)


def identity(*, norm: Norm = "l1") -> Loss:
    """Identity: |bb - b| + |aa - a|, each a mean (l2: of the squares); one way has |bb - b| alone."""
    return Identity(norm)


def paired(
    *, norm: Literal["l1", "l2", "charbonnier"] = "l1", eps: Annotated[float, Field(ge=1e-9, le=1)] = 1e-3
) -> Loss:
    """Distance of the restored image to its pair; charbonnier is the mean of sqrt(d^2 + eps^2) (arXiv:1710.01992)."""
    return Paired(norm, eps)


def task(*, passes: Annotated[list[PassName] | None, Field(min_length=1)] = None) -> Loss:
    """Sum of the heads' losses over `passes`; left out, over every pass: all six both ways, ab and bb one way."""
    back = passes is not None and any(name not in ("ab", "bb") for name in passes)
    return TaskBothWays(passes) if back else Task(passes)


def _to_one(score: Tensor) -> Tensor:
    return (score - 1).square()


def _mean(values: Tensor) -> Tensor:
    """Return the mean over all but the first axis: (B,)."""
    return values.flatten(1).mean(1)


def _by_image(criterion: Criterion, scores: Sequence[Tensor]) -> Tensor:
    """Return a criterion's mean over the scores of each image, and over the scales: (B,)."""
    return torch.stack([_mean(criterion(wide(one))) for one in scores]).mean(0)


def _distance(image: Tensor, wanted: Tensor, norm: Norm) -> Tensor:
    """Return the mean distance of each image to the wanted one: (B,)."""
    difference = wide(image) - wide(wanted)
    return _mean(difference.abs() if norm == "l1" else difference.square())


def _head(p: Passes, name: PassName) -> TaskHead | None:
    """Return the head of the translator that ends the pass: ab for ab, bab and bb; ba for ba, aba and aa."""
    last = p.nets.ab if name.endswith("b") else p.nets.ba
    return None if last is None else last.head


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the losses."""
    for factory in (lsgan, vanilla, hinge, cycle, identity, paired, task):
        add("loss", factory.__name__, factory)
