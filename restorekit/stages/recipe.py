"""YAML to a frozen, validated Recipe: every fault at once, each with its file, its line and the mend.

A recipe is built in layers: the file it `extends`, the file itself, a variant, then every `--set`. What a later layer
sets replaces what an earlier one said, and an error names the layer that the value came from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from restorekit.core.errors import RecipeError, nearest, unknown
from restorekit.core.parts import Fault, Parts, Place
from restorekit.core.plugins import Plugins

__all__ = ["Recipe", "dump", "load", "options", "resolved", "schema"]

EXCLUSIVE = {("train", "steps"): ("train", "epochs"), ("train", "epochs"): ("train", "steps")}
"""Setting the one in a later layer takes back the other."""
PART_PLACES: Mapping[Place, str] = {
    ("data", "a"): "dataset",
    ("data", "b"): "dataset",
    ("nets", "generator"): "generator",
    ("nets", "discriminator"): "discriminator",
    ("nets", "head"): "head",
    ("losses",): "loss",
    ("evaluate", "metrics"): "metric",
    ("watch",): "watcher",
}
"""Where a recipe names parts; losses, metrics and watchers are lists."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PartSpec(BaseModel):
    """A part: its name alone, or a mapping with `name` and the part's options."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def spec(self) -> dict[str, Any]:
        """The part as `Parts.resolve` takes it."""
        return {"name": self.name, **(self.__pydantic_extra__ or {})}


class LossSpec(PartSpec):
    """A loss term and its weight in the sum."""

    weight: float = 1.0


class Augment(_Model):
    """Random changes of training images."""

    load: float = Field(default=1.0, ge=1.0)
    """Images are resized to `load` times the size, then a random window of the size is cut."""
    flip: bool = False
    """Mirror the last axis (left and right) with probability 1/2."""


class Data(_Model):
    """The images, how they are sized, paired and split."""

    root: str | None = None
    """The folder where the datasets' relative paths start."""
    size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)]
    """Spatial size for training and scoring: [length], [height, width] or [depth, height, width]."""
    channels: int = Field(default=1, ge=1)
    """A one-channel file is repeated to this many; any other mismatch is refused."""
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    """How an image of another shape becomes `size`."""
    antialias: bool = True
    """Filter before making smaller. The R2C-GAN authors' resize does not."""
    a: PartSpec
    """The dataset of poor quality (the paper's Y)."""
    b: PartSpec
    """The dataset of high quality (the paper's X)."""
    augment: Augment = Field(default_factory=Augment)
    pairing: Literal["random", "class", "key"] = "random"
    """Which b goes with an a: any, one of the same class, or the one whose file has the same name."""
    batch: int = Field(default=1, ge=1)
    val: float | None = Field(default=None, gt=0, lt=1)
    """Null: the datasets' own validation split, if any. A fraction: that part of training, split by group."""
    workers: int = Field(default=0, ge=0)
    """Processes that load images; the draws do not depend on it."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What a file that cannot be read does to the run: stop it before it starts, or be skipped and counted."""


class NetsSpec(_Model):
    """The networks."""

    generator: PartSpec
    discriminator: PartSpec | None = None
    head: PartSpec | None = None
    one_way: bool | None = None
    """Build only the translator from a to b. Null: if `data.pairing` is `key` and no loss needs the way back."""


class Adam(_Model):
    """Adam, for translators and discriminators alike."""

    lr: float = Field(default=2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    eps_hat: bool = False
    """Add `eps` before the bias correction, as TensorFlow does (the "epsilon hat" of Kingma and Ba), not after it."""


class Train(_Model):
    """How long, how fast, and what is kept."""

    epochs: int | None = Field(default=None, ge=1)
    """Passes over the longer domain; or `steps`, never both."""
    steps: int | None = Field(default=None, ge=1)
    adam: Adam = Field(default_factory=Adam)
    decay_from: float = Field(default=1.0, ge=0, le=1)
    """The fraction of the steps at the full rate; from there it falls linearly to zero, every step."""
    pool: int = Field(default=50, ge=0)
    """Past fakes kept for each discriminator."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """`auto` is bf16 where the processor has it, else fp32, and says which."""
    keep: Literal["last", "best"] = "last"
    """Which weights are evaluated and restored with."""
    best: str | None = None
    """The validation score that names the best checkpoint; null: the first of `evaluate.metrics`."""
    log_every: int = Field(default=50, ge=1)
    save_every: int = Field(default=1000, ge=1)
    score_every: int = Field(default=1000, ge=1)
    sample_every: int = Field(default=1000, ge=1)


class Evaluate(_Model):
    """How a run is scored."""

    metrics: list[PartSpec] = []
    times: int = Field(default=1, ge=1)
    """How often the restoring translator is applied. Classes always come from the first pass."""
    resamples: int = Field(default=1000, ge=10)
    """Bootstrap resamples for the intervals."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class Recipe(_Model):
    """One experiment, whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    needs: list[str] = []
    """Distributions that must be installed, such as `restorekit-selfonn`."""
    data: Data
    nets: NetsSpec
    losses: Annotated[list[LossSpec], Field(min_length=1)]
    train: Train
    evaluate: Evaluate = Field(default_factory=Evaluate)
    watch: list[PartSpec] = [PartSpec(name="csv"), PartSpec(name="samples")]
    paper: dict[str, float] = {}
    """Published scores, shown beside ours."""
    paper_note: str = ""
    """Why our numbers may differ from the paper's."""
    variants: dict[str, dict[str, Any]] = {}
    """Named sets of dotted paths and values: `--variant NAME` applies one."""

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if (self.train.epochs is None) == (self.train.steps is None):
            came = "neither" if self.train.steps is None else "both"
            raise ValueError(f"train takes 'steps' or 'epochs', never both; came {came}")
        if self.train.best is not None and self.train.best not in self.metric_names:
            raise ValueError(f"train.best: {unknown('evaluated metric', self.train.best, self.metric_names)}")
        return self

    @property
    def metric_names(self) -> list[str]:
        """Names of the evaluated metrics."""
        return [metric.name for metric in self.evaluate.metrics]


@dataclass
class _Layered:
    """Plain data under construction, and the place that each value came from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """The origin of the value at `place`, or of the nearest thing around it."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.origins:
                return self.origins[place[:end]]
        return "recipe"


def load(path: Path, plugins: Plugins, *, sets: Sequence[str] = (), variant: str | None = None) -> Recipe:
    """Read, layer and validate a recipe.

    Args:
        path: a YAML 1.2 file.
        plugins: the parts that it may name.
        sets: `a.b=value` each, the value as YAML. A list's item is named by its index or by its part's name.
        variant: one of the recipe's `variants`.

    Raises:
        RecipeError: with every fault, a line each: file and line, key, what is wrong, the mend.
    """
    layered = _read_file(path, ())
    if variant is not None:
        _apply_variant(layered, variant, path)
    _set_all(layered, sets)
    root = layered.data.get("data", {}).get("root") if isinstance(layered.data.get("data"), dict) else None
    if isinstance(root, str) and layered.where(("data", "root")).startswith("--set"):
        layered.data["data"]["root"] = _rooted(root, Path())
    return _validate(layered, plugins)


def _apply_variant(layered: _Layered, variant: str, path: Path) -> None:
    """Set what a variant says. A variant of the wrong shape is left to `_validate`, which names it."""
    variants = layered.data.get("variants")
    variants = variants if isinstance(variants, dict) else {}
    if variant not in variants:
        raise RecipeError(f"{path}: {unknown('variant', variant, variants)}")
    values = variants[variant] if isinstance(variants[variant], dict) else {}
    for dotted, value in values.items():
        if dotted == "data.root" and isinstance(value, str):
            value = _rooted(value, path.parent)
        _set(layered, dotted, value, f"{layered.where(('variants', variant, dotted))} (variant {variant})")


def _rooted(root: str, start: Path) -> str:
    """Return `data.root` as an absolute path; a relative one starts where the file that names it is."""
    return str((start / Path(root).expanduser()).resolve())


def options(sets: Sequence[str]) -> dict[str, Any]:
    """Return `a.b=value` settings as a nested mapping, such as a part's options."""
    layered = _Layered()
    _set_all(layered, sets)
    return layered.data


def resolved(data: dict[str, Any], origin: str, plugins: Plugins) -> Recipe:
    """Validate a resolved recipe, as a run folder or a checkpoint holds it, against the parts installed now."""
    return _validate(_Layered(data, {(): origin}), plugins)


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML 1.2."""
    stream = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.dump(json.loads(recipe.model_dump_json()), stream)
    return stream.getvalue()


def schema(parts: Parts) -> dict[str, Any]:
    """Return the JSON schema of a recipe with every installed part and its options, for editors."""
    whole = Recipe.model_json_schema(by_alias=True)
    definitions = whole["$defs"]
    for kind in sorted({*PART_PLACES.values(), "layer", "degradation"}):
        choices: list[dict[str, Any]] = [{"enum": parts.names(kind)}]
        for name in parts.names(kind):
            one = parts.schema(kind, name)
            definitions.update(one.pop("$defs", {}))
            properties = {"name": {"const": name}, **one.get("properties", {})}
            if kind == "loss":
                properties["weight"] = {"type": "number", "default": 1.0}
            for option in parts.options(kind, name):
                if option.type.startswith(("a ", "list of ")):
                    nested = {"$ref": f"#/$defs/{option.type.removeprefix('a ').removeprefix('list of ').rstrip('s')}"}
                    many = {"type": "array", "items": nested}
                    properties[option.name] = many if option.type.startswith("list") else nested
            required = ["name", *one.get("required", [])]
            about = parts.about(kind, name).partition("\n")[0]
            choices.append(
                {"type": "object", "description": about, "properties": properties, "required": required}
                | {"additionalProperties": False}
            )
        definitions[kind] = {"anyOf": choices}
    for place, kind in PART_PLACES.items():
        _point(whole, place, kind)
    whole["properties"]["extends"] = {"type": "string", "description": "Another recipe, relative to this one."}
    return whole


def _point(whole: dict[str, Any], place: Place, kind: str) -> None:
    """Let the schema at `place` refer to the definition of a kind of part."""
    node = whole
    for key in place[:-1]:
        node = node["properties"][key]
        reference = node.get("$ref", "")
        node = whole["$defs"][reference.rpartition("/")[2]] if reference else node
    target = node["properties"][place[-1]]
    reference = {"$ref": f"#/$defs/{kind}"}
    if target.get("type") == "array":
        target["items"] = reference
    elif "anyOf" in target:
        target["anyOf"] = [reference, {"type": "null"}]
    else:
        node["properties"][place[-1]] = reference


def _read_file(path: Path, seen: tuple[Path, ...]) -> _Layered:
    if path.resolve() in seen:
        raise RecipeError(f"{path}: extends itself, by way of {' -> '.join(p.name for p in seen)}")
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        others = [str(p) for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise RecipeError(f"{path}: no such recipe.{nearest(str(path), others)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error
    tree = _parse(text, str(path))
    if not isinstance(tree, CommentedMap):
        raise RecipeError(f"{path}: a recipe is a mapping with name, data, nets, losses and train; came {tree!r:.60}")
    layered = _Layered(_plain(tree), {place: f"{path}:{line + 1}" for place, line in _lines(tree, ())})
    layered.origins[()] = str(path)
    data = layered.data.get("data")
    if isinstance(data, dict) and isinstance(data.get("root"), str):
        data["root"] = _rooted(data["root"], path.parent)
    base = layered.data.pop("extends", None)
    if base is None:
        return layered
    below = _read_file(path.parent / str(base), (*seen, path.resolve()))
    _merge(below, layered, ())
    return below


def _parse(text: str, origin: str) -> Any:
    try:
        return YAML().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise RecipeError(f"{origin}{line}: not YAML 1.2: {error.problem or error.context}") from error
    except YAMLError as error:
        raise RecipeError(f"{origin}: not YAML 1.2: {' '.join(str(error).split())}") from error


def _lines(node: Any, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            at = node.lc.data or {}  # a key that came by `<<` has no line of its own
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


def _merge(below: _Layered, above: _Layered, place: Place) -> None:
    """Lay `above` over `below`: mappings merge key by key; lists, and parts of another name, are replaced."""
    old, new = _at(below.data, place), _at(above.data, place)
    for key, value in new.items():
        here = (*place, key)
        other = EXCLUSIVE.get(here)
        if other and other[-1] not in new:
            old.pop(other[-1], None)
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        if both and value.get("name", old[key].get("name")) == old[key].get("name"):
            _merge(below, above, here)
        else:
            old[key] = value
            below.origins = {p: o for p, o in below.origins.items() if p[: len(here)] != here}
        below.origins |= {p: o for p, o in above.origins.items() if p[: len(here)] == here}


def _at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def _set_all(layered: _Layered, sets: Sequence[str]) -> None:
    for text in sets:
        dotted, sign, value = text.partition("=")
        if not sign:
            raise RecipeError(f"--set {text}: came without '='; write --set train.steps=2000")
        origin = f"--set {dotted}"
        _set(layered, dotted, _parse(value, origin), origin)


def _set(layered: _Layered, dotted: str, value: Any, origin: str) -> None:
    """Set one dotted path. Null removes a list's item; a part given by name becomes a mapping to take an option."""
    steps = [int(s) if s.isdigit() else s for s in re.sub(r"\[(\d+)\]", r".\1", dotted).split(".")]
    node: Any = layered.data
    place: Place = ()
    for i, step in enumerate(steps):
        if isinstance(node, list):
            step = _item(node, step, origin)
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
            if place in EXCLUSIVE:
                node.pop(EXCLUSIVE[place][-1], None)
            return
        below = node[int(step)] if isinstance(node, list) else node.get(step)
        if isinstance(below, str):
            below = {"name": below}
        elif below is None:
            below = {}
        elif not isinstance(below, (dict, list)):
            raise RecipeError(f"{origin}: {'.'.join(map(str, place))} is {below!r}, which has no {steps[i + 1]!r}")
        node[step] = below
        node = below


def _moved_up(origins: Mapping[Place, str], place: Place, gone: int) -> Iterator[tuple[Place, str]]:
    """The origins after item `gone` left the list at `place`: those behind it move up."""
    depth = len(place)
    for at, origin in origins.items():
        if at[:depth] != place or len(at) == depth or int(at[depth]) < gone:
            yield at, origin
        elif int(at[depth]) > gone:
            yield (*place, int(at[depth]) - 1, *at[depth + 1 :]), origin


def _item(items: list[Any], step: str | int, origin: str) -> int:
    names = [item if isinstance(item, str) else item.get("name") if isinstance(item, dict) else None for item in items]
    if isinstance(step, int) and step < len(items):
        return step
    if step in names:
        return names.index(step)
    raise RecipeError(f"{origin}: {unknown('item', str(step), [str(n) for n in names if n])}")


def _validate(layered: _Layered, plugins: Plugins) -> Recipe:
    faults: list[Fault] = list(_needs(layered.data, plugins))
    recipe = None
    try:
        recipe = Recipe.model_validate_json(json.dumps(layered.data), strict=True)
    except ValidationError as error:
        faults += list(_model_faults(error))
    except ValueError as error:
        faults.append(((), str(error)))
    for place, kind in PART_PLACES.items():
        faults += _part_faults(layered.data, place, kind, plugins.parts)
    if recipe is not None and not faults:
        return recipe
    lines = []
    for place, text in faults:
        dotted = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, place)))
        lines.append(": ".join(part for part in (layered.where(place), dotted, text) if part))
    raise RecipeError(*dict.fromkeys(lines))


def _needs(data: dict[str, Any], plugins: Plugins) -> Iterator[Fault]:
    needs = data.get("needs")
    if not isinstance(needs, list):
        return
    installed = {plugin.distribution for plugin in plugins.found}
    for i, need in enumerate(needs):
        if not isinstance(need, str):
            continue  # the model's own fault
        if need in plugins.broken():
            yield ("needs", i), f"{need} is installed but did not load: {plugins.broken()[need]}"
        elif need not in installed:
            yield ("needs", i), f"{need} is not installed; run: pip install {need}"


def _part_faults(data: Any, place: Place, kind: str, parts: Parts) -> Iterator[Fault]:
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    if isinstance(data, list):
        for i, item in enumerate(data):
            weightless = {k: v for k, v in item.items() if k != "weight"} if isinstance(item, dict) else item
            yield from parts.faults(kind, weightless if kind == "loss" else item, (*place, i))
    elif data is not None and place not in {("losses",), ("watch",), ("evaluate", "metrics")}:
        yield from parts.faults(kind, data, place)


def _model_faults(error: ValidationError) -> Iterator[Fault]:
    for one in error.errors(include_url=False, include_context=False):
        place: Place = tuple(step for step in one["loc"] if step not in ("function-before", "model"))
        if one["type"] == "extra_forbidden":
            yield (
                place,
                f"unknown key.{nearest(str(place[-1]), _keys(place[:-1]))} Known: {', '.join(_keys(place[:-1]))}",
            )
        elif one["type"] == "missing":
            yield place, "is missing and has no default"
        elif one["type"] == "value_error":
            yield place, one["msg"].removeprefix("Value error, ")
        else:
            yield place, f"{one['msg'][0].lower()}{one['msg'][1:]}; came {one['input']!r:.80}"


def _keys(place: Place) -> list[str]:
    """The known keys of the model at `place`."""
    model: Any = Recipe
    for step in place:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation
        inner = [a for a in getattr(annotation, "__args__", (annotation,)) if isinstance(a, type)]
        models = [a for a in (annotation, *inner) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not models:
            return []
        model = models[0]
    return sorted(model.model_fields)
