"""Scripts that score lines, unseen degradations and classes: the identity changes nothing, tables have closed forms."""

import csv
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy import ndimage

from restorekit import nd, write_image
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.runs import build

SIDE = 72
DRAWS = """file,draw,order,name,severity,seed
test/control_0.png,0,0,poisson,0.05,6
test/control_0.png,0,1,exposure,0.4,5
test/control_0.png,1,0,defocus,1.5,7
test/covid_1.png,0,0,jpeg,40,8
"""
MANIFEST = """path,patient
test/control_0.png,x
test/covid_1.png,y
"""
CLASSIFIER = """
name: classifier
data:
  size: [32, 32]
  channels: 1
  a: {name: phantom, side: a, count: 4, val: 0, test: 2, size: [32, 32]}
  b: {name: phantom, side: b, count: 4, val: 0, test: 2, size: [32, 32]}
  batch: 2
nets:
  generator: {name: unet, width: 4}
  head: {name: classify, pool: avg}
  one_way: true
losses: [{name: task, passes: [ab, bb]}]
train: {steps: 1, optimizer: {name: adam, lr: 1e-3}}
evaluate: {metrics: [accuracy]}
"""
Call = Callable[..., tuple[list[dict[str, str]], dict[str, object]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    for name in ("control_0", "covid_1"):
        smooth = nd.resize(torch.rand(1, 1, 6, 6, generator=rng) * 1.2 - 0.6, (SIDE, SIDE + 8))[0]
        write_image(tmp_path / "films" / "test" / f"{name}.png", smooth)
    (tmp_path / "films" / "manifest.csv").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "draws.csv").write_text(DRAWS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a script on the folder's films and return its table and its summary."""

    def run(name: str, *more: str, table: bool = True) -> tuple[list[dict[str, str]], dict[str, object]]:
        out = folder / "out" / name
        places = [*([str(folder / "draws.csv")] if table else []), str(folder / "films")]
        monkeypatch.setattr(sys, "argv", [name, *places, "-o", str(out), *more])
        importlib.import_module(name).main()
        with out.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream)), json.loads(out.with_suffix(".json").read_text("utf-8"))

    return run


@pytest.fixture
def classifier(folder: Path) -> str:
    (folder / "classifier.yaml").write_text(CLASSIFIER, encoding="utf-8")
    known = plugins.load()
    spec = recipe.load(folder / "classifier.yaml", known)
    run = build.build(spec, known, folder / "classifier", verify=lambda line: None)
    run.step = 1
    run.save()
    return str(next(run.folder.rglob("state.json")).parent)


def test_identity_keeps_lines_as_the_input_and_good_films(call: Call, folder: Path) -> None:
    rows, found = call("score_lines", "-m", "part:identity")
    draws = [row for row in rows if row["draw"] != "clean"]
    assert len(draws) == 3
    for row in draws:
        for level in (5, 15):
            assert row[f"kept_{level}"] == row[f"input_kept_{level}"]
    blurred = next(row for row in draws if row["draw"] == "1")
    assert 0 < float(blurred["kept_15"]) < 0.6
    assert [row["to_itself"] for row in rows if row["draw"] == "clean"] == ["100", "100"]
    scores = found["scores"]
    assert isinstance(scores, dict)
    assert scores["gain_kept_5"] == {"mean": 0, "low": 0, "high": 0}
    assert scores["clean_checkerboard_ratio"] == {"mean": 1, "low": 1, "high": 1}
    assert scores["checkerboard_ratio"] == scores["input_checkerboard_ratio"]
    assert found["rows"] == 5


def test_checkerboard_of_undegraded_films_over_their_own_is_one(load_script: Callable[[str], ModuleType]) -> None:
    script, shared = load_script("score_lines"), load_script("draws")
    rng = np.random.default_rng(0)
    good = ndimage.gaussian_filter(rng.uniform(0, 1, (128, 128)), 1) * 0.5 + 0.2
    clean = shared.signed(good)
    model = importlib.import_module("restorekit").load("part:identity")
    found = script.lines(model, clean, [], seed=3)  # no steps: lines stay whole
    assert found["checkerboard"] / script.checkerboard(shared.unit(clean)) == pytest.approx(1)
    assert [found["kept_5"], found["kept_15"]] == pytest.approx([1, 1], abs=1e-4)


def test_identity_gains_nothing_on_unseen_degradations(call: Call, folder: Path) -> None:
    rows, found = call("score_unseen", "-m", "part:identity", "--under", "test", table=False)
    assert len(rows) == 2 * 5 * 2
    assert {row["patient"] for row in rows} == {"x", "y"}
    kinds = found["kinds"]
    assert isinstance(kinds, dict)
    for name in ("jpeg2000", "oversharpened", "quantised", "salt_pepper", "banding"):
        assert kinds[name]["scores"]["gain_psnr"] == {"mean": 0, "low": 0, "high": 0}
        assert (kinds[name]["rows"], kinds[name]["scores"]["harm"]["mean"]) == (4, 0)
    before = (folder / "out" / "score_unseen.csv").read_bytes()
    call("score_unseen", "-m", "part:identity", "--under", "test", table=False)
    assert (folder / "out" / "score_unseen.csv").read_bytes() == before, "all of it was done already"


def test_unseen_degradations_are_what_their_severity_says(load_script: Callable[[str], ModuleType]) -> None:
    script = load_script("score_unseen")
    image = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 1, (256, 256)), 1).clip(0, 1)

    def error(kind: str, severity: float) -> np.ndarray:
        made: np.ndarray = script.worsened(image, kind, severity, "x.png") - image
        return made

    assert -10 * np.log10(np.square(error("jpeg2000", 32)).mean()) == pytest.approx(32, abs=1)
    assert len(np.unique(script.worsened(np.linspace(0, 1, 999)[None], "quantised", 3, "x"))) == 8
    assert (error("salt_pepper", 0.02) != 0).mean() == pytest.approx(0.02, abs=0.003)
    bands = error("banding", 0.05)
    assert np.ptp(bands, axis=1).max() < 1e-9
    assert 0.01 < np.abs(bands).max() <= 0.05
    low = ndimage.gaussian_filter(image, 2)
    np.testing.assert_allclose(error("oversharpened", 1), (2 * image - low).clip(0, 1) - image)
    assert np.array_equal(error("banding", 0.05), bands)
    assert not np.array_equal(script.worsened(image, "banding", 0.05, "y.png") - image, bands)


def test_identity_changes_no_class(call: Call, classifier: str) -> None:
    rows, found = call("score_classes", "-m", "part:identity", "-c", classifier)
    assert [row["label"] for row in rows] == ["control", "control", "covid"]
    assert all(row["restored"] == row["input"] for row in rows)
    scores = found["scores"]
    assert isinstance(scores, dict)
    assert scores["gain_agreement"] == {"mean": 0, "low": 0, "high": 0}
    assert scores["net_new_flips"] == {"mean": 0, "low": None, "high": None}, "controls of one patient"
    assert found["controls"] == 2


def test_agreement_and_flips_of_a_known_table(load_script: Callable[[str], ModuleType]) -> None:
    script = load_script("score_classes")
    chances = [  # reference, input, restored
        ("control", 0.1, 0.2, 0.9),  # a new flip
        ("control", 0.1, 0.8, 0.2),  # undone
        ("control", 0.1, 0.2, 0.7),  # a new flip
        ("control", 0.9, 0.9, 0.9),  # positive from the start: no flip
        ("covid", 0.9, 0.3, 0.8),
        ("", 0.1, 0.1, 0.1),
    ]
    rows = [
        {"file": f"{at}", "draw": "0", "patient": f"{at}", "label": label, "reference": f"{good}"}
        | {"input": f"{before}", "restored": f"{after}"}
        for at, (label, good, before, after) in enumerate(chances)
    ]
    found = {name: one["mean"] for name, one in script.summary(rows)["scores"].items()}
    assert found == pytest.approx(
        {
            "agreement_input": 4 / 6,
            "agreement": 4 / 6,
            "gain_agreement": 0,
            "flips_input": 1 / 3,
            "flips": 2 / 3,
            "new_flips": 2 / 4,
            "undone_flips": 1 / 4,
            "net_new_flips": 1 / 4,
        }
    )
    assert script.positive(("control", "covid"), "class") == script.positive(("covid", "control"), "class") == "covid"
    with pytest.raises(SystemExit, match="two classes"):
        script.positive(("a", "b", "c"), "class")
