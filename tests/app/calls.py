"""The command line called as people call it, and what tests of it share: a small recipe and a run of it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from restorekit import write_image
from restorekit.app.cli import main

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


def shell(*args: Any, path: Path | None = None, folder: Path | None = None) -> Result:
    """Call the command line in a process of its own; `path` is put before all on its path."""
    places = [str(path or ""), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "COLUMNS": "400", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    command = [str(SCRIPT), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, timeout=120, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def write_recipe(folder: Path) -> Path:
    """Write a recipe and its images."""
    rng = torch.Generator().manual_seed(0)
    for name in ("a/train/no/1", "a/train/yes/2", "a/test/no/3", "a/test/yes/4", "b/train/no/5", "b/train/yes/6"):
        write_image(folder / "images" / f"{name}.png", (torch.rand(1, 18, 20, generator=rng) * 2 - 1).numpy())
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return path


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


def says(text: str, *names: object) -> bool:
    """True if a text has these names in this order."""
    return re.search(".*".join(re.escape(str(name)) for name in names), text) is not None


def refused(result: Result, *lines: tuple[object, ...], code: int = 2) -> None:
    """An error line for each of `lines`, which has its place and its names in this order, and nothing was made."""
    assert len(result.errors) == len(lines), result
    for error, names in zip(result.errors, lines, strict=True):
        assert error.startswith(str(names[0])), result
        assert says(error, *names), (error, names)
    assert result.code == code
    assert not Path("runs").exists(), "no run folder is left behind"


def torn(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def rows(table: str) -> dict[str, list[str]]:
    """Return the rows of a printed table by their first two cells."""
    cells = [re.split(r"  +", line.rstrip()) for line in table.splitlines()]
    return {" ".join(row[:2]): row[2:] for row in cells}
