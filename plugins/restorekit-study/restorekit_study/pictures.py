"""Images as readers get them: every column of a film at the same size, in the same window, with 16 bits.

A file images/NAME.png holds 16 bits in two channels of 8: red is the high byte, green the low one, blue is 0. A browser
reads such a file without loss, which it does not do with PNG of 16 bits. 0 is -1 (black) and 65535 is 1 (white).
"""

from __future__ import annotations

import io
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from restorekit import DataError, Depths, depths_of, read_image

__all__ = ["Box", "Display", "gray", "packed", "unpacked"]

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the width and the height, 0 to 1."""
WHITE = 65535
PROPORTION = 0.01
"""By how much the proportions of columns may differ."""
COLOUR = 0.1
"""Difference of channels, of a range of 2, above which a pixel has a colour: compressed gray images have less."""
COLOURED = 0.001
"""Share of such pixels above which an image holds colours; a small coloured mark is below, and shown gray."""
BEYOND = 1.0
"""How far the 1st to the 99th percentile of a column may lie beyond the window, in widths of the window."""


@dataclass(frozen=True)
class Display:
    """How the columns of a film are displayed; the same for all of them."""

    window: tuple[float, float] | None = None
    """Black and white in [-1, 1], for every film; None: from each original."""
    same_size: bool = False
    """All columns get the size of the smallest one."""
    crop: Box | None = None
    """What is kept."""
    masks: tuple[Box, ...] = ()
    """What is made black, such as names that are burned in; shares of the uncropped image."""

    def sentence(self) -> str:
        """Return what was done, for the pages."""
        how = (
            "The window at first is that of the original film, from its 0.5 to its 99.5 percentile"
            if self.window is None
            else f"The window at first is {self.window[0]:g} to {self.window[1]:g}, where the range is -1 to 1"
        )
        sized = " All columns of a film have the size of its smallest one." if self.same_size else ""
        hidden = f" {len(self.masks)} area(s) are black in all columns." if self.masks else ""
        cut = " All columns are cropped alike." if self.crop else ""
        return (
            f"{how}; it is the same for all columns, and a reader's changes apply to all of them.{sized}{hidden}{cut}"
        )

    def columns(self, images: dict[str, NDArray[np.float32]], film: str) -> dict[str, NDArray[np.float32]]:
        """Return the images of a film as readers see them, by method.

        Args:
            images: (H, W) in [-1, 1] by method, the original first.
            film: its name, for messages.

        Raises:
            DataError: if their proportions differ, or their sizes while `same_size` is False: readers would see
                which is which.
        """
        sizes = {name: image.shape for name, image in images.items()}
        first, (height, width) = next(iter(sizes.items()))
        for name, (h, w) in sizes.items():
            if abs(w / h - width / height) > PROPORTION * width / height:
                raise DataError(
                    f"{film}: {name} has {w}x{h} pixels, {first} {width}x{height}; columns need equal proportions"
                )
        if len(set(sizes.values())) > 1:
            if not self.same_size:
                listed = ", ".join(f"{name} {w}x{h}" for name, (h, w) in sizes.items())
                raise DataError(
                    f"{film}: sizes differ ({listed}), by which readers could see which is which; add --same-size to "
                    "reduce all columns to the smallest"
                )
            least = min(sizes.values())
            images = {name: _resized(image, least) for name, image in images.items()}
        found = {name: self.cropped(self._masked(image)) for name, image in images.items()}
        if not found[first].size:
            h, w = found[first].shape
            raise DataError(f"{film}: --crop leaves {w}x{h} of {width}x{height} pixels; give a larger part")
        return found

    def first_window(self, original: NDArray[np.float32]) -> tuple[float, float]:
        """Return black and white for a film from its original, uncropped; what is cropped away does not count.

        What `masks` make black counts as it was: else the window would depend on how large they are.
        """
        if self.window is not None:
            return self.window
        low, high = (round(float(v), 4) for v in np.percentile(self.cropped(original), (0.5, 99.5)))
        return (low, high) if high - low > 0.01 else (-1.0, 1.0)

    def check_seen(self, images: dict[str, NDArray[np.float32]], window: tuple[float, float], film: str) -> None:
        """Refuse images that would be nearly all white or black in the window of a film.

        Args:
            images: (H, W) in [-1, 1] by method, uncropped.
            window: black and white.
            film: its name, for messages.

        Raises:
            DataError: if the 1st to the 99th percentile of one lies further beyond the window than this is wide.
        """
        low, high = window
        for name, image in images.items():
            least, most = (float(value) for value in np.percentile(self.cropped(image), (1, 99)))
            if max(low - least, most - high) > BEYOND * (high - low):
                raise DataError(
                    f"{film}: {name} has values from {least:.2f} to {most:.2f} (1st to 99th percentile, of -1 to 1), "
                    f"far outside of the window of the original, {low:.2f} to {high:.2f}; allowed: beyond it "
                    "by its width; give --range LOW HIGH if files of more than 8 bits do not use all of them, or a "
                    "--window LOW HIGH for all columns"
                )

    def _masked(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = image.shape
        image = image.copy()
        for left, top, right, bottom in self.masks:
            rows = slice(math.floor(top * height), math.ceil(bottom * height))
            image[rows, math.floor(left * width) : math.ceil(right * width)] = -1
        return image

    def cropped(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of an image that is kept."""
        if self.crop is None:
            return image
        height, width = image.shape
        left, top, right, bottom = self.crop
        return image[int(top * height) : round(bottom * height), int(left * width) : round(right * width)]


def gray(path: Path, range: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Read a file as (H, W) in [-1, 1]; of three channels that are nearly equal, the mean is taken.

    Args:
        path: the file.
        range: the values of black and white of files that do not state them; those of 8 bits keep 0 and 255.

    Raises:
        DataError: if it cannot be read, is no plane image, holds colours, or has 16-bit values that may be of fewer
            bits.
    """
    image = _read(path, range)
    if image.ndim != 3:
        raise DataError(f"{path}: has {image.ndim - 1} spatial sizes; readers can be shown plane images alone")
    coloured = float((np.ptp(image, 0) > COLOUR).mean())
    if coloured > COLOURED:
        raise DataError(
            f"{path}: has colours in {100 * coloured:.0f} % of its pixels; readers can be shown gray images alone; "
            "leave it out, or convert it where its colours mean nothing"
        )
    return np.asarray(image.mean(0), np.float32)


def _read(path: Path, range: Sequence[float] | None) -> NDArray[np.float32]:
    """Return what a file holds, (C, *S) in [-1, 1]."""
    try:
        image, known = read_image(path)
    except DataError:
        if range is None:
            raise
        return read_image(path, range=range)[0].numpy()
    depth = np.dtype(known.dtype)
    if depth.itemsize == 1 and known.format != "NIFTI":  # whose 8 bits may be scaled
        return image.numpy()
    if range is not None:
        return read_image(path, range=range)[0].numpy()
    found = depths_of([path], str(path)) if depth.kind in "ui" else Depths()
    if found.most and found.bits is not None and found.bits < 16:
        raise DataError(
            f"{path}: holds 16-bit values of at most {found.most} and does not state its bits: it may be dark, or of "
            f"{found.bits} bits; give --range 0 {2**found.bits - 1} or --range 0 65535, for files of more than 8 bits"
        )
    return image.numpy()


def packed(image: NDArray[np.float32]) -> bytes:
    """Return the PNG file of an image (H, W) in [-1, 1]; random digits in it make equal images unequal files."""
    values = np.round((np.clip(image, -1, 1) + 1) / 2 * WHITE).astype(np.uint16)
    pixels = np.stack([values >> 8, values & 255, np.zeros_like(values)], -1).astype(np.uint8)
    stream = io.BytesIO()
    random = PngInfo()
    random.add_text("random", secrets.token_hex(16))
    Image.fromarray(pixels).save(stream, "PNG", compress_level=3, pnginfo=random)
    return stream.getvalue()


def unpacked(data: bytes) -> NDArray[np.float32]:
    """Return the image (H, W) in [-1, 1] of such a file, to 1/65535 of the range."""
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image, np.uint16)
    values = (pixels[..., 0] << 8) | pixels[..., 1]
    return (values / WHITE * 2 - 1).astype(np.float32)


def _resized(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if image.shape == size:
        return image
    small = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.clip(np.asarray(small, np.float32), -1, 1)
