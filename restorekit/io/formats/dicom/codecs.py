"""Compressed DICOM pixels: the bytes of one frame to samples, by imagecodecs, and back where nothing is lost.

Each stream is parsed as far as its own header first: its size must be the one that DICOM promises, and its end must be
there, for libjpeg fills what is cut short with gray. GDCM is not used: it aborts the process on some damaged files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.encoders import RLELosslessEncoder

from restorekit.core.errors import DataError

if TYPE_CHECKING:
    from restorekit.io.formats.dicom.pixels import Layout

__all__ = ["FRAMES_OF_ONE_FRAGMENT", "Decoded", "decode", "encode", "is_decoded", "lossy_method", "starts_frame"]

_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
FRAMES_OF_ONE_FRAGMENT = (uid.RLELossless,)
"""Where PS3.5 A.4 allows one fragment for a frame."""
_HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_SOF_DCT, _SOF_LOSSLESS, _SOF_LS = (0xC0, 0xC1, 0xC2), (0xC3,), (0xF7,)
_SOS, _EOI = 0xDA, b"\xff\xd9"


@dataclass(frozen=True)
class Decoded:
    """The samples of one frame, and the facts that its stream states."""

    array: NDArray[Any]
    """(H, W) or (H, W, 3)."""
    precision: int
    """Bits of a sample in the stream; 0: these are whole cells of BitsAllocated bits."""
    signed: bool = False
    lossy: bool = False
    colour: str = ""
    """RGB or YBR, where the stream states it."""


@dataclass(frozen=True)
class _Jpeg:
    """The header of a JPEG or JPEG-LS stream."""

    frame: int
    precision: int
    rows: int
    columns: int
    ids: tuple[int, ...]
    sampling: tuple[int, ...]
    near: int
    jfif: bool
    adobe: int | None

    @property
    def colour(self) -> str:
        """The colours that the stream states: by Adobe's marker, its component ids, JFIF, or halved chroma."""
        if self.frame in _SOF_LS or len(self.ids) != 3:
            return ""
        if self.adobe is not None:
            return "YBR" if self.adobe == 1 else "RGB"
        if self.ids in ((82, 71, 66), (114, 103, 98)):
            return "RGB"
        if self.frame in _SOF_DCT and (self.jfif or len(set(self.sampling)) > 1):
            return "YBR"
        return ""


def is_decoded(syntax: str) -> bool:
    """Return whether pixels of a transfer syntax are decoded here."""
    return syntax in (*_JPEG, *_JPEG_LS, *_JPEG_2000, uid.RLELossless)


def starts_frame(fragment: bytes, syntax: str) -> bool:
    """Return whether a fragment begins a stream."""
    return fragment.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ") if syntax in _JPEG_2000 else b"\xff\xd8")


def decode(stream: bytes, layout: Layout) -> Decoded:
    """Decode one frame.

    Raises:
        DataError: if it is damaged, cut short, of another coding, or of another size than in `layout`.
    """
    if layout.syntax == uid.RLELossless:
        return Decoded(_rle(stream, layout), 0)
    stream = stream.rstrip(b"\0\xff")  # a fragment is padded to an even length
    if not stream.endswith(_EOI):
        raise DataError(f"has pixels of {layout.syntax.name} that are cut short: the end of their stream is missing")
    try:
        decoded = _jpeg_2000(stream, layout) if layout.syntax in _JPEG_2000 else _jpeg(stream, layout)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # what a codec raises on damaged bytes is its own
        raise DataError(f"has pixels of {layout.syntax.name} that cannot be decoded") from error
    if decoded.array.shape != _shape(layout):
        raise DataError(f"has pixels of {layout.syntax.name} in an order of samples that is not read")
    return decoded


def lossy_method(stream: bytes, layout: Layout) -> str:
    """Return the standard by which a frame that can be decoded lost values, as DICOM writes it; empty: none.

    The terms are those of LossyImageCompressionMethod, PS3.3 C.7.6.1.1.5.1.
    """
    if layout.syntax == uid.RLELossless:
        return ""
    if layout.syntax in _JPEG_2000:
        bare = _codestream(stream, layout) if stream.startswith(b"\0\0\0\x0cjP  ") else stream
        standard = "ISO_15444_15" if layout.syntax in _HTJ2K else "ISO_15444_1"
        return "" if _coding_style(bare)[1] else standard
    head = _jpeg_header(stream, layout.syntax)
    if head.frame in _SOF_LS:
        return "ISO_14495_1" if head.near else ""
    return "ISO_10918_1" if head.frame in _SOF_DCT else ""


def _shape(layout: Layout) -> tuple[int, ...]:
    return (layout.rows, layout.columns, *([] if layout.gray else [3]))


def _check_size(layout: Layout, rows: int, columns: int, samples: int) -> None:
    if (rows, columns, samples) != (layout.rows, layout.columns, layout.samples):
        raise DataError(
            f"has compressed pixels of {rows}x{columns}x{samples} where its Rows, Columns and SamplesPerPixel promise "
            f"{layout.rows}x{layout.columns}x{layout.samples}"
        )


def _jpeg(stream: bytes, layout: Layout) -> Decoded:
    head = _jpeg_header(stream, layout.syntax)
    allowed = _SOF_LS if layout.syntax in _JPEG_LS else (*_SOF_DCT, *_SOF_LOSSLESS)
    if head.frame not in allowed:
        raise DataError(f"has pixels that are not of its transfer syntax, {layout.syntax.name} (SOF {head.frame:#x})")
    _check_size(layout, head.rows, head.columns, len(head.ids))
    if head.frame in _SOF_LS:
        return Decoded(imagecodecs.jpegls_decode(stream), head.precision, lossy=head.near > 0)
    lossy = head.frame in _SOF_DCT
    if lossy and layout.signed:  # PS3.5 8.2.1 allows no sign: near 0 an error of 1 would become one of the whole range
        raise DataError(f"has PixelRepresentation 1 with {layout.syntax.name}; lossy JPEG is unsigned")
    # the same space in and out: no conversion, which needs the header of DICOM too
    space = None if layout.gray else "rgb"
    array = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    return Decoded(array, head.precision, lossy=lossy, colour=head.colour)


def _jpeg_header(stream: bytes, syntax: uid.UID) -> _Jpeg:
    """Read the segments up to the first scan (ITU-T T.81 B.2, T.87 C.2)."""
    frame = precision = rows = columns = near = 0
    ids: tuple[int, ...] = ()
    sampling: tuple[int, ...] = ()
    jfif, adobe = False, None
    at = 2
    if not stream.startswith(b"\xff\xd8"):
        raise DataError(f"has pixels that are not of its transfer syntax, {syntax.name}")
    while True:
        while stream[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if stream[at] != 0xFF:
            raise DataError(f"has pixels of {syntax.name} with a damaged header")
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        body = stream[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise DataError(f"has pixels of {syntax.name} with a damaged header")
        if marker in (*_SOF_DCT, *_SOF_LOSSLESS, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), *_SOF_LS):
            frame, precision = marker, body[0]
            rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            ids, sampling = tuple(body[6 : 6 + 3 * body[5] : 3]), tuple(body[7 : 6 + 3 * body[5] : 3])
        elif marker == 0xE0:
            jfif = jfif or body.startswith(b"JFIF\0")
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker == _SOS:
            near = body[1 + 2 * body[0]]
            break
        at += 2 + length
    if not frame:
        raise DataError(f"has pixels of {syntax.name} with a damaged header")
    return _Jpeg(frame, precision, rows, columns, ids, sampling, near, jfif, adobe)


def _jpeg_2000(stream: bytes, layout: Layout) -> Decoded:
    """Decode a codestream, after its SIZ and COD segments (ITU-T T.800 A.5.1, A.6.1)."""
    if stream.startswith(b"\0\0\0\x0cjP  "):
        stream = _codestream(stream, layout)
    if stream[:4] != b"\xff\x4f\xff\x51":
        raise DataError(f"has pixels that are not of its transfer syntax, {layout.syntax.name}")
    right, bottom, left, top = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
    samples = int.from_bytes(stream[40:42], "big")
    _check_size(layout, bottom - top, right - left, samples)
    components = {stream[42 + 3 * at : 45 + 3 * at] for at in range(samples)}
    if len(components) != 1 or (depth := components.pop())[1:] != b"\1\1":
        raise DataError(f"has pixels of {layout.syntax.name} whose components differ in size or depth")
    mixed, reversible = _coding_style(stream)
    if mixed and layout.photometric in ("YBR_FULL", "YBR_FULL_422"):
        raise DataError(f"has the PhotometricInterpretation {layout.photometric}, but its stream transforms RGB itself")
    return Decoded(
        imagecodecs.jpeg2k_decode(stream),
        depth[0] % 128 + 1,
        signed=depth[0] >= 128,
        lossy=not reversible,
        colour="RGB" if mixed else "",
    )


def _codestream(stream: bytes, layout: Layout) -> bytes:
    """Return the codestream of a JP2 file, which DICOM does not allow, where its boxes can mean nothing more."""
    start = stream.find(b"jp2c\xff\x4f\xff\x51") + 4
    if not layout.gray or start < 4 or b"pclr" in stream[:start]:
        raise DataError(
            f"has pixels of {layout.syntax.name} in a JP2 file, which may state other colours; it is not read"
        )
    return stream[start:]


def _coding_style(stream: bytes) -> tuple[bool, bool]:
    """Return whether components are mixed, as RGB is, and whether the wavelet is the reversible one."""
    at = 2
    while stream[at : at + 2] not in (b"\xff\x52", b"\xff\x90"):
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at : at + 1] != b"\xff" or length < 2:
            raise DataError("has pixels of JPEG 2000 with a damaged header")
        at += 2 + length
    return stream[at + 8] == 1, stream[at + 13] == 1


def _rle(stream: bytes, layout: Layout) -> NDArray[Any]:
    """Decode PS3.5 annex G: a segment of PackBits for each byte of each sample, highest byte first."""
    width = layout.allocated // 8
    head = np.frombuffer(stream[:64], "<u4") if len(stream) >= 64 else np.zeros(16, "<u4")
    count, starts = int(head[0]), head[1 : 1 + layout.samples * width].tolist()
    if count != layout.samples * width:
        raise DataError(f"has RLE pixels of {count} segments where its header promises {layout.samples * width}")
    if starts[0] != 64 or starts != sorted(set(starts)) or starts[-1] >= len(stream):
        raise DataError("has RLE pixels whose segments lie outside them")
    planes = np.empty((layout.samples, layout.rows, layout.columns, width), np.uint8)
    for at, (start, end) in enumerate(zip(starts, [*starts[1:], len(stream)], strict=True)):
        sample, byte = divmod(at, width)
        planes[sample, :, :, byte] = _segment(stream[start:end], layout)
    cells = planes.view(f">u{width}")[..., 0].astype(f"u{width}")
    return cells[0] if layout.gray else cells.transpose(1, 2, 0)


def _segment(packed: bytes, layout: Layout) -> NDArray[Any]:
    try:
        found = imagecodecs.packbits_decode(packed)
    except Exception as error:  # its own, on a run that is cut short
        raise DataError("has RLE pixels with a segment that is cut short") from error
    size = layout.rows * layout.columns
    if len(found) < size or len(found) >= size + layout.columns or any(found[size:]):
        raise DataError(f"has RLE pixels with a segment of {len(found)} bytes where {size} are promised")
    return np.frombuffer(found, np.uint8, size).reshape(layout.rows, layout.columns)


def encode(samples: NDArray[Any], bits: int, syntax: uid.UID) -> bytes | None:
    """Return one frame compressed without loss in a transfer syntax; None: it cannot be, or comes back otherwise."""
    if syntax == uid.RLELossless:
        return _rle_encoded(samples, bits)
    if samples.dtype.kind != "u" or samples.ndim == 3:
        return None
    if syntax == uid.JPEGLSLossless:
        stream, back = imagecodecs.jpegls_encode(samples), imagecodecs.jpegls_decode
    elif syntax == uid.JPEG2000Lossless:
        stream = imagecodecs.jpeg2k_encode(samples, reversible=True, codecformat="J2K", bitspersample=bits)
        back = imagecodecs.jpeg2k_decode
    else:
        return None
    return bytes(stream) if np.array_equal(back(stream), samples) else None


def _rle_encoded(samples: NDArray[Any], bits: int) -> bytes:
    found: bytes = RLELosslessEncoder.encode(
        samples,
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=3 if samples.ndim == 3 else 1,
        number_of_frames=1,
        bits_allocated=8 * samples.dtype.itemsize,
        bits_stored=bits,
        pixel_representation=int(samples.dtype.kind == "i"),
        photometric_interpretation="RGB" if samples.ndim == 3 else "MONOCHROME2",
        planar_configuration=0,
    )
    return found
