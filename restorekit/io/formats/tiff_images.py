"""Which images a TIFF holds, by all parts of the file that state it, and whether the file is complete.

A TIFF holds a chain of image file directories (IFDs), each of which may point to further ones (SubIFDs). What is stated
in words counts too: ImageJ, tifffile and OME-TIFF may store a stack behind a single IFD. The objects are those of
tifffile.
"""

from __future__ import annotations

import math
from struct import unpack
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.io.formats import jpeg
from restorekit.io.intensity import one_of

__all__ = ["choose", "interleaved", "pixels", "require_complete", "require_sound_jpeg"]

_REDUCED, _MASK = 1, 4
"""Bits of the tag NewSubfileType."""


def choose(file: Any, frame: int | None) -> tuple[Any, int | None]:
    """Return the page of one image, and the index of the image behind that page where one page has several.

    Smaller copies of an image, which the file calls so, are left out: levels of a pyramid and thumbnails.

    Raises:
        DataError: if there are several images and none is named, if one is a transparency mask, or the file is cut.
    """
    if file.is_ndpi or file.is_lsm:
        raise DataError("is a whole-slide or microscope file (NDPI, LSM); convert it to plain TIFF")
    chain = _chain(file)
    if len(file.pages) != len(chain):
        raise DataError(f"has {len(chain)} pages, of which {len(file.pages)} can be read")
    full = _full_size(file)
    count = max(len(full), _described(file, full))
    index = one_of(count, frame, "pages")
    if index < len(full) and (count == len(full) or index == 0):
        return full[index], None
    if len(full) > 1:
        raise DataError(f"holds {count} images in {len(full)} pages, of which only the first can be read; split it")
    return full[0], index


def pixels(file: Any, page: Any, index: int | None) -> NDArray[Any]:
    """Return the values of a page as they are stored, or of one image of the stack behind it."""
    if index is None:
        found: NDArray[Any] = page.asarray()
        return found
    stack: NDArray[Any] = file.series[0].asarray()
    if stack.size % math.prod(page.shape) or stack.size < (index + 1) * math.prod(page.shape):
        raise DataError(f"has no image {index} behind its first page")
    image: NDArray[Any] = stack.reshape(-1, *page.shape)[index]
    return image


def require_complete(page: Any) -> None:
    """Refuse a page with strips or tiles that are missing or end behind the file, and tags that cannot be read.

    tifffile reads such strips as zeros, and leaves out such tags.
    """
    handle, tiff = page.parent.filehandle, page.parent.tiff
    offsets, counts, segments = page.dataoffsets, page.databytecounts, math.prod(page.chunked)
    what = "tiles" if page.is_tiled else "strips"
    if len(offsets) < segments or len(counts) < segments:
        raise DataError(f"has {min(len(offsets), len(counts))} of {segments} {what}")
    for at, (offset, count) in enumerate(zip(offsets, counts, strict=False)):
        if offset <= 0 or count <= 0:
            raise DataError(f"lacks {what.removesuffix('s')} {at} of {segments}")
        if offset + count > handle.size:
            raise DataError(
                f"is cut short: {what.removesuffix('s')} {at} ends at byte {offset + count} of {handle.size}"
            )
    if page.compression == 1 and sum(counts) < math.prod(page.shape) * page.bitspersample // 8:
        raise DataError(f"is cut short: its {what} have {sum(counts)} bytes")
    handle.seek(page.offset + tiff.tagnosize)
    raw = handle.read(_entries(page) * tiff.tagsize)
    codes = [unpack(f"{tiff.byteorder}H", raw[at : at + 2])[0] for at in range(0, len(raw), tiff.tagsize)]
    if lost := [code for code in codes if code < 32768 and code not in page.tags]:
        raise DataError(f"has a damaged tag {lost[0]}")


def require_sound_jpeg(page: Any) -> None:
    """Refuse a page of JPEG strips or tiles of which one is cut short or damaged, which libjpeg fills with gray."""
    handle = page.parent.filehandle
    tables = bytes(page.jpegtables or b"")
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        handle.seek(offset)
        stream = handle.read(count)
        stream = tables[:-2] + stream[2:] if tables else stream
        jpeg.decode(stream, len(jpeg.parse(stream).components))


def _entries(page: Any) -> int:
    handle, tiff = page.parent.filehandle, page.parent.tiff
    handle.seek(page.offset)
    count: int = unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))[0]
    return count


def _chain(file: Any) -> list[int]:
    """Return the places of the IFDs.

    Raises:
        DataError: if the chain leaves the file or comes back; tifffile would end it there.
    """
    tiff, handle = file.tiff, file.filehandle
    at, found = tiff.offsetsize, dict[int, None]()
    while True:
        handle.seek(at)
        raw = handle.read(tiff.offsetsize)
        start = unpack(tiff.offsetformat, raw)[0] if len(raw) == tiff.offsetsize else handle.size
        if start == 0:
            return list(found)
        if start >= handle.size or start in found:
            raise DataError(f"is cut short or damaged: page {len(found)} is not in the file")
        found[start] = None
        handle.seek(start)
        raw = handle.read(tiff.tagnosize)
        if len(raw) < tiff.tagnosize:
            raise DataError(f"is cut short: page {len(found) - 1} is not whole")
        at = start + tiff.tagnosize + unpack(tiff.tagnoformat, raw)[0] * tiff.tagsize


def _full_size(file: Any) -> list[Any]:
    """Return the pages and sub-pages that are no smaller copies of another."""
    pages: list[Any] = []
    for page in file.pages:
        pages += [page, *(page.pages or [])]
    if not pages:
        raise DataError("holds no page")
    if any(page.subfiletype & _MASK for page in pages):
        raise DataError("has a transparency mask; flatten it first")
    whole = [page for page in pages if not page.subfiletype & _REDUCED]
    smaller = [page for page in pages if page.subfiletype & _REDUCED and not any(_fits(page, big) for big in whole)]
    return sorted([*whole, *smaller], key=pages.index)


def _fits(page: Any, big: Any) -> bool:
    """True if a page is smaller than another, as a copy of it is."""
    size, most = (page.imagelength, page.imagewidth), (big.imagelength, big.imagewidth)
    return size != most and size[0] <= most[0] and size[1] <= most[1]


def _described(file: Any, full: list[Any]) -> int:
    """Return how many images the descriptions of the file state that it holds.

    Raises:
        DataError: if they state more than there are bytes for.
    """
    if file.is_ome:
        return _ome_images(file.ome_metadata, len(full))
    first = file.pages[0]
    stated = 1
    if file.is_imagej:
        stated = int((file.imagej_metadata or {}).get("images") or 1)
    elif file.is_shaped:
        shapes = [tuple(one.get("shape", ())) for one in file.shaped_metadata]
        stated = sum(math.prod(shape[: -first.ndim]) for shape in shapes if shape[-first.ndim :] == first.shape)
    places = {page.offset for page in full}
    planes: int = sum(
        math.prod(series.shape) // math.prod(series.keyframe.shape)
        for series in file.series
        if series.keyframe.offset in places
    )
    if stated > max(planes, len(full)):
        raise DataError(f"states {stated} images, and has {max(planes, len(full))}")
    return planes


def _ome_images(text: str, pages: int) -> int:
    """Return how many planes are in this file by OME-XML: all, but those that it places in other files."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"has OME-XML that cannot be read ({error})") from error
    own = root.get("UUID")
    planes = 0
    for part in root.iter():
        if part.tag.rpartition("}")[2] != "Pixels":
            continue
        inner = [(child.tag.rpartition("}")[2], child) for child in part]
        samples = max([int(child.get("SamplesPerPixel") or 1) for name, child in inner if name == "Channel"] or [1])
        here = [child for name, child in inner if name == "TiffData"]
        away = [child for child in here if any(u.text != own for u in child if u.tag.rpartition("}")[2] == "UUID")]
        planes += math.prod(int(part.get(f"Size{axis}") or 1) for axis in "ZCT") // samples
        if away:
            return pages
    return planes


def interleaved(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return (C, H, W) of the values of a page."""
    if array.ndim == 3 and not axes.startswith("S"):
        array = array.transpose(2, 0, 1)
    return array[None] if array.ndim == 2 else np.asarray(array)
