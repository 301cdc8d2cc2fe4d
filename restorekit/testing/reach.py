"""Checks of a generator's halo: no output depends on pixels farther away, and a tile with its halo is exact."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from restorekit.core.types import Generator
from restorekit.testing import examples
from restorekit.testing.module_variants import allowed, plain
from restorekit.testing.subject import Subject, require

__all__ = ["halo", "measured"]

DRAWS = 4
"""Of weights: rectifiers of one draw may let nothing through."""
NEAR = 1e-6
"""How near a tile must be to the whole image, in float64."""


class _Long(NamedTuple):
    """A generator in float64 with weights drawn anew, and an image that is long along one axis."""

    net: Generator
    axis: int
    image: Tensor
    summary: Tensor | None

    def restored(self, image: Tensor) -> Tensor:
        """Return the image (1, C', *scale*S) of a tile or of the whole."""
        made: Tensor = self.net(image, self.summary)[0]
        return made


def halo(subject: Subject) -> str | None:
    """Where it claims a halo, no output depends on pixels farther away by its gradients, and tiles are exact."""
    net = plain(subject).net
    assert isinstance(net, Generator)
    if net.halo is None or not net.translates:
        return None
    farthest = 0
    for axis, seed in product(range(2, subject.dims + 2), range(DRAWS)):
        long = _long(subject, axis, seed)
        farthest = max(farthest, measured(long.net, long.image, long.summary, axis))
        require(
            farthest <= net.halo,
            f"an output must not depend on pixels farther away than the halo, {net.halo}; some {farthest} away have "
            f"gradients along axis {axis - 2}; raise halo, or leave it None where the whole image is read",
        )
        _tile(long)
    wide = farthest + 2 * net.multiple < net.halo
    return f"halo {net.halo}, and {farthest} by the gradients: tiles could be smaller" if wide else None


def _long(subject: Subject, axis: int, seed: int) -> _Long:
    form = plain(subject)
    net = form.net
    assert isinstance(net, Generator)
    net = net.double().eval()
    assert net.halo is not None
    # Weights that start at zero, such as those of a residual branch, would hide what they will let through.
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            inputs = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.add_(torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype) / inputs**0.5)
    sides = [allowed(net, 1)] * subject.dims
    # Room for the halo, and for a larger one, on both sides of a tile.
    sides[axis - 2] = allowed(net, 2 * net.halo + 8 * net.multiple + 16)
    image = examples.images(1, form.x.shape[1], *sides).double()
    with torch.no_grad():
        return _Long(net, axis, image, net.summary(image))


def measured(net: Generator, image: Tensor, summary: Tensor | None, axis: int) -> int:
    """Return how far away from a pixel, along an axis, lies the farthest one on which its outputs depend.

    Args:
        net: in evaluation mode; float64, so that small gradients are no zeros.
        image: (1, C, *S), sizes as the generator takes them. Outputs are those of the positions in the middle of the
            axis, as many as `multiple`.
        summary: of the image, where the generator has one; it counts as given.
        axis: of the image, from 2 on.
    """
    given = image.clone().requires_grad_()
    made: Tensor = net(given, summary)[0]
    start = image.shape[axis] // 2 // net.multiple * net.multiple
    farthest = 0
    for at in range(start, start + net.multiple):
        outputs = made.narrow(axis, at * net.scale, net.scale)
        (slopes,) = torch.autograd.grad(outputs.square().sum(), given, retain_graph=True)
        (places,) = slopes.movedim(axis, 0).flatten(1).any(1).nonzero(as_tuple=True)
        if len(places):
            farthest = max(farthest, at - int(places[0]), int(places[-1]) - at)
    return farthest


@torch.no_grad()
def _tile(long: _Long) -> None:
    """Compare a tile with its halo with the same place of the whole image."""
    net, axis = long.net, long.axis
    assert net.halo is not None
    multiple, size = net.multiple, long.image.shape[axis]
    before = -(-net.halo // multiple) * multiple
    first = size // 2 // multiple * multiple
    start, stop = max(0, first - before), min(size, first + allowed(net, 1) + before)
    tile = long.image.narrow(axis, start, stop - start)
    got = long.restored(tile).narrow(axis, net.scale * (first - start), net.scale * multiple)
    must = long.restored(long.image).narrow(axis, net.scale * first, net.scale * multiple)
    off = float((got - must).abs().max())
    require(
        off <= NEAR,
        f"a tile with a halo of {net.halo} must equal the whole image within {NEAR:g} in float64; they are {off:.3g} "
        "apart; raise halo, or leave it None where the whole image is read",
    )
