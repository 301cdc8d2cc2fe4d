"""The masks that a run predicts, as files beside the restored images: the index of the class of each pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.filetypes import MASK, format_by_name
from restorekit.io.images import write_image

__all__ = ["mask_place", "write_mask"]

MOST = 255
"""Highest index of a class that a file holds."""


def mask_place(restored: Path, dims: int) -> Path:
    """Return where the mask of a restored file goes: NAME.mask.png, of a NIfTI volume NAME.mask.nii.gz, else .npy.

    NAME is the whole name of the restored file, so that no two files share a mask.
    """
    suffix = ".png" if dims == 2 else ".npy"
    if dims != 2 and format_by_name(restored) == "NIFTI":
        suffix = ".nii.gz" if restored.suffix.lower() == ".gz" else ".nii"
    return restored.with_name(f"{restored.name}{MASK}{suffix}")


def write_mask(path: Path, mask: NDArray[np.int64], intensity: Intensity) -> None:
    """Write a mask (*S) as 8-bit integers: NumPy files have the axes S, NIfTI keeps the header of the image.

    Args:
        path: as `mask_place` returned it, in any folder.
        mask: the index of the class of each pixel, 0 to 255.
        intensity: what is known of the image.

    Raises:
        DataError: if there are more classes.
    """
    if int(mask.max()) > MOST:
        raise DataError(f"{path}: a mask holds classes 0 to {MOST}; got {int(mask.max())}")
    as_image = mask[None].astype(np.float32) * (2 / MOST) - 1
    plain = Intensity("uint8", 0, MOST, 1, format_by_name(path) or "", details={"channels": False})
    if plain.format == "NIFTI":
        details = intensity.details if intensity.format == "NIFTI" else {}
        details = {**details, "slope": 1, "inter": 0}
        plain = replace(plain, spacing=intensity.spacing, details=details)
    write_image(path, as_image, plain)
