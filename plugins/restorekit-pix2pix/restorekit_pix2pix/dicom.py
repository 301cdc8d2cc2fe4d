"""A translated image as a DICOM file of its own: secondary capture, ImageType DERIVED, and what made it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from torch import Tensor

from restorekit import DataError, Derived

__all__ = ["write_derived"]

MAKER = "restorekit"
MOST = 1024
"""Characters that an element of the type ST holds."""


def write_derived(path: Path, image: Tensor, derived: Derived) -> None:
    """Write an image (1 or 3, H, W) in [-1, 1] in 8 bits, as a file that states what it was made from.

    Patient and study are new: it shows no patient. The file appears whole or not at all.

    Raises:
        DataError: if what it was made from does not fit into an element.
    """
    if len(derived.text) > MOST:
        raise DataError(f"{path}: its mark has {len(derived.text)} characters; DICOM holds {MOST}; shorten file names")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.ConversionType = "OT", "WSD"
    data.PatientName, data.PatientID = "SYNTHETIC", "SYNTHETIC"
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.DerivationDescription = "Translated by a network from the image of another class; shows no patient"
    equipment = Dataset()
    equipment.Manufacturer, equipment.ContributionDescription = MAKER, derived.text
    data.ContributingEquipmentSequence = Sequence([equipment])
    pixels = np.rint((image.clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8)
    data.Rows, data.Columns = pixels.shape[1:]
    data.SamplesPerPixel = pixels.shape[0]
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.shape[0] == 1 else "RGB"
    if pixels.shape[0] == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    packed = pixels.transpose(1, 2, 0).tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(stream.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
