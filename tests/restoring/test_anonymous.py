"""Anonymous DICOM: nothing of the patient is left in the bytes, the same patient stays one, and a second call skips."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ComputedRadiographyImageStorage

from restorekit import load, write_image
from restorekit.restoring.anonymous import Anonymizer
from restorekit.restoring.restore import Row, restore_files
from tests.io.made_frames import enhanced, plain
from tests.io.test_dicom import OWN
from tests.io.test_dicom_written import errors_of

NAME, ID, ACCESSION = "Quixwold^Zebulonia", "PID-778812", "ACC-55431"
FILM = np.arange(48, dtype=np.uint16).reshape(1, 6, 8) * 80
SECRETS = ["Quixwold", "Zebulonia", ID, ACCESSION, "Drvoknat", "Hidden Lane", "Kurhaus", "19700101", "20200102"]


def film(path: Path, **elements: Any) -> Path:
    """A film whose patient stands also in free text, in a sequence and in a private element."""
    nested = Dataset()
    nested.PatientID, nested.RequestedProcedureID = ID, "RP-90017"
    plain(
        path,
        FILM,
        ComputedRadiographyImageStorage,
        "CR",
        12,
        **{
            "PatientName": NAME,
            "PatientID": ID,
            "AccessionNumber": ACCESSION,
            "ReferringPhysicianName": "Drvoknat^Aloys",
            "InstitutionName": "Kurhaus",
            "InstitutionAddress": "Hidden Lane 3",
            "StudyDescription": "chest of QUIXWOLD",
            "SeriesDescription": f"film {ID}",
            "ImageComments": "Zebulonia could not stand",
            "RequestAttributesSequence": [nested],
            **elements,
        },
    )
    data = dcmread(path)
    data.private_block(0x0011, "SCANNER", create=True).add_new(1, "LO", NAME)
    data.save_as(path)
    return path


def uids_of(data: Dataset) -> list[str]:
    found = [str(one.value) for one in data.iterall() if one.VR == "UI" and "ClassUID" not in one.keyword]
    return [one for one in found if not one.startswith("1.2.840.10008.")]


def anonymous(*sources: Path, out: Path) -> list[Row]:
    rows = [*restore_files(load("part:identity"), sources, out, anonymize=True)]
    assert [row.error for row in rows] == [""] * len(rows)
    return rows


def test_no_name_id_uid_or_date_of_the_source_is_left_in_the_bytes(tmp_path: Path) -> None:
    source = film(tmp_path / "x.dcm")
    (row,) = anonymous(source, out=tmp_path / "out")
    content = Path(row.written).read_bytes()
    for secret in [*SECRETS, *map(str.upper, SECRETS), *uids_of(dcmread(source))]:
        assert secret.encode() not in content, secret
    assert errors_of(Path(row.written)) == errors_of(source)
    new = dcmread(row.written)
    np.testing.assert_array_equal(new.pixel_array, FILM[0])
    assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
    assert (new.DeidentificationMethod, new.PatientIdentityRemoved) == ("DICOGNITO", "YES")
    assert new.PatientName
    assert new.PatientID


@pytest.mark.parametrize("magnetic", [False, True])
def test_frames_are_anonymous_too_and_valid(tmp_path: Path, magnetic: bool) -> None:
    source = enhanced(
        tmp_path / "x.dcm",
        FILM,
        rescales=[(1, -1024)],
        windows=[(1024, 4096)],
        magnetic=magnetic,
        PatientName=NAME,
        PatientID=ID,
    )
    (row,) = anonymous(source, out=tmp_path / "out")
    content = Path(row.written).read_bytes()
    for secret in ["Quixwold", ID, "19700101", "20200102", *uids_of(dcmread(source))]:
        assert secret.encode() not in content, secret
    assert errors_of(Path(row.written)) == []


def test_a_patient_stays_one_over_files_and_calls_and_a_second_call_skips(tmp_path: Path) -> None:
    first = film(tmp_path / "1.dcm", SOPInstanceUID="1.2.1")
    second = film(tmp_path / "2.dcm", SOPInstanceUID="1.2.2")
    other = film(tmp_path / "3.dcm", SOPInstanceUID="1.2.3", PatientID="PID-2", PatientName="Another^One")
    (row,) = anonymous(first, out=tmp_path / "out")
    rows = anonymous(first, second, other, out=tmp_path / "out")
    assert [one.skipped for one in rows] == [True, False, False]
    made = [dcmread(path) for path in (row.written, rows[1].written, rows[2].written)]
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "PatientBirthDate"):
        assert made[0].get(name) == made[1].get(name), name
    assert made[0].PatientID != made[2].PatientID
    assert len({str(one.SOPInstanceUID) for one in made}) == 3
    (elsewhere,) = anonymous(first, out=tmp_path / "elsewhere")
    assert dcmread(elsewhere.written).PatientID != made[0].PatientID  # another folder, another key
    (plainly,) = restore_files(load("part:identity"), first, tmp_path / "out")
    assert not plainly.skipped


def test_the_source_is_named_by_the_uid_that_it_has_when_it_is_anonymous_itself(tmp_path: Path) -> None:
    """Relations hold: the new UID of the source is that which a derived object of the derived one refers to."""
    (row,) = anonymous(film(tmp_path / "x.dcm", SOPInstanceUID="1.2.77"), out=tmp_path / "out")
    (origin,) = dcmread(row.written).SourceImageSequence
    again = film(tmp_path / "y.dcm", FrameOfReferenceUID="1.2.77")
    (other,) = anonymous(again, out=tmp_path / "out")
    assert dcmread(other.written).FrameOfReferenceUID == origin.ReferencedSOPInstanceUID


def test_overlays_and_curves_in_which_a_name_may_be_drawn_are_removed(tmp_path: Path) -> None:
    source = film(tmp_path / "x.dcm")
    data = dcmread(source)
    data.add_new((0x5000, 0x3000), "OW", b"curved")
    for element, vr, value in [(0x10, "US", 6), (0x11, "US", 8), (0x40, "CS", "G"), (0x50, "SS", [1, 1])]:
        data.add_new((0x6000, element), vr, value)
    data.add_new((0x6000, 0x100), "US", 16)  # in the highest bits of the pixels
    data.add_new((0x6000, 0x102), "US", 15)
    data.add_new((0x6002, 0x3000), "OW", b"drawn.")
    data.add_new((0x6002, 0x4000), "LT", "by nurse Mary")
    data.save_as(source)
    (row,) = anonymous(source, out=tmp_path / "out")
    assert not {one.tag.group for one in dcmread(row.written)} & {0x5000, 0x6000, 0x6002}


def test_an_anonymizer_in_another_process_replaces_by_the_same_key(tmp_path: Path) -> None:
    source = film(tmp_path / "x.dcm")
    here = Anonymizer("a" * 64)
    there = pickle.loads(pickle.dumps(here))
    data = [dcmread(source), dcmread(source), dcmread(source)]
    for one, change in zip(data, (here, there, Anonymizer("b" * 64)), strict=True):
        one.remove_private_tags()
        change(one)
    assert data[0] == data[1] != data[2]
    assert here.digest == there.digest


def test_files_that_are_no_dicom_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", np.zeros((1, 8, 8), np.float32))
    (row,) = restore_files(load("part:identity"), tmp_path / "x.png", tmp_path / "out", anonymize=True)
    assert "anonymize: got PNG; allowed: DICOM files" in row.error


def test_files_of_pydicom_have_no_new_error(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "MR_small.dcm", "SC_rgb_rle.dcm"):
        options: dict[str, Any] = {"range": (-1024, 3071)} if name.startswith("CT") else {}
        (row,) = restore_files(load("part:identity"), OWN / name, tmp_path / "out", anonymize=True, **options)
        assert row.error == ""
        assert set(errors_of(Path(row.written))) <= set(errors_of(OWN / name))
        patient = str(dcmread(OWN / name).PatientName).split("^")[0]
        assert patient.encode() not in Path(row.written).read_bytes()
