"""JPEG streams: their markers, by ITU-T T.81 and JFIF, and their pixels, of whole and sound streams alone.

libjpeg fills what is missing with gray and decodes damaged data, with no more than a warning. TurboJPEG, in kornia_rs,
makes an error of that warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from struct import error as StructError
from struct import unpack_from
from typing import Any

import kornia_rs
from numpy.typing import NDArray

from restorekit.core.errors import DataError

__all__ = ["Jpeg", "decode", "images", "parse"]

_EOI = b"\xff\xd9"
_NEXT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The marker after entropy-coded data: neither a stuffed byte nor a restart."""
_BARE = {0x01, 0xD8, *range(0xD0, 0xD8)}
"""Markers without a length."""
_READ = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_PROGRESSIVE = {0xC2, 0xCA}
_OTHER = {0xC3: "lossless JPEG", 0xCB: "lossless JPEG", 0xF7: "JPEG-LS"}
_THUMBNAILS = {0x010001, 0x010002}
"""Types of the Multi-Picture Format that are smaller copies."""
_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/", b"HDRGainMap", b"urn:iso:std:iso:ts:21496")


@dataclass
class Jpeg:
    """The facts in the markers of one stream."""

    frame: int = 0
    """The marker of its frame header."""
    precision: int = 0
    size: tuple[int, int] = (0, 0)
    """Rows and columns."""
    components: tuple[int, ...] = ()
    transform: int | None = None
    """The colour transform of Adobe's APP14: 0 none, 1 YCbCr, 2 YCCK."""
    jfif: bool = False
    density: tuple[int, int, int] | None = None
    """Of JFIF: unit (1 inch, 2 centimetre), across, down."""
    thumbnails: set[int] = field(default_factory=set)
    """Where, in the file, the Multi-Picture Format places smaller copies."""
    pictures: int = 1
    """Of the Multi-Picture Format, without smaller copies."""
    end: int = 0
    """Where, in the file, the stream ends."""


def images(data: bytes) -> list[bytes]:
    """Return the JPEG streams of a file: one, or more of the Multi-Picture Format or appended to each other.

    Thumbnails and gain maps, which restate the first image, are left out.

    Raises:
        DataError: if a stream is cut short, or the file states more pictures than it holds.
    """
    first = parse(data, 0)
    found, at, whole = [data[: first.end]], first.end, 1
    while True:
        while data[at : at + 1] == b"\0":
            at += 1
        if data[at : at + 3] != b"\xff\xd8\xff":
            break
        end = parse(data, at).end
        stream = data[at:end]
        if at not in first.thumbnails:
            whole += 1
            if not any(name in stream[:65536] for name in _GAIN_MAPS):
                found.append(stream)
        at = end
    if whole < first.pictures:
        raise DataError(f"is cut short: it states {first.pictures} pictures, and has {whole}")
    return found


def parse(data: bytes, start: int = 0) -> Jpeg:
    """Read the markers of the stream that starts at `start`, to its end.

    Raises:
        DataError: if it is cut short, or of a process or with components that are not read.
    """
    known = Jpeg()
    sent: dict[int, list[int]] = {}
    at = start + 2
    try:
        while True:
            if data[at] != 0xFF:
                raise DataError(f"is damaged: there is no marker at byte {at}")
            while data[at + 1] == 0xFF:  # fill bytes
                at += 1
            marker = data[at + 1]
            at += 2
            if marker == 0xD9:
                break
            if marker in _BARE:
                continue
            length = int(unpack_from(">H", data, at)[0])
            if length < 2 or at + length > len(data):
                raise IndexError
            body = data[at + 2 : at + length]
            if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
                _take_frame(known, marker, body)
            elif marker == 0xE0 and body[:5] == b"JFIF\0":
                known.jfif = True
                known.density = (body[7], *unpack_from(">HH", body, 8))
            elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
                known.transform = body[11]
            elif marker == 0xE2 and body[:4] == b"MPF\0":
                _take_pictures(known, body[4:], at + 6)
            at += length
            if marker == 0xDA:
                _take_scan(sent, body)
                following = _NEXT.search(data, at)
                if following is None:
                    raise IndexError
                at = following.start()
    except (IndexError, StructError) as error:
        raise DataError("is cut short: it has no end marker") from error
    known.end = at
    _require_read(known, sent)
    return known


def decode(data: bytes, channels: int) -> NDArray[Any]:
    """Return (H, W, channels) of one stream of 8 bits.

    Raises:
        DataError: if the decoder misses data, or finds data that it cannot decode.
    """
    mode = "mono" if channels == 1 else "rgb"
    for stream in (data, data[:-2].rstrip(b"\0") + _EOI):  # some writers put zeros before the end marker
        try:
            pixels: NDArray[Any] = kornia_rs.io.decode_image_jpegturbo(stream, mode)
        except Exception:
            continue
        return pixels
    raise DataError("is damaged: its compressed data are incomplete or wrong; export it again")


def _take_frame(known: Jpeg, marker: int, body: bytes) -> None:
    if marker not in _READ:
        raise DataError(f"is {_OTHER.get(marker, f'JPEG of process {marker:#x}')}; convert it to PNG or TIFF")
    if known.frame:
        raise DataError("has several frame headers, as hierarchical JPEG does; convert it to PNG or TIFF")
    known.frame, known.precision = marker, body[0]
    known.size = unpack_from(">HH", body, 1)
    known.components = tuple(body[6 + 3 * at] for at in range(body[5]))


def _take_scan(sent: dict[int, list[int]], body: bytes) -> None:
    """Note to which bit each coefficient of each component has been sent."""
    count = body[0]
    first, last, low = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
    for at in range(count):
        bits = sent.setdefault(body[1 + 2 * at], [255] * 64)
        bits[first : last + 1] = [low] * len(bits[first : last + 1])


def _take_pictures(known: Jpeg, body: bytes, base: int) -> None:
    """Read the index of the Multi-Picture Format (CIPA DC-007); offsets count from `base` in the file."""
    order = "<" if body[:2] == b"II" else ">"
    at = int(unpack_from(f"{order}I", body, 4)[0])
    for entry in range(unpack_from(f"{order}H", body, at)[0]):
        tag, _, count, value = unpack_from(f"{order}HHII", body, at + 2 + 12 * entry)
        if tag == 0xB001:
            known.pictures = value
        elif tag == 0xB002:
            for n in range(count // 16):
                kind, _, offset = unpack_from(f"{order}III", body, value + 16 * n)
                if kind & 0xFFFFFF in _THUMBNAILS and offset:
                    known.thumbnails.add(base + offset)
                    known.pictures -= 1


def _require_read(known: Jpeg, sent: dict[int, list[int]]) -> None:
    if not known.frame:
        raise DataError("is damaged: it has no frame header")
    if known.precision != 8:
        raise DataError(f"has {known.precision} bits a sample; JPEG of 8 bits is read; convert it to PNG or TIFF")
    if len(known.components) == 4:
        raise DataError("has CMYK colours; convert it to gray or RGB; gray or RGB is read")
    if len(known.components) not in (1, 3):
        raise DataError(f"has {len(known.components)} components; gray or RGB is read")
    if len(known.components) == 3 and (known.transform == 2 or (known.jfif and known.transform == 0)):
        raise DataError("states both YCbCr (JFIF) and RGB or YCCK (Adobe), so that its colours are unknown; convert it")
    if lost := [name for name in known.components if name not in sent or sent[name][0] > 0]:
        raise DataError(f"is cut short: component {lost[0]} is not whole")
    if known.frame in _PROGRESSIVE and any(0 < low < 255 for bits in sent.values() for low in bits):
        raise DataError("is cut short: its last scans are missing")
