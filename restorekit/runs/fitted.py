"""A run without training: a restorer part, fitted to the training images, scored and compared like a trained one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from restorekit.core.errors import CheckpointError
from restorekit.core.restorer import Restorer
from restorekit.recipes.model import RestorerRecipe
from restorekit.runs.checkpoint import kept_checkpoint, read_checkpoint, write_checkpoint
from restorekit.runs.experiment import Experiment

__all__ = ["FittedRun", "load_restorer"]


@dataclass(kw_only=True)
class FittedRun(Experiment):
    """A restorer that needs no training, fitted to the training images."""

    recipe: RestorerRecipe
    part: Restorer

    @property
    def restorer(self) -> Restorer:
        """The part."""
        return self.part

    @property
    def kept(self) -> str:
        """There is one state."""
        return "last"

    def fit(self) -> None:
        """Fit the part to the training images of both sides.

        Raises:
            DataError: if it is fitted to images of a side that has none.
        """
        self.fit_to_training_images(self.part)

    def save(self) -> Path:
        """Write the fitted state of the part as the checkpoint of step 0, completely or not at all.

        Raises:
            TrainingError: if the disk refuses.
        """
        state = {
            "step": 0,
            "steps": 0,
            "best": None,
            "scaler": None,
            "domains": {name: asdict(domain) for name, domain in self.images.domains.items()},
            "recipe": json.loads(self.recipe.model_dump_json()),
            "scale": self.images.scale(),
        }
        return write_checkpoint(self.folder, state, {"restorer": dict(self.part.state())})

    def load(self) -> dict[str, Any]:
        """Load the saved state.

        Raises:
            CheckpointError: if there is nothing, or it is not of this restorer.
        """
        checkpoint = kept_checkpoint(self.folder, self.kept)
        state, tensors = read_checkpoint(checkpoint)
        load_restorer(self.part, tensors, checkpoint)
        return state

    def networks(self) -> dict[str, Any]:
        """Return nothing: no network is trained."""
        return {}


def load_restorer(part: Restorer, tensors: dict[str, dict[str, Tensor]], checkpoint: Path) -> None:
    """Load the saved state of a run into a part.

    Raises:
        CheckpointError: if it is not of this restorer.
    """
    if "restorer" not in tensors:
        raise CheckpointError(f"{checkpoint}: holds no restorer; it holds {', '.join(sorted(tensors)) or 'nothing'}")
    part.load_state(tensors["restorer"])
