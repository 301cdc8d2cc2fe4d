"""Optimizers of torch, and Adam as TensorFlow computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch.optim import SGD, Adam, AdamW, Optimizer

from restorekit import Factory, hookimpl

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Groups = list[dict[str, Any]]
"""Parameter groups as torch's optimizers take them."""


class AdamTF(Adam):
    """Adam with `eps` added before the bias correction: "epsilon hat" in arXiv:1412.6980, section 2.

    TensorFlow and Keras compute it so: torch adds eps to sqrt(v / (1 - b2^t)), TensorFlow adds it to sqrt(v).
    """

    def __init__(self, groups: Groups, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, lr=lr, betas=betas, eps=eps)
        self._eps_hat = eps

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step, with the eps that makes torch's formula equal to TensorFlow's at this step."""
        for group in self.param_groups:
            taken = (self.state[p]["step"] for p in group["params"] if self.state.get(p))
            t = int(next(taken, 0)) + 1
            group["eps"] = self._eps_hat / math.sqrt(1 - group["betas"][1] ** t)
        return super().step(closure)


def adam(groups: Groups, *, lr: Rate = 2e-4, betas: tuple[Share, Share] = (0.5, 0.999), eps: Rate = 1e-8) -> Optimizer:
    """Adam (arXiv:1412.6980), as torch computes it.

    Args:
        groups: Parameter groups.
        lr: Learning rate before the schedule.
        betas: Decay of the first and of the second moment.
        eps: Added to the root of the second moment after the bias correction.
    """
    return Adam(groups, lr=lr, betas=betas, eps=eps)


def adam_tf(
    groups: Groups, *, lr: Rate = 2e-4, betas: tuple[Share, Share] = (0.5, 0.999), eps: Rate = 1e-7
) -> Optimizer:
    """Adam as TensorFlow and Keras compute it: `eps` is added before the bias correction.

    Args:
        groups: Parameter groups.
        lr: Learning rate before the schedule.
        betas: Decay of the first and of the second moment.
        eps: Added to the root of the second moment before the bias correction.
    """
    return AdamTF(groups, lr, betas, eps)


def adamw(
    groups: Groups,
    *,
    lr: Rate = 1e-3,
    betas: tuple[Share, Share] = (0.9, 0.999),
    eps: Rate = 1e-8,
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2,
) -> Optimizer:
    """Adam with decoupled weight decay (arXiv:1711.05101), on every parameter.

    Args:
        groups: Parameter groups.
        lr: Learning rate before the schedule.
        betas: Decay of the first and of the second moment.
        eps: Added to the root of the second moment after the bias correction.
        weight_decay: Share of a weight that a step at learning rate 1 removes.
    """
    return AdamW(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def sgd(
    groups: Groups,
    *,
    lr: Rate = 1e-2,
    momentum: Share = 0.0,
    nesterov: bool = False,
    weight_decay: Annotated[float, Field(ge=0)] = 0.0,
) -> Optimizer:
    """Stochastic gradient descent, with momentum if asked for.

    Args:
        groups: Parameter groups.
        lr: Learning rate before the schedule.
        momentum: Decay of the averaged gradient; 0: none.
        nesterov: Nesterov's form of momentum, which needs momentum above 0.
        weight_decay: L2 penalty added to the gradient.
    """
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the optimizers."""
    for factory in (adam, adam_tf, adamw, sgd):
        add("optimizer", factory.__name__, factory)
