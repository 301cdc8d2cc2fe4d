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

    The first `size` images are stored and returned; each later one is swapped with a random stored one with probability
    1/2. `size` 0 returns every image. An image is stored with its condition, if any.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []
        self.conditions: list[Tensor] = []
        """A condition for each image, where the discriminator takes one."""

    def plan(self, count: int, rng: torch.Generator) -> list[int | None]:
        """Draw, for each of the next `count` images, the place it is swapped with once the pool is full; None: none."""
        if not self.size:
            return [None] * count
        # not in `query`, so that no step waits for random numbers
        swapped = (torch.rand(count, generator=rng) >= 0.5).tolist()
        places = torch.randint(self.size, (count,), generator=rng).tolist()
        return [at if swap else None for swap, at in zip(swapped, places, strict=True)]

    def query(
        self, images: Tensor, places: Sequence[int | None], conditions: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the images (B, C, *S), and their conditions, to show in place of these, as `plan` drew."""
        if not self.size:
            return images, conditions
        shown = self._swap(images, places, self.images)
        return shown, None if conditions is None else self._swap(conditions, places, self.conditions)

    def _swap(self, images: Tensor, places: Sequence[int | None], stored: list[Tensor]) -> Tensor:
        shown = []
        for image, at in zip(images, places, strict=True):
            full = len(stored) == self.size
            shown.append(stored[at] if full and at is not None else image)
            if not full:
                stored.append(image.clone())
            elif at is not None:
                stored[at] = image.clone()
        return torch.stack(shown)


@dataclass(frozen=True)
class Known:
    """Which images of a batch count in a mean, and how many do over all batches of the step."""

    mask: Tensor
    """(B,) bool."""
    count: Tensor | int
    """At least 1, so that a mean over no image is 0. A tensor, so that no step waits for a value of the device."""


class PerImage(NamedTuple):
    """A loss by image: the term is the mean over the images that are known, of all batches of the step."""

    values: Tensor
    """(B,). Values of images that are not known do not count, but must be finite."""
    known: Known


LossValue: TypeAlias = "Tensor | PerImage | Sequence[Tensor | PerImage] | None"
"""The value of a side of a loss: a scalar, (B,), values with the images that count, several of these, or None."""


class Passes:
    """The passes of one step from its batches `a` and `b`; each is run when it is first read.

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
            b: the batch of good images.
            pools: past degraded and past restored images.
            rng: for the random numbers of losses; those of the pools are drawn now.
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
            count = sum(len(mask) if what == "image" else mask.sum() for mask in every)
            least = count.clamp(min=1) if isinstance(count, Tensor) else max(1, count)
            self._known[what, side] = Known(_mask(self.start(side), what), least)
        return self._known[what, side]

    def mean(self, value: LossValue) -> Tensor | None:
        """Return the share of a value in its mean over all batches of the step; the sum over them is the term.

        Raises:
            RecipeError: if a tensor is neither a scalar nor a value for each image, or there is something else.
        """
        if value is None:
            return None
        if isinstance(value, PerImage):
            if value.values.ndim and value.values.shape != value.known.mask.shape:  # else it would be broadcast
                raise RecipeError(
                    f"a loss must return a scalar or a value for each of {len(value.known.mask)} images; got the shape "
                    f"{tuple(value.values.shape)}; take the mean of each image"
                )
            # where, not a product: no value of an unknown image reaches the sum, not even NaN
            return torch.where(value.known.mask, value.values, 0).sum() / value.known.count
        if isinstance(value, Tensor):
            every = PerImage(value, self.known("image", "a"))
            return self.mean(every) if value.ndim else value / len(self._batches)
        if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
            raise RecipeError(f"a loss must return a tensor, several or None; got a {type(value).__name__}")
        means = [mean for one in value if (mean := self.mean(one)) is not None]
        return sum(means[1:], means[0]) if means else None

    @cached_property
    def ab(self) -> Output:
        """Degraded images restored."""
        return self._run(self.nets.ab, self.a.image, self.a)

    @cached_property
    def ba(self) -> Output:
        """Good images degraded."""
        return self._run(self._backward, self.b.image)

    @cached_property
    def aba(self) -> Output:
        """Degraded images restored and degraded again."""
        return self._run(self._backward, self.ab.image)

    @cached_property
    def bab(self) -> Output:
        """Good images degraded and restored again."""
        return self._run(self.nets.ab, self.ba.image)

    @cached_property
    def aa(self) -> Output:
        """Degraded images through the degrading translator, which should keep them."""
        return self._run(self._backward, self.a.image)

    @cached_property
    def bb(self) -> Output:
        """Good images through the restoring translator, which should keep them."""
        return self._run(self.nets.ab, self.b.image, self.b)

    def translated_scores(self) -> Iterator[Sequence[Tensor]]:
        """Yield each discriminator's scores of translated images, with gradients: (B, 1, *s) for each of its scales."""
        if self.nets.d_b is not None:
            yield _scores(self.nets.d_b, self.ab.image, self.a.image)
        if self.nets.d_a is not None:
            yield _scores(self.nets.d_a, self.ba.image, self.b.image)

    def real_and_fake_scores(self, *, fresh: bool) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """Yield each discriminator's scores of real images and of fakes, without gradient to the translators.

        Args:
            fresh: take `fresh_a` and `fresh_b` (Algorithm 1 of R2C-GAN) in place of `fake_a` and `fake_b`.
        """
        if self.nets.d_b is not None:
            fakes, conditions = self.fresh_b if fresh else self.fake_b
            yield _scores(self.nets.d_b, self.b.image, self.a.image), _scores(self.nets.d_b, fakes, conditions)
        if self.nets.d_a is not None:
            fakes, conditions = self.fresh_a if fresh else self.fake_a
            yield _scores(self.nets.d_a, self.a.image, self.b.image), _scores(self.nets.d_a, fakes, conditions)

    @cached_property
    def fake_a(self) -> tuple[Tensor, Tensor | None]:
        """Degraded images for `d_a`, from the history pool, and their conditions if it takes any."""
        given = self.b.image if self.nets.d_a is not None and self.nets.d_a.conditional else None
        return self._pool_a.query(wide(self.ba.image.detach()), self._places_a, given)

    @cached_property
    def fake_b(self) -> tuple[Tensor, Tensor | None]:
        """Restored images for `d_b`, from the history pool, and their conditions if it takes any."""
        given = self.a.image if self.nets.d_b is not None and self.nets.d_b.conditional else None
        return self._pool_b.query(wide(self.ab.image.detach()), self._places_b, given)

    @cached_property
    def fresh_a(self) -> tuple[Tensor, Tensor]:
        """Degraded images made by the generators as they are at the first read, and their sources."""
        with torch.no_grad():
            return self._run(self._backward, self.b.image).image, self.b.image

    @cached_property
    def fresh_b(self) -> tuple[Tensor, Tensor]:
        """Restored images made by the generators as they are at the first read, and their sources."""
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
        """Translate images: those of the batch `start`, or those of another pass."""
        summarises = translator.generator.summarises
        if summarises and start is None:
            raise RecipeError("a term reads a pass that a generator with a summary does not make; only ab and bb")
        output: Output = translator(image, start.summary) if start is not None and summarises else translator(image)
        return output


class Loss:
    """A term of the objective, without its weight. Override one side or both; only the passes that it reads are run."""

    both_ways: ClassVar[bool] = False
    """True if the term needs the translator `ba`."""
    needs_discriminator: ClassVar[bool] = False
    """True if the term needs discriminators."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What batches must have: "target" of heads, "truth", the clean images, "pairs", a and b of the same object."""
    trains: Sequence[str] = ()
    """Names of networks of `nets.extra` that the term trains, by `extra`; often an option of the part."""
    discriminator_range: tuple[float, float] | None = None
    """(least, chance) of `discriminator`, for one discriminator: its value where real and fake are separated perfectly,
    and its least value where both get the same score. None: there is no such scale."""

    def generator(self, p: Passes) -> LossValue:
        """Return what the translators minimise, or None."""
        return None

    def discriminator(self, p: Passes) -> LossValue:
        """Return what the discriminators minimise, or None."""
        return None

    def extra(self, p: Passes) -> Mapping[str, LossValue]:
        """Return, by name, what each network of `nets.extra` in `trains` minimises; a value trains that network alone.

        They are trained after translators and discriminators, from the same passes, whose images need no `detach`.
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
    given = () if condition is None or not discriminator.conditional else (nd.resize(condition, image.shape[2:]),)
    scores = discriminator(image, *given)
    return [scores] if isinstance(scores, Tensor) else scores
