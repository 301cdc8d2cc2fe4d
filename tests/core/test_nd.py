"""The n-D operations against torch, TensorFlow's formula and NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit import nd


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_conv_chooses_by_dimensions(dims: int, transposed: bool) -> None:
    layer = nd.conv(dims)(2, 3, 3, stride=2, padding=1, transposed=transposed)
    assert type(layer).__name__ == f"Conv{'Transpose' if transposed else ''}{dims}d"
    assert layer(torch.zeros(1, 2, *[8] * dims)).shape[2:] == (15 if transposed else 4,) * dims


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_norm(dims: int) -> None:
    x = torch.randn(2, 3, *[4] * dims) * 5 + 2
    axes = tuple(range(2, dims + 2))
    wanted = (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True, correction=0) + 1e-3).sqrt()
    torch.testing.assert_close(nd.norm(dims, 3, eps=1e-3)(x), wanted)
    assert sum(p.numel() for p in nd.norm(dims, 3).parameters()) == 6
    assert not list(nd.norm(dims, 3, affine=False).parameters())
    assert nd.norm(dims, 3, "none")(x) is x
    assert type(nd.norm(dims, 3, "batch")).__name__ == f"BatchNorm{dims}d"


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [  # tf.nn.conv2d(padding="SAME"): an odd extra pixel at the end
        (256, 3, 2, (0, 1)),
        (256, 3, 1, (1, 1)),
        (256, 4, 1, (1, 2)),
        (256, 4, 2, (1, 1)),
        (256, 4, 4, (0, 0)),
        (255, 3, 2, (1, 1)),
        (5, 2, 3, (0, 0)),
        (7, 7, 1, (3, 3)),
    ],
)
def test_pad_same_is_tensorflows(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    x = torch.randn(1, 1, size)
    assert torch.equal(nd.pad_same(x, kernel, stride), F.pad(x, pads))
    assert F.conv1d(nd.pad_same(x, kernel, stride), torch.ones(1, 1, kernel), stride=stride).shape[2] == -(
        -size // stride
    )


def test_pad_is_by_axis_in_order() -> None:
    x = torch.randn(1, 1, 3, 4, 5)
    for mode in ("zeros", "reflect", "replicate"):
        padded = nd.pad(x, [(0, 1), (2, 0), (1, 1)], mode)
        assert padded.shape == (1, 1, 4, 6, 7)
        assert torch.equal(nd.crop(padded, (0, 2, 1), (3, 4, 5)), x)
    numpy = np.pad(x[0, 0].numpy(), [(0, 1), (2, 0), (1, 1)], mode="reflect")
    np.testing.assert_array_equal(nd.pad(x, [(0, 1), (2, 0), (1, 1)])[0, 0].numpy(), numpy)


@given(size=st.integers(1, 6), before=st.integers(0, 9), after=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_reflection_works_at_any_size(size: int, before: int, after: int) -> None:
    x = torch.arange(float(size))[None, None]
    wanted = np.pad(np.arange(float(size)), (before, after), mode="reflect")
    np.testing.assert_array_equal(nd.pad(x, [(before, after)])[0, 0].numpy(), wanted)


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=3), multiple=st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=25, deadline=None)
def test_pad_to_multiple_keeps_the_image_and_adds_less_than_one_multiple(sizes: list[int], multiple: int) -> None:
    x = torch.randn(1, 2, *sizes)
    padded = nd.pad_to_multiple(x, multiple)
    assert all(n % multiple == 0 and 0 <= n - m < multiple for n, m in zip(padded.shape[2:], sizes, strict=True))
    assert torch.equal(nd.crop(padded, [0] * len(sizes), sizes), x)
    assert set(padded.flatten().tolist()) <= set(x.flatten().tolist())


def test_crop() -> None:
    x = torch.arange(24).reshape(1, 4, 6)
    assert torch.equal(nd.crop(x, (1, 2), (2, 3)), x[:, 1:3, 2:5])
    assert torch.equal(nd.crop(x, (2,), (3,)), x[..., 2:5])
    with pytest.raises(RuntimeError):
        nd.crop(x, (3, 0), (2, 3))


MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 8, 13])
def test_resize_without_antialias_is_torchs(dims: int, size: int) -> None:
    x = torch.randn(2, 3, *range(8, 8 + dims))
    wanted = F.interpolate(x, (size,) * dims, mode=MODES[dims], align_corners=False)
    torch.testing.assert_close(nd.resize(x, (size,) * dims, antialias=False), wanted)


@pytest.mark.parametrize("size", [(3, 5), (16, 4), (7, 9)])
def test_resize_with_antialias_is_torchs(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 8, 9)
    wanted = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(nd.resize(x, size), wanted)


def triangle(before: int, after: int) -> torch.Tensor:
    """Weights of linear interpolation whose triangle is as wide as a step: (after, before)."""
    step = before / after
    centre = (torch.arange(after) + 0.5) * step
    weight = 1 - ((torch.arange(before) + 0.5) - centre[:, None]).abs() / max(step, 1)
    weight = weight.clamp(min=0)
    return weight / weight.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((16,), 5), ((1,), 4), ((9, 1), 4), ((1, 9), 20), ((9, 16), 1), ((6, 7, 16), 5), ((1, 1, 16), 5)],
)
def test_resize_with_antialias_is_the_triangle_on_every_axis(shape: tuple[int, ...], size: int) -> None:
    x = torch.randn(2, 3, *shape)
    wanted = x
    for axis, before in enumerate(shape, start=2):
        wanted = (wanted.movedim(axis, -1) @ triangle(before, size).T).movedim(-1, axis)
    torch.testing.assert_close(nd.resize(x, [size] * len(shape)), wanted, atol=1e-5, rtol=1e-4)


def test_resize_to_the_same_size_is_the_image() -> None:
    x = torch.randn(1, 1, 5, 6)
    assert nd.resize(x, (5, 6)) is x


def test_init_normal() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(nd.conv(2)(32, 32, 3), torch.nn.Linear(2, 2), nd.conv(2)(8, 8, 3, transposed=True))
    before = net[1].weight.clone()
    nd.init_normal(net, 0.5)
    assert float(net[0].weight.detach().std()) == pytest.approx(0.5, rel=0.05)
    assert float(net[2].weight.detach().std()) == pytest.approx(0.5, rel=0.2)
    assert not net[0].bias.any()
    assert torch.equal(net[1].weight, before)
