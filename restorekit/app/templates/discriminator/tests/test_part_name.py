import pytest
import torch
from restorekit import Domain, RecipeError

from restorekit_part_name import patches


def made(dims, halvings=2):
    torch.manual_seed(0)
    return patches(Domain("a", 1, (32,) * dims), width=4, halvings=halvings)


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_score_is_of_its_patch_alone(dims, halvings):
    x = torch.rand(1, 1, *[32] * dims, requires_grad=True)
    scores = made(dims, halvings)(x)
    assert scores.shape == (1, 1, *[32 // 2**halvings] * dims)
    scores[(0, 0, *[16 // 2**halvings] * dims)].backward()
    for axis in range(dims):
        felt = x.grad[0, 0].movedim(axis, 0).flatten(1).any(1) if dims > 1 else x.grad[0, 0] != 0
        assert felt.sum() == 3 * 2**halvings - 2


def test_images_that_are_too_small_are_refused():
    with pytest.raises(RecipeError, match="3 halvings need sizes of at least 8"):
        patches(Domain("a", 1, (32, 4)), halvings=3)
