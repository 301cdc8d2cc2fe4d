"""Building a run from a recipe: opens and checks images, makes parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from restorekit.core.errors import DataError, ErrorRecord, Place, RestorekitError
from restorekit.core.passes import HistoryPool
from restorekit.core.tasks import Task
from restorekit.core.types import (
    Domain,
    Encoder,
    Generator,
    Nets,
    ParameterGroup,
    Translator,
    groups_of,
)
from restorekit.data import batches
from restorekit.data.splits import SIDES, Splits, listed, read_splits
from restorekit.discovery.plugins import Plugins
from restorekit.parts.registry import Parts
from restorekit.recipes import recipe
from restorekit.recipes.model import AnyRecipe, IncompatibleRecipeError, Recipe, RestorerRecipe
from restorekit.runs.average import Average
from restorekit.runs.check import check, check_restorer, make_baseline, untrained_head
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.engine import Engine
from restorekit.runs.fitted import FittedRun
from restorekit.runs.images import Images, examined_images
from restorekit.runs.libraries import libraries
from restorekit.runs.nets import Term, build_nets, build_translator, make_metrics, make_terms
from restorekit.runs.optimization import make_optimization
from restorekit.runs.processes import require_single_process
from restorekit.runs.run import Run
from restorekit.runs.selection import Selection
from restorekit.runs.teacher import open_teacher
from restorekit.runs.weights import load_weights, read_weights

__all__ = ["build", "build_experiment", "build_fitted", "reopen"]


def _read(
    spec: AnyRecipe,
    splits: Splits,
    parts: Parts,
    folder: Path,
    engine: Engine,
    verify: Callable[[str], None] | None,
    allow_leaks: bool,
) -> tuple[Splits, Images]:
    """Read the images of a recipe, whose datasets are listed; see `build`."""
    splits = read_splits(spec, splits, verify=verify)
    if note := batches.cache_note(splits, spec.data):
        engine.notes.append(note)
    engine.notes.extend(splits.depth_notes())
    return splits, examined_images(spec, parts, splits, folder, check=verify is not None, allow_leaks=allow_leaks)


def _libraries(spec: AnyRecipe, plugins: Plugins) -> Mapping[str, str]:
    """Return the versions of the libraries of restorekit and of the plugins whose parts a recipe names."""
    return libraries(plugins, recipe.parts_of(spec, plugins.parts), spec.needs)


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
    parts, engine = plugins.parts, Engine("fp32")
    _, images = _read(spec, listed(spec, parts), parts, folder, engine, verify, allow_leaks)
    return FittedRun(
        recipe=spec,
        images=images,
        engine=engine,
        folder=folder,
        libraries=_libraries(spec, plugins),
        part=check_restorer(spec, parts, images.domains),
        baseline=make_baseline(spec, parts, images.domains["a"]),
        metrics=make_metrics(spec, parts, images.domains["a"]),
    )


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
            that is only scored again, without `verify`, may have others in the same splits: `Images.changed` states it.
    """
    require_single_process()
    parts = plugins.parts
    splits, checked = _listed(spec, parts, begins=verify is not None)
    with spec.at("train", "precision"):
        engine = Engine(spec.train.precision)
    begins = training and not checkpoints(folder)
    teacher = open_teacher(spec, plugins, build_translator) if training else None
    weights = read_weights(spec) if begins and spec.nets.weights is not None else {}
    splits, images = _read(spec, splits, parts, folder, engine, verify, allow_leaks)
    _require_images(spec, parts, images, checked)
    terms, metrics = make_terms(spec, parts), make_metrics(spec, parts, images.domains["a"])
    per_epoch = batches.steps_per_epoch(splits, spec)
    steps = spec.train.steps if spec.train.steps is not None else (spec.train.epochs or 1) * per_epoch
    nets = build_nets(spec, parts, images.domains, terms)
    if begins:  # else the run has begun, and all weights come from there
        _start(spec, nets, terms, weights, steps)
    nets.to(engine.device)
    if teacher is not None:
        _add_teacher(spec, nets, terms, teacher.net.to(engine.device))
    return Run(
        recipe=spec,
        images=images,
        engine=engine,
        folder=folder,
        libraries=_libraries(spec, plugins),
        metrics=metrics,
        baseline=make_baseline(spec, parts, images.domains["a"]),
        nets=nets,
        terms=terms,
        optimization=make_optimization(spec, parts, nets, steps),
        selection=Selection(metrics, spec.train.best),
        pools=(HistoryPool(spec.train.pool), HistoryPool(spec.train.pool)),
        batches=partial(batches.training_batches, splits, spec, summary=_summary_of(nets.ab.generator)),
        steps=steps,
        steps_per_epoch=per_epoch,
        teacher=None if teacher is None else teacher.digest,
        average=None if spec.train.ema is None else Average(nets, spec.train.ema),
    )


def _listed(spec: Recipe, parts: Parts, *, begins: bool) -> tuple[Splits, dict[str, Domain]]:
    """List the images of a recipe, and check it against their domains before any of them is read.

    Where they cannot be listed, or lack what the losses need, the errors of the recipe itself go first.
    """
    try:
        splits = listed(spec, parts)
        domains: dict[str, Domain] = {name: splits["train", name].unread() for name in SIDES}
        _require_known(spec, make_terms(spec, parts), splits, domains)
    except RestorekitError:
        if begins:
            check(spec, parts)
        raise
    check(spec, parts, domains, begins=begins)
    return splits, domains


def _require_known(spec: Recipe, terms: list[Term], splits: Splits, domains: Mapping[str, Domain]) -> None:
    """Require that the data know what the losses compare with: truths and targets."""
    if spec.data.pairing != "key" and not splits["train", "a"].dataset.has_truth:
        for i, term in enumerate(terms):
            if "truth" in term.loss.needs:
                why = (
                    f"{spec.losses[i].name} needs images of a whose truth is known; set data.pairing: key, or take a "
                    "dataset that has the truth, such as degraded"
                )
                raise IncompatibleRecipeError(spec, (("losses", i), why))
    if any("target" in term.loss.needs for term in terms) and domains["a"].task == Task():
        raise DataError("data.a: has no classes, labels, numbers or masks, one of which the task loss needs")


def _require_images(spec: Recipe, parts: Parts, images: Images, checked: Mapping[str, Domain]) -> None:
    """Require that the recipe fits its images once they are read, of which some may have been left out."""
    if {name: replace(domain, bits=None) for name, domain in images.domains.items()} != checked:
        check(spec, parts, images.domains, begins=False)
    if spec.train.keep == "best" and not images.sizes["val"]:
        why = "best needs a validation split; set data.val to a fraction, e.g. 0.1"
        raise IncompatibleRecipeError(spec, ErrorRecord(why, "missing", ("train", "keep")))


def _start(spec: Recipe, nets: Nets, terms: list[Term], weights: Mapping[str, Tensor], steps: int) -> None:
    """Load the initial weights of networks that are not random, for a training of `steps` steps."""
    _require_unfreezing(spec, nets, terms, steps)
    for net in (*(net.generator for net in nets.translators()), *nets.extra.values()):
        if isinstance(net, Generator | Encoder):
            net.warm_start()
    if spec.nets.weights is not None:
        load_weights(spec, nets, weights)


def _add_teacher(spec: Recipe, nets: Nets, terms: list[Term], teacher: Translator) -> None:
    """Give networks their teacher, and require losses that train the head, which may read the teacher."""
    nets.set_teacher(teacher)
    if untrained := untrained_head(spec, nets, terms):
        raise IncompatibleRecipeError(spec, *untrained)


def _require_unfreezing(spec: Recipe, nets: Nets, terms: list[Term], steps: int) -> None:
    """Require that every group of parameters begins to learn within the run.

    Raises:
        RecipeError: if one does not.
    """
    places: dict[Place, tuple[str, list[ParameterGroup]]] = {
        ("nets", "generator"): (spec.nets.generator.name, [g for net in nets.translators() for g in net.groups()])
    }
    for name in {name for term in terms for name in term.loss.trains}:
        of = spec.nets.extra[name]
        places["nets", "extra", name, of.kind] = of.part.name, groups_of(nets.extra[name])
    for place, (part, groups) in places.items():
        last = max((group.first_step for group in groups), default=0)
        if last >= steps:
            why = (
                f"{part!r} has parameters that learn from step {last} on, counted from 0, and the run has {steps} "
                f"steps, so they never would; let them learn from a step below {steps} on, or train longer"
            )
            raise IncompatibleRecipeError(spec, (place, why))


def _summary_of(generator: Generator) -> Callable[[Tensor], Tensor | None] | None:
    """Return a generator's summary for loaders in other processes; it has no parameters."""
    return deepcopy(generator).to("meta").summary if generator.summarises else None


def reopen(folder: Path, plugins: Plugins, root: Path | None = None) -> Run | FittedRun:
    """Rebuild the run of a run folder from its resolved recipe.

    Args:
        folder: the run folder.
        plugins: where its parts come from.
        root: where its data are now; None: where they were.

    Raises:
        RecipeError: if it is no run folder, or its images are not there.
    """
    return build_experiment(recipe.reopened(folder, plugins, root), plugins, folder, training=False)
