"""The scale of training: how far training resampled its images, and what that means for an image.

A network knows structures at the sampling of its training images. An image that is sampled much finer shows the same
structures many times larger, and what the network makes of it was never scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from restorekit.core import nd

__all__ = ["LIMIT", "TrainedScale", "reduced", "with_change"]

LIMIT = 4
"""How many times larger than the training images an image may be; above, its result is unreliable."""


@dataclass(frozen=True)
class TrainedScale:
    """How large whole training images were to the networks."""

    seen: tuple[int, ...]
    """The size at which the networks saw images: `data.size`."""
    factor: float | None = None
    """Median factor by which training reduced its images: 4 if 1024 became 256. None: not known."""
    size: tuple[float, ...] | None = None
    """Median size of whole training images after they were resampled and before they were cut. None: they were windows
    of larger images, whose size is not known."""

    @classmethod
    def of(cls, state: Mapping[str, Any], size: Sequence[int]) -> TrainedScale:
        """Return the scale from the state of a checkpoint; without it, `data.size` alone is known: `size`."""
        known = state.get("scale")
        if known is None:
            return cls(tuple(size), size=tuple(map(float, size)))
        whole = known["size"]
        return cls(tuple(size), float(known["factor"]), None if whole is None else tuple(map(float, whole)))

    def ratio(self, size: Sequence[int]) -> float:
        """Return how many times larger an image of `size` is than the training images were; below 1: smaller."""
        if self.size is None:
            return self.factor or 1.0
        return max(n / known for n, known in zip(size, self.size, strict=True))

    def too_large(self, size: Sequence[int]) -> bool:
        """True if an image of `size` is so much larger than the training images that its result is unreliable."""
        return self.ratio(size) > LIMIT

    def warning(self, size: Sequence[int]) -> str:
        """Return a warning about an image of `size`; empty if it is near the training images."""
        ratio = self.ratio(size)
        if self.too_large(size):
            return f"{_count(ratio)}x larger than the training images: unreliable ({self})"
        whole = self.size or self.seen
        smaller = max(min(known, seen) / n for n, known, seen in zip(size, whole, self.seen, strict=True))
        if smaller > LIMIT:
            return f"{_count(smaller)}x smaller than the training images: unreliable ({self})"
        return ""

    def fitted(self, size: Sequence[int]) -> list[int]:
        """Return the size of an image of `size` at the scale of training, its aspect kept."""
        ratio = self.ratio(size)
        return [max(1, round(n / ratio)) for n in size]

    def __str__(self) -> str:
        seen = "x".join(map(str, self.seen))
        if self.factor is None:
            return f"trained at {seen}; native size unknown"
        if math.isclose(self.factor, 1, rel_tol=0.01):
            return f"trained at {seen}, not resampled"
        how = f"reduced {_count(self.factor)}x" if self.factor > 1 else f"enlarged {_count(1 / self.factor)}x"
        return f"trained at {seen}, {how}"


def _count(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def reduced(image: Tensor, size: Sequence[int], *, antialias: bool) -> Tensor:
    """Return (C, *S) resized to `size` as training resizes."""
    return nd.resize(image[None], size, antialias=antialias)[0]


def with_change(image: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return `image` with the change that restoring made to a resized copy of it: the details of `image` stay.

    Args:
        image: (C, *S) in [-1, 1], at its own size.
        before: the resized copy (C, *s).
        after: the same, restored.
    """
    change = nd.resize((after - before)[None], image.shape[1:])[0]
    return (image + change).clamp(-1, 1)
