"""The table of kinds, and the registry of parts: add, look up, validate, make, describe.

A factory takes by position what the core gives, by keyword what the recipe gives. Both are checked: the signature when
a plugin is loaded, the options when a recipe is read, what is returned when the part is made.
"""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from types import UnionType
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from restorekit.core.errors import (
    Code,
    ErrorRecord,
    Place,
    PluginError,
    RecipeError,
    message_of,
    unknown,
    unknown_record,
)

__all__ = [
    "KINDS",
    "PLURALS",
    "Factory",
    "Kind",
    "Nested",
    "Option",
    "OptionNames",
    "Parts",
    "Place",
    "Source",
    "explain",
]

Factory = Callable[..., Any]
"""What makes a part: called with what the kind gives by position, and with the options of the recipe by keyword."""


@dataclass(frozen=True)
class Kind:
    """A contract: what the core gives a factory by position, and what it must return."""

    gives: tuple[str, ...]
    returns: str
    """A class of `restorekit.core`, its full name if it is another library's, or "callable"."""
    about: str


KINDS: Mapping[str, Kind] = {
    "dataset": Kind(("root", "split"), "Dataset", "images of one side: root is a folder or None, split a name"),
    "format": Kind((), "Format", "a kind of files: how they are found, read and written"),
    "degradation": Kind(("domain",), "Degradation", "degrades images"),
    "layer": Kind(("dims",), "callable", "makes convolution-like layers in 1, 2 or 3 dimensions"),
    "encoder": Kind(("domain",), "Encoder", "makes maps of an image, from fine to coarse, for a decoder"),
    "generator": Kind(("source", "target"), "Generator", "translates images of one domain into another"),
    "discriminator": Kind(("domain",), "Discriminator", "scores images of a domain as real or translated"),
    "head": Kind(("features", "domain"), "TaskHead", "predicts from a generator's features, such as the class"),
    "loss": Kind((), "Loss", "a term of the objective"),
    "metric": Kind(("domain",), "Metric", "a score"),
    "restorer": Kind(("domain",), "Restorer", "restores images: a method without training, or several in a row"),
    "optimizer": Kind(("groups",), "torch.optim.Optimizer", "updates parameters from their gradients"),
    "schedule": Kind(("steps",), "callable", "the learning rate of a step, as a share of the optimizer's"),
    "logger": Kind(("folder",), "callable", "gets every event of a run"),
}


PLURALS: Mapping[str, str] = {kind + ("es" if kind.endswith("s") else "s"): kind for kind in KINDS}
"""Names of options that hold a list of parts, and the kind."""


@dataclass(frozen=True)
class Option:
    """A keyword argument of a factory, as text."""

    name: str
    type: str
    default: str | None
    """None if the recipe must give it."""


class Nested(NamedTuple):
    """A part, or a list of parts, as the value of an option."""

    kind: str
    many: bool


class OptionNames(NamedTuple):
    """A part that a recipe names, and the names of its options."""

    kind: str
    name: str
    options: list[str]


@dataclass(frozen=True)
class _Part:
    kind: str
    name: str
    factory: Factory
    owner: str

    @property
    def target(self) -> Any:
        """The function with the annotations: the factory, or a class's `__init__`."""
        return self.factory if inspect.isroutine(self.factory) else self.factory.__init__

    @property
    def hints(self) -> dict[str, Any]:
        """Annotations of the options."""
        return typing.get_type_hints(self.target, include_extras=True)

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters."""
        every = inspect.signature(self.factory).parameters
        return {n: p for n, p in every.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def nested(self, option: str) -> Nested | None:
        """Return the kind of part that an option holds, and whether it is a list of them; None for a plain value.

        An option whose name is a kind is itself a part; one whose name is the plural is a list of parts, unless its
        annotation has no factory in it: `layers: int = 3` is a number.
        """
        if option not in self.options:
            return None
        if option in KINDS:
            return Nested(option, many=False)
        many = option in PLURALS and (option not in self.hints or _has_factory(self.hints[option]))
        return Nested(PLURALS[option], many=True) if many else None

    def inner(self, options: Mapping[str, Any]) -> Iterator[tuple[Place, str, Any]]:
        """Yield (place, kind, spec) of the parts that given options hold; the place is below this part."""
        for option, value in options.items():
            nested = self.nested(option)
            if nested is not None and nested.many and isinstance(value, list):
                yield from (((option, i), nested.kind, item) for i, item in enumerate(value))
            elif nested is not None and value is not None:
                yield (option,), nested.kind, value


class Source(Protocol):
    """A source of parts whose names are known before they are added."""

    def names(self, kind: str) -> Iterable[str]:
        """Return the names of a kind that could be added."""

    def bring(self, kind: str, name: str) -> str | None:
        """Add a part if possible; else return the reason, or None if the name alone is the error."""


class Parts:
    """Every known part, by kind and name. A missing part is requested from the source, if there is one."""

    def __init__(self, source: Source | None = None) -> None:
        self._parts: dict[tuple[str, str], _Part] = {}
        self._adapters: dict[_Part, TypeAdapter[Any]] = {}
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
        part = _Part(kind, name, factory, owner)
        _check_signature(part)
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
        part = self._find(kind, name)
        return [Option(n, _type_name(part, n), _default_name(p)) for n, p in part.options.items()]

    def schema(self, kind: str, name: str) -> dict[str, Any]:
        """Return the JSON schema of a part's options, for editors."""
        return self._adapter(self._find(kind, name)).json_schema()

    def nested(self, kind: str, name: str) -> dict[str, Nested]:
        """Return the options of a part that hold parts, each with the kind that it holds."""
        part = self._find(kind, name)
        return {option: held for option in part.options if (held := part.nested(option)) is not None}

    def errors(self, kind: str, spec: Any, place: Place = ()) -> list[ErrorRecord]:
        """Return every error of a part as a recipe names it: a name, or a mapping with `name` and options."""
        return self.read(kind, spec, place)[1]

    def resolve(self, kind: str, spec: Any) -> Factory:
        """Return a part as a factory of the positional arguments alone; nested parts are resolved too.

        Raises:
            RecipeError: with every error of the spec.
        """
        factory, found = self.read(kind, spec)
        if factory is None:
            raise RecipeError(*found)
        return factory

    def read(self, kind: str, spec: Any, place: Place = ()) -> tuple[Factory | None, list[ErrorRecord]]:
        """Validate a part as a recipe names it.

        Args:
            kind: of the part.
            spec: its name, or a mapping with `name` and options.
            place: of the part in the recipe.

        Returns:
            What `resolve` returns, or None if anything is wrong; and every error.
        """
        try:
            name, options = split(spec)
        except ValueError as error:
            return None, [ErrorRecord(str(error), "wrong-type", place, got=spec)]
        lacking = self._lacking(kind, name)
        if lacking is not None:
            return None, [lacking.within(place)]
        part = self._find(kind, name)
        values, found = self._values(part, options, place)
        held, errors = self._held(part, options, place)
        found += errors
        return (None if found else partial(_make, part, values, held)), found

    def _values(
        self, part: _Part, options: Mapping[str, Any], place: Place
    ) -> tuple[dict[str, Any], list[ErrorRecord]]:
        """Return the options of a part that hold no parts, as its factory takes them, and their errors."""
        plain = {n: value for n, value in options.items() if part.nested(n) is None}
        try:
            values = self._adapter(part).validate_json(json.dumps(plain, default=str), strict=True)
        except ValidationError as error:
            return {}, [*_of_options(part, error, plain, place)]
        return {n: getattr(values, n) for n in plain}, []

    def _held(self, part: _Part, options: Mapping[str, Any], place: Place) -> tuple[dict[str, Any], list[ErrorRecord]]:
        """Return the options of a part that hold parts, as its factory takes them, and their errors."""
        held: dict[str, Any] = {}
        found: list[ErrorRecord] = []
        for n, parameter in part.options.items():
            nested, value = part.nested(n), options.get(n)
            if nested is None:
                continue
            if nested.many and value is not None:
                held[n] = []
            elif value is None and parameter.default is inspect.Parameter.empty:
                found.append(_lacking_option(part, n, (*place, n)))
        for at, inner, item in part.inner(options):
            factory, errors = self.read(inner, item, (*place, *at))
            found += errors
            if factory is not None:
                option, made = str(at[0]), partial(_make_within, at, factory)
                held[option] = [*held[option], made] if option in held else made
        return held, found

    def normalized(self, kind: str, spec: Any) -> dict[str, Any]:
        """Return a good part with its texts as the validators of its options return them, such as an absolute path."""
        name, options = split(spec)
        part = self._find(kind, name)
        values, _ = self._values(part, options, ())
        made = {**options, **{n: value for n, value in values.items() if isinstance(value, str)}}
        for (option, *index), inner, item in part.inner(options):
            one = self.normalized(inner, item)
            if index:
                made[str(option)] = [one if i == index[0] else other for i, other in enumerate(made[str(option)])]
            else:
                made[str(option)] = one
        return {"name": name, **made}

    def used(self, kind: str, spec: Any) -> Iterator[tuple[str, str]]:
        """Yield (kind, name) of a good part as a recipe names it, and of the parts that its options hold."""
        for _, inner, item in self.within(kind, spec):
            yield inner, split(item)[0]

    def within(self, kind: str, spec: Any, place: Place = ()) -> Iterator[tuple[Place, str, Any]]:
        """Yield (place, kind, spec) of a good part at `place` of a recipe, and of the parts that its options hold."""
        name, options = split(spec)
        yield place, kind, spec
        for at, inner, item in self._find(kind, name).inner(options):
            yield from self.within(inner, item, (*place, *at))

    def option_names(self, kind: str, spec: Any, place: Place = ()) -> Iterator[tuple[Place, OptionNames]]:
        """Yield the place and the options of a part as a recipe names it, and of the parts that its options hold.

        What is no part, or none that is known, is passed over: `errors` has it.
        """
        try:
            name, options = split(spec)
        except ValueError:
            return
        if self._lacking(kind, name) is not None:
            return
        part = self._find(kind, name)
        yield place, OptionNames(kind, name, [*part.options])
        for at, inner, item in part.inner(options):
            yield from self.option_names(inner, item, (*place, *at))

    def _lacking(self, kind: str, name: str) -> ErrorRecord | None:
        """Return why there is no such part, though the source was asked for it; None if there is."""
        if (kind, name) in self._parts:
            return None
        why = self._source.bring(kind, name) if self._source is not None and kind in KINDS else None
        if (kind, name) in self._parts:
            return None
        return (
            ErrorRecord(why, "unusable-part") if why else unknown_record(kind, name, self.names(kind), "unknown-part")
        )

    def _find(self, kind: str, name: str) -> _Part:
        lacking = self._lacking(kind, name)
        if lacking is not None:
            raise RecipeError(lacking)
        return self._parts[kind, name]

    def _adapter(self, part: _Part) -> TypeAdapter[Any]:
        """Return what validates the plain options of a part; made once, since that takes milliseconds."""
        if part not in self._adapters:
            fields: dict[str, Any] = {}
            for name, parameter in part.options.items():
                if part.nested(name) is None:
                    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
                    fields[name] = (part.hints[name], default)
            config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
            self._adapters[part] = TypeAdapter(create_model(part.name, __config__=config, **fields))
        return self._adapters[part]


def _make(part: _Part, values: dict[str, Any], held: dict[str, Any], *core: Any) -> Any:
    """Call a factory, and check its result. A function, not a method, so that a worker can import it."""
    try:
        made = part.factory(*core, **deepcopy(values), **held)  # copies, for a recipe makes a part more than once
    except ValueError as error:
        if type(error) is not ValueError:  # of a library, such as one about a damaged file
            raise
        raise RecipeError(f"{part.kind} {part.name!r}: {message_of(error)}") from error
    wanted = KINDS[part.kind].returns
    fits = callable(made) if wanted == "callable" else isinstance(made, _class(wanted))
    if not fits:
        got = type(made).__name__
        raise PluginError(f"{part.kind} {part.name!r} returned a {got}, must return a {wanted}", plugin=part.owner)
    return made


def _make_within(place: Place, factory: Factory, *core: Any) -> Any:
    """Call the factory of a part that another holds at `place`, and give its errors that place."""
    try:
        return factory(*core)
    except RecipeError as error:
        raise error.within(place) from error.__cause__ or error


def split(spec: Any) -> tuple[str, dict[str, Any]]:
    """Return (name, options) of a part as a recipe names it.

    Raises:
        ValueError: if it is neither a name nor a mapping with a name.
    """
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return spec["name"], {str(n): value for n, value in spec.items() if n != "name"}
    raise ValueError("a part is a name, or a mapping with 'name' and options")


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


def _of_options(part: _Part, error: ValidationError, options: Mapping[str, Any], place: Place) -> Iterator[ErrorRecord]:
    """Yield the errors of a part's options."""
    for at, kind, record in explain(error, options):
        label = ".".join(map(str, at))
        if kind == "missing":
            yield _lacking_option(part, label, (*place, *at))
            continue
        if kind == "extra_forbidden":
            found = unknown_record("option", label, part.options, "unknown-key")
        else:
            text = label if record.allowed else ": ".join(filter(None, (label, record.message)))
            found = replace(record, message=text)
        yield replace(found, message=f"{part.kind} {part.name!r}: {found.message}", place=(*place, *at))


def _lacking_option(part: _Part, option: str, place: Place) -> ErrorRecord:
    """Return the error of an option that has no default and is not given."""
    return ErrorRecord(f"{part.kind} {part.name!r}: option {option!r} needs a value", "missing", place)


def _has_factory(hint: Any) -> bool:
    return typing.get_origin(hint) is Callable or any(_has_factory(arg) for arg in typing.get_args(hint))


def _check_signature(part: _Part) -> None:
    def error(text: str) -> PluginError:
        return PluginError(f"{part.kind} {part.name!r}: {text}", plugin=part.owner)

    gives = KINDS[part.kind].gives
    if not callable(part.factory):
        raise error(f"must be a callable; got {part.factory!r}")
    parameters = list(inspect.signature(part.factory).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise error("*args and **kwargs hide the options; name each as a keyword argument")
    names = tuple(p.name for p in positional)
    if names != gives:
        raise error(f"factory takes {names} by position, must take {gives}; options go after a *")
    try:
        hints = part.hints
    except NameError as cause:
        raise error(f"an annotation cannot be resolved ({cause}); import it at run time") from cause
    for name in part.options:
        if name == "name" or (part.kind, name) in {("loss", "weight"), ("schedule", "restart")}:
            raise error(f"{name!r} belongs to the recipe and cannot be an option")
        if part.nested(name) is None and name not in hints:
            raise error(f"option {name!r} has no annotation; annotate it, e.g. `{name}: float = 1.0`")


def _type_name(part: _Part, option: str) -> str:
    inner = part.nested(option)
    if inner is not None:
        return f"list of {option}" if inner.many else f"a {inner.kind}"
    return _hint_name(part.hints[option])


_BOUNDS = {
    "ge": "from",
    "gt": "above",
    "le": "to",
    "lt": "below",
    "min_length": "of at least",
    "max_length": "at most",
}
"""The text for each bound that an annotation may have."""


def _hint_name(hint: Any) -> str:
    """Return an annotation as text, with its bounds: "tuple[float from 0, float from 0] | None"."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        held = [one for extra in arguments[1:] for one in getattr(extra, "metadata", [extra])]
        bounds = [
            f"{word} {getattr(one, name)}" for name, word in _BOUNDS.items() for one in held if hasattr(one, name)
        ]
        return " ".join([_hint_name(arguments[0]), *bounds])
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        return " | ".join(map(_hint_name, arguments))
    if typing.get_origin(hint) in (tuple, list, dict):
        return f"{typing.get_origin(hint).__name__}[{', '.join(map(_hint_name, arguments))}]"
    if hint is ...:
        return "..."
    return inspect.formatannotation(hint).replace("typing.", "").replace("NoneType", "None")


def _default_name(parameter: inspect.Parameter) -> str | None:
    if parameter.default is inspect.Parameter.empty:
        return None
    return getattr(parameter.default, "__name__", None) or repr(parameter.default)


def _class(name: str) -> type:
    # Looked up when a part is made: this module, and so `restorekit list parts`, is imported without torch.
    module, _, last = name.rpartition(".")
    homes = [module] if module else [f"restorekit.core.{home}" for home in ("formats", "types", "passes", "restorer")]
    found: type = next(
        known for home in homes if (known := getattr(importlib.import_module(home), last, None)) is not None
    )
    return found
