"""A sweep: what is missing is run, what was killed goes on and ends the same, what is done stays."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restorekit import RecipeError
from restorekit.app.cli import main
from restorekit.training.sweep import is_done, members

SCRIPT = Path(sys.executable).parent / "restorekit"
RECIPE = """\
name: toy
data:
  size: [16, 16]
  a:
    name: degraded
    dataset: {name: phantom, side: a, count: 6, val: 0, test: 4, size: [24, 24]}
    degradation: {name: noise, severity: [0.1, 0.4]}
  b: {name: phantom, side: b, count: 6, val: 0, test: 4, size: [24, 24]}
  batch: 2
nets:
  generator: {name: resnet, width: 4, blocks: 1, downs: 1}
  discriminator: {name: patch, width: 4, layers: 1}
losses: [lsgan, {name: cycle, weight: 10}]
train: {steps: 6, log_every: 1, save_every: 2}
evaluate: {metrics: [psnr], resamples: 20}
loggers: [csv]
variants:
  gentle: {losses.cycle.weight: 1}
  broken: {nets.generator.width: 0}
"""
GOOD = ("toy-seed0", "toy-gentle-seed0", "toy-seed1", "toy-gentle-seed1")

Cli = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Return a function that calls the command line in the test's own folder: exit code, output, the messages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "toy.yaml").write_text(RECIPE)

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["restorekit", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        result = capsys.readouterr()
        assert "Traceback" not in result.err
        return int(stop.value.code or 0), result.out, result.err

    return call


def weights(folder: Path) -> dict[str, bytes]:
    last = max((folder / "checkpoints").glob("step_*"))
    found = {path.name: path.read_bytes() for path in [*last.glob("*.safetensors"), folder / "metrics.csv"]}
    assert len(found) == 4
    return found


def errors(err: str) -> list[str]:
    return [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]


@pytest.mark.full
def test_a_killed_sweep_is_taken_up_and_ends_the_same(cli: Cli, tmp_path: Path) -> None:
    """One error, one kill, and the same command again; beside it one that is never stopped."""
    sweep = ["run", "toy.yaml", "--all-variants", "--seeds", "2", "--out"]
    code, out, err = cli(*sweep, "straight")
    assert code == 3
    broken = "broken: toy.yaml:19 (variant broken): nets.generator.width: generator 'resnet': width must be "
    assert errors(err)[0].startswith(broken)
    assert errors(err)[1:] == [f"1 of 5 failed: broken. To try them again: restorekit {shlex.join(sweep)} straight"]
    assert sorted(path.name for path in (tmp_path / "straight").iterdir()) == sorted(GOOD)
    assert all(is_done(tmp_path / "straight" / name) for name in GOOD)
    runs = [weights(tmp_path / "straight" / name)["nets.safetensors"] for name in GOOD]
    assert len(set(runs)) == 4, "variants and seeds are not the same run"

    second = tmp_path / "killed" / GOOD[1]
    process = subprocess.Popen([SCRIPT, *sweep, "killed"], cwd=tmp_path, stderr=subprocess.DEVNULL, text=True)
    while process.poll() is None and not (second / "checkpoints" / "step_000000002").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the sweep was over before it was killed"
    first = tmp_path / "killed" / GOOD[0]
    assert is_done(first)
    assert not is_done(second)
    kept = (first / "report.html").stat().st_mtime_ns

    code, out, err = cli(*sweep, "killed")
    assert code == 3
    assert "training goes on at step" in err
    assert "done before" in next(line for line in out.splitlines() if line.startswith("toy, seed 0 "))
    for name in GOOD:
        assert weights(tmp_path / "killed" / name) == weights(tmp_path / "straight" / name)
        scores = [(tmp_path / out / name / "scores" / "test.csv").read_bytes() for out in ("killed", "straight")]
        assert scores[0] == scores[1]
    assert (first / "report.html").stat().st_mtime_ns == kept, "what was done was left alone"

    code, out, err = cli("run", "toy.yaml", "--variants", "gentle", "--out", "killed")
    assert (code, errors(err)) == (0, [])
    assert "done before" in out


def test_done_is_trained_then_scored_then_reported(cli: Cli, tmp_path: Path) -> None:
    sweep = ["run", "toy.yaml", "--seeds", "1"]
    assert cli(*sweep)[0] == 0
    home = tmp_path / "runs" / "toy-seed0"
    assert is_done(home)
    scores, report = home / "scores" / "test.json", home / "report.html"
    text = scores.read_text()
    scores.write_text(text.replace('"step": 6', '"step": 4'))
    os.utime(report)
    assert not is_done(home), "scored before it was trained to its end"
    scores.write_text(text)
    assert not is_done(home), "scored after it was reported"
    os.utime(report)
    assert is_done(home)
    report.unlink()
    assert not is_done(home)
    assert cli(*sweep)[0] == 0
    assert is_done(home)
    last = home / "checkpoints" / "step_000000006" / "state.json"
    last.write_text("{")
    assert not is_done(home)
    code, _, err = cli(*sweep)
    assert code == 3
    assert errors(err)[0].startswith(f"toy, seed 0: {last.parent.relative_to(tmp_path)}: is no checkpoint")


def test_unreadable_recipe_of_a_sweep_is_reported_once() -> None:
    found = {"": RecipeError("one"), "q1": RecipeError("other")}
    named = [(member.name, str(member.folder)) for member in members(found, 2, Path("out"), "toy", hint="")]
    assert named == [("toy", "out/toy"), ("q1", "out/toy-q1")]


def test_a_sweep_of_another_recipe_is_refused(cli: Cli, tmp_path: Path) -> None:
    sweep = ["run", "toy.yaml", "--variants", "gentle", "--seeds", "2"]
    assert cli(*sweep, "--set", "seed=7")[0] == 0
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == ["toy-gentle-seed7", "toy-gentle-seed8"], "seeds count from the recipe's own"
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    code, _, err = cli(*sweep, "--set", "seed=7", "--set", "train.steps=9", "--set", "data.batch=1")
    began = "began with another recipe; differing: data.batch"
    hint = "Give the same recipe and --set, or another --out"
    assert (code, errors(err)) == (2, [f"runs/{name}: {began}. {hint}" for name in folders])
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()} == before
    for args, result in (
        (
            ["--variants", "gentel"],
            "toy.yaml: no variant is called 'gentel'. Did you mean 'gentle'? Known: broken, gentle",
        ),
        (["--variants", "gentle", "--all-variants"], "--variants and --all-variants: give one of them"),
        (["--variant", "gentle", "--all-variants"], "--variant and --all-variants: give one of them"),
        (["--seeds", "2", "--resume", "runs"], "--resume: not needed for a sweep; give the same command without it"),
    ):
        code, _, err = cli("run", "toy.yaml", *args)
        assert (code, errors(err)) == (2, [result])


def test_ctrl_c_outside_a_step_prints_one_message(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        signal.raise_signal(signal.SIGINT)  # reaches the main thread, as Ctrl-C does

    sweep = ["run", "toy.yaml", "--seeds", "2"]
    with monkeypatch.context() as patched:
        patched.setattr("restorekit.evaluation.evaluate.evaluate", interrupted)
        code, out, err = cli(*sweep)
    again = f"restorekit {shlex.join(sweep)}"
    last = f"stopped; what is saved in runs/toy-seed0 is kept. To go on: {again}"
    assert (code, err.splitlines()[-1], err.count("stopped")) == (130, last, 1)
    assert "toy, seed 0  stopped" in out
    with monkeypatch.context() as patched:
        patched.setattr("restorekit.app.training.run_one", interrupted)
        code, out, err = cli(*sweep)
    assert (code, err.splitlines()[-1]) == (130, f"stopped. To go on: {again}")
    assert "toy, seed 1  not begun" in out


def test_ctrl_c_saves_the_current_run_and_says_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    sweep = ["run", "toy.yaml", "--seeds", "3", "--set", "train.steps=4000", "--set", "train.save_every=4000"]
    process = subprocess.Popen(
        [SCRIPT, *sweep],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    rows = tmp_path / "runs" / "toy-seed0" / "metrics.csv"
    while process.poll() is None and (not rows.exists() or rows.read_text().count("\n") < 4):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    line = next(line for line in err.splitlines() if line.startswith("stopped after step "))
    assert line.endswith(f" and saved. To go on: restorekit {shlex.join(sweep)}")
    step = int(line.split()[3])
    (state,) = (tmp_path / "runs" / "toy-seed0" / "checkpoints").glob("*/state.json")
    assert json.loads(state.read_text())["step"] == step
    assert "toy, seed 0  stopped" in out
    assert "toy, seed 2  not begun" in out
