"""A recipe's plain data, in layers: files of YAML 1.2, a variant, settings; and where each value comes from.

The home of ruamel.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from restorekit.core.errors import Origin, Place, RecipeError, unknown
from restorekit.recipes.shipped import located
from restorekit.recipes.variants import Choice, expanded, numbered

__all__ = ["Layered", "Origins", "name_of", "parse", "read", "to_yaml"]

EXCLUSIVE = {("train", "steps"): ("train", "epochs"), ("train", "epochs"): ("train", "steps")}
"""Setting the one in a later layer takes back the other."""
WEIGHTS = ("nets", "weights")
PATHS: Sequence[Place] = (("data", "root"), ("nets", "teacher"), WEIGHTS, (*WEIGHTS, "file"))
"""Values that are paths: a relative one starts where the file that names it is."""
OF_PACKAGE = re.compile(r"([A-Za-z_]\w+):(?!\\)(.+)")
"""`PACKAGE:PATH`, a file of an installed package; a Windows drive has one letter."""


@dataclass(frozen=True)
class Origins:
    """The origin of each value of a recipe. All are equal, so that recipes with the same content are equal."""

    of: Mapping[Place, Origin] = field(default_factory=dict, compare=False)

    def where(self, place: Place) -> Origin:
        """The origin of the value at `place`, else of a value in it, else of the nearest thing around it."""
        if place in self.of:
            return self.of[place]
        inside = (origin for at, origin in self.of.items() if at[: len(place)] == place)
        around = (self.of[place[:end]] for end in range(len(place) - 1, -1, -1) if place[:end] in self.of)
        return next(inside, None) or next(around, Origin("recipe"))


@dataclass
class Layered:
    """Plain data under construction, and the place that each value comes from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, Origin] = field(default_factory=dict)

    def where(self, place: Place) -> Origin:
        """The origin of the value at `place`, or of the nearest thing around it."""
        return Origins(self.origins).where(place)

    def apply_variant(self, variant: str, path: Path) -> None:
        """Apply a variant of the file at `path`. One of the wrong shape is left to the recipe's own check."""
        variants = self.variants()
        if variant not in variants:
            many = [name for name, choice in variants.items() if choice.base == variant]
            if many:
                raise RecipeError(f"{path}: variant {variant!r} is one of {', '.join(many)}; name one of them")
            raise RecipeError(f"{path}: {unknown('variant', variant, variants)}")
        for dotted, value, place in variants[variant].values:
            origin = self.where(place)  # of a variant that is inherited, the file that is extended
            value = _placed(tuple(dotted.split(".")), value, Path(origin.source).parent)
            _set(self, dotted, value, origin._replace(variant=variant))

    def variants(self) -> dict[str, Choice]:
        """Return the variants by name, those of lists of values each.

        Raises:
            RecipeError: if a list is empty, or two get the same name.
        """
        found = self.data.get("variants")
        return expanded(found, self._takes_list) if isinstance(found, dict) else {}

    def _takes_list(self, dotted: str) -> bool:
        """True if the value at a dotted path is a list: by the recipe's model, or by what the recipe has there."""
        from restorekit.recipes.model import is_list_key  # here, for the model needs the origins of values

        value: Any = self.data
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return isinstance(value, list) or is_list_key(dotted.split("."))

    def apply(self, sets: Sequence[str]) -> None:
        """Apply settings, `a.b=value` each, the value as YAML; a folder is relative to the current one."""
        keys = {key for key, _, value in (text.partition("=") for text in sets) if value != "null"}
        if {"train.steps", "train.epochs"} <= keys:
            raise RecipeError("--set train.steps and --set train.epochs: give one of the two")
        for text in sets:
            dotted, sign, value = text.partition("=")
            if not sign:
                raise RecipeError(f"--set {text}: has no '='; write --set train.steps=2000")
            origin = f"--set {dotted}"
            parsed = _parse(value, origin)
            _set(self, dotted, _placed(tuple(dotted.split(".")), parsed, Path()), Origin(origin))


def read(path: Path) -> Layered:
    """Read a file and the files that it extends.

    Raises:
        RecipeError: naming file and line.
    """
    return _read_file(located(path), ())


def to_yaml(data: Any) -> str:
    """Return plain data as YAML 1.2."""
    stream = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.dump(data, stream)
    return stream.getvalue()


def parse(text: str, origin: str) -> Any:
    """Return YAML as plain Python values.

    Raises:
        RecipeError: if it is no YAML 1.2; `origin` is where the text was written.
    """
    return _plain(_parse(text, origin))


def name_of(spec: Any) -> str | None:
    """Return the name of a part as plain data names it, alone or in a mapping; None where there is none."""
    name = spec.get("name") if isinstance(spec, dict) else spec
    return name if isinstance(name, str) else None


def _placed(place: Place, value: Any, start: Path) -> Any:
    """Return the value at a place of a recipe, `start` before its relative paths: that of the file that names them."""
    for path in PATHS:
        if place == path and isinstance(value, str) and not OF_PACKAGE.match(value):
            return str((start / Path(value).expanduser()).resolve())
    if isinstance(value, dict) and any(path[: len(place)] == place for path in PATHS):
        return {key: _placed((*place, key), inner, start) for key, inner in value.items()}
    return value


def _read_file(path: Path, seen: tuple[Path, ...]) -> Layered:
    if path.resolve() in seen:
        raise RecipeError(f"{path}: extends itself, by way of {' -> '.join(p.name for p in seen)}")
    if path.is_dir():
        run = f" To go on with this run: restorekit resume {path}" if (path / "recipe.json").is_file() else ""
        raise RecipeError(f"{path}: is a folder; a recipe is a YAML file.{run}")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error
    tree = _parse(text, str(path))
    if not isinstance(tree, CommentedMap):
        raise RecipeError(f"{path}: a recipe is a mapping with name, data, nets, losses and train; got {tree!r:.60}")
    layered = Layered(
        _placed((), _plain(tree), path.parent), {place: Origin(str(path), line + 1) for place, line in _lines(tree, ())}
    )
    layered.origins[()] = Origin(str(path))
    base = layered.data.pop("extends", None)
    if base is None:
        return layered
    try:
        found = located(Path(str(base)), path)
    except RecipeError as error:
        raise RecipeError(f"{layered.where(('extends',))}: extends: {error}") from error
    below = _read_file(found, (*seen, path.resolve()))
    _merge(below, layered, ())
    return below


def _parse(text: str, origin: str) -> Any:
    try:
        return YAML().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise RecipeError(f"{origin}{line}: not YAML 1.2: {error.problem or error.context}") from error
    except RecursionError as error:
        raise RecipeError(f"{origin}: is nested too deeply") from error
    except YAMLError as error:
        raise RecipeError(f"{origin}: not YAML 1.2: {' '.join(str(error).split())}") from error


def _lines(node: Any, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            at = node.lc.data or {}  # a key merged by `<<` has no line of its own
            yield (*place, key), at[key][0] if key in at else node.lc.line
            yield from _lines(value, (*place, key))
    elif isinstance(node, CommentedSeq):
        for i, value in enumerate(node):
            yield (*place, i), node.lc.item(i)[0]
            yield from _lines(value, (*place, i))


def _plain(node: Any) -> Any:
    """Return ruamel's tree as plain Python values."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node if node is None else str(node)


def _merge(below: Layered, above: Layered, place: Place) -> None:
    """Lay `above` over `below`: mappings merge key by key; lists, and parts of another name, are replaced.

    A variant that is null takes back the one of that name.
    """
    old, new = _at(below.data, place), _at(above.data, place)
    for key, value in new.items():
        here = (*place, key)
        other = EXCLUSIVE.get(here)
        if other and other[-1] not in new:
            old.pop(other[-1], None)
        if isinstance(value, dict) and isinstance(old.get(key), str) and "name" not in value:
            old[key] = _spelled_out(here, old[key])
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        if value is None and place == ("variants",) and key in old:
            del old[key]
        elif both and value.get("name", old[key].get("name")) == old[key].get("name"):
            _merge(below, above, here)
        else:
            old[key] = value
            below.origins = {p: o for p, o in below.origins.items() if p[: len(here)] != here}
        below.origins |= {p: o for p, o in above.origins.items() if p[: len(here)] == here}


def _at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def _spelled_out(place: Place, text: str) -> dict[str, Any]:
    """Return what is written as a text alone, such as a part by its name, as the mapping that it stands for."""
    return {"file" if place == WEIGHTS else "name": text}


def _set(layered: Layered, dotted: str, value: Any, origin: Origin) -> None:
    """Set one dotted path. Null removes a list's item; a part given by name becomes a mapping to take an option."""
    steps: list[str | int] = [*re.sub(r"\[(\d+)\]", r".\1", dotted).split(".")]
    node: Any = layered.data
    place: Place = ()
    for i, step in enumerate(steps):
        if isinstance(node, list):
            step = _item(node, str(step), origin)
        last = i == len(steps) - 1
        if last and isinstance(node, list) and value is None:
            del node[int(step)]
            layered.origins = dict(_moved_up(layered.origins, place, int(step)))
            layered.origins[place] = origin
            return
        place = (*place, step)
        if last:
            node[step] = _plain(value)
            layered.origins = {p: o for p, o in layered.origins.items() if p[: len(place)] != place}
            layered.origins[place] = origin
            if place in EXCLUSIVE and value is not None:
                node.pop(EXCLUSIVE[place][-1], None)
            return
        below = node[int(step)] if isinstance(node, list) else node.get(step)
        if isinstance(below, str):
            below = _spelled_out(place, below)
        elif below is None:
            below = {}
        elif not isinstance(below, (dict, list)):
            raise RecipeError(f"{origin}: {'.'.join(map(str, place))} is {below!r}, which has no {steps[i + 1]!r}")
        node[step] = below
        node = below


def _moved_up(origins: Mapping[Place, Origin], place: Place, gone: int) -> Iterator[tuple[Place, Origin]]:
    """The origins after item `gone` left the list at `place`: those behind it move up."""
    depth = len(place)
    for at, origin in origins.items():
        if at[:depth] != place or len(at) == depth or int(at[depth]) < gone:
            yield at, origin
        elif int(at[depth]) > gone:
            yield (*place, int(at[depth]) - 1, *at[depth + 1 :]), origin


def _item(items: list[Any], step: str, origin: Origin) -> int:
    names = numbered([name_of(item) or str(i) for i, item in enumerate(items)])  # as reports have it: cycle, cycle_2
    if step.isdecimal() and int(step) < len(items):
        return int(step)
    if step in names:
        return names.index(step)
    raise RecipeError(f"{origin}: {unknown('item', step, names)}")
