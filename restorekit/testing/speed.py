"""Figures of speed: never an error, since machines differ."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from restorekit.core import nd
from restorekit.core.passes import Loss
from restorekit.testing import datasets, examples, metrics
from restorekit.testing.module_variants import outputs, plain
from restorekit.testing.subject import Subject

__all__ = ["dataset", "degradation", "layer", "loss", "metric", "network"]

SIZES = {1: (4096,), 2: (64, 64), 3: (16, 16, 16)}


def layer(subject: Subject) -> str:
    """A figure: milliseconds forward and backward, beside torch's convolution of the same sizes."""
    x = examples.images(1, 16, *SIZES[subject.dims])
    ours, peer = (make(16, 16, 3, padding=1) for make in (subject.make(subject.dims), nd.conv(subject.dims)))
    one, other = (_step(net, x, lambda made: made[0].square().mean()) for net in (ours, peer))
    return f"{one:.1f} ms a step, nn.{type(peer).__name__} {other:.1f} ms"


def network(subject: Subject) -> str:
    """A figure: milliseconds forward and backward at the tiny size of the other checks, and the parameters."""
    form = plain(subject)
    count = sum(p.numel() for p in form.net.parameters())
    return f"{_step(form.net, form.x, form.scalar):.1f} ms a step, {count:,} parameters"


def loss(subject: Subject) -> str:
    """A figure: milliseconds of the term, forward and backward, and of the passes that it reads through two layers."""
    term: Loss = subject.make()
    nets = examples.nets(subject.dims, extra=term.trains)

    def once() -> None:
        passes = examples.passes(nets, subject.dims)
        for value in map(passes.mean, (term.generator(passes), term.discriminator(passes))):
            if value is not None:
                _descend(value)

    return f"{_milliseconds(once):.1f} ms a step"


def metric(subject: Subject) -> str:
    """A figure: milliseconds to measure two images at the size of the other checks."""
    return f"{_milliseconds(lambda: metrics.rows_of(subject)):.1f} ms for two images"


def degradation(subject: Subject) -> str:
    """A figure: milliseconds to degrade an image, with one channel and 64 x 64 pixels or as many values."""
    with datasets.root_of(subject) as root:
        part = subject.make(examples.domain(subject.dims, size=SIZES[subject.dims])).for_split(root, "train")
    image = examples.images(1, *SIZES[subject.dims])
    rng = torch.Generator().manual_seed(0)
    drawn = part.draw(rng)
    return f"{_milliseconds(lambda: part.apply(image, drawn, rng)):.1f} ms an image"


def dataset(subject: Subject) -> str:
    """A figure: milliseconds to load an image of its example."""
    with datasets.root_of(subject) as root:
        part = subject.make(root, "train")
        return f"{_milliseconds(lambda: part.load(0, torch.Generator().manual_seed(0))):.1f} ms an image"


def _step(net: nn.Module, x: Tensor, scalar: Callable[[tuple[Tensor, ...]], Tensor]) -> float:
    def once() -> None:
        net.zero_grad()
        _descend(scalar(outputs(net, x)))

    return _milliseconds(once)


def _descend(value: Tensor) -> None:
    if value.requires_grad:  # `gradients` reports that it must
        torch.autograd.backward(value.mean())


def _milliseconds(call: Callable[[], object]) -> float:
    """Return the median time of a few calls, the first two left out."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[2:])
