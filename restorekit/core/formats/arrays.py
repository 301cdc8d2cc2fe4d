"""NumPy files: .npy, and .npz with one array; never a pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.intensity import Stored, demand_size
from restorekit.core.types import Intensity

__all__ = ["read", "write"]


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read (*S) or (C, *S). Where `dims` is not known, three or four axes with a first one of 1 or 3 have channels."""
    details: dict[str, Any] = {}
    if format == "NPZ":
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = file.files
            if len(names) != 1:
                raise DataError(f"holds {len(names)} arrays ({', '.join(names)}); one is expected")
            info = file.zip.infolist()[0]
            details = {"name": names[0], "compressed": info.compress_type != zipfile.ZIP_STORED}
            with file.zip.open(info) as stream:
                demand_size(_shape(stream))
            array = file[names[0]]
    else:
        with path.open("rb") as stream:
            demand_size(_shape(stream))
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    channels = array.ndim == dims + 1 if dims else array.ndim in (3, 4) and array.shape[0] in (1, 3)
    if not 1 <= array.ndim - channels <= 3:
        raise DataError(f"holds {array.shape}; (*S) or (C, *S) with one, two or three spatial sizes S is expected")
    details |= {"channels": channels, "order": array.dtype.str}
    return Stored(array if channels else array[None], details=details)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write the array with the axes and the byte order that came."""
    details = intensity.details
    array = array if details.get("channels", True) or array.shape[0] != 1 else array[0]
    order = np.dtype(details.get("order", array.dtype.str)).byteorder
    array = array.astype(array.dtype.newbyteorder(order), copy=False)  # the byte order alone: another type would cut
    if format == "NPY":
        np.save(stream, array)
    else:
        save: Any = np.savez_compressed if details.get("compressed", True) else np.savez
        save(stream, **{details.get("name", "image"): array})


def _shape(stream: Any) -> tuple[int, ...]:
    read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
    shape: tuple[int, ...] = read_header(stream)[0]
    return shape or (1,)
