"""Whether a recipe's parts fit each other, its images and its losses: every error, before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import ErrorRecord, Place, RestorekitError, dotted, unknown_record
from restorekit.core.passes import HistoryPool, Loss, Passes
from restorekit.core.restorer import Restorer
from restorekit.core.tasks import Task
from restorekit.core.types import (
    Batch,
    Discriminator,
    Domain,
    Extra,
    Nets,
    Output,
)
from restorekit.data.polarity import opened_leaves
from restorekit.data.splits import SIDES, SideName
from restorekit.parts.registry import Parts
from restorekit.recipes import recipe
from restorekit.recipes.audit_classifier import classifier_recipe, needs_classes
from restorekit.recipes.model import AnyRecipe, IncompatibleRecipeError, Recipe, RestorerRecipe
from restorekit.runs.nets import Term, build_nets, make_metrics, make_terms, placeholder_domains
from restorekit.runs.norms import explain_norm_error
from restorekit.runs.predictions import NeedsNumbers, PredictionError, lacks_numbers, require_prediction

__all__ = ["check", "check_restorer", "make_baseline", "untrained_head"]

Found = ErrorRecord | tuple[Place, str]
"""An error, or the place and the text of something that does not fit."""
RESERVED = ("generator", "discriminator")
"""Sides of a training, by whose names optimizers are kept beside those of `nets.extra`."""


def check(spec: Recipe, parts: Parts, domains: Mapping[str, Domain] | None = None, *, begins: bool = True) -> None:
    """Check that the recipe's parts fit each other, and its networks its images; no image is read.

    Args:
        spec: the recipe.
        parts: where its parts come from.
        domains: those of the data; None: those that its datasets report where they can be opened, or else `assumed`.
        begins: whether a training begins, which needs its loggers and its teacher.

    Raises:
        RecipeError: with every error, each with its place in the recipe.
    """
    terms = make_terms(spec, parts)
    errors = [*_logger_errors(spec, parts), *_teacher_errors(spec)] if begins else []
    domains = domains or _reported(spec, parts)
    errors += [*_misfits(spec, terms), *_metric_errors(spec, parts, domains["a"])]
    errors += [] if errors else _shape_errors(spec, parts, domains, terms)
    errors += _audit_errors(spec, parts, domains)
    make_baseline(spec, parts, domains["a"])
    if errors:
        raise IncompatibleRecipeError(spec, *errors)


def _audit_errors(spec: Recipe, parts: Parts, domains: Mapping[str, Domain]) -> list[Found]:
    if spec.audit is not None and domains["a"].task.kind not in ("class", "any"):
        return [(("audit",), needs_classes(domains["a"].task))]
    classifier = classifier_recipe(spec, steps=1)
    try:
        if classifier is not None:
            check(classifier, parts, domains, begins=False)
    except IncompatibleRecipeError as error:
        return [_of_classifier(one) for one in error.errors]
    return []


def _of_classifier(error: ErrorRecord) -> ErrorRecord:
    """Return an error of the audit classifier's recipe as one of the recipe that asks for the audit."""
    place, text = error.place, f"the audit classifier: {error.message}"
    if place[:2] == ("nets", "generator"):
        return replace(error, message=text, place=("audit", "classifier", *place[2:]), origin=None)
    text = f"the audit classifier: {dotted(place)}: {error.message}"
    return replace(error, message=text, place=("audit", "classifier"), origin=None)


def _reported(spec: Recipe, parts: Parts) -> dict[str, Domain]:
    """Return the domains of a recipe with the tasks that its datasets report, else placeholders.

    A dataset that holds others may rename their classes, so what is within one does not decide.
    """
    domains = placeholder_domains(spec)
    if spec.nets.head is None:
        return domains
    for name in SIDES:
        for place, dataset in opened_leaves(spec, parts, name):
            if place == ("data", name) and dataset is not None and _certain(dataset.task):
                domains[name] = replace(domains[name], task=dataset.task)
    if spec.data.b_is_truth:
        domains["b"] = replace(domains["b"], task=domains["a"].task)
    return domains


def _certain(task: Task) -> bool:
    """True if a dataset declares its task; the classes of one without may come from the dataset around it."""
    return len(task.names) > 1 if task.kind == "class" else task.kind != "none"


def _misfits(spec: Recipe, terms: list[Term]) -> Iterator[Found]:
    """Errors between losses and networks."""
    for i, term in enumerate(terms):
        yield from _loss_errors(spec, ("losses", i), spec.losses[i].name, term.loss)
    trained = {extra for term in terms for extra in term.loss.trains}
    for extra in spec.nets.extra:
        at = ("nets", "extra", extra)
        if extra in RESERVED or hasattr(Extra, extra):
            yield ErrorRecord("is a name that networks of a run cannot have; choose another", "not-allowed", at)
        elif extra not in trained and spec.nets.weights is None:
            yield at, "no loss trains it, and nets.weights gives it no weights; add a loss that does, or remove it"
    if spec.nets.discriminator is not None and not any(term.loss.needs_discriminator for term in terms):
        yield ("nets", "discriminator"), "no loss trains it; add one such as lsgan, or remove it"
    if spec.train.keep == "best" and not spec.metric_names:
        yield ErrorRecord("best needs a score; add one to evaluate.metrics", "missing", ("train", "keep"))


def _loss_errors(spec: Recipe, at: Place, name: str, loss: Loss) -> Iterator[Found]:
    """Errors between a loss, which the recipe names at a place, and the networks and pairs that it needs."""
    if loss.needs_discriminator and spec.nets.discriminator is None:
        yield ErrorRecord(f"{name} needs nets.discriminator, which is not set", "missing", at)
    if "target" in loss.needs and spec.nets.head is None:
        yield ErrorRecord(f"{name} needs nets.head, which is not set", "missing", at)
    if "pairs" in loss.needs and spec.data.pairing != "key":
        yield at, f"{name} compares a with its own b; set data.pairing: key"
    if loss.both_ways and spec.nets.one_way:
        yield ErrorRecord(f"{name} needs the way back; nets.one_way must not be true", "conflict", at)
    for extra in loss.trains:
        if extra not in spec.nets.extra:
            error = unknown_record("network", extra, spec.nets.extra, place=at)
            yield replace(error, message=f"{name} trains a network of nets.extra: {error.message}")


def _logger_errors(spec: Recipe, parts: Parts) -> Iterator[Found]:
    """Errors of loggers that cannot be made, as one whose library is not installed."""
    for i in range(len(spec.loggers)):
        try:
            with TemporaryDirectory() as folder, spec.at("loggers", i):
                spec.part(parts, "loggers", i)(Path(folder))
        except IncompatibleRecipeError as error:
            yield from error.errors


def _teacher_errors(spec: Recipe) -> Iterator[Found]:
    """Errors of a teacher that does not exist; whether it fits is checked by the run."""
    if spec.nets.teacher is not None:
        try:
            recipe.read_resolved(Path(spec.nets.teacher))
        except RestorekitError as error:
            yield from ((("nets", "teacher"), str(one)) for one in error.errors)


def _metric_errors(spec: Recipe, parts: Parts, domain: Domain) -> Iterator[Found]:
    usable = []
    for i, (name, metric) in enumerate(zip(spec.metric_names, spec.evaluate.metrics, strict=True)):
        at = ("evaluate", "metrics", i)
        try:
            with spec.at(*at):
                made = spec.part(parts, *at)(domain)
        except IncompatibleRecipeError as error:
            yield from error.errors
            usable.append(name)  # its errors are reported already
        else:
            if made.needs == "target" and spec.nets.head is None:
                yield ErrorRecord(f"{metric.name} scores predictions; set nets.head", "missing", at)
            usable += [name] if made.better != "neither" else []
    if spec.train.best is not None and spec.train.best not in usable:
        listed = ", ".join(usable) or "none of these"
        why = f"of {spec.train.best}, neither more nor less is better; those that know are {listed}"
        yield ErrorRecord(why, "not-allowed", ("train", "best"))
    elif spec.train.keep == "best" and spec.metric_names and not usable:
        yield ("train", "keep"), "best needs a metric with a direction; of these, none has one"


def _shape_errors(spec: Recipe, parts: Parts, domains: Mapping[str, Domain], terms: list[Term]) -> list[Found]:
    """Run the networks once without numbers, on the meta device: what cannot be built or take the images is reported.

    Where a plugin needs numbers, as one that reads some while it is built, two images are run on the CPU.
    """
    try:
        return _run_once(spec, parts, domains, terms, "meta", spec.data.batch)
    except NeedsNumbers:
        return _run_once(spec, parts, domains, terms, "cpu", min(2, spec.data.batch))


def _run_once(
    spec: Recipe, parts: Parts, domains: Mapping[str, Domain], terms: list[Term], device: str, batch: int
) -> list[Found]:
    shape = (batch, spec.data.channels, *spec.data.size)
    try:
        return _run_nets(spec, parts, domains, terms, device, shape)
    except IncompatibleRecipeError as error:
        cause = error.__cause__
        if device == "meta" and cause is not None and isinstance(cause.__cause__, ValueError):
            raise NeedsNumbers from error  # a part refused a value, which may be one that was never computed
        return [*error.errors]
    except PredictionError as error:
        called = spec.nets.head.name if spec.nets.head is not None else ""
        return [(("nets", "head"), f"head {called!r} {error}")]
    except RestorekitError as error:
        return [(("nets",), str(one)) for one in error.errors]
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if device == "meta" and lacks_numbers(error):
            raise NeedsNumbers from error
        why = str(error).partition("\n")[0]
        return [(("nets",), f"cannot take images of {shape}: {why}")]


def _run_nets(
    spec: Recipe,
    parts: Parts,
    domains: Mapping[str, Domain],
    terms: list[Term],
    device: str,
    shape: tuple[int, ...],
) -> list[Found]:
    """Return the errors of networks that images of a shape pass through."""
    with torch.device(device), torch.no_grad(), explain_norm_error():
        nets = build_nets(spec, parts, domains, terms)
        found = [*_size_errors(spec, nets)]
        if found:
            return found
        image = torch.empty(shape)
        outputs = [net(image) for net in nets.translators()]
        found = [*_image_errors(spec, outputs, image), *_least_errors(spec, nets)]
        if found:
            return found
        larger = nd.resize(image, [n * spec.data.scale for n in spec.data.size])
        for discriminator in nets.discriminators():
            found += _score_errors(discriminator, larger)
    for net, output, name in zip(nets.translators(), outputs, SIDES, strict=False):
        if net.head is not None:
            require_prediction(net.head, output.raw, domains[name], shape[0])
    found += _extra_errors(spec, nets, {"a": image, "b": larger}, device)
    found += _evened_twice(spec, nets)
    found += [] if spec.nets.teacher else untrained_head(spec, nets, terms)  # a loss may read what is not here
    found += [] if nets.ab.generator.translates else _of_images(spec, parts, domains["a"], terms)
    return found + _unpaired(spec, nets)


def _image_errors(spec: Recipe, outputs: Sequence[Output], image: Tensor) -> Iterator[Found]:
    """Errors of what generators made of new images, and did to these."""
    at, shape = ("nets", "generator"), tuple(image.shape)
    must = f"{(*shape[:2], *spec.data.sizes['b'])} of float32"
    for made in dict.fromkeys(_described(output.image) for output in outputs):  # both ways the same is one error
        if made != must:
            yield at, f"makes {made} of {shape}; must make {must}"
    if image._version:  # the meta device has no numbers to compare
        yield at, "changes the images that it gets; it must not: clone them first"


def _described(made: object) -> str:
    """Return shape and type of what a generator made, as text."""
    if not isinstance(made, Tensor):
        return f"a {type(made).__name__}"
    return f"{tuple(made.shape)} of {str(made.dtype).removeprefix('torch.')}"


def _size_errors(spec: Recipe, nets: Nets) -> Iterator[Found]:
    """The first error of sizes and scale, without which no image can be tried."""
    generator, name = nets.ab.generator, spec.nets.generator.name
    if any(n % generator.multiple for n in spec.data.size):
        yield (
            ("data", "size"),
            f"generator {name!r} takes multiples of {generator.multiple}; got {spec.data.size}",
        )
    elif generator.scale != spec.data.scale:
        yield (
            ("data", "scale"),
            f"must be the scale of generator {name!r}, {generator.scale}; got {spec.data.scale}",
        )
    elif generator.scale > 1 and nets.ba is not None:
        yield ("nets", "one_way"), "must be true with data.scale above 1: nothing makes images smaller"


def _score_errors(discriminator: Discriminator, image: Tensor) -> Iterator[Found]:
    """Errors of what a discriminator makes of images."""
    scores = discriminator(image, image) if discriminator.conditional else discriminator(image)
    for one in scores if isinstance(scores, list | tuple) else [scores]:
        if not isinstance(one, Tensor) or tuple(one.shape[:2]) != (len(image), 1):
            why = f"makes {_described(one)} of {tuple(image.shape)}; must make ({len(image)}, 1, ...), or several such"
            yield ("nets", "discriminator"), why


def _least_errors(spec: Recipe, nets: Nets) -> Iterator[Found]:
    """The error of sizes that a generator takes, but not in evaluation, as restoring pads to its least."""
    least = nets.ab.generator.least
    if any(n < least for n in spec.data.size):
        why = f"generator {spec.nets.generator.name!r} takes sizes of {least} or more; got {spec.data.size}"
        yield ("data", "size"), why


def _unpaired(spec: Recipe, nets: Nets) -> list[Found]:
    """The error of a discriminator that needs pairs where there are none."""
    if spec.data.alike or not any(discriminator.conditional for discriminator in nets.discriminators()):
        return []
    why = (
        "is conditional: it scores an image beside its pair; set data.pairing: key, or, if random pairs are meant, "
        "data.augment.alike: true"
    )
    return [(("nets", "discriminator"), why)]


def _extra_errors(spec: Recipe, nets: Nets, images: Mapping[str, Tensor], device: str) -> Iterator[Found]:
    """Errors of networks of nets.extra that cannot take the images of their side."""
    for name, of in spec.nets.extra.items():
        image, net = images[of.domain], nets.extra[name]
        try:
            net(image, image) if isinstance(net, Discriminator) and net.conditional else net(image)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if device == "meta" and lacks_numbers(error):
                raise
            why = str(error).partition("\n")[0]
            yield ("nets", "extra", name, of.kind), f"cannot take images of {tuple(image.shape)}: {why}"


def untrained_head(spec: Recipe, nets: Nets, terms: list[Term]) -> list[Found]:
    """Return an error if there is a head and no loss trains it: none whose value depends on what it returns.

    The losses are computed once, of two images of zeros, where none of them declares that it needs targets.
    """
    if nets.ab.head is None or any("target" in term.loss.needs for term in terms):
        return []
    device = next(nets.ab.parameters()).device
    a, b = (_blank(spec, name, device) for name in SIDES)
    pool = HistoryPool(0)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        passes = Passes(nets, a, b, (pool, pool), torch.Generator().manual_seed(0))
        values = [passes.mean(term.loss.generator(passes)) for term in terms]
        total = sum(value for value in values if value is not None and value.requires_grad)
        heads = [net.head for net in nets.translators() if net.head is not None]
        weights = [p for head in heads for p in head.parameters() if p.requires_grad]
        found = torch.autograd.grad(total, weights, allow_unused=True) if isinstance(total, Tensor) else []
    if any(gradient is not None for gradient in found):
        return []
    why = "no loss trains it, so its predictions would mean nothing; add task, or remove it"
    return [(("nets", "head"), why)]


def _blank(spec: Recipe, name: SideName, device: torch.device) -> Batch:
    """Return two images of zeros of a side, of which the truth is known."""
    image, truth = (torch.zeros(2, spec.data.channels, *spec.data.sizes[side], device=device) for side in (name, "b"))
    return Batch(image, ("1", "2"), truth=truth)


def _evened_twice(spec: Recipe, nets: Nets) -> Iterator[Found]:
    head = nets.ab.head
    if head is not None and head.balances and spec.data.balance == "class":
        why = f"class balances the classes a second time, after {head.balances} of nets.head"
        why += "; set data.balance: none, or remove that option of the head"
        yield ErrorRecord(why, "conflict", ("data", "balance"))


def _of_images(spec: Recipe, parts: Parts, domain: Domain, terms: list[Term]) -> Iterator[Found]:
    """Errors of a recipe whose generator hands its images through: what trains or scores them means nothing."""
    why = f"generator {spec.nets.generator.name!r} hands its images through"
    if any(term.loss.needs_discriminator for term in terms):
        yield ("nets", "discriminator"), f"{why}, so there is nothing to discriminate; remove it and its loss"
    if spec.audit is not None:
        yield ("audit",), f"{why}, so there is nothing to audit; remove it"
    for i, metric in enumerate(spec.evaluate.metrics):
        if spec.part(parts, "evaluate", "metrics", i)(domain).needs != "target":
            yield ("evaluate", "metrics", i), f"{metric.name} scores restored images; {why}; remove it"


def make_baseline(spec: AnyRecipe, parts: Parts, domain: Domain) -> Restorer | None:
    """Return the restorer that a recipe compares its own with; None: there is none.

    Raises:
        RecipeError: if it cannot be made for the images, or makes them of another size.
    """
    if spec.evaluate.baseline is None:
        return None
    with spec.at("evaluate", "baseline"):
        part: Restorer = spec.part(parts, "evaluate", "baseline")(domain)
    if part.scale != spec.data.scale:
        why = f"must have data.scale, {spec.data.scale}; {spec.evaluate.baseline.name!r} has {part.scale}"
        raise IncompatibleRecipeError(spec, (("evaluate", "baseline"), why))
    return part


def check_restorer(spec: RestorerRecipe, parts: Parts, domains: Mapping[str, Domain] | None = None) -> Restorer:
    """Check a recipe that names a restorer, and return that; no data is read.

    Raises:
        RecipeError: if it cannot be made for the images, or is scored by what it does not do.
    """
    domain = (domains or placeholder_domains(spec))["a"]
    with spec.at("restorer"):
        part: Restorer = spec.part(parts, "restorer")(domain)
    if part.scale != spec.data.scale:
        why = f"must be the scale of restorer {spec.restorer.name!r}, {part.scale}; got {spec.data.scale}"
        raise IncompatibleRecipeError(spec, (("data", "scale"), why))
    metrics = make_metrics(spec, parts, domain)  # with their parts, which the recipe does not name
    for i, metric in enumerate(metrics[name] for name in spec.metric_names):
        if metric.needs == "target" and not part.predicts:
            name = spec.restorer.name
            why = f"{spec.evaluate.metrics[i].name} scores predictions, and the restorer {name!r} makes none"
            raise IncompatibleRecipeError(spec, (("evaluate", "metrics", i), why))
    make_baseline(spec, parts, domain)
    return part
