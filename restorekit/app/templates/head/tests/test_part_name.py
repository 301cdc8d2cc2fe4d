import math

import pytest
import torch
from restorekit import UNLABELLED, Domain, RecipeError, Task

from restorekit_part_name import two_layer


def made(dims=2):
    torch.manual_seed(0)
    return two_layer(4, Domain("a", 1, (8,) * dims, Task("class", ("no", "some", "much"))), hidden=8)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_logits_are_of_the_means_whatever_place_or_size(dims):
    head, features = made(dims), torch.randn(2, 4, *[6] * dims)
    raw = head(features)
    assert raw.shape == (2, 3)
    torch.testing.assert_close(head(features.flip(2)), raw)
    torch.testing.assert_close(head(features.repeat_interleave(2, dim=2)), raw)
    cancelled = torch.cat([features, -features], dim=2)
    torch.testing.assert_close(head(cancelled), head(torch.zeros_like(features)))


def test_logits_that_are_alike_cost_the_logarithm_of_the_classes():
    loss = made().loss(torch.zeros(5, 3), torch.tensor([0, 1, 2, 0, 1]), torch.ones(5, dtype=torch.bool))
    torch.testing.assert_close(loss, torch.full((5,), math.log(3)))


def test_an_image_without_a_class_costs_nothing():
    head, raw = made(), torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    loss = head.loss(raw, torch.tensor([1, UNLABELLED]), torch.tensor([True, False]))
    torch.testing.assert_close(loss[:1], head.loss(raw[:1], torch.tensor([1]), torch.tensor([True])))
    assert loss[1] == 0


def test_one_class_is_nothing_to_tell():
    with pytest.raises(RecipeError, match="has 1 classes, needs at least 2"):
        two_layer(4, Domain("a", 1, (8, 8), Task("class", ("only",))))
