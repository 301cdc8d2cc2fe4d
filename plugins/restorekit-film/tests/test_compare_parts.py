"""Comparison of runs that differ in one part, from the tables of scores that they hold."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCORES = ("psnr", "psnr_aligned", "ssim", "checkerboard")
GAINS = (3.0, -1.0, 2.0, 0.0)
"""What each of four images of two patients gains."""


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("compare_parts")


def run(folder: Path, more: float = 0.0, inputs: float = 20.0) -> Path:
    """Write the tables of a run whose restored images score higher by `more`, in an order of its own."""
    rows = []
    for at, gain in enumerate(GAINS):
        row = {"key": f"{at}.png", "group": f"p{at // 2}"}
        row |= {f"{name}_degraded": f"{inputs}" for name in SCORES}
        rows.append(row | {f"{name}_restored": f"{inputs + gain + more}" for name in SCORES})
    scores = folder / "scores"
    scores.mkdir(parents=True)
    with (scores / "test.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows[::-1] if more else rows)
    (scores / "test.json").write_text(json.dumps({"metrics": {"f1": {"score": {"value": 0.5 + more}}}}))
    return folder


def test_a_known_shift_is_the_difference_without_spread(script: ModuleType, tmp_path: Path) -> None:
    seeds = [run(tmp_path / "b1"), run(tmp_path / "b2", more=0.5)]
    found = script.compared({"a": [run(tmp_path / "a1", more=0.75), run(tmp_path / "a2", more=0.75)], "b": seeds})
    assert (found["images"], found["patients"]) == (4, 2)
    assert found["scores"]["b"]["psnr"]["mean"] == pytest.approx(1.0 + 0.25)  # the mean of the seeds
    for name in ("psnr", "psnr_aligned", "ssim"):
        assert found["differences"]["b"][name] == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5})
    assert found["scores"]["b"]["harm"]["mean"] == pytest.approx(0.25 / 2)  # of the second image, in the first seed
    assert found["classes"]["a"] == [{"f1": 1.25}, {"f1": 1.25}]


def test_inputs_degraded_in_another_way_are_refused(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="another way"):
        script.compared({"a": [run(tmp_path / "a")], "b": [run(tmp_path / "b", inputs=21.0)]})


def test_a_missing_seed_is_refused(script: ModuleType, tmp_path: Path) -> None:
    first = [run(tmp_path / "a1"), run(tmp_path / "a2")]
    with pytest.raises(SystemExit, match="as many runs"):
        script.compared({"a": first, "b": [run(tmp_path / "b")]})


def test_a_difference_of_harm_is_no_share(script: ModuleType, tmp_path: Path) -> None:
    better, worse = run(tmp_path / "a", more=0.75), run(tmp_path / "b")
    found = script.compared({"a": [better], "b": [worse]})["differences"]["b"]["harm"]
    assert found == {"mean": -0.25, "low": -0.5, "high": 0.0}
    alike = script.compared({"a": [worse], "b": [run(tmp_path / "c")]})["differences"]["b"]["harm"]
    assert alike == {"mean": 0.0, "low": 0.0, "high": 0.0}
