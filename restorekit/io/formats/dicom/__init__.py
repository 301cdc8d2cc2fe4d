"""DICOM: `tags` reads elements, `codecs` and `pixels` give stored values, `values` what they mean, `reader` a frame.

`marks` reads what a derived image was made from.
"""

from restorekit.io.formats.dicom.marks import mark_of
from restorekit.io.formats.dicom.reader import modality_of, read, states_range, write

__all__ = ["mark_of", "modality_of", "read", "states_range", "write"]
