"""Pictures of signals: readable curves on one scale. Those of images and volumes stand with the logger `samples`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restorekit.io.pictures import draw_grid, draw_picture


def heights(picture: np.ndarray) -> list[int]:
    """Return the heights of the curves in a picture, whose lines of zero are gray and whose curves are black."""
    rows = np.flatnonzero((picture < 100).any(axis=1))
    return [int(part[-1] - part[0]) for part in np.split(rows, np.flatnonzero(np.diff(rows) > 8) + 1)]


def test_the_columns_of_a_signal_have_one_scale(tmp_path: Path) -> None:
    wave = 0.1 * np.sin(np.arange(500) / 20)[None, None]
    draw_grid(tmp_path / "grid.png", {"poor": wave, "restored": wave / 2, "truth": 9 * wave}, title="", pixels=300)
    page = np.asarray(Image.open(tmp_path / "grid.png").convert("L"))
    assert page.shape[1] > 1200, "wide enough to be read"
    poor, restored, truth = heights(page[52:, 120:])
    assert poor > 80, "it fills its strip, small as it is"
    assert abs(poor / restored - 2) < 0.1
    assert truth > poor, "cut off where the strip ends"


def test_a_picture_keeps_what_is_said_about_it(tmp_path: Path) -> None:
    draw_picture(tmp_path / "plain.png", np.zeros((1, 8, 8)))
    draw_picture(tmp_path / "described.png", np.zeros((1, 8, 8)), about="a phantom")
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "described.png") as described:
        assert plain.text == {}
        assert described.text == {"Description": "a phantom"}
        assert plain.tobytes() == described.tobytes()


def test_single_pictures_of_a_signal_can_share_a_scale(tmp_path: Path) -> None:
    wave = 0.1 * np.sin(np.arange(500) / 20)[None]
    draw_picture(tmp_path / "own.png", wave / 2)
    draw_picture(tmp_path / "like.png", wave / 2, like=wave)
    own, like = (heights(np.asarray(Image.open(tmp_path / f"{n}.png").convert("L")))[0] for n in ("own", "like"))
    assert abs(own / like - 2) < 0.1


@pytest.mark.parametrize(
    ("pixels", "shape", "size"),
    [
        (256, None, (256, 128)),
        (256, (2, 1), (256, 256)),
        (256, (1, 2), (256, 64)),
        (256, (1.5, 1), (256, 192)),
        (32, (2, 1), (32, 32)),
        (32, (1, 200), (32, 1)),
    ],
)
def test_pictures_have_the_proportions_of_what_they_show(tmp_path: Path, pixels: int, shape: Any, size: Any) -> None:
    image = np.linspace(-1, 1, 64 * 128).reshape(1, 64, 128)
    draw_picture(tmp_path / "one.png", image, pixels=pixels, shape=shape)
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size == size
    draw_grid(tmp_path / "grid.png", {"x": image[None]}, title="", pixels=pixels, shapes=[shape] if shape else ())
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (size[0] + 16, size[1] + 2 * 22 + 16)
