"""The names of splits in folders, tables and checks, in any case."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from restorekit.core.errors import DataError

__all__ = [
    "SPLITS",
    "refuse_split_classes",
    "refuse_split_folders",
    "sorted_classes",
    "split_and_side",
    "split_folders",
    "split_of",
]

SPLITS = ("train", "val", "test")
_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
}
_ABBREVIATED = {"trn": "train", "tst": "test", "vld": "val"}
_MEDICAL_DECATHLON = re.compile(r"(images|labels)T[rs]")
_PATTERN = re.compile(rf"({'|'.join(_WORDS)})(?: ?(?:set|split|data|images))?(?: ?(a|b))?")


def split_of(word: str) -> str | None:
    """Return train, val or test for a word that means it, in any case; None for other words.

    The words are train, training, val, valid, validation, dev, development, test and testing, alone or before set,
    split, data or images, as in "Training", "test_set" and "valid images".
    """
    found = split_and_side(word)
    return found[0] if found is not None and not found[1] else None


def split_and_side(word: str) -> tuple[str, str] | None:
    """Return the split and the domain of a word: ("train", "A") for trainA, ("test", "") for Test; None for others."""
    found = _PATTERN.fullmatch(re.sub(r"[\s_.-]+", " ", word.strip()).casefold())
    return None if found is None else (_WORDS[found[1]], (found[2] or "").upper())


def split_folders(base: Path, classes: Collection[str] = (), *, sides: bool = False) -> dict[str, Path]:
    """Return the folders in `base` that are called like a split, by split: "train", or with its side, "trainA".

    Args:
        base: the folder to look in; one that does not exist has none.
        classes: names that are classes, whatever they mean.
        sides: a name must end in the domain, A or B.

    Raises:
        DataError: if two folders mean the same split.
    """
    found: dict[str, Path] = {}
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        meaning = split_and_side(path.name)
        if meaning is None or bool(meaning[1]) != sides or path.name in classes or not path.is_dir():
            continue
        other = found.setdefault("".join(meaning), path)
        if other != path:
            raise DataError(
                f"{base}: {other.name} and {path.name} both mean {''.join(meaning)}; put them into one folder"
            )
    return found


def refuse_split_folders(place: Path, files: Iterable[Path], classes: Collection[str] = ()) -> None:
    """Refuse files of `place` that lie in a folder called like a split, where it is not used as one.

    Args:
        place: the folder whose images belong to one split.
        files: the images below it.
        classes: names that are classes, whatever they mean.

    Raises:
        DataError: naming the first such folder.
    """
    for file in files:
        parts = file.relative_to(place).parts[:-1]
        for at, part in enumerate(parts):
            if split_and_side(part) is not None and part not in classes:
                inner = place.joinpath(*parts[: at + 1])
                split = "".join(split_and_side(part) or ())
                raise DataError(
                    f"{inner}: is called like the split {split} and is not used as one; splits are the first folders, "
                    f"as {split}/CLASS/IMAGE. Move it, rename it, name it in classes, or give the splits in a manifest"
                )


def sorted_classes(names: Iterable[str]) -> list[str]:
    """Return each name of a class once, in order: by the alphabet, or by value where all are numbers, 2 before 10."""
    found = sorted(set(names))
    try:
        values = {name: float(name) for name in found}
    except ValueError:
        return found
    return sorted(found, key=values.__getitem__) if all(map(math.isfinite, values.values())) else found


def refuse_split_classes(base: Path, names: Iterable[str]) -> None:
    """Refuse classes that look like the splits of a data set, as train_1 and test_1, or imagesTr and imagesTs, do.

    One such name alone may be a class; a class like train beside a class like test is none.

    Raises:
        DataError: naming two of them.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
        meaning = {_ABBREVIATED.get(word.casefold()) or split_of(word) for word in words}
        if _MEDICAL_DECATHLON.fullmatch(name):
            meaning = {"train" if name.endswith("Tr") else "test"}
        found |= {split: name for split in meaning - {None} if split is not None}
    if "train" in found and len(found) > 1:
        other = next(split for split in ("test", "val") if split in found)
        raise DataError(
            f"{base}: {found['train']} and {found[other]} look like splits and would be classes; call the folders "
            "train, val and test, or declare them classes by naming all classes in classes"
        )
