"""Options of parts validated by pydantic, and its errors as records."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from restorekit.core.errors import Code, ErrorRecord, Place, unknown_record
from restorekit.parts.part import Part

__all__ = ["adapter", "explain", "lacking_option", "plain_options"]


def adapter(part: Part) -> TypeAdapter[Any]:
    """Return what validates the options of a part that hold no parts; making it takes milliseconds."""
    fields: dict[str, Any] = {}
    for name, parameter in part.options.items():
        if part.nested(name) is None:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (part.hints[name], default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return TypeAdapter(create_model(part.name, __config__=config, **fields))


def plain_options(
    part: Part, validator: TypeAdapter[Any], options: Mapping[str, Any], place: Place
) -> tuple[dict[str, Any], list[ErrorRecord]]:
    """Return the options that hold no parts as the factory takes them, and their errors."""
    plain = {n: value for n, value in options.items() if part.nested(n) is None}
    try:
        values = validator.validate_json(json.dumps(plain, default=str), strict=True)
    except ValidationError as error:
        return {}, [*_option_errors(part, error, plain, place)]
    return {n: getattr(values, n) for n in plain}, []


_ALLOWED = {
    "bool_type": ("wrong-type", "true or false"),
    "dict_type": ("wrong-type", "a mapping"),
    "finite_number": ("out-of-range", "a finite number"),
    "float_type": ("wrong-type", "a number"),
    "greater_than": ("out-of-range", "above {gt}"),
    "greater_than_equal": ("out-of-range", "at least {ge}"),
    "int_from_float": ("wrong-type", "an integer"),
    "int_type": ("wrong-type", "an integer"),
    "less_than": ("out-of-range", "below {lt}"),
    "less_than_equal": ("out-of-range", "at most {le}"),
    "list_type": ("wrong-type", "a list"),
    "literal_error": ("not-allowed", "{expected}"),
    "string_type": ("wrong-type", "text"),
    "too_long": ("out-of-range", "a list of at most {max_length}"),
    "too_short": ("out-of-range", "a list of at least {min_length}"),
    "tuple_type": ("wrong-type", "a list"),
}
"""By pydantic's type of an error: its code, and what is allowed."""


def explain(error: ValidationError, data: Any) -> Iterator[tuple[Place, str, ErrorRecord]]:
    """Yield pydantic's errors as records, those of the alternatives of one value together.

    Args:
        error: what pydantic raised.
        data: what was validated.

    Yields:
        The place in `data`, pydantic's type of the error, and a record without a place.
    """
    found: dict[tuple[Place, bool], tuple[str, ErrorRecord]] = {}
    for one in error.errors(include_url=False):
        place = _place_in(data, one["loc"], absent=one["type"] == "missing")
        code, allowed = _ALLOWED.get(one["type"], ("", ""))
        if not code:
            text = one["msg"].removeprefix("Value error, ")
            record = ErrorRecord(text[0].lower() + text[1:], got=one["input"])
        else:
            limits = {key: f"{v:g}" if isinstance(v, float) else v for key, v in one.get("ctx", {}).items()}
            described = allowed.format(**limits)
            record = ErrorRecord("", typing.cast(Code, code), got=one["input"], allowed=(described,))
        known = found.get((place, bool(code)))
        if known is not None and code and described not in known[1].allowed:
            merged = "wrong-type" if "wrong-type" in (code, known[1].code) else known[1].code
            record = replace(known[1], code=merged, allowed=(*known[1].allowed, described))
        if known is None or code:
            found[place, bool(code)] = one["type"], record
    yield from ((place, kind, record) for (place, _), (kind, record) in found.items())


def _place_in(data: Any, steps: Place, *, absent: bool) -> Place:
    """Return the steps of a place that data have; pydantic adds the names of alternatives, which are no keys.

    Args:
        data: mappings and lists.
        steps: keys and indexes.
        absent: whether the last step is a key that is not there.
    """
    place: list[str | int] = []
    for i, step in enumerate(steps):
        there = (isinstance(data, Mapping) and step in data) or (
            isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)
        )
        if there:
            data = data[step]
        if there or (absent and i == len(steps) - 1):
            place.append(step)
    return tuple(place)


def _option_errors(
    part: Part, error: ValidationError, options: Mapping[str, Any], place: Place
) -> Iterator[ErrorRecord]:
    """Yield the errors of a part's options."""
    for at, kind, record in explain(error, options):
        label = ".".join(map(str, at))
        if kind == "missing":
            yield lacking_option(part, label, (*place, *at))
            continue
        if kind == "extra_forbidden":
            found = unknown_record("option", label, part.options, "unknown-key")
        else:
            text = label if record.allowed else ": ".join(filter(None, (label, record.message)))
            found = replace(record, message=text)
        yield replace(found, message=f"{part.kind} {part.name!r}: {found.message}", place=(*place, *at))


def lacking_option(part: Part, option: str, place: Place) -> ErrorRecord:
    """Return the error of an option that has no default and is not given."""
    return ErrorRecord(f"{part.kind} {part.name!r}: option {option!r} needs a value", "missing", place)
