"""What a study compares: the films, what is known of them, and the methods that made a picture of each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError, RecipeError, find_images
from restorekit_study.files import Film
from restorekit_study.pictures import gray

__all__ = ["ORIGINAL", "Method", "check_matched", "found_films", "parse_methods", "without_missing"]

ORIGINAL = "original"
"""The method whose pictures are the films as they are."""
NAMED = {
    "path": ("path", "file", "name", "film"),
    "label": ("class", "label"),
    "quality": ("quality",),
    "patient": ("patient",),
}
"""Columns of a table of films, and as what each is known."""
STRATA = ("low", "middle", "high")
"""Names of the thirds of a quality that is a number."""
UNKNOWN = ("", "nan", "na", "n/a", "none", "null", "unknown", "inf", "-inf", "+inf")
"""What stands, in any case of letters, where a quality is not known."""


class _Restores(Protocol):
    def restore(self, array: NDArray[Any], *, range: Sequence[float] | None = None) -> Any: ...


@dataclass(frozen=True)
class Method:
    """A method whose pictures readers see: a folder of files, or what restores the originals."""

    name: str
    place: str
    """The folder, run or restorer, as it was given."""
    files: Mapping[str, Path] | None = None
    """By the film's name without suffix; None: it is restored from the original."""
    model: _Restores | None = None

    def picture(self, film: str, original: NDArray[np.float32], range: Sequence[float] | None) -> NDArray[np.float32]:
        """Return the picture (H, W) in [-1, 1] of a film.

        Args:
            film: the name of the film.
            original: (H, W) in [-1, 1].
            range: the values of black and white in the files, where they do not state them.

        Raises:
            DataError: if it cannot be read or made.
        """
        if self.files is not None:
            return gray(self.files[_stem(film)], range)
        assert self.model is not None
        try:
            made = np.asarray(self.model.restore(original, range=(-1, 1)), np.float32)
        except DataError as error:
            raise DataError(f"{film}: {self.name}: {error}") from error
        return made if made.ndim == 2 else made.mean(0)


def parse_methods(texts: Sequence[str], load: Callable[[str], _Restores]) -> list[Method]:
    """Return methods from NAME=PLACE or PLACE; a place is a folder of pictures, a run, or a restorer's name.

    Args:
        texts: as on the command line.
        load: opens a run or a restorer.

    Raises:
        RecipeError: if a name is used twice or is that of the originals.
        DataError: if two files of a folder differ by their suffix alone.
    """
    methods: list[Method] = []
    for text in texts:
        name, _, place = text.partition("=") if "=" in text and not Path(text).exists() else ("", "", text)
        name = name or Path(place).name
        if name == ORIGINAL or name in {one.name for one in methods}:
            raise RecipeError(f"{text}: the name {name!r} is taken; give another as NAME=PLACE")
        folder = Path(place)
        run = any((one / "recipe.json").exists() for one in (folder, folder.parent.parent))  # it, or its checkpoint
        if folder.is_dir() and not run:
            methods.append(Method(name, place, files=_by_stem(folder)))
        else:
            methods.append(Method(name, place, model=load(place)))
    if not methods:
        raise RecipeError("a study needs at least one method to compare with the originals; got none")
    return methods


def found_films(originals: Path, table: Path | None, note: Callable[[str], None] = lambda text: None) -> list[Film]:
    """Return the films of a folder, with class, quality and patient where a table has them.

    Without a table, the class is the folder that a film is in below `originals`. A quality that is a number, as
    `restorekit analyze --csv` writes it, is cut into thirds of the films of which it is known. A film without a row of
    the table is left out.

    Args:
        originals: a folder of image files.
        table: CSV with a column path, file or name (below `originals`, or a path whose end it is), and any of class or
            label, quality, patient; other columns are ignored.
        note: gets what is left out, in a sentence each.

    Raises:
        DataError: if there is no film, two differ by their suffix alone, or the table cannot be used, has a row without
            a path, or names no film.
    """
    files = {path.relative_to(originals).as_posix(): path for path in _by_stem(originals).values()}
    if table is None:
        return [Film(name, label="" if "/" not in name else Path(name).parent.as_posix()) for name in files]
    rows = _rows(table)
    by_stem = {_stem(name): name for name in files}
    films: dict[str, Film] = {}
    others: list[str] = []
    for number, row in rows:
        if not row["path"]:
            raise DataError(f"{table}:{number}: the path is empty; expected the path of a film below {originals}")
        name = _film_of(row["path"], originals, by_stem)
        if name is None:
            others.append(row["path"])
            continue
        if name in films:
            raise DataError(f"{table}:{number}: {row['path']!r} is named twice; one row a film is expected")
        films[name] = Film(name, row.get("label", ""), row.get("quality", ""), row.get("patient", ""))
    if not films:
        raise DataError(f"{table}: names no file below {originals}; its paths must be relative to that folder")
    if others:
        note(f"{len(others)} of {len(rows)} rows of {table.name} name no film and are ignored: {_first(others)}.")
    absent = [name for name in files if name not in films]
    if absent:
        note(
            f"{len(absent)} of {len(files)} films have no row in {table.name} and are not drawn from: {_first(absent)}."
        )
    return _in_thirds(list(films.values()), note)


def check_matched(films: Iterable[Film], methods: Iterable[Method]) -> None:
    """Refuse methods that lack a film.

    Raises:
        DataError: if a folder lacks a film; names the first ones and how many there are.
    """
    films = list(films)
    for method in methods:
        if method.files is None:
            continue
        absent = [film.name for film in films if _stem(film.name) not in method.files]
        if absent:
            raise DataError(
                f"{method.place}: lacks {len(absent)} of {len(films)} films, which every method must have: "
                f"{_first(absent)}; "
                "files are matched by name without suffix; --skip-missing draws from films that all methods have"
            )


def without_missing(
    films: Iterable[Film], methods: Iterable[Method], note: Callable[[str], None] = lambda text: None
) -> list[Film]:
    """Return the films of which every method has a picture; `note` gets how many are left out, and for which method."""
    films, methods = list(films), list(methods)
    lacking = {
        method.name: {film.name for film in films if _stem(film.name) not in method.files}
        for method in methods
        if method.files is not None
    }
    absent = set().union(*lacking.values())
    if absent:
        by_method = ", ".join(f"{name} lacks {len(names)}" for name, names in lacking.items() if names)
        note(f"{len(absent)} of {len(films)} films are not drawn from, since not every method has them: {by_method}.")
    return [film for film in films if film.name not in absent]


def _first(names: Sequence[str]) -> str:
    """Return the first names, for messages."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _stem(name: str) -> str:
    """Return a name without its suffix; .nii.gz counts as one, and numbers, as of a DICOM UID, as none."""
    path = Path(name.removesuffix(".gz"))
    if not path.name:
        return name
    return path.as_posix() if path.suffix[1:].isdigit() else path.with_suffix("").as_posix()


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder of image files")
    found: dict[str, Path] = {}
    for path in find_images(folder):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{folder}: the name {path.name!a} of a file is no UTF-8; rename the file") from error
        stem = _stem(path.relative_to(folder).as_posix())
        if stem in found:
            raise DataError(f"{path}: {found[stem].name} has the same name without suffix; one file a film is expected")
        found[stem] = path
    if not found:
        raise DataError(f"{folder}: holds no image")
    return found


def _film_of(path: str, originals: Path, by_stem: Mapping[str, str]) -> str | None:
    """Return the film that a path of a table means: below the folder, or a path that begins with the folder."""
    if _stem(path) in by_stem:
        return by_stem[_stem(path)]
    for base in (originals, originals.resolve()):
        if Path(path).is_relative_to(base):
            return by_stem.get(_stem(Path(path).relative_to(base).as_posix()))
    return None


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with their line numbers, under our names of columns."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [(name or "").strip().lower() for name in reader.fieldnames or []]
            head = dict(zip(names, reader.fieldnames or [], strict=True))
            if twice := [name for name in head if name and names.count(name) > 1]:
                raise DataError(f"{table}:1: two columns are called {twice[0]!r}; one of each is expected")
            columns = {ours: next((head[one] for one in of if one in head), None) for ours, of in NAMED.items()}
            if columns["path"] is None:
                raise DataError(f"{table}:1: has no column path, file or name; columns are {', '.join(head) or 'none'}")
            rows = []
            for row in reader:
                if any(cell.strip() for cell in row.get(None) or ()):
                    why = "has more cells than the head line; quote a cell that holds a comma"
                    raise DataError(f"{table}:{reader.line_num}: {why}")
                rows.append((reader.line_num, {of: (row[name] or "").strip() for of, name in columns.items() if name}))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({error})") from error


def _in_thirds(films: list[Film], note: Callable[[str], None]) -> list[Film]:
    """Cut a quality that is a number wherever it is known into thirds of these films; leave words as they are."""
    known = {film.name: film.quality for film in films if film.quality.lower() not in UNKNOWN}
    try:
        values = {name: float(quality) for name, quality in known.items()}
    except ValueError:
        return films
    if not values:
        return [replace(film, quality="") for film in films]
    if len(values) < len(films):
        note(f"The quality of {len(films) - len(values)} of {len(films)} films is unknown; they are a stratum.")
    limits = np.quantile(list(values.values()), (1 / 3, 2 / 3))
    strata = {name: STRATA[int(np.searchsorted(limits, value, side="left"))] for name, value in values.items()}
    return [replace(film, quality=strata.get(film.name, "")) for film in films]
