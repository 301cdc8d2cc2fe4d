"""The losses against closed forms and pytorch-msssim, on passes of a generator that returns what it is given."""

import math

import pytest
import torch
from pytorch_msssim import ms_ssim as reference_ms_ssim
from restorekit_film.generator import film_restorer
from torch import Tensor

from restorekit import Batch, Domain, Factory, HistoryPool, Loss, Nets, Passes, RecipeError, Translator
from restorekit.discovery import plugins


def passes(degraded: Tensor, truth: Tensor, known: Tensor | None = None, **options: float) -> Passes:
    """Return a step whose generator is untrained, so that ab is `degraded`."""
    domain = Domain("a", 1, tuple(degraded.shape[2:]))
    keys = tuple(map(str, range(len(degraded))))
    a, b = Batch(degraded, keys, truth=truth, known=known), Batch(truth, keys)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets = Nets(Translator(film_restorer(domain, domain, **options)))
    return Passes(nets, a, b, (HistoryPool(0), HistoryPool(0)), torch.Generator().manual_seed(0))


def loss(name: str, **options: object) -> Loss:
    made: Factory = plugins.load().parts.resolve("loss", {"name": name, **options})
    part: Loss = made()
    return part


def value(part: Loss, p: Passes) -> float:
    found = p.mean(part.generator(p))
    assert found is not None
    return float(found.detach())


def images(side: int = 64) -> Tensor:
    coarse = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def test_gradients_are_the_mean_difference_of_gradients() -> None:
    truth = images() * 0.5
    ramp = torch.linspace(0, 0.4, 64).expand(2, 1, 64, 64)
    assert value(loss("gradients"), passes(truth + ramp, truth)) == pytest.approx(0.4 / 63 / 2, rel=1e-4)
    assert value(loss("gradients"), passes(truth + 0.1, truth)) == pytest.approx(0, abs=1e-6)


def test_decibels_are_those_short_of_the_cap() -> None:
    truth = images() * 0.5
    p = passes(truth + 0.2, truth)  # 0.1 of the range: 20 dB
    assert value(loss("decibels", cap=60), p) == pytest.approx(40, abs=1e-3)
    assert value(loss("decibels", cap=20), p) == pytest.approx(10 * math.log10(2), abs=1e-3)
    assert value(loss("decibels"), passes(truth, truth)) == 0


def test_images_of_unknown_truth_do_not_count() -> None:
    truth = images() * 0.5
    blank = truth * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    p = passes(truth + torch.linspace(0, 0.4, 64), blank, known=torch.tensor([True, False]))
    assert value(loss("gradients"), p) == pytest.approx(0.4 / 63 / 2, rel=1e-4)


def test_five_scales_are_ms_ssim_of_another_library() -> None:
    truth = images(192)
    noisy = (truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    wanted = 1 - reference_ms_ssim((noisy + 1) / 2, (truth + 1) / 2, data_range=1.0)
    assert value(loss("ms_ssim", scales=5), passes(noisy, truth)) == pytest.approx(float(wanted), abs=2e-4)


def test_too_many_scales_are_refused() -> None:
    with pytest.raises(RecipeError, match="44"):
        value(loss("ms_ssim", scales=3), passes(images(40), images(40)))


def test_tone_is_the_distance_of_curves_and_blind_to_noise() -> None:
    degraded = images()
    shifted = (degraded + 0.1).clamp(-1, 1)
    assert value(loss("tone"), passes(degraded, shifted)) == pytest.approx(0.1, abs=0.01)
    noise = 0.2 * torch.randn(degraded.shape, generator=torch.Generator().manual_seed(1))
    assert value(loss("tone"), passes(degraded, degraded + noise)) < 0.02


def test_likelihood_is_that_of_a_normal_error_and_teaches_the_variance() -> None:
    degraded = images()
    p = passes(degraded, (degraded + 0.1).clamp(-1, 1))
    part = loss("tone", likelihood=True)
    variance = 0.01 + 1e-4  # at the start
    assert value(part, p) == pytest.approx(0.5 * (0.1**2 / variance + math.log(variance)), abs=0.05)
    tone = p.nets.ab.generator.tone
    optimizer = torch.optim.Adam(tone.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        p.mean(part.generator(p)).backward()
        optimizer.step()
    bend = tone(p.nets.ab.generator.summary(degraded))
    assert float(bend.variance.detach().max()) < 0.002
    assert float((bend.values.detach() - tone.knots - 0.1)[:, 4:12].abs().max()) < 0.06


def test_likelihood_requires_a_tone_part() -> None:
    with pytest.raises(RecipeError):
        value(loss("tone", likelihood=True), passes(images(), images(), tone=0.0))
