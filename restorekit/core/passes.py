"""One training step's vocabulary: forward passes by name, run when a loss term first reads them, once a step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from restorekit.core.errors import RecipeError
from restorekit.core.types import Batch, Discriminator, Nets, Output, Translator

__all__ = ["PASSES", "HistoryPool", "Loss", "Passes"]

PASSES = ("ab", "ba", "aba", "bab", "aa", "bb")
"""Names of the forward passes. Each begins with the domain whose images, and targets, it starts from."""


class HistoryPool:
    """Past fakes shown to a discriminator again (Shrivastava et al., arXiv:1612.07828, as used by CycleGAN).

    Until `size` images are stored, an image is stored and returned as it is; then, with probability 1/2, it is swapped
    with a random stored one. `size` 0 returns every image as it is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return the images (B, C, *S) to show in place of `images`."""
        return torch.stack([self._one(image, rng) for image in images]) if self.size else images

    def _one(self, image: Tensor, rng: torch.Generator) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if torch.rand((), generator=rng) < 0.5:
            return image
        at = int(torch.randint(self.size, (), generator=rng))
        old, self.images[at] = self.images[at], image.clone()
        return old


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
        self, nets: Nets, a: Batch, b: Batch, pools: tuple[HistoryPool, HistoryPool], rng: torch.Generator
    ) -> None:
        self.nets, self.a, self.b = nets, a, b
        self._pool_a, self._pool_b = pools
        self._rng = rng

    @cached_property
    def ab(self) -> Output:
        """Poor images restored."""
        return self._run(self.nets.ab, self.a.image)

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
        return self._run(self.nets.ab, self.b.image)

    @cached_property
    def fake_a(self) -> Tensor:
        """Degraded images to show `d_a`, through the history pool, without gradient."""
        return self._pool_a.query(self.ba.image.detach().float(), self._rng)

    @cached_property
    def fake_b(self) -> Tensor:
        """Restored images to show `d_b`, through the history pool, without gradient."""
        return self._pool_b.query(self.ab.image.detach().float(), self._rng)

    @cached_property
    def fresh_a(self) -> Tensor:
        """Degraded images made anew by the generators as they are when this is first read (Algorithm 1)."""
        with torch.no_grad():
            return self._run(self._backward, self.b.image).image

    @cached_property
    def fresh_b(self) -> Tensor:
        """Restored images made anew by the generators as they are when this is first read (Algorithm 1)."""
        with torch.no_grad():
            return self._run(self.nets.ab, self.a.image).image

    def judged(self) -> Iterator[tuple[Discriminator, Tensor]]:
        """Yield each discriminator with the translated image that it should take for real."""
        if self.nets.d_b is not None:
            yield self.nets.d_b, self.ab.image
        if self.nets.d_a is not None:
            yield self.nets.d_a, self.ba.image

    def shown(self, *, fresh: bool) -> Iterator[tuple[Discriminator, Tensor, Tensor]]:
        """Yield each discriminator with real images and fakes, the latter from the pool or made anew."""
        if self.nets.d_b is not None:
            yield self.nets.d_b, self.b.image, self.fresh_b if fresh else self.fake_b
        if self.nets.d_a is not None:
            yield self.nets.d_a, self.a.image, self.fresh_a if fresh else self.fake_a

    def start(self, name: str) -> Batch:
        """Return the batch from which the pass `name` starts."""
        return self.a if name.startswith("a") else self.b

    @property
    def _backward(self) -> Translator:
        if self.nets.ba is None:
            raise RecipeError("a term reads a pass through 'ba', but nets.one_way is true; mend one of the two")
        return self.nets.ba

    def _run(self, translator: Translator, image: Tensor) -> Output:
        output: Output = translator(image)
        return output


class Loss:
    """A term of the objective. Override one side or both; the recipe, not the term, holds the weight.

    A term reads what it needs of the passes, and nothing else is run.
    """

    both_ways: ClassVar[bool] = False
    """True if the term has no meaning without the way back, `ba`."""
    judges: ClassVar[bool] = False
    """True if the term needs discriminators."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What the batches must know: "target" for classes, "pairs" for a and b of the same object."""
    discriminator_range: tuple[float, float] | None = None
    """(floor, chance) of `discriminator`, for one discriminator: its value where real and fake are wholly told apart,
    and the least that it can be where both get the same score. None: there is no such scale."""

    def generator(self, p: Passes) -> Tensor | None:
        """Return the scalar that the translators descend, or None."""
        return None

    def discriminator(self, p: Passes) -> Tensor | None:
        """Return the scalar that the discriminators descend, or None."""
        return None
