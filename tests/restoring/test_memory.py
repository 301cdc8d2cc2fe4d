"""What a call of a network holds at its highest."""

import torch
from torch import nn

from restorekit.restoring.memory import peak_bytes

SIDE = 32
FLOAT = 4 * SIDE * SIDE


def test_of_layers_in_a_row_two_neighbours_are_held_at_once() -> None:
    net = nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 8), (8, 5), (5, 16), (16, 1)))).eval()
    image = torch.zeros(1, 1, SIDE, SIDE)
    with torch.no_grad():
        assert peak_bytes(lambda: net(image)) == (5 + 16) * FLOAT
        assert peak_bytes(lambda: net[:1](image)) == 8 * FLOAT  # the image itself was there before


def test_what_is_kept_is_counted_and_views_and_operations_in_place_are_not() -> None:
    image = torch.zeros(1, 1, SIDE, SIDE)

    def call() -> object:
        kept = [image + 1 for _ in range(3)]
        kept[0].relu_().reshape(SIDE, SIDE)[::2].add_(1)
        for _ in range(5):
            image * 2  # gone at once
        return kept

    assert peak_bytes(call) == 4 * FLOAT
