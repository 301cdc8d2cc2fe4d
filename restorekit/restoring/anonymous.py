"""Anonymous DICOM: the library dicognito replaces what names a patient, consistently over all calls into one folder.

A secret key decides what a name, an ID, a UID and a date become. It is made for an output folder and kept in the user's
cache, never in that folder, for with it names can be guessed and tried.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from restorekit.core.errors import DataError
from restorekit.io.files import cache_folder

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

__all__ = ["Anonymizer", "anonymizer_for"]

REMOVED = (
    "AcquisitionComments",
    "AdditionalPatientHistory",
    "AdmissionID",
    "AdmittingDiagnosesDescription",
    "CameraOwnerName",
    "CassetteID",
    "CommentsOnThePerformedProcedureStep",
    "ConfidentialityConstraintOnPatientDataDescription",
    "ConsultingPhysicianIdentificationSequence",
    "ContentCreatorIdentificationCodeSequence",
    "FrameComments",
    "GantryID",
    "GeneratorID",
    "IdentifyingComments",
    "ImageComments",
    "ImagingServiceRequestComments",
    "InstitutionAddress",
    "InstitutionCodeSequence",
    "InstitutionalDepartmentTypeCodeSequence",
    "InsurancePlanIdentification",
    "IntendedRecipientsOfResultsIdentificationSequence",
    "IssuerOfAdmissionID",
    "IssuerOfServiceEpisodeID",
    "LensSerialNumber",
    "MedicalAlerts",
    "NetworkID",
    "OperatorIdentificationSequence",
    "OrderCallbackPhoneNumber",
    "OrderCallbackTelecomInformation",
    "OrderEntererLocation",
    "PatientComments",
    "PatientInstitutionResidence",
    "PatientTransportArrangements",
    "PerformedLocation",
    "PerformedStationAETitle",
    "PerformedStationGeographicLocationCodeSequence",
    "PerformedStationName",
    "PerformedStationNameCodeSequence",
    "PerformingPhysicianIdentificationSequence",
    "PersonAddress",
    "PersonTelecomInformation",
    "PersonTelephoneNumbers",
    "PhysiciansOfRecordIdentificationSequence",
    "PhysiciansReadingStudyIdentificationSequence",
    "PlateID",
    "ReferringPhysicianAddress",
    "ReferringPhysicianIdentificationSequence",
    "ReferringPhysicianTelephoneNumbers",
    "RequestedProcedureComments",
    "RequestedProcedureLocation",
    "RetrieveAETitle",
    "ScheduledPatientInstitutionResidence",
    "ScheduledPerformingPhysicianIdentificationSequence",
    "ScheduledProcedureStepLocation",
    "ScheduledStationAETitle",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledStationName",
    "ScheduledStationNameCodeSequence",
    "ScheduledStudyLocation",
    "ScheduledStudyLocationAETitle",
    "ServiceEpisodeDescription",
    "ServiceEpisodeID",
    "StationAETitle",
    "StudyComments",
    "UDISequence",
    "UniqueDeviceIdentifier",
    "VisitComments",
    "XRayDetectorLabel",
)
"""What table E.1-1 of PS3.15 removes and the library keeps: comments, places, telephone numbers, persons, devices."""
DEVICES = ("DetectorID", "DeviceSerialNumber", "XRayDetectorID", "XRaySourceID")
"""IDs of devices that some classes of objects require: replaced, so that one device stays one."""
OWN = ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime")
"""When the restored object was made. It tells nothing of the patient, and moved with the other dates it would tell by
how much these were: files show when they were written."""
EARLIEST, LATEST = 62, 730
"""Days by which dates are moved back."""
GRAPHICS = frozenset((*range(0x5000, 0x5100), *range(0x6000, 0x6100)))
"""Groups of curves and overlays, of which PS3.15 removes all: a name may be drawn in them."""
TEXTS = frozenset(("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT"))
"""Value representations of free text."""
IDS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID", "PatientBirthName")
STANDARD = "1.2.840.10008."
"""How the UIDs of the standard begin."""
DATES = {
    "DA": (re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})()"), "a date YYYYMMDD"),
    "DT": (
        re.compile(
            r"(\d{4})(?:(\d{2})(\d{2})?)?"
            r"((?:(?<=\d{8})\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?(?:[+-]\d{4})?)"  # a time follows a whole date
        ),
        "a date and a time YYYYMMDDHHMMSS.FFFFFF&ZZXX, or the beginning of it",
    ),
}
"""How dates are written, by their value representation: year, month, day, and what follows; and that in words."""
MIDDLE = (0, 7, 15)
"""Month and day that are moved where a date has none."""
SHORTEST = 3
"""Characters of a name or an ID that is looked for in texts: one or two stand in many words."""
FORGOTTEN = "X"
"""What stands in its place."""


class _Uids:
    """Replaces UIDs of instances as PS3.5 B.2 derives one from a UUID: those of the library have a root that is none.

    UIDs of the standard, such as those of classes, name no instance and stay.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def __call__(self, dataset: Dataset, element: DataElement) -> bool:
        """Handle an element, as the library's own handlers do."""
        if element.VR != "UI":
            return False
        found = element.value
        if isinstance(found, str):
            element.value = self._new(found)
        elif found:
            element.value = [self._new(str(one)) for one in found]
        return True

    def describe_actions(self) -> Iterator[str]:
        """Describe what it does, as the library's own handlers do."""
        yield "Replace all UIDs that are not of the standard"

    def _new(self, found: str) -> str:
        if not found or found.startswith(STANDARD):
            return found
        digest = hmac.digest(self._key, found.encode(), "sha256")
        return f"2.25.{UUID(bytes=digest[:16], version=4).int}"


class _Dates:
    """Moves dates back by a whole number of days: times of day stay, and so do the times between any two of them.

    The library moves a time with the date of the same name alone, by hours, so that others, as of an injection, no
    longer fit.
    """

    def __init__(self, key: str) -> None:
        drawn = int.from_bytes(hmac.digest(key.encode(), b"days", "sha256")[:8])
        self._by = datetime.timedelta(days=EARLIEST + drawn % (LATEST - EARLIEST + 1))

    def __call__(self, dataset: Dataset, element: DataElement) -> bool:
        """Handle an element, as the library's own handlers do."""
        if element.VR not in DATES:
            return False
        if element.value:
            element.value = self.moved(element)
        return True

    def describe_actions(self) -> Iterator[str]:
        """Describe what it does, as the library's own handlers do."""
        yield "Move all DA and DT elements back by the same number of days"

    def moved(self, element: DataElement) -> str | list[str]:
        """Return what a date becomes, or several.

        Raises:
            DataError: if it is none.
        """
        found = element.value
        if isinstance(found, str):
            return self._moved(element, found)
        return [self._moved(element, str(one)) for one in found]

    def _moved(self, element: DataElement, found: str) -> str:
        """Return a date in its own precision; of one without day or month, its middle is moved."""
        if not found.strip():
            return found
        pattern, allowed = DATES[element.VR]
        parts = pattern.fullmatch(found.strip())
        try:
            if parts is None:
                raise ValueError
            year, month, day = (int(part or middle) for part, middle in zip(parts.groups()[:3], MIDDLE, strict=True))
            moved = datetime.date(year, month, day) - self._by
        except (ValueError, OverflowError):
            name = element.keyword or element.tag
            raise DataError(f"anonymize: {name}: got {found!r}; allowed: {allowed}; correct it") from None
        given = sum(part is not None for part in parts.groups()[:3])
        return f"{moved.year:04}{moved.month:02}{moved.day:02}"[: 2 + 2 * given] + parts[4]


class _Empty:
    """Leaves empty elements empty: else all patients without an ID would get the same one."""

    def __call__(self, dataset: Dataset, element: DataElement) -> bool:
        """Handle an element, as the library's own handlers do."""
        return element.VR != "SQ" and not element.value

    def describe_actions(self) -> Iterator[str]:
        """Describe what it does, as the library's own handlers do."""
        yield "Leave empty elements empty"


class Anonymizer:
    """Replaces what names a patient in data sets; the same key replaces the same by the same.

    Args:
        key: a secret text.

    Raises:
        DataError: if the library is not installed.
    """

    def __init__(self, key: str) -> None:
        try:
            from dicognito.anonymizer import Anonymizer as Library
            from dicognito.idanonymizer import IDAnonymizer
            from dicognito.randomizer import Randomizer
            from dicognito.unwantedelements import UnwantedElementsStripper
        except ImportError as error:
            raise DataError("anonymize: takes an extra; run: pip install 'restorekit[anonymize]'") from error
        self._key = key
        self._library = Library(seed=key)
        self._dates = _Dates(key)
        own: Iterable[Any] = (_Uids(key), self._dates, _Empty())  # by what they do: their base class is imported here
        for handler in (IDAnonymizer(Randomizer(key), "", "", *DEVICES), UnwantedElementsStripper(*REMOVED), *own):
            self._library.add_element_handler(handler)  # before those that are there
        self.digest = hashlib.sha256(f"anonymizer 2 {key}".encode()).hexdigest()
        """By which a later call knows whether it has the same key; the key does not follow from it."""

    def __reduce__(self) -> tuple[type[Anonymizer], tuple[str]]:
        """Pickle the key alone: a process on another machine replaces by the same key, and has no other."""
        return Anonymizer, (self._key,)

    def __call__(self, data: Dataset) -> None:
        """Change a data set that has no private elements, with its file meta information.

        Raises:
            DataError: if a date is none; the data set is then as it was.
        """
        for element in data.iterall():
            if element.VR in DATES and element.value:
                self._dates.moved(element)
        words = sorted(set(_words(data)), key=len, reverse=True)
        made = [(where, name, where[name].value) for where, name in _own_times(data)]
        for element in [one for one in data if one.tag.group in GRAPHICS]:
            del data[element.tag]
        self._library.anonymize(data)
        for where, name, value in made:
            where[name].value = value
        pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE) if words else None

        def forget(where: Dataset, element: DataElement) -> None:
            if element.VR == "UN":  # may hold anything
                del where[element.tag]
            elif pattern is not None and element.VR in TEXTS and element.value:
                found = element.value
                several = not isinstance(found, str)
                new = [pattern.sub(FORGOTTEN, str(one)) for one in (found if several else [found])]
                if new != list(map(str, found if several else [found])):
                    element.value = new if several else new[0]

        data.walk(forget)


def _own_times(data: Dataset) -> Iterator[tuple[Dataset, str]]:
    """Yield the elements that state when a restored object was made, each with the data set that holds it."""
    holders = [(data, name) for name in OWN]
    holders += [(item, "ContributionDateTime") for item in list(data.get("ContributingEquipmentSequence") or ())[-1:]]
    yield from ((where, name) for where, name in holders if name in where)


def _words(data: Dataset) -> Iterator[str]:
    """Yield every name and ID of a data set, and the parts of names."""
    for element in data.iterall():
        if element.VR == "PN" or element.keyword in IDS:
            for value in element.value if element.VM > 1 else [element.value]:
                text = str(value or "").strip()
                for word in (text, *re.split(r"[\^=\s]+", text)):
                    if len(word) >= (SHORTEST if word.isascii() else 2):
                        yield word


def anonymizer_for(folder: Path) -> Anonymizer:
    """Return the anonymizer of an output folder, whose key is made where there is none.

    Raises:
        DataError: if the library is not installed, or the key can be neither read nor written.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]
    try:
        path = cache_folder() / "anonymize" / f"{name}.key"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(32))
        key = path.read_text("ascii")
    except OSError as error:
        raise DataError(f"anonymize: its key is kept in the cache, which cannot be used ({error})") from error
    if len(key) < 64:
        raise DataError(f"anonymize: the key {path} is damaged; delete it, and all files get new names")
    return Anonymizer(key)
