"""Loggers: files of a resumed run are those of one that never stopped; pictures in 1, 2 and 3 dimensions."""

import csv as reader
import json
import math
import sys

import numpy as np
import pytest
import torch

from restorekit import DataError, Finished, RecipeError, Sampled, Saved, Scored, Started, Stepped
from restorekit.builtin import loggers, trackers
from restorekit.io.images import read_image
from restorekit.parts.registry import Parts


def make(name, folder, **options):
    parts = Parts()
    for home in (loggers, trackers):
        home.register_parts(lambda *part: parts.add(*part, owner="builtin"))
    return parts.resolve("logger", {"name": name, **options})(folder)


def run(folder, first, last, scores=("psnr",)):
    """Tell a logger steps first + 1 to last of a run of 12 that validates every 4."""
    log = make("csv", folder)
    log(Started(first, 12, 4, ("lsgan", "cycle"), scores))
    for step in range(first + 1, last + 1):
        log(Stepped(step, step // 4, 2e-4 / step, {"cycle": 1 / step, "lsgan": torch.rand(1).item() * 0 + step / 7}))
        if step % 4 == 0:
            log(Scored(step, {"psnr": math.inf if step == 8 else 20 / step}))
            log(Saved(step, folder / "last"))
    if last == 12:
        log(Finished(12))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_csv_has_a_row_a_step_and_a_row_a_validation(tmp_path):
    run(tmp_path, 0, 12)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(reader.DictReader(file))
    assert [*rows[0]] == ["step", "epoch", "rate", "lsgan", "cycle"]
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert float(rows[2]["cycle"]) == pytest.approx(1 / 3, rel=1e-8)
    assert (tmp_path / "validation.csv").read_text() == "step,psnr\n4,5\n8,inf\n12,1.66666667\n"


def test_csv_without_validation_writes_no_validation_file(tmp_path):
    run(tmp_path, 0, 12, scores=())
    assert [*files(tmp_path)] == ["metrics.csv"]


@pytest.mark.parametrize(("killed", "torn"), [(4, ""), (5, "6,1,0.00"), (7, "9"), (8, ""), (11, "12,2,0.1,0.2")])
def test_a_killed_and_resumed_run_leaves_the_same_bytes(tmp_path, killed, torn):
    run(tmp_path / "whole", 0, 12)
    run(tmp_path / "killed", 0, killed)
    with (tmp_path / "killed" / "metrics.csv").open("a") as file:
        file.write(torn)
    run(tmp_path / "killed", killed // 4 * 4, 12)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_row_is_flushed_at_its_event(tmp_path):
    run(tmp_path, 0, 5)
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 6


def test_a_new_run_starts_new_files(tmp_path):
    run(tmp_path, 0, 12)
    before = files(tmp_path)
    run(tmp_path, 0, 12)
    assert files(tmp_path) == before


def test_resuming_on_other_columns_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,epoch,rate,other\n1,0,1,1\n")
    with pytest.raises(DataError, match="columns"):
        run(tmp_path, 4, 12)
    assert "other" in (tmp_path / "metrics.csv").read_text()


def test_resuming_without_the_files_writes_new_ones(tmp_path):
    run(tmp_path, 8, 12)
    assert (tmp_path / "metrics.csv").read_text().split("\n")[1].startswith("9,")


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_purges_the_steps_that_a_resumed_run_takes_again(tmp_path):
    for first, last in [(0, 3), (2, 4)]:
        log = make("tensorboard", tmp_path)
        log(Started(first, 4, 2, ("cycle",), ("psnr",)))
        for step in range(first + 1, last + 1):
            log(Stepped(step, 0, 0.5, {"cycle": float(first)}))
        log(Scored(last, {"psnr": 20.0}))
        log(Finished(last))
    found = scalars(tmp_path)
    assert found["loss/cycle"] == [(1, 0), (2, 0), (3, 2), (4, 2)]
    assert found["rate"][0] == (1, 0.5)
    assert found["validation/psnr"] == [(4, 20)]


def test_missing_tensorboard_error_names_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RecipeError, match=r"pip install 'restorekit\[tensorboard\]'") as caught:
        make("tensorboard", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(100,), (20, 30), (300, 200), (6, 12, 10)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_draws_a_grid(tmp_path, size, channels):
    log = make("samples", tmp_path, pixels=64)
    image = torch.linspace(-1, 1, 4 * channels * math.prod(size)).reshape(4, channels, *size)
    log(Started(0, 200, 10, ("cycle",), ()))
    log(
        Sampled(
            100, {"degraded": image, "restored": image * math.nan, "degraded again": image[:1]}, ("x", "y", "z", "w")
        )
    )
    grid, kept = read_image(tmp_path / "samples" / "step_00000100.png")
    assert kept.channels == 3
    assert grid.shape[2] > 3 * 32
    assert grid.min() < -0.9
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["step_00000100.png"]


def test_samples_keeps_the_pixels_of_small_images(tmp_path):
    log = make("samples", tmp_path, pixels=32)
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    log(Sampled(1, {"degraded": image}))
    grid, _ = read_image(tmp_path / "samples" / "step_00000001.png")
    top, left = 2 * 22 + 8, 8
    shown = grid[:, top : top + 32 : 2, left : left + 32 : 2]
    assert np.abs(shown - image[0].numpy()).max() <= 1 / 255 + 1e-6


def test_samples_say_when_the_images_are_synthetic(tmp_path):
    titles = []
    for synthetic in (False, True):
        log = make("samples", tmp_path / str(synthetic))
        log(Started(0, 200, 10, (), (), synthetic=synthetic))
        log(Sampled(1, {"degraded": torch.zeros(1, 1, 256, 256)}))
        grid, _ = read_image(tmp_path / str(synthetic) / "samples" / "step_00000001.png")
        titles.append((grid[:, :22] < 0).sum().item())
    assert titles[1] > 1.5 * titles[0]


RECIPE = {"name": "toy", "train": {"steps": 12, "ema": None}, "losses": [{"name": "cycle"}], "paper": {}}


def track(name, folder, first, last):
    """Send a logger steps first + 1 to last of a run of 12."""
    log = make(name, folder)
    log(Started(first, 12, 4, ("cycle",), ("psnr",), recipe=RECIPE))
    for step in range(first + 1, last + 1):
        log(Stepped(step, 0, 1e-3 / step, {"cycle": math.nan if step == 2 else 1 / step}))
        if step % 4 == 0:
            log(Scored(step, {"psnr": 20.0 + step}))
    if last == 12:
        log(Finished(12))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_logs_recipe_and_values_and_goes_on_with_its_run(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="the extra mlflow is not installed")
    track("mlflow", tmp_path / "run", 0, 8)
    track("mlflow", tmp_path / "run", 6, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "restorekit"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.steps"] == "12"
    assert run.data.params["train.ema"] == "None"
    losses = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "loss/cycle")}
    assert {**losses, 2: 0} == {**{step: 1 / step for step in range(1, 13)}, 2: 0}
    assert math.isnan(losses[2])
    assert run.data.metrics["validation/psnr"] == 32
    assert run.data.metrics["rate"] == 1e-3 / 12
    kept = sorted(path.name for path in (tmp_path / "run" / "mlflow").rglob("recipe_*.json"))
    assert kept == ["recipe_00000000.json", "recipe_00000006.json"]


def leveldb_records(data):
    """Yield the records of a log in LevelDB's format, whose blocks have 32 KiB; 7 bytes of wandb's own come first."""
    at, parts = 7, []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


@pytest.mark.filterwarnings("ignore")
def test_wandb_logs_offline_and_goes_on_with_its_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    track("wandb", tmp_path / "run", 0, 8)
    track("wandb", tmp_path / "run", 6, 12)
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert len({path.name for path in files}) == 1, "one run"
    seen = {}
    for path in files:
        for data in leveldb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if "loss/cycle" in row:
                seen[int(row["_step"])] = row
    assert sorted(seen) == list(range(1, 13))
    assert seen[12]["loss/cycle"] == pytest.approx(1 / 12)
    assert seen[12]["validation/psnr"] == 32


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_an_absent_tracker_is_named_with_its_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=rf"pip install 'restorekit\[{name}\]'") as caught:
        make(name, tmp_path)
    assert "\n" not in str(caught.value)
