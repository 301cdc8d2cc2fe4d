import pytest
import torch
from restorekit import Domain, nd

from restorekit_part_name import averaging


def made(dims, levels=2):
    torch.manual_seed(0)
    return averaging(Domain("a", 1, (16,) * dims), width=4, levels=levels)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_maps_are_as_it_says(dims):
    net, x = made(dims, levels=3), torch.rand(2, 1, *[16] * dims)
    assert [tuple(one.shape) for one in net(x)] == [
        (2, width, *[16 // stride] * dims) for width, stride in zip(net.widths, net.strides, strict=True)
    ]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_first_map_sees_the_means_of_pairs(dims):
    net, x = made(dims), torch.rand(1, 1, *[8] * dims)
    mean = x
    for axis in range(2, x.ndim):
        mean = mean.unflatten(axis, (-1, 2)).mean(axis + 1)
    torch.testing.assert_close(net(x)[0], net.layers[0](mean).tanh())
    torch.testing.assert_close(nd.resize(x, mean.shape[2:], antialias=False), mean)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_what_moves_in_the_image_moves_in_every_map(dims):
    net, axes = made(dims), tuple(range(2, dims + 2))
    x = torch.zeros(1, 1, *[32] * dims)
    x[(..., *[slice(12, 16)] * dims)] = 1
    inside = (..., *[slice(3, -3)] * dims)  # away from the borders, which do not move
    moved = net(x.roll(dims * (4,), axes))
    for one, other, stride in zip(net(x), moved, net.strides, strict=True):
        torch.testing.assert_close(one.roll(dims * (4 // stride,), axes)[inside], other[inside])
