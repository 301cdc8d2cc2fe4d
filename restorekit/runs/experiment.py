"""What evaluation, audits and reports need of a run: its recipe, its images, its scores, and what restores them."""

from __future__ import annotations

import json
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import restorekit
from restorekit.core.restorer import Restorer
from restorekit.core.types import Batch, Domain, Metric
from restorekit.data.checks import Checkup
from restorekit.discovery import plugins
from restorekit.io.files import read_own_json, write_text
from restorekit.recipes.model import AnyRecipe
from restorekit.recipes.recipe import dump
from restorekit.runs.engine import Engine

__all__ = ["Experiment"]


@dataclass(kw_only=True)
class Experiment(ABC):
    """A recipe over its images, with a restorer: one that is trained, or one that needs no training."""

    recipe: AnyRecipe
    domains: dict[str, Domain]
    engine: Engine
    folder: Path
    scoring: Callable[..., Iterator[Batch]]
    """(split, positions or None) to images of side a, or with name="b" of side b, in order, without augmentation."""
    sizes: Mapping[str, int]
    """Images of side a in each split."""
    good_sizes: Mapping[str, int] = field(default_factory=dict)
    """Images of side b in each split."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries of restorekit and of the plugins whose parts are used."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Images by split, side, class and source: data.json of the run folder."""
    listing: str = ""
    """Which image is in which split: splits.csv of the run folder."""
    changed: str = ""
    """Which images were added or removed since the run began, in a sentence."""
    checkup: Checkup | None = None
    """What the data check found, where it was made."""
    scale: Callable[[], Mapping[str, Any] | None] = lambda: None
    """Measures how training resamples the images of side a: see `restorekit.data.batches.trained_scale`."""
    good_rows: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    """By split and metric the values of good images, once they were measured, (M,)."""
    step: int = 0
    """Training steps that were taken; 0 of what needs none."""

    @property
    @abstractmethod
    def restorer(self) -> Restorer:
        """What is scored, shown and compared."""

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
        """Which of its states is scored: "last" or "best" of a training."""

    @abstractmethod
    def load(self) -> dict[str, Any]:
        """Take over the saved state that is scored; return what is saved beside it, with its "step".

        Raises:
            CheckpointError: if there is none, or it is incomplete, of another format, or of another restorer.
        """

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; what was before comes back afterwards."""
        with torch.inference_mode():
            yield

    @abstractmethod
    def networks(self) -> dict[str, Any]:
        """Return what networks.json of the run folder holds."""

    @property
    def synthetic(self) -> bool:
        """True if any of the images were made, not recorded."""
        return bool(self.counts.get("synthetic"))

    @property
    def unit(self) -> str:
        """What groups of images are: patients, or what the dataset calls them."""
        return str(self.counts.get("unit", "patient"))

    def begin(self, command: str) -> None:
        """Write what a run folder holds before there are results: recipe, environment, data, networks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "recipe.yaml", dump(self.recipe))
        write_text(self.folder / "recipe.json", self.recipe.model_dump_json(indent=1))
        write_text(self.folder / "environment.json", json.dumps(self._environment(command), indent=1))
        write_text(self.folder / "data.json", json.dumps(self.counts, indent=1))
        if self.listing:
            write_text(self.folder / "splits.csv", self.listing)
        if self.checkup is not None:
            self.checkup.write(self.folder / "data-check")
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
