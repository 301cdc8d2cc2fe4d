"""YAML to a frozen, validated Recipe: every error at once, each with its file, its line and a hint.

A recipe is built in layers: the file it `extends`, the file itself, a variant, then every `--set`. What a later layer
sets replaces the value of an earlier one, and an error names the layer that the value comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from restorekit.core.errors import ErrorRecord, Origin, RecipeError, unknown
from restorekit.discovery.plugins import Plugins
from restorekit.parts.part import split
from restorekit.parts.registry import Parts
from restorekit.recipes.errors import checked
from restorekit.recipes.layered import Layered, Origins, read, to_yaml
from restorekit.recipes.model import AnyRecipe
from restorekit.recipes.places import PART_PLACES, held, named
from restorekit.recipes.upgrade import upgraded

__all__ = [
    "FREE",
    "differences",
    "dump",
    "load",
    "load_variants",
    "named_variants",
    "options",
    "parts_of",
    "read_resolved",
    "reopened",
    "resolved",
    "variant_names",
]

FREE = (
    *("variants", "variant", "paper", "paper_note", "data.root", "data.cache", "data.workers", "train.save_every"),
    *("nets.teacher", "train.schedule.restart", "train.discriminator_schedule.restart"),
)
"""Keys that may differ when a run goes on, for no result depends on them: splits.csv holds where images are; which
weights a teacher has, its digest in the checkpoint does; and `restart` counts when the length is raised."""
LENGTHS = ("train.steps", "train.epochs")
"""Keys that may be raised when a run goes on; `Run.resume` checks whether its schedule allows it."""


def load(path: Path, plugins: Plugins, *, sets: Sequence[str] = (), variant: str | None = None) -> AnyRecipe:
    """Read, layer and validate a recipe.

    Args:
        path: a YAML 1.2 file.
        plugins: the parts that it may name.
        sets: `a.b=value` each, the value as YAML. A list's item is named by its index or by its part's name.
        variant: one of the recipe's `variants`.

    Raises:
        RecipeError: with every error: file and line, key, what is wrong, a hint.
    """
    layered = read(path)
    if variant is not None:
        layered.apply_variant(variant, path)
        layered.data["variant"] = variant
    layered.apply(sets)
    try:
        return _validate(layered, plugins)
    except RecipeError as error:
        lists = _lists(layered, variant)
        if lists:
            hint = "lists in a variant are choices; a value that is itself a list is written [[...]]"
            place = ("variants", lists[0])
            about = ErrorRecord(f"{', '.join(lists[1:])}: {hint}", "wrong-type", place, layered.where(place))
            raise RecipeError(*error.errors, about) from error
        raise


def _lists(layered: Layered, variant: str | None) -> list[str]:
    """Return the variant that was applied, and its keys that hold lists; nothing if there are none."""
    choice = layered.variants().get(variant or "")
    keys = [] if choice is None else [str(place[2]) for _, _, place in choice.values if len(place) > 3]
    return [choice.base, *keys] if choice is not None and keys else []


def variant_names(path: Path) -> list[str]:
    """Return the names of a recipe's variants, as they stand in its file and in what that extends.

    A variant with lists of values is several: see `restorekit.recipes.variants.expanded`.

    Raises:
        RecipeError: if the file cannot be read, a list is empty, or two variants get the same name.
    """
    return list(read(path).variants())


def named_variants(path: Path, names: Sequence[str]) -> list[str]:
    """Return those of some names that are variants of a recipe; one with lists of values stands for all that it makes.

    Raises:
        RecipeError: as `variant_names` does.
    """
    known = read(path).variants()
    found: list[str] = []
    for name in names:
        made = [name] if name in known else [one for one, choice in known.items() if choice.base == name]
        found += made if name else [""]
    return [*dict.fromkeys(found)]


def load_variants(
    path: Path, plugins: Plugins, names: Sequence[str] | None, *, sets: Sequence[str] = ()
) -> dict[str, AnyRecipe | RecipeError]:
    """Read several variants of a recipe; one that cannot be used is replaced by its error.

    Args:
        path: a YAML 1.2 file.
        plugins: the parts that it may name.
        names: of variants, "" for the recipe itself; None: all, and the recipe itself if no variant is the same. A
            variant with lists of values stands for all that it makes.
        sets: `a.b=value` each, laid over every variant.

    Raises:
        RecipeError: if the file cannot be read, or has no such variant.
    """
    known = variant_names(path)
    for name in names or ():
        if name and not named_variants(path, [name]):
            raise RecipeError(f"{path}: {unknown('variant', name, known)}")
    found: dict[str, AnyRecipe | RecipeError] = {}
    for name in ["", *known] if names is None else named_variants(path, names):
        try:
            found[name] = load(path, plugins, sets=sets, variant=name or None)
        except RecipeError as error:
            found[name] = error
    if names is None and any(_same(found[""], other) for name, other in found.items() if name):
        del found[""]
    return found


def _same(one: AnyRecipe | RecipeError, other: AnyRecipe | RecipeError) -> bool:
    """True if two recipes are the same except for the name of the variant."""
    if isinstance(one, RecipeError) or isinstance(other, RecipeError):
        return False
    return one.model_dump(exclude={"variant"}) == other.model_dump(exclude={"variant"})


def options(sets: Sequence[str]) -> dict[str, Any]:
    """Return `a.b=value` settings as a nested mapping, such as a part's options."""
    layered = Layered()
    layered.apply(sets)
    return layered.data


def differences(began: Mapping[str, Any], now: AnyRecipe) -> list[str]:
    """Return the keys by which a recipe differs from the resolved one that a run began with, where it may not."""
    before = upgraded(began)
    with suppress(ValidationError):  # a key that is new since then had its default; what is no recipe differs anyway
        before = json.loads(type(now).model_validate(before).model_dump_json())
    after = json.loads(now.model_dump_json())
    return [key for key in sorted(_differences(before, after, "")) if not _is_raised(key, before, after)]


def _is_raised(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """True if a key is the length of a training, and is larger than it was."""
    if key not in LENGTHS:
        return False
    was, now = (held(data, tuple(key.split("."))) for data in (before, after))
    return isinstance(was, int) and isinstance(now, int) and now > was


def _differences(one: Any, other: Any, place: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {*one, *other}:
            yield from _differences(one.get(key), other.get(key), f"{place}.{key}" if place else key)
    elif one != other and not any(f"{place}.".startswith(f"{free}.") for free in FREE):
        yield place


def parts_of(recipe: AnyRecipe, parts: Parts) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of every part that a recipe names, also of those within others."""
    data = json.loads(recipe.model_dump_json())
    for place, kind in PART_PLACES.items():
        for _, spec in named(data, place):
            yield from ((inner, split(one)[0]) for _, inner, one in parts.within(kind, spec))


def read_resolved(folder: Path) -> dict[str, Any]:
    """Return the resolved recipe of a run folder.

    Raises:
        RecipeError: if there is none, or it is damaged.
    """
    path = folder / "recipe.json"
    if not path.is_file():
        raise RecipeError(f"{folder}: is no run folder: it has no recipe.json")
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error
    blocks = [data.get(key, {}) for key in ("data", "nets", "train")] if isinstance(data, dict) else []
    if not isinstance(data, dict) or "name" not in data or not all(isinstance(one, dict) for one in blocks):
        raise RecipeError(f"{path}: is no recipe; it is damaged; restore a copy of it")
    return data


def resolved(data: dict[str, Any], origin: str, plugins: Plugins) -> AnyRecipe:
    """Validate a resolved recipe, as a run folder or a checkpoint holds it, against the parts installed now."""
    return _validate(Layered(upgraded(data), {(): Origin(origin)}), plugins)


def reopened(folder: Path, plugins: Plugins, root: Path | None = None, sets: Sequence[str] = ()) -> AnyRecipe:
    """Return the recipe that a run began with.

    Args:
        folder: the run folder.
        plugins: the parts that it may name.
        root: where the folder `data.root` is now; None: where it was.
        sets: `a.b=value` each, of what may change when it goes on, such as a larger `train.steps`.

    Raises:
        RecipeError: if it is no run folder, its recipe is damaged, `data.root` is not there, or `sets` change what a
            run keeps.
    """
    data = read_resolved(folder)
    if sets:
        layered = Layered(upgraded(data), {(): Origin(str(folder / "recipe.json"))})
        layered.apply(sets)
        changed = _validate(layered, plugins)
        if differing := differences(data, changed):
            raise RecipeError(
                f"--set: a run that goes on keeps {', '.join(differing)}; train.steps and train.epochs can be raised, "
                f"and these may change: {', '.join(FREE)}. Start a new run for other changes"
            )
        data = json.loads(changed.model_dump_json())
    if root is not None:
        if not root.expanduser().is_dir():
            raise RecipeError(f"--root {root}: no such folder")
        data = {**data, "data": {**data["data"], "root": str(root.expanduser().resolve())}}
    spec = resolved(data, str(folder / "recipe.json"), plugins)
    if root is None and spec.data.root is not None and not Path(spec.data.root).is_dir():
        raise RecipeError(f"{folder}: its images were in {spec.data.root}, which does not exist; give --root FOLDER")
    return spec


def dump(recipe: AnyRecipe) -> str:
    """Return the resolved recipe as YAML 1.2."""
    return to_yaml(json.loads(recipe.model_dump_json()))


def _validate(layered: Layered, plugins: Plugins) -> AnyRecipe:
    recipe, parts, errors = checked(layered.data, plugins)
    origins = Origins(layered.origins)
    if recipe is None or errors:
        raise RecipeError(*(replace(error, origin=origins.where(error.place)) for error in errors))
    return recipe.with_origins(origins, parts)
