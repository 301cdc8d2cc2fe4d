"""The layout of the published R2C-GAN set: trainA, trainB, testA, and a class in every file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from restorekit import (
    DataError,
    Dataset,
    FileDataset,
    ManifestRow,
    Record,
    conformance_case,
    find_images,
    read_manifest,
    refuse_split_folders,
    split_folders,
    write_image,
)

__all__ = ["Folders", "r2cgan_folders"]

HOW = (
    "expected ROOT/trainA (degraded), ROOT/trainB (good) and ROOT/testA, image files with 'covid' in the"
    " name of a positive file. The images are QaTa-COV19 (https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset),"
    " the authors' quality annotations https://github.com/meteahishali/R2C-GAN. To see restorekit at once without data:"
    " restorekit run quickstart"
)


class Folders(FileDataset):
    """The images of one folder, such as trainA; the class is read from the file's name, never from its path.

    A `manifest.csv` at the root adds the columns `path`, `patient` and `source`. Every path in it must be an image's;
    an image that it does not name has no known patient. Columns `low` and `high` are the values
    of black and white of a file.
    """

    classes = ("control", "covid")

    def __init__(
        self,
        root: Path,
        folder: str,
        range: list[float] | None,
        bits: int | None = None,
        beyond: Literal["refuse", "clip"] = "refuse",
    ) -> None:
        super().__init__(root, range, bits=bits, beyond=beyond)
        known = _manifest(root)
        self.ranges = {key: row.range for key, row in known.items() if row.range is not None}
        found = {name: find_images(place) for name, place in split_folders(root, sides=True).items()}
        for name, place in split_folders(root, sides=True).items():
            refuse_split_folders(place, found[name])
        self.files = [path for files in found.values() for path in files]
        self.records = [_record(path.relative_to(root).as_posix(), known) for path in found.get(folder, ())]


def _example(root: Path) -> None:
    """Write images of both classes to train on, and one to test on."""
    for at, key in enumerate(
        ("trainA/covid_1.png", "trainA/control_2.jpg", "trainB/control_3.png", "testA/covid_4.png")
    ):
        write_image(root / key, torch.linspace(-1, 1, 20 + at).expand(1 + at % 2 * 2, 18, -1).numpy())


@conformance_case(options={"side": "A"}, files=_example)
def r2cgan_folders(
    root: Path | None,
    split: str,
    *,
    side: Literal["A", "B"],
    range: list[float] | None = None,
    bits: Annotated[int, Field(ge=8, le=16)] | None = None,
    beyond: Literal["refuse", "clip"] = "refuse",
) -> Dataset:
    """The published R2C-GAN layout: trainA, trainB, testA, and valA and valB if they exist; "covid" in a file's name.

    Folders may be called by other words for a split, in any case, before the A or B: TrainA, validationB.

    Args:
        root: the folder that holds trainA.
        split: train, val or test; a split without a folder, as testB, is empty.
        side: A, degraded (the paper's Y), or B, good (X).
        range: the values of black and white, [LOW, HIGH], of every file; default: as each file states.
        bits: the significant bits of 16-bit files that do not state them; default: the values of all files decide.
        beyond: of values beyond the range: `refuse` the file, or `clip` them.
    """
    if root is None:
        raise DataError(f"r2cgan_folders: data.root is not set; {HOW}")
    present = split_folders(Path(root), sides=True)
    for folder in ("trainA", f"train{side}"):
        if folder not in present:
            raise DataError(f"r2cgan_folders: {root} has no folder {folder}; {HOW}")
    return Folders(Path(root), f"{split}{side}", range, bits, beyond)


def _record(key: str, known: dict[str, ManifestRow]) -> Record:
    row = known.get(key, ManifestRow("", key))
    return Record(key, int("covid" in key.rsplit("/", 1)[-1].lower()), row.patient, row.source)


def _manifest(root: Path) -> dict[str, ManifestRow]:
    """Return the rows of the manifest by path. An image without a row is allowed, a row without an image is not."""
    path = root / "manifest.csv"
    if not path.is_file():
        return {}
    rows, _ = read_manifest(path, take=("path", "patient", "source", "low", "high"))
    images = {image.relative_to(root).as_posix() for image in find_images(root)}
    for row in rows:
        if row.path not in images:
            raise DataError(f"{row.where}: {row.path!r} is no image's path from {root}, as trainA/a.png is")
    return {row.path: row for row in rows}
