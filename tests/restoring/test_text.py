"""Burned-in text: lines of characters on films are found and stay as they were, and what is no text is restored."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from restorekit import read_image, write_image
from restorekit.restoring.loading import load
from restorekit.restoring.restore import restore_files
from restorekit.restoring.text import text_boxes

SIZE = 512


def film(seed: int) -> NDArray[np.uint8]:
    """A smooth bright field with dark borders, ribs and noise, as a radiograph has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    chest = np.exp(-(((x - 0.5) / 0.3) ** 4) - ((y - 0.5) / 0.4) ** 4)
    ribs = 0.08 * np.sin(40 * y + 4 * np.abs(x - 0.5))
    noise = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 0.7) * 0.03
    return (255 * np.clip(0.1 + chest * (0.55 + ribs) + noise, 0, 0.9)).astype(np.uint8)


def written(array: NDArray[np.uint8], text: str, at: tuple[int, int], size: int, fill: int) -> NDArray[np.uint8]:
    image = Image.fromarray(array)
    ImageDraw.Draw(image).text(at, text, fill=fill, font=ImageFont.load_default(size))
    return np.asarray(image)


def unit(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (array[None] / 127.5 - 1).astype(np.float32)


def covered(array: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Return the share of pixels that the places of text hold."""
    mask = np.zeros(array.shape, bool)
    for top, left, bottom, right in text_boxes(unit(array)):
        mask[top:bottom, left:right] = True
    return float(mask[where].mean()) if where.any() else float(mask.mean())


@pytest.mark.parametrize("size", [12, 18, 30])
@pytest.mark.parametrize(("fill", "at"), [(255, (12, 8)), (255, (150, 470)), (0, (180, 240))])
def test_lines_of_text_are_found_whatever_their_size_shade_and_place(size: int, fill: int, at: tuple[int, int]) -> None:
    plain = film(size)
    marked = written(plain, "DOE JANE 04:12", at, size, fill)
    assert covered(marked, marked != plain) > 0.99


def test_a_film_without_text_has_no_places(tmp_path: Path) -> None:
    for seed in range(3):
        assert covered(film(seed), np.zeros((SIZE, SIZE), bool)) == 0
    assert text_boxes(np.zeros((1, 8, 8), np.float32)) == []
    assert text_boxes(np.zeros((1, 4, 8, 8), np.float32)) == [], "a volume"


@pytest.mark.parametrize("text", ["L", "-"])
def test_a_single_character_is_not_found(text: str) -> None:
    plain = film(0)
    marked = written(plain, text, (20, 20), 30, 255)
    assert covered(marked, marked != plain) == 0


def test_text_keeps_its_bytes_and_the_rest_is_restored(tmp_path: Path) -> None:
    plain = film(1)
    marked = written(plain, "PORTABLE 120 kV", (20, 20), 16, 255)
    write_image(tmp_path / "a.png", unit(marked))
    source = np.asarray(Image.open(tmp_path / "a.png"))
    model = load("part:{name: median, size: 5}")
    for keep in (False, True):
        list(restore_files(model, tmp_path / "a.png", tmp_path / f"{keep}", keep_text=keep))
    kept, changed = (np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("True", "False"))
    text = marked != plain
    assert np.array_equal(kept[text], source[text])
    assert not np.array_equal(changed[text], source[text])
    assert np.array_equal(kept[100:], changed[100:])
    with (tmp_path / "True" / "restored.csv").open(newline="") as stream:
        assert "text" in next(csv.DictReader(stream))["note"]
    assert read_image(tmp_path / "True" / "a.png")[0].shape == (1, SIZE, SIZE)
