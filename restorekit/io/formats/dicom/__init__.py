"""DICOM: `tags` reads elements, `codecs` and `pixels` give stored values, `values` what they mean, `reader` a frame.

`writer` makes a derived object of a restored image, or of several `frames`; `marks` reads what one was made from.
"""

from restorekit.io.formats.dicom.frames import FramesOfFile, has_frames
from restorekit.io.formats.dicom.marks import mark_of
from restorekit.io.formats.dicom.reader import modality_of, read, states_range
from restorekit.io.formats.dicom.writer import is_written, to_stored, write

__all__ = [
    "FramesOfFile",
    "has_frames",
    "is_written",
    "mark_of",
    "modality_of",
    "read",
    "states_range",
    "to_stored",
    "write",
]
