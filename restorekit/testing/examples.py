"""What parts are tried on: small domains, images, targets, batches, and networks that cost next to nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restorekit.core import nd
from restorekit.core.passes import HistoryPool, Passes, wide
from restorekit.core.types import UNLABELLED, Batch, Discriminator, Domain, Generator, Nets, TaskHead, Translator

__all__ = [
    "FEATURES",
    "SIZES",
    "batch",
    "domain",
    "images",
    "nets",
    "passes",
    "targets",
    "told",
    "translator",
    "unknown",
]

CLASSES = ("no", "yes")
QUANTITY = "age, years"
FEATURES = 4
"""Channels of the features that heads are given."""
SIZES = {1: (64,), 2: (32, 32), 3: (16, 16, 16)}


def domain(dims: int, channels: int = 1, size: tuple[int, ...] | None = None, *, number: bool = False) -> Domain:
    """Return a domain of two classes, or of a number."""
    told = ((), QUANTITY) if number else (CLASSES, "")
    return Domain("a", channels, size or SIZES[dims], *told)


def images(*shape: int) -> Tensor:
    """Return images of any shape with values in [-1, 1], the same ones for the same shape."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) * 2 - 1


def targets(of: Domain) -> Tensor:
    """Return what is to be said of two images: their classes, or numbers."""
    return torch.tensor([20.0, 60.0] if of.quantity else [0, 1])


def unknown(of: Domain) -> Tensor:
    """Return the targets of two images of which nothing is known."""
    return torch.full_like(targets(of), math.nan if of.quantity else UNLABELLED)


def told(of: Domain) -> Tensor:
    """Return what a head told of two images: (2, classes) probabilities, or (2, 1) numbers."""
    return torch.tensor([[30.0], [50.0]]) if of.quantity else torch.eye(len(of.classes))


def batch(image: Tensor, target: Tensor | None = None, *, truth: bool = False) -> Batch:
    """Return a batch of two images; each other's is its truth, where one is asked for."""
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
        answer: Tensor = self.dense(features.flatten(2).mean(2))
        return answer

    def loss(self, answer: Tensor, target: Tensor, known: Tensor) -> Tensor:
        return nn.functional.cross_entropy(wide(answer), target, ignore_index=UNLABELLED, reduction="none")


class _Judge(Discriminator):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.layer = nd.conv(dims)(1, 1, 4, stride=2, padding=1)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        realness: Tensor = self.layer(image)
        return realness


def translator(dims: int, head: TaskHead | None = None) -> Translator:
    """Return a translator of two layers, with a classifier unless a head is given."""
    return Translator(_Generator(dims), _Head() if head is None else head)


def nets(dims: int, *, back: bool = True, judges: bool = True, extra: Sequence[str] = ()) -> Nets:
    """Return networks of one or two layers: the way back and the judges only if asked for; always the same weights.

    `extra` are names of further networks, which score images as the judges do.
    """
    torch.manual_seed(0)
    return Nets(
        translator(dims),
        translator(dims) if back else None,
        _Judge(dims) if judges and back else None,
        _Judge(dims) if judges else None,
        {name: _Judge(dims) for name in extra},
    )


def passes(of: Nets, dims: int, *, target: bool = True) -> Passes:
    """Return the passes of one step on two images a side."""
    image = images(2, 1, *SIZES[dims])
    known = targets(domain(dims)) if target else None
    a, b = batch(image, known, truth=True), batch(image.flip(0), known)
    return Passes(of, a, b, (HistoryPool(4), HistoryPool(4)), torch.Generator().manual_seed(0))
