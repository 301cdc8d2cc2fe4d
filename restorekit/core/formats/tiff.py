"""TIFF by tifffile: integers of 8 and 16 bits and floating point, gray or RGB, a page at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.intensity import Stored, demand_size, one_of, upright
from restorekit.core.types import Intensity

__all__ = ["read", "write"]

_KINDS = {"MINISBLACK": "MONOCHROME2", "MINISWHITE": "MONOCHROME1", "RGB": "RGB"}
_LOSSLESS = ("NONE", "LZW", "ADOBE_DEFLATE", "PACKBITS", "ZSTD")
_MEND = {"PALETTE": "an indexed palette; convert it to gray or RGB", "SEPARATED": "CMYK colours; convert it to RGB"}
_UNITS = {2: 25.4, 3: 10.0}
"""Millimetres of an inch and of a centimetre, by the tag ResolutionUnit."""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one page, turned as its tag Orientation says."""
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[one_of(len(file.pages), frame, "pages")]
        kind = getattr(page.photometric, "name", str(page.photometric))
        if page.subsampling is not None or kind == "YCBCR":  # decoded to RGB
            kind = "RGB"
        if kind not in _KINDS:
            raise DataError(f"has {_MEND.get(kind, f'{kind} values')}; gray or RGB is read")
        if page.samplesperpixel not in (1, 3) or page.extrasamples:
            raise DataError(
                f"has {page.samplesperpixel} samples a pixel, an alpha channel or others; gray or RGB is read"
            )
        if page.bitspersample == 1:
            raise DataError("has 1 bit a pixel; convert it to 8-bit gray; gray or RGB is read")
        demand_size((page.imagedepth, page.imagelength, page.imagewidth))
        array = page.asarray()
        if array.ndim == 3 and not page.axes.startswith("S"):
            array = array.transpose(2, 0, 1)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[0] not in (1, 3):
            raise DataError(f"holds {array.shape}; one image of one channel or three is read")
        details = {"compression": page.compression.name, "planar": int(page.planarconfig), "order": file.byteorder}
        turn = _tag(page, "Orientation", 1)
        low, high = _tag(page, "SMinSampleValue", None), _tag(page, "SMaxSampleValue", None)
        spacing = _spacing(page)
        if array.dtype.kind in "ui" and page.bitspersample not in (8, 16, 32, 64):
            low, high = 0, 2**page.bitspersample - 1
            details["bits"] = page.bitspersample
    if spacing is not None and turn in (5, 6, 7, 8):
        spacing = spacing[::-1]
    known = array.dtype.kind == "f" and low is not None and high is not None
    if known:
        low, high = float(np.min(low)), float(np.max(high))
    elif "bits" not in details:
        low = high = None
    return Stored(upright(array, int(turn)), low, high, _KINDS[kind], spacing=spacing, details=details)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write one page as it was: type, byte order, planes, black or white as the lowest, lossless compression."""
    details = intensity.details
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(f"an image file holds (1 or 3, H, W); came {array.shape}")
    planar = array.shape[0] == 3 and details.get("planar") == 2
    pixels = array if planar else np.ascontiguousarray(array.transpose(1, 2, 0))
    kind = "rgb" if array.shape[0] == 3 else "minisblack"
    if intensity.photometric == "MONOCHROME1":
        kind = "miniswhite"
    packed = details.get("compression", "ADOBE_DEFLATE")
    options: dict[str, Any] = {}
    if intensity.spacing is not None and min(intensity.spacing) > 0:
        options = {"resolution": tuple(10 / step for step in intensity.spacing[::-1]), "resolutionunit": "CENTIMETER"}
    if array.dtype.kind == "f":  # so that it can be read again without being told
        options["extratags"] = [
            (tag, 11, array.shape[0], (float(value),) * array.shape[0], True)
            for tag, value in ((340, intensity.low), (341, intensity.high))
        ]
    bits = details.get("bits") if array.dtype.kind == "u" else None
    with tifffile.TiffWriter(stream, byteorder=details.get("order", "<")) as file:
        file.write(
            pixels if array.shape[0] == 3 else pixels[..., 0],
            photometric=kind,
            planarconfig=("separate" if planar else "contig") if array.shape[0] == 3 else None,
            compression=(packed if packed in _LOSSLESS else "ADOBE_DEFLATE") if packed != "NONE" and not bits else None,
            bitspersample=bits,
            metadata=None,
            software=False,
            **options,
        )


def _tag(page: Any, name: str, default: Any) -> Any:
    return page.tags.valueof(name, default)


def _spacing(page: Any) -> tuple[float, ...] | None:
    unit = _UNITS.get(int(_tag(page, "ResolutionUnit", 2)))
    found = [_tag(page, name, None) for name in ("YResolution", "XResolution")]
    if unit is None or any(pair is None or not pair[0] or not pair[1] for pair in found):
        return None
    steps = tuple(unit * pair[1] / pair[0] for pair in found)
    return None if steps == (unit, unit) else steps  # 1 / 1 is what writers that know nothing write
