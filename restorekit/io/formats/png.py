"""PNG: its chunks, by the specification (third edition), each with its checksum.

Pillow cuts 16-bit colour to 8 bits: imagecodecs decodes it. kornia_rs decodes gray in half the time; it looks neither
at orientation nor at transparency, which the chunks give here.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from struct import error as StructError
from struct import pack, unpack, unpack_from
from typing import Any, BinaryIO

import imagecodecs
import kornia_rs
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.derived import BEGINS
from restorekit.io.formats.colour import require_display_exif, require_display_gamma, require_display_profile
from restorekit.io.intensity import Stored, check_size, one_of, upright

__all__ = ["mark_of", "read", "write"]

LEVEL = 4
"""Of compression. On radiographs half the time of the usual 6, and no larger file."""
_START = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel by colour type: gray, RGB, palette, gray with alpha, RGB with alpha."""
_REFUSED = {
    b"tRNS": "a transparent colour (tRNS); flatten it first",
    b"pCAL": "a calibration of its values (pCAL); convert it",
    b"sTER": "a stereo pair (sTER); split it",
}
_COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
"""Chunks that state which colours the values are; a restored PNG has them too."""
_DISPLAY_TRANSFERS = (1, 6, 13, 14, 15)
"""Transfer characteristics of cICP (ITU-T H.273) that are near gamma 2.2: BT.709, BT.601, sRGB, BT.2020."""
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and steps, of the passes of Adam7."""
_KEYWORD = b"Comment"
"""The keyword of the text by which a derived image is marked; the specification has it, so viewers show it."""
_PROFILE = 2**24
"""Bytes that a colour profile may unpack to."""


@dataclass
class _Png:
    """The chunks of a file whose checksums are right."""

    size: tuple[int, int] = (0, 0)
    """Rows and columns."""
    depth: int = 0
    colours: int = 0
    interlaced: bool = False
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    """The last chunk of each name, but image data, texts and frames."""
    data: list[bytes] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    """The keywords of its texts."""
    mark: str = ""
    """What it was made from, if it states that; see `derived`."""
    controls: int = 0
    """Frame controls (fcTL) of an animation."""
    still: bool = True
    """Whether the image data are no frame of the animation."""
    frames: int = 1


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one image, gray or RGB, oriented by EXIF."""
    content = path.read_bytes()
    known = _parse(content)
    _require_plain(known)
    check_size(known.size)
    index = one_of(known.frames, frame, "frames")
    _require_whole(known)
    array = np.atleast_3d(_pixels(content, known, index)).transpose(2, 0, 1)
    turn = _orientation(content, known)
    profile = _profile(known)
    spacing = _spacing(known)
    if spacing is not None and turn in (5, 6, 7, 8):
        spacing = spacing[::-1]
    low, high, bits = _significant(known, array)
    details: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if stated := {name.decode(): known.chunks[name] for name in _COLOURS if name in known.chunks}:
        details["png_colours"] = stated
    if known.mark:
        details["derived"] = known.mark
    if aspect := _aspect(known):
        details["aspect"] = aspect[::-1] if turn in (5, 6, 7, 8) else aspect
    return Stored(upright(array, turn), low, high, spacing=spacing, details=details, bits=bits)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write (1 or 3, H, W) of 8 or 16 bits, with the significant bits, the resolution and the colour profile.

    The resolution is left out where whole pixels per metre do not give it within 1 %.
    """
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(f"an image file holds (1 or 3, H, W); got {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{format} does not hold {array.dtype} values, which are never cut; write TIFF or .npy")
    pixels = array.transpose(1, 2, 0).copy()  # contiguous, and with the strides that imagecodecs demands
    if array.dtype == np.uint16 and array.shape[0] == 3:
        content = bytes(imagecodecs.png_encode(pixels))
    else:
        packed = io.BytesIO()
        Image.fromarray(pixels[..., 0] if array.shape[0] == 1 else pixels).save(
            packed, format="PNG", compress_level=LEVEL
        )
        content = packed.getvalue()
    header = len(_START) + 25
    stream.write(content[:header])
    for name, body in intensity.details.get("png_colours", {}).items():
        stream.write(_chunk(name.encode(), body))
    if profile := intensity.details.get("icc_profile"):
        stream.write(_chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)))
    if intensity.bits and (array.dtype == np.uint16 or intensity.bits < 8) and intensity.bits <= 16:
        stream.write(_chunk(b"sBIT", bytes([intensity.bits] * array.shape[0])))
    if mark := intensity.details.get("derived"):
        stream.write(_chunk(b"tEXt", _KEYWORD + b"\0" + mark.encode("ascii")))
    if resolution := _per_metre(intensity.spacing):
        stream.write(_chunk(b"pHYs", pack(">IIB", *resolution, 1)))
    elif aspect := intensity.details.get("aspect"):  # the wider a pixel, the fewer there are across
        stream.write(_chunk(b"pHYs", pack(">IIB", *aspect, 0)))
    stream.write(content[header:])


def mark_of(path: Path) -> str:
    """Return the comment of a file; empty if there is none."""
    content, at, begins = path.read_bytes(), len(_START), _KEYWORD + b"\0"
    while at + 8 <= len(content):
        length, name = unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        if name == b"tEXt" and body.startswith(begins):
            return body.removeprefix(begins).decode("latin-1")
        at += length + 12
    return ""


def _chunk(name: bytes, body: bytes) -> bytes:
    return pack(">I4s", len(body), name) + body + pack(">I", zlib.crc32(name + body))


def _parse(content: bytes) -> _Png:
    """Read every chunk and verify its checksum.

    Raises:
        DataError: if a checksum is wrong, a chunk is cut short or not known though it must be, or images follow.
    """
    known, at, first = _Png(), len(_START), True
    view = memoryview(content)
    try:
        while True:
            length, name = unpack_from(">I4s", content, at)
            body = view[at + 8 : at + 8 + length]
            (stated,) = unpack_from(">I", content, at + 8 + length)
            if zlib.crc32(view[at + 4 : at + 8 + length]) != stated:
                raise DataError(f"is damaged: the checksum (CRC) of its chunk {name.decode('latin-1')} is wrong")
            at += length + 12
            if first != (name == b"IHDR"):
                raise DataError("is no standard PNG: IHDR is not its first chunk")
            first = False
            if name == b"IEND":
                break
            _take(known, name, body)
    except StructError as error:
        raise DataError("is cut short: its chunk IEND is missing") from error
    if _START in content[at:]:
        raise DataError("holds further images behind its end (IEND); split it")
    if b"acTL" in known.chunks:
        _count_frames(known)
    return known


def _take(known: _Png, name: bytes, body: memoryview) -> None:
    if name == b"IHDR":
        width, height, known.depth, known.colours, packing, filtering, interlace = unpack(">IIBBBBB", body)
        known.size = (height, width)
        known.interlaced = interlace == 1
        if packing or filtering or interlace > 1 or known.colours not in _CHANNELS:
            raise DataError("is no standard PNG: its header (IHDR) has unknown methods")
    elif name == b"IDAT":
        known.data.append(bytes(body))
    elif name == b"fcTL":
        known.still &= bool(known.data)
        known.controls += 1
    elif name in (b"tEXt", b"zTXt", b"iTXt"):
        known.texts.append(bytes(body[:79]).partition(b"\0")[0])
        if name == b"tEXt" and known.texts[-1] == _KEYWORD:
            text = bytes(body).partition(b"\0")[2].decode("latin-1")
            known.mark = text if text.startswith(BEGINS) else known.mark
    elif not name[0] & 0x20 and name != b"PLTE":
        raise DataError(f"has a chunk {name.decode('latin-1')} that must be understood and is not known")
    else:
        known.chunks[name] = bytes(body)


def _count_frames(known: _Png) -> None:
    """Count the frames of an animation, and the still image if it is none of them."""
    stated = unpack_from(">I", known.chunks[b"acTL"])[0]
    if stated != known.controls:
        raise DataError(f"is damaged: it states {stated} frames, and has {known.controls}")
    known.frames = known.controls + known.still


def _require_plain(known: _Png) -> None:
    """Refuse colours that are not read, and chunks that give values another meaning."""
    if known.colours == 3:
        raise DataError("has an indexed palette; convert it to gray or RGB; gray or RGB is read")
    if known.colours in (4, 6):
        raise DataError("has an alpha channel; flatten it first; gray or RGB is read")
    if known.depth == 1:
        raise DataError("has 1 bit a pixel; convert it to 8-bit gray; gray or RGB is read")
    for name, what in _REFUSED.items():
        if name in known.chunks:
            raise DataError(f"has {what}; gray or RGB is read")
    if body := known.chunks.get(b"cICP"):
        if len(body) != 4 or body[1] not in _DISPLAY_TRANSFERS or body[2] or not body[3]:
            raise DataError(f"has cICP {list(body)}, not that of full-range RGB of a display; convert it")
    elif b"iCCP" not in known.chunks and b"sRGB" not in known.chunks and (body := known.chunks.get(b"gAMA")):
        stated = unpack(">I", body)[0]
        require_display_gamma(100000 / stated if stated else 0.0, "gAMA")


def _require_whole(known: _Png) -> None:
    """Unpack the image data once more than the decoder does, which is fast, for its checksum and its length."""
    packed = b"".join(known.data)
    rows, columns = known.size
    passes = [(rows, columns)]
    if known.interlaced:
        passes = [(-(-(rows - r) // down), -(-(columns - c) // across)) for r, c, down, across in _PASSES]
    bits = known.depth * _CHANNELS[known.colours]
    size = sum(high * (1 + -(-wide * bits // 8)) for high, wide in passes if high > 0 and wide > 0)
    try:
        found = len(imagecodecs.deflate_decode(packed, out=size))
    except Exception as error:
        raise DataError(f"is damaged: its image data cannot be unpacked to {size} bytes") from error
    if found != size:
        raise DataError(f"is cut short: its image data have {found} of {size} bytes")


def _pixels(content: bytes, known: _Png, index: int) -> NDArray[Any]:
    """Return (H, W) or (H, W, 3)."""
    if index and known.depth == 16:
        raise DataError("has frames of 16 bits, of which only the first can be read; split it")
    if known.colours == 0 and known.depth in (8, 16) and not known.interlaced and not index:
        decode = kornia_rs.io.decode_image_png_u8 if known.depth == 8 else kornia_rs.io.decode_image_png_u16
        gray: NDArray[Any] = decode(content, known.size, "mono")
        return gray
    if known.depth == 16:
        deep: NDArray[Any] = imagecodecs.png_decode(content)
        return deep
    with Image.open(io.BytesIO(content), formats=("PNG",)) as file:
        file.seek(index)
        file.load()
        if file.mode not in ("L", "RGB"):
            raise DataError(f"has frames of mode {file.mode}; gray or RGB is read")
        return np.asarray(file)


def _orientation(content: bytes, known: _Png) -> int:
    if body := known.chunks.get(b"eXIf"):
        exif = Image.Exif()
        exif.load(body)
    elif {b"XML:com.adobe.xmp", b"Raw profile type exif"} & set(known.texts):
        with Image.open(io.BytesIO(content), formats=("PNG",)) as file:
            exif = file.getexif()
    else:
        return 1
    if not known.chunks.keys() & {b"iCCP", b"cICP", b"sRGB", b"gAMA"}:
        require_display_exif(exif)
    return int(exif.get(ExifTags.Base.Orientation, 1))


def _profile(known: _Png) -> bytes:
    body = known.chunks.get(b"iCCP")
    if body is None:
        return b""
    _, _, packed = body.partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(packed[1:], _PROFILE)
    except zlib.error as error:
        raise DataError("is damaged: its colour profile (iCCP) cannot be unpacked") from error
    require_display_profile(profile)
    return profile


def _spacing(known: _Png) -> tuple[float, ...] | None:
    """Return millimetres of sCAL, the scale of what is shown, or of pHYs, in pixels per metre."""
    if (body := known.chunks.get(b"sCAL")) and body[0] == 1:
        across, _, down = body[1:].partition(b"\0")
        try:
            steps = (float(down) * 1000, float(across) * 1000)
        except ValueError:
            return None
        return steps if all(np.isfinite(steps)) and min(steps) > 0 else None
    body = known.chunks.get(b"pHYs")
    if body is None or len(body) != 9 or body[8] != 1:
        return None
    horizontal, vertical = unpack_from(">II", body)
    return (1000 / vertical, 1000 / horizontal) if horizontal and vertical else None


def _aspect(known: _Png) -> tuple[int, int] | None:
    """Return height and width of a pixel, of pHYs without a unit; None where it is square, or that is not known."""
    body = known.chunks.get(b"pHYs")
    if body is None or len(body) != 9 or body[8] != 0:
        return None
    across, down = unpack_from(">II", body)
    return (across, down) if across and down and across != down else None


def _per_metre(spacing: tuple[float, ...] | None) -> tuple[int, int] | None:
    if spacing is None or len(spacing) != 2 or not all(np.isfinite(spacing)) or min(spacing) <= 0:
        return None
    exact = [1000 / step for step in spacing[::-1]]
    horizontal, vertical = (round(value) for value in exact)
    if max(exact) >= 2**31 or any(abs(round(value) - value) > 0.01 * value for value in exact):
        return None
    return horizontal, vertical


def _significant(known: _Png, array: NDArray[Any]) -> tuple[float | None, float | None, int | None]:
    """Return the range, where it is known, and the significant bits that sBIT states.

    By the specification, values of fewer bits are scaled to the whole depth, and the range is that of the depth. Most
    writers of 12 bits in 16 store them as they are: so do files whose values never pass 2^bits - 1.
    """
    body = known.chunks.get(b"sBIT")
    if not body or known.depth < 8:
        return None, None, None
    if len(body) != _CHANNELS[known.colours] or not 0 < max(body) <= known.depth:
        raise DataError(f"is damaged: its significant bits (sBIT) {list(body)} do not fit {known.depth} bits a sample")
    bits = max(body)
    if int(array.max()) > 2**bits - 1:
        return 0.0, float(2**known.depth - 1), None
    return None, None, bits if known.depth == 16 or bits < 8 else None
