"""The layout of the published R2C-GAN set: trainA, trainB, testA, and a class in every file's name."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import torch

from restorekit import DataError, Dataset, Record, Sample, find_images, read_image, trial, write_image

__all__ = ["Folders", "r2cgan_folders"]

HOW = (
    "expected ROOT/trainA (poor quality), ROOT/trainB (high quality) and ROOT/testA, image files with 'covid' in the"
    " name of a positive file. The images are QaTa-COV19 (https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset),"
    " the authors' quality annotations https://github.com/meteahishali/R2C-GAN. To see restorekit at once without data:"
    " restorekit run recipes/quickstart.yaml"
)


class Folders(Dataset):
    """The images of one folder, such as trainA; the class is read from the file's name, never from its path.

    A `manifest.csv` at the root adds what a name cannot say: the columns `path`, `patient` and `source`. Every path in
    it must be an image's; an image that it does not name has no known patient.
    """

    classes = ("control", "covid")

    def __init__(self, root: Path, folder: str) -> None:
        self.root = root
        known = _manifest(root)
        self.records = [_record(path.relative_to(root).as_posix(), known) for path in find_images(root / folder)]

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return image `index` as it is stored; nothing here is random."""
        image, intensity = read_image(self.file(index))
        return Sample(image, intensity=intensity)

    def file(self, index: int) -> Path:
        """The file of image `index`."""
        return self.root / self.records[index].key


def _example(root: Path) -> None:
    """Write images of both classes to train on, and one to test on."""
    for at, key in enumerate(
        ("trainA/covid_1.png", "trainA/control_2.jpg", "trainB/control_3.png", "testA/covid_4.png")
    ):
        write_image(root / key, torch.linspace(-1, 1, 20 + at).expand(1 + at % 2 * 2, 18, -1))


@trial(options={"side": "A"}, files=_example)
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
    patient, source = ((row.get(column) or "").strip() or None for column in ("patient", "source"))
    return Record(key, int("covid" in name.lower()), patient, source)


def _manifest(root: Path) -> dict[str, dict[str, str]]:
    """Return the rows of the manifest by path. An image without a row is allowed, a row without an image is not."""
    path = root / "manifest.csv"
    if not path.is_file():
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: holds a byte that is not UTF-8; save the file as UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    read = 0
    try:
        columns = reader.fieldnames or ()
        read = reader.line_num
        if "path" not in columns:
            raise DataError(f"{path}:1: has no column 'path'; columns are {', '.join(columns) or 'none'}")
        for row in reader:
            key = (row["path"] or "").strip()
            if key in rows:
                raise DataError(f"{path}:{reader.line_num}: {key!r} is named twice; one row an image is expected")
            rows[key], lines[key] = row, reader.line_num
            read = reader.line_num
    except csv.Error as error:
        # Where the row begins: a quotation mark without its other half is noticed at the end of the file.
        raise DataError(f"{path}:{read + 1}: is not CSV ({error})") from error
    there = {image.relative_to(root).as_posix() for image in find_images(root)}
    lost = [key for key in rows if key not in there]
    if lost:
        raise DataError(
            f"{path}:{lines[lost[0]]}: no image {lost[0]!r} in {root}, and {len(lost)} of {len(rows)} rows name none;"
            " paths are from that folder, as trainA/a.png"
        )
    return rows
