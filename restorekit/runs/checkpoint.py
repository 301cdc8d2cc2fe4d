"""Checkpoints: folders of safetensors and JSON, written completely or not at all. Loading one never runs code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
from filelock import FileLock, Timeout
from safetensors.torch import load, save_file
from torch import Tensor
from torch.optim import Optimizer

import restorekit
from restorekit.core.errors import CheckpointError, TrainingError
from restorekit.core.types import Nets
from restorekit.io.files import write_text

__all__ = [
    "checkpoints",
    "keep_of",
    "kept_checkpoint",
    "last_good",
    "load_average",
    "load_nets",
    "load_state",
    "read_checkpoint",
    "read_state",
    "read_tensors",
    "remove_old",
    "remove_torn",
    "run_lock",
    "state_numbers",
    "state_tensors",
    "write_checkpoint",
]

FORMAT = 1
KEPT = 2
"""Checkpoints kept besides the best."""
RATES = ("lr", "base_lr", "factor", "first_step", "initial_lr")
"""Entries of a parameter group that the recipe sets."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run folder for training. The system releases the lock of a process that was killed.

    Raises:
        CheckpointError: if another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CheckpointError(f"{folder}: another process is training in it; wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def write_checkpoint(folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write the checkpoint of `state["step"]` of a run folder: state.json, and a file for each mapping of tensors.

    Raises:
        TrainingError: if the disk refuses; what was saved before stays.
    """
    home = folder / "checkpoints"
    path, writing = home / _folder_name(state["step"]), home / f".writing-{state['step']}"
    if path.exists():
        return path
    try:
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
        files = {f"{name}.safetensors": _write(writing / f"{name}.safetensors", of) for name, of in tensors.items()}
        whole = {"format": FORMAT, "restorekit": restorekit.__version__, **state, "files": files}
        write_text(writing / "state.json", json.dumps(whole, indent=1))
        for name in files:  # safetensors lets the owner alone read; a run folder may be for a whole group
            shutil.copymode(writing / "state.json", writing / name)
        os.replace(writing, path)
        _sync(home)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)
        hint = f"Make room, then: restorekit resume {folder}"
        raise TrainingError(f"{path}: cannot be written ({error}); {last_good(folder)}. {hint}") from error
    return path


def _write(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors to the disk, and return the file's digest."""
    save_file({name: tensor.detach().contiguous().cpu().clone() for name, tensor in tensors.items()}, file)
    _sync(file)
    return _digest(file)


def remove_old(folder: Path, keep: Sequence[int]) -> None:
    """Remove all checkpoints but the last two and those of the steps in `keep`."""
    kept = {_folder_name(step) for step in keep}
    for old in checkpoints(folder)[:-KEPT]:
        if old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)


def remove_torn(folder: Path) -> None:
    """Remove incomplete checkpoints of a killed run."""
    for torn in (folder / "checkpoints").glob(".writing-*"):
        shutil.rmtree(torn, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    return sorted((folder / "checkpoints").glob("step_*"))


def last_good(folder: Path) -> str:
    """Return text that names the last checkpoint of a run folder."""
    found = checkpoints(folder)
    return f"the last good checkpoint is {found[-1]}" if found else "no checkpoint was saved yet"


def keep_of(recipe: Mapping[str, Any]) -> str:
    """Return which checkpoint of a run is scored, "last" or "best", by its resolved recipe.

    Raises:
        KeyError: if it is no recipe.
    """
    return "last" if "restorer" in recipe else str(recipe["train"]["keep"])


def kept_checkpoint(folder: Path, keep: str) -> Path:
    """Return the checkpoint that scores are computed from: its last, or its best by the validation score.

    Raises:
        CheckpointError: if there is none.
    """
    found = checkpoints(folder)
    if not found:
        raise CheckpointError(f"{folder}: has no checkpoint; train it first: restorekit resume {folder}")
    if keep == "last":
        return found[-1]
    best = read_state(found[-1])["best"]
    if best is None:
        raise CheckpointError(f"{folder}: train.keep is best, but nothing was scored yet")
    return folder / "checkpoints" / _folder_name(best["step"])


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Return (state, tensors by file) of a checkpoint, after comparing every file with its digest.

    Raises:
        CheckpointError: if it is absent, incomplete, damaged or of another format.
    """
    state = read_state(path)
    return state, read_tensors(path, state, [Path(name).stem for name in state["files"]])


def read_tensors(
    path: Path, state: Mapping[str, Any], names: Sequence[str], prefix: str = ""
) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of some files of a checkpoint, after comparing each file with its digest.

    Args:
        path: the checkpoint.
        state: its state.
        names: of the files, without suffix.
        prefix: what the names of the tensors begin with; others are not read.

    Raises:
        CheckpointError: if one is absent or damaged.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name in names:
        file = path / f"{name}.safetensors"
        # Read once, so that what is checked is what is used. safe_open would make a ValueError of Ctrl-C.
        data = file.read_bytes() if file.exists() else b""
        if hashlib.sha256(data).hexdigest() != state["files"].get(file.name):
            hint = f"remove {path}, and restorekit resume goes on from the one before"
            raise CheckpointError(f"{file}: is missing or damaged; {hint}")
        found[name] = {key: value for key, value in load(data).items() if key.startswith(prefix)}
    return found


def read_state(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint: all but its tensors.

    Raises:
        CheckpointError: if it is absent, incomplete or of another format.
    """
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: is no checkpoint ({error})") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path}: is no checkpoint (unrecognised state.json)")
    if state["format"] != FORMAT:
        wrote = state.get("restorekit", "an unknown version")
        raise CheckpointError(
            f"{path}: format {state['format']}, written by restorekit {wrote}; this version reads format {FORMAT}"
        )
    lost = {"step", "steps", "best", "scaler", "domains", "recipe", "files"} - state.keys()
    if lost:
        raise CheckpointError(f"{path}: is no checkpoint (state.json lacks {', '.join(sorted(lost))})")
    return state


def load_nets(nets: Nets, tensors: Mapping[str, Tensor], place: Path) -> None:
    """Load weights into networks that must fit exactly.

    Raises:
        CheckpointError: naming the first tensor that does not fit.
    """
    own = nets.state_dict()
    for name in sorted({*own, *tensors}):
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        want = tuple(own[name].shape) if name in own else "nothing"
        if got != want:
            raise CheckpointError(f"{place}: {name} is {got} in the checkpoint, {want} in the recipe's networks")
    nets.load_state_dict(dict(tensors))


def load_average(nets: Nets, tensors: Mapping[str, Mapping[str, Tensor]], place: Path) -> None:
    """Load the moving average of the translators into networks that must fit exactly.

    Raises:
        CheckpointError: if the checkpoint holds none, or another one.
    """
    if "average" not in tensors:
        raise CheckpointError(f"{place}: holds no moving average, which train.ema asks for; start a new run")
    load_nets(nets, tensors["average"], place)


def state_tensors(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yield an optimizer's state tensors by "parameter/name"."""
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                yield f"{index}/{name}", value


def state_numbers(optimizer: Optimizer) -> dict[str, Any]:
    """Return what an optimizer keeps as plain numbers: of each parameter, and of its groups besides their options."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if isinstance(value, int | float) and name not in RATES}

    state = optimizer.state_dict()
    kept = {index: plain(values) for index, values in sorted(state["state"].items())}
    return {
        "state": {index: values for index, values in kept.items() if values},
        "groups": [plain(group) for group in state["param_groups"]],
    }


def load_state(optimizer: Optimizer, side: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Restore an optimizer's state; what its recipe sets, such as rates, comes from the recipe."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        owner, index, key = name.split("/")
        if owner == side:
            state.setdefault(int(index), {})[key] = tensor
    for index, values in numbers.get("state", {}).items():
        state.setdefault(int(index), {}).update(values)
    groups = optimizer.state_dict()["param_groups"]
    for group, kept in zip(groups, numbers.get("groups", [{}] * len(groups)), strict=True):
        group.update(kept)
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _folder_name(step: int) -> str:
    return f"step_{step:09d}"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Ask the system to bring a file, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
