"""Checks of restorers: shapes, range, repeatability, state, and tiles where they claim a halo."""

from __future__ import annotations

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.restorer import Restorer
from restorekit.testing import examples
from restorekit.testing.subject import Subject, require

__all__ = ["fitted", "halo", "seed", "shapes", "state", "untouched"]


def fitted(subject: Subject, *, seed: int = 0) -> Restorer:
    """Return the restorer of images of one channel, fitted to two images of each side."""
    made: Restorer = subject.make(examples.domain(subject.dims), seed=seed)
    image = _images(subject)
    made.fit([examples.batch(image, truth=True)], [examples.batch(image.flip(0))])
    return made


def _images(subject: Subject, channels: int = 1) -> Tensor:
    """Return two smooth images with noise, so that methods which estimate noise have some to find."""
    coarse = examples.images(2, channels, *[4] * subject.dims) * 0.7
    return nd.resize(coarse, examples.SIZES[subject.dims]) + 0.1 * examples.images(
        2, channels, *examples.SIZES[subject.dims]
    )


def shapes(subject: Subject) -> None:
    """Restored images have `scale` times the size, the channels of the domain, and finite float32 values in [-1, 1]."""
    part = fitted(subject)
    for channels in (1, 3):
        image = _images(subject, channels)
        if channels == 3:
            part = subject.make(examples.domain(subject.dims, 3))
            part.fit([examples.batch(image, truth=True)], [examples.batch(image.flip(0))])
        for one in (image, image[:1], torch.zeros_like(image)):
            made = part.restore(one).image
            must = (*one.shape[:2], *(part.scale * n for n in one.shape[2:]))
            require(tuple(made.shape) == must, f"restored images must have the shape {must}; got {tuple(made.shape)}")
            require(made.dtype == torch.float32, f"restored images must be float32; got {made.dtype}")
            require(made.isfinite().all(), "restored images must be finite; got NaN or infinity")
            most = float(made.abs().max())
            require(most <= 1, f"restored images must lie in [-1, 1]; got values to {most:.3g}; clamp them")


def seed(subject: Subject) -> None:
    """The same image gives the same result, also with the same rng."""
    part, image = fitted(subject), _images(subject)
    one, other = part.restore(image).image, part.restore(image).image
    require(torch.equal(one, other), "the same image must give the same result; draw from `rng`, or a fixed seed")
    drawn = [part.restore(image, rng=torch.Generator().manual_seed(1)).image for _ in range(2)]
    require(torch.equal(*drawn), "the same rng must give the same result; draw from `rng` alone")


def untouched(subject: Subject) -> None:
    """The images that come in are not changed."""
    image = _images(subject)
    kept = image.clone()
    fitted(subject).restore(image)
    require(torch.equal(image, kept), "restore must not change its input; clone it first")


def state(subject: Subject) -> None:
    """Another instance that loads the state of a fitted one gives the same images."""
    part, image = fitted(subject), _images(subject)
    twin: Restorer = subject.make(examples.domain(subject.dims), seed=1)
    twin.load_state({name: value.clone() for name, value in part.state().items()})
    alike = torch.equal(twin.restore(image).image, part.restore(image).image)
    require(alike, "load_state(state()) must give the same restorer; something that fit learnt is not in its state")


def halo(subject: Subject) -> None:
    """Where it claims a halo, a tile with so many pixels around it, and the summary of the whole, is exact."""
    part, image = fitted(subject), _images(subject)
    if part.halo is None:
        return
    side = image.shape[2]
    first = -(-(side // 4) // part.multiple) * part.multiple
    start = max(0, (first - part.halo) // part.multiple * part.multiple)
    stop = min(side, side - start)
    tile = image.narrow(2, start, stop - start)
    whole, summary = part.restore(image).image, part.summary(image)
    made = part.restore(tile, summary).image
    scale, inner = part.scale, max(0, stop - part.halo - first) if stop < side else side - first
    got = made.narrow(2, scale * (first - start), scale * inner)
    must = whole.narrow(2, scale * first, scale * inner)
    off = float((got - must).abs().max()) if inner else 0.0
    require(off < 1e-5, f"a tile with a halo of {part.halo} must equal the whole; they are {off:.3g} apart; raise halo")
