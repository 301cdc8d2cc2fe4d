"""The one loop: `step` is the whole of adversarial training, `train` takes steps and says what happens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from restorekit.core import nd
from restorekit.core.errors import TrainingError
from restorekit.core.events import Event, Finished, Sampled, Saved, Scored, Started, Stepped, Ticked
from restorekit.core.passes import Passes
from restorekit.core.types import Batch
from restorekit.stages.recipes.seeds import seed_of
from restorekit.stages.runs.checkpoint import last_good
from restorekit.stages.runs.run import Run, Term
from restorekit.stages.scoring.evaluate import pictures, score
from restorekit.stages.training.health import watched

__all__ = ["step", "train"]


def step(run: Run, a: Batch, b: Batch) -> dict[str, float]:
    """Take one step: the translators descend, then the discriminators. Return every term's value."""
    torch.manual_seed(seed_of(run.recipe.seed, "step", run.step))
    rng = torch.Generator().manual_seed(seed_of(run.recipe.seed, "pool", run.step))
    passes = Passes(run.nets, a, b, run.pools, rng)
    _thaw(run)
    with _memory_told(run), run.recipe.at("nets"), nd.lone_values_told():
        with frozen(run.nets.discriminators()):
            values = descend(run, "generator", passes)
        return values | descend(run, "discriminator", passes)


def descend(run: Run, side: str, passes: Passes) -> dict[str, float]:
    """Sum weight times term over the terms of a side, back-propagate, and move that side's parameters."""
    terms = [term for term in run.terms if side in term.sides()]
    with run.engine.autocast():
        values = {term: _value(run, term, side, passes) for term in terms}
    told = {term: value for term, value in values.items() if value is not None}
    if not told:
        return {}
    floats = {f"{side}.{term.name}": float(value.detach()) for term, value in told.items()}
    _demand_finite(run, floats)
    total: Tensor = torch.stack([term.weight * value for term, value in told.items()]).sum()
    if not total.requires_grad:
        raise TrainingError(f"step {run.step + 1}: no {side} loss depends on what learns then; mend nets or losses")
    optimiser = run.optimisers[side]
    _set_rate(run, optimiser)
    optimiser.zero_grad()
    run.engine.backward(total)
    optimiser.step()
    return floats


def _value(run: Run, term: Term, side: str, passes: Passes) -> Tensor | None:
    with run.recipe.at("losses", run.terms.index(term)):
        value: Tensor | None = getattr(term.loss, side)(passes)
    return value


def train(run: Run) -> Iterator[Event]:
    """Train from where the run stands to its last step, and yield what happens and what is noticed of its health.

    Stop it by leaving the loop at a `Ticked`: there everything of a step is done, and `run.save()` is safe.
    """
    return watched(_steps(run), run.folder)


def _steps(run: Run) -> Iterator[Event]:
    scored = run.validated if run.sizes["val"] else ()
    yield Started(run.step, run.steps, run.steps_per_epoch, run.losses, scored, run.synthetic, run.ranges)
    spec = run.recipe.train
    run.nets.train()
    for a, b in run.batches(run.step, run.steps):
        rate = run.rate(run.step)
        values = step(run, a.to(run.engine.device), b.to(run.engine.device))
        run.step += 1
        if run.average is not None:
            run.average.update(run.nets, run.step)
        last = run.step == run.steps
        if last or run.step % spec.log_every == 0:
            yield Stepped(run.step, (run.step - 1) // run.steps_per_epoch, rate, values)
        best = False
        if scored and (last or run.step % spec.score_every == 0):
            scores = score(run, "val")
            best = _note_best(run, scores)
            yield Scored(run.step, scores)
        if last or run.step % spec.sample_every == 0:
            images, keys = pictures(run)
            yield Sampled(run.step, images, keys)
        if last or best or run.step % spec.save_every == 0:
            yield Saved(run.step, run.save())
        yield Ticked(run.step)
    _demand_best(run)
    yield Finished(run.step)


@contextmanager
def _memory_told(run: Run) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"step {run.step + 1}: the {run.engine.device.type} has not the memory for it; {last_good(run.folder)}. "
            "Lower data.batch or data.size, or use train.precision: bf16"
        ) from error


@contextmanager
def frozen(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Keep gradients out of the modules' parameters."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


def _thaw(run: Run) -> None:
    """Freeze the groups that do not learn yet at this step, and thaw the others."""
    for group in run.optimisers["generator"].param_groups:
        learns = run.step >= group["first_step"]
        if group["first_step"] > 0 and group["params"][0].requires_grad != learns:
            for p in group["params"]:
                p.requires_grad_(learns)
            run.nets.train()  # what is frozen, or no longer, changes its mode


def _set_rate(run: Run, optimiser: torch.optim.Optimizer) -> None:
    adam = run.recipe.train.adam
    for group in optimiser.param_groups:
        group["lr"] = run.rate(run.step) * group["factor"]
        if adam.eps_hat and run.step >= group["first_step"]:
            # torch adds eps to sqrt(v / (1 - b2^t)); TensorFlow adds it to sqrt(v). This eps makes the two equal.
            steps = run.step - group["first_step"] + 1
            group["eps"] = adam.eps / math.sqrt(1 - adam.betas[1] ** steps)


def _note_best(run: Run, scores: dict[str, float]) -> bool:
    """Remember the scores if they are the best so far."""
    name, score = run.judge, run.best_score
    if name is None or score is None:
        return False
    if not run.is_better(name, scores[score]):
        return False
    run.best = {"score": score, "value": scores[score], "step": run.step}
    return True


def _demand_best(run: Run) -> None:
    """Early in a run a score may not be defined, as precision is while nothing is called positive; once it must be."""
    if run.recipe.train.keep == "best" and run.best is None and run.judge is not None:
        reason = run.metrics[run.judge].undefined
        raise TrainingError(
            f"step {run.step}: train.keep is best, but {run.judge} of the validation images was {reason} whenever it "
            f"was scored; {last_good(run.folder)}, which restores as a run does"
        )


def _demand_finite(run: Run, values: dict[str, float]) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        precise = run.engine.precision == "fp32"
        raise TrainingError(
            f"step {run.step + 1}: {', '.join(wrong)} is not finite; {last_good(run.folder)}. "
            f"Lower train.adam.lr or a loss weight{'' if precise else ', or use train.precision: fp32'}"
        )
