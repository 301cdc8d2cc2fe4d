"""Lion: steps of one length, along the sign of an averaged gradient (Chen et al. 2023, arXiv:2302.06675)."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch.optim import Optimizer

Share = Annotated[float, Field(ge=0, lt=1)]


class Lion(Optimizer):
    """Algorithm 2 of the paper. Each group has its own rate `lr`, which the schedule sets before every step."""

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step along the gradients; all that is kept between steps is in `self.state`, and so is saved."""
        for group in self.param_groups:
            rate, (now, kept) = group["lr"], group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                average = state.setdefault("average", torch.zeros_like(weight))
                weight.mul_(1 - rate * group["weight_decay"])
                weight.sub_(average.lerp(weight.grad, 1 - now).sign(), alpha=rate)
                average.lerp_(weight.grad, 1 - kept)
        return None


def lion(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, Field(gt=0)] = 1e-4,
    betas: tuple[Share, Share] = (0.9, 0.99),
    weight_decay: Annotated[float, Field(ge=0)] = 0.0,
) -> Optimizer:
    """Lion, which takes steps of one length; its rate is about a tenth of Adam's.

    Args:
        groups: parameter groups, as torch's optimizers take them.
        lr: the length of a step before the schedule.
        betas: how much of the average counts in a step, and how much of it is kept.
        weight_decay: the share of a weight that a step at rate 1 removes.
    """
    return Lion(groups, lr, betas, weight_decay)
