"""The command line as people use it: every command works, and every bad input is one clear line and an exit code."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit import write_image
from restorekit.app.cli import main
from restorekit.core.parts import KINDS
from restorekit.discovery import plugins
from restorekit.discovery.plugins import Plugins
from restorekit.io.images import read_image
from tests.disks import small_disk

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "restorekit"
RECIPE = """\
name: tiny
data:
  root: images
  size: [16, 16]
  a: {name: folder, path: a}
  b: {name: folder, path: b}
  batch: 2
nets:
  generator: {name: resnet, width: 4, blocks: 1, downs: 1}
  discriminator: {name: patch, width: 4, layers: 1}
  head: {name: classify, pool: avg}
losses: [lsgan, {name: task, passes: [ab, bb]}]
train: {steps: 2, log_every: 1}
evaluate: {metrics: [accuracy], resamples: 20}
loggers: [csv]
"""


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The error lines; no other line may speak of an error, and no traceback may be seen."""
        assert "Traceback" not in self.err + self.out
        return [line.removeprefix("error: ") for line in self.err.splitlines() if line.startswith("error: ")]


Cli = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("without_figures")


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


def shell(*args: Any, path: Path | None = None, folder: Path | None = None) -> Result:
    """Call the command line in a process of its own; `path` is put before all on its path."""
    places = [str(path or ""), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "COLUMNS": "400", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    command = [str(SCRIPT), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, timeout=120, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe beside its images: two sides, two classes, a test split of side a."""
    return write_recipe(tmp_path)


def finished_folder(home: Path, write: Callable[[Path], Path], *args: str) -> Path:
    """Write a recipe into `home`/work, run it there with further arguments, keep a copy, and return the folder."""
    folder = home / "work"
    folder.mkdir()
    recipe = write(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(sys, "argv", ["restorekit", "run", str(recipe), *args])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    shutil.copytree(folder, home / "copy")
    return folder


def restored_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder what it was when its run was finished, and go into it: paths in a run are absolute."""
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("copy"), folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe, its images and a run of it, `kept/tiny-1`, for all tests of a file."""
    return finished_folder(tmp_path_factory.mktemp("finished"), write_recipe, "--out", "kept")


@pytest.fixture
def trained(finished: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished folder, which a test may change, and is in."""
    return restored_folder(finished, monkeypatch)


def write_recipe(folder: Path) -> Path:
    """Write a recipe and its images."""
    rng = torch.Generator().manual_seed(0)
    for name in ("a/train/no/1", "a/train/yes/2", "a/test/no/3", "a/test/yes/4", "b/train/no/5", "b/train/yes/6"):
        write_image(folder / "images" / f"{name}.png", (torch.rand(1, 18, 20, generator=rng) * 2 - 1).numpy())
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def refused(result: Result, *lines: tuple[object, ...], code: int = 2) -> None:
    """An error line for each of `lines`, which has its place and its names in this order, and nothing was made."""
    assert len(result.errors) == len(lines), result
    for error, names in zip(result.errors, lines, strict=True):
        assert error.startswith(str(names[0])), result
        assert re.search(".*".join(re.escape(str(name)) for name in names), error), (error, names)
    assert result.code == code
    assert not Path("runs").exists(), "no run folder is left behind"


def test_compare_runs_on_the_same_test_images(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    for name in ("no/7", "yes/8"):
        write_image(tmp_path / "images" / "a" / "val" / f"{name}.png", (torch.rand(1, 18, 20) * 2 - 1).numpy())
    recipe.write_text(RECIPE + "variants: {wide: {nets.generator.width: 6}}\n")
    assert cli("run", recipe).code == 0
    assert cli("run", recipe, "--variant", "wide").code == 0
    home = tmp_path / "runs" / "tiny-1" / "scores"
    assert {p.name for p in home.iterdir()} >= {"val.csv", "val.json", "test.csv", "pictures"}
    result = cli("compare", "runs", "-o", "out")
    assert (result.code, result.errors) == (0, [])
    assert "2 methods, 2 runs, 2 test images" in result.out
    assert f"page: {tmp_path / 'out' / 'compare.html'}" in result.out
    assert "tiny-wide" in result.out
    assert "The patient is not known of every test image" in result.err
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count("3.png, restored by tiny") == page.count("restored by tiny-wide") == 2

    refused_run = cli("compare", "runs", "--metric", "acuracy", "-o", "no")
    assert refused_run.code == 2
    assert refused_run.errors[0].startswith(
        "--metric: no column of this table is called 'acuracy'. Did you mean 'accuracy'?"
    )
    assert not Path("no").exists()
    (home / "test.json").unlink()
    again = cli("compare", "runs")
    assert again.code == 2
    assert again.errors == [
        "runs/tiny-1: is not evaluated: it has no scores/test.json; restorekit evaluate runs/tiny-1"
    ]
    assert cli("compare", "nothing").errors == [
        "nothing: there is no such folder; give run folders, or a folder of them"
    ]


def test_a_run_and_all_that_is_done_with_it(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    result = cli("check", recipe)
    assert (result.code, result.out.splitlines()[0]) == (0, f"{recipe}: good. resnet, lsgan, task, 2 steps")
    assert not (tmp_path / "runs").exists()

    result = cli("run", recipe)
    assert (result.code, result.errors) == (0, [])
    home = tmp_path / "runs" / "tiny-1"
    assert f"report: {home / 'report.html'}" in result.out
    assert "accuracy" in result.out
    assert "step 2/2" in result.err
    kept = {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()}
    assert kept >= {"recipe.yaml", "recipe.json", "environment.json", "data.json", "networks.json", "metrics.csv"}
    assert kept >= {"scores/test.json", "scores/test.csv", "scores/test.png", "report.html"}
    assert kept >= {"checkpoints/step_000000002/state.json", "checkpoints/step_000000002/nets.safetensors"}
    assert json.loads((home / "environment.json").read_text())["command"] == f"restorekit run {recipe}"

    scores = (home / "scores" / "test.json").read_bytes()
    shutil.rmtree(home / "scores")
    (home / "report.html").unlink()
    result = cli("evaluate", home)
    assert result.code == 0
    assert (home / "scores" / "test.json").read_bytes() == scores
    (home / "report.html").unlink()
    assert cli("evaluate", home, "--report").out == f"report: {home / 'report.html'}\n"
    assert (home / "report.html").read_text().startswith("<!DOCTYPE html>")

    result = cli("evaluate", home, "--times", "0..2")
    assert (result.code, result.errors) == (0, [])
    assert len(rows(result.out)["accuracy all"]) == 3
    assert (home / "scores" / "test.json").read_bytes() == scores
    assert 'id="passes"' in (home / "report.html").read_text()
    assert cli("evaluate", home, "--times", "2..1").code == 2

    images, out = tmp_path / "images" / "a", tmp_path / "out"
    refused = cli("restore", home, images, "-o", out, "--times", 2)
    assert (refused.code, out.exists()) == (2, False)
    assert refused.errors[0].endswith(f"restorekit restore {images} -o {out} -m {home}")
    result = cli("restore", images, "-o", out, "-m", home, "--times", 2)
    assert (result.code, result.errors) == (0, [])
    assert result.out == f"4 restored, 0 failed; {tmp_path / 'out' / 'restored.csv'} has a row for each\n"
    assert read_image(tmp_path / "out" / "train" / "no" / "1.png")[0].shape == (1, 18, 20)

    result = cli("run", recipe, "--resume", home)
    assert (result.code, result.errors) == (0, [])
    assert "goes on at step 2 of 2" in result.err
    assert cli("run", recipe, "--variant", "x").code == 2
    assert cli("run", recipe, "--set", "train.steps=1", "--out", tmp_path / "else").code == 0
    assert (tmp_path / "else" / "tiny-1" / "report.html").is_file()


def test_a_run_without_a_test_split_is_not_scored(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "images" / "a" / "test")
    result = cli("run", recipe)
    assert result.code == 0
    assert "data.a has no test split: nothing is scored" in result.err
    refused_evaluate = cli("evaluate", tmp_path / "runs" / "tiny-1")
    assert refused_evaluate.errors == ["data.a: has no images in split 'test', so there is nothing to evaluate"]


def test_listings(cli: Cli) -> None:
    result = cli("list", "parts")
    assert result.code == 0
    for kind in KINDS:
        assert kind in result.out
    assert "lsgan" in cli("list", "parts", "loss").out
    assert "fakes" in cli("list", "parts", "loss", "lsgan").out
    assert "must be given" in cli("list", "parts", "dataset", "folder").out
    result = cli("list", "plugins")
    assert "layer selfonn" in result.out
    assert json.loads(cli("list", "schema").out)["title"] == "Recipe"
    refused(cli("list", "parts", "losses"), ("", "'losses'", "'loss'"))
    refused(cli("list", "parts", "loss", "lsgam"), ("", "'lsgam'", "'lsgan'"))
    refused(cli("list", "parts", "loss", "lsgan", "--set", "x=1"), ("--set: ", "loss lsgan"))
    refused(cli("list", "parts", "generator", "--set", "x=1"), ("--set: ", "generator"))


def test_usage(cli: Cli, recipe: Path) -> None:
    assert cli("chek", recipe).errors[0].startswith("no command is called 'chek'. Did you mean 'check'? Known: ")
    assert cli("chek", recipe).code == 2
    for args in (["run"], ["run", recipe, "--varant", "x"], ["restore", "x", "y", "-o", "z", "--times", "0"]):
        result = cli(*args)
        assert result.code == 2, args
        assert len(result.errors) == 1
    refused(cli("profile", recipe, "-o", "costs.xlsx"), ("costs.xlsx: ", ".md, .csv, .tex, .html"))
    refused(cli("profile", "gone.yaml", "--device", "cpu"), ("gone.yaml: ", "'tiny.yaml'"))
    refused(cli("evaluate", "x", "--split", "train"), ("--split: ", "'train'", "test, val"))


def test_unknown_key_wrong_type_and_unknown_part(cli: Cli, recipe: Path) -> None:
    text = RECIPE.replace("lsgan", "lsgam").replace("batch: 2", "batch: two").replace("log_every", "log_evry")
    recipe.write_text(text)
    places = [(f"{recipe}:{n}: {key}: ",) for n, key in ((7, "data.batch"), (13, "train.log_evry"), (12, "losses[0]"))]
    refused(cli("run", recipe), *places)
    refused(cli("check", recipe), *places)


def test_a_recipe_that_is_not_there(cli: Cli, recipe: Path) -> None:
    refused(cli("run", "tinny.yaml"), ("tinny.yaml: ", "'tiny.yaml'"))


def test_missing_folder_and_empty_domain(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    result = cli("run", recipe, "--set", f"data.root={gone}")
    refused(result, (f"{gone / 'a'}: ", "train/, val/ and test/"))
    (tmp_path / "empty").mkdir()
    result = cli("run", recipe, "--set", "data.b.path=../empty")
    refused(result, ("", "empty: "))


def torn(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def test_a_truncated_image_is_refused_before_training_or_skipped_and_counted(
    cli: Cli, recipe: Path, tmp_path: Path
) -> None:
    for name in ("a/train/no/7.png", "a/test/no/8.png"):
        write_image(tmp_path / "images" / name, torch.rand(1, 18, 20).numpy())
        torn(tmp_path / "images" / name)
    result = cli("run", recipe)
    refused(result, (f"data.a: {tmp_path / 'images/a/train/no/7.png'}: ", "data.unreadable: skip"))

    result = cli("run", recipe, "--set", "data.unreadable=skip")
    assert (result.code, result.errors) == (0, [])
    home = tmp_path / "runs" / "tiny-1"
    counts = json.loads((home / "data.json").read_text())["splits"]
    assert (counts["train"]["a"]["images"], counts["train"]["a"]["skipped"]) == (2, 1)
    assert (counts["test"]["a"]["images"], counts["test"]["a"]["skipped"]) == (2, 1)
    unchecked = json.loads((home / "data.json").read_text())["check"]["unchecked"]
    assert any(line.startswith("2 of ") for line in unchecked), unchecked
    assert [line for line in unchecked if result.err.count(f"not checked: {line}") != 1] == []
    page = html.unescape((home / "report.html").read_text("utf-8")).replace("\xa0", " ")
    assert [line for line in unchecked if page.count(line) != 1] == []
    assert cli("evaluate", home).code == 0, "what was skipped in training is skipped here too"


def test_wrong_channel_count(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "images/b/train/no/5.png", (torch.rand(3, 18, 20) * 2 - 1).numpy())
    refused(
        cli("run", recipe),
        ("data.b: train/no/5.png: ", "3", "data.channels", "data.unreadable: skip"),
    )


def test_a_file_without_a_range_is_refused_by_name(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    real = tmp_path / "images/a/train/no/1.tif"
    Image.new("F", (20, 18)).save(real)
    result = cli("run", recipe)
    refused(
        result,
        (f"data.a: {real}: ", "float32", "--range LOW HIGH", "range: [LOW, HIGH]", "data.unreadable: skip"),
    )


def test_check_reports_parts_that_do_not_fit_without_data(cli: Cli, recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("losses: [lsgan, {", "losses: [paired, {"))
    refused(
        cli("check", recipe),
        (f"{recipe}:10: nets.discriminator: ", "lsgan"),
    )
    result = cli("check", recipe, "--set", "nets.head=null", "--set", "losses.paired=lsgan")
    assert any(line.startswith(f"{recipe}:12: losses[1]: task needs nets.head") for line in result.errors)
    result = cli("run", recipe, "--set", "losses.paired=lsgan", "--set", "nets.discriminator.layers=3")
    (line,) = result.errors
    assert line.startswith(
        "--set nets.discriminator.layers: nets.discriminator.layers: discriminator 'patch': 3 layers"
    )
    assert result.code == 2
    assert not Path("runs").exists(), "no run folder is left behind"


def install_plugin(
    folder: Path, name: str, code: str, group: str = "restorekit", *, called: str = "", needs: str = "restorekit>=1"
) -> None:
    """Put an installed distribution `restorekit-NAME` with one module into a folder."""
    target = f"plugin_{name}" + (":app" if group.endswith("commands") else "")
    (folder / f"plugin_{name}.py").write_text(code)
    info = folder / f"restorekit_{name}-1.2.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: restorekit-{name}\nVersion: 1.2\nRequires-Dist: {needs}\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(f"[{group}]\n{called or name} = {target}\n")


def test_plugins_that_are_broken_or_absent(recipe: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install_plugin(site, "sad", "raise OSError('no such library')")
    recipe.write_text(RECIPE + "needs: [restorekit-sad, restorekit-gone]\n")
    refused(
        shell("run", recipe, path=site, folder=tmp_path),
        (f"{recipe}:16: needs[0]: ", "restorekit-sad", "OSError: no such library", f"({site / 'plugin_sad.py'}:1)"),
        (f"{recipe}:16: needs[1]: ", "restorekit-gone", "pip install restorekit-gone"),
    )


LAYER = """
from restorekit import hookimpl, nd

def plain(dims: int):
    "A layer."
    return nd.conv(dims)

@hookimpl
def register_parts(add):
    for name in NAMES: add("layer", name, plain)
"""


def rows(table: str) -> dict[str, list[str]]:
    """Return the rows of a printed table by their first two cells."""
    cells = [re.split(r"  +", line.rstrip()) for line in table.splitlines()]
    return {" ".join(row[:2]): row[2:] for row in cells}


def test_plugins_are_listed_with_what_each_adds_and_what_broke(tmp_path: Path) -> None:
    install_plugin(tmp_path, "good", LAYER.replace("NAMES", "['first', 'second']"))
    install_plugin(tmp_path, "bold", LAYER.replace("NAMES", "['third', 'conv', 'second']"))
    install_plugin(
        tmp_path, "slow", "print('hello')\nimport time\ntime.sleep(2.1)\n" + LAYER.replace("NAMES", "['fourth']")
    )
    install_plugin(tmp_path, "lost", "import no_such_library")
    install_plugin(tmp_path, "later", LAYER, needs="restorekit>=9,<10")
    install_plugin(tmp_path, "hello", COMMAND, "restorekit.commands")
    install_plugin(tmp_path, "number", "app = 3", "restorekit.commands")
    install_plugin(tmp_path, "runner", COMMAND, "restorekit.commands", called="run")
    result = shell("list", "plugins", "--import", path=tmp_path)
    assert (result.code, result.errors) == (0, [])
    assert "hello" not in result.out.splitlines(), "what a plugin prints is no result"
    assert "plugin restorekit-slow: module plugin_slow took " in result.err
    listed = rows(result.out)
    assert listed["plugin version"] == ["import", "adds, or its error"]
    clash = (
        "layer 'second' comes from restorekit-bold and from restorekit-good; uninstall one of them, or have one "
        "rename it"
    )
    own = "layer 'conv' is restorekit's own; restorekit-bold must rename it"
    assert listed["restorekit-good 1.2"][1] == f"layer first; refused: {clash}"
    assert listed["restorekit-bold 1.2"][1] == f"layer third; refused: {own}; refused: {clash}"
    assert re.fullmatch(r"\d+\.\d\d s", listed["restorekit-slow 1.2"][0])
    assert listed["restorekit-slow 1.2"][1] == "layer fourth"
    assert listed["restorekit-lost 1.2"][1] == (
        "plugin restorekit-lost: needs the library 'no_such_library', which is not installed; run: pip install "
        "no_such_library"
    )
    later = [
        "not imported",
        f"plugin restorekit-later: version 1.2 is for restorekit<10,>=9, this is restorekit {version('restorekit')}; "
        "run: pip install --upgrade restorekit restorekit-later",
    ]
    runner = ["not imported", "command 'run' is restorekit's own; restorekit-runner must rename its entry point"]
    assert (listed["restorekit-later 1.2"], listed["restorekit-runner 1.2"]) == (later, runner)
    assert listed["restorekit-hello 1.2"][1] == "command hello"
    number = "plugin restorekit-number: command 'number': plugin_number:app is a int, must be a typer.Typer"
    assert listed["restorekit-number 1.2"][1] == number
    listed = rows(shell("list", "plugins", path=tmp_path).out)
    assert listed["restorekit-number 1.2"] == ["not imported", "command number"]
    assert (listed["restorekit-later 1.2"], listed["restorekit-runner 1.2"]) == (later, runner)


COMMAND = """
print("imported")
import typer
app = typer.Typer()

@app.command()
def hello(name: str, loud: bool = False, code: int = 0) -> list:
    "Say hello."
    print("HELLO" if loud else "hello", name)
    if code:
        raise typer.Exit(code)
    return [name]
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [(name, f"list {name}") for name in ("parts", "recipes", "plugins", "schema")]
    + [("report", "evaluate RUN --report")],
)
def test_a_command_of_version_1_gives_its_new_name(cli: Cli, old: str, new: str) -> None:
    failed = cli(old, "X")
    assert failed.code == 2
    assert failed.errors[0].endswith(f"restorekit {new}")


def test_command_of_a_plugin_is_imported_only_when_called(tmp_path: Path) -> None:
    install_plugin(tmp_path, "hello", COMMAND, "restorekit.commands")
    install_plugin(tmp_path, "sour", "raise OSError('gone')", "restorekit.commands")
    result = shell("--help", path=tmp_path)
    assert result.code == 0
    assert "From restorekit-hello." in result.out
    assert "imported" not in result.out
    for name in ("run", "check", "evaluate", "restore", "list", "hello", "sour"):
        assert f"\n  {name} " in result.out
    result = shell("hello", "world", "--loud", path=tmp_path)
    assert (result.code, result.out, result.err) == (0, "HELLO world\n", "imported\n"), (
        "what it returns is no exit code"
    )
    assert shell("hello", "world", "--code", 7, path=tmp_path).code == 7
    assert "--loud" in shell("hello", "--help", path=tmp_path).out
    result = shell("sour", path=tmp_path)
    message = f"plugin restorekit-sour: command 'sour' failed to load: OSError: gone ({tmp_path / 'plugin_sour.py'}:1)"
    assert (result.code, result.errors) == (2, [message])
    assert len(shell("hello", path=tmp_path).errors) == 1
    install_plugin(tmp_path, "hullo", COMMAND, "restorekit.commands", called="hello")
    assert "From restorekit-hello and restorekit-hullo." in shell("--help", path=tmp_path).out
    assert shell("hello", "world", path=tmp_path).errors == [
        "command 'hello' comes from restorekit-hello and from restorekit-hullo; uninstall one of them, or have one "
        "rename it"
    ]


@pytest.mark.parametrize("args", [["--version"], ["run", "--help"], ["plugin", "check", "--help"], []])
def test_help_imports_no_torch(args: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['restorekit', *sys.argv[1:]]\n"
        "from restorekit.app.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    assert ("Usage:" if args != ["--version"] else f"restorekit {version('restorekit')}\n") in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_versions_are_those_of_restorekit_and_of_what_plugins_are_installed(tmp_path: Path) -> None:
    install_plugin(tmp_path, "sad", "raise OSError('no such library')")
    install_plugin(tmp_path, "tool", "", "restorekit.commands")
    first, *others = shell("--version", path=tmp_path).out.splitlines()
    assert first == f"restorekit {version('restorekit')}"
    assert {"restorekit-sad 1.2", "restorekit-tool 1.2"} <= set(others), "read from metadata, though one is broken"
    assert others == sorted(others)


def test_a_recipe_that_comes_with_restorekit_is_known_by_its_name(cli: Cli, recipe: Path) -> None:
    ours = ROOT / "recipes" / "quickstart.yaml"
    for name in ("quickstart", "quickstart.yaml"):
        result = cli("check", name)
        assert (result.code, result.out.partition(": good")[0]) == (0, str(ours))
        assert f"recipe: {ours}" in result.err, "it is said which file was taken"
    listed = cli("list", "recipes")
    names = sorted(path.stem for path in ours.parent.glob("*.yaml"))
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == names
    assert cli("list", "recipes", "quickstart").out == ours.read_text("utf-8")
    assert cli("list", "recipes", "quickstart", "-o", "my.yaml").code == 0
    assert Path("my.yaml").read_bytes() == ours.read_bytes()
    refused(cli("list", "recipes", "quickstart", "-o", "my.yaml"), ("my.yaml: ",))
    known = ("'quickstat'", "'quickstart'", ", ".join(names))
    refused(cli("list", "recipes", "quickstat"), ("NAME: ", *known))
    for command in ("check", "run", "profile"):
        refused(cli(command, "quickstat"), ("quickstat: ", *known))
    Path("mine.yaml").write_text("extends: quickstart\nname: mine\n")
    assert cli("check", "mine.yaml").code == 0
    shutil.copy(recipe, "quickstart")  # a path that is there goes before a name
    assert cli("check", "quickstart").out.startswith("quickstart: good. resnet")


def test_help_imports_no_heavy_library() -> None:
    call = [sys.executable, "-X", "importtime", "-m", "restorekit", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "numpy", "scipy", "matplotlib", "PIL", "pydantic"}


def test_checkpoints_of_another_version_and_folders_that_are_no_run(cli: Cli, trained: Path) -> None:
    tmp_path, home, recipe = trained, trained / "kept" / "tiny-1", trained / "tiny.yaml"
    state = home / "checkpoints" / "step_000000002" / "state.json"
    whole = json.loads(state.read_text())
    state.write_text(json.dumps({**whole, "format": 99, "restorekit": "7.0"}))
    line = (f"{state.parent}: ", "format 99", "restorekit 7.0", "format 1")
    before = sorted(p.name for p in home.rglob("*"))
    for args in (
        ["run", recipe, "--resume", home],
        ["evaluate", home],
        ["restore", tmp_path / "images", "-o", tmp_path / "out", "-m", home],
    ):
        refused(cli(*args), line)
    assert sorted(p.name for p in home.rglob("*")) == before, "nothing that was saved is lost"
    assert not (tmp_path / "out").exists()

    state.write_text(json.dumps(whole))
    other = cli("run", recipe, "--resume", home, "--set", "train.steps=5", "--set", "data.batch=1")
    refused(
        other,
        (f"--resume {home}: ", "data.batch", f"restorekit resume {home}"),
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(cli("run", recipe, "--resume", empty), (f"{empty}: ", "recipe.json"))
    refused(cli("evaluate", empty), (f"{empty}: ", "recipe.json"))
    refused(cli("evaluate", empty, "--report"), (f"{empty}: ", "recipe.json"))
    assert len(cli("restore", tmp_path / "images", "-o", tmp_path / "out", "-m", empty).errors) == 1


def test_restore_tells_what_failed_with_code_3(cli: Cli, trained: Path) -> None:
    tmp_path, home = trained, trained / "kept" / "tiny-1"
    torn(tmp_path / "images" / "a" / "test" / "no" / "3.png")
    result = cli("restore", tmp_path / "images" / "a", "-o", tmp_path / "out", "-m", home)
    assert result.code == 3
    (line,) = result.errors
    assert line.startswith(f"{tmp_path / 'images/a/test/no/3.png'}: ")
    assert result.out.startswith("3 restored, 1 failed; ")
    result = cli("restore", tmp_path / "images" / "a", "-o", tmp_path / "images" / "a", "-m", home)
    assert result.code == 2
    assert result.errors[0].endswith("would be overwritten; choose another -o FOLDER")
    np.save(tmp_path / "x.npy", np.full((18, 20), 7, np.float32))
    result = cli("restore", tmp_path / "x.npy", "-o", tmp_path / "out", "-m", home)
    assert result.code == 3
    assert "holds float32 values, here from 7 to 7" in result.errors[0]
    assert cli("restore", tmp_path / "x.npy", "-o", tmp_path / "out", "--range", "0", "9", "-m", home).code == 0
    assert np.load(tmp_path / "out" / "x.npy").shape == (18, 20)


def test_a_loss_that_is_not_finite_is_one_line(cli: Cli, recipe: Path) -> None:
    result = cli(
        "run", recipe, "--set", "train.optimizer.lr=1e30", "--set", "train.steps=9", "--set", "train.save_every=1"
    )
    (line,) = result.errors
    assert result.code in (1, 2)
    assert "not finite" in line
    assert "last good checkpoint is" in line or "no checkpoint was saved yet" in line


def test_the_paper_without_its_data_says_where_to_get_it(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", ROOT / "recipes" / "r2cgan_xray.yaml")
    (line,) = result.errors
    for words in (
        "data.root is not set",
        "trainA",
        "trainB",
        "testA",
        "covid",
        "https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset",
        "https://github.com/meteahishali/R2C-GAN",
        "restorekit run quickstart",
    ):
        assert words in line
    refused(result, ("",))
    result = cli("run", ROOT / "recipes" / "r2cgan_xray.yaml", "--set", f"data.root={tmp_path}")
    refused(result, (f"r2cgan_folders: {tmp_path} ", "trainA", "ROOT/trainA"))


def test_an_output_folder_that_is_a_file(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    result = cli("run", recipe, "--out", tmp_path / "taken")
    assert (result.code, len(result.errors)) == (2, 1)
    assert str(tmp_path / "taken") in result.errors[0]


def test_a_full_disk_is_one_line_and_loses_nothing(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    assert cli("run", recipe, "--set", "train.steps=4", "--set", "train.save_every=2").code == 0
    home = tmp_path / "runs" / "tiny-1"
    kept = home / "checkpoints" / "step_000000002"
    shutil.rmtree(home / "checkpoints" / "step_000000004")  # as if it had been stopped after step 2
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    with small_disk(8000):
        result = cli("run", recipe, "--set", "train.steps=4", "--set", "train.save_every=2", "--resume", home)
    (line,) = result.errors
    assert result.code in (1, 2)
    assert line.startswith(f"{home / 'checkpoints' / 'step_000000004'}: cannot be written (")
    assert line.endswith(f"the last good checkpoint is {kept}. Make room, then: restorekit resume {home}")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert sorted(path.name for path in (home / "checkpoints").iterdir()) == [kept.name]


def test_a_full_disk_names_the_table_and_half_a_row_does_not_stay(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    run = ("run", recipe, "--set", "train.steps=4", "--set", "train.save_every=2")
    assert cli(*run).code == 0
    home = tmp_path / "runs" / "tiny-1"
    table, kept = home / "metrics.csv", home / "checkpoints" / "step_000000002"
    head, *rows = table.read_text().splitlines(keepends=True)
    shutil.rmtree(home / "checkpoints" / "step_000000004")  # as if it had been stopped after step 2
    whole = "".join([head, *rows[:1] * 20_000, *rows[:2]])  # longer than a checkpoint's files, which find room
    table.write_text(whole)
    with small_disk(len(whole) + 10):  # there is room for ten characters of a row
        result = cli(*run, "--resume", home)
    hint = f"Make room, then: restorekit resume {home}"
    line = f"{table}: File too large; the last good checkpoint is {kept}. {hint}"
    assert (result.code, result.errors) == (2, [line])
    assert table.read_text() == whole
    table.write_text(whole + rows[2][:10])  # as a kill would leave it
    assert cli(*run, "--resume", home).code == 0
    assert table.read_text() == whole + "".join(rows[2:])


def test_a_full_disk_while_a_run_is_scored(cli: Cli, trained: Path) -> None:
    home = trained / "kept" / "tiny-1"
    scores = (home / "scores" / "test.csv").read_bytes()
    with small_disk(10):
        result = cli("evaluate", home)
    last = home / "checkpoints" / "step_000000002"
    hint = f"Make room, then: restorekit evaluate {home}"
    line = f"{home / 'scores' / 'test.csv'}: File too large; the last good checkpoint is {last}. {hint}"
    assert (result.code, result.errors) == (2, [line])
    assert (home / "scores" / "test.csv").read_bytes() == scores


# Ctrl-C


def test_ctrl_c_while_a_trained_run_is_scored_says_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    text = RECIPE.replace("{name: folder, path: ", "{name: phantom, size: [16, 16], count: 4, val: 40, test: 2, side: ")
    (tmp_path / "tiny.yaml").write_text(text)
    command = [str(SCRIPT), "run", "tiny.yaml"]
    scoring = "scoring the validation images"
    result: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip() == scoring and scoring not in result:  # it may be printed anew, if its printing is stopped
                process.send_signal(signal.SIGINT)
            result.append(line.rstrip())
    home = Path("runs") / "tiny-1"
    message = f"stopped; what is saved in {home} is kept. To go on: restorekit resume {home}"
    assert (process.returncode, result[-2:]) == (130, [scoring, message]), "\n".join(result)
    assert not (home / "scores").exists()
    again = cli("run", "tiny.yaml", "--resume", home)
    assert (again.code, again.errors) == (0, [])
    assert "training goes on at step 2 of 2" in again.err
    assert (home / "scores" / "val.json").is_file()
    assert (home / "report.html").is_file()


def test_ctrl_c_in_any_command_is_one_line(cli: Cli, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("run", recipe).code == 0
    home = Path("runs") / "tiny-1"
    kept = f"stopped; what is saved in {home} is kept. To go on: restorekit"

    def interrupted(*args: Any, **kwargs: Any) -> None:
        signal.raise_signal(signal.SIGINT)  # reaches the main thread, as Ctrl-C does

    monkeypatch.setattr("restorekit.reports.report.report", interrupted)
    monkeypatch.setattr("restorekit.runs.check.check", interrupted)
    monkeypatch.setattr("restorekit.runs.build.build", interrupted)
    for args, line in (
        (("evaluate", home, "--report"), f"{kept} evaluate {home} --report"),
        (("evaluate", home), f"{kept} evaluate {home}"),
        (("run", recipe, "--resume", home), f"{kept} resume {home}"),
        (("resume", home), f"{kept} resume {home}"),
        (("run", recipe), "stopped"),
        (("check", recipe), "stopped"),
    ):
        result = cli(*args)
        assert (result.code, result.errors, result.err.splitlines()) == (130, [], [line])
    assert [path.name for path in Path("runs").iterdir()] == [home.name], "nothing is left of what had not begun"


def test_a_second_ctrl_c_stops_within_a_step(cli: Cli, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    home = Path("runs") / "tiny-1"
    with monkeypatch.context() as patched:
        patched.setattr("restorekit.training.train.step", interrupted)
        result = cli("run", recipe)
    asked = "stopping after this step; once more stops at once"
    message = f"stopped; what is saved in {home} is kept. To go on: restorekit resume {home}"
    assert (result.code, result.errors, result.err.splitlines()[-2:]) == (130, [], [asked, message])
    assert not (home / "checkpoints").exists()
    assert cli("run", recipe, "--resume", home).code == 0


# Launchers of several processes


TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


def test_every_command_that_computes_refuses_several_processes(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, before = trained / "tiny.yaml", sorted(Path("kept").rglob("*"))
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    home = "kept/tiny-1"
    for command in (
        ("run", recipe),
        ("run", recipe, "--seeds", "2"),
        ("run", recipe, "--resume", home),
        ("evaluate", home),
        ("audit", home, "--classifier", home),
        ("restore", "images/a/test", "-o", "restored", "-m", home),
    ):
        result = cli(*command)
        assert result.code == 2, command
        (line,) = result.errors
        assert "WORLD_SIZE=2" in line
    assert sorted(Path("kept").rglob("*")) == before
    assert not Path("runs").exists()
    assert not Path("restored").exists()


def test_two_processes_of_torchrun_both_refuse_and_write_nothing(recipe: Path, tmp_path: Path) -> None:
    env = {**os.environ, **TORCHRUN, "MASTER_PORT": "29511"}
    started = [
        subprocess.Popen(
            [str(SCRIPT), "run", str(recipe)],
            env={**env, "RANK": rank, "LOCAL_RANK": rank},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    for process in started:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 2, errors
        assert "WORLD_SIZE=2" in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


# The data check


PATIENTS = """\
file,finding,split,patient
a/train/no/1.png,no,train,p1
a/train/yes/2.png,yes,train,p2
a/test/no/3.png,no,test,p3
a/test/yes/4.png,yes,test,p4
b/train/no/5.png,no,train,p5
b/train/yes/6.png,yes,train,p6
"""
COLUMNS = ("--column", "path=file", "--column", "label=finding")


def incomplete(result: Result, *named: str) -> None:
    """Nothing wrong was found, but not all was looked at: no line says that there is no leak."""
    assert result.code == 3, result
    assert "no leak" not in result.out + result.err
    assert result.errors
    for name in named:
        assert any(name in line for line in result.errors), (name, result.errors)


def test_data_check_of_a_recipe_a_folder_and_a_manifest(cli: Cli, recipe: Path) -> None:
    incomplete(cli("data", "check", recipe), "6 of 6 images in train and test")
    assert Path("data-check/check.json").is_file()
    result = cli("data", "check", "images", "-o", "other")
    incomplete(result, "6 of 6 images in train and test")
    assert re.search(r"test +a .* 2 ", result.out)
    assert Path("other/check.json").is_file()
    Path("images/m.csv").write_text(PATIENTS)
    result = cli("data", "check", "images/m.csv", *COLUMNS)
    assert (result.code, result.errors) == (0, [])
    assert "6 images: no leak, 0 unreadable" in result.out
    Path("images/m.csv").rename("images/manifest.csv")
    result = cli("data", "check", "images", *COLUMNS)
    assert (result.code, result.errors) == (0, [])
    assert "6 images: no leak, 0 unreadable" in result.out
    refused(
        cli("data", "check", "images"),
        ("images/manifest.csv:1: ", "'path'", "file, finding, split, patient"),
    )


def test_data_check_of_a_recipe_whose_patients_are_known_is_clean(cli: Cli, recipe: Path) -> None:
    rows = [line.split(",") for line in PATIENTS.splitlines()]
    for side in "ab":
        table = [f"{row[0].removeprefix(side + '/')},{row[1]},{row[3]}" for row in rows[1:] if row[0].startswith(side)]
        Path(f"images/{side}/labels.csv").write_text("\n".join(["file,label,patient", *table]) + "\n")
    sets = [arg for side in "ab" for arg in ("--set", f"data.{side}.labels=labels.csv")]
    result = cli("data", "check", recipe, *sets)
    assert (result.code, result.errors) == (0, []), result
    assert "6 images: no leak, 0 unreadable" in result.out
    Path("images/a/test/yes/9.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    incomplete(cli("data", "check", recipe, *sets), "9.jp2")


def test_data_check_finds_a_planted_film_that_no_row_of_the_manifest_names(cli: Cli, recipe: Path) -> None:
    Path("images/manifest.csv").write_text(PATIENTS)
    shutil.copy("images/a/train/no/1.png", "images/a/test/no/planted.png")
    result = cli("data", "check", "images", *COLUMNS)
    assert result.code == 2
    assert "no leak" not in result.out + result.err
    assert any("a/train/no/1.png" in line and "planted.png" in line for line in result.errors)
    assert any("6 of 7 images" in line and "planted.png" in line for line in result.errors)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda images: shutil.copy(images / "../other.png", images / "a/test/no/8.png"), "8.png"),
        (lambda images: (images / "a/scan.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n"), "scan.jp2"),
        (lambda images: (images / "manifest.csv").write_text(PATIENTS.replace(",p4", ",")), "1 of 6 images"),
        (lambda images: (images / "manifest.csv").write_text(PATIENTS.replace("p3", "P1")), "p1 and P1"),
        (lambda images: (images / "manifest.csv").write_text(PATIENTS.replace(",test,", ",val,")), "split test"),
    ],
    ids=["no row", "suffix", "patient", "spelling", "empty split"],
)
def test_data_check_that_did_not_look_at_all_exits_with_three(
    cli: Cli, recipe: Path, tmp_path: Path, make: Callable[[Path], object], named: str
) -> None:
    Path("images/manifest.csv").write_text(PATIENTS)
    write_image(
        tmp_path / "other.png", (torch.rand(1, 18, 20, generator=torch.Generator().manual_seed(9)) * 2 - 1).numpy()
    )
    make(tmp_path / "images")
    incomplete(cli("data", "check", "images", *COLUMNS), named)


def test_data_check_with_an_unreadable_file_is_not_clean(cli: Cli, recipe: Path) -> None:
    Path("images/manifest.csv").write_text(PATIENTS)
    Path("images/a/test/no/3.png").write_bytes(b"")
    result = cli("data", "check", "images", *COLUMNS)
    assert result.code == 2
    assert "no leak" not in result.out + result.err
    assert "1 unreadable" in result.out


def test_check_and_data_check_state_the_positive_class_and_the_line_to_write(cli: Cli, recipe: Path) -> None:
    for side in "ab":
        for old, new in (("no", "covid"), ("yes", "normal")):
            for folder in Path(f"images/{side}").glob(f"*/{old}"):
                folder.rename(folder.with_name(new))
    for command in (("check",), ("data", "check"), ("run",)):
        result = cli(*command, recipe)
        for line in ("[normal, covid]", "[covid, normal]"):
            for side in "ab":
                assert f"data.{side}.classes: {line}" in result.err, command
        assert "positive class: normal" in result.out + result.err
    sets = [arg for side in "ab" for arg in ("--set", f"data.{side}.classes=[normal, covid]")]
    for command in (("check",), ("data", "check"), ("run",)):
        result = cli(*command, recipe, *sets)
        assert "classes:" not in result.err
        assert "positive class: covid" in result.out + result.err
    assert json.loads(Path("runs/tiny-2/data.json").read_text())["positive"] == "covid"
    result = cli("data", "check", "images/a")
    assert "positive class: normal" in result.out


def test_data_check_sums_up_numbers(cli: Cli, recipe: Path) -> None:
    for at in range(12):
        shutil.copy("images/a/train/no/1.png", f"images/{at}.png")
    rows = [f"{at}.png,{at / 4}" for at in range(12)]
    Path("images/m.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    result = cli("data", "check", "images/m.csv")
    assert re.search(r"images +min +median +max +patients\n.* 12 +0 +1\.375 +2\.75 ", result.out), result.out
    assert "task: a number; " in result.out


def test_data_check_refuses_in_one_line(cli: Cli, recipe: Path) -> None:
    refused(cli("data", "check", "none"), ("none: ", ".yaml", ".csv, .parquet"))
    refused(cli("data", "check", "none.csv"), ("none.csv: ",))
    refused(cli("data", "check", "images", "--variant", "x"), ("images: ", "--variant", ".yaml"))
    Path("m.csv").write_text("path\n")
    refused(cli("data", "check", "m.csv", "--column", "x"), ("--column: ", "OURS=THEIRS", "'x'"))
    refused(cli("data", "check", "m.csv"), ("m.csv: ",))


def test_a_leak_stops_a_run_and_may_be_allowed(cli: Cli, recipe: Path) -> None:
    shutil.copy("images/a/train/no/1.png", "images/a/test/no/7.png")
    shutil.copy("images/a/train/no/1.png", "images/b/train/no/8.png")
    leak = "a: train/no/1.png (train) and a: test/no/7.png (test) hold the same pixels"
    refused(cli("data", "check", recipe), (leak,))
    refused(
        cli("run", recipe),
        ("data: ", leak, "restorekit data check", "--allow-leaks"),
    )
    result = cli("run", recipe, "--allow-leaks")
    assert result.code == 0, result.err
    assert f"leak, allowed: {leak}" in result.err
    page = Path("runs/tiny-1/report.html").read_text("utf-8")
    assert 'class="leak"' in page
    assert "hold the same pixels" in page
    assert Path("runs/tiny-1/splits.csv").is_file()
    assert Path("runs/tiny-1/data-check/check.json").is_file()
    again = cli("run", recipe, "--resume", "runs/tiny-1")
    assert again.code == 0, again.err
    assert f"leak, allowed: {leak}" in again.err, "what was allowed once is said again"
    shutil.copy("images/a/train/yes/2.png", "images/a/test/yes/8.png")
    more = cli("run", recipe, "--resume", "runs/tiny-1")
    assert more.code == 2, more.err
    assert "the images have changed since the run began: 1 added, such as test/yes/8.png" in more.err
    assert "1 added, such as test/yes/8.png" in cli("evaluate", "runs/tiny-1").err
    assert "Scored on other images" in Path("runs/tiny-1/report.html").read_text("utf-8")


DIM = '''
from restorekit import Degradation, hookimpl, conformance_case

class Dim(Degradation):
    def draw(self, rng):
        return {"dim": 0.5}

    def apply(self, image, drawn, rng):
        return (image - drawn["dim"]).clamp(-1, 1)

def dim(domain):
    """Darker images."""
    return Dim()

@hookimpl
def register_parts(add):
    add("degradation", "dim", dim)
'''


@pytest.fixture
def uninstalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Return a function that writes a plugin's project; what is loaded of it is forgotten after the test."""
    own = Plugins()
    own.load_builtins()
    monkeypatch.setattr(plugins, "load", lambda: own)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name: str, code: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"restorekit_{name}.py").write_text(code)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "restorekit-{name}"\nversion = "0.1"\n'
            f'[project.entry-points.restorekit]\n{name} = "restorekit_{name}"\n'
        )
        return folder

    return write


def test_plugin_check_of_a_folder(cli: Cli, uninstalled: Callable[[str, str], Path]) -> None:
    folder = uninstalled("dim", DIM)
    result = cli("plugin", "check", folder)
    assert (result.code, result.errors) == (0, [])
    rows = [re.sub(r" \d+\.\d (s|ms)", " T", " ".join(line.split())) for line in result.out.splitlines()]
    assert rows[:5] == [
        "part in passed not passed time speed",
        "degradation dim 2 of 2 T",
        "degradation dim 1-D 4 of 4 T",
        "degradation dim 2-D 5 of 5 T T an image",
        "degradation dim 3-D 4 of 4 T",
    ]
    assert rows[5] == "checks: contract, options, identity, range, seed, untouched, speed"
    assert rows[6].startswith("15 passed, 0 failed, 0 exempt, 0 not tried, in ")
    assert f"plugin restorekit-dim: {folder / 'restorekit_dim.py'}\n" in result.err
    assert cli("plugin", "check", "restorekit-dim").code == 0


def test_plugin_check_lists_every_error_and_exits_with_3(cli: Cli, uninstalled: Callable[[str, str], Path]) -> None:
    broken = DIM.replace(".clamp(-1, 1)", "").replace(
        "def dim(", "@conformance_case(exempt={'identity': 'it is never light'})\ndef dim("
    )
    result = cli("plugin", "check", uninstalled("broken", broken))
    assert result.code == 3
    assert [re.sub(r"to 1\.\d+", "to 1.5", line) for line in result.errors] == [
        f"degradation 'dim' {dims}-D range: a degraded image must lie in [-1, 1]; got values to 1.5; clamp it"
        for dims in (1, 2, 3)
    ]
    rows = " ".join(result.out.split())  # a long figure of speed narrows the other columns
    assert "degradation dim 1-D 2 of 4 identity exempt, range" in rows
    assert "exempt: it is never light (degradation-dim-1d-identity, degradation-dim-2d-identity" in result.err
    assert "\n9 passed, 3 failed, 3 exempt, 0 not tried, in " in result.out


def test_plugin_check_refuses_in_one_line(cli: Cli, uninstalled: Callable[[str, str], Path], tmp_path: Path) -> None:
    result = cli("plugin", "check", "losess")
    assert result.code == 2
    assert result.errors[0].startswith("no plugin is called 'losess'. Did you mean 'losses'? Known: class_metrics, ")
    refused(cli("plugin", "check", tmp_path / "absent"), (f"{tmp_path / 'absent'}: ", "pyproject.toml"))
    (tmp_path / "pyproject.toml").write_text('[project]\n[project.entry-points."restorekit.commands"]\nx = "x:app"\n')
    result = cli("plugin", "check", tmp_path)
    assert (result.code, result.out) == (0, f"{tmp_path}: has commands only, no part to check\n")
    folder = uninstalled("torn", "raise OSError('gone')")
    refused(
        cli("plugin", "check", folder),
        ("plugin restorekit-torn: ", "OSError: gone", f"({folder}/restorekit_torn.py:1)"),
    )


def test_the_package_runs_as_a_module() -> None:
    call = [sys.executable, "-m", "restorekit", "--version"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"restorekit {version('restorekit')}\n")
