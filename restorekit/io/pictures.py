"""Pictures of images, signals and volumes in a labelled grid, to look at, not to measure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from restorekit.io.files import as_path, replacing
from restorekit.io.images import write_image
from restorekit.io.intensity import as_array

__all__ = ["draw_grid", "draw_picture", "draw_strip"]

Values = NDArray[np.floating[Any]]
Shape = tuple[float, float] | None


def draw_grid(
    path: str | os.PathLike[str],
    images: Mapping[str, Values],
    *,
    title: str,
    captions: Sequence[str] = (),
    pixels: int = 256,
    shapes: Sequence[Shape] = (),
) -> None:
    """Write a grid: a row an image, a column each of degraded, restored, ...

    Args:
        path: a PNG file; written atomically.
        images: by column name, NumPy arrays (B, C, *S) in [-1, 1]. Volumes show their middle slice. Signals show their
            curves, the columns one below the other, on the scale of the first: what lies beyond it is cut off.
        title: stands above the columns.
        captions: a text under each row.
        pixels: the longer side of a picture, about: small images are enlarged by a whole factor, large ones reduced.
            Curves are four times as wide.
        shapes: height and width of a pixel by row, of which the ratio counts; None: square. Pictures have the
            proportions of what they show.

    Raises:
        DataError: if images are no arrays of floating point.
    """
    images = {name: as_array(batch) for name, batch in images.items()}
    if images and all(batch.ndim == 3 for batch in images.values()):
        count = max(len(batch) for batch in images.values())
        rows = [{name: batch[i] for name, batch in images.items() if i < len(batch)} for i in range(count)]
        columns = {"": [_traces(row, pixels) for row in rows]}
    else:
        columns = {
            name: [_picture(image, pixels, shape) for image, shape in zip_longest(batch, shapes[: len(batch)])]
            for name, batch in images.items()
        }
    write_image(as_path(path), _unit(_page(columns, title, captions)))


def draw_picture(
    path: Path,
    image: Values,
    *,
    like: Values | None = None,
    pixels: int = 256,
    about: str = "",
    shape: Shape = None,
) -> None:
    """Write one image as a PNG file, shown as in a grid; written atomically.

    Args:
        path: where.
        image: (C, *S) in [-1, 1].
        like: a signal is drawn on the scale of this one, (C, L), so that pictures of it can be laid side by side.
        pixels: as for a grid.
        about: what it shows, in words; kept in the file as its "Description".
        shape: height and width of a pixel, as for a grid.
    """
    texts = PngInfo()
    if about:
        texts.add_text("Description", about)
    with replacing(path) as stream:
        _picture(image, pixels, shape, like).save(stream, format="PNG", pnginfo=texts)


def draw_strip(path: Path, pictures: Sequence[Path], *, width: int) -> None:
    """Write pictures from files side by side as one JPEG file, each `width` pixels wide; written atomically."""
    images = []
    for each in pictures:
        with Image.open(each) as opened:
            images.append(opened.convert("RGB").resize((width, round(width * opened.height / opened.width))))
    strip = Image.new("RGB", (width * len(images), max(image.height for image in images)))
    for at, image in enumerate(images):
        strip.paste(image, (at * width, 0))
    with replacing(path) as stream:
        strip.save(stream, "JPEG", quality=85)


def _picture(image: Values, pixels: int, shape: Shape, like: Values | None = None) -> Image.Image:
    """Return (C, *S) in [-1, 1] as an RGB picture whose longer side is about `pixels`."""
    values = _shown(image)
    if values.ndim == 2:
        return _curves(values, 2 * pixels, pixels // 2, _scale(values if like is None else _shown(like)))
    if values.ndim == 4:
        values = values[:, values.shape[1] // 2]
    if values.shape[0] != 3:
        values = np.broadcast_to(values.mean(axis=0, keepdims=True), (3, *values.shape[1:]))
    picture = Image.fromarray(_bytes(values))
    high, wide = shape or (1, 1)
    size = picture.width * wide / min(high, wide), picture.height * high / min(high, wide)
    longer = max(size)
    if longer <= pixels:
        return picture.resize(_whole(size, pixels // longer), Image.Resampling.NEAREST)
    if shape is None:
        picture.thumbnail((pixels, pixels))
        return picture
    return picture.resize(_whole(size, pixels / longer), Image.Resampling.BICUBIC)


def _whole(size: tuple[float, float], factor: float) -> tuple[int, int]:
    across, down = (max(1, round(n * factor)) for n in size)
    return across, down


def _traces(signals: Mapping[str, Values], pixels: int) -> Image.Image:
    """Return the curves of one signal, (C, L) by column name, one below the other, on the scale of the first."""
    values = {name: _shown(one) for name, one in signals.items()}
    scale = _scale(next(iter(values.values())))
    curves = [_curves(one, 4 * pixels, pixels // 3, scale) for one in values.values()]
    font = ImageFont.load_default(14)
    left = 12 + int(max(font.getlength(name) for name in values))
    picture = Image.new("RGB", (left + 4 * pixels, sum(curve.height for curve in curves)), "white")
    draw, top = ImageDraw.Draw(picture), 0
    for name, curve in zip(values, curves, strict=True):
        draw.text((0, top + curve.height // 2), name, fill="black", font=font, anchor="lm")
        picture.paste(curve, (left, top))
        top += curve.height
    return picture


def _shown(image: Values) -> Values:
    return np.nan_to_num(image.astype(np.float32), nan=-1.0).clip(-1, 1)


def _scale(signal: Values) -> tuple[float, float]:
    """Return from where to where a signal is drawn: its extremes, and a little room."""
    low, high = float(signal.min()), float(signal.max())
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _curves(signal: Values, width: int, height: int, scale: tuple[float, float]) -> Image.Image:
    """Return (C, L) as curves, a channel of so many pixels over the other, each with its line of zero."""
    fine = 3  # drawn larger and reduced, so that lines are smooth
    low, high = scale
    picture = Image.new("RGB", (fine * width, fine * height * len(signal)), "white")
    draw = ImageDraw.Draw(picture)
    across = np.linspace(0, fine * width - 1, signal.shape[1])
    for index, channel in enumerate(signal):
        top, bottom = fine * height * index, fine * height * (index + 1) - 1
        down = bottom - (np.append(channel, 0.0) - low) / (high - low) * (bottom - top)
        down = down.clip(top, bottom)
        if low < 0 < high:
            draw.line([(0, down[-1]), (fine * width, down[-1])], fill=(200, 200, 200), width=fine)
        draw.line([(float(x), float(y)) for x, y in zip(across, down[:-1], strict=True)], fill="black", width=4)
    return picture.resize((width, height * len(signal)), Image.Resampling.BOX)


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


def _bytes(values: Values) -> NDArray[np.uint8]:
    """Return (H, W, 3) bytes from (3, H, W) in [-1, 1]."""
    return np.ascontiguousarray(((values + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0))


def _unit(picture: Image.Image) -> NDArray[np.float32]:
    """Return a picture as (3, H, W) in [-1, 1]."""
    values: NDArray[np.float32] = np.asarray(picture, dtype=np.float32)
    return (values / np.float32(127.5) - np.float32(1)).transpose(2, 0, 1)
