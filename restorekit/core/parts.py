"""The table of kinds, and the parts that plugins bring: add, look up, validate, make, describe.

A factory takes by position what the core gives, by keyword what the recipe gives. Both are checked: the signature when
a plugin is loaded, the options when a recipe is read, what is returned when the part is made.
"""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import UnionType
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from restorekit.core.errors import PluginError, RecipeError, unknown

__all__ = [
    "KINDS",
    "PLURALS",
    "Factory",
    "Fault",
    "Kind",
    "Option",
    "OptionNames",
    "Parts",
    "Place",
    "Source",
    "explain",
]

Factory = Callable[..., Any]
"""What makes a part: called with what the kind gives by position, and with the options of the recipe by keyword."""
Place = tuple[str | int, ...]
Fault = tuple[Place, str]
"""Where in the recipe, and what is wrong there."""


@dataclass(frozen=True)
class Kind:
    """A contract: what the core gives a factory by position, and what must come back."""

    gives: tuple[str, ...]
    returns: str
    """A class of `restorekit.core`, its full name if it is another library's, or "callable"."""
    about: str


KINDS: Mapping[str, Kind] = {
    "dataset": Kind(("root", "split"), "Dataset", "images of one side: root is a folder or None, split a name"),
    "format": Kind((), "Format", "a kind of files: how they are found, read and written"),
    "degradation": Kind(("domain",), "Degradation", "a way in which images get worse"),
    "layer": Kind(("dims",), "callable", "a maker of convolution-like layers in 1, 2 or 3 dimensions"),
    "encoder": Kind(("domain",), "Encoder", "makes maps of an image, from fine to coarse, for a decoder"),
    "generator": Kind(("source", "target"), "Generator", "translates images of one domain into another"),
    "discriminator": Kind(("domain",), "Discriminator", "tells real images of a domain from translated ones"),
    "head": Kind(("features", "domain"), "TaskHead", "predicts from a generator's features, such as the class"),
    "loss": Kind((), "Loss", "a term of the objective"),
    "metric": Kind(("domain",), "Metric", "a score"),
    "restorer": Kind(("domain",), "Restorer", "restores images: a method without training, or several in a row"),
    "optimizer": Kind(("groups",), "torch.optim.Optimizer", "updates parameters from their gradients"),
    "schedule": Kind(("steps",), "callable", "the learning rate of a step, as a share of the optimizer's"),
    "watcher": Kind(("folder",), "callable", "is called with every event of a run"),
}


PLURALS: Mapping[str, str] = {kind + ("es" if kind.endswith("s") else "s"): kind for kind in KINDS}
"""Names of options that hold a list of parts, and the kind."""


@dataclass(frozen=True)
class Option:
    """A keyword argument of a factory, for people."""

    name: str
    type: str
    default: str | None
    """None if the recipe must give it."""


class OptionNames(NamedTuple):
    """A part that a recipe names, and what its options are called."""

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
        """What bears the annotations: the factory, or a class's `__init__`."""
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

    def nested(self, option: str) -> str | None:
        """Return the kind of part that an option holds, or None for a plain value.

        An option whose name is a kind is itself a part; one whose name is the plural is a list of parts, unless its
        annotation has no factory in it: `layers: int = 3` is a number.
        """
        if option not in self.options:
            return None
        if option in KINDS:
            return option
        many = option in PLURALS and (option not in self.hints or _has_factory(self.hints[option]))
        return PLURALS[option] if many else None


class Source(Protocol):
    """Where parts come from that are known by name before they are added."""

    def names(self, kind: str) -> Iterable[str]:
        """Return the names of a kind that could be added."""

    def bring(self, kind: str, name: str) -> str | None:
        """Add a part if that can be done; else return why not, or None where nothing is to be said but the name."""


class Parts:
    """Every part that is known, by kind and name. A part that is not there is asked of the source, if there is one."""

    def __init__(self, source: Source | None = None) -> None:
        self._parts: dict[tuple[str, str], _Part] = {}
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
            raise PluginError(f"plugin {owner}: {unknown('kind of part', kind, KINDS)}")
        if (kind, name) in self._parts:
            other = self._parts[kind, name].owner
            raise PluginError(f"plugin {owner}: {kind} {name!r} already comes from {other}; one must rename it")
        part = _Part(kind, name, factory, owner)
        _check_signature(part)
        self._parts[kind, name] = part

    def remove(self, owner: str) -> None:
        """Forget every part of a plugin."""
        self._parts = {key: part for key, part in self._parts.items() if part.owner != owner}

    def discard(self, kind: str, name: str) -> None:
        """Forget a part, if there is such a one."""
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
        """Return a part's options as people write them in a recipe."""
        part = self._find(kind, name)
        return [Option(n, _type_name(part, n), _default_name(p)) for n, p in part.options.items()]

    def schema(self, kind: str, name: str) -> dict[str, Any]:
        """Return the JSON schema of a part's options, for editors."""
        return self._adapter(self._find(kind, name)).json_schema()

    def faults(self, kind: str, spec: Any, place: Place = ()) -> list[Fault]:
        """Return every fault of a part as a recipe names it: a name, or a mapping with `name` and options."""
        try:
            name, options = split(spec)
        except ValueError as error:
            return [(place, f"{error}")]
        lacking = self._lacking(kind, name)
        if lacking is not None:
            return [(place, lacking)]
        part = self._find(kind, name)
        plain = {n: value for n, value in options.items() if part.nested(n) is None}
        found: list[Fault] = []
        try:
            self._adapter(part).validate_json(json.dumps(plain, default=str), strict=True)
        except ValidationError as error:
            found += explain(error, place, f"{kind} {name!r}: ", [*part.options])
        for n, parameter in part.options.items():
            inner, value = part.nested(n), options.get(n)
            if inner is None:
                continue
            if value is None and parameter.default is inspect.Parameter.empty:
                found.append(((*place, n), f"{kind} {name!r}: option {n!r} needs a value"))
            elif isinstance(value, list) and n != inner:
                found += [f for i, item in enumerate(value) for f in self.faults(inner, item, (*place, n, i))]
            elif value is not None:
                found += self.faults(inner, value, (*place, n))
        return found

    def resolve(self, kind: str, spec: Any) -> Factory:
        """Return a part as a factory that waits for what the core gives; nested parts are resolved likewise.

        Raises:
            RecipeError: with every fault of the spec.
        """
        found = self.faults(kind, spec)
        if found:
            raise RecipeError(*[text for _, text in found])
        name, options = split(spec)
        part = self._find(kind, name)
        plain = {n: value for n, value in options.items() if part.nested(n) is None}
        values = self._adapter(part).validate_json(json.dumps(plain, default=str), strict=True)
        given = {n: getattr(values, n) for n in plain}
        for n, value in options.items():
            inner = part.nested(n)
            if inner == n and value is not None:
                given[n] = self.resolve(inner, value)
            elif inner is not None and value is not None:
                given[n] = [self.resolve(inner, v) for v in (value if isinstance(value, list) else [value])]
        return partial(_make, part, given)

    def used(self, kind: str, spec: Any) -> Iterator[tuple[str, str]]:
        """Yield (kind, name) of a good part as a recipe names it, and of the parts that its options hold."""
        for _, inner, item in self.within(kind, spec):
            yield inner, split(item)[0]

    def within(self, kind: str, spec: Any, place: Place = ()) -> Iterator[tuple[Place, str, Any]]:
        """Yield (place, kind, spec) of a good part at `place` of a recipe, and of the parts that its options hold."""
        name, options = split(spec)
        yield place, kind, spec
        for n, value in options.items():
            inner = self._find(kind, name).nested(n)
            if inner is not None and isinstance(value, list) and n != inner:
                for i, item in enumerate(value):
                    yield from self.within(inner, item, (*place, n, i))
            elif inner is not None and value is not None:
                yield from self.within(inner, value, (*place, n))

    def option_names(self, kind: str, spec: Any, place: Place = ()) -> Iterator[tuple[Place, OptionNames]]:
        """Yield the place and the options of a part as a recipe names it, and of the parts that its options hold.

        What is no part, or none that is known, is passed over: `faults` tells of it.
        """
        try:
            name, options = split(spec)
        except ValueError:
            return
        if self._lacking(kind, name) is not None:
            return
        part = self._find(kind, name)
        yield place, OptionNames(kind, name, [*part.options])
        for n, value in options.items():
            inner = part.nested(n)
            if inner is not None and isinstance(value, list) and n != inner:
                for i, item in enumerate(value):
                    yield from self.option_names(inner, item, (*place, n, i))
            elif inner is not None:
                yield from self.option_names(inner, value, (*place, n))

    def _lacking(self, kind: str, name: str) -> str | None:
        """Return why there is no such part, though the source was asked for it; None if there is."""
        if (kind, name) in self._parts:
            return None
        why = self._source.bring(kind, name) if self._source is not None and kind in KINDS else None
        return None if (kind, name) in self._parts else why or unknown(kind, name, self.names(kind))

    def _find(self, kind: str, name: str) -> _Part:
        lacking = self._lacking(kind, name)
        if lacking is not None:
            raise RecipeError(lacking)
        return self._parts[kind, name]

    def _adapter(self, part: _Part) -> TypeAdapter[Any]:
        fields: dict[str, Any] = {}
        for name, parameter in part.options.items():
            if part.nested(name) is None:
                default = ... if parameter.default is inspect.Parameter.empty else parameter.default
                fields[name] = (part.hints[name], default)
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
        return TypeAdapter(create_model(part.name, __config__=config, **fields))


def _make(part: _Part, options: dict[str, Any], *core: Any) -> Any:
    """Call a factory, and hold what it returns to the contract. No method, so that a factory can go to a worker."""
    made = part.factory(*core, **options)
    wanted = KINDS[part.kind].returns
    fits = callable(made) if wanted == "callable" else isinstance(made, _class(wanted))
    if not fits:
        came = type(made).__name__
        raise PluginError(f"plugin {part.owner}: {part.kind} {part.name!r} returned a {came}, must return a {wanted}")
    return made


def split(spec: Any) -> tuple[str, dict[str, Any]]:
    """Return (name, options) of a part as a recipe names it.

    Raises:
        ValueError: if it is neither a name nor a mapping with a name.
    """
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return spec["name"], {str(n): value for n, value in spec.items() if n != "name"}
    raise ValueError(f"a part is a name, or a mapping with 'name' and options; came {spec!r}")


def explain(error: ValidationError, place: Place, prefix: str, known: list[str]) -> list[Fault]:
    """Return pydantic's findings as faults in our own words."""
    found = []
    for one in error.errors(include_url=False, include_context=False):
        at = tuple(step for step in one["loc"])
        if one["type"] == "extra_forbidden":
            text = unknown("option", str(at[-1]), known)
        elif one["type"] == "missing":
            text = f"option {'.'.join(map(str, at))!r} needs a value"
        else:
            label = f"{'.'.join(map(str, at))}: " if at else ""
            text = f"{label}{one['msg'][0].lower()}{one['msg'][1:]}; came {one['input']!r}"
        found.append(((*place, *at), prefix + text))
    return found


def _has_factory(hint: Any) -> bool:
    return typing.get_origin(hint) is Callable or any(_has_factory(arg) for arg in typing.get_args(hint))


def _check_signature(part: _Part) -> None:
    where = f"plugin {part.owner}: {part.kind} {part.name!r}"
    gives = KINDS[part.kind].gives
    if not callable(part.factory):
        raise PluginError(f"{where}: add(kind, name, factory) takes a callable; came {part.factory!r}")
    parameters = list(inspect.signature(part.factory).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise PluginError(f"{where}: *args and **kwargs hide the options; name each as a keyword argument")
    names = tuple(p.name for p in positional)
    if names != gives:
        raise PluginError(f"{where}: factory takes {names} by position, must take {gives}; options go after a *")
    try:
        hints = part.hints
    except NameError as error:
        raise PluginError(f"{where}: an annotation cannot be resolved ({error}); import it at run time") from error
    for name in part.options:
        if name == "name" or (part.kind, name) in {("loss", "weight"), ("schedule", "restart")}:
            raise PluginError(f"{where}: {name!r} belongs to the recipe and cannot be an option")
        if part.nested(name) is None and name not in hints:
            raise PluginError(f"{where}: option {name!r} has no annotation; annotate it, e.g. `{name}: float = 1.0`")


def _type_name(part: _Part, option: str) -> str:
    inner = part.nested(option)
    if inner is not None:
        return f"a {inner}" if inner == option else f"list of {option}"
    return _hint_name(part.hints[option])


_BOUNDS = {
    "ge": "from",
    "gt": "above",
    "le": "to",
    "lt": "below",
    "min_length": "of at least",
    "max_length": "at most",
}
"""How the bounds that an annotation may hold are told."""


def _hint_name(hint: Any) -> str:
    """Return an annotation as people read it, bounds included: "tuple[float from 0, float from 0] | None"."""
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
    # Looked up when a part is made, so that this module, and with it `restorekit parts`, needs no torch to be imported.
    from restorekit.core import passes, restorer, types

    module, _, last = name.rpartition(".")
    found: type
    if module:
        found = getattr(importlib.import_module(module), last)
    else:
        found = next(getattr(home, name) for home in (types, passes, restorer) if hasattr(home, name))
    return found
