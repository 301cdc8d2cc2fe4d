"""(Recipe, plugins) to a Run: parts made, wired and checked against each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from restorekit.core.errors import DataError, RecipeError
from restorekit.core.parts import Parts
from restorekit.core.passes import HistoryPool
from restorekit.core.plugins import Plugins
from restorekit.core.types import Domain, Metric, Nets, Translator
from restorekit.stages import data, recipe
from restorekit.stages.engine import Engine
from restorekit.stages.recipe import Recipe
from restorekit.stages.run import Run, Term
from restorekit.stages.seeds import seed_of
from restorekit.stages.splits import SPLITS, open_splits

__all__ = ["build", "build_nets", "check", "make_terms", "optimisers", "reopen"]


def make_terms(spec: Recipe, parts: Parts) -> list[Term]:
    """Return the loss terms; the second `cycle` is told as `cycle_2`."""
    terms, seen = [], Counter[str]()
    for loss in spec.losses:
        seen[loss.name] += 1
        options = {name: value for name, value in loss.spec.items() if name != "weight"}
        name = loss.name if seen[loss.name] == 1 else f"{loss.name}_{seen[loss.name]}"
        terms.append(Term(name, loss.weight, parts.resolve("loss", options)()))
    return terms


def one_way(spec: Recipe, terms: list[Term]) -> bool:
    """True if only the translator from a to b is built."""
    if spec.nets.one_way is not None:
        return spec.nets.one_way
    return spec.data.pairing == "key" and not any(term.loss.both_ways for term in terms)


def check(spec: Recipe, parts: Parts) -> None:
    """Hold the recipe's parts against each other, without data.

    Raises:
        RecipeError: with every fault.
    """
    terms = make_terms(spec, parts)
    faults = []
    for term in terms:
        if term.loss.judges and spec.nets.discriminator is None:
            faults.append(f"losses.{term.name}: needs nets.discriminator, which is not set")
        if "target" in term.loss.needs and spec.nets.head is None:
            faults.append(f"losses.{term.name}: needs nets.head, which is not set")
        if "pairs" in term.loss.needs and spec.data.pairing != "key":
            faults.append(f"losses.{term.name}: compares a with its own b; set data.pairing: key")
        if term.loss.both_ways and spec.nets.one_way:
            faults.append(f"losses.{term.name}: needs the way back; nets.one_way must not be true")
    if spec.nets.discriminator is not None and not any(term.loss.judges for term in terms):
        faults.append("nets.discriminator: no loss trains it; add one such as lsgan, or take it away")
    if spec.train.keep == "best" and not spec.metric_names:
        faults.append("train.keep: best needs a score; add one to evaluate.metrics")
    if faults:
        raise RecipeError(*faults)


def build_nets(spec: Recipe, parts: Parts, domains: Mapping[str, Domain], terms: list[Term] | None = None) -> Nets:
    """Make the networks of a recipe for its domains, initialised from its seed."""
    terms = make_terms(spec, parts) if terms is None else terms
    torch.manual_seed(seed_of(spec.seed, "init"))
    a, b = domains["a"], domains["b"]
    generator = parts.resolve("generator", spec.nets.generator.spec)
    head = None if spec.nets.head is None else parts.resolve("head", spec.nets.head.spec)

    def translator(source: Domain, target: Domain) -> Translator:
        made = generator(source, target)
        return Translator(made, None if head is None else head(made.features, source))

    single = one_way(spec, terms)
    ab = translator(a, b)
    ba = None if single else translator(b, a)
    d_a = d_b = None
    if spec.nets.discriminator is not None:
        judge = parts.resolve("discriminator", spec.nets.discriminator.spec)
        d_a = None if single else judge(a)
        d_b = judge(b)
    return Nets(ab, ba, d_a, d_b)


def build(spec: Recipe, plugins: Plugins, folder: Path, *, verify: Callable[[str], None] | None = None) -> Run:
    """Make a run of a recipe.

    Args:
        spec: the recipe.
        plugins: where its parts come from.
        folder: the run folder; nothing is written yet.
        verify: if given, all images are read once first (see `restorekit.stages.splits.open_splits`).

    Raises:
        RecipeError: if the parts do not fit each other.
        DataError: if the data cannot be used.
    """
    parts = plugins.parts
    check(spec, parts)
    engine = Engine(spec.train.precision)
    splits = open_splits(spec, parts, verify=verify)
    domains = {"a": splits["train", "a"].domain, "b": splits["train", "b"].domain}
    terms = make_terms(spec, parts)
    if any("target" in term.loss.needs for term in terms) and not domains["a"].classes:
        raise DataError("data.a: knows no classes, which the task loss needs")
    metrics = _metrics(spec, parts, domains["a"])
    if spec.train.keep == "best" and not len(splits["val", "a"]):
        raise RecipeError("train.keep: best needs a validation split; set data.val to a fraction, e.g. 0.1")
    nets = build_nets(spec, parts, domains, terms).to(engine.device)
    per_epoch = data.steps_per_epoch(splits, spec)
    steps = spec.train.steps if spec.train.steps is not None else (spec.train.epochs or 1) * per_epoch
    return Run(
        recipe=spec,
        nets=nets,
        domains=domains,
        terms=terms,
        engine=engine,
        optimisers=optimisers(spec, engine, nets),
        pools=(HistoryPool(spec.train.pool), HistoryPool(spec.train.pool)),
        batches=partial(data.training_batches, splits, spec),
        steps=steps,
        steps_per_epoch=per_epoch,
        folder=folder,
        scoring=partial(data.scoring_batches, splits, spec),
        sizes={split: len(splits[split, "a"]) for split in SPLITS},
        metrics=metrics,
        counts=splits.counts(),
    )


def reopen(folder: Path, plugins: Plugins) -> Run:
    """Make the run of a run folder again, from its resolved recipe.

    Raises:
        RecipeError: if it is no run folder.
    """
    path = folder / "recipe.json"
    if not path.is_file():
        raise RecipeError(f"{folder}: is no run folder: it has no recipe.json")
    return build(recipe.resolved(json.loads(path.read_text("utf-8")), str(path), plugins), plugins, folder)


def _metrics(spec: Recipe, parts: Parts, domain: Domain) -> dict[str, Metric]:
    metrics = {metric.name: parts.resolve("metric", metric.spec)(domain) for metric in spec.evaluate.metrics}
    blind = [name for name, metric in metrics.items() if metric.needs == "target" and spec.nets.head is None]
    if blind:
        raise RecipeError(f"evaluate.metrics: {', '.join(blind)}: score a class; set nets.head")
    return metrics


def optimisers(spec: Recipe, engine: Engine, nets: Nets) -> dict[str, Any]:
    """Return the Adam of each side that has parameters to train."""
    adam = spec.train.adam
    options = {"lr": adam.lr, "betas": adam.betas, "eps": adam.eps}

    def parameters(modules: list[Any]) -> Iterator[torch.nn.Parameter]:
        for module in modules:
            yield from (p for p in module.parameters() if p.requires_grad)

    made = {"generator": engine.optimiser(parameters(nets.translators()), **options)}
    if nets.discriminators():
        made["discriminator"] = engine.optimiser(parameters(nets.discriminators()), **options)
    return made
