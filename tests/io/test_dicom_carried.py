"""What a derived object takes over from its source, where a plain copy would say something else than the source did."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread, uid
from pydicom.overlays import get_overlay_array
from pydicom.sequence import Sequence

from restorekit import DataError, load, read_image, write_image
from restorekit.restoring.restore import restore_files

from .made_dicom import RGB, j2k, lut, rle, stored_range, written
from .test_dicom import OWN
from .test_dicom_written import copied, errors_of

VALUES = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80
PLANE = np.arange(48).reshape(6, 8) % 3 == 0
GRAY = np.random.default_rng(2).integers(0, 256, (16, 16)).astype(np.uint8)


def overlaid(path: Path, **elements: Any) -> Path:
    """Add an overlay to a file."""
    data = dcmread(path)
    known = {0x10: 6, 0x11: 8, 0x40: "G", 0x50: [1, 1], 0x100: 16, 0x102: 12}
    vrs = {0x40: "CS", 0x50: "SS", 0x3000: "OW"}
    for element, value in {**known, **elements.get("other", {})}.items():
        data.add_new((0x6000, element), vrs.get(element, "US"), value)
    data.save_as(path)
    return path


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("slope", [1, -1, 0.5])
def test_values_beyond_bits_stored_are_never_written(tmp_path: Path, signed: bool, slope: float) -> None:
    low, high = stored_range(12, signed)
    extra = {"WindowCenter": 0, "WindowWidth": 20000, "RescaleSlope": slope, "RescaleIntercept": 0}
    source = written(tmp_path / "x.dcm", VALUES, 12, signed=signed, **extra)
    image, intensity = read_image(source)
    for value, end in ((1.0, high if slope > 0 else low), (-1.0, low if slope > 0 else high)):
        write_image(tmp_path / "y.dcm", np.full_like(image, value), intensity)
        data = dcmread(tmp_path / "y.dcm")
        assert set(np.frombuffer(data.PixelData, "<i2" if signed else "<u2")) == {end}
        assert data.BitsStored == 12


@pytest.mark.parametrize("stated", ["ORIGINAL", "DERIVED", "", ["ORIGINAL"]])
def test_an_image_type_of_one_value_is_no_list_of_letters(tmp_path: Path, stated: Any) -> None:
    source = written(tmp_path / "x.dcm", VALUES, 12, ImageType=stated)
    assert list(copied(source, tmp_path / "y.dcm").ImageType) == ["DERIVED", "SECONDARY"]


def test_an_image_of_pet_stays_primary(tmp_path: Path) -> None:
    data = dcmread(OWN / "CT_small.dcm")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.PositronEmissionTomographyImageStorage
    data.ImageType = ["ORIGINAL", "PRIMARY"]
    data.save_as(tmp_path / "x.dcm")
    found = copied(tmp_path / "x.dcm", tmp_path / "y.dcm", range=(-1024, 3071))
    assert list(found.ImageType) == ["DERIVED", "PRIMARY"]
    assert set(errors_of(tmp_path / "y.dcm")) <= set(errors_of(tmp_path / "x.dcm"))


@pytest.mark.parametrize("stated", [None, "00", "01"])
@pytest.mark.parametrize(
    ("syntax", "stream", "method"),
    [
        (uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode(GRAY, level=90), "ISO_10918_1"),
        (uid.JPEGLSNearLossless, imagecodecs.jpegls_encode(GRAY, level=3), "ISO_14495_1"),
        (uid.JPEGLSNearLossless, imagecodecs.jpegls_encode(GRAY), None),
        (uid.JPEG2000, j2k(GRAY, reversible=False, level=30), "ISO_15444_1"),
        (uid.JPEG2000, j2k(GRAY), None),
        (uid.HTJ2K, imagecodecs.htj2k_encode(GRAY, reversible=True), None),
        (uid.RLELossless, rle(GRAY), None),
    ],
)
def test_a_loss_that_only_the_transfer_syntax_states_is_stated(
    tmp_path: Path, syntax: str, stream: bytes, method: str | None, stated: str | None
) -> None:
    elements = {} if stated is None else {"LossyImageCompression": stated}
    source = written(tmp_path / "x.dcm", GRAY, 8, syntax=syntax, streams=[bytes(stream)], **elements)
    data = copied(source, tmp_path / "y.dcm")
    assert data.get("LossyImageCompression") == ("01" if method else stated)
    if method and stated != "01":
        assert data.LossyImageCompressionMethod == method
        assert float(data.LossyImageCompressionRatio) == pytest.approx(GRAY.size / len(stream), rel=0.01)


@pytest.mark.parametrize("coding", ["little endian", "big endian", "RLE"])
def test_an_overlay_in_unused_bits_gets_bits_of_its_own(tmp_path: Path, coding: str) -> None:
    cells = VALUES | PLANE.astype(np.uint16) << 12
    syntax = {"big endian": uid.ExplicitVRBigEndian, "RLE": uid.RLELossless}.get(coding, uid.ExplicitVRLittleEndian)
    streams = [rle(cells)] if coding == "RLE" else None
    source = overlaid(written(tmp_path / "x.dcm", cells, 12, syntax=syntax, streams=streams))
    data = copied(source, tmp_path / "y.dcm")
    assert np.array_equal(get_overlay_array(data, 0x6000), PLANE)
    assert np.array_equal(data.pixel_array, VALUES)
    assert (data[0x6000, 0x100].value, data[0x6000, 0x102].value) == (1, 0)
    assert set(errors_of(tmp_path / "y.dcm")) <= set(errors_of(source))


@pytest.mark.parametrize("bit", [3, 16, 4096])
def test_an_overlay_that_no_bit_holds_is_left_out(tmp_path: Path, bit: int) -> None:
    source = overlaid(written(tmp_path / "x.dcm", VALUES, 12), other={0x102: bit})
    assert not [element for element in copied(source, tmp_path / "y.dcm") if element.tag.group == 0x6000]


def test_an_overlay_in_bits_that_a_stream_has_not_is_left_out(tmp_path: Path) -> None:
    stream = bytes(imagecodecs.jpeg8_encode(VALUES, lossless=True, bitspersample=12))
    source = overlaid(written(tmp_path / "x.dcm", VALUES, 12, syntax=uid.JPEGLosslessSV1, streams=[stream]))
    assert (0x6000, 0x0010) not in copied(source, tmp_path / "y.dcm")


def test_words_of_big_endian_are_turned(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [2, 0, 16])
    item.add_new("LUTData", "OW", b"\x00\x01\x00\x02")
    elements = {
        "RedPaletteColorLookupTableData": DataElement("RedPaletteColorLookupTableData", "OW", b"\x01\x02"),
        "PresentationLUTSequence": Sequence([item]),
    }
    source = written(tmp_path / "x.dcm", VALUES, 12, syntax=uid.ExplicitVRBigEndian, **elements)
    overlaid(source, other={0x100: 1, 0x102: 0, 0x3000: b"\x01\x02\x03\x04\x05\x06"})
    data = copied(source, tmp_path / "y.dcm")
    assert data.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert data[0x6000, 0x3000].value == b"\x02\x01\x04\x03\x06\x05"
    assert data.RedPaletteColorLookupTableData == b"\x02\x01"
    assert data.PresentationLUTSequence[0].LUTData == b"\x01\x00\x02\x00"
    assert np.array_equal(data.pixel_array, VALUES)


@pytest.mark.parametrize(("padding", "limit"), [(63536, None), (63536, 63636), (-2000, 63636)])
def test_padding_of_the_other_sign_stays(tmp_path: Path, padding: int, limit: int | None) -> None:
    array = VALUES.astype(np.int16) - 1000
    array[:2] = -2000 if limit is None else -1950
    ends = {"PixelPaddingValue": padding, "PixelPaddingRangeLimit": limit}
    extra = {name: DataElement(name, "SS" if end < 0 else "US", end) for name, end in ends.items() if end is not None}
    source = written(tmp_path / "x.dcm", array.view(np.uint16), 16, signed=True, **extra)
    image, intensity = read_image(source, range=(-2000, 4000))
    write_image(tmp_path / "y.dcm", image * 0.5, intensity)
    assert np.array_equal(np.frombuffer(dcmread(tmp_path / "y.dcm").PixelData, "<i2").reshape(6, 8)[:2], array[:2])


def test_real_world_values_of_other_stored_values_are_left_out(tmp_path: Path) -> None:
    item = Dataset()
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, 2.0
    extra = {"RealWorldValueMappingSequence": Sequence([item]), "WindowCenter": 2000, "WindowWidth": 1000}
    source = written(tmp_path / "x.dcm", VALUES, 12, **extra)
    assert "RealWorldValueMappingSequence" in copied(source, tmp_path / "y.dcm")  # a straight window: values stay
    source = written(tmp_path / "x.dcm", VALUES, 12, VOILUTFunction="SIGMOID", **extra)
    assert "RealWorldValueMappingSequence" not in copied(source, tmp_path / "y.dcm")


def test_a_new_file_does_not_name_the_writer_of_its_source(tmp_path: Path) -> None:
    source = written(tmp_path / "x.dcm", VALUES, 12)
    data = dcmread(source)
    data.preamble = b"II*\0" + b"DOE^JOHN".ljust(124)
    data.file_meta.ImplementationClassUID, data.file_meta.ImplementationVersionName = "1.2.3.9", "SCANNER"
    data.file_meta.SourceApplicationEntityTitle = "CLINIC"
    data.file_meta.PrivateInformationCreatorUID, data.file_meta.PrivateInformation = "1.2.9", b"DOE^JOHN"
    data.save_as(source)
    new = copied(source, tmp_path / "y.dcm")
    assert new.preamble == b"\0" * 128
    assert new.file_meta.ImplementationClassUID != "1.2.3.9"
    content = (tmp_path / "y.dcm").read_bytes()
    assert not any(word in content for word in (b"DOE", b"CLINIC", b"SCANNER"))


def test_the_name_of_a_model_is_written_in_any_character_set(tmp_path: Path) -> None:
    source = written(tmp_path / "x.dcm", RGB, 8, photometric="RGB", SpecificCharacterSet="ISO_IR 100")
    image, intensity = read_image(source)
    known = replace(intensity, details={**intensity.details, "derivation": "Läufe\\胸"})
    write_image(tmp_path / "y.dcm", image, known)
    (equipment,) = dcmread(tmp_path / "y.dcm").ContributingEquipmentSequence
    assert equipment.ManufacturerModelName == "Laufe??"


def test_a_source_without_its_uid_is_refused_by_name(tmp_path: Path) -> None:
    source = written(tmp_path / "x.dcm", VALUES, 12)
    data = dcmread(source)
    data.SOPInstanceUID = ""
    data.save_as(source)
    with pytest.raises(DataError, match=r"y\.dcm.*SOPInstanceUID"):
        copied(source, tmp_path / "y.dcm")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_may_lie_beyond_a_declared_range(tmp_path: Path, photometric: str) -> None:
    array = VALUES.astype(np.int16) - 1024
    array[0] = -2000
    extra = {"PixelPaddingValue": -2000, "RescaleSlope": 1, "RescaleIntercept": 0}
    source = written(tmp_path / "x.dcm", array.view(np.uint16), 16, signed=True, photometric=photometric, **extra)
    image, intensity = read_image(source, range=(-1024, 3071))
    assert np.abs(image.numpy()).max() <= 1
    assert set(image.numpy()[0, 0]) == {1 if photometric == "MONOCHROME1" else -1}
    assert intensity.note == ""
    write_image(tmp_path / "y.dcm", image, intensity)
    assert np.array_equal(np.frombuffer(dcmread(tmp_path / "y.dcm").PixelData, "<i2").reshape(6, 8), array)
    array[0, 0] = -1500
    source = written(tmp_path / "x.dcm", array.view(np.uint16), 16, signed=True, photometric=photometric, **extra)
    with pytest.raises(DataError, match="-1500"):
        read_image(source, range=(-1024, 3071))
    assert read_image(source, range=(-1024, 3071), beyond="clip")[1].note.startswith("1 value beyond")


def test_values_beyond_a_declared_range_stay_where_the_restored_ones_are_at_its_end(tmp_path: Path) -> None:
    array = VALUES.astype(np.int16) - 1024
    array[0], array[1, :2] = 9000, -3000
    source = written(tmp_path / "x.dcm", array.view(np.uint16), 16, signed=True)
    image, intensity = read_image(source, range=(-1024, 3071), beyond="clip")
    restored = image.numpy().copy()
    restored[0, 0, 0] = 0
    write_image(tmp_path / "y.dcm", restored, intensity)
    found = np.frombuffer(dcmread(tmp_path / "y.dcm").PixelData, "<i2").reshape(6, 8)
    assert abs(int(found[0, 0]) - 1024) <= 1
    assert np.array_equal(found.ravel()[1:], array.ravel()[1:])


def test_values_beyond_the_window_stay_after_a_modality_lut(tmp_path: Path) -> None:
    item = lut([min(4095, value + 100) for value in range(4096)], 0, 12)
    item.ModalityLUTType = "US"
    extra = {"ModalityLUTSequence": Sequence([item]), "WindowCenter": 2000, "WindowWidth": 1000}
    data = copied(written(tmp_path / "x.dcm", VALUES, 12, **extra), tmp_path / "y.dcm")
    assert "ModalityLUTSequence" not in data
    assert np.array_equal(data.pixel_array, VALUES + 100)


def test_times_are_in_the_zone_that_the_object_states(tmp_path: Path) -> None:
    for offset in ("+0900", "-0330"):
        data = copied(written(tmp_path / "x.dcm", VALUES, 12, TimezoneOffsetFromUTC=offset), tmp_path / "y.dcm")
        stated = datetime.strptime(f"{data.ContentDate}{data.ContentTime}{offset}", "%Y%m%d%H%M%S%z")
        assert abs((datetime.now(UTC) - stated).total_seconds()) < 60
        (equipment,) = data.ContributingEquipmentSequence
        assert equipment.ContributionDateTime == data.ContentDate + data.ContentTime


@pytest.mark.parametrize("count", [None, 1])
@pytest.mark.parametrize(
    "kind", [uid.UltrasoundMultiFrameImageStorage, uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage]
)
def test_one_frame_of_a_class_for_several_is_written(tmp_path: Path, kind: str, count: int | None) -> None:
    extra = {} if count is None else {"NumberOfFrames": count}
    source = written(tmp_path / "x.dcm", VALUES, 12, SOPClassUID=kind, **extra)
    (row,) = restore_files(load("part:identity"), source, tmp_path / "out")
    assert row.error == ""
    assert np.array_equal(dcmread(row.written).pixel_array, VALUES)


def test_one_of_several_frames_is_not_written_as_all(tmp_path: Path) -> None:
    source = written(tmp_path / "x.dcm", np.concatenate([VALUES, VALUES]), 12)
    data = dcmread(source)
    data.Rows, data.NumberOfFrames, data.SOPClassUID = 6, 2, uid.XRayAngiographicImageStorage
    data.save_as(source)
    image, intensity = read_image(source, frame=1)
    with pytest.raises(DataError, match="2 frames"):
        write_image(tmp_path / "y.dcm", image, intensity)


def test_text_of_another_character_set_is_refused_and_never_written_otherwise(tmp_path: Path) -> None:
    source = written(tmp_path / "x.dcm", VALUES, 12, SpecificCharacterSet="ISO_IR 192", PatientName="AAAA^BBBB")
    assert copied(source, tmp_path / "y.dcm").PatientName == "AAAA^BBBB"
    source.write_bytes(source.read_bytes().replace(b"AAAA", "胸部".encode("gbk")))
    with pytest.raises(DataError, match=r"PatientName.*ISO_IR 192"):
        copied(source, tmp_path / "y.dcm")
    japanese = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}
    data = copied(written(tmp_path / "x.dcm", VALUES, 12, **japanese), tmp_path / "y.dcm")
    assert str(data.PatientName) == japanese["PatientName"]
