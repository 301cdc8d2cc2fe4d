"""A folder a domain: image files, split and labelled by sub-folders or by a table.

PATH/train/CLASS/*.png   splits and classes        PATH/train/*.png   splits, no classes
PATH/CLASS/*.png         one folder: train         PATH/*.png         one folder: train, no classes

Splits are folders called train, val or test, or by another word that means one, in any case: Training, valid, Test.
Of one folder without them, `test` and `val` take shares.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from restorekit import (
    UNLABELLED,
    DataError,
    Dataset,
    Factory,
    FileDataset,
    Format,
    ManifestRow,
    RecipeError,
    Record,
    conformance_case,
    hookimpl,
    read_manifest,
    refuse_split_classes,
    refuse_split_folders,
    sorted_classes,
    split_folders,
    split_shares,
    write_image,
)

__all__ = ["folder"]

Bits = Annotated[int, Field(ge=8, le=16)]
Share = Annotated[float, Field(ge=0, le=1)]


class Folder(FileDataset):
    """The images below one folder; a key is a file's path from the folder of the domain."""

    def __init__(
        self,
        base: Path,
        split: str,
        labels: str | None,
        classes: list[str] | None,
        range: list[float] | None,
        format: Format | None,
        bits: int | None,
        beyond: Literal["refuse", "clip"],
        shares: tuple[float, float],
    ) -> None:
        super().__init__(base, range, format, bits=bits, beyond=beyond)
        if not base.is_dir():
            raise DataError(f"{base}: no such folder; expected a folder with images, or with train/, val/ and test/")
        layout = split_folders(base, classes or ())
        places = layout or {"train": base}
        found = {name: self.format.find(place) for name, place in places.items()}
        for name, place in places.items():
            refuse_split_folders(place, found[name], classes or ())
        if layout and "train" not in layout:
            self._refuse_images_beside(layout)
        rows = _by_folder(base, places, found, classes) if labels is None else _by_table(base / labels, base)
        named = {row.label for row in rows.values() if row.label is not None}
        if classes is None and labels is None:
            refuse_split_classes(base, named)
        self.classes = tuple(sorted_classes(named) if classes is None else classes)
        self.classes_from = "names" if classes is None and named else "declared"
        if len(set(self.classes)) < len(self.classes):
            text = f"dataset 'folder': a class stands twice in {', '.join(self.classes)}"
            raise RecipeError(text, option="classes")
        _refuse_one_class_twice(base, self.classes)
        for row in rows.values():
            if row.label is not None and row.label not in self.classes:
                raise DataError(f"{row.where}: {_unknown(row.label, self.classes)}")
        self.ranges = {key: row.range for key, row in rows.items() if row.range is not None}
        self.files = [path for files in found.values() for path in files]
        if split == "train" and split in places and not found[split]:
            raise DataError(f"{places[split]}: holds no image file; expected images, or a sub-folder for each class")
        shared = any(shares) and not layout
        self.records = [self._record(path, rows) for path in found.get("train" if shared else split, ())]
        if shared:
            self.records = _share(self.records, split, *shares)

    def _record(self, path: Path, rows: dict[str, ManifestRow]) -> Record:
        key = path.relative_to(self.base).as_posix()
        row = rows.get(key, ManifestRow("", key))
        target = UNLABELLED if row.label is None else self.classes.index(row.label)
        return Record(key, target, row.patient, row.source)

    def _refuse_images_beside(self, layout: Mapping[str, Path]) -> None:
        """Refuse CLASS folders beside test: they are meant for training."""
        named = set(layout.values())
        for path in sorted(self.base.iterdir()):
            if path.is_dir() and path not in named and not path.name.startswith(".") and self.format.find(path):
                splits = " and ".join(place.name for place in named)
                raise DataError(
                    f"{path}: holds images and stands beside {splits}, which is a split; move it into "
                    f"{self.base / 'train'}, or rename {splits} if it is a class and name it in classes"
                )


def _share(records: list[Record], split: str, test: float, val: float) -> list[Record]:
    """Return the records of a split that no folder names: of each class its share, by patient, else by file name."""
    names = [one.group if one.group is not None else Path(one.key).with_suffix("").as_posix() for one in records]
    splits = split_shares(names, [str(one.target) for one in records], test=test, val=val)
    return [one for one, its in zip(records, splits, strict=True) if its == split]


def _by_folder(
    base: Path, places: Mapping[str, Path], found: Mapping[str, list[Path]], classes: list[str] | None
) -> dict[str, ManifestRow]:
    """Return the class of each image by its folder. All splits take part, so that a class is one number in each."""
    inner = [
        (path.relative_to(base), path.relative_to(place).parts)
        for name, place in places.items()
        for path in found[name]
    ]
    names = {parts[0] for _, parts in inner if len(parts) > 1}
    if classes == [] or (classes is None and len(names) < 2):  # a single sub-folder defines no classes
        return {}
    return {
        key.as_posix(): ManifestRow(f"{base / key}", key.as_posix(), label=parts[0])
        for key, parts in inner
        if len(parts) > 1
    }


def _refuse_one_class_twice(base: Path, classes: tuple[str, ...]) -> None:
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(
                f"{base}: {other!r} and {name!r} are two classes that differ in case alone; name them alike"
            )


def _example(root: Path) -> None:
    """Write two classes to train on and one image to test on, gray and coloured, of unequal sizes."""
    for at, key in enumerate(("train/no/1.png", "train/yes/1.png", "test/yes/2.jpg")):
        write_image(root / "pictures" / key, torch.linspace(-1, 1, 20 + at).expand(1 + at % 2 * 2, 18, -1).numpy())


@conformance_case(options={"path": "pictures"}, files=_example)
def folder(
    root: Path | None,
    split: str,
    *,
    path: str,
    labels: str | None = None,
    classes: list[str] | None = None,
    range: list[float] | None = None,
    format: Factory | None = None,
    bits: Bits | None = None,
    beyond: Literal["refuse", "clip"] = "refuse",
    test: Share = 0.0,
    val: Share = 0.0,
) -> Dataset:
    """Image files of a folder, of any format and depth that restorekit reads, or of one that a plugin brings.

    With sub-folders named train, val or test these are the splits, and one that is missing is empty; without any of
    them the whole folder is for training. Other words for them are known, in any case: Training, valid, dev, Testing,
    test_set. A folder of such a name elsewhere is refused. Two or more sub-folders of a split are its
    classes; a table overrides them.

    Args:
        root: Where a relative path starts; None: the working folder.
        split: "train", "val" or "test".
        path: The folder of the domain.
        labels: A CSV file in that folder with columns file, label and, if known, patient, source, low and high; files
            are named from the folder of the domain. Files that it does not name, or names without a label, are
            unlabelled.
        classes: The classes in order, the positive one last; default: their names sorted, numbers by value. An
            empty list: sub-folders are no classes.
        range: The values of black and white, [LOW, HIGH], of every file; default: as each file states.
        format: What the files are; default: images that restorekit reads itself.
        bits: The significant bits of 16-bit files that do not state them; default: the values of all files decide.
        beyond: Of values beyond the range: `refuse` the file, or `clip` them.
        test: The share for testing, where no sub-folder is a split: of each class, by patient, else by file. The draw
            depends on the names alone.
        val: The share for validation, likewise.
    """
    base = (root or Path()) / Path(path).expanduser()
    return Folder(base, split, labels, classes, range, None if format is None else format(), bits, beyond, (test, val))


def _by_table(table: Path, base: Path) -> dict[str, ManifestRow]:
    columns = {"path": "file", "label": "label"}  # named, hence required
    rows, _ = read_manifest(table, columns, base, take=("path", "label", "patient", "source", "low", "high"))
    found: dict[str, ManifestRow] = {}
    for row in rows:
        key = Path(os.path.relpath(base / row.path, base)).as_posix()  # however the table writes it
        if key.startswith("../"):
            raise DataError(f"{row.where}: {row.path!r} is not in {base}, whose files the table names")
        if key in found:
            raise DataError(f"{row.where}: {row.path!r} names {key}, as {found[key].path!r} does; one row is expected")
        found[key] = row
    return found


def _unknown(label: str, classes: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(label, classes, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"no class is called {label!r}.{guess} Known: {', '.join(classes) or 'none'}"


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the folder dataset."""
    add("dataset", "folder", folder)
