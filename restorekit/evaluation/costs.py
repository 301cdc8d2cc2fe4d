"""Costs of a translator: multiply-adds, time and peak memory, each measured in a process of its own.

The process is `python -m restorekit.evaluation.costs`: an order as JSON on standard input, a line of JSON for
each thing found on standard output. So what one network leaves behind, or its end for want of memory, cannot reach
another.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, nn

import restorekit
from restorekit.core.errors import RecipeError, RestorekitError
from restorekit.core.types import Domain, Translator
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe, require_training
from restorekit.runs.engine import Engine, check_device
from restorekit.runs.nets import build_nets
from restorekit.runs.sizes import prediction_parameters, trainable

__all__ = ["CLASSIFY", "RESTORE", "Job", "check_device", "multiply_adds", "order", "peak_memory"]

CLASSIFY, RESTORE = "classify", "restore"
"""What is measured: the prediction alone, `encode` and the head; and the whole, a restored image and, with a head, the
prediction."""

Job = Literal["time", "memory"]

ENOUGH, MOST = 0.5, 5
"""A visit repeats a call until it took so many seconds, or so often."""
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
"""For times: glibc keeps what is freed. Else page faults of large buffers, up to 1.4 times, decide who is faster."""
GIVE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""For memory: glibc gives back what is freed, so that what was there before hides nothing."""


def multiply_adds(call: Callable[[], object]) -> int:
    """Return the multiply-adds of convolutions, matrix products and attention in a call, by torch's own counter.

    Attention counts every query with every key, masked or not.
    Additions of a bias, norms, activations and powers are not counted, as is usual.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode  # here, for it imports much that times and memory do not need

    # As matrix products, which torch counts: of fused attention it counts none on a CPU, and not all on a GPU.
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return int(counter.get_total_flops()) // 2


def peak_memory(call: Callable[[], object]) -> int:
    """Return by how many bytes this process grows at its highest during a call.

    It is the resident memory as the kernel counts it, so the libraries' own scratch memory is in it.

    Raises:
        OSError: if the system has no /proc with a high-water mark that can be set back.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes what is held now
    before = _status("VmHWM")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text("utf-8").split(f"{name}:")[1].split()[0])


def order(
    spec: Recipe, domains: Mapping[str, Domain], job: Job, works: Sequence[tuple[str, int]], device: str
) -> Iterator[dict[str, Any]]:
    """Measure in a new process, and yield each result as it arrives.

    Args:
        spec: the recipe whose restoring translator is measured.
        domains: what its images look like, by side.
        job: "time", every work several times in shuffled order; or "memory".
        works: pairs of a work and a batch size. For memory give one: what libraries keep after a first call, about
            8 MiB, would be missing from the second's.
        device: "cpu" or "cuda".

    Yields:
        {"machine": ...} first; {"handed_through"} where the image is, as a classifier does, so that there is no
        restoring to measure; {"parameters", "encode_and_head"}; {"work", "multiply_adds"};
        {"work", "batch", "seconds"} of a call for a whole batch; {"work", "batch", "bytes"}; and {"error"}, with "work"
        and "batch" if only these failed, in this process or by its end, which is then the last.
    """
    # What the process was at when it ended: only that work can have ended it. For memory there is but one work.
    begun: dict[str, Any] = dict(zip(("work", "batch"), works[0], strict=True)) if job == "memory" else {}
    request = json.dumps(
        {
            "recipe": json.loads(spec.model_dump_json()),
            "domains": {name: asdict(domain) for name, domain in domains.items()},
            "job": job,
            "works": list(works),
            "device": device,
        }
    )
    env = {**os.environ, **(KEEP if job == "time" else GIVE)}
    command = [sys.executable, "-m", "restorekit.evaluation.costs"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            with suppress(BrokenPipeError):
                child.stdin.write(request)
                child.stdin.close()
            for line in child.stdout:
                found = json.loads(line)
                if "begun" in found:
                    begun = found["begun"]
                else:
                    yield {**begun, **found} if "error" in found else found
            lines = child.stderr.read().strip().splitlines()
            if child.wait() < 0:
                killed = f"the process was killed (signal {-child.returncode}), most likely out of memory"
                yield {**begun, "error": killed}
            elif child.returncode:
                yield {**begun, "error": lines[-1] if lines else f"the process ended with exit code {child.returncode}"}
        finally:
            child.kill()


def _main() -> None:
    """Do the ordered measurement. Only the lines of `_write_line` reach standard output."""
    request = json.load(sys.stdin)
    engine = Engine("fp32", cpu=request["device"] == "cpu")
    if engine.device.type == "cpu":
        _leave_the_machine_alone()
    _write_line(machine=_machine(engine))
    domains = {name: Domain.of(fields) for name, fields in request["domains"].items()}
    try:
        spec = require_training(recipe.resolved(request["recipe"], "recipe", plugins.load()))
        net = build_nets(spec, plugins.load().parts, domains).ab.to(engine.device).eval()
        gc.collect()
        works = _meaningful(net, request["works"])
        _write_line(parameters=trainable(net), encode_and_head=prediction_parameters(net, domains["a"]))
        if request["job"] == "memory":
            for work, batch in works:
                _memory(net, domains["a"], work, batch, engine.device)
        else:
            _time(net, domains["a"], works, engine.device)
    except (RestorekitError, RuntimeError, ValueError, TypeError, MemoryError, OSError) as error:
        _write_line(error=_one_line(error))


def _meaningful(net: Translator, works: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return what to measure: a network that returns its input images does not restore."""
    if net.generator.translates:
        return [*works]
    if net.head is None:
        raise RecipeError(
            "nets.head: the generator hands its images through, so without a head it does nothing; set it"
        )
    _write_line(handed_through=True)
    return [(work, batch) for work, batch in works if work != RESTORE]


def _leave_the_machine_alone() -> None:
    """Limit the memory to what is free, and let the kernel kill this process before any other."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        most = _status("VmData") + psutil.virtual_memory().available
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        Path("/proc/self/oom_score_adj").write_text("1000")


def _machine(engine: Engine) -> dict[str, Any]:
    return {
        "device": engine.device.type,
        "device_name": engine.device_name,
        "threads": torch.get_num_threads(),
        "precision": engine.precision,
        "versions": {
            "restorekit": restorekit.__version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
            **{p.distribution: p.version for p in plugins.load().found if p.distribution != "restorekit"},
        },
    }


def _call(net: Translator, work: str, image: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            made = net.raw(image) if work == CLASSIFY else net(image)
        if image.device.type == "cuda":
            torch.cuda.synchronize(image.device)
        return made

    return call


def _image(domain: Domain, batch: int, device: torch.device) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return (torch.rand(batch, domain.channels, *domain.size, generator=rng) * 2 - 1).to(device)


def _time(net: Translator, domain: Domain, works: Sequence[tuple[str, int]], device: torch.device) -> None:
    one = _image(domain, 1, device)
    for work in dict.fromkeys(work for work, _ in works):
        _write_line(work=work, multiply_adds=multiply_adds(_call(net, work, one)))
    images: dict[int, Tensor] = {}
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    turns: list[tuple[str, int]] = []
    for work, batch in works:
        _write_line(begun={"work": work, "batch": batch})
        try:
            if batch not in images:
                images[batch] = _image(domain, batch, device)
            once = _call(net, work, images[batch])
            once()  # the first call warms up
            turns += [(work, batch)] * min(MOST, math.ceil(ENOUGH / _seconds(once)))
            calls[work, batch] = once
        except (RuntimeError, MemoryError) as error:
            _write_line(work=work, batch=batch, error=_one_line(error))
    random.shuffle(turns)
    for work, batch in turns:
        _write_line(begun={"work": work, "batch": batch})
        _write_line(work=work, batch=batch, seconds=_seconds(calls[work, batch]))


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _memory(net: Translator, domain: Domain, work: str, batch: int, device: torch.device) -> None:
    call = _call(net, work, _image(domain, batch, device))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        _write_line(work=work, batch=batch, bytes=torch.cuda.max_memory_allocated(device))
        return
    nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8))  # the libraries' own start is no cost of the network
    try:
        grown = peak_memory(call)
    except OSError as error:
        _write_line(work=work, batch=batch, error=f"not known: {error}")
        return
    held = sum(t.numel() * t.element_size() for t in (*net.parameters(), *net.buffers()))
    _write_line(work=work, batch=batch, bytes=grown + held + 4 * batch * domain.channels * math.prod(domain.size))


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    need = re.search(r"tried to allocate ([\d.]+ ?\w+)", text)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in text:
        return "out of memory" + (f": it tried to allocate {need[1]} more" if need else "")
    return text.partition(" Exception raised from")[0]


def _write_line(**found: Any) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
