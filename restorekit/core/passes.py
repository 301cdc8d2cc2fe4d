"""The forward passes of a training step, by name. Each is run once, when a loss first reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import RecipeError
from restorekit.core.types import Batch, Discriminator, Nets, Output, Translator

__all__ = ["PASSES", "HistoryPool", "Known", "Loss", "LossValue", "Passes", "PerImage", "wide"]

PASSES = ("ab", "ba", "aba", "bab", "aa", "bb")
"""Names of the forward passes. Each begins with the domain whose images, and targets, it starts from."""


class HistoryPool:
    """Past fakes shown to a discriminator again (Shrivastava et al., arXiv:1612.07828, as used by CycleGAN).

    Until `size` images are stored, an image is stored and returned as it is; then, with probability 1/2, it is swapped
    with a random stored one. `size` 0 returns every image as it is. An image is kept with its condition, if any.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []
        self.conditions: list[Tensor] = []
        """A condition for each image, where the discriminator takes one."""

    def plan(self, count: int, rng: torch.Generator) -> list[int | None]:
        """Draw, for each of the next `count` images, the place it is swapped with once the pool is full; None: none.

        Drawn apart from `query`, so that nothing of a step waits for random numbers.
        """
        if not self.size:
            return [None] * count
        swapped = (torch.rand(count, generator=rng) >= 0.5).tolist()
        places = torch.randint(self.size, (count,), generator=rng).tolist()
        return [at if swap else None for swap, at in zip(swapped, places, strict=True)]

    def query(
        self, images: Tensor, places: Sequence[int | None], conditions: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the images (B, C, *S), and their conditions, to show in place of these, as `plan` drew."""
        if not self.size:
            return images, conditions
        shown = [
            self._one(image, at, None if conditions is None else conditions[i])
            for i, (image, at) in enumerate(zip(images, places, strict=True))
        ]
        kept = [condition for _, condition in shown if condition is not None]
        return torch.stack([image for image, _ in shown]), torch.stack(kept) if kept else None

    def _one(self, image: Tensor, at: int | None, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            if condition is not None:
                self.conditions.append(condition.clone())
            return image, condition
        if at is None:
            return image, condition
        old, self.images[at] = self.images[at], image.clone()
        if condition is None:
            return old, None
        old_condition, self.conditions[at] = self.conditions[at], condition.clone()
        return old, old_condition


@dataclass(frozen=True)
class Known:
    """Which images of a batch count in a mean, and how many do over all batches of the step."""

    mask: Tensor
    """(B,) bool."""
    count: Tensor | int
    """At least 1, so that a mean over no image is 0. A tensor stays on its device: no step waits for its value."""


class PerImage(NamedTuple):
    """A loss by image: the term is the mean over the images that are known, of all batches of the step."""

    values: Tensor
    """(B,). What stands where an image is not known does not count, but must be finite."""
    known: Known


LossValue: TypeAlias = "Tensor | PerImage | Sequence[Tensor | PerImage] | None"
"""What a side of a loss returns: a scalar; (B,), a value for each image; values with the images that count; a sequence
of these, which are added; or None."""


class Passes:
    """The passes of one step: `a` and `b` are its batches, and every pass below is run when it is first read.

    | name  | translators  | R2C-GAN      |
    | ----- | ------------ | ------------ |
    | `ab`  | ab(a)        | G(y)         |
    | `ba`  | ba(b)        | F(x)         |
    | `aba` | ba(ab(a))    | F(G(y))      |
    | `bab` | ab(ba(b))    | G(F(x))      |
    | `aa`  | ba(a)        | F(y)         |
    | `bb`  | ab(b)        | G(x)         |
    """

    def __init__(
        self,
        nets: Nets,
        a: Batch,
        b: Batch,
        pools: tuple[HistoryPool, HistoryPool],
        rng: torch.Generator,
        *,
        step: int = 0,
        batches: Sequence[tuple[Batch, Batch]] | None = None,
    ) -> None:
        """Prepare the passes of one batch of each side.

        Args:
            nets: the networks.
            a: the batch of degraded images.
            b: the batch of high-quality images.
            pools: past degraded and past restored images.
            rng: for whatever a loss draws; the pools' draws are made from it now.
            step: the number of the step, from 0.
            batches: all batches of the step, where gradients are accumulated over several; None: this one.
        """
        self.nets, self.a, self.b = nets, a, b
        self.step, self.rng = step, rng
        self._batches = [(a, b)] if batches is None else batches
        self._known: dict[tuple[str, str], Known] = {}
        self._pool_a, self._pool_b = pools
        self._places_b = self._pool_b.plan(len(a.key), rng)
        self._places_a = self._pool_a.plan(len(b.key), rng)

    def known(self, what: Literal["image", "truth", "target"], side: Literal["a", "b"]) -> Known:
        """Return which images of a side count: all, those with a known truth, or those with a known target."""
        if (what, side) not in self._known:
            every = [_mask(pair["ab".index(side)], what) for pair in self._batches]
            count = sum(len(mask) for mask in every) if what == "image" else sum(mask.sum() for mask in every)
            least = count.clamp(min=1) if isinstance(count, Tensor) else max(1, count)
            self._known[what, side] = Known(_mask(self.a if side == "a" else self.b, what), least)
        return self._known[what, side]

    def mean(self, value: LossValue) -> Tensor | None:
        """Return what a loss contributes to its mean over all batches of the step; the sum over them is the term."""
        if value is None:
            return None
        if isinstance(value, PerImage):
            # where, not a product: nothing that stands for an unknown image reaches the sum
            return torch.where(value.known.mask, value.values, 0).sum() / value.known.count
        if isinstance(value, Tensor):
            return (
                value / len(self._batches) if value.ndim == 0 else self.mean(PerImage(value, self.known("image", "a")))
            )
        return _total(self.mean(one) for one in value)

    @cached_property
    def ab(self) -> Output:
        """Poor images restored."""
        return self._run(self.nets.ab, self.a.image, self.a)

    @cached_property
    def ba(self) -> Output:
        """High-quality images degraded."""
        return self._run(self._backward, self.b.image)

    @cached_property
    def aba(self) -> Output:
        """Poor images restored and degraded again."""
        return self._run(self._backward, self.ab.image)

    @cached_property
    def bab(self) -> Output:
        """High-quality images degraded and restored again."""
        return self._run(self.nets.ab, self.ba.image)

    @cached_property
    def aa(self) -> Output:
        """Poor images through the degrading translator, which should keep them."""
        return self._run(self._backward, self.a.image)

    @cached_property
    def bb(self) -> Output:
        """High-quality images through the restoring translator, which should keep them."""
        return self._run(self.nets.ab, self.b.image, self.b)

    def translated_scores(self) -> Iterator[Sequence[Tensor]]:
        """Yield each discriminator's scores of the translated images, with gradients to the translators.

        Scores are (B, 1, *s), one tensor for each scale of the discriminator.
        """
        if self.nets.d_b is not None:
            yield _scores(self.nets.d_b, self.ab.image, self.a.image)
        if self.nets.d_a is not None:
            yield _scores(self.nets.d_a, self.ba.image, self.b.image)

    def real_and_fake_scores(self, *, fresh: bool) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """Yield each discriminator's scores of real images and of fakes, without gradient to the translators.

        Args:
            fresh: fakes are made anew by the generators as they are now (Algorithm 1 of R2C-GAN); else they are those
                of the generators' step, through the history pool.
        """
        if self.nets.d_b is not None:
            fakes, conditions = self.fresh_b if fresh else self.fake_b
            yield _scores(self.nets.d_b, self.b.image, self.a.image), _scores(self.nets.d_b, fakes, conditions)
        if self.nets.d_a is not None:
            fakes, conditions = self.fresh_a if fresh else self.fake_a
            yield _scores(self.nets.d_a, self.a.image, self.b.image), _scores(self.nets.d_a, fakes, conditions)

    @cached_property
    def fake_a(self) -> tuple[Tensor, Tensor | None]:
        """Degraded images to show `d_a`, and their conditions if it takes any, through the history pool."""
        given = self.b.image if self.nets.d_a is not None and self.nets.d_a.conditional else None
        return self._pool_a.query(wide(self.ba.image.detach()), self._places_a, given)

    @cached_property
    def fake_b(self) -> tuple[Tensor, Tensor | None]:
        """Restored images to show `d_b`, and their conditions if it takes any, through the history pool."""
        given = self.a.image if self.nets.d_b is not None and self.nets.d_b.conditional else None
        return self._pool_b.query(wide(self.ab.image.detach()), self._places_b, given)

    @cached_property
    def fresh_a(self) -> tuple[Tensor, Tensor]:
        """Degraded images made by the generators as they are when this is first read, and what they were made of."""
        with torch.no_grad():
            return self._run(self._backward, self.b.image).image, self.b.image

    @cached_property
    def fresh_b(self) -> tuple[Tensor, Tensor]:
        """Restored images made by the generators as they are when this is first read, and what they were made of."""
        with torch.no_grad():
            return self._run(self.nets.ab, self.a.image, self.a).image, self.a.image

    def start(self, name: str) -> Batch:
        """Return the batch from which the pass `name` starts."""
        return self.a if name.startswith("a") else self.b

    @property
    def _backward(self) -> Translator:
        if self.nets.ba is None:
            raise RecipeError("a term reads a pass through 'ba', but nets.one_way is true; change one of the two")
        return self.nets.ba

    def _run(self, translator: Translator, image: Tensor, start: Batch | None = None) -> Output:
        """Translate images: those of the batch `start`, or those that another pass made."""
        if not translator.generator.summarises:
            output: Output = translator(image)
            return output
        if start is None:
            raise RecipeError(
                "a term reads a pass through a generator with a summary that does not begin with an image of the data; "
                "only ab and bb do"
            )
        output = translator(image, start.summary)
        return output


class Loss:
    """A term of the objective. Override one side or both; the recipe, not the term, holds the weight.

    A term reads what it needs of the passes, and nothing else is run.
    """

    both_ways: ClassVar[bool] = False
    """True if the term has no meaning without the way back, `ba`."""
    needs_discriminator: ClassVar[bool] = False
    """True if the term needs discriminators."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What the batches must know: "target" for what heads predict, "truth" for the clean images, "pairs" for a and b of
    the same object."""
    trains: Sequence[str] = ()
    """Names of networks of `nets.extra` that the term trains, by `extra`; often an option of the part."""
    discriminator_range: tuple[float, float] | None = None
    """(floor, chance) of `discriminator`, for one discriminator: its value where real and fake are separated perfectly,
    and the least that it can be where both get the same score. None: there is no such scale."""

    def generator(self, p: Passes) -> LossValue:
        """Return what the translators minimise, or None."""
        return None

    def discriminator(self, p: Passes) -> LossValue:
        """Return what the discriminators minimise, or None."""
        return None

    def extra(self, p: Passes) -> Mapping[str, LossValue]:
        """Return what each network of `nets.extra` that is named in `trains` minimises.

        A value trains the network of its name alone, after the translators and the discriminators took their step.
        The passes are those of that step; their images need no `detach`.
        """
        return {}


def wide(tensor: Tensor) -> Tensor:
    """Return float32 of a narrower type, so that losses are computed in float32 or more."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _mask(batch: Batch, what: str) -> Tensor:
    if what == "image":
        return torch.ones(len(batch.key), dtype=torch.bool, device=batch.image.device)
    return batch.with_truth if what == "truth" else batch.with_target


def _scores(discriminator: Discriminator, image: Tensor, condition: Tensor | None) -> Sequence[Tensor]:
    """Return the scores of images, one tensor for each scale; a condition of another size is resized to theirs."""
    if not discriminator.conditional or condition is None:
        scores = discriminator(image)
    else:
        if condition.shape[2:] != image.shape[2:]:
            condition = nd.resize(condition, image.shape[2:])
        scores = discriminator(image, condition)
    return [scores] if isinstance(scores, Tensor) else scores


def _total(values: Iterable[Tensor | None]) -> Tensor | None:
    total: Tensor | None = None
    for value in values:
        if value is not None:
            total = value if total is None else total + value
    return total
