"""The optimizers of a run, over parameter groups, and the schedules of their learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from torch.optim import Optimizer

from restorekit.core.errors import Place
from restorekit.core.parts import Parts
from restorekit.core.types import (
    Nets,
    ParameterGroup,
)
from restorekit.recipes.model import IncompatibleRecipeError, Recipe
from restorekit.runs.nets import make_terms
from restorekit.runs.run import Schedule

__all__ = ["optimizers", "schedules"]


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
        trained = [p for p in nets.extra[name].parameters() if p.requires_grad]
        if not trained:
            raise IncompatibleRecipeError(
                spec, (("nets", "extra", name), "has no parameters to train; take it out of the losses")
            )
        place = ("train", "optimizer") if of.optimizer is None else ("nets", "extra", name, "optimizer")
        made[name] = _optimizer(spec, parts, place, [ParameterGroup(trained)])
    return made


def _optimizer(spec: Recipe, parts: Parts, place: Place, groups: Iterable[ParameterGroup]) -> Optimizer:
    """Return the optimizer named at a place, over groups that know their rate and when they begin to learn."""
    plain = [{"params": [*g.parameters], "factor": g.factor, "first_step": g.first_step} for g in groups]
    with spec.at(*place):
        made: Optimizer = spec.part(parts, *place)(plain)
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
            part = spec.part(parts, "train", used)
            made |= {of: _from(starts.get(of, 0), part, steps) for of in [side, *extra]}
    return made


def _from(start: int, part: Callable[[int], Schedule], steps: int) -> Schedule:
    """Return a schedule over the steps from `start` on."""
    made = part(steps - start)
    return lambda step: made(step - start)
