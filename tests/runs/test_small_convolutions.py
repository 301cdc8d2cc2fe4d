"""Gradients in bfloat16 of convolutions of very few positions, which oneDNN computes wrongly."""

import pytest
import torch
from torch import nn

from restorekit.runs.engine import Engine

CASES = [
    (nn.Conv3d, (2, 2, 2), 1),
    (nn.Conv3d, (2, 8, 8), 1),
    (nn.Conv3d, (4, 4, 4), 2),
    (nn.Conv3d, (1, 1, 1), 2),
    (nn.Conv2d, (1, 1), 2),
    (nn.Conv1d, (1,), 2),
]


def gradient(layer: nn.Module, image: torch.Tensor, precision: str) -> torch.Tensor:
    layer.zero_grad()
    with Engine(precision, cpu=True).autocast():
        made = layer(image)
    made.float().square().sum().backward()
    assert isinstance(layer.weight, torch.Tensor)
    assert layer.weight.grad is not None
    return layer.weight.grad.clone()


def leave_nan_in_freed_memory() -> None:
    sizes = [2**n for n in range(6, 18)]
    for dtype in (torch.float32, torch.bfloat16):
        _ = [torch.full((size,), float("nan"), dtype=dtype) for size in sizes for _ in range(8)]


@pytest.mark.parametrize(("kind", "size", "stride"), CASES)
def test_weight_gradients_of_few_positions_are_those_of_float32(kind: type, size: tuple[int, ...], stride: int) -> None:
    torch.manual_seed(0)
    layer = kind(40, 40, 3, stride=stride, padding=1)
    image = torch.randn(4, 40, *size)
    exact = gradient(layer, image, "fp32")
    for _ in range(6):
        leave_nan_in_freed_memory()
        torch.testing.assert_close(gradient(layer, image, "bf16"), exact)


def test_larger_convolutions_run_in_bfloat16() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    with Engine("bf16", cpu=True).autocast():
        assert layer(torch.zeros(1, 2, 8, 8)).dtype == torch.bfloat16
        assert layer(torch.zeros(1, 2, 2, 2)).dtype == torch.float32
