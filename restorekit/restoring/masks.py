"""The masks that a run predicts, as files beside the restored images: the index of the class of each pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.images import write_image

__all__ = ["mask_place", "write_mask"]

MOST = 255
"""Highest index of a class that a file holds."""


def mask_place(restored: Path, intensity: Intensity, dims: int) -> Path:
    """Return where the mask of an image goes: STEM.mask.png, of a volume in NIfTI its own suffix, else .npy."""
    stem, dot, suffixes = restored.name.partition(".")
    if dims == 2:
        suffixes = "png"
    elif intensity.format != "NIFTI":
        suffixes = "npy"
    return restored.with_name(f"{stem}.mask{dot or '.'}{suffixes}")


def write_mask(path: Path, mask: NDArray[np.int64], intensity: Intensity) -> None:
    """Write a mask (*S) as 8-bit integers; of NIfTI the header of the image is kept.

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
    plain = Intensity("uint8", 0, MOST, 1, path.suffix.removeprefix(".").upper())
    if intensity.format == "NIFTI" and path.suffix in (".nii", ".gz"):
        details = {**intensity.details, "slope": 1, "inter": 0}
        plain = replace(plain, format="NIFTI", spacing=intensity.spacing, details=details)
    write_image(path, as_image, plain)
