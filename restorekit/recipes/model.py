"""The models of recipes: keys, types, limits and defaults; and errors of building a recipe."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from restorekit.core.errors import ErrorRecord, Place, RecipeError
from restorekit.core.parts import Factory
from restorekit.parts.registry import Parts
from restorekit.recipes.layered import Origins, name_of
from restorekit.recipes.places import SAME, Resolved, kind_at
from restorekit.recipes.variants import numbered

__all__ = [
    "AnyRecipe",
    "Audit",
    "Data",
    "ExtraSpec",
    "IncompatibleRecipeError",
    "LossSpec",
    "Recipe",
    "RestorerRecipe",
    "ScheduleSpec",
    "Train",
    "Weights",
    "is_list_key",
    "key_fields",
    "require_training",
]


EXTRA_KINDS = ("generator", "discriminator", "encoder")
"""Kinds that a network of `nets.extra` may be of."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class PartSpec(BaseModel):
    """A part: its name alone, or a mapping with `name` and the part's options."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
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

    load: float = Field(default=1.0, ge=1.0, le=4.0)
    """Images are resized to `load` times the size, a factor, then a random window of the size is cut."""
    flip: bool = False
    """Mirror the last axis (left and right) with probability 1/2."""
    rotate: float = Field(default=0.0, ge=0, le=180)
    """Turn images by an angle drawn uniformly from -`rotate` to `rotate` degrees; of volumes, their last two axes."""
    alike: bool | None = None
    """Change a and b of a pair alike, by the same draws. Null: if `data.pairing` is `key`."""


class Cache(_Model):
    """Where decoded training images are kept for the next epoch. It changes no result."""

    place: Literal["none", "memory", "disk"] = "none"
    """`none`: every image is decoded again; `disk`: in the user's cache folder, while the run trains."""
    limit: float = Field(default=4.0, gt=0)
    """The most that they take, in GiB, each at the depth and size of its file; the rest is decoded again."""


class Data(_Model):
    """The images, how they are sized, paired and split."""

    root: str | None = None
    """The folder where the datasets' relative paths start."""
    size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)]
    """Spatial size for training and scoring: [length], [height, width] or [depth, height, width]."""
    window: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)] | None = None
    """Train on windows of this size, cut from images at their own size, and score whole images; `size` is left out."""
    scale: int = Field(default=1, ge=1)
    """Size of b and of the truth over that of a, for super-resolution; `size` and `window` are those of a."""
    channels: int = Field(default=1, ge=1)
    """Channels of the networks. One channel is repeated to this many, equal ones count as one; else it is refused."""
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    """How an image of another shape becomes `size`."""
    windows: bool = False
    """The images are windows of larger ones at their native sampling, so restoring may meet images of any size."""
    antialias: bool = True
    """Filter before making smaller. The R2C-GAN authors' resize does not."""
    a: PartSpec
    """The dataset of degraded images (the paper's Y)."""
    b: PartSpec
    """The dataset of high quality (the paper's X); `same`: the truth of side a, image by image, for paired recipes."""
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

    @model_validator(mode="before")
    @classmethod
    def _size_of_window(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("window") is None:
            return value
        size = value.get("size", value["window"])
        if size != value["window"]:
            raise ValueError(f"size is for images that are resized; leave it out beside window; got {size}")
        return {**value, "size": size}

    @model_validator(mode="after")
    def _axes_to_turn(self) -> Self:
        if self.augment.rotate and len(self.size) < 2:
            raise ValueError(
                f"augment.rotate turns images and volumes; a signal has one axis; got {self.augment.rotate}"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _pairs_of_truth(cls, value: Any) -> Any:
        if not isinstance(value, dict) or name_of(value.get("b")) != SAME:
            return value
        if isinstance(value["b"], dict) and len(value["b"]) > 1:
            options = ", ".join(sorted(value["b"].keys() - {"name"}))
            raise ValueError(f"b: {SAME} is the truth of a and takes no options; got {options}")
        pairing = value.get("pairing", "key")
        if pairing != "key":
            raise ValueError(f"pairing is key where b is {SAME}, which pairs an image with its truth; got {pairing}")
        return {**value, "pairing": "key"}

    @property
    def b_is_truth(self) -> bool:
        """True if side b is the truth of side a."""
        return self.b.name == SAME

    @property
    def alike(self) -> bool:
        """True if an image of a and the image of b that is shown with it are a pair, changed by the same draws."""
        return self.pairing == "key" if self.augment.alike is None else self.augment.alike

    @property
    def sizes(self) -> dict[str, list[int]]:
        """The sizes of the images of each side in training."""
        return {"a": list(self.size), "b": [n * self.scale for n in self.size]}


class ExtraSpec(_Model):
    """A network that only losses use, with an optimizer of its own; one of `generator`, `discriminator`, `encoder`."""

    generator: PartSpec | None = None
    """It translates images of `domain` into the other side."""
    discriminator: PartSpec | None = None
    """It scores images of `domain`."""
    encoder: PartSpec | None = None
    """It makes maps of images of `domain`."""
    domain: Literal["a", "b"] = "b"
    """The side whose images it takes; restored images are such of b."""
    optimizer: PartSpec | None = None
    """What updates it; null: `train.optimizer`. The learning rate follows `train.schedule`."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in EXTRA_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"takes one of {', '.join(EXTRA_KINDS)}; got {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        """The kind of its part."""
        return next(kind for kind in EXTRA_KINDS if getattr(self, kind) is not None)

    @property
    def part(self) -> PartSpec:
        """The part."""
        made: PartSpec = getattr(self, self.kind)
        return made


class Weights(_Model):
    """Initial weights of the networks: the path of the file alone, or a mapping."""

    file: str
    """A `.safetensors` file, or one of torch.save, read without running code. A path is relative to the recipe;
    `PACKAGE:PATH` is a file of an installed package: `restorekit_models:weights/film_base_structure.safetensors`.
    Without `map`, names that begin with none of the run's networks (`ab.generator.`, `d_b.`) are the generator's."""
    map: dict[str, str | None] = {}
    """Beginnings of the file's names, and what stands there instead, such as `{model.: ab.generator.}`; the longest
    that fits counts. Null: what begins so is left out."""
    partial: bool = False
    """Tensors of a network that the file lacks keep their values; false: they are an error."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value


class NetsSpec(_Model):
    """The networks."""

    generator: PartSpec
    """The network of both translators."""
    discriminator: PartSpec | None = None
    """The network of both discriminators; null where no loss is adversarial."""
    head: PartSpec | None = None
    """Reads the generator's features and predicts, such as the class; null: no predictions."""
    extra: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ExtraSpec] = {}
    """More networks by name, which losses use and train."""
    teacher: str | None = None
    """The folder of a run whose translator losses may read, frozen. A path is relative to the recipe."""
    weights: Weights | None = None
    """Weights that the networks begin with; null: those drawn from the seed, and those that parts bring."""
    one_way: bool | None = None
    """Build only the translator from a to b. Null: if `data.pairing` is `key` and no loss needs the way back."""


class Clip(_Model):
    """Limits of the gradient before an optimizer's step, of each side by itself; one of the two."""

    norm: float | None = Field(default=None, gt=0)
    """The largest norm of all gradients of a side together; a larger gradient is scaled down to it."""
    value: float | None = Field(default=None, gt=0)
    """The largest magnitude of each gradient value; beyond it a value is cut."""


class ScheduleSpec(PartSpec):
    """A learning rate schedule, and whether it restarts when a longer run resumes."""

    restart: bool = False
    """A resumed run with more steps restarts the schedule over the remaining steps."""


class Train(_Model):
    """Length, rates and checkpoints of a training."""

    epochs: int | None = Field(default=None, ge=1, le=10**9)
    """Passes over the longer domain; or `steps`, never both."""
    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Optimiser steps; or `epochs`, never both."""
    optimizer: PartSpec = PartSpec(name="adam")
    """What updates the translators, and the discriminators too where they have none of their own."""
    schedule: ScheduleSpec = ScheduleSpec(name="constant")
    """The learning rate over the steps, as a share of the optimizer's."""
    discriminator_optimizer: PartSpec | None = None
    """What updates the discriminators; null: `optimizer`."""
    discriminator_schedule: ScheduleSpec | None = None
    """The discriminators' learning rate over the steps; null: `schedule`."""
    clip: Clip | None = None
    """Limits of the gradient; null: none."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are summed before a step; losses are means over all their images."""
    pool: int = Field(default=50, ge=0)
    """Past fakes kept for each discriminator."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a moving average of the translators' weights; if set, the average is scored, shown and restored with."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """`auto` is bf16 where the processor has it, else fp32, and reports which."""
    keep: Literal["last", "best"] = "last"
    """Which weights are evaluated and restored with."""
    best: str | None = None
    """The validation score that names the best checkpoint; null: the first of `evaluate.metrics`."""
    log_every: int = Field(default=50, ge=1)
    """Log the losses every so many steps."""
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
    baseline: PartSpec | None = None
    """A restorer that is scored on the same images; scores less its scores are reported. Null: none."""
    times: int = Field(default=1, ge=1)
    """How often the restoring translator is applied. Classes always come from the first pass."""
    resamples: int = Field(default=1000, ge=10)
    """Bootstrap resamples for the intervals."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""


class Audit(_Model):
    """Whether restoration keeps the class of an image, as predicted by an audit classifier of another architecture."""

    name: Literal["split", "same"] = "split"
    """`split`: run and classifier train on the two halves of the patients; `same`: both on all, and the report states
    so."""
    classifier: PartSpec = PartSpec.model_validate({"name": "unet", "width": 32})
    """The generator whose features the head of the audit classifier reads; another than that of the run."""
    steps: int | None = Field(default=None, ge=1)
    """Training steps of the audit classifier; null: as many as the run's."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class _Recipe(_Model):
    """The keys of every recipe: images, scores, name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Names the run folder."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Weights, order, crops, fresh degradations and resamples come from it. Phantoms have a seed of their own."""
    needs: list[str] = []
    """Distributions that must be installed, such as `restorekit-selfonn`."""
    data: Data
    evaluate: Evaluate = Field(default_factory=Evaluate)
    paper: dict[str, float] = {}
    """Published scores, and numbers of trained parameters, `parameters` and `encode_and_head`; shown beside ours."""
    paper_note: str = ""
    """Why our numbers may differ from the paper's."""
    variants: dict[str, dict[str, Any]] = {}
    """Named sets of dotted paths and values: `--variant NAME` applies one."""
    variant: str | None = None
    """Which of them was applied: `--variant` writes it here. It is a label; set by hand it applies nothing."""

    _origins: Origins = PrivateAttr(default_factory=Origins)
    _parts: Resolved = PrivateAttr(default_factory=Resolved)

    @property
    def half(self) -> Literal["first", "second"] | None:
        """The half of the training patients that the run is trained on, if not all."""
        return self.data.half

    @property
    def predicts(self) -> bool:
        """True if it asks for predictions, such as of classes."""
        return False

    @property
    def trains(self) -> bool:
        """True if it trains networks, and so needs training images of both sides."""
        return False

    @property
    def metric_names(self) -> list[str]:
        """Names under which the evaluated metrics are reported; the second `psnr` is `psnr_2`."""
        return numbered([metric.name for metric in self.evaluate.metrics])

    @property
    def origins(self) -> Origins:
        """Where its values come from: a file and a line, or a setting."""
        return self._origins

    def with_origins(self, origins: Origins, parts: Resolved | None = None) -> Self:
        """Return it with the places that its values come from, and the parts that were validated."""
        made = self.model_copy()
        made._origins = origins
        made._parts = parts or Resolved()
        return made

    def part(self, parts: Parts, *place: str | int) -> Factory:
        """Return the factory of the part at a place, such as ("losses", 1); it is validated once.

        Args:
            parts: where it comes from.
            place: of the part.

        Raises:
            RecipeError: if it is not valid, which a recipe that was loaded has been checked for.
        """
        value: Any = self
        for key in place:
            value = getattr(value, str(key)) if isinstance(value, BaseModel) else value[key]
        spec: dict[str, Any] = value.spec
        factory = self._parts.factory(place, spec)
        if factory is None:
            with self.at(*place):
                factory = parts.resolve(kind_at(place), spec)
            self._parts.keep(place, spec, factory)
        return factory

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Give errors raised inside the place `place` and its line.

        Raises:
            IncompatibleRecipeError: for a RecipeError whose place is that below the part.
        """
        try:
            yield
        except IncompatibleRecipeError:
            raise
        except RecipeError as error:
            raise IncompatibleRecipeError(self, *(one.within(place) for one in error.errors)) from error


class Recipe(_Recipe):
    """A recipe that trains networks."""

    nets: NetsSpec
    losses: Annotated[list[LossSpec], Field(min_length=1)]
    """The terms; each is a part with a `weight`, default 1."""
    train: Train
    audit: Audit | None = None
    """Null: none. `split` or `same` alone takes the usual classifier."""
    loggers: list[PartSpec] = [PartSpec(name="csv"), PartSpec(name="samples")]
    """Parts that get every event of the training and write it."""

    @property
    def half(self) -> Literal["first", "second"] | None:
        """The half of the training patients that the run is trained on, if not all."""
        halved = self.audit is not None and self.audit.name == "split"
        return self.data.half or ("first" if halved else None)

    @property
    def predicts(self) -> bool:
        """True if it has a head."""
        return self.nets.head is not None

    @property
    def trains(self) -> bool:
        """True."""
        return True

    @property
    def loss_names(self) -> list[str]:
        """Names under which the losses are reported; the second `cycle` is `cycle_2`."""
        return numbered([loss.name for loss in self.losses])


class RestorerRecipe(_Recipe):
    """A recipe of a restorer without training: fitted, scored, reported and compared like a trained one."""

    restorer: PartSpec
    """What restores, in place of nets, losses and train."""


AnyRecipe = Recipe | RestorerRecipe


def require_training(recipe: AnyRecipe) -> Recipe:
    """Return a recipe that trains.

    Raises:
        RecipeError: if it names a restorer, which has no networks to train.
    """
    if isinstance(recipe, Recipe):
        return recipe
    raise RecipeError(f"{recipe.name}: names the restorer {recipe.restorer.name!r} and trains no network; got no nets")


class IncompatibleRecipeError(RecipeError):
    """Errors of a recipe that is valid by itself: its parts do not fit each other or the data.

    Args:
        recipe: the recipe, which has the places of its values.
        errors: a record each, or the place and the text of something that does not fit.
    """

    def __init__(self, recipe: _Recipe, *errors: ErrorRecord | tuple[Place, str]) -> None:
        records = (
            one if isinstance(one, ErrorRecord) else ErrorRecord(one[1], "does-not-fit", one[0]) for one in errors
        )
        super().__init__(
            *(one if one.origin else replace(one, origin=recipe.origins.where(one.place)) for one in records)
        )

    def within(self, place: Place) -> Self:
        """Return itself: its places are those of the whole recipe."""
        return self

    def __reduce__(self) -> tuple[type[RecipeError], tuple[ErrorRecord, ...]]:
        """Pickle as a RecipeError, without the recipe."""
        return RecipeError, self.errors


def key_fields(model: type[BaseModel] | None = None, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every key of a recipe, or of a model in it; what holds a part has no keys of its own."""
    for name, field in (model or Recipe).model_fields.items():
        yield (*place, name)
        if typing.get_origin(field.annotation) is dict:
            continue  # its keys are names of the recipe's own
        for inner in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and not issubclass(inner, PartSpec):
                yield from key_fields(inner, (*place, name))


def is_list_key(keys: Sequence[str]) -> bool:
    """True if a key of a recipe, by the keys on the way to it, holds a list; options of parts are not known here."""
    model: Any = Recipe
    annotation: Any = None
    for key in keys:
        fields = getattr(model, "model_fields", {})
        if key not in fields:
            return False
        annotation = fields[key].annotation
        inner = [a for a in (annotation, *typing.get_args(annotation)) if isinstance(a, type)]
        model = next((a for a in inner if issubclass(a, BaseModel)), None)
    return any(typing.get_origin(a) is list for a in (annotation, *_unannotated(annotation)))


def _unannotated(annotation: Any) -> Iterator[Any]:
    """Yield the types within a union or an annotated type."""
    for inner in typing.get_args(annotation):
        yield inner
        yield from _unannotated(inner) if typing.get_origin(inner) is not list else ()
