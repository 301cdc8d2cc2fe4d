"""What `measure` writes into restored.csv: noise, blur, exposure and contrast before and after."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from restorekit import load, measures, write_image
from restorekit.io.images import read_image
from restorekit.restoring.levels import LEVELS, levels_of, limits_note
from restorekit.restoring.restore import restore_files


def test_measures_are_those_of_both_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(0, 0.1, (1, 64, 64)) + np.linspace(-0.5, 0.5, 64), -1, 1).astype(np.float32)
    write_image(tmp_path / "x.png", image)
    (row,) = restore_files(load("part:median"), tmp_path / "x.png", tmp_path / "out", measure=True)
    with (tmp_path / "out" / "restored.csv").open(newline="") as stream:
        (cells,) = csv.DictReader(stream)
    found = dict(zip(LEVELS, row.levels, strict=True))
    assert float(cells["noise_before"]) == pytest.approx(0.05, rel=0.2)  # half of 0.1: the range is 2 wide
    assert found["noise_after"] < found["noise_before"] / 2
    for when, path in (("before", tmp_path / "x.png"), ("after", Path(row.written))):
        direct = measures.measure((read_image(path)[0][0] + 1) / 2)
        for name in ("noise", "blur", "exposure", "contrast"):
            assert float(cells[f"{name}_{when}"]) == pytest.approx(direct[name], abs=2e-3), name


def test_measured_rows_are_not_restored_again_and_others_are_measured_when_asked(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", np.zeros((1, 40, 40), np.float32))

    def skipped(measure: bool) -> bool:
        calls = restore_files(load("part:identity"), tmp_path / "x.png", tmp_path / "out", measure=measure)
        return [row.skipped for row in calls] == [True]

    assert [skipped(measure) for measure in (False, True, True, False)] == [False, False, True, True]


def test_what_is_not_defined_is_empty(tmp_path: Path) -> None:
    assert all(map(math.isnan, levels_of(np.zeros((1, 99), np.float32), np.zeros((1, 99), np.float32))))
    write_image(tmp_path / "x.png", np.zeros((1, 8, 8), np.float32))  # too small for noise and blur
    next(restore_files(load("part:identity"), tmp_path / "x.png", tmp_path / "out", measure=True))
    with (tmp_path / "out" / "restored.csv").open(newline="") as stream:
        (cells,) = csv.DictReader(stream)
    assert (cells["noise_before"], cells["blur_after"]) == ("", "")
    assert cells["exposure_before"]


@pytest.mark.parametrize(("value", "expected"), [(-1.0, 3.17), (1.0, -8.46), (0.0, None)])
def test_a_measure_at_the_limit_of_its_method_is_noted(tmp_path: Path, value: float, expected: float | None) -> None:
    image = np.full((1, 40, 40), value, np.float32)
    image[:, :10] = 0.5  # the other three quarters are black, white or gray
    write_image(tmp_path / "x.png", image)
    (row,) = restore_files(load("part:identity"), tmp_path / "x.png", tmp_path / "out", measure=True)
    found = dict(zip(LEVELS, row.levels, strict=True))
    if expected is None:
        assert "limit" not in row.note
        return
    assert found["exposure_before"] == pytest.approx(expected, abs=0.01)
    assert "limit of the measure" in row.note
    for name in ("exposure_before", "exposure_after"):
        assert f"{name} {expected:g}" in row.note, name
    assert "noise" not in row.note
    (again,) = restore_files(load("part:identity"), tmp_path / "x.png", tmp_path / "plain")
    assert again.note == ""  # nothing was measured


def test_limits_are_what_the_methods_give() -> None:
    assert limits_note([math.nan] * len(LEVELS)) == limits_note([]) == ""
    assert "blur_after 25" in limits_note([0.1, 0.1, 1, 25, 0, 0, 0.1, 0.1])
    dark, bright = (measures.measure(np.full((40, 40), value, np.float32)) for value in (0, 1))
    limits = measures.MEASURES["exposure"].limits
    assert (bright["exposure"], dark["exposure"]) == limits
    assert measures.measure(np.full((40, 40), 2 / 255, np.float32))["exposure"] < limits[1]
