"""Times `restorekit restore` as a whole against the bare networks on the same pixels, and measures its peak memory.

    python plugins/restorekit-models/benchmarks/bench_command.py FILMS [--films 20] [--model film_base] [-o OUT.json]

FILMS are images of one size. The command is timed in a process of its own: start, reading, measuring, restoring,
writing and the table. The networks are timed here on the same arrays, already read, one after the other, with as many
threads. Both are run in turn, --rounds times; the medians are printed, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from restorekit import Domain, find_images, load, read_image


def command(films: list[Path], model: str) -> float:
    """Return the seconds that the command takes."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "restorekit", "restore", *map(str, films), "-o", folder, "-m", model]
        began = perf_counter()
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = perf_counter() - began
    return seconds


def networks(images: list[torch.Tensor], model: str) -> float:
    """Return the seconds that the restorer takes for the images, after one to warm up."""
    restorer = load(model).restorer(Domain("films", 1, tuple(images[0].shape[2:])))
    with torch.inference_mode():
        restorer.restore(images[0])
        began = perf_counter()
        for image in images:
            restorer.restore(image)
        return perf_counter() - began


def main() -> None:
    """Time both in turn, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="film_base")
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    films = find_images(asked.folder)[: asked.films]
    images = [read_image(path)[0][None].mean(1, keepdim=True) for path in films]
    rounds = [(command(films, asked.model), networks(images, asked.model)) for _ in range(asked.rounds)]
    whole, bare = (median(times) for times in zip(*rounds, strict=True))
    found = {
        "model": asked.model,
        "films": len(films),
        "size": list(images[0].shape[2:]),
        "threads": torch.get_num_threads(),
        "command_seconds": round(whole, 2),
        "networks_seconds": round(bare, 2),
        "ratio": round(whole / bare, 3),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }
    print(json.dumps(found, indent=1))
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
