"""Image files as tensors, for datasets and training; `restorekit.io` reads them as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from restorekit.core.formats import Intensity
from restorekit.io import images
from restorekit.io.intensity import Beyond

__all__ = ["read_image"]


def read_image(
    path: str | os.PathLike[str],
    *,
    range: Sequence[float] | None = None,
    frame: int | None = None,
    dims: int | None = None,
    beyond: Beyond = "refuse",
    bits: int | None = None,
) -> tuple[Tensor, Intensity]:
    """Read a file as (C, *S) float32 in [-1, 1], 1 channel or 3 as it is stored, oriented by EXIF.

    Args:
        path: the file; its content decides its format.
        range: the values of black and white, in the file's own values (after a DICOM or NIfTI rescale). Needed for
            floating point and for integers of more than 16 bits, unless the file states it; overrides a DICOM window.
        frame: which of several frames, pages or volumes, from 0.
        dims: spatial sizes of a NumPy or NIfTI image: whether a first axis holds channels, a last one of 1 counts.
            None: those that are expected, if any are.
        beyond: values beyond the range are refused, or clipped to it and counted in the `note` of the result.
        bits: the significant bits of 16-bit integers, for files that do not state them. None: all 16, and the `note`
            of the result states where a file uses 14 or fewer: it may be dark, or of 12 bits in 16.

    Raises:
        DataError: if it is missing, damaged, of a format that is not read, or its range is unknown or left.
    """
    image, intensity = images.read_image(path, range=range, frame=frame, dims=dims, beyond=beyond, bits=bits)
    return torch.from_numpy(image), intensity
