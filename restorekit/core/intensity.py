"""Stored values to [-1, 1] and back: the one intensity rule, which docs/intensities.md states for users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from restorekit.core.errors import DataError
from restorekit.core.types import Intensity

__all__ = ["LIMIT", "Stored", "carried_over", "cast", "demand_size", "one_of", "to_stored", "to_unit", "upright"]

LIMIT = 2**27
"""Pixels or voxels that one image may have. A small file can promise any number; this is 512 MiB as float32."""
LEVELS = 2**24
"""Values of a range that float32 keeps apart."""


@dataclass(frozen=True)
class Stored:
    """What a file holds, before it is mapped to [-1, 1]."""

    array: NDArray[Any]
    """(C, *S)."""
    low: float | None = None
    """The value that becomes -1, where the file or its type says so."""
    high: float | None = None
    photometric: str = ""
    """MONOCHROME1, MONOCHROME2 or RGB; in MONOCHROME1 the lowest is white. Empty: the channels say it."""
    window: tuple[float, float] | None = None
    """Centre and width of the DICOM window that gave low and high; what lies outside is cut, as on a screen."""
    spacing: tuple[float, ...] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = ""
    """The type of the values in the file, where `array` holds them after a rescale; empty: that of `array`."""
    bits: int | None = None
    """Significant bits of a stored value, where the file states them, as PNG's sBIT and DICOM's BitsStored do."""
    display: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    """From `array` to the values that are shown, whose black and white are low and high, as a VOI LUT of DICOM does.

    Not applied where a range is declared: that is of the values of `array`. It may raise DataError. Picklable.
    """

    def holding(self, array: NDArray[Any]) -> Stored:
        """Return the same record with another array."""
        return replace(self, array=array)


def to_unit(
    stored: Stored, format: str, declared: Sequence[float] | None, *, exceeds: bool = False
) -> tuple[Tensor, Intensity]:
    """Map what a file holds to float32 in [-1, 1]; `declared` goes before what the file says.

    With `exceeds` values beyond the range are mapped likewise, to beyond -1 and 1.

    Raises:
        DataError: if no range is known, it does not hold every value, or float32 cannot keep its values apart.
    """
    array = stored.array.astype(stored.array.dtype.newbyteorder("="), copy=False)
    if stored.display is not None and declared is None:
        array = stored.display(array)
    low, high = _range(array, stored, declared)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    if stored.window is not None and declared is None:
        array = np.clip(array, low, high)
    least, most = float(array.min()), float(array.max())
    if (least < low or most > high) and not exceeds:
        raise DataError(f"holds values from {least:g} to {most:g}, outside its range of {low:g} to {high:g}")
    photometric = stored.photometric or ("MONOCHROME2" if array.shape[0] == 1 else "RGB")
    if (low, high) == (-1, 1) and array.dtype.kind == "f":
        unit = array.astype(np.float32)
    else:  # 16 bits fit into float32 with room to spare; wider values are mapped in float64
        narrow = array.dtype.itemsize <= 2 and array.dtype.kind in "ui"
        values: NDArray[Any] = array.astype(np.float32 if narrow else np.float64)
        values -= low  # in place: fresh pages for every step take longer than the arithmetic
        values /= (high - low) / 2
        values -= 1
        unit = values.astype(np.float32, copy=False)
    if photometric == "MONOCHROME1":
        unit = np.negative(unit, out=unit)
    known = Intensity(
        stored.dtype or str(array.dtype),
        low,
        high,
        array.shape[0],
        format=format,
        photometric=photometric,
        window=None if declared is not None else stored.window,
        spacing=stored.spacing,
        details=stored.details,
        bits=stored.bits,
    )
    return torch.from_numpy(np.ascontiguousarray(unit)), known


def to_stored(image: Tensor, intensity: Intensity) -> NDArray[Any]:
    """Map (C, *S) in [-1, 1] back to stored values: cut to the range, and rounded if they are integers."""
    values = image.detach().cpu().clamp(-1, 1)
    unit: NDArray[Any] = -values.numpy() if intensity.photometric == "MONOCHROME1" else values.numpy()
    dtype = np.dtype(intensity.dtype)
    if (intensity.low, intensity.high) == (-1, 1) and dtype.kind == "f":
        return cast(unit, dtype)
    return cast((unit.astype(np.float64) + 1) * ((intensity.high - intensity.low) / 2) + intensity.low, dtype)


def cast(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Round and clip real values to the type that a file stores. Every writer converts its values by this function.

    Args:
        values: integers or floating point, of any shape.
        dtype: an integer type, to which values are rounded (half to even) and clipped, infinities to its limits; or a
            floating-point type, to whose largest finite value finite values are clipped, with NaN and infinity kept.

    Returns:
        A new array of `dtype`, never a value modulo the type.

    Raises:
        DataError: if a NaN is to become an integer, or a type is neither integer nor real.
    """
    target = np.dtype(dtype)
    if values.dtype.kind not in "uif" or target.kind not in "uif":
        raise DataError(f"values of type {values.dtype} cannot be stored as {target}; integers and real numbers can")
    if target.kind == "f":
        most = np.finfo(target).max
        with np.errstate(over="ignore", invalid="ignore"):
            narrow: NDArray[Any] = values.astype(target)
        lost = np.isinf(narrow) & np.isfinite(values)
        narrow[lost] = np.where(values[lost] < 0, -most, most)
        return narrow
    known = np.iinfo(target)
    if values.dtype.kind in "ui":
        own = np.iinfo(values.dtype)
        clipped: NDArray[Any] = np.clip(values, max(own.min, known.min), min(own.max, known.max))
        return clipped.astype(target)
    if np.isnan(values).any():
        raise DataError(f"holds NaN, which {target} cannot store")
    with np.errstate(over="ignore"):
        rounded = np.rint(values.astype(np.float64))
    # Compared, not clipped: the largest int64 has no float64 of its own, and the next one up would overflow.
    above, below = rounded >= float(known.max), rounded <= float(known.min)
    whole: NDArray[Any] = np.where(above | below, 0, rounded).astype(target)
    whole[above], whole[below] = known.max, known.min
    return whole


def carried_over(intensity: Intensity) -> Intensity:
    """The record for writing an image in another format than it came in: black is the lowest value.

    What was DICOM or scaled NIfTI gets the full range of 8 or 16 bits, for other formats know no range of their own.
    """
    photometric = "RGB" if intensity.channels == 3 else "MONOCHROME2"
    known = replace(intensity, photometric=photometric, details={})
    if intensity.format == "DICOM" or "slope" in intensity.details:
        dtype, high = ("uint8", 255) if intensity.details.get("bits", 16) <= 8 else ("uint16", 65535)
        known = replace(known, dtype=dtype, low=0, high=high)
    return known


def demand_size(size: Sequence[int]) -> None:
    """Refuse, before anything is decoded, an image that is empty or promises more than `LIMIT`."""
    if not prod(size) or min(size) < 0:
        raise DataError(f"is empty: {'x'.join(map(str, size))} pixels")
    if prod(size) > LIMIT:
        raise DataError(f"has {'x'.join(map(str, size))} pixels, more than {LIMIT:,}; cut it into parts")


def one_of(count: int, frame: int | None, what: str) -> int:
    """Choose one of `count` frames, pages or volumes.

    Raises:
        DataError: if there are several and none is named, or the named one is not there.
    """
    if frame is None and count > 1:
        raise DataError(f"holds {count} {what}, and one is read at a time; split it, or name one by read_image(frame=)")
    if not 0 <= (frame or 0) < count:
        raise DataError(f"has no {what.removesuffix('s')} {frame}; it holds {count}, counted from 0")
    return frame or 0


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (C, H, W) as the EXIF and TIFF tag Orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(1, 2)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return array[:, :: -1 if down else 1, :: -1 if across else 1]


def _range(array: NDArray[Any], stored: Stored, declared: Sequence[float] | None) -> tuple[float, float]:
    if array.dtype.kind not in "uif":
        raise DataError(f"holds values of type {array.dtype}; integers and real numbers are read")
    low, high = stored.low, stored.high
    if declared is not None:
        if len(declared) != 2 or not np.isfinite(declared).all() or not declared[0] < declared[1]:
            raise DataError(f"range is [LOW, HIGH], the values of black and white; came {list(declared)}")
        low, high = float(declared[0]), float(declared[1])
    elif low is None and array.dtype.kind in "ui" and array.dtype.itemsize <= 2:
        known = np.iinfo(array.dtype)
        low, high = float(known.min), float(known.max)
    if low is None or high is None:
        shown = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        seen = f", here from {shown.min():g} to {shown.max():g}," if shown.size else ""
        how = "declare their range (--range LOW HIGH; in a recipe, range: [LOW, HIGH]; in Python, range=(LOW, HIGH))"
        raise DataError(f"holds {array.dtype} values{seen} and says nothing of black and white; {how}")
    if array.dtype.kind in "ui" and high - low >= LEVELS:
        raise DataError(f"has a range of {high - low + 1:.0f} values, more than float32 tells apart; declare less")
    return low, high
