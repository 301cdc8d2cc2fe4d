"""The operational layer against the plain port, Q convolutions of torch.pow: time and memory, in one run.

    python benchmarks/bench_layer.py [--rounds 15]            a table of ratios, shuffled rounds
    pytest benchmarks/bench_layer.py --benchmark-enable       pytest-benchmark's own table

The process starts itself again with glibc set to keep its memory, because page faults of large buffers otherwise
decide the order of the rows. Goals, forward and backward at the paper's shape: float32 at most 1.03 of the plain port's
time, bfloat16 at most 0.65 of the plain float32 port's, memory over the start at most 0.8 of the plain port's.
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
from restorekit_selfonn import selfonn
from torch import Tensor, nn

SHAPES = {  # dims, batch, c_in, c_out, kernel, q, size
    "paper 2-D": (2, 1, 128, 128, 3, 3, 128),
    "stem 2-D": (2, 1, 3, 128, 3, 3, 256),
    "ECG 1-D": (1, 16, 32, 32, 9, 3, 4096),
}


class Plain(nn.Module):
    """What anyone would write first: a convolution for each order, each of torch.pow."""

    def __init__(self, dims: int, c_in: int, c_out: int, kernel: int, q: int) -> None:
        super().__init__()
        conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.orders = nn.ModuleList(conv(c_in, c_out, kernel, padding=kernel // 2) for _ in range(q))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the orders."""
        out: Tensor = sum(conv(torch.pow(x, i)) for i, conv in enumerate(self.orders, start=1))  # type: ignore[assignment]
        return out


def step(shape: str, variant: str, depth: int = 1) -> Callable[[], None]:
    """Return one forward and backward pass of `depth` layers with tanh between them."""
    dims, batch, c_in, c_out, kernel, q, size = SHAPES[shape]
    torch.manual_seed(0)
    ours, precision = variant.split()
    make = selfonn(dims, q=q)
    layers = [
        make(c_in if i == 0 else c_out, c_out, kernel, padding=kernel // 2)
        if ours == "ours"
        else Plain(dims, c_in if i == 0 else c_out, c_out, kernel, q)
        for i in range(depth)
    ]
    net = nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())])
    x = torch.rand(batch, c_in, *[size] * dims).mul(2).sub(1).requires_grad_()

    def once() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            y = net(x)
        y.backward(torch.ones_like(y))
        net.zero_grad(set_to_none=True)
        x.grad = None

    return once


VARIANTS = ("plain fp32", "ours fp32", "plain bf16", "ours bf16")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_layer(benchmark: Any, shape: str, variant: str) -> None:
    """Time one step of a variant."""
    benchmark.group = shape
    benchmark(step(shape, variant))


def times(shape: str, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of every variant, rounds shuffled."""
    steps = {variant: step(shape, variant) for variant in VARIANTS}
    taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for round_ in range(rounds + 1):
        for variant in random.sample(VARIANTS, len(VARIANTS)):
            began = time.perf_counter()
            steps[variant]()
            if round_:  # the first warms up
                taken[variant].append(1e3 * (time.perf_counter() - began))
    return {variant: statistics.median(values) for variant, values in taken.items()}


def memory(variant: str) -> float:
    """Return the peak MiB over the start, in a process of its own.

    Twelve layers at the paper's shape: the residual block's two in the six passes of an R2C-GAN step.
    """
    command = [sys.executable, __file__, "--memory", variant]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **KEEP})
    return float(said.stdout)


def _peak(variant: str) -> float:
    torch.ones(64, 64).mm(torch.ones(64, 64))  # thread pools stand before the start is read
    once = step("paper 2-D", variant, depth=12)
    before = _high_water()
    once()
    return _high_water() - before


def _high_water() -> float:
    """MiB. From /proc, because getrusage's figure outlives exec and would be the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--memory", choices=VARIANTS, help="print the peak MiB of one variant and end")
    options = parser.parse_args()
    if options.memory:
        print(_peak(options.memory))
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; median ms, and ratio to plain fp32")
    for shape in SHAPES:
        found = times(shape, options.rounds)
        base = found["plain fp32"]
        print(f"{shape:10} " + "  ".join(f"{v} {ms:.1f} ({ms / base:.2f})" for v, ms in found.items()))
    peaks = {variant: memory(variant) for variant in VARIANTS}
    base = peaks["plain fp32"]
    print("peak MiB   " + "  ".join(f"{v} {mib:.0f} ({mib / base:.2f})" for v, mib in peaks.items()))


if __name__ == "__main__":
    main()
