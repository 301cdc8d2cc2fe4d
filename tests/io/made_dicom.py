"""DICOM objects made from known integers, in every coding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import DataElement, Dataset, FileMetaDataset, uid
from pydicom.pixels.encoders import RLELosslessEncoder

Array = np.ndarray[Any, Any]


def fragments(parts: Sequence[bytes], table: Sequence[int] = ()) -> DataElement:
    content = b""
    for part in [np.array(table, "<u4").tobytes(), *parts]:
        part += b"\0" * (len(part) % 2)
        content += b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part
    return DataElement("PixelData", "OB", content, is_undefined_length=True)


def written(
    path: Path,
    cells: Array,
    stored: int,
    *,
    syntax: str = uid.ExplicitVRLittleEndian,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    streams: Sequence[bytes] | None = None,
    **elements: Any,
) -> Path:
    """Write an object whose cells of BitsAllocated bits, (H, W) or (H, W, 3), are given as unsigned integers."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data.Rows, data.Columns = cells.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 3 if cells.ndim == 3 else 1, photometric
    if cells.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit = cells.dtype.itemsize * 8, stored, stored - 1
    data.PixelRepresentation = int(signed)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    if streams is None:
        content = cells.astype(cells.dtype.newbyteorder(order)).tobytes()
        word = syntax == uid.ImplicitVRLittleEndian or cells.dtype.itemsize > 1
        data["PixelData"] = DataElement("PixelData", "OW" if word else "OB", content + b"\0" * (len(content) % 2))
    else:
        data["PixelData"] = fragments(streams)
    for name, value in elements.items():
        if isinstance(value, DataElement):
            data[name] = value
        elif value is ...:
            del data[name]
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def lut(
    entries: Sequence[int], first: int, bits: int, vr: str = "US", data_vr: str = "US", order: str = "<", count: int = 0
) -> Dataset:
    """A LUT item; `vr` is that of its descriptor. Entries of 8 bits in OW are packed, two in a word."""
    item = Dataset()
    wrap = (lambda v: (v + 2**15) % 2**16 - 2**15) if vr == "SS" else (lambda v: v % 2**16)
    item.add_new("LUTDescriptor", vr, [wrap(count or len(entries)), wrap(first), bits])
    content: Any = list(entries)
    if data_vr == "OW":
        content = np.array(entries, "u1" if bits == 8 else "<u2").tobytes()
        content = np.frombuffer(content + b"\0" * (len(content) % 2), "<u2").astype(order + "u2").tobytes()
    item.add_new("LUTData", data_vr, content)
    return item


def stored_range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def linear(x: float, c: float, w: float) -> float:
    """C.11.2.1.2.1, from 0 to 1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    return 1 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


def linear_exact(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.2, from 0 to 1."""
    if x <= c - w / 2:
        return 0
    return 1 if x > c + w / 2 else (x - c) / w + 0.5


def sigmoid(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.1, from 0 to 1."""
    return 1 / (1 + math.exp(max(-700, min(700, -4 * (x - c) / w))))


def looked_up(x: float, first: int, entries: Sequence[int]) -> int:
    """C.11.1.1.1 and C.11.2.1.1: below the first input its entry, above the last input the last entry."""
    return entries[min(max(math.floor(x + 0.5) - first, 0), len(entries) - 1)]


@dataclass(frozen=True)
class Case:
    """What a header says of the values, as elements and as a formula from a rescaled value to 0 (black) to 1."""

    name: str
    elements: dict[str, Any]
    formula: Callable[[float], float] | None


def shown(
    values: Array, span: tuple[float, float], photometric: str, slope: float, intercept: float, case: Case
) -> Array:
    """The image in [-1, 1] that the formulas give."""
    low, high = sorted(end * slope + intercept for end in span)
    formula = case.formula or (lambda x: (x - low) / (high - low))
    unit = np.array([2 * formula(v * slope + intercept) - 1 for v in values.ravel().tolist()])
    return (-unit if photometric == "MONOCHROME1" else unit).reshape(values.shape)


def windows() -> list[Case]:
    found = [Case("none", {}, None)]
    functions = {"": linear, "LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}
    for name, formula in functions.items():
        for centre, width in [(40, 400), (-600.5, 1500), (50000, 10), (0, 1.5)]:
            elements: dict[str, Any] = {"WindowCenter": [centre, 7], "WindowWidth": [width, 3]}
            if name:
                elements["VOILUTFunction"] = name
            found.append(Case(f"{name} {centre}/{width}", elements, lambda x, f=formula, c=centre, w=width: f(x, c, w)))
    found.append(
        Case(
            "exact 0.5",
            {"WindowCenter": 3, "WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"},
            lambda x: linear_exact(x, 3, 0.5),
        )
    )
    return found


def voi_luts() -> list[Case]:
    found = []
    rng = np.random.default_rng(5)
    for count, first, bits in [
        (256, 0, 8),
        (255, -7, 8),
        (4096, -1024, 12),
        (500, 1000, 16),
        (65536, -32768, 16),
        (1, 5, 16),
    ]:
        entries = rng.integers(0, 2**bits, count).tolist()
        for vr in ("US", "OW"):
            if (vr, count) in (("OW", 1), ("US", 65536)):
                continue  # C.11.1.1.1: one entry is US; 65536 do not fit into US
            item = lut(entries, first, bits, vr="SS" if first < 0 else "US", data_vr=vr)
            found.append(
                Case(
                    f"LUT {count} {first} {bits} {vr}",
                    {"VOILUTSequence": [item]},
                    lambda x, f=first, e=entries, b=bits: looked_up(x, f, e) / (2**b - 1),
                )
            )
    return found


VOIS = [*windows(), *voi_luts()]

RESCALES = [(1.0, 0.0), (1.0, -1024.0), (-1.0, 100.0), (0.5, -300.25), (-2.5, 7.0)]


def some_values(bits: int, signed: bool, shape: tuple[int, int] = (6, 8), seed: int = 0) -> Array:
    """Both ends, what lies about zero, and random values."""
    low, high = stored_range(bits, signed)
    values = np.random.default_rng(seed).integers(low, high + 1, shape)
    values.flat[:7] = [low, high, low + 1, high - 1, max(low, -1), 0, 1]
    return values


def cells_of(values: Array, allocated: int, stored: int, *, extended: bool = True) -> Array:
    """Two's complement: carried on into the bits above BitsStored, or not."""
    pattern = values.astype(np.int64) & (2 ** (allocated if extended else stored) - 1)
    return pattern.astype(f"u{allocated // 8}")


def rle(cells: Array) -> bytes:
    return bytes(
        RLELosslessEncoder.encode(
            cells.tobytes(),
            rows=cells.shape[0],
            columns=cells.shape[1],
            number_of_frames=1,
            samples_per_pixel=3 if cells.ndim == 3 else 1,
            bits_allocated=cells.dtype.itemsize * 8,
            bits_stored=cells.dtype.itemsize * 8,
            pixel_representation=0,
            planar_configuration=0,
            photometric_interpretation="RGB" if cells.ndim == 3 else "MONOCHROME2",
            encoding_plugin="pydicom",
        )
    )


def jpeg_lossless(values: Array, stored: int, precision: int) -> bytes:
    """In `precision` bits: as many as are stored, or whole cells with the sign carried on."""
    pattern = (values & (2**precision - 1)).astype(np.uint8 if precision <= 8 else np.uint16)
    return bytes(imagecodecs.jpeg8_encode(pattern, lossless=True, predictor=1, bitspersample=precision))


def jpeg_2000(values: Array, stored: int, signed: bool, **options: Any) -> bytes:
    samples = (
        values.astype(f"i{2 if stored > 8 else 1}")
        if signed
        else cells_of(values, 16 if stored > 8 else 8, stored, extended=False)
    )
    options = {"level": 0, "reversible": True, "codecformat": "j2k", "bitspersample": stored, "mct": False} | options
    return bytes(imagecodecs.jpeg2k_encode(samples, **options))


def ht_jpeg_2000(values: Array, stored: int, signed: bool) -> bytes:
    width = 2 if stored > 8 else 1
    return bytes(imagecodecs.htj2k_encode(values.astype(f"{'i' if signed else 'u'}{width}"), reversible=True))


CODINGS: dict[str, tuple[str, Callable[[Array, int, int, bool], bytes] | None]] = {
    "little endian": (uid.ExplicitVRLittleEndian, None),
    "implicit": (uid.ImplicitVRLittleEndian, None),
    "big endian": (uid.ExplicitVRBigEndian, None),
    "deflated": (uid.DeflatedExplicitVRLittleEndian, None),
    "RLE": (uid.RLELossless, lambda v, a, s, signed: rle(cells_of(v, a, s))),
    "RLE, not extended": (uid.RLELossless, lambda v, a, s, signed: rle(cells_of(v, a, s, extended=False))),
    "JPEG lossless": (uid.JPEGLossless, lambda v, a, s, signed: jpeg_lossless(v, s, s)),
    "JPEG lossless, whole cells": (uid.JPEGLosslessSV1, lambda v, a, s, signed: jpeg_lossless(v, s, a)),
    "JPEG-LS": (uid.JPEGLSLossless, lambda v, a, s, signed: bytes(imagecodecs.jpegls_encode(cells_of(v, a, s)))),
    "JPEG-LS, not extended": (
        uid.JPEGLSLossless,
        lambda v, a, s, signed: bytes(imagecodecs.jpegls_encode(cells_of(v, a, s, extended=False))),
    ),
    "JPEG-LS near, of error 0": (
        uid.JPEGLSNearLossless,
        lambda v, a, s, signed: bytes(imagecodecs.jpegls_encode(cells_of(v, a, s))),
    ),
    "JPEG 2000": (uid.JPEG2000Lossless, lambda v, a, s, signed: jpeg_2000(v, s, signed)),
    "JPEG 2000, sign lost": (uid.JPEG2000Lossless, lambda v, a, s, signed: jpeg_2000(v, s, False)),
    "JPEG 2000, whole cells": (uid.JPEG2000, lambda v, a, s, signed: jpeg_2000(v, a, signed)),
    "HTJ2K": (uid.HTJ2KLossless, lambda v, a, s, signed: ht_jpeg_2000(v, s, signed)),
    "HTJ2K RPCL": (uid.HTJ2KLosslessRPCL, lambda v, a, s, signed: ht_jpeg_2000(v, s, signed)),
    "HTJ2K, lossy or not": (uid.HTJ2K, lambda v, a, s, signed: ht_jpeg_2000(v, s, signed)),
}  # fmt: skip

RGB = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def j2k(samples: Array, bits: int = 8, **options: Any) -> bytes:
    options = {"level": 0, "reversible": True, "codecformat": "j2k", "bitspersample": bits} | options
    return bytes(imagecodecs.jpeg2k_encode(samples, **options))
