"""NumPy files: .npy, and .npz with one array; never a pickle."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.intensity import Stored, check_size, one_of

__all__ = ["read", "write"]


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read (*S) or (C, *S). Where `dims` is not known, three or four axes with a first one of 1 or 3 have channels."""
    one_of(1, frame, "images")
    details: dict[str, Any] = {}
    if format == "NPZ":
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
            names = [entry.filename.removesuffix(".npy") for entry in entries]
            if len(entries) != 1:
                raise DataError(f"holds {len(names)} arrays ({', '.join(names)}); one is expected")
            if not entries[0].filename.endswith(".npy"):
                raise DataError(f"holds {entries[0].filename}, which is no .npy array")
            details = {"name": names[0], "compressed": entries[0].compress_type != zipfile.ZIP_STORED}
            with file.open(entries[0]) as stream:
                array = _array(stream)
    else:
        with path.open("rb") as raw:
            array = _array(raw)
    channels = array.ndim == dims + 1 if dims else array.ndim in (3, 4) and array.shape[0] in (1, 3)
    if not 1 <= array.ndim - channels <= 3:
        raise DataError(f"holds {array.shape}; (*S) or (C, *S) with one, two or three spatial sizes S is expected")
    details |= {"channels": channels, "order": array.dtype.str}
    return Stored(array if channels else array[None], details=details)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write the array with the axes and the byte order of the input."""
    details = intensity.details
    array = array if details.get("channels", True) or array.shape[0] != 1 else array[0]
    order = np.dtype(details.get("order", array.dtype.str)).byteorder
    array = array.astype(array.dtype.newbyteorder(order), copy=False)  # the byte order alone: another type would cut
    if format == "NPY":
        np.save(stream, array)
    else:
        save: Any = np.savez_compressed if details.get("compressed", True) else np.savez
        save(stream, **{details.get("name", "image"): array})


def _array(stream: Any) -> NDArray[Any]:
    """Read a .npy stream to its end, which also verifies the checksum of a ZIP entry.

    Raises:
        DataError: if it is cut short, holds more than one array, or other values than integers and real numbers.
    """
    read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise DataError(f"holds values of type {dtype}; integers and real numbers of up to 64 bits are read")
    check_size(shape or (1,))
    size = math.prod(shape) * dtype.itemsize
    content = stream.read(size)
    if len(content) < size:
        raise DataError(f"is cut short: it has {len(content)} of {size} bytes of values")
    if rest := stream.read():
        more = "a second array" if rest.startswith(b"\x93NUMPY") else f"{len(rest)} further bytes"
        raise DataError(f"holds {more} behind its values; one array is expected")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
