"""A run that is killed, at any moment, and resumed, ends as the run that was never stopped: byte by byte."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restorekit.app.cli import main

SCRIPT = Path(sys.executable).parent / "restorekit"
RECIPE = """\
name: killed
seed: 3
data:
  size: [16, 16]
  a:
    name: degraded
    fresh: true
    dataset: {name: phantom, side: a, count: 10, val: 6, test: 8, size: [24, 24]}
    degradation: {name: noise, severity: [0.1, 0.4]}
  b: {name: phantom, side: b, count: 8, val: 6, test: 8, size: [24, 24]}
  augment: {load: 1.25, flip: true}
  batch: 2
  workers: WORKERS
nets:
  generator: {name: resnet, width: 8, blocks: 1, downs: 1}
  discriminator: {name: patch, width: 8, layers: 1}
  head: {name: classify, pool: avg}
losses: [lsgan, {name: cycle, weight: 10}, {name: task, weight: 0.1}]
train:
  steps: STEPS
  pool: 5
  schedule: {name: linear, start: 0.3}
  ema: 0.9
  optimizer: {name: adam_tf, lr: 1e-3, betas: [0.5, 0.999], eps: 1e-7}
  log_every: 1
  save_every: 3
  score_every: 4
  sample_every: 10
evaluate: {metrics: [psnr, accuracy], resamples: 50}
loggers: [csv, samples]
"""


class Trainer:
    """Starts runs of one recipe in one folder, and can end them."""

    def __init__(self, home: Path, steps: int, workers: int = 0, pause: float = 0.0005) -> None:
        home.mkdir()
        self.pause = pause
        self.recipe = home / "killed.yaml"
        self.recipe.write_text(RECIPE.replace("STEPS", str(steps)).replace("WORKERS", str(workers)))
        self.home, self.steps = home, steps
        self.folder = home / "runs" / "killed-1"
        self.result = ""

    def arguments(self) -> list[str]:
        """Return what begins the run, or lets it go on."""
        if (self.folder / "recipe.json").is_file():
            return ["resume", str(self.folder)]
        return ["run", str(self.recipe), "--out", str(self.home / "runs")]

    def start(self) -> subprocess.Popen[str]:
        command = [str(SCRIPT), *self.arguments()]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def finish(self) -> None:
        process = self.start()
        self.result, _ = process.communicate(timeout=200)
        assert process.returncode == 0, self.result
        assert "Traceback" not in self.result

    def finish_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run to the end in this process."""
        monkeypatch.setattr(sys, "argv", ["restorekit", *self.arguments()])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code

    def step(self) -> int:
        """The last step that is logged, 0 before the first."""
        path = self.folder / "metrics.csv"
        last = path.read_text().split("\n")[-2:-1] if path.exists() else []
        first = last[0].partition(",")[0] if last else ""
        return int(first) if first.isdigit() else 0

    def writing(self) -> bool:
        return any((self.folder / "checkpoints").glob(".writing-*"))

    def kill(self, when: Callable[[], bool]) -> bool:
        """Run until `when`, then kill without warning. False if the run was over before."""
        process = self.start()
        try:
            while process.poll() is None:
                if when():
                    os.killpg(process.pid, signal.SIGKILL)
                    return True
                time.sleep(self.pause)
            return False
        finally:
            process.communicate(timeout=200)

    def results(self) -> dict[str, bytes]:
        """Every file that must not depend on whether the run was stopped."""
        last = max((self.folder / "checkpoints").glob("step_*"))
        names = ["metrics.csv", "validation.csv", "scores/test.json", "scores/test.csv", "recipe.json", "data.json"]
        files = [*(self.folder / name for name in names), *sorted(last.iterdir())]
        files += sorted((self.folder / "samples").glob("step_*.png"))
        assert (self.folder / "report.html").is_file()
        assert len(list(last.glob("*.safetensors"))) == 4
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def same(one: Trainer, other: Trainer) -> None:
    left, right = one.results(), other.results()
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
    assert sum(1 for _ in (other.folder / "checkpoints").glob(".writing-*")) == 0
    assert one.step() == other.step() == one.steps


@pytest.mark.usefixtures("without_figures")
def test_killed_once_and_stopped_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = Trainer(tmp_path / "straight", 14)
    straight.finish_here(monkeypatch)
    broken = Trainer(tmp_path / "broken", 14, workers=0, pause=0.01)
    assert broken.kill(lambda: broken.step() >= 5)
    process = broken.start()
    while broken.step() < 8 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    result, _ = process.communicate(timeout=200)
    assert process.returncode == 130, result
    assert "Traceback" not in result
    lines = result.splitlines()
    assert lines.count("stopping after this step; once more stops at once") == 1
    assert lines[-1].startswith("stopped after step ")
    assert lines[-1].endswith(f" and saved. To go on: restorekit resume {broken.folder}")
    stopped = int(lines[-1].split()[3])
    assert (broken.folder / "checkpoints" / f"step_{stopped:09d}").is_dir()
    capsys.readouterr()
    broken.finish_here(monkeypatch)
    assert f"training goes on at step {stopped} of 14" in capsys.readouterr().err
    same(straight, broken)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    straight, broken = Trainer(tmp_path / "straight", 60), Trainer(tmp_path / "broken", 60)
    straight.finish()
    kills = torn = 0
    for turn in range(12):
        if turn % 2:  # while a checkpoint is written, not the first one that is met
            skip, seen = rng.randrange(3), [False, 0]

            def when(skip: int = skip, seen: list[int] = seen) -> bool:  # type: ignore[assignment]
                now = broken.writing()
                seen[1] += now and not seen[0]
                seen[0] = now
                return now and seen[1] > skip
        else:  # at a moment of no meaning, the start of the program and its end included
            step, wait = broken.step() + rng.randrange(-1, 6), rng.uniform(0, 0.15)
            due: list[float] = []

            def when(step: int = step, wait: float = wait, due: list[float] = due) -> bool:  # type: ignore[misc]
                if not due and broken.step() >= min(step, 60):
                    due.append(time.monotonic() + wait)
                return bool(due) and time.monotonic() >= due[0]

        if not broken.kill(when):
            break
        kills += 1
        torn += broken.writing()
    broken.finish()
    assert kills >= 6
    assert torn >= 1, "no checkpoint was torn: this test did not see what it is for"
    same(straight, broken)


@pytest.mark.full
def test_ctrl_c_with_loading_processes(tmp_path: Path) -> None:
    straight, broken = Trainer(tmp_path / "straight", 30), Trainer(tmp_path / "broken", 30, workers=2)
    straight.finish()
    process = broken.start()
    while broken.step() < 5 and process.poll() is None:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    result, _ = process.communicate(timeout=200)
    assert process.returncode == 130, result
    assert "Traceback" not in result
    assert result.count("stopping after this step") == 1, "the loading processes leave Ctrl-C to the main one"
    broken.finish()
    for name in ("metrics.csv", "validation.csv", "scores/test.csv"):
        assert (straight.folder / name).read_bytes() == (broken.folder / name).read_bytes()
