"""Files to masks: each image on its own, so that one that cannot be used stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import DataError, Intensity, find_images, load, nd, write_image

__all__ = [
    "Area",
    "Row",
    "classes_of",
    "found_images",
    "is_seen_natively",
    "opened",
    "outlined",
    "segment_files",
]

MOST = 255
"""The highest index of a class that a mask of 8 bits holds."""
MEASURED = ("DICOM", "NIFTI", "NPY", "NPZ")
"""Formats whose spacing is of what is shown; that of others is for print."""
SCREENS = (72, 96)
"""Dots per inch that programs write where they know none."""
INCH = 25.4
COLOURS = ((1.0, -0.3, -1.0), (-1.0, 0.6, 1.0), (0.4, 1.0, -1.0), (1.0, -1.0, 0.8), (-0.6, -1.0, 1.0), (1.0, 1.0, 0.0))
"""RGB in [-1, 1] of the classes behind the background, again from the first where there are more."""


@dataclass(frozen=True)
class Area:
    """How large a class is in an image."""

    pixels: int
    mm2: float | None
    """Square millimetres; None: the file does not state its spacing."""

    @property
    def text(self) -> str:
        """The area as text, in both units where they are known."""
        return f"{self.pixels} px" + ("" if self.mm2 is None else f" ({self.mm2:.4g} mm2)")


@dataclass(frozen=True)
class Row:
    """What became of one image."""

    image: Path
    mask: Path | None = None
    overlay: Path | None = None
    areas: Mapping[str, Area] = field(default_factory=dict)
    """Of each class but the background."""
    note: str = ""
    error: str = ""


def opened(run: Path) -> Any:
    """Return the model of a run that predicts masks of images.

    Raises:
        DataError: if it does not.
    """
    model = load(run)
    if not model.masks or model.dims != 2:
        what = f"images of {model.dims} sizes" if model.masks else "no masks"
        raise DataError(f"{run}: predicts {what}; segment needs a run of recipes/lungs_unet.yaml or another with masks")
    if len(model.outputs) > MOST:
        raise DataError(f"{run}: predicts {len(model.outputs)} classes; a mask holds {MOST} at most")
    return model


def is_seen_natively(run: Path, *, native: bool = False) -> bool:
    """Return whether a run sees images at their own size: as asked, or as one that was trained on windows of them.

    Args:
        run: a run folder, or a checkpoint below it.
        native: whether that is asked.

    Raises:
        DataError: if its training images were padded or cut, which images of other sizes are not, and it is not asked.
    """
    folder = next(one for one in (run, *run.resolve().parents) if (one / "recipe.json").is_file())
    data = json.loads((folder / "recipe.json").read_text("utf-8"))["data"]
    seen = native or bool(data["window"]) or bool(data["windows"])
    if not seen and data["fit"] != "stretch":
        raise DataError(f"{run}: data.fit: masks need a run of stretched images, or of windows; got {data['fit']}")
    return seen


def classes_of(model: Any, image: Tensor, *, native: bool) -> tuple[NDArray[np.int64], str]:
    """Return the class of each pixel (H, W) of an image (C, H, W) in [-1, 1], and a note on it.

    Args:
        model: what `opened` returned.
        image: of one channel, or of as many as the run has.
        native: see it at its own size; else stretched to that of the training.
    """
    size = [*image.shape[1:]]
    seen = image if native else nd.resize(image[None], model.size)[0].clamp(-1, 1)
    made = model.restored(seen.numpy())
    return nd.resize_classes(torch.from_numpy(made.mask), size).numpy(), made.note


def found_images(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the images, each with the name that its results get below the folder of masks.

    Raises:
        DataError: if a path is absent, a folder holds no image, or two images would have one name.
    """
    found: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        inside = [one for one in find_images(path) if not _is_below(one, out)] if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: holds no image")
        for one in inside:
            name = (one.relative_to(path) if path.is_dir() else Path(one.name)).with_name(f"{one.name}.png")
            if owners.setdefault(name, one) != one:
                raise DataError(f"{one}: its mask would be called {name}, as that of {owners[name]}; give them apart")
            found[one] = name
    return found


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def segment_files(
    model: Any, images: Mapping[Path, Path], out: Path, *, range: tuple[float, float] | None, native: bool
) -> Iterator[Row]:
    """Write mask and overlay of each image, and yield its row.

    Args:
        model: what `opened` returned.
        images: files, and the names of their results below `out`/masks and `out`/overlays.
        out: the folder of the results.
        range: the values of black and white; None: those that the run's data declares, else those of each file.
        native: see images at their own size; else at the size of training.
    """
    for path, name in images.items():
        try:
            yield _segmented(model, path, name, out, range or model.range, native=native)
        except (DataError, OSError) as error:
            text = str(error)
            yield Row(path, error=text if str(path) in text else f"{path}: {text}")


def _segmented(model: Any, path: Path, name: Path, out: Path, range: Sequence[float] | None, *, native: bool) -> Row:
    image, intensity = model.format.read(path, range=range, dims=2)  # with the bits that the run's data have
    classes, note = classes_of(model, torch.from_numpy(image), native=native)
    default, print_note = _print_note(intensity)
    mask, overlay = out / "masks" / name, out / "overlays" / name
    plain = Intensity("uint8", 0, MOST, 1, "PNG", spacing=intensity.spacing)
    write_image(mask, classes[None].astype(np.float32) * (2 / MOST) - 1, plain)
    write_image(overlay, outlined(image, classes))
    square = None if intensity.spacing is None or default else prod(intensity.spacing)
    counts = {name: int((classes == at).sum()) for at, name in enumerate(model.outputs) if at}
    areas = {name: Area(count, None if square is None else count * square) for name, count in counts.items()}
    return Row(path, mask, overlay, areas, "; ".join(filter(None, [intensity.note, note, print_note])))


def _print_note(intensity: Intensity) -> tuple[bool, str]:
    """Return whether a spacing is a default of screens and no size, and a note where it stands for print."""
    if intensity.spacing is None or intensity.format in MEASURED:
        return False, ""
    dots = [INCH / step for step in intensity.spacing]
    if any(all(abs(n - default) < 1 for n in dots) for default in SCREENS):
        return True, f"no area in mm2: {dots[0]:.0f} dots per inch are a default of screens, not a spacing"
    return False, "mm2 by the resolution for print, which may be no spacing"


def outlined(image: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (3, H, W): an image (1 or 3, H, W), and in colour the pixels of a class that border on another one."""
    made = np.broadcast_to(image, (3, *image.shape[1:])).astype(np.float32)
    edge = np.zeros(classes.shape, dtype=bool)
    for axis in (0, 1):
        differ = np.diff(classes, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= differ
        edge[tuple(after)] |= differ
    for at in np.unique(classes[edge & (classes > 0)]):
        made[:, edge & (classes == at)] = np.array(COLOURS[(int(at) - 1) % len(COLOURS)], dtype=np.float32)[:, None]
    return made
