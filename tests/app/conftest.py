"""The command line in this process, a small recipe, and a run of it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from restorekit.app.cli import main
from tests.app.calls import Cli, Result, finished_folder, restored_folder, write_recipe


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test has a folder of its own, so that `runs` of the checkout is not taken for its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Return a function that calls the command line in this process, in the test's own folder."""
    monkeypatch.setenv("COLUMNS", "400")

    def call(*args: Any) -> Result:
        monkeypatch.setattr(sys, "argv", ["restorekit", *map(str, args)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        seen = capsys.readouterr()
        return Result(code, seen.out, seen.err)

    return call


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe beside its images: two sides, two classes, a test split of side a."""
    return write_recipe(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe, its images and a run of it, `kept/tiny-1`, for all tests of a file."""
    return finished_folder(tmp_path_factory.mktemp("finished"), write_recipe, "--out", "kept")


@pytest.fixture
def trained(finished: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished folder, which a test may change, and is in."""
    return restored_folder(finished, monkeypatch)
