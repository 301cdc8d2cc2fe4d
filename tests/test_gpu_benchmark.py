"""The GPU benchmark: its whole path on a CPU, and its refusal where there is no CUDA device."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLIND = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable}


def called(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, args)], capture_output=True, text=True, env=BLIND, cwd=ROOT, check=False)


@pytest.mark.full
def test_the_cpu_walks_the_whole_path_and_agrees_with_itself(tmp_path: Path) -> None:
    out = tmp_path / "new" / "table"
    done = called(sys.executable, "benchmarks/gpu.py", out, "--device", "cpu", "--steps", 2, "--size", 32)
    assert done.returncode == 0, done.stderr
    found = json.loads(Path(f"{out}.json").read_text("utf-8"))
    assert [row["difference"] for row in found["losses"]] == [0, 0], "the same device, weights and images"
    assert found["agrees"] is True
    assert all(map(math.isfinite, found["last"].values()))
    assert {"generator.task", "generator.cycle", "discriminator.lsgan"} <= set(found["losses"][0]["device"])
    for row in found["times"]:
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"], row
        assert row["peak_mib"] > 0
    table = Path(f"{out}.md").read_text("utf-8")
    assert table == done.stdout.removesuffix("\n")
    assert all(f"| {row['what']} | {row['times']} |" in table for row in found["times"])


@pytest.mark.full
def test_without_a_cuda_device_both_refuse_at_once_and_write_nothing(tmp_path: Path) -> None:
    for command in ([sys.executable, "benchmarks/gpu.py"], ["bash", "benchmarks/gpu.sh"]):
        done = called(*command, tmp_path / "table")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
