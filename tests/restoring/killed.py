"""Restores many small files, of which 1 % are bad, kills the command twice midway, and checks that nothing is lost.

    python tests/restoring/killed.py [--count 10000] [--archive]

Every file must be there exactly once and equal what a call that is not killed writes; every bad one has a row with its
error. With --archive the files are in one ZIP archive. Also prints the memory of the last call after 500 files and at
its end, and the growth for each file.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import psutil
from PIL import Image
from scipy.ndimage import median_filter

FIRST = 500


def written(folder: Path, count: int) -> set[str]:
    """Write pictures, every hundredth of them cut off, and return the names of the bad ones."""
    rng = np.random.default_rng(0)
    bad = set()
    for i in range(count):
        path = folder / f"{i % 100:02d}" / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(path)
        if i % 100 == 50:
            path.write_bytes(path.read_bytes()[:100])
            bad.add(path.name)
    return bad


def packed(folder: Path) -> Path:
    """Return an archive of the files of a folder."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return path


def command(given: Path, out: Path) -> subprocess.Popen[str]:
    """Start the command."""
    call = [sys.executable, "-m", "restorekit", "restore", str(given), "-o", str(out), "-m", "part:median"]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def rows(out: Path) -> list[dict[str, str]]:
    """Return the complete rows of the table."""
    path = out / "restored.csv"
    text = path.read_text("utf-8") if path.is_file() else ""
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(keepends=True)))


def check_moment(out: Path) -> None:
    """Check what a kill leaves: no file without a row, no half file."""
    places = {row["written"] for row in rows(out) if row["written"]}
    for path in out.rglob("*.png"):
        if ".restoring" not in path.parts:
            assert str(path) in places, f"{path} has no row"
            Image.open(path).load()


def watched(process: subprocess.Popen[str], out: Path, memory: list[tuple[int, int]]) -> None:
    """Note the memory of a process beside the number of rows, until it ends."""
    while process.poll() is None:
        try:
            size = psutil.Process(process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return
        table = out / "restored.csv"
        done = table.read_bytes().count(b"\n") - 1 if table.is_file() else 0
        memory.append((done, size))
        sleep(0.5)


def main() -> None:
    """Run the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--archive", action="store_true", help="restore the files from one ZIP archive")
    asked = parser.parse_args()
    count = asked.count
    with tempfile.TemporaryDirectory() as home:
        folder, out = Path(home) / "in", Path(home) / "out"
        bad = written(folder, count)
        given = packed(folder) if asked.archive else folder
        for share in (0.1, 0.2):
            process = command(given, out)
            while len(rows(out)) < share * count:
                assert process.poll() is None, "ended before it was killed"
                sleep(0.2)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            check_moment(out)
            print(f"killed after {len(rows(out))} rows", flush=True)
        before, began = len(rows(out)), perf_counter()
        process, memory = command(given, out), list[tuple[int, int]]()
        noting = threading.Thread(target=watched, args=(process, out, memory))
        noting.start()
        output, _ = process.communicate()
        noting.join()
        seconds = perf_counter() - began
        print(output.strip())
        assert process.returncode == 3
        found = rows(out)
        sources = [Path(row["file"]).name for row in found]
        assert len(found) == len(set(sources)) == count, "every file has one row"
        assert {Path(row["file"]).name for row in found if row["error"]} == bad
        files = [path for path in out.rglob("*") if path.is_file() and path.name != "restored.csv"]
        assert {str(path) for path in files} == {row["written"] for row in found if row["written"]}
        for path in files:
            expected = median_filter(np.asarray(Image.open(folder / path.relative_to(out))), 3, mode="mirror")
            assert np.array_equal(np.asarray(Image.open(path)), expected), path
        rate = (count - before) / seconds
        print(f"{count} files, {len(bad)} bad, all once; the last call restored {rate:.1f} files a second")
        later = [(done, size) for done, size in memory if before + FIRST <= done < count]  # before the table is closed
        if len(later) > 1:
            (first, low), (last, high) = later[0], later[-1]
            print(f"memory {low / 2**20:.1f} MiB after {first} rows, {high / 2**20:.1f} MiB after {last}: "
                  f"{(high - low) / max(1, last - first):.0f} bytes a file")  # fmt: skip


if __name__ == "__main__":
    main()
