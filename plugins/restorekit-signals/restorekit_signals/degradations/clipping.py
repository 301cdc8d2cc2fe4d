"""An amplifier that saturates."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Degradation, Domain, SingleDegradation
from restorekit_signals.rates import signals_only

__all__ = ["clipping"]

Share = Annotated[float, Field(ge=0, le=0.99)]


class Clipping(SingleDegradation):
    """Each lead cut to the middle of its own range."""

    name = "clipping"

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Cut half of the lost share at each end."""
        low, high = image.amin(1, keepdim=True), image.amax(1, keepdim=True)
        cut = severity * (high - low) / 2
        return image.clamp(low + cut, high - cut)


def clipping(domain: Domain, *, severity: tuple[Share, Share] = (0.0, 0.5)) -> Degradation:
    """Values beyond what the amplifier can give are cut, in each lead by its own range in this window.

    Args:
        domain: What the signals look like.
        severity: The share of the range of values that is cut, half of it at each end.
    """
    signals_only(domain, "degradation 'clipping'")
    return Clipping(severity)
