"""DICOM: `tags` reads elements, `codecs` and `pixels` give stored values, `values` what they mean, `reader` a frame."""

from restorekit.io.formats.dicom.reader import modality_of, read, states_range, write

__all__ = ["modality_of", "read", "states_range", "write"]
