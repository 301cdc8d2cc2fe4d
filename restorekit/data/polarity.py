"""Which of two classes is positive, and whether the recipe declares it or the alphabet decides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restorekit.core.errors import Place, dotted
from restorekit.core.types import Dataset
from restorekit.data.splits import SIDES, SideName, Splits
from restorekit.io.vocabulary import sorted_classes
from restorekit.parts.part import split
from restorekit.parts.registry import Parts
from restorekit.recipes.model import AnyRecipe, Recipe

__all__ = ["Polarity", "is_negative", "opened_leaves", "polarity", "polarity_of_names"]

_NEGATIVE = {
    *("0", "false", "n", "neg", "negative", "no", "non", "none", "normal", "control", "controls", "healthy", "benign"),
    *("absent", "absence", "clear", "clean", "unremarkable", "nofinding", "nofindings"),
}
_PLAIN = re.compile(r"[A-Za-z_][\w-]*( [\w-]+)*")
_WORDS_OF_YAML = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


OTHER_TASKS = ("target", "numbers", "mask")
"""Options of datasets whose targets are then no classes of images."""


@dataclass(frozen=True)
class Polarity:
    """The classes of a recipe in their order, and where it leaves the order to the names."""

    classes: tuple[str, ...]
    """In the order of their numbers, the positive one of two last; empty: not known, as the data is not there."""
    undeclared: tuple[str, ...]
    """Places of datasets, such as "data.a.dataset", whose classes are the sorted names because `classes` is not set."""

    @property
    def positive(self) -> str | None:
        """The positive class; None unless there are two classes."""
        return self.classes[1] if len(self.classes) == 2 else None

    def statement(self) -> str:
        """Return which class is positive, in one line; empty where there is none."""
        if self.positive is None:
            return ""
        return f"positive class: {self.positive} (negative: {self.classes[0]})"

    def warning(self) -> str:
        """Return one line if the positive class is not declared, with what to write; empty where it is declared."""
        if not self.undeclared or (self.classes and self.positive is None):
            return ""
        if self.positive is None:
            line = self.line(("NEGATIVE", "POSITIVE"))
            return f"the positive class will be the last by the alphabet, for no classes are declared; write {line}"
        one, other = self.classes
        swapped = ""
        if is_negative(other) and not is_negative(one):
            swapped = (
                f" This looks swapped: {other} is a word for a negative, and sensitivity would be that of {other}."
            )
        return (
            f"the positive class is {other} only because it is the last by the alphabet; no classes are declared."
            f"{swapped} Write {self.line((other, one))} to make {one} positive, "
            f"or {self.line((one, other))} to keep {other} positive"
        )

    def line(self, classes: Sequence[str]) -> str:
        """Return what to write in the recipe for an order of the classes, at each place that needs it."""
        listed = ", ".join(map(_as_yaml, classes))
        return " and ".join(f"{place}.classes: [{listed}]" for place in self.undeclared)


def is_negative(name: str) -> bool:
    """Return whether a class has a name that is known for the absence of a finding: normal, control, no_finding, 0."""
    words = re.findall(r"[^\W_]+", name.casefold())
    return "".join(words) in _NEGATIVE or (len(words) > 1 and words[0] in ("no", "non", "not", "without"))


def polarity(spec: AnyRecipe, parts: Parts, splits: Splits | None = None) -> Polarity | None:
    """Return the positive class of a recipe and whether it is declared; None where no class is predicted.

    Args:
        spec: the recipe.
        parts: where its datasets come from.
        splits: its data, if they are open; None: datasets are opened where that can be done, no image is read.
    """
    if not (spec.predicts or (isinstance(spec, Recipe) and spec.audit is not None)):
        return None
    leaves = {name: [*opened_leaves(spec, parts, name)] for name in SIDES} if splits is None else {}
    known = [dataset for found in leaves.values() for _, dataset in found if dataset is not None]
    if splits is not None:
        known = [splits["train", name].dataset for name in SIDES]
    if any(dataset.task.kind not in ("none", "class") for dataset in known):
        return None
    undeclared: list[str] = []
    for name in SIDES:
        if splits is None:
            undeclared += [dotted(place) for place, dataset in leaves[name] if _by_names(dataset)]
        elif splits["train", name].dataset.classes_from == "names":
            places = [dotted(place) for place, _ in _undeclared(spec, parts, name)]
            undeclared += places or [dotted(("data", name))]
    classes = next((names for dataset in known if (names := dataset.task.named("class"))), ())
    return Polarity(tuple(classes), tuple(undeclared))


def polarity_of_names(classes: Sequence[str]) -> Polarity:
    """Return the polarity that a recipe without declared classes would give images with these names of classes."""
    return Polarity(tuple(sorted_classes(classes)), ("data.a", "data.b"))


def opened_leaves(spec: AnyRecipe, parts: Parts, name: SideName) -> Iterator[tuple[Place, Dataset | None]]:
    """Open the training split of the datasets of a side that hold no other dataset; no image is read.

    Yields:
        The place in the recipe and the dataset; None for one that leaves out its classes and cannot be opened. Others
        that cannot be opened are left out.
    """
    root = None if spec.data.root is None else Path(spec.data.root)
    lacking = dict(_undeclared(spec, parts, name))
    for place, part in _leaves(spec, parts, name):
        try:
            made = spec.part(parts, *place) if place == ("data", name) else parts.resolve("dataset", part)
            yield place, made(root, "train")
        except Exception:  # its data may not be there yet; a run reports what is wrong
            if place in lacking:
                yield place, None


def _by_names(dataset: Dataset | None) -> bool:
    return dataset is None or dataset.classes_from == "names"


def _undeclared(spec: AnyRecipe, parts: Parts, name: SideName) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Yield the datasets of a side that take `classes` and are not given any."""
    for place, part in _leaves(spec, parts, name):
        kind, given = split(part)
        options = {option.name: option.default for option in parts.options("dataset", kind)}
        # Of a folder, labels are a file, which may hold classes; of a manifest, columns of labels.
        other = any(given.get(name) for name in OTHER_TASKS) or isinstance(given.get("labels"), list)
        if options.get("classes") == "None" and given.get("classes") is None and not other:
            yield place, part


def _leaves(spec: AnyRecipe, parts: Parts, name: SideName) -> Iterator[tuple[Place, Any]]:
    if name == "b" and spec.data.b_is_truth:
        return
    found = [
        (place, part)
        for place, kind, part in parts.within("dataset", getattr(spec.data, name).spec, ("data", name))
        if kind == "dataset"
    ]
    for place, part in found:
        if not any(other != place and other[: len(place)] == place for other, _ in found):
            yield place, part


def _as_yaml(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name.casefold() not in _WORDS_OF_YAML
    return name if plain else json.dumps(name, ensure_ascii=False)
