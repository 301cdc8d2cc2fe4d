"""From stored DICOM values to those that are shown: PS3.3 C.11.1 (modality) and C.11.2 (value of interest).

pydicom has functions for this, which are not used: it reads the first input value of a LUT by the VR alone, where the
standard derives its sign from the values that can come in; it truncates what is not an integer; it leaves out a rescale
of which one element is absent; and it has no range of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid

from restorekit.core.errors import DataError
from restorekit.io.displays import Lut, Sigmoid, Unusable
from restorekit.io.formats.dicom import tags

__all__ = ["Span", "Voi", "modality", "rescale", "transformed", "voi"]

_ANGIOGRAPHY = (
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    "1.2.840.10008.5.1.4.1.1.12.3",  # biplane, retired
)
Span = tuple[float, float]
"""The lowest and the highest value that can occur, whether or not they do."""


@dataclass(frozen=True)
class Voi:
    """What is shown: `span` is black and white after `display`, or of the values themselves where that is None."""

    span: Span
    display: Lut | Sigmoid | Unusable | None = None
    window: tuple[float, float] | None = None


def modality(array: NDArray[Any], data: Dataset, span: Span | None) -> tuple[NDArray[Any], Span | None]:
    """Apply the modality LUT, or rescale slope and intercept, to the stored values and to their range.

    Raises:
        DataError: if both are there, if either cannot be applied, or if it leaves no range of values.
    """
    slope, intercept = rescale(data)
    luts = _modality_luts(data)
    if luts:
        if (slope, intercept) != (1, 0):
            raise DataError(f"has a ModalityLUTSequence and a RescaleSlope of {slope:g}; one of both is allowed")
        lut = _lut(luts[0], data, "ModalityLUTSequence", signed=span is not None and span[0] < 0)
        return lut(array), lut.span
    if (slope, intercept) == (1, 0):
        return array, span
    if span is not None:
        span = min(ends := [end * slope + intercept for end in span]), max(ends)
        if not (np.isfinite(span).all() and span[0] < span[1]):
            raise DataError(f"has RescaleSlope {slope:g} and RescaleIntercept {intercept:g}, which leave no range")
    return array.astype(np.float64) * slope + intercept, span


def transformed(data: Dataset) -> dict[str, Any]:
    """Return how `modality` transforms stored values, for the way back: "lut_bits", or "rescale" (slope, intercept)."""
    luts = _modality_luts(data)
    if luts:
        return {"lut_bits": tags.integers(luts[0], "LUTDescriptor", 3)[2]}
    return {"rescale": list(rescale(data))}


def _modality_luts(data: Dataset) -> list[Dataset]:
    return [] if _maps_to_intensity(data) else tags.items(data, "ModalityLUTSequence")


def voi(data: Dataset, span: Span | None) -> Voi | None:
    """Return what the first VOI LUT or, where there is none, the first window shows; None where there is neither.

    `span` is the range of the values after the modality step; None where it is not known.
    """
    try:
        luts = tags.items(data, "VOILUTSequence")
        if luts:
            lut = _lut(luts[0], data, "VOILUTSequence", signed=_signed(data, span))
            return Voi(lut.span, lut)
        windows = tags.pairs(data, "WindowCenter", "WindowWidth")
        return _window(*windows[0], tags.text(data, "VOILUTFunction")) if windows else None
    except DataError as error:
        return Voi((0, 1), Unusable(str(error)))


def _window(centre: float, width: float, function: str) -> Voi:
    if function == "SIGMOID" and width > 0:
        return Voi((0, 1), Sigmoid(centre, width), (centre, width))
    if function == "LINEAR_EXACT":
        middle, half = centre, width / 2
    elif function in ("", "LINEAR"):
        middle, half = centre - 0.5, (width - 1) / 2
    elif function != "SIGMOID":
        raise DataError(f"has VOILUTFunction {function}; LINEAR, LINEAR_EXACT and SIGMOID are read")
    else:
        middle = half = 0.0
    if not (half > 0 and middle - half < middle + half):
        raise DataError(f"has WindowWidth {width:g}, which leaves no gray between black and white")
    return Voi((middle - half, middle + half), None, (centre, width))


def _maps_to_intensity(data: Dataset) -> bool:
    """Return whether a modality LUT leads back to X-ray intensity, which is not what is shown: PS3.3 C.8.7.1.1.2."""
    shown = tags.text(data, "PixelIntensityRelationship") in ("LOG", "DISP")
    return shown and tags.text(data, "SOPClassUID") in _ANGIOGRAPHY


def rescale(data: Dataset) -> tuple[float, float]:
    """Return slope and intercept; 1 and 0 where there are none.

    Raises:
        DataError: if one is missing beside the other, or the slope is 0.
    """
    slope, intercept = (tags.number(data, name) for name in ("RescaleSlope", "RescaleIntercept"))
    dose = tags.number(data, "DoseGridScaling")  # RT Dose: stored values times this is the dose, PS3.3 C.8.8.3
    if slope is None and intercept is None and dose is not None:
        if not dose:
            raise DataError("has DoseGridScaling 0, which makes every value the same")
        return dose, 0.0
    if slope == 0:
        raise DataError("has RescaleSlope 0, which makes every value the same")
    if slope is None and intercept not in (None, 0):
        raise DataError(f"has RescaleIntercept {intercept:g} and no RescaleSlope")
    if intercept is None and slope not in (None, 1):
        raise DataError(f"has RescaleSlope {slope:g} and no RescaleIntercept")
    return 1.0 if slope is None else slope, intercept or 0.0


def _signed(data: Dataset, span: Span | None) -> bool:
    """Return whether the first input value of a VOI LUT is signed: C.11.2.1.1, whatever VR it was written with."""
    return tags.text(data, "RescaleType") == "HU" or span is None or span[0] < 0


def _lut(item: Dataset, data: Dataset, sequence: str, *, signed: bool) -> Lut:
    count, first, bits = tags.integers(item, "LUTDescriptor", 3)
    count = count % 2**16 or 2**16  # 16 bits, read as signed by some; 0 stands for 65536
    stated = first < 0 and not data.original_encoding[0]  # the explicit VR of the file is SS
    first %= 2**16
    if (signed or stated) and first >= 2**15:
        first -= 2**16
    if not 8 <= bits <= 16:
        raise DataError(f"has a {sequence} with LUTDescriptor of {bits} bits; 8 to 16 are allowed")
    return Lut(first, _entries(item, data, sequence, count, bits), bits)


def _entries(item: Dataset, data: Dataset, sequence: str, count: int, bits: int) -> NDArray[Any]:
    """Return the entries, of 8 or 16 bits by the length of LUTData: C.11.1.1.1, its note."""
    value = item.get("LUTData")
    if isinstance(value, bytes):
        little = bool(data.original_encoding[1])
        words = np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little else ">u2").astype("<u2")
        odd = value[len(words) * 2 :]
    else:
        words, odd = (
            np.array([entry % 2**16 for entry in tags.integers(item, "LUTData", item["LUTData"].VM)], "<u2"),
            b"",
        )
    if len(words) == count:
        entries = words
    elif bits == 8 and len(words) * 2 + len(odd) in (count, count + 1):
        entries = np.frombuffer(words.tobytes() + odd, np.uint8)[:count]
    else:
        got = len(words) * 2 + len(odd)
        raise DataError(f"has a {sequence} with LUTData of {got} bytes for {count} entries of {bits} bits")
    if int(entries.max()) >= 2**bits:
        raise DataError(f"has a {sequence} with LUTData up to {entries.max()}, more than its {bits} bits hold")
    return entries
