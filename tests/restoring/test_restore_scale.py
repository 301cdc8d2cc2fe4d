"""The scale of training: measured, saved, and held against the images that are restored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit import DataError, nd, write_image
from restorekit.discovery.plugins import Plugins
from restorekit.restoring.loading import load
from restorekit.restoring.model import Model
from restorekit.restoring.restore import restore_files
from restorekit.restoring.scale import TrainedScale, with_change
from restorekit.runs.run import Run

SCALE = {"name": "scale", "by": 0.5}


@pytest.fixture(autouse=True)
def _toys(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)


@pytest.fixture
def saved(build_run: Callable[..., Run]) -> Callable[..., Run]:
    def make(native: tuple[int, ...] = (16, 16), **changes: Any) -> Run:
        """A run on toys of the native size, at data.size 16x16."""
        sides: dict[str, Any] = {f"data__{side}": {"name": "toy", "side": side, "size": [*native]} for side in "ab"}
        run = build_run(folder="run", **{"nets__generator": SCALE, **sides, **changes})
        run.begin("test")
        run.step = 1
        run.save()
        return run

    return make


@pytest.fixture
def restorer(saved: Callable[..., Run]) -> Callable[..., Model]:
    return lambda *args, **changes: load(saved(*args, **changes).folder)


def state_of(run: Run) -> Path:
    return run.folder / "checkpoints" / "step_000000001" / "state.json"


@pytest.mark.parametrize(
    ("native", "changes", "factor", "size"),
    [
        ((16, 16), {}, 1, [16, 16]),
        ((64, 64), {}, 4, [16, 16]),
        ((64, 16), {}, 2, [16, 16]),
        ((8, 8), {}, 0.5, [16, 16]),
        ((64, 32), {"data__fit": "pad"}, 4, [16, 8]),
        ((64, 32), {"data__fit": "crop"}, 2, [32, 16]),
        ((64, 64), {"data__augment": {"load": 4.0}}, 1, [64, 64]),  # windows of the native image are cut
        ((64, 32), {"data__fit": "crop", "data__augment": {"load": 2.0}}, 1, [64, 32]),
        ((32, 32), {"data__windows": True}, 2, None),
    ],
)
def test_the_scale_of_training_is_saved(
    saved: Callable[..., Run], native: tuple[int, int], changes: Any, factor: float, size: list[float] | None
) -> None:
    found = json.loads(state_of(saved(native, **changes)).read_text())["scale"]
    assert found["factor"] == pytest.approx(factor)
    assert found["size"] == size


@pytest.mark.parametrize(
    ("native", "changes", "factor", "size", "text"),
    [
        ((64, 64), {}, 4, [16, 16], "trained at 16x16, reduced 4x"),
        ((64, 16), {}, 2, [16, 16], "trained at 16x16, reduced 2x"),
        ((128, 128), {"data__size": None, "data__window": [16, 16]}, 4, [32, 32], "trained at 16x16, reduced 4x"),
        ((32, 32), {"data__size": None, "data__window": [16, 16]}, 1, None, "trained at 16x16, not resampled"),
    ],
)
def test_what_the_dataset_resized_did_counts(
    saved: Callable[..., Run], native: tuple[int, int], changes: Any, factor: float, size: Any, text: str
) -> None:
    to = [32, 32] if "data__window" in changes else [16, 16]
    sides = {
        f"data__{side}": {"name": "resized", "size": to, "dataset": {"name": "toy", "side": side, "size": [*native]}}
        for side in "ab"
    }
    run = saved(**sides, **changes)
    found = json.loads(state_of(run).read_text())
    assert found["scale"]["factor"] == pytest.approx(factor)
    assert found["scale"]["size"] == size
    assert str(TrainedScale.of(found, (16, 16))) == text


def test_a_run_on_windows_of_small_copies_refuses_films_as_they_are(saved: Callable[..., Run]) -> None:
    toys = {f"data__{s}": {"name": "toy", "side": s, "size": [256, 256]} for s in "ab"}
    sides = {key: {"name": "resized", "size": [32, 32], "dataset": toy} for key, toy in toys.items()}
    made = load(saved(**sides, data__size=None, data__window=[16, 16]).folder)
    assert made.restored(torch.zeros(1, 32, 32).numpy()).note == ""
    with pytest.raises(DataError, match="8x larger than the training images: unreliable"):
        made.restored(torch.zeros(1, 256, 256).numpy())


def test_images_that_cannot_be_read_do_not_count(saved: Callable[..., Run]) -> None:
    toys = {f"data__{s}": {"name": "toy", "side": s, "size": [32, 32], "broken": [0, 3]} for s in "ab"}
    assert json.loads(state_of(saved(**toys)).read_text())["scale"]["factor"] == pytest.approx(2)
    broken = {f"data__{s}": {"name": "toy", "side": s, "broken": [*range(6)]} for s in "ab"}
    (state_of(saved()).parent).rename(state_of(saved()).parent.with_name("step_000000000"))
    assert json.loads(state_of(saved(**broken)).read_text())["scale"] is None


def test_far_larger_images_are_refused_and_named(restorer: Callable[..., Model], tmp_path: Path) -> None:
    made = restorer((128, 128))
    for side in (16, 64, 65, 128):
        write_image(tmp_path / "in" / f"{side}.png", np.full((1, 16, side), 0.5))
    inputs, out = tmp_path / "in", tmp_path / "out"
    found = {Path(row.file).stem: row for row in restore_files(made, inputs, out)}
    assert {name for name, row in found.items() if row.error} == {"65", "128"}
    assert "8x larger than the training images: unreliable" in found["128"].error
    assert all(option in found["128"].error for option in ("--any-scale", "--scale train"))
    anyway = {Path(row.file).stem: row for row in restore_files(made, inputs, out, any_scale=True)}
    assert [row.error for row in anyway.values()] == [""] * 4
    assert "8x larger than the training images: unreliable" in anyway["128"].note
    assert anyway["16"].note == anyway["64"].note == ""
    trained = {Path(row.file).stem: row for row in restore_files(made, inputs, out, scale="train")}
    assert [(row.error, row.scale) for row in trained.values()] == [("", "train")] * 4
    assert "2x16 of 16x128" in trained["128"].note


def test_arrays_are_refused_like_files(restorer: Callable[..., Model]) -> None:
    made = restorer()
    array = np.full((80, 16), 200, np.uint8)
    for options in ({}, {"window": 16}, {"times": 0}):
        with pytest.raises(DataError, match="5x larger than the training images: unreliable"):
            made.restore(array, **options)
    natively = made.restore(array, any_scale=True)
    np.testing.assert_allclose(natively, (array / 127.5 - 1) / 2 * 127.5 + 127.5, atol=0.51)
    assert np.array_equal(made.restore(array, scale="train"), natively), "a flat image has no details"
    assert np.array_equal(made.restore(array, times=0, any_scale=True), array)
    with pytest.raises(DataError, match=r"^any_scale"):
        made.restore(array, scale="train", any_scale=True)


def test_a_run_on_windows_of_native_films_takes_native_films(restorer: Callable[..., Model]) -> None:
    film = torch.rand(1, 400, 300) * 2 - 1
    cut = restorer((400, 300), data__size=None, data__window=[16, 16])
    assert cut.restored(film.numpy()).note == ""
    whole = restorer((16, 16), data__windows=True)
    assert whole.restored(film.numpy()).note == ""
    assert np.array_equal(whole.restored(film.numpy(), scale="train").image, whole.restored(film.numpy()).image)


def test_windows_that_training_shrank_are_refused_at_native_scale(restorer: Callable[..., Model]) -> None:
    made = restorer((80, 80), data__windows=True)
    for size in ((16, 16), (400, 300)):
        with pytest.raises(DataError, match="5x larger than the training images: unreliable"):
            made.restored(torch.zeros(1, *size).numpy())
    assert made.restored(torch.zeros(1, 400, 300).numpy(), scale="train").image.shape == (1, 400, 300)


def test_much_smaller_images_are_restored_with_a_note(restorer: Callable[..., Model]) -> None:
    made = restorer((64, 64))
    assert "8x smaller than the training images: unreliable" in made.restored(torch.zeros(1, 2, 16).numpy()).note
    assert made.restored(torch.zeros(1, 4, 16).numpy()).note == ""


def test_a_checkpoint_without_a_scale_goes_by_its_size(saved: Callable[..., Run]) -> None:
    run = saved((128, 128))
    state = json.loads(state_of(run).read_text())
    del state["scale"]
    state_of(run).write_text(json.dumps(state))
    made = load(run.folder)
    assert made.restored(torch.zeros(1, 64, 64).numpy()).note == ""
    with pytest.raises(DataError, match="native size unknown"):
        made.restored(torch.zeros(1, 65, 16).numpy())


@given(factor=st.floats(0.1, 100), size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
@settings(max_examples=200, deadline=None)
def test_an_image_at_the_scale_of_training_is_never_called_far(factor: float, size: tuple[int, int]) -> None:
    known = TrainedScale((64, 64), factor, (64.0, 48.0))
    assert known.ratio(known.fitted(size)) <= 1.5, "as large as the training images, but for rounding"
    assert known.too_large(size) == (size[0] > 4 * 64 or size[1] > 4 * 48)
    assert known.too_large(size) <= bool(known.warning(size))


def test_only_the_change_at_the_scale_of_training_is_carried_over(restorer: Callable[..., Model]) -> None:
    made = restorer()
    rng = torch.Generator().manual_seed(0)
    tone = nd.resize(torch.rand(1, 1, 4, 4, generator=rng) - 0.5, (96, 80))
    detail = 0.05 * torch.randn(1, 1, 96, 80, generator=rng)
    detail -= nd.resize(nd.resize(detail, (16, 13)), (96, 80))
    film = (tone + detail)[0]
    found = torch.from_numpy(made.restored(film.numpy(), scale="train").image)
    small = nd.resize(film[None], (16, 13))
    expected = film + nd.resize(small * 0.5 - small, (96, 80))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    now, was = (image - nd.resize(nd.resize(image[None], (16, 13)), (96, 80))[0] for image in (found, film))
    assert torch.corrcoef(torch.stack([now.flatten(), was.flatten()]))[0, 1] > 0.95, "details stay"
    ratio = nd.resize(found[None], (16, 13)).std() / small.std()
    assert 0.4 < ratio < 0.7, "the tone is halved"


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_no_change_at_the_scale_of_training_is_no_change_at_all(dims: int) -> None:
    image = torch.rand(1, *[37, 23, 11][:dims]) * 2 - 1
    small = nd.resize(image[None], [9, 6, 3][:dims])[0]
    assert torch.equal(with_change(image, small, small), image)


def test_the_answer_is_that_of_the_image_at_the_scale_of_training(restorer: Callable[..., Model]) -> None:
    head = {"name": "classify", "pool": "avg"}
    made = restorer(nets__head=head, losses=["lsgan", "task"])
    film = torch.rand(1, 160, 160) * 2 - 1
    small = nd.resize(film[None], (16, 16))[0]
    found = made.restored(film.numpy(), scale="train")
    assert found.prediction is not None
    assert found.prediction == made.restored(small.numpy()).prediction
    assert made.restored(small.numpy(), times=0).prediction == made.restored(small.numpy(), times=3).prediction
