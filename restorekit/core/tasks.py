"""Tasks: what is predicted of an image (its class, labels, numbers, or a class for each pixel), and its targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from restorekit.core.errors import DataError

__all__ = ["HAS_MASK", "UNLABELLED", "Target", "Task", "TaskKind"]

UNLABELLED = -1
"""What stands for a class, a label or a pixel's class that is not known; task losses and metrics leave it out."""
HAS_MASK = 0
"""The target in the record of an image with a mask, which is loaded with the image; UNLABELLED where there is none."""

TaskKind = Literal["none", "class", "labels", "numbers", "mask", "any"]
Target: TypeAlias = "float | tuple[float, ...]"
"""A target as a record holds it: a class or a number, or a tuple of labels or numbers."""
NUMBER = ("a number",)
"""Placeholder for the numbers of data that are not read."""


@dataclass(frozen=True)
class Task:
    """What is predicted of an image, and so what its target is.

    | kind      | names           | a target                                           | a batch of them          |
    | --------- | --------------- | -------------------------------------------------- | ------------------------ |
    | `none`    |                 | none                                               |                          |
    | `class`   | the classes     | the index of its class, UNLABELLED if unknown      | (B,) int64               |
    | `labels`  | the labels, K   | for each label 1, 0, or UNLABELLED if unknown      | (B, K) int64             |
    | `numbers` | the numbers, K  | the numbers, NaN if unknown; of one number a float | (B, K) float32; one (B,) |
    | `mask`    | pixels' classes | HAS_MASK or UNLABELLED; the mask is in the sample  | (B, *S) int64            |
    """

    kind: TaskKind = "none"
    """`any` is the placeholder of data that are not read: a head for any task can then be made."""
    names: tuple[str, ...] = ()
    """What is predicted: classes, labels, or numbers with their units, such as "age, years"."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Task:
        """Return a task from its fields as JSON holds them."""
        return cls(fields["kind"], tuple(fields["names"]))

    @classmethod
    def of_version_1(cls, classes: Sequence[str], regression_target: str) -> Task:
        """Return the task of a run of version 1.0, which knew classes and one number."""
        if regression_target:
            return cls("numbers", (regression_target,))
        return cls("class", tuple(classes)) if classes else cls()

    def named(self, kind: TaskKind) -> tuple[str, ...]:
        """Return what is predicted by a task of this kind; empty if the task is of another."""
        if self.kind == "any":
            return NUMBER if kind == "numbers" else self.names
        return self.names if self.kind == kind else ()

    @property
    def single(self) -> bool:
        """True if a target is one value: a class, or one number."""
        return self.kind not in ("labels", "mask") and (self.kind != "numbers" or len(self.names) == 1)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of predictions in tables; masks have none."""
        if self.kind == "mask":
            return ()
        return self.names if self.kind == "numbers" else tuple(f"p_{name}" for name in self.names)

    def words(self) -> str:
        """Return the task as text, such as "the labels effusion, nodule"."""
        listed = ", ".join(self.names)
        return {
            "none": "no task",
            "class": f"the classes {listed}",
            "labels": f"the labels {listed}",
            "numbers": f"the number {listed!r}" if len(self.names) == 1 else f"the numbers {'; '.join(self.names)}",
            "mask": f"masks of the classes {listed}",
            "any": "a task that is not known",
        }[self.kind]

    def values(self, target: Target) -> tuple[float, ...]:
        """Return a target as a tuple."""
        return target if isinstance(target, tuple) else (target,)

    def is_labelled(self, target: Target) -> bool:
        """True if any of a target is known; of masks, which are loaded with the images, if there is one."""
        return any(self.knows(value) for value in self.values(target))

    def tensor(self, target: Target) -> Tensor:
        """Return a target as a batch holds it, without the first axis; masks are read with the images."""
        of = torch.float32 if self.kind == "numbers" else torch.int64
        return torch.tensor(target, dtype=of)

    def blank(self, size: Sequence[int]) -> Tensor:
        """Return the mask of an image of which no pixel's class is known."""
        return torch.full(tuple(size), UNLABELLED, dtype=torch.int64)

    def require(self, target: Target, key: str) -> None:
        """Require that a target is one of this task.

        Raises:
            DataError: naming the image.
        """
        if self.kind in ("none", "any"):
            return
        if self.kind == "mask":
            if target not in (HAS_MASK, UNLABELLED):
                raise DataError(
                    f"{key}: a target of {self.words()} is {HAS_MASK} where there is a mask, else {UNLABELLED}; the "
                    f"mask itself is the target of the sample; got {target!r}"
                )
            return
        values = self.values(target)
        wanted = 1 if self.single else len(self.names)
        if len(values) != wanted or isinstance(target, tuple) is self.single:
            one = "one value" if wanted == 1 and self.single else f"a tuple of {wanted}"
            raise DataError(f"{key}: a target of {self.words()} is {one}; got {target!r}")
        count = {"numbers": 0, "labels": 2}.get(self.kind, len(self.names))
        allowed = range(count)
        wrong = [value for value in values if count and value not in allowed and value != UNLABELLED]
        if wrong:
            listed = f"0 to {count - 1}, or {UNLABELLED} where it is not known"
            raise DataError(f"{key}: a target of {self.words()} is {listed}; got {wrong[0]!r}")

    def knows(self, value: float) -> bool:
        """True if one value of a target, which is not that of masks, is known."""
        return not math.isnan(value) if self.kind == "numbers" else value >= 0
