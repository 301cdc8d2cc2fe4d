"""How fast training images are read: from a file, and from the cache of decoded images, one thread.

    pytest benchmarks/bench_reading.py --benchmark-enable
    python benchmarks/bench_reading.py                          images a second, best of five rounds

The images are smooth noise of 320 and 1000 pixels a side. The peer of a file is Pillow alone, decoding to the same
float32 values.
"""

from __future__ import annotations

import tempfile
import timeit
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit import nd
from restorekit.io.imagecache import ImageCache
from restorekit.io.images import read_image, reading_through

SIDES = (320, 1000)
DEPTHS = (8, 16)
COUNT = 10


def pictures(folder: Path, side: int, bits: int) -> list[Path]:
    """Write gray PNG files of smooth noise."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 1, side // 4, side // 4, generator=rng)
    smooth = nd.resize(coarse, (side, side), antialias=False) + torch.rand(COUNT, 1, side, side, generator=rng) / 20
    paths = []
    for i, image in enumerate(smooth):
        paths.append(folder / f"{side}_{bits}_{i}.png")
        values = (image[0] / 1.06 * (2**bits - 1)).numpy().astype(f"uint{bits}")
        Image.fromarray(values).save(paths[-1])
    return paths


def by_pillow(path: Path) -> Any:
    """Decode as anyone would write it first."""
    with Image.open(path) as file:
        array = np.asarray(file)
    return array[None].astype(np.float32) / (np.iinfo(array.dtype).max / 2) - 1


def ways(cache: ImageCache) -> dict[str, Callable[[Path], Any]]:
    """Return how an image is read, by name."""

    def cached(path: Path) -> Any:
        with reading_through(cache):
            return read_image(path)

    return {"pillow": by_pillow, "file": read_image, "cache": cached}


@pytest.mark.parametrize("way", ["pillow", "file", "cache"])
@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("side", SIDES)
def test_reading(benchmark: Any, tmp_path: Path, side: int, bits: int, way: str) -> None:
    """Read ten images."""
    torch.set_num_threads(1)
    paths = pictures(tmp_path, side, bits)
    cache = ImageCache(None, 2**30)
    read = ways(cache)[way]
    benchmark.group = f"{side} px, {bits} bits"
    benchmark(lambda: [read(path) for path in paths])
    cache.close()


def main() -> None:
    """Print images a second."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for side, bits in product(SIDES, DEPTHS):
            paths, cache = pictures(Path(folder), side, bits), ImageCache(None, 2**30)
            text = [f"{name} {rate(read, paths):6.0f}/s" for name, read in ways(cache).items()]
            print(f"{side:4} px, {bits:2} bits: {'   '.join(text)}")


def rate(read: Callable[[Path], Any], paths: list[Path]) -> float:
    """Return images a second: the best of five rounds after a first one."""
    return len(paths) / min(timeit.repeat(lambda: [read(path) for path in paths], number=1, repeat=6)[1:])


if __name__ == "__main__":
    main()
