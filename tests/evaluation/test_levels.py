"""Noise, blur, exposure and contrast of methods: better when nearer to the good images, never the less the better."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from scipy.stats import wasserstein_distance

from restorekit import measures
from restorekit.builtin.phantom import phantom
from restorekit.evaluation.compare import Comparison, compare
from restorekit.evaluation.distances import distance, grid
from restorekit.reports import comparison_text, pages

COUNT = 16


@pytest.fixture(scope="module")
def good() -> Any:
    """Good phantoms, (N, H, W) in [0, 1]."""
    dataset = phantom(None, "test", side="b", test=COUNT, count=1, size=[64, 64])
    images = [dataset.load(i, torch.Generator().manual_seed(i)).image for i in range(COUNT)]
    return np.stack([measures.gray(image) for image in images])


def levels(images: Any) -> dict[str, Any]:
    """The levels of images, (N,) each."""
    found = [measures.measure(image) for image in images]
    return {f"{name}_level": np.array([one[name] for one in found]) for name in measures.MEASURES}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes what a run folder holds of restored and of good images, by level."""

    def write(name: str, restored: dict[str, Any], aim: dict[str, Any], better: str = "nearer") -> Path:
        home = tmp_path / name
        (home / "scores").mkdir(parents=True)
        entries = {
            k: {"id": k, "better": better, "restored": {"value": float(np.nanmean(v))}} for k, v in restored.items()
        }
        (home / "recipe.json").write_text(json.dumps({"name": name, "seed": 0, "train": {}}))
        (home / "scores" / "test.json").write_text(json.dumps({"step": 7, "confidence": 0.95, "metrics": entries}))
        for file, columns, ending in (("test", restored, "_restored"), ("test_good", aim, "")):
            with (home / "scores" / f"{file}.csv").open("w", newline="") as stream:
                rows = csv.writer(stream)
                head = ["key", "group", "source", *(["class"] if ending else []), *(f"{k}{ending}" for k in columns)]
                rows.writerow(head)
                for i in range(len(next(iter(columns.values())))):
                    who = [f"x{i:03d}", f"p{i}", "s", *([""] if ending else [])]
                    rows.writerow([*who, *(f"{v[i]:.6g}" for v in columns.values())])
        return home

    return write


def starred(found: Comparison, method: str) -> set[str]:
    return {name for (label, name), cell in found.cells.items() if label == method and cell.best}


@pytest.mark.parametrize("better", ["nearer", "lower"])
def test_a_mean_filter_never_beats_images_as_good_as_the_good_ones(
    made: Callable[..., Path], good: Any, better: str, tmp_path: Path
) -> None:
    """Also of runs that were scored when less noise was called better."""
    smooth = np.stack([uniform_filter(image, 5) for image in good])
    aim = levels(good)
    identity = made("identity", aim, aim, better)
    mean_filter = made("mean_filter", levels(smooth), aim, better)
    found = compare([identity, mean_filter], draws=50)
    assert found.cells["mean_filter", "noise_level"].value < found.cells["identity", "noise_level"].value
    assert {column.better for column in found.columns} == {"nearer"}
    assert starred(found, "mean_filter") == set()
    assert {"noise_level", "blur_level"} <= starred(found, "identity")
    assert found.cells["identity", "noise_level"].distances == (0.0,)
    for name, values in levels(smooth).items():
        wanted = wasserstein_distance(values, aim[name])
        assert found.cells["mean_filter", name].distance == pytest.approx(wanted, rel=1e-3, abs=1e-6)
        (test,) = (t for t in found.tests if t.column == name)
        assert abs(test.difference) == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert found.cells["mean_filter", "noise_level"].beyond == "below"
    assert found.cells["mean_filter", "blur_level"].beyond == "above"
    text = " ".join(comparison_text.notes(found))
    assert text.count("over-smoothed") == 2
    assert "identity is nearer to the good images" in pages.write_page(found, tmp_path / "x.html").read_text()


def test_of_two_smoothed_sets_none_is_starred(made: Callable[..., Path], good: Any) -> None:
    aim = levels(good)
    runs = [made(f"filter_{size}", levels([uniform_filter(i, size) for i in good]), aim) for size in (3, 9)]
    found = compare(runs, draws=50)
    for name in ("noise_level", "blur_level"):
        cells = [found.cells[f"filter_{size}", name] for size in (3, 9)]
        assert any(cell.beyond for cell in cells)
        assert not any(cell.best for cell in cells if cell.beyond)


def test_without_the_same_good_images_levels_are_shown_and_not_ranked(made: Callable[..., Path], good: Any) -> None:
    aim = levels(good)
    other = {name: values * 1.5 for name, values in aim.items()}
    found = compare([made("one", aim, aim), made("two", other, other)], draws=50)
    assert {column.better for column in found.columns} == {"neither"}
    assert (found.tests, starred(found, "one"), starred(found, "two")) == ((), set(), set())
    assert "two" in found.unranked


FLOATS = st.lists(st.floats(0, 5).map(lambda x: round(x, 3)), min_size=3, max_size=20).map(np.array)


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(FLOATS, st.floats(0.01, 0.99))
def test_no_smoothed_set_is_nearer_than_the_good_images_themselves(aim: Any, share: float) -> None:
    smoothed = share * aim
    assert distance(aim, aim) == 0 <= distance(smoothed, aim)
    assert distance(np.full(5, aim.min() / 2), aim) >= distance(aim, aim)
    near = grid([aim, smoothed], aim)
    assert near.score(near.terms(aim).sum(0)) == 0


@given(FLOATS, FLOATS)
def test_the_distance_is_that_of_scipy_and_of_its_grid(one: Any, other: Any) -> None:
    wanted = wasserstein_distance(one, other)
    assert distance(one, other) == pytest.approx(wanted, abs=1e-9)
    near = grid([one], other)
    assert float(near.score(near.terms(np.append(one, np.nan)).sum(0))) == pytest.approx(wanted, abs=1e-9)
    coarse = grid([one], other, most=10)
    assert float(coarse.score(coarse.terms(one).sum(0))) <= wanted + np.ptp(np.append(one, other))
