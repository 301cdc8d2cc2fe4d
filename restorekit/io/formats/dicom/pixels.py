"""From the bytes of a DICOM object to stored values: PS3.3 C.7.6.3 and PS3.5 8. One frame at a time.

The header is checked before anything is decoded, and every length against it afterwards: bytes that are missing are
never made up, and bytes that the header does not account for are never left out. pydicom's own pixel decoders are not
used: they ignore HighBit, take a plugin's word for the sign of what it decoded, and fill what is cut short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid

from restorekit.core.errors import DataError
from restorekit.io.formats.dicom import tags
from restorekit.io.formats.dicom.codecs import (
    FRAMES_OF_ONE_FRAGMENT,
    Decoded,
    decode,
    is_decoded,
    lossy_method,
    starts_frame,
)
from restorekit.io.intensity import check_size

__all__ = ["PIXELS", "Layout", "compressed_with_loss", "frame_values", "layout_of", "padding_of", "plane_of", "span_of"]

_INTEGERS, _FLOATS = "PixelData", {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
PIXELS = (_INTEGERS, *_FLOATS)
"""The elements that hold pixels, of which an object has one."""
_GRAY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
HEAD = 16
"""Bytes by which a stream is known."""
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class Layout:
    """The Image Pixel module, checked."""

    element: str
    """Which of the three pixel elements holds the values."""
    syntax: uid.UID
    photometric: str
    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: bool

    @property
    def gray(self) -> bool:
        """Whether there is one sample for each pixel."""
        return self.samples == 1

    @property
    def floating(self) -> bool:
        """Whether the values are floating point."""
        return self.element in _FLOATS

    @property
    def compressed(self) -> bool:
        """Whether the pixels lie in fragments."""
        return self.syntax not in _NATIVE

    @property
    def span(self) -> tuple[int, int] | None:
        """The lowest and the highest value that BitsStored allows; None for floating point."""
        return None if self.floating else span_of(self.stored, signed=self.signed)


def span_of(bits: int, *, signed: bool) -> tuple[int, int]:
    """Return the lowest and the highest integer of so many bits."""
    half = 2 ** (bits - 1)
    return (-half, half - 1) if signed else (0, 2 * half - 1)


def layout_of(data: Dataset) -> Layout:
    """Return the checked Image Pixel module.

    Raises:
        DataError: if an element is missing, contradicts another, or has what is not read; it is named.
    """
    element = _pixel_element(data)
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if not syntax:
        raise DataError("has no TransferSyntaxUID, without which its pixels have no meaning")
    if syntax not in _NATIVE and not is_decoded(syntax):
        raise DataError(f"has the TransferSyntaxUID {syntax.name}, which is not read")
    kind, samples = _photometric(data)
    rows, columns, frames = (
        tags.integer(data, name, default)
        for name, default in (("Rows", None), ("Columns", None), ("NumberOfFrames", 1))
    )
    check_size((rows, columns))
    if frames < 1:
        raise DataError(f"has NumberOfFrames {frames}; 1 or more are allowed")
    bits = _bits(data, element)
    if samples == 3 and bits["signed"]:
        raise DataError(f"has PixelRepresentation 1 with {kind}; colour is unsigned")
    layout = Layout(
        element, syntax, kind, rows, columns, samples, frames, planar=_planar(data, samples, syntax), **bits
    )
    return layout


def frame_values(data: Dataset, layout: Layout, index: int) -> NDArray[Any]:
    """Return the stored values of one frame, (H, W) or RGB of (H, W, 3), in the type of BitsAllocated.

    Raises:
        DataError: if the pixels do not fit the header, or cannot be decoded.
    """
    content = data[layout.element]
    undefined = bool(getattr(content, "is_undefined_length", False))
    value = content.value or b""
    if not isinstance(value, bytes) or undefined != layout.compressed:
        raise DataError(f"has {layout.element} that is not of its transfer syntax, {layout.syntax.name}")
    if layout.compressed:
        decoded = decode(_frame(value, layout, index), layout)
        array = _of_stream(decoded, layout) if decoded.precision else _of_cells(decoded.array, data, layout)
        return _rgb(array, layout, decoded.colour) if layout.samples == 3 else array
    cells = _native(value, layout, index, swapped=content.VR == "OW")
    array = cells if layout.floating else _of_cells(cells, data, layout)
    return _rgb(array, layout, "") if layout.samples == 3 else array


def compressed_with_loss(data: Dataset, layout: Layout) -> tuple[str, float] | None:
    """Return by which standard the first frame lost values, as LossyImageCompressionMethod, and the ratio of sizes.

    None: it lost none. A stream is taken at its word: a lossless coding of what had lost values before is lossless.
    """
    if not layout.compressed:
        return None
    stream = _frame(data[layout.element].value, layout, 0)
    method = lossy_method(stream, layout)
    whole = layout.rows * layout.columns * layout.samples * layout.allocated / 8
    return (method, whole / len(stream)) if method else None


def padding_of(data: Dataset, layout: Layout) -> tuple[int, int] | None:
    """Return the lowest and the highest stored value that stands for padding; None where there is none.

    Both are taken for bits of a cell: a negative value may be written as unsigned, or the other way round.
    """
    first = tags.numbers(data, "PixelPaddingValue")
    if len(first) != 1 or layout.floating:
        return None
    ends = [first[0], (tags.numbers(data, "PixelPaddingRangeLimit") or first)[0]]
    low, high = sorted(_in_a_cell(int(end), layout) for end in ends)
    return low, high


def _in_a_cell(value: int, layout: Layout) -> int:
    size: int = 2**layout.allocated
    raw = value % size
    return raw - size if layout.signed and raw >= size // 2 else raw


def plane_of(data: Dataset, layout: Layout, bit: int) -> NDArray[np.bool_] | None:
    """Return one bit of each cell of the first frame, (H, W), as old overlays are stored; None: it holds no other."""
    own = range(layout.high - layout.stored + 1, layout.high + 1)
    if layout.floating or not layout.gray or bit in own or not 0 <= bit < layout.allocated:
        return None
    content = data[layout.element]
    if not layout.compressed:
        cells = _native(content.value, layout, 0, swapped=content.VR == "OW")
    else:
        decoded = decode(_frame(content.value, layout, 0), layout)
        if decoded.lossy or (decoded.precision and bit >= decoded.precision):
            return None
        cells = decoded.array
    found: NDArray[np.bool_] = (cells >> bit & 1).astype(bool)
    return found


# The header


def _pixel_element(data: Dataset) -> str:
    found = [name for name in PIXELS if name in data]
    if not found:
        kind = getattr(data.get("SOPClassUID"), "name", "") or "object"
        raise DataError(f"is a DICOM {kind} without pixels")
    if len(found) > 1:
        raise DataError(f"has {' and '.join(found)}; one of them is allowed")
    return found[0]


def _photometric(data: Dataset) -> tuple[str, int]:
    kind, samples = tags.text(data, "PhotometricInterpretation"), tags.integer(data, "SamplesPerPixel", 1)
    if kind.startswith("PALETTE"):
        raise DataError("has an indexed palette; convert it to gray or RGB; gray or RGB is read")
    if kind not in (*_GRAY, *_COLOUR):
        raise DataError(f"has the PhotometricInterpretation {kind or 'none'}; gray or RGB is read")
    if samples != (1 if kind in _GRAY else 3):
        raise DataError(f"has SamplesPerPixel {samples} with the PhotometricInterpretation {kind}")
    return kind, samples


def _bits(data: Dataset, element: str) -> dict[str, Any]:
    if element in _FLOATS:
        bits = _FLOATS[element]
        if (got := tags.integer(data, "BitsAllocated", bits)) != bits:
            raise DataError(f"has BitsAllocated {got} with {element}; {bits} is allowed")
        return {"allocated": bits, "stored": bits, "high": bits - 1, "signed": True}
    allocated, stored = tags.integer(data, "BitsAllocated"), tags.integer(data, "BitsStored")
    if stored == 1:
        raise DataError("has 1 bit a pixel, as a mask has; gray or RGB is read")
    if allocated not in (8, 16, 32):
        raise DataError(f"has BitsAllocated {allocated}; 8, 16 and 32 are read")
    if not 1 < stored <= allocated:
        raise DataError(f"has BitsStored {stored} with BitsAllocated {allocated}")
    high = tags.integer(data, "HighBit", stored - 1)
    if not stored - 1 <= high < allocated:
        raise DataError(f"has HighBit {high} with BitsStored {stored} and BitsAllocated {allocated}")
    signed = tags.integer(data, "PixelRepresentation")
    if signed not in (0, 1):
        raise DataError(f"has PixelRepresentation {signed}; 0 and 1 are allowed")
    return {"allocated": allocated, "stored": stored, "high": high, "signed": bool(signed)}


def _planar(data: Dataset, samples: int, syntax: uid.UID) -> bool:
    if samples == 1 or syntax not in _NATIVE:  # a compressed stream has its own order
        return False
    planar = tags.integer(data, "PlanarConfiguration")
    if planar not in (0, 1):
        raise DataError(f"has PlanarConfiguration {planar}; 0 and 1 are allowed")
    return bool(planar)


# Uncompressed


def _native(value: bytes, layout: Layout, index: int, *, swapped: bool) -> NDArray[Any]:
    """Return the cells of one frame, (H, W) or (H, W, 3)."""
    halved = layout.photometric == "YBR_FULL_422"
    if halved and (layout.columns % 2 or layout.planar):
        raise DataError("has YBR_FULL_422 with odd Columns or PlanarConfiguration 1")
    row = layout.columns * (2 if halved else layout.samples) * layout.allocated // 8
    size = layout.rows * row
    order = "<" if layout.syntax.is_little_endian else ">"
    if order == ">" and layout.allocated == 8 and swapped:  # 8 bits in words of big endian: PS3.5 annex D
        value = np.frombuffer(value + b"\0" * (len(value) % 2), "<u2").byteswap().tobytes()
    value = _trimmed(value, size * layout.frames, row, layout.element)
    kind = "f" if layout.floating else "u"
    cells = np.frombuffer(value, f"{order}{kind}{layout.allocated // 8}", size * 8 // layout.allocated, index * size)
    cells = cells.astype(cells.dtype.newbyteorder("="))
    if halved:
        pairs = cells.reshape(layout.rows, layout.columns // 2, 4)  # Y Y Cb Cr
        chroma = np.repeat(pairs[..., 2:], 2, axis=1)
        return np.concatenate([pairs[..., :2].reshape(layout.rows, layout.columns, 1), chroma], axis=2)
    if layout.gray:
        return cells.reshape(layout.rows, layout.columns)
    if layout.planar:
        return cells.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return cells.reshape(layout.rows, layout.columns, 3)


def _trimmed(value: bytes, expected: int, row: int, element: str) -> bytes:
    """Return exactly the bytes expected: one byte of padding, or zeros shorter than a row, may follow them."""
    extra = value[expected:]
    if len(value) < expected or (len(extra) > 1 and (len(extra) > row or any(extra))):
        raise DataError(f"has {len(value)} bytes of {element} where its header promises {expected}")
    return value[:expected]


# Compressed: from the element to the bytes of one frame


def _frame(value: bytes, layout: Layout, index: int) -> bytes:
    """Return the bytes of one frame.

    A frame is one fragment, or all of them, or as in the offset table; without one it begins where a fragment
    begins with the head of a stream.
    """
    table, starts, fragments = _fragments(value)
    if len(fragments) < layout.frames:
        raise DataError(f"has {len(fragments)} fragments of pixels for NumberOfFrames {layout.frames}")
    if len(fragments) == layout.frames:
        return value[fragments[index]]
    if layout.syntax in FRAMES_OF_ONE_FRAGMENT and layout.frames > 1:
        raise DataError(f"has {len(fragments)} fragments of pixels for NumberOfFrames {layout.frames}")
    heads = [
        at
        for at, place in enumerate(fragments)
        if starts_frame(value[place.start : min(place.stop, place.start + HEAD)], layout.syntax)
    ]
    if layout.frames > 1 and table:
        try:
            heads = [starts.index(offset) for offset in table]
        except ValueError:
            raise DataError("has a basic offset table that points beside its fragments") from None
    if layout.syntax in FRAMES_OF_ONE_FRAGMENT:
        heads = [0]
    if len(heads) != layout.frames or heads[0] != 0 or heads != sorted(set(heads)):
        raise DataError(f"has pixels of {len(heads)} frames for NumberOfFrames {layout.frames}")
    ends = [*heads[1:], len(fragments)]
    return b"".join(value[place] for place in fragments[heads[index] : ends[index]])


def _fragments(value: bytes) -> tuple[list[int], list[int], list[slice]]:
    """Return the basic offset table, the offset of every fragment in its own counting, and where fragments are."""
    found: list[tuple[int, slice]] = []
    at = 0
    while at < len(value):
        head, length = value[at : at + 4], int.from_bytes(value[at + 4 : at + 8], "little")
        if head == _DELIMITER:
            break
        if head != _ITEM or at + 8 + length > len(value):
            raise DataError("has fragments of pixels that are damaged or cut short")
        found.append((at, slice(at + 8, at + 8 + length)))
        at += 8 + length
    if not found:
        raise DataError("has no fragments of pixels")
    table, rest = value[found[0][1]], found[1:]
    first = 8 + len(table)
    offsets = np.frombuffer(table[: len(table) // 4 * 4], "<u4").tolist()
    return offsets, [start - first for start, _ in rest], [place for _, place in rest]


# From cells and streams to stored values


def _of_cells(cells: NDArray[Any], data: Dataset, layout: Layout) -> NDArray[Any]:
    """Return the BitsStored bits below HighBit of every cell; what lies in other bits is no pixel (PS3.5 8.1.1)."""
    _refuse_padding_outside(cells, data, layout)
    cells = cells << (layout.allocated - 1 - layout.high)  # in the type of the cell: higher bits fall off
    if layout.signed:
        cells = cells.view(f"i{cells.dtype.itemsize}")
    return cells >> (layout.allocated - layout.stored)


def _refuse_padding_outside(cells: NDArray[Any], data: Dataset, layout: Layout) -> None:
    """Refuse padding that needs more bits than are stored: cut to them it would be an ordinary gray."""
    padding = tags.numbers(data, "PixelPaddingValue")
    if layout.span is None or len(padding) != 1 or layout.stored == layout.allocated:
        return
    low, high = layout.span
    value = _in_a_cell(int(padding[0]), layout)
    if not low <= value <= high and (cells == value % 2**layout.allocated).any():
        raise DataError(f"has pixels of PixelPaddingValue {value}, which BitsStored {layout.stored} does not hold")


def _of_stream(decoded: Decoded, layout: Layout) -> NDArray[Any]:
    """Return the stored values of a decoded stream, whose precision and sign may differ from the header's.

    JPEG and JPEG-LS have no sign, and a JPEG 2000 stream may have another one than the header: then its bits are what
    counts. Where the stream has more bits than are stored, the ones above are no pixel. Where it has fewer and the sign
    differs, two readings are possible, and it is refused, unless both are the same.
    """
    precision, stored = decoded.precision, layout.stored
    if precision > layout.allocated or (precision != stored and layout.high != stored - 1):
        raise DataError(
            f"has pixels compressed with {precision} bits, BitsAllocated {layout.allocated}, HighBit {layout.high}"
        )
    array = decoded.array.astype(np.int32 if precision <= 24 and stored <= 24 else np.int64)
    bits = array & (2**precision - 1)
    if decoded.signed == layout.signed and (precision <= stored or decoded.lossy):
        values = array
    elif precision < stored:
        if (bits >= 2 ** (precision - 1)).any():
            raise DataError(
                f"has pixels compressed with {precision} bits where BitsStored is {stored}: their sign is lost"
            )
        values = bits
    else:
        values = cut = bits & (2**stored - 1)
        if layout.signed:
            half = 2 ** (stored - 1)
            values = (cut ^ half) - half
        if decoded.lossy and not ((bits == cut) | (bits == values & (2**precision - 1))).all():
            raise DataError(f"has pixels compressed with loss beyond its BitsStored of {stored}")
    return values.astype(f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")


# Colour


def _rgb(array: NDArray[Any], layout: Layout, colour: str) -> NDArray[Any]:
    """Return RGB; `colour` is that of a compressed stream, which overrides the header."""
    kind = layout.photometric
    if kind in ("YBR_ICT", "YBR_RCT"):  # the inverse of these is part of decoding JPEG 2000
        if colour != "RGB":
            raise DataError(f"has the PhotometricInterpretation {kind}, which its pixels are not compressed with")
        return array
    ybr = kind.startswith("YBR")
    if colour:
        ybr = colour == "YBR"
    return _from_ybr(array, layout.stored) if ybr else array


def _from_ybr(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Invert C.7.6.3.1.2: Y = 0.299 R + 0.587 G + 0.114 B; Cb, Cr are (B - Y) / 1.772, (R - Y) / 1.402, plus half."""
    luma, blue, red = (array[..., at].astype(np.float64) for at in range(3))
    blue -= 2 ** (bits - 1)
    red -= 2 ** (bits - 1)
    r, b = luma + 1.402 * red, luma + 1.772 * blue
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    rgb = np.stack([r, g, b], axis=-1)
    return np.clip(np.floor(rgb + 0.5), 0, 2**bits - 1).astype(array.dtype)
