import math

import numpy as np
import pytest
import torch
from restorekit import Batch, DataError, Domain

from restorekit_part_name import mean_absolute_error


def measured(image, truth, border=0):
    metric = mean_absolute_error(Domain("a", 1, tuple(image.shape[2:])), border=border)
    return metric.measure(image, None, Batch(image, tuple("12"[: len(image)]), truth=truth))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_metric_equals_known_error_of_even_images(dims):
    truth = torch.rand(2, 3, *[6] * dims) * 0.5
    error = torch.tensor([0.25, -0.125]).view(2, *[1] * (dims + 1))
    np.testing.assert_allclose(measured(truth + error, truth), [[0.25], [0.125]], rtol=1e-6)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_border_is_left_out(dims):
    truth = torch.full((1, 1, *[6] * dims), 0.5)
    image = truth.clone()
    image[(..., *[slice(2, -2)] * dims)] = 0.0  # 2 of 6 pixels along each axis are wrong, by 0.5
    for border, size in ((0, 6), (1, 4), (2, 2)):
        assert measured(image, truth, border).item() == pytest.approx(0.5 * (2 / size) ** dims)


def test_values_beyond_the_range_are_clipped():
    assert measured(torch.full((1, 1, 4), 3.0), torch.ones(1, 1, 4)).item() == 0


def test_an_image_of_border_alone_has_no_score_and_counts_for_nothing():
    rows = measured(torch.zeros(1, 1, 4, 9), torch.zeros(1, 1, 4, 9), border=2)
    assert math.isnan(rows.item())
    metric = mean_absolute_error(Domain("a", 1, (4, 9)))
    assert metric.reduce(np.concatenate([rows, [[0.2]], [[0.4]]])) == pytest.approx(0.3)
    assert math.isnan(metric.reduce(rows))


def test_what_cannot_be_compared_is_refused_by_name():
    image = torch.zeros(2, 1, 4)
    broken = torch.stack([torch.zeros(1, 4), torch.full((1, 4), math.nan)])
    for one, truth, message in (
        (image, None, "1: there is no truth"),
        (image, torch.zeros(2, 1, 5), "1: an image and its truth differ in shape"),
        (broken, image, "2: the image holds a value that is not finite"),
    ):
        with pytest.raises(DataError, match=message):
            measured(one, truth)
