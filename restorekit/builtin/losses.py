"""The losses of unpaired and paired translation; every norm is a mean, and every value is computed in float32.

A recipe holds the weights. R2C-GAN (arXiv:2209.14770) is lsgan + 10 cycle + 5 identity + 0.1 task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from restorekit import PASSES, Factory, Loss, Passes, RecipeError, TaskHead, hookimpl

Fakes = Literal["pool", "fresh"]
Norm = Literal["l1", "l2"]
PassName = Literal["ab", "ba", "aba", "bab", "aa", "bb"]
Criterion = Callable[[Tensor], Tensor]


class Adversarial(Loss):
    """A game between the translators and the discriminators, summed over the discriminators that exist.

    The three criteria take realness scores (B, 1, *s) and return a scalar: `fooled` is what a translator descends for
    its fakes, `real` and `fake` what a discriminator descends: together never below 0, nor below `chance` where all
    scores are alike. There is no factor 1/2 on the discriminators' side.
    """

    judges: ClassVar[bool] = True

    def __init__(self, fooled: Criterion, real: Criterion, fake: Criterion, chance: float, fakes: Fakes) -> None:
        self.fooled, self.real, self.fake = fooled, real, fake
        self.discriminator_range = (0.0, chance)
        self.fresh = fakes == "fresh"

    def generator(self, p: Passes) -> Tensor | None:
        """Return the sum of `fooled` over the translations that exist."""
        return _total(self.fooled(judge(image).float()) for judge, image in p.judged())

    def discriminator(self, p: Passes) -> Tensor | None:
        """Return the sum of `real` and `fake` over the discriminators."""
        return _total(
            self.real(judge(real).float()) + self.fake(judge(fake).float())
            for judge, real, fake in p.shown(fresh=self.fresh)
        )


class Cycle(Loss):
    """The way there and back again must return the image (CycleGAN, arXiv:1703.10593): aba = a and bab = b."""

    both_ways: ClassVar[bool] = True

    def __init__(self, norm: Norm) -> None:
        self.norm = norm

    def generator(self, p: Passes) -> Tensor | None:
        """Return |aba - a| + |bab - b|, each a mean."""
        return _distance(p.aba.image, p.a.image, self.norm) + _distance(p.bab.image, p.b.image, self.norm)


class Identity(Loss):
    """A translator must keep the images of its own target domain (CycleGAN, arXiv:1703.10593): bb = b and aa = a."""

    def __init__(self, norm: Norm) -> None:
        self.norm = norm

    def generator(self, p: Passes) -> Tensor | None:
        """Return |bb - b| + |aa - a|, each a mean; a one-way run has the first alone."""
        loss = _distance(p.bb.image, p.b.image, self.norm)
        return loss if p.nets.ba is None else loss + _distance(p.aa.image, p.a.image, self.norm)


class Paired(Loss):
    """The restored image must be the clean image of the same object."""

    needs: ClassVar[tuple[str, ...]] = ("pairs",)

    def __init__(self, norm: Literal["l1", "l2", "charbonnier"], eps: float) -> None:
        self.norm, self.eps = norm, eps

    def generator(self, p: Passes) -> Tensor | None:
        """Return the distance of ab (B, C, *S) to b, a mean."""
        if self.norm != "charbonnier":
            return _distance(p.ab.image, p.b.image, self.norm)
        apart = p.ab.image.float() - p.b.image.float()
        return (apart.square() + self.eps**2).sqrt().mean()


class Task(Loss):
    """The heads' own loss on the answers of the named passes, against the class of the image each pass starts from."""

    needs: ClassVar[tuple[str, ...]] = ("target",)

    def __init__(self, passes: list[PassName] | None) -> None:
        self.passes = passes

    def generator(self, p: Passes) -> Tensor | None:
        """Return the sum of the heads' losses."""
        every: list[PassName] = ["ab", "bb"] if p.nets.ba is None else [*PASSES]  # type: ignore[list-item]
        return _total(self._one(p, name) for name in (every if self.passes is None else self.passes))

    def _one(self, p: Passes, name: PassName) -> Tensor:
        answer, target, head = getattr(p, name).answer, p.start(name).target, _head(p, name)
        if answer is None or head is None:
            raise RecipeError("loss 'task': reads a head's answers, but nets has no head; add `head: classify`")
        if target is None:
            raise RecipeError(f"loss 'task': reads classes, but the images that {name!r} starts from have none")
        return head.loss(answer, target)


class TaskBothWays(Task):
    """`Task` over passes that need the way back."""

    both_ways: ClassVar[bool] = True


def lsgan(*, fakes: Fakes = "pool") -> Loss:
    """Least-squares adversarial loss (LSGAN, arXiv:1611.04076): real to 1, fake to 0, no factor 1/2 (as R2C-GAN).

    `fakes: pool` shows the discriminators the fakes of the generators' step through the history pool (the authors'
    code); `fresh` computes them anew with the updated generators (Algorithm 1 of the paper).
    """
    return Adversarial(_to_one, _to_one, lambda score: score.square().mean(), 0.5, fakes)


def vanilla(*, fakes: Fakes = "pool") -> Loss:
    """Adversarial loss by cross-entropy (arXiv:1406.2661), non-saturating, on scores before the sigmoid."""
    return Adversarial(
        lambda score: F.softplus(-score).mean(),
        lambda score: F.softplus(-score).mean(),
        lambda score: F.softplus(score).mean(),
        2 * math.log(2),
        fakes,
    )


def hinge(*, fakes: Fakes = "pool") -> Loss:
    """Adversarial hinge loss (arXiv:1705.02894): real above 1, fake below -1; translators raise the score."""
    return Adversarial(
        lambda score: -score.mean(),
        lambda score: F.relu(1 - score).mean(),
        lambda score: F.relu(1 + score).mean(),
        2.0,
        fakes,
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
    return (score - 1).square().mean()


def _distance(image: Tensor, wanted: Tensor, norm: Norm) -> Tensor:
    return (F.l1_loss if norm == "l1" else F.mse_loss)(image.float(), wanted.float())


def _total(values: Iterable[Tensor]) -> Tensor | None:
    total: Tensor | None = None
    for value in values:
        total = value if total is None else total + value
    return total


def _head(p: Passes, name: PassName) -> TaskHead | None:
    """Return the head of the translator that ends the pass: ab for ab, bab and bb; ba for ba, aba and aa."""
    last = p.nets.ab if name.endswith("b") else p.nets.ba
    return None if last is None else last.head


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the losses."""
    for factory in (lsgan, vanilla, hinge, cycle, identity, paired, task):
        add("loss", factory.__name__, factory)
