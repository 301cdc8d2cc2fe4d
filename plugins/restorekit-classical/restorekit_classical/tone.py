"""Tone: matching the histogram of the good images, by a mean quantile function learnt from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from restorekit import Batch, CheckpointError, Domain, Output, Restorer

__all__ = ["histogram_match"]

LEVELS = 256
"""Quantiles that describe a histogram."""


class HistogramMatch(Restorer):
    """Maps the quantiles of each image to the mean quantiles of the good images."""

    def __init__(self) -> None:
        self.quantiles: Tensor | None = None

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:
        """Take the mean over good images of each quantile."""
        rows = [_quantiles(image) for batch in b for image in batch.image]
        self.quantiles = torch.stack(rows).mean(0)

    def state(self) -> Mapping[str, Tensor]:
        """Return the mean quantiles, (256,)."""
        return {} if self.quantiles is None else {"quantiles": self.quantiles}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the mean quantiles."""
        if set(state) != {"quantiles"} or state["quantiles"].shape != (LEVELS,):
            raise CheckpointError(
                f"restorer 'histogram_match': needs quantiles of {LEVELS} levels; got {sorted(state)}"
            )
        self.quantiles = state["quantiles"]

    def summary(self, image: Tensor) -> Tensor:
        """Return (B, 256): the quantiles of each image."""
        return torch.stack([_quantiles(one) for one in image])

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S) with each value mapped by its rank."""
        if self.quantiles is None:
            raise CheckpointError(
                "restorer 'histogram_match': must be fitted to good images first; run a recipe with it"
            )
        own = self.summary(image) if summary is None else summary
        wanted = self.quantiles.double().numpy()
        made = []
        for one, row in zip(image.detach().cpu(), own, strict=True):
            # Equal quantiles, as of a black border, map to the last of them: np.interp needs rising places.
            at, first = np.unique(row.double().numpy()[::-1], return_index=True)
            made.append(np.interp(one.double().numpy(), at, wanted[::-1][first]))
        return Output(torch.from_numpy(np.stack(made)).float().clamp(-1, 1).to(image.device))


def _quantiles(image: Tensor) -> Tensor:
    values = image.detach().cpu().float().numpy().reshape(-1)
    return torch.from_numpy(np.quantile(values, np.linspace(0, 1, LEVELS))).float()


def histogram_match(domain: Domain) -> Restorer:
    """Match the histogram of each image to the mean histogram of the good training images. It changes tone.

    Args:
        domain: The images.
    """
    return HistogramMatch()
