import pytest
import torch

from restorekit_part_name import lion


def made(weights, **options):
    return lion([{"params": [weights]}], **options)


def stepped(optimizer, weights, gradient):
    weights.grad = torch.tensor(gradient)
    optimizer.step()
    return weights.detach().clone()


def test_a_step_has_one_length_whatever_the_gradient():
    weights = torch.nn.Parameter(torch.zeros(3))
    after = stepped(made(weights, lr=0.1), weights, [1e-6, -5.0, 0.0])
    torch.testing.assert_close(after, torch.tensor([-0.1, 0.1, 0.0]))


def test_two_steps_are_those_of_the_paper():
    weights = torch.nn.Parameter(torch.zeros(1))
    optimizer = made(weights, lr=0.1, betas=(0.9, 0.5))
    stepped(optimizer, weights, [2.0])  # the average is now 0.5 * 2 = 1
    after = stepped(optimizer, weights, [-8.0])  # 0.9 * 1 + 0.1 * -8 = 0.1 is above 0: it goes on as before
    torch.testing.assert_close(after, torch.tensor([-0.2]))
    after = stepped(optimizer, weights, [-8.0])  # the average is now 0.5 * 1 + 0.5 * -8 = -3.5
    torch.testing.assert_close(after, torch.tensor([-0.1]))


def test_weights_decay_by_the_rate():
    weights = torch.nn.Parameter(torch.tensor([2.0]))
    after = stepped(made(weights, lr=0.1, weight_decay=0.5), weights, [0.0])
    torch.testing.assert_close(after, torch.tensor([2.0 * 0.95]))


def test_each_group_has_its_own_rate():
    one, other = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = lion([{"params": [one]}, {"params": [other]}], lr=0.1)
    optimizer.param_groups[1]["lr"] = 0.3
    one.grad, other.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert (one.item(), other.item()) == pytest.approx((-0.1, -0.3))
