"""The metric `mask_agreement`: whether a segmenter sees the same masks in a restored image as in another one."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator
from torch import Tensor

from restorekit import Batch, DataError, Domain, Metric, RecipeError, conformance_case, nd
from restorekit_segmentation.files import classes_of, is_seen_natively

__all__ = ["Agreement", "Segmenter", "agreement_of", "mask_agreement"]

Rows = NDArray[np.float64]
Against = Literal["truth", "input"]
WHERE = "metric 'mask_agreement'"
PERCENTILE = 95
PART = "part:"
"""The beginning of a restorer's name that is no run."""
COLUMNS = ("dice", "hausdorff95", "left_out")
"""Of a row; the first is the score itself, the others are reported beside it."""


class Segmenter:
    """A run that predicts masks, and the patients that it was trained on.

    Args:
        folder: the run folder.
        patient: a pattern whose groups are what two names of one patient have in common; empty: the whole name.
    """

    def __init__(self, folder: str, patient: str) -> None:
        self.folder, self.pattern = folder, re.compile(patient) if patient else None

    @cached_property
    def model(self) -> Any:
        """What `restorekit.load` makes of the run.

        Raises:
            DataError: if it predicts no masks of images.
        """
        from restorekit import load  # it imports what restores, which few recipes need here

        found = load(self.folder)
        if not found.masks or found.dims != 2 or len(found.outputs) < 2:
            raise DataError(f"{self.folder}: {WHERE} needs a run that predicts masks of images; this one does not")
        return found

    @cached_property
    def native(self) -> bool:
        """Whether it sees images at their own size.

        Raises:
            DataError: if it was trained on padded or cut images.
        """
        return is_seen_natively(Path(self.folder))

    @cached_property
    def trained_on(self) -> frozenset[tuple[str | None, ...]]:
        """The patients of its training images."""
        table = Path(self.folder) / "splits.csv"
        if not table.is_file():
            raise DataError(f"{table}: no such file; it lists the patients on which the segmenter was trained")
        with table.open(encoding="utf-8", newline="") as file:
            return frozenset(
                self._person(row["patient"])
                for row in csv.DictReader(file)
                if row["split"] == "train" and row["patient"]
            )

    def was_trained_on(self, patient: str | None) -> bool:
        """True if it was trained on images of this patient."""
        return patient is not None and self._person(patient) in self.trained_on

    def _person(self, patient: str) -> tuple[str | None, ...]:
        found = None if self.pattern is None else self.pattern.fullmatch(patient)
        return (patient,) if found is None else tuple(found.groups())

    def masks(self, image: Tensor) -> Tensor:
        """Return the class of each pixel, (B, H, W) int64, of images (B, C, H, W) in [-1, 1].

        Images are stretched to the size of the segmenter's training; one trained on windows sees them as they are.
        """
        channels = self.model.channels
        seen = image.float()
        if seen.shape[1] != channels:
            seen = seen.mean(1, keepdim=True)
        return torch.stack([torch.from_numpy(classes_of(self.model, one, native=self.native)[0]) for one in seen])


def agreement_of(one: Tensor, other: Tensor, classes: int) -> Rows:
    """Return Dice and the 95th percentile of the Hausdorff distance of two masks.

    Args:
        one: the class of each pixel, (H, W), 0 the background.
        other: the same of the other mask.
        classes: how many classes there are.

    Returns:
        (2,): Dice, and the distance in pixels; means over the classes but the background. A class in neither mask is
        left out; of one that is in a single mask Dice is 0 and the distance not defined. NaN where nothing is left.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    masks = [torch.stack([mask == at for at in range(1, classes)]).float()[None] for mask in (one, other)]
    sizes = torch.stack([mask[0].flatten(1).sum(1) for mask in masks])
    both = (masks[0] * masks[1])[0].flatten(1).sum(1)
    there = sizes.sum(0) > 0
    dice = (2 * both / sizes.sum(0))[there].double()
    paired = (sizes > 0).all(0)
    if not paired.any():
        return np.array([dice.mean().item() if len(dice) else np.nan, np.nan])
    with warnings.catch_warnings():  # MONAI warns of an argument that it gives itself
        warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges", FutureWarning)
        distances = compute_hausdorff_distance(
            masks[0][:, paired], masks[1][:, paired], include_background=True, percentile=PERCENTILE
        )
    return np.array([dice.mean().item(), float(distances.double().mean())])


class Agreement(Metric):
    """How well the masks of an image and of the one that it is compared with agree; a row has `COLUMNS`.

    Args:
        segmenter: what predicts the masks.
        against: the good film, or the image as it was before restoring.
        column: the one of `COLUMNS` that is the score.
    """

    undefined = "not defined: no class is in both masks, or the segmenter was trained on every patient"

    def __init__(self, segmenter: Segmenter, against: Against, column: int = 0) -> None:
        self.segmenter, self.against, self.column = segmenter, against, column
        self.needs = "truth" if against == "truth" else None
        self.better = ("higher", "lower", "neither")[column]
        self.unit = "px" if column == 1 else ""
        beside = "the good image" if against == "truth" else "the image before restoring"
        what = (
            "Dice coefficient",
            f"Hausdorff distance, percentile {PERCENTILE} (MONAI)",
            "share of images left out: the segmenter was trained on their patients",
        )[column]
        self.id = (
            f"mask_agreement: {what}, of the masks that {Path(segmenter.folder).name} predicts of the image and of "
            f"{beside}; mean over the classes but the background, then over images"
        )

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Rows:
        """Return (B, 3): Dice, distance, and 1 where the segmenter was trained on the patient, else 0.

        Raises:
            DataError: if there is nothing to compare with, or the segmenter cannot be used.
        """
        other = batch.truth if self.against == "truth" else batch.image
        if other is None:
            raise DataError(f"{batch.key[0]}: there is no good image to compare with, which {WHERE} needs")
        groups = batch.group or (None,) * len(batch.key)
        rows = np.full((len(batch.key), len(COLUMNS)), np.nan)
        rows[:, 2] = [self.segmenter.was_trained_on(group) for group in groups]
        places = np.flatnonzero(rows[:, 2] == 0)
        if len(places):
            at = torch.from_numpy(places)
            mine, theirs = (self.segmenter.masks(x.detach().cpu()[at]) for x in (image, other))
            if mine.shape != theirs.shape:  # a larger restored image is compared at its own size
                theirs = nd.resize_classes(theirs, [*mine.shape[1:]])
            classes = len(self.segmenter.model.outputs)
            rows[places, :2] = [agreement_of(*pair, classes) for pair in zip(mine, theirs, strict=True)]
        return rows

    def reduce(self, rows: Rows) -> float:
        """Return the mean of the score's column over the images where it is defined; NaN if there are none."""
        values = rows[:, self.column]
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if defined.size else float("nan")

    def parts(self) -> Mapping[str, Metric]:
        """Return the distance, and the share of images that are left out."""
        if self.column:
            return {}
        made = [Agreement(self.segmenter, self.against, at) for at in range(1, len(COLUMNS))]
        return dict(zip(COLUMNS[1:], made, strict=True))


def _absolute(path: str) -> str:
    """Return the path of a run from the root, as a run folder must keep it; the name of a part stays."""
    return path if path.startswith(PART) else str(Path(path).expanduser().resolve())


def _require_segmenter(folder: Path) -> None:
    """Require a run with a head whose images were seen as others can be: before a training, not at its first score."""
    path = folder / "recipe.json"
    if not path.is_file():
        text = f"{WHERE}: {folder}: is no run folder; train one, such as recipes/lungs_unet.yaml"
        raise RecipeError(text, option="segmenter")
    if not (json.loads(path.read_text("utf-8")).get("nets") or {}).get("head"):
        text = f"{WHERE}: {folder}: has no head, so it predicts no masks; train one, such as recipes/lungs_unet.yaml"
        raise RecipeError(text, option="segmenter")
    try:
        is_seen_natively(folder)
    except DataError as error:
        raise RecipeError(f"{WHERE}: {error}", option="segmenter") from error


@conformance_case(
    options={"segmenter": "part:identity"},
    exempt=dict.fromkeys(
        ("contract", "rows", "reduce", "needs", "speed"), "it needs a trained run that predicts masks"
    ),
)
def mask_agreement(
    domain: Domain,
    *,
    segmenter: Annotated[str, AfterValidator(_absolute)],
    against: Against = "truth",
    patient: str = "",
) -> Metric:
    """Whether a segmenter sees the same masks after restoration: Dice, and Hausdorff distance at 95 %.

    Masks of the restored image are compared with those of the good image, both predicted by the same run, so the data
    need no masks. Images of patients that the segmenter was trained on are left out, and their share is reported.

    Args:
        domain: the images.
        segmenter: the folder of a run that predicts masks, from where the command runs.
        against: `truth`: the good image, where it is known; `input`: the image before restoring, as R2C-GAN's check.
        patient: a regular expression of a whole name of a patient; what its groups catch is compared, so that one
            patient is found under the names of two collections. Empty: names are compared as they are.
    """
    if domain.dims != 2:
        raise RecipeError(f"{WHERE}: takes images, with two spatial sizes; got {domain.dims}")
    if not segmenter.startswith(PART):
        _require_segmenter(Path(segmenter))
    try:
        groups = re.compile(patient).groups
    except re.error as error:
        text = f"{WHERE}: patient is no regular expression ({error}); got {patient!r}"
        raise RecipeError(text, option="patient") from error
    if patient and not groups:  # all patients would be one
        text = f"{WHERE}: patient needs a group, such as IM-(\\d+), that names of a patient share; got {patient!r}"
        raise RecipeError(text, option="patient")
    return Agreement(Segmenter(segmenter, patient), against)
