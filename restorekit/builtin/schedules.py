"""Learning rate schedules: functions from a step, counted from 0, to a share of the optimizer's rate.

A schedule is a pure function of the step, so a resumed run continues it exactly. `warmup` steps rise linearly to the
full rate; the schedule proper covers the steps after them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from restorekit import Factory, RecipeError, conformance_case, hookimpl

Schedule = Callable[[int], float]
Share = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def _warmed(name: str, steps: int, warmup: int, proper: Callable[[int, int], float]) -> Schedule:
    """Return the schedule of `steps` steps: `warmup` rising ones, then `proper(step, steps)` of those left."""
    if warmup and warmup >= steps:
        text = f"schedule {name!r}: warmup must be below the {steps} steps of the run; got {warmup}"
        raise RecipeError(text, option="warmup")

    def share(step: int) -> float:
        return (step + 1) / warmup if step < warmup else proper(step - warmup, steps - warmup)

    return share


def constant(steps: int, *, warmup: Steps = 0) -> Schedule:
    """Return a schedule at the full rate.

    Args:
        steps: Steps of the run.
        warmup: Steps that rise linearly to the full rate.
    """
    return _warmed("constant", steps, warmup, lambda step, steps: 1.0)


def linear(steps: int, *, start: Share = 0.0, warmup: Steps = 0) -> Schedule:
    """Return a schedule at the full rate up to `start`, then falling linearly to zero at the last step's end.

    Args:
        steps: Steps of the run.
        start: Fraction of the steps, after the warm-up, at the full rate.
        warmup: Steps that rise linearly to the full rate.
    """

    def share(step: int, steps: int) -> float:
        first = round(start * steps)
        return 1.0 if step < first or first == steps else 1 - (step - first) / (steps - first)

    return _warmed("linear", steps, warmup, share)


def cosine(steps: int, *, floor: Share = 0.0, warmup: Steps = 0) -> Schedule:
    """Return a schedule that falls from the full rate along half a cosine (arXiv:1608.03983).

    Args:
        steps: Steps of the run.
        floor: Share of the full rate at the end.
        warmup: Steps that rise linearly to the full rate.
    """
    return _warmed(
        "cosine", steps, warmup, lambda step, steps: floor + (1 - floor) * (1 + math.cos(math.pi * step / steps)) / 2
    )


def one_cycle(
    steps: int, *, peak: Share = 0.3, start: Share = 0.04, floor: Share = 4e-6, warmup: Steps = 0
) -> Schedule:
    """Return a schedule that rises along a cosine to the full rate, then falls along one (arXiv:1708.07120).

    Args:
        steps: Steps of the run.
        peak: Fraction of the steps, after the warm-up, at which the full rate is reached.
        start: Share of the full rate at the first step.
        floor: Share of the full rate at the end.
        warmup: Steps that rise linearly to the full rate, before the cycle.
    """

    def share(step: int, steps: int) -> float:
        top = peak * steps
        if step < top:
            return start + (1 - start) * (1 - math.cos(math.pi * step / top)) / 2
        return floor + (1 - floor) * (1 + math.cos(math.pi * (step - top) / max(1.0, steps - top))) / 2

    return _warmed("one_cycle", steps, warmup, share)


@conformance_case(options={"every": 5})
def step(steps: int, *, every: Count, factor: Share = 0.5, warmup: Steps = 0) -> Schedule:
    """Return a schedule that is multiplied by `factor` after every `every` steps.

    Args:
        steps: Steps of the run.
        every: Steps between two drops.
        factor: Of each drop.
        warmup: Steps that rise linearly to the full rate.
    """
    return _warmed("step", steps, warmup, lambda at, steps: float(factor ** (at // every)))


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the schedules."""
    for factory in (constant, linear, cosine, one_cycle, step):
        add("schedule", factory.__name__, factory)
