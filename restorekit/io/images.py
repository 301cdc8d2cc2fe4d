"""Reading and writing image files: any known format and depth, as float32 (C, *S) in [-1, 1].

A file's content decides what it is, never its name. How each value is mapped stands in `io/intensity.py`, how each
format is read and written in `io/formats/`, whose libraries are imported when a file of theirs is met.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restorekit.core.errors import STOPPING, DataError, message_of, unknown
from restorekit.core.formats import Format, Frames, Intensity
from restorekit.io.derived import Derived
from restorekit.io.files import replacing, stamp_of
from restorekit.io.filetypes import (
    FORMATS,
    SUFFIXES,
    find_images,
    format_by_content,
    format_by_name,
    other_format,
    skipped_images,
)
from restorekit.io.imagecache import ImageCache
from restorekit.io.intensity import (
    Beyond,
    Stored,
    as_array,
    carried_over,
    require_depth,
    require_stated,
    stated_bits,
    to_stored,
    to_unit,
)
from restorekit.io.quiet import without_warnings

__all__ = [
    "SUFFIXES",
    "ImageFiles",
    "expecting",
    "find_images",
    "read_image",
    "reading_through",
    "restored_name",
    "skipped_images",
    "states_range",
    "stored_image",
    "write_image",
]

_cache: ContextVar[ImageCache | None] = ContextVar("cache", default=None)
_dims: ContextVar[int | None] = ContextVar("dims", default=None)


def read_image(
    path: str | os.PathLike[str],
    *,
    range: Sequence[float] | None = None,
    frame: int | None = None,
    dims: int | None = None,
    beyond: Beyond = "refuse",
    bits: int | None = None,
) -> tuple[NDArray[np.float32], Intensity]:
    """Read a file as a NumPy array (C, *S) of float32 in [-1, 1], 1 channel or 3 as it is stored, oriented by EXIF.

    Args:
        path: the file; its content decides its format.
        range: the values of black and white, in the file's own values (after a DICOM or NIfTI rescale). Needed for
            floating point and for integers of more than 16 bits, unless the file states it; overrides a DICOM window.
        frame: which of several frames, pages or volumes, from 0.
        dims: spatial sizes of a NumPy or NIfTI image: whether a first axis holds channels, a last one of 1 counts.
            None: those that are expected, if any are.
        beyond: values beyond the range are refused, or clipped to it and counted in the `note` of the result.
        bits: the significant bits of 16-bit integers, for files that do not state them. None: all 16, and the `note`
            of the result states where a file uses 14 or fewer: it may be dark, or of 12 bits in 16.

    Raises:
        DataError: if it is missing, damaged, of a format that is not read, or its range is unknown or left.
    """
    with _naming(path):
        if beyond not in ("refuse", "clip"):
            raise DataError(unknown("value of beyond", str(beyond), ("refuse", "clip")))
        if bits is not None and not 1 < bits <= 16:
            raise DataError(f"bits are the significant bits of 16-bit integers, from 2 to 16; got {bits}")
        format, stored = _stored(Path(path), frame, dims)
        return to_unit(stored, format, range, beyond=beyond, bits=bits)


def stored_image(
    path: str | os.PathLike[str], *, frame: int | None = None, dims: int | None = None
) -> tuple[str, Stored]:
    """Return the format of a file and what it stores, before it is mapped to [-1, 1].

    Raises:
        DataError: if it is missing, damaged or of a format that is not read.
    """
    with _naming(path):
        return _stored(Path(path), frame, dims)


def states_range(path: Path) -> bool:
    """True if the header of a DICOM file states black and white, so that its pixels need not be decoded to know.

    True also of a file that cannot be read: loading it raises the error.
    """
    stated: bool = _module("DICOM").states_range(path)
    return stated


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any exception of reading into one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except DataError as error:  # the message of a damaged file may have many lines
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory") from error
    except STOPPING:
        raise
    except BaseException as error:  # a damaged file can make a library raise anything
        raise DataError(f"{path}: cannot be read ({message_of(error)[:200]})") from error


@contextmanager
def expecting(dims: int) -> Iterator[None]:
    """Let every `read_image` inside without a given number of spatial sizes expect so many."""
    token = _dims.set(dims)
    try:
        yield
    finally:
        _dims.reset(token)


@contextmanager
def reading_through(cache: ImageCache | None) -> Iterator[None]:
    """Let every `read_image` inside look into `cache` first, and put there what it decodes; None changes nothing."""
    token = _cache.set(cache)
    try:
        yield
    finally:
        _cache.reset(token)


def write_image(
    path: str | os.PathLike[str],
    image: ArrayLike,
    intensity: Intensity | None = None,
    *,
    derived: Derived | None = None,
) -> None:
    """Write an image (C, *S) in [-1, 1], a NumPy array or a tensor on the CPU, atomically, in the format of the suffix.

    It has the type and range of `intensity`; without, it is written in 8 bits, NumPy files as float32. All is lossless
    but JPEG, of quality 95. With `derived` the file states what the image was made from.

    Raises:
        DataError: if the suffix is not known, the format does not hold such values or no mark of a derived image, a
            value is not finite, or `image` is no array of floating point.
    """
    path = Path(path)
    format = format_by_name(path)
    if format is None:
        raise DataError(f"{path}: files are written as {', '.join(SUFFIXES)}; got {path.suffix or 'no suffix'!r}")
    try:
        array = as_array(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not np.isfinite(array).all():
        raise DataError(f"{path}: holds values that are not finite, which no image file can hold")
    known = intensity or _plain(format, array.shape[0])
    if known.format != format:
        known = carried_over(known)
    known = replace(known, bits=stated_bits(known))
    if format == "NIFTI":  # other programs know by the name alone whether a file is packed
        known = replace(known, details={**known.details, "packed": path.suffix.lower() == ".gz"})
    if derived is not None:
        if format not in ("PNG", "TIFF"):
            raise DataError(f"{path}: a {format} file cannot state that it is derived; write PNG or TIFF")
        known = replace(known, details={**known.details, "derived": derived.text})
    with _naming_written(path, format):
        writer = _module(format)
        stored = getattr(writer, "to_stored", to_stored)(array, known)
        with replacing(path) as stream, without_warnings():
            writer.write(stream, stored, format, known)


@contextmanager
def _naming_written(path: Path, format: str) -> Iterator[None]:
    """Turn any exception of writing into one line that names the file."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError:  # of the disk, and names the file
        raise
    except Exception as error:  # of a library, for values or metadata that its format does not hold
        raise DataError(f"{path}: cannot be written as {format} ({message_of(error)[:200]})") from error


def restored_name(path: Path, name: Path) -> tuple[Path, str]:
    """Return the name under which a restored copy of the file `path` is written, and a note on it.

    It is `name`, unless that is of another format than the file's content, or a DICOM class that is not written.
    """
    try:
        format = format_by_content(path)
    except OSError:
        return name, ""
    if format is None:
        return name, ""
    stem = name.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    with without_warnings():
        written = format != "DICOM" or _module("DICOM").is_written(path)
    if not written:
        return name.with_name(f"{stem}.png"), "this DICOM class is written as PNG: black is 0, white the highest value"
    if format_by_name(name) == format:
        return name, ""
    if format == "DICOM":  # often without a suffix
        return name.with_name(f"{name.name}.dcm"), ""
    right = name.with_name(stem + FORMATS[format].suffixes[0])
    return right, f"its content is {format}, whatever its name says; written as {right.name}"


class ImageFiles(Format):
    """Every image file that restorekit reads itself: the default format of files.

    Args:
        beyond: what becomes of values beyond the range, as `read_image` takes it.
        bits: the significant bits of 16-bit integers that state none, such as those that a model was trained with.
    """

    def __init__(self, beyond: Beyond = "refuse", bits: int | None = None) -> None:
        self.beyond, self.bits = beyond, bits

    def find(self, folder: Path) -> list[Path]:
        """As `find_images` does."""
        return find_images(folder)

    def skipped(self, folder: Path) -> list[tuple[Path, str]]:
        """As `skipped_images` does."""
        return skipped_images(folder)

    def read(
        self, path: Path, *, range: Sequence[float] | None = None, dims: int | None = None
    ) -> tuple[NDArray[np.float32], Intensity]:
        """As `read_image` does, but refuse files whose depth or range nothing decides.

        That is an image of ambiguous depth without `range` and `bits`, and scaled integers without `range`.
        """
        with _naming(path):
            format, stored = _stored(Path(path), None, dims)
            return self.mapped(stored, format, range)

    def mapped(
        self, stored: Stored, format: str, range: Sequence[float] | None
    ) -> tuple[NDArray[np.float32], Intensity]:
        """Map what a file stores, as `read` does."""
        if range is None:
            require_stated(stored)
            if self.bits is None:
                require_depth(stored)
        return to_unit(stored, format, range, beyond=self.beyond, bits=self.bits)

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        """As `write_image` does."""
        write_image(path, image, intensity)

    def frames(self, path: Path, target: Path, *, range: Sequence[float] | None = None) -> Frames | None:
        """Return the frames of a DICOM object that has several, or functional groups; they become DICOM again."""
        with _naming(path):
            if format_by_content(path) != "DICOM" or not _module("DICOM").has_frames(path):
                return None
            found = _DicomFrames(self, path, range)
            if format_by_name(target) != "DICOM":
                raise DataError(f"holds {found.count} frames, which DICOM alone keeps together; leave out --format")
            return found

    def restored_name(self, path: Path, name: Path) -> tuple[Path, str]:
        """As the function of that name does."""
        return restored_name(path, name)


class _DicomFrames(Frames):
    """The frames of a DICOM object."""

    def __init__(self, files: ImageFiles, path: Path, range: Sequence[float] | None) -> None:
        self._files, self._path, self._range = files, path, range
        with without_warnings():
            self._object = _module("DICOM").FramesOfFile(path)
        self.count = self._object.count

    def read(self, index: int) -> tuple[NDArray[np.float32], Intensity]:
        with _naming(f"{self._path}, frame {index + 1}"), without_warnings():
            return self._files.mapped(self._object.stored(index), "DICOM", self._range)

    def add(self, image: NDArray[np.float32], intensity: Intensity) -> None:
        with _naming_written(self._path, "DICOM"):
            self._object.add(image, intensity)

    def write(self, path: Path) -> None:
        with _naming_written(path, "DICOM"), replacing(path) as stream, without_warnings():
            self._object.write(stream)


def _stored(path: Path, frame: int | None, dims: int | None) -> tuple[str, Stored]:
    """Return the format and what the file stores: from the cache, if there is one that has it as the file is now."""
    dims = _dims.get() if dims is None else dims
    cache = _cache.get()
    if cache is None:
        return _decoded(path, frame, dims)
    key = (str(path.absolute()), *stamp_of(path), frame, dims)
    found = cache.get(key)
    if found is None:
        found = _decoded(path, frame, dims)
        cache.put(key, *found)
    return found


def _decoded(path: Path, frame: int | None, dims: int | None) -> tuple[str, Stored]:
    format = format_by_content(path)
    if format is None:
        head = "is empty" if not path.stat().st_size else other_format(path)
        raise DataError(f"cannot be read as an image ({head}); read are {_listed()}")
    with without_warnings():
        stored: Stored = _module(format).read(path, format, frame, dims)
    return format, stored


def _listed() -> str:
    return f"{', '.join(FORMATS)}"


def _plain(format: str, channels: int) -> Intensity:
    if format in ("NPY", "NPZ", "NIFTI"):
        return Intensity("float32", -1, 1, channels, format)
    return Intensity("uint8", 0, 255, channels, format)


def _module(format: str) -> Any:
    try:
        return importlib.import_module(f"restorekit.io.formats.{FORMATS[format].module}")
    except ImportError as error:
        if format == "NIFTI" and error.name == "nibabel":
            raise DataError("is NIfTI, which takes an extra; run: pip install 'restorekit[nifti]'") from error
        raise DataError(f"is {format}, whose library cannot be imported here ({error})") from error
