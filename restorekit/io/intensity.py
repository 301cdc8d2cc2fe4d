"""Stored values to [-1, 1] and back: the intensity rule of docs/data.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from restorekit.core.errors import DataError, many, message_of
from restorekit.core.formats import Intensity

__all__ = [
    "DEPTHS",
    "LIMIT",
    "Beyond",
    "Stored",
    "ambiguous_depth",
    "as_array",
    "carried_over",
    "cast",
    "check_size",
    "checked_range",
    "depth_of",
    "hint_for",
    "one_of",
    "require_depth",
    "require_stated",
    "stated_bits",
    "to_stored",
    "to_unit",
    "unstated_shape",
    "upright",
    "values_of",
]

LIMIT = 2**27
"""Pixels or voxels that one image may have. A small file can promise any number; this is 512 MiB as float32."""
FLOAT32_STEPS = 2**24
"""Values of a range that float32 keeps apart."""
EXACT = 2**53
"""Integers up to here are float64 without rounding, in which wide values are mapped."""
DEPTHS = (8, 10, 12, 14, 16)
"""Significant bits that the values of a 16-bit file may have where nothing states them."""
HINT = "declare their range (--range LOW HIGH; in a recipe, range: [LOW, HIGH]; in Python, range=(LOW, HIGH))"
ASPECTS = ("DICOM", "PNG", "TIFF")
"""Formats that are written with the shape of pixels whose distances are not known."""
SPACINGS = (*ASPECTS, "BMP", "JPEG", "NIFTI")
"""Formats that are written with the distances of pixels."""
Beyond = Literal["refuse", "clip"]
"""Values beyond the range: the file is refused, or they are clipped to it, counted and reported."""


@dataclass(frozen=True)
class Stored:
    """Stored values of a file, before they are mapped to [-1, 1]."""

    array: NDArray[Any]
    """(C, *S)."""
    low: float | None = None
    """The value that becomes -1, where the file or its type states it."""
    high: float | None = None
    photometric: str = ""
    """MONOCHROME1, MONOCHROME2 or RGB; in MONOCHROME1 the lowest is white. Empty: by the channels."""
    window: tuple[float, float] | None = None
    """Centre and width of the DICOM window that gave low and high; what lies outside is cut, as on a screen."""
    spacing: tuple[float, ...] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = ""
    """The type of the values in the file, where `array` holds them after a rescale; empty: that of `array`."""
    bits: int | None = None
    """Significant bits of a stored value, where the file states them, as PNG's sBIT and DICOM's BitsStored do.

    Of unsigned integers of 16 bits without `low` and `high`, 0 is black and 2**bits - 1 is white. A reader whose file
    states the bits of a source that was scaled to all 16, as a PNG may, counts as 16.
    """
    display: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    """From `array` to the values that are shown, whose black and white are low and high, as a VOI LUT of DICOM does.

    Not applied where a range is declared: that is of the values of `array`. It may raise DataError. The image cache
    keeps those of `io/displays.py` only.
    """

    nominal: bool = False
    """Whether low and high are only the ends of the stored integer type, scaled as in the file.

    No file states them as black and white: values of Hounsfield units in 16 bits use a small part of them.
    """
    unit: str = ""
    """The unit of nominal values, such as HU, where the file states it."""
    padding: tuple[float, float] | None = None
    """The lowest and the highest value of `array` that stand for no image, such as those around a round field of view.

    They may lie beyond black and white: the nearer of both is what they become.
    """

    def holding(self, array: NDArray[Any]) -> Stored:
        """Return the same record with another array."""
        return replace(self, array=array)


def to_unit(
    stored: Stored,
    format: str,
    declared: Sequence[float] | None,
    *,
    exceeds: bool = False,
    beyond: Beyond = "refuse",
    bits: int | None = None,
) -> tuple[NDArray[np.float32], Intensity]:
    """Map what a file holds to a NumPy array of float32 in [-1, 1]. docs/data.md has the rule.

    Args:
        stored: what the file holds.
        format: what the file is, such as PNG.
        declared: the values of black and white; overrides those of the file.
        exceeds: map values beyond the range likewise, to beyond -1 and 1.
        beyond: what to do with values beyond the range; if they are clipped, `note` of the result has their count.
        bits: the significant bits of 16-bit integers that state none, as the whole dataset shows them; None: all 16,
            and `note` of the result states where fewer are used (see `require_depth`).

    Raises:
        DataError: if no range is known, or it is not one, its type cannot hold it, it does not hold every value, or
            float32 cannot keep its values apart.
    """
    array = stored.array.astype(stored.array.dtype.newbyteorder("="), copy=False)
    details = stored.details
    if stored.display is not None and declared is None:
        array, details = stored.display(array), {**details, "shown": True}
    low, high = _range(array, stored, declared, bits)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    if stored.window is not None and declared is None:
        array = np.clip(array, low, high)
    beyond_count, cut = (0, False) if exceeds else _beyond(array, (low, high), beyond, stored.padding)
    photometric = stored.photometric or ("MONOCHROME2" if array.shape[0] == 1 else "RGB")
    unit = _mapped(array, low, high)
    if cut:
        unit = np.clip(unit, -1, 1, out=unit)
    if photometric == "MONOCHROME1":
        unit = np.negative(unit, out=unit)
    notes = [f"{many(beyond_count, 'value')} beyond {low:g} to {high:g} clipped" if beyond_count else ""]
    if declared is None and bits is None and ambiguous_depth(stored):
        notes.append("16-bit values of 14 bits or fewer, which the file does not state: taken as 16 bits")
    if declared is None and stored.nominal:
        notes.append(
            f"black and white are the ends of the stored type, {low:g} to {high:g}; the file does not state them"
        )
    known = Intensity(
        stored.dtype or str(array.dtype),
        low,
        high,
        array.shape[0],
        format=format,
        photometric=photometric,
        window=None if declared is not None else stored.window,
        spacing=stored.spacing,
        details=details,
        note="; ".join(filter(None, notes)),
        bits=stored.bits,
    )
    if stored.low is None:
        known = replace(known, bits=stated_bits(known))
    return np.ascontiguousarray(unit), known


def _mapped(array: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Return a new array in which low is -1 and high is 1: for whole numbers, that which is nearest to the exact value.

    So equal values become equal whatever type holds them, and the data check knows the same pixels in any format.
    """
    if (low, high) == (-1, 1) and array.dtype.kind == "f":
        return np.asarray(array.astype(np.float32))
    narrow = array.dtype.kind in "ui" and array.dtype.itemsize <= 2
    if narrow and low.is_integer() and high.is_integer() and max(abs(low), abs(high)) < FLOAT32_STEPS / 4:
        unit: NDArray[np.float32] = array.astype(np.float32)  # in place: fresh pages take longer than the arithmetic
        unit *= 2
        unit -= low + high
        unit /= high - low  # the only step that rounds
        return unit
    values = array.astype(np.float64)
    values -= low
    values /= (high - low) / 2
    values -= 1
    return values.astype(np.float32)


def _beyond(
    array: NDArray[Any], ends: tuple[float, float], beyond: Beyond, padding: tuple[float, float] | None
) -> tuple[int, bool]:
    """Return how many values but padding lie beyond the range, or refuse them; and whether any value at all does."""
    low, high = ends
    least, most = float(array.min()), float(array.max())
    if low <= least and most <= high:
        return 0, False
    if padding is not None:
        array = array[(array < padding[0]) | (array > padding[1])]
        least, most = (float(array.min()), float(array.max())) if array.size else (low, high)
        if low <= least and most <= high:
            return 0, True
    if beyond == "refuse":
        hint = "declare a wider range (--range LOW HIGH), or clip them (beyond: clip; in Python, beyond='clip')"
        got = f"{least:.9g} to {most:.9g}"
        raise DataError(f"holds values from {got}, outside its range of {low:.9g} to {high:.9g}; {hint}")
    return int(((array < low) | (array > high)).sum()), True


def to_stored(image: ArrayLike, intensity: Intensity) -> NDArray[Any]:
    """Map (C, *S) in [-1, 1] back to stored values: cut to the range, and rounded if they are integers.

    Raises:
        DataError: if `image` is no array of floating point, or holds NaN and is stored as integers.
    """
    unit: NDArray[Any] = np.clip(as_array(image), -1, 1)
    if intensity.photometric == "MONOCHROME1":
        unit = -unit
    dtype = np.dtype(intensity.dtype)
    if (intensity.low, intensity.high) == (-1, 1) and dtype.kind == "f":
        return cast(unit, dtype)
    return cast((unit.astype(np.float64) + 1) * ((intensity.high - intensity.low) / 2) + intensity.low, dtype)


def as_array(image: ArrayLike) -> NDArray[np.floating[Any]]:
    """Return an image as a NumPy array of floating point; a tensor on the CPU shares its memory with it.

    Raises:
        DataError: with what it is, if it is neither.
    """
    try:
        array = np.asarray(image)
    except (TypeError, RuntimeError, ValueError) as error:
        raise DataError(
            f"image: got {type(image).__name__}, which NumPy cannot take ({message_of(error)}); allowed: a NumPy array "
            "(C, *S) in [-1, 1], or a tensor on the CPU without gradients"
        ) from error
    if array.dtype.kind != "f":
        raise DataError(f"image: got values of type {array.dtype}; allowed: floating point in [-1, 1]")
    return array


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
    """The record for writing an image in another format than its own: black is the lowest value.

    Its colours stay, the shape of its pixels, and the mark of what it was made from.

    What was DICOM or scaled NIfTI is written from 0 to the highest value of its significant bits, for other formats
    know no range of their own: 12 bits stay 12, from 0 to 4095.
    """
    photometric = "RGB" if intensity.channels == 3 else "MONOCHROME2"
    kept = {name: intensity.details[name] for name in ("icc_profile", "derived", "aspect") if name in intensity.details}
    known = replace(intensity, photometric=photometric, details=kept)
    if intensity.format == "DICOM" or "slope" in intensity.details:
        bits = min(max(intensity.bits or 16, 8), 16)
        known = replace(known, dtype="uint8" if bits == 8 else "uint16", low=0, high=2**bits - 1, bits=bits)
    return known


def pixel_shape(intensity: Intensity | None) -> tuple[float, float] | None:
    """Return height and width of a pixel, or of a voxel in its slice; None where it is square, or no spacing known."""
    spacing = None if intensity is None else intensity.spacing
    if spacing is None or len(spacing) < 2 or abs(spacing[-2] / spacing[-1] - 1) <= 0.01:
        return None
    return spacing[-2], spacing[-1]


def unstated_shape(intensity: Intensity, format: str | None) -> str:
    """Return a note where pixels are not square and a file of this format does not state it; else nothing."""
    spacing = intensity.spacing
    if spacing is None:
        shape = intensity.details.get("aspect")
    else:
        shape = pixel_shape(intensity) if len(spacing) == 2 else None
    if shape is None or format is None or format in (ASPECTS if spacing is None else SPACINGS):
        return ""
    return f"its pixels are {shape[0] / shape[1]:.4g} times as high as wide, which {format} does not state"


def stated_bits(intensity: Intensity) -> int | None:
    """The significant bits that a writer may state of unscaled values: those whose whole range is that of `intensity`.

    None where the range is another, so that no file states bits that its values may exceed.
    """
    dtype = np.dtype(intensity.dtype)
    if dtype.kind != "u" or dtype.itemsize > 2 or intensity.low != 0:
        return None
    return next((bits for bits in range(1, 8 * dtype.itemsize + 1) if intensity.high == 2**bits - 1), None)


def ambiguous_depth(stored: Stored) -> bool:
    """True for integers of 16 bits that use 14 or fewer and state neither their bits nor black and white.

    They may be a dark image of 16 bits or one of 12 bits in 16: a single file cannot decide. The whole dataset can, or
    a declared range, or the bits that a model was trained with.
    """
    array = stored.array
    unknown = stored.low is None and stored.high is None and stored.bits is None
    if not unknown or array.dtype.kind not in "ui" or array.dtype.itemsize != 2 or not array.size:
        return False
    least, most = int(array.min()), int(array.max())
    return (least, most) != (0, 0) and depth_of(least, most) < 16


def require_depth(stored: Stored) -> None:
    """Refuse an image of ambiguous depth. Called by restoring and training where nothing else decides.

    Raises:
        DataError: with the ranges to declare.
    """
    if not ambiguous_depth(stored):
        return
    least, most = int(stored.array.min()), int(stored.array.max())
    if least < 0:
        raise DataError(f"holds 16-bit values, here from {least} to {most}, and states no black and white; {HINT}")
    depth = depth_of(least, most)
    raise DataError(
        f"holds 16-bit values of at most {most} and does not state its bits: it may be dark, or of {depth} bits; "
        f"declare its range (--range 0 {2**depth - 1} or --range 0 65535; in a recipe, bits: {depth} or bits: 16; "
        f"in Python, range=(0, {2**depth - 1}) or range=(0, 65535))"
    )


def require_stated(stored: Stored) -> None:
    """Refuse integers of a unit whose file states no black and white. Called by restoring and training.

    Raises:
        DataError: with the values and the ways to declare their range.
    """
    if stored.nominal:
        least, most = stored.array.min(), stored.array.max()
        held = f"holds {values_of(stored.unit)}, here from {least:g} to {most:g}"
        raise DataError(f"{held}, and states no black and white; {hint_for(stored.unit)}")


def values_of(unit: str) -> str:
    """Return what values of a unit are called in messages."""
    return f"values in {unit}" if unit else "scaled values"


def hint_for(unit: str) -> str:
    """Return how to declare the range of values of a unit."""
    return f"{HINT}; all of a CT, but for metal: range: [-1024, 3071], beyond: clip" if unit == "HU" else HINT


def depth_of(least: int, most: int) -> int:
    """Return the fewest of `DEPTHS` that hold integers from `least` to `most`; negative ones as two's complement."""
    span = max(most, -1 - least) * 2 + 1 if least < 0 else most
    return next((bits for bits in DEPTHS if span < 2**bits), DEPTHS[-1])


def checked_range(ends: Sequence[float], source: str = "") -> tuple[float, float]:
    """Return [LOW, HIGH], the values of black and white, wherever they come from.

    Args:
        ends: the two.
        source: who declared it, for the message; empty: the user.

    Raises:
        DataError: if they are not two finite numbers, the first below the second.
    """
    given: Any = ends  # from Python, it may be anything
    try:
        low, high = (float(end) for end in given if not isinstance(end, str))
    except (TypeError, ValueError, OverflowError):
        low = high = 0.0
    # Half of the difference divides every value: neither infinite nor zero.
    if not (np.isfinite([low, high, high - low]).all() and (high - low) / 2 >= np.finfo(float).tiny):
        got = f"got {list(given) if isinstance(given, list | tuple) else given!r} {source}".rstrip()
        raise DataError(f"range is [LOW, HIGH], the values of black and white, LOW below HIGH; {got}")
    return low, high


def check_size(size: Sequence[int]) -> None:
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
    """Turn (C, H, W) as the EXIF and TIFF tag Orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(1, 2)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return array[:, :: -1 if down else 1, :: -1 if across else 1]


def _range(
    array: NDArray[Any], stored: Stored, declared: Sequence[float] | None, bits: int | None
) -> tuple[float, float]:
    """Return black and white: as declared, else by the file, else by its dataset, else by its type."""
    if array.dtype.kind not in "uif":
        raise DataError(f"holds values of type {array.dtype}; integers and real numbers are read")
    if declared is not None:
        low, high = checked_range(declared)
        if _unscaled(stored):
            _require_type_holds(array.dtype, low, high)
    elif stored.low is not None and stored.high is not None:
        low, high = checked_range((stored.low, stored.high), "by its header")
    elif array.dtype.kind in "ui" and array.dtype.itemsize <= 2:
        low, high = _type_range(array, stored, bits)
    else:
        shown = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        seen = f", here from {shown.min():g} to {shown.max():g}," if shown.size else ""
        raise DataError(f"holds {array.dtype} values{seen} and does not state which are black and white; {HINT}")
    if array.dtype.kind in "ui" and max(abs(low), abs(high)) > EXACT:
        raise DataError(f"has a range of {low:g} to {high:g}; whole numbers are exact up to {EXACT:,}")
    if array.dtype.kind in "ui" and high - low >= FLOAT32_STEPS:
        raise DataError(f"has a range of {high - low + 1:.0f} values, more than float32 distinguishes; declare less")
    return low, high


def _type_range(array: NDArray[Any], stored: Stored, bits: int | None) -> tuple[float, float]:
    """Return the range of integers of 8 or 16 bits by their significant bits."""
    known = np.iinfo(array.dtype)
    width = 8 * array.dtype.itemsize
    significant = stored.bits if stored.bits is not None or width == 8 else bits
    if significant is None or significant >= width:
        return float(known.min), float(known.max)
    return 0.0, float(2**significant - 1)


def _unscaled(stored: Stored) -> bool:
    """True if `array` holds the values as the file stores them, not after a rescale."""
    return stored.dtype in ("", str(stored.array.dtype.newbyteorder("=")))


def _require_type_holds(dtype: np.dtype[Any], low: float, high: float) -> None:
    known = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    least, most = float(known.min), float(known.max)
    if low < least or high > most:
        raise DataError(
            f"range of {low:g} to {high:g} is declared, and its {dtype} values can only be {least:.9g} to {most:.9g}; "
            "declare a range that they can have, or leave it out for this file"
        )
