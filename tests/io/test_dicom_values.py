"""DICOM against its own formulas: PS3.3 C.7.6.3, C.11.1 and C.11.2, written out on known pixels.

Every object is made from integers that are known before they are coded; what `read_image` gives is compared with what
the formulas of the standard give for these integers, one value at a time, without any code of the reader.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import DataElement, Dataset, uid

from restorekit import DataError
from restorekit.io.imagecache import ImageCache
from restorekit.io.images import read_image, reading_through
from tests.io.made_dicom import (
    CODINGS,
    RESCALES,
    VOIS,
    Case,
    cells_of,
    jpeg_lossless,
    linear_exact,
    looked_up,
    lut,
    rle,
    shown,
    some_values,
    stored_range,
    written,
)

# The formulas


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
