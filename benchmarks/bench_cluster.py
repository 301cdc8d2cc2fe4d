"""Files a second of `restorekit restore` with --engine local and --engine ray, and the growth of its memory.

    python benchmarks/bench_cluster.py [--count 1000] [--side 64] [--workers 1 2] [--model part:median]

The rate is measured between two moments, a tenth and the whole of the files done, so that it has neither the start of
Python, torch and Ray nor the load of the model; the seconds of the whole command stand beside it. Memory is that of the
calling process, which has the table, and of the largest worker, at the same moments, with the growth for each file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import psutil
from PIL import Image


def written(folder: Path, count: int, side: int) -> None:
    """Write pictures of noise."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(folder / f"{i:06d}.png")


def memory(process: psutil.Process) -> tuple[int, int]:
    """Return the bytes of the command and of its largest worker; 0: none runs."""
    sizes = [0]
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            if "ray::_Worker" in " ".join(child.cmdline()[:1]):
                sizes.append(child.memory_info().rss)
    return process.memory_info().rss, max(sizes)


def run(call: list[str], table: Path, count: int) -> None:
    """Run the command and print what it took."""
    began = perf_counter()
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: list[tuple[int, float, int, int]] = []
    while process.poll() is None:
        done = table.read_bytes().count(b"\n") - 1 if table.is_file() else 0
        if done >= (count // 10 if not seen else seen[-1][0] + count // 20):
            with suppress(psutil.Error):
                seen.append((done, perf_counter(), *memory(psutil.Process(process.pid))))
        sleep(0.1)
    whole = perf_counter() - began
    if process.returncode or len(seen) < 2:
        raise SystemExit(f"{' '.join(call)}: exit code {process.returncode}, {len(seen)} moments")
    (first, start, low, small), (last, end, high, large) = seen[0], seen[-1]
    files = last - first
    growth = " and ".join(f"{(b - a) / files:.0f}" for a, b in ((low, high), (small, large)) if b)
    worker = f", largest worker {large / 2**20:.0f}" if large else ""
    print(
        f"{files / (end - start):7.1f} files a second from file {first} to {last}; whole command {whole:.0f} s; "
        f"command {high / 2**20:.0f} MiB{worker}; growth {growth} bytes a file",
        flush=True,
    )


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--model", default="part:median")
    parser.add_argument("--no-local", action="store_true")
    asked = parser.parse_args()
    ways = [[], *(["--engine", "ray", "--workers", str(count)] for count in asked.workers)]
    cores = len(os.sched_getaffinity(0))
    print(f"{asked.count} files of {asked.side} px, {asked.model}, {cores} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as home:
        written(Path(home) / "in", asked.count, asked.side)
        for at, way in enumerate(ways[asked.no_local :]):
            out = Path(home) / f"out{at}"
            call = [sys.executable, "-m", "restorekit", "restore", f"{home}/in", "-o", str(out), "-m", asked.model]
            print(f"{' '.join(way) or '--engine local':28}", end=" ")
            run([*call, *way], out / "restored.csv", asked.count)


if __name__ == "__main__":
    main()
