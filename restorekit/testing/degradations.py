"""Checks of degradations: severity 0 is the identity, and a seed determines the result."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from restorekit.core.types import Degradation
from restorekit.testing import examples
from restorekit.testing.datasets import root_of
from restorekit.testing.subject import Subject, require

__all__ = ["build", "identity", "ranges", "seed", "untouched"]


def build(subject: Subject) -> Degradation:
    """Return the degradation of images of one channel."""
    with root_of(subject) as root:
        part: Degradation = subject.make(examples.domain(subject.dims))
        return part.for_split(root, "train")


def _tried(subject: Subject) -> tuple[Degradation, Tensor, dict[str, float]]:
    """Return the part, an image (C, *S) and what is drawn for it."""
    part = build(subject)
    return part, examples.images(1, *examples.SIZES[subject.dims]), part.draw(_rng(1))


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _apply(part: Degradation, image: Tensor, drawn: Mapping[str, float]) -> Tensor:
    return part.apply(image, drawn, _rng(2))


def ranges(subject: Subject) -> None:
    """A degraded image has the shape of the image, is float32 and lies in [-1, 1]; severities are finite."""
    part, image, drawn = _tried(subject)
    require(all(math.isfinite(severity) for severity in drawn.values()), f"severities must be finite; got {drawn}")
    worse = _apply(part, image, drawn)
    must = (image.shape[0], *(n // part.scale for n in image.shape[1:]))
    require(tuple(worse.shape) == must, f"a degraded image must have the shape {must}; got {tuple(worse.shape)}")
    require(worse.dtype == torch.float32, f"a degraded image must be float32; got {worse.dtype}")
    most = float(worse.abs().max())
    require(most <= 1, f"a degraded image must lie in [-1, 1]; got values to {most:.3g}; clamp it")


def identity(subject: Subject) -> None:
    """Severity 0 changes nothing."""
    part, image, drawn = _tried(subject)
    same = _apply(part, image, dict.fromkeys(drawn, 0.0))
    off = float((same - image).abs().max())
    require(off <= 1e-6, f"severity 0 must change nothing; values moved by {off:.3g}")


def seed(subject: Subject) -> None:
    """What is drawn and what it does depend on the generator of random numbers alone."""
    part, image, drawn = _tried(subject)
    again = part.draw(_rng(1))
    require(list(again.items()) == list(drawn.items()), f"the same rng must draw the same; got {drawn}, then {again}")
    hint = "draw from `rng`, not from torch's or NumPy's own"
    for other in (build(subject), part):
        alike = torch.equal(_apply(part, image, drawn), _apply(other, image, drawn))
        require(alike, f"the same image, severities and rng must give the same image; got another; {hint}")


def untouched(subject: Subject) -> None:
    """The image that comes in is not changed."""
    part, image, drawn = _tried(subject)
    kept = image.clone()
    _apply(part, image, drawn)
    require(torch.equal(image, kept), "apply must not change its input; it did; clone it first")
