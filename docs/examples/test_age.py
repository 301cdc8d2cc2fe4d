import numpy as np
import pytest
import torch
from restorekit import Batch, Domain, Task, RecipeError

from restorekit_age import absolute_error, age

PEOPLE = Domain("a", 1, (8, 8), task=Task("numbers", ("age, years",)))


def test_the_head_predicts_numbers_in_their_unit():
    head = age(4, PEOPLE, center=40.0, scale=10.0)
    torch.nn.init.zeros_(head.dense.weight)
    torch.nn.init.constant_(head.dense.bias, 1.5)
    assert head.predict(head(torch.randn(2, 4, 5, 5))).tolist() == [[55.0], [55.0]]


def test_the_loss_is_least_at_the_truth_and_finite_for_unknown_ages():
    head = age(4, PEOPLE, center=40.0, scale=10.0)
    raw = torch.tensor([[1.0], [7.0]], requires_grad=True)
    known = torch.tensor([True, False])
    at, off = (head.loss(raw, torch.tensor([years, float("nan")]), known) for years in (50.0, 60.0))
    assert at[0] == 0
    assert off[0] > 0
    assert off.isfinite().all(), "the second is left out, but must be finite"
    off[0].backward()
    assert raw.grad[0] < 0


def test_the_error_is_the_mean_over_known_ages():
    metric, image = absolute_error(PEOPLE), torch.zeros(3, 1, 8, 8)
    batch = Batch(image, ("1", "2", "3"), target=torch.tensor([50.0, 20.0, float("nan")]))
    rows = metric.measure(image, torch.tensor([[53.0], [19.0], [0.0]]), batch)
    assert metric.reduce(rows) == 2
    assert np.isnan(metric.reduce(rows[2:]))


def test_data_without_numbers_is_refused():
    with pytest.raises(RecipeError, match="has the classes no, yes"):
        age(4, Domain("a", 1, (8, 8), Task("class", ("no", "yes"))))
