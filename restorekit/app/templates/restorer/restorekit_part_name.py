"""A gamma curve for each image, which brings its mean gray to that of the good training images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import torch
from pydantic import Field
from restorekit import Batch, CheckpointError, Domain, Output, Restorer
from torch import Tensor

NAME = "part_name"
DARK = 0.001
"""Means below it, and above 1 minus it, count as that: no curve moves black or white."""


class Gamma(Restorer):
    """Maps gray g in [0, 1] to g**gamma, where gamma maps the image's mean to the mean of the good images."""

    halo = 0
    """A value depends on the value at its place alone, and on the summary of the whole image."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.target: Tensor | None = None

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:
        """Learn the mean gray of the good images `b`."""
        self.target = torch.cat([self.summary(batch.image) for batch in b]).mean(0)

    def state(self) -> Mapping[str, Tensor]:
        """Return what was learnt, (1,); a run saves it like weights."""
        return {} if self.target is None else {"target": self.target}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what was learnt."""
        if set(state) != {"target"} or state["target"].shape != (1,):
            raise CheckpointError(f"restorer {NAME!r}: needs a target of one number; got {sorted(state)}")
        self.target = state["target"]

    def summary(self, image: Tensor) -> Tensor:
        """Return (B, 1), the mean gray of whole images (B, C, *S): tiles of an image share its curve."""
        return ((image.float() + 1) / 2).flatten(1).mean(1, keepdim=True).clamp(DARK, 1 - DARK)

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S) in [-1, 1], each through its curve.

        Raises:
            CheckpointError: if nothing was learnt.
        """
        if self.target is None:
            raise CheckpointError(f"restorer {NAME!r}: must be fitted to good images first; run a recipe with it")
        mean = self.summary(image) if summary is None else summary
        gamma = (self.target.to(mean.device).log() / mean.log()) ** self.strength
        gray = ((image.float() + 1) / 2).clamp(0, 1)
        return Output((2 * gray ** gamma.reshape(-1, *[1] * (image.ndim - 1)) - 1).clamp(-1, 1))


def gamma(domain: Domain, *, strength: Annotated[float, Field(ge=0, le=1)] = 1.0) -> Restorer:
    """A gamma curve, for signals, images and volumes, from each image's mean gray to that of the good images.

    Args:
        domain: the images.
        strength: 1 goes all the way, 0 leaves images as they are.
    """
    return Gamma(strength)
