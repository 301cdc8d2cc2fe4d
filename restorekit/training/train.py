"""The training loop: `step` is one step of adversarial training, `train` takes steps and yields events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from restorekit.core.errors import RecipeError, TrainingError
from restorekit.core.events import Event, Finished, Sampled, Saved, Scored, Started, StepDone, Stepped
from restorekit.core.passes import Passes
from restorekit.core.types import Batch
from restorekit.evaluation.evaluate import pictures, score
from restorekit.recipes.seeds import seed_of
from restorekit.runs.checkpoint import last_good
from restorekit.runs.health import monitor
from restorekit.runs.nets import Term
from restorekit.runs.norms import explain_norm_error
from restorekit.runs.run import Run

__all__ = ["Unfinite", "step", "train"]


def step(run: Run, batches: Sequence[tuple[Batch, Batch]]) -> dict[str, Tensor]:
    """Take one step: the translators learn, then the discriminators.

    Args:
        run: the run, whose networks, optimizers and pools change.
        batches: batches (a, b) on the run's device; gradients are summed over them, losses are means over all images.

    Returns:
        Every term's value, a scalar each without gradient. Nothing waits for them, and nothing looks whether they are
        finite: see `Unfinite`.
    """
    torch.manual_seed(seed_of(run.recipe.seed, "step", run.step))
    rng = torch.Generator().manual_seed(seed_of(run.recipe.seed, "pool", run.step))
    passes = [Passes(run.nets, a, b, run.pools, rng, step=run.step, batches=batches) for a, b in batches]
    _unfreeze_groups(run)
    with _reraise_oom(run), run.recipe.at("nets"), explain_norm_error():
        made = descend(run, "generator", passes) | descend(run, "discriminator", passes)
        return made | descend_extra(run, passes)


def descend(run: Run, side: str, passes: Sequence[Passes]) -> dict[str, Tensor]:
    """Sum weight times term over the terms of a side, back-propagate, and update that side's parameters."""
    terms = [term for term in run.terms if side in term.sides()]
    if side not in run.optimization.optimizers or not terms:
        return {}
    optimizer = run.optimization.optimizers[side]
    parameters = [p for p in run.optimization.parameters(side) if p.requires_grad]
    run.optimization.set_rates(side, run.step)
    optimizer.zero_grad()
    values: dict[str, Tensor] = {}
    for p in passes:
        with run.engine.autocast():
            made = {term: _value(run, term, side, p) for term in terms}
        given = {term: value for term, value in made.items() if value is not None}
        if not given:
            continue
        total = torch.stack([term.weight * value for term, value in given.items()]).sum()
        if total.requires_grad:
            run.engine.backward(total, parameters)
        for term, value in given.items():
            name = f"{side}.{term.name}"
            values[name] = value.detach() + values.get(name, 0)
    if not values:
        return {}
    if all(p.grad is None for p in parameters):
        raise TrainingError(
            f"step {run.step + 1}: no trainable parameter gets a gradient from the {side} losses; change nets or losses"
        )
    run.engine.apply([optimizer], run.recipe.train.clip)
    return values


def descend_extra(run: Run, passes: Sequence[Passes]) -> dict[str, Tensor]:
    """Update each network of `nets.extra` by the losses that train it: its values reach its parameters alone."""
    terms = [term for term in run.terms if term.loss.trains]
    optimizers = run.optimization.optimizers
    parameters = {
        name: [p for p in run.optimization.parameters(name) if p.requires_grad]  # none before they begin to learn
        for name in run.nets.extra
        if name in optimizers
    }
    values: dict[str, Tensor] = {}
    for name in parameters:
        run.optimization.set_rates(name, run.step)
        optimizers[name].zero_grad()
    for p in passes if parameters else ():
        with run.engine.autocast():
            made = {term: _extra_values(run, term, p) for term in terms}
        totals = {}
        for name in parameters:
            given = {term: value for term, of in made.items() if (value := of.get(name)) is not None}
            if given:
                totals[name] = torch.stack([term.weight * value for term, value in given.items()]).sum()
            for term, value in given.items():
                values[f"{name}.{term.name}"] = value.detach() + values.get(f"{name}.{term.name}", 0)
        for at, (name, total) in enumerate(totals.items(), start=1):
            if total.requires_grad and parameters[name]:  # several may share a part of the graph
                run.engine.backward(total, parameters[name], retain=at < len(totals))
    trained = [name for name, of in parameters.items() if of and any(key.startswith(f"{name}.") for key in values)]
    for name in trained:
        if all(p.grad is None for p in parameters[name]):
            raise TrainingError(
                f"step {run.step + 1}: no parameter of nets.extra.{name} gets a gradient from the losses that train it"
            )
    if trained:
        run.engine.apply([optimizers[name] for name in trained], run.recipe.train.clip)
    return {name: values[name] for name in run.losses if name in values}


def _extra_values(run: Run, term: Term, passes: Passes) -> dict[str, Tensor | None]:
    """Return the value of a term for each network of `nets.extra` that it trains."""
    with run.recipe.at("losses", run.terms.index(term)):
        made = term.loss.extra(passes)
        if {*made} != {*term.loss.trains}:
            got, must = (", ".join(sorted(names)) or "none" for names in (made, term.loss.trains))
            raise RecipeError(
                f"loss {term.name!r}: extra must return a value for each name in trains, {must}; got {got}"
            )
        return {name: passes.mean(value) for name, value in made.items()}


def _value(run: Run, term: Term, side: str, passes: Passes) -> Tensor | None:
    with run.recipe.at("losses", run.terms.index(term)):
        return passes.mean(getattr(term.loss, side)(passes))


class Unfinite:
    """Records the first step at which each loss was not finite, without waiting for the device."""

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def add(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Check the losses of a step, counted from 1."""
        for name, value in values.items():
            first = self._first.get(name, torch.zeros((), dtype=torch.long, device=value.device))
            self._first[name] = torch.where((first == 0) & ~value.isfinite(), step, first)

    def check(self, run: Run) -> None:
        """Stop the run if a loss was not finite, or none ever had a value: one batch may have no image that counts.

        Raises:
            TrainingError: naming the losses, the first step, and the last checkpoint.
        """
        if not self._first:
            raise TrainingError(f"step {run.step}: no loss has had a value, so nothing learns; does each return one?")
        found = {name: int(first) for name, first in self._first.items()}
        wrong = {name: step for name, step in found.items() if step}
        if wrong:
            first = min(wrong.values())
            names = ", ".join(name for name, step in wrong.items() if step == first)
            precision = "" if run.engine.precision == "fp32" else ", or use train.precision: fp32"
            raise TrainingError(
                f"step {first}: {names} is not finite; {last_good(run.folder)}. "
                f"Lower train.optimizer.lr or a loss weight, or set train.clip{precision}"
            )


def train(run: Run) -> Iterator[Event]:
    """Train from the current step to the last one, and yield the events and the findings of training health.

    Stop it by leaving the loop at a `StepDone`: there everything of a step is done, and `run.save()` is safe.
    """
    return monitor(_steps(run), run.folder)


def _steps(run: Run) -> Iterator[Event]:
    scored = run.selection.scores if run.images.sizes["val"] else ()
    plain = json.loads(run.recipe.model_dump_json())
    yield Started(run.step, run.steps, run.steps_per_epoch, run.losses, scored, run.images.synthetic, run.ranges, plain)
    spec = run.recipe.train
    run.nets.train()
    unfinite = Unfinite()
    for batches in run.batches(run.step, run.steps):
        rate = run.optimization.rate(run.step)
        with _explain_unfinite(run):
            values = step(run, [(a.to(run.engine.device), b.to(run.engine.device)) for a, b in batches])
        run.step += 1
        unfinite.add(run.step, values)
        if run.average is not None:
            run.average.update(run.nets, run.step)
        last = run.step == run.steps
        due = [run.step % n == 0 for n in (spec.log_every, spec.score_every, spec.sample_every, spec.save_every)]
        if last or any(due):
            unfinite.check(run)  # before anything of the step is written
        if last or due[0]:
            shown = {name: float(value) for name, value in values.items()}
            yield Stepped(run.step, (run.step - 1) // run.steps_per_epoch, rate, shown)
        best = False
        if scored and (last or run.step % spec.score_every == 0):
            scores = score(run, "val")
            best = run.selection.update(scores, run.step)
            yield Scored(run.step, scores)
        if last or run.step % spec.sample_every == 0:
            yield Sampled(run.step, *pictures(run))
        if last or best or run.step % spec.save_every == 0:
            yield Saved(run.step, run.save())
        yield StepDone(run.step)
    _require_best(run)
    yield Finished(run.step)


@contextmanager
def _reraise_oom(run: Run) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"step {run.step + 1}: out of memory on {run.engine.device.type}; {last_good(run.folder)}. "
            "Lower data.batch or data.size, or use train.precision: bf16"
        ) from error


@contextmanager
def _explain_unfinite(run: Run) -> Iterator[None]:
    """Where a network fails because a step before made weights NaN, report these instead."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError):
        run.require_finite_weights()
        raise


def _unfreeze_groups(run: Run) -> None:
    """Freeze the groups that are not trained yet at this step, and unfreeze the others."""
    for group in [group for optimizer in run.optimization.optimizers.values() for group in optimizer.param_groups]:
        learns = run.step >= group["first_step"]
        if group["first_step"] > 0 and group["params"][0].requires_grad != learns:
            for p in group["params"]:
                p.requires_grad_(learns)
            run.nets.train()  # what is frozen, or no longer, changes its mode


def _require_best(run: Run) -> None:
    """Early in a run a score may not be defined, as precision is while nothing is called positive; once it must be."""
    metric = run.selection.metric
    if run.recipe.train.keep == "best" and run.selection.best is None and metric is not None:
        reason = run.metrics[metric].undefined
        raise TrainingError(
            f"step {run.step}: train.keep is best, but {metric} of the validation images was {reason} whenever it "
            f"was scored; {last_good(run.folder)}, which restores as a run does"
        )
