"""A run: nets, optimisers, terms, pools, device, precision, folder; saving it and loading it.

The home of Hugging Face accelerate: no other file chooses a device or a precision. Checkpoints are folders of
safetensors and JSON that appear whole or not at all; loading one never runs code from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import safetensors
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor

import restorekit
from restorekit.core.errors import CheckpointError, RecipeError, TrainingError
from restorekit.core.files import write_text
from restorekit.core.passes import HistoryPool, Loss
from restorekit.core.types import Batch, Domain, Metric, Nets
from restorekit.stages import sizes
from restorekit.stages.recipe import Recipe, dump

__all__ = [
    "Engine",
    "Run",
    "Term",
    "checkpoints",
    "kept_checkpoint",
    "last_good",
    "load_nets",
    "read_checkpoint",
]

FORMAT = 1
KEPT = 2
"""Checkpoints kept besides the best."""


@dataclass(frozen=True)
class Term:
    """A loss, its weight, and the name under which its values are told."""

    name: str
    weight: float
    loss: Loss

    def sides(self) -> tuple[str, ...]:
        """The sides that the loss overrides."""
        both = ("generator", "discriminator")
        return tuple(s for s in both if getattr(type(self.loss), s) is not getattr(Loss, s))


class Engine:
    """Device and precision. It says aloud what it chose, and refuses what the device cannot do."""

    def __init__(self, precision: str) -> None:
        AcceleratorState._reset_state(reset_partial_state=False)  # a process may hold runs of several precisions
        self.notes: list[str] = []
        mixed = {"fp32": "no", "auto": "no"}.get(precision, precision)
        self._accelerator = Accelerator(mixed_precision=mixed)
        if self._accelerator.num_processes > 1:
            raise RecipeError("restorekit trains in one process; start it without a multi-process launcher")
        self.device: torch.device = self._accelerator.device
        capable = _has_bf16(self.device)
        if precision == "auto":
            self.precision = "bf16" if capable else "fp32"
            why = "the processor has it" if capable else "the processor has no bf16 arithmetic"
            self.notes.append(f"train.precision auto: {self.precision} ({why})")
            if capable:
                AcceleratorState._reset_state(reset_partial_state=False)
                self._accelerator = Accelerator(mixed_precision="bf16")
        else:
            self.precision = precision
            if precision == "bf16" and not capable:
                self.notes.append("train.precision bf16: this processor only emulates it; expect it to be slow")
            if precision == "fp16" and self.device.type != "cuda":
                raise RecipeError(
                    f"train.precision: fp16 needs a GPU, this is a {self.device.type}; use bf16, fp32 or auto"
                )
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            # fp32 means float32: by default cuDNN convolves in TF32, with ten bits of mantissa.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which forward passes run."""
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    def optimiser(self, parameters: Iterator[torch.nn.Parameter], **options: Any) -> Any:
        """Return Adam over the parameters, wrapped for the precision."""
        return self._accelerator.prepare_optimizer(torch.optim.Adam(parameters, **options))

    def backward(self, loss: Tensor) -> None:
        """Back-propagate, scaled where the precision needs it."""
        self._accelerator.backward(loss)

    @property
    def scaler(self) -> Any:
        """The gradient scaler of fp16, or None."""
        return self._accelerator.scaler


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    flags = info.read_text("utf-8", "replace") if info.exists() else ""
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


@dataclass
class Run:
    """Everything that training needs and changes."""

    recipe: Recipe
    nets: Nets
    domains: dict[str, Domain]
    terms: list[Term]
    engine: Engine
    optimisers: dict[str, Any]
    """By side: "generator", and "discriminator" if there are any."""
    pools: tuple[HistoryPool, HistoryPool]
    batches: Callable[[int, int], Iterator[tuple[Batch, Batch]]]
    """(start, stop) to the batches of those steps."""
    steps: int
    steps_per_epoch: int
    folder: Path
    scoring: Callable[..., Iterator[Batch]]
    """(split, positions or None) to images of side a, in order, without augmentation."""
    sizes: Mapping[str, int]
    """Images of side a in each split."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Images by split, side, class and source: data.json of the run folder."""
    step: int = 0
    best: dict[str, Any] | None = None
    """{"score", "value", "step"} of the best validation so far."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of all loss values, in the order in which they are computed."""
        order = [(side, term) for side in ("generator", "discriminator") for term in self.terms if side in term.sides()]
        return tuple(f"{side}.{term.name}" for side, term in order)

    def rate(self, step: int) -> float:
        """The learning rate of a step: constant, then linear to zero at the end. A pure function of the step."""
        start = round(self.recipe.train.decay_from * self.steps)
        left = 1.0 if step < start or start == self.steps else 1 - (step - start) / (self.steps - start)
        return self.recipe.train.adam.lr * left

    def is_better(self, name: str, value: float) -> bool:
        """True if a validation score beats the best so far; an undefined score never does."""
        if value != value:
            return False
        if self.best is None:
            return True
        sign = 1 if self.metrics[name].better == "higher" else -1
        return sign * value > sign * float(self.best["value"])

    def save(self) -> Path:
        """Write a checkpoint of this step, whole or not at all, and remove those no longer kept.

        Raises:
            TrainingError: if the disk refuses, or weights are not finite; what was saved before stays.
        """
        home = self.folder / "checkpoints"
        path = home / _folder_name(self.step)
        if path.exists():
            return path
        self._demand_finite()
        writing = home / f".writing-{self.step}"
        try:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir(parents=True)
            self._write(writing)
            os.replace(writing, path)
            _sync(home)
        except (OSError, safetensors.SafetensorError) as error:
            shutil.rmtree(writing, ignore_errors=True)
            raise TrainingError(
                f"{path}: cannot be written ({error}); {last_good(self.folder)}. Make room, then --resume {self.folder}"
            ) from error
        keep = {_folder_name(self.best["step"])} if self.best else set()
        for old in checkpoints(self.folder)[:-KEPT]:
            if old.name not in keep:
                shutil.rmtree(old, ignore_errors=True)
        return path

    def _demand_finite(self) -> None:
        """A gradient may overflow though its loss did not: such weights are no good checkpoint."""
        state = self.nets.state_dict()
        wrong = {name.partition(".")[0] for name, tensor in state.items() if not torch.isfinite(tensor).all()}
        if wrong:
            raise TrainingError(
                f"after step {self.step}: weights of {', '.join(sorted(wrong))} are not finite; "
                f"{last_good(self.folder)}. Lower train.adam.lr or a loss weight, or use train.precision: fp32"
            )

    def _write(self, folder: Path) -> None:
        tensors = {
            "nets": dict(self.nets.state_dict()),
            "optimisers": {f"{side}/{k}": v for side, o in self.optimisers.items() for k, v in _flat(o.state_dict())},
            "pools": {f"{i}/{n}": image for i, pool in enumerate(self.pools) for n, image in enumerate(pool.images)},
        }
        digests = {}
        for name, values in tensors.items():
            file = folder / f"{name}.safetensors"
            save_file({k: v.detach().contiguous().cpu().clone() for k, v in values.items()}, file)
            digests[file.name] = _digest(file)
            _sync(file)
        state = {
            "format": FORMAT,
            "restorekit": restorekit.__version__,
            "step": self.step,
            "steps": self.steps,
            "best": self.best,
            "scaler": self.engine.scaler.state_dict() if self.engine.scaler is not None else None,
            "domains": {name: asdict(domain) for name, domain in self.domains.items()},
            "recipe": json.loads(self.recipe.model_dump_json()),
            "files": digests,
        }
        write_text(folder / "state.json", json.dumps(state, indent=1))

    def resume(self, checkpoint: Path) -> None:
        """Take over everything that a checkpoint holds, and go on after its step.

        Raises:
            CheckpointError: if it is incomplete, of another format, or of other networks.
        """
        state, tensors = read_checkpoint(checkpoint)
        if state["steps"] != self.steps:
            raise CheckpointError(
                f"{checkpoint}: was saved by a run of {state['steps']} steps, this one has {self.steps}; the learning "
                "rate would differ. Resume with the same length, or start a new run"
            )
        load_nets(self.nets, tensors["nets"], checkpoint)
        for side, optimiser in self.optimisers.items():
            _load_optimiser(optimiser, side, tensors["optimisers"], self.engine.device)
        for i, pool in enumerate(self.pools):
            count = sum(name.startswith(f"{i}/") for name in tensors["pools"])
            pool.images = [tensors["pools"][f"{i}/{n}"].to(self.engine.device) for n in range(count)]
        if self.engine.scaler is not None and state["scaler"]:
            self.engine.scaler.load_state_dict(state["scaler"])
        self.step, self.best = state["step"], state["best"]
        for torn in (self.folder / "checkpoints").glob(".writing-*"):
            shutil.rmtree(torn, ignore_errors=True)

    @property
    def synthetic(self) -> bool:
        """True if any of the images were made, not recorded."""
        return bool(self.counts.get("synthetic"))

    def begin(self, command: str) -> None:
        """Write what a run folder says of itself: recipe, environment, data, networks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        spec = self.recipe.nets
        judge = spec.discriminator.name if spec.discriminator is not None else ""
        networks = sizes.describe(self.nets, self.domains, spec.generator.name, judge)
        write_text(self.folder / "recipe.yaml", dump(self.recipe))
        write_text(self.folder / "recipe.json", self.recipe.model_dump_json(indent=1))
        write_text(self.folder / "environment.json", json.dumps(self._environment(command), indent=1))
        write_text(self.folder / "data.json", json.dumps(self.counts, indent=1))
        write_text(self.folder / "networks.json", json.dumps(networks, indent=1))

    def _environment(self, command: str) -> dict[str, Any]:
        device = self.engine.device
        names = {d.metadata["Name"]: d.version for d in distributions()}
        return {
            "restorekit": restorekit.__version__,
            "plugins": {
                n: v for n, v in sorted(names.items()) if n.startswith("restorekit-") or n in self.recipe.needs
            },
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": device.type,
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
            "precision": self.engine.precision,
            "threads": torch.get_num_threads(),
            "platform": platform.platform(),
            "seed": self.recipe.seed,
            "command": command,
            "notes": self.engine.notes,
        }


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    return sorted((folder / "checkpoints").glob("step_*"))


def last_good(folder: Path) -> str:
    """Return words that name the last checkpoint of a run folder."""
    found = checkpoints(folder)
    return f"the last good checkpoint is {found[-1]}" if found else "no checkpoint was saved yet"


def kept_checkpoint(folder: Path, keep: str) -> Path:
    """Return the checkpoint that a run is judged by: its last, or its best by the validation score.

    Raises:
        CheckpointError: if there is none.
    """
    found = checkpoints(folder)
    if not found:
        raise CheckpointError(f"{folder}: has no checkpoint; train it first: restorekit run RECIPE --resume {folder}")
    if keep == "last":
        return found[-1]
    best = json.loads((found[-1] / "state.json").read_text("utf-8")).get("best")
    if best is None:
        raise CheckpointError(f"{folder}: train.keep is best, but nothing was scored yet")
    return folder / "checkpoints" / _folder_name(best["step"])


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Return (state, tensors by file) of a checkpoint, after comparing every file with its digest.

    Raises:
        CheckpointError: if it is absent, incomplete, damaged or of another format.
    """
    try:
        state = json.loads((path / "state.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: is no checkpoint ({error})") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path}: is no checkpoint (state.json is none of ours)")
    if state["format"] != FORMAT:
        wrote = state.get("restorekit", "an unknown version")
        raise CheckpointError(
            f"{path}: format {state['format']}, written by restorekit {wrote}; this version reads format {FORMAT}"
        )
    lost = {"step", "steps", "best", "scaler", "domains", "recipe", "files"} - state.keys()
    if lost:
        raise CheckpointError(f"{path}: is no checkpoint (state.json lacks {', '.join(sorted(lost))})")
    tensors = {}
    for name, digest in state["files"].items():
        file = path / name
        if not file.exists() or _digest(file) != digest:
            raise CheckpointError(f"{file}: is missing or damaged; take another checkpoint of the run")
        tensors[file.stem] = load_file(file)
    return state, tensors


def load_nets(nets: Nets, tensors: Mapping[str, Tensor], place: Path) -> None:
    """Load weights into networks that must fit exactly.

    Raises:
        CheckpointError: naming the first tensor that does not fit.
    """
    own = nets.state_dict()
    for name in sorted({*own, *tensors}):
        came = tuple(tensors[name].shape) if name in tensors else "nothing"
        want = tuple(own[name].shape) if name in own else "nothing"
        if came != want:
            raise CheckpointError(f"{place}: {name} is {came} in the checkpoint, {want} in the recipe's networks")
    nets.load_state_dict(dict(tensors))


def _folder_name(step: int) -> str:
    return f"step_{step:09d}"


def _flat(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """An optimiser's tensors by "parameter/name"; its options come from the recipe, not from a checkpoint."""
    for index, values in state["state"].items():
        for name, value in values.items():
            yield f"{index}/{name}", torch.as_tensor(value)


def _load_optimiser(optimiser: Any, side: str, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        owner, index, key = name.split("/")
        if owner == side:
            state.setdefault(int(index), {})[key] = value if key == "step" else value.to(device)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


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


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
