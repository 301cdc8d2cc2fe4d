import pytest
import torch
from restorekit import nd

from restorekit_part_name import gated


def made(dims, opened=0.5, gate=0.0, **numbers):
    """A layer from 2 to 3 channels whose gate says `gate` everywhere."""
    layer = gated(dims, opened=opened)(2, 3, 3, **numbers)
    torch.nn.init.zeros_(layer.gate.weight)
    torch.nn.init.constant_(layer.gate.bias, gate)
    return layer


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_gate_that_says_nothing_passes_the_share_that_is_open(dims):
    layer, x = made(dims, opened=0.7, padding=1), torch.randn(2, 2, *[6] * dims)
    torch.testing.assert_close(layer(x), 0.7 * layer.value(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_gate_opens_and_shuts(dims):
    x = torch.randn(2, 2, *[6] * dims)
    wide, shut = made(dims, gate=50.0), made(dims, gate=-200.0)
    torch.testing.assert_close(wide(x), wide.value(x))
    assert not shut(x).any()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "numbers",
    [{"stride": 2, "padding": 1}, {"stride": 2, "padding": 1, "output_padding": 1, "transposed": True}],
)
def test_sizes_are_those_of_a_convolution(dims, numbers):
    x = torch.randn(1, 2, *[8] * dims)
    assert gated(dims)(2, 3, 3, **numbers)(x).shape == nd.conv(dims)(2, 3, 3, **numbers)(x).shape
