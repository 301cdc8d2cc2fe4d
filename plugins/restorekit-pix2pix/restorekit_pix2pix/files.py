"""Sources to translated files: each states what it was made from, and so does a row of the manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from restorekit import (
    CsvWriter,
    DataError,
    Derived,
    Intensity,
    derived_from,
    images_of,
    load,
    nd,
    pixels_digest,
    read_image,
    rotate,
    write_image,
    write_text,
)

__all__ = ["COLUMNS", "MANIFEST", "Row", "translate_all"]

Suffix = Literal["png", "tiff", "dicom"]
MANIFEST, IMAGES = "manifest.csv", "images"
COLUMNS = ("path", "label", "patient", "split", "source", "made_from", "run", "weights", "seed", "mirrored", "degrees")
"""Of the manifest: the first five are those of any manifest."""
DEGREES = 5.0
"""By how much a source is turned at most, where it is used again."""
WHITE = 255
SUFFIXES = {"png": ".png", "tiff": ".tif", "dicom": ".dcm"}


@dataclass(frozen=True)
class Row:
    """One image of the manifest, or why there is none."""

    path: str = ""
    label: str = ""
    patient: str = ""
    """The patient of the source, so that a translation stays in the split of its patient."""
    split: str = "train"
    source: str = ""
    made_from: str = ""
    run: str = ""
    weights: str = ""
    seed: int = 0
    mirrored: bool = False
    degrees: float = 0.0
    error: str = ""

    def cells(self) -> list[str]:
        """Return the row as the manifest holds it."""
        known = {**self.__dict__, "mirrored": int(self.mirrored), "degrees": f"{self.degrees:.3f}"}
        return [str(known[name]) for name in COLUMNS]


@dataclass(frozen=True)
class _Change:
    """How a source is changed before it is translated."""

    mirrored: bool = False
    degrees: float = 0.0

    @classmethod
    def drawn(cls, again: int, seed: int, number: int) -> _Change:
        """Return no change for the first use of a source, and a drawn one for later ones."""
        if not again:
            return cls()
        rng = torch.Generator().manual_seed(seed * 1_000_003 + number)
        mirrored, share = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        return cls(mirrored < 0.5, DEGREES * (2 * share - 1))

    def of(self, image: Tensor) -> Tensor:
        """Return (C, H, W) changed."""
        image = image.flip(-1) if self.mirrored else image
        return rotate(image[None], self.degrees)[0] if self.degrees else image


def translate_all(
    run: Path,
    label: str,
    count: int,
    out: Path,
    *,
    seed: int,
    suffix: Suffix,
    root: Path | None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """Write `count` images of a class below `out`/images, and yield the row of each; the manifest is written last.

    The folder then holds no others: what an earlier call wrote of them, such as more or in another format, is removed.

    Args:
        run: the run folder of a translator; its training images of side a are the sources.
        label: the class that it translates into.
        count: how many images, each of its own source while there are some.
        out: the folder.
        seed: of the order of the sources, and of the changes of those that are used again.
        suffix: what the images are written as.
        root: where the run's data are now; None: where they were.
        report: called with a line on what was removed.

    Raises:
        DataError: if the run does not translate images, or not into this class; or if the manifest there lists images
            of another class, run or seed.
    """
    model, side = _opened(run, label, root)
    known = Row(label=label, run=run.resolve().name, weights=_digest(model), seed=seed)
    _require_own(out, known)
    order = torch.randperm(len(side), generator=torch.Generator().manual_seed(seed)).tolist()
    rows: list[Row] = []
    number, used, bad = 0, 0, set[int]()
    while used < count and len(bad) < len(order):
        again, at = divmod(number, len(order))
        position = order[at]
        if position not in bad:
            try:
                name = f"{IMAGES}/{label}_{used + 1:06d}{SUFFIXES[suffix]}"
                change = _Change.drawn(again, seed, number)
                row = _translated(model, side, position, out, replace(known, path=name), change)
                rows.append(row)
                used += 1
                yield row
            except (DataError, OSError) as error:
                bad.add(position)
                key = side.record(position).key
                yield Row(error=str(error) if key in str(error) else f"{key}: {error}")
        number += 1
    text = io.StringIO()
    table = CsvWriter(text)
    table.writerow(COLUMNS)
    table.writerows(row.cells() for row in rows)
    write_text(out / MANIFEST, text.getvalue())
    if removed := _remove_others(out, known, {row.path for row in rows}):
        report(f"{removed} image{'' if removed == 1 else 's'} removed, which the manifest no longer lists")


def _remove_others(out: Path, known: Row, listed: Set[str]) -> int:
    """Remove images of the same run, class and seed that the manifest does not list, and return how many.

    After it was written: a kill before leaves more images than rows, which the next call removes, never fewer.
    """
    own = {"run": known.run, "weights": known.weights, "class": known.label, "seed": str(known.seed)}
    removed = 0
    for path in sorted((out / IMAGES).glob("*")):
        mark = None if f"{IMAGES}/{path.name}" in listed else derived_from(path)
        if mark is not None and own.items() <= dict(mark.made).items():
            path.unlink()
            removed += 1
    return removed


def _opened(run: Path, label: str, root: Path | None) -> tuple[Any, Any]:
    """Return the model of a run and its training images of side a."""
    model = load(run)
    if not model.translates or model.dims != 2:
        raise DataError(f"{run}: translates no images; augment takes a run such as of recipes/pix2pix_covid.yaml")
    data = json.loads((run / "recipe.json").read_text("utf-8"))["data"]
    if data["fit"] != "stretch":
        raise DataError(f"{run}: data.fit: augment takes runs of stretched images; got {data['fit']}")
    if not label or "/" in label or "\\" in label:
        raise DataError(f"--class: a class names files, so it is no path and not empty; got {label!r}")
    known = _classes(data["b"]) or images_of(run, "b", root=root).domain.classes
    if known and label not in known:
        raise DataError(f"--class: {run} translates into {', '.join(known)}; got {label!r}")
    return model, images_of(run, "a", root=root)


def _classes(side: Mapping[str, Any]) -> Sequence[str]:
    """Return the class of a side whose table tells the sides apart by class; else nothing."""
    columns = side.get("columns") or {}
    by_class = "domain" in side and columns.get("domain") == columns.get("label", "label")
    return [side["domain"]] if by_class else []


def _require_own(out: Path, row: Row) -> None:
    """Refuse a folder that lists images of another class, run or seed, which would be replaced."""
    path = out / MANIFEST
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    for name, of in product(("label", "weights", "seed"), listed):
        mine, theirs = str(getattr(row, name)), of.get(name)
        if mine != theirs:
            raise DataError(f"{path}: lists images of another {name}, {theirs}, not {mine}; give another -o")


def _digest(model: Any) -> str:
    """Return what identifies the weights of a run."""
    digest = hashlib.sha256()
    for name, value in sorted(model.restorer().state().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _translated(model: Any, side: Any, position: int, out: Path, row: Row, change: _Change) -> Row:
    """Write one image, unless it is there, and return its row."""
    record = side.record(position)
    file = side.dataset.file(side.indices[position])
    image = side.load(position, 0).image
    recorded = image if file is None else read_image(file, dims=2)[0]
    made = {"run": row.run, "weights": row.weights, "class": row.label, "seed": str(row.seed)}
    made |= {"mirrored": str(int(change.mirrored)), "degrees": f"{change.degrees:.3f}"}
    derived = Derived(record.key, pixels_digest(recorded.numpy()), made)
    target = out / row.path
    if derived_from(target) != derived:
        seen = nd.resize(change.of(image)[None], model.size)[0].clamp(-1, 1)
        found = torch.from_numpy(model.restored(seen.numpy()).image)
        if bool((image == image[:1]).all()):  # a gray film stays gray
            found = found.mean(0, keepdim=True)
        _write(target, found, derived)
    return replace(
        row,
        patient=record.group or "",
        source=f"translated from {record.source or 'recorded images'}",
        made_from=record.key,
        mirrored=change.mirrored,
        degrees=change.degrees,
    )


def _write(path: Path, image: Tensor, derived: Derived) -> None:
    if path.suffix == ".dcm":
        from restorekit_pix2pix.dicom import write_derived

        write_derived(path, image, derived)
        return
    format = "PNG" if path.suffix == ".png" else "TIFF"
    write_image(path, image.numpy(), Intensity("uint8", 0, WHITE, image.shape[0], format), derived=derived)
