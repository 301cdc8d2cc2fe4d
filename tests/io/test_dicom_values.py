"""DICOM against its own formulas: PS3.3 C.7.6.3, C.11.1 and C.11.2, PS3.5 8 and A.4, written out on known pixels.

Every object is made from integers that are known before they are coded; what `read_image` gives is compared with what
the formulas of the standard give for these integers, one value at a time, without any code of the reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, FileMetaDataset, uid
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders import RLELosslessEncoder

from restorekit import DataError
from restorekit.io.imagecache import ImageCache
from restorekit.io.images import read_image, reading_through

Array = np.ndarray[Any, Any]

# Making objects


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


def relabel(path: Path, syntax: str | None) -> None:
    """Write another transfer syntax, or none, into the meta information of an object."""
    content = path.read_bytes()
    at = content.index(b"\x02\x00\x10\x00UI")
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    name = (syntax or "").encode() + b"\0" * (len(syntax or "") % 2)
    element = content[at : at + 6] + len(name).to_bytes(2, "little") + name if syntax else b""
    group = content.index(b"\x02\x00\x00\x00UL") + 8
    size = int.from_bytes(content[group : group + 4], "little") + len(element) - (end - at)
    path.write_bytes(content[:group] + size.to_bytes(4, "little") + content[group + 4 : at] + element + content[end:])


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


# The formulas


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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("values")


@pytest.mark.parametrize(
    ("case", "syntax"),
    [
        *((case, uid.ExplicitVRLittleEndian) for case in VOIS),
        *((case, uid.ImplicitVRLittleEndian) for case in VOIS if "VOILUTSequence" in case.elements),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_values_are_those_of_the_formulas(place: Path, syntax: str, case: Case) -> None:
    """Every case meets every depth and every rescaling; all pairs of these are met by cases that follow each other."""
    depths = [(8, 8, False), (8, 7, True), (16, 12, False), (16, 12, True), (16, 16, True)]
    for i, (allocated, stored, signed) in enumerate(depths, start=VOIS.index(case)):
        span = stored_range(stored, signed)
        values = some_values(stored, signed)
        for at in (i % len(RESCALES), (i + 2) % len(RESCALES)):
            slope, intercept = RESCALES[at]
            low = min(end * slope + intercept for end in span)
            if "VOILUTSequence" in case.elements and low >= 0:
                first = int(case.elements["VOILUTSequence"][0].LUTDescriptor[1])
                if first < 0 and syntax == uid.ImplicitVRLittleEndian:
                    continue  # C.11.2.1.1: US here, which does not hold it
            photometric = f"MONOCHROME{1 + (at + stored + signed) % 2}"  # either with every slope, sign and VOI
            path = written(
                place / "x.dcm", cells_of(values, allocated, stored), stored, signed=signed, syntax=syntax,
                photometric=photometric, RescaleSlope=slope, RescaleIntercept=intercept, **case.elements,
            )  # fmt: skip
            image, known = read_image(path)
            wanted = shown(values, span, photometric, slope, intercept, case)
            np.testing.assert_allclose(image[0], wanted, atol=3e-6, err_msg=f"{stored} {signed} {slope}")
            assert (known.bits, known.photometric) == (stored, photometric)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_modality_luts(place: Path, syntax: str) -> None:
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    luts = [(256, 8, "OW"), (301, 8, "OW"), (301, 8, "US"), (1, 16, "US"), (4096, 12, "US"), (4096, 16, "OW")]
    firsts = [(False, 0), (False, 40000), (True, -2048), (True, 17)]
    for (count, bits, data_vr), (signed, first) in [*product(luts, firsts), ((65536, 16, "OW"), (True, -2048))]:
        values, entries = some_values(16, signed), np.random.default_rng(count).integers(0, 2**bits, count).tolist()
        item = lut(entries, first, bits, vr="SS" if signed else "US", data_vr=data_vr, order=order)
        item.ModalityLUTType = "US"
        path = written(
            place / "m.dcm", cells_of(values, 16, 16), 16, signed=signed, syntax=syntax, ModalityLUTSequence=[item]
        )
        image, known = read_image(path)
        wanted = [looked_up(v, first, entries) / (2**bits - 1) * 2 - 1 for v in values.ravel().tolist()]
        case = f"{count} entries of {bits} bits in {data_vr} from {first}"
        np.testing.assert_allclose(image[0].ravel(), wanted, atol=1e-6, err_msg=case)
        assert (known.low, known.high) == (0, 2**bits - 1), case


def test_modality_lut_then_voi_lut_then_inversion(tmp_path: Path) -> None:
    """The output of a modality LUT is unsigned, so the first value of 64512 is not -1024."""
    values = some_values(16, True)
    first, second = [(7 * k) % 65536 for k in range(3000)], [(5 * k) % 4096 for k in range(500)]
    for syntax in (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian):
        path = written(
            tmp_path / "x.dcm", cells_of(values, 16, 16), 16, signed=True, syntax=syntax, photometric="MONOCHROME1",
            ModalityLUTSequence=[lut(first, -1000, 16, vr="SS")], VOILUTSequence=[lut(second, 64512, 12)],
        )  # fmt: skip
        wanted = [1 - 2 * looked_up(looked_up(v, -1000, first), 64512, second) / 4095 for v in values.ravel().tolist()]
        np.testing.assert_allclose(read_image(path)[0][0].ravel(), wanted, atol=1e-6)


def test_first_value_of_a_voi_lut_is_signed_where_input_may_be_negative(tmp_path: Path) -> None:
    """C.11.2.1.1: SS where a rescale may give negative values, and always for Hounsfield units; US otherwise."""
    entries = list(range(4096))
    for intercept, kind, first in [(-1024, "", -1024), (0, "", 64512), (0, "HU", -1024), (-1, "US", -1024)]:
        path = written(
            tmp_path / "x.dcm", np.array([[0, 1, 4095]], np.uint16), 12, syntax=uid.ImplicitVRLittleEndian,
            RescaleSlope=1, RescaleIntercept=intercept, RescaleType=kind, VOILUTSequence=[lut(entries, 64512, 12)],
        )  # fmt: skip
        wanted = [looked_up(v + intercept, first, entries) / 4095 * 2 - 1 for v in (0, 1, 4095)]
        np.testing.assert_allclose(read_image(path)[0][0, 0], wanted, atol=1e-6)


UNUSABLE: list[tuple[str, dict[str, Any]]] = [
    ("WindowWidth", {"WindowCenter": 5, "WindowWidth": 0}),
    ("WindowWidth", {"WindowCenter": 5, "WindowWidth": 1}),
    ("WindowWidth", {"WindowCenter": 5, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}),
    ("WindowWidth", {"WindowCenter": 5, "WindowWidth": -3, "VOILUTFunction": "SIGMOID"}),
    ("VOILUTFunction", {"WindowCenter": 5, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}),
    ("LUTDescriptor", {"VOILUTSequence": [lut([1, 2, 3], 0, 4)]}),
    ("LUTData", {"VOILUTSequence": [lut([1, 2, 3], 0, 16, count=5)]}),
]


def test_declared_range_replaces_every_voi(tmp_path: Path) -> None:
    cells = cells_of(some_values(12, False), 16, 12)
    for elements in [*(elements for _, elements in UNUSABLE), *(case.elements for case in VOIS)]:
        path = written(tmp_path / "x.dcm", cells, 12, RescaleSlope=2, RescaleIntercept=-1024, **elements)
        image, known = read_image(path, range=(-1024, 7166))
        np.testing.assert_allclose(image[0], cells / 4095 * 2 - 1, atol=1e-6)
        assert known.window is None


@pytest.mark.parametrize(("named", "elements"), UNUSABLE)
def test_voi_that_cannot_be_applied_is_refused_and_named(tmp_path: Path, named: str, elements: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=named):
        read_image(written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint16), 12, **elements))


def test_a_lut_to_x_ray_intensity_is_not_shown(tmp_path: Path) -> None:
    """C.8.7.1.1.2: of an angiogram in logarithmic values the modality LUT leads back to intensity."""
    values = some_values(8, False)
    entries = list(range(255, -1, -1))
    for relationship, image_class, applied in [
        ("LOG", uid.XRayAngiographicImageStorage, False),
        ("DISP", uid.XRayRadiofluoroscopicImageStorage, False),
        ("LIN", uid.XRayAngiographicImageStorage, True),
        ("LOG", uid.ComputedRadiographyImageStorage, True),
    ]:
        path = written(
            tmp_path / "x.dcm", values.astype(np.uint8), 8, SOPClassUID=image_class,
            PixelIntensityRelationship=relationship, ModalityLUTSequence=[lut(entries, 0, 8)],
        )  # fmt: skip
        wanted = (255 - values if applied else values) / 127.5 - 1
        np.testing.assert_allclose(read_image(path)[0][0], wanted, atol=1e-6)


def test_a_cached_object_has_its_voi_and_its_range(tmp_path: Path) -> None:
    case = next(case for case in VOIS if "VOILUTSequence" in case.elements)
    path = written(tmp_path / "x.dcm", some_values(8, False).astype(np.uint16), 8, **case.elements)
    plain = [read_image(path, range=limits)[0] for limits in (None, (0, 255))]
    cache = ImageCache(tmp_path, 2**20)
    with reading_through(cache):
        for _ in range(2):
            for wanted, limits in zip(plain, (None, (0, 255)), strict=True):
                np.testing.assert_array_equal(read_image(path, range=limits)[0], wanted)
    cache.close()


def test_units_are_kept(tmp_path: Path) -> None:
    cells = np.zeros((2, 2), np.uint16)
    for elements, units in [({"RescaleType": "HU"}, "HU"), ({"Units": "BQML"}, "BQML"), ({}, "")]:
        assert read_image(written(tmp_path / "x.dcm", cells, 12, **elements))[1].details["units"] == units


# Codings


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


def coded(path: Path, coding: str, values: Array, allocated: int, stored: int, signed: bool, **elements: Any) -> Path:
    syntax, encode = CODINGS[coding]
    streams = None if encode is None else [encode(values, allocated, stored, signed)]
    cells = cells_of(values, allocated, stored)
    return written(path, cells, stored, syntax=syntax, signed=signed, streams=streams, **elements)


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_gives_the_stored_values(place: Path, coding: str) -> None:
    depths = [(8, 8), (8, 6), (16, 8), (16, 10), (16, 12), (16, 15), (16, 16)]
    for (allocated, stored), signed, inverted in product(depths, (False, True), (False, True)):
        values = some_values(stored, signed, (9, 7))  # an odd number of bytes too
        photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
        path = coded(place / "c.dcm", coding, values, allocated, stored, signed, photometric=photometric)
        image, known = read_image(path)
        low, high = stored_range(stored, signed)
        case = f"{stored} of {allocated} bits, signed {signed}, {photometric}"
        assert (known.low, known.high, known.bits) == (low, high, stored), case
        assert known.dtype == f"{'' if signed else 'u'}int{allocated}", case
        got = ((-image[0] if inverted else image[0]).astype(np.float64) + 1) / 2 * (high - low) + low
        np.testing.assert_array_equal(got.round(), values, err_msg=case)


@given(
    coding=st.sampled_from(sorted(CODINGS)),
    bits=st.sampled_from([(8, 8), (8, 7), (16, 12), (16, 16)]),
    signed=st.booleans(),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    rescale=st.sampled_from(RESCALES),
    case=st.sampled_from([case for case in VOIS if "VOILUTSequence" not in case.elements]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_every_coding_with_every_window(
    place: Path,
    coding: str,
    bits: tuple[int, int],
    signed: bool,
    photometric: str,
    rescale: tuple[float, float],
    case: Case,
    seed: int,
) -> None:
    values = some_values(bits[1], signed, (5, 3), seed)
    path = coded(
        place / "p.dcm", coding, values, *bits, signed, photometric=photometric, RescaleSlope=rescale[0],
        RescaleIntercept=rescale[1], **case.elements,
    )  # fmt: skip
    wanted = shown(values, stored_range(bits[1], signed), photometric, *rescale, case)
    np.testing.assert_allclose(read_image(path)[0][0], wanted, atol=3e-6)


def smooth(low: int, high: int, shape: tuple[int, int] = (32, 40)) -> Array:
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) / (sum(shape) - 2)
    return (low + ramp * (high - low)).round().astype(np.int64)


def jpeg(bits: int) -> Callable[[Array], bytes]:
    dtype = "u1" if bits == 8 else "u2"
    return lambda values: bytes(imagecodecs.jpeg8_encode(values.astype(dtype), level=98, bitspersample=bits))


def near(values: Array) -> bytes:
    return bytes(imagecodecs.jpegls_encode((values % 65536).astype("u2"), level=3))


def wavelets(dtype: str) -> Callable[[Array], bytes]:
    return lambda values: bytes(
        imagecodecs.jpeg2k_encode(values.astype(dtype), level=60, codecformat="j2k", bitspersample=12)
    )


@pytest.mark.parametrize(
    ("syntax", "allocated", "stored", "signed", "off", "encode"),
    [
        (uid.JPEGBaseline8Bit, 8, 8, False, 3, jpeg(8)),
        (uid.JPEGExtended12Bit, 8, 8, False, 3, jpeg(8)),
        (uid.JPEGExtended12Bit, 16, 12, False, 40, jpeg(12)),
        (uid.JPEGLSNearLossless, 16, 16, True, 3, near),
        (uid.JPEGLSNearLossless, 16, 12, False, 3, near),
        (uid.JPEGLSNearLossless, 16, 12, True, 3, near),
        (uid.JPEG2000, 16, 12, True, 40, wavelets("i2")),
        (uid.JPEG2000, 16, 12, False, 40, wavelets("u2")),
    ],
)
def test_lossy_codings_are_near(
    tmp_path: Path, syntax: str, allocated: int, stored: int, signed: bool, off: int, encode: Callable[[Array], bytes]
) -> None:
    low, high = stored_range(stored, signed)
    values = smooth(low + 60, high - 60)
    path = written(
        tmp_path / "x.dcm",
        cells_of(values, allocated, stored),
        stored,
        syntax=syntax,
        signed=signed,
        streams=[bytes(encode(values))],
    )
    got = (read_image(path)[0][0].astype(np.float64) + 1) / 2 * (high - low) + low
    assert np.abs(got - values).max() <= off + 0.5


def test_signed_lossy_jpeg_is_refused(tmp_path: Path) -> None:
    cells = smooth(0, 255).astype(np.uint8)
    stream = bytes(imagecodecs.jpeg8_encode(cells))
    with pytest.raises(DataError, match="PixelRepresentation"):
        read_image(written(tmp_path / "x.dcm", cells, 8, syntax=uid.JPEGBaseline8Bit, signed=True, streams=[stream]))


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.JPEG2000MC, "1.2.840.10008.1.2.4.110", "1.2.3.4"])
def test_unread_transfer_syntaxes_are_refused(tmp_path: Path, syntax: str) -> None:
    cells = np.zeros((2, 2), np.uint8)
    path = written(tmp_path / "x.dcm", cells, 8, syntax=uid.JPEGBaseline8Bit, streams=[b"\xff\xd8"])
    relabel(path, syntax)
    with pytest.raises(DataError, match="TransferSyntaxUID"):
        read_image(path)


# Bits that are no pixel


@pytest.mark.parametrize("coding", ["little endian", "big endian", "RLE"])
def test_bits_outside_high_bit_and_bits_stored_are_left_out(place: Path, coding: str) -> None:
    depths = [(16, 12, 15), (16, 12, 13), (16, 10, 9), (8, 5, 6)]
    for (allocated, stored, high), signed in product(depths, (False, True)):
        values = some_values(stored, signed)
        shift = high + 1 - stored
        garbage = np.random.default_rng(1).integers(0, 2**allocated, values.shape)
        used = (2**stored - 1) << shift
        cells = (garbage & ~used | (values & (2**stored - 1)) << shift).astype(f"u{allocated // 8}")
        syntax = CODINGS[coding][0]
        streams = [rle(cells)] if coding == "RLE" else None
        path = written(place / "h.dcm", cells, stored, syntax=syntax, signed=signed, streams=streams, HighBit=high)
        low, top = stored_range(stored, signed)
        wanted, case = (values - low) / (top - low) * 2 - 1, f"{stored} of {allocated} bits to {high}, signed {signed}"
        np.testing.assert_allclose(read_image(path)[0][0], wanted, atol=1e-6, err_msg=case)


@pytest.mark.parametrize("coding", ["JPEG-LS", "JPEG lossless", "JPEG 2000"])
def test_overlay_bits_in_a_lossless_stream_are_left_out(tmp_path: Path, coding: str) -> None:
    values = some_values(12, False)
    cells = (values | np.random.default_rng(2).integers(0, 16, values.shape) << 12).astype(np.uint16)
    encode = {
        "JPEG-LS": imagecodecs.jpegls_encode,
        "JPEG lossless": lambda array: imagecodecs.jpeg8_encode(array, lossless=True, bitspersample=16),
        "JPEG 2000": lambda array: imagecodecs.jpeg2k_encode(array, level=0, reversible=True, codecformat="j2k"),
    }[coding]
    path = written(tmp_path / "x.dcm", cells, 12, syntax=CODINGS[coding][0], streams=[bytes(encode(cells))])
    np.testing.assert_allclose(read_image(path)[0][0], values / 4095 * 2 - 1, atol=1e-6)


def test_sign_that_a_stream_loses_is_refused(tmp_path: Path) -> None:
    """12 bits in a stream without a sign, 16 signed bits in the header: 4095 or -1."""
    for values, read in [(np.array([[0, 2047]]), True), (np.array([[0, 4095]]), False)]:
        stream = jpeg_lossless(values, 12, 12)
        path = written(
            tmp_path / "x.dcm", values.astype(np.uint16), 16, syntax=uid.JPEGLossless, signed=True, streams=[stream]
        )
        if read:
            assert read_image(path, range=(0, 2047))[0].flatten().tolist() == [-1, 1]
        else:
            with pytest.raises(DataError, match="12 bits where BitsStored is 16"):
                read_image(path)


def test_loss_that_leaves_the_bits_stored_is_refused(tmp_path: Path) -> None:
    """-1 is 4095 in 12 bits; a stream of 16 bits with an error of 3 makes it 4098, whose lower 12 bits are 2."""
    cells = np.random.default_rng(0).integers(4085, 4096, (30, 30)).astype(np.uint16)
    stream = bytes(imagecodecs.jpegls_encode(cells, level=3))
    assert imagecodecs.jpegls_decode(stream).max() > 4095
    path = written(tmp_path / "x.dcm", cells, 12, syntax=uid.JPEGLSNearLossless, signed=True, streams=[stream])
    with pytest.raises(DataError, match="BitsStored of 12"):
        read_image(path)


def test_padding_beyond_bits_stored_is_refused_and_other_padding_is_a_value(tmp_path: Path) -> None:
    cells = np.array([[0, 4095, 63536]], np.uint16)
    with pytest.raises(DataError, match="PixelPaddingValue 63536"):
        read_image(written(tmp_path / "x.dcm", cells, 12, PixelPaddingValue=63536))
    cells = np.array([[0, 4095, 2096]], np.uint16)
    for padding in (63536, 2096, 0):
        image, _ = read_image(written(tmp_path / "x.dcm", cells, 12, PixelPaddingValue=padding))
        np.testing.assert_allclose(image[0, 0], [-1, 1, 2096 / 4095 * 2 - 1], atol=1e-6)
    signed = cells_of(np.array([[-2000, 100]]), 16, 12)
    image, _ = read_image(
        written(
            tmp_path / "x.dcm", signed, 12, signed=True, PixelPaddingValue=DataElement("PixelPaddingValue", "SS", -2000)
        )
    )
    np.testing.assert_allclose(image[0, 0], [48 / 4095 * 2 - 1, 2148 / 4095 * 2 - 1], atol=1e-6)


# Elements that are empty, wrong or contradict


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": "1", "RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": "0"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 40, "WindowWidth": None},
        {"WindowCenter": None, "WindowWidth": 400},
        {"VOILUTSequence": [], "ModalityLUTSequence": []},
        {"PixelSpacing": "0.2"},
        {"PixelSpacing": ["0.2", "0.2", "0.2"]},
        {"PixelSpacing": ["0", "0"]},
        {"PixelSpacing": ["-1", "1"]},
        {"PixelSpacing": ["1e-7", "1e-7"]},
        {"PixelSpacing": None},
        {"NumberOfFrames": None},
        {"HighBit": ...},
        {"PixelPaddingValue": DataElement("PixelPaddingValue", "US", None)},
        {"PresentationLUTShape": "IDENTITY"},
        {"PresentationLUTShape": None},
        {"SharedFunctionalGroupsSequence": [Dataset()]},
        {"PixelAspectRatio": ["1", "2"]},
        {"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1},
    ],
)  # fmt: skip
def test_elements_that_are_empty_or_change_no_value(tmp_path: Path, elements: dict[str, Any]) -> None:
    values = some_values(12, False)
    image, known = read_image(written(tmp_path / "x.dcm", cells_of(values, 16, 12), 12, **elements))
    np.testing.assert_allclose(image[0], values / 4095 * 2 - 1, atol=1e-6)
    assert (known.spacing, known.low, known.high) == (None, 0, 4095)


def test_spacing_of_the_patient_goes_before_that_of_the_detector(tmp_path: Path) -> None:
    cells = np.zeros((2, 2), np.uint16)
    for elements, spacing in [
        ({"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.4, 0.4]}, (0.2, 0.3)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.4, 0.5]}, (0.4, 0.5)),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
    ]:
        assert read_image(written(tmp_path / "x.dcm", cells, 12, **elements))[1].spacing == spacing


@pytest.mark.parametrize(
    ("named", "elements"),
    [
        ("RescaleSlope", {"RescaleSlope": 0, "RescaleIntercept": 0}),
        ("RescaleSlope", {"RescaleSlope": ["1", "2"], "RescaleIntercept": 0}),
        ("RescaleSlope", {"RescaleSlope": "nan", "RescaleIntercept": 0}),
        ("RescaleSlope", {"RescaleSlope": "1e305", "RescaleIntercept": "1e308"}),
        ("RescaleSlope", {"RescaleSlope": "1e-20", "RescaleIntercept": "1e6"}),
        ("RescaleIntercept", {"RescaleSlope": 2, "RescaleIntercept": None}),
        ("RescaleSlope", {"RescaleIntercept": -1024}),
        ("DoseGridScaling", {"DoseGridScaling": 0}),
        (
            "ModalityLUTSequence",
            {"ModalityLUTSequence": [lut([1, 2], 0, 16)], "RescaleSlope": 2, "RescaleIntercept": 0},
        ),
        ("LUTData", {"ModalityLUTSequence": [lut([1, 2, 3], 0, 16, data_vr="OW", count=2)]}),
        ("LUTData", {"VOILUTSequence": [lut([1, 9999], 0, 12)]}),
        ("LUTDescriptor", {"VOILUTSequence": [Dataset()]}),
        ("WindowCenter", {"WindowCenter": "inf", "WindowWidth": 5}),
        ("VOILUTFunction", {"WindowCenter": 1, "WindowWidth": 5, "VOILUTFunction": "CUBIC"}),
        ("PresentationLUTShape", {"PresentationLUTShape": "INVERSE"}),
        ("PresentationLUTShape", {"PresentationLUTShape": "LIN OD"}),
        ("NumberOfFrames", {"NumberOfFrames": 0}),
        ("NumberOfFrames", {"NumberOfFrames": -1}),
        ("Rows", {"Rows": None}),
        ("Rows", {"Rows": [6, 6]}),
        ("Columns", {"Columns": ...}),
        ("BitsAllocated", {"BitsAllocated": 12}),
        ("BitsAllocated", {"BitsAllocated": None}),
        ("BitsStored", {"BitsStored": 17}),
        ("BitsStored", {"BitsStored": 0}),
        ("BitsStored", {"BitsStored": ...}),
        ("HighBit", {"HighBit": 10}),
        ("HighBit", {"HighBit": 16}),
        ("PixelRepresentation", {"PixelRepresentation": 2}),
        ("PixelRepresentation", {"PixelRepresentation": None}),
        ("SamplesPerPixel", {"SamplesPerPixel": 3}),
        ("PhotometricInterpretation", {"PhotometricInterpretation": None}),
        ("PhotometricInterpretation", {"PhotometricInterpretation": "ARGB"}),
        ("SamplesPerPixel", {"PhotometricInterpretation": "RGB"}),
        ("FloatPixelData", {"FloatPixelData": np.zeros(48, "f4").tobytes()}),
        ("PerFrameFunctionalGroupsSequence", {"PerFrameFunctionalGroupsSequence": [Dataset(), Dataset()]}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_elements_that_are_refused_are_named(tmp_path: Path, named: str, elements: dict[str, Any]) -> None:
    path = written(tmp_path / "x.dcm", cells_of(some_values(12, False), 16, 12), 12, **elements)
    with pytest.raises(DataError, match=named):
        read_image(path)


@pytest.mark.parametrize(
    "name", ["RescaleSlope", "WindowCenter", "Rows", "NumberOfFrames", "PixelSpacing", "BitsStored"]
)
def test_damaged_numbers_show_no_message_of_python(place: Path, name: str) -> None:
    texts = {"RescaleSlope": 1.5, "WindowCenter": 40, "NumberOfFrames": 1, "PixelSpacing": [0.2, 0.2]}
    path = written(place / "d.dcm", np.zeros((4, 4), np.uint16), 12, RescaleIntercept=0, WindowWidth=100, **texts)
    content = path.read_bytes()
    tag = Dataset()
    setattr(tag, name, texts.get(name, 4))
    number = next(iter(tag.keys()))
    at = content.index(number.group.to_bytes(2, "little") + number.elem.to_bytes(2, "little")) + 8
    length = int.from_bytes(content[at - 2 : at], "little")
    for bad in (b"abcdefghijklmnopqrst"[:length], b"\xff" * length, b"\\" * length, b"-" * length):
        path.write_bytes(content[:at] + bad + content[at + length :])
        try:
            read_image(path)
        except DataError as error:
            result = str(error).split(": ", 1)[1]
            assert not any(
                word in result for word in ("NoneType", "object", "literal", "operand", "attribute", "index")
            )


def test_an_inverse_presentation_lut_inverts_once(tmp_path: Path) -> None:
    values = some_values(12, False)
    image, _ = read_image(
        written(
            tmp_path / "x.dcm", cells_of(values, 16, 12), 12, photometric="MONOCHROME1", PresentationLUTShape="INVERSE"
        )
    )
    np.testing.assert_allclose(image[0], 1 - values / 4095 * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "vr", "dtype"), [("FloatPixelData", "OF", "f4"), ("DoubleFloatPixelData", "OD", "f8")]
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_floating_pixels_need_a_range(tmp_path: Path, name: str, vr: str, dtype: str, syntax: str) -> None:
    values = np.array([[-1.5, 0, 2.5]])
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    element = DataElement(name, vr, values.astype(order + dtype).tobytes())
    drop = dict.fromkeys(("PixelData", "BitsStored", "HighBit", "PixelRepresentation"), ...)
    path = written(
        tmp_path / "x.dcm",
        np.zeros((1, 3), np.uint16),
        16,
        syntax=syntax,
        BitsAllocated=int(dtype[1]) * 8,
        **drop,
        **{name: element},
    )
    with pytest.raises(DataError, match="float"):
        read_image(path)
    image, known = read_image(path, range=(-2, 3))
    np.testing.assert_allclose(image[0], (values + 2) / 2.5 - 1, atol=1e-6)
    assert known.bits is None


def test_dose_is_scaled(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.dcm", np.array([[0, 500, 1000]], np.uint32), 32, DoseGridScaling="0.001", DoseUnits="GY"
    )
    image, known = read_image(path, range=(0, 1))
    np.testing.assert_allclose(image[0, 0], [-1, 0, 1], atol=1e-6)
    assert known.details["units"] == "GY"


def test_functional_groups_of_the_frame_replace_what_is_at_the_top(tmp_path: Path) -> None:
    def group(slope: int, centre: int) -> Dataset:
        item, value, window = Dataset(), Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, -10, "HU"
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = centre, 100, "LINEAR_EXACT"
        item.PixelValueTransformationSequence, item.FrameVOILUTSequence = [value], [window]
        return item

    frames = np.stack([some_values(8, False, seed=k) for k in range(3)])
    path = written(
        tmp_path / "x.dcm", frames[0].astype(np.uint16), 8, NumberOfFrames=3, PixelData=frames.astype("<u2").tobytes(),
        RescaleSlope=9, RescaleIntercept=9, VOILUTSequence=[lut([1, 2], 0, 8)],
        PerFrameFunctionalGroupsSequence=[group(k + 1, 50 * k) for k in range(3)],
    )  # fmt: skip
    for k, values in enumerate(frames):
        image, known = read_image(path, frame=k)
        wanted = [2 * linear_exact(v * (k + 1) - 10, 50 * k, 100) - 1 for v in values.ravel().tolist()]
        np.testing.assert_allclose(image[0].ravel(), wanted, atol=1e-6)
        assert known.window == (50 * k, 100)


# Colour


RGB = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def to_ybr(rgb: Array) -> Array:
    """C.7.6.3.1.2."""
    r, g, b = (rgb[..., k].astype(float) for k in range(3))
    luma = 0.2990 * r + 0.5870 * g + 0.1140 * b
    blue = -0.1687 * r - 0.3313 * g + 0.5000 * b + 128
    red = 0.5000 * r - 0.4187 * g - 0.0813 * b + 128
    return np.clip(np.stack([luma, blue, red], -1).round(), 0, 255).astype(np.uint8)


def rgb_of(path: Path) -> Array:
    image, known = read_image(path)
    assert known.photometric == "RGB"
    return ((image.transpose(1, 2, 0) + 1) / 2 * known.high).round()


def test_uncompressed_colour(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    for syntax in (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        assert (rgb_of(written(path, RGB, 8, photometric="RGB", syntax=syntax)) == RGB).all()
    planes = DataElement("PixelData", "OB", RGB.transpose(2, 0, 1).tobytes())
    assert (rgb_of(written(path, RGB, 8, photometric="RGB", PlanarConfiguration=1, PixelData=planes)) == RGB).all()
    assert np.abs(rgb_of(written(path, to_ybr(RGB), 8, photometric="YBR_FULL")) - RGB).max() <= 2
    even = np.repeat(RGB[:, ::2], 2, axis=1)
    ybr = to_ybr(even)
    packed = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)
    element = DataElement("PixelData", "OB", packed.tobytes())
    assert np.abs(rgb_of(written(path, even, 8, photometric="YBR_FULL_422", PixelData=element)) - even).max() <= 2


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("space", ["rgb", "ycbcr"])
def test_jpeg_that_says_its_own_colours_goes_before_the_header(tmp_path: Path, photometric: str, space: str) -> None:
    smoothed = np.stack([smooth(0, 255), smooth(255, 0), smooth(40, 200)], -1).astype(np.uint8)
    stream = bytes(
        imagecodecs.jpeg8_encode(smoothed, level=98, colorspace="rgb", outcolorspace=space, subsampling="444")
    )
    path = written(
        tmp_path / "x.dcm", smoothed, 8, photometric=photometric, syntax=uid.JPEGBaseline8Bit, streams=[stream]
    )
    assert np.abs(rgb_of(path) - smoothed).max() <= 8


def j2k(samples: Array, bits: int = 8, **options: Any) -> bytes:
    options = {"level": 0, "reversible": True, "codecformat": "j2k", "bitspersample": bits} | options
    return bytes(imagecodecs.jpeg2k_encode(samples, **options))


def test_colour_of_lossless_codings(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    deep = (RGB.astype(np.uint16) * 16 + 5) % 4096
    lossless = imagecodecs.jpeg8_encode(RGB, lossless=True, colorspace="rgb", outcolorspace="rgb")
    for syntax, photometric, cells, stored, stream in [
        (uid.RLELossless, "RGB", RGB, 8, rle(RGB)),
        (uid.RLELossless, "RGB", deep, 12, rle(deep)),
        (uid.JPEGLSLossless, "RGB", RGB, 8, imagecodecs.jpegls_encode(RGB)),
        (uid.JPEGLossless, "RGB", RGB, 8, lossless),
        (uid.JPEG2000Lossless, "YBR_RCT", RGB, 8, j2k(RGB, mct=True)),
        (uid.JPEG2000Lossless, "RGB", RGB, 8, j2k(RGB, mct=True)),
        (uid.JPEG2000Lossless, "RGB", RGB, 8, j2k(RGB, mct=False)),
        (uid.JPEG2000Lossless, "YBR_RCT", deep, 12, j2k(deep, 12)),
        (uid.HTJ2KLossless, "YBR_RCT", RGB, 8, imagecodecs.htj2k_encode(RGB, reversible=True)),
    ]:
        got = rgb_of(written(path, cells, stored, photometric=photometric, syntax=syntax, streams=[bytes(stream)]))
        np.testing.assert_array_equal(got, cells)
    for syntax, stream in [
        (uid.JPEG2000Lossless, j2k(to_ybr(RGB), mct=False)),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode(to_ybr(RGB))),
        (uid.RLELossless, rle(to_ybr(RGB))),
    ]:
        got = rgb_of(written(path, RGB, 8, photometric="YBR_FULL", syntax=syntax, streams=[bytes(stream)]))
        assert np.abs(got - RGB).max() <= 2


def test_jpeg_ls_in_three_scans(tmp_path: Path) -> None:
    """Interleave mode 0: a scan for each colour, put together from three gray streams."""
    grays = [bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(RGB[..., k]))) for k in range(3)]
    stream = b"\xff\xd8\xff\xf7\x00\x11\x08" + bytes([0, RGB.shape[0], 0, RGB.shape[1], 3])
    stream += b"".join(bytes([k, 0x11, 0]) for k in (1, 2, 3))
    for k, gray in enumerate(grays):
        scan = gray.index(b"\xff\xda")
        body = gray[scan + 2 + int.from_bytes(gray[scan + 2 : scan + 4], "big") : -2]
        stream += b"\xff\xda\x00\x08" + bytes([1, k + 1, 0, 0, 0, 0]) + body
    path = written(
        tmp_path / "x.dcm", RGB, 8, photometric="RGB", syntax=uid.JPEGLSLossless, streams=[stream + b"\xff\xd9"]
    )
    np.testing.assert_array_equal(rgb_of(path), RGB)


def test_colours_that_contradict_are_refused(tmp_path: Path) -> None:
    plain, mixed, jp2 = j2k(RGB, mct=False), j2k(RGB, mct=True), j2k(RGB, codecformat="jp2")
    packed: dict[str, Any] = {"syntax": uid.JPEG2000Lossless}
    for photometric, streams, elements, named in [
        ("YBR_RCT", [plain], packed, "YBR_RCT"),
        ("YBR_FULL", [mixed], packed, "YBR_FULL"),
        ("RGB", [jp2], packed, "JP2"),
        ("YBR_PARTIAL_422", None, {}, "YBR_PARTIAL_422"),
        ("HSV", None, {}, "HSV"),
        ("YBR_RCT", None, {}, "YBR_RCT"),
        ("RGB", None, {"signed": True}, "PixelRepresentation"),
        ("RGB", None, {"PlanarConfiguration": 2}, "PlanarConfiguration"),
        ("RGB", None, {"PlanarConfiguration": None}, "PlanarConfiguration"),
        ("RGB", None, {"RescaleSlope": 2, "RescaleIntercept": 0}, "RescaleSlope"),
    ]:
        with pytest.raises(DataError, match=named):
            read_image(written(tmp_path / "x.dcm", RGB, 8, photometric=photometric, streams=streams, **elements))


# Integrity


@pytest.mark.parametrize("coding", CODINGS)
def test_object_cut_anywhere_is_refused_or_whole(place: Path, coding: str) -> None:
    values = some_values(12, False, (9, 7))
    path = coded(place / f"{coding[:5]}.dcm", coding, values, 16, 12, False, PatientComments="x" * 30)
    content, whole = path.read_bytes(), read_image(path)[0]

    @given(at=st.integers(0, len(content) - 1))
    @settings(max_examples=15, deadline=None)
    def holds(at: int) -> None:
        path.write_bytes(content[:at])
        try:
            image = read_image(path)[0]
        except DataError:
            return
        assert np.array_equal(image, whole)

    holds()


@pytest.mark.parametrize("coding", [name for name, (_, encode) in CODINGS.items() if encode])
def test_stream_cut_inside_a_whole_object_is_refused(place: Path, coding: str) -> None:
    values = some_values(12, True, (40, 30))
    syntax, encode = CODINGS[coding]
    assert encode is not None
    stream = encode(values, 16, 12, True)
    for at in sorted({1, 2, 40, 64, 80, len(stream) // 2, len(stream) * 9 // 10, len(stream) - 40}):
        path = written(place / "s.dcm", cells_of(values, 16, 12), 12, syntax=syntax, signed=True, streams=[stream[:at]])
        with pytest.raises(DataError):
            read_image(path)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_lossy_jpeg_cut_short_is_refused(place: Path, syntax: str) -> None:
    cells = smooth(0, 255).astype(np.uint8)
    stream = bytes(imagecodecs.jpeg8_encode(cells, level=95))
    for at in range(1, len(stream) - 1, 37):
        with pytest.raises(DataError):
            read_image(written(place / "j.dcm", cells, 8, syntax=syntax, streams=[stream[:at]]))


@pytest.mark.parametrize("coding", [name for name, (_, encode) in CODINGS.items() if encode])
def test_stream_of_another_size_or_coding_is_refused(place: Path, coding: str) -> None:
    syntax, encode = CODINGS[coding]
    assert encode is not None
    cells = cells_of(some_values(12, False, (8, 8)), 16, 12)
    for shape in [(8, 7), (7, 8), (9, 8), (16, 8)]:
        stream = encode(some_values(12, False, shape), 16, 12, False)
        with pytest.raises(DataError):
            read_image(written(place / "o.dcm", cells, 12, syntax=syntax, streams=[stream]))
    png = bytes(imagecodecs.png_encode(cells))
    for stream in (png, b"", b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51\xff\xd9"):
        with pytest.raises(DataError):
            read_image(written(place / "o.dcm", cells, 12, syntax=syntax, streams=[stream]))


def test_rle_segments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    cells = cells_of(some_values(12, False), 16, 12)
    stream = rle(cells)
    bad = {
        "count": (3).to_bytes(4, "little") + stream[4:],
        "start": stream[:4] + (70).to_bytes(4, "little") + stream[8:],
        "order": stream[:8] + (10).to_bytes(4, "little") + stream[12:],
        "beyond": stream[:8] + (len(stream) + 5).to_bytes(4, "little") + stream[12:],
        "longer": stream[:-2] + bytes([0x9C, 7, 0x9C, 7]),
    }
    for content in bad.values():
        with pytest.raises(DataError, match="RLE"):
            read_image(written(tmp_path / "x.dcm", cells, 12, syntax=uid.RLELossless, streams=[content]))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_flipped_byte_gives_an_image_or_a_data_error(place: Path, data: st.DataObject) -> None:
    coding = data.draw(st.sampled_from(sorted(CODINGS)))
    path = coded(
        place / "f.dcm", coding, some_values(12, False, (9, 7)), 16, 12, False, WindowCenter=40, WindowWidth=99
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        image, _ = read_image(path)
    except DataError:
        return
    assert np.isfinite(image).all()


@pytest.mark.parametrize(
    ("length", "read"), [(96, True), (97, True), (108, True), (94, False), (0, False), (192, False)]
)
def test_bytes_of_pixels_are_those_of_the_header(tmp_path: Path, length: int, read: bool) -> None:
    """One byte, or zeros of less than a row, may be padding; a second frame may not."""
    cells = cells_of(some_values(12, False), 16, 12)
    content = (cells.tobytes() + bytes(200))[:length]
    path = written(tmp_path / "x.dcm", cells, 12, PixelData=DataElement("PixelData", "OW", content))
    if read:
        assert read_image(path)[0].shape == (1, 6, 8)
    else:
        with pytest.raises(DataError, match=f"{length} bytes of PixelData .*96"):
            read_image(path)
    content = cells.tobytes() + b"\0\1\0\0"
    with pytest.raises(DataError, match="100 bytes"):
        read_image(written(tmp_path / "x.dcm", cells, 12, PixelData=DataElement("PixelData", "OW", content)))


def test_frames_are_found_in_their_fragments(tmp_path: Path) -> None:
    frames = [some_values(12, False, (16, 16), seed) for seed in range(3)]
    cells = cells_of(frames[0], 16, 12)
    streams = [bytes(imagecodecs.jpegls_encode(cells_of(frame, 16, 12))) for frame in frames]
    streams = [stream + b"\0" * (len(stream) % 2) for stream in streams]
    halves = [part for stream in streams for part in (stream[:200], stream[200:])]
    starts = [0]
    for stream in streams[:-1]:
        starts.append(starts[-1] + len(stream) + 16)

    def read(element: DataElement, count: int = 3) -> list[Array]:
        path = written(
            tmp_path / "x.dcm",
            cells,
            12,
            syntax=uid.JPEGLSLossless,
            streams=[b""],
            NumberOfFrames=count,
            PixelData=element,
        )
        return [(read_image(path, frame=k)[0][0] + 1) / 2 * 4095 for k in range(count)]

    for element in [
        fragments(streams), fragments(halves), fragments(halves, starts),
        fragments(streams, [7, 9]),  # a table that is wrong, and not needed: each fragment is a frame
        DataElement("PixelData", "OB", encapsulate(streams), is_undefined_length=True),
        DataElement("PixelData", "OB", encapsulate(streams, fragments_per_frame=3), is_undefined_length=True),
    ]:  # fmt: skip
        np.testing.assert_array_equal(np.stack(read(element)).round(), np.stack(frames))
    assert len(read(fragments([streams[0][:100], streams[0][100:]], [0]), 1)) == 1
    table, _, _ = encapsulate_extended(streams)
    assert len(read(DataElement("PixelData", "OB", table, is_undefined_length=True))) == 3
    for element, count in [
        (fragments(streams[:2]), 3),
        (fragments(streams), 2),
        (fragments(streams), 1),
        (fragments(halves, [0, 7, 9]), 3),
        (fragments(halves, starts[:2]), 3),
        (fragments(halves, [starts[1], starts[0], starts[2]]), 3),
        (fragments([]), 1),
        (fragments(halves[1:]), 3),
    ]:
        with pytest.raises(DataError):
            read(element, count)


def test_pixels_of_another_coding_than_the_transfer_syntax_are_refused(tmp_path: Path) -> None:
    path, cells = tmp_path / "x.dcm", cells_of(some_values(12, False), 16, 12)
    relabel(written(path, cells, 12), uid.JPEGLSLossless)
    with pytest.raises(DataError, match="PixelData"):
        read_image(path)
    with pytest.raises(DataError, match="PixelData"):
        read_image(written(path, cells, 12, PixelData=fragments([cells.tobytes()])))


def test_transfer_syntax_that_is_missing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint16), 12)
    relabel(path, None)
    with pytest.raises(DataError, match="TransferSyntaxUID"):
        read_image(path)


def test_object_without_its_preamble_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint16), 12)
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(DataError, match="DICOM"):
        read_image(path)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"SOPClassUID": uid.SegmentationStorage}, "labels"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7"}, "labels"),
        ({"RecommendedViewingMode": "SUB"}, "RecommendedViewingMode"),
    ],
)
def test_values_that_are_no_intensities_are_refused(tmp_path: Path, elements: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_image(written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint8), 8, **elements))


def test_what_follows_the_pixels_is_padding_or_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "x.dcm", tmp_path / "y.dcm"
    whole = written(path, np.array([[0, 4095]], np.uint16), 12).read_bytes()
    second = written(other, np.array([[4095, 0]], np.uint16), 12).read_bytes()
    for behind in (second, b"junkjunk"):
        path.write_bytes(whole + behind)
        with pytest.raises(DataError, match="pixels"):
            read_image(path)
    for padding in (bytes(64), b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0\0\0\0\0"):
        path.write_bytes(whole + padding)
        assert read_image(path)[0].tolist() == [[[-1, 1]]]
