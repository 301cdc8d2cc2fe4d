"""Passes run when they are first read, once; the history pool fills first, then swaps half of the time."""

import re

import pytest
import torch
from torch import Tensor

from restorekit import (
    PASSES,
    Batch,
    Discriminator,
    Generator,
    HistoryPool,
    Nets,
    Passes,
    PerImage,
    RecipeError,
    Translator,
)


class Log(Generator):
    """Adds a number to the image and writes down that it ran."""

    features = 1

    def __init__(self, name: str, by: float, log: list[str]) -> None:
        super().__init__()
        self.name, self.by, self.log = name, by, log
        self.gain = torch.nn.Parameter(torch.ones(()))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.log.append(self.name)
        return image, image

    def decode(self, state: Tensor) -> Tensor:
        return state * self.gain + self.by


class Same(Discriminator):
    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
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
    with pytest.raises(RecipeError, match=r"'ba'.*nets\.one_way"):
        _ = p.aba


def test_scores_of_translations_keep_the_gradient_and_scores_of_fakes_do_not() -> None:
    log: list[str] = []
    p = passes(log)
    translated = [scores[0] for scores in p.translated_scores()]
    assert [x[0, 0, 0].item() for x in translated] == [1, 110]
    assert all(x.requires_grad for x in translated)
    shown = [(real[0], fake[0]) for real, fake in p.real_and_fake_scores(fresh=False)]
    assert [(real[0, 0, 0].item(), fake[0, 0, 0].item()) for real, fake in shown] == [(100, 1), (0, 110)]
    assert not any(fake.requires_grad for _, fake in shown)
    assert log == ["ab", "ba"]
    assert len(list(passes([], both=False).translated_scores())) == 1


def test_fresh_fakes_run_the_generators_again_without_gradient() -> None:
    log: list[str] = []
    p = passes(log)
    _ = p.ab, p.ba
    p.nets.ab.generator.by = 2.0  # type: ignore[assignment]
    fakes = [fake[0] for _, fake in p.real_and_fake_scores(fresh=True)]
    assert [fake[0, 0, 0].item() for fake in fakes] == [2, 110]
    assert not any(fake.requires_grad for fake in fakes)
    assert log == ["ab", "ba", "ab", "ba"]
    list(p.real_and_fake_scores(fresh=True))
    assert len(log) == 4


class Beside(Discriminator):
    """Scores an image by the condition beside it."""

    conditional = True

    def forward(self, image: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        assert condition is not None
        return [image, condition]


@pytest.mark.parametrize("pool", [0, 2])
def test_a_conditional_discriminator_sees_what_each_image_was_made_from(pool: int) -> None:
    nets = Nets(Translator(Log("ab", 1.0, [])), d_b=Beside())
    pools = (HistoryPool(pool), HistoryPool(pool))
    for k in range(8):
        a = Batch(torch.full((1, 1, 2), float(k)), ("k",))
        b = Batch(torch.full((1, 1, 4), k + 50.0), ("k",))
        p = Passes(nets, a, b, pools, torch.Generator().manual_seed(k))
        ((made, condition),) = p.translated_scores()
        assert (made.mean().item(), condition.mean().item()) == (k + 1, k)
        (((real, beside), (fake, from_)),) = p.real_and_fake_scores(fresh=False)
        assert (real.mean().item(), beside.mean().item()) == (k + 50, k)
        assert beside.shape == real.shape, "resized to the image that it is scored with"
        assert fake.mean().item() == from_.mean().item() + 1, "a fake from the pool keeps its own condition"
    assert len(pools[1].images) == len(pools[1].conditions) == pool


def test_the_pool_is_asked_once_a_step() -> None:
    p = passes([], pool=1)
    first = p.fake_b
    assert p.fake_b is first
    assert len(p._pool_b.images) == 1


def one(value: float) -> Tensor:
    return torch.full((1, 1, 2), value)


def ask(pool: HistoryPool, images: Tensor, rng: torch.Generator) -> Tensor:
    return pool.query(images, pool.plan(len(images), rng))[0]


def test_an_empty_pool_gives_every_image_back() -> None:
    pool, x = HistoryPool(0), one(1)
    assert ask(pool, x, torch.Generator()) is x
    assert pool.images == []


def test_the_pool_fills_before_it_swaps() -> None:
    pool, rng = HistoryPool(3), torch.Generator().manual_seed(0)
    x = torch.arange(3.0).reshape(3, 1, 1)
    assert torch.equal(ask(pool, x, rng), x)
    assert [image.item() for image in pool.images] == [0, 1, 2]


def test_a_full_pool_swaps_with_probability_one_half_and_uniformly() -> None:
    pool, rng = HistoryPool(4), torch.Generator().manual_seed(0)
    ask(pool, torch.zeros(4, 1, 1), rng)
    swapped, taken = 0, torch.zeros(4)
    for i in range(1, 2001):
        before = [image.item() for image in pool.images]
        back = ask(pool, torch.full((1, 1, 1), float(i)), rng).item()
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
    def shown(seed: int) -> list[float]:
        pool, rng = HistoryPool(2), torch.Generator().manual_seed(seed)
        return [ask(pool, one(i), rng)[0, 0, 0].item() for i in range(50)]

    assert shown(1) == shown(1)
    assert shown(1) != shown(2)
    pool, x = HistoryPool(1), one(1)
    ask(pool, x, torch.Generator())
    x.zero_()
    assert pool.images[0][0, 0] == 1


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("shape", [(3, 1), (1,), (3, 1, 1, 3), (2,)])
def test_a_loss_of_another_shape_is_refused_and_not_broadcast(shape: tuple[int, ...], known: bool) -> None:
    nets = Nets(Translator(Log("ab", 1.0, [])))
    a, b = (Batch(torch.zeros(3, 1, 2), ("1", "2", "3")) for _ in range(2))
    p = Passes(nets, a, b, (HistoryPool(0), HistoryPool(0)), torch.Generator())
    value = torch.ones(shape)
    with pytest.raises(RecipeError, match=re.escape(f"3 images; got the shape {shape}")):
        p.mean(PerImage(value, p.known("image", "a")) if known else [value])
    for good in (torch.ones(()), torch.ones(3)):
        assert p.mean(PerImage(good, p.known("image", "a")) if known else good) == 1


@pytest.mark.parametrize("value", [0.5, 1, "1", {"x": torch.ones(())}])
def test_a_loss_that_is_no_tensor_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(RecipeError, match=f"a loss must return a tensor.* got a {type(value).__name__}"):
        passes([]).mean(value)  # type: ignore[arg-type]
    assert passes([]).mean(one for one in [torch.ones(())]) == 1  # type: ignore[arg-type]
