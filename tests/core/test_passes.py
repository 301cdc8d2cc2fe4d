"""Passes run when they are first read, once; the history pool fills first, then swaps half of the time."""

import pytest
import torch
from torch import Tensor

from restorekit import PASSES, Batch, Discriminator, Generator, HistoryPool, Nets, Passes, RecipeError, Translator


class Log(Generator):
    """Adds a number to the image and writes down that it ran."""

    features = 1

    def __init__(self, name: str, by: float, log: list[str]) -> None:
        super().__init__()
        self.name, self.by, self.log = name, by, log
        self.scale = torch.nn.Parameter(torch.ones(()))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.log.append(self.name)
        return image, image

    def decode(self, state: Tensor) -> Tensor:
        return state * self.scale + self.by


class Same(Discriminator):
    def forward(self, image: Tensor) -> Tensor:
        return image


def passes(log: list[str], *, both: bool = True, pool: int = 0) -> Passes:
    nets = Nets(
        Translator(Log("ab", 1.0, log)),
        Translator(Log("ba", 10.0, log)) if both else None,
        Same() if both else None,
        Same(),
    )
    a, b = (Batch(torch.full((1, 1, 2), value), ("k",)) for value in (0.0, 100.0))
    return Passes(nets, a, b, (HistoryPool(pool), HistoryPool(pool)), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "ran", "value"),
    [
        ("ab", ["ab"], 1),
        ("ba", ["ba"], 110),
        ("aba", ["ab", "ba"], 11),
        ("bab", ["ba", "ab"], 111),
        ("aa", ["ba"], 10),
        ("bb", ["ab"], 101),
    ],
)
def test_a_pass_runs_what_it_needs_once(name: str, ran: list[str], value: float) -> None:
    log: list[str] = []
    p = passes(log)
    assert log == []
    assert getattr(p, name).image[0, 0, 0] == value
    assert getattr(p, name) is getattr(p, name)
    assert log == ran


def test_every_pass_together_runs_six_times() -> None:
    log: list[str] = []
    p = passes(log)
    for name in PASSES:
        getattr(p, name)
    assert sorted(log) == ["ab"] * 3 + ["ba"] * 3
    assert p.start("aba") is p.a
    assert p.start("bb") is p.b


def test_the_way_back_that_is_not_there_is_named() -> None:
    p = passes([], both=False)
    with pytest.raises(RecipeError, match=r"a term reads a pass through 'ba', but nets.one_way is true"):
        _ = p.aba


def test_judged_keeps_the_gradient_and_shown_does_not() -> None:
    log: list[str] = []
    p = passes(log)
    assert [(judge, float(x.detach()[0, 0, 0])) for judge, x in p.judged()] == [(p.nets.d_b, 1), (p.nets.d_a, 110)]
    assert all(x.requires_grad for _, x in p.judged())
    shown = list(p.shown(fresh=False))
    assert [(real[0, 0, 0].item(), fake[0, 0, 0].item()) for _, real, fake in shown] == [(100, 1), (0, 110)]
    assert not any(fake.requires_grad for _, _, fake in shown)
    assert log == ["ab", "ba"]
    assert len(list(passes([], both=False).judged())) == 1


def test_fresh_fakes_run_the_generators_again_without_gradient() -> None:
    log: list[str] = []
    p = passes(log)
    _ = p.ab, p.ba
    p.nets.ab.generator.by = 2.0  # type: ignore[assignment]
    fakes = [fake for _, _, fake in p.shown(fresh=True)]
    assert [fake[0, 0, 0].item() for fake in fakes] == [2, 110]
    assert not any(fake.requires_grad for fake in fakes)
    assert log == ["ab", "ba", "ab", "ba"]
    list(p.shown(fresh=True))
    assert len(log) == 4


def test_the_pool_is_asked_once_a_step() -> None:
    p = passes([], pool=1)
    first = p.fake_b
    assert p.fake_b is first
    assert len(p._pool_b.images) == 1


def one(value: float) -> Tensor:
    return torch.full((1, 1, 2), value)


def test_an_empty_pool_gives_every_image_back() -> None:
    pool, x = HistoryPool(0), one(1)
    assert pool.query(x, torch.Generator()) is x
    assert pool.images == []


def test_the_pool_fills_before_it_swaps() -> None:
    pool, rng = HistoryPool(3), torch.Generator().manual_seed(0)
    x = torch.arange(3.0).reshape(3, 1, 1)
    assert torch.equal(pool.query(x, rng), x)
    assert [image.item() for image in pool.images] == [0, 1, 2]
    assert torch.equal(rng.get_state(), torch.Generator().manual_seed(0).get_state()), "filling draws nothing"


def test_a_full_pool_swaps_with_probability_one_half_and_uniformly() -> None:
    pool, rng = HistoryPool(4), torch.Generator().manual_seed(0)
    pool.query(torch.zeros(4, 1, 1), rng)
    swapped, taken = 0, torch.zeros(4)
    for i in range(1, 2001):
        before = [image.item() for image in pool.images]
        back = pool.query(torch.full((1, 1, 1), float(i)), rng).item()
        after = [image.item() for image in pool.images]
        changed = [k for k in range(4) if before[k] != after[k]]
        assert (back == i) == (not changed)
        if changed:
            assert len(changed) == 1
            assert back == before[changed[0]]
            assert after[changed[0]] == i
            taken[changed[0]] += 1
            swapped += 1
    assert 0.46 < swapped / 2000 < 0.54  # four standard deviations
    assert (taken / swapped - 0.25).abs().max() < 0.06


def test_the_pool_is_deterministic_and_keeps_copies() -> None:
    def ask(seed: int) -> list[float]:
        pool, rng = HistoryPool(2), torch.Generator().manual_seed(seed)
        return [pool.query(one(i), rng)[0, 0, 0].item() for i in range(50)]

    assert ask(1) == ask(1)
    assert ask(1) != ask(2)
    pool, x = HistoryPool(1), one(1)
    pool.query(x, torch.Generator())
    x.zero_()
    assert pool.images[0][0, 0] == 1
