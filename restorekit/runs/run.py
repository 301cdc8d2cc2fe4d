"""A run: networks, optimisers, terms and pools; what it writes of itself, saves and takes over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from restorekit.core.errors import CheckpointError, TrainingError
from restorekit.core.passes import HistoryPool, Loss
from restorekit.core.types import Batch, Nets
from restorekit.recipes.model import Recipe, ScheduleSpec
from restorekit.runs import sizes
from restorekit.runs.average import Average
from restorekit.runs.checkpoint import (
    kept_checkpoint,
    last_good,
    load_average,
    load_nets,
    read_checkpoint,
    remove_old,
    remove_torn,
    write_checkpoint,
)
from restorekit.runs.experiment import Experiment
from restorekit.runs.trained import TrainedRestorer

__all__ = ["Run", "Schedule", "Term", "distance_name"]

Schedule = Callable[[int], float]
"""A step, counted from 0, to a share of the full learning rate."""
RATES = ("lr", "base_lr", "factor", "first_step", "initial_lr")
"""Entries of a parameter group that the recipe sets."""


@dataclass(frozen=True, eq=False)  # a loss may be something that has no hash
class Term:
    """A loss, its weight, and the name under which its values are told."""

    name: str
    weight: float
    loss: Loss

    def sides(self) -> tuple[str, ...]:
        """The sides that the loss overrides."""
        both = ("generator", "discriminator")
        return tuple(s for s in both if getattr(type(self.loss), s) is not getattr(Loss, s))


def distance_name(metric: str) -> str:
    """Return the name of the validation score that tells how far the restored images are from the good ones."""
    return f"{metric}_distance"


@dataclass(kw_only=True)
class Run(Experiment):
    """A training: everything that it needs and changes besides its images."""

    recipe: Recipe
    nets: Nets
    terms: list[Term]
    optimizers: dict[str, Optimizer]
    """By side: "generator", "discriminator" if there are any, and the networks of `nets.extra` by name. A parameter
    group holds `base_lr`, its rate before the schedule, and `first_step`, the step from which it learns."""
    schedules: dict[str, Schedule]
    """By side: a step to the share of `base_lr`."""
    make_schedules: Callable[[int, Mapping[str, int]], dict[str, Schedule]]
    """The length of the run, and by side the step from which its schedule begins anew, to the schedules."""
    pools: tuple[HistoryPool, HistoryPool]
    batches: Callable[[int, int], Iterator[list[tuple[Batch, Batch]]]]
    """(start, stop) to the batches (a, b) of those steps, a list for each."""
    steps: int
    steps_per_epoch: int
    teacher: str | None = None
    """The digest of the weights of `nets.teacher`, where there is one."""
    average: Average | None = None
    """The moving average of the translators, where `train.ema` asks for one."""
    starts: dict[str, int] = field(default_factory=dict)
    """By side the step at which the schedule began anew, when a resumed run was made longer."""
    best: dict[str, Any] | None = None
    """{"score", "value", "step"} of the best validation so far."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of all loss values, in the order in which they are computed."""
        order: list[tuple[str, Term]]
        order = [(side, term) for side in ("generator", "discriminator") for term in self.terms if side in term.sides()]
        order += [(name, term) for name in self.nets.extra for term in self.terms if name in term.loss.trains]
        return tuple(f"{side}.{term.name}" for side, term in order)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """(floor, chance) of the discriminators' losses that have them, summed over the discriminators."""
        count = len(self.nets.discriminators())
        given = {term.name: term.loss.discriminator_range for term in self.terms if "discriminator" in term.sides()}
        return {f"discriminator.{name}": (count * r[0], count * r[1]) for name, r in given.items() if r is not None}

    def rate(self, step: int, side: str = "generator") -> float:
        """Return a side's learning rate at a step, of parameters that learn at the full rate."""
        return float(self.optimizers[side].defaults["lr"]) * self.schedules[side](step)

    def set_rates(self, side: str) -> None:
        """Set the learning rates of a side's parameter groups to those of the present step."""
        share = self.schedules[side](self.step)
        for group in self.optimizers[side].param_groups:
            group["lr"] = group["base_lr"] * share

    @property
    def scored_nets(self) -> Nets:
        """The networks that are scored, shown and restored with: the average if there is one, else those that train."""
        return self.nets if self.average is None else self.average.nets

    @property
    def judge(self) -> str | None:
        """The metric that names the best checkpoint: `train.best`, else the first that knows what is good."""
        judges = (name for name, metric in self.metrics.items() if metric.better != "neither")
        return self.recipe.train.best or next(judges, None)

    @property
    def validated(self) -> tuple[str, ...]:
        """The names of the validation scores, in their order."""
        nearer = (name for name, metric in self.metrics.items() if metric.better == "nearer")
        return (*self.metrics, *map(distance_name, nearer))

    @property
    def best_score(self) -> str | None:
        """The validation score that names the best checkpoint: that of `judge`, or its distance to the good images."""
        name = self.judge
        return distance_name(name) if name is not None and self.metrics[name].better == "nearer" else name

    def is_better(self, name: str, value: float) -> bool:
        """True if a validation score (`best_score` of a metric) beats the best so far; an undefined one never does."""
        if value != value:
            return False
        if self.best is None or self.best["score"] != self.best_score:
            return True
        sign = 1 if self.metrics[name].better == "higher" else -1
        return sign * value > sign * float(self.best["value"])

    @property
    def restorer(self) -> TrainedRestorer:
        """The translator that is scored, applied as often as the recipe evaluates."""
        return TrainedRestorer(self.scored_nets.ab, self.recipe.evaluate.times)

    @property
    def once(self) -> TrainedRestorer:
        """The translator that is scored, applied once."""
        return TrainedRestorer(self.scored_nets.ab)

    @property
    def degrade(self) -> Callable[[Tensor], Tensor] | None:
        """The way back, if it is trained."""
        ba = self.scored_nets.ba
        return None if ba is None else lambda image: TrainedRestorer(ba).restore(image).image

    @property
    def kept(self) -> str:
        """Which checkpoint is scored."""
        return self.recipe.train.keep

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode of the scored networks, without gradients; training mode comes back afterwards."""
        nets = self.scored_nets
        was = nets.training
        nets.eval()
        try:
            with super().evaluating():
                yield
        finally:
            nets.train(was)

    def load(self) -> dict[str, Any]:
        """Take over the weights of the kept checkpoint, not what training needs besides; return its state.

        Raises:
            CheckpointError: if there is none, or it is incomplete, of another format, or of other networks.
        """
        checkpoint = kept_checkpoint(self.folder, self.kept)
        state, tensors = read_checkpoint(checkpoint)
        self._load(tensors, checkpoint)
        return state

    def save(self) -> Path:
        """Write a checkpoint of this step, whole or not at all, and remove those no longer kept.

        Raises:
            TrainingError: if the disk refuses, or weights are not finite; what was saved before stays.
        """
        self._demand_finite()
        state = {
            "step": self.step,
            "steps": self.steps,
            "best": self.best,
            "optimizers": {side: _numbers(o.state_dict()) for side, o in self.optimizers.items()},
            "scaler": self.engine.scaler.state_dict() if self.engine.scaler is not None else None,
            "domains": {name: asdict(domain) for name, domain in self.domains.items()},
            "recipe": json.loads(self.recipe.model_dump_json()),
            "scale": self.scale(),
            "teacher": self.teacher,
            "schedule_starts": self.starts,
        }
        tensors = {
            "nets": dict(self.nets.state_dict()),
            "optimisers": {f"{side}/{k}": v for side, o in self.optimizers.items() for k, v in _tensors(o)},
            "pools": dict(_pooled(self.pools)),
        }
        if self.average is not None:
            tensors["average"] = dict(self.average.nets.state_dict())
        path = write_checkpoint(self.folder, state, tensors)
        remove_old(self.folder, keep=[self.best["step"]] if self.best else [])
        return path

    def _demand_finite(self) -> None:
        """A gradient may overflow though its loss did not: such weights are no good checkpoint."""
        state = self.nets.state_dict()
        wrong = {name.partition(".")[0] for name, tensor in state.items() if not torch.isfinite(tensor).all()}
        if wrong:
            raise TrainingError(
                f"after step {self.step}: weights of {', '.join(sorted(wrong))} are not finite; "
                f"{last_good(self.folder)}. Lower train.optimizer.lr or a loss weight, or use train.precision: fp32"
            )

    def resume(self, checkpoint: Path) -> None:
        """Take over everything that a checkpoint holds, and go on after its step.

        The run may have more steps than the one that saved it. A schedule whose rates depend on the length then begins
        anew, over the steps that are left, if `restart` of it says so. `engine.notes` says how the rates change.

        Raises:
            CheckpointError: if it is incomplete, of another format, of other networks, or of a run of another length
                that this one cannot go on with.
        """
        state, tensors = read_checkpoint(checkpoint)
        if state.get("teacher") != self.teacher:
            got, must = (digest or "none" for digest in (self.teacher, state.get("teacher")))
            raise CheckpointError(
                f"{checkpoint}: nets.teacher must have the weights that the run began with, of SHA-256 {must}; got "
                f"{got}. Bring them back, or begin a new run"
            )
        self._follow_schedules(state, checkpoint)
        self._load(tensors, checkpoint)
        for side, optimizer in self.optimizers.items():
            _load_optimizer(optimizer, side, tensors["optimisers"], state.get("optimizers", {}).get(side, {}))
        for i, pool in enumerate(self.pools):
            pool.images, pool.conditions = (
                [tensor.to(self.engine.device) for tensor in _numbered(tensors["pools"], f"{i}/", of)]
                for of in ("", "/condition")
            )
        if self.engine.scaler is not None and state["scaler"]:
            self.engine.scaler.load_state_dict(state["scaler"])
        self.step, self.best = state["step"], state["best"]
        remove_torn(self.folder)

    def _follow_schedules(self, state: Mapping[str, Any], checkpoint: Path) -> None:
        """Set the schedules to those that a checkpoint goes on with."""
        began, step = dict(state.get("schedule_starts", {})), state["step"]
        self.starts = dict(began)
        if state["steps"] > self.steps:
            raise CheckpointError(
                f"{checkpoint}: train.steps of a run that goes on can be raised, not lowered; it had {state['steps']} "
                f"steps, got {self.steps}"
            )
        if state["steps"] == self.steps:
            self.schedules = self.make_schedules(self.steps, self.starts)
            return
        old = self.make_schedules(state["steps"], began)
        restarted = [side for side in self.optimizers if self._schedule_spec(side).restart]
        self.starts |= dict.fromkeys(restarted, step)
        self.schedules = self.make_schedules(self.steps, self.starts)
        for side in self.optimizers:
            if side not in restarted and _differ(old[side], self.schedules[side], state["steps"]):
                name = self._schedule_spec(side).name
                raise CheckpointError(
                    f"{checkpoint}: was saved by a run of {state['steps']} steps, this one has {self.steps}, and the "
                    f"rates of schedule {name!r} depend on the length. Set train.schedule.restart: true to begin it "
                    "anew over the steps that are left, or begin a new run"
                )
            full = float(self.optimizers[side].defaults["lr"])
            before, after = full * old[side](max(0, step - 1)), full * self.schedules[side](step)
            self.engine.notes.append(
                f"train.steps: raised from {state['steps']} to {self.steps} at step {step}; the learning rate of "
                f"{side} {f'goes from {before:.4g} to {after:.4g}' if before != after else f'stays {after:.4g}'}"
            )

    def _schedule_spec(self, side: str) -> ScheduleSpec:
        train = self.recipe.train
        own = train.discriminator_schedule if side == "discriminator" else None
        return train.schedule if own is None else own

    def _load(self, tensors: Mapping[str, Mapping[str, Tensor]], checkpoint: Path) -> None:
        load_nets(self.nets, tensors["nets"], checkpoint)
        if self.average is not None:
            load_average(self.average.nets, tensors, checkpoint)

    def networks(self) -> dict[str, Any]:
        """Return what networks.json of the run folder holds."""
        spec = self.recipe.nets
        discriminator = spec.discriminator.name if spec.discriminator is not None else ""
        made = sizes.describe(self.nets, self.domains, spec.generator.name, discriminator)
        return made | {
            f"extra.{name}": {of.kind: of.part.name, "parameters": sizes.trainable(self.nets.extra[name])}
            for name, of in spec.extra.items()
        }


def _differ(one: Schedule, other: Schedule, steps: int) -> bool:
    """True if two schedules have other rates within the first `steps` steps, of which up to 10,000 are compared."""
    seen = {*range(0, steps, max(1, steps // 10_000)), steps - 1}
    return any(one(step) != other(step) for step in seen)


def _pooled(pools: Sequence[HistoryPool]) -> Iterator[tuple[str, Tensor]]:
    """Yield the images of the pools by "pool/number", and their conditions by "pool/number/condition"."""
    for i, pool in enumerate(pools):
        yield from ((f"{i}/{n}", image) for n, image in enumerate(pool.images))
        yield from ((f"{i}/{n}/condition", condition) for n, condition in enumerate(pool.conditions))


def _numbered(tensors: Mapping[str, Tensor], before: str, after: str) -> list[Tensor]:
    """Return the tensors named `before`, a number from 0 on, `after`, in order."""
    found: list[Tensor] = []
    while (name := f"{before}{len(found)}{after}") in tensors:
        found.append(tensors[name])
    return found


def _tensors(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yield an optimizer's state tensors by "parameter/name"."""
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                yield f"{index}/{name}", value


def _numbers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an optimizer keeps as plain numbers: of each parameter, and of its groups besides their options."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if isinstance(value, int | float) and name not in RATES}

    kept = {index: plain(values) for index, values in sorted(state["state"].items())}
    return {
        "state": {index: values for index, values in kept.items() if values},
        "groups": [plain(group) for group in state["param_groups"]],
    }


def _load_optimizer(optimizer: Optimizer, side: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Restore an optimizer's state; what its recipe sets, such as rates, comes from the recipe."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        owner, index, key = name.split("/")
        if owner == side:
            state.setdefault(int(index), {})[key] = tensor
    for index, values in numbers.get("state", {}).items():
        state.setdefault(int(index), {}).update(values)
    groups = optimizer.state_dict()["param_groups"]
    for group, kept in zip(groups, numbers.get("groups", [{}] * len(groups)), strict=True):
        group.update(kept)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
