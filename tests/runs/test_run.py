"""Checkpoints: whole or not there, refused when they are not ours, and a resumed run is the run that never stopped."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from restorekit import CheckpointError, RecipeError, StepDone, TrainingError
from restorekit.discovery.plugins import Plugins
from restorekit.io.files import StepTable, replacing, write_text
from restorekit.runs import checkpoint as stage
from restorekit.runs.checkpoint import checkpoints, kept_checkpoint, read_checkpoint
from restorekit.runs.engine import Engine
from restorekit.runs.run import Run
from restorekit.training.train import train
from tests.disks import small_disk

Build = Callable[..., Run]
FULL: dict[str, Any] = {
    "data__a": {"name": "toy", "fresh": True, "val": 3, "truth": True},
    "data__augment": {"load": 1.25, "flip": True},
    "losses": ["lsgan", {"name": "cycle", "weight": 10}, {"name": "task", "weight": 0.1}],
    "nets__head": {"name": "classify", "pool": "avg"},
    "evaluate": {"metrics": ["psnr", "accuracy"]},
    "train": {
        "steps": 12,
        "pool": 3,
        "schedule": {"name": "linear", "start": 0.5},
        "log_every": 1,
        "save_every": 5,
        "score_every": 2,
        "sample_every": 100,
        "optimizer": {"name": "adam_tf", "lr": 2e-3, "betas": [0.5, 0.999], "eps": 1e-7},
    },
}


def go(run: Run, plugins: Plugins, stop: int | None = None) -> Run:
    """Train with the CSV logger; stop at a step without saving it."""
    log = plugins.parts.resolve("logger", "csv")(run.folder)
    for event in train(run):
        log(event)
        if isinstance(event, StepDone) and event.step == stop:
            break
    return run


def same_checkpoints(one: Path, other: Path) -> None:
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def test_a_resumed_run_is_the_run_that_never_stopped(build_run: Build, plugins: Plugins) -> None:
    """Stopped before the first checkpoint, at one, and after the second."""
    straight = go(build_run(folder="straight", **FULL), plugins)
    for stop, resumed_at in ((1, 0), (5, 5), (11, 10)):
        folder = f"stopped at {stop}"
        go(build_run(folder=folder, **FULL), plugins, stop)
        again = build_run(folder=folder, **FULL)
        found = checkpoints(again.folder)
        if found:
            again.resume(found[-1])
        assert again.step == resumed_at
        go(again, plugins)
        assert again.selection.best == straight.selection.best
        for one, other in zip(straight.pools, again.pools, strict=True):
            assert len(one.images) == 3
            assert all(torch.equal(x, y) for x, y in zip(one.images, other.images, strict=True))
        same_checkpoints(checkpoints(straight.folder)[-1], checkpoints(again.folder)[-1])
        for name in ("metrics.csv", "validation.csv"):
            assert (straight.folder / name).read_text() == (again.folder / name).read_text(), folder


def test_a_checkpoint_tells_everything_of_itself(build_run: Build, plugins: Plugins) -> None:
    run = go(build_run(**FULL), plugins)
    state, tensors = read_checkpoint(checkpoints(run.folder)[-1])
    assert (state["format"], state["step"], state["steps"], state["best"]) == (1, 12, 12, run.selection.best)
    assert state["domains"]["a"] == {
        "name": "a",
        "channels": 1,
        "size": [16, 16],
        "task": {"kind": "class", "names": ["no", "yes"]},
        "counts": [3, 3],
        "spacing": None,
        "bits": None,
    }
    assert state["recipe"] == json.loads(run.recipe.model_dump_json())
    assert all(torch.equal(value, tensors["nets"][name]) for name, value in run.nets.state_dict().items())
    assert {name.partition("/")[0] for name in tensors["optimisers"]} == {"generator", "discriminator"}
    assert {name.rpartition("/")[2] for name in tensors["optimisers"]} == {"step", "exp_avg", "exp_avg_sq"}
    assert set(tensors["pools"]) == {f"{i}/{n}" for i in (0, 1) for n in range(3)}


def test_a_checkpoint_holds_no_pickle(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build_run()
    run.step = 1
    path = run.save()
    assert {p.suffix for p in path.iterdir()} == {".json", ".safetensors"}
    for file in path.glob("*.safetensors"):
        load_file(file)
    json.loads((path / "state.json").read_text())

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a checkpoint must not be unpickled")

    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"):
        monkeypatch.setattr(name, refuse)
    build_run().resume(path)


def test_who_may_read_a_run_may_read_its_weights(saved: Path) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in saved.iterdir()}
    assert "nets.safetensors" in modes
    assert set(modes.values()) == {modes["state.json"]}


def test_the_last_two_and_the_best_are_kept(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build_run(**{**FULL, "train": {**FULL["train"], "steps": 6, "save_every": 1, "score_every": 1}})
    values = iter([1.0, 3.0, 2.0, float("nan"), 2.5, 0.0])
    monkeypatch.setattr("restorekit.training.train.score", lambda run, split: {"psnr": next(values), "accuracy": 0.5})
    list(train(run))
    assert run.selection.best == {"score": "psnr", "value": 3.0, "step": 2}
    assert [path.name for path in checkpoints(run.folder)] == [f"step_00000000{n}" for n in (2, 5, 6)]
    assert kept_checkpoint(run.folder, "last").name == "step_000000006"
    assert kept_checkpoint(run.folder, "best").name == "step_000000002"


def test_no_checkpoint_and_nothing_scored(build_run: Build) -> None:
    run = build_run()
    with pytest.raises(CheckpointError, match="restorekit resume"):
        kept_checkpoint(run.folder, "last")
    run.step = 1
    run.save()
    with pytest.raises(CheckpointError, match=r"train\.keep"):
        kept_checkpoint(run.folder, "best")


@pytest.fixture
def saved(build_run: Build) -> Path:
    run = build_run()
    run.step = 2
    return run.save()


def one_line(path: Path, run: Run) -> str:
    """Return the message of a refused checkpoint; the run must be as it was."""
    before = {name: value.clone() for name, value in run.nets.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        run.resume(path)
    assert run.step == 0
    assert all(torch.equal(value, before[name]) for name, value in run.nets.state_dict().items())
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_damage_is_noticed(build_run: Build, saved: Path) -> None:
    file = saved / "nets.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    hint = f"remove {saved}, and restorekit resume goes on from the one before"
    assert one_line(saved, build_run()).endswith(f"is missing or damaged; {hint}")


@pytest.mark.parametrize("name", ["nets.safetensors", "optimisers.safetensors", "pools.safetensors"])
def test_a_missing_file_is_noticed(build_run: Build, saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert one_line(saved, build_run()).startswith(f"{saved / name}: is missing or damaged")


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"format": 1}'])
def test_a_state_that_is_none(build_run: Build, saved: Path, text: str | None) -> None:
    file = saved / "state.json"
    file.unlink() if text is None else file.write_text(text)
    assert "is no checkpoint" in one_line(saved, build_run())


def test_another_format_is_refused(build_run: Build, saved: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    (saved / "state.json").write_text(json.dumps({**state, "format": 2, "restorekit": "9.1"}))
    assert one_line(saved, build_run()) == (
        f"{saved}: format 2, written by restorekit 9.1; this version reads format 1"
    )


def test_a_lower_length_is_refused(build_run: Build, saved: Path) -> None:
    text = one_line(saved, build_run(train__steps=3))
    assert text.startswith(f"{saved}: train.steps ")
    assert text.endswith("it had 4 steps, got 3")


def test_other_networks_are_refused(build_run: Build, saved: Path) -> None:
    other = build_run(nets__generator={"name": "resnet", "width": 8, "blocks": 1, "downs": 1})
    assert "ab.generator.decoder" in one_line(saved, other)


def test_saving_twice_is_saving_once(build_run: Build, saved: Path) -> None:
    run = build_run()
    run.step = 2
    stamp = (saved / "state.json").stat().st_mtime_ns
    assert run.save() == saved
    assert (saved / "state.json").stat().st_mtime_ns == stamp


def test_a_torn_folder_is_no_checkpoint_and_goes(build_run: Build, saved: Path) -> None:
    torn = saved.parent / ".writing-3"
    shutil.copytree(saved, torn)
    run = build_run()
    assert checkpoints(run.folder) == [saved]
    run.resume(saved)
    assert not torn.exists()
    assert run.step == 2


def refused(run: Run, saved: Path) -> str:
    """Return the message when step 3 cannot be saved; what was saved before must stay, and nothing torn."""
    run.step = 3
    with pytest.raises(TrainingError) as caught:
        run.save()
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    read_checkpoint(saved)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{saved.parent / 'step_000000003'}: cannot be written (")
    assert text.endswith(f"the last good checkpoint is {saved}. Make room, then: restorekit resume {run.folder}")
    return text


def test_a_full_disk_leaves_what_was_saved(build_run: Build, saved: Path) -> None:
    with small_disk(2000):
        refused(build_run(), saved)


@pytest.mark.parametrize("name", ["save_file", "os.replace", "_sync", "write_text"])
def test_a_full_disk_at_any_moment(build_run: Build, saved: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = build_run()
    with monkeypatch.context() as patched:
        patched.setattr(f"restorekit.runs.checkpoint.{name}", full)
        if name == "_sync":  # the last thing to fail: the folder itself stands by then
            patched.setattr(stage, "_sync", lambda path: full() if path.is_file() else None)
        assert "No space left on device" in refused(run, saved)
    assert run.save().name == "step_000000003", "with room again, it goes on"


def test_a_text_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with small_disk(1000), pytest.raises(OSError, match="large") as caught:
        write_text(path, "x" * 5000)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_error_without_a_number_keeps_its_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^the encoder cannot$"), replacing(tmp_path / "a.png"):
        raise OSError("the encoder cannot")


def test_a_row_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    table = StepTable(tmp_path / "a.csv", ("step", "value"), 0)
    table.add(1, [0.5])
    with small_disk(len("step,value\n1,0.5\n2,0")), pytest.raises(OSError, match="large") as caught:
        table.add(2, [0.25])
    assert caught.value.filename == str(table.path)
    assert table.path.read_text() == "step,value\n1,0.5\n"
    table.add(2, [0.25])
    assert table.path.read_text() == "step,value\n1,0.5\n2,0.25\n"


def test_precision_is_said_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this is of machines without a GPU")
    with pytest.raises(RecipeError, match=r"fp16 .*cpu; .*bf16, fp32 or auto"):
        Engine("fp16")
    assert (Engine("fp32").precision, Engine("fp32").notes) == ("fp32", [])
    monkeypatch.setattr("restorekit.runs.engine._has_bf16", lambda device: False)
    auto = Engine("auto")
    assert auto.precision == "fp32"
    assert auto.notes == ["train.precision auto: fp32 (the processor has no bf16 arithmetic)"]
    assert Engine("bf16").notes == ["train.precision bf16: this processor only emulates it; expect it to be slow"]
    monkeypatch.setattr("restorekit.runs.engine._has_bf16", lambda device: True)
    auto = Engine("auto")
    assert (auto.precision, auto.notes) == ("bf16", ["train.precision auto: bf16 (the processor has it)"])
    with auto.autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.bfloat16
    with Engine("fp32").autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.float32


def test_bf16_trains_and_resumes_alike(build_run: Build, plugins: Plugins) -> None:
    options = {**FULL, "train": {**FULL["train"], "precision": "bf16", "steps": 6}}
    straight = go(build_run(folder="straight", **options), plugins)
    assert all(value.dtype == torch.float32 for value in straight.nets.state_dict().values())
    go(build_run(folder="broken", **options), plugins, 4)
    again = build_run(folder="broken", **options)
    again.resume(checkpoints(again.folder)[-1])
    go(again, plugins)
    same_checkpoints(checkpoints(straight.folder)[-1], checkpoints(again.folder)[-1])


def test_a_run_folder_says_what_was_run(build_run: Build, plugins: Plugins) -> None:
    run = build_run(data__a={"name": "toy", "test": 2})
    run.begin("restorekit run toy.yaml")
    names = {path.name for path in run.folder.iterdir()}
    whole = {"recipe.yaml", "recipe.json", "environment.json", "data.json", "splits.csv", "networks.json"}
    assert names == whole
    result = json.loads((run.folder / "environment.json").read_text())
    assert result["command"] == "restorekit run toy.yaml"
    assert (result["seed"], result["precision"], result["torch"]) == (0, "fp32", torch.__version__)
    assert result["libraries"]["numpy"] == np.__version__
    assert "pytest" not in result["libraries"]  # of an extra for developers
    data = json.loads((run.folder / "data.json").read_text())
    assert data["splits"]["test"]["a"]["images"] == 2
    nets = json.loads((run.folder / "networks.json").read_text())
    assert set(nets) >= {"ab", "ba", "d_a", "d_b"}
    total = sum(p.numel() for p in run.nets.ab.parameters())
    assert nets["ab"]["parameters"] == total


def test_a_tensor_that_is_missing_is_named(build_run: Build, saved: Path) -> None:
    tensors = load_file(saved / "nets.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, saved / "nets.safetensors")
    state = json.loads((saved / "state.json").read_text())
    state["files"]["nets.safetensors"] = stage._digest(saved / "nets.safetensors")
    (saved / "state.json").write_text(json.dumps(state))
    assert "is nothing in the checkpoint" in one_line(saved, build_run())


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    named = "another process is training in it; wait for it, or stop it"
    folder = tmp_path / "run"
    with stage.run_lock(folder), pytest.raises(CheckpointError, match=named), stage.run_lock(folder):
        pass
    with stage.run_lock(folder):
        pass
