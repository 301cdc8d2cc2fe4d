"""Overlapping, blended windows: one pass over an image that is larger than memory allows, in any number of dimensions.

A network that looks at the whole image, as any with an instance norm does, sees each window alone: its result differs
from that of the whole image. Blending hides the seams; it does not take the difference away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from restorekit.core import nd

__all__ = ["starts", "windowed"]


def starts(size: int, window: int, overlap: int) -> list[int]:
    """Return where windows begin, so that neighbours share at least `overlap` positions and the last ends at `size`."""
    if size <= window:
        return [0]
    count = -(-(size - overlap) // (window - overlap))
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


def windowed(
    apply: Callable[[Tensor], Tensor],
    image: Tensor,
    window: Sequence[int],
    overlap: Sequence[int],
    *,
    scale: int = 1,
) -> Tensor:
    """Apply a restorer to windows of (B, C, *S) and blend what it makes, (B, C', *scale*S), on the CPU.

    Args:
        apply: maps (B, C, *window) to (B, C', *scale*window); smaller images are given whole.
        image: (B, C, *S), S of any size.
        window: the window's sizes.
        overlap: positions that neighbours share at least, below the window's; the weight of a window rises and falls
            linearly over them.
        scale: output size over input size.
    """
    size = image.shape[2:]
    spans = [min(n, w) for n, w in zip(size, window, strict=True)]
    corners = [starts(n, w, o) for n, w, o in zip(size, spans, overlap, strict=True)]
    total: Tensor | None = None
    large = [n * scale for n in size]
    weights = torch.zeros(1, 1, *large)
    for corner in product(*corners):
        made = apply(nd.crop(image, corner, spans)).cpu()
        at, cut, shared = ([n * scale for n in of] for of in (corner, spans, overlap))
        weight = _weight(at, cut, large, shared)
        total = torch.zeros(*made.shape[:2], *large) if total is None else total
        nd.crop(total, at, cut).add_(made * weight)
        nd.crop(weights, at, cut).add_(weight)
    assert total is not None
    return total / weights


def _weight(corner: Sequence[int], window: Sequence[int], size: Sequence[int], overlap: Sequence[int]) -> Tensor:
    """Return (1, 1, *window): ramps over the overlap, but none at the borders of the image."""
    weight = torch.ones(1, 1, *[1] * len(size))
    for axis, (at, n, whole, shared) in enumerate(zip(corner, window, size, overlap, strict=True)):
        ramp = torch.ones(n)
        rise = (torch.arange(shared) + 0.5) / max(1, shared)
        if at > 0:
            ramp[:shared] = rise
        if at + n < whole:
            ramp[n - shared :] = torch.minimum(ramp[n - shared :], rise.flip(0))
        weight = weight * ramp.reshape(-1, *[1] * (len(size) - 1 - axis))
    return weight
