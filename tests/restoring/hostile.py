"""Restores mutated files, archives, lists and manifests by the command: no traceback, no hang, a row for each file.

    python tests/restoring/hostile.py [--count 5000] [--seed 0]

Each file is a good one with bytes changed, removed, repeated or inserted. It runs the command in pieces of 500 files,
each with a limit of time, and exits with 1 if anything is wrong. A short version is a test.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

PIECE = 500
DICOM = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "US1_J2KR.dcm", "ExplVR_BigEnd.dcm")


def good_files(folder: Path) -> list[Path]:
    """Write good files of many formats into a folder, all small."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (24, 20), dtype=np.uint8)
    folder.mkdir()
    for suffix in ("png", "jpg", "bmp", "tif", "webp"):
        Image.fromarray(gray).save(folder / f"gray.{suffix}")
        Image.fromarray(np.stack([gray] * 3, -1)).save(folder / f"colour.{suffix}")
    deep = gray.astype(np.uint16) * 257
    tifffile.imwrite(folder / "deep.tif", deep, photometric="minisblack", compression="zlib")
    Image.fromarray(deep).save(folder / "deep.png")
    np.save(folder / "array.npy", gray)
    np.savez_compressed(folder / "array.npz", gray)
    for name in DICOM:
        found = get_testdata_file(name)
        if found is not None and Path(found).stat().st_size < 300_000:
            (folder / name).write_bytes(Path(found).read_bytes())
    return sorted(folder.iterdir())


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few changes, most of them near the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if not data:
            break
        at = min(int(chance.expovariate(1 / max(20, len(data) / 8))), len(data) - 1)
        length = chance.choice((1, 1, 2, 4, 64))
        kind = chance.randrange(6)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length] * chance.choice((1, 30))
        elif kind == 4:
            data[at : at + length] = chance.choice((b"\0", b"\xff", b"\x7f")) * length
        else:
            del data[at:]
    return bytes(data)


def written(folder: Path, good: list[Path], count: int, chance: random.Random) -> list[str]:
    """Write so many mutated files into a folder, and return their names below the output folder's input."""
    names = []
    for i in range(count):
        source = chance.choice(good)
        name = f"{i:05d}{source.suffix}"
        (folder / name).write_bytes(mutated(source.read_bytes(), chance))
        names.append(name)
    return names


def containers(folder: Path, good: list[Path], chance: random.Random) -> list[Path]:
    """Write a mutated archive, list and manifest."""
    path = folder / "m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(("a.png", "../b.png", "c.png")):
            archive.writestr(name, good[i].read_bytes())
    text = b"path,low,high\n" + b"".join(b"../in/%05d.png,0,255\n" % i for i in range(3))
    for name, content in {"m.zip": path.read_bytes(), "m.csv": text, "m.txt": text.replace(b",", b"/")}.items():
        (folder / name).write_bytes(mutated(content, chance))
    return [folder / name for name in ("m.zip", "m.csv", "m.txt")]


def piece(home: Path, good: list[Path], count: int, chance: random.Random, seconds: float) -> list[str]:
    """Restore so many mutated files in one call, and return what is wrong."""
    folder, out = home / "in", home / "out"
    folder.mkdir(parents=True)
    names = written(folder, good, count, chance)
    (home / "more").mkdir()
    inputs = [folder, *containers(home / "more", good, chance)]
    call = [sys.executable, "-m", "restorekit", "restore", *map(str, inputs), "-o", str(out), "-m", "part:median"]
    try:
        done = subprocess.run(call, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return [f"{home}: took more than {seconds:.0f} s"]
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    wrong = [f"{home}: exit code {done.returncode}: {text[-500:]}"] if done.returncode not in (0, 3) else []
    if "Traceback" in text or "Warning" in text:
        wrong.append(f"{home}: a traceback or a warning: {text[-2000:]}")
    if not (out / "restored.csv").is_file():
        return [*wrong, f"{home}: no table"]
    with (out / "restored.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    sources = [os.path.basename(row["file"]) for row in rows if os.path.dirname(row["file"]) == str(folder)]
    if lost := set(names) - set(sources):
        wrong.append(f"{home}: {len(lost)} files without a row, such as {sorted(lost)[0]}")
    places = {row["written"] for row in rows if row["written"]}
    files = {str(path) for path in out.rglob("*") if path.is_file() and path.name != "restored.csv"}
    if places != files:
        wrong.append(f"{home}: table and disk differ: {sorted(places ^ files)[:3]}")
    if escaped := set(home.iterdir()) - {folder, out, home / "more"}:
        wrong.append(f"{home}: files outside the output folder: {sorted(escaped)[:3]}")
    both = sum(bool(row["written"]) for row in rows), sum(bool(row["error"]) for row in rows)
    print(f"{count} files: {both[0]} restored, {both[1]} refused, {len(wrong)} wrong", flush=True)
    return wrong


def main() -> int:
    """Run the whole and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="limit for a piece of 500 files")
    asked = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        good = good_files(Path(folder) / "good")
        for begin in range(0, asked.count, PIECE):
            count = min(PIECE, asked.count - begin)
            chance = random.Random(asked.seed + begin)
            wrong += piece(Path(folder) / str(begin), good, count, chance, asked.seconds)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
