"""An unknown key of a recipe gets the key that was meant: of the same mapping, or of anywhere in the recipe."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorekit import RecipeError
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.recipes.suggestions import OTHER_WORDS, key_places, suggested

RECIPE = """\
name: tiny
data:
  size: [16, 16]
  a:
    name: degraded
    dataset: {name: phantom, side: a, count: 4}
    degradation: {name: noise, severity: [0.1, 0.2]}
  b: {name: phantom, side: b, count: 4}
nets:
  generator: {name: resnet, layer: {name: conv}}
  discriminator: {name: patch}
losses: [lsgan, {name: cycle, weight: 10}]
train: {steps: 2}
evaluate: {metrics: [psnr]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "tiny.yaml"
    made.write_text(RECIPE)
    return made


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sed=1", "seed"),
        ("trian.steps=4", "train"),
        ("Train.steps=4", "train"),
        ("lr=1e-4", "train.optimizer.lr"),
        ("train.lr=1e-4", "train.optimizer.lr"),
        ("train.learning_rate=1e-4", "train.optimizer.lr"),
        ("train.betas=[0.9, 0.99]", "train.optimizer.betas"),
        ("train.beta=[0.9, 0.99]", "train.optimizer.betas"),
        ("train.step=3", "steps"),
        ("train.Steps=3", "steps"),
        ("train.log=3", "log_every"),
        ("train.log-every=3", "log_every"),
        ("train.batch=2", "data.batch"),
        ("train.batch_size=2", "data.batch"),
        ("batch_size=2", "data.batch"),
        ("data.batch_size=2", "batch"),
        ("train.times=2", "evaluate.times"),
        ("train.metrics=[]", "evaluate.metrics"),
        ("train.optimizer.steps=3", "train.steps"),
        ("data.flip=true", "data.augment.flip"),
        ("evaluate.resample=50", "resamples"),
        ("generator=resnet", "nets.generator"),
        ("nets.disc=null", "discriminator"),
        ("nets.model=unet", "generator"),
        ("losses.cycle.weigth=1", "weight"),
        ("losses.cycle.lambda=1", "weight"),
        ("losses.lsgan.fake=pool", "fakes"),
        ("data.a.dataset.conut=3", "count"),
        ("data.a.count=3", "data.a.dataset.count"),
        ("data.a.degradation.severty=1", "severity"),
        ("data.a.severity=1", "data.a.degradation.severity"),
        ("nets.generator.widht=4", "width"),
        ("nets.generator.layer.Widht=4", "nets.generator.width"),
    ],
)
def test_an_unknown_key_names_the_key_that_was_meant(path: Path, typed: str, meant: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe.load(path, plugins.load(), sets=[typed])
    (found,) = error.value.errors
    assert (str(found.origin), found.code) == (f"--set {typed.partition('=')[0]}", "unknown-key")
    assert repr(meant) in found.hint


@pytest.mark.parametrize("typed", ["quux=1", "train.weight_decay=1", "losses.cycle.zzz=1"])
def test_a_key_that_is_like_no_other_gets_no_guess(path: Path, typed: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe.load(path, plugins.load(), sets=[typed])
    assert len(error.value.errors) == 1
    assert error.value.errors[0].hint == ""


KNOWN = key_places({})


LONG = [place for place in KNOWN if len(place[-1]) > 4 and not place[-1].startswith(("variant", "window"))]
"""Keys of some length; `variant` and `variants`, `window` and `windows` are too near each other."""


@given(st.sampled_from(LONG), st.integers(0, 20))
def test_two_letters_that_changed_places_are_found(place: tuple[str, ...], at: int) -> None:
    key = place[-1]
    at %= len(key) - 1
    typed = key[:at] + key[at + 1] + key[at] + key[at + 2 :]
    there = (*place[:-1], typed)
    if there not in KNOWN:
        found = suggested(there, KNOWN, {})
        assert found is not None
        assert found == place


def test_other_programs_words_stand_for_keys_that_exist() -> None:
    ours = {place[-1] for place in KNOWN} | {"weight", "lr"}
    assert set(OTHER_WORDS.values()) <= ours
    assert not set(OTHER_WORDS) & ours
