"""The proof's bars on phantoms and, where they are at hand, on some radiographs."""

import os
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from restorekit import find_images, write_image
from restorekit.discovery import plugins

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("RESTOREKIT_SHARED") or ROOT.parent / "shared")

proof = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "benchmarks" / "proof.py")))


def phantoms():
    made = plugins.load().parts.resolve("dataset", {"name": "phantom", "side": "b", "count": 4, "size": [192, 192]})(
        None, "train"
    )
    return [made.load(i, torch.Generator().manual_seed(i)).image for i in range(4)]


def radiographs():
    folder = SHARED / "data" / "xray" / "valB"
    if not folder.is_dir():
        pytest.skip(f"no radiographs in {folder}; RESTOREKIT_SHARED names another place")
    return proof.read(find_images(folder)[::10])


@pytest.fixture(scope="module", params=[phantoms, radiographs], ids=["phantoms", "radiographs"])
def images(request):
    return request.param()


@pytest.mark.parametrize("check", proof.CHECKS, ids=lambda check: check.measure)
def test_a_measure_follows_its_degradation(images, check):
    assert np.median(proof.alone(images, check)) >= check.bar


def test_noise_is_near_the_truth(images):
    assert max(proof.errors(images).values()) <= proof.ERROR


def test_noise_is_seen_through_everything_else(images):
    assert proof.together(images * 3)["noise"][0] >= 0.9  # of so few images, the bar of hundreds is left to chance


def test_images_are_read_in_gray(tmp_path):
    write_image(tmp_path / "1.png", np.linspace(-1, 1, 3 * 8 * 9, dtype=np.float32).reshape(3, 8, 9))
    (image,) = proof.read(find_images(tmp_path))
    assert image.shape == (1, 8, 9)
