"""`restorekit resume RUN`: the recipe that the run began with, also after the images were moved."""

import json
import shutil
from pathlib import Path

import pytest

from tests.app.calls import RECIPE, Cli, refused

pytestmark = pytest.mark.usefixtures("without_figures")


def results(folder: Path) -> dict[str, bytes]:
    """What must not depend on whether a run was stopped."""
    last = max((folder / "checkpoints").glob("step_*"))
    files = [folder / "metrics.csv", folder / "recipe.json", folder / "scores" / "test.csv", *last.iterdir()]
    return {path.name: path.read_bytes() for path in files}


def test_resumed_run_needs_no_recipe_and_ends_the_same(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE + "variants: {wide: {nets.generator.width: 6}}\n")
    sets = [word for one in ("train.steps=4", "train.save_every=2", "data.batch=1") for word in ("--set", one)]
    assert cli("run", recipe, "--variant", "wide", *sets).code == 0
    home = tmp_path / "runs" / "tiny-wide-1"
    before = results(home)
    shutil.rmtree(home / "checkpoints" / "step_000000004")  # as if it had been stopped after step 2
    shutil.rmtree(home / "scores")
    recipe.unlink()
    result = cli("resume", home)
    assert (result.code, result.errors) == (0, [])
    assert results(home) == before
    assert json.loads((home / "recipe.json").read_text())["variant"] == "wide"
    assert (home / "report.html").is_file()


def test_moved_images_are_found_by_root(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    assert cli("run", recipe).code == 0
    home, images, moved = tmp_path / "runs" / "tiny-1", tmp_path / "images", tmp_path / "moved"
    scores = (home / "scores" / "test.csv").read_bytes()
    images.rename(moved)
    for command in ("evaluate", "resume"):  # the second keeps the new root
        result = cli(command, home)
        assert result.code == 2
        (line,) = result.errors
        assert f"{images}," in line
        assert "--root" in line
        result = cli(command, home, "--root", tmp_path / "nowhere")
        assert result.errors == [f"--root {tmp_path / 'nowhere'}: no such folder"]
        result = cli(command, home, "--root", "moved")
        assert (result.code, result.errors) == (0, [])
    assert (home / "scores" / "test.csv").read_bytes() == scores
    assert json.loads((home / "recipe.json").read_text())["data"]["root"] == str(moved)
    assert cli("resume", home).code == 0, "where the images are now is kept"


def test_resume_of_a_folder_that_is_no_run_is_refused(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path / "images", recipe):
        refused(cli("resume", folder), (f"{folder}: ", "recipe.json"))


def test_a_run_is_made_longer_by_set_and_by_run_resume(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    assert cli("run", recipe, "--set", "train.steps=2").code == 0
    home = tmp_path / "runs" / "tiny-1"
    assert cli("run", recipe, "--set", "train.steps=3", "--resume", home).code == 0
    result = cli("resume", home, "--set", "train.steps=4")
    assert (result.code, result.errors) == (0, [])
    assert "train.steps: raised from 3 to 4 at step 3" in result.err
    state = json.loads((home / "checkpoints" / "step_000000004" / "state.json").read_text())
    assert state["steps"] == 4
    straight = tmp_path / "straight"
    assert cli("run", recipe, "--set", "train.steps=4", "--out", straight).code == 0
    assert results(home) == results(straight / "tiny-1")
    for wrong in ("train.steps=3", "train.log_every=9"):
        result = cli("resume", home, "--set", wrong)
        assert result.code == 2
        assert wrong.partition("=")[0] in result.errors[0]


def test_a_sweep_goes_on_when_its_runs_are_made_longer(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    for steps in (2, 4):
        assert cli("run", recipe, "--seeds", 1, "--set", f"train.steps={steps}").code == 0
        assert (tmp_path / "runs" / "tiny-seed0" / "checkpoints" / f"step_{steps:09d}").is_dir()
    result = cli("run", recipe, "--seeds", 1, "--set", "train.steps=4")
    assert "done before" in result.out
