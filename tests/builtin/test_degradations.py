import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit import Degradation, Domain, PluginError, RecipeError
from restorekit.builtin.degradations import Blend, blend, blur, exposure, noise

SHAPES = [(1, 97), (3, 20, 17), (1, 9, 8, 7)]
SINGLES = {"noise": noise, "blur": blur, "exposure": exposure}


def image(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def domain(shape):
    return Domain("a", shape[0], shape[1:])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SINGLES)
def test_severity_zero_is_the_exact_identity(name, shape):
    part = SINGLES[name](domain(shape))
    assert torch.equal(part.apply(image(shape), {name: 0.0}, rng()), image(shape))


@pytest.mark.parametrize("name", SINGLES)
@given(
    shape=st.sampled_from(SHAPES),
    low=st.floats(0.05, 2.5),
    more=st.floats(0.05, 1.5),
    seed=st.integers(0, 99),
    sign=st.sampled_from([-1, 1]),
)
@settings(max_examples=30, deadline=None)
def test_more_is_worse(name, shape, low, more, seed, sign):
    part, good = SINGLES[name](domain(shape)), image(shape, seed)
    sign = sign if name == "exposure" else 1
    bad, worse = (part.apply(good, {name: sign * s}, rng(seed)) for s in (low, low + more))
    assert bad.shape == good.shape
    assert bad.dtype == good.dtype
    assert worse.abs().max() <= 1
    assert (bad - good).square().mean() <= (worse - good).square().mean() + 1e-6


def test_noise_has_the_stated_deviation():
    flat = torch.zeros(1, 200, 200)
    noisy = noise(domain(flat.shape)).apply(flat, {"noise": 0.1}, rng())
    assert noisy.std().item() == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_keeps_the_mean_and_a_constant(shape):
    part = blur(domain(shape))
    soft = part.apply(image(shape), {"blur": 3.0}, rng())
    torch.testing.assert_close(soft.mean(), image(shape).mean(), atol=1e-5, rtol=0)
    flat = torch.full(shape, 0.25)
    torch.testing.assert_close(part.apply(flat, {"blur": 1.5}, rng()), flat)


def test_blur_is_a_gaussian():
    dot = torch.zeros(1, 41)
    dot[0, 20] = 1
    out = blur(domain(dot.shape)).apply(dot, {"blur": 2.0}, rng())
    expected = torch.exp(-0.5 * ((torch.arange(41) - 20) / 2.0) ** 2) / (2 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(out[0], expected, atol=1e-4, rtol=0)


def test_exposure_sign():
    part, good = exposure(domain((1, 8, 8))), torch.zeros(1, 8, 8)
    assert part.apply(good, {"exposure": 1.0}, rng()).mean().item() == pytest.approx(-0.5)
    assert part.apply(good, {"exposure": -1.0}, rng()).mean() > 0


@given(seed=st.integers(0, 10**6), shape=st.sampled_from(SHAPES))
@settings(max_examples=30, deadline=None)
def test_blend_draws_and_replays(seed, shape):
    part = blend(domain(shape))
    drawn = part.draw(rng(seed))
    assert drawn == part.draw(rng(seed))
    assert 1 <= len(drawn) <= 3
    good = image(shape, seed)
    once, again = (part.apply(good, drawn, rng(seed)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.abs().max() <= 1


def test_blend_varies_subset_and_order():
    part = blend(domain((1, 8)))
    assert len({tuple(part.draw(rng(seed))) for seed in range(300)}) == 3 + 6 + 6
    pair = blend(domain((1, 8)), degradations=[noise, blur], least=2)
    assert {tuple(pair.draw(rng(seed))) for seed in range(30)} == {("noise", "blur"), ("blur", "noise")}


def test_blend_applies_in_the_drawn_order():
    part, good = blend(domain((1, 64))), image((1, 64))
    one = part.apply(good, {"exposure": 1.0, "blur": 2.0}, rng())
    other = part.apply(good, {"blur": 2.0, "exposure": 1.0}, rng())
    assert not torch.allclose(one, other)
    assert torch.equal(part.apply(good, {"noise": 0.0, "blur": 0.0}, rng()), good)


def test_blends_nest():
    part = blend(domain((1, 64)), degradations=[noise, partial(blend, degradations=[blur, exposure])], least=2)
    assert {name for seed in range(20) for name in part.draw(rng(seed))} == {"noise", "blur", "exposure"}
    assert not torch.equal(part.apply(image((1, 64)), {"blur": 1.0}, rng()), image((1, 64)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (partial(blur, severity=(2.0, 1.0)), r"\[2.0, 1.0\]"),
        (partial(exposure, severity=(0.0, math.nan)), "low <= high"),
        (partial(blend, least=4), "least is 0 to 3"),
        (partial(blend, degradations=[noise, noise]), "'noise' is given twice"),
    ],
)
def test_errors_name_the_option(make, named):
    with pytest.raises(RecipeError, match=named):
        make(domain((1, 8)))


class Either(Degradation):
    """Now one, now the other."""

    def __init__(self, fixed):
        self.fixed = fixed

    @property
    def names(self):
        return self.fixed

    def draw(self, rng):
        return {"hum" if torch.rand((), generator=rng) < 0.5 else "drift": 0.1}

    def apply(self, image, drawn, rng):
        return image + sum(drawn.values())


def test_a_blend_applies_all_that_its_degradations_may_draw():
    made = Blend([Either(("hum", "drift"))], 1)
    image = torch.zeros(1, 4)
    drawn = [made.draw(torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert {name for one in drawn for name in one} == {"hum", "drift"}
    assert all(float(made.apply(image, one, torch.Generator()).mean()) == pytest.approx(0.1) for one in drawn)
    with pytest.raises(RecipeError, match="'drift'"):
        Blend([Either(("hum", "drift")), Either(("drift",))], 0)
    silent = Blend([Either(("hum",))], 1)
    with pytest.raises(PluginError, match=r"Either: .*'drift'"):
        [silent.draw(torch.Generator().manual_seed(seed)) for seed in range(8)]


class Together(Degradation):
    """Two noises that are rounded once."""

    names = ("photon", "readout")

    def draw(self, rng):
        return {"photon": 0.3, "readout": 0.3}

    def apply(self, image, drawn, rng):
        return ((image + sum(drawn.get(name, 0.0) for name in self.names)) * 2).floor() / 2


def test_a_blend_applies_at_once_what_one_degradation_drew():
    part, image = Together(), torch.zeros(1, 4)
    made = Blend([part, exposure(domain((1, 4)))], 2)
    drawn = {**part.draw(rng()), "exposure": 0.0}
    for order in (drawn, dict(reversed(drawn.items()))):
        assert torch.equal(made.apply(image, order, rng()), part.apply(image, drawn, rng()))
