"""Every error of a recipe's plain data, each with its place: of its keys, its parts, and combinations."""

from __future__ import annotations

import copy
import json
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from restorekit.core.errors import ErrorRecord, Place, unknown_record
from restorekit.discovery.plugins import Plugins
from restorekit.parts.part import NO_PART, split
from restorekit.parts.registry import Parts
from restorekit.parts.validation import explain
from restorekit.recipes.layered import name_of
from restorekit.recipes.model import AnyRecipe, Audit, PartSpec, Recipe, RestorerRecipe, Train
from restorekit.recipes.places import PART_PLACES, Resolved, held, named
from restorekit.recipes.suggestions import did_you_mean, key_places, part_options
from restorekit.recipes.upgrade import old_keys
from restorekit.recipes.variants import numbered

__all__ = ["Checked", "checked"]

OF_RUNS = ("restorer", "metric")
"""Kinds of parts that may name another run, also within the parts that they hold; its path is kept absolute."""


class Checked(NamedTuple):
    """The result of checking plain data."""

    recipe: AnyRecipe | None
    """The recipe; None if its keys and values are not valid."""
    parts: Resolved
    """Its good parts."""
    errors: list[ErrorRecord]
    """Every error; without any there is a recipe and all of its parts."""


def checked(data: dict[str, Any], plugins: Plugins) -> Checked:
    """Validate the plain data of a recipe: keys, values, parts, and what goes together."""
    outdated = list(old_keys(data))
    reported = {one.place for one in outdated}
    found = [*outdated, *_needs(data, plugins)]
    data = _with_default_names(data)
    recipe: AnyRecipe | None = None
    data = _without_taken_back(data)
    model = RestorerRecipe if "restorer" in data else Recipe
    options = part_options(_with_default_parts(data), plugins.parts)
    known = key_places(options)
    try:
        recipe = model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        of_model = _model_errors(error, data, known, model)
        found += [_beside_restorer(one, data) for one in of_model if one.place not in reported]
    except ValueError as error:
        found.append(ErrorRecord(str(error)))
    parts = Resolved()
    whole = data if recipe is None else recipe.model_dump()  # with the parts that it leaves out
    for place, kind in PART_PLACES.items():
        for at, spec in named(whole, place):
            if name_of(spec) is None:
                continue  # it names no part: an error of the model
            read = plugins.parts.read(kind, spec, at)
            found += [_option_error(one, options, known, data) for one in read.errors if one.place not in reported]
            if read.factory is not None:
                kept = read.spec if kind in OF_RUNS else _with_paths(spec, read.spec)
                parts.keep(at, kept, read.factory)
                recipe = None if recipe is None else _with_part(recipe, at, kept)
    found += _joint_errors(data, plugins.parts)  # after the parts, which had their plugins imported
    return Checked(recipe, parts, found)


def _with_paths(spec: Any, read: dict[str, Any]) -> Any:
    """Return a part as it was given, with its own texts as they were read: of a file, its path from the root."""
    name, options = split(spec)
    texts = {n: read[n] for n, given in options.items() if isinstance(given, str) and read[n] != given}
    changed = {n: text for n, text in texts.items() if isinstance(text, str)}
    return {"name": name, **options, **changed} if changed else spec


def _with_part(recipe: AnyRecipe, place: Place, spec: Any) -> AnyRecipe:
    """Return a recipe with the paths of runs and files in a part as they are kept, wherever it is loaded from."""
    made: AnyRecipe = _replaced(recipe, place, spec)
    return made


def _replaced(value: Any, place: Place, spec: Any) -> Any:
    """Return a value of a recipe in which the part at a place below it is `spec`; its own keys, as a weight, stay."""
    if not place:
        given = {"name": spec} if isinstance(spec, str) else spec
        return value if given == value.spec else type(value).model_validate({**value.model_dump(), **given})
    key, *rest = place
    if isinstance(value, BaseModel):
        old = getattr(value, str(key))
        new = _replaced(old, tuple(rest), spec)
        return value if new is old else value.model_copy(update={str(key): new})
    old = value[key]
    new = _replaced(old, tuple(rest), spec)
    if new is old:
        return value
    return (
        {**value, key: new} if isinstance(value, dict) else [new if at == key else one for at, one in enumerate(value)]
    )


def _without_taken_back(data: dict[str, Any]) -> dict[str, Any]:
    """Return plain data without the null keys of a training beside a restorer: a variant takes the training back so."""
    if data.get("restorer") is None:
        return data
    of_training = Recipe.model_fields.keys() - RestorerRecipe.model_fields.keys()
    return {key: value for key, value in data.items() if value is not None or key not in of_training}


def _beside_restorer(error: ErrorRecord, data: dict[str, Any]) -> ErrorRecord:
    """Return the error of a training key in a recipe that names a restorer, with a hint."""
    place = error.place
    if "restorer" in data and len(place) == 1 and place[0] in Recipe.model_fields:
        text = "is for trainings; a recipe with restorer has none: remove it, or remove restorer"
        return ErrorRecord(text, "conflict", place)
    return error


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


def _needs(data: dict[str, Any], plugins: Plugins) -> Iterator[ErrorRecord]:
    needs = data.get("needs")
    if not isinstance(needs, list):
        return
    for i, need in enumerate(needs):
        if not isinstance(need, str):
            continue  # an error of the model
        if not need.strip():
            yield ErrorRecord("is empty; name a distribution, such as restorekit-selfonn", "not-allowed", ("needs", i))
            continue
        why = plugins.missing(need)
        if why:
            yield ErrorRecord(why, "not-installed", ("needs", i))


def _option_error(
    error: ErrorRecord, options: dict[Place, list[str]], known: list[Place], data: dict[str, Any]
) -> ErrorRecord:
    """Return the error of a part; of an option that it does not have, with the nearest key of the whole recipe."""
    of = options.get(error.place[:-1])
    if of is None or error.code != "unknown-key":
        return error
    return replace(error, allowed=tuple(sorted(of)), hint=did_you_mean(error.place, known, data).strip())


def _joint_errors(data: dict[str, Any], parts: Parts) -> Iterator[ErrorRecord]:
    """Yield the errors of values that do not go together.

    They are looked for in plain data: the models would report them only where nothing else is wrong, and not where.
    What has the wrong shape is passed over; the models report that.
    """
    yield from _length_errors(data.get("train"))
    yield from _best_errors(held(data, ("train", "best")), held(data, ("evaluate", "metrics")), parts)
    yield from _audit_errors(data.get("audit"), name_of(held(data, ("nets", "generator"))))


def _length_errors(train: Any) -> Iterator[ErrorRecord]:
    if not isinstance(train, dict):
        return
    keys = [key for key in ("steps", "epochs") if key in train]
    given = [key for key in keys if train[key] is not None]
    text = "train takes 'steps' or 'epochs', never both"
    if len(given) == 2:
        yield ErrorRecord(f"{text}; got both; remove one", "conflict", ("train", "steps"))
    elif not given:  # a null that a later layer set is to blame, else the block
        yield ErrorRecord(f"{text}; got neither; give one", "missing", ("train", *keys[:1]))


def _best_errors(best: Any, metrics: Any, parts: Parts) -> Iterator[ErrorRecord]:
    specs = [] if metrics is None else metrics
    if not isinstance(best, str) or not isinstance(specs, list):
        return
    names = [name for name in map(name_of, specs) if name is not None and ("metric", name) in parts]
    if len(names) < len(specs):
        return  # a metric that is reported as unknown may be the one that was meant
    if best not in numbered(names):
        yield unknown_record("evaluated metric", best, numbered(names), place=("train", "best"))


def _audit_errors(audit: Any, generator: str | None) -> Iterator[ErrorRecord]:
    if not isinstance(audit, (str, dict)):
        return
    usual = Audit.model_fields["classifier"].default.name
    classifier = name_of(audit["classifier"]) if isinstance(audit, dict) and "classifier" in audit else usual
    if classifier is not None and classifier == generator:
        text = f"is {classifier!r}, as nets.generator; an audit classifier needs another architecture"
        yield ErrorRecord(text, "conflict", ("audit", "classifier"))


def _model_errors(
    error: ValidationError, data: dict[str, Any], known: list[Place], root: type[BaseModel]
) -> Iterator[ErrorRecord]:
    for place, kind, record in explain(error, data):
        if kind == "extra_forbidden":
            keys = tuple(_keys(place[:-1], root))
            hint = did_you_mean(place, known, data).strip()
            found = ErrorRecord("unknown key", "unknown-key", got=place[-1], allowed=keys, hint=hint)
        elif kind == "missing":
            found = ErrorRecord("is missing and has no default", "missing")
        elif kind == "model_type":
            part = issubclass(_model(place, root), PartSpec)
            text = NO_PART if part else f"takes a mapping with {', '.join(_keys(place, root))}"
            found = ErrorRecord(text, "wrong-type", got=record.got, hint=_meant(place, record.got, root))
        elif kind == "value_error":
            found = ErrorRecord(record.message)
        else:
            found = record
        yield found.within(place)


def _meant(place: Place, value: Any, root: type[BaseModel]) -> str:
    """Return the mapping that was meant by a value that stands for it, if one of its keys takes the value."""
    for name, field in _model(place, root).model_fields.items():
        if typing.get_origin(field.annotation) is Literal and value in typing.get_args(field.annotation):
            return f"Did you mean {{{name}: {value}}}?"
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
