"""The faithful recipe on a GPU: losses beside the CPU's, times of steps and of restoring, and memory, in one call.

    benchmarks/gpu.sh OUT                                     on a CUDA machine: sets itself up, at most 8 minutes
    python benchmarks/gpu.py OUT --device cpu --steps 2 --size 64       the same way on a CPU, in seconds

It writes OUT.md, a table, and OUT.json, all numbers. `recipes/r2cgan_xray.yaml` is trained as it is (q3, batch 1), but
on phantoms, drawn before the clock starts. The CPU takes the first steps in float32 from the same weights and images.
Exit code 1 if the losses are farther apart than the tolerance or not finite, 2 if there is no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch
from torch import Tensor

import restorekit
from restorekit import Batch
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.runs import build
from restorekit.runs.engine import Engine
from restorekit.runs.run import Run
from restorekit.runs.trained import TrainedRestorer
from restorekit.training.train import step

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ("restorekit-selfonn", "restorekit-r2cgan")
COMPARED = 3
"""First steps whose losses are compared with the CPU's."""
FIRST, LATER = 1e-3, 2e-2
"""Largest difference of a loss of the first step, and of later ones, as a share of it (or of 1, if it is smaller).

Weights are equal at the first step, so only rounding differs. Adam's first updates are as large for small gradients as
for large ones, so rounding grows from there on.
"""
IMAGES = 16
"""Pairs of images that are drawn; steps go round them."""
BATCHES = (1, 8)
"""Images in one call of restoring."""
PRECISIONS = ("fp32", "bf16")

Batches = list[list[tuple[Batch, Batch]]]


@dataclass(frozen=True)
class Times:
    """Seconds of one thing, done again and again, and MiB at the most meanwhile."""

    what: str
    seconds: list[float]
    memory: float

    def row(self) -> dict[str, Any]:
        """Return its summary, in milliseconds and MiB."""
        ordered = sorted(self.seconds)
        tenth = len(ordered) // 10
        return {
            "what": self.what,
            "times": len(ordered),
            "median_ms": 1000 * statistics.median(ordered),
            "low_ms": 1000 * ordered[tenth],
            "high_ms": 1000 * ordered[-1 - tenth],
            "peak_mib": self.memory,
        }


def made(size: int, steps: int, precision: str, folder: Path, device: str) -> Run:
    """Return a run of the recipe on phantoms, at its first step."""
    known = plugins.load()
    for name in PLUGINS:
        known.load_folder(ROOT / "plugins" / name)
    phantom = f"name: phantom, count: {IMAGES}, val: 0, test: 0, size: [{size}, {size}]"
    sets = [
        f"data.size=[{size}, {size}]",
        f"data.a={{name: degraded, dataset: {{{phantom}, side: a}}, degradation: {{name: noise}}}}",
        f"data.b={{{phantom}, side: b}}",
        f"train.steps={max(steps, 10)}",
        f"train.precision={precision}",
        "loggers=[]",
    ]
    spec = recipe.load(ROOT / "recipes" / "r2cgan_xray.yaml", known, sets=sets, variant="q3")
    assert isinstance(spec, Recipe)
    run = build.build(spec, known, folder)
    run.engine = Engine(precision, cpu=device == "cpu")
    run.nets.to(run.engine.device).train()
    return run


def taken(run: Run, batches: list[tuple[Batch, Batch]]) -> dict[str, Tensor]:
    """Take one step of training, and return its losses."""
    device = run.engine.device
    values = step(run, [(a.to(device), b.to(device)) for a, b in batches])
    run.step += 1
    return values


def compared(runs: dict[str, Run], batches: Batches) -> list[dict[str, Any]]:
    """Take the first steps on each device, and return the losses and how far apart they are."""
    rows = []
    for at, batch in enumerate(batches[:COMPARED]):
        losses = {name: {k: float(v) for k, v in taken(run, batch).items()} for name, run in runs.items()}
        cpu, device = losses["cpu"], losses["device"]
        difference = max(abs(device[name] - cpu[name]) / max(1.0, abs(cpu[name])) for name in cpu)
        allowed = FIRST if at == 0 else LATER
        good = difference <= allowed and all(map(math.isfinite, [*cpu.values(), *device.values()]))
        rows.append({"step": at + 1, **losses, "difference": difference, "allowed": allowed, "agrees": good})
    return rows


def timed(what: str, once: Callable[[], object], device: torch.device, times: int, until: float) -> Times:
    """Time a call, after a tenth of the calls to warm up; it ends early where `until` has come."""
    for _ in range(max(1, times // 10)):
        once()
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    while len(seconds) < times and (monotonic() < until or not seconds):
        began = perf_counter()
        once()
        _wait(device)
        seconds.append(perf_counter() - began)
    return Times(what, seconds, _peak(device))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> float:
    """Return MiB: of tensors on a GPU; on a CPU of the whole process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def training(run: Run, batches: Batches, steps: int, until: float) -> Times:
    """Time steps of training."""
    again = cycle(batches)
    what = f"training step, {run.recipe.train.precision}"
    return timed(what, lambda: taken(run, next(again)), run.engine.device, steps, until)


def restoring(run: Run, size: int, images: int, times: int, until: float) -> Times:
    """Time the restoring of images as the recipe evaluates, with several passes in float32."""
    restorer = TrainedRestorer(run.nets.ab.eval(), run.recipe.evaluate.times)
    device = run.engine.device
    image = torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1

    @torch.no_grad()
    def once() -> Tensor:
        return restorer.restore(image).image

    return timed(f"restoring {images} in a call, {restorer.times} passes, fp32", once, device, times, until)


def measured(device: str, size: int, steps: int, seconds: float) -> dict[str, Any]:
    """Return all numbers; `seconds` is about how long they may take."""
    end = monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        reference = made(size, steps, "fp32", Path(folder), "cpu")
        runs = [made(size, steps, precision, Path(folder), device) for precision in PRECISIONS]
        count = min(IMAGES, steps)
        batches: Batches = list(islice(runs[0].batches(0, count), count))
    losses = compared({"cpu": reference, "device": runs[0]}, batches)
    rows = []
    for run, share in zip(runs, (0.5, 0.7), strict=True):  # of the time that is left
        rows.append(training(run, batches, steps, monotonic() + share * (end - monotonic())))
    last = {name: float(value) for name, value in taken(runs[0], batches[0]).items()}
    rows += [restoring(runs[0], size, images, min(steps, 50), end) for images in BATCHES]
    return {
        "restorekit": restorekit.__version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device == "cuda" else None,
        "device": device,
        "device_name": runs[0].engine.device_name,
        "python": platform.python_version(),
        "recipe": "r2cgan_xray, q3, on phantoms",
        "size": size,
        "steps": runs[0].step,
        "losses": losses,
        "last": last,
        "agrees": all(row["agrees"] for row in losses) and all(map(math.isfinite, last.values())),
        "times": [row.row() for row in rows],
    }


def table(found: dict[str, Any]) -> str:
    """Return the numbers in Markdown."""
    cuda = f", CUDA {found['cuda']}" if found["cuda"] else ""
    lines = [
        f"{found['recipe']}, {found['size']} x {found['size']}, batch 1, {found['steps']} steps in float32 on "
        f"{found['device_name']} (torch {found['torch']}{cuda}, restorekit {found['restorekit']}).",
        "",
        "| | times | median | 10 % to 90 % | peak memory |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in found["times"]:
        spread = f"{row['low_ms']:.1f} to {row['high_ms']:.1f} ms"
        cells = [row["what"], row["times"], f"{row['median_ms']:.1f} ms", spread, f"{row['peak_mib']:.0f} MiB"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| step | largest difference of a loss from the CPU's | allowed | |", "| --- | --- | --- | --- |"]
    for row in found["losses"]:
        said = "agrees" if row["agrees"] else "**differs**"
        lines.append(f"| {row['step']} | {row['difference']:.2g} | {row['allowed']:g} | {said} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Measure, write both files, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where OUT.md and OUT.json go")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=420, help="about how long all of it may take")
    options = parser.parse_args()
    if options.steps < 1 or options.size < 16 or options.size % 16:
        print("gpu.py: --steps must be 1 or more, --size a multiple of 16", file=sys.stderr)
        return 2
    if options.device == "cuda" and not torch.cuda.is_available():
        why = f"torch {torch.__version__} sees no CUDA device"
        print(f"gpu.py: {why}; run it on a machine with one, or try it with --device cpu", file=sys.stderr)
        return 2
    found = measured(options.device, options.size, options.steps, options.seconds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{options.out}.json").write_text(json.dumps(found, indent=1), "utf-8")
    Path(f"{options.out}.md").write_text(table(found), "utf-8")
    print(table(found))
    return 0 if found["agrees"] else 1


if __name__ == "__main__":
    sys.exit(main())
