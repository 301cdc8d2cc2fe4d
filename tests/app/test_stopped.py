"""Commands that cannot go on: a full disk, Ctrl-C, a launcher of several processes."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.app.calls import RECIPE, SCRIPT, Cli, says
from tests.disks import small_disk

pytestmark = pytest.mark.usefixtures("without_figures")


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
    assert line.startswith(f"{home / 'checkpoints' / 'step_000000004'}: ")
    assert says(line, kept, f"restorekit resume {home}")
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
    assert result.code == 2
    (line,) = result.errors
    assert line.startswith(f"{table}: ")
    assert says(line, "File too large", kept, f"restorekit resume {home}")
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
    assert result.code == 2
    (line,) = result.errors
    assert line.startswith(f"{home / 'scores' / 'test.csv'}: ")
    assert says(line, "File too large", last, f"restorekit evaluate {home}")
    assert (home / "scores" / "test.csv").read_bytes() == scores


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
