"""Objects of several frames: each frame restored by its own groups, all of them kept, valid by dciodvfy."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import encapsulate, generate_frames

from restorekit import load
from restorekit.io.formats.dicom.codecs import encode
from restorekit.io.formats.dicom.pixels import frame_values, layout_of
from restorekit.restoring.restore import Row, restore_files

from .made_frames import enhanced, plain
from .test_dicom import OWN, store
from .test_dicom_written import errors_of

GRAY = (np.arange(3 * 6 * 8).reshape(3, 6, 8) * 28).astype(np.uint16)
COLOUR = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3)).astype(np.uint8)
RESCALES = [(1.0, -1024.0), (2.0, -1000.0), (0.5, 0.0)]
WINDOWS = [(1024, 4096), (3095.5, 8191), (1600.5, 401)]
"""The last is narrower than the values of its frame."""
CINE = {"FrameTime": 33, "FrameIncrementPointer": 0x00181063}


def frames_of(data: Dataset) -> Any:
    layout = layout_of(data)
    return np.stack([frame_values(data, layout, at) for at in range(layout.frames)])


def restored(source: Path, out: Path, model: str = "part:identity", **options: Any) -> Row:
    (row,) = restore_files(load(model), source, out, **options)
    return row


def sources(folder: Path) -> Iterator[Path]:
    yield enhanced(folder / "ct.dcm", GRAY, rescales=RESCALES, windows=WINDOWS)
    yield enhanced(folder / "mr.dcm", GRAY, rescales=RESCALES, windows=WINDOWS, magnetic=True)
    angiographic = {
        "ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"],
        "RadiationSetting": "GR",
        "PositionerMotion": "STATIC",
        "PixelIntensityRelationship": "LIN",
    } | dict.fromkeys(
        ("KVP", "PositionerPrimaryAngle", "PositionerSecondaryAngle", "Exposure", "ExposureTime", "XRayTubeCurrent")
    )
    yield plain(folder / "xa.dcm", GRAY, uid.XRayAngiographicImageStorage, "XA", 12, **angiographic, **CINE)
    yield plain(folder / "us.dcm", COLOUR, uid.UltrasoundMultiFrameImageStorage, "US", 8, **CINE)
    capture = uid.MultiFrameTrueColorSecondaryCaptureImageStorage
    yield plain(folder / "sc.dcm", COLOUR, capture, "OT", 8, ConversionType="WSD", **CINE)


def test_made_objects_are_valid_and_stay_so_with_every_frame_and_group(tmp_path: Path) -> None:
    for source in sources(tmp_path):
        assert errors_of(source) == [], source.name
        row = restored(source, tmp_path / "out")
        assert (row.error, row.change) == ("", 0)
        old, new = dcmread(source), dcmread(row.written)
        assert errors_of(Path(row.written)) == [], source.name
        np.testing.assert_array_equal(frames_of(new), frames_of(old))
        assert new.SOPInstanceUID != old.SOPInstanceUID
        assert new.ImageType[0] == "DERIVED"
        for at, group in enumerate(new.get("PerFrameFunctionalGroupsSequence", [])):
            (derived,) = group.DerivationImageSequence
            (origin,) = derived.SourceImageSequence
            assert (origin.ReferencedSOPInstanceUID, origin.ReferencedFrameNumber) == (old.SOPInstanceUID, at + 1)
            del group.DerivationImageSequence
            assert group == old.PerFrameFunctionalGroupsSequence[at]


@pytest.mark.parametrize("magnetic", [False, True])
def test_each_frame_is_stored_by_its_own_rescale(tmp_path: Path, magnetic: bool) -> None:
    """PS3.3 C.7.6.16.2.9: shown value = stored value * slope + intercept, of the groups of that frame."""
    source = enhanced(tmp_path / "x.dcm", GRAY, rescales=RESCALES, windows=WINDOWS, magnetic=magnetic)
    row = restored(source, tmp_path / "out", "part:{name: stretch, low: 0, high: 0}")
    assert row.error == ""
    new = dcmread(row.written)
    made = frames_of(new)
    for at, ((slope, intercept), (centre, width)) in enumerate(zip(RESCALES, WINDOWS, strict=True)):
        (rescale,) = new.PerFrameFunctionalGroupsSequence[at].PixelValueTransformationSequence
        assert (rescale.RescaleSlope, rescale.RescaleIntercept) == (slope, intercept)
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
        before = GRAY[at] * slope + intercept
        seen = np.clip(before, low, high)
        wanted = (seen - seen.min()) / (seen.max() - seen.min()) * (high - low) + low
        kept = ((before <= low) & (wanted <= low)) | ((before >= high) & (wanted >= high))
        np.testing.assert_allclose(made[at] * slope + intercept, np.where(kept, before, wanted), atol=slope / 2 + 1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "emri_small.dcm",
        "emri_small_RLE.dcm",
        "emri_small_big_endian.dcm",
        "emri_small_jpeg_2k_lossless.dcm",
        "emri_small_jpeg_ls_lossless.dcm",
        "SC_rgb_expb_16bit_2frame.dcm",
    ],
)
def test_files_of_pydicom_keep_every_value_and_have_no_new_error(tmp_path: Path, name: str) -> None:
    source = store(name)
    row = restored(source, tmp_path / "out")
    assert row.error == ""
    old, new = dcmread(source), dcmread(row.written)
    np.testing.assert_array_equal(frames_of(new), frames_of(old))
    assert set(errors_of(Path(row.written))) <= set(errors_of(source))
    kept = "big" not in name and "expb" not in name
    assert new.file_meta.TransferSyntaxUID == (old.file_meta.TransferSyntaxUID if kept else uid.ExplicitVRLittleEndian)


def test_a_loop_of_lossy_colour_frames_stays_marked_as_lossy(tmp_path: Path) -> None:
    source = OWN / "examples_ybr_color.dcm"
    data = dcmread(source)  # three of its 30 frames are enough
    data.PixelData = encapsulate([*generate_frames(data.PixelData, number_of_frames=30)][:3])
    data.NumberOfFrames = 3
    data.save_as(tmp_path / "x.dcm")
    row = restored(tmp_path / "x.dcm", tmp_path / "out")
    new = dcmread(row.written)
    assert (row.error, new.LossyImageCompression, new.NumberOfFrames) == ("", "01", 3)
    assert new.PhotometricInterpretation == "RGB"
    np.testing.assert_array_equal(frames_of(new), frames_of(dcmread(tmp_path / "x.dcm")))
    assert set(errors_of(Path(row.written))) <= set(errors_of(tmp_path / "x.dcm"))


def test_twice_the_pixels_move_every_frame_by_a_quarter_of_its_spacing(tmp_path: Path) -> None:
    source = enhanced(tmp_path / "x.dcm", GRAY, rescales=RESCALES, windows=WINDOWS)
    row = restored(source, tmp_path / "out", "part:{name: bicubic, scale: 2}")
    new = dcmread(row.written)
    (shared,) = new.SharedFunctionalGroupsSequence
    assert (new.Rows, new.Columns, new.NumberOfFrames) == (12, 16, 3)
    assert [float(one) for one in shared.PixelMeasuresSequence[0].PixelSpacing] == [0.4, 0.25]
    for at, group in enumerate(new.PerFrameFunctionalGroupsSequence):
        place = [float(one) for one in group.PlanePositionSequence[0].ImagePositionPatient]
        assert place == pytest.approx([10 - 0.5 / 4, 20 - 0.8 / 4, 30 + 2 * at])
    assert errors_of(Path(row.written)) == []


@pytest.mark.parametrize(
    ("change", "options", "error"),
    [
        ({"RedPaletteColorLookupTableDescriptor": [9, 99, 16]}, {}, "supplemental palette"),
        ({"SOPClassUID": uid.NuclearMedicineImageStorage}, {}, "holds 3 frames and is of class Nuclear Medicine"),
        ({}, {"format": "png"}, "holds 3 frames, which DICOM alone keeps together"),
        ({"NumberOfFrames": 4}, {}, "of 3 items for NumberOfFrames 4"),
        ({"function": "SIGMOID"}, {}, "declare their range"),
    ],
)
def test_what_cannot_be_done_right_is_refused(tmp_path: Path, change: Any, options: Any, error: str) -> None:
    source = enhanced(tmp_path / "x.dcm", GRAY, rescales=RESCALES, windows=WINDOWS, **change)
    row = restored(source, tmp_path / "out", **options)
    assert error in row.error
    assert not row.written
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["restored.csv"]


def test_frames_of_phase_are_refused(tmp_path: Path) -> None:
    source = enhanced(tmp_path / "x.dcm", GRAY, rescales=RESCALES, windows=WINDOWS, magnetic=True)
    data = dcmread(source)
    data.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    data.save_as(source)
    assert "frames of phase" in restored(source, tmp_path / "out").error


def test_a_frame_with_damage_costs_the_file_and_is_named(tmp_path: Path) -> None:
    streams = [encode(frame, 12, uid.JPEGLSLossless) or b"" for frame in GRAY]
    streams[1] = streams[1][:20]
    source = plain(tmp_path / "x.dcm", GRAY, uid.XRayAngiographicImageStorage, "XA", 12, **CINE)
    data = dcmread(source)
    data.PixelData = encapsulate(streams)
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    data.save_as(source)
    shutil.copyfile(enhanced(tmp_path / "y.dcm", GRAY, rescales=RESCALES, windows=WINDOWS), tmp_path / "z.dcm")
    rows = [*restore_files(load("part:identity"), [source, tmp_path / "z.dcm"], tmp_path / "out")]
    assert "frame 2" in rows[0].error
    assert rows[1].error == ""


def test_a_batch_of_frames_gives_the_same_values_and_the_second_call_skips(tmp_path: Path) -> None:
    source = enhanced(tmp_path / "x.dcm", GRAY, rescales=RESCALES, windows=WINDOWS)
    one = restored(source, tmp_path / "one", "part:median")
    two = restored(source, tmp_path / "two", "part:median", batch=2)
    np.testing.assert_array_equal(frames_of(dcmread(one.written)), frames_of(dcmread(two.written)))
    assert one.note.startswith("3 frames")
    assert restored(source, tmp_path / "one", "part:median").skipped


def test_parts_of_a_concatenation_stay_together(tmp_path: Path) -> None:
    made = []
    for at in (1, 2):
        about = {
            "SOPInstanceUID": f"1.2.3.{at}",
            "ConcatenationUID": "1.2.9",
            "InConcatenationNumber": at,
            "ConcatenationFrameOffsetNumber": 3 * (at - 1),
            "SOPInstanceUIDOfConcatenationSource": "1.2.8",
        }
        source = enhanced(tmp_path / f"{at}.dcm", GRAY, rescales=RESCALES, windows=WINDOWS, **about)
        made.append(dcmread(restored(source, tmp_path / "out").written))
    names = ("ConcatenationUID", "SOPInstanceUIDOfConcatenationSource", "SeriesInstanceUID")
    for name, old in zip(names, ("1.2.9", "1.2.8", ""), strict=True):
        assert made[0].get(name) == made[1].get(name) != old
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID


def test_a_second_restoring_does_not_describe_the_series_twice(tmp_path: Path) -> None:
    data = dcmread(OWN / "MR_small.dcm")
    data.SeriesDescription = "T1 axial " * 7
    data.save_as(tmp_path / "x.dcm")
    once = restored(tmp_path / "x.dcm", tmp_path / "one")
    shutil.copyfile(once.written, tmp_path / "y.dcm")
    twice = restored(tmp_path / "y.dcm", tmp_path / "two")
    descriptions = [dcmread(row.written).SeriesDescription for row in (once, twice)]
    assert descriptions[0] == descriptions[1]
    assert descriptions[0].endswith(" restored")
    assert len(descriptions[0]) <= 64


def test_private_elements_that_are_left_out_are_counted(tmp_path: Path) -> None:
    source = plain(tmp_path / "x.dcm", COLOUR, uid.UltrasoundMultiFrameImageStorage, "US", 8, **CINE)
    data = dcmread(source)
    data.private_block(0x0011, "SCANNER", create=True).add_new(1, "LO", "raw scale 3")
    data.save_as(source)
    row = restored(source, tmp_path / "out")
    assert row.private == 1  # that which names the creator says nothing else
    assert "private" not in row.note
    assert not any(tag.is_private for tag in list(dcmread(row.written).keys()))


def test_an_enhanced_object_of_one_frame_is_restored(tmp_path: Path) -> None:
    source = enhanced(tmp_path / "x.dcm", GRAY[:1], rescales=RESCALES[:1], windows=WINDOWS[:1])
    row = restored(source, tmp_path / "out")
    assert row.error == ""
    assert errors_of(Path(row.written)) == []
