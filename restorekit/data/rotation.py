"""Rotation of images and volumes, for augmentation."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

__all__ = ["rotate"]


def rotate(image: Tensor, degrees: float, *, nearest: bool = False) -> Tensor:
    """Rotate the last two axes of (B, C, *S), two spatial sizes or three, about the centre, counter-clockwise.

    Args:
        image: the images; real numbers.
        degrees: the angle.
        nearest: each pixel takes the value of the nearest one, and 0 from outside; else values are interpolated
            linearly, and beyond its border the image is reflected.
    """
    height, width = image.shape[-2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # In the coordinates of grid_sample both sides are 2 long, so an angle of pixels needs their ratio.
    matrix = image.new_tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
    flat = image.flatten(0, -4).reshape(-1, 1, height, width) if image.ndim == 5 else image
    grid = F.affine_grid(matrix.expand(len(flat), 2, 3), list(flat.shape), align_corners=False)
    mode, border = ("nearest", "zeros") if nearest else ("bilinear", "reflection")
    return F.grid_sample(flat, grid, mode=mode, padding_mode=border, align_corners=False).reshape(image.shape)
