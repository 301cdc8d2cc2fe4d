"""A restored image as a derived DICOM object: what PS3.3 asks of one, not a copy of its source with other pixels.

The header is that of the source file, which is read again. New are the pixels and their description, the identity of
object and series, what the image was derived from and by what, and the distance of pixels if there are more of them.
What no longer holds is left out: icons, signatures, the range of the source's pixels, private elements.

Of several frames each has its own functional groups, which stay; they state from which frame it was derived.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
import unicodedata
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
from restorekit.io.formats.dicom.carried import carry_over
from restorekit.io.formats.dicom.codecs import encode
from restorekit.io.formats.dicom.pixels import Layout, frame_values, layout_of, padding_of, span_of
from restorekit.io.formats.dicom.values import modality
from restorekit.io.intensity import as_array, cast

__all__ = [
    "ENHANCED",
    "FRAMED",
    "is_written",
    "name_of_class",
    "require_same_place",
    "to_stored",
    "with_what_was_not_seen",
    "write",
    "write_derived",
]

SINGLE = frozenset(
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
"""SOP classes of objects of one frame that are written as DICOM."""
ENHANCED = frozenset(
    {
        uid.EnhancedCTImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
        uid.EnhancedXAImageStorage,
        uid.EnhancedXRFImageStorage,
        uid.EnhancedUSVolumeStorage,
    }
)
"""Those whose frames have functional groups."""
FRAMED = ENHANCED | {
    uid.UltrasoundMultiFrameImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.UltrasoundImageStorage,
}
"""Those that may have several frames. The last two may not, by the standard; files of both exist."""
PRIMARY = frozenset({uid.PositronEmissionTomographyImageStorage})
"""Those of one frame whose second value of ImageType is PRIMARY always (PS3.3 C.8.9.4.1.1), as with functional groups
(C.8.16.1.2)."""
SAME_SIZE = frozenset({uid.EnhancedXAImageStorage, uid.EnhancedXRFImageStorage, uid.EnhancedUSVolumeStorage})
"""Those whose frames stand in coordinates that more pixels would change in many places."""
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
FUNCTIONAL = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
MOST = 2**32 - 2
"""Bytes that an element may have."""
PLACES = ("Shutter", "Collimator", "VerticesOf", "CenterOfCircular", "RadiusOfCircular")
"""How the keywords begin of elements that name pixels by row and column."""
PLACED = (
    "SequenceOfUltrasoundRegions",
    "GraphicAnnotationSequence",
    "DisplayShutterSequence",
    "MaskSubtractionSequence",
    "FrameDisplayShutterSequence",
    "FramePixelShiftSequence",
)
"""Sequences whose items do so."""
RECORDED = (
    "PulseSequenceName",
    "MRAcquisitionType",
    "EchoPulseSequence",
    "MultipleSpinEcho",
    "MultiPlanarExcitation",
    "PhaseContrast",
    "TimeOfFlightContrast",
    "ArterialSpinLabelingContrast",
    "SteadyStatePulseSequence",
    "EchoPlanarPulseSequence",
    "SaturationRecovery",
    "SpectrallySelectedSuppression",
    "OversamplingPhase",
    "GeometryOfKSpaceTraversal",
    "RectilinearPhaseEncodeReordering",
    "SegmentedKSpaceTraversal",
    "CoverageOfKSpace",
    "NumberOfKSpaceTrajectories",
    "BulkMotionCompensationTechnique",
    "BulkMotionSignalSource",
)
"""How an enhanced MR image was recorded: allowed where ImageType is ORIGINAL or MIXED alone (PS3.3 C.8.13.4, C.8.13.9).
The source, which the derived object names, has them."""
LUTS = ("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType", "RealWorldValueMappingSequence")
VOI = ("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation")
SOURCE = Code("121322", "DCM", "Source image for image processing operation")
EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
RESAMPLING = Code("113085", "DCM", "Spatial resampling")
SMOOTHING = Code("113087", "DCM", "Smoothing")
WARNING = "Restored by restorekit. Not for primary diagnosis."
ROOM = {"DerivationDescription": 1024, "SeriesDescription": 64, "ManufacturerModelName": 64}
"""The most characters of an element."""


def is_written(path: Path) -> bool:
    """Return whether a restored copy of a DICOM file is written as DICOM, by its class."""
    try:
        data = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # as `read`, which reports why
        return True
    return data.get("SOPClassUID") in SINGLE | FRAMED


def name_of_class(data: Dataset) -> str:
    """Return the name of an object's class, or its UID."""
    found = data.get("SOPClassUID")
    return str(getattr(found, "name", "") or found or "none")


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
    values, dtype = (values - intercept) / slope, np.dtype(intensity.dtype)
    if dtype.kind != "f":  # a window or a declared range may be wider than BitsStored, of which readers see no more
        values = np.clip(
            values, *span_of(int(intensity.details.get("bits", 8 * dtype.itemsize)), signed=dtype.kind == "i")
        )
    return cast(values, dtype)


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
    if data.get("SOPClassUID") not in (SINGLE | FRAMED) - ENHANCED:
        raise DataError(f"is of class {data.get('SOPClassUID')}, whose single image is not written as DICOM")
    if layout.frames > 1:
        raise DataError(
            f"is one of {layout.frames} frames of its source, which are written together; write PNG or TIFF"
        )
    write_derived(stream, data, layout, [with_what_was_not_seen(array, data, layout, intensity)], intensity)


def write_derived(
    stream: Any, data: Dataset, layout: Layout, arrays: Sequence[NDArray[Any]], intensity: Intensity
) -> None:
    """Write stored values as an object that is derived from `data`, which is changed.

    Args:
        stream: where to.
        data: the source, read whole.
        layout: its pixels.
        arrays: the frames, each (C, H, W), as `with_what_was_not_seen` returned them.
        intensity: the record of the first.

    Raises:
        DataError: if there are more bytes than an element may have.
    """
    first = arrays[0]
    old = (layout.rows, layout.columns)
    if sum(array.nbytes for array in arrays) > MOST:
        raise DataError(f"has more than {MOST:,} bytes of pixels, which no DICOM object holds; split it")
    if not _keeps_values(first, layout, intensity):
        data.pop("PixelPaddingValue", None)
        data.pop("PixelPaddingRangeLimit", None)
    data.remove_private_tags()
    carry_over(data, layout)
    for name in GONE:
        data.pop(name, None)
    _describe_pixels(data, first, layout, intensity)
    _space(data, old, first.shape[1:])
    _derive(data, arrays, old, intensity)
    _set_pixels(data, arrays, layout, layout.syntax)
    if (finish := intensity.details.get("finish")) is not None:  # called with the whole object
        finish(data)
    buffer = BytesIO()
    dcmwrite(buffer, data, enforce_file_format=True)
    stream.write(buffer.getbuffer())


def _shown_bits(intensity: Intensity) -> int:
    return int(min(max(intensity.details["bits"], 8), 16))


def require_same_place(array: NDArray[Any], data: Dataset, layout: Layout) -> None:
    """Refuse frames of more or fewer pixels of a class whose coordinates are then not known.

    Raises:
        DataError: with the class.
    """
    if array.shape[1:] != (layout.rows, layout.columns) and data.get("SOPClassUID") in SAME_SIZE:
        raise DataError(f"is of class {name_of_class(data)}, whose frames are restored at their own size only")


def _keeps_values(array: NDArray[Any], layout: Layout, intensity: Intensity) -> bool:
    """Return whether stored values mean what they did, pixel by pixel."""
    same = array.shape == (1, layout.rows, layout.columns)
    return same and not intensity.details.get("shown") and "lut_bits" not in intensity.details


def with_what_was_not_seen(array: NDArray[Any], data: Dataset, layout: Layout, intensity: Intensity) -> NDArray[Any]:
    """Return the values with those of the source where it had padding, or values beyond the range that stayed there.

    An image of another size, or of values as they are shown, has none of them.
    """
    if array.shape != (1, layout.rows, layout.columns) or intensity.details.get("shown"):
        return array
    source = frame_values(data, layout, int(intensity.details["frame"]))[None]
    kept = np.zeros(source.shape, bool)
    if padding := padding_of(data, layout):
        kept |= (source >= padding[0]) & (source <= padding[1])
    if "lut_bits" in intensity.details:
        source = modality(source, data, layout.span)[0]
    kept |= _beyond_range(source, array, intensity)
    made: NDArray[Any] = np.where(kept, source.astype(array.dtype), array)
    return made


def _beyond_range(source: NDArray[Any], array: NDArray[Any], intensity: Intensity) -> NDArray[np.bool_]:
    """Return where a value lay beyond the window or the declared range, and the restored one is at that end of it."""
    slope, intercept = intensity.details.get("rescale", (1.0, 0.0))
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
    """Write the distance of pixels, and the place of the first one, of an image with more or fewer pixels.

    Both stand at the top, or in the functional groups of all frames or of each.
    """
    if tuple(old) == tuple(new):
        return
    _take_away_places(data)
    ratios = [before / after for before, after in zip(old, new, strict=True)]
    shared, single = (tags.items(data, name) for name in FUNCTIONAL)
    common = shared[0] if shared else Dataset()
    for group in [*single, *shared[:1]]:  # those of all frames last: they hold what the others need
        _take_away_places(group)
        measures, turn = (
            _first(group, name) or _first(common, name)
            for name in ("PixelMeasuresSequence", "PlaneOrientationSequence")
        )
        _move(_first(group, "PlanePositionSequence"), measures, turn, ratios)
    _move(data, data, data, ratios)
    for holder in [data, *(_first(group, "PixelMeasuresSequence") for group in [*single, *shared[:1]])]:
        _narrow(holder, ratios)


def _first(group: Dataset, name: str) -> Dataset:
    """Return the item of a functional group; an empty one where it has none."""
    return next(iter(tags.items(group, name)), None) or Dataset()


def _narrow(holder: Dataset, ratios: Sequence[float]) -> None:
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if (steps := tags.numbers(holder, name)) and len(steps) == 2:
            setattr(holder, name, [_decimal(step * ratio) for step, ratio in zip(steps, ratios, strict=True)])


def _move(holder: Dataset, measures: Dataset, turn: Dataset, ratios: Sequence[float]) -> None:
    """Write the place of the first pixel: the corner stays, so its centre moves by half the change of spacing."""
    spacing = tags.numbers(measures, "PixelSpacing")
    place, turned = tags.numbers(holder, "ImagePositionPatient"), tags.numbers(turn, "ImageOrientationPatient")
    if len(spacing) == 2 and len(place) == 3 and len(turned) == 6:
        down, right = (step * (ratio - 1) / 2 for step, ratio in zip(spacing, ratios, strict=True))
        moved = [p + right * x + down * y for p, x, y in zip(place, turned[:3], turned[3:], strict=True)]
        holder.ImagePositionPatient = [_decimal(one) for one in moved]


def _take_away_places(data: Dataset) -> None:
    """Delete what names pixels of the old size: shutters, collimators, regions, overlays."""
    for element in list(data):
        overlay = 0x6000 <= element.tag.group <= 0x60FF
        if overlay or element.keyword in PLACED or element.keyword.startswith(PLACES):
            del data[element.tag]


def _decimal(value: float) -> str:
    """Return a number as DS, of 16 characters at most."""
    return next(text for digits in range(10, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)


def _derive(data: Dataset, arrays: Sequence[NDArray[Any]], old: Sequence[int], intensity: Intensity) -> None:
    """Write the identity of the object, what it was derived from and how, and by which equipment."""
    alike = str(intensity.details.get("series") or intensity.details.get("derivation") or "")
    by, new = _plain(str(intensity.details.get("derivation") or "restorekit")), arrays[0].shape[1:]
    source, series = _source(str(data.SOPClassUID), _instance(data)), str(data.get("SeriesInstanceUID", ""))
    content = hashlib.sha256()
    for array in arrays:
        content.update(array.tobytes())
    data.SOPInstanceUID = _new_uid(data.SOPInstanceUID, by, alike, content.hexdigest())
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.SeriesInstanceUID = _new_uid(series, alike)
    for name in ("ConcatenationUID", "SOPInstanceUIDOfConcatenationSource"):  # the parts of one stay together
        if data.get(name):
            setattr(data, name, _new_uid(data.get(name), alike))
    grouped = any(name in data for name in FUNCTIONAL) or data.SOPClassUID in ENHANCED
    if data.SOPClassUID == uid.EnhancedMRImageStorage:
        for name in RECORDED:
            data.pop(name, None)
    kind = tags.texts(data, "ImageType") or ["ORIGINAL", "PRIMARY"]
    primary = grouped or data.SOPClassUID in PRIMARY
    data.ImageType = ["DERIVED", *(kind[1:] or ["PRIMARY"] if primary else ["SECONDARY", *kind[2:]])]
    now = _now(data)
    data.ContentDate = data.InstanceCreationDate = now.strftime("%Y%m%d")
    data.ContentTime = data.InstanceCreationTime = now.strftime("%H%M%S")
    size = "" if tuple(old) == new else f" {old[0]} x {old[1]} to {new[0]} x {new[1]}."
    about = Dataset()
    about.DerivationDescription = _cut("DerivationDescription", f"{WARNING} Model: {by}.{size}")
    about.DerivationCodeSequence = [_code(SMOOTHING), *([_code(RESAMPLING)] if size else [])]
    data.update(about)
    data.SourceImageSequence = [source]
    _derive_frames(data, about, source, series)
    data.SeriesDescription = _described(str(data.get("SeriesDescription") or ""))
    data.ContributingEquipmentSequence = [*data.get("ContributingEquipmentSequence", []), _equipment(by, now)]


def _derive_frames(data: Dataset, about: Dataset, source: Dataset, series: str) -> None:
    """Write into the functional groups of each frame that, how and from which frame it was derived."""
    shared, single = (tags.items(data, name) for name in FUNCTIONAL)
    for group in [*shared, *single]:
        group.pop("DerivationImageSequence", None)
        for element in [one for one in group if one.VR == "SQ"]:
            for item in element.value:
                if kind := tags.texts(item, "FrameType"):
                    item.FrameType = ["DERIVED", *kind[1:]]
    for at, group in enumerate(single, start=1):
        item, frame = copy.deepcopy(about), copy.deepcopy(source)
        frame.ReferencedFrameNumber = at
        item.SourceImageSequence = [frame]
        group.DerivationImageSequence = [item]
    if single:  # where an object refers to frames of others, it states once where these are
        found, listed, study = Dataset(), Dataset(), Dataset()
        found.ReferencedSOPClassUID = source.ReferencedSOPClassUID
        found.ReferencedSOPInstanceUID = source.ReferencedSOPInstanceUID
        listed.SeriesInstanceUID, listed.ReferencedSOPSequence = series, [found]
        study.StudyInstanceUID, study.ReferencedSeriesSequence = data.get("StudyInstanceUID", ""), [listed]
        data.SourceImageEvidenceSequence = [study]


def _now(data: Dataset) -> datetime.datetime:
    """Return the time, in the zone that the object states for all of its times, if it states one."""
    try:
        zone = datetime.datetime.strptime(str(data.get("TimezoneOffsetFromUTC") or ""), "%z").tzinfo
    except ValueError:
        zone = None
    return datetime.datetime.now(zone)


def _instance(data: Dataset) -> str:
    """Return the UID of the source, to which a derived object refers.

    Raises:
        DataError: if it has none.
    """
    if not data.get("SOPInstanceUID"):
        raise DataError("is derived from a file without SOPInstanceUID, to which it has to refer; use --format png")
    return str(data.SOPInstanceUID)


def _new_uid(old: object, *others: str) -> str:
    return str(uid.generate_uid(entropy_srcs=[str(old), *others]))


def _described(before: str) -> str:
    """Return the description of a series as that of restored images, once."""
    mark = "restored"
    kept = before[: ROOM["SeriesDescription"] - len(mark) - 1].strip()
    return before if before.split()[-1:] == [mark] else f"{kept} {mark}".strip()


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


def _plain(text: str) -> str:
    """Return text in ASCII, which every SpecificCharacterSet holds, and without the sign that parts values."""
    parts = (one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return "".join(one if one.isascii() and one.isprintable() and one != "\\" else "?" for one in parts)


def _set_pixels(data: Dataset, arrays: Sequence[NDArray[Any]], layout: Layout, syntax: uid.UID) -> None:
    """Write the pixels in the transfer syntax of the source where that keeps every value, else as they are."""
    frames = [np.ascontiguousarray(one[0] if one.shape[0] == 1 else one.transpose(1, 2, 0)) for one in arrays]
    if layout.floating:
        name = {4: "FloatPixelData", 8: "DoubleFloatPixelData"}[frames[0].dtype.itemsize]
        for unused in ("BitsStored", "HighBit", "PixelRepresentation"):
            data.pop(unused, None)
        setattr(data, name, b"".join(one.tobytes() for one in frames))
        data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        return
    streams = _encoded(frames, int(data.BitsStored), syntax)
    if streams is not None:
        data.PixelData = encapsulate(streams)
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = syntax
        return
    pixels = b"".join(one.astype(one.dtype.newbyteorder("<"), copy=False).tobytes() for one in frames)
    data.PixelData = pixels + b"\0" * (len(pixels) % 2)
    data["PixelData"].VR = "OB" if frames[0].dtype.itemsize == 1 else "OW"
    data.file_meta.TransferSyntaxUID = syntax if syntax in KEPT_SYNTAXES else uid.ExplicitVRLittleEndian


def _encoded(frames: Sequence[NDArray[Any]], bits: int, syntax: uid.UID) -> list[bytes] | None:
    """Return every frame compressed without loss in a transfer syntax; None: one of them cannot be."""
    streams = []
    for one in frames:
        stream = encode(one, bits, syntax)
        if stream is None:
            return None
        streams.append(stream)
    return streams
