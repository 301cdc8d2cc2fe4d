"""How long the data check of a folder takes: reading every image once, then looking for repeats and near duplicates.

    pytest benchmarks/bench_data_check.py --benchmark-enable
    python benchmarks/bench_data_check.py                       seconds for 500, 1,000 and 2,000 images, one thread

The images are gray JPEG files of 320 x 390 pixels, smooth noise, no two alike. Twice as many images must take about
twice as long to read; the search among all pairs is a product of matrices and stays below a second.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit.data.checks import examine
from restorekit.data.items import Item, folder_items

COUNTS = (500, 1000, 2000)


def pictures(folder: Path, count: int) -> Path:
    """Write so many images."""
    folder.mkdir(parents=True)
    for at in range(count):
        coarse = np.random.default_rng(at).integers(20, 230, (6, 6), dtype=np.uint8)
        Image.fromarray(coarse).resize((390, 320), Image.Resampling.BICUBIC).save(folder / f"{at}.jpg")
    return folder


def read(folder: Path) -> Sequence[Item]:
    """Read every image, without what is remembered of it."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RESTOREKIT_CACHE"] = cache
        try:
            return folder_items(folder, lambda line: None)
        finally:
            del os.environ["RESTOREKIT_CACHE"]


@pytest.mark.parametrize("step", ["read", "examine"])
def test_data_check(benchmark: Any, tmp_path: Path, step: str) -> None:
    """Read 200 images, or look among them."""
    torch.set_num_threads(1)
    folder = pictures(tmp_path / "images", 200)
    items = read(folder)
    benchmark(lambda: read(folder) if step == "read" else examine(items))


def main() -> None:
    """Print seconds by number of images."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            images = pictures(Path(folder) / str(count), count)
            began = perf_counter()
            items = read(images)
            done = perf_counter()
            examine(items)
            print(f"{count:5} images: read {done - began:6.2f} s   examine {perf_counter() - done:6.2f} s")


if __name__ == "__main__":
    main()
