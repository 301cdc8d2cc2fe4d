"""A degraded domain with known truth, made from the images of any other dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from restorekit import Dataset, Degradation, Domain, Factory, Sample, WrappedDataset, conformance_case, hookimpl, nd

__all__ = ["degraded"]


class Degraded(WrappedDataset):
    """Images of `inner` after a degradation, with the good image as their truth."""

    def __init__(self, inner: Dataset, degradation: Factory, root: Path | None, split: str, fresh: bool) -> None:
        super().__init__(inner)
        self.split, self.fresh = split, fresh
        self.has_truth = True
        self.draws += 1
        self.degradation: Degradation | None = None
        first = self.first()
        if first is not None:
            spacing = None if first.intensity is None else first.intensity.spacing
            size = tuple(first.image.shape[1:])
            domain = Domain("degraded", first.image.shape[0], size, inner.task, spacing=spacing)
            made: Degradation = degradation(domain)
            self.degradation = made.for_split(root, split)

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index` degraded; `truth` is the image of the inner dataset, or the truth of that image."""
        sample = self.inner.load(index, rng)
        if self.degradation is None:
            return sample
        chance = rng if self.fresh else self.fixed_rng(self.split, index)
        drawn = self.degradation.draw(chance)
        scale = self.degradation.scale
        image, truth, mask = (_cut(one, scale) for one in (sample.image, sample.truth, sample.mask))
        target = None if sample.target is None else _cut(sample.target[None], scale)
        assert image is not None
        return Sample(
            image=self.degradation.apply(image.clone(), drawn, chance),  # one in place must not change the truth
            truth=image if truth is None else truth,
            mask=mask,
            target=None if target is None else target[0],
            intensity=sample.intensity,
            drawn={**sample.drawn, **drawn},
            reduced=sample.reduced,
        )


@conformance_case(
    options={
        "dataset": {"name": "phantom", "side": "a", "count": 3, "val": 2, "test": 1, "size": [16, 20]},
        "degradation": "blend",
    }
)
def degraded(root: Path | None, split: str, *, dataset: Factory, degradation: Factory, fresh: bool = False) -> Dataset:
    """The images of `dataset`, degraded by `degradation`; their truth is known.

    Args:
        root: Where the inner dataset's relative paths start.
        split: "train", "val" or "test".
        dataset: The good images.
        degradation: How they get worse.
        fresh: Draw anew in every epoch of training. In val and test the degradation of an image is fixed by its key,
            and without `fresh` in training too.
    """
    return Degraded(dataset(root, split), degradation, root, split, fresh)


def _cut(image: Tensor | None, scale: int) -> Tensor | None:
    """Return (C, *S) without the last rows and columns beyond a multiple of `scale`."""
    if image is None or scale == 1:
        return image
    return nd.crop(image, [0] * (image.ndim - 1), [n // scale * scale for n in image.shape[1:]])


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the degraded dataset."""
    add("dataset", "degraded", degraded)
