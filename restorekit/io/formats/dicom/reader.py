"""DICOM by pydicom: rescaled, windowed, with black as the lowest value. A frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.formats.dicom import tags
from restorekit.io.formats.dicom.pixels import Layout, frame_values, layout_of
from restorekit.io.formats.dicom.values import modality, voi
from restorekit.io.intensity import Stored, one_of

__all__ = ["read", "write"]

_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelMeasuresSequence": ("PixelSpacing",),
}
"""Where an enhanced object keeps, for all frames or for each, what others keep at the top; and what that replaces."""
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""In the patient, at the detector, on the film; the first that is there counts."""
_SPACING_LIMITS = (1e-5, 1e3)
"""Millimetres: 10 nm, finer than any light microscope, to 1 m. Other values are mistakes."""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one frame: modality LUT or rescale, then the first VOI LUT or the first window.

    Raises:
        DataError: if it is damaged, contradicts itself or says what is not read; the element is named.
    """
    try:
        return _read(path, frame)
    except (DataError, OSError, MemoryError):
        raise
    except Exception as error:  # pydicom raises anything on damaged elements
        raise DataError("cannot be read as DICOM: its elements are damaged or cut short") from error


def write(stream: Any, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Refuse: a derived DICOM object is more than its pixels."""
    raise DataError("DICOM files are not written yet; a restored one is written as PNG")


def _read(path: Path, frame: int | None) -> Stored:
    data = dcmread(path)
    layout = layout_of(data)
    index = one_of(layout.frames, frame, "frames")
    _take_groups(data, layout, index)
    inverted = _inverted(data, layout)
    array = frame_values(data, layout, index)
    dtype, spacing = array.dtype.name, _spacing(data)
    bits = None if layout.floating else layout.stored
    details = {"transfer": str(layout.syntax), "units": _units(data)}
    known = layout.stored <= 16  # a wider range is declared: no image uses all of it
    if layout.samples == 3:
        rgb = array.transpose(2, 0, 1)
        if modality(rgb, data, layout.span)[0] is not rgb:
            raise DataError("has RescaleSlope or ModalityLUTSequence with colour; the standard has them for gray only")
        low, high = (layout.span if known else None) or (None, None)
        return Stored(rgb, low, high, "RGB", spacing=spacing, details=details, dtype=dtype, bits=bits)
    array, span = modality(array[None], data, layout.span)
    shown = voi(data, span)
    if shown is not None:
        span = shown.span
    elif not known:
        span = None
    black, white = span or (None, None)
    return Stored(
        array,
        black,
        white,
        "MONOCHROME1" if inverted else "MONOCHROME2",
        shown.window if shown else None,
        spacing,
        details,
        dtype,
        bits,
        shown.display if shown else None,
    )


def _take_groups(data: Dataset, layout: Layout, index: int) -> None:
    """Put what the functional groups say of one frame at the top of the data set."""
    shared = tags.items(data, "SharedFunctionalGroupsSequence")
    single = tags.items(data, "PerFrameFunctionalGroupsSequence")
    if single and len(single) != layout.frames:
        raise DataError(
            f"has PerFrameFunctionalGroupsSequence of {len(single)} items for NumberOfFrames {layout.frames}"
        )
    for group in [*shared[:1], *([single[index]] if single else [])]:
        for name, replaced in _GROUPS.items():
            for item in tags.items(group, name)[:1]:
                for keyword in replaced:
                    data.pop(keyword, None)
                data.update(item)


def _inverted(data: Dataset, layout: Layout) -> bool:
    """Return whether the lowest value is white. PresentationLUTShape says the same a second time: PS3.3 C.8.11.3."""
    inverted, shape = layout.photometric == "MONOCHROME1", tags.text(data, "PresentationLUTShape")
    if layout.gray and shape and shape != ("INVERSE" if inverted else "IDENTITY"):
        raise DataError(f"has PresentationLUTShape {shape} with {layout.photometric}: which end is white is not clear")
    return inverted


def _units(data: Dataset) -> str:
    """Return what the rescaled values are, as HU or BQML, where the file says it."""
    return next((found for name in ("RescaleType", "Units", "DoseUnits") if (found := tags.text(data, name))), "")


def _spacing(data: Dataset) -> tuple[float, ...] | None:
    """Return millimetres between rows and columns; None where no element holds two sound ones."""
    least, most = _SPACING_LIMITS
    for name in _SPACINGS:
        try:
            steps = tuple(tags.numbers(data, name))
        except DataError:
            continue
        if len(steps) == 2 and all(least <= step <= most for step in steps):
            return steps
    return None
