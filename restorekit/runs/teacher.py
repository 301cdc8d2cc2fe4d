"""The teacher of a run: the frozen translator of another run, which losses read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from restorekit.core.errors import RestorekitError
from restorekit.core.types import Domain, Nets, Translator
from restorekit.discovery.plugins import Plugins
from restorekit.parts.registry import Parts
from restorekit.recipes import recipe
from restorekit.recipes.model import IncompatibleRecipeError, Recipe, require_training
from restorekit.runs.checkpoint import kept_checkpoint, load_nets, read_state, read_tensors

__all__ = ["Teacher", "open_teacher"]

Make = Callable[[Recipe, Parts, Mapping[str, Domain]], Translator]


@dataclass(frozen=True)
class Teacher:
    """A translator with the scored weights of its run, and the SHA-256 digest of the file that holds them."""

    net: Translator
    digest: str


def open_teacher(spec: Recipe, plugins: Plugins, make: Make) -> Teacher | None:
    """Read the teacher that a recipe names; None if it names none.

    Args:
        spec: the recipe.
        plugins: where the parts of the teacher's recipe come from.
        make: makes the restoring translator of a recipe for its domains.

    Raises:
        RecipeError: if it is not there, is not trained, or takes other images.
    """
    if spec.nets.teacher is None:
        return None
    at = ("nets", "teacher")
    try:
        folder = Path(spec.nets.teacher)
        began = recipe.read_resolved(folder)
        checkpoint = kept_checkpoint(folder, began.get("train", {}).get("keep", "last"))
        state = read_state(checkpoint)
        trained = require_training(recipe.resolved(state["recipe"], str(checkpoint), plugins))
        domains = {name: Domain.of(fields) for name, fields in state["domains"].items()}
        net = make(trained, plugins.parts, domains)
        kept = "average" if "average.safetensors" in state["files"] else "nets"
        load_nets(Nets(net), read_tensors(checkpoint, state, (kept,), prefix="ab.")[kept], checkpoint)
    except RestorekitError as error:
        raise IncompatibleRecipeError(spec, *((at, str(one)) for one in error.errors)) from error
    takes, gets = ((data.channels, len(data.size)) for data in (trained.data, spec.data))
    if takes != gets:
        raise IncompatibleRecipeError(
            spec, (at, f"takes images of (channels, spatial sizes) {takes}; got {gets} by data")
        )
    multiple, sizes = net.generator.multiple, [*spec.data.sizes["a"], *spec.data.sizes["b"]]
    if any(n % multiple for n in sizes):
        raise IncompatibleRecipeError(spec, (at, f"takes multiples of {multiple}; got data.size {spec.data.size}"))
    return Teacher(net, state["files"][f"{kept}.safetensors"])
