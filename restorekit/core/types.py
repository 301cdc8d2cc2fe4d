"""The central types: data, and the contracts of networks, metrics and datasets.

"Image" means a signal, an image or a volume: shape (C, *S) with one, two or three spatial sizes S and values in
[-1, 1]; a batch of them is (B, C, *S). Domain a is degraded (Y in the R2C-GAN paper), domain b good (X); `ab` is the
translator that restores (G), `ba` the one that degrades (F).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorekit.core import nd
from restorekit.core.errors import DataError, PluginError, RecipeError, unknown
from restorekit.core.formats import Depths, Intensity
from restorekit.core.tasks import UNLABELLED, Target, Task

__all__ = [
    "Batch",
    "Dataset",
    "Degradation",
    "Discriminator",
    "Domain",
    "Encoder",
    "Extra",
    "Generator",
    "Metric",
    "Nets",
    "Output",
    "ParameterGroup",
    "Record",
    "Sample",
    "TaskHead",
    "Translator",
    "groups_of",
]


@dataclass(frozen=True)
class Domain:
    """The images of one side: channels, size, task."""

    name: str
    channels: int
    size: tuple[int, ...]
    task: Task = field(default_factory=Task)
    """What is predicted of its images."""
    counts: tuple[int, ...] = ()
    """Training images of each class; empty where they are not known, as before any data is read."""
    spacing: tuple[float, ...] | None = None
    """Millimetres (of time: seconds) between values along each spatial axis, if known and the same in all images."""
    bits: int | None = None
    """Significant bits of its 16-bit files that do not state them, and of such files to restore."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Domain:
        """Return a domain from its fields as JSON holds them, also those of version 1.0."""
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        old = given.pop("classes", ()), given.pop("quantity", "")
        task = Task.of(given.pop("task")) if "task" in given else Task.of_version_1(*old)
        return cls(**given, task=task)

    def __post_init__(self) -> None:
        """Refuse names of classes, which version 1 took."""
        if not isinstance(self.task, Task):
            raise TypeError(f"Domain: task: got {self.task!r}; allowed: a Task, such as Task('class', ('no', 'yes'))")

    @property
    def dims(self) -> int:
        """1 for signals, 2 for images, 3 for volumes."""
        return len(self.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, where the class of an image is predicted; else empty."""
        return self.task.named("class")


@dataclass(frozen=True)
class Record:
    """What is known of an image before it is read."""

    key: str
    """Its name: a file path, or a record's id; unique within a dataset."""
    target: Target = UNLABELLED
    """Of the form that `Task` gives for the task of its dataset."""
    group: str | None = None
    """The patient or record it comes from; never in two splits, and the unit of the bootstrap."""
    source: str | None = None
    """The collection or device it comes from; used to warn of confounding."""


@dataclass(frozen=True)
class Sample:
    """One image as a dataset gives it: (C, *S) float32 in [-1, 1], at its own size."""

    image: Tensor
    truth: Tensor | None = None
    """The clean image, where it is known: shape of `image`."""
    mask: Tensor | None = None
    """Where the finding is, where it is known: (1, *S), 0 or 1."""
    target: Tensor | None = None
    """Of a task with masks: the class of each pixel, UNLABELLED where it is not known; None: not known anywhere. (*S)
    int64, of the size of the image or, if it is larger, of its truth."""
    intensity: Intensity | None = None
    drawn: Mapping[str, float] = field(default_factory=dict)
    """The degradations that made `image` from `truth`, in order, with their severities."""
    reduced: float = 1.0
    """How many times smaller the dataset made the recorded image along an axis, the geometric mean over axes: 4 if 1024
    became 256, below 1 if it was enlarged. A degradation that makes images smaller does not count."""


@dataclass(frozen=True)
class Batch:
    """Images as the trainer and the metrics see them; only `image` and `key` are always there."""

    image: Tensor
    key: tuple[str, ...]
    target: Tensor | None = None
    """Of the shape and type that `Task` gives; masks are of the size of the truth and of restored images."""
    truth: Tensor | None = None
    """The clean images, of the shape of `image`; zeros where one is not known."""
    known: Tensor | None = None
    """(B,) bool: the images with a known truth; None: all, where `truth` is given at all."""
    mask: Tensor | None = None
    summary: Tensor | None = None
    """(B, K), of the whole images where `image` are windows of them, for a generator that has a summary."""
    group: tuple[str | None, ...] | None = None
    source: tuple[str | None, ...] | None = None
    intensity: tuple[Intensity | None, ...] | None = None
    drawn: tuple[Mapping[str, float], ...] | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on `device`."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True), lambda values: values)

    def take(self, places: Sequence[int]) -> Batch:
        """Return the batch of the images at these places, one or more."""
        at = torch.tensor(places, device=self.image.device)
        return self._with(lambda tensor: tensor[at.to(tensor.device)], lambda values: tuple(values[i] for i in places))

    def _with(self, tensor: Callable[[Tensor], Tensor], values: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Batch:
        """Return it with functions applied to its tensors and to its tuples; fields that are None stay None."""
        held = {of.name: value for of in fields(self) if (value := getattr(self, of.name)) is not None}
        new: dict[str, Any] = {n: tensor(v) if isinstance(v, Tensor) else values(v) for n, v in held.items()}
        return replace(self, **new)

    def _every(self, value: bool) -> Tensor:
        return torch.full((len(self.key),), value, device=self.image.device)

    @property
    def with_truth(self) -> Tensor:
        """(B,) bool: the images whose truth is known."""
        return self._every(self.truth is not None) if self.truth is None or self.known is None else self.known

    @property
    def with_target(self) -> Tensor:
        """(B,) bool: the images with a target that is known, at least in part."""
        if self.target is None:
            return self._every(False)
        known = ~self.target.isnan() if self.target.is_floating_point() else self.target != UNLABELLED
        return known if known.ndim == 1 else known.flatten(1).any(1)


@dataclass(frozen=True)
class Output:
    """The output of one translator for a batch."""

    image: Tensor
    """(B, C, *S) in [-1, 1]."""
    features: Tensor | None = None
    """(B, F, *s), unpooled: the input of the head; None from a restorer."""
    raw: Tensor | None = None
    """The output of the head, for its loss: such as logits (B, classes); None without a head."""
    prediction: Tensor | None = None
    """The predictions of a restorer, as of `TaskHead.predict`: (B, K), or (B, K, *scale*S) for masks."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with their own learning rate, or trained from a later step on.

    Until `first_step` they are frozen: they have no gradient, and modules that hold no other parameters keep their
    running statistics. The step alone decides, so a resumed run is exact.
    """

    parameters: Sequence[nn.Parameter]
    factor: float = 1.0
    """The learning rate, as a multiple of the recipe's."""
    first_step: int = 0
    """The first step, counted from 0, at which they learn."""


class Encoder(nn.Module, ABC):
    """Computes maps of images for a decoder, from fine to coarse: (B, C, *S) to (B, widths[i], *S / strides[i])."""

    widths: Sequence[int]
    """Channels of each map."""
    strides: Sequence[int]
    """How many times coarser each map is than the image; each a multiple of the one before it. S is one of the last."""

    def groups(self) -> Sequence[ParameterGroup]:
        """Return every trained parameter once; by default all in one group, which learns from the start."""
        return [ParameterGroup([p for p in self.parameters() if p.requires_grad])]

    def warm_start(self) -> None:
        """Load initial weights that are not random; see `Generator.warm_start`."""

    @abstractmethod
    def forward(self, image: Tensor) -> Sequence[Tensor]:
        """Return the maps of images (B, C, *S) in [-1, 1]."""


class Generator(nn.Module, ABC):
    """Maps images (B, C, *S) to (B, C', *scale*S), S a multiple of `multiple`, and exposes features for a task head."""

    features: int
    """Channels F of the features."""
    scale: int = 1
    """Output size = scale * input size, along every axis."""
    halo: int | None = None
    """Pixels around a tile, per side, on which its output depends; None: only whole images are exact."""
    multiple: int = 1
    """Spatial sizes must be a multiple of this; restoring pads and crops."""
    least: int = 1
    """Spatial sizes must be this or more; a norm over one value has no meaning."""
    translates: bool = True
    """False where `decode` returns the input image, as of a classifier; reports then leave out restoring."""
    any_scale: bool = False
    """True where the sampling of an image does not matter, as for a network of thumbnails and single values."""

    def groups(self) -> Sequence[ParameterGroup]:
        """Return every trained parameter once; by default the groups of encoders within, and all others in one."""
        within = self._encoders()
        theirs = {id(p) for encoder in within for p in encoder.parameters()}
        own = [p for p in self.parameters() if p.requires_grad and id(p) not in theirs]
        return [*(group for encoder in within for group in encoder.groups()), ParameterGroup(own)]

    def _encoders(self) -> list[Encoder]:
        return [module for module in self.modules() if isinstance(module, Encoder)]

    def warm_start(self) -> None:
        """Load initial weights that are not random, such as pretrained ones; by default those of encoders within.

        Called once, as a run begins; a run that is resumed or loaded has all weights in its checkpoint.

        Raises:
            RestorekitError: if they are not available; random weights never replace them.
        """
        for encoder in self._encoders():
            encoder.warm_start()

    def summary(self, image: Tensor) -> Tensor | None:
        """Return (B, K), what a window needs of its whole image (B, C, *S); None: nothing. It has no parameters.

        Where training cuts windows, the loader computes it of the whole degraded image.
        """
        return None

    @property
    def summarises(self) -> bool:
        """True if it has a summary; only the passes ab and bb, which begin with images of the data, then train it."""
        return type(self).summary is not Generator.summary

    @abstractmethod
    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Any, Tensor]:
        """Return (state, features): the input of `decode`, and (B, F, *s) for the head.

        Args:
            image: (B, C, *S) in [-1, 1].
            summary: of the whole images; None: computed from `image`. Given only where it has one.
        """

    @abstractmethod
    def decode(self, state: Any) -> Tensor:
        """Return the translated image from the state."""

    def forward(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (image, features)."""
        state, features = self.encode(image) if summary is None else self.encode(image, summary)
        return self.decode(state), features


class Discriminator(nn.Module, ABC):
    """Scores images of a domain as real or translated."""

    conditional: bool = False
    """True if it scores an image with the one it was translated from, as in pix2pix; training then takes pairs."""

    @abstractmethod
    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor | Sequence[Tensor]:
        """Return realness scores (B, 1, *s), one for each patch; several such tensors from one of several scales.

        Args:
            image: (B, C, *S) in [-1, 1].
            condition: (B, C', *S), the translated images, of the size of `image`, for a conditional one; else None.
        """


class TaskHead(nn.Module, ABC):
    """Predicts the target of the domain's task, such as the class, from a generator's features."""

    pixels: bool = False
    """True if it predicts for each pixel: the output of `forward`, (B, K, *s), is then resized linearly to the size of
    the restored image for `loss` and `predict`."""
    balances: str = ""
    """The option that weights rare classes in its loss by their counts, as written in a recipe; empty: none."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Return the input of `loss` and `predict`, such as logits (B, K).

        Args:
            features: (B, F, *s) of the generator, unpooled; s is the image's size over any factor, such as 1, 4 or 16.
        """

    @abstractmethod
    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return a value for each image, (B,).

        Args:
            raw: the output of `forward`.
            target: of the batch that the pass started from, of the shape that `Task` gives.
            known: (B,) bool, whether a target is known, at least in part. Values where it is False are left out, but
                must be finite. The loss itself leaves out labels, numbers or pixels that are not known in a target.
        """

    def predict(self, raw: Tensor) -> Tensor:
        """Return predictions: by default the probability of each class, (B, K), the softmax of logits.

        Of labels: the probability of each; of numbers: the numbers in their units; of masks: (B, K, *S).
        """
        return raw.cpu().double().softmax(1)  # float64, which MPS lacks: close logits stay different


class Translator(nn.Module):
    """One direction: a generator and, if the recipe has one, its head."""

    def __init__(self, generator: Generator, head: TaskHead | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.head = head

    def groups(self) -> list[ParameterGroup]:
        """Return the generator's groups, and the head's parameters as one that learns from the start.

        Raises:
            PluginError: if the generator's are not its trained parameters, each once, or have values out of range.
        """
        return [*groups_of(self.generator), *([] if self.head is None else groups_of(self.head))]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; modules whose own parameters are all frozen, such as frozen norms, stay in evaluation mode."""
        super().train(mode)
        _keep_frozen(self)
        return self

    def forward(self, image: Tensor, summary: Tensor | None = None) -> Output:
        """Translate (B, C, *S), tiles or windows of images with this summary; `raw` is the head's output."""
        translated, features = self.generator(image, summary)
        return Output(translated, features, None if self.head is None else self._raw(self.head, features, image))

    def raw(self, image: Tensor, summary: Tensor | None = None) -> Tensor | None:
        """Return the head's output for (B, C, *S) without translating: `encode` and the head alone."""
        if self.head is None:
            return None
        encoded = self.generator.encode(image) if summary is None else self.generator.encode(image, summary)
        return self._raw(self.head, encoded[1], image)

    def _raw(self, head: TaskHead, features: Tensor, image: Tensor) -> Tensor:
        raw: Tensor = head(features)
        if not head.pixels or raw.ndim != image.ndim:
            return raw
        return nd.resize(raw, [self.generator.scale * n for n in image.shape[2:]])


def groups_of(net: nn.Module) -> list[ParameterGroup]:
    """Return the groups of a network's trained parameters: of a generator or an encoder its own, else one.

    Raises:
        PluginError: if they are not its trained parameters, each once, or have values out of range.
    """
    names = {id(p): name for name, p in net.named_parameters() if p.requires_grad}
    if not isinstance(net, Generator | Encoder):
        return [ParameterGroup([p for p in net.parameters() if p.requires_grad])] if names else []
    own = net.groups()
    where = f"{'generator' if isinstance(net, Generator) else 'encoder'} {type(net).__name__}: groups()"
    held = Counter(id(p) for group in own for p in group.parameters)
    wrong = [name for key, name in names.items() if held[key] != 1]
    if wrong or held.keys() - names:
        wrong = wrong[:3] or ["one that is not trained"]
        raise PluginError(f"{where} must hold every trained parameter once; not so: {', '.join(wrong)}")
    if any(group.factor <= 0 or group.first_step < 0 for group in own):
        raise PluginError(f"{where} must have factors above 0 and first steps from 0 on")
    return [group for group in own if group.parameters]


def _keep_frozen(net: nn.Module) -> None:
    """Put modules whose own parameters are all frozen, such as frozen norms, into evaluation mode."""
    for module in net.modules():
        own = [p.requires_grad for p in module.parameters(recurse=False)]
        module.training &= not own or any(own)


class Extra(nn.ModuleDict):
    """Further networks of a run, by their names in `nets.extra`."""

    def __getitem__(self, key: str) -> nn.Module:
        """Return the network of a name.

        Raises:
            RecipeError: if there is none.
        """
        if key not in self:
            raise RecipeError(f"nets.extra: {unknown('extra network', key, list(self))}")
        return super().__getitem__(key)


class Nets(nn.Module):
    """The networks of a run: `ab` restores; `ba` degrades; `d_a` and `d_b` discriminate images of a and b.

    `extra` holds those that only losses use, by name. `teacher` is a trained translator for losses; it is frozen, and
    neither trained nor saved nor counted.
    """

    def __init__(
        self,
        ab: Translator,
        ba: Translator | None = None,
        d_a: Discriminator | None = None,
        d_b: Discriminator | None = None,
        extra: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.ab, self.ba, self.d_a, self.d_b = ab, ba, d_a, d_b
        self.extra = Extra(extra)
        self._teacher: list[Translator] = []  # a list, so that torch does not register it as a module

    def train(self, mode: bool = True) -> Self:
        """Set the mode; networks of `extra` stay in evaluation mode where they are frozen, as those no loss trains."""
        super().train(mode)
        for net in self.extra.values():
            net.train(mode and any(p.requires_grad for p in net.parameters()))
            _keep_frozen(net)
        return self

    @property
    def teacher(self) -> Translator:
        """The translator of another run, frozen and in evaluation mode.

        Raises:
            RecipeError: if the recipe names none.
        """
        if not self._teacher:
            raise RecipeError("nets.teacher: a loss reads it, and it is not set; give the folder of a run")
        return self._teacher[0]

    def set_teacher(self, net: Translator) -> None:
        """Set the teacher, and freeze it."""
        self._teacher = [net.requires_grad_(False).eval()]

    def translators(self) -> list[Translator]:
        """The directions that exist."""
        return [net for net in (self.ab, self.ba) if net is not None]

    def discriminators(self) -> list[Discriminator]:
        """The discriminators that exist."""
        return [net for net in (self.d_a, self.d_b) if net is not None]


class Dataset(ABC):
    """One side of one split: `records` of all images, without reading them; none of a split that does not exist."""

    classes: tuple[str, ...] = ()
    """Names of the classes; the last one is the positive class of two."""
    classes_from: Literal["declared", "names"] = "declared"
    """names: the classes are the sorted names of folders or labels, so nobody declared their order."""
    regression_target: str = ""
    """Name and unit of the targets if they are one number, such as "age, years"; then there are no classes."""
    synthetic: bool = False
    """True if the images are made, not recorded: every picture and page then states it."""
    has_truth: bool = False
    """True if `load` gives the truth of some images at least."""
    draws: int = 0
    """How many of the datasets that it is made of, one inside the other, draw what is fixed by an image's key."""
    unit: str = "patient"
    """What a group of its records is, in one word: intervals resample these units."""
    records: Sequence[Record]

    @cached_property
    def task(self) -> Task:
        """What is predicted of its images; by default from `classes` or `regression_target`. Set it for others."""
        if self.classes and (number := self.regression_target):
            raise DataError(f"{type(self).__name__}: targets are classes or the number {number!r}, not both")
        return Task.of_version_1(self.classes, self.regression_target)

    @abstractmethod
    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index`.

        All random numbers must come from `rng`: in training seeded from the recipe's seed, the epoch and the place in
        it, in scoring from the split and the image's key.

        Raises:
            DataError: if the image cannot be read; the message names the file.
        """

    def depths(self) -> Sequence[Depths]:
        """Return the bits of 16-bit files in all its splits, for each collection of files; see `FileDataset`.

        Raises:
            DataError: if files are of different depths and nothing decides.
        """
        return ()

    def file(self, index: int) -> Path | None:
        """The file that image `index` is made from, readable by `read_image`; None if there is none.

        The data check reads these files itself, several at a time, and keeps the results until a file changes.
        """
        return None

    def skipped(self) -> Sequence[tuple[Path, str]]:
        """Return files that look like images of this dataset, in any split, but are left out, with the reasons."""
        return []


class Degradation(ABC):
    """Degrades images. Severity 0 is the identity; more is worse."""

    scale: int = 1
    """Image size over result size, along every axis; the image's sizes are multiples of it."""

    def for_split(self, root: Path | None, split: str) -> Degradation:
        """Return this degradation for the images of a split; called before any is degraded.

        One that needs files reads them now; relative paths start at `root`. Noise and the like that it takes from
        recordings must differ between splits, so that no network is tested on noise of its training.
        """
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it may draw; by default those of one draw."""
        return tuple(self.draw(torch.Generator().manual_seed(0)))

    @abstractmethod
    def draw(self, rng: torch.Generator) -> dict[str, float]:
        """Draw the severities of one image, by the names of the degradations, in their order."""

    @abstractmethod
    def apply(self, image: Tensor, drawn: Mapping[str, float], rng: torch.Generator) -> Tensor:
        """Return `image` (C, *S) in [-1, 1] degraded as drawn, in the drawn order, clipped to [-1, 1]."""


class Metric(ABC):
    """A metric: `measure` returns a row for each image, `reduce` the score of any rows, as intervals need."""

    id: str
    """The definition in one line, with its source: printed in every report."""
    better: Literal["higher", "lower", "nearer", "neither"] = "higher"
    """Which values are good. nearer: those near the values of good images (domain b), so the least noise need not be
    best; such a metric needs an image alone. neither: the score describes, and selects no checkpoint."""
    unit: str = ""
    """The unit of the score, such as "px", which the report prints beside the name; empty for a plain number."""
    needs: Literal["truth", "target"] | None = None
    """What a batch must have for the metric to be defined; None: nothing, so good images are scored too."""
    undefined: str = "not defined"
    """What a report prints where the score is NaN: the reason in a few words."""
    biased: bool = False
    """True: scores of resampled images are systematically worse or better, so it is reported without an interval."""
    proportion: bool = False
    """True: the score is a share of a count, such as of images. Where all bootstrap resamples are equal, as of 0 in 10,
    it gets the exact interval (Clopper and Pearson) over patients."""

    @abstractmethod
    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return one row per image, (B, k), from `image` (B, C, *S) and the batch.

        `prediction` is that of `TaskHead.predict`, such as probabilities (B, classes); None without a head.
        """

    @abstractmethod
    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the score of rows (N, k); NaN where it is not defined."""

    def parts(self) -> Mapping[str, Metric]:
        """Return scores reported beside this one as NAME_PART, such as that of each label; by default none."""
        return {}

    def marks(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Sequence[Mapping[str, Sequence[float]]]:
        """Return the samples that `measure` finds along each signal of `image` (B, C, L), by name; by default none.

        Their names, such as "beats missed", are the same for all signals and drawn in their order, each with marks of
        its own; "reference" is where something should be. Called for signals alone.
        """
        return [{} for _ in batch.key]
