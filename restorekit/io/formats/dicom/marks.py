"""The mark of a derived DICOM image: a contribution of equipment that describes what made it."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

__all__ = ["mark_of"]

MAKER = "restorekit"


def mark_of(path: Path) -> str:
    """Return the description of restorekit's contribution to a file; empty if there is none."""
    data = dcmread(path, stop_before_pixels=True, specific_tags=["ContributingEquipmentSequence"])
    for one in reversed(data.get("ContributingEquipmentSequence", [])):
        if one.get("Manufacturer") == MAKER:
            return str(one.get("ContributionDescription", ""))
    return ""
