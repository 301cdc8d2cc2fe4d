"""Anonymous DICOM: nothing of the patient is left in the bytes, the same patient stays one, and a second call skips."""

import datetime
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import DataElement, Dataset, FileMetaDataset, dcmread
from pydicom.config import IGNORE
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


DEVICE = {
    "DeviceSerialNumber": "SN-998877",
    "DetectorID": "DET-5511",
    "PlateID": "PLATE-77",
    "CassetteID": "CASSETTE-8",
    "GantryID": "GANTRY-9",
    "GeneratorID": "GENERATOR-3",
    "StationAETitle": "WARD_CR_1",
    "StationName": "WARD-CR",
    "ReferringPhysicianAddress": "Elm Close 7",
    "ReferringPhysicianTelephoneNumbers": ["555-0199", "555-0198"],
    "UniqueDeviceIdentifier": "(01)00844588003288",
}


def test_ids_of_devices_and_what_leads_to_persons_are_gone_and_one_device_stays_one(tmp_path: Path) -> None:
    first = film(tmp_path / "1.dcm", SOPInstanceUID="1.2.1", **DEVICE)
    second = film(tmp_path / "2.dcm", SOPInstanceUID="1.2.2", DeviceSerialNumber=DEVICE["DeviceSerialNumber"])
    other = film(tmp_path / "3.dcm", SOPInstanceUID="1.2.3", DeviceSerialNumber="SN-1")
    rows = anonymous(first, second, other, out=tmp_path / "out")
    content = Path(rows[0].written).read_bytes()
    for value in DEVICE.values():
        for secret in [value] if isinstance(value, str) else value:
            assert secret.encode() not in content, secret
    serials = [dcmread(row.written).DeviceSerialNumber for row in rows]
    assert serials[0] == serials[1] != serials[2]


def test_patients_without_an_id_do_not_become_one(tmp_path: Path) -> None:
    rows = anonymous(film(tmp_path / "x.dcm", PatientID="", AccessionNumber=""), out=tmp_path / "out")
    made = dcmread(rows[0].written)
    assert (made.PatientID, made.AccessionNumber) == ("", "")


def test_dates_move_by_whole_days_and_what_was_made_now_does_not_tell_by_how_many(tmp_path: Path) -> None:
    times = {"StudyTime": "235900", "SeriesTime": "101112", "AcquisitionTime": "101200.25"}
    source = film(
        tmp_path / "x.dcm",
        **{"StudyDate": "20200102", "SeriesDate": "20200301", "AcquisitionDateTime": "20200301101200.25+0100", **times},
    )
    today = datetime.date.today()
    (row,) = anonymous(source, out=tmp_path / "out")
    made = dcmread(row.written)
    assert {name: made.get(name) for name in times} == times  # as of a PET: the injection has a time and no date
    study, series = (
        datetime.datetime.strptime(made.get(name), "%Y%m%d").date() for name in ("StudyDate", "SeriesDate")
    )
    assert (series - study).days == 59
    assert 62 <= (datetime.date(2020, 1, 2) - study).days <= 730
    assert made.AcquisitionDateTime == f"{made.SeriesDate}101200.25+0100"
    assert 0 <= (datetime.datetime.strptime(made.InstanceCreationDate, "%Y%m%d").date() - today).days <= 1
    assert made.ContentDate == made.InstanceCreationDate
    assert made.ContributingEquipmentSequence[-1].ContributionDateTime[:8] == made.ContentDate


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("StudyDate", "2020-01-02", "YYYYMMDD"),
        ("SeriesDate", "20201301", "YYYYMMDD"),
        ("AcquisitionDateTime", "2020010", "YYYYMMDDHHMMSS"),
    ],
)
def test_a_date_that_is_none_is_refused_by_its_name(tmp_path: Path, name: str, value: str, allowed: str) -> None:
    source = film(tmp_path / "x.dcm")
    data = dcmread(source)
    data.add(DataElement(name, "DA" if allowed == "YYYYMMDD" else "DT", value, validation_mode=IGNORE))
    data.save_as(source)
    (row,) = restore_files(load("part:identity"), source, tmp_path / "out", anonymize=True)
    assert all(part in row.error for part in (str(source), name, repr(value), allowed))
    assert "exception" not in row.error


@pytest.mark.parametrize("value", ["2020", "202007", "2020+0100", "20200715", "2020071510", "20200715101112.5-0330"])
def test_a_date_keeps_its_precision(value: str) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.AcquisitionDateTime = value
    Anonymizer("a" * 64)(data)
    made, zone = (re.split("[+-]", one) for one in (data.AcquisitionDateTime, value))
    assert len(data.AcquisitionDateTime) == len(value)
    assert made[0][8:] == zone[0][8:]
    assert made[1:] == zone[1:]
    assert 2018 <= int(made[0][:4]) <= 2020


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
