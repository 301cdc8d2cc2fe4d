"""What is built of the repository: wheels hold every module and the recipes, and work where nothing else is at hand."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).parents[1]
MAIN = "import sys; sys.argv[0] = 'restorekit'; from restorekit.app.cli import main; main()"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of restorekit, built and unpacked, and those of the plugins, which are of its version."""
    place = tmp_path_factory.mktemp("wheel")
    (place / "editable").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        wheel = place / build.build_wheel(str(place))
        linked = place / "editable" / build.build_editable(str(place / "editable"))
    assert not [name for name in zipfile.ZipFile(linked).namelist() if name.startswith("restorekit/")]
    zipfile.ZipFile(wheel).extractall(place / "site")
    for project in ROOT.glob("plugins/*/pyproject.toml"):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project.parent)
            zipfile.ZipFile(place / build.build_wheel(str(place))).extractall(place / "site")
    return place / "site"


def files(folder: Path) -> set[str]:
    every = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in every if "__pycache__" not in path.parts}


def said(site: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Call the command line of the unpacked wheels in an empty folder."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]), "COLUMNS": "300"}
    call = [sys.executable, "-c", MAIN, *args]
    return subprocess.run(call, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_a_wheel_holds_every_module_and_the_recipes(unpacked: Path) -> None:
    recipes = {f"recipes/{name}" for name in files(ROOT / "recipes")}
    assert recipes
    assert files(unpacked / "restorekit") == files(ROOT / "restorekit") | recipes


def test_the_recipes_of_a_wheel_are_run_by_name(unpacked: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import restorekit; print(restorekit.__file__)"],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(unpacked)
    written = said(unpacked, tmp_path, "list", "recipes", "baselines_xray", "-o", "mine.yaml")
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "mine.yaml").read_bytes() == (ROOT / "recipes" / "baselines_xray.yaml").read_bytes()
    copied = said(unpacked, tmp_path, "check", "mine.yaml", "--variant", "efficientnet_b4")
    assert copied.returncode == 0, f"what a copy extends comes with restorekit too: {copied.stderr}"
