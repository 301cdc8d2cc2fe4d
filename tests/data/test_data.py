"""Data: every draw is a function of (seed, epoch, index), and what does not fit is refused by name."""

import csv
import io
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from restorekit import Batch, DataError, Dataset, Domain, Intensity, Record, Sample, write_image, write_text
from restorekit.data import batches, splits
from restorekit.data.batches import fit, scoring_batches, steps_per_epoch, training_batches
from restorekit.data.splits import Splits, open_splits, opened
from restorekit.discovery.plugins import Plugins
from restorekit.io import images
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.recipes.seeds import seed_of
from restorekit.runs.build import build

Spec = Callable[..., Recipe]
PLAIN = {"side": "a", "name": "toy"}


def pairs(spec: Recipe, plugins: Plugins, start: int, stop: int) -> list[tuple[Batch, Batch]]:
    return [pair for step in training_batches(open_splits(spec, plugins.parts), spec, start, stop) for pair in step]


def same(one: list[tuple[Batch, Batch]], other: list[tuple[Batch, Batch]]) -> bool:
    assert len(one) == len(other)
    return all(
        x.key == y.key and torch.equal(x.image, y.image) and x.drawn == y.drawn
        for left, right in zip(one, other, strict=True)
        for x, y in zip(left, right, strict=True)
    )


def stem(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".png")


DRAWN: dict[str, Any] = {
    "data__a": {"name": "toy", "side": "a", "count": 5, "fresh": True},
    "data__b": {"name": "toy", "side": "b", "count": 3, "prefix": "b"},
    "data__augment": {"load": 1.5, "flip": True},
}


def test_seeds_are_pure_and_apart() -> None:
    assert seed_of(0, 1, 2, "a") == seed_of(0, 1, 2, "a")
    many = {seed_of(s, e, i, side) for s in range(3) for e in range(5) for i in range(7) for side in ("a", "b")}
    assert len(many) == 3 * 5 * 7 * 2
    assert all(0 <= seed < 2**63 for seed in many)


def test_batches_are_the_same_for_any_number_of_workers(spec: Spec, plugins: Plugins) -> None:
    alone = pairs(spec(**DRAWN), plugins, 0, 7)
    assert same(alone, pairs(spec(**DRAWN, data__workers=2), plugins, 0, 7))
    assert same(alone, pairs(spec(**DRAWN), plugins, 0, 7))


def test_batches_do_not_depend_on_where_one_starts(spec: Spec, plugins: Plugins) -> None:
    whole = pairs(spec(**DRAWN), plugins, 0, 8)
    assert same(whole[5:], pairs(spec(**DRAWN), plugins, 5, 8))
    assert same(whole[5:], pairs(spec(**DRAWN, data__workers=1), plugins, 5, 8))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_cache_changes_nothing_and_saves_reading(
    spec: Spec, plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, workers: int
) -> None:
    for i, name in enumerate(("trainA/1.png", "trainA/2.jpg", "trainB/3.tif")):
        write_image(tmp_path / name, torch.linspace(-1, 1, 20 + i).expand(1, 16, -1).contiguous().numpy())
    sides: dict[str, Any] = {f"data__{side.lower()}": {"name": "folder", "path": f"train{side}"} for side in "AB"}
    files = {**sides, "data__root": str(tmp_path), "data__augment": {"load": 1.5, "flip": True}}
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "kept"))
    plain = pairs(spec(**files), plugins, 0, 8)
    kept = spec(**files, data__cache={"place": place, "limit": 0.001}, data__workers=workers)
    assert same(plain, pairs(kept, plugins, 0, 8))
    small = spec(**files, data__cache={"place": place, "limit": 1e-6})
    assert same(plain, pairs(small, plugins, 0, 8))  # where it is full, files are read
    assert place == "memory" or list((tmp_path / "kept").glob("tmp*")) == []
    decode, count = images._decoded, multiprocessing.Value("i", 0)

    def counted(*given: Any) -> Any:
        with count.get_lock():
            count.value += 1
        return decode(*given)

    monkeypatch.setattr(images, "_decoded", counted)
    batches = training_batches(open_splits(kept, plugins.parts), kept, 0, 200)
    for _ in range(20):
        next(batches)
    first = count.value
    assert 3 <= first <= 3 * max(1, workers)
    assert len(list(batches)) == 180
    assert count.value == first


def test_a_cache_that_is_too_small_says_so(spec: Spec, plugins: Plugins, tmp_path: Path) -> None:
    for name in ("A/1.png", "B/2.png"):
        write_image(tmp_path / name, np.zeros((1, 512, 512)))
    files: dict[str, Any] = {f"data__{side.lower()}": {"name": "folder", "path": side} for side in "AB"}
    made = open_splits(spec(**files, data__root=str(tmp_path)), plugins.parts, verify=lambda line: None)
    assert batches.cache_note(made, spec(data__cache={"place": "none", "limit": 1e-4}).data) == ""
    assert batches.cache_note(made, spec(data__cache={"place": "memory", "limit": 1}).data) == ""
    note = batches.cache_note(made, spec(data__cache={"place": "memory", "limit": 1e-4}).data)
    assert note.startswith("data.cache.limit: 0.0001 of the 0.00049 GiB of training images are kept")


def test_the_global_random_state_is_neither_read_nor_moved(spec: Spec, plugins: Plugins) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = pairs(spec(**DRAWN), plugins, 0, 3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(one, pairs(spec(**DRAWN), plugins, 0, 3))


def test_another_seed_or_epoch_draws_anew(spec: Spec, plugins: Plugins) -> None:
    one = pairs(spec(**DRAWN, data__batch=1), plugins, 0, 10)
    assert not same(one, pairs(spec(**DRAWN, data__batch=1, seed=1), plugins, 0, 10))
    first, second = ({a.key[0]: a.image for a, _ in one[i : i + 5]} for i in (0, 5))
    assert first.keys() == second.keys()
    assert all(not torch.equal(first[key], second[key]) for key in first)


def test_an_epoch_shows_every_image_once_and_cycles_the_shorter_side(spec: Spec, plugins: Plugins) -> None:
    made = spec(data__a={**PLAIN, "count": 7}, data__b={"name": "toy", "side": "b", "count": 3}, data__batch=1)
    assert steps_per_epoch(open_splits(made, plugins.parts), made) == 7
    orders = []
    for epoch in range(3):
        batches = pairs(made, plugins, 7 * epoch, 7 * epoch + 7)
        orders.append([a.key[0] for a, _ in batches])
        assert len(set(orders[-1])) == 7
        shorter = [b.key[0] for _, b in batches]
        assert set(shorter[:3]) == set(shorter[3:6]) and len(set(shorter[:3])) == 3  # noqa: PT018
        assert shorter[6] in shorter[:3]
    assert len({tuple(order) for order in orders}) == 3, "every epoch has its own order"


def test_a_last_batch_that_is_not_full_is_left_out(spec: Spec, plugins: Plugins) -> None:
    made = spec(data__a={**PLAIN, "count": 7}, data__batch=3)
    splits = open_splits(made, plugins.parts)
    assert steps_per_epoch(splits, made) == 2
    assert all(a.image.shape[0] == b.image.shape[0] == 3 for a, b in pairs(made, plugins, 0, 5))
    assert steps_per_epoch(splits, spec(data__a={**PLAIN, "count": 7}, data__batch=20)) == 1


@given(length=st.integers(1, 40), epoch=st.integers(0, 5), cycle=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_an_order_is_a_permutation(length: int, epoch: int, cycle: int, seed: int) -> None:
    order = batches._order(length, seed, epoch, cycle, "a")
    assert sorted(order.tolist()) == list(range(length))
    batches._order.cache_clear()
    assert torch.equal(order, batches._order(length, seed, epoch, cycle, "a"))


def test_classes_are_shown_equally_often(spec: Spec, plugins: Plugins, tmp_path: Any) -> None:
    names = {"a": ["x"] * 9 + ["y"] * 2 + ["z"], "b": ["x", "y", "y"]}
    rows = ["path,domain,label,split"]
    for side, labels in names.items():
        for at, label in enumerate(labels):
            write_image(tmp_path / f"{side}{at}.png", np.zeros((1, 16, 16)))
            rows.append(f"{side}{at}.png,{side},{label},train")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    sides = {f"data__{s}": {"name": "manifest", "file": "m.csv", "domain": s} for s in "ab"}
    made = spec(**sides, data__root=str(tmp_path), data__balance="class", data__batch=1)
    assert steps_per_epoch(open_splits(made, plugins.parts), made) == 12
    shown = pairs(made, plugins, 0, 36)
    for epoch in range(3):
        part = shown[12 * epoch : 12 * epoch + 12]
        assert Counter(int(a.target) for a, _ in part) == {0: 4, 1: 4, 2: 4}  # type: ignore[arg-type]
        assert Counter(int(b.target) for _, b in part) == {0: 6, 1: 6}  # type: ignore[arg-type]
        assert max(Counter(a.key for a, _ in part if a.key[0] in {f"a{i}.png" for i in range(9)}).values()) == 1
    assert len({a.key[0] for a, _ in pairs(made, plugins, 0, 240)}) == 12, "in time, every image is shown"
    assert same(shown[5:9], pairs(made, plugins, 5, 9))
    alike = spec(**sides, data__root=str(tmp_path), data__balance="class", data__pairing="class", data__batch=1)
    with pytest.raises(DataError, match=r"side b .*'z'"):
        pairs(alike, plugins, 0, 1)


def test_pairing_by_class(spec: Spec, plugins: Plugins) -> None:
    options = {"name": "toy", "classes": ["x", "y", "z"], "count": 9}
    made = spec(data__a={**options, "side": "a"}, data__b={**options, "side": "b", "count": 4}, data__pairing="class")
    batches = pairs(made, plugins, 0, 8)
    assert all(torch.equal(a.target, b.target) for a, b in batches if a.target is not None and b.target is not None)
    assert len({int(t) for a, _ in batches for t in a.target}) == 3  # type: ignore[union-attr]


def test_pairing_by_class_needs_every_class(spec: Spec, plugins: Plugins) -> None:
    b = {"name": "toy", "side": "b", "count": 1}
    with pytest.raises(DataError, match=r"data\.pairing: class: .*'yes'"):
        pairs(spec(data__b=b, data__pairing="class"), plugins, 0, 1)
    unlabelled = {**PLAIN, "labelled": False}
    with pytest.raises(DataError, match=r"side b .*unknown"):
        pairs(spec(data__a=unlabelled, data__pairing="class"), plugins, 0, 1)


def test_pairing_by_key_cuts_and_mirrors_alike(spec: Spec, plugins: Plugins) -> None:
    made = spec(
        data__a={**PLAIN, "count": 5, "truth": True},
        data__b={"name": "toy", "side": "b", "count": 8},
        data__augment={"load": 1.5, "flip": True},
        data__pairing="key",
        data__batch=1,
    )
    assert steps_per_epoch(open_splits(made, plugins.parts), made) == 5
    for a, b in pairs(made, plugins, 0, 10):
        assert stem(a.key[0]) == stem(b.key[0])
        assert a.truth is not None
        torch.testing.assert_close(a.truth, b.image, rtol=0, atol=0)


def test_unpaired_sides_are_cut_apart(spec: Spec, plugins: Plugins) -> None:
    same_image = {"name": "toy", "side": "b", "count": 1}
    made = spec(data__a=same_image, data__b=same_image, data__augment={"load": 1.5, "flip": True}, data__batch=1)
    assert any(not torch.equal(a.image, b.image) for a, b in pairs(made, plugins, 0, 6))


def test_a_key_without_a_partner(spec: Spec, plugins: Plugins) -> None:
    with pytest.raises(DataError, match=r"2 images of a .*'004'"):
        pairs(spec(data__b={"name": "toy", "side": "b", "count": 4}, data__pairing="key"), plugins, 0, 1)


def test_a_name_that_stands_twice_is_no_pair(plugins: Plugins, spec: Spec, tmp_path: Any) -> None:
    for name in ("a/1.png", "b/x/1.png", "b/y/1.png"):
        write_image(tmp_path / name, np.zeros((1, 16, 16)))
    made = spec(
        data__root=str(tmp_path),
        data__a={"name": "folder", "path": "a", "classes": []},
        data__b={"name": "folder", "path": "b", "classes": []},
        data__pairing="key",
    )
    with pytest.raises(DataError, match=r"data\.pairing: key: b .*'1'"):
        pairs(made, plugins, 0, 1)


@pytest.mark.parametrize("how", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("antialias", [True, False])
@given(shape=st.lists(st.integers(1, 20), min_size=1, max_size=3), data=st.data())
@settings(max_examples=25, deadline=None)
def test_fit_gives_the_size(how: Any, antialias: bool, shape: list[int], data: st.DataObject) -> None:
    size = data.draw(st.lists(st.integers(1, 20), min_size=len(shape), max_size=len(shape)))
    image = torch.rand(2, *shape) * 2 - 1
    made = fit(image, size, how, antialias=antialias)
    assert made.shape == (2, *size)
    assert torch.isfinite(made).all()
    assert made.min() >= image.min() - 1e-5
    assert made.max() <= image.max() + 1e-5
    torch.testing.assert_close(fit(image, shape, how, antialias=antialias), image, rtol=0, atol=0)


def test_fit_keeps_or_gives_up_the_aspect() -> None:
    square = torch.full((1, 8, 8), -1.0)
    square[:, 2:6, 2:6] = 1  # a square of half the side
    sides = {
        how: [int((fit(square, [16, 32], how, antialias=False)[0] > 0).sum(axis).max()) for axis in (0, 1)]  # type: ignore[arg-type]
        for how in ("stretch", "pad", "crop")
    }
    assert sides == {"stretch": [8, 16], "pad": [8, 8], "crop": [16, 16]}


@pytest.mark.parametrize(
    ("how", "load", "expected"),
    [("stretch", 1.0, (1.0, 4.0)), ("pad", 1.0, (4.0, 4.0)), ("crop", 1.0, (2.0, 2.0)), ("stretch", 2.0, (0.5, 2.0))],
)
def test_what_is_fitted_is_spaced_anew(
    spec: Spec, plugins: Plugins, tmp_path: Path, how: str, load: float, expected: tuple[float, float]
) -> None:
    """16 x 32 pixels, 1 mm x 2 mm apart, fitted into 16 x 16: the axes are magnified by 1 and 1 / 2, or both by one."""
    known = Intensity("uint8", 0, 255, 1, spacing=(1.0, 2.0) if how == "stretch" else (2.0, 2.0))
    write_image(tmp_path / "1.png", np.zeros((1, 16, 32)), known)
    side = {"name": "folder", "path": str(tmp_path)}
    made = spec(data__a=side, data__b=side, data__fit=how, data__augment={"load": load})
    ((batch, _),) = pairs(made, plugins, 0, 1)
    assert batch.intensity is not None
    assert batch.intensity[0] is not None
    assert batch.intensity[0].spacing == pytest.approx(expected, rel=0.01)


def test_truth_and_mask_are_cut_as_the_image_is(spec: Spec, plugins: Plugins) -> None:
    a = {**PLAIN, "count": 3, "truth": True, "mask": True, "size": [16, 16]}
    made = spec(data__a=a, data__augment={"load": 2.0, "flip": True}, data__batch=1, data__antialias=False)
    drawn = set()
    for batch, _ in pairs(made, plugins, 0, 9):
        assert batch.truth is not None
        assert batch.mask is not None
        assert batch.mask.shape == (1, 1, 16, 16)
        assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}
        # Where the enlarged truth is clearly above or below zero, so says the mask.
        clear = batch.truth.abs() > 0.25
        assert (batch.mask[clear] == (batch.truth[clear] > 0)).float().mean() > 0.9
        drawn.add(float(batch.truth[0, 0, 0, 0]))
        assert (batch.image - batch.truth).abs().mean() < 0.3
    assert len(drawn) > 3


def test_side_b_has_no_truth_and_a_batch_knows_what_its_records_know(spec: Spec, plugins: Plugins) -> None:
    a, b = pairs(spec(data__a={**PLAIN, "grouped": 2}), plugins, 0, 1)[0]
    assert b.truth is None
    assert a.group is not None
    assert set(a.group) <= {"p0", "p1", "p2"}
    assert b.group == (None, None)
    assert a.source == ("toy", "toy")
    assert a.image.dtype == torch.float32
    assert a.image.shape == (2, 1, 16, 16)


def keys(splits: Splits, split: str, side: Any) -> set[str]:
    return {splits[split, side].record(i).key for i in range(len(splits[split, side]))}


def groups(splits: Splits, split: str, side: Any) -> set[str]:
    return {splits[split, side].record(i).group for i in range(len(splits[split, side]))}


def test_validation_is_split_by_group_and_alike_on_both_sides(spec: Spec, plugins: Plugins) -> None:
    both = {"name": "toy", "count": 60, "grouped": 3, "test": 4}
    made = spec(data__a={**both, "side": "a"}, data__b={**both, "side": "b"}, data__val=0.3)
    splits = open_splits(made, plugins.parts)
    for side in ("a", "b"):
        assert groups(splits, "train", side) & groups(splits, "val", side) == set()
        assert keys(splits, "train", side) | keys(splits, "val", side) == {f"train/{i:03d}.png" for i in range(60)}
        assert 0.1 < len(splits["val", side]) / 60 < 0.5
    assert groups(splits, "val", "a") == groups(splits, "val", "b")
    assert len(splits["test", "a"]) == 4
    again = open_splits(made, plugins.parts)
    assert keys(again, "val", "a") == keys(splits, "val", "a")
    other = open_splits(
        spec(data__a={**both, "side": "a"}, data__b={**both, "side": "b"}, data__val=0.3, seed=5), plugins.parts
    )
    assert keys(other, "val", "a") != keys(splits, "val", "a")


def test_without_groups_each_image_is_its_own(spec: Spec, plugins: Plugins) -> None:
    both = {"name": "toy", "count": 200}
    made = spec(data__a={**both, "side": "a"}, data__b={**both, "side": "b"}, data__val=0.25)
    splits = open_splits(made, plugins.parts)
    assert 30 < len(splits["val", "a"]) < 70
    assert keys(splits, "val", "a") == keys(splits, "val", "b")


def test_a_dataset_may_have_its_own_validation(spec: Spec, plugins: Plugins) -> None:
    splits = open_splits(spec(data__a={**PLAIN, "val": 3}), plugins.parts)
    assert keys(splits, "val", "a") == {f"val/{i:03d}.png" for i in range(3)}


@pytest.mark.parametrize(("have", "want"), [(1, 3), (3, 3), (1, 1)])
def test_one_channel_is_repeated(spec: Spec, plugins: Plugins, have: int, want: int) -> None:
    sides = {f"data__{s}": {"name": "toy", "side": s, "channels": have, "truth": s == "a"} for s in "ab"}
    a, b = pairs(spec(**sides, data__channels=want), plugins, 0, 1)[0]
    assert a.image.shape == b.image.shape == (2, want, 16, 16)
    assert a.truth is not None
    assert a.truth.shape == (2, want, 16, 16)
    if have == 1:
        assert all(torch.equal(a.image[:, 0], a.image[:, i]) for i in range(want))


@pytest.mark.parametrize(("have", "want"), [(3, 1), (2, 3), (4, 3)])
def test_other_channels_are_refused(spec: Spec, plugins: Plugins, have: int, want: int) -> None:
    made = spec(data__a={**PLAIN, "channels": have}, data__channels=want)
    text = f"data.a: train/000.png: has {have} channels, data.channels is {want}; only one channel is repeated"
    with pytest.raises(DataError, match=rf"{text} \(the first of 6 such files\); repair or remove it"):
        open_splits(made, plugins.parts, verify=lambda line: None)


BYTES = torch.tensor([0.0, 7.0, 100.0, 255.0]).expand(1, 4, 4)


class Given(Dataset):
    """One image as it is given."""

    def __init__(self, image: Any, truth: Any = None, **known: Any) -> None:
        self.records, self.sample = [Record("k")], Sample(image, truth=truth, **known)

    def load(self, index: int, rng: torch.Generator) -> Sample:
        return self.sample


@pytest.mark.parametrize(
    ("image", "truth", "named"),
    [
        (torch.zeros(1, 4, 4, dtype=torch.uint8), None, "image .*uint8"),
        (torch.zeros(1, 4, 4, dtype=torch.float64), None, "image .*float64"),
        (np.zeros((1, 4, 4), "float32"), None, "image .*ndarray"),
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64), "truth .*int64"),
        (torch.zeros(1, 4, 4), torch.full((1, 4, 4), torch.nan), "not finite"),
        (torch.full((1, 4, 4), -torch.inf), None, "not finite"),
        (BYTES, None, r"image .*\[-1, 1\].* 0 to 255\..*x / 127\.5 - 1"),
        (torch.zeros(1, 4, 4), BYTES, "truth .*0 to 255"),
        ((BYTES / 255 - 0.449) / 0.226, None, "image .*-1.987 to 2.438"),
    ],
)
def test_images_of_another_type_are_refused_by_name(image: Any, truth: Any, named: str) -> None:
    side = splits.Side("a", Given(image, truth), (0,), Domain("a", 1, (4, 4)))
    with pytest.raises(DataError, match=f"^k: .*{named}"):
        side.load(0, 0)
    assert replace(side, dataset=Given(torch.zeros(1, 4, 4))).load(0, 0).image.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("image", "known"),
    [
        (BYTES / 250, {}),  # interpolation goes beyond the range by less than half
        (BYTES / 25, {"drawn": {"noise": 5.0}, "truth": torch.zeros(1, 4, 4)}),
        (BYTES[:, 0] / 25, {}),  # physical values of a signal, kept beyond its range
    ],
)
def test_what_a_degradation_or_a_recorder_adds_may_exceed_the_range(image: Tensor, known: dict[str, Any]) -> None:
    side = splits.Side("a", Given(image, **known), (0,), Domain("a", 1, (4,) * (image.ndim - 1)))
    assert torch.equal(side.load(0, 0).image, image)


def test_stored_steps_of_a_signal_are_refused() -> None:
    side = splits.Side("a", Given(BYTES[:, 0]), (0,), Domain("a", 1, (4,)))
    with pytest.raises(DataError, match=r"^k: image .*0 to 255"):
        side.load(0, 0)


def test_three_equal_channels_are_one(spec: Spec, plugins: Plugins) -> None:
    gray = torch.rand(1, 4, 4)
    assert torch.equal(splits._channels(gray.expand(3, 4, 4), 1, "k"), gray)


def test_wrong_dims(spec: Spec, plugins: Plugins) -> None:
    made = spec(data__a={**PLAIN, "size": [16]})
    with pytest.raises(DataError, match=r"train/000\.png: .*1 .*data\.size .*\[16, 16\]"):
        open_splits(made, plugins.parts, verify=lambda line: None)


def test_unreadable_images_are_refused_or_skipped(spec: Spec, plugins: Plugins) -> None:
    a = {**PLAIN, "broken": [1, 4], "test": 3}
    with pytest.raises(DataError) as caught:
        open_splits(spec(data__a=a), plugins.parts, verify=lambda line: None)
    assert str(caught.value) == (
        "data.a: train/001.png: is broken (the first of 2 such files); repair or remove it, "
        "or set data.unreadable: skip"
    )
    made = spec(data__a=a, data__unreadable="skip", data__batch=1)
    splits = open_splits(made, plugins.parts, verify=lambda line: None)
    counts = splits.counts()["splits"]
    assert (counts["train"]["a"]["images"], counts["train"]["a"]["skipped"]) == (4, 2)
    assert (counts["test"]["a"]["images"], counts["test"]["a"]["skipped"]) == (2, 1)
    assert (counts["train"]["b"]["images"], counts["train"]["b"]["skipped"]) == (6, 0)
    assert splits["train", "a"].skipped == ("train/001.png: is broken", "train/004.png: is broken")
    shown = Counter(a.key[0] for ((a, _),) in training_batches(splits, made, 0, 12))
    assert set(shown) == {f"train/00{i}.png" for i in (0, 2, 3, 5)}


def test_all_unreadable_is_refused_even_when_skipping(spec: Spec, plugins: Plugins) -> None:
    made = spec(data__a={**PLAIN, "broken": list(range(6))}, data__unreadable="skip")
    with pytest.raises(DataError, match=r"data\.a: .*6 .*train/000\.png"):
        open_splits(made, plugins.parts, verify=lambda line: None)


def test_an_empty_training_side_is_refused(spec: Spec, plugins: Plugins) -> None:
    with pytest.raises(DataError, match=r"data\.b: .*data\.root"):
        open_splits(spec(data__b={"name": "toy", "side": "b", "count": 0}), plugins.parts)


def test_sides_of_other_classes_are_refused(spec: Spec, plugins: Plugins) -> None:
    made = spec(data__b={"name": "toy", "side": "b", "classes": ["well", "ill"]})
    with pytest.raises(DataError, match=r"data: .*'no', 'yes'.*'well', 'ill'"):
        open_splits(made, plugins.parts)


def test_scoring_is_in_order_and_not_augmented(spec: Spec, plugins: Plugins) -> None:
    a = {**PLAIN, "test": 5, "truth": True}
    made = spec(data__a=a, data__augment={"load": 1.5, "flip": True}, data__size=[8, 8])
    splits = open_splits(made, plugins.parts)
    batches = list(scoring_batches(splits, made, "test", batch=2))
    assert [k for batch in batches for k in batch.key] == [f"test/{i:03d}.png" for i in range(5)]
    assert all(batch.image.shape[1:] == (1, 8, 8) for batch in batches)

    def whole(size: int) -> Tensor:
        return torch.cat([batch.image for batch in scoring_batches(splits, made, "test", batch=size)])

    assert torch.equal(whole(2), whole(5))
    original = splits["test", "a"].dataset.load(2, torch.Generator()).image
    assert torch.equal(whole(5)[2], fit(original, [8, 8], "stretch", antialias=True))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_scoring_keeps_every_mask_whatever_shares_a_batch_with_it(spec: Spec, plugins: Plugins, size: int) -> None:
    parts = [{**PLAIN, "test": 3, "mask": mask, "prefix": f"{mask}-"} for mask in (True, False, True)]
    parts[2]["prefix"] = "last-"
    made = spec(data__a={"name": "join", "datasets": parts})
    batches = list(scoring_batches(open_splits(made, plugins.parts), made, "test", batch=size))
    masked = {key: batch.mask is not None for batch in batches for key in batch.key}
    assert len(masked) == 9
    assert masked == {key: "False" not in key for key in masked}


def test_scoring_draws_by_split_and_key_alone(spec: Spec, plugins: Plugins) -> None:
    toy = {"name": "toy", "side": "a", "count": 4, "val": 4, "test": 4, "fresh": True, "truth": True, "noise": 0.1}

    def noise(split: str, seed: int, positions: list[int] | None = None) -> Tensor:
        one = spec(seed=seed, data__a=toy)
        scored = scoring_batches(open_splits(one, plugins.parts), one, split, positions)
        return torch.cat([batch.image - batch.truth for batch in scored if batch.truth is not None])

    test = noise("test", 0)
    assert torch.equal(test, noise("test", 1)), "test images are the same whatever the seed"
    assert torch.equal(test[[2]], noise("test", 0, [2]))
    steps = [a for a, _ in pairs(spec(data__a=toy), plugins, 0, 2)]
    trained = [one for a in steps if a.truth is not None for one in a.image - a.truth]
    assert trained
    drawn = [*test, *noise("val", 0), *noise("train", 0), *trained]
    alike = [(i, j) for i in range(len(drawn)) for j in range(i) if (drawn[i] - drawn[j]).abs().mean() < 0.05]
    assert not alike


def test_scoring_pairs_bring_their_partner_as_the_truth(spec: Spec, plugins: Plugins) -> None:
    both = {"name": "toy", "test": 3}
    made = spec(data__a={**both, "side": "a"}, data__b={**both, "side": "b"}, data__pairing="key")
    splits = open_splits(made, plugins.parts)
    (batch,) = scoring_batches(splits, made, "test")
    clean = [splits["test", "b"].dataset.load(i, torch.Generator()).image for i in range(3)]
    assert batch.truth is not None
    assert torch.equal(batch.truth, torch.stack(clean))


def test_counts_by_class_and_source(spec: Spec, plugins: Plugins) -> None:
    counts = open_splits(spec(data__a={**PLAIN, "count": 5, "grouped": 2}), plugins.parts).counts()
    assert counts["synthetic"] is False
    assert counts["splits"]["train"]["a"] == {
        "images": 5,
        "unlabelled": 0,
        "groups": 3,
        "ungrouped": 0,
        "skipped": 0,
        "classes": {"no": 3, "yes": 2},
        "sources": {"toy": {"no": 3, "yes": 2}},
    }


def test_pairs_stay_together_when_validation_is_split_off(spec: Spec, plugins: Plugins) -> None:
    made = spec(
        data__a={"name": "toy", "side": "a", "count": 30, "prefix": "x/"},
        data__b={"name": "toy", "side": "b", "count": 30, "prefix": "y/"},
        data__pairing="key",
        data__val=0.4,
        losses=["paired"],
        nets__discriminator=None,
    )
    found = open_splits(made, plugins.parts)
    for split in ("train", "val"):
        stems = [[found[split, side].record(i).key[-7:] for i in range(len(found[split, side]))] for side in ("a", "b")]
        assert stems[0] == stems[1]
        assert stems[0]


def test_groups_in_two_splits_are_found(spec: Spec, plugins: Plugins) -> None:
    made = spec(data__a={"name": "toy", "count": 6, "test": 4, "grouped": 2})
    assert open_splits(made, plugins.parts).shared_groups() == ["p0", "p1"]
    apart = open_splits(spec(data__a={"name": "toy", "count": 6, "grouped": 2}), plugins.parts)
    assert apart.counts()["shared_groups"] == []


def test_a_file_is_read_with_the_axes_of_the_recipe(spec: Spec, plugins: Plugins, tmp_path: Path) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
        for i in range(2):
            np.save(tmp_path / side / f"{i}.npy", np.zeros((12, 64), np.uint8) + i)
    data = json.loads(spec().model_dump_json())
    data["data"] |= {side: {"name": "folder", "path": str(tmp_path / side)} for side in "ab"}
    for size, channels, shape in (([64], 12, (12, 64)), ([12, 64], 1, (1, 12, 64))):
        data["data"] |= {"size": size, "channels": channels}
        splits = open_splits(recipe.resolved(data, "r", plugins), plugins.parts, verify=lambda line: None)
        assert splits["train", "a"].load(0, 0).image.shape == shape


def test_validation_that_comes_to_nothing_or_is_there_already_is_refused(spec: Spec, plugins: Plugins) -> None:
    few = {"name": "toy", "count": 2}
    with pytest.raises(DataError, match=r"data\.val: 0\.01 .* 2 .*data\.a"):
        opened(spec(data__a=few, data__b={**few, "side": "b"}, data__val=0.01), plugins.parts)
    own = {"name": "toy", "count": 20, "val": 3}
    with pytest.raises(DataError, match=r"data\.val: data\.a .*3 "):
        opened(spec(data__a=own, data__b={**few, "side": "b"}, data__val=0.5), plugins.parts)


def test_changed_images_stop_resume_and_warn_at_scoring(spec: Spec, plugins: Plugins, tmp_path: Path) -> None:
    options = {"name": "toy", "test": 2}
    run = build(spec(data__a=options), plugins, tmp_path / "run", verify=lambda line: None)
    assert run.images.changed == ""
    run.begin("test")
    more = spec(data__a={**options, "count": 7, "test": 1})
    message = (
        "the images have changed since the run began: 1 added, such as train/006.png; 1 removed, such as test/001.png"
    )
    assert build(more, plugins, tmp_path / "run").images.changed == message
    with pytest.raises(DataError, match=f"{message}. Restore them, or start a new run"):
        build(more, plugins, tmp_path / "run", verify=lambda line: None)


@pytest.mark.parametrize(("alike", "pairing"), [(True, "random"), (False, "random"), (None, "random")])
def test_pairs_are_changed_by_the_same_draws_where_alike_is_true(
    spec: Spec, plugins: Plugins, alike: bool | None, pairing: str
) -> None:
    side = {"name": "toy", "side": "b", "count": 1}
    made = spec(
        data__a=side,
        data__b=side,
        data__pairing=pairing,
        data__augment={"load": 1.5, "flip": True, "rotate": 20, "alike": alike},
    )
    shown = pairs(made, plugins, 0, 4)
    assert all(torch.equal(a.image, b.image) for a, b in shown) is bool(alike)
    assert not torch.equal(shown[0][0].image, shown[1][0].image)


def test_a_carriage_return_in_a_name_makes_no_row_of_its_own(plugins: Plugins, spec: Spec, tmp_path: Path) -> None:
    for side in "ab":
        for name in ("1\r2.png", "3.png"):
            write_image(tmp_path / side / "train" / name, torch.zeros(1, 16, 16).numpy())
    data = {f"data__{side}": {"name": "folder", "path": str(tmp_path / side)} for side in "ab"}
    found = opened(spec(**data), plugins.parts)
    rows = list(csv.DictReader(io.StringIO(found.listing(), newline="")))
    assert [row["path"] for row in rows] == ["train/1\r2.png", "train/3.png"] * 2
    write_text(tmp_path / "splits.csv", found.listing())
    assert splits.changes(tmp_path, found) == ""


@pytest.mark.parametrize(
    ("records", "named"),
    [
        ([Record("x"), Record("y"), Record("x")], "x: is the key of two images"),
        ([Record(3)], "3: the key of a record must be text; got 3"),  # type: ignore[arg-type]
        ([Record("x", group=3)], "x: the group of a record must be text; got 3"),  # type: ignore[arg-type]
        ([Record("x", source=0.5)], "x: the source of a record must be text; got 0.5"),  # type: ignore[arg-type]
        ([("x", 1)], r"must each be a Record; got \('x', 1\)"),
    ],
)
def test_records_that_no_table_could_hold_are_refused(
    spec: Spec, plugins: Plugins, records: list[Any], named: str
) -> None:
    def listed(root: Path | None, split: str) -> Dataset:
        given = Given(torch.zeros(1, 16, 16))
        given.records = records
        return given

    plugins.parts.discard("dataset", "listed")
    plugins.parts.add("dataset", "listed", listed, owner="test")
    with pytest.raises(DataError, match=rf"^data\.a: .*{named}"):
        splits.opened(spec(data__a="listed"), plugins.parts)


def test_what_is_no_sample_is_refused_by_name() -> None:
    given = Given(torch.zeros(1, 4, 4))
    given.sample = (torch.zeros(1, 4, 4), None)  # type: ignore[assignment]
    with pytest.raises(DataError, match=r"^k: load must return a Sample; its dataset gives a tuple"):
        splits.Side("a", given, (0,), Domain("a", 1, (4, 4))).load(0, 0)


def test_a_truth_of_another_size_is_refused_and_not_stretched(spec: Spec, plugins: Plugins) -> None:
    plugins.parts.discard("dataset", "smaller")
    given = Given(torch.zeros(1, 16, 16), torch.zeros(1, 16, 15))
    plugins.parts.add("dataset", "smaller", lambda root, split: given, owner="test")
    with pytest.raises(DataError, match=r"^k: image and truth must agree in size.* 16x16 and 16x15"):
        pairs(spec(data__a="smaller", data__b={"name": "toy", "side": "b", "classes": []}), plugins, 0, 1)
