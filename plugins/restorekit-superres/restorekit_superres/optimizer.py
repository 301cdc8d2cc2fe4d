"""The optimizer `sgd_adjustable_clip`: gradient descent with VDSR's clip rule, whose bound depends on the rate.

J. Kim, J. K. Lee, K. M. Lee, Accurate Image Super-Resolution Using Very Deep Convolutional Networks, arXiv:1511.04587,
section 3.2.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch.optim import SGD, Optimizer

__all__ = ["AdjustableClip", "sgd_adjustable_clip"]

Share = Annotated[float, Field(ge=0, lt=1)]


class AdjustableClip(SGD):
    """Stochastic gradient descent that cuts every gradient value to [-theta / rate, theta / rate] first.

    Args:
        groups: parameter groups.
        lr: the rate before the schedule.
        momentum: decay of the averaged gradient.
        weight_decay: L2 penalty, added after the cut.
        theta: the largest change of a weight by one gradient value.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float, theta: float
    ) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self._theta = theta

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Cut the gradients by the rates of this step, and take it."""
        for group in self.param_groups:
            if group["lr"] > 0:  # at a rate of 0 nothing moves, whatever the bound
                bound = self._theta / group["lr"]
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.clamp_(-bound, bound)
        return super().step(closure)


def sgd_adjustable_clip(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, Field(gt=0)] = 0.1,
    momentum: Share = 0.9,
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4,
    theta: Annotated[float, Field(gt=0)] = 1e-3,
) -> Optimizer:
    """Gradient descent that cuts gradient values to +-theta / rate: "adjustable gradient clipping" (arXiv:1511.04587).

    So the largest step stays the same while the rate falls. The common rule, a bound that does not depend on the rate,
    is `{name: sgd}` with `train.clip: {value: ...}`. Rate, momentum and decay are VDSR's; it gives no theta.

    Args:
        groups: Parameter groups.
        lr: Learning rate before the schedule.
        momentum: Decay of the averaged gradient; 0: none.
        weight_decay: L2 penalty added to the gradient after the cut.
        theta: The largest change of a weight by the gradient of one step, before momentum adds up several.
    """
    return AdjustableClip(groups, lr, momentum, weight_decay, theta)
