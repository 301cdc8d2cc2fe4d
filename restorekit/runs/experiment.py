"""The interface of a run for evaluation, audits and reports: recipe, images, scores, restorer."""

from __future__ import annotations

import json
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import restorekit
from restorekit.core.errors import DataError
from restorekit.core.restorer import Restorer
from restorekit.core.types import Batch, Metric
from restorekit.data.splits import SIDES, SideName
from restorekit.discovery import plugins
from restorekit.io.files import read_own_json, write_text
from restorekit.recipes.model import AnyRecipe
from restorekit.recipes.recipe import dump
from restorekit.runs.engine import Engine
from restorekit.runs.images import Images

__all__ = ["Experiment"]


class _TrainingImages(Iterable[Batch]):
    """Batches of a side's training images, made again at each iteration."""

    def __init__(self, name: SideName, make: Callable[[], Iterator[Batch]]) -> None:
        self.name, self.make = name, make

    def __iter__(self) -> Iterator[Batch]:
        batch = None
        for batch in self.make():
            yield batch
        if batch is None:
            raise DataError(f"data.{self.name}: the training split has no images, and the restorer is fitted to them")


@dataclass(kw_only=True)
class Experiment(ABC):
    """A recipe over its images, with a restorer: one that is trained, or one that needs no training."""

    recipe: AnyRecipe
    images: Images
    engine: Engine
    folder: Path
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries of restorekit and of the plugins whose parts are used."""
    baseline: Restorer | None = None
    """What its scores are compared with, of `evaluate.baseline`."""
    step: int = 0
    """Training steps that were taken; 0 of what needs none."""

    @property
    @abstractmethod
    def restorer(self) -> Restorer:
        """The restorer that is scored, shown and compared."""

    @property
    def once(self) -> Restorer:
        """The restorer, applied once."""
        return self.restorer

    @property
    def degrade(self) -> Callable[[Tensor], Tensor] | None:
        """The way back from restored images to degraded ones, where the run has one: shown beside its results."""
        return None

    @property
    @abstractmethod
    def kept(self) -> str:
        """The checkpoint that is scored: "last" or "best" of a training."""

    @abstractmethod
    def load(self) -> dict[str, Any]:
        """Load the saved state that is scored; return its metadata, with its "step".

        Raises:
            CheckpointError: if there is none, or it is incomplete, of another format, or of another restorer.
        """

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; the mode before is restored afterwards."""
        with torch.inference_mode():
            yield

    def fit_to_training_images(self, part: Restorer) -> None:
        """Fit a restorer to the training images of both sides.

        Raises:
            DataError: if it is fitted to images of a side that has none.
        """
        part.fit(*(_TrainingImages(name, partial(self.images.scoring, "train", name=name)) for name in SIDES))

    @abstractmethod
    def networks(self) -> dict[str, Any]:
        """Return what networks.json of the run folder holds."""

    def begin(self, command: str) -> None:
        """Write what a run folder holds before there are results: recipe, environment, data, networks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "recipe.yaml", dump(self.recipe))
        write_text(self.folder / "recipe.json", self.recipe.model_dump_json(indent=1))
        write_text(self.folder / "environment.json", json.dumps(self._environment(command), indent=1))
        self.images.write(self.folder)
        write_text(self.folder / "networks.json", json.dumps(self.networks(), indent=1))

    def _environment(self, command: str) -> dict[str, Any]:
        """Return where and how the run began; where it was resumed is in "resumed"."""
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
