"""Anonymous DICOM: the library dicognito replaces what names a patient, consistently over all calls into one folder.

A secret key decides what a name, an ID, a UID and a date become. It is made for an output folder and kept in the user's
cache, never in that folder, for with it names can be guessed and tried.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
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
    "AdmittingDiagnosesDescription",
    "CommentsOnThePerformedProcedureStep",
    "FrameComments",
    "ImageComments",
    "InstitutionAddress",
    "MedicalAlerts",
    "PatientComments",
    "RequestedProcedureComments",
    "StudyComments",
    "VisitComments",
)
"""Free text of which PS3.15 removes all, and an address that the library leaves where no institution is named."""
GRAPHICS = frozenset((*range(0x5000, 0x5100), *range(0x6000, 0x6100)))
"""Groups of curves and overlays, of which PS3.15 removes all: a name may be drawn in them."""
TEXTS = frozenset(("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT"))
"""Value representations of free text."""
IDS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID", "PatientBirthName")
STANDARD = "1.2.840.10008."
"""How the UIDs of the standard begin."""
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
            from dicognito.unwantedelements import UnwantedElementsStripper
        except ImportError as error:
            raise DataError("anonymize: takes an extra; run: pip install 'restorekit[anonymize]'") from error
        self._key = key
        self._library = Library(seed=key)
        self._library.add_element_handler(UnwantedElementsStripper(*REMOVED))
        uids: Any = _Uids(key)  # a handler by what it does: its base class can be imported here alone
        self._library.add_element_handler(uids)
        self.digest = hashlib.sha256(f"anonymizer {key}".encode()).hexdigest()
        """By which a later call knows whether it has the same key; the key does not follow from it."""

    def __reduce__(self) -> tuple[type[Anonymizer], tuple[str]]:
        """Pickle the key alone: a process on another machine replaces by the same key, and has no other."""
        return Anonymizer, (self._key,)

    def __call__(self, data: Dataset) -> None:
        """Change a data set that has no private elements, with its file meta information."""
        words = sorted(set(_words(data)), key=len, reverse=True)
        for element in [one for one in data if one.tag.group in GRAPHICS]:
            del data[element.tag]
        self._library.anonymize(data)
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
