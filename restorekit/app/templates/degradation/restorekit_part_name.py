"""Shading: an image loses light along its last axis, as under an uneven beam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from restorekit import Degradation, Domain, RecipeError
from torch import Tensor

NAME = "part_name"
Share = Annotated[float, Field(ge=0, le=1)]


class Shading(Degradation):
    """Light, in [0, 1], times a ramp from 1 down to 1 - severity. Severity 0 is the exact identity."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        """Draw a severity, evenly between the least and the most."""
        return {NAME: self.low + (self.high - self.low) * float(torch.rand((), generator=rng, dtype=torch.float64))}

    def apply(self, image: Tensor, drawn: Mapping[str, float], rng: torch.Generator) -> Tensor:
        """Return `image` (C, *S) in [-1, 1] with the drawn severity; names of other degradations are not for this."""
        severity = drawn.get(NAME, 0.0)
        if severity == 0:
            return image
        ramp = 1 - severity * torch.linspace(0, 1, image.shape[-1], dtype=image.dtype, device=image.device)
        return ((image + 1) * ramp - 1).clamp(-1, 1)


def shading(domain: Domain, *, severity: tuple[Share, Share] = (0.0, 0.8)) -> Degradation:
    """Shading of signals, images and volumes along their last axis.

    Args:
        domain: the images that get worse.
        severity: the least and the most share of light that is lost at the far end.
    """
    low, high = severity
    if low > high:
        text = f"degradation {NAME!r}: severity is [low, high], low <= high; got {[low, high]}"
        raise RecipeError(text, option="severity")
    return Shading(low, high)
