"""Portable graymaps: binary PGM files of 8 or 16 bits, gray (netpbm.sourceforge.net/doc/pgm.html).

`python -m restorekit_part_name` writes examples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from restorekit import (
    DataError,
    Format,
    Intensity,
    Stored,
    conformance_case,
    files_below,
    to_stored,
    to_unit,
)

NAME = "part_name"
_HEAD = re.compile(rb"P5\s+(?:#.*\n)*(\d+)\s+(\d+)\s+(\d+)\s")


class Graymaps(Format):
    """PGM files; the highest gray that a file names is white."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    def find(self, folder: Path) -> list[Path]:
        """Return the files of the suffix below a folder, sorted, without hidden ones."""
        return sorted(path for path in files_below(folder) if path.name.endswith(self.suffix))

    def read(
        self, path: Path, *, range: Sequence[float] | None = None, dims: int | None = None
    ) -> tuple[NDArray[np.float32], Intensity]:
        """Read a file as (1, H, W).

        Raises:
            DataError: if it is missing, or no whole binary PGM.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        head = _HEAD.match(data)
        if head is None:
            raise DataError(f"{path}: is no binary PGM, which begins with P5")
        width, height, most = map(int, head.groups())
        dtype = np.dtype("u1" if most < 256 else ">u2")
        if len(data) - head.end() != width * height * dtype.itemsize or not width * height or not most:
            raise DataError(f"{path}: is cut short, or longer than {width} x {height} values of its kind")
        array = np.frombuffer(data, dtype, offset=head.end()).reshape(1, height, width)
        try:
            return to_unit(Stored(array, 0, most), "PGM", range)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        """Write (1, H, W), whole or not at all, with the bits of the input."""
        array = to_stored(image, intensity)
        head = f"P5\n{image.shape[2]} {image.shape[1]}\n{round(intensity.high)}\n".encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(head + array.astype("u1" if intensity.high < 256 else ">u2").tobytes())
        os.replace(part, path)


def write_example(folder: Path) -> None:
    """Write a few gray ramps: good ones, and degraded ones with noise."""
    rng = np.random.default_rng(0)
    files = Graymaps(".pgm")
    known = Intensity("uint16", 0, 4095, 1)
    for side, noise in (("good", 0.0), ("poor", 0.2)):
        for at, name in enumerate(("train/1", "train/2", "test/3")):
            ramp = np.broadcast_to(np.linspace(-0.8, 0.8, 32), (1, 32, 32)) * (1 - at / 10)
            image = ramp + noise * rng.standard_normal(ramp.shape)
            files.write(folder / side / f"{name}.pgm", image.clip(-1, 1).astype(np.float32), known)


@conformance_case(files=write_example)
def graymap(*, suffix: Annotated[str, Field(pattern=r"^\.\w+$")] = ".pgm") -> Format:
    """Binary PGM files of 8 or 16 bits.

    Args:
        suffix: what their names end in.
    """
    return Graymaps(suffix)


if __name__ == "__main__":
    write_example(Path("example"))
