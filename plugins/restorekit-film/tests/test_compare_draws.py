"""Paired comparison of scored draws: differences, harm and the harm-coverage curve in closed form."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from restorekit_film.evaluation import by_patient, harm_coverage
from scipy.stats import binomtest

SCORES = ("psnr", "ssim", "psnr_aligned", "ssim_aligned", "tone_error")
GAINS = (3.0, -1.0, 2.0, -0.4)
"""Decibels that each of two films gains in each of two draws."""


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("compare_draws")


def rows(gains: tuple[float, ...] = GAINS, more: float = 0.0) -> list[dict[str, str]]:
    """Two films of two patients, two draws each; every score of the restored films is higher by `more`."""
    made = []
    for at, gain in enumerate(gains):
        before = {f"input_{name}": "20" for name in SCORES}
        after = dict.fromkeys(SCORES, f"{20 + gain + more}")
        head = {"file": f"{at // 2}.png", "draw": f"{at % 2}", "patient": f"p{at // 2}"}
        made.append({**head, **before, **after, "change": f"{abs(gain)}"})
    return made


def write(path: Path, made: list[dict[str, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, made[0])
        table.writeheader()
        table.writerows(made)
    return str(path)


def test_a_known_shift_is_the_paired_difference_without_spread(script: ModuleType) -> None:
    shuffled = rows()[::-1]
    found = script.compared({"a": rows(more=0.75), "b": shuffled}, "change")
    for name in SCORES:
        assert found["differences"]["b"][name] == pytest.approx({"mean": 0.75, "low": 0.75, "high": 0.75})
    assert found["scores"]["a"]["gain_psnr"]["mean"] == pytest.approx(np.mean(GAINS) + 0.75)


def test_harm_is_the_mean_share_over_draws_with_the_worst_film(script: ModuleType) -> None:
    found = script.harm(rows())
    assert found["share"] == {"mean": 0.25, "low": 0.0, "high": 0.5}  # patients have 1 of 2 and 0 of 2
    assert found["largest_of_a_draw"] == 0.5
    assert found["worst"] == {"file": "0.png", "draw": "1", "gain": pytest.approx(-1)}


def test_small_changes_left_alone_lower_harm_and_coverage(script: ModuleType) -> None:
    points = {point.coverage: point for point in script.curve(rows(), "change")}
    assert {at: point.harmed.mean for at, point in points.items()} == {0: 0, 0.25: 0, 0.5: 0, 0.75: 0.25, 1: 0.25}
    sums = {0: 0, 0.25: 3, 0.5: 5, 0.75: 4, 1: 3.6}
    assert {at: point.gain.mean * 4 for at, point in points.items()} == pytest.approx(sums)
    lowest = script.curve(rows(), "change", lowest=True)
    assert [point.gain.mean * 4 for point in lowest if point.coverage == 0.25] == pytest.approx([-0.4])


def test_films_of_equal_priority_are_restored_together() -> None:
    points = harm_coverage(np.array([1.0, -2.0, 3.0]), np.array([1.0, 1.0, 0.0]), ["x", "y", "z"])
    assert [point.coverage for point in points] == pytest.approx([0, 2 / 3, 1])
    with pytest.raises(ValueError, match="finite"):
        harm_coverage(np.array([1.0]), np.array([np.nan]), ["x"])


def test_intervals_are_by_patient_and_leave_out_missing_values() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(400), 5)
    level = rng.normal(size=400)[patients]  # all rows of a patient are alike: 400 values, not 2000
    found = by_patient({"level": level}, [str(one) for one in patients])["level"]
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    some = by_patient({"x": np.array([1.0, np.nan, 3.0]), "none": np.full(3, np.nan)}, ["a", "a", "b"])
    assert (some["x"].mean, some["x"].low, some["x"].high) == (2, 1, 3)
    assert np.isnan(some["none"].mean)
    one = by_patient({"x": np.array([1.0, 3.0])}, ["a", "a"])["x"]
    assert (one.mean, np.isnan(one.low), np.isnan(one.high)) == (2, True, True)


@pytest.mark.parametrize("value", [0, 1])
def test_a_share_of_none_or_all_has_the_exact_interval_over_patients(value: int) -> None:
    patients = [str(at // 3) for at in range(90)]
    found = by_patient({"harm": np.full(90, float(value))}, patients, shares=("harm",))["harm"]
    exact = binomtest(30 * value, 30).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_films_that_cancel_each_other_have_the_interval_of_resamples() -> None:
    found = by_patient({"harm": np.array([1.0, -1.0, 0.0, 0.0])}, [*"abcd"], shares=("harm",))["harm"]
    assert found.mean == 0
    assert found.low == -found.high < 0


@pytest.mark.parametrize("change", ["films", "twice", "inputs"])
def test_tables_of_other_draws_are_refused(script: ModuleType, change: str) -> None:
    other = rows()
    if change == "films":
        other[0]["file"] = "9.png"
    elif change == "twice":
        other.append(other[0])
    else:
        other[0]["input_psnr"] = "20.1"
    with pytest.raises(SystemExit, match="error: b"):
        script.compared({"a": rows(), "b": other}, None)


def test_command_prints_tables_and_writes_json(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write(tmp_path / "a.csv", rows(more=0.75)), write(tmp_path / "b.csv", rows())]
    monkeypatch.setattr(sys, "argv", ["compare_draws", *paths, "-o", str(tmp_path / "out.json")])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| score | a | less b |" in lines
    assert sum(line.startswith("| ") for line in lines) == 2 + 5 + 2 + 2 + 2 + 5
    found = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (found["rows"], found["films"], found["patients"]) == (4, 2, 2)
    assert set(found["curves"]) == {"a", "b"}
    old = [{name: cell for name, cell in row.items() if name != "change"} for row in rows()]
    monkeypatch.setattr(sys, "argv", ["compare_draws", write(tmp_path / "old.csv", old), "--by", "change"])
    with pytest.raises(SystemExit, match="no column 'change'"):
        script.main()


def test_several_seeds_of_a_method_are_pooled_and_their_means_given(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ",".join(write(tmp_path / f"a{seed}.csv", rows(more=seed / 2)) for seed in range(3))
    other = ",".join(write(tmp_path / f"b{seed}.csv", rows()) for seed in range(3))
    monkeypatch.setattr(
        sys, "argv", ["compare_draws", f"ours={ours}", f"other={other}", "-o", str(tmp_path / "out.json")]
    )
    script.main()
    found = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert found["rows"] == 3 * len(GAINS)
    assert found["differences"]["other"]["psnr"]["mean"] == pytest.approx(0.5)
    mean = float(np.mean(GAINS))
    assert [one["gain_psnr"] for one in found["seeds"]["ours"]] == pytest.approx([mean, mean + 0.5, mean + 1])
    monkeypatch.setattr(sys, "argv", ["compare_draws", f"ours={ours}", write(tmp_path / "one.csv", rows())])
    with pytest.raises(SystemExit, match="films and draws"):
        script.main()


def test_rows_that_not_every_table_has_are_left_out_if_asked(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, part = write(tmp_path / "a.csv", rows(more=0.75)), write(tmp_path / "b.csv", rows()[1:])
    monkeypatch.setattr(sys, "argv", ["compare_draws", whole, part, "--shared", "-o", str(tmp_path / "out.json")])
    script.main()
    found = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert found["rows"] == len(GAINS) - 1
    assert found["differences"]["b"]["psnr"]["mean"] == pytest.approx(0.75)
