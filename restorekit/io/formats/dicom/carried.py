"""What a derived object takes over from its source in another form than it has there.

The functions change a data set that was read whole, and need its pixels: they are called before these are replaced.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from pydicom import DataElement, Dataset, FileMetaDataset, uid
from pydicom.pixels.utils import pack_bits

from restorekit.core.errors import DataError
from restorekit.io.formats.dicom import tags
from restorekit.io.formats.dicom.pixels import PIXELS, Layout, compressed_with_loss, plane_of

__all__ = ["carry_over"]

_WORDS = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
"""Value representations whose values pydicom keeps as bytes in the order of the file, with the bytes of a word."""
_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""Value representations of text in the character set that an object states."""
_OVERLAYS = range(0x6000, 0x6020, 2)
_DATA, _BITS, _PLACE, _ROWS, _COLUMNS = 0x3000, 0x0100, 0x0102, 0x0010, 0x0011
"""Elements of an overlay, PS3.3 C.9.2."""


def carry_over(data: Dataset, layout: Layout) -> None:
    """Give to overlays bits of their own, to words the order of little endian, and state a loss by compression.

    File meta information and preamble are those of a new file: they would name the writer of the source.

    Raises:
        DataError: if a text of the source would be written otherwise than it was.
    """
    data.walk(partial(_require_text, stated=tags.texts(data, "SpecificCharacterSet")))
    _state_loss(data, layout)
    if not layout.syntax.is_little_endian:
        data.walk(_turn)
    for group in _OVERLAYS:
        if (group, _PLACE) in data and (group, _DATA) not in data:
            _part_overlay(data, layout, group)
    data.preamble = b"\0" * 128
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian


def _state_loss(data: Dataset, layout: Layout) -> None:
    """State that values were lost where only the transfer syntax does: in that of the new file they seem whole."""
    if tags.text(data, "LossyImageCompression") == "01":
        return
    if found := compressed_with_loss(data, layout):
        method, ratio = found
        data.LossyImageCompression = "01"
        data.LossyImageCompressionMethod, data.LossyImageCompressionRatio = method, f"{ratio:.6g}"


def _part_overlay(data: Dataset, layout: Layout, group: int) -> None:
    """Move an overlay from the unused bits of the pixels to its own element; what cannot be moved is left out."""
    bit, plane = data[group, _PLACE].value, None
    if layout.frames == 1 and isinstance(bit, int):
        plane = plane_of(data, layout, bit)
    if plane is None:
        for element in [one for one in data if one.tag.group == group]:
            del data[element.tag]
        return
    for element, value in ((_ROWS, layout.rows), (_COLUMNS, layout.columns), (_BITS, 1), (_PLACE, 0)):
        data.add_new((group, element), "US", value)
    data.add_new((group, _DATA), "OW", pack_bits(plane.astype(np.uint8)))


def _require_text(_: Dataset, element: DataElement, stated: list[str]) -> None:
    """Refuse text of another character set than is stated: pydicom has put a sign in the place of its letters."""
    if element.VR in _TEXTS and "\ufffd" in str(element.value):
        known = "\\".join(stated) or "none"
        raise DataError(
            f"has text in {element.keyword} that is not in its SpecificCharacterSet, {known}, and would be written "
            "otherwise; correct that, or use --format png"
        )


def _turn(_: Dataset, element: DataElement) -> None:
    """Turn the bytes of words from big to little endian; those of pixels are read where they are and replaced later."""
    width = 1 if element.keyword in PIXELS else _WORDS.get(element.VR, 1)
    if isinstance(element.value, bytes) and width > 1 and len(element.value) % width == 0:
        element.value = np.frombuffer(element.value, f">u{width}").astype(f"<u{width}").tobytes()
