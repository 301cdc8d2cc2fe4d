"""One degradation under one name, with a severity drawn from a range: what most degradations are built on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from restorekit.core.errors import RecipeError
from restorekit.core.types import Degradation

__all__ = ["SingleDegradation"]


class SingleDegradation(Degradation):
    """One degradation under one name. Its severity is drawn uniformly from [low, high].

    Raises:
        RecipeError: if low <= high does not hold.
    """

    name: str
    clips: bool = True
    """Whether what then lies beyond -1 and 1 is cut, as a recorder does; else it is kept, as formats that exceed do."""

    def __init__(self, severity: tuple[float, float]) -> None:
        low, high = severity
        if not low <= high:
            text = f"degradation {self.name!r}: severity is [low, high], low <= high; got {[low, high]}"
            raise RecipeError(text, option="severity")
        self.low, self.high = low, high

    @property
    def names(self) -> tuple[str, ...]:
        """Its one name."""
        return (self.name,)

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        """Draw {name: severity}."""
        share = float(torch.rand((), generator=rng, dtype=torch.float64))
        return {self.name: self.low + (self.high - self.low) * share}

    def apply(self, image: Tensor, drawn: Mapping[str, float], rng: torch.Generator) -> Tensor:
        """Return `image` (C, *S) degraded with the drawn severity; other names are not for this part."""
        severity = drawn.get(self.name, 0.0)
        if severity == 0:
            return image
        worse = self.worsen(image, severity, rng)
        return worse.clamp(-1, 1) if self.clips else worse

    @abstractmethod
    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Return `image` (C, *S) degraded by a severity other than 0, not yet clipped; `image` is not changed."""
