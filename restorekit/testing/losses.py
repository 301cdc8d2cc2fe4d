"""Checks of losses, on a tiny run of every number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.core.passes import Loss, Passes, PerImage
from restorekit.core.types import Nets
from restorekit.testing import examples
from restorekit.testing.subject import Subject, require

__all__ = ["autocast", "gradients", "needs", "ranges", "scalar", "seed", "sides"]

Sides = dict[str, Tensor]


def _sides(term: Loss, passes: Passes) -> Sides:
    """Return a term's values for the generators and for the discriminators, scalars, where it has any."""
    made = {"generator": passes.mean(term.generator(passes)), "discriminator": passes.mean(term.discriminator(passes))}
    made |= {name: passes.mean(value) for name, value in term.extra(passes).items()}
    return {name: value for name, value in made.items() if value is not None}


def sides(subject: Subject, of: Nets | None = None) -> Sides:
    """Return the term's values in a run with all networks and targets."""
    term: Loss = subject.make()
    return _sides(term, examples.passes(of or examples.nets(subject.dims, extra=term.trains), subject.dims))


def scalar(subject: Subject) -> None:
    """It has a value in a run with all networks and targets: scalars, values for each image, or sequences of these."""
    term: Loss = subject.make()
    passes = examples.passes(examples.nets(subject.dims, extra=term.trains), subject.dims)
    made: dict[str, Any] = {"generator": term.generator(passes), "discriminator": term.discriminator(passes)}
    made |= term.extra(passes)
    given = {side: value for side, value in made.items() if value is not None}
    require(
        given,
        "a loss must return a value in a run with all networks and targets; generator and discriminator return None",
    )
    for side, value in given.items():
        for one in [value] if isinstance(value, Tensor | PerImage) else value:
            values = one.values if isinstance(one, PerImage) else one
            require(isinstance(values, Tensor), f"{side} must return tensors or None; got a {type(values).__name__}")
            shape, count = tuple(values.shape), len(passes.a.key)
            require(
                shape in ((), (count,)),
                f"{side} must return a scalar or a value for each of {count} images; got the shape {shape}; take the "
                "mean of each image",
            )
            require(values.isfinite().all(), f"{side} must be finite; got {values.tolist()}")


def needs(subject: Subject) -> None:
    """It works with what `both_ways`, `needs_discriminator` and `needs` declare, and no more."""
    term: Loss = subject.make()
    nets = examples.nets(subject.dims, back=term.both_ways, discriminators=term.needs_discriminator, extra=term.trains)
    try:
        _sides(term, examples.passes(nets, subject.dims, target="target" in term.needs))
    except Exception as error:
        raise AssertionError(
            f"with both_ways {term.both_ways}, needs_discriminator {term.needs_discriminator} and needs {term.needs} "
            "it must work in a run that "
            f"has no more; got {type(error).__name__}: {error}; declare what it reads"
        ) from error


def gradients(subject: Subject) -> None:
    """Gradients are finite, and reach the networks: each side its own."""
    for side in sides(subject):
        nets = examples.nets(subject.dims, extra=subject.make().trains)
        value = sides(subject, nets)[side].mean()
        require(value.requires_grad, f"the {side}'s gradient must reach the networks; got a value without one")
        torch.autograd.backward(value)
        trained: dict[str, Sequence[nn.Module]]
        trained = {"generator": nets.translators(), "discriminator": nets.discriminators()}
        own = trained.get(side) or [nets.extra[side]]
        grads = [p.grad for net in own for p in net.parameters() if p.grad is not None]
        require(grads, f"the {side}'s gradient must reach a {side}; none has one; does something detach it?")
        require(
            all(grad.isfinite().all() for grad in grads), f"the {side}'s gradients must be finite; got NaN or infinity"
        )


def ranges(subject: Subject) -> None:
    """A `discriminator_range`, if it gives one, is (floor, chance); its values are not below the floor."""
    term: Loss = subject.make()
    given = term.discriminator_range
    if given is None:
        return
    require(
        len(given) == 2 and given[0] < given[1],
        f"discriminator_range must be (floor, chance), floor below chance; got {given}",
    )
    nets = examples.nets(subject.dims)
    value = sides(subject, nets).get("discriminator")
    require(value is not None, "only a loss with a discriminator side may give a discriminator_range; it returns None")
    floor = given[0] * len(nets.discriminators())
    require(
        value is None or value.item() >= floor - 1e-6,
        f"discriminator must not be below the floor, {floor:g} for these discriminators; got {value}",
    )


def seed(subject: Subject) -> None:
    """The same seed, networks and images give the same value."""
    one, other = sides(subject), sides(subject)
    moved = [side for side in one if not torch.equal(one[side], other[side])]
    require(not moved, f"the same step must give the same loss; {', '.join(moved)} differ; draw from torch's generator")


def autocast(subject: Subject) -> None:
    """Under bfloat16 autocast on the CPU it is finite and near float32's value."""
    exact = sides(subject)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = sides(subject)
    for side, value in rough.items():
        got, must = (float(one.detach().mean()) for one in (value, exact[side]))
        require(abs(got - must) < 0.1 * max(abs(must), 0.1), f"{side}: bfloat16 must be near {must:.4g}; got {got:.4g}")
