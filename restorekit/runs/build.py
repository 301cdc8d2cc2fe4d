"""(Recipe, plugins) to a Run: parts made, wired and checked against each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from restorekit.core import nd
from restorekit.core.errors import DataError, RestorekitError, unknown
from restorekit.core.parts import Fault, Parts, Place
from restorekit.core.passes import HistoryPool
from restorekit.core.restorer import Restorer
from restorekit.core.types import (
    Discriminator,
    Domain,
    Encoder,
    Extra,
    Generator,
    Metric,
    Nets,
    ParameterGroup,
    Translator,
)
from restorekit.data import batches, checks, items
from restorekit.data.polarity import opened_leaves, polarity
from restorekit.data.splits import SIDES, SPLITS, Splits, changes, open_splits
from restorekit.discovery.plugins import Plugins
from restorekit.recipes import recipe
from restorekit.recipes.judge import judge_recipe
from restorekit.recipes.model import AnyRecipe, Misfit, Recipe, RestorerRecipe
from restorekit.recipes.places import dotted
from restorekit.recipes.seeds import seed_of
from restorekit.runs.answers import AnswerError, NeedsNumbers, require_answer
from restorekit.runs.average import Average
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.engine import Engine
from restorekit.runs.fitted import FittedRun
from restorekit.runs.processes import require_single_process
from restorekit.runs.run import Run, Schedule, Term
from restorekit.runs.teacher import open_teacher
from restorekit.runs.weights import load_weights, read_weights

__all__ = [
    "assumed",
    "build",
    "build_experiment",
    "build_fitted",
    "build_nets",
    "build_translator",
    "check",
    "check_restorer",
    "make_terms",
    "optimizers",
    "reopen",
    "schedules",
]

ASSUMED = ("negative", "positive")
"""Classes that stand for those of data that nobody has read."""
RESERVED = ("generator", "discriminator")
"""Sides of a training, by whose names optimizers are kept beside those of `nets.extra`."""


def make_terms(spec: Recipe, parts: Parts) -> list[Term]:
    """Return the loss terms."""
    terms = []
    for i, (name, loss) in enumerate(zip(spec.loss_names, spec.losses, strict=True)):
        options = {name: value for name, value in loss.spec.items() if name != "weight"}
        with spec.at("losses", i):
            terms.append(Term(name, loss.weight, parts.resolve("loss", options)()))
    return terms


def one_way(spec: Recipe, terms: list[Term]) -> bool:
    """True if only the translator from a to b is built."""
    if spec.nets.one_way is not None:
        return spec.nets.one_way
    return spec.data.pairing == "key" and not any(term.loss.both_ways for term in terms)


def check(spec: Recipe, parts: Parts, domains: Mapping[str, Domain] | None = None) -> None:
    """Hold the recipe's parts against each other, and its networks against its images; no image is read.

    Args:
        spec: the recipe.
        parts: where its parts come from.
        domains: those of the data; None: those that its datasets report where they can be opened, or else `assumed`.

    Raises:
        RecipeError: with every fault, each with its place in the recipe.
    """
    terms = make_terms(spec, parts)
    faults = [] if domains else [*_watcher_faults(spec, parts), *_teacher_faults(spec)]
    domains = domains or _reported(spec, parts)
    faults += [*_misfits(spec, terms), *_metric_faults(spec, parts, domains["a"])]
    faults += [] if faults else _shape_faults(spec, parts, domains, terms)
    faults += _judge_faults(spec, parts, domains)
    if faults:
        raise Misfit(spec, *faults)


def _judge_faults(spec: Recipe, parts: Parts, domains: Mapping[str, Domain]) -> list[Fault]:
    judge = judge_recipe(spec, steps=1)
    try:
        if judge is not None:
            check(judge, parts, domains)
    except Misfit as error:
        return [_of_judge(place, text) for place, text in error.found]
    return []


def _of_judge(place: Place, text: str) -> Fault:
    """Return a fault of the judge's recipe as one of the recipe that asks for it, which names its generator alone."""
    if place[:2] == ("nets", "generator"):
        return ("audit", "judge", *place[2:]), f"the judge: {text}"
    return ("audit", "judge"), f"the judge: {dotted(place)}: {text}"


def assumed(spec: AnyRecipe) -> dict[str, Domain]:
    """Return the domains of a recipe whose data nobody has read: two classes and a number are taken for granted."""
    sizes = {name: tuple(size) for name, size in spec.data.sizes.items()}
    return {name: Domain(name, spec.data.channels, size, ASSUMED, "a number") for name, size in sizes.items()}


def _reported(spec: Recipe, parts: Parts) -> dict[str, Domain]:
    """Return the domains of a recipe with the classes that its datasets report, else those assumed.

    A dataset that holds others may rename their classes, so what is within one says nothing.
    """
    domains = assumed(spec)
    if spec.nets.head is None:
        return domains
    for name in SIDES:
        for place, dataset in opened_leaves(spec, parts, name):
            if place == ("data", name) and dataset is not None and len(dataset.classes) > 1:
                domains[name] = replace(domains[name], classes=tuple(dataset.classes), quantity="")
    if spec.data.b_is_truth:
        domains["b"] = replace(domains["b"], classes=domains["a"].classes, quantity=domains["a"].quantity)
    return domains


def _misfits(spec: Recipe, terms: list[Term]) -> Iterator[Fault]:
    """Faults between losses and networks."""
    for i, term in enumerate(terms):
        at, name = ("losses", i), spec.losses[i].name
        if term.loss.judges and spec.nets.discriminator is None:
            yield at, f"{name} needs nets.discriminator, which is not set"
        if "target" in term.loss.needs and spec.nets.head is None:
            yield at, f"{name} needs nets.head, which is not set"
        if "pairs" in term.loss.needs and spec.data.pairing != "key":
            yield at, f"{name} compares a with its own b; set data.pairing: key"
        if term.loss.both_ways and spec.nets.one_way:
            yield at, f"{name} needs the way back; nets.one_way must not be true"
        for extra in term.loss.trains:
            if extra not in spec.nets.extra:
                yield at, f"{name} trains a network of nets.extra: {unknown('network', extra, spec.nets.extra)}"
    trained = {extra for term in terms for extra in term.loss.trains}
    for extra in spec.nets.extra:
        if extra in RESERVED or hasattr(Extra, extra):
            yield ("nets", "extra", extra), "is a name that networks of a run cannot have; choose another"
        elif extra not in trained and spec.nets.weights is None:
            why = "no loss trains it, and nets.weights gives it no weights; add a loss that does, or remove it"
            yield ("nets", "extra", extra), why
    if spec.nets.discriminator is not None and not any(term.loss.judges for term in terms):
        yield ("nets", "discriminator"), "no loss trains it; add one such as lsgan, or take it away"
    if spec.nets.head is not None and not any("target" in term.loss.needs for term in terms):
        yield ("nets", "head"), "no loss trains it, so its answers would mean nothing; add task, or take it away"
    if spec.train.keep == "best" and not spec.metric_names:
        yield ("train", "keep"), "best needs a score; add one to evaluate.metrics"


def _watcher_faults(spec: Recipe, parts: Parts) -> Iterator[Fault]:
    """Faults of watchers that cannot be made, as one whose library is not installed."""
    for i, watcher in enumerate(spec.watch):
        try:
            with TemporaryDirectory() as folder, spec.at("watch", i):
                parts.resolve("watcher", watcher.spec)(Path(folder))
        except Misfit as error:
            yield from error.found


def _teacher_faults(spec: Recipe) -> Iterator[Fault]:
    """Errors of a teacher that is not there; whether it fits, a run says."""
    if spec.nets.teacher is not None:
        try:
            recipe.read_resolved(Path(spec.nets.teacher))
        except RestorekitError as error:
            yield ("nets", "teacher"), str(error)


def _metric_faults(spec: Recipe, parts: Parts, domain: Domain) -> Iterator[Fault]:
    judges = []
    for i, (name, metric) in enumerate(zip(spec.metric_names, spec.evaluate.metrics, strict=True)):
        at = ("evaluate", "metrics", i)
        try:
            with spec.at(*at):
                made = parts.resolve("metric", metric.spec)(domain)
        except Misfit as error:
            yield from error.found
            judges.append(name)  # of it, all is said
        else:
            if made.needs == "target" and spec.nets.head is None:
                yield at, f"{metric.name} scores a class; set nets.head"
            judges += [name] if made.better != "neither" else []
    if spec.train.best is not None and spec.train.best not in judges:
        listed = ", ".join(judges) or "none of these"
        why = f"of {spec.train.best}, neither more nor less is better; those that know are {listed}"
        yield ("train", "best"), why
    elif spec.train.keep == "best" and spec.metric_names and not judges:
        yield ("train", "keep"), "best needs a metric that knows what is better; of these, neither more nor less is"


def _shape_faults(spec: Recipe, parts: Parts, domains: Mapping[str, Domain], terms: list[Term]) -> list[Fault]:
    """Run the networks once without numbers, on the meta device: what cannot be built or take the images is reported.

    Where a guest needs numbers, as one that reads some while it is built, two images are run on the CPU.
    """
    try:
        return _run_once(spec, parts, domains, terms, "meta", spec.data.batch)
    except NeedsNumbers:
        return _run_once(spec, parts, domains, terms, "cpu", min(2, spec.data.batch))


def _run_once(
    spec: Recipe, parts: Parts, domains: Mapping[str, Domain], terms: list[Term], device: str, batch: int
) -> list[Fault]:
    shape = (batch, spec.data.channels, *spec.data.size)
    try:
        with torch.device(device), torch.no_grad(), nd.explained_single_values():
            nets = build_nets(spec, parts, domains, terms)
            multiple = nets.ab.generator.multiple
            if any(n % multiple for n in spec.data.size):
                name = spec.nets.generator.name
                why = f"generator {name!r} takes multiples of {multiple}; came {spec.data.size}"
                return [(("data", "size"), why)]
            image = torch.empty(shape)
            scale = nets.ab.generator.scale
            if scale != spec.data.scale:
                why = f"must be the scale of generator {spec.nets.generator.name!r}, {scale}; got {spec.data.scale}"
                return [(("data", "scale"), why)]
            if scale > 1 and nets.ba is not None:
                return [(("nets", "one_way"), "must be true with data.scale above 1: nothing makes images smaller")]
            outputs = [net(image) for net in nets.translators()]
            made = [output.image.shape for output in outputs]
            larger = nd.resize(image, [n * scale for n in spec.data.size])
            for discriminator in nets.discriminators():
                discriminator(larger, larger) if discriminator.conditional else discriminator(larger)
        for net, output, name in zip(nets.translators(), outputs, SIDES, strict=False):
            if net.head is not None:
                require_answer(net.head, output.answer, domains[name], batch)
            found = [*_extra_faults(spec, nets, {"a": image, "b": larger}, device)]
        found += _evened_twice(spec, nets)
        found += [] if nets.ab.generator.translates else _of_images(spec, parts, domains["a"], terms)
    except Misfit as error:
        return [*error.found]
    except AnswerError as error:
        called = spec.nets.head.name if spec.nets.head is not None else ""
        return [(("nets", "head"), f"head {called!r} {error}")]
    except RestorekitError as error:
        return [(("nets",), line) for line in str(error).splitlines()]
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        why = str(error).partition("\n")[0]
        if device == "meta" and (isinstance(error, NotImplementedError) or "meta" in why):
            raise NeedsNumbers from error
        return [(("nets",), f"cannot take images of {shape}: {why}")]
    must = (*shape[:2], *spec.data.sizes["b"])
    for discriminator in nets.discriminators():
        if discriminator.conditional and spec.data.pairing != "key":
            why = "is conditional: it scores an image beside its pair; set data.pairing: key"
            found.append((("nets", "discriminator"), why))
            break
    wrong = [other for other in made if other != must]
    at = ("nets", "generator")
    return found + [(at, f"makes {tuple(other)} of {shape}; must make {must}") for other in wrong]


def _extra_faults(spec: Recipe, nets: Nets, images: Mapping[str, Tensor], device: str) -> Iterator[Fault]:
    """Errors of networks of nets.extra that cannot take the images of their side."""
    for name, of in spec.nets.extra.items():
        image, net = images[of.domain], nets.extra[name]
        try:
            net(image, image) if isinstance(net, Discriminator) and net.conditional else net(image)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            why = str(error).partition("\n")[0]
            if device == "meta" and (isinstance(error, NotImplementedError) or "meta" in why):
                raise
            yield ("nets", "extra", name, of.kind), f"cannot take images of {tuple(image.shape)}: {why}"


def _evened_twice(spec: Recipe, nets: Nets) -> Iterator[Fault]:
    head = nets.ab.head
    if head is not None and head.balances and spec.data.balance == "class":
        why = f"class evens out the classes once more than nets.head does by {head.balances}"
        yield ("data", "balance"), f"{why}; set data.balance: none, or drop that option of the head"


def _of_images(spec: Recipe, parts: Parts, domain: Domain, terms: list[Term]) -> Iterator[Fault]:
    """Faults of a recipe whose generator hands its images through: what trains or scores them means nothing."""
    why = f"generator {spec.nets.generator.name!r} hands its images through"
    if any(term.loss.judges for term in terms):
        yield ("nets", "discriminator"), f"{why}, so there is nothing to judge; take it and its loss away"
    if spec.audit is not None:
        yield ("audit",), f"{why}, so there is nothing to audit; take it away"
    for i, metric in enumerate(spec.evaluate.metrics):
        if parts.resolve("metric", metric.spec)(domain).needs != "target":
            yield ("evaluate", "metrics", i), f"{metric.name} scores restored images; {why}; take it away"


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
        made = parts.resolve("generator", spec.nets.generator.spec)(source, target)
    if spec.nets.head is None:
        return Translator(made)
    with spec.at("nets", "head"):
        return Translator(made, parts.resolve("head", spec.nets.head.spec)(made.features, source))


def _make_nets(spec: Recipe, parts: Parts, a: Domain, b: Domain, *, single: bool) -> Nets:
    ab = _make_translator(spec, parts, a, b)
    ba = None if single else _make_translator(spec, parts, b, a)
    d_a = d_b = None
    if spec.nets.discriminator is not None:
        with spec.at("nets", "discriminator"):
            judge = parts.resolve("discriminator", spec.nets.discriminator.spec)
            d_a = None if single else judge(a)
            d_b = judge(b)
    return Nets(ab, ba, d_a, d_b, {name: _make_extra(spec, name, parts, a, b) for name in spec.nets.extra})


def _make_extra(spec: Recipe, name: str, parts: Parts, a: Domain, b: Domain) -> nn.Module:
    of = spec.nets.extra[name]
    source, target = (a, b) if of.domain == "a" else (b, a)
    with spec.at("nets", "extra", name, of.kind):
        make = parts.resolve(of.kind, of.part.spec)
        made: nn.Module = make(source, target) if of.kind == "generator" else make(source)
    return made


@dataclass(frozen=True)
class _Opened:
    """The images of a recipe, read or only listed, and what was found of them."""

    splits: Splits
    domains: dict[str, Domain]
    engine: Engine
    fields: dict[str, Any]
    """What an `Experiment` holds of them."""


def _opened(
    spec: AnyRecipe,
    plugins: Plugins,
    folder: Path,
    engine: Engine,
    verify: Callable[[str], None] | None,
    allow_leaks: bool,
) -> _Opened:
    """Open the images of a recipe; see `build`."""
    parts = plugins.parts
    splits = open_splits(spec, parts, verify=verify)
    if note := batches.cache_note(splits, spec.data):
        engine.notes.append(note)
    engine.notes.extend(splits.depth_notes())
    changed = changes(folder, splits)
    order = polarity(spec, parts, splits)
    checkup = None
    if verify is not None:
        if changed:
            raise DataError(f"{folder}: {changed}. Bring them back, or begin a new run")
        checkup = checks.examine(
            items.recipe_items(splits),
            answers=spec.predicts,
            unseen=items.skipped_files(splits.skipped_files()),
        )
        if order is not None and order.warning():
            checkup = replace(checkup, warnings=(order.warning(), *checkup.warnings))
        if checkup.leaks and not allow_leaks and not checkup.allowed_in(folder):
            raise DataError(checkup.refusal())
    counts = {
        **splits.counts(),
        "positive": order and order.positive,
        **({} if checkup is None else {"check": checkup.summary()}),
    }
    domains: dict[str, Domain] = {name: splits["train", name].counted() for name in SIDES}
    fields = {
        "recipe": spec,
        "domains": domains,
        "engine": engine,
        "folder": folder,
        "scoring": partial(batches.scoring_batches, splits, spec),
        "sizes": {split: len(splits[split, "a"]) for split in SPLITS},
        "good_sizes": {split: len(splits[split, "b"]) for split in SPLITS},
        "libraries": plugins.libraries(recipe.parts_of(spec, parts), spec.needs),
        "counts": counts,
        "listing": splits.listing(),
        "changed": changed,
        "checkup": checkup,
        "scale": cache(partial(batches.trained_scale, splits["train", "a"], spec.data)),
    }
    return _Opened(splits, domains, engine, fields)


def _metrics(spec: AnyRecipe, parts: Parts, domain: Domain) -> dict[str, Metric]:
    named = zip(spec.metric_names, spec.evaluate.metrics, strict=True)
    return {name: parts.resolve("metric", metric.spec)(domain) for name, metric in named}


def build_experiment(
    spec: AnyRecipe,
    plugins: Plugins,
    folder: Path,
    *,
    verify: Callable[[str], None] | None = None,
    allow_leaks: bool = False,
    training: bool = True,
) -> Run | FittedRun:
    """Make the run of a recipe, whether it trains or names a restorer; arguments and errors as of `build`."""
    if isinstance(spec, Recipe):
        return build(spec, plugins, folder, verify=verify, allow_leaks=allow_leaks, training=training)
    return build_fitted(spec, plugins, folder, verify=verify, allow_leaks=allow_leaks)


def build_fitted(
    spec: RestorerRecipe,
    plugins: Plugins,
    folder: Path,
    *,
    verify: Callable[[str], None] | None = None,
    allow_leaks: bool = False,
) -> FittedRun:
    """Make the run of a recipe that names a restorer; arguments and errors as of `build`."""
    require_single_process()
    opened = _opened(spec, plugins, folder, Engine("fp32"), verify, allow_leaks)
    part = check_restorer(spec, plugins.parts, opened.domains)
    return FittedRun(**opened.fields, part=part, metrics=_metrics(spec, plugins.parts, opened.domains["a"]))


def check_restorer(spec: RestorerRecipe, parts: Parts, domains: Mapping[str, Domain] | None = None) -> Restorer:
    """Check a recipe that names a restorer, and return that; no data is read.

    Raises:
        RecipeError: if it cannot be made for the images, or is scored by what it does not do.
    """
    domain = (domains or assumed(spec))["a"]
    with spec.at("restorer"):
        part: Restorer = parts.resolve("restorer", spec.restorer.spec)(domain)
    if part.scale != spec.data.scale:
        why = f"must be the scale of restorer {spec.restorer.name!r}, {part.scale}; got {spec.data.scale}"
        raise Misfit(spec, (("data", "scale"), why))
    for i, metric in enumerate(_metrics(spec, parts, domain).values()):
        if metric.needs == "target":
            why = f"{spec.evaluate.metrics[i].name} scores predictions, and a restorer without training makes none"
            raise Misfit(spec, (("evaluate", "metrics", i), why))
    return part


def build(
    spec: Recipe,
    plugins: Plugins,
    folder: Path,
    *,
    verify: Callable[[str], None] | None = None,
    allow_leaks: bool = False,
    training: bool = True,
) -> Run:
    """Make the run of a recipe that trains.

    Args:
        spec: the recipe.
        plugins: where its parts come from.
        folder: the run folder; nothing is written yet.
        verify: if given, all images are read once first (see `restorekit.data.splits.open_splits`) and checked
            (see `restorekit.data.checks`).
        allow_leaks: go on though a patient or an image stands in train and test; a run that went on so before goes on.
        training: False where it is only scored: what training alone needs, the teacher, is then not read.

    Raises:
        RecipeError: if the parts do not fit each other, a teacher or weights that the recipe names cannot be used, or a
            launcher started several processes.
        DataError: if the data cannot be used, leak from train into test, or are not what the run began with. A run
            that is only scored again, without `verify`, may have others in the same splits: `Run.changed` says so.
    """
    require_single_process()
    parts = plugins.parts
    if verify is not None:
        check(spec, parts)  # before the data, which may take long to read
    with spec.at("train", "precision"):
        engine = Engine(spec.train.precision)
    begins = training and not checkpoints(folder)
    teacher = open_teacher(spec, plugins, build_translator) if training else None
    weights = read_weights(spec) if begins and spec.nets.weights is not None else {}
    opened = _opened(spec, plugins, folder, engine, verify, allow_leaks)
    splits, domains = opened.splits, opened.domains
    terms = make_terms(spec, parts)
    _require_known(spec, terms, splits, domains)
    check(spec, parts, domains)
    if spec.train.keep == "best" and not len(splits["val", "a"]):
        why = "best needs a validation split; set data.val to a fraction, e.g. 0.1"
        raise Misfit(spec, (("train", "keep"), why))
    per_epoch = batches.steps_per_epoch(splits, spec)
    steps = spec.train.steps if spec.train.steps is not None else (spec.train.epochs or 1) * per_epoch
    nets = build_nets(spec, parts, domains, terms)
    if begins:  # else the run has begun, and all weights come from there
        _demand_thaw(spec, nets, steps)
        for net in (*(net.generator for net in nets.translators()), *nets.extra.values()):
            if isinstance(net, Generator | Encoder):
                net.warm_start()
        if spec.nets.weights is not None:
            load_weights(spec, nets, weights)
    nets.to(engine.device)
    if teacher is not None:
        nets.set_teacher(teacher.net.to(engine.device))
    return Run(
        **opened.fields,
        metrics=_metrics(spec, parts, domains["a"]),
        nets=nets,
        terms=terms,
        optimizers=optimizers(spec, parts, nets),
        schedules=schedules(spec, parts, steps),
        make_schedules=partial(schedules, spec, parts),
        pools=(HistoryPool(spec.train.pool), HistoryPool(spec.train.pool)),
        batches=partial(batches.training_batches, splits, spec, summary=_summary_of(nets.ab.generator)),
        steps=steps,
        steps_per_epoch=per_epoch,
        teacher=None if teacher is None else teacher.digest,
        average=None if spec.train.ema is None else Average(nets, spec.train.ema),
    )


def _require_known(spec: Recipe, terms: list[Term], splits: Splits, domains: Mapping[str, Domain]) -> None:
    """Require that the data know what the losses compare with: truths and targets."""
    if spec.data.pairing != "key" and not splits["train", "a"].dataset.has_truth:
        for i, term in enumerate(terms):
            if "truth" in term.loss.needs:
                why = (
                    f"{spec.losses[i].name} needs images of a whose truth is known; set data.pairing: key, or take a "
                    "dataset that knows the truth, such as degraded"
                )
                raise Misfit(spec, (("losses", i), why))
    if any("target" in term.loss.needs for term in terms) and not (domains["a"].classes or domains["a"].quantity):
        raise DataError("data.a: knows no classes and no quantity, one of which the task loss needs")


def _demand_thaw(spec: Recipe, nets: Nets, steps: int) -> None:
    """Demand that every group of parameters begins to learn within the run.

    Raises:
        RecipeError: if one does not.
    """
    last = max((group.first_step for net in nets.translators() for group in net.groups()), default=0)
    if last >= steps:
        why = (
            f"{spec.nets.generator.name!r} has parameters that learn from step {last} on, counted from 0, and the run "
            f"has {steps} steps, so they never would; let them learn from a step below {steps} on, or train longer"
        )
        raise Misfit(spec, (("nets", "generator"), why))


def _summary_of(generator: Generator) -> Callable[[Tensor], Tensor | None] | None:
    """Return a generator's summary for loaders in other processes; it has no parameters, so none go along."""
    return deepcopy(generator).to("meta").summary if generator.summarises else None


def reopen(folder: Path, plugins: Plugins, root: Path | None = None) -> Run | FittedRun:
    """Make the run of a run folder again, from its resolved recipe.

    Args:
        folder: the run folder.
        plugins: where its parts come from.
        root: where its data are now; None: where they were.

    Raises:
        RecipeError: if it is no run folder, or its images are not there.
    """
    return build_experiment(recipe.reopened(folder, plugins, root), plugins, folder, training=False)


def optimizers(spec: Recipe, parts: Parts, nets: Nets) -> dict[str, Optimizer]:
    """Return the optimizer of each side that has parameters to train.

    Raises:
        PluginError: if a generator's groups are not its trained parameters, each once.
        RecipeError: if the translators have nothing to train.
    """
    groups = [group for net in nets.translators() for group in net.groups()]
    if not groups:
        why = f"nothing of {spec.nets.generator.name!r} is trained, and no head is either"
        raise Misfit(spec, (("nets", "generator"), why))
    made = {"generator": _optimizer(spec, parts, ("train", "optimizer"), groups)}
    if nets.discriminators():
        trained = [p for net in nets.discriminators() for p in net.parameters() if p.requires_grad]
        key = "optimizer" if spec.train.discriminator_optimizer is None else "discriminator_optimizer"
        made["discriminator"] = _optimizer(spec, parts, ("train", key), [ParameterGroup(trained)])
    of_losses = {extra for term in make_terms(spec, parts) for extra in term.loss.trains}
    for name, of in spec.nets.extra.items():
        if name not in of_losses:
            nets.extra[name].requires_grad_(False)
            continue
        trained = [p for p in nets.extra[name].parameters() if p.requires_grad]
        if not trained:
            raise Misfit(spec, (("nets", "extra", name), "has no parameters to train; take it out of the losses"))
        place = ("train", "optimizer") if of.optimizer is None else ("nets", "extra", name, "optimizer")
        made[name] = _optimizer(spec, parts, place, [ParameterGroup(trained)])
    return made


def _optimizer(spec: Recipe, parts: Parts, place: Place, groups: Iterable[ParameterGroup]) -> Optimizer:
    """Return the optimizer named at a place, over groups that know their rate and when they begin to learn."""
    plain = [{"params": [*g.parameters], "factor": g.factor, "first_step": g.first_step} for g in groups]
    with spec.at(*place):
        named = json.loads(spec.model_dump_json())
        for key in place:
            named = named[key]
        made: Optimizer = parts.resolve("optimizer", named)(plain)
    for group in made.param_groups:
        group["base_lr"] = group["lr"] * group["factor"]
    return made


def schedules(
    spec: Recipe, parts: Parts, steps: int, starts: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Schedule]:
    """Return the learning rate schedule of each side, for a run of `steps` steps.

    Args:
        spec: the recipe.
        parts: where its schedules come from.
        steps: the steps of the run.
        starts: by side the step at which its schedule begins anew, over the steps that are left.
    """
    keys = {"generator": "schedule", "discriminator": "discriminator_schedule"}
    made: dict[str, Schedule] = {}
    for side, key in keys.items():
        extra = spec.nets.extra if side == "generator" else ()
        used = key if getattr(spec.train, key) is not None else "schedule"
        with spec.at("train", used):
            part = parts.resolve("schedule", getattr(spec.train, used).spec)
            made |= {of: _from(starts.get(of, 0), part, steps) for of in [side, *extra]}
    return made


def _from(start: int, part: Callable[[int], Schedule], steps: int) -> Schedule:
    """Return a schedule over the steps from `start` on."""
    made = part(steps - start)
    return lambda step: made(step - start)
