"""Every fault of a recipe's plain data, each with its place: what the models say, its parts, and what goes together."""

from __future__ import annotations

import copy
import json
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from restorekit.core.errors import unknown
from restorekit.core.parts import Fault, OptionNames, Parts, Place
from restorekit.discovery.plugins import Plugins
from restorekit.recipes.layered import name_of
from restorekit.recipes.model import AnyRecipe, Audit, Recipe, RestorerRecipe, Train
from restorekit.recipes.places import PART_PLACES, held, named
from restorekit.recipes.suggestions import did_you_mean, key_places, part_options
from restorekit.recipes.upgrade import old_keys
from restorekit.recipes.variants import numbered

__all__ = ["checked"]


def checked(data: dict[str, Any], plugins: Plugins) -> tuple[AnyRecipe | None, list[Fault]]:
    """Return the recipe that plain data say, or None, and every fault: with none there is a recipe."""
    outdated = list(old_keys(data))
    faults: list[Fault] = [*outdated, *_needs(data, plugins)]
    data = _with_default_names(data)
    recipe: AnyRecipe | None = None
    model = RestorerRecipe if "restorer" in data else Recipe
    options = part_options(_with_default_parts(data), plugins.parts)
    known = key_places(options)
    try:
        recipe = model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        reported = {place for place, _ in outdated}
        found = _model_faults(error, lambda place: did_you_mean(place, known, data), model)
        faults += [_beside_restorer(fault, data) for fault in found if fault[0] not in reported]
    except ValueError as error:
        faults.append(((), str(error)))
    for place, kind in PART_PLACES.items():
        for at, text in _part_faults(data, place, kind, plugins.parts):
            of = options.get(at[:-1])
            if of is not None and at[-1] not in of.options:
                text = _unknown_option(of, str(at[-1]), did_you_mean(at, known, data))
            faults.append((at, text))
    faults += _joint_faults(data, plugins.parts)  # after the parts, which had their plugins imported
    return recipe, faults


def _beside_restorer(fault: Fault, data: dict[str, Any]) -> Fault:
    """Return the error of a key of trainings in a recipe that names a restorer with what to do."""
    place = fault[0]
    if "restorer" in data and len(place) == 1 and place[0] in Recipe.model_fields:
        return place, "is for trainings; a recipe with restorer has none: remove it, or remove restorer"
    return fault


def _with_default_names(data: dict[str, Any]) -> dict[str, Any]:
    """Return plain data in which options alone, as `train.optimizer.lr`, are those of the default part."""
    made = copy.deepcopy(data)
    of_extra = held(made, ("nets", "extra"))
    holders = [("optimizer", spec) for spec in (of_extra.values() if isinstance(of_extra, dict) else ())]
    for key, holder in [(key, made.get("train")) for key in ("optimizer", "schedule")] + holders:
        if isinstance(holder, dict) and isinstance(holder.get(key), dict) and "name" not in holder[key]:
            holder[key] = {"name": Train.model_fields[key].default.name, **holder[key]}
    return made


def _with_default_parts(data: dict[str, Any]) -> dict[str, Any]:
    """Return plain data that names the parts of a training which it leaves out, so that their options are known."""
    if "restorer" in data:
        return data
    train = data.get("train")
    given = train if isinstance(train, dict) else {}
    parts = {key: {"name": Train.model_fields[key].default.name} for key in ("optimizer", "schedule")}
    return {**data, "train": {**parts, **given}}


def _needs(data: dict[str, Any], plugins: Plugins) -> Iterator[Fault]:
    needs = data.get("needs")
    if not isinstance(needs, list):
        return
    for i, need in enumerate(needs):
        if not isinstance(need, str):
            continue  # the model's own fault
        fault = plugins.fault(need)
        if fault:
            yield ("needs", i), fault


def _part_faults(data: Any, place: Place, kind: str, parts: Parts) -> Iterator[Fault]:
    for at, spec in named(data, place):
        yield from parts.faults(kind, spec, at)


def _unknown_option(of: OptionNames, option: str, guess: str) -> str:
    """Return what is wrong with an option that a part does not have."""
    listed = ", ".join(sorted(of.options)) or "none"
    return f"{of.kind} {of.name!r}: no option is called {option!r}.{guess} Known: {listed}"


def _joint_faults(data: dict[str, Any], parts: Parts) -> Iterator[Fault]:
    """Yield the faults of values that do not go together.

    They are looked for in plain data: the models would tell of them only where nothing else is wrong, and not where.
    What has the wrong shape is passed over; the models tell of that.
    """
    yield from _length_faults(data.get("train"))
    yield from _best_faults(held(data, ("train", "best")), held(data, ("evaluate", "metrics")), parts)
    yield from _judge_faults(data.get("audit"), name_of(held(data, ("nets", "generator"))))


def _length_faults(train: Any) -> Iterator[Fault]:
    if not isinstance(train, dict):
        return
    keys = [key for key in ("steps", "epochs") if key in train]
    given = [key for key in keys if train[key] is not None]
    if len(given) == 2:
        yield ("train", "steps"), "train takes 'steps' or 'epochs', never both; came both; take one away"
    elif not given:  # a null that a later layer set is to blame, else the block
        yield ("train", *keys[:1]), "train takes 'steps' or 'epochs', never both; came neither; give one"


def _best_faults(best: Any, metrics: Any, parts: Parts) -> Iterator[Fault]:
    specs = [] if metrics is None else metrics
    if not isinstance(best, str) or not isinstance(specs, list):
        return
    names = [name for name in map(name_of, specs) if name is not None and ("metric", name) in parts]
    if len(names) < len(specs):
        return  # a metric that is told as unknown may be the one that was meant
    if best not in numbered(names):
        yield ("train", "best"), unknown("evaluated metric", best, numbered(names))


def _judge_faults(audit: Any, generator: str | None) -> Iterator[Fault]:
    if not isinstance(audit, (str, dict)):
        return
    usual = Audit.model_fields["judge"].default.name
    judge = name_of(audit["judge"]) if isinstance(audit, dict) and "judge" in audit else usual
    if judge is not None and judge == generator:
        yield ("audit", "judge"), f"is {judge!r}, as nets.generator; a judge needs another architecture; name one"


def _model_faults(error: ValidationError, guess: Callable[[Place], str], root: type[BaseModel]) -> Iterator[Fault]:
    for one in error.errors(include_url=False, include_context=False):
        place: Place = one["loc"]
        if one["type"] == "extra_forbidden":
            yield place, f"unknown key.{guess(place)} Known: {', '.join(_keys(place[:-1], root))}"
        elif one["type"] == "missing":
            yield place, "is missing and has no default"
        elif one["type"] == "model_type":
            keys = ", ".join(_keys(place, root))
            yield place, f"takes a mapping with {keys}; came {one['input']!r:.80}{_meant(place, one['input'], root)}"
        elif one["type"] == "value_error":
            yield place, one["msg"].removeprefix("Value error, ")
        else:
            yield place, f"{one['msg'][0].lower()}{one['msg'][1:]}; came {one['input']!r:.80}"


def _meant(place: Place, value: Any, root: type[BaseModel]) -> str:
    """Return the mapping that was meant by a value that stands for it, if one of its keys takes the value."""
    for name, field in _model(place, root).model_fields.items():
        if typing.get_origin(field.annotation) is Literal and value in typing.get_args(field.annotation):
            return f". Did you mean {{{name}: {value}}}?"
    return ""


def _keys(place: Place, root: type[BaseModel]) -> list[str]:
    """Return the known keys of the model at `place`."""
    return sorted(_model(place, root).model_fields)


def _model(place: Place, root: type[BaseModel]) -> type[BaseModel]:
    """Return the model at `place`; one without fields where there is none."""
    model: Any = root
    named = False
    for step in place:
        if isinstance(step, int) or named:
            named = False
            continue
        if step not in model.model_fields:
            return BaseModel
        named = typing.get_origin(model.model_fields[step].annotation) is dict  # the next step is a name of its own
        annotation = model.model_fields[step].annotation
        inner = [a for a in getattr(annotation, "__args__", (annotation,)) if isinstance(a, type)]
        models = [a for a in (annotation, *inner) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not models:
            return BaseModel
        model = models[0]
    found: type[BaseModel] = model
    return found
