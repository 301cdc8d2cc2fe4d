"""Degradations: exact ratios, 0 is the identity, more is worse, and noise of a split stays in it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.degradations import mixing
from restorekit_signals.files.recording import stretches
from torch import Generator, Tensor

from restorekit import DataError, Dataset, Degradation, Domain, RecipeError, SingleDegradation
from restorekit.discovery.plugins import load

RATE = 360
LENGTH = 3600
NAMES = ("recorded_noise", "mains_hum", "baseline_wander", "dropouts", "clipping")
ADDED = ("recorded_noise", "mains_hum", "baseline_wander")


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def beats(leads: int = 2, height: float = 0.5, length: int = LENGTH) -> Tensor:
    """Ten seconds of made beats, one a second, `height` from the lowest to the highest value of a QRS complex."""
    times = torch.arange(length, dtype=torch.float64) / RATE
    one = sum(torch.exp(-(((times - at) / 0.015) ** 2)) for at in np.arange(0.5, length / RATE, 1.0))
    assert isinstance(one, Tensor)
    return torch.stack([one * height / (lead + 1) for lead in range(leads)]).float()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two noise records: one for training of low frequency, one for testing of high."""
    times = np.arange(20 * RATE) / RATE
    for name, frequency in (("low", 2), ("high", 40)):
        noise = np.random.default_rng(frequency).uniform(0.5, 1.5, len(times)) * np.sin(2 * np.pi * frequency * times)
        np.save(tmp_path / f"{name}.npy", np.stack([0.3 * noise, 0.1 * noise]))
    return tmp_path


def noise_spec(**options: Any) -> dict[str, Any]:
    inner = {"name": "records", "path": ".", "format": {"name": "signal", "rate": RATE, "range": [-2, 2]}}
    spans = {"length": 7200, "train": {"low.npy": None}, "test": {"high.npy": None}}
    return {"name": "recorded_noise", "dataset": {**inner, **spans}, **options}


def made(name: str, folder: Path, split: str = "train", *, spacing: float | None = 1 / RATE, **options: Any) -> Any:
    spec = noise_spec(**options) if name == "recorded_noise" else {"name": name, **options}
    domain = Domain("a", 2, (LENGTH,), spacing=None if spacing is None else (spacing,))
    part: Degradation = load().parts.resolve("degradation", spec)(domain)
    return part.for_split(folder, split)


def decibels(image: Tensor, worse: Tensor) -> list[float]:
    """Return the ratio of variances, signal to what was added, of each lead."""
    noise = worse.double() - image.double()
    return [10 * math.log10(float(s.var() / n.var())) for s, n in zip(image.double(), noise, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_the_exact_identity_and_more_is_worse(name: str, folder: Path) -> None:
    part, image = made(name, folder), beats() + 0.01 * torch.randn(2, LENGTH, generator=rng())
    assert torch.equal(part.apply(image, {name: 0.0}, rng()), image)
    far = [float((part.apply(image, {name: s}, rng()) - image).norm()) for s in (0.02, 0.1, 0.3, 0.6)]
    assert far[0] > 0
    assert far == sorted(far)
    assert len(set(far)) == len(far)


@pytest.mark.parametrize("name", NAMES)
def test_drawn_severities_are_reported_and_default_changes_the_signal(name: str, folder: Path) -> None:
    part, image = made(name, folder), beats()
    drawn = part.draw(rng(3))
    assert list(drawn) == [name]
    assert part.draw(rng(3)) == drawn
    assert drawn[name] > 0
    worse = part.apply(image, drawn, rng(4))
    assert not torch.equal(worse, image)
    assert torch.equal(worse, part.apply(image, drawn, rng(4)))


@settings(deadline=None, max_examples=20)
@given(name=st.sampled_from(ADDED), snr=st.floats(-3, 30), seed=st.integers(0, 99))
def test_the_ratio_of_each_lead_is_the_one_that_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory, name: str, snr: float, seed: int
) -> None:
    home = tmp_path_factory.getbasetemp() / "noise"
    if not home.is_dir():
        home.mkdir()
        np.save(home / "low.npy", np.random.default_rng(0).normal(0, 0.2, (2, 7200)))
        np.save(home / "high.npy", np.random.default_rng(1).normal(0, 0.2, (2, 7200)))
    part, image = made(name, home, snr=[snr, snr]), beats(height=0.1)
    drawn = part.draw(rng(seed))
    assert drawn[name] == pytest.approx(10 ** (-snr / 20))
    assert decibels(image, part.apply(image, drawn, rng(seed))) == pytest.approx([snr, snr], abs=0.01)


def test_ratios_are_drawn_evenly_in_decibels() -> None:
    part = made("baseline_wander", Path(), snr=[-10, 30])
    chance = rng()
    drawn = [-20 * math.log10(part.draw(chance)["baseline_wander"]) for _ in range(2000)]
    assert (min(drawn), max(drawn)) == (pytest.approx(-10, abs=0.2), pytest.approx(30, abs=0.2))
    assert np.mean(drawn) == pytest.approx(10, abs=1)
    assert np.percentile(drawn, 25) == pytest.approx(0, abs=1.5)


def test_a_flat_lead_stays_flat(folder: Path) -> None:
    image = torch.cat([beats(1), torch.full((1, LENGTH), 0.3)])
    for name in ADDED:
        worse = made(name, folder).apply(image, {name: 0.5}, rng())
        assert torch.equal(worse[1], image[1])
        assert not torch.equal(worse[0], image[0])


# Recorded noise


def spectrum(noise: Tensor) -> int:
    """Return the strongest frequency in Hz."""
    return round(int(torch.fft.rfft(noise).abs()[1:].argmax() + 1) * RATE / noise.shape[-1])


@pytest.mark.parametrize(("split", "frequency"), [("train", 2), ("test", 40)])
def test_each_split_has_its_own_noise(folder: Path, split: str, frequency: int) -> None:
    image = beats(height=0.1)
    for seed in range(5):
        part = made("recorded_noise", folder, split)
        assert spectrum((part.apply(image, {"recorded_noise": 1.0}, rng(seed)) - image)[0]) == frequency


def test_leads_of_the_noise_are_taken_in_turn_from_any_of_them_on(folder: Path) -> None:
    image, part = beats(), made("recorded_noise", folder)
    noise = [part.noise(image, rng(seed))[0] for seed in range(20)]
    first = {bool(one[0].abs().amax() > one[1].abs().amax()) for one in noise}
    assert first == {True, False}, "the second lead's noise is a third of the first's"


def test_two_recorded_noises_in_a_blend_need_different_names(folder: Path) -> None:
    domain = Domain("a", 2, (LENGTH,), spacing=(1 / RATE,))
    noises = [noise_spec(severity_name="em"), noise_spec(severity_name="bw")]
    blend = load().parts.resolve("degradation", {"name": "blend", "degradations": noises, "least": 2})
    assert set(blend(domain).for_split(folder, "train").draw(rng())) == {"em", "bw"}


def test_it_works_inside_blend_and_degraded(folder: Path) -> None:
    np.save(folder / "good.npy", beats(2, 0.1).numpy().astype(np.float64) * 2)
    good = {**noise_spec()["dataset"], "length": LENGTH, "train": {"good.npy": None}, "test": {}}
    spec = {
        "name": "degraded",
        "dataset": good,
        "degradation": {"name": "blend", "least": 2, "degradations": [noise_spec(snr=[3, 3]), {"name": "mains_hum"}]},
    }
    part: Dataset = load().parts.resolve("dataset", spec)(folder, "train")
    sample = part.load(0, rng())
    assert sample.truth is not None
    torch.testing.assert_close(sample.truth, beats(2, 0.1), atol=1e-6, rtol=0)
    assert set(sample.drawn) == {"recorded_noise", "mains_hum"}, "the rate comes from the data"
    assert torch.equal(part.load(0, rng(9)).image, sample.image)


def test_noise_that_does_not_fit_is_refused(folder: Path) -> None:
    image = beats()
    with pytest.raises(DataError, match="has no noise for the split 'val'; add some"):
        made("recorded_noise", folder, "val")
    with pytest.raises(RecipeError, match="its noise has 360 Hz, the signals 250 Hz; give both formats one rate"):
        made("recorded_noise", folder, spacing=1 / 250)
    with pytest.raises(DataError, match="its windows have 7200 samples, the signals 9000; set a greater length"):
        made("recorded_noise", folder).apply(torch.zeros(1, 9000), {"recorded_noise": 1.0}, rng())
    with pytest.raises(DataError, match="has read no noise yet"):
        load().parts.resolve("degradation", noise_spec())(Domain("a", 1, (64,))).apply(
            image, {"recorded_noise": 1.0}, rng()
        )
    with pytest.raises(RecipeError, match="is for signals, of 1 dimension; 'a' has 2"):
        load().parts.resolve("degradation", noise_spec())(Domain("a", 1, (64, 64)))
    with pytest.raises(RecipeError) as caught:
        made("recorded_noise", folder, snr=[6.0, 0.0])
    assert caught.value.errors[0].place == ("snr",)


# The definition of the noise stress test


def test_the_amplitude_of_beats_is_that_of_a_sine_of_their_height() -> None:
    """nst(1): the square of the height of the QRS complexes over 8, the power of a sine wave of that height."""
    image = beats(2, 0.8)
    found = mixing.qrs_amplitude(image, RATE)
    np.testing.assert_allclose(found, [0.8 / 8**0.5, 0.4 / 8**0.5], rtol=0.01)


def test_the_amplitude_of_noise_is_that_of_its_seconds() -> None:
    """nst(1): the root mean square about the mean of each second; 5 % of the seconds at each end do not count."""
    fast = torch.sin(2 * math.pi * 7 * torch.arange(100 * RATE) / RATE)[None]
    loud = fast.clone()
    loud[:, : 5 * RATE] *= 100
    slow = torch.linspace(-50, 50, 100 * RATE)[None]  # within a second it moves by 1
    assert float(mixing.chunk_amplitude(fast, RATE)) == pytest.approx(0.5**0.5, rel=1e-3)
    assert float(mixing.chunk_amplitude(loud, RATE)) == pytest.approx(0.5**0.5, rel=1e-3)
    assert float(mixing.chunk_amplitude(slow, RATE)) == pytest.approx(1 / 12**0.5, rel=0.01)


def test_by_nst_noise_is_scaled_as_a_whole_so_that_quiet_stays_quiet(folder: Path) -> None:
    times = np.arange(20 * RATE) / RATE
    wave = np.sin(2 * np.pi * 40 * times) * np.where(times < 10, 0.1, 1.0)
    np.save(folder / "low.npy", np.stack([wave, wave]))
    part = made("recorded_noise", folder, definition="nst", snr=[20, 20])
    image = beats(2, 0.2)
    reached = [decibels(image, part.apply(image, {"recorded_noise": 0.1}, rng(seed)))[0] for seed in range(20)]
    assert max(reached) - min(reached) > 10
    exact = made("recorded_noise", folder, snr=[20, 20])
    assert decibels(image, exact.apply(image, {"recorded_noise": 0.1}, rng()))[0] == pytest.approx(20, abs=0.01)


def test_by_nst_every_record_of_the_noise_counts(folder: Path) -> None:
    """Six minutes of quiet noise, then twelve of loud: the amplitude is not that of the first five minutes."""
    for name, minutes, height in (("quiet", 6, 0.1), ("loud", 12, 1.0)):
        np.save(folder / f"{name}.npy", height * np.sin(2 * np.pi * 10 * np.arange(minutes * 60 * RATE) / RATE)[None])
    spec = noise_spec(definition="nst")
    spec["dataset"] |= {"length": 60 * RATE + 7, "train": {"quiet.npy": None, "loud.npy": None}}
    domain = Domain("a", 2, (LENGTH,), spacing=(1 / RATE,))
    part = load().parts.resolve("degradation", spec)(domain).for_split(folder, "train")
    quiet, loud = 300, 660  # whole seconds in windows; 48 of each end do not count
    expected = (0.1 * (quiet - 48) + 1.0 * (loud - 48)) / (quiet + loud - 96) / 2 / 2**0.5  # of a range of -2 to 2
    assert float(part.whole) == pytest.approx(expected, rel=0.01)


# Hum, drop-outs, clipping


def test_hum_is_the_mains_and_its_odd_harmonics(folder: Path) -> None:
    part, image = made("mains_hum", folder, frequency=50, harmonics=3), torch.zeros(1, LENGTH)
    image[0, ::360] = 0.1
    noise = (part.apply(image, {"mains_hum": 1.0}, rng()) - image)[0].double()
    lines = torch.fft.rfft(noise).abs()
    strongest = [int(n) / 10 for n in lines.argsort(descending=True)[:2]]
    assert strongest == [50, 150]
    assert float(lines[1500] / lines[500]) == pytest.approx(1 / 3, rel=0.02)
    rest = lines.square().sum() - lines[500] ** 2 - lines[1500] ** 2
    assert float(rest) < 1e-6 * float(lines[500] ** 2), "250 Hz is beyond half the rate"


def test_hum_needs_a_rate_that_can_carry_it() -> None:
    with pytest.raises(RecipeError, match="needs the samples a second, which these data do not state; set rate"):
        made("mains_hum", Path(), spacing=None)
    with pytest.raises(RecipeError) as caught:
        made("mains_hum", Path(), rate=90)
    assert caught.value.errors[0].place == ("frequency",)


@pytest.mark.parametrize("severity", [0.05, 0.5, 1.0])
def test_the_share_that_is_lost_stands_still_in_all_leads(severity: float) -> None:
    part = made("dropouts", Path(), seconds=[0.1, 0.5])
    image = torch.rand(2, LENGTH, generator=rng()) - 0.5
    worse = part.apply(image, {"dropouts": severity}, rng(1))
    lost = (worse != image).all(0).numpy()
    assert lost.sum() == pytest.approx(severity * LENGTH, abs=2)
    for start, stop in stretches(lost):
        held = max(0, start - 1)
        assert torch.equal(worse[:, start:stop], image[:, held : held + 1].expand(-1, stop - start))


def test_more_drop_outs_hold_all_of_fewer() -> None:
    part = made("dropouts", Path())
    image = torch.rand(1, LENGTH, generator=rng())
    few, more = (part.apply(image, {"dropouts": s}, rng(1)) != image for s in (0.1, 0.3))
    assert bool((more | ~few).all())


def test_clipping_cuts_the_ends_of_each_leads_range() -> None:
    image = torch.stack([torch.linspace(-0.8, 0.8, 81), torch.linspace(0, 0.4, 81)])
    worse = made("clipping", Path()).apply(image, {"clipping": 0.5}, rng())
    torch.testing.assert_close(worse[0], image[0].clamp(-0.4, 0.4))
    torch.testing.assert_close(worse[1], image[1].clamp(0.1, 0.3))


def test_built_in_parts_are_the_same_for_every_split() -> None:
    part = load().parts.resolve("degradation", {"name": "noise"})(Domain("a", 1, (64,)))
    assert isinstance(part, SingleDegradation)
    assert part.for_split(None, "test") is part
