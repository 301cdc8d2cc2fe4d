"""The chain against restorekit-kornia's parts and moments of distributions, its tone truth, and the pairs."""

import numpy as np
import pytest
import torch
from restorekit_film import effects
from restorekit_film.chain import SEVEREST, film
from torch import Generator, Tensor

from restorekit import Dataset, Domain, RecipeError, nd
from restorekit.discovery import plugins


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def image(height: int = 96, width: int = 120) -> Tensor:
    """A smooth image with an edge, (1, H, W)."""
    smooth = nd.resize(torch.rand(1, 1, 6, 6, generator=rng()) * 1.6 - 0.8, (height, width))[0]
    smooth[:, :, width // 2 :] *= 0.5
    return smooth


SAME = {"varying_noise": 0.05, "defocus": 2.3, "motion_blur": 5.0, "downsample": 0.7, "grid": 0.02, "jpeg": 40.0}


@pytest.mark.parametrize(("name", "severity"), SAME.items())
def test_step_equals_the_part_of_the_same_name(name: str, severity: float) -> None:
    part = plugins.load().parts.resolve("degradation", name)(Domain("a", 1, (96, 120)))
    wanted = part.apply(image(), {name: severity}, rng(3))
    made = getattr(effects, name)(image(), severity, rng(3)).clamp(-1, 1)
    assert float((made - wanted).abs().max()) < 1e-5


def test_scatter_is_near_the_part_of_the_same_name() -> None:
    part = plugins.load().parts.resolve("degradation", "scatter")(Domain("a", 1, (96, 120)))
    wanted = part.apply(image(), {"scatter": 1.2}, rng())
    assert float((effects.scatter(image(), 1.2, rng()) - wanted).square().mean().sqrt()) < 0.01


@pytest.mark.parametrize("severity", [0.03, 0.1])
def test_photon_counts_have_the_moments_of_poisson(severity: float) -> None:
    white = torch.ones(1, 700, 700)  # a tenth of the photons of black
    expected = 0.1 * severity**-2
    made = effects.poisson(white, severity, rng())
    counts = (10 ** (-(made.double() + 1) / 2) * severity**-2).numpy()
    assert counts.mean() == pytest.approx(expected, rel=0.005)
    assert counts.var() == pytest.approx(expected, rel=0.02)
    assert ((counts - counts.mean()) ** 3).mean() == pytest.approx(expected, rel=0.1)


def test_tone_truth_has_the_tone_steps_alone() -> None:
    chain = film(Domain("a", 1, (96, 120)))
    drawn = {"exposure": 0.5, "poisson": 0.05, "clipping": 0.1, "defocus": 2.0}
    worse, toned = chain.pair(image(), drawn, rng(1))
    bent = ((image() + 1) / 2) ** 2**0.5
    # The window of the clip is drawn after the noise, from the same generator; its width is known.
    low = float((bent - toned.clamp(-1, 1) / 2 * 0.9).median()) - 0.45
    assert 0 <= low <= 0.1
    wanted = ((bent - low) / 0.9).clamp(0, 1) * 2 - 1
    assert float((toned - wanted).abs().max()) < 1e-4
    assert float((worse - toned).std()) > 0.02


def test_chain_of_tone_steps_alone_is_its_own_tone_truth() -> None:
    chain = film(Domain("a", 1, (96, 120)))
    worse, toned = chain.pair(image(), {"contrast": 0.3, "scatter": 1.0, "exposure": -0.4}, rng())
    assert torch.equal(worse, toned)
    worse, bent = chain.pair(image(), {"contrast": 0.3, "scatter": 1.0}, rng(), kept=("contrast",))
    assert not torch.equal(worse, bent)
    mean = image().mean()
    torch.testing.assert_close(bent, mean + 0.7 * (image() - mean))


@pytest.mark.parametrize("name", SEVEREST)
def test_values_that_rounding_took_beyond_the_range_stay_finite(name: str) -> None:
    beyond = image().sign() * (1 + 1e-6)
    worse, toned = film(Domain("a", 1, (96, 120))).pair(beyond, {name: SEVEREST[name], f"{name}_2": 0.1}, rng())
    assert worse.isfinite().all()
    assert toned.isfinite().all()


def test_draws_follow_the_prior() -> None:
    chain = film(Domain("a", 1, (96, 120)), untouched=0.2)
    drawn = [chain.draw(rng(seed)) for seed in range(1500)]
    assert np.mean([not one for one in drawn]) == pytest.approx(0.2, abs=0.03)
    first = [[name for name in one if not name.endswith("_2") and name != "jpeg"] for one in drawn if one]
    assert {len(names) for names in first} == {2, 3, 4, 5}
    for name, most in SEVEREST.items():
        found = np.array([abs(one[name]) for one in drawn if name in one])
        assert found.max() <= most
        assert np.mean(found) == pytest.approx(most / 2, rel=0.15)
    assert all(
        [*one][-1].startswith("jpeg") for one in drawn if "jpeg" in one and not any(n.endswith("_2") for n in one)
    )


def test_gray_image_in_three_channels_stays_gray() -> None:
    chain = film(Domain("a", 3, (96, 120)))
    worse, _ = chain.pair(image().expand(3, -1, -1), {"poisson": 0.05, "jpeg": 30.0}, rng())
    assert torch.equal(worse[0], worse[2])


@pytest.mark.parametrize("size", [(64,), (8, 8, 8)])
def test_other_dimensions_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError):
        film(Domain("a", 1, size))


def test_unknown_step_is_refused() -> None:
    with pytest.raises(RecipeError, match="fog"):
        film(Domain("a", 1, (8, 8)), severest={"fog": 1.0})


@pytest.mark.parametrize(("step", "most"), [("contrast", 1.2), ("clipping", 1.0), ("jpeg", 100.0), ("grid", 2.0)])
def test_severities_that_would_turn_tones_round_or_have_no_meaning_are_refused(step: str, most: float) -> None:
    with pytest.raises(RecipeError, match=f"severest {step} is 0 to"):
        film(Domain("a", 1, (8, 8)), severest={step: most})


def test_pairs_of_degraded_films_have_random_numbers_of_their_own() -> None:
    options = {"severest": {name: 0.0 for name in SEVEREST if name != "varying_noise"}, "steps": [1, 1]}
    chain = {"name": "film", "untouched": 0.0, **options}
    inner = {"name": "phantom", "side": "b", "count": 3, "val": 2, "test": 1, "size": [48, 56]}
    once = pairs(degradation=chain, dataset=inner).load(0, rng())
    twice = pairs(degradation=chain, dataset={"name": "film_pairs", "dataset": inner, "degradation": chain})
    first, second = once.image - once.truth, twice.load(0, rng()).image - once.image
    assert once.drawn != twice.load(0, rng()).drawn
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.2


def pairs(split: str = "train", **options: object) -> Dataset:
    inner = {"name": "phantom", "side": "b", "count": 3, "val": 2, "test": 1, "size": [48, 56]}
    spec = {"name": "film_pairs", "dataset": inner, **options}
    made: Dataset = plugins.load().parts.resolve("dataset", spec)(None, split)
    return made


def test_the_mask_of_a_finding_is_cut_as_its_film_is() -> None:
    whole, cut = pairs(), pairs(crop=32)
    found = cut.load(0, rng()).mask
    assert found is not None
    assert found.shape == (1, 32, 32)
    full = whole.load(0, rng()).mask
    assert full is not None
    assert any(torch.equal(nd.crop(full, [y, x], [32, 32]), found) for y in range(17) for x in range(25))


def test_pairs_share_the_degraded_film_whatever_their_truth() -> None:
    clean, toned = (pairs(truth=truth).load(0, rng()) for truth in ("clean", "toned"))
    assert torch.equal(clean.image, toned.image)
    assert torch.equal(clean.truth, pairs().inner.load(0, rng()).image)
    assert clean.drawn == toned.drawn


def test_training_takes_crops_and_scoring_whole_films() -> None:
    assert pairs(crop=16).load(0, rng()).image.shape == (1, 16, 16)
    assert pairs(crop=16, split="val").load(0, rng()).truth.shape == (1, 48, 56)


def test_pairs_refuse_another_degradation() -> None:
    with pytest.raises(RecipeError, match="film"):
        pairs(degradation="noise")
