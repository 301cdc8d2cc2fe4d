from __future__ import annotations

import pytest
import torch
from restorekit_r2cgan.blocks import Enlarge, Same, Up

from restorekit import Domain, RecipeError, Task, Translator, nd
from restorekit.discovery.plugins import load

CNN_STAR = {"name": "r2cgan_compact", "activation": "relu"}


def operational(q: int) -> dict:
    return {"name": "r2cgan_compact", "layer": {"name": "selfonn", "q": q}}


def translator(spec: dict | str, size: tuple[int, ...] = (64, 64), channels: int = 3) -> Translator:
    domain = Domain("a", channels, size, Task("class", ("control", "covid")))
    generator = load().parts.resolve("generator", spec)(domain, domain)
    head = load().parts.resolve("head", {"name": "classify", "pool": "max"})(generator.features, domain)
    return Translator(generator, head)


def discriminator(spec: dict | str, size: tuple[int, ...] = (64, 64), channels: int = 3) -> torch.nn.Module:
    return load().parts.resolve("discriminator", spec)(Domain("a", channels, size))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("spec", "whole", "class_only"),
    [
        (operational(1), 302_853, 299_394),
        (operational(3), 906_507, 896_130),
        (operational(5), 1_510_161, 1_492_866),
        (CNN_STAR, 302_853, 299_394),
        ("r2cgan_cnn", 11_383_941, 6_282_818),
    ],
)
def test_parameters_of_table_v(spec, whole, class_only):
    with torch.device("meta"):
        net = translator(spec)
        net.raw(torch.rand(1, 3, 64, 64)).sum().backward()
    assert count(net) == whole
    assert sum(p.numel() for p in net.parameters() if p.grad is not None) == class_only


@pytest.mark.parametrize(
    ("spec", "whole"),
    [(operational(1), 136_513), (operational(3), 409_027), ("r2cgan_compact", 136_513), ("r2cgan_cnn", 2_765_633)],
)
def test_parameters_of_the_discriminators(spec, whole):
    with torch.device("meta"):
        net = discriminator(spec)
        assert count(net) == whole
        assert net(torch.rand(1, 3, 256, 256)).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("size", [(16,), (20,), (8, 12), (8, 8, 12)])
@pytest.mark.parametrize("spec", [{**operational(2), "width": 6}, {**CNN_STAR, "width": 4}, "r2cgan_cnn"])
def test_signals_images_and_volumes(spec, size):
    with torch.device("meta"):
        net, critic = translator(spec, size, 1), discriminator("r2cgan_compact", size, 1)
        out = net(torch.rand(2, 1, *size))
        assert out.image.shape == (2, 1, *size)
        assert out.features.shape == (2, net.generator.features, *[n // net.generator.multiple for n in size])
        assert out.raw.shape == (2, 2)
        assert critic(torch.rand(2, 1, *size)).shape == (2, 1, *[-(-n // 8) for n in size])


def test_an_image_is_translated_within_range_and_learnt_from():
    torch.manual_seed(0)
    net = translator({**operational(3), "width": 8}, (16, 16))
    out = net(torch.rand(1, 3, 16, 16).mul(2).sub(1))
    assert out.image.abs().max() <= 1
    (out.image.mean() + out.raw.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("features_at", ["output", "sum"])
def test_where_the_head_reads(features_at):
    torch.manual_seed(0)
    net = translator({**operational(2), "width": 8, "features_at": features_at}, (16, 16)).generator
    state, features = net.encode(torch.rand(1, 3, 16, 16))
    torch.testing.assert_close(state, features.tanh() if features_at == "sum" else features)
    assert state.abs().max() < 1


def test_compact_convolutional_gives_the_sum_itself():
    torch.manual_seed(0)
    net = translator({**CNN_STAR, "width": 8}, (16, 16)).generator
    state, features = net.encode(torch.rand(1, 3, 16, 16))
    assert state is features
    assert state.max() > 1


def test_resized_upsampling_gives_every_pixel_as_many_terms():
    make, state = nd.conv(2), torch.ones(1, 4, 6, 6)
    transposed, resized = Up(make, 4, 1, bias=True), Enlarge(make, 2, 4, 1)
    for up in (transposed, resized):
        torch.nn.init.ones_(up.layer.weight)
        torch.nn.init.zeros_(up.layer.bias)
    assert resized(state).eq(4 * 9).all()
    assert transposed(state)[..., 1:-1, 1:-1].unique().numel() > 1  # the checkerboard
    assert resized(state).shape == transposed(state).shape == (1, 1, 12, 12)


@pytest.mark.parametrize(("norm", "kept"), [("instance", False), ("none", True)])
def test_gray_levels_pass_without_a_norm(norm, kept):
    torch.manual_seed(0)
    net = translator({**operational(1), "width": 8, "norm": norm, "features_at": "sum"}, (16, 16)).generator
    image = 100 * torch.rand(1, 3, 16, 16)  # so that the norm's epsilon is of no weight
    features = [net.encode(level * image)[1] for level in (1, 2)]
    assert torch.allclose(*features, atol=1e-3) is not kept


def test_the_mask_is_rectified_or_not():
    torch.manual_seed(0)
    leaky = discriminator(operational(1), (16, 16))
    plain = discriminator({**operational(1), "last": "none"}, (16, 16))
    plain.load_state_dict(leaky.state_dict())
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(leaky(image), torch.nn.functional.leaky_relu(plain(image), 0.2))


def test_padding_is_tensorflows():
    # one pixel at the end of an even size falls under the last window alone, because 'same' pads (0, 1)
    layer = Same(nd.conv(1), 1, 1, 3, stride=2, bias=False)
    torch.nn.init.ones_(layer.layer.weight)
    assert layer(torch.tensor([[[1.0, 2, 3, 4]]])).tolist() == [[[6, 7]]]
    up = Up(nd.conv(1), 1, 1, bias=False)
    up.layer.weight.data = torch.tensor([[[1.0, 10, 100]]])
    assert up(torch.tensor([[[1.0, 2]]])).tolist() == [[[1, 10, 102, 20]]]


@pytest.mark.parametrize("spec", [CNN_STAR, "r2cgan_cnn"])
def test_plain_convolutions_start_as_keras_does(spec):
    torch.manual_seed(0)
    for net in (translator(spec, (16, 16)).generator, discriminator("r2cgan_cnn", (16, 16))):
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                out, into = module.weight.shape[:2]
                bound = (6 / ((out + into) * module.weight[0, 0].numel())) ** 0.5
                assert 0.98 * bound < module.weight.abs().max() <= bound
                assert module.bias is None or module.bias.eq(0).all()
            if isinstance(module, torch.nn.InstanceNorm2d):
                assert module.affine
                assert module.eps == 1e-3


def test_a_width_that_makes_no_net():
    with pytest.raises(RecipeError) as caught:
        translator({"name": "r2cgan_compact", "width": 0})
    (error,) = caught.value.errors
    assert (error.place, error.code, error.got) == (("width",), "out-of-range", 0)
