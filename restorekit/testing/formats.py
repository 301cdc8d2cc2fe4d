"""Checks of formats: files that are found, read by the rule, and written so that they read the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from restorekit.core.errors import DataError
from restorekit.core.formats import Format
from restorekit.testing.datasets import root_of
from restorekit.testing.subject import Subject, require

__all__ = ["build", "files", "found", "missing", "round_trip"]

HINT = "give @conformance_case(options={...}, files=...) that writes some"


def build(subject: Subject) -> Format:
    """Return the format."""
    part: Format = subject.make()
    return part


def found(subject: Subject) -> None:
    """It finds the files of its example, in order, and no hidden ones."""
    with root_of(subject) as root:
        _files(build(subject), root)


def _files(part: Format, root: Path) -> list[Path]:
    paths = part.find(root)
    require(paths, f"find must return the files of the example; got none; {HINT}")
    require(all(path.is_file() for path in paths), f"find must return files; got {paths}")
    require(paths == sorted(paths), f"files must come sorted; got {[path.name for path in paths]}")
    hidden = [path for path in paths if any(p.startswith(".") for p in path.relative_to(root).parts)]
    require(not hidden, f"hidden files must be left out; got {hidden}")
    return paths


def files(subject: Subject) -> None:
    """A file becomes a finite float32 image in [-1, 1], the same each time, with what is known of its values."""
    with root_of(subject) as root:
        part = build(subject)
        for path in _files(part, root):
            image, intensity = part.read(path)
            must = f"{path.name}: an image is a NumPy array (C, *S), 1 to 3 sizes S, float32"
            require(isinstance(image, np.ndarray), f"{must}; got {type(image).__name__}")
            require(image.ndim in (2, 3, 4) and image.dtype == np.float32, f"{must}; got {image.dtype} {image.shape}")
            most = float(np.abs(image).max())
            require(most <= 1, f"{path.name}: an image must lie in [-1, 1]; got values to {most:.3g}")  # NaN too
            require(intensity.low < intensity.high, f"{path.name}: the intensity's low must be below its high")
            require(intensity.channels == image.shape[0], f"{path.name}: intensity must have the image's channels")
            require(np.array_equal(image, part.read(path)[0]), f"{path.name}: read again it must be the same")


def round_trip(subject: Subject) -> None:
    """What is read, written under the name that it gives, and read again is the same image."""
    with root_of(subject) as root:
        part = build(subject)
        for path in _files(part, root):
            image, intensity = part.read(path)
            target = root / "restored" / part.restored_name(path, Path(path.name))[0]
            part.write(target, image, intensity)
            again = part.read(target)[0]
            require(
                again.shape == image.shape, f"{path.name}: was read back as {again.shape}, written as {image.shape}"
            )
            off = float(np.abs(again - image).max())
            require(off < 2e-4, f"{path.name}: written and read again it must be the same; values moved by {off:.3g}")
            left = [p.name for p in target.parent.iterdir() if p.name.startswith(".") or p.name.endswith(".part")]
            require(not left, f"writing must leave nothing but the files; got {left}")


def missing(subject: Subject) -> None:
    """A file that is missing, empty or of something else is a DataError that names it."""
    with root_of(subject) as root:
        part = build(subject)
        path = _files(part, root)[0]
        for what, text in (("missing", None), ("empty", b""), ("of something else", b"no such format")):
            path.unlink() if text is None else path.write_bytes(text)
            try:
                part.read(path)
            except DataError as error:
                require(path.stem in str(error), f"a file that is {what} must be named; got {error}")
            else:
                require(False, f"a file that is {what} must be a DataError; it was read")
