"""The degradations as parts: what a recipe gets, gray in several channels, blends, refusals."""

from typing import Any

import pytest
import torch
from restorekit_kornia import degradations
from torch import Generator, Tensor

from restorekit import Batch, Degradation, Domain, RecipeError
from restorekit.data.batches import scoring_batches, training_batches
from restorekit.data.splits import open_splits
from restorekit.discovery.installed import find
from restorekit.discovery.plugins import Plugins
from restorekit.recipes import recipe

EVERY = degradations.__all__
ANY_DIMS = {"contrast", "dead_pixels", "downsample", "poisson", "saturation", "varying_noise"}
SHAPES = {1: (2, 970), 2: (3, 40, 33), 3: (1, 9, 8, 7)}


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def image(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=rng()) * 1.8 - 0.9


def made(name: str, shape: tuple[int, ...] = (1, 40, 33), **options: Any) -> Degradation:
    part: Degradation = getattr(degradations, name)(Domain("a", shape[0], shape[1:]), **options)
    return part


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    (kornia,) = [plugin for plugin in find() if plugin.distribution == "restorekit-kornia"]
    assert set(kornia.parts) == {("degradation", name) for name in EVERY}
    return Plugins([kornia], own=True)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_severity_zero_is_the_exact_identity_and_the_default_is_not(name: str, dims: int) -> None:
    shape = SHAPES[dims]
    if dims != 2 and name not in ANY_DIMS:
        with pytest.raises(RecipeError, match=f"degradation '{name}': .*2 dimensions; 'a' .*{dims}"):
            made(name, shape)
        return
    part, good = made(name, shape), image(shape)
    assert torch.equal(part.apply(good, {name: 0.0}, rng()), good)
    assert torch.equal(part.apply(good, {"noise": 0.3}, rng()), good)
    (drawn,) = part.draw(rng(4)).values()
    assert 0 < drawn <= 100
    worse = part.apply(good, {name: drawn}, rng())
    assert worse.shape == good.shape
    assert not torch.equal(worse, good)
    assert worse.abs().max() <= 1


@pytest.mark.parametrize("name", EVERY)
def test_gray_in_three_channels_stays_gray(name: str) -> None:
    part, good = made(name), image((1, 40, 33))
    drawn = part.draw(rng(4))
    once, thrice = (part.apply(one, drawn, rng(1)) for one in (good, good.expand(3, -1, -1)))
    assert torch.equal(thrice, once.expand(3, -1, -1))


@pytest.mark.parametrize("name", ["poisson", "varying_noise"])
def test_noise_differs_in_the_channels_of_colour(name: str) -> None:
    flat = torch.stack([torch.full((40, 33), value) for value in (0.0, 0.0, 0.1)])
    noisy = made(name).apply(flat, {name: 0.1}, rng())
    assert not torch.equal(noisy[0], noisy[1])


@pytest.mark.parametrize(("relationship", "ratio"), [("log", 10**0.45), ("linear", (0.95 / 0.05) ** 0.5)])
def test_the_relationship_says_where_photons_are_few(relationship: str, ratio: float) -> None:
    ends = torch.cat([torch.full((1, 100, 100), value) for value in (-0.9, 0.9)], 2)
    noise = made("poisson", relationship=relationship).apply(ends, {"poisson": 0.01}, rng()) - ends
    assert (noise[..., 100:].std() / noise[..., :100].std()).item() == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("jpeg", {"severity": [60, 10]}, r"severity is \[low, high\], low <= high; got \[60.0, 10.0\]"),
        ("grid", {"period": [9, 4]}, r"period is \[low, high\], low <= high; got \[9.0, 4.0\]"),
        ("motion_blur", {"severity": [-1, 4]}, "must be at least 0; got -1"),
        ("contrast", {"severity": [0, 1.5]}, "must be at most 1; got 1.5"),
        ("scatter", {"relationship": "logarithmic"}, "'log' or 'linear'; got 'logarithmic'"),
        ("poisson", {"dose": 3}, "no option is called 'dose'"),
    ],
)
def test_errors_name_the_option(plugins: Plugins, name: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        plugins.parts.resolve("degradation", {"name": name, **options})(Domain("a", 1, (8, 8)))


POOR = """
name: poor
data:
  size: [32, 32]
  channels: 1
  a:
    name: degraded
    fresh: true
    dataset: {name: phantom, side: a, count: 6, val: 0, test: 4, size: [32, 32]}
    degradation:
      name: blend
      least: 2
      degradations:
        - {name: poisson, severity: [0.05, 0.2]}
        - {name: motion_blur, severity: [2, 6]}
        - {name: defocus, severity: [1, 3]}
        - {name: scatter, severity: [0.5, 3]}
        - {name: jpeg, severity: [10, 60]}
        - {name: grid, severity: [0.02, 0.1], period: [4, 6]}
        - {name: noise, severity: [0.05, 0.1]}
  b: {name: phantom, side: b, count: 6, val: 0, test: 0, size: [32, 32]}
  batch: 2
nets: {generator: {name: resnet, width: 2, blocks: 1}}
losses: [{name: paired}]
train: {steps: 4}
"""


def batches(plugins: Plugins, folder: Any, workers: int) -> list[Batch]:
    path = folder / "poor.yaml"
    path.write_text(POOR.replace("batch: 2", f"batch: 2\n  workers: {workers}"))
    spec = recipe.load(path, plugins)
    return [a for ((a, _),) in training_batches(open_splits(spec, plugins.parts), spec, 0, 9)]


def test_an_image_of_an_epoch_is_always_the_same_for_any_number_of_workers(plugins: Plugins, tmp_path: Any) -> None:
    alone, shared = (batches(plugins, tmp_path, workers) for workers in (0, 2))
    for one, other in zip(alone, shared, strict=True):
        assert (one.key, one.drawn) == (other.key, other.drawn)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.truth, other.truth)
    drawn = [(key, tuple(one.items())) for batch in alone for key, one in zip(batch.key, batch.drawn, strict=True)]
    assert len(drawn) == 18  # three epochs of six images
    assert len(set(drawn)) == 18, "each image is degraded anew in each epoch"
    assert len({tuple(name for name, _ in one) for _, one in drawn}) > 9, "subsets and orders vary"
    assert all(len(one) >= 2 for _, one in drawn)


def test_a_poor_domain_has_its_truth(plugins: Plugins, tmp_path: Any) -> None:
    (tmp_path / "poor.yaml").write_text(POOR.replace("fresh: true", "fresh: false"))
    spec = recipe.load(tmp_path / "poor.yaml", plugins)
    splits = open_splits(spec, plugins.parts)
    (batch,) = scoring_batches(splits, spec, "test")
    good = plugins.parts.resolve("dataset", {"name": "phantom", "side": "a", "count": 6, "test": 4, "size": [32, 32]})(
        None, "test"
    )
    for i, truth in enumerate(batch.truth):
        assert torch.equal(truth, good.load(i, rng()).image)
        assert not torch.equal(batch.image[i], truth)
