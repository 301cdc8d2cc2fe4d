"""A run folder of version 1.0 is restored with, resumed, scored again and compared.

`data/run_1_0` was written by 1.0.0: four steps on phantoms, as if killed after the checkpoint of step 2.
`data/run_1_0.safetensors` holds what 1.0.0 made of two arrays at steps 2 and 4, and its weights at step 4.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import restorekit
from restorekit.core.errors import RecipeError
from restorekit.discovery import plugins
from restorekit.evaluation.compare import compare
from restorekit.evaluation.evaluate import evaluate
from restorekit.evaluation.scoretable import read_scores
from restorekit.recipes import recipe
from restorekit.recipes.upgrade import upgraded
from restorekit.reports import report
from restorekit.runs import build
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.runfolder import RunFolder
from restorekit.training.train import train

pytestmark = pytest.mark.usefixtures("without_figures")

DATA = Path(__file__).parent / "data"
CLOSE = {"rtol": 0, "atol": 1e-5}
"""Another processor adds in another order, up to 2.3e-6 apart after four steps; on one the numbers are equal."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, NDArray[np.generic]]:
    return load_file(DATA / "run_1_0.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(DATA / "run_1_0", tmp_path / "run_1_0"))


def check_as_recorded(where: Path, recorded: dict[str, NDArray[np.generic]], step: int) -> None:
    restorer = restorekit.load(where)
    real = recorded["real"]
    made = restorer.restore(recorded["integers"])
    assert made.dtype == np.uint8
    assert np.abs(np.asarray(made, np.int16) - recorded[f"integers_{step}"]).max() <= 1
    np.testing.assert_allclose(restorer.restore(real, range=(-1, 1)), recorded[f"real_{step}"], **CLOSE)
    np.testing.assert_allclose(restorer.restore(real, range=(-1, 1), times=2), recorded[f"twice_{step}"], **CLOSE)
    prediction = restorer.restored(real[None]).prediction
    assert prediction is not None
    np.testing.assert_allclose([*prediction.values()], recorded[f"answer_{step}"], **CLOSE)


def test_a_run_of_1_0_restores_what_1_0_restored(recorded: dict[str, NDArray[np.generic]]) -> None:
    assert json.loads((DATA / "run_1_0" / "environment.json").read_text())["restorekit"] == "1.0.0"
    check_as_recorded(DATA / "run_1_0", recorded, step=2)


def test_its_recipe_asks_for_the_same_optimizer_and_schedule() -> None:
    spec = recipe.reopened(DATA / "run_1_0", plugins.load())
    assert spec.train.optimizer.spec == {"name": "adam_tf", "lr": 5e-4, "betas": [0.5, 0.999], "eps": 1e-7}
    assert spec.train.schedule.spec == {"name": "linear", "start": 0.5}
    assert recipe.differences(recipe.read_resolved(DATA / "run_1_0"), spec) == []


def test_a_killed_run_of_1_0_goes_on_to_the_weights_and_scores_of_1_0(
    folder: Path, recorded: dict[str, NDArray[np.generic]]
) -> None:
    steps, predictions = table(folder / "metrics.csv"), table(folder / "scores" / "test.csv")
    run = build.reopen(folder, plugins.load())
    run.resume(checkpoints(folder)[-1])
    assert run.step == 2
    values = {event.step: event.values for event in train(run) if isinstance(event, restorekit.Stepped)}
    assert [*values] == [3, 4]
    for row in steps[2:]:
        for name, value in values[int(row["step"])].items():
            assert value == pytest.approx(float(row[name]), rel=1e-5)
    state = run.nets.state_dict()
    assert {f"nets/{name}" for name in state} == {name for name in recorded if name.startswith("nets/")}
    for name, value in state.items():
        np.testing.assert_allclose(value.numpy(), recorded[f"nets/{name}"], **CLOSE)
    check_as_recorded(folder, recorded, step=4)
    assert len(compare([folder]).methods) == 1, "by the scores that 1.0 wrote"
    evaluate(run, "test")
    for now, then in zip(table(folder / "scores" / "test.csv"), predictions, strict=True):
        assert now["key"] == then["key"]
        assert float(now["p_opacity"]) == pytest.approx(float(then["p_opacity"]), abs=1e-5)
    assert report.report(folder).is_file()


def table(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(path.read_text("utf-8").splitlines())]


def test_its_scores_are_read_with_present_names(folder: Path) -> None:
    old = json.loads((folder / "scores" / "test.json").read_text("utf-8"))
    new = RunFolder(folder).json("scores/test.json")
    for name, metric in old["metrics"].items():
        if "poor" in metric:
            assert "poor" not in new["metrics"][name]
            for part in ("poor", "restored", "gain"):
                assert new["metrics"][name][part.replace("poor", "degraded")] == metric[part]
    rows = sorted(table(folder / "scores" / "test.csv"), key=lambda row: row["key"])
    columns = read_scores(folder / "scores" / "test.csv", old["metrics"]).columns
    assert "contrast_level_poor" not in columns
    for which in ("poor", "restored"):
        expected = [float(row[f"contrast_level_{which}"]) for row in rows]
        assert columns[f"contrast_level_{which.replace('poor', 'degraded')}"].tolist() == expected


def test_what_1_0_left_is_reported_without_its_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")
    assert report.report(folder).is_file()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"name": "adam"}),
        ({"lr": 1e-3, "eps_hat": False}, {"name": "adam", "lr": 1e-3}),
        ({"eps_hat": True, "eps": 1e-7}, {"name": "adam_tf", "eps": 1e-7}),
        ({"eps_hat": True}, {"name": "adam_tf", "eps": 1e-8}),
    ],
)
def test_old_options_of_adam_keep_their_values_and_defaults(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert upgraded({"train": {"adam": old}}) == {"train": {"optimizer": new}}


def test_its_recipe_file_is_refused_with_the_keys_of_this_version(folder: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load(folder / "recipe.yaml", plugins.load())
    (adam,) = [str(error) for error in caught.value.errors if error.place == ("train", "adam")]
    (decay,) = [str(error) for error in caught.value.errors if error.place == ("train", "decay_from")]
    assert "optimizer: {name: adam_tf, lr: 0.0005, betas: [0.5, 0.999], eps: 1e-07}" in adam
    assert "schedule: {name: linear, start: 0.5}" in decay
