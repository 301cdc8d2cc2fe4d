"""Learned noise against films of known noise: amplitude, autocorrelation, dependence on gray level, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from restorekit_film.learned import flat_areas, measured
from torch import Generator, Tensor

from restorekit import DataError, Degradation, Domain, RecipeError, write_image
from restorekit.discovery import plugins

COARSE = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
"""Taps along each axis of coarse noise, whose autocorrelation is 15 / 20 at lag 1 and 6 / 20 at lag 2."""


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def white(seed: int, height: int = 256, width: int = 320) -> Tensor:
    return torch.randn(height, width, generator=rng(seed))


def coarse(seed: int) -> Tensor:
    """Return noise of unit variance with the autocorrelation of `COARSE`."""
    taps = torch.outer(COARSE, COARSE)[None, None]
    return F.conv2d(white(seed, 259, 323)[None, None], taps)[0, 0] / taps.square().sum().sqrt()


def ramp(height: int = 256, width: int = 512) -> Tensor:
    return torch.linspace(-0.9, 0.9, width).expand(height, width)


def write(folder: Path, films: list[Tensor]) -> Path:
    for at, film in enumerate(films):
        write_image(folder / f"{at}.png", film[None].clamp(-1, 1).numpy())
    return folder


def part(folder: Path | str, split: str = "train", **options: object) -> Degradation:
    spec = {"name": "learned", "path": str(folder), **options}
    made: Degradation = plugins.load().parts.resolve("degradation", spec)(Domain("b", 1, (256, 320)))
    return made.for_split(None, split)


def noise(of: Degradation, level: float = 0.0, severity: float = 1.0, seed: int = 1) -> Tensor:
    flat = torch.full((1, 300, 333), level)
    return (of.apply(flat, {"learned": severity}, rng(seed)) - flat)[0]


def correlation(field: Tensor, lag: int, axis: int) -> float:
    field = field - field.mean()
    size = field.shape[axis] - lag
    return float((field.narrow(axis, 0, size) * field.narrow(axis, lag, size)).mean() / field.var())


@pytest.mark.parametrize("sigma", [0.02, 0.12])
def test_white_noise_has_its_deviation_and_no_correlation(tmp_path: Path, sigma: float) -> None:
    made = noise(part(write(tmp_path, [sigma * white(seed) for seed in range(3)])))
    assert float(made.std()) == pytest.approx(sigma, rel=0.05)
    assert abs(float(made.mean())) < 0.1 * sigma
    for axis in (0, 1):
        assert correlation(made, 1, axis) == pytest.approx(0, abs=0.05)


def test_coarse_noise_has_its_deviation_and_autocorrelation(tmp_path: Path) -> None:
    of = part(write(tmp_path, [0.05 * coarse(seed) + 0.2 * ramp(256, 320) for seed in range(3)]))
    made = noise(of)
    assert float(made.std()) == pytest.approx(0.05, rel=0.1)
    for axis in (0, 1):
        assert correlation(made, 1, axis) == pytest.approx(15 / 20, abs=0.05)
        assert correlation(made, 2, axis) == pytest.approx(6 / 20, abs=0.1)


def test_deviation_follows_the_gray_level(tmp_path: Path) -> None:
    of = part(write(tmp_path, [ramp() + (0.05 + 0.03 * ramp()) * white(seed, 256, 512) for seed in range(3)]))
    for level in (-0.8, -0.4, 0.0, 0.4, 0.8):
        assert float(noise(of, level).std()) == pytest.approx(0.05 + 0.03 * level, rel=0.1)


def test_films_of_different_noise_are_drawn_one_by_one(tmp_path: Path) -> None:
    of = part(write(tmp_path, [0.02 * white(1), 0.08 * white(2)]))
    found = sorted({round(float(noise(of, seed=seed).std()), 2) for seed in range(8)})
    assert found == [0.02, 0.08]


def test_severity_multiplies_and_is_drawn_up_to_the_severest(tmp_path: Path) -> None:
    of = part(write(tmp_path, [0.05 * white(1)]), severest=2.0)
    torch.testing.assert_close(noise(of, severity=2.0), 2 * noise(of))
    drawn = [of.draw(rng(seed))["learned"] for seed in range(400)]
    assert 0 <= min(drawn) < 0.1
    assert 1.9 < max(drawn) <= 2
    assert np.mean(drawn) == pytest.approx(1, abs=0.1)


def test_edges_borders_and_saturation_do_not_count() -> None:
    film = 0.03 * white(1, 512, 512) + 0.4
    film[:, 256:] -= 0.8
    film[:100] = -0.9  # a burned-in border
    film[300:340, 100:110] = 0.9  # a letter
    film[420:] = (film[420:] + 0.7).clamp(max=1)
    assert float(measured([film]).deviations[::64].max()) == pytest.approx(0.03, rel=0.05)
    areas = flat_areas(film, 10_000)
    assert len(areas.levels) > 100
    assert float(areas.residuals.abs().max()) < 6 * 0.03
    assert float(areas.residuals.mean((1, 2)).abs().max()) < 1e-5


def test_each_split_has_the_noise_of_its_own_films(tmp_path: Path) -> None:
    write(tmp_path / "train", [0.02 * white(1)])
    write(tmp_path / "test", [0.08 * white(2)])
    assert float(noise(part(tmp_path, "train")).std()) == pytest.approx(0.02, rel=0.05)
    assert float(noise(part(tmp_path, "test")).std()) == pytest.approx(0.08, rel=0.05)
    with pytest.raises(DataError, match="'val'"):
        part(tmp_path, "val")


def test_relative_path_starts_at_the_root(tmp_path: Path) -> None:
    write(tmp_path / "poor", [0.05 * white(1)])
    made = plugins.load().parts.resolve("degradation", {"name": "learned", "path": "poor"})(Domain("b", 1, (64, 64)))
    assert float(noise(made.for_split(tmp_path, "train")).std()) == pytest.approx(0.05, rel=0.05)


def test_gray_film_in_three_channels_stays_gray(tmp_path: Path) -> None:
    of = part(write(tmp_path, [0.05 * white(1)]))
    made = of.apply(torch.zeros(3, 50, 70), {"learned": 1.0}, rng())
    assert made.shape == (3, 50, 70)
    assert torch.equal(made[0], made[2])


def test_it_joins_the_film_chain_in_a_blend(tmp_path: Path) -> None:
    write(tmp_path, [0.05 * white(1)])
    inner = [{"name": "film", "untouched": 0.0}, {"name": "learned", "path": str(tmp_path)}]
    spec = {"name": "blend", "least": 2, "degradations": inner}
    both = plugins.load().parts.resolve("degradation", spec)(Domain("b", 1, (96, 96))).for_split(None, "train")
    drawn = both.draw(rng())
    assert "learned" in drawn
    assert len(drawn) > 2
    assert both.apply(torch.zeros(1, 96, 96), drawn, rng()).std() > 0


@pytest.mark.parametrize(
    "films",
    [
        [],
        [torch.zeros(256, 256)],  # no noise
        [torch.linspace(0, 60, 256).sin().expand(256, 256) * 0.8],  # nothing flat
        [0.05 * white(1, 30, 300)],  # too small
    ],
    ids=["empty", "constant", "stripes", "small"],
)
def test_films_without_noise_to_learn_are_refused(tmp_path: Path, films: list[Tensor]) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        part(write(tmp_path, films))


def test_missing_folder_and_other_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none"):
        part(tmp_path / "none")
    factory = plugins.load().parts.resolve("degradation", {"name": "learned", "path": "."})
    with pytest.raises(RecipeError, match="2 dimensions"):
        factory(Domain("b", 1, (64,)))
