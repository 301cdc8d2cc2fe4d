"""From a name to a model: a run, a checkpoint, a released model, or a part that needs no training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restorekit.core.errors import CheckpointError, RecipeError, unknown
from restorekit.core.formats import Format
from restorekit.core.restorer import Restorer
from restorekit.core.types import Domain, Nets, Output, Translator
from restorekit.discovery import plugins
from restorekit.io.files import as_path
from restorekit.io.images import ImageFiles
from restorekit.parts.registry import Parts
from restorekit.recipes import recipe
from restorekit.recipes.declared import agreed, declared
from restorekit.recipes.layered import name_of, parse
from restorekit.recipes.model import Recipe, RestorerRecipe
from restorekit.restoring.compute import Compute
from restorekit.restoring.model import PART, Model
from restorekit.restoring.scale import TrainedScale
from restorekit.runs.checkpoint import keep_of, kept_checkpoint, load_nets, read_state, read_tensors
from restorekit.runs.fitted import load_restorer
from restorekit.runs.nets import build_translator
from restorekit.runs.trained import TrainedRestorer

__all__ = ["load", "with_absolute_path"]

RELEASED, REVERSE = "model:", "reverse:"
"""What a model's name may begin with, as with `PART`, where it could be a path as well."""
FORTH, BACK = "ab.", "ba."
"""What the names of the weights of each direction begin with: from degraded to good images, and the way back."""
MODELS = "restorekit-models"
"""The plugin whose restorers are the released models."""


def load(
    model: str | os.PathLike[str],
    *,
    device: str | None = None,
    precision: str = "fp32",
    backend: str = "torch",
) -> Model:
    """Load a model: a run, or a restorer that needs none.

    Args:
        model: a run folder, or one of its checkpoints; else the name of a part of kind restorer, such as "tv".
            "part:tv" is the part even where a path is called so; "part:{name: tv, weight: 0.1}" has options, as
            in a recipe. "model:film_base" is the released model of restorekit-models. "reverse:runs/mine-1" is what a
            run with a cycle learned in the other direction: it makes degraded images of good ones, in one pass.
        device: where its networks compute: "cpu" or "cuda"; None: a GPU, if there is one.
        precision: "fp32"; or "bf16", which is faster where the processor has it, and less exact.
        backend: "torch"; or "compiled": networks go through torch.compile, for many images of few sizes.

    Raises:
        DataError: if `model` is neither a path nor a text, or an option is not allowed or needs a network that a part
            does not have.
        CheckpointError: if there is no checkpoint, or it is damaged or of another version.
        RecipeError: if there is no such path and no such part, a plugin that the run needs is not installed, or the
            device is not there.
    """
    path = as_path(model, "model")
    found = _found(path, str(model), Compute(device, precision, backend))
    if (device, precision, backend) != (None, "fp32", "torch"):
        found.check_compute()
    return found


def _found(path: Path, name: str, compute: Compute) -> Model:
    if name.startswith(PART):
        given = name.removeprefix(PART)
        return _part(parse(given, name) if given.startswith("{") else given, compute)
    if name.startswith(RELEASED):
        given = name.removeprefix(RELEASED)
        ours = [plugin for plugin in plugins.load().found if plugin.name == MODELS]
        released = [part for plugin in ours for kind, part in plugin.parts if kind == "restorer"]
        if given not in released:
            raise RecipeError(f"{name}: {unknown('released model', given, released)}")
        return _part(given, compute)
    if name.startswith(REVERSE):
        return _run(as_path(name.removeprefix(REVERSE), "model"), compute, BACK)
    if path.exists():
        return _run(path, compute)
    known = plugins.load().parts.names("restorer")
    if name in known:
        return _part(name, compute)
    if len(path.parts) > 1:
        raise CheckpointError(f"{path}: is neither a run folder nor a checkpoint: there is no such folder")
    raise RecipeError(f"{name}: no such run folder, and {unknown('restorer', name, known)}")


def with_absolute_path(model: str) -> str:
    """Return the name of a model for a process whose current folder may be another."""
    if model.startswith((PART, RELEASED)):
        return model
    way, path = (REVERSE, model.removeprefix(REVERSE)) if model.startswith(REVERSE) else ("", model)
    return way + os.path.abspath(path) if os.path.exists(path) else model


def _part(spec: Any, compute: Compute) -> Model:
    """Return a model of a part, by its name or with options, made for images of each kind when they are met."""
    make = plugins.load().parts.resolve("restorer", spec)
    made: dict[tuple[int, int], Restorer] = {}

    def of(domain: Domain, times: int | None) -> Restorer:
        kind = domain.dims, domain.channels
        if kind not in made:
            made[kind] = make(domain)
        return _Repeated(made[kind], 1 if times is None else times)

    name = f"{PART}{name_of(spec)}"
    return Model(of, domain=None, data=None, scale=None, format=ImageFiles(), name=name, spec=spec, compute=compute)


class _Repeated(Restorer):
    """A restorer applied several times; 0 times leaves images unchanged."""

    def __init__(self, restorer: Restorer, times: int) -> None:
        self.inner, self.times = restorer, times
        self.scale = restorer.scale**times
        self.multiple, self.least, self.translates = restorer.multiple, restorer.least, restorer.translates
        self.predicts, self.trained, self.networks = restorer.predicts, restorer.trained, restorer.networks
        # Later passes would need the summary of what those before them make of the whole image.
        known = restorer.halo is not None and (times <= 1 or not restorer.summarises)
        self.halo = restorer.halo * times if known and restorer.halo is not None else None

    def state(self) -> Mapping[str, Tensor]:
        """Return the state of the restorer."""
        return self.inner.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Give the restorer its own."""
        self.inner.load_state(state)

    def warnings(self, image: Tensor) -> Sequence[str]:
        """Return the warnings of the restorer, where it is applied at all."""
        return self.inner.warnings(image) if self.times else ()

    def summary(self, image: Tensor) -> Tensor | None:
        """Return the summary of the whole image, where one pass is made."""
        return self.inner.summary(image) if self.times == 1 else None

    @property
    def summarises(self) -> bool:
        """True if its first pass is given a summary."""
        return self.times == 1 and self.inner.summarises

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images after so many passes, and the prediction of the first."""
        output = Output(image)
        for at in range(self.times):
            made = self.inner.restore(output.image, summary if at == 0 else None, rng)
            output = Output(made.image, prediction=made.prediction if at == 0 else output.prediction)
        return output


def _run(folder: Path, compute: Compute, way: str = FORTH) -> Model:
    """Return the model of a run folder or a checkpoint; only the weights of that way are read."""
    checkpoint = folder if (folder / "state.json").is_file() else kept_checkpoint(folder, _keep(folder))
    state = read_state(checkpoint)
    spec = recipe.resolved(state["recipe"], str(checkpoint), plugins.load())
    parts = plugins.load().parts
    domains = {name: Domain.of(fields) for name, fields in state["domains"].items()}
    if way == BACK:
        domains = {"a": domains["b"], "b": domains["a"]}
    domain = domains["a"]
    format = declared(spec.data.a.spec, "format")
    files: Format = (
        ImageFiles(agreed(spec.data.a.spec, "beyond") or "refuse", domain.bits)
        if format is None
        else parts.resolve("format", format)()
    )
    if isinstance(spec, RestorerRecipe):
        if way == BACK:
            raise CheckpointError(f"{folder}: has no reverse direction: it is of a restorer, not of a cycle")
        part: Restorer = spec.part(parts, "restorer")(domain)
        load_restorer(part, read_tensors(checkpoint, state, ("restorer",)), checkpoint)

        def made(domain: Domain, times: int | None) -> Restorer:
            return _Repeated(part, spec.evaluate.times if times is None else times)

        scale = TrainedScale.of(state, spec.data.size) if part.trained else None
    else:
        net = _translator(spec, parts, domains, checkpoint, state, way)

        usual = 1 if way == BACK else spec.evaluate.times

        def made(domain: Domain, times: int | None) -> Restorer:
            return TrainedRestorer(net, usual if times is None else times)

        scale = TrainedScale.of(state, spec.data.size) if made(domain, None).trained else None
    kept = {"data": spec.data.a.spec, "times": spec.evaluate.times}
    return Model(
        made, domain=domain, data=spec.data, scale=scale, format=files, name=str(folder), spec=kept, compute=compute
    )


def _translator(
    spec: Recipe,
    parts: Parts,
    domains: Mapping[str, Domain],
    checkpoint: Path,
    state: Mapping[str, Any],
    way: str,
) -> Translator:
    """Return a translator of a checkpoint, with averaged weights if there are any, in evaluation mode."""
    net = build_translator(spec, parts, domains)
    kept = "average" if "average.safetensors" in state["files"] else "nets"
    tensors = read_tensors(checkpoint, state, (kept,), prefix=way)[kept]
    if not tensors:
        raise CheckpointError(
            f"{checkpoint}: has no reverse direction: nets.one_way, or no loss that needs the way back"
        )
    load_nets(Nets(net), {FORTH + name.removeprefix(way): value for name, value in tensors.items()}, checkpoint)
    return net.eval()


def _keep(folder: Path) -> str:
    try:
        return keep_of(json.loads((folder / "recipe.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: is neither a run folder nor a checkpoint ({error})") from error
