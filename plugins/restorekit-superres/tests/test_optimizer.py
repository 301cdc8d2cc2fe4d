"""VDSR's clip rule by its formula, and beside the common one."""

from __future__ import annotations

import torch
from restorekit_superres.optimizer import sgd_adjustable_clip
from torch import nn


def test_gradients_are_cut_to_theta_over_the_rate_of_the_step() -> None:
    weights = torch.tensor([1.0, -2.0, 0.5])
    parameter = nn.Parameter(weights.clone())
    theta, momentum, decay = 1e-2, 0.9, 1e-3
    group = {"params": [parameter]}
    optimizer = sgd_adjustable_clip([group], lr=0.1, momentum=momentum, weight_decay=decay, theta=theta)
    velocity = torch.zeros(3)
    for rate, gradient in ((0.1, [5.0, -0.05, 0.2]), (0.01, [5.0, -0.9, -3.0]), (0.01, [0.1, 2.0, 0.0])):
        optimizer.param_groups[0]["lr"] = rate  # what a schedule does
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        cut = torch.tensor(gradient).clamp(-theta / rate, theta / rate) + decay * weights
        velocity = momentum * velocity + cut
        weights = weights - rate * velocity
        torch.testing.assert_close(parameter.detach(), weights)


def test_a_step_is_never_larger_than_theta_whatever_the_rate_unlike_by_a_fixed_bound() -> None:
    moved = {}
    for rate in (0.1, 0.001):
        parameter = nn.Parameter(torch.zeros(1))
        optimizer = sgd_adjustable_clip([{"params": [parameter]}], lr=rate, momentum=0, weight_decay=0, theta=1e-3)
        parameter.grad = torch.tensor([1e6])
        optimizer.step()
        moved[rate] = abs(float(parameter.detach()))
        fixed = nn.Parameter(torch.zeros(1))
        fixed.grad = torch.tensor([1e6])
        nn.utils.clip_grad_value_([fixed], 1e-2)
        torch.optim.SGD([fixed], rate).step()
        moved[f"fixed {rate}"] = abs(float(fixed.detach()))
    assert moved[0.1] == moved[0.001]
    assert abs(moved[0.1] - 1e-3) < 1e-9
    assert abs(moved["fixed 0.1"] - 100 * moved["fixed 0.001"]) < 1e-9


def test_a_rate_of_zero_moves_nothing() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = sgd_adjustable_clip([{"params": [parameter]}], lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.0
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.ones(2))
