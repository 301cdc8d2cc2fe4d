"""Cubic interpolation with antialias: Pillow's, and the score that every paper on super-resolution begins with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restorekit import Domain
from restorekit.discovery import plugins

SHARED = Path(os.environ.get("RESTOREKIT_SHARED") or Path(__file__).parents[4] / "shared")
SET5 = SHARED / "data" / "set5"
NAMES = ("baby", "bird", "butterfly", "head", "woman")


def smaller(image: Tensor, scale: int) -> Tensor:
    """Return (C, H, W) after the degradation."""
    domain = Domain("good", image.shape[0], tuple(image.shape[1:]))
    part = plugins.load().parts.resolve("degradation", {"name": "bicubic", "scale": scale})(domain)
    rng = torch.Generator().manual_seed(0)
    made: Tensor = part.apply(image, part.draw(rng), rng)
    return made


def larger(image: Tensor, scale: int) -> Tensor:
    """Return (C, H, W) after the restorer."""
    domain = Domain("degraded", image.shape[0], tuple(image.shape[1:]))
    made: Tensor = (
        plugins.load()
        .parts.resolve("restorer", {"name": "bicubic", "scale": scale})(domain)
        .restore(image[None])
        .image[0]
    )
    return made


def pillow(image: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return (H, W) of float, resized by Pillow's cubic filter, which antialiases where it makes smaller."""
    resized = Image.fromarray(image.numpy(), mode=None).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(resized)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_smaller_and_larger_images_are_pillows(scale: int) -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(1, 12 * scale, 9 * scale, generator=rng) - 0.5  # far from the ends, which the part cuts at
    small = smaller(image, scale)
    assert small.shape == (1, 12, 9)
    np.testing.assert_allclose(small[0].numpy(), pillow(image[0], (12, 9)), atol=1e-4)
    np.testing.assert_allclose(larger(small, scale)[0].numpy(), pillow(small[0], (12 * scale, 9 * scale)), atol=1e-4)


def luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return Y of BT.601, 16 to 235, of (H, W, 3), as super-resolution is scored."""
    mixed: NDArray[np.float64] = 16 + image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255
    return mixed


def levels(image: Tensor) -> NDArray[np.uint8]:
    """Return (C, H, W) in [-1, 1] as (H, W, C) of 8 bits."""
    return ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def test_set5_at_a_factor_of_four_scores_28_42_decibels() -> None:
    files = [SET5 / f"{name}.png" for name in NAMES]
    if not all(file.is_file() for file in files):
        pytest.skip(f"no images of Set5 in {SET5}; RESTOREKIT_SHARED names another place")
    scores = []
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB"))
        height, width = (n // 4 * 4 for n in pixels.shape[:2])
        good = pixels[:height, :width]
        image = torch.from_numpy(good.copy()).permute(2, 0, 1) / 127.5 - 1
        small = torch.from_numpy(levels(smaller(image, 4))).permute(2, 0, 1) / 127.5 - 1  # as it is kept in a file
        error = (luma(levels(larger(small, 4))) - luma(good))[4:-4, 4:-4]
        scores.append(20 * np.log10(255) - 10 * np.log10(np.square(error).mean()))
    assert np.mean(scores) == pytest.approx(28.42, abs=0.02)
