"""Windows of an image that is larger than memory allows, in any number of dimensions: exact ones, and blended ones.

Where it is known how far an output looks (`halo`), each window has so many pixels around what is kept of it, and
the result is that of the whole image (`tiled`). A network that looks at the whole image, as any with an instance norm
does, sees each window alone: its result differs. Blending hides the seams; it does not take the difference away
(`windowed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from restorekit.core import nd

__all__ = ["least_window", "starts", "tiled", "windowed"]


def starts(size: int, window: int, overlap: int) -> list[int]:
    """Return where windows begin, so that neighbours share at least `overlap` positions and the last ends at `size`."""
    if size <= window:
        return [0]
    count = -(-(size - overlap) // (window - overlap))
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


def least_window(halo: int, multiple: int) -> int:
    """Return the least side of a window of which something is left without the halo; windows start on a multiple."""
    return (2 * _ceil(halo, multiple)) + multiple


def tiled(
    apply: Callable[[Tensor], Tensor],
    image: Tensor,
    window: int,
    halo: int,
    *,
    multiple: int = 1,
    scale: int = 1,
) -> Tensor:
    """Apply a restorer to windows of (B, C, *S) and keep what the halo makes exact: (B, C', *scale*S), on the CPU.

    Args:
        apply: maps (B, C, *s) to (B, C', *scale*s) for windows, whose sides are `window` or, at the end, less.
        image: (B, C, *S), S of any size.
        window: the side of windows, a multiple of `multiple` and at least `least_window(halo, multiple)`.
        halo: pixels around a tile, per side, on which its output depends.
        multiple: windows start on one.
        scale: output size over input size.
    """
    total: Tensor | None = None
    size = image.shape[2:]
    border = _ceil(halo, multiple)
    for axes in product(*(_tiles(n, window, border, multiple) for n in size)):
        made = apply(nd.crop(image, [tile.start for tile in axes], [tile.stop - tile.start for tile in axes])).cpu()
        kept = [(tile.last - tile.first) * scale for tile in axes]
        inner = nd.crop(made, [(tile.first - tile.start) * scale for tile in axes], kept)
        total = made.new_empty(*made.shape[:2], *(n * scale for n in size)) if total is None else total
        nd.crop(total, [tile.first * scale for tile in axes], kept).copy_(inner)
    assert total is not None
    return total


class _Tile(NamedTuple):
    """A window along one axis, and what is kept of it."""

    start: int
    stop: int
    first: int
    last: int


def _tiles(size: int, window: int, border: int, multiple: int) -> list[_Tile]:
    """Return windows whose kept parts cover `size` once, with a border around each but at the ends of the image."""
    begins = [*range(0, max(0, size - window), window - 2 * border)] if size > window else [0]
    if size > window:
        begins.append(_ceil(size - window, multiple))  # as large as the others: none is padded more than the whole is
    firsts = [0, *(at + border for at in begins[1:])]
    lasts = [*firsts[1:], size]
    return [
        _Tile(at, min(size, at + window), first, last) for at, first, last in zip(begins, firsts, lasts, strict=True)
    ]


def _ceil(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


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
    if spans == list(size):
        return apply(image).cpu()
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
