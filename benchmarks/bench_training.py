"""One R2C-GAN training iteration (Q = 3, batch 1, 256x256) against a plain port: time and memory, in one run.

    python benchmarks/bench_training.py [--rounds 7]                     a table of ratios, shuffled rounds
    pytest benchmarks/bench_training.py --benchmark-enable               pytest-benchmark's own table

The plain port is the same networks, losses and step with layers as anyone would write them first: Q convolutions, each
of torch.pow. Goals, all against the plain port in float32: float32 at most 1.03 of its time, bfloat16 at most 0.65,
memory over the start at most 0.8. The process starts itself again with glibc set to keep its memory, because page
faults of large buffers otherwise decide the order of the rows.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}

if __name__ == "__main__" and any(os.environ.get(name) != value for name, value in KEEP.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP})

# ruff: noqa: E402  (the environment must be set before torch is imported)
import pytest
import torch
from torch import Tensor, nn

from restorekit import Batch, Domain, HistoryPool, MakeLayer, Task, hookimpl, nd
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved
from restorekit.runs.engine import Engine
from restorekit.runs.images import Images
from restorekit.runs.nets import build_nets, make_terms
from restorekit.runs.optimization import make_optimization
from restorekit.runs.run import Run
from restorekit.runs.selection import Selection
from restorekit.training.train import step

VARIANTS = ("plain fp32", "ours fp32", "plain bf16", "ours bf16")


class Plain(nn.Module):
    """What anyone would write first: a convolution for each order, each of torch.pow."""

    def __init__(self, make: MakeLayer, q: int, *args: Any, **options: Any) -> None:
        super().__init__()
        self.orders = nn.ModuleList(make(*args, **options) for _ in range(q))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the orders."""
        return torch.stack([conv(torch.pow(x, i)) for i, conv in enumerate(self.orders, start=1)]).sum(0)


def plain(dims: int, *, q: int = 3) -> Any:
    """Make plain layers of order q."""
    return lambda *args, **options: Plain(nd.conv(dims), q, *args, **options)


class BenchPlugin:
    """Brings the plain layer."""

    @hookimpl
    def register_parts(self, add: Any) -> None:
        """Add it."""
        add("layer", "plain", plain)


def iteration(variant: str) -> Callable[[], Any]:
    """Return a function that takes one training step of a variant."""
    ours, precision = variant.split()
    plugins = load()
    if "plain" not in plugins.parts.names("layer"):
        plugins.register("bench", BenchPlugin())
    layer = {"name": "selfonn" if ours == "ours" else "plain", "q": 3}
    net = {"name": "r2cgan_compact", "layer": layer}
    side = {"name": "phantom", "size": [256, 256]}
    spec = resolved(
        {
            "name": "bench",
            "data": {"size": [256, 256], "channels": 3, "a": {**side, "side": "a"}, "b": {**side, "side": "b"}},
            "nets": {"generator": net, "discriminator": net, "head": {"name": "classify", "pool": "max"}},
            "losses": [
                "lsgan",
                {"name": "cycle", "weight": 10},
                {"name": "identity", "weight": 5},
                {"name": "task", "weight": 0.1},
            ],
            "train": {"steps": 1_000_000, "precision": precision},
            "loggers": [],
        },
        "bench",
        plugins,
    )
    domains = {name: Domain(name, 3, (256, 256), Task("class", ("control", "covid"))) for name in "ab"}
    engine = Engine(precision)
    nets = build_nets(spec, plugins.parts, domains).to(engine.device)
    run = Run(
        recipe=spec,
        nets=nets,
        images=Images(domains=domains, scoring=lambda split: iter(()), sizes={}),
        terms=make_terms(spec, plugins.parts),
        engine=engine,
        optimization=make_optimization(spec, plugins.parts, nets, 1_000_000),
        selection=Selection(),
        pools=(HistoryPool(50), HistoryPool(50)),
        batches=lambda start, stop: iter(()),
        steps=1_000_000,
        steps_per_epoch=1000,
        folder=Path(),
    )
    rng = torch.Generator().manual_seed(0)
    image = [(torch.rand(1, 3, 256, 256, generator=rng) * 2 - 1).to(engine.device) for _ in "ab"]
    a, b = (Batch(x, ("x",), target=torch.tensor([i], device=engine.device)) for i, x in enumerate(image))
    return lambda: step(run, [(a, b)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_iteration(benchmark: Any, variant: str) -> None:
    """Time one training iteration of a variant."""
    benchmark.group = "one training iteration, Q = 3, batch 1, 256x256"
    benchmark.pedantic(iteration(variant), rounds=5, warmup_rounds=1)


def times(rounds: int) -> dict[str, float]:
    """Return the median seconds of every variant, rounds shuffled."""
    taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    steps = {variant: iteration(variant) for variant in VARIANTS}
    for round_ in range(rounds + 1):
        for variant in random.sample(VARIANTS, len(VARIANTS)):
            began = time.perf_counter()
            steps[variant]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:  # the first warms up
                taken[variant].append(time.perf_counter() - began)
    return {variant: statistics.median(values) for variant, values in taken.items()}


def peak(variant: str) -> float:
    """Return the most MiB over the start, which has the networks, in a process of its own."""
    command = [sys.executable, __file__, "--memory", variant]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **KEEP})
    return float(said.stdout)


def _peak_here(variant: str) -> float:
    once = iteration(variant)
    if torch.cuda.is_available():
        start = torch.cuda.memory_allocated()
        once()
        return (torch.cuda.max_memory_allocated() - start) / 2**20
    torch.ones(64, 64).mm(torch.ones(64, 64))  # thread pools stand before the start is read
    before = _high_water()
    once()
    return _high_water() - before


def _high_water() -> float:
    """MiB. From /proc, because getrusage's figure outlives exec and would be the parent's."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", choices=VARIANTS, help="print the peak MiB of one variant and end")
    options = parser.parse_args()
    if options.memory:
        print(_peak_here(options.memory))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; ratios are to plain fp32")
    found = times(options.rounds)
    for variant, seconds in found.items():
        memory, base = peak(variant), peak(VARIANTS[0])
        ratio = seconds / found[VARIANTS[0]]
        text = f"{seconds:7.3f} s  ratio {ratio:.3f}   peak over start {memory:5.0f} MiB"
        print(f"{variant:11} {text}  ratio {memory / base:.3f}")


if __name__ == "__main__":
    main()
