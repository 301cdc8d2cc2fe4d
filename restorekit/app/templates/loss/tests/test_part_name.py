import pytest
import torch
from restorekit import Batch, Generator, HistoryPool, Nets, Passes, Translator

from restorekit_part_name import total_variation


class Keep(Generator):
    """Restores nothing: what it gives is what it was given."""

    features = 1

    def encode(self, image, summary=None):
        return image, image

    def decode(self, state):
        return state


def costs(image, **options):
    batch = Batch(image, tuple(map(str, range(len(image)))))
    pools = (HistoryPool(0), HistoryPool(0))
    passes = Passes(Nets(Translator(Keep())), batch, batch, pools, torch.Generator())
    return total_variation(**options).generator(passes)


def cost(image, **options):
    return costs(image, **options).item()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_constant_image_costs_nothing(dims):
    assert cost(torch.full((1, 2, *[5] * dims), 0.3)) == 0


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_ramp_costs_its_slope_along_each_axis(dims):
    places = torch.meshgrid(*[torch.arange(5.0)] * dims, indexing="ij")
    ramp = 0.1 * sum(places)
    assert cost(ramp[None, None]) == pytest.approx(dims * 0.1 * 4 / 5)  # of 5 pixels 4 have a next one


def test_an_edge_costs_its_height_beyond_the_margin():
    edge = torch.cat([torch.zeros(1, 1, 8, 4), torch.full((1, 1, 8, 4), 0.5)], dim=3)
    assert cost(edge) == pytest.approx(0.5 * 8 / 64)
    assert cost(edge.flip(3)) == pytest.approx(0.5 * 8 / 64)
    assert cost(edge, margin=0.2) == pytest.approx(0.3 * 8 / 64)
    assert cost(edge, margin=0.5) == 0


def test_each_image_has_a_cost_of_its_own():
    images = torch.rand(3, 2, 8, 8)
    single = [cost(image[None]) for image in images]
    torch.testing.assert_close(costs(images), torch.tensor(single))
