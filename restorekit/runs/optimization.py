"""Optimization of a run: optimizers over parameter groups, and schedules of their learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from restorekit.core.errors import CheckpointError, Place, RecipeError
from restorekit.core.types import (
    Nets,
    ParameterGroup,
    groups_of,
)
from restorekit.parts.registry import Parts
from restorekit.recipes.model import IncompatibleRecipeError, Recipe, ScheduleSpec
from restorekit.runs.checkpoint import load_state, state_numbers, state_tensors
from restorekit.runs.nets import make_terms

__all__ = [
    "Optimization",
    "Schedule",
    "make_optimization",
    "optimizers",
    "schedules",
]

Schedule = Callable[[int], float]
"""A step, counted from 0, to a share of the full learning rate."""


@dataclass(kw_only=True)
class Optimization:
    """The optimizers of a run and the schedules of their learning rates.

    A side is "generator", "discriminator" if there are any, or the name of a network of `nets.extra`.
    """

    recipe: Recipe
    optimizers: dict[str, Optimizer]
    """By side. A parameter group holds `base_lr`, its rate before the schedule, and `first_step`, the step from which
    it learns."""
    schedules: dict[str, Schedule]
    """By side: a step to the share of `base_lr`."""
    make_schedules: Callable[[int, Mapping[str, int]], dict[str, Schedule]]
    """The length of the run, and by side the step from which its schedule restarts, to the schedules."""
    starts: dict[str, int] = field(default_factory=dict)
    """By side the step at which the schedule restarted, when a resumed run was made longer."""

    def rate(self, step: int, side: str = "generator") -> float:
        """Return a side's learning rate at a step, of parameters that learn at the full rate."""
        return self._full(side) * self.schedules[side](step)

    def set_rates(self, side: str, step: int) -> None:
        """Set the learning rates of a side's parameter groups to those of a step."""
        share = self.schedules[side](step)
        for group in self.optimizers[side].param_groups:
            group["lr"] = group["base_lr"] * share

    def parameters(self, side: str) -> list[nn.Parameter]:
        """Return the parameters that a side's optimizer updates."""
        return [p for group in self.optimizers[side].param_groups for p in group["params"]]

    def numbers(self) -> dict[str, Any]:
        """Return by side what the optimizers keep as plain numbers, for a checkpoint."""
        return {side: state_numbers(optimizer) for side, optimizer in self.optimizers.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimizers' state tensors by "side/parameter/name", for a checkpoint."""
        return {f"{side}/{name}": tensor for side, of in self.optimizers.items() for name, tensor in state_tensors(of)}

    def load(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor], nets: Nets, place: Path) -> None:
        """Restore the optimizers' state from what `numbers` and `tensors` returned.

        Args:
            numbers: by side.
            tensors: by "side/parameter/name".
            nets: the networks, which own the parameters.
            place: the checkpoint, for errors.

        Raises:
            CheckpointError: if the optimizer of a side had other groups of parameters.
        """
        for side, optimizer in self.optimizers.items():
            of, count = dict(numbers.get(side, {})), len(optimizer.param_groups)
            saved = of.get("groups", [{}] * count)
            if len(saved) == 1 and side in nets.extra and _in_order(nets.extra[side], self.parameters(side)):
                saved = saved * count  # once all parameters of a network of nets.extra were one group
            if len(saved) != count:
                raise CheckpointError(
                    f"{place}: the optimizer of {side} had {len(saved)} groups of parameters, it now has {count}; "
                    "continue with the versions of environment.json, or begin a new run"
                )
            load_state(optimizer, side, tensors, of | {"groups": saved})

    def follow_schedules(self, state: Mapping[str, Any], steps: int, place: Path) -> list[str]:
        """Set the schedules to those of a resumed checkpoint.

        Args:
            state: the state of the checkpoint.
            steps: the length of this run, as long as the one that saved the checkpoint or longer.
            place: the checkpoint, for errors.

        Returns:
            How the rates change where the run is made longer, a line for each side.

        Raises:
            CheckpointError: if the run is shorter, or has other rates up to the checkpoint and no schedule that may
                begin anew.
        """
        old_steps, step = state["steps"], state["step"]
        self.starts = dict(state.get("schedule_starts", {}))
        if old_steps > steps:
            raise CheckpointError(
                f"{place}: train.steps of a run that goes on can be raised, not lowered; it had {old_steps} "
                f"steps, got {steps}"
            )
        if old_steps == steps:
            self.schedules = self.make_schedules(steps, self.starts)
            return []
        old = self.make_schedules(old_steps, dict(self.starts))
        restarted = [side for side in self.optimizers if self._schedule_spec(side).restart]
        self.starts |= dict.fromkeys(restarted, step)
        self.schedules = self.make_schedules(steps, self.starts)
        for side in self.optimizers:
            if side not in restarted and _differ(old[side], self.schedules[side], old_steps):
                raise CheckpointError(f"{place}: {self._other_rates(side, old_steps, steps)}")
        return [
            f"train.steps: raised from {old_steps} to {steps} at step {step}; {self._change(side, old, step)}"
            for side in self.optimizers
        ]

    def _other_rates(self, side: str, old_steps: int, steps: int) -> str:
        return (
            f"was saved by a run of {old_steps} steps, this one has {steps}, and the rates of schedule "
            f"{self._schedule_spec(side).name!r} depend on the length. Set train.schedule.restart: true to begin it "
            "anew over the steps that are left, or begin a new run"
        )

    def _change(self, side: str, old: Mapping[str, Schedule], step: int) -> str:
        """Return how a side's rate changes from the step before, by the old schedule, to a step."""
        before, after = self._full(side) * old[side](max(0, step - 1)), self.rate(step, side)
        change = f"goes from {before:.4g} to {after:.4g}" if before != after else f"stays {after:.4g}"
        return f"the learning rate of {side} {change}"

    def _full(self, side: str) -> float:
        return float(self.optimizers[side].defaults["lr"])

    def _schedule_spec(self, side: str) -> ScheduleSpec:
        train = self.recipe.train
        own = train.discriminator_schedule if side == "discriminator" else None
        return train.schedule if own is None else own


def _in_order(net: nn.Module, parameters: Sequence[nn.Parameter]) -> bool:
    """True if parameters stand in the order in which their network has them."""
    held = {id(p) for p in parameters}
    return [id(p) for p in parameters] == [id(p) for p in net.parameters() if id(p) in held]


def make_optimization(spec: Recipe, parts: Parts, nets: Nets, steps: int) -> Optimization:
    """Return the optimizers and schedules of a run of `steps` steps; errors as of `optimizers`."""
    return Optimization(
        recipe=spec,
        optimizers=optimizers(spec, parts, nets),
        schedules=schedules(spec, parts, steps),
        make_schedules=partial(schedules, spec, parts),
    )


def optimizers(spec: Recipe, parts: Parts, nets: Nets) -> dict[str, Optimizer]:
    """Return the optimizer of each side that has parameters to train.

    Raises:
        PluginError: if a generator's groups are not its trained parameters, each once.
        RecipeError: if the translators have nothing to train.
    """
    groups = [group for net in nets.translators() for group in net.groups()]
    if not groups:
        why = f"nothing of {spec.nets.generator.name!r} is trained, and no head is either"
        raise IncompatibleRecipeError(spec, (("nets", "generator"), why))
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
        own = groups_of(nets.extra[name])
        if not own:
            raise IncompatibleRecipeError(
                spec, (("nets", "extra", name), "has no parameters to train; take it out of the losses")
            )
        place = ("train", "optimizer") if of.optimizer is None else ("nets", "extra", name, "optimizer")
        made[name] = _optimizer(spec, parts, place, own)
    return made


def _optimizer(spec: Recipe, parts: Parts, place: Place, groups: Iterable[ParameterGroup]) -> Optimizer:
    """Return the optimizer named at a place, over groups that know their rate and when they begin to learn."""
    plain = [{"params": [*g.parameters], "factor": g.factor, "first_step": g.first_step} for g in groups]
    with spec.at(*place):
        made: Optimizer = spec.part(parts, *place)(plain)
        _require_groups(plain, made)
    for group in made.param_groups:
        group["base_lr"] = group["lr"] * group["factor"]
    return made


def _require_groups(given: Iterable[Mapping[str, Any]], made: Optimizer) -> None:
    """Require that an optimizer has every parameter, in groups that hold what they held besides.

    Raises:
        RecipeError: if not; a parameter that it lacks would never learn.
    """
    lost = {id(p) for group in given for p in group["params"]} - {id(p) for g in made.param_groups for p in g["params"]}
    if lost:
        raise RecipeError(
            f"{type(made).__name__} must update every parameter that it is given; {len(lost)} are missing"
        )
    if any(not {"factor", "first_step"} <= group.keys() for group in made.param_groups):
        raise RecipeError(f"{type(made).__name__} must be made of parameter groups, with what they hold besides")


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
            part = spec.part(parts, "train", used)
            made |= {of: _from(starts.get(of, 0), part, steps) for of in [side, *extra]}
    return made


def _from(start: int, part: Callable[[int], Schedule], steps: int) -> Schedule:
    """Return a schedule over the steps from `start` on.

    Raises:
        RecipeError: now or when it is called, if it gives no share of the full rate.
    """
    made = part(steps - start)

    def share(step: int) -> float:
        got: object = made(step - start)
        if not isinstance(got, int | float) or not 0 <= got <= 1:
            raise RecipeError(f"a schedule gives a share of the full rate, from 0 to 1; of step {step} got {got!r}")
        return float(got)

    share(start)  # so that most errors are found before the training
    return share


def _differ(one: Schedule, other: Schedule, steps: int) -> bool:
    """True if two schedules have other rates within the first `steps` steps, of which up to 10,000 are compared."""
    seen = {*range(0, steps, max(1, steps // 10_000)), steps - 1}
    return any(one(step) != other(step) for step in seen)
