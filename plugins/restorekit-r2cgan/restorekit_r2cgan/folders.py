"""The layout of the published R2C-GAN set: trainA, trainB, testA, and a class in every file's name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import torch

from restorekit import DataError, Dataset, Record, Sample, find_images, read_image

__all__ = ["Folders", "r2cgan_folders"]

HOW = (
    "expected ROOT/trainA (poor quality), ROOT/trainB (high quality) and ROOT/testA, PNG or JPEG, with 'covid' in the"
    " name of a positive file. The images are QaTa-COV19 (https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset),"
    " the authors' quality annotations https://github.com/meteahishali/R2C-GAN. To see restorekit at once without data:"
    " restorekit run recipes/quickstart.yaml"
)


class Folders(Dataset):
    """The images of one folder, such as trainA; the class is read from the file's name, never from its path.

    A `manifest.csv` at the root adds what a name cannot say: the columns `path`, `patient` and `source`.
    """

    classes = ("control", "covid")

    def __init__(self, root: Path, folder: str) -> None:
        self.root = root
        known = _manifest(root / "manifest.csv")
        self.records = [_record(path.relative_to(root).as_posix(), known) for path in find_images(root / folder)]

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index` as it is stored; nothing here is random."""
        image, intensity = read_image(self.root / self.records[index].key)
        return Sample(image, intensity=intensity)


def r2cgan_folders(root: Path | None, split: str, *, side: Literal["A", "B"]) -> Dataset:
    """The published R2C-GAN layout: trainA, trainB, testA, and valA and valB if they exist; "covid" in a file's name.

    Args:
        root: the folder that holds trainA.
        split: train, val or test; a split without a folder, as testB, is empty.
        side: A, poor quality (the paper's Y), or B, high quality (X).
    """
    if root is None:
        raise DataError(f"r2cgan_folders: data.root is not set; {HOW}")
    for folder in ("trainA", f"train{side}"):
        if not (Path(root) / folder).is_dir():
            raise DataError(f"r2cgan_folders: {root} has no folder {folder}; {HOW}")
    return Folders(Path(root), f"{split}{side}")


def _record(key: str, known: dict[str, dict[str, str]]) -> Record:
    row = known.get(key, {})
    name = key.rsplit("/", 1)[-1]
    return Record(key, int("covid" in name.lower()), row.get("patient") or None, row.get("source") or None)


def _manifest(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if "path" not in (rows.fieldnames or ()):
            raise DataError(f"{path}: has no column 'path'; columns are {', '.join(rows.fieldnames or ()) or 'none'}")
        return {row["path"]: row for row in rows}
