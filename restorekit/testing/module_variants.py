"""The forms of a layer, an encoder, a generator, a discriminator or a head for the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.core.errors import RecipeError
from restorekit.core.types import Domain, Encoder, Generator, TaskHead
from restorekit.testing import examples
from restorekit.testing.subject import Subject, require

__all__ = ["LAYERS", "Form", "allowed", "forms", "layer", "outputs", "plain", "weightless"]

LAYERS: Mapping[str, Mapping[str, Any]] = {
    "stride 1": {"padding": 1},
    "stride 2": {"stride": 2, "padding": 1},
    "no bias": {"padding": 1, "bias": False},
    "groups": {"padding": 1, "groups": 2},
    "transposed": {"stride": 2, "padding": 1, "output_padding": 1, "transposed": True},
}
"""The arguments of a layer from 4 to 6 channels with kernels of 3."""
CHANNELS = (1, 3)
LADDER = {1: (32, 64, 128, 256, 512, 1024), 2: (16, 24, 32, 48, 64, 128, 256), 3: (8, 12, 16, 24, 32, 64)}
"""Sizes by number of dimensions. A generator or a discriminator is tried at the first that it does not refuse."""


@dataclass(frozen=True)
class Form:
    """A new network, and a batch of two inputs."""

    label: str
    net: nn.Module
    x: Tensor
    domain: Domain
    twin: Callable[[int], nn.Module]
    """Make it again, its weights drawn from another seed than 0, or from 0 again."""

    def scalar(self, made: Sequence[Tensor]) -> Tensor:
        """Return a scalar to minimise: a head's own loss, or the mean squares of what a network returned."""
        if isinstance(self.net, TaskHead):
            target = examples.targets(self.domain, made[0].shape[2:] if self.net.pixels else None)
            return self.net.loss(made[0], target, torch.ones(len(target), dtype=torch.bool)).mean()
        return torch.stack([out.float().square().mean() for out in made]).sum()


def forms(subject: Subject) -> Iterator[Form]:
    """Yield every form that the part does not refuse, the plainest first.

    Raises:
        RecipeError: if it refuses all of them.
    """
    refusal, made = RecipeError(), False
    for form in _forms(subject):
        try:
            yield form()
            made = True
        except RecipeError as error:
            refusal = error
    if not made:
        raise refusal


def plain(subject: Subject) -> Form:
    """Return the plainest form."""
    return next(forms(subject))


def _forms(subject: Subject) -> Iterator[Callable[[], Form]]:
    if subject.kind == "layer":
        yield from (lambda label=label: layer(subject, label) for label in LAYERS)
    elif subject.kind == "head":
        yield from (lambda label=label: _head(subject, label) for label in examples.TASKS)
    else:
        yield from (lambda n=n: _sized(subject, n) for n in CHANNELS)


def layer(subject: Subject, label: str) -> Form:
    """Return a layer as `LAYERS` asks for it."""

    def make(seed: int) -> nn.Module:
        made = subject.make(subject.dims, seed=seed)(4, 6, 3, **LAYERS[label])
        got = type(made).__name__
        require(isinstance(made, nn.Module), f"a maker of layers must return a torch.nn.Module, returned a {got}")
        return made  # type: ignore[no-any-return]

    return Form(label, make(0), examples.images(2, 4, *[8] * subject.dims), examples.domain(subject.dims), make)


def _head(subject: Subject, label: str) -> Form:
    domain = examples.domain(subject.dims, task=examples.TASKS[label])

    def make(seed: int) -> nn.Module:
        made: nn.Module = subject.make(examples.FEATURES, domain, seed=seed)
        return made

    features = examples.images(2, examples.FEATURES, *[6] * subject.dims)
    return Form(label, make(0), features, domain, make)


def _sized(subject: Subject, channels: int) -> Form:
    """Return an encoder, a generator or a discriminator for the smallest images that it does not refuse."""
    refusal = RecipeError()
    for side in LADDER[subject.dims]:
        domain = examples.domain(subject.dims, channels, (side,) * subject.dims)
        core = (domain, domain) if subject.kind == "generator" else (domain,)
        try:
            net: nn.Module = subject.make(*core)
        except RecipeError as error:
            refusal = error
        else:
            image = examples.images(2, channels, *[allowed(net, side)] * subject.dims)
            return Form(f"{channels} channels", net, image, domain, partial(_remake, subject, core))
    raise refusal


def _remake(subject: Subject, core: tuple[Domain, ...], seed: int) -> nn.Module:
    made: nn.Module = subject.make(*core, seed=seed)
    return made


def allowed(net: nn.Module, side: int) -> int:
    """Return the next side that a network takes: a multiple of what generators and encoders declare."""
    least = net.least if isinstance(net, Generator) else 1
    multiple = net.multiple if isinstance(net, Generator) else net.strides[-1] if isinstance(net, Encoder) else 1
    return -(-max(side, least) // multiple) * multiple


def weightless(subject: Subject) -> None:
    """Make and run the part without numbers, which is fast; with numbers, where that does not work.

    Raises:
        RecipeError: if the part refuses so many dimensions, or the options.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            form = plain(subject)
            outputs(form.net, form.x.to("meta"))
    except RecipeError:
        raise
    except Exception:  # such as a value of a tensor that it reads
        form = plain(subject)
        outputs(form.net, form.x)


def outputs(net: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, ...]:
    """Return what a network returns: a generator its image and features, an encoder its maps, others one tensor."""
    out = net(x)
    return tuple(out) if isinstance(out, tuple | list) else (out,)
