import pytest
import torch
from restorekit import Domain, RecipeError

from restorekit_part_name import shading


def made(dims=2, severity=(0.0, 0.8)):
    return shading(Domain("a", 1, (5,) * dims), severity=severity)


def worse(image, severity):
    return made(image.ndim - 1).apply(image, {"part_name": severity}, torch.Generator())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_white_falls_evenly_to_what_is_left(dims):
    white = torch.ones(2, *[5] * dims)
    light = (worse(white, 0.5) + 1) / 2
    torch.testing.assert_close(light, torch.tensor([1, 0.875, 0.75, 0.625, 0.5]).expand_as(white))


def test_black_stays_black_and_no_severity_changes_nothing():
    black, image = torch.full((1, 4, 5), -1.0), torch.randn(1, 4, 5) * 1e-3
    assert torch.equal(worse(black, 0.9), black)
    assert torch.equal(worse(image, 0.0), image)
    assert torch.equal(made().apply(image, {"another": 0.9}, torch.Generator()), image)


def test_more_is_worse():
    image = torch.rand(1, 6, 5) * 2 - 1
    lost = [(image - worse(image, severity)).sum() for severity in (0.0, 0.2, 0.5, 1.0)]
    assert lost == sorted(set(lost))


def test_severities_are_drawn_from_the_range_and_the_generator_alone():
    drawn = [made(severity=(0.2, 0.4)).draw(torch.Generator().manual_seed(seed))["part_name"] for seed in range(50)]
    assert 0.2 <= min(drawn) < 0.25
    assert 0.35 < max(drawn) <= 0.4
    assert drawn[0] == made(severity=(0.2, 0.4)).draw(torch.Generator().manual_seed(0))["part_name"]


def test_a_range_is_written_from_low_to_high():
    with pytest.raises(RecipeError, match="low <= high"):
        made(severity=(0.5, 0.1))
