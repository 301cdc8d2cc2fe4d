"""A run: networks, optimisers, terms and pools; what it writes of itself, saves and takes over."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import restorekit
from restorekit.core import plugins
from restorekit.core.errors import CheckpointError, TrainingError
from restorekit.core.files import read_own_json, write_text
from restorekit.core.passes import HistoryPool, Loss
from restorekit.core.types import Batch, Domain, Metric, Nets
from restorekit.stages.data.doctor import Checkup
from restorekit.stages.recipes.model import Recipe
from restorekit.stages.recipes.recipe import dump
from restorekit.stages.runs import sizes
from restorekit.stages.runs.average import Average
from restorekit.stages.runs.checkpoint import (
    last_good,
    load_average,
    load_nets,
    read_checkpoint,
    remove_old,
    remove_torn,
    write_checkpoint,
)
from restorekit.stages.runs.engine import Engine

__all__ = ["Run", "Term", "distance_name"]


@dataclass(frozen=True, eq=False)  # a loss may be something that has no hash
class Term:
    """A loss, its weight, and the name under which its values are told."""

    name: str
    weight: float
    loss: Loss

    def sides(self) -> tuple[str, ...]:
        """The sides that the loss overrides."""
        both = ("generator", "discriminator")
        return tuple(s for s in both if getattr(type(self.loss), s) is not getattr(Loss, s))


def distance_name(metric: str) -> str:
    """Return the name of the validation score that tells how far the restored images are from the good ones."""
    return f"{metric}_distance"


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
    """(split, positions or None) to images of side a, or with name="b" of side b, in order, without augmentation."""
    sizes: Mapping[str, int]
    """Images of side a in each split."""
    good_sizes: Mapping[str, int] = field(default_factory=dict)
    """Images of side b in each split."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries of restorekit and of the guests whose parts are used."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Images by split, side, class and source: data.json of the run folder."""
    listing: str = ""
    """Which image stands in which split: splits.csv of the run folder."""
    changed: str = ""
    """Which images came or went since the run began, in a sentence."""
    checkup: Checkup | None = None
    """What the data check found, where it was made."""
    average: Average | None = None
    """The moving average of the translators, where `train.ema` asks for one."""
    scale: Callable[[], Mapping[str, Any] | None] = lambda: None
    """Measures how training resamples the images of side a: see `restorekit.stages.data.batches.trained_scale`."""
    good_rows: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    """By split and metric the values of good images, once they were measured, (M,)."""
    step: int = 0
    best: dict[str, Any] | None = None
    """{"score", "value", "step"} of the best validation so far."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of all loss values, in the order in which they are computed."""
        order = [(side, term) for side in ("generator", "discriminator") for term in self.terms if side in term.sides()]
        return tuple(f"{side}.{term.name}" for side, term in order)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """(floor, chance) of the discriminators' losses that have them, summed over the discriminators."""
        count = len(self.nets.discriminators())
        given = {term.name: term.loss.discriminator_range for term in self.terms if "discriminator" in term.sides()}
        return {f"discriminator.{name}": (count * r[0], count * r[1]) for name, r in given.items() if r is not None}

    def rate(self, step: int) -> float:
        """The learning rate of a step: constant, then linear to zero at the end. A pure function of the step."""
        start = round(self.recipe.train.decay_from * self.steps)
        left = 1.0 if step < start or start == self.steps else 1 - (step - start) / (self.steps - start)
        return self.recipe.train.adam.lr * left

    @property
    def scored_nets(self) -> Nets:
        """The networks that are scored, shown and restored with: the average if there is one, else those that train."""
        return self.nets if self.average is None else self.average.nets

    @property
    def judge(self) -> str | None:
        """The metric that names the best checkpoint: `train.best`, else the first that knows what is good."""
        judges = (name for name, metric in self.metrics.items() if metric.better != "neither")
        return self.recipe.train.best or next(judges, None)

    @property
    def validated(self) -> tuple[str, ...]:
        """The names of the validation scores, in their order."""
        nearer = (name for name, metric in self.metrics.items() if metric.better == "nearer")
        return (*self.metrics, *map(distance_name, nearer))

    @property
    def best_score(self) -> str | None:
        """The validation score that names the best checkpoint: that of `judge`, or its distance to the good images."""
        name = self.judge
        return distance_name(name) if name is not None and self.metrics[name].better == "nearer" else name

    def is_better(self, name: str, value: float) -> bool:
        """True if a validation score (`best_score` of a metric) beats the best so far; an undefined one never does."""
        if value != value:
            return False
        if self.best is None or self.best["score"] != self.best_score:
            return True
        sign = 1 if self.metrics[name].better == "higher" else -1
        return sign * value > sign * float(self.best["value"])

    def load(self, checkpoint: Path) -> dict[str, Any]:
        """Take over the weights that a checkpoint is judged by, not what training needs besides; return its state.

        Raises:
            CheckpointError: if it is incomplete, of another format, or of other networks.
        """
        state, tensors = read_checkpoint(checkpoint)
        self._load(tensors, checkpoint)
        return state

    def save(self) -> Path:
        """Write a checkpoint of this step, whole or not at all, and remove those no longer kept.

        Raises:
            TrainingError: if the disk refuses, or weights are not finite; what was saved before stays.
        """
        self._demand_finite()
        state = {
            "step": self.step,
            "steps": self.steps,
            "best": self.best,
            "scaler": self.engine.scaler.state_dict() if self.engine.scaler is not None else None,
            "domains": {name: asdict(domain) for name, domain in self.domains.items()},
            "recipe": json.loads(self.recipe.model_dump_json()),
            "scale": self.scale(),
        }
        tensors = {
            "nets": dict(self.nets.state_dict()),
            "optimisers": {f"{side}/{k}": v for side, o in self.optimisers.items() for k, v in _flat(o.state_dict())},
            "pools": {f"{i}/{n}": image for i, pool in enumerate(self.pools) for n, image in enumerate(pool.images)},
        }
        if self.average is not None:
            tensors["average"] = dict(self.average.nets.state_dict())
        path = write_checkpoint(self.folder, state, tensors)
        remove_old(self.folder, keep=[self.best["step"]] if self.best else [])
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
        self._load(tensors, checkpoint)
        for side, optimiser in self.optimisers.items():
            _load_optimiser(optimiser, side, tensors["optimisers"], self.engine.device)
        for i, pool in enumerate(self.pools):
            count = sum(name.startswith(f"{i}/") for name in tensors["pools"])
            pool.images = [tensors["pools"][f"{i}/{n}"].to(self.engine.device) for n in range(count)]
        if self.engine.scaler is not None and state["scaler"]:
            self.engine.scaler.load_state_dict(state["scaler"])
        self.step, self.best = state["step"], state["best"]
        remove_torn(self.folder)

    def _load(self, tensors: Mapping[str, Mapping[str, Tensor]], checkpoint: Path) -> None:
        load_nets(self.nets, tensors["nets"], checkpoint)
        if self.average is not None:
            load_average(self.average.nets, tensors, checkpoint)

    @property
    def synthetic(self) -> bool:
        """True if any of the images were made, not recorded."""
        return bool(self.counts.get("synthetic"))

    @property
    def unit(self) -> str:
        """What groups of images are: patients, or what the dataset calls them."""
        return str(self.counts.get("unit", "patient"))

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
        if self.listing:
            write_text(self.folder / "splits.csv", self.listing)
        if self.checkup is not None:
            self.checkup.write(self.folder / "data-check")
        write_text(self.folder / "networks.json", json.dumps(networks, indent=1))

    def _environment(self, command: str) -> dict[str, Any]:
        """Where and how the run began; where it went on stands in "resumed"."""
        now = {
            "restorekit": restorekit.__version__,
            "plugins": {p.distribution: p.version for p in plugins.load().found if p.distribution != "restorekit"},
            "python": platform.python_version(),
            "torch": torch.__version__,
            "libraries": dict(self.libraries),
            "device": self.engine.device.type,
            "device_name": self.engine.device_name,
            "precision": self.engine.precision,
            "threads": torch.get_num_threads(),
            "platform": platform.platform(),
            "seed": self.recipe.seed,
            "command": command,
            "notes": self.engine.notes,
        }
        path = self.folder / "environment.json"
        if not path.is_file():
            return now
        began = read_own_json(path)
        return {**began, "resumed": [*began.get("resumed", []), {"step": self.step, **now}]}


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
