"""Measures of films in closed form, and what is recognised as unlike the films that were measured."""

import math
import re

import pytest
import torch
from restorekit_film.ranges import MEASURES, Ranges
from torch import Tensor

from restorekit import nd


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def film(seed: int) -> Tensor:
    """A bright middle between dark sides, with details and noise of its own."""
    rng = generator(seed)
    middle = torch.cos(torch.linspace(-1.5, 1.5, 128)).expand(1, 128, 128) - 0.5
    details = nd.resize(torch.randn(1, 1, 40, 40, generator=rng), (128, 128), mode="cubic")[0]
    noise = torch.randn(1, 128, 128, generator=rng)
    return (middle + 0.1 * details + (0.01 + 0.02 * (seed % 5)) * noise).clamp(-1, 1)


@pytest.fixture(scope="module")
def ranges() -> Ranges:
    return Ranges.of(film(seed) for seed in range(400))


def test_noise_is_its_deviation_and_levels_are_counted() -> None:
    image = 0.05 * torch.randn(1, 256, 256, generator=generator(0))
    assert float(MEASURES["noise"](image)) == pytest.approx(math.log10(0.05), abs=0.01)
    levels = torch.linspace(-0.9, 0.9, 16).repeat(16).view(1, 16, 16).repeat(1, 8, 8)
    assert float(MEASURES["gray levels"](levels)) == pytest.approx(math.log10(16))
    assert float(MEASURES["middle tone"](torch.full((1, 64, 64), 0.25))) == pytest.approx(0.25)


def test_blur_lowers_sharpness_and_sharpening_raises_overshoot() -> None:
    image = film(0)
    blurred = nd.resize(nd.resize(image[None], (48, 48), mode="linear"), (128, 128), mode="linear")[0]
    sharpened = image + 2 * (image - blurred)
    assert float(MEASURES["sharpness"](blurred)) < float(MEASURES["sharpness"](image))
    assert float(MEASURES["overshoot"](sharpened)) > float(MEASURES["overshoot"](blurred))


def test_other_films_alike_are_inside(ranges: Ranges) -> None:
    assert sum(bool(ranges.outside(film(seed))) for seed in range(1000, 1040)) <= 6


@pytest.mark.parametrize(
    ("measure", "changed"),
    [
        ("likeness to the mean film", lambda x: -x),
        ("gray levels", lambda x: (x * 3).round() / 3),
        ("outliers", lambda x: torch.where(torch.rand(x.shape, generator=generator(5)) < 0.02, 1.0, x)),
        (
            "coarse sharpness",
            lambda x: nd.resize(nd.resize(x[None], (6, 6), mode="linear"), (128, 128), mode="cubic")[0],
        ),
        ("steps of rows", lambda x: x + 0.2 * (torch.arange(128) // 30 % 2)[None, :, None]),
        ("bright tone", lambda x: x.clamp(max=-0.3)),
    ],
)
def test_a_film_unlike_them_is_outside_in_the_measure_that_differs(
    ranges: Ranges, measure: str, changed: object
) -> None:
    assert callable(changed)
    assert any(text.startswith(f"{measure} is ") for text in ranges.outside(changed(film(3)).clamp(-1, 1)))


def test_a_warning_has_shares_and_counts_and_digits_that_tell_a_value_from_the_end_of_its_range(
    ranges: Ranges,
) -> None:
    noisy = film(3) * 0.5 + 0.2 * torch.randn(1, 128, 128, generator=generator(1))
    (noise,) = [text for text in ranges.outside(noisy) if text.startswith("noise is ")]
    assert noise == f"noise is 0.1 of the range, in training {10 ** ranges.low['noise'] / 2:.2g} to " + (
        f"{10 ** ranges.high['noise'] / 2:.2g}"
    )
    (levels,) = [text for text in ranges.outside((film(3) * 3).round() / 3) if text.startswith("gray levels is ")]
    assert levels.startswith("gray levels is 6, in training ")
    assert "e+" not in levels
    image = 0.1 * torch.randn(1, 256, 256, generator=generator(0))
    end = float(MEASURES["noise"](image)) + 0.001  # a fifth of a percent above
    near = Ranges({**ranges.low, "noise": end}, {**ranges.high, "noise": 0.0}, ranges.thumbnail)
    (text,) = [text for text in near.outside(image) if text.startswith("noise is ")]
    value, low = re.findall(r"is (\S+) .* training (\S+) to", text)[0]
    assert value != low


def test_ranges_come_back_from_their_tensors(ranges: Ranges) -> None:
    again = Ranges.load(ranges.tensors())
    assert again.outside(-film(3)) == ranges.outside(-film(3)) != []
