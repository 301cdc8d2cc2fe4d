"""The runs of a sweep: which are needed, which are done, and which began with another recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from restorekit.core.errors import CheckpointError, RecipeError
from restorekit.recipes.model import AnyRecipe, Recipe
from restorekit.recipes.recipe import differences, read_resolved
from restorekit.runs.checkpoint import checkpoints, keep_of, kept_checkpoint, read_state
from restorekit.runs.runfolder import RunFolder

__all__ = ["Member", "is_done", "members"]


@dataclass(frozen=True)
class Member:
    """A run of a sweep, in a folder of its own."""

    name: str
    """The variant and the seed, for people."""
    folder: Path
    recipe: AnyRecipe | RecipeError
    """Or why it cannot be run."""

    @property
    def began(self) -> bool:
        """True if the folder is that of a run."""
        return (self.folder / "recipe.json").is_file()


def members(
    found: Mapping[str, AnyRecipe | RecipeError], seeds: int | None, out: Path, stem: str, *, hint: str
) -> list[Member]:
    """Return the runs of a sweep, seed by seed, so that every variant has one before any has two.

    Args:
        found: recipes by variant, "" for the recipe itself.
        seeds: how many, from that of the recipe on; None: that one alone.
        out: where run folders are made: `out`/NAME-VARIANT-seed0.
        stem: the name where a recipe cannot be read.
        hint: of the error of a changed recipe.

    Raises:
        RecipeError: if folders hold runs of another recipe, with what differs.
    """
    made = list(_members(found, seeds or 1, out, stem))
    errors = []
    for member in made:
        if member.began and not isinstance(member.recipe, RecipeError):
            differing = differences(read_resolved(member.folder), member.recipe)
            if differing:
                errors.append(f"{member.folder}: began with another recipe; differing: {', '.join(differing)}. {hint}")
    if errors:
        raise RecipeError(*errors)
    return made


def _members(found: Mapping[str, AnyRecipe | RecipeError], seeds: int, out: Path, stem: str) -> Iterator[Member]:
    for turn in range(seeds):
        for variant, spec in found.items():
            if isinstance(spec, RecipeError):
                if turn == 0:  # its error is reported once
                    yield Member(variant or stem, out / "-".join(filter(None, [stem, variant])), spec)
                continue
            seed = spec.seed + turn
            named = "-".join(filter(None, [spec.name, variant, f"seed{seed}"]))
            yield Member(f"{variant or spec.name}, seed {seed}", out / named, spec.model_copy(update={"seed": seed}))


def is_done(folder: Path, recipe: AnyRecipe | None = None) -> bool:
    """Return True if a run took its last step, was scored after it if it has test images, and reported after that.

    Args:
        folder: the run folder.
        recipe: what is asked for now, which may have more steps; None: what the run began with.
    """
    found = checkpoints(folder)
    try:
        state = read_state(found[-1]) if found else None
        kept = read_state(kept_checkpoint(folder, keep_of(state["recipe"]))) if state else None
    except CheckpointError:
        return False  # resuming reports what is wrong
    if state is not None and isinstance(recipe, Recipe):
        lengths = [state["recipe"]["train"].get(key) for key in ("steps", "epochs")]
        if lengths != [recipe.train.steps, recipe.train.epochs]:
            return False
    report = folder / "report.html"
    if state is None or kept is None or state["step"] < state["steps"] or not report.is_file():
        return False
    run = RunFolder(folder)
    images = ((run.json("data.json").get("splits") or {}).get("test") or {}).get("a") or {}
    if not images.get("images"):
        return True
    names = ["scores/test.json", *(["scores/audit.json"] if state["recipe"].get("audit") else [])]
    of_these = all(run.json(name).get("step") == kept["step"] for name in names)
    return of_these and all(report.stat().st_mtime_ns >= (folder / name).stat().st_mtime_ns for name in names)
