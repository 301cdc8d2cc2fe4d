"""NIfTI by nibabel, an extra: volumes with their axes as they are stored, and their header kept."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.intensity import Stored, cast, demand_size, one_of
from restorekit.core.types import Intensity

__all__ = ["read", "write"]


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one volume of (X, Y, Z), or image of (X, Y): rescaled if the header says so, in the order of the file."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        kind = nibabel.Nifti2Image if stream.read(4) in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
        stream.seek(0)
        header = kind.header_class.from_fileobj(stream)
        shape = header.get_data_shape()
        demand_size(shape)
        stream.seek(0)
        image = kind.from_stream(stream)
        array = np.asarray(image.dataobj.get_unscaled())
        slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
    if array.ndim > 4:
        raise DataError(f"has {array.ndim} axes {shape}; up to three, and frames, are read")
    if array.ndim == 4:
        array = array[..., one_of(array.shape[3], frame, "volumes")]
    while array.ndim > (dims or 3) and array.shape[-1] == 1:
        array = array[..., 0]
    spacing = tuple(float(step) for step in header.get_zooms()[: array.ndim])
    low = high = None
    if (slope, inter) != (1, 0) and array.dtype.kind in "uif":
        if array.dtype.kind in "ui" and array.dtype.itemsize <= 2:
            ends = np.array([np.iinfo(array.dtype).min, np.iinfo(array.dtype).max]) * slope + inter
            low, high = float(min(ends)), float(max(ends))
        array = array.astype(np.float64) * slope + inter
    details = {"header": header.binaryblock, "version": 2 if kind is nibabel.Nifti2Image else 1, "shape": shape}
    details |= {"endian": header.endianness, "slope": slope, "inter": inter, "packed": packed}
    return Stored(array[None], low, high, spacing=spacing, details=details)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write the image with the header that came, scaled as it was stored."""
    details = intensity.details
    if array.shape[0] != 1:
        raise DataError(f"a NIfTI file holds one channel; came {array.shape[0]}")
    kind = nibabel.Nifti2Image if details.get("version") == 2 else nibabel.Nifti1Image
    header, pixels = None, array[0]
    if "header" in details:
        header = kind.header_class(details["header"], endianness=details["endian"])
        dtype = header.get_data_dtype()
        if (details["slope"], details["inter"]) != (1, 0):
            pixels = cast((pixels - details["inter"]) / details["slope"], dtype)
        if int(np.prod(details["shape"])) == pixels.size:
            pixels = pixels.reshape(details["shape"])
        header.set_data_shape(pixels.shape)
    image = kind(pixels, None if header is not None else np.eye(4), header)
    image.header.set_slope_inter(details.get("slope", 1), details.get("inter", 0))  # an image begins without
    data = image.to_bytes()
    stream.write(gzip.compress(data, 6, mtime=0) if details.get("packed") else data)
