"""The images of a run: domains, splits, counts, and the batches that are scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.types import Batch, Domain
from restorekit.data import batches, checks, items
from restorekit.data.checks import Checkup
from restorekit.data.polarity import Polarity, polarity
from restorekit.data.splits import SIDES, SPLITS, Splits, changes
from restorekit.io.files import write_text
from restorekit.parts.registry import Parts
from restorekit.recipes.model import AnyRecipe

__all__ = ["Images", "examined_images"]


@dataclass(kw_only=True)
class Images:
    """The images of a recipe, read or only listed, and the findings on them."""

    domains: dict[str, Domain]
    """By side, "a" and "b"."""
    scoring: Callable[..., Iterator[Batch]]
    """(split, positions or None) to images of side a, or with name="b" of side b, in order, without augmentation."""
    sizes: Mapping[str, int]
    """Images of side a in each split."""
    good_sizes: Mapping[str, int] = field(default_factory=dict)
    """Images of side b in each split."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Images by split, side, class and source: data.json of the run folder."""
    listing: str = ""
    """Which image is in which split: splits.csv of the run folder."""
    changed: str = ""
    """Which images were added or removed since the run began, in a sentence."""
    checkup: Checkup | None = None
    """What the data check found, where it was made."""
    scale: Callable[[], Mapping[str, Any] | None] = lambda: None
    """Measures how training resamples the images of side a: see `restorekit.data.batches.trained_scale`."""
    good_rows: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    """By split and metric the values of good images, once they were measured, (M,)."""

    @property
    def synthetic(self) -> bool:
        """True if any of the images were made, not recorded."""
        return bool(self.counts.get("synthetic"))

    @property
    def unit(self) -> str:
        """The name of groups of images: patients, or that of the dataset."""
        return str(self.counts.get("unit", "patient"))

    def write(self, folder: Path) -> None:
        """Write what a run folder holds of the images: data.json, splits.csv and data-check."""
        write_text(folder / "data.json", json.dumps(self.counts, indent=1))
        if self.listing:
            write_text(folder / "splits.csv", self.listing)
        if self.checkup is not None:
            self.checkup.write(folder / "data-check")


def examined_images(
    spec: AnyRecipe, parts: Parts, splits: Splits, folder: Path, *, check: bool, allow_leaks: bool
) -> Images:
    """Return the facts of a run's images, which are read.

    Args:
        spec: the recipe.
        parts: where its datasets come from.
        splits: its datasets, as `restorekit.data.splits.read_splits` returns them.
        folder: the run folder, which may hold a run that began before.
        check: whether the images are checked, as they are before a training; see `restorekit.data.checks`.
        allow_leaks: go on though a patient or an image is in train and test.

    Raises:
        DataError: with `check`, if images leak from train into test, or are not those that the run began with.
    """
    changed = changes(folder, splits)
    if check and changed:
        raise DataError(f"{folder}: {changed}. Restore them, or start a new run")
    order = polarity(spec, parts, splits)
    checkup = _checkup(spec, splits, folder, order, allow_leaks) if check else None
    counts = {**splits.counts(), "positive": order and order.positive}
    return Images(
        domains={name: splits["train", name].counted() for name in SIDES},
        scoring=partial(batches.scoring_batches, splits, spec),
        sizes={split: len(splits[split, "a"]) for split in SPLITS},
        good_sizes={split: len(splits[split, "b"]) for split in SPLITS},
        counts=counts if checkup is None else {**counts, "check": checkup.summary()},
        listing=splits.listing(),
        changed=changed,
        checkup=checkup,
        scale=cache(partial(batches.trained_scale, splits["train", "a"], spec.data)),
    )


def _checkup(spec: AnyRecipe, splits: Splits, folder: Path, order: Polarity | None, allow_leaks: bool) -> Checkup:
    """Check the images, and refuse leaks that were not allowed."""
    found = checks.examine(
        items.recipe_items(splits), classifies=spec.predicts, unseen=items.skipped_files(splits.skipped_files())
    )
    if order is not None and order.warning():
        found = replace(found, warnings=(order.warning(), *found.warnings))
    if found.leaks and not allow_leaks and not found.allowed_in(folder):
        raise DataError(found.refusal())
    return found
