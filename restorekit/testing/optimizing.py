"""Checks of optimizers and schedules: they resume from their state, and are functions of the step."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from restorekit.runs.checkpoint import load_state, state_numbers, state_tensors
from restorekit.testing.subject import Subject, require

__all__ = ["build", "resume", "schedule", "steps"]

STEPS = 20
SIDE = "generator"


def build(subject: Subject) -> object:
    """Return the optimizer of two parameters in two groups, or the schedule of a run of 20 steps."""
    if subject.kind == "schedule":
        return subject.make(STEPS)
    return _optimizer(subject, _parameters())


def _parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)), nn.Parameter(torch.ones(4))]


def _optimizer(subject: Subject, parameters: list[nn.Parameter]) -> Optimizer:
    groups = [{"params": [p], "factor": 1.0, "first_step": 0} for p in parameters]
    optimizer: Optimizer = subject.make(groups)
    return optimizer


def _descend(optimizer: Optimizer, parameters: list[nn.Parameter], count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        loss: Tensor = torch.stack([(p - 0.3).square().sum() for p in parameters]).sum()
        torch.autograd.backward(loss)
        optimizer.step()


def steps(subject: Subject) -> None:
    """It takes parameter groups, keeps what they hold besides, and lowers a simple loss."""
    parameters = _parameters()
    optimizer = _optimizer(subject, parameters)
    kept = [set(group) for group in optimizer.param_groups]
    require(
        all({"factor", "first_step", "lr"} <= group for group in kept), "groups must keep factor, first_step and lr"
    )
    require("lr" in optimizer.defaults, "an optimizer must have a learning rate `lr` among its defaults")

    def loss() -> float:
        return float(torch.stack([(p.detach() - 0.3).square().sum() for p in parameters]).sum())

    before = loss()
    _descend(optimizer, parameters, 200)
    require(loss() < before, f"200 steps must lower a sum of squares; {before:.4g} became {loss():.4g}")


def resume(subject: Subject) -> None:
    """What a checkpoint holds of its state, tensors and plain numbers, lets a new one continue bit for bit."""
    straight = _parameters()
    _descend(one := _optimizer(subject, straight), straight, 3)
    numbers = json.loads(json.dumps(state_numbers(one)))
    tensors = {f"{SIDE}/{name}": tensor.clone() for name, tensor in state_tensors(one)}
    weights = [p.detach().clone() for p in straight]
    _descend(one, straight, 3)
    resumed = [nn.Parameter(weight) for weight in weights]
    other = _optimizer(subject, resumed)
    load_state(other, SIDE, tensors, numbers)
    _descend(other, resumed, 3)
    alike = all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))
    require(
        alike,
        "all that a resumed optimizer needs must be in its state, as tensors and plain numbers by parameter; its next "
        "steps differ",
    )


def schedule(subject: Subject) -> None:
    """It is a function of the step: a share of the full rate, from 0 to 1, the same however often it is called."""
    share = subject.make(STEPS)
    values = [float(share(step)) for step in range(STEPS)]
    require(all(math.isfinite(v) and 0 <= v <= 1 for v in values), f"shares must lie from 0 to 1; got {values}")
    require(max(values) > 0, "a schedule must not be 0 at every step")
    again = [float(share(step)) for step in reversed(range(STEPS))][::-1]
    require(values == again, "a schedule must depend on the step alone; called in another order it differs")
