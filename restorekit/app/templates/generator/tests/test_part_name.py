import pytest
import torch
from restorekit import Domain

from restorekit_part_name import residual


def made(dims, channels=1, width=4):
    torch.manual_seed(0)
    size = (32,) * dims
    return residual(Domain("a", 1, size), Domain("b", channels, size), width=width, blocks=1)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_image_keeps_its_size_and_its_range(dims):
    net = made(dims, channels=3)
    torch.nn.init.constant_(net.up[0].bias, 9.0)  # far beyond the range, before tanh
    image, features = net(torch.rand(2, 1, *[8] * dims) * 2 - 1)
    assert image.shape == (2, 3, *[8] * dims)
    torch.testing.assert_close(image, torch.ones_like(image), atol=1e-3, rtol=0)
    assert features.shape == (2, net.features, *[4] * dims)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_block_whose_branch_is_zero_changes_nothing(dims):
    net = made(dims)
    for parameter in net.blocks.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 1, *[8] * dims)
    assert torch.equal(net.encode(x)[0], net.down(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_what_moves_in_the_image_moves_in_its_translation(dims):
    net, axes = made(dims), tuple(range(2, dims + 2))
    x = torch.rand(1, 1, *[32] * dims)
    inside = (..., *[slice(12, -12)] * dims)  # away from the borders, which do not move
    moved = net(x.roll(dims * (net.multiple,), axes))[0]
    torch.testing.assert_close(moved[inside], net(x)[0].roll(dims * (net.multiple,), axes)[inside])
