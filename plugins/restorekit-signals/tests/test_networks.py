"""The networks of blind ECG restoration: sizes and parameters of the authors' code, computed by hand."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from restorekit import Domain, RecipeError
from restorekit.discovery.plugins import load

OPERATIONAL = {"name": "selfonn", "q": 3, "convention": "fastonn"}
SIGNAL = Domain("a", 1, (4000,))


def made(kind: str, name: str, *domains: Domain, **options: Any) -> Any:
    return load().parts.resolve(kind, {"name": name, **options})(*domains)


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def layer(c_in: int, c_out: int, kernel: int, q: int) -> int:
    return q * c_in * c_out * kernel + c_out


@pytest.mark.parametrize("q", [1, 3])
def test_the_generator_has_the_layers_of_the_authors(q: int) -> None:
    part = {**OPERATIONAL, "q": q}
    net = made("generator", "ecg_unet", SIGNAL, SIGNAL, layer=part)
    downs = [(1, 16), (16, 32), (32, 64), (64, 128), (128, 128)]
    ups = [(128, 128), (256, 64), (128, 32), (64, 16)]
    expected = sum(layer(i, o, 5, q) for i, o in [*downs, *ups]) + layer(32, 1, 6, q)
    assert count(net) == expected
    state, features = net.encode(torch.zeros(2, 1, 4000))
    assert [code.shape[1:] for code in state] == [(16, 1999), (32, 999), (64, 499), (128, 249), (128, 124)]
    assert features.shape == (2, net.features, 124)
    assert net.decode(state).shape == (2, 1, 4000)


def test_what_drifts_slower_than_a_window_can_be_taken_out() -> None:
    net = made("generator", "ecg_unet", SIGNAL, SIGNAL, width=2, depth=2, center=True)
    signal = torch.randn(2, 1, 4000)
    torch.testing.assert_close(net.encode(signal + 3)[1], net.encode(signal)[1])
    net.center = False
    assert not torch.allclose(net.encode(signal + 3)[1], net.encode(signal)[1])


def test_the_discriminator_gives_thirty_scores_of_ten_seconds() -> None:
    net = made("discriminator", "ecg_patch", SIGNAL, layer=OPERATIONAL)
    widths = [1, 16, 32, 64, 128, 256]
    assert count(net) == sum(layer(i, o, 4, 3) for i, o in pairwise(widths)) + layer(256, 1, 4, 3)
    assert net(torch.zeros(2, 1, 4000)).shape == (2, 1, 30)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_multiple_is_kept_in_any_dimensions(dims: int, depth: int) -> None:
    side = 2 ** (depth + 1)
    domain = Domain("a", 2, (3 * side,) * dims)
    net = made("generator", "ecg_unet", domain, domain, depth=depth, width=2)
    for factor in (1, 2, 3):
        size = [factor * side] * dims
        assert net(torch.zeros(1, 2, *size))[0].shape == (1, 2, *size)


def test_sizes_that_leave_nothing_are_refused() -> None:
    small = Domain("a", 1, (48,))
    with pytest.raises(RecipeError) as caught:
        made("generator", "ecg_unet", small, small)
    assert caught.value.errors[0].place == ("depth",)
    with pytest.raises(RecipeError) as caught:
        made("discriminator", "ecg_patch", small)
    assert caught.value.errors[0].place == ("strides",)
    for size in range(150, 260):  # what is let pass works
        domain = Domain("a", 1, (size,))
        try:
            net = made("discriminator", "ecg_patch", domain, width=1)
        except RecipeError:
            continue
        assert net(torch.zeros(1, 1, size)).shape[2] >= 1


def test_a_norm_acts_on_the_way_up_alone() -> None:
    """Twice the signal gives other codes; a network with a norm on the way down would give the same."""
    net = made("generator", "ecg_unet", SIGNAL, SIGNAL)
    signal = 0.1 * torch.sin(torch.arange(4000.0) / 9)[None, None]
    one, other = (net.encode(scale * signal)[1] for scale in (1, 2))
    assert not torch.allclose(one, other, atol=1e-3)
    assert sum(isinstance(m, torch.nn.InstanceNorm1d) for m in net.modules()) == 4
