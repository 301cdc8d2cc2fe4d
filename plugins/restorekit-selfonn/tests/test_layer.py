from __future__ import annotations

import io
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_selfonn import Operational, selfonn

from restorekit import RecipeError

CONV = {1: (F.conv1d, F.conv_transpose1d), 2: (F.conv2d, F.conv_transpose2d), 3: (F.conv3d, F.conv_transpose3d)}


def plain(layer: Operational, x: torch.Tensor) -> torch.Tensor:
    """The definition: a sum of convolutions of powers."""
    extra = {"output_padding": layer.output_padding} if layer.transposed else {}
    conv = CONV[layer.dims][layer.transposed]
    terms = [
        conv(x**i, kernel, None, stride=layer.stride, padding=layer.padding, groups=layer.groups, **extra)
        for i, kernel in enumerate(layer.kernels(), start=1)
    ]
    total = sum(terms[1:], terms[0])
    if layer.bias is not None:
        total = total + layer.bias.reshape(-1, layer.c_out).sum(0).view(-1, *[1] * layer.dims)
    return total


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_equals_the_sum_of_convolutions(dims, transposed, groups, data):
    draw = data.draw
    q, kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, kernel - 1))
    output_padding = draw(st.integers(0, stride - 1)) if transposed else 0
    size = [draw(st.integers(4, 6)) for _ in range(dims)]
    torch.manual_seed(draw(st.integers(0, 9)))
    convention = draw(st.sampled_from(["r2cgan", "fastonn"]))
    layer = selfonn(dims, q=q, convention=convention)(
        2 * groups,
        3 * groups,
        kernel,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        bias=draw(st.booleans()),
        transposed=transposed,
    ).double()
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    x = torch.rand(draw(st.integers(1, 2)), 2 * groups, *size, dtype=torch.float64, requires_grad=True)
    ours, theirs = layer(x), plain(layer, x)
    torch.testing.assert_close(ours, theirs)
    seed = torch.randn_like(ours)
    inputs = [x, *layer.parameters()]
    for one, two in zip(
        torch.autograd.grad(ours, inputs, seed), torch.autograd.grad(theirs, inputs, seed), strict=True
    ):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("q", [1, 2, 3, 4])
def test_first_and_second_derivatives(q, transposed):
    torch.manual_seed(0)
    layer = selfonn(1, q=q)(2, 2, 2, stride=2, groups=2, transposed=transposed).double()

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    x = torch.rand(2, 2, 4, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_gradient_of_the_input_alone():
    torch.manual_seed(0)
    layer = selfonn(2, q=3)(2, 3, 3, padding=1).requires_grad_(False)
    x = torch.rand(1, 2, 5, 5, requires_grad=True)
    (ours,) = torch.autograd.grad(layer(x).sum(), x)
    (theirs,) = torch.autograd.grad(plain(layer, x).sum(), x)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("q", [1, 3, 7])
def test_backward_keeps_the_input_and_the_weight_only(q):
    layer = selfonn(2, q=q)(4, 8, 3, padding=1)
    x = torch.rand(2, 4, 16, 16, requires_grad=True)
    kept: dict[int, int] = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x).sum().backward()
    assert sum(kept.values()) == 4 * (x.numel() + layer.weight.numel())


def test_float16_autocast_does_not_overflow():
    layer = selfonn(2, q=3)(2, 2, 3)
    x = torch.full((1, 2, 4, 4), 50.0, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        y = layer(x.half())
        half = layer(x)
    assert y.dtype == half.dtype == torch.float32
    half.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    torch.testing.assert_close(half, layer(x))


@pytest.mark.parametrize("transposed", [False, True])
def test_bfloat16_autocast(transposed):
    torch.manual_seed(0)
    layer = selfonn(2, q=3)(4, 4, 3, transposed=transposed)
    x = torch.rand(1, 4, 8, 8).mul(2).sub(1).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), atol=0.05, rtol=0.05)
    y.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_of_low_precision(dtype):
    torch.manual_seed(0)
    layer = selfonn(2, q=3)(4, 4, 3).to(dtype)
    x = torch.rand(1, 4, 8, 8, dtype=dtype, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.dtype == dtype
    assert x.grad is not None
    assert x.grad.dtype == dtype
    torch.testing.assert_close(y.float(), layer.float()(x.float()), atol=0.05, rtol=0.05)


def test_autocast_leaves_float64_alone():
    layer = selfonn(1, q=2)(1, 1, 3).double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.rand(1, 1, 5, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("transposed", [False, True])
def test_start_of_r2cgan(transposed):
    torch.manual_seed(0)
    layer = selfonn(2, q=3)(32, 16, 3, transposed=transposed)
    assert layer.weight.shape == ((96, 16, 3, 3) if transposed else (16, 96, 3, 3))
    assert layer.bias.shape == (3, 16)
    assert layer.bias.eq(0).all()
    bound = math.sqrt(6 / (9 * (32 + 16)))
    for kernel in layer.kernels():
        assert 0.99 * bound < kernel.abs().max() <= bound
        assert kernel.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_start_of_fastonn():
    torch.manual_seed(0)
    layer = selfonn(2, q=3, convention="fastonn")(32, 64, 3)
    assert layer.bias.shape == (64,)
    bound = 5 / 3 * math.sqrt(6 / (9 * (3 * 32 + 64)))
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert 0.8 / math.sqrt(9 * 96) < layer.bias.abs().max() <= 1 / math.sqrt(9 * 96)


def test_every_orders_bias_moves_by_itself():
    layer = selfonn(1, q=3)(1, 2, 1)
    layer(torch.rand(1, 1, 4)).sum().backward()
    assert layer.bias.grad.shape == (3, 2)
    assert layer.bias.grad.eq(4).all()


@pytest.mark.parametrize("convention", ["r2cgan", "fastonn"])
def test_state_dict_round_trip(convention):
    make = selfonn(2, q=2, convention=convention)
    first, second = make(4, 6, 3, groups=2), make(4, 6, 3, groups=2)
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second.load_state_dict(torch.load(stream, weights_only=True))
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(first(x), second(x))


def test_meta_device():
    with torch.device("meta"):
        layer = selfonn(3, q=3)(2, 4, 3, stride=2)
        y = layer(torch.empty(1, 2, 7, 7, 7))
    assert y.shape == (1, 4, 3, 3, 3)
    assert y.is_meta


# torch 2.6's compiler warns of what it does itself
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
def test_compiles_whole():
    torch.manual_seed(0)
    layer = selfonn(2, q=3)(2, 3, 3, groups=1)
    x = torch.rand(1, 2, 6, 6, requires_grad=True)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    ours, theirs = compiled(x), layer(x)
    torch.testing.assert_close(ours, theirs)
    grads = [torch.autograd.grad(y.square().sum(), [x, layer.weight]) for y in (ours, theirs)]
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_cuda(dtype):
    torch.manual_seed(0)
    layer = selfonn(2, q=3)(4, 4, 3)
    x = torch.rand(1, 4, 8, 8, requires_grad=True)
    expected = layer(x)
    layer.cuda()
    with torch.autocast("cuda", dtype=dtype or torch.float16, enabled=dtype is not None):
        y = layer(x.cuda())
    y.float().sum().backward()
    torch.testing.assert_close(y.float().cpu(), expected, atol=0.05 if dtype else 1e-3, rtol=0.05)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"q": 0}, "q must be 1 or more; got 0"),
        ({"kernel": 0}, "kernel must be 1 or more"),
        ({"groups": 3}, "groups must divide the channels; got 3 for 2 to 4"),
        ({"padding": -1}, "padding and output_padding must be 0 or more"),
        ({"output_padding": 1}, "output_padding is for transposed layers only"),
        ({"dims": 4}, "dims must be 1, 2 or 3; got 4"),
        ({"convention": "other"}, "convention must be"),
    ],
)
def test_errors_are_one_line(numbers, named):
    with pytest.raises(RecipeError, match=named) as caught:
        Operational(**{"dims": 2, "c_in": 2, "c_out": 4, "kernel": 3, "q": 3, **numbers})
    assert "\n" not in str(caught.value)


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="reads"):
        selfonn(2)(3, 3, 3)(torch.rand(3, 8, 8))


def test_the_part_is_registered():
    from restorekit.discovery.plugins import load

    parts = load().parts
    layer = parts.resolve("layer", {"name": "selfonn", "q": 2})(1)(2, 4, 3)
    assert layer.q == 2
    assert repr(layer) == "Operational(2, 4, kernel=3, q=2, stride=1)"
    with pytest.raises(RecipeError) as caught:
        parts.resolve("layer", {"name": "selfonn", "q": 0})
    (error,) = caught.value.errors
    assert (error.place, error.code, error.got) == (("q",), "out-of-range", 0)
