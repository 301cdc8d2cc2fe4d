"""The mark of a derived DICOM image: a contribution of equipment that describes what made it."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset, dcmread

from restorekit.io.derived import BEGINS

__all__ = ["mark_in", "mark_of"]

MAKER = "restorekit"


def mark_of(path: Path) -> str:
    """Return the mark of a file; empty if there is none."""
    return mark_in(dcmread(path, stop_before_pixels=True, specific_tags=["ContributingEquipmentSequence"]))


def mark_in(data: Dataset) -> str:
    """Return the last mark among the contributions of restorekit to a data set; empty if there is none."""
    for one in reversed(data.get("ContributingEquipmentSequence") or []):
        text = str(one.get("ContributionDescription", ""))
        if one.get("Manufacturer") == MAKER and text.startswith(BEGINS):
            return text
    return ""
