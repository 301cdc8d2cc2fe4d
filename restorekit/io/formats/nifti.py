"""NIfTI by nibabel, an extra: volumes with their axes as they are stored, and their header kept."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.io.intensity import Stored, ambiguous_depth, cast, check_size, one_of

__all__ = ["read", "write"]

_LONG = 544
"""Bytes of the longer header, with its extension flag."""
_SECOND = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
"""How NIfTI-2 begins, in either byte order."""
_TYPES = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)
_OTHER_TYPES = {1: "BINARY", 32: "COMPLEX64", 128: "RGB24", 1536: "FLOAT128", 1792: "COMPLEX128", 2304: "RGBA32"}
_OTHER_TYPES |= {2048: "COMPLEX256", 0: "unknown"}
_INTENSITIES = (0, 1001, 1011, 2001)
"""Intent codes of images: none, an estimate, values without a unit, a time series."""
_OTHER_INTENTS = {
    range(2, 25): "a statistical map",
    range(1002, 1003): "labels",
    range(1003, 1004): "names of regions",
    range(1004, 1006): "matrices",
    range(1006, 1008): "vectors",
    range(1008, 1010): "the points or triangles of a surface",
    range(2003, 2005): "colours",
    range(2006, 2020): "a deformation",
    range(3000, 3100): "a CIFTI file",
}
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of the units of length, by the lowest three bits of xyzt_units: unknown, metre, millimetre, micron."""


def read(path: Path, format: str, frame: int | None, dims: int | None) -> Stored:
    """Read one volume of (X, Y, Z), or image of (X, Y): rescaled by the header, in the order of the file.

    A gzip file is unpacked to its end, so that its checksums and lengths are verified.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
            head = stream.read(_LONG)
            kind = nibabel.Nifti2Image if head[:4] in _SECOND else nibabel.Nifti1Image
            header = _header(kind, head)
            shape = tuple(int(size) for size in header.get_data_shape())
            check_size(shape)
            dtype, start = header.get_data_dtype(), _start(header)
            content = head + stream.read(max(0, start + math.prod(shape) * dtype.itemsize - len(head)))
            _require_end(stream, content[start + math.prod(shape) * dtype.itemsize :])
    if len(content) < start + math.prod(shape) * dtype.itemsize:
        raise DataError(
            f"is cut short: {'x'.join(map(str, shape))} values of {dtype} do not fit into {len(content)} bytes"
        )
    array = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape, order="F")
    slope, inter = _scale(header)
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 4:
        raise DataError(f"has {array.ndim} axes {shape}, as vectors have; up to three, and frames, are read")
    if array.ndim == 4:
        array = array[..., one_of(array.shape[3], frame, "volumes")]
    while array.ndim > (dims or 3) and array.shape[-1] == 1:
        array = array[..., 0]
    array = array.astype(dtype.newbyteorder("="))
    spacing = _spacing(header, array.ndim)
    low = high = None
    nominal = False
    if (slope, inter) != (1, 0):
        if dtype.kind in "ui" and dtype.itemsize <= 2 and not ambiguous_depth(Stored(array)):
            ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max]) * slope + inter
            low, high, nominal = float(min(ends)), float(max(ends)), True
        array = array.astype(np.float64) * slope + inter
    details = {"header": header.binaryblock, "version": 2 if kind is nibabel.Nifti2Image else 1, "shape": shape}
    details |= {"endian": header.endianness, "slope": slope, "inter": inter}
    return Stored(array[None], low, high, spacing=spacing, details=details, nominal=nominal)


def write(stream: BinaryIO, array: NDArray[Any], format: str, intensity: Intensity) -> None:
    """Write the image with the header of the input, scaled as it was stored; without one, with its spacing alone.

    It is packed by gzip if `details` state "packed".
    """
    details = intensity.details
    if array.shape[0] != 1:
        raise DataError(f"a NIfTI file holds one channel; got {array.shape[0]}")
    kind = nibabel.Nifti2Image if details.get("version") == 2 else nibabel.Nifti1Image
    header, pixels = None, array[0]
    if "header" in details:
        header = kind.header_class(details["header"], endianness=details["endian"])
        if (details["slope"], details["inter"]) != (1, 0):
            pixels = cast((pixels - details["inter"]) / details["slope"], header.get_data_dtype())
        header.set_data_dtype(pixels.dtype)  # as given, unless the record of the image has another
        pixels = _laid_out(pixels, details["shape"], header)
        steps = header["pixdim"].copy()
        header.set_data_shape(pixels.shape)
        header["pixdim"] = steps  # nibabel resets those of axes that an image of two has not, and with them its place
    image = kind(pixels, None, header)
    if header is None and intensity.spacing is not None:  # no form: nothing states how the image lies in space
        image.header.set_zooms(intensity.spacing)
        image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(details.get("slope", 1), details.get("inter", 0))  # an image begins without
    data = image.to_bytes()
    stream.write(gzip.compress(data, 6, mtime=0) if details.get("packed") else data)


def _laid_out(pixels: NDArray[Any], shape: tuple[int, ...], header: Any) -> NDArray[Any]:
    """Return an image with the axes of the input; if it has other sizes, the header gets other steps."""
    if int(np.prod(shape)) == pixels.size:
        return pixels.reshape(shape)
    _resample(header, shape[: pixels.ndim], pixels.shape)
    rest = shape[pixels.ndim :]
    return pixels.reshape(*pixels.shape, *rest) if all(n == 1 for n in rest) else pixels


def _resample(header: Any, old: Sequence[int], new: Sequence[int]) -> None:
    """Let a header describe an image of other sizes in the same space: its steps and both of its affines follow."""
    steps = [before / after for before, after in zip(old, new, strict=False)]
    # Places of the new image in the old one: the first voxels begin at the same border, not at the same centre.
    places = np.eye(4)
    for axis, step in enumerate(steps):
        places[axis, axis], places[axis, 3] = step, (step - 1) / 2
    (qform, qcode), (sform, scode) = header.get_qform(coded=True), header.get_sform(coded=True)
    header["pixdim"][1 : len(steps) + 1] *= steps  # after the first form was read, which is made of them too
    if qcode:
        header.set_qform(qform @ places, int(qcode))
    if scode:
        header.set_sform(sform @ places, int(scode))


def _header(kind: Any, head: bytes) -> Any:
    """Return the header as it is stored: nibabel would repair it, and what it repairs is a guess.

    Raises:
        DataError: if it is short, contradicts itself, or its values are not intensities of one channel.
    """
    if len(head) < kind.header_class.sizeof_hdr:
        raise DataError(f"is cut short: its header has {len(head)} bytes")
    header = kind.header_class(head[: kind.header_class.sizeof_hdr], check=False)
    code = int(header["datatype"])
    if code not in _TYPES:
        raise DataError(f"has values of the type {_OTHER_TYPES.get(code, code)}; integers and real numbers are read")
    if int(header["bitpix"]) != header.get_data_dtype().itemsize * 8:
        raise DataError(f"states {int(header['bitpix'])} bits a value (bitpix) and type {header.get_data_dtype()}")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise DataError(f"states {int(header['dim'][0])} axes (dim[0])")
    intent = int(header["intent_code"])
    if intent not in _INTENSITIES:
        what = next((name for codes, name in _OTHER_INTENTS.items() if intent in codes), "no intensities")
        raise DataError(f"holds {what} (intent_code {intent}); images are read")
    return header


def _start(header: Any) -> int:
    """Return where the values begin; 0 is taken for the least, as other readers do."""
    offset, least = float(header["vox_offset"]), header.sizeof_hdr + 4
    if offset == 0:
        return int(least)
    if not least <= offset <= 2**31 or offset != int(offset):
        raise DataError(f"states that its values begin at byte {offset:g} (vox_offset); at least {least} is allowed")
    return int(offset)


def _require_end(stream: Any, rest: bytes) -> None:
    """Read to the end, where the checksum of gzip is. Refuse values beyond the header's sizes; zeros pad."""
    while rest:
        if rest.strip(b"\0"):
            raise DataError("holds more than its header states; its sizes (dim) or type are wrong, or it is damaged")
        rest = stream.read(2**20)
    if stream.read(2**20).strip(b"\0"):
        raise DataError("holds more than its header states; its sizes (dim) or type are wrong, or it is damaged")


def _scale(header: Any) -> tuple[float, float]:
    """Return scl_slope and scl_inter; a slope of 0 or NaN means that values are not scaled."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(inter):
        raise DataError(f"has scl_slope {slope:g} and scl_inter {inter:g}, by which no value can be scaled")
    return slope, inter


def _spacing(header: Any, axes: int) -> tuple[float, ...] | None:
    """Return millimetres along each axis by pixdim and xyzt_units; unknown units are millimetres."""
    unit = _UNITS.get(int(header["xyzt_units"]) & 7)
    if unit is None:
        raise DataError(
            f"has the unit {int(header['xyzt_units']) & 7} of length (xyzt_units), which NIfTI does not define"
        )
    steps = tuple(abs(float(step)) * unit for step in header["pixdim"][1 : axes + 1])
    return steps if all(math.isfinite(step) and step > 0 for step in steps) else None
