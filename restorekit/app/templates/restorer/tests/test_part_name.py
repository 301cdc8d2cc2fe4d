import pytest
import torch
from restorekit import Batch, CheckpointError, Domain

from restorekit_part_name import gamma


def flat(value, dims=2):
    """An image of one gray, from 0 to 1."""
    return torch.full((1, 1, *[8] * dims), 2 * value - 1)


def fitted(good=0.5, dims=2, **options):
    part = gamma(Domain("a", 1, (8,) * dims), **options)
    part.fit([], [Batch(flat(good, dims), ("1",))])
    return part


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_mean_gray_becomes_that_of_the_good_images(dims):
    made = fitted(0.5, dims).restore(flat(0.2, dims)).image
    torch.testing.assert_close(made, flat(0.5, dims))


def test_strength_0_changes_nothing():
    image = torch.rand(1, 1, 8, 8) * 2 - 1
    torch.testing.assert_close(fitted(strength=0.0).restore(image).image, image, atol=1e-6, rtol=0)


def test_black_and_white_stay():
    image = flat(0.3)
    image[..., 0, 0], image[..., 7, 7] = -1, 1
    made = fitted().restore(image).image
    assert (made[..., 0, 0].item(), made[..., 7, 7].item()) == (-1, 1)


def test_a_tile_with_the_summary_of_its_image_is_a_part_of_the_restored_image():
    part, image = fitted(), torch.rand(2, 1, 8, 8) * 2 - 1
    tile = part.restore(image[..., :4, :4], part.summary(image)).image
    torch.testing.assert_close(tile, part.restore(image).image[..., :4, :4])


def test_what_was_not_fitted_is_refused():
    with pytest.raises(CheckpointError, match="part_name"):
        gamma(Domain("a", 1, (8, 8))).restore(flat(0.5))
