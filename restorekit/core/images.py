"""Image files in and out: 8-bit PNG and JPEG, gray or RGB, between files and float32 (C, H, W) in [-1, 1]."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restorekit.core.errors import DataError
from restorekit.core.files import replacing
from restorekit.core.types import Intensity

__all__ = ["SUFFIXES", "find_images", "read_image", "write_image"]

SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = {"L": 1, "RGB": 3}
_MEND = {
    "P": "an indexed palette; convert it to gray or RGB",
    "RGBA": "an alpha channel; flatten it first",
    "LA": "an alpha channel; flatten it first",
    "CMYK": "CMYK colours; convert it to gray or RGB",
    "1": "1 bit a pixel; convert it to 8-bit gray",
}


def find_images(folder: Path) -> list[Path]:
    """Return every image file below `folder`, sorted by its relative path; hidden files are left out."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_image(path: Path) -> tuple[Tensor, Intensity]:
    """Read a file as float32 (C, H, W) in [-1, 1], one channel or three as it is stored, turned as EXIF says.

    Raises:
        DataError: if it is missing, truncated, no PNG or JPEG, or of more than 8 bits: deeper files are never cut.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a flaw in the metadata does not make an image unreadable
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as file:
                file.load()
                image = ImageOps.exif_transpose(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning) as error:
        raise DataError(f"{path}: cannot be read as PNG or JPEG ({' '.join(str(error).split())})") from error
    if image.mode not in _MODES:
        reason = _MEND.get(
            image.mode, f"more than 8 bits a channel (mode {image.mode}), which is not read, and never cut"
        )
        raise DataError(f"{path}: has {reason}; 8-bit gray or RGB is read")
    values = np.atleast_3d(np.asarray(image, dtype=np.float32)).transpose(2, 0, 1)
    return torch.from_numpy(values / 127.5 - 1), Intensity("uint8", 0, 255, _MODES[image.mode])


def write_image(path: Path, image: Tensor) -> None:
    """Write (1 or 3, H, W) in [-1, 1] as an 8-bit file, atomically. PNG is lossless; JPEG is written at quality 95.

    Raises:
        DataError: if the suffix is not one of `SUFFIXES`, the channels are not 1 or 3, or a value is not finite.
    """
    from PIL import Image

    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: files are written as {', '.join(SUFFIXES)}; came {path.suffix or 'no suffix'!r}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise DataError(f"{path}: an image file holds (1 or 3, H, W); came {tuple(image.shape)}")
    if not image.isfinite().all():
        raise DataError(f"{path}: holds values that are not finite, which no image file can say")
    values = ((image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array = values.permute(1, 2, 0).numpy()
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    with replacing(path) as stream:
        picture.save(stream, format=kind, **({"quality": 95} if kind == "JPEG" else {}))
