"""The layout of the published R2C-GAN set: trainA, trainB, testA, and a class in every file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from restorekit import (
    DataError,
    Dataset,
    FileDataset,
    ManifestRow,
    Record,
    find_images,
    read_manifest,
    trial,
    write_image,
)

__all__ = ["Folders", "r2cgan_folders"]

HOW = (
    "expected ROOT/trainA (poor quality), ROOT/trainB (high quality) and ROOT/testA, image files with 'covid' in the"
    " name of a positive file. The images are QaTa-COV19 (https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset),"
    " the authors' quality annotations https://github.com/meteahishali/R2C-GAN. To see restorekit at once without data:"
    " restorekit run quickstart"
)


class Folders(FileDataset):
    """The images of one folder, such as trainA; the class is read from the file's name, never from its path.

    A `manifest.csv` at the root adds what a name cannot say: the columns `path`, `patient` and `source`. Every path in
    it must be an image's; an image that it does not name has no known patient.
    """

    classes = ("control", "covid")

    def __init__(self, root: Path, folder: str, range: list[float] | None) -> None:
        super().__init__(root, range)
        known = _manifest(root)
        self.records = [_record(path.relative_to(root).as_posix(), known) for path in find_images(root / folder)]


def _example(root: Path) -> None:
    """Write images of both classes to train on, and one to test on."""
    for at, key in enumerate(
        ("trainA/covid_1.png", "trainA/control_2.jpg", "trainB/control_3.png", "testA/covid_4.png")
    ):
        write_image(root / key, torch.linspace(-1, 1, 20 + at).expand(1 + at % 2 * 2, 18, -1))


@trial(options={"side": "A"}, files=_example)
def r2cgan_folders(
    root: Path | None, split: str, *, side: Literal["A", "B"], range: list[float] | None = None
) -> Dataset:
    """The published R2C-GAN layout: trainA, trainB, testA, and valA and valB if they exist; "covid" in a file's name.

    Args:
        root: the folder that holds trainA.
        split: train, val or test; a split without a folder, as testB, is empty.
        side: A, poor quality (the paper's Y), or B, high quality (X).
        range: the values of black and white, [LOW, HIGH], of every file; default: what each file says.
    """
    if root is None:
        raise DataError(f"r2cgan_folders: data.root is not set; {HOW}")
    for folder in ("trainA", f"train{side}"):
        if not (Path(root) / folder).is_dir():
            raise DataError(f"r2cgan_folders: {root} has no folder {folder}; {HOW}")
    return Folders(Path(root), f"{split}{side}", range)


def _record(key: str, known: dict[str, ManifestRow]) -> Record:
    row = known.get(key, ManifestRow("", key))
    return Record(key, int("covid" in key.rsplit("/", 1)[-1].lower()), row.patient, row.source)


def _manifest(root: Path) -> dict[str, ManifestRow]:
    """Return the rows of the manifest by path. An image without a row is allowed, a row without an image is not."""
    path = root / "manifest.csv"
    if not path.is_file():
        return {}
    rows, _ = read_manifest(path, take=("path", "patient", "source"))
    images = {image.relative_to(root).as_posix() for image in find_images(root)}
    for row in rows:
        if row.path not in images:
            raise DataError(f"{row.where}: {row.path!r} is no image's path from {root}, as trainA/a.png is")
    return {row.path: row for row in rows}
