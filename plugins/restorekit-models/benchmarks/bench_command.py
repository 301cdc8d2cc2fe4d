"""Times `restorekit restore` as a whole against the bare networks on the same pixels, and measures its peak memory.

    python plugins/restorekit-models/benchmarks/bench_command.py FILMS [--films 20] [--model film_base] [-o OUT.json]

FILMS are images of one size. The command is timed in a process of its own: start, reading, measuring, restoring,
writing and the table. The networks are timed here on the same arrays, already read, one after the other, with as many
threads. Both are run in turn, --rounds times; the medians are printed, and their ratio. Beside them stand the seconds
of all cores together, which depend less on what else the machine does, and the share of them that only starts the
command: that of a call without a file.
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
from time import perf_counter, process_time

import torch

from restorekit import Domain, find_images, load, read_image

NONE = Path("no-such-film.png")
"""A call with it alone starts, loads the model and restores nothing."""


def command(films: list[Path], model: str) -> tuple[float, float]:
    """Return the seconds that the command takes, and those of all cores."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "restorekit", "restore", *map(str, films), "-o", folder, "-m", model]
        began, cores = perf_counter(), _cores()
        subprocess.run(call, check=films != [NONE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return perf_counter() - began, _cores() - cores


def _cores() -> float:
    """Return the seconds of all cores that ended processes of ours took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def networks(images: list[torch.Tensor], model: str) -> tuple[float, float]:
    """Return the seconds that the restorer takes for the images, after one to warm up, and those of all cores."""
    restorer = load(model).restorer(Domain("films", 1, tuple(images[0].shape[2:])))
    with torch.inference_mode():
        restorer.restore(images[0])
        began, cores = perf_counter(), process_time()
        for image in images:
            restorer.restore(image)
        return perf_counter() - began, process_time() - cores


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
    start_cores = command([NONE], asked.model)[1]
    commands = [command(films, asked.model)]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # before a child can inherit the images
    images = [read_image(path)[0][None].mean(1, keepdim=True) for path in films]
    networks_alone = [networks(images, asked.model)]
    for _ in range(1, asked.rounds):
        commands.append(command(films, asked.model))
        networks_alone.append(networks(images, asked.model))
    whole, whole_cores = (median(times) for times in zip(*commands, strict=True))
    bare, bare_cores = (median(times) for times in zip(*networks_alone, strict=True))
    found = {
        "model": asked.model,
        "films": len(films),
        "size": list(images[0].shape[2:]),
        "threads": torch.get_num_threads(),
        "command_seconds": round(whole, 2),
        "networks_seconds": round(bare, 2),
        "ratio": round(whole / bare, 3),
        "command_core_seconds": round(whole_cores, 2),
        "start_core_seconds": round(start_cores, 2),
        "networks_core_seconds": round(bare_cores, 2),
        "core_ratio": round(whole_cores / bare_cores, 3),
        "core_ratio_without_start": round((whole_cores - start_cores) / bare_cores, 3),
        "peak_memory_mib": round(peak / 1024),
    }
    print(json.dumps(found, indent=1))
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
