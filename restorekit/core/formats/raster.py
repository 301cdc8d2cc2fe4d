"""PNG, JPEG, BMP and WebP by Pillow, where it is right and fast enough.

PNG of 16 bits, which Pillow cuts to 8 in RGB, is decoded by imagecodecs; plain gray PNG by kornia_rs, in half the time.
kornia_rs takes the size beforehand and looks at no palette, transparency or orientation, so it only gets a file whose
chunks show that there is none.
"""

from __future__ import annotations

from pathlib import Path
from struct import error as StructError
from struct import unpack_from
from typing import Any, BinaryIO

import imagecodecs
import kornia_rs
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from restorekit.core.errors import DataError
from restorekit.core.intensity import Stored, demand_size, one_of, upright
from restorekit.core.types import Intensity

__all__ = ["read", "write"]

_MODES = ("L", "RGB")
_MEND = {
    "P": "an indexed palette; convert it to gray or RGB",
    "PA": "an indexed palette; convert it to gray or RGB",
    "RGBA": "an alpha channel; flatten it first",
    "LA": "an alpha channel; flatten it first",
    "CMYK": "CMYK colours; convert it to gray or RGB",
    "1": "1 bit a pixel; convert it to 8-bit gray",
}
_DEEP = {0: 1, 2: 3}
"""Channels by the colour type of a PNG header; the other types have a palette or an alpha channel."""
_PLAIN = (b"IHDR", b"pHYs", b"gAMA", b"sBIT", b"tIME", b"IDAT", b"IEND")
"""Chunks of a PNG that cannot change what its pixels are, as transparency, an orientation or a second frame does."""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one image, gray or RGB, turned as EXIF says."""
    with Image.open(path, formats=(format,)) as file:
        demand_size(file.size[::-1])
        if format in ("PNG", "WEBP"):  # else further frames are previews
            file.seek(one_of(getattr(file, "n_frames", 1), frame, "frames"))
        array, turn = _pixels(file, path, format)
        array = np.atleast_3d(array).transpose(2, 0, 1)
        kept = {key: file.info[key] for key in ("icc_profile",) if file.info.get(key)}
        spacing = _spacing(file.info.get("dpi"), turn)
    return Stored(upright(array, turn), spacing=spacing, details=kept)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write (1 or 3, H, W). PNG, BMP and WebP lose nothing; JPEG is written at quality 95."""
    deep = array.dtype == np.uint16 and format == "PNG"
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(f"an image file holds (1 or 3, H, W); came {array.shape}")
    if array.dtype != np.uint8 and not deep:
        raise DataError(f"{format} does not hold {array.dtype} values, which are never cut; write TIFF or .npy")
    pixels = array.transpose(1, 2, 0).copy()  # contiguous, and with the strides that imagecodecs demands
    pixels = pixels[..., 0] if array.shape[0] == 1 else pixels
    if deep and array.shape[0] == 3:
        stream.write(imagecodecs.png_encode(pixels))
        return
    options: dict[str, Any] = {}
    if format == "JPEG":
        options["quality"] = 95
    elif format == "WEBP":
        options |= {"lossless": True, "exact": True}
    if intensity.spacing is not None and format != "WEBP" and min(intensity.spacing) > 0:
        options["dpi"] = tuple(25.4 / step for step in intensity.spacing[::-1])
    if intensity.details.get("icc_profile") and format != "BMP":
        options["icc_profile"] = intensity.details["icc_profile"]
    Image.fromarray(pixels).save(stream, format=format, **options)


def _pixels(file: Image.Image, path: Path, format: str) -> tuple[NDArray[Any], int]:
    """Return (H, W) or (H, W, 3), and the orientation."""
    depth, colours = _header(path) if format == "PNG" else (8, None)
    plain = _plain_gray(path) if colours == 0 and depth in (8, 16) else None
    if plain is not None:
        decode = kornia_rs.io.decode_image_png_u8 if depth == 8 else kornia_rs.io.decode_image_png_u16
        return decode(plain, file.size[::-1], "mono"), 1
    if depth == 16 and colours is not None:
        array = _deep(path, colours)
    else:
        file.load()
        if file.mode not in _MODES or "transparency" in file.info:
            what = "an alpha channel; flatten it first" if file.mode in _MODES else f"mode {file.mode}"
            raise DataError(f"has {_MEND.get(file.mode, what)}; gray or RGB is read")
        array = np.asarray(file)
    return array, int(file.getexif().get(ExifTags.Base.Orientation, 1))


def _header(path: Path) -> tuple[int, int]:
    """Return the bit depth and the colour type that the header of a PNG says."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return head[24], head[25]


def _plain_gray(path: Path) -> bytes | None:
    """Return the bytes of a gray PNG if every chunk of it is plain."""
    data = path.read_bytes()
    at = 8
    while at < len(data):
        try:
            length, name = unpack_from(">I4s", data, at)
        except StructError:  # cut short: Pillow says it best
            return None
        if name not in _PLAIN:
            return None
        if name == b"IEND":
            return data
        at += length + 12
    return None


def _deep(path: Path, colours: int) -> NDArray[Any]:
    channels = _DEEP.get(colours)
    if channels is None:
        raise DataError("has an alpha channel; flatten it first; gray or RGB is read")
    array: NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
    if array.dtype != np.uint16 or array.shape[2:] != ((3,) if channels == 3 else ()):
        raise DataError("has a transparent colour; flatten it first; gray or RGB is read")
    return array


def _spacing(dpi: tuple[float, float] | None, turn: int) -> tuple[float, ...] | None:
    if dpi is None or min(dpi) <= 0:
        return None
    across, down = (25.4 / float(n) for n in dpi)
    return (across, down) if turn in (5, 6, 7, 8) else (down, across)
