from types import SimpleNamespace

import numpy as np
import pytest
import torch
from restorekit import Batch, Domain

from restorekit_edges import edges, residual_error


def between(restored, degraded):
    passes = SimpleNamespace(a=SimpleNamespace(image=degraded), ab=SimpleNamespace(image=restored))
    return float(edges(eps=0.01).generator(passes))


def disc(at, size=32):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.tanh((6 - ((y - at) ** 2 + (x - at) ** 2).sqrt()) / 2)[None, None]


def test_contrast_and_brightness_may_change():
    image = disc(16)
    for other in (image, 0.5 * image, 2 * image, image + 0.2):
        assert between(other, image) == pytest.approx(0, abs=0.02)


def test_edges_that_move_cost():
    image = disc(16)
    costs = [between(disc(16 + shift), image) for shift in (0, 2, 6)]
    assert costs == sorted(costs)
    assert costs[-1] > 0.2


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_perfect_image_has_no_error_and_a_flat_one_has_one(dims):
    truth = torch.randn(2, 1, *[8] * dims)
    metric = residual_error(Domain("a", 1, (8,) * dims))
    batch = Batch(truth, ("1", "2"), truth=truth)
    flat = truth.mean(tuple(range(1, dims + 2)), keepdim=True).expand_as(truth)
    np.testing.assert_allclose(metric.measure(truth, None, batch), 0)
    np.testing.assert_allclose(metric.measure(flat, None, batch), 1, rtol=1e-6)
