"""JPEG, BMP and WebP, of 8 bits: Pillow reads their metadata, and the pixels of BMP and WebP.

What Pillow does not report, such as how many images a JPEG holds and if it is whole, is read from the bytes here and in
`jpeg.py`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from struct import unpack_from
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.formats import jpeg
from restorekit.io.formats.colour import require_display_exif, require_display_gamma, require_display_profile
from restorekit.io.intensity import Stored, check_size, one_of, upright

__all__ = ["read", "write"]

_HINTS = {
    "P": "an indexed palette; convert it to gray or RGB",
    "PA": "an indexed palette; convert it to gray or RGB",
    "RGBA": "an alpha channel; flatten it first",
    "LA": "an alpha channel; flatten it first",
    "CMYK": "CMYK colours; convert it to gray or RGB",
    "1": "1 bit a pixel; convert it to 8-bit gray",
}
_UNITS = {2: 25.4, 3: 10.0}
"""Millimetres of an inch and of a centimetre, by the tag ResolutionUnit of EXIF."""
_EXACT = 0.01
"""How far, as a share, a resolution may be from what is written of it."""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one image, gray or RGB, oriented by EXIF."""
    content = path.read_bytes()
    if format == "JPEG":
        return _read_jpeg(content, frame)
    return _read_bmp(content, frame) if format == "BMP" else _read_webp(content, frame)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write (1 or 3, H, W). BMP and WebP lose nothing; JPEG is written at quality 95.

    A resolution that the fields of JFIF or BMP do not hold within 1 % goes into EXIF, or is left out in BMP.
    """
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(f"an image file holds (1 or 3, H, W); got {array.shape}")
    if array.dtype != np.uint8:
        raise DataError(f"{format} does not hold {array.dtype} values, which are never cut; write TIFF or .npy")
    pixels = array.transpose(1, 2, 0).copy()
    options: dict[str, Any] = {}
    if format == "JPEG":
        options = {"quality": 95, **_jpeg_resolution(intensity.spacing)}
    elif format == "WEBP":
        options = {"lossless": True, "exact": True}
    elif format == "BMP":
        options = {"dpi": _bmp_resolution(intensity.spacing)}
    if intensity.details.get("icc_profile") and format != "BMP":
        options["icc_profile"] = intensity.details["icc_profile"]
    Image.fromarray(pixels[..., 0] if array.shape[0] == 1 else pixels).save(stream, format=format, **options)


def _read_jpeg(content: bytes, frame: int | None) -> Stored:
    streams = jpeg.images(content)
    stream = streams[one_of(len(streams), frame, "pictures")]
    known = jpeg.parse(stream)
    check_size(known.size)
    array = jpeg.decode(stream, len(known.components)).transpose(2, 0, 1)
    if array.shape[1:] != known.size:
        raise DataError(f"is damaged: its size is {known.size} by its header and {array.shape[1:]} as decoded")
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as file:
        exif, profile = file.getexif(), file.info.get("icc_profile")
    unit, across, down = known.density or (0, 0, 0)
    spacing: tuple[float, ...] | None = None
    if unit in (1, 2) and across and down:
        millimetres = 25.4 if unit == 1 else 10.0
        spacing = (millimetres / down, millimetres / across)
    aspect = (across, down) if unit == 0 and across and down and across != down else None
    return _stored(array, exif, profile, spacing or _exif_spacing(exif), aspect)


def _read_bmp(content: bytes, frame: int | None) -> Stored:
    one_of(1, frame, "images")
    if len(content) < 26:
        raise DataError(f"is cut short: it has {len(content)} bytes")
    start, header = unpack_from("<I", content, 10)[0], unpack_from("<I", content, 14)[0]
    spacing, packing = None, 0
    if header == 12:
        width, height, bits = (*unpack_from("<HH", content, 18), unpack_from("<H", content, 24)[0])
    elif header >= 40 and len(content) >= 14 + header:
        width, height, _, bits, packing, _, across, down = unpack_from("<iiHHIIii", content, 18)
        spacing = (1000 / down, 1000 / across) if across > 0 and down > 0 else None
    else:
        raise DataError(f"is damaged: its header states {header} bytes")
    check_size((abs(height), width))
    if packing not in (0, 3, 6):
        raise DataError(f"has the compression {packing}, such as run lengths; save it uncompressed")
    size = (width * bits + 31) // 32 * 4 * abs(height)
    if start + size > len(content):
        raise DataError(f"is cut short: it has {len(content)} of {start + size} bytes")
    if bits == 32 and packing == 0 and len(set(content[start + 3 : start + size : 4])) > 1:
        raise DataError("has an alpha channel; flatten it first; gray or RGB is read")
    profile = _bmp_profile(content, header)
    with Image.open(io.BytesIO(content), formats=("BMP",)) as file:
        return _stored(_plain_pixels(file), Image.Exif(), profile, spacing)


def _bmp_profile(content: bytes, header: int) -> bytes | None:
    """Return the colour profile of a BMP of versions 4 and 5, and refuse a gamma unlike that of a display."""
    if header < 108:
        return None
    kind = content[70:74]
    gammas = [value / 65536 for value in unpack_from("<3I", content, 110)]
    if kind == b"\0\0\0\0" and any(gammas):
        require_display_gamma(gammas[0], "gamma")
    if header >= 124 and kind == b"DEBM":
        at, size = unpack_from("<II", content, 126)
        return content[14 + at : 14 + at + size]
    return None


def _read_webp(content: bytes, frame: int | None) -> Stored:
    if len(content) < 12 or (size := int(unpack_from("<I", content, 4)[0]) + 8) > len(content):
        raise DataError(f"is cut short: it has {len(content)} bytes, fewer than its header states")
    at = 12
    while at + 8 <= size:
        at += 8 + (unpack_from("<I", content, at + 4)[0] + 1) // 2 * 2
    if at > size:
        raise DataError(f"is cut short: its last chunk ends at byte {at} of {size}")
    with Image.open(io.BytesIO(content), formats=("WEBP",)) as file:
        check_size(file.size[::-1])
        file.seek(one_of(getattr(file, "n_frames", 1), frame, "frames"))
        array = _plain_pixels(file)
        exif = file.getexif()
        return _stored(array, exif, file.info.get("icc_profile"), _exif_spacing(exif))


def _plain_pixels(file: Image.Image) -> NDArray[Any]:
    """Return (C, H, W), or refuse what is neither gray nor RGB."""
    file.load()
    if file.mode not in ("L", "RGB") or "transparency" in file.info:
        what = "an alpha channel; flatten it first" if file.mode in ("L", "RGB") else f"mode {file.mode}"
        raise DataError(f"has {_HINTS.get(file.mode, what)}; gray or RGB is read")
    return np.atleast_3d(np.asarray(file)).transpose(2, 0, 1)


def _stored(
    array: NDArray[Any],
    exif: Image.Exif,
    profile: bytes | None,
    spacing: tuple[float, ...] | None,
    aspect: tuple[int, int] | None = None,
) -> Stored:
    turn = int(exif.get(ExifTags.Base.Orientation, 1))
    turned = turn in (5, 6, 7, 8)
    if spacing is not None and turned:
        spacing = spacing[::-1]
    if profile:
        require_display_profile(profile)
    else:
        require_display_exif(exif)
    details: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if aspect is not None and spacing is None:
        details["aspect"] = aspect[::-1] if turned else aspect
    return Stored(upright(array, turn), spacing=spacing, details=details)


def _exif_spacing(exif: Mapping[int, Any]) -> tuple[float, ...] | None:
    unit = _UNITS.get(exif.get(ExifTags.Base.ResolutionUnit, 2))
    found = [exif.get(tag) for tag in (ExifTags.Base.YResolution, ExifTags.Base.XResolution)]
    try:
        steps = [float(value) for value in found if value is not None]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if unit is None or len(steps) != 2 or not all(math.isfinite(step) and step > 0 for step in steps):
        return None
    return tuple(unit / step for step in steps)


def _usable(spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return the spacing of rows and columns, if it is one."""
    if spacing is None or len(spacing) != 2 or not all(math.isfinite(step) and step > 0 for step in spacing):
        return None
    return spacing


def _fits(exact: list[float], most: int) -> bool:
    """True if whole numbers up to `most` are near enough to exact ones."""
    return all(value <= most and abs(round(value) - value) <= _EXACT * value for value in exact)


def _bmp_resolution(spacing: tuple[float, ...] | None) -> tuple[float, ...]:
    """Return dots an inch that Pillow turns into pixels a metre, by its own factor; zeros mean unknown."""
    exact = [1000 / step for step in (_usable(spacing) or ())[::-1]]
    return tuple(value / 39.3701 for value in exact) if exact and _fits(exact, 2**31 - 1) else (0, 0)


def _jpeg_resolution(spacing: tuple[float, ...] | None) -> dict[str, Any]:
    """Return the options of Pillow for a resolution: dots an inch of JFIF, else fractions of EXIF."""
    if not _usable(spacing):
        return {}
    assert spacing is not None
    dots = [25.4 / step for step in spacing[::-1]]
    if _fits(dots, 65535):
        return {"dpi": tuple(dots)}
    exif = Image.Exif()
    for tag, step in zip((ExifTags.Base.XResolution, ExifTags.Base.YResolution), spacing[::-1], strict=True):
        if not 1e-8 < step < 1e8:
            return {}
        exact = Fraction(10 / step).limit_denominator(max(1, min(10**6, int(2**31 * step / 10))))
        exif[tag] = TiffImagePlugin.IFDRational(exact.numerator, exact.denominator)
    exif[ExifTags.Base.ResolutionUnit] = 3
    return {"exif": exif}
