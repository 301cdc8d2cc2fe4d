import math

import pytest
import torch
from restorekit import nd

from restorekit_chebyshev import chebyshev


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_terms_are_cosines_of_multiples(order):
    layer = chebyshev(1, order=order)(1, 1, 1, bias=False)
    torch.nn.init.zeros_(layer.conv.weight)
    torch.nn.init.ones_(layer.conv.weight[:, -1:])  # T_order alone
    angle = torch.linspace(0.1, math.pi - 0.1, 50, dtype=torch.float64)
    found = layer.double()(torch.atanh(angle.cos())[None, None])
    torch.testing.assert_close(found[0, 0], (order * angle).cos())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_order_one_is_a_convolution_of_tanh(dims):
    torch.manual_seed(0)
    layer, x = chebyshev(dims, order=1)(2, 3, 3, padding=1), torch.randn(2, 2, *[6] * dims)
    torch.testing.assert_close(layer(x), layer.conv(torch.tanh(x)))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_groups_see_their_own_channels_alone(dims):
    layer, x = chebyshev(dims, order=3)(4, 4, 3, padding=1, groups=2), torch.randn(1, 4, *[6] * dims)
    before = layer(x)
    x[:, 2:] = 0
    assert torch.equal(layer(x)[:, :2], before[:, :2])
    assert layer(x).shape == nd.conv(dims)(4, 4, 3, padding=1, groups=2)(x).shape
