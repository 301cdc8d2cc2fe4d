"""The registry of parts: add, look up, validate.

A factory takes by position what the core gives, by keyword what the recipe gives. Both are checked: the signature when
a part is added, the options when a recipe is read, what is returned when the part is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

from pydantic import TypeAdapter

from restorekit.core.errors import ErrorRecord, Place, PluginError, RecipeError, unknown, unknown_record
from restorekit.core.parts import KINDS, Factory
from restorekit.parts.part import Nested, Option, Part, check_signature, described, make, make_within, split
from restorekit.parts.validation import adapter, lacking_option, plain_options

__all__ = ["Parts", "Reading", "Source"]


class Reading(NamedTuple):
    """A part as a recipe names it, validated."""

    factory: Factory | None
    """Takes the positional arguments alone; None if anything is wrong."""
    spec: dict[str, Any]
    """Its name and options, with texts as the validators of the options return them, such as an absolute path."""
    errors: list[ErrorRecord]
    """Every error."""


class Source(Protocol):
    """A source of parts whose names are known before they are added."""

    def names(self, kind: str) -> Iterable[str]:
        """Return the names of a kind that could be added."""

    def bring(self, kind: str, name: str) -> str | None:
        """Add a part if possible; else return the reason, or None if the name alone is the error."""


class Parts:
    """Every known part, by kind and name. A missing part is requested from the source, if there is one."""

    def __init__(self, source: Source | None = None) -> None:
        self._parts: dict[tuple[str, str], Part] = {}
        self._adapters: dict[Part, TypeAdapter[Any]] = {}
        self._source = source

    def __contains__(self, key: tuple[str, str]) -> bool:
        """True if a part, (kind, name), was added."""
        return key in self._parts

    def add(self, kind: str, name: str, factory: Factory, *, owner: str) -> None:
        """Add a part. `owner` is the plugin's name.

        Raises:
            PluginError: if there is no such kind, the name is taken, or the signature breaks the contract.
        """
        if kind not in KINDS:
            raise PluginError(unknown("kind of part", kind, KINDS), plugin=owner)
        if (kind, name) in self._parts:
            other = self._parts[kind, name].owner
            raise PluginError(f"{kind} {name!r} already comes from {other}; one must rename it", plugin=owner)
        part = Part(kind, name, factory, owner)
        check_signature(part)
        self._parts[kind, name] = part

    def remove(self, owner: str) -> None:
        """Remove every part of a plugin."""
        self._parts = {key: part for key, part in self._parts.items() if part.owner != owner}

    def discard(self, kind: str, name: str) -> None:
        """Remove a part, if it exists."""
        self._parts.pop((kind, name), None)

    def names(self, kind: str) -> list[str]:
        """Return the names of all parts of a kind, sorted; also of those that are still to be added."""
        if kind not in KINDS:
            raise RecipeError(unknown("kind of part", kind, KINDS))
        others = self._source.names(kind) if self._source is not None else ()
        return sorted({*others, *(name for k, name in self._parts if k == kind)})

    def owner(self, kind: str, name: str) -> str:
        """Return the plugin that brought a part."""
        return self._find(kind, name).owner

    def factory(self, kind: str, name: str) -> Factory:
        """Return a part's factory as its plugin gave it."""
        return self._find(kind, name).factory

    def about(self, kind: str, name: str) -> str:
        """Return the docstring of a part's factory."""
        return inspect.getdoc(self._find(kind, name).factory) or ""

    def options(self, kind: str, name: str) -> list[Option]:
        """Return a part's options as text, as a recipe takes them."""
        return described(self._find(kind, name))

    def option_names(self, kind: str, name: str) -> list[str]:
        """Return the names of a part's options."""
        return [*self._find(kind, name).options]

    def schema(self, kind: str, name: str) -> dict[str, Any]:
        """Return the JSON schema of a part's options, for editors."""
        return self._adapter(self._find(kind, name)).json_schema()

    def nested(self, kind: str, name: str) -> dict[str, Nested]:
        """Return the options of a part that hold parts, each with the kind that it holds."""
        part = self._find(kind, name)
        return {option: held for option in part.options if (held := part.nested(option)) is not None}

    def errors(self, kind: str, spec: Any, place: Place = ()) -> list[ErrorRecord]:
        """Return every error of a part as a recipe names it: a name, or a mapping with `name` and options."""
        return self.read(kind, spec, place).errors

    def resolve(self, kind: str, spec: Any) -> Factory:
        """Return a part as a factory of the positional arguments alone; nested parts are resolved too.

        Raises:
            RecipeError: with every error of the spec.
        """
        found = self.read(kind, spec)
        if found.factory is None:
            raise RecipeError(*found.errors)
        return found.factory

    def read(self, kind: str, spec: Any, place: Place = ()) -> Reading:
        """Validate a part as a recipe names it, and the parts that its options hold.

        Args:
            kind: of the part.
            spec: its name, or a mapping with `name` and options.
            place: of the part in the recipe.
        """
        try:
            name, options = split(spec)
        except ValueError as error:
            return Reading(None, {}, [ErrorRecord(str(error), "wrong-type", place, got=spec)])
        lacking = self._lacking(kind, name)
        if lacking is not None:
            return Reading(None, {}, [lacking.within(place)])
        part = self._find(kind, name)
        values, found = plain_options(part, self._adapter(part), options, place)
        made = {"name": name, **options, **{n: value for n, value in values.items() if isinstance(value, str)}}
        held: dict[str, Any] = {}
        for n, parameter in part.options.items():
            nested, value = part.nested(n), options.get(n)
            if nested is None:
                continue
            if value is None:
                if parameter.default is inspect.Parameter.empty:
                    found.append(lacking_option(part, n, (*place, n)))
                continue
            within = [(at, self.read(nested.kind, item, (*place, *at))) for at, item in _items(n, nested, value)]
            found += [error for _, inner in within for error in inner.errors]
            factories = [partial(make_within, at, inner.factory) for at, inner in within if inner.factory is not None]
            held[n] = factories if nested.many else next(iter(factories), None)
            specs = [inner.spec for _, inner in within]
            made[n] = specs if nested.many and isinstance(value, list) else specs[0]
        return Reading(None if found else partial(make, part, values, held), made, found)

    def within(self, kind: str, spec: Any, place: Place = ()) -> Iterator[tuple[Place, str, Any]]:
        """Yield (place, kind, spec) of a part at `place` of a recipe, and of the parts that its options hold.

        What is no part, or none that is known, is passed over: `errors` has it.
        """
        try:
            name, options = split(spec)
        except ValueError:
            return
        if self._lacking(kind, name) is not None:
            return
        yield place, kind, spec
        part = self._find(kind, name)
        for n, value in options.items():
            nested = part.nested(n)
            if nested is not None and value is not None:
                for at, item in _items(n, nested, value):
                    yield from self.within(nested.kind, item, (*place, *at))

    def _lacking(self, kind: str, name: str) -> ErrorRecord | None:
        """Return why the source does not add such a part; None if it does."""
        if (kind, name) in self._parts:
            return None
        why = self._source.bring(kind, name) if self._source is not None and kind in KINDS else None
        if (kind, name) in self._parts:
            return None
        return (
            ErrorRecord(why, "unusable-part") if why else unknown_record(kind, name, self.names(kind), "unknown-part")
        )

    def _find(self, kind: str, name: str) -> Part:
        lacking = self._lacking(kind, name)
        if lacking is not None:
            raise RecipeError(lacking)
        return self._parts[kind, name]

    def _adapter(self, part: Part) -> TypeAdapter[Any]:
        if part not in self._adapters:
            self._adapters[part] = adapter(part)
        return self._adapters[part]


def _items(option: str, nested: Nested, value: Any) -> list[tuple[Place, Any]]:
    """Return the parts that a value of an option holds, each with its place below the part."""
    if nested.many and isinstance(value, list):
        return [((option, i), item) for i, item in enumerate(value)]
    return [((option,), value)]
