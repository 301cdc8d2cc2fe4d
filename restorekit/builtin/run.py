"""A trained run as a restorer: in an ensemble of runs, or in a chain with other methods."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from restorekit import (
    CheckpointError,
    Domain,
    Factory,
    Output,
    RecipeError,
    RestorekitError,
    Restorer,
    conformance_case,
    hookimpl,
)

DIGEST = "sha256"


def _absolute(path: str) -> str:
    """Return the path of a run from the root, as a run folder must keep it; the name of a part stays."""
    place = Path(path).expanduser()
    return str(place.resolve()) if place.exists() and not path.startswith("part:") else path


Model = Annotated[str, AfterValidator(_absolute)]


class OfRun(Restorer):
    """The restorer of a run, whose weights stay in that run; its own state is their digest, so that a change is seen.

    Args:
        inner: what restores.
        path: of the run, for messages.
    """

    def __init__(self, inner: Restorer, path: str) -> None:
        self.inner, self.path = inner, path
        self.scale, self.multiple, self.least, self.halo = inner.scale, inner.multiple, inner.least, inner.halo
        self.translates, self.predicts, self.trained = inner.translates, inner.predicts, inner.trained
        self.networks = inner.networks

    def state(self) -> Mapping[str, Tensor]:
        """Return the digest of the run's weights, (32,) bytes."""
        digest = hashlib.sha256()
        for name, value in sorted(self.inner.state().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {DIGEST: torch.tensor([*digest.digest()], dtype=torch.uint8)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Compare the digest that was saved with that of the weights there are now.

        Raises:
            CheckpointError: if they differ.
        """
        if set(state) != {DIGEST} or not torch.equal(state[DIGEST].cpu(), self.state()[DIGEST]):
            raise CheckpointError(f"{self.path}: has other weights than when this was saved; run the recipe again")

    def warnings(self, image: Tensor) -> Sequence[str]:
        """Return the warnings of the run's restorer."""
        return self.inner.warnings(image)

    def summary(self, image: Tensor) -> Tensor | None:
        """Return the run's own summary of whole images."""
        return self.inner.summary(image)

    @property
    def summarises(self) -> bool:
        """True if the run has a summary."""
        return self.inner.summarises

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return images (B, C, *scale*S) and the run's predictions, on the device of `image`."""
        made = self.inner.restore(image, summary, rng)
        prediction = None if made.prediction is None else made.prediction.to(image.device)
        return Output(made.image.to(image.device), prediction=prediction)


@conformance_case(options={"path": "part:identity"})
def run(domain: Domain, *, path: Model, times: Annotated[int | None, Field(ge=0)] = None) -> Restorer:
    """A trained run, or what else `restorekit restore -m` takes.

    Several of them in an `ensemble` are an ensemble of runs, which is scored and compared like one method. The weights
    stay where they are; a run that has changed since is refused.

    Args:
        domain: The images; channels, dimensions and classes must be those of the run, and the size, unless the run was
            trained on windows or its network takes images of any scale.
        path: A run folder or one of its checkpoints, from the folder where the recipe is run; a run folder keeps it
            whole.
        times: How often it is applied; null: as its recipe evaluates.
    """
    from restorekit import load  # it imports what restores, which few recipes need here

    try:
        model = load(path)
        made = model.restorer(domain, times)
    except RestorekitError as error:
        raise RecipeError(f"restorer 'run': {error}", option="path") from error
    known = made.predicts and domain.task.kind != "any"
    whole = model.scale is not None and model.scale.size is not None  # neither windows, nor of no importance
    for what, theirs, ours in (
        ("channels", model.channels, domain.channels),
        ("spatial sizes", model.dims, domain.dims),
        ("size", model.size if whole else None, domain.size),
    ):
        if theirs not in (None, ours):
            raise RecipeError(
                f"restorer 'run': {path}: {what} must be those of the data, {ours}; got {theirs}", option="path"
            )
    if known and model.task != domain.task:
        text = f"predictions must be those of the data, {domain.task.words()}; got {model.task.words()}"
        raise RecipeError(f"restorer 'run': {path}: {text}", option="path")
    return OfRun(made, path)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the restorer."""
    add("restorer", "run", run)
