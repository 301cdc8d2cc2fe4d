"""What parts are tried on: small domains, images, targets, batches, and networks that cost next to nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from restorekit.core import nd
from restorekit.core.passes import HistoryPool, Passes
from restorekit.core.types import UNLABELLED, Batch, Discriminator, Domain, Generator, Nets, TaskHead, Translator

__all__ = ["CLASSES", "FEATURES", "batch", "domain", "images", "nets", "passes", "targets", "translator", "unknown"]

CLASSES = ("no", "yes")
FEATURES = 4
"""Channels of the features that heads are given."""
SIZES = {1: (64,), 2: (32, 32), 3: (16, 16, 16)}


def domain(dims: int, channels: int = 1, size: tuple[int, ...] | None = None) -> Domain:
    """Return a domain of two classes."""
    return Domain("a", channels, size or SIZES[dims], CLASSES)


def images(*shape: int) -> Tensor:
    """Return images of any shape with values in [-1, 1], the same ones for the same shape."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) * 2 - 1


def targets() -> Tensor:
    """Return what a head is to say of two images: their classes."""
    return torch.tensor([0, 1])


def unknown() -> Tensor:
    """Return the targets of two images of which nothing is known."""
    return torch.full_like(targets(), UNLABELLED)


def batch(image: Tensor, *, target: bool = True, truth: bool = False) -> Batch:
    """Return a batch of two images, with or without their targets and truths."""
    return Batch(image, ("1", "2"), targets() if target else None, image.flip(0) if truth else None)


class _Generator(Generator):
    features = FEATURES

    def __init__(self, dims: int, channels: int = 1) -> None:
        super().__init__()
        self.first = nd.conv(dims)(channels, FEATURES, 3, padding=1)
        self.second = nd.conv(dims)(FEATURES, channels, 3, padding=1)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
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

    def loss(self, answer: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(answer.float(), target, ignore_index=UNLABELLED)


class _Judge(Discriminator):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.layer = nd.conv(dims)(1, 1, 4, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        realness: Tensor = self.layer(image)
        return realness


def translator(dims: int, head: TaskHead | None = None) -> Translator:
    """Return a translator of two layers, with a classifier unless a head is given."""
    return Translator(_Generator(dims), _Head() if head is None else head)


def nets(dims: int, *, back: bool = True, judges: bool = True) -> Nets:
    """Return networks of one or two layers: the way back and the judges only if asked for; always the same weights."""
    torch.manual_seed(0)
    return Nets(
        translator(dims),
        translator(dims) if back else None,
        _Judge(dims) if judges and back else None,
        _Judge(dims) if judges else None,
    )


def passes(of: Nets, dims: int, *, target: bool = True) -> Passes:
    """Return the passes of one step on two images a side."""
    image = images(2, 1, *SIZES[dims])
    a, b = batch(image, target=target), batch(image.flip(0), target=target)
    return Passes(of, a, b, (HistoryPool(4), HistoryPool(4)), torch.Generator().manual_seed(0))
