"""DICOM by pydicom: rescaled, windowed, with black as the lowest value. A frame at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread, uid
from pydicom.datadict import tag_for_keyword

from restorekit.core.errors import DataError
from restorekit.io.formats.dicom import tags
from restorekit.io.formats.dicom.marks import mark_in
from restorekit.io.formats.dicom.pixels import Layout, frame_values, layout_of, padding_of
from restorekit.io.formats.dicom.values import modality, rescale, transformed, voi
from restorekit.io.intensity import Stored, one_of

__all__ = ["modality_of", "read", "require_image", "states_range", "stored_frame"]

_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelMeasuresSequence": ("PixelSpacing",),
}
"""Where an enhanced object keeps, for all frames or for each, what others keep at the top; and what that replaces."""
_LABELS = {uid.SegmentationStorage: "Segmentation", "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation"}
"""Objects whose values are numbers of structures, or shares of them, by their SOPClassUID."""
_MAY_FOLLOW = (0xFFFA, 0xFFFC)
"""Groups of elements behind the pixels: digital signatures and padding."""
_FRAMES = "FunctionalGroupsSequence"
_PLAIN = ("", "US")
"""RescaleType of values without a unit: absent, and unspecified."""
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""In the patient, at the detector, on the film; the first that is there counts."""
_SPACING_LIMITS = (1e-5, 1e3)
"""Millimetres: 10 nm, finer than any light microscope, to 1 m. Other values are mistakes."""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one frame: modality LUT or rescale, then the first VOI LUT or the first window.

    Raises:
        DataError: if it is damaged, contradicts itself or has what is not read; the element is named.
    """
    try:
        return _read(path, frame)
    except (DataError, OSError, MemoryError):
        raise
    except Exception as error:  # pydicom raises anything on damaged elements
        raise DataError("cannot be read as DICOM: its elements are damaged or cut short") from error


def modality_of(path: Path) -> str:
    """Return Modality (0008,0060), such as CR or CT; empty if it is not stated, or the header cannot be read."""
    try:
        return tags.text(dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]), "Modality").strip()
    except Exception:  # as `read`, which reports why
        return ""


def states_range(path: Path) -> bool:
    """Return whether the header states black and white, as far as the header alone can.

    Objects of several frames keep it for each frame elsewhere: they are read to know it.
    """
    try:
        data = dcmread(path, stop_before_pixels=True)
        if any(tags.items(data, name) for name in ("Shared" + _FRAMES, "PerFrame" + _FRAMES)):
            return False
        if tags.integer(data, "SamplesPerPixel", 1) != 1 or voi(data, None) is not None:
            return True
        return not _of_a_unit(data, tags.integer(data, "BitsStored"))
    except Exception:  # as `read`, which reports why
        return True


def _read(path: Path, frame: int | None) -> Stored:
    data = dcmread(path)
    layout = layout_of(data)
    require_image(data, layout)
    return stored_frame(data, layout, one_of(layout.frames, frame, "frames"), path)


def stored_frame(data: Dataset, layout: Layout, index: int, path: Path) -> Stored:
    """Return one frame of an object that was read whole from `path`; the object stays as it is.

    Raises:
        DataError: if it contradicts itself or has what is not read; the element is named.
    """
    with _groups_at_the_top(data, layout, index):
        return _stored(data, layout, index, path)


def _stored(data: Dataset, layout: Layout, index: int, path: Path) -> Stored:
    inverted = _inverted(data, layout)
    array = frame_values(data, layout, index)
    dtype, spacing = array.dtype.name, _spacing(data)
    bits = None if layout.floating else layout.stored
    details: dict[str, Any] = {
        "transfer": str(layout.syntax),
        "units": _units(data),
        "source": str(path.absolute()),
        "frame": index,
        "private": sum(tag.is_private and not tag.is_private_creator for tag in list(data.keys())),
    }
    details["bits"] = layout.stored
    if mark := mark_in(data):
        details["derived"] = mark
    if spacing is None and (aspect := _aspect(data)):
        details["aspect"] = aspect
    known = layout.stored <= 16  # a wider range is declared: no image uses all of it
    if layout.samples == 3:
        rgb = array.transpose(2, 0, 1)
        if modality(rgb, data, layout.span)[0] is not rgb:
            raise DataError("has RescaleSlope or ModalityLUTSequence with colour; the standard has them for gray only")
        low, high = (layout.span if known else None) or (None, None)
        if profile := data.get("ICCProfile"):
            details["icc_profile"] = bytes(profile)
        return Stored(rgb, low, high, "RGB", spacing=spacing, details=details, dtype=dtype, bits=bits)
    array, span = modality(array[None], data, layout.span)
    details |= transformed(data)
    shown = voi(data, span)
    if shown is not None:
        span = shown.span
    elif not known:
        span = None
    black, white = span or (None, None)
    nominal = shown is None and known and bits is not None and _of_a_unit(data, bits)
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
        nominal,
        details["units"] if nominal else "",
        _padding(data, layout, details),
    )


def _padding(data: Dataset, layout: Layout, details: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the values after the rescale that stand for padding; None where there are none."""
    found = padding_of(data, layout)
    if found is None or "rescale" not in details:
        return None
    slope, intercept = details["rescale"]
    low, high = sorted(end * slope + intercept for end in found)
    return low, high


def require_image(data: Dataset, layout: Layout) -> None:
    """Refuse labels, frames that are shown subtracted from each other, and what follows the pixels.

    Raises:
        DataError: with what the file holds.
    """
    sop = tags.text(data, "SOPClassUID")
    if sop in _LABELS:
        raise DataError(f"holds labels ({_LABELS[sop]}); images are read")
    if tags.text(data, "RecommendedViewingMode") == "SUB":
        raise DataError("is to be shown with a mask frame subtracted (RecommendedViewingMode SUB), which is not done")
    found = list(data.keys())
    behind = found[found.index(tag_for_keyword(layout.element)) + 1 :]
    if other := [tag for tag in behind if tag.group not in _MAY_FOLLOW and tag != 0]:
        raise DataError(f"holds more behind its pixels, such as the element {other[0]}: another object, or damage")


@contextmanager
def _groups_at_the_top(data: Dataset, layout: Layout, index: int) -> Iterator[None]:
    """Put the elements of one frame's functional groups at the top of the data set, until the block ends."""
    shared = tags.items(data, "Shared" + _FRAMES)
    single = tags.items(data, "PerFrame" + _FRAMES)
    if single and len(single) != layout.frames:
        raise DataError(
            f"has PerFrameFunctionalGroupsSequence of {len(single)} items for NumberOfFrames {layout.frames}"
        )
    before: dict[Any, Any] = {}
    try:
        for group in [*shared[:1], *([single[index]] if single else [])]:
            for name, replaced in _GROUPS.items():
                for item in tags.items(group, name)[:1]:
                    for tag in {*map(tag_for_keyword, replaced), *item.keys()}:
                        before.setdefault(tag, data.pop(tag, None))
                        data.pop(tag, None)
                    data.update(item)
        yield
    finally:
        for tag, element in before.items():
            data.pop(tag, None)
            if element is not None:
                data[tag] = element


def _inverted(data: Dataset, layout: Layout) -> bool:
    """Return whether the lowest value is white. PresentationLUTShape states the same a second time: PS3.3 C.8.11.3."""
    inverted, shape = layout.photometric == "MONOCHROME1", tags.text(data, "PresentationLUTShape")
    if layout.gray and shape and shape != ("INVERSE" if inverted else "IDENTITY"):
        raise DataError(f"has PresentationLUTShape {shape} with {layout.photometric}: which end is white is not clear")
    return inverted


def _units(data: Dataset) -> str:
    """Return what the rescaled values are, as HU or BQML, where the file states it; of CT it need not (C.8.2.1)."""
    unit = next((found for name in ("RescaleType", "Units", "DoseUnits") if (found := tags.text(data, name))), "")
    if unit or tags.text(data, "Modality") != "CT":
        return unit
    return "CT numbers" if tags.number(data, "RescaleSlope") is None else "HU"


def _of_a_unit(data: Dataset, bits: int) -> bool:
    """Return whether values of a unit, such as HU, have a range that is only that of their stored type.

    It is where all 16 bits of a cell count, of which values in a unit use a small part, and where a slope makes the
    range another in each file, as between the slices of PET. Otherwise BitsStored states the range: 12 bits of a CT
    are -1024 to 3071.
    """
    slope, intercept = rescale(data)
    if abs(slope) != 1:
        return True
    if tags.items(data, "ModalityLUTSequence"):
        return False
    return bits == 16 and (intercept != 0 or _units(data) not in _PLAIN)


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


def _aspect(data: Dataset) -> tuple[int, int] | None:
    """Return height and width of a pixel, whose distances are not known; None where it is square, or is not stated."""
    try:
        found = tags.numbers(data, "PixelAspectRatio")
    except DataError:
        return None
    if len(found) != 2 or min(found) <= 0 or found[0] == found[1]:
        return None
    return int(found[0]), int(found[1])
