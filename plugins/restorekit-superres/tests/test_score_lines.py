"""The script that scores lines: against what is known of a linear enlargement, and of one that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

import restorekit

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "score_lines.py"


score_lines = SimpleNamespace(**run_path(str(SCRIPT)))


@pytest.fixture(scope="module")
def good() -> NDArray[np.float64]:
    """A film (128, 128) with noise, far from black and white, so that nothing is clipped."""
    y, x = np.mgrid[:128, :128] / 128
    return 0.5 + 0.2 * np.sin(3 * x + y) * np.cos(2 * y) + np.random.default_rng(0).normal(0, 0.02, x.shape)


def test_what_a_linear_enlargement_keeps_of_a_line_is_less_than_all_and_does_not_depend_on_its_contrast(
    good: NDArray[np.float64],
) -> None:
    cubic = restorekit.load("part:{name: bicubic, scale: 4}")
    found = score_lines.scored(cubic, good, 4, seed=1)
    assert 0 < found["kept_5"] < 0.5  # a line of one pixel is a fourth of a pixel of the small film
    assert found["kept_15"] == pytest.approx(found["kept_5"], rel=1e-3)


def test_lines_that_no_step_changes_are_kept_whole(good: NDArray[np.float64]) -> None:
    found = score_lines.scored(restorekit.load("part:identity"), good, 1, seed=1)
    assert found == pytest.approx({"kept_5": 1, "kept_15": 1, "checkerboard_ratio": 1, "grid": 0}, abs=1e-3)


def test_grid_is_the_strength_of_what_repeats_with_every_small_pixel(good: NDArray[np.float64]) -> None:
    pattern = np.zeros((4, 4))
    pattern[1] = 1 / 255
    smooth = score_lines.smaller(good, 4).repeat(4, 0).repeat(4, 1)
    assert score_lines.grid(smooth, 4) == pytest.approx(0, abs=1e-9)
    assert score_lines.grid(smooth + np.tile(pattern, (32, 32)), 4) == pytest.approx(np.sqrt(3) / 4)


def test_scores_of_a_run_are_those_of_its_test_films(tmp_path: Path) -> None:
    assert score_lines.test_scores(tmp_path) is None
    (tmp_path / "scores").mkdir()
    psnr = {"degraded": {"value": 30.0}, "restored": {"value": 31.0}, "gain": {"value": 1.0}, "better": "higher"}
    written = {"step": 10, "images": 4, "groups": 2, "metrics": {"psnr": psnr}}
    (tmp_path / "scores" / "test.json").write_text(json.dumps(written))
    values = {"degraded": {"value": 30.0}, "restored": {"value": 31.0}, "gain": {"value": 1.0}}
    expected = {"step": 10, "films": 4, "patients": 2, "metrics": {"psnr": values}}
    assert score_lines.test_scores(tmp_path) == expected
