import pytest
import torch
from restorekit import Domain, Output, RecipeError, Restorer

from restorekit_pnp import PlugAndPlay, pnp


class Shrink(Restorer):
    """The proximal map of weight |x|^2 / 2."""

    def __init__(self, weight=0.1):
        self.weight = weight

    def restore(self, image, summary=None, rng=None):
        return Output(image / (1 + self.weight))


class Larger(Restorer):
    scale = 2

    def restore(self, image, summary=None, rng=None):
        return Output(image)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_with_the_map_of_a_quadratic_prior_it_is_tikhonovs_closed_form(dims):
    image = 0.1 * torch.randn(1, 1, *[8] * dims, generator=torch.Generator().manual_seed(0))
    part = PlugAndPlay(Shrink(0.1), blur=1.0, steps=200)
    # (H H + weight) x = H y, column by column of H
    size = image.numel()
    h = torch.stack([part.blurred(e.reshape(image.shape)).flatten() for e in torch.eye(size)], 1).double()
    wanted = torch.linalg.solve(h @ h + 0.1 * torch.eye(size).double(), h @ image.flatten().double())
    torch.testing.assert_close(part.restore(image).image.flatten().double(), wanted, rtol=0, atol=1e-5)


def test_more_steps_are_nearer_to_the_image_before_the_blur():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    sharp = torch.where((x - 16).square() + (y - 16).square() < 64, 0.8, -0.8)[None, None]
    make = Domain("a", 1, (32, 32))
    blurred = PlugAndPlay(Shrink(0), blur=1.5, steps=1).blurred(sharp)
    parts = [pnp(make, restorer=lambda domain: Shrink(0), blur=1.5, steps=steps) for steps in (1, 8, 64)]
    errors = [float((part.restore(blurred).image - sharp).square().mean()) for part in parts]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.6 * float((blurred - sharp).square().mean())


def test_a_denoiser_that_enlarges_is_refused():
    with pytest.raises(RecipeError, match="got a scale of 2"):
        pnp(Domain("a", 1, (8, 8)), restorer=lambda domain: Larger())
