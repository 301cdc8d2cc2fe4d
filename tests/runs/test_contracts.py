"""What recipes can ask for beyond the cycle: super-resolution, conditional GANs, windows, mixed truth."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, Stepped, nd
from restorekit.discovery.plugins import Plugins
from restorekit.runs.check import check
from restorekit.runs.run import Run
from restorekit.training.train import step, train

Build = Callable[..., Run]
SMALL = {"name": "resnet", "width": 4, "blocks": 1, "downs": 1, "upsample": "resize"}


def phantom(side: str, size: int = 32, count: int = 8) -> dict[str, Any]:
    return {"name": "phantom", "side": side, "count": count, "val": 2, "test": 2, "size": [size, size]}


def smaller(side: str, scale: int) -> dict[str, Any]:
    return {"name": "degraded", "dataset": phantom(side), "degradation": {"name": "bicubic", "scale": scale}}


def super_resolution(scale: int, **more: Any) -> dict[str, Any]:
    return {
        "data__size": [32 // scale, 32 // scale],
        "data__scale": scale,
        "data__a": smaller("a", scale),
        "data__b": phantom("a"),
        "nets__generator": {**SMALL, "scale": scale},
        "nets__discriminator": None,
        "nets__one_way": True,
        "losses": ["paired"],
        "train__optimizer": {"lr": 3e-3},
        **more,
    }


@pytest.mark.parametrize("scale", [2, 4])
def test_super_resolution_learns_from_pairs_of_unequal_size(build_run: Build, scale: int) -> None:
    run = build_run(**super_resolution(scale, train__steps=30))
    (pair,) = next(iter(run.batches(0, 1)))
    assert pair[0].image.shape[2:] == (32 // scale, 32 // scale)
    assert pair[0].truth is not None
    assert pair[0].truth.shape[2:] == pair[1].image.shape[2:] == (32, 32)
    back = nd.resize(pair[0].truth, [32 // scale, 32 // scale], mode="cubic")
    torch.testing.assert_close(back.clamp(-1, 1), pair[0].image, atol=1e-6, rtol=0)
    losses = [event.values["generator.paired"] for event in train(run) if isinstance(event, Stepped)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_windows_of_both_sizes_are_cut_at_the_same_place(build_run: Build) -> None:
    run = build_run(**super_resolution(2, data__size=None, data__window=[8, 8], data__augment={"flip": True}))
    for batches in run.batches(0, 4):
        for a, _ in batches:
            assert a.image.shape[2:] == (8, 8)
            assert a.truth is not None
            assert a.truth.shape[2:] == (16, 16)
            inner = nd.resize(a.truth, [8, 8], mode="cubic")[..., 2:-2, 2:-2]  # at the rim the filter sees another part
            torch.testing.assert_close(inner, a.image[..., 2:-2, 2:-2], atol=2e-2, rtol=0)


def test_a_scale_that_is_not_the_generators_is_refused(spec: Any, plugins: Plugins) -> None:
    with pytest.raises(RecipeError, match=r"data\.scale"):
        check(spec(**{**super_resolution(2), "data__scale": 4}), plugins.parts)
    with pytest.raises(RecipeError, match=r"nets\.one_way"):
        check(spec(**{**super_resolution(2), "nets__one_way": False, "losses": ["cycle"]}), plugins.parts)


def test_a_conditional_gan_trains_on_pairs_at_several_scales(build_run: Build, spec: Any, plugins: Plugins) -> None:
    changes: dict[str, Any] = {
        "data__size": [32, 32],
        "data__a": {"name": "degraded", "dataset": phantom("a"), "degradation": "noise"},
        "data__b": phantom("a"),
        "data__pairing": "key",
        "nets__generator": SMALL,
        "nets__discriminator": {"name": "patch", "width": 4, "layers": 1, "conditional": True, "scales": 2},
        "nets__one_way": True,
        "losses": ["lsgan", {"name": "paired", "weight": 10}],
        "train__steps": 4,
        "train__pool": 3,
    }
    run = build_run(**changes)
    before = [p.detach().clone() for p in run.nets.parameters()]
    list(train(run))
    assert all(not torch.equal(old, new) for old, new in zip(before, run.nets.parameters(), strict=True))
    assert len(run.pools[1].conditions) == 3
    again = build_run(folder="again", **changes)
    again.resume(run.folder / "checkpoints" / "step_000000004")
    for kept, had in zip(again.pools[1].conditions, run.pools[1].conditions, strict=True):
        assert torch.equal(kept, had)
    with pytest.raises(RecipeError, match=r"nets\.discriminator"):
        check(spec(**{**changes, "data__pairing": "random", "losses": ["lsgan"]}), plugins.parts)


def test_a_batch_holds_images_with_and_without_truth(build_run: Build) -> None:
    run = build_run(
        data__a={"name": "toy", "truth": True, "lost": [0, 2, 4]},
        losses=["paired", "lsgan"],
        nets__one_way=True,
        data__batch=3,
        train__steps=2,
    )
    seen = [a.with_truth for batches in run.batches(0, 2) for a, _ in batches]
    assert sum(int(known.sum()) for known in seen) == 3
    assert any(bool(known.any()) and not bool(known.all()) for known in seen)
    for event in train(run):
        if isinstance(event, Stepped):
            assert event.values["generator.paired"] > 0


class Toned(Generator):
    """Multiplies an image by the mean of its whole; the mean is its summary."""

    features = 1

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.5))

    def summary(self, image: Tensor) -> Tensor:
        return image.flatten(1).mean(1, keepdim=True)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Any, Tensor]:
        known = self.summary(image) if summary is None else summary
        return (image, known), image

    def decode(self, state: tuple[Tensor, Tensor]) -> Tensor:
        image, known = state
        return image * self.by * known.reshape(-1, *[1] * (image.ndim - 1))


def toned(source: Domain, target: Domain) -> Generator:
    """An image times its mean."""
    return Toned()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_window_knows_the_summary_of_its_whole_degraded_image(
    build_run: Build, plugins: Plugins, workers: int
) -> None:
    if ("generator", "toned") not in plugins.parts:
        plugins.parts.add("generator", "toned", toned, owner="test")
    changes: dict[str, Any] = {
        "data__size": None,
        "data__window": [8, 8],
        "data__workers": workers,
        "data__a": {"name": "degraded", "dataset": {"name": "toy", "side": "b"}, "degradation": "noise"},
        "data__b": {"name": "toy", "side": "b"},
        "nets__generator": "toned",
        "nets__discriminator": None,
        "nets__one_way": True,
        "losses": ["paired", "identity"],
    }
    run = build_run(**changes)
    whole = {batch.key[0]: batch.image for batch in run.images.scoring("train")}
    for batches in run.batches(0, 3):
        for a, _ in batches:
            assert a.image.shape[2:] == (8, 8)
            assert a.summary is not None
            for key, known in zip(a.key, a.summary, strict=True):
                assert float(known) == pytest.approx(float(whole[key].mean()), abs=1e-6)
    step(run, next(iter(run.batches(0, 1))))
    with pytest.raises(RecipeError, match="only ab and bb"):
        list(train(build_run(folder="back", **{**changes, "losses": ["cycle"], "nets__one_way": False})))


def test_with_windows_whole_images_are_scored_at_their_own_size(build_run: Build) -> None:
    run = build_run(
        data__size=None,
        data__window=[16, 16],
        data__a={"name": "degraded", "dataset": phantom("a", 40), "degradation": "noise"},
        data__b=phantom("b", 40),
        nets__generator=SMALL,
        nets__discriminator=None,
        nets__one_way=True,
        losses=["paired"],
    )
    assert [batch.image.shape[2:] for batch in run.images.scoring("test")] == [(40, 40)] * 2
