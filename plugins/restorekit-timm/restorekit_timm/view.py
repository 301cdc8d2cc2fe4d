"""From restorekit's images to what a timm model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit_timm.models import Input

__all__ = ["MODES", "View"]

MODES = ("nearest", "bilinear", "bicubic")
"""Interpolations that timm names and torch has; another one, as lanczos, becomes bicubic."""


class View(nn.Module):
    """Values in [-1, 1] become what the model's mean and standard deviation make of them; any size becomes its own.

    One channel is repeated. Images are stretched, with a filter where they get smaller, and cut in the middle if
    `crop` is below 1: as timm's own evaluation does, whose shorter side becomes size / crop.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, known: Input, size: Sequence[int] | None = None, crop: float = 1.0) -> None:
        super().__init__()
        self.size, self.channels = None if size is None else tuple(size), known.channels
        self.crop = crop
        self.mode = known.interpolation if known.interpolation in MODES else "bicubic"
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(known.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(known.std).reshape(shape), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, channels, *size) for (B, C, *S) in [-1, 1], C being 1 or `channels`; without a size, S stays."""
        unit = (image + 1) / 2
        if unit.shape[1] == 1:
            unit = unit.expand(-1, self.channels, -1, -1)
        if self.size is not None:
            unit = self._sized(unit, self.size)
        return (unit - self.mean) / self.std

    def _sized(self, unit: Tensor, size: Sequence[int]) -> Tensor:
        whole = tuple(int(n / self.crop) for n in size)
        if unit.shape[2:] != whole:
            smooth = {} if self.mode == "nearest" else {"antialias": True, "align_corners": False}
            unit = F.interpolate(unit, whole, mode=self.mode, **smooth)
            unit = unit.clamp(0, 1)  # bicubic may overshoot; files cannot
        top, left = (round((n - m) / 2) for n, m in zip(whole, size, strict=True))
        return unit[:, :, top : top + size[0], left : left + size[1]]
