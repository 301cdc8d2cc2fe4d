"""The dataset `film_pairs`: good films degraded by a chain, with the good film, or its tone truth, as the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Dataset, Domain, Factory, RecipeError, Sample, WrappedDataset, conformance_case, nd
from restorekit_film import effects
from restorekit_film.chain import CURVES, SEVEREST, TONE, FilmChain, film
from restorekit_film.variety import with_lines

__all__ = ["film_pairs"]

Share = Annotated[float, Field(ge=0, le=1)]
Truth = Literal["clean", "toned", "curves"]
KEPT = {"clean": (), "toned": TONE, "curves": CURVES}
"""The steps of the chain that a truth has."""
VARIED = FilmChain({name: SEVEREST[name] for name in CURVES}, steps=(1, 2), untouched=0)
"""What makes tones of good films unusual. Without scatter: haze is never a feature of a good film."""


class FilmPairs(WrappedDataset):
    """Films of `inner` after a chain; the truth is the film itself, or what the tone changes alone make of it."""

    def __init__(
        self,
        inner: Dataset,
        chain: Callable[[Domain], Any],
        truth: Truth,
        split: str,
        fresh: bool,
        crop: int | None,
        lines: float,
        tones: float,
    ) -> None:
        super().__init__(inner)
        self.truth, self.split, self.fresh, self.crop = truth, split, fresh, crop
        self.lines, self.tones = lines, tones
        self.has_truth = True
        self.draws += 1
        self.chain = self._made(chain)

    def _made(self, chain: Callable[[Domain], Any]) -> FilmChain | None:
        """Return the chain for images as the first that can be read; None where there is none."""
        first = self.first()
        if first is None:
            return None
        made = chain(Domain("film_pairs", first.image.shape[0], tuple(first.image.shape[1:])))
        if not isinstance(made, FilmChain):
            raise RecipeError(
                f"dataset 'film_pairs': degradation must be `film`, which has a tone truth; got "
                f"{type(made).__name__}; for others take the dataset `degraded`"
            )
        return made

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return film `index`, or a part of it, degraded; `truth` is the film, clean or with tone changes."""
        sample = self.inner.load(index, rng)
        if self.chain is None:
            return sample
        chance = rng if self.fresh else self.fixed_rng(self.split, index)
        clean, target, mask = sample.image, sample.target, sample.mask
        if self.crop is not None:
            start, size = _square(clean, self.crop, chance)
            clean = nd.crop(clean, start, size)
            target = None if target is None else nd.crop(target[None], start, size)[0]
            mask = None if mask is None else nd.crop(mask, start, size)
        clean = self._varied(clean, chance)
        drawn = self.chain.draw(chance)
        worse, truth = self.chain.pair(clean, drawn, chance, KEPT[self.truth])
        return Sample(
            image=worse.contiguous(),
            truth=truth.contiguous(),
            mask=mask,
            target=target,
            intensity=sample.intensity,
            drawn={**sample.drawn, **drawn},
            reduced=sample.reduced,
        )

    def _varied(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        """Return a good film that the training set might have had as well."""
        if self.tones and effects.uniform(rng) < self.tones:
            clean = VARIED.apply(clean, VARIED.draw(rng), rng)
        if self.lines and effects.uniform(rng) < self.lines:
            clean = with_lines(clean, rng)
        return clean


@conformance_case(
    options={"dataset": {"name": "phantom", "side": "b", "count": 3, "val": 2, "test": 1, "size": [32, 40]}}
)
def film_pairs(
    root: Path | None,
    split: str,
    *,
    dataset: Factory,
    degradation: Factory = film,
    truth: Truth = "clean",
    fresh: bool = False,
    crop: Annotated[int, Field(ge=16, le=65536)] | None = None,
    lines: Share = 0.0,
    tones: Share = 0.0,
) -> Dataset:
    """Films of `dataset` degraded by the chain `film`, with their truth.

    A network that learns the truth "toned" need not guess tone: it learns noise, blur, lines and compression alone.

    Args:
        root: Where the inner dataset's relative paths start.
        split: "train", "val" or "test".
        dataset: The good films.
        degradation: The chain, `film` with its options.
        truth: "clean": the film. "toned": the film after the chain's tone changes alone: exposure, contrast, clipping
            and scatter. "curves": the same without scatter, which is then to be removed.
        fresh: Draw anew in every epoch of training. In val and test what happens to a film is fixed by its key, and
            without `fresh` in training too.
        crop: In the training split, take a square of so many pixels, at random, before it is degraded: where training
            cuts windows, nothing then degrades what it does not use. Scatter and the regions of varying noise are those
            of the square, and so is the summary of a generator that has one. Null: whole films.
        lines: Share of the training films into which one to five thin lines are inserted before they are degraded, as
            of catheters, wires and fractures, so that a network does not take them for noise.
        tones: Share of the training films whose exposure, contrast and clipping are changed before they are degraded,
            truth and all, so that a network learns that good films may have unusual tones.
    """
    inner = dataset(root, split)
    if split != "train":
        crop, lines, tones = None, 0.0, 0.0
    return FilmPairs(inner, degradation, truth, split, fresh, crop, lines, tones)


def _square(image: Tensor, side: int, rng: torch.Generator) -> tuple[list[int], list[int]]:
    """Return the start and the size of a square of `side` pixels, or of what there is of it, drawn anywhere."""
    size = [min(side, n) for n in image.shape[1:]]
    room = [have - want for have, want in zip(image.shape[1:], size, strict=True)]
    return [int(torch.randint(n + 1, (), generator=rng)) for n in room], size
