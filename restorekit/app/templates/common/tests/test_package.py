"""The package as others meet it: the contracts of its kind, and the recipe run as it says."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from restorekit.testing import cases


@pytest.mark.parametrize("case", cases(Path(__file__).parents[1]), ids=str)
def test_conformance(case):
    case.run()


def test_the_recipe_runs_as_it_says(tmp_path):
    recipe = Path(__file__).parents[1] / "recipe.yaml"
    text = recipe.read_text("utf-8")
    (tmp_path / recipe.name).write_text(text, "utf-8")
    (line,) = re.findall(r"^# Run: (.+)$", text, re.MULTILINE)
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": scripts}
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "part_name-1" / "report.html").is_file()
