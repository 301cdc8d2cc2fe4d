"""Checks of every part: it is documented, it can be made, and it refuses wrong options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from restorekit.core.errors import RecipeError, RestorekitError, unknown
from restorekit.testing.dimensions import attempt, claimed, everywhere
from restorekit.testing.subject import NotTried, Subject, require

__all__ = ["contract", "options"]

ODD: tuple[Any, ...] = ("no such value", -1.5, True, [], {"no such": 1})
"""Values of every type that a recipe can hold; no option takes all of them."""


def contract(subject: Subject) -> None:
    """It is documented, its options have types, its test case is valid, and some number of dimensions fits it."""
    part, kind, name = subject.parts, subject.kind, subject.name
    for exempt in subject.conformance.exempt:
        require(
            exempt in subject.checks,
            f"@conformance_case(exempt=...): {unknown(f'check of a {kind}', exempt, subject.checks)}",
        )
    require(
        part.about(kind, name).partition("\n")[0].strip(),
        "a part is documented by its factory's docstring, which has no first line; describe the part there",
    )
    for option in part.options(kind, name):
        require(option.type, f"option {option.name!r} has no plain type; annotate it with plain types")
    require(part.schema(kind, name).get("type") == "object", "its options must make a JSON schema of type object")
    errors = part.errors(kind, subject.spec)
    found = "; ".join(map(str, errors))
    require(
        not errors,
        f"it cannot be tried: {found}. Decorate the factory with @conformance_case(options={{...}})",
    )
    tried = everywhere(subject)
    for dims, error in tried.items():
        if error is not None and not isinstance(error, RecipeError):
            failure = f"raised {type(error).__name__}: {error}"
            require(False, f"{f'in {dims}-D ' if dims else ''}it must run, or refuse with a RecipeError; {failure}")
    if all(error is not None and isinstance(error.__cause__, ImportError) for error in tried.values()):
        raise NotTried(str(next(iter(tried.values()))))  # its library is an extra that is not installed
    why = "; ".join(dict.fromkeys(str(error) for error in tried.values()))
    require(None in tried.values(), f"it must take 1, 2 or 3 dimensions; it refuses all: {why}")


def options(subject: Subject) -> None:
    """It refuses options that it does not have, wrong types and values out of range, and names the option."""
    part, kind = subject.parts, subject.kind
    refused(subject, "no_such_option", 1)
    dims = claimed(subject)[:1]
    properties = part.schema(kind, subject.name).get("properties", {})
    for option in part.options(kind, subject.name):
        wrong = [value for value in ODD if part.errors(kind, {**subject.spec, option.name: value})]
        require(wrong, f"option {option.name!r} accepts anything; annotate it with what it takes, such as `int | None`")
        for value in wrong:
            refused(subject, option.name, value)
        schema = properties.get(option.name, {})
        for value in _beyond(schema):
            refused(subject, option.name, value)
        for value in _low(schema) if dims else ():
            _survives(replace(subject, dims=dims[0]), option.name, value)


def refused(subject: Subject, option: str, value: Any) -> None:
    """Require an error whose place is the option."""
    errors = subject.parts.errors(subject.kind, {**subject.spec, option: value})
    named = [error for error in errors if option in error.place]
    got = "; ".join(map(str, errors)) or "no error"
    require(named, f"option {option!r} must be refused by name for the value {value!r}; got {got}")


def _beyond(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values just out of range, of options that have one."""
    steps = {"minimum": -1, "exclusiveMinimum": 0, "maximum": 1, "exclusiveMaximum": 0}
    yield from (schema[limit] + step for limit, step in steps.items() if limit in schema)
    if schema.get("minItems"):
        yield []
    if "enum" in schema:
        yield "no such choice"


def _low(schema: Mapping[str, Any]) -> Iterator[int]:
    """Yield numbers that people write by mistake, where a number is taken and no minimum is declared."""
    plain = [one for one in schema.get("anyOf", [schema]) if one.get("type") in ("integer", "number")]
    if any("minimum" not in one and "exclusiveMinimum" not in one for one in plain):
        yield from (0, -1)


def _survives(subject: Subject, option: str, value: int) -> None:
    """Require that a value which passes the check of a recipe makes a part, or is refused with an error."""
    if subject.parts.errors(subject.kind, {**subject.spec, option: value}):
        return
    try:
        attempt(replace(subject, given={option: value}))
    except RestorekitError:
        return
    except Exception as error:
        failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise AssertionError(
            f"option {option!r} accepts {value}, which then raises {failure}; bound it: Annotated[int, Field(ge=1)]"
        ) from error
