"""A training: networks, terms, pools and optimization; saving, and resuming from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restorekit.core.errors import CheckpointError, TrainingError
from restorekit.core.passes import HistoryPool
from restorekit.core.types import Batch, Nets
from restorekit.recipes.model import Recipe
from restorekit.runs import sizes
from restorekit.runs.average import Average
from restorekit.runs.checkpoint import (
    kept_checkpoint,
    last_good,
    load_average,
    load_nets,
    read_checkpoint,
    remove_old,
    remove_torn,
    write_checkpoint,
)
from restorekit.runs.experiment import Experiment
from restorekit.runs.nets import Term
from restorekit.runs.optimization import Optimization
from restorekit.runs.selection import Selection
from restorekit.runs.trained import TrainedRestorer

__all__ = ["Run"]


@dataclass(kw_only=True)
class Run(Experiment):
    """A training: everything that it reads and changes besides its images."""

    recipe: Recipe
    nets: Nets
    terms: list[Term]
    optimization: Optimization
    selection: Selection
    """Which checkpoint is the best, by the metrics of this run."""
    pools: tuple[HistoryPool, HistoryPool]
    batches: Callable[[int, int], Iterator[list[tuple[Batch, Batch]]]]
    """(start, stop) to the batches (a, b) of those steps, a list for each."""
    steps: int
    steps_per_epoch: int
    teacher: str | None = None
    """The digest of the weights of `nets.teacher`, where there is one."""
    average: Average | None = None
    """The moving average of the translators, where `train.ema` asks for one."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of all loss values, in the order in which they are computed."""
        order: list[tuple[str, Term]]
        order = [(side, term) for side in ("generator", "discriminator") for term in self.terms if side in term.sides()]
        order += [(name, term) for name in self.nets.extra for term in self.terms if name in term.loss.trains]
        return tuple(f"{side}.{term.name}" for side, term in order)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """(floor, chance) of the discriminators' losses that have them, summed over the discriminators."""
        count = len(self.nets.discriminators())
        given = {term.name: term.loss.discriminator_range for term in self.terms if "discriminator" in term.sides()}
        return {f"discriminator.{name}": (count * r[0], count * r[1]) for name, r in given.items() if r is not None}

    @property
    def scored_nets(self) -> Nets:
        """The networks that are scored, shown and used to restore: the average if there is one."""
        return self.nets if self.average is None else self.average.nets

    @property
    def restorer(self) -> TrainedRestorer:
        """The translator that is scored, applied as often as the recipe evaluates."""
        return TrainedRestorer(self.scored_nets.ab, self.recipe.evaluate.times)

    @property
    def once(self) -> TrainedRestorer:
        """The translator that is scored, applied once."""
        return TrainedRestorer(self.scored_nets.ab)

    @property
    def degrade(self) -> Callable[[Tensor], Tensor] | None:
        """The way back, if it is trained."""
        ba = self.scored_nets.ba
        return None if ba is None else lambda image: TrainedRestorer(ba).restore(image).image

    @property
    def kept(self) -> str:
        """Which checkpoint is scored."""
        return self.recipe.train.keep

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode of the scored networks, without gradients; training mode comes back afterwards."""
        nets = self.scored_nets
        was = nets.training
        nets.eval()
        try:
            with super().evaluating():
                yield
        finally:
            nets.train(was)

    def load(self) -> dict[str, Any]:
        """Load the weights of the kept checkpoint alone; return its state.

        Raises:
            CheckpointError: if there is none, or it is incomplete, of another format, or of other networks.
        """
        checkpoint = kept_checkpoint(self.folder, self.kept)
        state, tensors = read_checkpoint(checkpoint)
        self._load(tensors, checkpoint)
        return state

    def save(self) -> Path:
        """Write a checkpoint of this step, completely or not at all, and remove old ones.

        Raises:
            TrainingError: if the disk refuses, or weights are not finite; what was saved before stays.
        """
        self.require_finite_weights()
        path = write_checkpoint(self.folder, self._state(), self._tensors())
        best = self.selection.best
        remove_old(self.folder, keep=[best["step"]] if best else [])
        return path

    def _state(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides its tensors."""
        return {
            "step": self.step,
            "steps": self.steps,
            "best": self.selection.best,
            "optimizers": self.optimization.numbers(),
            "scaler": self.engine.scaler.state_dict() if self.engine.scaler is not None else None,
            "domains": {name: asdict(domain) for name, domain in self.images.domains.items()},
            "recipe": json.loads(self.recipe.model_dump_json()),
            "scale": self.images.scale(),
            "teacher": self.teacher,
            "schedule_starts": self.optimization.starts,
        }

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors of a checkpoint by file and name."""
        made = {
            "nets": dict(self.nets.state_dict()),
            "optimisers": self.optimization.tensors(),
            "pools": dict(_pooled(self.pools)),
        }
        return made if self.average is None else {**made, "average": dict(self.average.nets.state_dict())}

    def require_finite_weights(self) -> None:
        """Refuse weights that are not finite: a gradient may overflow although its loss is finite.

        Raises:
            TrainingError: naming the networks.
        """
        state = self.nets.state_dict()
        wrong = {name.partition(".")[0] for name, tensor in state.items() if not torch.isfinite(tensor).all()}
        if wrong:
            raise TrainingError(
                f"after step {self.step}: weights of {', '.join(sorted(wrong))} are not finite; "
                f"{last_good(self.folder)}. Lower train.optimizer.lr or a loss weight, or use train.precision: fp32"
            )

    def resume(self, checkpoint: Path) -> None:
        """Load a whole checkpoint, to continue after its step.

        The run may have more steps than the one that saved it. A schedule whose rates depend on the length then begins
        anew, over the steps that are left, if its `restart` is true. `engine.notes` reports how the rates change.

        Raises:
            CheckpointError: if it is incomplete, of another format, of other networks, or of a run of another length
                that this one cannot go on with.
        """
        state, tensors = read_checkpoint(checkpoint)
        self._require_teacher(state, checkpoint)
        self.engine.notes += self.optimization.follow_schedules(state, self.steps, checkpoint)
        self._load(tensors, checkpoint)
        self.optimization.load(state.get("optimizers", {}), tensors["optimisers"], self.nets, checkpoint)
        self._load_pools(tensors["pools"])
        if self.engine.scaler is not None and state["scaler"]:
            self.engine.scaler.load_state_dict(state["scaler"])
        self.step, self.selection.best = state["step"], state["best"]
        remove_torn(self.folder)

    def _require_teacher(self, state: Mapping[str, Any], checkpoint: Path) -> None:
        if state.get("teacher") != self.teacher:
            got, must = (digest or "none" for digest in (self.teacher, state.get("teacher")))
            raise CheckpointError(
                f"{checkpoint}: nets.teacher must have the weights that the run began with, of SHA-256 {must}; got "
                f"{got}. Restore them, or start a new run"
            )

    def _load(self, tensors: Mapping[str, Mapping[str, Tensor]], checkpoint: Path) -> None:
        load_nets(self.nets, tensors["nets"], checkpoint)
        if self.average is not None:
            load_average(self.average.nets, tensors, checkpoint)

    def _load_pools(self, tensors: Mapping[str, Tensor]) -> None:
        for i, pool in enumerate(self.pools):
            pool.images, pool.conditions = (
                [tensor.to(self.engine.device) for tensor in _numbered(tensors, f"{i}/", of)]
                for of in ("", "/condition")
            )

    def networks(self) -> dict[str, Any]:
        """Return what networks.json of the run folder holds."""
        spec = self.recipe.nets
        discriminator = spec.discriminator.name if spec.discriminator is not None else ""
        made = sizes.describe(self.nets, self.images.domains, spec.generator.name, discriminator)
        return made | {
            f"extra.{name}": {of.kind: of.part.name, "parameters": sizes.trainable(self.nets.extra[name])}
            for name, of in spec.extra.items()
        }


def _pooled(pools: Sequence[HistoryPool]) -> Iterator[tuple[str, Tensor]]:
    """Yield the images of the pools by "pool/number", and their conditions by "pool/number/condition"."""
    for i, pool in enumerate(pools):
        yield from ((f"{i}/{n}", image) for n, image in enumerate(pool.images))
        yield from ((f"{i}/{n}/condition", condition) for n, condition in enumerate(pool.conditions))


def _numbered(tensors: Mapping[str, Tensor], before: str, after: str) -> list[Tensor]:
    """Return the tensors named `before`, a number from 0 on, `after`, in order."""
    found: list[Tensor] = []
    while (name := f"{before}{len(found)}{after}") in tensors:
        found.append(tensors[name])
    return found
