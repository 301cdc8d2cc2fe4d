"""The losses against their closed forms, on networks that multiply by a number and count how often they run."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restorekit import (
    Batch,
    Discriminator,
    Domain,
    Generator,
    HistoryPool,
    Loss,
    Nets,
    Passes,
    RecipeError,
    Task,
    TaskHead,
    Translator,
)
from restorekit.discovery import plugins

DOMAIN = Domain("a", 1, (4,), Task("class", ("no", "yes")))


class Times(Generator):
    features = 1

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))
        self.runs = 0

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        return image, image

    def decode(self, state: Tensor) -> Tensor:
        return state * self.by


class Critic(Discriminator):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        return image * self.by


class FirstFeature(TaskHead):
    """Says (0, mean), so that cross-entropy has a closed form."""

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean((1, 2))
        return torch.stack([torch.zeros_like(mean), mean], 1)

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        return nn.functional.cross_entropy(raw, target, reduction="none")


def loss(name: str, **options: Any) -> Loss:
    made: Loss = plugins.load().parts.resolve("loss", {"name": name, **options})()
    return made


def passes(
    a: float = 0.5, b: float = 1.0, *, both: bool = True, discriminators: bool = True, head: bool = False, pool: int = 0
) -> Passes:
    """ab doubles, ba takes to a tenth, d_a and d_b multiply by 1 and 3."""

    def translator(by: float) -> Translator:
        return Translator(Times(by), FirstFeature() if head else None)

    nets = Nets(
        translator(2.0),
        translator(0.1) if both else None,
        Critic(1.0) if discriminators and both else None,
        Critic(3.0) if discriminators else None,
    )
    batch_a = Batch(torch.full((1, 1, 4), a), ("a",), target=torch.tensor([1]), truth=torch.full((1, 1, 4), b))
    batch_b = Batch(torch.full((1, 1, 4), b), ("b",), target=torch.tensor([0]))
    return Passes(nets, batch_a, batch_b, (HistoryPool(pool), HistoryPool(pool)), torch.Generator().manual_seed(0))


def value(p: Passes, term: Loss, side: str = "generator") -> float:
    """A term's value in a step of these passes alone."""
    made = p.mean(getattr(term, side)(p))
    assert made is not None
    return made.item()


def runs(p: Passes) -> int:
    return sum(net.generator.runs for net in p.nets.translators())  # type: ignore[misc]


def test_lsgan_is_a_sum_of_means_without_one_half() -> None:
    # ab = 1.0, d_b says 3; ba = 0.1, d_a says 0.1. Real b: 3, real a: 0.5.
    p = passes()
    term = loss("lsgan")
    assert value(p, term, "generator") == pytest.approx((3 - 1) ** 2 + (0.1 - 1) ** 2)
    assert value(p, term, "discriminator") == pytest.approx((3 - 1) ** 2 + 3**2 + (0.5 - 1) ** 2 + 0.1**2)


def test_vanilla_is_cross_entropy_with_logits() -> None:
    p = passes()
    assert value(p, loss("vanilla"), "generator") == pytest.approx(
        math.log1p(math.exp(-3)) + math.log1p(math.exp(-0.1))
    )
    wanted = math.log1p(math.exp(-3)) + math.log1p(math.exp(3)) + math.log1p(math.exp(-0.5)) + math.log1p(math.exp(0.1))
    assert value(p, loss("vanilla"), "discriminator") == pytest.approx(wanted)


def test_hinge() -> None:
    p = passes()
    assert value(p, loss("hinge"), "generator") == pytest.approx(-3 - 0.1)
    assert value(p, loss("hinge"), "discriminator") == pytest.approx(0 + 4 + 0.5 + 1.1)


@pytest.mark.parametrize("name", ["lsgan", "vanilla", "hinge"])
def test_adversarial_terms_return_none_without_discriminators(name: str) -> None:
    assert loss(name).needs_discriminator
    assert loss(name).generator(passes(discriminators=False)) is None
    assert loss(name).discriminator(passes(discriminators=False)) is None


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_cycle_and_identity(norm: str, power: int) -> None:
    p = passes()
    # aba = 0.1, bab = 0.2, aa = 0.05, bb = 2.0
    assert value(p, loss("cycle", norm=norm), "generator") == pytest.approx(0.4**power + 0.8**power)
    assert value(p, loss("identity", norm=norm), "generator") == pytest.approx(1.0**power + 0.45**power)
    assert loss("cycle").both_ways
    assert not loss("identity").both_ways


def test_identity_one_way_keeps_high_quality_alone() -> None:
    assert value(passes(both=False), loss("identity"), "generator") == pytest.approx(1.0)


@pytest.mark.parametrize(("norm", "wanted"), [("l1", 0.2), ("l2", 0.04), ("charbonnier", math.hypot(0.2, 0.1))])
def test_paired(norm: str, wanted: float) -> None:
    term = loss("paired", norm=norm, eps=0.1)
    assert value(passes(b=0.8, both=False), term, "generator") == pytest.approx(wanted)
    assert term.needs == ("truth",)


def test_charbonnier_has_a_gradient_where_images_are_equal() -> None:
    p = passes(b=1.0, both=False)
    p.mean(loss("paired", norm="charbonnier").generator(p)).backward()
    assert p.nets.ab.generator.by.grad == 0


def test_task_sums_over_the_named_passes_with_the_class_each_starts_from() -> None:
    p = passes(head=True)
    # The head reads the input of the last translator; class 1 for a, 0 for b.
    read = {"ab": 0.5, "ba": 1.0, "aba": 1.0, "bab": 0.1, "aa": 0.5, "bb": 1.0}

    def one(name: str) -> float:
        sign = -1 if name.startswith("a") else 1
        return math.log1p(math.exp(sign * read[name]))

    for name in read:
        assert value(p, loss("task", passes=[name]), "generator") == pytest.approx(one(name)), name
    assert value(p, loss("task"), "generator") == pytest.approx(sum(map(one, read)))
    assert loss("task").needs == ("target",)


def test_task_one_way_reads_what_exists() -> None:
    p = passes(head=True, both=False)
    loss("task").generator(p)
    assert runs(p) == 2
    assert not loss("task", passes=["ab", "bb"]).both_ways
    assert loss("task", passes=["ab", "aa"]).both_ways


def test_task_says_what_is_missing() -> None:
    with pytest.raises(RecipeError, match="`head: classify`"):
        loss("task").generator(passes())
    p = passes(head=True)
    object.__setattr__(p.a, "target", None)
    with pytest.raises(RecipeError, match="'ab'"):
        loss("task").generator(p)


def test_each_pass_runs_once_and_only_when_it_is_read() -> None:
    p = passes()
    loss("lsgan").generator(p)
    assert runs(p) == 2
    loss("cycle").generator(p)
    assert runs(p) == 4
    loss("identity").generator(p)
    assert runs(p) == 6
    loss("lsgan").discriminator(p)
    assert runs(p) == 6


def test_a_paired_one_way_step_runs_one_pass() -> None:
    p = passes(both=False, discriminators=False)
    loss("paired").generator(p)
    assert runs(p) == 1


def test_fresh_fakes_come_from_the_updated_generators_and_pooled_ones_do_not() -> None:
    p = passes()
    loss("lsgan").generator(p)
    with torch.no_grad():
        p.nets.ab.generator.by.mul_(2)
    real = (3 - 1) ** 2 + (0.5 - 1) ** 2 + 0.1**2
    assert value(p, loss("lsgan"), "discriminator") == pytest.approx(real + 3**2)
    assert value(p, loss("lsgan", fakes="fresh"), "discriminator") == pytest.approx(real + 6**2)
    assert runs(p) == 4


@pytest.mark.parametrize("fakes", ["pool", "fresh"])
def test_the_discriminators_loss_leaves_the_translators_alone(fakes: str) -> None:
    p = passes(pool=2)
    p.mean(loss("lsgan", fakes=fakes).discriminator(p)).backward()
    assert all(q.grad is None for net in p.nets.translators() for q in net.parameters())
    assert all(q.grad is not None for net in p.nets.discriminators() for q in net.parameters())


def test_losses_are_float32_under_autocast() -> None:
    p = passes()
    with torch.autocast("cpu", torch.bfloat16):
        for name in ("lsgan", "vanilla", "hinge", "cycle", "identity", "paired"):
            assert p.mean(loss(name).generator(p)).dtype == torch.float32


def test_a_mean_is_over_the_images_that_are_known_of_all_batches_of_the_step() -> None:
    nets = passes(both=False, discriminators=False).nets
    values, known = torch.tensor([0.5, -0.3, 0.9, 0.1]), torch.tensor([True, False, True, True])
    whole = Batch(values.reshape(4, 1, 1), tuple("abcd"), truth=torch.zeros(4, 1, 1), known=known)
    parts = [
        Batch(whole.image[at], whole.key[at], truth=whole.truth[at], known=known[at])  # type: ignore[index]
        for at in (slice(0, 1), slice(1, 2), slice(2, 4))
    ]

    def paired(batches: list[Batch]) -> float:
        pairs = [(batch, batch) for batch in batches]
        pools = (HistoryPool(0), HistoryPool(0))
        made = [Passes(nets, a, b, pools, torch.Generator(), batches=pairs) for a, b in pairs]
        return sum(value(p, loss("paired")) for p in made)

    assert paired([whole]) == pytest.approx(2 * (0.5 + 0.9 + 0.1) / 3)
    assert paired(parts) == pytest.approx(2 * (0.5 + 0.9 + 0.1) / 3)


def test_where_no_truth_is_known_the_paired_loss_is_zero_with_a_zero_gradient() -> None:
    p = passes(both=False, discriminators=False)
    object.__setattr__(p.a, "truth", None)
    made = p.mean(loss("paired").generator(p))
    assert made is not None
    made.backward()
    assert made == 0
    assert p.nets.ab.generator.by.grad == 0
