"""YAML to a frozen, validated Recipe: every fault at once, each with its file, its line and the mend.

A recipe is built in layers: the file it `extends`, the file itself, a variant, then every `--set`. What a later layer
sets replaces what an earlier one said, and an error names the layer that the value came from.
"""

from __future__ import annotations

import json
import re
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from restorekit.core.errors import RecipeError, nearest, unknown
from restorekit.core.parts import Fault, Parts, Place
from restorekit.core.plugins import Plugins
from restorekit.stages.recipes.layered import Layered, Origins, name_of, read, to_yaml

__all__ = [
    "Audit",
    "Misfit",
    "Recipe",
    "differences",
    "dotted",
    "dump",
    "load",
    "load_variants",
    "options",
    "parts_of",
    "read_resolved",
    "resolved",
    "variant_names",
]

PART_PLACES: Mapping[Place, str] = {
    ("data", "a"): "dataset",
    ("data", "b"): "dataset",
    ("nets", "generator"): "generator",
    ("nets", "discriminator"): "discriminator",
    ("nets", "head"): "head",
    ("audit", "judge"): "generator",
    ("losses",): "loss",
    ("evaluate", "metrics"): "metric",
    ("watch",): "watcher",
}
"""Where a recipe names parts; losses, metrics and watchers are lists."""


FREE = ("variants", "variant", "paper", "paper_note", "data.root", "data.cache", "data.workers", "train.save_every")
"""Keys that may differ when a run goes on, for no result depends on them; where images stand, splits.csv tells."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


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


class Cache(_Model):
    """Where decoded training images are kept for the next epoch. It changes no result."""

    place: Literal["none", "memory", "disk"] = "none"
    """`none`: every image is decoded anew; `disk`: in the user's cache folder, while the run trains."""
    limit: float = Field(default=4.0, gt=0)
    """The most that they take, in GiB, each at the depth and size of its file; the rest is decoded anew."""


class Data(_Model):
    """The images, how they are sized, paired and split."""

    root: str | None = None
    """The folder where the datasets' relative paths start."""
    size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)]
    """Spatial size for training and scoring: [length], [height, width] or [depth, height, width]."""
    channels: int = Field(default=1, ge=1)
    """Channels of the networks. One channel is repeated to this many, equal ones count as one; else it is refused."""
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    """How an image of another shape becomes `size`."""
    antialias: bool = True
    """Filter before making smaller. The R2C-GAN authors' resize does not."""
    a: PartSpec
    """The dataset of poor quality (the paper's Y)."""
    b: PartSpec
    """The dataset of high quality (the paper's X)."""
    cache: Cache = Field(default_factory=Cache)
    augment: Augment = Field(default_factory=Augment)
    pairing: Literal["random", "class", "key"] = "random"
    """Which b goes with an a: any, one of the same class, or the one whose file has the same name."""
    balance: Literal["none", "class"] = "none"
    """`class`: training shows every class of a side equally often, those without one as a class of their own."""
    batch: int = Field(default=1, ge=1)
    """Images of each side in a step."""
    val: float | None = Field(default=None, gt=0, lt=1)
    """Null: the datasets' own validation split, if any. A fraction: that part of training, split by group."""
    half: Literal["first", "second"] | None = None
    """Train on one half of the training patients; which half a patient is in depends on the name alone."""
    workers: int = Field(default=0, ge=0)
    """Processes that load images; the draws do not depend on it."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What a file that cannot be read does to the run: stop it before it starts, or be skipped and counted."""


class NetsSpec(_Model):
    """The networks."""

    generator: PartSpec
    """The network of both translators."""
    discriminator: PartSpec | None = None
    """The network of both judges; null where no loss is adversarial."""
    head: PartSpec | None = None
    """Reads the generator's features and answers, such as the class; null: no answers."""
    one_way: bool | None = None
    """Build only the translator from a to b. Null: if `data.pairing` is `key` and no loss needs the way back."""


class Adam(_Model):
    """Adam, for translators and discriminators alike."""

    lr: float = Field(default=2e-4, gt=0)
    """The full learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    """Decay of the first and of the second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    eps_hat: bool = False
    """Add `eps` before the bias correction, as TensorFlow does (the "epsilon hat" of Kingma and Ba), not after it."""


class Train(_Model):
    """How long, how fast, and what is kept."""

    epochs: int | None = Field(default=None, ge=1)
    """Passes over the longer domain; or `steps`, never both."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; or `epochs`, never both."""
    adam: Adam = Field(default_factory=Adam)
    decay_from: float = Field(default=1.0, ge=0, le=1)
    """The fraction of the steps at the full rate; from there it falls linearly to zero, every step."""
    pool: int = Field(default=50, ge=0)
    """Past fakes kept for each discriminator."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a moving average of the translators' weights; if set, the average is scored, shown and restored with."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """`auto` is bf16 where the processor has it, else fp32, and says which."""
    keep: Literal["last", "best"] = "last"
    """Which weights are evaluated and restored with."""
    best: str | None = None
    """The validation score that names the best checkpoint; null: the first of `evaluate.metrics`."""
    log_every: int = Field(default=50, ge=1)
    """Steps between losses told."""
    save_every: int = Field(default=1000, ge=1)
    """Steps between checkpoints."""
    score_every: int = Field(default=1000, ge=1)
    """Steps between validations, if there is a validation split."""
    sample_every: int = Field(default=1000, ge=1)
    """Steps between sample pictures."""


class Evaluate(_Model):
    """How a run is scored."""

    metrics: list[PartSpec] = []
    """The scores."""
    times: int = Field(default=1, ge=1)
    """How often the restoring translator is applied. Classes always come from the first pass."""
    resamples: int = Field(default=1000, ge=10)
    """Bootstrap resamples for the intervals."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""


class Audit(_Model):
    """Whether restoration keeps what tells the classes: a judge, a classifier of another architecture, says."""

    name: Literal["split", "same"] = "split"
    """`split`: run and judge train on the two halves of the patients; `same`: both on all, and the report says so."""
    judge: PartSpec = PartSpec.model_validate({"name": "unet", "width": 32})
    """The generator whose features the judge reads, with a head of its own; it must not be that of the run."""
    steps: int | None = Field(default=None, ge=1)
    """Steps of the judge's training; null: as many as the run's."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Recipe(_Model):
    """One experiment, whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Names the run folder."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Weights, order, crops, fresh degradations and resamples come from it. Phantoms have a seed of their own."""
    needs: list[str] = []
    """Distributions that must be installed, such as `restorekit-selfonn`."""
    data: Data
    nets: NetsSpec
    losses: Annotated[list[LossSpec], Field(min_length=1)]
    """The terms; each is a part with a `weight`, default 1."""
    train: Train
    evaluate: Evaluate = Field(default_factory=Evaluate)
    audit: Audit | None = None
    """Null: none. `split` or `same` alone takes the usual judge."""
    watch: list[PartSpec] = [PartSpec(name="csv"), PartSpec(name="samples")]
    """Who writes down what the run says."""
    paper: dict[str, float] = {}
    """Published scores, and numbers of trained parameters, `parameters` and `encode_and_head`; shown beside ours."""
    paper_note: str = ""
    """Why our numbers may differ from the paper's."""
    variants: dict[str, dict[str, Any]] = {}
    """Named sets of dotted paths and values: `--variant NAME` applies one."""
    variant: str | None = None
    """Which of them was applied: `--variant` writes it here. It is a label; set by hand it applies nothing."""

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @property
    def half(self) -> Literal["first", "second"] | None:
        """The half of the training patients that the run is trained on, if not all."""
        halved = self.audit is not None and self.audit.name == "split"
        return self.data.half or ("first" if halved else None)

    @property
    def metric_names(self) -> list[str]:
        """Names under which the evaluated metrics are told; the second `psnr` is `psnr_2`."""
        return _numbered([metric.name for metric in self.evaluate.metrics])

    @property
    def loss_names(self) -> list[str]:
        """Names under which the losses are told; the second `cycle` is `cycle_2`."""
        return _numbered([loss.name for loss in self.losses])

    @property
    def origins(self) -> Origins:
        """Where its values came from: a file and a line, or a setting."""
        return self._origins

    def born(self, origins: Origins) -> Recipe:
        """Return it with the places that its values came from."""
        made = self.model_copy()
        made._origins = origins
        return made

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Say of faults of what is made inside, from what stands at `place`, on which line the recipe asks for it.

        Raises:
            Misfit: for a RecipeError that does not know its place.
        """
        try:
            yield
        except Misfit:
            raise
        except RecipeError as error:
            data = json.loads(self.model_dump_json())
            raise Misfit(self, *((_meant_place(data, place, line), line) for line in error.faults)) from error


class Misfit(RecipeError):
    """Faults of a recipe that is valid by itself: its parts do not fit each other or the data.

    `found` holds them with their places, `faults` a line each, in which the place stands first, as with other faults.
    """

    def __init__(self, recipe: Recipe, *found: Fault) -> None:
        super().__init__(*_lines(found, recipe.origins))
        self.found = found


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
    layered = read(path)
    if variant is not None:
        layered.apply_variant(variant, path)
        layered.data["variant"] = variant
    layered.apply(sets)
    return _validate(layered, plugins)


def variant_names(path: Path) -> list[str]:
    """Return the names of a recipe's variants, as they stand in its file and in what that extends.

    Raises:
        RecipeError: if the file cannot be read.
    """
    found = read(path).data.get("variants")
    return list(found) if isinstance(found, dict) else []


def load_variants(
    path: Path, plugins: Plugins, names: Sequence[str] | None, *, sets: Sequence[str] = ()
) -> dict[str, Recipe | RecipeError]:
    """Read several variants of a recipe; in the place of one that cannot be used stands its fault.

    Args:
        path: a YAML 1.2 file.
        plugins: the parts that it may name.
        names: of variants, "" for the recipe itself; None: all, and the recipe itself if no variant is the same.
        sets: `a.b=value` each, laid over every variant.

    Raises:
        RecipeError: if the file cannot be read, or has no such variant.
    """
    known = variant_names(path)
    for name in names or ():
        if name and name not in known:
            raise RecipeError(f"{path}: {unknown('variant', name, known)}")
    found: dict[str, Recipe | RecipeError] = {}
    for name in ["", *known] if names is None else dict.fromkeys(names):
        try:
            found[name] = load(path, plugins, sets=sets, variant=name or None)
        except RecipeError as error:
            found[name] = error
    if names is None and any(_same(found[""], other) for name, other in found.items() if name):
        del found[""]
    return found


def _same(one: Recipe | RecipeError, other: Recipe | RecipeError) -> bool:
    """True if two recipes ask for the same; which variant each is does not count."""
    if isinstance(one, RecipeError) or isinstance(other, RecipeError):
        return False
    return one.model_dump(exclude={"variant"}) == other.model_dump(exclude={"variant"})


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names of which each stands once: one that was there before gets a number, NAME_2."""
    seen = Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def options(sets: Sequence[str]) -> dict[str, Any]:
    """Return `a.b=value` settings as a nested mapping, such as a part's options."""
    layered = Layered()
    layered.apply(sets)
    return layered.data


def differences(began: Mapping[str, Any], now: Recipe) -> list[str]:
    """Return the keys by which a recipe differs from the resolved one that a run began with, where it may not."""
    return sorted(_differences(began, json.loads(now.model_dump_json()), ""))


def _differences(one: Any, other: Any, place: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {*one, *other}:
            yield from _differences(one.get(key), other.get(key), f"{place}.{key}" if place else key)
    elif one != other and not any(f"{place}.".startswith(f"{free}.") for free in FREE):
        yield place


def parts_of(recipe: Recipe, parts: Parts) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of every part that a recipe names, also of those within others."""
    data = json.loads(recipe.model_dump_json())
    for place, kind in PART_PLACES.items():
        for _, spec in _named(data, place):
            yield from parts.used(kind, spec)


def read_resolved(folder: Path) -> dict[str, Any]:
    """Return the resolved recipe of a run folder.

    Raises:
        RecipeError: if there is none, or it is damaged.
    """
    path = folder / "recipe.json"
    if not path.is_file():
        raise RecipeError(f"{folder}: is no run folder: it has no recipe.json")
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: is no recipe")
    return data


def resolved(data: dict[str, Any], origin: str, plugins: Plugins) -> Recipe:
    """Validate a resolved recipe, as a run folder or a checkpoint holds it, against the parts installed now."""
    return _validate(Layered(data, {(): origin}), plugins)


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML 1.2."""
    return to_yaml(json.loads(recipe.model_dump_json()))


def _validate(layered: Layered, plugins: Plugins) -> Recipe:
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
    faults += _joint_faults(layered.data, plugins.parts)  # after the parts, which had their plugins imported
    origins = Origins(layered.origins)
    if recipe is not None and not faults:
        return recipe.born(origins)
    raise RecipeError(*_lines(faults, origins))


def dotted(place: Place) -> str:
    """Return a place as people write it: `evaluate.metrics[1]`."""
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, place)))


def _lines(faults: Sequence[Fault], origins: Origins) -> list[str]:
    """Return faults as people read them: file and line, key, what is wrong; the same is said once."""
    lines = [": ".join(filter(None, (origins.where(place), dotted(place), text))) for place, text in faults]
    return [*dict.fromkeys(lines)]


def _meant_place(data: Any, place: Place, text: str) -> Place:
    """Return the place of the option that a fault of the part at `place` speaks of, else of the part that it names."""
    for key in place:
        data = data[key]
    parts = [(at, part) for at, part in _mappings(data, place) if at == place or f"{part.get('name')!r}" in text]
    at, part = parts[-1] if parts else (place, {})
    found = {key: re.search(rf"\b{re.escape(key)}\b", text) for key in part if key != "name" and part[key] is not None}
    spoken = {key: match.start() for key, match in found.items() if match}
    return (*at, min(spoken, key=spoken.__getitem__)) if spoken else at


def _mappings(data: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every mapping of plain data with its place, the outer ones first."""
    if isinstance(data, dict):
        yield place, data
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _mappings(value, (*place, key))


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


def _joint_faults(data: dict[str, Any], parts: Parts) -> Iterator[Fault]:
    """Yield the faults of values that do not go together.

    They are looked for in plain data: the models would tell of them only where nothing else is wrong, and not where.
    What has the wrong shape is passed over; the models tell of that.
    """
    yield from _length_faults(data.get("train"))
    yield from _best_faults(_held(data, ("train", "best")), _held(data, ("evaluate", "metrics")), parts)
    yield from _judge_faults(data.get("audit"), name_of(_held(data, ("nets", "generator"))))


def _length_faults(train: Any) -> Iterator[Fault]:
    if not isinstance(train, dict):
        return
    told = [key for key in ("steps", "epochs") if key in train]
    given = [key for key in told if train[key] is not None]
    if len(given) == 2:
        yield ("train", "steps"), "train takes 'steps' or 'epochs', never both; came both; take one away"
    elif not given:  # a null that a later layer set is to blame, else the block
        yield ("train", *told[:1]), "train takes 'steps' or 'epochs', never both; came neither; give one"


def _best_faults(best: Any, metrics: Any, parts: Parts) -> Iterator[Fault]:
    specs = [] if metrics is None else metrics
    if not isinstance(best, str) or not isinstance(specs, list):
        return
    names = [name for name in map(name_of, specs) if name is not None and ("metric", name) in parts]
    if len(names) < len(specs):
        return  # a metric that is told as unknown may be the one that was meant
    if best not in _numbered(names):
        yield ("train", "best"), unknown("evaluated metric", best, _numbered(names))


def _judge_faults(audit: Any, generator: str | None) -> Iterator[Fault]:
    if not isinstance(audit, (str, dict)):
        return
    usual = Audit.model_fields["judge"].default.name
    judge = name_of(audit["judge"]) if isinstance(audit, dict) and "judge" in audit else usual
    if judge is not None and judge == generator:
        yield ("audit", "judge"), f"is {judge!r}, as nets.generator; a judge needs another architecture; name one"


def _part_faults(data: Any, place: Place, kind: str, parts: Parts) -> Iterator[Fault]:
    for at, spec in _named(data, place):
        yield from parts.faults(kind, spec, at)


def _named(data: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield the parts that plain data names at `place`, one of `PART_PLACES`, each with its own place."""
    data = _held(data, place)
    if isinstance(data, list):
        for i, item in enumerate(data):
            weighted = place == ("losses",) and isinstance(item, dict)
            yield (*place, i), {k: v for k, v in item.items() if k != "weight"} if weighted else item
    elif data is not None and place not in {("losses",), ("watch",), ("evaluate", "metrics")}:
        yield place, data


def _held(data: Any, place: Place) -> Any:
    """Return what plain data, which may have any shape, holds at `place`; None where there is nothing."""
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    return data


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
        elif one["type"] == "model_type":
            keys = ", ".join(_keys(place))
            yield place, f"takes a mapping with {keys}; came {one['input']!r:.80}{_meant(place, one['input'])}"
        elif one["type"] == "value_error":
            yield place, one["msg"].removeprefix("Value error, ")
        else:
            yield place, f"{one['msg'][0].lower()}{one['msg'][1:]}; came {one['input']!r:.80}"


def _meant(place: Place, value: Any) -> str:
    """Return the mapping that was meant by a value that stands for it, if one of its keys takes the value."""
    for name, field in _model(place).model_fields.items():
        if typing.get_origin(field.annotation) is Literal and value in typing.get_args(field.annotation):
            return f". Did you mean {{{name}: {value}}}?"
    return ""


def _keys(place: Place) -> list[str]:
    """Return the known keys of the model at `place`."""
    return sorted(_model(place).model_fields)


def _model(place: Place) -> type[BaseModel]:
    """Return the model at `place`; one without fields where there is none."""
    model: Any = Recipe
    for step in place:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation
        inner = [a for a in getattr(annotation, "__args__", (annotation,)) if isinstance(a, type)]
        models = [a for a in (annotation, *inner) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not models:
            return BaseModel
        model = models[0]
    found: type[BaseModel] = model
    return found
