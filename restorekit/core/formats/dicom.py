"""DICOM by pydicom: rescaled, windowed, with black as the lowest value. A frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, pixel_array

from restorekit.core.errors import DataError
from restorekit.core.formats.dicom_codecs import plugin_for
from restorekit.core.intensity import Stored, demand_size, one_of
from restorekit.core.types import Intensity

__all__ = ["read", "write"]

_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")
"""Where an enhanced object keeps, for all frames or for each, what others keep at the top."""
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one frame: modality LUT or rescale, then VOI LUT or the first window."""
    data = dcmread(path)
    if not any(name in data for name in _PIXELS):
        kind = getattr(data.get("SOPClassUID"), "name", "") or "object"
        raise DataError(f"is a DICOM {kind} without pixels")
    kind = str(data.get("PhotometricInterpretation", ""))
    if kind.startswith("PALETTE"):
        raise DataError("has an indexed palette; convert it to gray or RGB; gray or RGB is read")
    if data.get("BitsStored") == 1:
        raise DataError("has 1 bit a pixel, as a mask has; gray or RGB is read")
    index = one_of(int(data.get("NumberOfFrames") or 1), frame, "frames")
    demand_size((int(data.Rows), int(data.Columns)))
    syntax = getattr(data.file_meta, "TransferSyntaxUID", None)
    array = pixel_array(data, index=index, decoding_plugin=plugin_for(syntax, int(data.get("BitsStored", 0))))
    _take_groups(data, index)
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    steps = tuple(float(step) for step in spacing) if spacing and min(spacing) > 0 else None
    dtype = array.dtype.name
    bits = int(data.get("BitsStored", array.dtype.itemsize * 8))
    details = {"bits": bits, "transfer": str(syntax or "")}
    if array.ndim == 3:  # colour, which pydicom has turned into RGB
        low, high = _bits(data, array)
        return Stored(array.transpose(2, 0, 1), low, high, "RGB", spacing=steps, details=details, dtype=dtype)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"has the photometric interpretation {kind or 'none'}; gray or RGB is read")
    low, high = _bits(data, array)
    if data.get("ModalityLUTSequence"):
        array = apply_modality_lut(array, data)
        low, high = 0.0, float(2 ** int(data.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    elif "RescaleSlope" in data:
        if low is not None and high is not None:
            ends = apply_modality_lut(np.array([low, high]).astype(array.dtype), data)
            low, high = float(min(ends)), float(max(ends))
        array = apply_modality_lut(array, data)
    window = None
    if data.get("VOILUTSequence"):
        array = apply_voi(array.astype(np.int64), data)
        low, high = 0.0, float(2 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif data.get("WindowWidth") is not None and data.get("WindowCenter") is not None:
        array, low, high, window = _windowed(array, data, low, high)
    return Stored(array[None], low, high, kind, window, steps, details, dtype)


def write(stream: Any, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Refuse: a derived DICOM object is more than its pixels."""
    raise DataError("DICOM files are not written yet; a restored one is written as PNG")


def _take_groups(data: Dataset, index: int) -> None:
    """Put what the functional groups say of one frame at the top of the data set."""
    shared, single = data.get("SharedFunctionalGroupsSequence"), data.get("PerFrameFunctionalGroupsSequence")
    for group in [*([shared[0]] if shared else []), *([single[index]] if single and len(single) > index else [])]:
        for name in _GROUPS:
            for item in group.get(name) or []:
                data.update(item)


def _bits(data: Dataset, array: NDArray[Any]) -> tuple[float | None, float | None]:
    """Return the range of BitsStored, or none for floating point and for more bits than need no declaration."""
    bits = int(data.get("BitsStored", 0))
    if array.dtype.kind not in "ui" or not 1 < bits <= 16:
        return None, None
    half = 2 ** (bits - 1)
    return (-half, half - 1) if data.get("PixelRepresentation") else (0, 2 * half - 1)


def _windowed(
    array: NDArray[Any], data: Dataset, low: float | None, high: float | None
) -> tuple[NDArray[Any], float | None, float | None, tuple[float, float]]:
    """Return the values with the range of the first window; a curved one is applied, a straight one is only cut."""
    centre, width = (float(np.atleast_1d(data[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    how = str(data.get("VOILUTFunction") or "LINEAR").upper()
    if how == "SIGMOID":
        return apply_windowing(array, data), low, high, (centre, width)
    middle, half = (centre - 0.5, (width - 1) / 2) if how == "LINEAR" else (centre, width / 2)
    if half <= 0:
        raise DataError(f"has a window of width {width:g}, which leaves black and white only")
    return array, middle - half, middle + half, (centre, width)
