"""What good films may have that few films of a training set have: thin lines, and unusual tones.

Each function takes an image (C, H, W) in [-1, 1] and a generator of random numbers, and returns a new image.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from restorekit_film import effects

__all__ = ["with_lines"]

LINES = (1, 5)
LENGTHS = (30.0, 200.0)
WIDTHS = (1.0, 3.0)
CONTRASTS = (2 * 3 / 255, 2 * 40 / 255)
"""From 3 to 40 gray levels of 255, drawn evenly by their logarithm."""
STEP = 0.5
"""Pixels from one point of a line to the next."""


def with_lines(image: Tensor, rng: Generator) -> Tensor:
    """Insert one to five thin lines, straight or slightly bent: as of catheters, wires, fissures and fractures.

    They are 30 to 200 pixels long and one to three wide; three of four are brighter than the film. A third runs along
    rows or columns.
    """
    made = image.clone()
    for _ in range(int(torch.randint(LINES[0], LINES[1] + 1, (), generator=rng))):
        low, high = map(math.log, CONTRASTS)
        contrast = math.exp(low + (high - low) * effects.uniform(rng))
        made += (contrast if effects.uniform(rng) < 0.75 else -contrast) * _line(image.shape[1:], rng)
    return made.clamp_(-1, 1)


def _line(size: torch.Size, rng: Generator) -> Tensor:
    """Return (H, W): how much of each pixel a line covers, from 0 to 1."""
    points = _points(size, rng)
    width = WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * effects.uniform(rng) ** 2  # thin ones more often
    reach = math.ceil(width / 2 + 0.5)
    side = torch.arange(-reach, reach + 1)
    around = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).view(-1, 2)
    pixels = points.round().long()[:, None] + around
    covered = (width / 2 + 0.5 - (pixels - points[:, None]).norm(dim=-1)).clamp(0, 1)
    inside = ((pixels >= 0) & (pixels < torch.tensor(size))).all(-1)
    flat = (pixels[..., 0] * size[1] + pixels[..., 1])[inside]
    made = torch.zeros(size[0] * size[1])
    return made.scatter_reduce_(0, flat, covered[inside], "amax").view(size)


def _points(size: torch.Size, rng: Generator) -> Tensor:
    """Return (N, 2): the points of a parabola, or of a straight line along an axis, by row and column."""
    middle = torch.tensor([n * effects.uniform(rng) for n in size])
    length = LENGTHS[0] + (LENGTHS[1] - LENGTHS[0]) * effects.uniform(rng)
    along = torch.arange(-length / 2, length / 2, STEP)
    if effects.uniform(rng) < 1 / 3:
        middle, bend, angle = middle.round(), 0.0, 0.0 if effects.uniform(rng) < 0.5 else math.pi / 2
    else:
        bend, angle = 0.004 * (2 * effects.uniform(rng) - 1), math.pi * effects.uniform(rng)
    across = bend * along.square()
    sine, cosine = math.sin(angle), math.cos(angle)
    return middle + torch.stack([along * sine + across * cosine, along * cosine - across * sine], -1)
