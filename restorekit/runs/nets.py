"""Makes the networks, loss terms and metrics of a recipe; networks from its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from restorekit.core.passes import Loss
from restorekit.core.tasks import Task
from restorekit.core.types import (
    Domain,
    Metric,
    Nets,
    Translator,
)
from restorekit.parts.registry import Parts
from restorekit.recipes.model import AnyRecipe, Recipe
from restorekit.recipes.seeds import seed_of

__all__ = ["Term", "build_nets", "build_translator", "make_metrics", "make_terms", "one_way", "placeholder_domains"]

PLACEHOLDERS = ("negative", "positive")
"""Placeholder classes of data that are not read."""


@dataclass(frozen=True, eq=False)  # a loss may be something that has no hash
class Term:
    """A loss, its weight, and the name under which its values are logged."""

    name: str
    weight: float
    loss: Loss

    def sides(self) -> tuple[str, ...]:
        """The sides that the loss overrides."""
        both = ("generator", "discriminator")
        return tuple(s for s in both if getattr(type(self.loss), s) is not getattr(Loss, s))


def make_terms(spec: Recipe, parts: Parts) -> list[Term]:
    """Return the loss terms."""
    terms = []
    for i, (name, loss) in enumerate(zip(spec.loss_names, spec.losses, strict=True)):
        with spec.at("losses", i):
            terms.append(Term(name, loss.weight, spec.part(parts, "losses", i)()))
    return terms


def one_way(spec: Recipe, terms: list[Term]) -> bool:
    """True if only the translator from a to b is built."""
    if spec.nets.one_way is not None:
        return spec.nets.one_way
    return spec.data.pairing == "key" and not any(term.loss.both_ways for term in terms)


def placeholder_domains(spec: AnyRecipe) -> dict[str, Domain]:
    """Return placeholder domains of a recipe whose data are not read: any task, two classes or labels or a number."""
    sizes = {name: tuple(size) for name, size in spec.data.sizes.items()}
    return {name: Domain(name, spec.data.channels, size, Task("any", PLACEHOLDERS)) for name, size in sizes.items()}


def build_nets(spec: Recipe, parts: Parts, domains: Mapping[str, Domain], terms: list[Term] | None = None) -> Nets:
    """Make the networks of a recipe for its domains, initialised from its seed."""
    terms = make_terms(spec, parts) if terms is None else terms
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.default_generator.manual_seed(seed_of(spec.seed, "init"))
        return _make_nets(spec, parts, domains["a"], domains["b"], single=one_way(spec, terms))


def build_translator(spec: Recipe, parts: Parts, domains: Mapping[str, Domain]) -> Translator:
    """Make the restoring translator of a recipe alone, to be given weights."""
    with torch.random.fork_rng(devices=[]):
        return _make_translator(spec, parts, domains["a"], domains["b"])


def _make_translator(spec: Recipe, parts: Parts, source: Domain, target: Domain) -> Translator:
    with spec.at("nets", "generator"):
        made = spec.part(parts, "nets", "generator")(source, target)
    if spec.nets.head is None:
        return Translator(made)
    with spec.at("nets", "head"):
        return Translator(made, spec.part(parts, "nets", "head")(made.features, source))


def _make_nets(spec: Recipe, parts: Parts, a: Domain, b: Domain, *, single: bool) -> Nets:
    ab = _make_translator(spec, parts, a, b)
    ba = None if single else _make_translator(spec, parts, b, a)
    d_a = d_b = None
    if spec.nets.discriminator is not None:
        with spec.at("nets", "discriminator"):
            made = spec.part(parts, "nets", "discriminator")
            d_a = None if single else made(a)
            d_b = made(b)
    return Nets(ab, ba, d_a, d_b, {name: _make_extra(spec, name, parts, a, b) for name in spec.nets.extra})


def _make_extra(spec: Recipe, name: str, parts: Parts, a: Domain, b: Domain) -> nn.Module:
    of = spec.nets.extra[name]
    source, target = (a, b) if of.domain == "a" else (b, a)
    with spec.at("nets", "extra", name, of.kind):
        make = spec.part(parts, "nets", "extra", name, of.kind)
        made: nn.Module = make(source, target) if of.kind == "generator" else make(source)
    return made


def make_metrics(spec: AnyRecipe, parts: Parts, domain: Domain) -> dict[str, Metric]:
    """Return the metrics of a recipe and their parts by name, made for the domain of side a."""
    made: dict[str, Metric] = {}
    for i, name in enumerate(spec.metric_names):
        with spec.at("evaluate", "metrics", i):
            whole: Metric = spec.part(parts, "evaluate", "metrics", i)(domain)
        made |= {name: whole, **{f"{name}_{part}": of for part, of in whole.parts().items()}}
    return made
