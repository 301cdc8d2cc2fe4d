"""Burned-in text of an image: where it is, so that it can be left as it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "text_boxes", "with_kept"]

Box = tuple[int, int, int, int]
"""Top, left, bottom and right of a place; the last two are just beyond it."""
EXTREME = 0.1
"""Characters are at the end of the image's range, within this share of it."""
CONTRAST = 0.15
"""Share of the range by which they differ from what is around them."""
LOWEST = 5
"""Pixels of height that a character has, at least."""
HIGHEST = 1 / 12
"""Share of the longer side that its height is, at most."""
MARGIN = 3
"""Pixels that are kept around text: its edges may be blurred."""
MOST = 1500
"""Candidates beyond which an image is taken to be a texture without text."""


def text_boxes(image: NDArray[np.float32]) -> list[Box]:
    """Return where an image (C, H, W) in [-1, 1] has lines of text, white or black. Other dimensions have none.

    Characters are sought as thin connected shapes at the end of the range that differ from what is around them. Two or
    more of like height, side by side on one line, are text. So a single character is not found, nor joined handwriting,
    gray text, text on what is nearly as bright or dark, and characters lower than 5 pixels or higher than a twelfth of
    the image. A row of other small bright things, as the marks of a ruler, is taken for text.
    """
    if image.ndim != 3:
        return []
    gray = image.mean(axis=0)
    low, high = float(gray.min()), float(gray.max())
    if high <= low:
        return []
    unit = (gray - low) / (high - low)
    return [box for shade in (unit, 1 - unit) for box in _bright_text(shade)]


def _bright_text(unit: NDArray[np.float32]) -> list[Box]:
    """Return the lines of bright characters of (H, W) in [0, 1]."""
    from scipy import ndimage  # slow to import, and seldom needed

    bright = unit >= 1 - EXTREME
    if not bright.any():
        return []
    highest = max(2 * LOWEST, int(max(unit.shape) * HIGHEST))
    side = max(9, highest // 4) | 1  # wider than the strokes of the largest characters
    thin = unit - ndimage.grey_opening(unit, size=(side, side)) >= CONTRAST
    labels, count = ndimage.label(thin, np.ones((3, 3)))  # with the gray pixels of their edges
    ends = np.bincount(labels[bright], minlength=count + 1) > 0
    places = [place for at, place in enumerate(ndimage.find_objects(labels), start=1) if ends[at]]
    found = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in places]
    boxes = np.array([box for box in found if LOWEST <= box[2] - box[0] <= highest], int).reshape(-1, 4)
    if len(boxes) > MOST:
        return []
    return [_around(boxes[line], unit.shape) for line in _lines(boxes)]


def _lines(boxes: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Return the indexes of boxes (N, 4) that stand side by side on one line, for each line of two or more."""
    from scipy.sparse.csgraph import connected_components

    top, left, bottom, right = boxes.T
    height = bottom - top
    taller = np.maximum(height[:, None], height)
    shared = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    gap = np.maximum(left[:, None], left) - np.minimum(right[:, None], right)
    near = (shared >= 0.6 * taller) & (gap <= 1.2 * taller)
    np.fill_diagonal(near, val=False)
    count, line = connected_components(near, directed=False)
    groups = [np.flatnonzero(line == at) for at in range(count)]
    return [group for group in groups if len(group) > 1]


def _around(boxes: NDArray[np.int64], size: Sequence[int]) -> Box:
    """Return the place of a line, with room at its ends for points and other small marks."""
    top, left = boxes[:, :2].min(axis=0)
    bottom, right = boxes[:, 2:].max(axis=0)
    room = max(MARGIN, int(bottom - top) // 2)
    ends = max(0, top - MARGIN), max(0, left - room), min(size[0], bottom + MARGIN), min(size[1], right + room)
    return int(ends[0]), int(ends[1]), int(ends[2]), int(ends[3])


def with_kept(
    made: NDArray[np.float32], before: NDArray[np.float32], boxes: Sequence[Box], size: Sequence[int]
) -> NDArray[np.float32]:
    """Return what was made of an image, with places as they were before.

    Args:
        made: (C, H, W).
        before: the image at the size of `made`.
        boxes: in pixels of the image at its own size.
        size: that size, H and W.
    """
    kept = made.copy()
    scale = made.shape[1] // size[0]
    for top, left, bottom, right in boxes:
        place = np.s_[:, top * scale : bottom * scale, left * scale : right * scale]
        kept[place] = before[place]
    return kept
