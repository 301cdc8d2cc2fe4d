"""Inputs of the checks: small domains, images, targets, batches and networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from restorekit.core import nd
from restorekit.core.passes import HistoryPool, Passes, wide
from restorekit.core.tasks import UNLABELLED, Task
from restorekit.core.types import Batch, Discriminator, Domain, Generator, Nets, TaskHead, Translator

__all__ = [
    "FEATURES",
    "SIZES",
    "TASKS",
    "batch",
    "domain",
    "images",
    "nets",
    "partly",
    "passes",
    "predictions",
    "targets",
    "translator",
    "unknown",
]

CLASSES = ("no", "yes")
TASKS: Mapping[str, Task] = {
    "classes": Task("class", CLASSES),
    "a number": Task("numbers", ("age, years",)),
    "numbers": Task("numbers", ("age, years", "weight, kg", "height, m")),
    "labels": Task("labels", ("effusion", "nodule", "mass")),
    "a mask": Task("mask", ("background", "lung", "heart")),
}
"""What heads and metrics are tried on; each may refuse some of it."""
FEATURES = 4
"""Channels of the features that heads are given."""
SIZES = {1: (64,), 2: (32, 32), 3: (16, 16, 16)}


def domain(
    dims: int, channels: int = 1, size: tuple[int, ...] | None = None, *, task: Task = TASKS["classes"]
) -> Domain:
    """Return a domain of two classes, or of another task."""
    return Domain("a", channels, size or SIZES[dims], task)


def images(*shape: int) -> Tensor:
    """Return images of any shape with values in [-1, 1], the same ones for the same shape."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) * 2 - 1


def targets(of: Domain, size: Sequence[int] | None = None) -> Tensor:
    """Return the targets of two images, all known: masks of `size`, else of the domain's."""
    width = len(of.task.names)
    if of.task.kind == "numbers":
        numbers = torch.tensor([20.0, 60.0])[:, None] + torch.arange(width)
        return numbers[:, 0] if of.task.single else numbers
    if of.task.kind == "labels":
        return torch.stack([torch.arange(width) % 2, (torch.arange(width) + 1) % 2])
    if of.task.kind == "mask":
        size = of.size if size is None else size
        return (torch.arange(2 * prod(size)) % width).reshape(2, *size)
    return torch.tensor([0, 1])


def partly(of: Domain, target: Tensor) -> Tensor:
    """Return targets of which the second value, or pixel, of each image is not known; they are copies."""
    found = target.clone().flatten(1)
    found[:, 1] = math.nan if of.task.kind == "numbers" else UNLABELLED
    return found.reshape(target.shape)


def unknown(of: Domain, size: Sequence[int] | None = None) -> Tensor:
    """Return the targets of two images of which nothing is known."""
    return torch.full_like(targets(of, size), math.nan if of.task.kind == "numbers" else UNLABELLED)


def predictions(of: Domain) -> Tensor:
    """Return the predictions of a head for two images, as `TaskHead.predict` does."""
    width = len(of.task.names)
    if of.task.kind == "numbers":
        return torch.tensor([[30.0], [50.0]]) + torch.arange(width)
    if of.task.kind == "mask":
        return nn.functional.one_hot(targets(of).roll(1), width).movedim(-1, 1).float()
    if of.task.kind == "labels":
        return (torch.arange(2 * width).reshape(2, width) + 1) / (2 * width + 1)
    return torch.eye(width)


def batch(image: Tensor, target: Tensor | None = None, *, truth: bool = False) -> Batch:
    """Return a batch of two images; the truth of each is the other, if a truth is wanted."""
    return Batch(image, ("1", "2"), target, image.flip(0) if truth else None)


class _Generator(Generator):
    features = FEATURES

    def __init__(self, dims: int, channels: int = 1) -> None:
        super().__init__()
        self.first = nd.conv(dims)(channels, FEATURES, 3, padding=1)
        self.second = nd.conv(dims)(FEATURES, channels, 3, padding=1)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = self.first(image).tanh()
        return state, state

    def decode(self, state: Tensor) -> Tensor:
        made: Tensor = self.second(state).tanh()
        return made


class _Head(TaskHead):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, features: Tensor) -> Tensor:
        raw: Tensor = self.dense(features.flatten(2).mean(2))
        return raw

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        return nn.functional.cross_entropy(wide(raw), target, ignore_index=UNLABELLED, reduction="none")


class _Discriminator(Discriminator):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.layer = nd.conv(dims)(1, 1, 4, stride=2, padding=1)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        realness: Tensor = self.layer(image)
        return realness


def translator(dims: int, head: TaskHead | None = None) -> Translator:
    """Return a translator of two layers, with a classifier unless a head is given."""
    return Translator(_Generator(dims), _Head() if head is None else head)


def nets(dims: int, *, back: bool = True, discriminators: bool = True, extra: Sequence[str] = ()) -> Nets:
    """Return networks of one or two layers, always with the same weights; the way back and discriminators if wanted.

    `extra` are names of further networks, which score images as the discriminators do. There is a teacher for losses to
    read.
    """
    torch.manual_seed(0)
    made = Nets(
        translator(dims),
        translator(dims) if back else None,
        _Discriminator(dims) if discriminators and back else None,
        _Discriminator(dims) if discriminators else None,
        {name: _Discriminator(dims) for name in extra},
    )
    made.set_teacher(translator(dims))
    return made


def passes(of: Nets, dims: int, *, target: bool = True) -> Passes:
    """Return the passes of one step on two images a side."""
    image = images(2, 1, *SIZES[dims])
    known = targets(domain(dims)) if target else None
    a, b = batch(image, known, truth=True), batch(image.flip(0), known)
    return Passes(of, a, b, (HistoryPool(4), HistoryPool(4)), torch.Generator().manual_seed(0))
