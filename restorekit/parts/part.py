"""One part: its factory, the options that it takes, and what it makes."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, NamedTuple

from restorekit.core.errors import Place, PluginError, RecipeError, message_of
from restorekit.core.parts import KINDS, PLURALS, Factory

__all__ = ["NO_PART", "Nested", "Option", "Part", "check_signature", "described", "make", "make_within", "split"]


NO_PART = "a part is a name, or a mapping with 'name' and options"
"""The error of a value that names no part."""


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


@dataclass(frozen=True)
class Part:
    """A factory under a name, checked."""

    kind: str
    name: str
    factory: Factory
    owner: str
    """The plugin that brings it."""

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


def split(spec: Any) -> tuple[str, dict[str, Any]]:
    """Return (name, options) of a part as a recipe names it.

    Raises:
        ValueError: if it is neither a name nor a mapping with a name.
    """
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return spec["name"], {str(n): value for n, value in spec.items() if n != "name"}
    raise ValueError(NO_PART)


def make(part: Part, values: dict[str, Any], held: dict[str, Any], *core: Any) -> Any:
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


def make_within(place: Place, factory: Factory, *core: Any) -> Any:
    """Call the factory of a part that another holds at `place`, and give its errors that place."""
    try:
        return factory(*core)
    except RecipeError as error:
        raise error.within(place) from error.__cause__ or error


def check_signature(part: Part) -> None:
    """Require that a factory takes what its kind gives by position, and annotated options by keyword.

    Raises:
        PluginError: naming the part, what is wrong and a hint.
    """

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
        if any(getattr(extra, "alias", None) for extra in typing.get_args(hints.get(name))):
            raise error(f"option {name!r} has an alias; a recipe names an option as its factory does")


def described(part: Part) -> list[Option]:
    """Return the options of a part as text, as a recipe takes them."""
    return [Option(n, _type_name(part, n), _default_name(p)) for n, p in part.options.items()]


def _type_name(part: Part, option: str) -> str:
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


def _has_factory(hint: Any) -> bool:
    return typing.get_origin(hint) is Callable or any(_has_factory(arg) for arg in typing.get_args(hint))
