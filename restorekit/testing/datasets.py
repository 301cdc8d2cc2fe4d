"""What datasets are held to: records that are known at once, images that depend on their index and the rng alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from restorekit.core.errors import DataError
from restorekit.core.tasks import HAS_MASK, UNLABELLED, Target, Task
from restorekit.core.types import Dataset, Sample
from restorekit.testing.subject import Subject, require

__all__ = ["images", "records", "root_of", "seed", "splits"]

SPLITS = ("train", "val", "test")


@contextmanager
def root_of(subject: Subject) -> Iterator[Path]:
    """A folder with the part's own example."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if subject.conformance.files is not None:
            subject.conformance.files(root)
        yield root


def splits(subject: Subject) -> None:
    """Make every split."""
    with root_of(subject) as root:
        _build(subject, root)


def _build(subject: Subject, root: Path) -> dict[str, Dataset]:
    return {split: subject.make(root, split) for split in SPLITS}


def records(subject: Subject) -> None:
    """There is something to train on; keys are unique over all splits; classes are the same; no such split is empty."""
    with root_of(subject) as root:
        made = _build(subject, root)
        hint = "give @conformance_case(options={...}, files=...) so that there is something to train on"
        require(len(made["train"].records), f"the split train must hold an image; got none; {hint}")
        keys = [record.key for part in made.values() for record in part.records]
        require(all(keys), "every record must have a key; got an empty one")
        twice = sorted({key for key in keys if keys.count(key) > 1})
        require(not twice, f"a key must name one image of all splits; {', '.join(map(repr, twice[:3]))} stands twice")
        first = made["train"]
        names = first.task.names
        require(len(set(names)) == len(names), f"classes, labels and numbers must differ; got {names}")
        for split, part in made.items():
            require(
                part.task == first.task,
                f"the task must be that of train, {first.task.words()}; {split}: {part.task.words()}",
            )
            require(
                part.synthetic == first.synthetic, f"synthetic must be alike in all splits; {split} differs from train"
            )
            for record in part.records:
                try:
                    part.task.require(record.target, record.key)
                except DataError as error:
                    require(False, str(error))
        empty = subject.make(root, "no such split")
        require(len(empty.records) == 0, f"a split that does not exist must be empty; got {len(empty.records)} records")


def images(subject: Subject) -> None:
    """Images, truths and masks are well formed, and `file` names a file that is there."""
    with root_of(subject) as root:
        for split, part in _build(subject, root).items():
            for index, record in enumerate(part.records):
                one = part.load(index, _rng())
                _require_valid_sample(f"{split} {record.key}", one)
                _require_mask(f"{split} {record.key}", one, part.task, record.target)
                file = part.file(index)
                require(file is None or file.is_file(), f"{record.key}: file must be there, or None; got {file}")


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _require_mask(where: str, one: Sample, task: Task, recorded: Target) -> None:
    """Require that a target that is a picture is of a task with masks, in its record, and holds its classes."""
    if task.kind == "mask":
        must = UNLABELLED if one.target is None else HAS_MASK
        why = "HAS_MASK where the sample has a mask, else UNLABELLED"
        require(recorded == must, f"{where}: the target of the record must be {must}, {why}; got {recorded}")
    if one.target is None:
        return
    require(task.kind == "mask", f"{where}: a sample has a target for masks alone; its task is {task.words()}")
    sizes = [tuple(of.shape[1:]) for of in (one.image, one.truth) if of is not None]
    got = tuple(one.target.shape)
    require(got in sizes, f"{where}: a target must have the size of the image or the truth, {sizes}; got {got}")
    require(not one.target.is_floating_point(), f"{where}: a target must hold whole numbers; got {one.target.dtype}")
    low, high = int(one.target.min()), int(one.target.max())
    most = len(task.names) - 1
    require(UNLABELLED <= low <= high <= most, f"{where}: a target holds {UNLABELLED} to {most}; got {low} to {high}")


def _require_valid_sample(where: str, one: Sample) -> None:
    require(one.image.ndim in (2, 3, 4), f"{where}: an image is (C, *S), 1 to 3 sizes S; got {tuple(one.image.shape)}")
    for name, image in {"image": one.image, "truth": one.truth}.items():
        if image is not None:
            require(image.dtype == torch.float32, f"{where}: {name} must be float32; got {image.dtype}")
            shapes = f"{tuple(image.shape)} and {tuple(one.image.shape)}"
            require(image.shape == one.image.shape, f"{where}: truth and image must have one shape; got {shapes}")
            most = float(image.abs().max())
            require(most <= 1, f"{where}: {name} must lie in [-1, 1]; got values to {most:.3g}")
    if one.mask is not None:
        must = (1, *one.image.shape[1:])
        require(one.mask.shape == must, f"{where}: a mask must have the shape {must}; got {tuple(one.mask.shape)}")
        require(((one.mask == 0) | (one.mask == 1)).all(), f"{where}: a mask must hold 0 and 1 alone")
    require(all(map(math.isfinite, one.drawn.values())), f"{where}: severities must be finite; got {dict(one.drawn)}")
    require(one.truth is not None or not one.drawn, f"{where}: what was drawn is known, so the truth must be too")


def seed(subject: Subject) -> None:
    """Made again it has the same records; an image depends on its index and rng alone, not on what was read before."""
    with root_of(subject) as root:
        for split, part in _build(subject, root).items():
            again: Dataset = subject.make(root, split)
            require(list(part.records) == list(again.records), f"{split}: made again it must have the same records")
            samples = [part.load(index, _rng()) for index in range(len(part.records))]
            for index in reversed(range(len(samples))):
                one, other = samples[index], again.load(index, _rng())
                hint = "draw from `rng` alone"
                require(
                    _alike(one, other), f"{split} {part.records[index].key}: read again it must be the same; {hint}"
                )


def _alike(one: Sample, other: Sample) -> bool:
    tensors = ((one.image, other.image), (one.truth, other.truth), (one.mask, other.mask))
    same = all(torch.equal(a, b) if a is not None and b is not None else a is b for a, b in tensors)
    return same and list(one.drawn.items()) == list(other.drawn.items())
