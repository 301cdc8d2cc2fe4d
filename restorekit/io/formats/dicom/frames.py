"""The frames of a DICOM object: read one by one from an object that is read once, and written as one derived object.

Every frame is rescaled and windowed by its own functional groups, and its restored values are stored by the same ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmread

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.formats.dicom import tags
from restorekit.io.formats.dicom.pixels import Layout, layout_of
from restorekit.io.formats.dicom.reader import require_image, stored_frame
from restorekit.io.formats.dicom.writer import (
    ENHANCED,
    FRAMED,
    FUNCTIONAL,
    MOST,
    name_of_class,
    require_same_place,
    to_stored,
    with_what_was_not_seen,
    write_derived,
)
from restorekit.io.intensity import Stored

__all__ = ["FramesOfFile", "has_frames"]


def has_frames(path: Path) -> bool:
    """Return whether a file is an object of several frames, or of a class that may have them in functional groups.

    False also of a file that cannot be read: reading it raises the error.
    """
    try:
        data = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "NumberOfFrames"])
        return tags.integer(data, "NumberOfFrames", 1) > 1 or data.get("SOPClassUID") in ENHANCED
    except Exception:  # as `read`, which reports why
        return False


class FramesOfFile:
    """An object that is read, frame by frame, and the frames that are to take the place of these.

    Raises:
        DataError: if it is of a class, or of a kind of image, whose frames cannot be restored; the reason is named.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = dcmread(path)
        self._layout = layout_of(self._data)
        require_image(self._data, self._layout)
        _require_written(self._data, self._layout)
        self.count = self._layout.frames
        self._made: list[NDArray[Any]] = []
        self._first: Intensity | None = None

    def stored(self, index: int) -> Stored:
        """Return what frame `index`, from 0, holds.

        Raises:
            DataError: if it contradicts itself or has what is not read.
        """
        return stored_frame(self._data, self._layout, index, self._path)

    def add(self, image: ArrayLike, intensity: Intensity) -> None:
        """Take the restored image (C, H, W) in [-1, 1] of the next frame.

        Raises:
            DataError: if it is no such image, or of another size or type than those before it.
        """
        if intensity.details.get("shown") and any(name in self._data for name in FUNCTIONAL):
            raise DataError(
                "has frames with a VOILUTFunction of their own that is no straight window, by which restored values "
                "cannot be stored; declare their range (--range LOW HIGH)"
            )
        array = to_stored(image, intensity)
        array = with_what_was_not_seen(array, self._data, self._layout, intensity)
        require_same_place(array, self._data, self._layout)
        if self._first is None:
            self._first = intensity
        elif (array.shape, array.dtype) != (self._made[0].shape, self._made[0].dtype):
            raise DataError(f"a frame became {array.shape} of {array.dtype}; those before it {self._made[0].shape}")
        self._made.append(array)

    def write(self, stream: Any) -> None:
        """Write the object that is derived from the file; nothing can be read or added afterwards.

        Raises:
            DataError: if a frame is missing, or there are more bytes than an object holds.
        """
        if self._first is None or len(self._made) != self.count:
            raise DataError(f"{len(self._made)} of {self.count} frames are restored; all are needed")
        write_derived(stream, self._data, self._layout, self._made, self._first)


def _require_written(data: Dataset, layout: Layout) -> None:
    if data.get("SOPClassUID") not in FRAMED:
        known = ", ".join(sorted(one.name.removesuffix(" Storage") for one in FRAMED))
        raise DataError(
            f"holds {layout.frames} frames and is of class {name_of_class(data)}; frames are restored of {known}"
        )
    if layout.rows * layout.columns * layout.samples * layout.allocated // 8 * layout.frames > MOST:
        raise DataError(f"promises {layout.frames} frames of more than {MOST:,} bytes; split it")
    if layout.gray and "RedPaletteColorLookupTableDescriptor" in data:
        raise DataError("has colours for some gray values (a supplemental palette), which restoring would change")
    groups = [group for name in FUNCTIONAL for group in tags.items(data, name)]
    for group in groups:
        for item in tags.items(group, "MRImageFrameTypeSequence"):
            if tags.text(item, "ComplexImageComponent") == "PHASE":
                raise DataError("has frames of phase, which wraps around; frames of magnitude are restored")
