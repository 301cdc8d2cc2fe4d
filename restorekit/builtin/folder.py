"""A folder a domain: image files, split and labelled by sub-folders or by a table.

PATH/train/CLASS/*.png   splits and classes        PATH/train/*.png   splits, no classes
PATH/CLASS/*.png         one folder: train         PATH/*.png         one folder: train, no classes
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import torch

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
    hookimpl,
    read_manifest,
    trial,
    write_image,
)

__all__ = ["folder"]

_SPLITS = ("train", "val", "test")


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
    ) -> None:
        super().__init__(base, range, format)
        if not base.is_dir():
            raise DataError(
                f"{base}: no such folder; a folder with images, or with train/, val/ and test/, is expected"
            )
        layout = [name for name in _SPLITS if (base / name).is_dir()]
        rows = self._by_folder(layout, classes) if labels is None else _by_table(base / labels, base)
        named = {row.label for row in rows.values() if row.label is not None}
        self.classes = tuple(sorted(named) if classes is None else classes)
        self.classes_from = "names" if classes is None and named else "declared"
        if len(set(self.classes)) < len(self.classes):
            raise RecipeError(f"dataset 'folder': a class stands twice in {', '.join(self.classes)}")
        for row in rows.values():
            if row.label is not None and row.label not in self.classes:
                raise DataError(f"{row.where}: {_unknown(row.label, self.classes)}")
        self.records = [self._record(path, rows) for path in self._files(split, layout)]

    def _record(self, path: Path, rows: dict[str, ManifestRow]) -> Record:
        key = path.relative_to(self.base).as_posix()
        row = rows.get(key, ManifestRow("", key))
        target = UNLABELLED if row.label is None else self.classes.index(row.label)
        return Record(key, target, row.patient, row.source)

    def _files(self, split: str, layout: list[str]) -> list[Path]:
        base = self.base
        if split not in layout and (layout or split != "train"):
            return []
        place = base / split if layout else base
        files = self.format.find(place)
        if not files and split == "train":
            raise DataError(f"{place}: holds no image file; images, or a sub-folder of images a class, are expected")
        return files

    def _by_folder(self, layout: list[str], classes: list[str] | None) -> dict[str, ManifestRow]:
        # Every split is looked at, so that a class means the same number in each of them.
        base = self.base
        found = [(place, path) for place in ([base / n for n in layout] or [base]) for path in self.format.find(place)]
        inner = [(p.relative_to(base), p.relative_to(place).parts) for place, p in found]
        names = {parts[0] for _, parts in inner if len(parts) > 1}
        if classes == [] or (classes is None and len(names) < 2):  # one sub-folder alone tells nothing apart
            return {}
        return {
            key.as_posix(): ManifestRow(f"{base / key}", key.as_posix(), label=parts[0])
            for key, parts in inner
            if len(parts) > 1
        }


def _example(root: Path) -> None:
    """Write two classes to train on and one image to test on, gray and coloured, of unequal sizes."""
    for at, key in enumerate(("train/no/1.png", "train/yes/1.png", "test/yes/2.jpg")):
        write_image(root / "pictures" / key, torch.linspace(-1, 1, 20 + at).expand(1 + at % 2 * 2, 18, -1))


@trial(options={"path": "pictures"}, files=_example)
def folder(
    root: Path | None,
    split: str,
    *,
    path: str,
    labels: str | None = None,
    classes: list[str] | None = None,
    range: list[float] | None = None,
    format: Factory | None = None,
) -> Dataset:
    """Image files of a folder, of any format and depth that restorekit reads, or of one that a plugin brings.

    With sub-folders named train, val or test these are the splits, and one that is missing is empty; without any of
    them the whole folder is for training. Two or more sub-folders of a split are its classes; a table goes before.

    Args:
        root: Where a relative path starts; None: the working folder.
        split: "train", "val" or "test".
        path: The folder of the domain.
        labels: A CSV file in that folder with columns file, label and, if known, patient and source; files are named
            from the folder of the domain. Files that it does not name, or names without a label, are unlabelled.
        classes: The classes in order, the positive one last; default: their names sorted. An empty list: sub-folders
            are no classes.
        range: The values of black and white, [LOW, HIGH], of every file; default: what each file says.
        format: What the files are; default: images that restorekit reads itself.
    """
    base = (root or Path()) / Path(path).expanduser()
    return Folder(base, split, labels, classes, range, None if format is None else format())


def _by_table(table: Path, base: Path) -> dict[str, ManifestRow]:
    columns = {"path": "file", "label": "label"}  # named, hence demanded
    rows, _ = read_manifest(table, columns, base, take=("path", "label", "patient", "source"))
    return {row.path: row for row in rows}


def _unknown(label: str, classes: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(label, classes, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"no class is called {label!r}.{guess} Known: {', '.join(classes) or 'none'}"


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the folder dataset."""
    add("dataset", "folder", folder)
