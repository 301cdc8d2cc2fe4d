"""Tasks: what is predicted of an image (its class, labels, numbers, or a class for each pixel), and its targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from restorekit.core.errors import DataError

__all__ = ["HAS_MASK", "UNLABELLED", "Target", "Task", "TaskKind"]

UNLABELLED = -1
"""A class, a label or a pixel's class that is not known; task losses and metrics leave it out."""
HAS_MASK = 0
"""The target in the record of an image with a mask, which is loaded with the image; UNLABELLED: it has none."""

TaskKind = Literal["none", "class", "labels", "numbers", "mask", "any"]
Target: TypeAlias = "float | tuple[float, ...]"
"""A target as a record holds it: a class or a number, or a tuple of labels or numbers."""


@dataclass(frozen=True)
class Task:
    """What is predicted of an image, and the form of its target.

    | kind      | names           | a target                                           | a batch of them          |
    | --------- | --------------- | -------------------------------------------------- | ------------------------ |
    | `none`    |                 | none                                               |                          |
    | `class`   | the classes     | the index of its class, UNLABELLED if unknown      | (B,) int64               |
    | `labels`  | the labels, K   | for each label 1, 0, or UNLABELLED if unknown      | (B, K) int64             |
    | `numbers` | the numbers, K  | the numbers, NaN if unknown; of one number a float | (B, K) float32; one (B,) |
    | `mask`    | pixels' classes | HAS_MASK or UNLABELLED; the mask is in the sample  | (B, *S) int64            |
    """

    kind: TaskKind = "none"
    """`any`: of data that are not read, so that a head for any task can be made."""
    names: tuple[str, ...] = ()
    """The classes, labels, or numbers with their units, such as "age, years"."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Task:
        """Return a task from its fields as JSON holds them."""
        return cls(fields["kind"], tuple(fields["names"]))

    @classmethod
    def of_version_1(cls, classes: Sequence[str], regression_target: str) -> Task:
        """Return the task of a run of version 1.0, which had classes or one number."""
        return (
            cls("numbers", (regression_target,))
            if regression_target
            else cls("class" if classes else "none", tuple(classes))
        )

    def named(self, kind: TaskKind) -> tuple[str, ...]:
        """Return the names of a task of this kind; empty if the task is of another."""
        if self.kind == "any" and kind == "numbers":
            return ("a number",)
        return self.names if self.kind in (kind, "any") else ()

    @property
    def single(self) -> bool:
        """True if a target is one value: a class, or one number."""
        return self.kind not in ("labels", "mask") and (self.kind != "numbers" or len(self.names) == 1)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of predictions in tables; masks have none."""
        names = () if self.kind == "mask" else self.names
        return names if self.kind == "numbers" else tuple(f"p_{name}" for name in names)

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
        """True if a target is known, at least in part; of masks, if there is one."""
        return any(map(self.is_known, self.values(target)))

    def require(self, target: Target, key: str) -> None:
        """Require that a target is one of this task.

        Raises:
            DataError: naming the image.
        """
        if self.kind in ("none", "any"):
            return
        values, allowed = self.values(target), ""
        count = {"numbers": 0, "labels": 2}.get(self.kind, len(self.names))
        if self.kind == "mask":
            if target not in (HAS_MASK, UNLABELLED):
                allowed = f"{HAS_MASK} where there is a mask, else {UNLABELLED}; the sample holds the mask"
        elif isinstance(target, tuple) is self.single or len(values) != (1 if self.single else len(self.names)):
            allowed = "one value" if self.single else f"a tuple of {len(self.names)}"
        elif count and not {UNLABELLED, *range(count)}.issuperset(values):
            allowed = f"0 to {count - 1}, or {UNLABELLED} where it is not known"
        if allowed:
            raise DataError(f"{key}: a target of {self.words()} is {allowed}; got {target!r}")

    def is_known(self, value: float) -> bool:
        """True if one value of a target, which is not a mask, is known."""
        return not math.isnan(value) if self.kind == "numbers" else value >= 0
