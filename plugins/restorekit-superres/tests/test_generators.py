"""The generators: counts of parameters by hand, layers by plain formulas, sizes, tiles, and one training step each."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from restorekit_superres.combination import Sharpen, vdsr_srgan
from restorekit_superres.discriminator import srgan
from restorekit_superres.enlarging import cubic, factors, shuffled, source_of_cubic
from restorekit_superres.residual import residual_sr
from restorekit_superres.srresnet import srresnet
from restorekit_superres.vdsr import vdsr
from scipy import ndimage
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, nd

MAKERS = {"vdsr": vdsr, "srresnet": srresnet, "vdsr_srgan": vdsr_srgan, "residual_sr": residual_sr}


def domain(channels: int = 1, side: int = 16, dims: int = 2) -> Domain:
    return Domain("a", channels, (side,) * dims)


def make(name: str, channels: int = 1, **options: Any) -> Generator:
    torch.manual_seed(0)
    net: Generator = MAKERS[name](domain(channels), domain(channels), **options)
    return net


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def of_conv(c_in: int, c_out: int, kernel: int, *, bias: bool = True) -> int:
    return c_in * c_out * kernel**2 + (c_out if bias else 0)


BLOCK = 2 * (of_conv(64, 64, 3, bias=False) + 2 * 64) + 1
"""Two convolutions, two norms with scale and shift, one slope."""
BY_HAND = {
    ("vdsr", 1, 4): 9 * 64 + 18 * 9 * 64 * 64 + 9 * 64,
    ("srresnet", 3, 4): of_conv(3, 64, 9)
    + 1  # the stem
    + 16 * BLOCK
    + of_conv(64, 64, 3, bias=False)
    + 2 * 64
    + 2 * (of_conv(64, 256, 3) + 1)
    + of_conv(64, 3, 9),
    ("srresnet", 3, 3): of_conv(3, 64, 9)
    + 1
    + 16 * BLOCK
    + of_conv(64, 64, 3, bias=False)
    + 2 * 64
    + of_conv(64, 576, 3)
    + 1
    + of_conv(64, 3, 9),
    ("vdsr_srgan", 3, 4): of_conv(3, 64, 9)
    + 1
    + 8 * BLOCK
    + 20 * (of_conv(64, 64, 3) + 1)
    + 2 * 64
    + of_conv(3, 256, 3)
    + 1  # the sharpening layer is no parameter
    + of_conv(64, 16, 3)
    + 1
    + of_conv(16, 3, 5),
    ("residual_sr", 1, 4): of_conv(1, 64, 3) + 33 * of_conv(64, 64, 3) + 2 * of_conv(64, 256, 3) + of_conv(64, 1, 3),
}
STATED = {"vdsr": 664_704, "srresnet": 1_547_350, "vdsr_srgan": 1_363_810, "residual_sr": 1_515_265}


@pytest.mark.parametrize(("name", "channels", "scale"), BY_HAND)
def test_parameters_are_those_counted_by_hand_and_stated(name: str, channels: int, scale: int) -> None:
    with torch.device("meta"):
        found = count(make(name, channels, scale=scale))
    assert found == BY_HAND[name, channels, scale]
    if scale == 4:
        assert found == STATED[name]
        assert f"{found:,}" in (MAKERS[name].__doc__ or "")


@pytest.mark.parametrize(("side", "weights"), [(96, 18_874_368), (256, 134_217_728)])
def test_the_discriminator_has_the_stated_dense_weights(side: int, weights: int) -> None:
    with torch.device("meta"):
        net = srgan(domain(3, side))
    assert net.dense[0].weight.numel() == weights
    convolutions = of_conv(3, 64, 3)
    for before, after in [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]:
        convolutions += of_conv(before, after, 3, bias=False) + 2 * after
    assert count(net) == convolutions + weights + 1024 + 1024 + 1


def test_the_discriminator_scores_an_image_and_refuses_small_ones() -> None:
    for pool in ("none", "average"):
        assert srgan(domain(1, 32), width=2, dense=4, pool=pool)(images(3, 1, 32, 32)).shape == (3, 1, 1, 1)
    assert srgan(domain(1, 32), width=2, dense=4, pool="average")(images(1, 1, 50, 40)).shape == (1, 1, 1, 1)
    with pytest.raises(RecipeError, match=r"sizes from 32 on; got \[16, 16\]"):
        srgan(domain(1, 16))


SMALL = {
    "vdsr": {"depth": 3, "width": 4},
    "srresnet": {"blocks": 1, "width": 4},
    "vdsr_srgan": {"blocks": 1, "depth": 1, "width": 4},
    "residual_sr": {"blocks": 1, "width": 4},
}


@pytest.mark.parametrize(("name", "scale"), list(product(SMALL, (2, 3, 4))))
def test_a_training_step_moves_every_parameter_and_lowers_the_error(name: str, scale: int) -> None:
    net = make(name, scale=scale, **SMALL[name]).train()
    small, large = images(2, 1, 8, 8), images(2, 1, 8 * scale, 8 * scale, seed=1) / 2
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    before = {key: value.clone() for key, value in net.named_parameters()}
    losses = []
    for _ in range(8):  # the last layer of residual_sr starts at zero: what is before it moves after the first step
        optimizer.zero_grad()
        loss = (net(small)[0] - large).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [key for key, value in net.named_parameters() if torch.equal(value, before[key])] == []
    assert losses[-1] < losses[0]
    assert net.eval()(small)[0].abs().max() <= 1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_residual_sr_starts_as_cubic_interpolation(scale: int) -> None:
    x = images(1, 1, 9, 7)
    with torch.no_grad():
        made = make("residual_sr", scale=scale, **SMALL["residual_sr"]).eval()(x)[0]
    assert torch.equal(made, cubic(x, scale).clamp(-1, 1))


def test_residual_sr_starts_without_a_grid() -> None:
    net = make("residual_sr", scale=4, **SMALL["residual_sr"]).eval()
    nn.init.normal_(net.last.weight)
    change = net(torch.zeros(1, 1, 16, 16))[0][0, 0, 24:40, 24:40]
    assert change.std() < 1e-6 * (1 + change.abs().mean())


def test_vdsr_is_its_formula() -> None:
    net, x = make("vdsr", scale=4, depth=3, width=4, bias=True).eval(), images(1, 1, 6, 5)
    large = nd.resize(x, [24, 20], mode="cubic")
    state = large
    layers = [net.body[0], net.body[2], net.last]
    for at, layer in enumerate(layers):
        state = F.conv2d(state, layer.weight, layer.bias, padding=1)
        state = state.relu() if at < 2 else state
    torch.testing.assert_close(net(x)[0], (large + state).clamp(-1, 1))


def test_values_beyond_the_range_have_a_gradient_in_training_alone() -> None:
    net = make("vdsr", scale=2, depth=2, width=4, bias=True)
    nn.init.constant_(net.last.bias, 3.0)
    for mode, wanted in ((True, True), (False, False)):
        net.train(mode).zero_grad()
        net(images(1, 1, 4, 4))[0].sum().backward()
        assert bool(net.last.bias.grad.abs().sum() > 0) is wanted


@pytest.mark.parametrize("factor", [2, 3])
def test_a_shuffle_is_torchs_in_two_dimensions_and_keeps_all_values_in_others(factor: int) -> None:
    state = images(2, 3 * factor**2, 4, 5)
    assert torch.equal(shuffled(state, factor), F.pixel_shuffle(state, factor))
    line = torch.arange(2 * factor * 4.0).reshape(1, 2 * factor, 4)
    made = shuffled(line, factor)
    assert made.shape == (1, 2, 4 * factor)
    assert made[0, 0].tolist() == [float(4 * part + at) for at in range(4) for part in range(factor)]
    volume = images(1, factor**3, 2, 3, 4)
    assert sorted(shuffled(volume, factor).flatten().tolist()) == sorted(volume.flatten().tolist())


def test_scales_are_made_of_prime_factors() -> None:
    assert [factors(scale) for scale in (1, 2, 3, 4, 6, 8, 12)] == [[], [2], [3], [2, 2], [2, 3], [2, 2, 2], [2, 2, 3]]


@pytest.mark.parametrize(("up", "down"), [(2, 1), (3, 1), (4, 1), (3, 2), (5, 2)])
def test_cubic_depends_on_the_stated_inputs_alone(up: int, down: int) -> None:
    x = images(1, 1, 12, 12).double().requires_grad_()
    made = cubic(x, up, down)
    for at in range(3 * up // down, 9 * up // down):
        (slope,) = torch.autograd.grad(made[0, 0, at].sum(), x, retain_graph=True)
        seen = slope[0, 0].abs().sum(1).nonzero()[:, 0]
        first, last = source_of_cubic((at, at), up, down)
        assert first <= int(seen.min()) <= int(seen.max()) <= last


def test_the_sharpening_layer_is_a_laplacian_added_to_means_of_channels() -> None:
    state = images(1, 7, 6, 5)
    made = Sharpen(2, 7)(state)[0]
    assert list(Sharpen(2, 7).parameters()) == []
    for k in range(3):
        mean = state[0, k::3].mean(0).numpy()
        padded = np.pad(mean, 1)
        sharp = mean - ndimage.laplace(padded)[1:-1, 1:-1]
        torch.testing.assert_close(made[k], torch.tensor(np.tanh(sharp), dtype=torch.float32), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_other_channels_than_it_can_make_are_refused_or_made(name: str) -> None:
    if name in ("vdsr", "residual_sr"):
        with pytest.raises(RecipeError, match="channels must be alike; got 1 and 3"):
            MAKERS[name](domain(1), domain(3))
    else:
        with torch.device("meta"):
            net = MAKERS[name](domain(1), domain(3), scale=2, **SMALL[name]).eval()
            assert net(torch.empty(1, 1, 8, 6))[0].shape == (1, 3, 16, 12)
