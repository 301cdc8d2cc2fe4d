"""The command line as people use it: every command works, and every bad input is one clear line and an exit code."""

import html
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit import write_image
from restorekit.core.parts import KINDS
from restorekit.io.images import read_image
from tests.app.calls import RECIPE, Cli, refused, rows, says, torn

pytestmark = pytest.mark.usefixtures("without_figures")
ROOT = Path(__file__).parents[2]


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
    assert says(refused_run.errors[0], "--metric: ", "'acuracy'", "'accuracy'")
    assert not Path("no").exists()
    (home / "test.json").unlink()
    again = cli("compare", "runs")
    assert again.code == 2
    (line,) = again.errors
    assert says(line, "runs/tiny-1: ", "scores/test.json", "restorekit evaluate runs/tiny-1")
    (line,) = cli("compare", "nothing").errors
    assert line.startswith("nothing: ")


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
    (line,) = refused_evaluate.errors
    assert says(line, "data.a: ", "'test'")


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


@pytest.mark.parametrize(
    ("old", "new"),
    [(name, f"list {name}") for name in ("parts", "recipes", "plugins", "schema")]
    + [("report", "evaluate RUN --report")],
)
def test_a_command_of_version_1_gives_its_new_name(cli: Cli, old: str, new: str) -> None:
    failed = cli(old, "X")
    assert failed.code == 2
    assert failed.errors[0].endswith(f"restorekit {new}")


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


def test_the_package_runs_as_a_module() -> None:
    call = [sys.executable, "-m", "restorekit", "--version"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"restorekit {version('restorekit')}\n")
