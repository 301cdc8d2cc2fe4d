"""The model of `restorekit restore` where none is named: radiographs of the chest, and the files that it refuses."""

from __future__ import annotations

from pathlib import Path

from restorekit.io.filetypes import format_by_content, format_by_name
from restorekit.io.quiet import without_warnings

__all__ = ["ABOUT", "MODEL", "PACKAGE", "unsuitable"]

MODEL = "film_base"
"""A restorer of the plugin `PACKAGE`."""
PACKAGE = "restorekit-models"
ABOUT = "chest radiographs of about 1024 x 1024 pixels. Research use; not for diagnosis"
MODALITIES = ("CR", "DX")
PICTURES = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")


def unsuitable(path: Path) -> str:
    """Return why a file is not restored without a model being named; empty: it is.

    Pictures do not state what they show and are taken for radiographs; DICOM states it. NIfTI and NumPy files hold
    volumes or values with units.

    Raises:
        OSError: if it cannot be opened.
    """
    format = format_by_content(path) or format_by_name(path)
    if format is None or format in PICTURES:  # what is no image at all is refused where it is read
        return ""
    if format != "DICOM":
        return (
            f"is {format}; without -m, allowed: DICOM of modality CR or DX, {', '.join(PICTURES)}; name a model by -m"
        )
    from restorekit.io.formats.dicom import modality_of  # imports pydicom, which pictures do not need

    with without_warnings():
        modality = modality_of(path)
    if modality in MODALITIES:
        return ""
    allowed = " or ".join(MODALITIES)
    return f"is of modality {modality or 'unknown'}; without -m, allowed: {allowed}; name a model by -m"
