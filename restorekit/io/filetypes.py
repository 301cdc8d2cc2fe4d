"""Which files are images: by their first bytes, and by their names in searched folders.

How each format is read and written is in `core/formats/`.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from restorekit.io.files import files_below

__all__ = [
    "FORMATS",
    "MASK",
    "SUFFIXES",
    "find_images",
    "format_by_content",
    "format_by_name",
    "other_format",
    "skipped_images",
]


@dataclass(frozen=True)
class FileType:
    """A format that is read."""

    module: str
    """Its home in `core/formats/`."""
    suffixes: tuple[str, ...]
    """The first is that of new files."""


FORMATS = {
    "PNG": FileType("png", (".png",)),
    "JPEG": FileType("raster", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif")),
    "TIFF": FileType("tiff", (".tif", ".tiff")),
    "BMP": FileType("raster", (".bmp", ".dib")),
    "WEBP": FileType("raster", (".webp",)),
    "NPY": FileType("arrays", (".npy",)),
    "NPZ": FileType("arrays", (".npz",)),
    "DICOM": FileType("dicom", (".dcm", ".dicom", ".ima")),
    "NIFTI": FileType("nifti", (".nii", ".nii.gz")),
}
SUFFIXES = tuple(suffix for known in FORMATS.values() for suffix in known.suffixes)
"""What a name may end in, in small or capital letters; DICOM files may also have no suffix."""

MASK = ".mask"
"""Stands in the name of a predicted mask between the name of its image and its own suffix: `a.tif.mask.png`."""
_MASK_NAME = re.compile(rf"(.+\..+){re.escape(MASK)}\.(png|npy|nii|nii\.gz)")

_HEADS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"\x93NUMPY": "NPY",
    b"PK\x03\x04": "NPZ",
    b"PK\x05\x06": "NPZ",
}
_OTHER_HEADS = {
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\xbc\x01": "JPEG XR",
    b"8BPS": "Photoshop",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"NRRD0": "NRRD",
    b"ObjectType": "MetaImage",
    b"NDims": "MetaImage",
    b"SIMPLE  =": "FITS",
    b"ZISRAWFILE": "Zeiss CZI",
    b"DDS ": "DirectDraw surface",
    b"gimp xcf": "GIMP",
    b"qoif": "QOI",
    b"\x08\0\0\0UL": "DICOM without a preamble",
    b"\x08\0\0\0\x04\0\0\0": "DICOM without a preamble",
    b"\x08\0\x05\0CS": "DICOM without a preamble",
}
"""First bytes of image formats that are not read."""
_LISTED = (
    ".gif .jp2 .j2k .j2c .jpc .jpf .jpx .jph .jxl .jxr .wdp .hdp .jls .heic .heif .avif .psd .psb .exr .hdr .img .pic"
    " .nrrd .nhdr .mha .mhd .pgm .ppm .pbm .pnm .pam .pfm .pcx .tga .fits .fts .mnc .mgh .mgz .gipl .svs .ndpi .scn"
    " .mrxs .bif .vms .czi .lif .lsm .nd2 .oib .oif .vsi .qptiff .btf .tf2 .tf8 .stk .ics .ids .dds .ico .xcf .qoi"
    " .svg .raw .dng .cr2 .nef .arw .dc3 .dic .apng"
)
_OTHER_SUFFIXES = frozenset(_LISTED.split())
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_HEAD = 352


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return every image file below `folder`, sorted by its relative path; links are followed, hidden files left out.

    Files are known by their suffix. A DICOM file without one, or with one of digits alone, is known by its content.
    The mask that restoring wrote beside an image, as `a.tif.mask.png` beside `a.tif`, is none.
    What it leaves out though it is an image, `skipped_images` returns.
    """
    return sorted(path for path in files_below(folder) if _is_found(path))


def skipped_images(folder: str | os.PathLike[str]) -> list[tuple[Path, str]]:
    """Return the image files below `folder` that `find_images` leaves out, sorted, each with the reason in a few words.

    These are files of formats that are not read, by content or suffix; images whose names have a suffix of no image;
    files without a suffix that cannot be opened; masks beside their images; and links that lead to no file. Hidden
    files are left out.
    """
    unknown = sorted(path for path in files_below(folder) if not _is_found(path))
    reasons = [(path, _reason(path)) for path in unknown]
    lost = [(path, "a link that leads to no file") for path in files_below(folder, broken=True) if _may_be_image(path)]
    return sorted((path, reason) for path, reason in [*reasons, *lost] if reason)


def format_by_name(path: Path) -> str | None:
    """Return the format of a file name."""
    name = path.name.lower()
    return next((format for format, known in FORMATS.items() if name.endswith(known.suffixes)), None)


def format_by_content(path: Path) -> str | None:
    """Return the format of a file's first bytes.

    Raises:
        OSError: if it cannot be opened.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head[:2] == b"\x1f\x8b":
        unpacked = _unpacked_head(path)
        if not unpacked:  # damaged: the reader reports how
            return "NIFTI" if format_by_name(path) == "NIFTI" else None
        return "NIFTI" if _is_nifti(unpacked) else None
    return _known(head)


def other_format(path: Path) -> str:
    """Return what a file of no known format is, by its first bytes."""
    with path.open("rb") as stream:
        other = _other_format(stream.read(_HEAD))
    return f"it is {other}" if other else "no format is known by its first bytes"


def _known(head: bytes) -> str | None:
    if head[128:132] == b"DICM":  # its first 128 bytes may be anything
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if _is_nifti(head):
        return "NIFTI"
    return next((format for start, format in _HEADS.items() if head.startswith(start)), None)


def _is_nifti(head: bytes) -> bool:
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def _unpacked_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as unpacked:
            return unpacked.read(_HEAD)
    except (EOFError, OSError, zlib.error):
        return b""


def _may_be_image(path: Path) -> bool:
    """True if the name of a file does not say that it is no image."""
    return format_by_name(path) is not None or _is_bare(path) or path.suffix.lower() in _OTHER_SUFFIXES


def _is_bare(path: Path) -> bool:
    return not path.suffix or path.suffix[1:].isdigit()


def _is_mask(path: Path) -> bool:
    """True if the image whose name the file carries stands beside it."""
    named = _MASK_NAME.fullmatch(path.name)
    return named is not None and path.with_name(named[1]).is_file()


def _is_found(path: Path) -> bool:
    if _is_mask(path):
        return False
    if format_by_name(path) is not None:
        return True
    if not _is_bare(path) or path.name == "DICOMDIR":
        return False
    try:
        return format_by_content(path) == "DICOM"
    except OSError:
        return False


def _reason(path: Path) -> str:
    """Return why an image is left out; empty: the file is no image."""
    if path.name == "DICOMDIR":
        return ""
    if _is_mask(path):
        return "the mask of the image beside it"
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        packed = head[:2] == b"\x1f\x8b"
        head = _unpacked_head(path) if packed else head
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})" if _may_be_image(path) else ""
    format = _known(head)
    if format == "NPZ":  # every ZIP archive and office document begins so
        format = "NPZ" if b".npy" in head else None
    if format == "BMP" and head[6:10] != b"\0\0\0\0":  # two letters alone begin many a text
        format = None
    if format is not None:
        suffix = ".nii.gz" if packed and format == "NIFTI" else FORMATS[format].suffixes[0]
        found = f"its content is {format}, unlike its name"
        return f"{found}; unpack it" if packed and format != "NIFTI" else f"{found}; rename it to end in {suffix}"
    other = _other_format(head)
    suffix = path.with_suffix("").suffix if path.suffix.lower() in _PACKED else path.suffix
    if other is None and suffix.lower() in (*_OTHER_SUFFIXES, *(SUFFIXES if suffix != path.suffix else ())):
        other = path.name[path.name.rindex(suffix) :]
    return f"{other} is not read; convert it" if other else ""


def _other_format(head: bytes) -> str | None:
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return "the header of a NIfTI pair (.hdr and .img)"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"):
        return "HEIF or AVIF"
    if re.match(rb"P[1-6Ff]\s+[\d#]|P7\n", head):
        return "Netpbm"
    return next((format for start, format in _OTHER_HEADS.items() if head.startswith(start)), None)
