"""A run on records from recipe to restored record: trained, scored, restored in windows, and written back as WFDB."""

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import wfdb
import wfdb.processing
from restorekit_signals.files.signal_format import write_example
from torch import Tensor, nn

from restorekit import Domain, Generator, Stepped, hookimpl
from restorekit.discovery import plugins
from restorekit.discovery.installed import find
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.reports.report import report
from restorekit.restoring.loading import load
from restorekit.restoring.restore import Row, restore_files
from restorekit.restoring.windows import starts
from restorekit.runs import build
from restorekit.training.train import train

RATE = 128
FORMAT = "{name: signal, rate: 128, range: [-2, 2], leads: [MLII]}"
RECIPE = """
name: hearts
data:
  root: ROOT
  size: [256]
  channels: 1
  a:
    name: degraded
    dataset:
      {name: records, path: ., format: FORMAT, length: 256, train: {good: [[0, 0.3]]}, test: {good: [[0.3, 0.6]]}}
    degradation: {name: baseline_wander, snr: [0, 0]}
  b: {name: records, path: ., format: FORMAT, length: 256, train: {good: [[0, 0.3]]}}
  batch: 2
nets:
  generator: GENERATOR
  discriminator: {name: ecg_patch, width: 2, strides: [2, 2]}
losses: [lsgan, {name: cycle, weight: 10}]
train: {steps: 2, log_every: 1}
evaluate:
  metrics: [snr, rmse, {name: r_peak_f1, reference: annotations}]
  resamples: 20
loggers: [samples]
"""


class Scaled(Generator):
    """Hands its image through, times a weight that starts at 1; it must see what training saw."""

    features = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[int] = []

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(image.shape[-1])
        return image, image

    def decode(self, state: Tensor) -> Tensor:
        return self.weight * state


def scaled(source: Domain, target: Domain) -> Generator:
    """The unchanged image."""
    return Scaled()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    own = Plugins([plugin for plugin in find() if plugin.distribution == "restorekit-signals"])
    own.load_builtins()
    module = ModuleType("toy")
    module.register_parts = hookimpl(lambda add: add("generator", "scaled", scaled))  # type: ignore[attr-defined]
    own.register("toy", module)
    monkeypatch.setattr(plugins, "load", lambda: own)
    return own


@pytest.fixture
def begun(known: Plugins, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a run of the recipe with a generator, begun."""
    write_example(tmp_path)

    def begin(generator: str, *sets: str) -> Any:
        text = RECIPE.replace("ROOT", str(tmp_path)).replace("GENERATOR", generator).replace("FORMAT", FORMAT)
        (tmp_path / "recipe.yaml").write_text(text)
        spec = recipe.load(tmp_path / "recipe.yaml", known, sets=sets)
        run = build.build(spec, known, tmp_path / "run", verify=lambda line: None, allow_leaks=True)
        run.begin("test")
        return run

    return begin


def rows(folder: Path, inputs: list[Path], out: Path, **options: Any) -> list[Row]:
    return list(restore_files(load(folder), inputs, out, **options))


def put(path: Path, seconds: float, rate: int = RATE, level: float = 1.0) -> Path:
    times = np.arange(round(seconds * rate)) / rate
    values = level * np.sin(2 * np.pi * times)[:, None]
    options = {"fmt": ["16"], "adc_gain": [200.0], "baseline": [0], "write_dir": str(path.parent)}
    wfdb.wrsamp(path.name, rate, ["mV"], ["MLII"], p_signal=values, **options)
    return path.with_suffix(".hea")


def test_records_train_are_scored_and_leak_where_one_person_is_split(begun: Callable[..., Any]) -> None:
    run = begun("{name: ecg_unet, width: 2, depth: 3}")
    assert run.images.checkup.leaks == ("patient good stands in train and test (a: good_00000000, a: good_00002304)",)
    steps = [event.step for event in train(run) if isinstance(event, Stepped)]
    assert steps == [1, 2]
    found = evaluate(run)["metrics"]
    assert found["snr"]["degraded"]["value"] == pytest.approx(0, abs=0.01), "as it was degraded"
    assert found["rmse"]["degraded"]["value"] > 0
    assert found["r_peak_f1"]["degraded"]["n"] == run.images.sizes["test"] == 9


def test_the_kept_annotations_find_the_beats_of_clean_windows(begun: Callable[..., Any]) -> None:
    run = begun("scaled")
    run.save()
    metric = run.metrics["r_peak_f1"]
    whole = [metric.measure(batch.truth, None, batch) for batch in run.images.scoring("test")]
    assert metric.reduce(np.concatenate(whole)) > 0.9


def test_a_whole_record_is_restored_in_windows_and_is_the_same_where_nothing_is_changed(
    begun: Callable[..., Any], tmp_path: Path
) -> None:
    run = begun("scaled")
    run.save()
    restorer = load(run.folder)
    (row,) = restore_files(restorer, [tmp_path / "good"], tmp_path / "out")
    assert (row.error, row.note) == ("", "")
    assert Path(row.written) == tmp_path / "out/good.hea"
    was, now = (wfdb.rdrecord(str(place / "good"), physical=False) for place in (tmp_path, tmp_path / "out"))
    np.testing.assert_array_equal(now.d_signal[:, 0], was.d_signal[:, 0])
    assert (now.sig_name, now.units, now.adc_gain, now.fs) == (["MLII"], ["mV"], [200.0], RATE)
    assert (tmp_path / "out/good.atr").read_bytes() == (tmp_path / "good.atr").read_bytes()
    generator: Any = restorer.restorer().net.generator
    assert {size for size in generator.seen if size != 64} == {256}, "windows of training; 64 is the probe of memory"
    assert len(generator.seen) > 5120 / 256


def test_millivolts_are_those_that_the_network_gave(begun: Callable[..., Any], tmp_path: Path) -> None:
    run = begun("scaled")
    with torch.no_grad():
        run.nets.ab.generator.weight.fill_(0.5)
    run.save()
    rows(run.folder, [tmp_path / "good"], tmp_path / "out")
    was, now = (wfdb.rdrecord(str(place / "good")) for place in (tmp_path, tmp_path / "out"))
    np.testing.assert_allclose(now.p_signal[:, 0], was.p_signal[:, 0] / 2, atol=0.5 / 200 + 1e-6)
    rows(run.folder, [tmp_path / "good"], tmp_path / "twice", times=2)
    twice = wfdb.rdrecord(str(tmp_path / "twice/good"))
    np.testing.assert_allclose(twice.p_signal[:, 0], was.p_signal[:, 0] / 4, atol=0.5 / 200 + 1e-6)


def test_windows_join_without_steps(begun: Callable[..., Any], tmp_path: Path) -> None:
    """A network that sees each window otherwise, as instance norms make it, still leaves no step where two meet."""
    run = begun("{name: ecg_unet, width: 4, depth: 3}")
    run.save()
    source = put(tmp_path / "long", 120)
    rows(run.folder, [source], tmp_path / "out")
    restored = wfdb.rdrecord(str(tmp_path / "out/long")).p_signal[:, 0]
    bends = np.abs(np.diff(restored, 2))
    begins = starts(len(restored), 256, 64)[1:]
    joints = np.zeros(len(bends), bool)
    for at in begins:
        joints[at - 2 : at + 64] = True
    assert joints.any()
    assert not joints.all()
    assert np.sqrt(np.mean(bends[joints] ** 2)) < 1.5 * np.sqrt(np.mean(bends[~joints] ** 2))


def test_one_bad_record_does_not_stop_the_rest(begun: Callable[..., Any], tmp_path: Path) -> None:
    run = begun("scaled")
    run.save()
    home = tmp_path / "batch"
    home.mkdir()
    put(home / "a_good", 5)
    put(home / "b_no_signals", 5).with_suffix(".dat").unlink()
    put(home / "c_wide", 5, level=3)
    put(home / "d_marked", 5)
    wfdb.wrann("d_marked", "atr", np.array([9999]), ["N"], write_dir=str(home))
    put(home / "e_flat", 5, level=0)
    put(home / "f_other_rate", 5, rate=250)
    (home / "g.csv").write_text("MLII\n" + "0.5\n0.25\n" * 300)
    (home / "h.edf").write_text("nothing")
    put(home / "i_other_lead", 5)
    text = (home / "i_other_lead.hea").read_text().replace("MLII", "V5")
    (home / "i_other_lead.hea").write_text(text)
    found = {Path(row.file).stem: row for row in rows(run.folder, [home], tmp_path / "out")}
    assert {name for name, row in found.items() if not row.error} == {"a_good", "f_other_rate", "g"}
    for name, named in {
        "b_no_signals": "names the signal file b_no_signals.dat, which is not there",
        "c_wide": "outside its range of -2 to 2",
        "d_marked": "marks sample 9999, and the record ends at 640",
        "e_flat": "lead MLII is flat",
        "h": "cannot be read as EDF",
        "i_other_lead": "has no lead 'MLII'; its leads are V5",
    }.items():
        assert named in found[name].error
        assert "\n" not in found[name].error
    assert found["f_other_rate"].note == "resampled from 250 to 128 Hz, restored, and back"
    assert found["g"].note == ""
    assert (tmp_path / "out/g.csv").read_text() == (home / "g.csv").read_text()
    with (tmp_path / "out/restored.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 9
    assert sorted(path.name for path in (tmp_path / "out").glob("*.hea")) == ["a_good.hea", "f_other_rate.hea"]
    assert wfdb.rdheader(str(tmp_path / "out/f_other_rate")).sig_len == 1250


def test_beat_scores_are_reported_for_input_restored_and_good_signals(begun: Callable[..., Any]) -> None:
    run = begun("scaled")
    run.save()
    metrics = evaluate(run)["metrics"]
    assert metrics["r_peak_f1"]["gain"]["value"] == 0
    assert "good" not in metrics["r_peak_f1"], "counts of beats are no number that signals could be nearer to"
    text = report(run.folder).read_text()
    assert "It cannot be mark" not in text


def test_a_record_that_is_called_as_the_table_is_refused(begun: Callable[..., Any], tmp_path: Path) -> None:
    run = begun("scaled")
    run.save()
    source = tmp_path / "restored.csv"
    source.write_text("MLII\n" + "0.5\n0.25\n" * 300)
    (row,) = rows(run.folder, [source], tmp_path / "out")
    assert row.error.startswith(str(source))


def test_a_range_that_is_given_goes_before_that_of_the_recipe(begun: Callable[..., Any], tmp_path: Path) -> None:
    run = begun("scaled")
    run.save()
    source = put(tmp_path / "wide", 5, level=3)
    (row,) = rows(run.folder, [source], tmp_path / "out", range=(-4, 4))
    assert row.error == ""
    was, now = (wfdb.rdrecord(str(place / "wide")).p_signal for place in (tmp_path, tmp_path / "out"))
    np.testing.assert_allclose(now, was, atol=1e-6)


def test_windows_that_cannot_be_used_are_left_out_and_counted(begun: Callable[..., Any], tmp_path: Path) -> None:
    values = np.sin(np.arange(5120) / 5)[:, None]
    values[1000:1010] = np.nan
    options = {"fmt": ["16"], "adc_gain": [200.0], "baseline": [0], "write_dir": str(tmp_path)}
    wfdb.wrsamp("gaps", RATE, ["mV"], ["MLII"], p_signal=values, **options)
    sets = ["data.b.train={gaps: [[0, 0.3]]}", "data.unreadable=skip"]
    run = begun("scaled", *sets)
    assert run.images.counts["splits"]["train"]["b"]["images"] == 8
    assert run.images.counts["splits"]["train"]["b"]["skipped"] == 1
    assert run.images.checkup.unreadable == ("gaps at 6.0 s: the window holds values that are not known",)


def test_beats_are_classified_in_windows_of_their_own(begun: Callable[..., Any]) -> None:
    sets = [
        "data.a.dataset.beats=[N, V]",
        "data.b.beats=[N, V]",
        "nets.head=classify",
        "losses=[lsgan, {name: cycle, weight: 10}, task]",
        "evaluate.metrics=[veb_sensitivity, veb_precision, accuracy]",
    ]
    run = begun("{name: ecg_unet, width: 2, depth: 3}", *sets)
    assert run.images.domains["a"].classes == ("N", "V")
    assert run.images.sizes == {"train": 18, "val": 0, "test": 18}
    list(train(run))
    found = evaluate(run)
    assert found["images"] == 18, "an image a beat"
    assert found["metrics"]["veb_sensitivity"]["score"] is not None


# The report


def test_traces_are_the_windows_in_millivolts_with_the_beats_that_xqrs_finds(begun: Any, tmp_path: Path) -> None:
    run = begun("scaled")
    list(train(run))
    evaluate(run)
    found = json.loads((run.folder / "scores" / "pictures" / "traces.json").read_text())
    record, marks = wfdb.rdrecord(str(tmp_path / "good")), wfdb.rdann(str(tmp_path / "good"), "atr")
    degraded_of = {}
    for batch in run.images.scoring("test"):
        degraded_of |= {key: 2 * image[0].double().numpy() for key, image in zip(batch.key, batch.image, strict=True)}
    assert found["metric"] == "snr"
    for signal in found["signals"]:
        start = int(signal["key"].rpartition("_")[2])
        assert (signal["unit"], signal["names"], signal["spacing"]) == ("mV", ["MLII"], 1 / RATE)
        truth, degraded = record.p_signal[start : start + 256, 0], degraded_of[signal["key"]]
        np.testing.assert_allclose(signal["values"]["truth"][0], truth, atol=1e-4)
        np.testing.assert_allclose(signal["values"]["degraded"][0], degraded, atol=1e-4)
        (mark,) = signal["marks"]
        assert mark["by"] == ["r_peak_f1"]
        for column, values in (("degraded", degraded), ("truth", truth)):
            seen = dict(mark["on"][column])
            inside = marks.sample[(marks.sample >= start + 3) & (marks.sample < start + 253)] - start
            reference = [place for place in seen.pop("reference") if 3 <= place < 253]
            assert reference == inside.tolist(), "those that people marked"
            places = sorted(place for name, of in seen.items() if name != "beats missed" for place in of)
            assert places == wfdb.processing.xqrs_detect(values, RATE, verbose=False).tolist(), column
    text = report(run.folder).read_text("utf-8")
    drawn = base64.b64decode(text.partition("data:image/svg+xml;base64,")[2].partition('"')[0]).decode()
    for words in ("MLII (mV)", "time (s)", "reference", "beats found"):
        assert f"<!-- {words} -->" in drawn
    assert "Marks by r peak F1, degraded / restored / truth: beats found" in text
