"""TIFF by tifffile: integers of 8 and 16 bits and floating point, gray or RGB, a page at a time.

What tifffile leaves as it is stored is converted here, by the TIFF 6.0 specification, or refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.derived import BEGINS
from restorekit.io.formats.tiff_images import choose, interleaved, pixels, require_complete, require_sound_jpeg
from restorekit.io.intensity import Stored, ambiguous_depth, cast, check_size, upright

__all__ = ["mark_of", "read", "write"]

_KINDS = {"MINISBLACK": "MONOCHROME2", "MINISWHITE": "MONOCHROME1", "RGB": "RGB", "YCBCR": "RGB"}
_LOSSLESS = ("NONE", "LZW", "ADOBE_DEFLATE", "PACKBITS", "ZSTD")
_PLAIN = (*_LOSSLESS, "DEFLATE", "LZMA")
"""Compressions that store samples as they are, also those of YCbCr."""
_TO_RGB = ("JPEG", "WEBP")
"""Compressions whose decoders return RGB for YCbCr."""
_HINTS = {"PALETTE": "an indexed palette; convert it to gray or RGB", "SEPARATED": "CMYK colours; convert it to RGB"}
_REFUSED = {
    290: "GrayResponseUnit",
    291: "GrayResponseCurve",
    433: "Decode",
    33445: "MD FileTag of a gel scanner",
    37439: "StoNits",
    50712: "LinearizationTable",
}
"""Tags that give stored values another meaning, which is not applied."""
_BLACK_LEVEL, _WHITE_LEVEL = 50714, 50717
"""Tags of DNG: the stored values of black and of white."""
_NIH_IMAGE = 43314
"""The header of NIH Image, whose stacks lie behind one page and whose values may be calibrated."""
_UNITS = {2: 25.4, 3: 10.0}
"""Millimetres of an inch and of a centimetre, by the tag ResolutionUnit."""
_NAMED_UNITS = {"nm": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}
_NAMED_UNITS |= {"microns": 1e-3, "inch": 25.4, "in": 25.4}
"""Millimetres of the units that ImageJ and OME-XML name."""
_STRAIGHT, _NO_FUNCTION = 0, 20
"""Calibration functions of ImageJ: a straight line, and none."""


@dataclass(frozen=True)
class _Line:
    """A calibration: value = inter + slope * stored value."""

    slope: float
    inter: float
    origin: str
    """IMAGEJ or GDAL."""
    unit: str = ""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one page, turned by its tag Orientation, calibrated by the values of ImageJ or GDAL."""
    with tifffile.TiffFile(path) as file:
        page, index = choose(file, frame)
        kind = _kind(page)
        check_size((page.imagelength, page.imagewidth))
        require_complete(page)
        if page.compression.name == "JPEG":
            require_sound_jpeg(page)
        line = _calibration(file, page)
        array = interleaved(pixels(file, page, index), page.axes)
        details: dict[str, Any] = {
            "compression": page.compression.name,
            "planar": int(page.planarconfig),
            "order": file.byteorder,
        }
        turn = int(_tag(page, "Orientation", 1))
        spacing = _spacing(file, page)
        bits = _bits(file, page)
        ends = _ends(page)
        if (description := str(_tag(page, "ImageDescription", ""))).startswith(BEGINS):
            details["derived"] = description
        if spacing is None and (aspect := _aspect(page)):
            details["aspect"] = aspect[::-1] if turn in (5, 6, 7, 8) else aspect
        missing = _tag(page, "GDAL_NODATA", None)
        profile = page.iccprofile
        red_to_blue = _coefficients(page) if kind == "YCBCR" and page.compression.name in _PLAIN else None
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(f"holds {array.shape}; one image of one channel or three is read")
    _refuse_missing(array, missing)
    if red_to_blue is not None:
        array = _rgb(array, *red_to_blue)
    if profile:
        details["icc_profile"] = bytes(profile)
    if spacing is not None and turn in (5, 6, 7, 8):
        spacing = spacing[::-1]
    low = high = None
    if array.dtype.kind in "ui" and page.bitspersample not in (8, 16, 32, 64):
        low, high = 0.0, float(2**page.bitspersample - 1)
        details["bits"] = bits = page.bitspersample
    elif array.dtype.kind == "f":
        low, high = ends
    stored = Stored(upright(array, turn), low, high, _KINDS[kind], spacing=spacing, details=details, bits=bits)
    return stored if line is None else _calibrated(stored, line)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write one page as it was: type, byte order, planes, black or white as the lowest, lossless compression.

    The range of floating point and the significant bits of integers stand in the tags SMinSampleValue and
    SMaxSampleValue.
    """
    details = intensity.details
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(f"an image file holds (1 or 3, H, W); got {array.shape}")
    tags: list[tuple[Any, ...]] = []
    options: dict[str, Any] = {}
    if "slope" in details and "calibration" in details:
        line = _Line(details["slope"], details["inter"], *details["calibration"])
        array = cast((array - line.inter) / line.slope, details["stored"])
        options["description"], tags = _written(line)
    elif array.dtype.kind == "f":  # so that it can be read again without a declared range
        rounded = cast(np.array([intensity.low, intensity.high]), array.dtype)  # as values at the ends are
        ends = min(intensity.low, float(rounded[0])), max(intensity.high, float(rounded[1]))
        tags = _range_tags(array.shape[0], *ends, 12 if array.dtype.itemsize == 8 else 11)
    elif array.dtype.kind == "u" and intensity.bits:
        tags = _range_tags(array.shape[0], 0, 2**intensity.bits - 1, 3 if intensity.bits <= 16 else 4)
    if mark := details.get("derived"):
        if "description" in options:
            raise DataError("has a calibration in its description, where a mark would stand; write it without")
        options["description"] = mark
    planar = array.shape[0] == 3 and details.get("planar") == 2
    ordered = array if planar else np.ascontiguousarray(array.transpose(1, 2, 0))
    kind = "rgb" if array.shape[0] == 3 else "minisblack"
    if intensity.photometric == "MONOCHROME1":
        kind = "miniswhite"
    packed = details.get("compression", "ADOBE_DEFLATE")
    spacing = intensity.spacing
    if spacing is not None and len(spacing) == 2 and all(1e-8 < step < 1e8 for step in spacing):  # as rationals hold
        options |= {"resolution": tuple(10 / step for step in spacing[::-1]), "resolutionunit": "CENTIMETER"}
    elif spacing is None and (aspect := details.get("aspect")):  # the wider a pixel, the fewer there are across
        options |= {"resolution": aspect, "resolutionunit": "NONE"}
    # Packed again only where the range is that of the packed bits: a wider one would be cut.
    bits = details.get("bits") if array.dtype.kind == "u" and details.get("bits") == intensity.bits else None
    with tifffile.TiffWriter(stream, byteorder=details.get("order", "<")) as file:
        file.write(
            ordered if array.shape[0] == 3 else ordered[..., 0],
            photometric=kind,
            planarconfig=("separate" if planar else "contig") if array.shape[0] == 3 else None,
            compression=(packed if packed in _LOSSLESS else "ADOBE_DEFLATE") if packed != "NONE" and not bits else None,
            bitspersample=bits,
            metadata=None,
            software=False,
            iccprofile=details.get("icc_profile"),
            extratags=tags,
            **options,
        )


def mark_of(path: Path) -> str:
    """Return the description of the first image; empty if there is none."""
    with tifffile.TiffFile(path) as file:
        return str(_tag(file.pages[0], "ImageDescription", ""))


def _tag(page: Any, name: str, default: Any) -> Any:
    return page.tags.valueof(name, default)


def _kind(page: Any) -> str:
    """Return the photometric interpretation, of samples that are gray or RGB.

    Raises:
        DataError: naming what else the page holds.
    """
    if 262 not in page.tags:
        raise DataError("has no tag PhotometricInterpretation, so that black and white are unknown")
    kind = str(getattr(page.photometric, "name", page.photometric))
    compression = str(getattr(page.compression, "name", page.compression))
    if kind not in _KINDS:
        raise DataError(f"has {_HINTS.get(kind, f'{kind} values')}; gray or RGB is read")
    if kind == "YCBCR" and compression not in (*_PLAIN, *_TO_RGB):
        raise DataError(f"has YCBCR values in {compression} compression; convert it to RGB")
    for code, name in _REFUSED.items():
        if code in page.tags:
            raise DataError(
                f"has the tag {name}, which gives its values another meaning; remove it or convert the file"
            )
    _require_plain_levels(page)
    form = int(page.sampleformat) if isinstance(page.sampleformat, int) else 0
    if form not in (1, 2, 3):
        raise DataError(
            f"has samples of the format {_tag(page, 'SampleFormat', None)}; integers and real numbers are read"
        )
    if page.samplesperpixel != (1 if kind.startswith("MINIS") else 3) or page.extrasamples:
        raise DataError(
            f"has {page.samplesperpixel} samples a pixel as {kind}, an alpha channel or others; gray or RGB is read"
        )
    if not isinstance(page.bitspersample, int):
        raise DataError(f"has samples of unequal bits {page.bitspersample}; convert it to 8 bits a sample")
    if page.bitspersample == 1:
        raise DataError("has 1 bit a pixel; convert it to 8-bit gray; gray or RGB is read")
    if page.bitspersample > 16 and page.bitspersample not in (32, 64):
        raise DataError(f"has samples of {page.bitspersample} bits, whose order of bytes readers take differently")
    if page.dtype is None:
        raise DataError(f"has samples of {page.bitspersample} bits of the format {form}, which are not read")
    if page.imagedepth != 1:
        raise DataError(
            f"holds a volume of {page.imagedepth} slices (ImageDepth); one image is read at a time; split it"
        )
    if page.predictor != 1 and compression == "NONE":
        raise DataError("has a Predictor without compression, which readers take differently; write it anew")
    _require_plain_curve(page, kind)
    return kind


def _require_plain_curve(page: Any, kind: str) -> None:
    """Refuse a TransferFunction far from those of displays, and RGB whose black and white are moved."""
    curve = _tag(page, "TransferFunction", None)
    if curve is not None:
        first = np.atleast_2d(np.asarray(curve, np.float64).reshape(-1))[0]
        first = first[: 2**page.bitspersample]
        middle = first[len(first) // 2] / 65535
        gamma = np.log(middle) / np.log(0.5) if 0 < middle < 1 else 0
        if not 1.6 < gamma < 2.8:
            raise DataError("has a TransferFunction unlike that of a display, such as linear light; convert it")
    ends = _tag(page, "ReferenceBlackWhite", None)
    if ends is not None and kind == "RGB":
        flat = [_ratio(value) for value in _pairs(ends)]
        if flat != [0, 2**page.bitspersample - 1] * 3:
            raise DataError(f"has ReferenceBlackWhite {flat}, other than its whole range; convert it")


def _pairs(value: Any) -> list[tuple[float, float]]:
    """Return rationals as pairs; tifffile returns them flat."""
    flat = list(np.asarray(value).reshape(-1).tolist())
    return list(zip(flat[::2], flat[1::2], strict=True))


def _ratio(pair: tuple[float, float]) -> float:
    return pair[0] / pair[1] if pair[1] else 0.0


def _coefficients(page: Any) -> tuple[list[float], list[float]]:
    """Return YCbCrCoefficients and ReferenceBlackWhite of YCbCr that is stored plainly, 8 bits, not subsampled."""
    sampling = tuple(np.atleast_1d(_tag(page, "YCbCrSubSampling", (2, 2))).tolist())
    if sampling != (1, 1) or page.dtype != np.uint8:
        raise DataError(f"has YCBCR values of {page.bitspersample} bits, subsampled {sampling}; convert it to RGB")
    luma = _tag(page, "YCbCrCoefficients", None)
    ends = _tag(page, "ReferenceBlackWhite", None)
    return (
        [0.299, 0.587, 0.114] if luma is None else [_ratio(pair) for pair in _pairs(luma)],
        [0, 255, 128, 255, 128, 255] if ends is None else [_ratio(pair) for pair in _pairs(ends)],
    )


def _rgb(array: NDArray[Any], luma: Sequence[float], ends: Sequence[float]) -> NDArray[Any]:
    """Convert YCbCr (3, H, W) by TIFF 6.0, section 21."""
    spans = [white - black for black, white in zip(ends[::2], ends[1::2], strict=True)]
    if not all(spans) or not all(luma):
        raise DataError(f"has YCbCrCoefficients {luma} and ReferenceBlackWhite {ends}, which leave no colour")
    planes = array.astype(np.float64)
    y, cb, cr = (
        (plane - black) * full / span
        for plane, black, span, full in zip(planes, ends[::2], spans, (255, 127, 127), strict=True)
    )
    red = y + (2 - 2 * luma[0]) * cr
    blue = y + (2 - 2 * luma[2]) * cb
    green = (y - luma[0] * red - luma[2] * blue) / luma[1]
    return cast(np.stack([red, green, blue]), np.uint8)


def _ends(page: Any) -> tuple[float | None, float | None]:
    """Return the range of SMinSampleValue and SMaxSampleValue, if it is one for all channels.

    Of unsigned integers the lowest value is 0 where the tag is absent, as in TIFF 6.0.
    """
    found = [_tag(page, name, None) for name in ("SMinSampleValue", "SMaxSampleValue")]
    if found[0] is None and page.dtype.kind == "u":
        found[0] = 0
    listed = [list(value) if isinstance(value, bytes) else value for value in found if value is not None]
    try:
        ends = [np.unique(np.asarray(value, np.float64)) for value in listed]
    except ValueError as error:
        raise DataError(f"has SMinSampleValue or SMaxSampleValue that is no number, {listed}") from error
    if len(ends) < 2 or any(len(end) != 1 for end in ends):
        return None, None
    return float(ends[0][0]), float(ends[1][0])


def _bits(file: Any, page: Any) -> int | None:
    """Return the significant bits of unsigned integers, as SMaxSampleValue of 2^n - 1 or OME-XML states them."""
    if page.dtype.kind != "u":
        return None
    low, high = _ends(page)
    if high is not None and low == 0 and high > 0 and float(high + 1).is_integer() and (int(high) + 1) & int(high) == 0:
        return int(high).bit_length()
    if file.is_ome and (stated := re.search(r'SignificantBits="(\d+)"', file.ome_metadata)):
        bits = int(stated[1])
        return bits if 0 < bits <= page.bitspersample else None
    return None


def _refuse_missing(array: NDArray[Any], stated: Any) -> None:
    """Refuse pixels that GDAL_NODATA calls missing."""
    if stated is None:
        return
    try:
        value = float(str(stated).replace(",", ".").strip().rstrip("\0"))
    except ValueError as error:
        raise DataError(f"has a tag GDAL_NODATA of {stated!r}, which is no number") from error
    count = int(np.count_nonzero(np.isnan(array) if np.isnan(value) else array == value))
    if count:
        raise DataError(f"has {count} values {value:g} that it calls missing (GDAL_NODATA)")


def _require_plain_levels(page: Any) -> None:
    """Refuse levels of DNG that are not the ends of the type, and other values or slices that NIH Image states.

    Raises:
        DataError: with the values of the file.
    """
    full = 2 ** int(page.bitspersample if isinstance(page.bitspersample, int) else 0) - 1
    for code, name, plain in ((_BLACK_LEVEL, "BlackLevel", 0), (_WHITE_LEVEL, "WhiteLevel", full)):
        if code in page.tags and (levels := np.ravel(page.tags[code].value)).size and (levels != plain).any():
            raise DataError(f"has {name} {', '.join(f'{v:g}' for v in levels[:3])}, which is not applied; convert it")
    if _NIH_IMAGE in page.tags:
        header = page.tags[_NIH_IMAGE].value
        stated: Mapping[str, Any] = header if isinstance(header, Mapping) else {}
        if (slices := int(stated.get("nSlices", 0))) > 1:
            raise DataError(f"holds {slices} slices of NIH Image behind one page; split it")
        if int(stated.get("nCoefficients", 0)):
            raise DataError("has a calibration of NIH Image, which is not applied; convert it")


def _calibration(file: Any, page: Any) -> _Line | None:
    """Return the straight line that ImageJ's or GDAL's metadata lay through the values, if any.

    Raises:
        DataError: for another curve, or lines that differ by channel.
    """
    if file.is_imagej:
        return _imagej_line(file.imagej_metadata or {})
    text = _tag(page, "GDAL_METADATA", None)
    if not isinstance(text, str):
        return None
    found: dict[str, set[float]] = {"scale": {1.0}, "offset": {0.0}}
    try:
        for role, value in found.items():
            items = [item for item in ElementTree.fromstring(text.rstrip("\0")) if item.get("role") == role]
            if items:
                value.clear()
                value.update(float(item.text or "nan") for item in items)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError("has a tag GDAL_METADATA that is damaged, or whose scale or offset is no number") from error
    if any(len(values) > 1 for values in found.values()):
        raise DataError(f"has scales and offsets that differ by channel ({found}); convert it")
    slope, inter = found["scale"].pop(), found["offset"].pop()
    return None if (slope, inter) == (1, 0) else _checked(_Line(slope, inter, "GDAL"))


def _imagej_line(stated: Mapping[str, Any]) -> _Line | None:
    function = int(stated.get("cf", _NO_FUNCTION))
    if function == _NO_FUNCTION:
        return None
    if function != _STRAIGHT:
        raise DataError(f"has an ImageJ calibration by the function {function}, which is no straight line; convert it")
    slope, inter = float(stated.get("c1", 1)), float(stated.get("c0", 0))
    return None if (slope, inter) == (1, 0) else _checked(_Line(slope, inter, "IMAGEJ", str(stated.get("vunit", ""))))


def _checked(line: _Line) -> _Line:
    if not np.isfinite([line.slope, line.inter]).all() or not line.slope:
        raise DataError(f"has a {line.origin} calibration of slope {line.slope:g} and offset {line.inter:g}")
    return line


def _calibrated(stored: Stored, line: _Line) -> Stored:
    """Return calibrated values, with the range of their stored type or bits."""
    array, low, high, nominal = stored.array, stored.low, stored.high, False
    if low is None and array.dtype.kind in "ui" and array.dtype.itemsize <= 2 and not ambiguous_depth(stored):
        known, nominal = np.iinfo(array.dtype), stored.bits is None
        low, high = float(known.min), float(known.max if stored.bits is None else 2**stored.bits - 1)
    if low is not None and high is not None:
        low, high = sorted((low * line.slope + line.inter, high * line.slope + line.inter))
    details = {
        **stored.details,
        "slope": line.slope,
        "inter": line.inter,
        "calibration": (line.origin, line.unit),
        "stored": str(array.dtype),
    }
    values = array.astype(np.float64) * line.slope + line.inter
    kind = stored.photometric
    spacing, bits = stored.spacing, stored.bits
    return Stored(values, low, high, kind, spacing=spacing, details=details, bits=bits, nominal=nominal)


def _written(line: _Line) -> tuple[str | None, list[tuple[Any, ...]]]:
    """Return the description and the tags of a calibration."""
    if line.origin == "IMAGEJ":
        vunit = f"vunit={line.unit}\n" if line.unit else ""
        return f"ImageJ=1.54f\ncf=0\nc0={line.inter!r}\nc1={line.slope!r}\n{vunit}", []
    items = (("SCALE", "scale", line.slope), ("OFFSET", "offset", line.inter))
    inner = "".join(f'<Item name="{name}" sample="0" role="{role}">{v!r}</Item>' for name, role, v in items)
    return None, [(42112, 2, 0, f"<GDALMetadata>{inner}</GDALMetadata>", True)]


def _range_tags(samples: int, low: float, high: float, kind: int) -> list[tuple[Any, ...]]:
    """Return SMinSampleValue and SMaxSampleValue; `kind` is the TIFF type of their values."""
    to = float if kind in (11, 12) else int
    return [(tag, kind, samples, (to(value),) * samples, True) for tag, value in ((340, low), (341, high))]


def _spacing(file: Any, page: Any) -> tuple[float, ...] | None:
    """Return millimetres between rows and between columns: of OME-XML, of ImageJ's unit, or of the resolution tags."""
    if file.is_ome:
        return _ome_spacing(file.ome_metadata)
    code = int(_tag(page, "ResolutionUnit", 2))
    unit = _UNITS.get(code)
    stated = (file.imagej_metadata or {}).get("unit") if file.is_imagej else None
    if stated:
        unit = _NAMED_UNITS.get(str(stated).encode().decode("unicode_escape") if "\\u" in str(stated) else str(stated))
    found = [_tag(page, name, None) for name in ("YResolution", "XResolution")]
    if unit is None or any(pair is None or pair[0] <= 0 or pair[1] <= 0 for pair in found):
        return None
    steps = tuple(unit * pair[1] / pair[0] for pair in found)
    # 1 / 1 is what writers that know nothing write; ImageJ then names no unit
    return None if steps == (unit, unit) and not stated else steps


def _aspect(page: Any) -> tuple[int, int] | None:
    """Return height and width of a pixel, of a resolution without a unit; None where it is square, or not known."""
    across, down = (_tag(page, name, None) for name in ("XResolution", "YResolution"))
    if int(_tag(page, "ResolutionUnit", 2)) != 1 or not (across and down and min(*across, *down) > 0):
        return None
    high, wide = across[0] * down[1], down[0] * across[1]
    shared = gcd(high, wide)
    return None if high == wide else (high // shared, wide // shared)


def _ome_spacing(text: str) -> tuple[float, ...] | None:
    steps = []
    for axis in "YX":
        size = re.search(rf'PhysicalSize{axis}="([^"]+)"', text)
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', text)
        scale = _NAMED_UNITS.get(unit[1] if unit else "µm")
        if size is None or scale is None or not float(size[1]) > 0:
            return None
        steps.append(float(size[1]) * scale)
    return tuple(steps)
