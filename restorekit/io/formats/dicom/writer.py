"""A restored image as a derived DICOM object: what PS3.3 asks of one, not a copy of its source with other pixels.

The header is that of the source file, which is read again. New are the pixels and their description, the identity of
object and series, what the image was derived from and by what, and the distance of pixels if there are more of them.
What no longer holds is left out: icons, signatures, the range of the source's pixels, private elements.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite, uid
from pydicom.encaps import encapsulate
from pydicom.sr.coding import Code

import restorekit
from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.formats.dicom import tags
from restorekit.io.formats.dicom.codecs import encode
from restorekit.io.formats.dicom.pixels import Layout, frame_values, layout_of
from restorekit.io.intensity import as_array, cast

__all__ = ["is_written", "to_stored", "write"]

WRITTEN = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.CTImageStorage,
        uid.MRImageStorage,
        uid.PositronEmissionTomographyImageStorage,
        uid.SecondaryCaptureImageStorage,
        uid.UltrasoundImageStorage,
        uid.XRayAngiographicImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
    }
)
"""SOP classes whose restored images are written as DICOM, if they have one frame."""
KEPT_SYNTAXES = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian)
GONE = (
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelDataProviderURL",
    "OriginalAttributesSequence",
)
"""Elements that no longer hold of the restored pixels."""
PLACES = ("Shutter", "Collimator", "VerticesOf", "CenterOfCircular", "RadiusOfCircular")
"""How the keywords begin of elements that name pixels by row and column."""
PLACED = (
    "SequenceOfUltrasoundRegions",
    "GraphicAnnotationSequence",
    "DisplayShutterSequence",
    "MaskSubtractionSequence",
)
"""Sequences whose items do so."""
LUTS = ("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType")
VOI = ("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation")
SOURCE = Code("121322", "DCM", "Source image for image processing operation")
EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
RESAMPLING = Code("113085", "DCM", "Spatial resampling")
SMOOTHING = Code("113087", "DCM", "Smoothing")
WARNING = "Restored by restorekit. Not for primary diagnosis."
ROOM = {"DerivationDescription": 1024, "SeriesDescription": 64, "ManufacturerModelName": 64}
"""The most characters of an element."""


def is_written(path: Path) -> bool:
    """Return whether a restored copy of a DICOM file is written as DICOM: one frame of a class in `WRITTEN`."""
    try:
        data = dcmread(path, stop_before_pixels=True)
    except Exception:  # as `read`, which reports why
        return True
    several = "SharedFunctionalGroupsSequence" in data or "PerFrameFunctionalGroupsSequence" in data
    return data.get("SOPClassUID") in WRITTEN and not several and tags.integer(data, "NumberOfFrames", 1) == 1


def to_stored(image: Any, intensity: Intensity) -> NDArray[Any]:
    """Map (C, H, W) in [-1, 1] to the stored values of its source: those before rescaling, or those that are shown.

    Raises:
        DataError: if `image` is no array of floating point.
    """
    unit: NDArray[Any] = np.clip(as_array(image), -1, 1).astype(np.float64)
    if intensity.photometric == "MONOCHROME1":
        unit = -unit
    if intensity.details.get("shown"):
        bits = _shown_bits(intensity)
        return cast((unit + 1) / 2 * (2**bits - 1), np.uint8 if bits == 8 else np.uint16)
    values = (unit + 1) * ((intensity.high - intensity.low) / 2) + intensity.low
    if "lut_bits" in intensity.details:
        return cast(values, np.uint8 if intensity.details["lut_bits"] == 8 else np.uint16)
    slope, intercept = intensity.details.get("rescale", (1.0, 0.0))
    return cast((values - intercept) / slope, np.dtype(intensity.dtype))


def write(stream: Any, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write stored values (C, H, W) as an object that is derived from the file that `intensity.details` names.

    Raises:
        DataError: if the image does not come from a DICOM file, or that is no longer there, or is of another class.
    """
    path = intensity.details.get("source")
    if path is None:
        raise DataError("is to be written as DICOM and does not come from a DICOM file; write it as PNG or TIFF")
    if not Path(path).is_file():
        raise DataError(f"its source {path}, whose header it takes, is no longer there")
    data = dcmread(path)
    layout = layout_of(data)
    if data.get("SOPClassUID") not in WRITTEN:
        raise DataError(f"is of class {data.get('SOPClassUID')}, which is not written as DICOM")
    array = _with_what_was_not_seen(array, data, layout, intensity)
    old = (layout.rows, layout.columns)
    syntax = layout.syntax
    for name in GONE:
        data.pop(name, None)
    data.remove_private_tags()
    _describe_pixels(data, array, layout, intensity)
    _space(data, old, array.shape[1:])
    _derive(data, array, old, intensity)
    _set_pixels(data, array, layout, syntax)
    buffer = BytesIO()
    dcmwrite(buffer, data, enforce_file_format=True)
    stream.write(buffer.getvalue())


def _shown_bits(intensity: Intensity) -> int:
    return int(min(max(intensity.details["bits"], 8), 16))


def _with_what_was_not_seen(array: NDArray[Any], data: Dataset, layout: Layout, intensity: Intensity) -> NDArray[Any]:
    """Return the values with those of the source where it had padding, or values beyond the window that stayed there.

    An image of another size, or of values as they are shown, has none of them; its padding is then no longer stated.
    """
    same = array.shape == (1, layout.rows, layout.columns)
    if not same or intensity.details.get("shown") or "lut_bits" in intensity.details:
        data.pop("PixelPaddingValue", None)
        data.pop("PixelPaddingRangeLimit", None)
        return array
    source = frame_values(data, layout, int(intensity.details["frame"]))[None]
    kept = np.zeros(source.shape, bool)
    values = tags.numbers(data, "PixelPaddingValue")
    if len(values) == 1:
        low, high = sorted((int(values[0]), int((tags.numbers(data, "PixelPaddingRangeLimit") or values)[0])))
        kept |= (source >= low) & (source <= high)
    if intensity.window is not None:
        kept |= _beyond_window(source, array, intensity)
    made: NDArray[Any] = np.where(kept, source.astype(array.dtype), array)
    return made


def _beyond_window(source: NDArray[Any], array: NDArray[Any], intensity: Intensity) -> NDArray[np.bool_]:
    """Return where a value of the source lay beyond the window, and the restored one is at that end of it."""
    slope, intercept = intensity.details["rescale"]
    before, after = (one.astype(np.float64) * slope + intercept for one in (source, array))
    half = abs(slope) / 2 if array.dtype.kind in "iu" else 0.0
    low = (before <= intensity.low) & (after <= intensity.low + half)
    high = (before >= intensity.high) & (after >= intensity.high - half)
    found: NDArray[np.bool_] = low | high
    return found


def _describe_pixels(data: Dataset, array: NDArray[Any], layout: Layout, intensity: Intensity) -> None:
    """Write the Image Pixel module, and take away how values were shown if they are now those that are shown."""
    channels, rows, columns = array.shape
    data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, channels
    data.BitsAllocated = 8 * array.dtype.itemsize
    if intensity.details.get("shown"):
        bits = _shown_bits(intensity)
        _take_away(data, (*LUTS, *VOI))
        data.WindowCenter, data.WindowWidth = 2 ** (bits - 1), 2**bits  # all of it: some classes require one
    elif "lut_bits" in intensity.details:
        bits = int(intensity.details["lut_bits"])
        _take_away(data, LUTS)
    else:
        bits = 8 * array.dtype.itemsize if layout.floating else layout.stored
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    if channels == 3:
        data.PhotometricInterpretation, data.PlanarConfiguration = "RGB", 0
    else:
        data.pop("PlanarConfiguration", None)


def _take_away(data: Dataset, names: Sequence[str]) -> None:
    """Delete how values are transformed; where a rescale was stated, state that there is none."""
    stated = "RescaleSlope" in data
    for name in names:
        data.pop(name, None)
    if stated:
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "US"


def _space(data: Dataset, old: Sequence[int], new: Sequence[int]) -> None:
    """Write the distance of pixels, and the place of the first one, of an image with more or fewer pixels."""
    if tuple(old) == tuple(new):
        return
    _take_away_places(data)
    ratios = [before / after for before, after in zip(old, new, strict=True)]
    spacing = [float(step) for step in tags.numbers(data, "PixelSpacing")]
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if (steps := tags.numbers(data, name)) and len(steps) == 2:
            setattr(data, name, [_decimal(step * ratio) for step, ratio in zip(steps, ratios, strict=True)])
    place, turned = (
        [float(one) for one in tags.numbers(data, name)] for name in ("ImagePositionPatient", "ImageOrientationPatient")
    )
    if len(spacing) == 2 and len(place) == 3 and len(turned) == 6:
        # the corner of the image stays, so the centre of its first pixel moves by half the change of spacing
        down, right = (step * (ratio - 1) / 2 for step, ratio in zip(spacing, ratios, strict=True))
        moved = [p + right * x + down * y for p, x, y in zip(place, turned[:3], turned[3:], strict=True)]
        data.ImagePositionPatient = [_decimal(one) for one in moved]


def _take_away_places(data: Dataset) -> None:
    """Delete what names pixels of the old size: shutters, collimators, regions, overlays."""
    for element in list(data):
        overlay = 0x6000 <= element.tag.group <= 0x60FF
        if overlay or element.keyword in PLACED or element.keyword.startswith(PLACES):
            del data[element.tag]


def _decimal(value: float) -> str:
    """Return a number as DS, of 16 characters at most."""
    return next(text for digits in range(10, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)


def _derive(data: Dataset, array: NDArray[Any], old: Sequence[int], intensity: Intensity) -> None:
    """Write the identity of the object, what it was derived from and how, and by which equipment."""
    by = str(intensity.details.get("derivation") or "restorekit")
    source_class, source = data.SOPClassUID, data.SOPInstanceUID
    content = hashlib.sha256(array.tobytes()).hexdigest()
    data.SOPInstanceUID = uid.generate_uid(entropy_srcs=[str(source), by, content])
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[str(data.get("SeriesInstanceUID", "")), by])
    kind = list(data.get("ImageType") or ["ORIGINAL", "PRIMARY"])
    data.ImageType = ["DERIVED", "SECONDARY", *kind[2:]]
    now = datetime.datetime.now()
    data.ContentDate = data.InstanceCreationDate = now.strftime("%Y%m%d")
    data.ContentTime = data.InstanceCreationTime = now.strftime("%H%M%S")
    size = "" if tuple(old) == array.shape[1:] else f" {old[0]} x {old[1]} to {array.shape[1]} x {array.shape[2]}."
    data.DerivationDescription = _cut("DerivationDescription", f"{WARNING} Model: {by}.{size}")
    codes = [_code(SMOOTHING), *([_code(RESAMPLING)] if size else [])]
    data.DerivationCodeSequence = codes
    data.SeriesDescription = _cut("SeriesDescription", f"{data.get('SeriesDescription', '')} restored".strip())
    data.SourceImageSequence = [_source(str(source_class), str(source))]
    data.ContributingEquipmentSequence = [*data.get("ContributingEquipmentSequence", []), _equipment(by, now)]


def _source(of_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = of_class, instance
    item.PurposeOfReferenceCodeSequence = [_code(SOURCE)]
    return item


def _equipment(by: str, now: datetime.datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code(EQUIPMENT)]
    item.Manufacturer, item.ManufacturerModelName = "restorekit", _cut("ManufacturerModelName", by)
    item.SoftwareVersions = restorekit.__version__
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = WARNING
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _cut(name: str, text: str) -> str:
    return text[: ROOM[name]]


def _set_pixels(data: Dataset, array: NDArray[Any], layout: Layout, syntax: uid.UID) -> None:
    """Write the pixels in the transfer syntax of the source where that keeps every value, else as they are."""
    samples = np.ascontiguousarray(array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0))
    if layout.floating:
        name = {4: "FloatPixelData", 8: "DoubleFloatPixelData"}[samples.dtype.itemsize]
        for unused in ("BitsStored", "HighBit", "PixelRepresentation"):
            data.pop(unused, None)
        setattr(data, name, samples.tobytes())
        data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        return
    encoded = encode(samples, int(data.BitsStored), syntax)
    if encoded is not None:
        data.PixelData = encapsulate([encoded])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = syntax
        return
    pixels = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    data.PixelData = pixels + b"\0" * (len(pixels) % 2)
    data["PixelData"].VR = "OB" if samples.dtype.itemsize == 1 else "OW"
    data.file_meta.TransferSyntaxUID = syntax if syntax in KEPT_SYNTAXES else uid.ExplicitVRLittleEndian
