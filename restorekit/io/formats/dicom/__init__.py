"""DICOM: `tags` reads elements, `codecs` and `pixels` give stored values, `values` what they mean, `reader` a frame."""

from restorekit.io.formats.dicom.reader import read, states_range, write

__all__ = ["read", "states_range", "write"]
