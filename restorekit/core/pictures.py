"""Pictures of images, signals and volumes in a labelled grid, for the eye: never for measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restorekit.core.images import write_image

__all__ = ["draw_grid", "draw_picture"]


def draw_grid(
    path: Path, images: Mapping[str, Tensor], *, title: str, captions: Sequence[str] = (), pixels: int = 256
) -> None:
    """Write a grid: a row an image, a column each of poor, restored, ...

    Args:
        path: a PNG file; written atomically.
        images: by column name, (B, C, *S) in [-1, 1]. Volumes show their middle slice, signals their curve.
        title: stands above the columns.
        captions: a text under each row.
        pixels: the longer side of a picture, about: small images are enlarged by a whole factor, large ones reduced.
    """
    columns = {name: [_picture(image, pixels) for image in batch] for name, batch in images.items()}
    write_image(path, _tensor(_page(columns, title, captions)))


def draw_picture(path: Path, image: Tensor, *, pixels: int = 256) -> None:
    """Write one image (C, *S) in [-1, 1] as a PNG file, shown as in a grid; written atomically."""
    write_image(path, _tensor(_picture(image, pixels)))


def _picture(image: Tensor, pixels: int) -> Image.Image:
    """Return (C, *S) in [-1, 1] as an RGB picture whose longer side is about `pixels`."""
    values = image.detach().float().cpu().nan_to_num(nan=-1.0).clamp(-1, 1)
    if values.ndim == 2:
        return _curves(values, pixels)
    if values.ndim == 4:
        values = values[:, values.shape[1] // 2]
    if values.shape[0] != 3:
        values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
    picture = Image.fromarray(_bytes(values))
    longer = max(picture.size)
    if longer > pixels:
        picture.thumbnail((pixels, pixels))
        return picture
    factor = pixels // longer
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _curves(signal: Tensor, pixels: int) -> Image.Image:
    """Return (C, L) as curves, a channel over the other, each with its middle line."""
    width, height = 2 * pixels, pixels // 2
    picture = Image.new("RGB", (width, height * len(signal)), "white")
    draw = ImageDraw.Draw(picture)
    across = np.linspace(0, width - 1, signal.shape[1])
    for index, channel in enumerate(signal.numpy()):
        middle = height * index + height / 2
        draw.line([(0, middle), (width, middle)], fill=(200, 200, 200))
        down = middle - channel * (height / 2 - 1)
        draw.line([(float(x), float(y)) for x, y in zip(across, down, strict=True)], fill="black")
    return picture


def _page(columns: dict[str, list[Image.Image]], title: str, captions: Sequence[str]) -> Image.Image:
    """Return pictures in a grid under their columns' names, the title above all, a caption under each row."""
    gap, line = 8, 22
    font = ImageFont.load_default(14)
    widths = [max([int(font.getlength(name)), *(p.width for p in shown)]) for name, shown in columns.items()]
    count = max(len(shown) for shown in columns.values())
    texts = [captions[row] if row < len(captions) else "" for row in range(count)]
    below = [line * len(text.splitlines()) for text in texts]
    heights = [max(shown[row].height for shown in columns.values() if row < len(shown)) for row in range(count)]
    wide_text = max(font.getlength(part) for text in [title, *texts] for part in text.split("\n"))
    width = max(sum(widths) + gap * (len(widths) + 1), int(wide_text) + 2 * gap)
    page = Image.new("RGB", (width, 2 * line + sum(heights) + sum(below) + gap * (count + 1)), "white")
    draw = ImageDraw.Draw(page)
    draw.text((gap, 4), title, fill="black", font=font)
    left = gap
    for (name, shown), wide in zip(columns.items(), widths, strict=True):
        draw.text((left, line + 4), name, fill="black", font=font)
        top = 2 * line + gap
        for picture, high, extra in zip(shown, heights, below, strict=False):
            page.paste(picture, (left, top))
            top += high + extra + gap
        left += wide + gap
    top = 2 * line + gap
    for text, high, extra in zip(texts, heights, below, strict=True):
        draw.multiline_text((gap, top + high + 2), text, fill=(90, 90, 90), font=font)
        top += high + extra + gap
    return page


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    """Return (H, W, 3) bytes from (3, H, W) in [-1, 1]."""
    array: NDArray[np.uint8] = ((values + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return array


def _tensor(picture: Image.Image) -> Tensor:
    """Return a picture as (3, H, W) in [-1, 1]."""
    values: NDArray[Any] = np.asarray(picture, dtype=np.float32)
    return torch.from_numpy(values / 127.5 - 1).permute(2, 0, 1)
