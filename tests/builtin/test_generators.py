"""The built-in networks: published parameter counts, features, sizes, starts and errors."""

from typing import Any

import pytest
import torch

from restorekit import Domain, Encoder, Generator, ParameterGroup, RecipeError, Task, nd
from restorekit.builtin.unet import unet
from restorekit.discovery import plugins
from restorekit.testing import reach
from restorekit.testing.subject import Subject

XRAY = Domain("a", 3, (256, 256), Task("class", ("no", "yes")))


def make(kind: str, name: str, *core: Any, **options: Any) -> Any:
    return plugins.load().parts.resolve(kind, {"name": name, **options})(*core)


def count(*nets: torch.nn.Module) -> int:
    return sum(p.numel() for net in nets for p in net.parameters() if p.requires_grad)


def test_parameter_counts_of_the_papers() -> None:
    generator = make("generator", "resnet", XRAY, XRAY)
    head = make("head", "classify", generator.features, XRAY)
    assert count(generator, head) == 11_383_941  # R2C-GAN, Table V: 11.384 M
    assert count(generator.encoder, head) == 6_282_818  # classification alone: 6.283 M
    assert count(make("discriminator", "patch", XRAY)) == 2_765_633


def test_patch_scores_depend_on_70_pixels() -> None:
    net = make("discriminator", "patch", Domain("a", 1, (256,)), width=2, norm="none")
    image = torch.randn(1, 1, 256, requires_grad=True)
    scores = net(image)
    assert scores.shape == (1, 1, 30)
    scores[0, 0, 15].backward()
    assert torch.count_nonzero(image.grad) == 70


def test_patch_says_when_images_are_too_small() -> None:
    with pytest.raises(
        RecipeError, match=r"3 layers and 1 scales need sizes of at least 24, data.size is \[16, 16\]; use fewer"
    ):
        make("discriminator", "patch", Domain("a", 1, (16, 16)))
    assert make("discriminator", "patch", Domain("a", 1, (24,)), width=2)(torch.randn(1, 1, 24)).shape == (1, 1, 1)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_resnet_features_stand_after_the_middle_block(blocks: int) -> None:
    domain = Domain("a", 1, (16, 16))
    net = make("generator", "resnet", domain, domain, width=2, blocks=blocks)
    assert len(net.encoder) == 4 + (blocks + 1) // 2
    assert net.encode(torch.zeros(1, 1, 16, 16))[1].shape == (1, net.features, 4, 4)


@pytest.mark.parametrize("upsample", ["transpose", "resize"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_resnet_options(norm: str, upsample: str) -> None:
    net = make("generator", "resnet", *[Domain("a", 1, (8, 8))] * 2, width=2, blocks=1, norm=norm, upsample=upsample)
    image, _ = net(torch.randn(2, 1, 8, 12))
    assert image.shape == (2, 1, 8, 12)
    assert image.abs().max() <= 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"width": 2, "depth": 1}),
        ("unet", {"width": 2, "depth": 3}),
        ("unet", {"width": 2, "depth": 2, "norm": "batch"}),
        ("unet", {"width": 2, "depth": 2, "layer": {"name": "selfonn", "q": 3}}),
        ("resnet", {"width": 2, "blocks": 1, "downs": 0}),
        ("resnet", {"width": 2, "blocks": 2}),
        ("resnet", {"width": 2, "blocks": 1, "downs": 1, "upsample": "resize"}),
        ("resnet", {"width": 2, "blocks": 1, "downs": 1, "scale": 3}),
        ("resnet", {"width": 2, "blocks": 1, "downs": 1, "scale": 2, "upsample": "resize"}),
    ],
)
@pytest.mark.parametrize("dims", [1, 2])
def test_halo_is_what_gradients_reach_and_makes_tiles_exact(name: str, options: dict[str, Any], dims: int) -> None:
    subject = Subject(plugins.load().parts, "generator", name, dims, given={"norm": "none"} | options)
    net = subject.make(*[Domain("a", 1, (32,) * dims)] * 2).double().eval()
    assert reach.halo(subject) is None, "neither too small, which raises, nor too large, which is noted"
    size = [2 * net.halo + 8 * net.multiple, *[2 * net.multiple] * (dims - 1)]
    size[0] += -size[0] % net.multiple
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        for parameter in net.parameters():
            # Positive, so that no rectifier is closed; small, so that no tanh saturates.
            parameter.fill_(0.5 / parameter[0].numel() if parameter.ndim > 1 else 0.1)
    assert reach.measured(net, image.abs(), None, 2) == net.halo


def test_no_halo_where_the_whole_image_is_read_or_nothing_is_known_of_a_layer() -> None:
    domain = Domain("a", 1, (32, 32))
    for name in ("unet", "resnet"):
        assert make("generator", name, domain, domain, width=2).halo is None, "instance norm reads the whole image"
    assert unet(domain, domain, layer=lambda dims: lambda *sizes, **more: Hidden(sizes, more), norm="none").halo is None


class Hidden(torch.nn.Module):
    """A convolution of which nobody can see that it is one."""

    def __init__(self, sizes: Any, options: Any) -> None:
        super().__init__()
        self.inner = [nd.conv(2)(*sizes, **options)]


def test_resnet_at_its_smallest_size_reflects_again_and_again() -> None:
    net = make("generator", "resnet", *[Domain("a", 1, (4,))] * 2, width=2, blocks=1, norm="none")
    assert net.multiple == 4
    assert net(torch.randn(1, 1, 4))[0].shape == (1, 1, 4)


def test_unet_is_as_deep_as_the_size_allows() -> None:
    def depth(*size: int) -> int:
        domain = Domain("a", 1, size)
        net: Generator = make("generator", "unet", domain, domain, width=1)
        return net.multiple.bit_length() - 1

    assert depth(512, 256) == 8
    assert depth(224, 224) == 5
    assert depth(4000) == 5
    with pytest.raises(RecipeError, match=r"data\.size \[15\] .*depth"):
        depth(15)
    with pytest.raises(RecipeError, match=r"data\.size \[8\] .* 3 .*depth is 4"):
        make("generator", "unet", *[Domain("a", 1, (8,))] * 2, depth=4)


class Maps(Encoder):
    """Means over blocks of 1, 3, 6 and 24 values, repeated to as many channels as it says."""

    widths, strides = (1, 1, 2, 5), (1, 3, 6, 24)

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.started = False

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.scale], 0.5, 7)]

    def warm_start(self) -> None:
        self.started = True

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        coarse = (nd.resize(image, [n // stride for n in image.shape[2:]]) for stride in self.strides)
        return [self.scale * one.expand(-1, w, *one.shape[2:]) for w, one in zip(self.widths, coarse, strict=True)]


@pytest.mark.parametrize("dims", [1, 2])
def test_unet_decodes_the_maps_of_any_encoder(dims: int) -> None:
    """Strides of 1, an odd and an even step, and a large one; its groups and its weights are its own."""
    domain = Domain("a", 1, (48,) * dims)
    net: Any = unet(domain, domain, encoder=lambda given: Maps() if given is domain else None)
    assert (net.multiple, net.features) == (24, 5)
    image, features = net(torch.rand(2, 1, *[72] * dims))
    assert (image.shape, features.shape) == ((2, 1, *[72] * dims), (2, 5, *[3] * dims))
    image.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    encoder, rest = net.groups()
    assert (encoder.factor, encoder.first_step, rest.factor, rest.first_step) == (0.5, 7, 1.0, 0)
    assert len(encoder.parameters) + len(rest.parameters) == len([*net.parameters()])
    net.warm_start()
    assert net.encoder.started
    for own in ({"width": 4}, {"depth": 2}):
        with pytest.raises(RecipeError, match="width and depth"):
            unet(domain, domain, encoder=lambda given: Maps(), **own)


def test_unet_trains_down_to_one_value() -> None:
    domain = Domain("a", 2, (8, 8))
    net = make("generator", "unet", domain, domain, width=2, norm="instance")
    image, features = net(torch.randn(1, 2, 8, 8))
    assert image.shape == (1, 2, 8, 8)
    assert features.shape == (1, net.features, 1, 1)


def test_unet_drops_in_the_first_three_decoders_but_never_in_the_last() -> None:
    def rates(depth: int) -> list[float]:
        net = make("generator", "unet", *[Domain("a", 1, (32,))] * 2, width=1, depth=depth, dropout=0.5)
        return [up[-1].p for up in net.ups]

    assert rates(5) == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert rates(2) == [0.5, 0.0]


def test_convolutions_start_narrow_and_other_layers_keep_their_start() -> None:
    domain = Domain("a", 1, (8, 8))
    net = make("generator", "resnet", domain, domain, width=16, blocks=1)
    stem = net.encoder[1][0].weight.detach()
    assert float(stem.std()) == pytest.approx(0.02, rel=0.2)

    def layer(c_in: int, c_out: int, kernel: int, **options: Any) -> torch.nn.Module:
        made = torch.nn.Sequential(torch.nn.Conv2d(c_in, c_out, kernel))
        torch.nn.init.ones_(made[0].weight)
        return made

    assert (nd.normal_start(layer)(1, 1, 3)[0].weight == 1).all()
