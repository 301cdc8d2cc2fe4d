"""The files of a study: `study.json`, which readers' pages are made from, and the sealed key, which names the images.

The key holds a random salt and stays away from the readers. `study.json` holds its SHA-256 from the first moment on, so
that nobody can exchange the key once choices are known; the key in turn holds the SHA-256 of what `study.json` shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from restorekit import DataError, write_text

__all__ = [
    "FORMAT",
    "RATINGS",
    "Film",
    "Key",
    "Query",
    "Sealed",
    "Study",
    "Task",
    "canonical",
    "changes",
    "digest",
    "file_digest",
    "unknown_queries",
]

FORMAT = 1
"""The version of both files."""
RATINGS = ("surely not visible", "probably not visible", "unsure", "probably visible", "surely visible")
"""The meanings of ratings 1 to 5 of the task "visible"."""
Task = Literal["prefer", "visible"]
"""What readers do: choose one of several columns, or rate whether the finding is visible in one image."""


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Query:
    """What a reader is shown at once."""

    id: str
    """Random digits, which reveal nothing of the film."""
    columns: tuple[str, ...]
    """Names of images in the order of the columns; one for the task "visible"."""
    window: tuple[float, float]
    """Black and white at first, in [-1, 1]; the same for all columns."""
    practice: bool = False
    """True: it comes first and does not count."""
    caption: str = ""
    """What is written above the columns, such as the class; empty: nothing."""


@dataclass(frozen=True)
class Study:
    """What readers' pages are made from; it names no film and no method."""

    title: str
    task: Task
    question: str
    consent: str
    made: str
    """Time in UTC, ISO 8601."""
    display: str
    """How images are displayed, in a sentence."""
    needed: int
    """Choices of the whole study that its planner asked for; 0: with so few readers no number is enough."""
    margin: float
    """The half width of a 95 % interval that the planner was asked for."""
    images: Mapping[str, str]
    """SHA-256 of each file images/NAME.png."""
    queries: Mapping[str, tuple[Query, ...]]
    """By reader, in the order in which they are shown."""
    tokens: Mapping[str, str]
    """SHA-256 of each reader's token."""
    key_sha256: str = ""
    format: int = FORMAT

    def shown_digest(self) -> str:
        """Return the SHA-256 of everything but the key's digest."""
        return digest(canonical(asdict(self) | {"key_sha256": ""}))

    def write(self, folder: Path) -> None:
        """Write `folder`/study.json."""
        write_text(folder / "study.json", json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `folder`/study.json.

        Raises:
            DataError: if it is absent, damaged or of another version.
        """
        found = _json(folder / "study.json", "a folder that restorekit study make wrote")
        try:
            _check_study(found)
            found["queries"] = {
                reader: tuple(
                    Query(**{**one, "columns": tuple(one["columns"]), "window": tuple(one["window"])})
                    for one in queries
                )
                for reader, queries in found["queries"].items()
            }
            return cls(**found)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder / 'study.json'}: is no study ({error})") from error


@dataclass(frozen=True)
class Film:
    """A film that readers see, and what is known of it."""

    name: str
    """Its path below the folder of the originals."""
    label: str = ""
    """Its class; empty: unknown."""
    quality: str = ""
    """Its quality stratum; empty: unknown."""
    patient: str = ""
    """Empty: unknown; each film then counts as a patient."""


@dataclass(frozen=True)
class Sealed:
    """What a query shows."""

    reader: str
    film: str
    practice: bool = False
    repeats: str = ""
    """The id of the reader's earlier query with this film; empty: it is the first."""


@dataclass(frozen=True)
class Key:
    """What is behind the names of a study."""

    salt: str
    """Random, so that the key cannot be guessed from its SHA-256."""
    seed: int
    shown_sha256: str
    """The SHA-256 of what study.json shows."""
    sources: Mapping[str, str]
    """The folder, run or restorer of each method, by name; the first are the originals."""
    films: tuple[Film, ...]
    images: Mapping[str, tuple[str, str]]
    """Film and method of each image, by its name."""
    queries: Mapping[str, Sealed]
    """By id."""
    positive: str = ""
    """The class in which the finding is present, for the task "visible"."""
    notes: tuple[str, ...] = field(default=())
    """What readers of the results must know of how films were drawn."""
    format: int = FORMAT

    def text(self) -> str:
        """Return the content of the key's file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key.

        Raises:
            DataError: if it is absent, damaged or of another version.
        """
        found = _json(path, "the key that restorekit study make wrote; --key names it")
        try:
            _check_key(found)
            found["films"] = tuple(Film(**film) for film in found["films"])
            found["images"] = {name: (film, source) for name, (film, source) in found["images"].items()}
            found["queries"] = {name: Sealed(**query) for name, query in found["queries"].items()}
            found["notes"] = tuple(found["notes"])
            return cls(**found)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: is no key of a study ({error})") from error


def unknown_queries(study: Study, key: Key) -> dict[str, str]:
    """Return the queries of a study of which the key does not state what they show, each with the reason."""
    films = {film.name for film in key.films}
    found = {}
    for reader, queries in study.queries.items():
        for query in queries:
            why = _unknown(query, reader, key, films)
            if why:
                found[query.id] = why
    return found


def _unknown(query: Query, reader: str, key: Key, films: Collection[str]) -> str:
    sealed = key.queries.get(query.id)
    if sealed is None:
        return "is not in the key"
    if sealed.reader != reader:
        return f"is of {reader} in the study and of {sealed.reader} in the key"
    if sealed.film not in films:
        return "its film is not in the key"
    if sealed.repeats and sealed.repeats not in key.queries:
        return "the query that it repeats is not in the key"
    for name in query.columns:
        film, method = key.images.get(name, ("", ""))
        if not film:
            return f"image {name} is not in the key"
        if film != sealed.film or method not in key.sources:
            return f"image {name} is of another film, or of a method that the key does not name"
    return ""


def _check_study(found: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError if what was read is not of the types of a study."""
    for name in ("title", "task", "question", "consent", "made", "display", "key_sha256"):
        _check_type(name, found[name], str)
    for name in ("needed", "margin"):
        _check_type(name, found[name], (int, float))
    if found["task"] not in ("prefer", "visible"):
        raise ValueError(f"task is {found['task']!r}; expected prefer or visible")
    for name in ("images", "tokens"):
        _check_strings(name, found[name])
    _check_type("queries", found["queries"], dict)
    for reader, queries in found["queries"].items():
        _check_type(f"queries of {reader}", queries, list)
        for at, one in enumerate(queries, 1):
            place = f"query {at} of {reader}"
            _check_type(place, one, dict)
            _check_type(f"{place}: id", one["id"], str)
            _check_type(f"{place}: columns", one["columns"], list)
            for column in one["columns"]:
                _check_type(f"{place}: column", column, str)
            _check_type(f"{place}: window", one["window"], list)
            low, high = one["window"]
            for value in (low, high):
                _check_type(f"{place}: window", value, (int, float))
            if not one["columns"]:
                raise ValueError(f"{place}: has no column")


def _check_key(found: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError if what was read is not of the types of a key."""
    for name in ("salt", "shown_sha256", "positive"):
        _check_type(name, found[name], str)
    _check_strings("sources", found["sources"])
    for name, kind in (("films", list), ("images", dict), ("queries", dict), ("notes", list)):
        _check_type(name, found[name], kind)
    if not found["sources"]:
        raise ValueError("sources are empty; expected the place of each method")
    for at, film in enumerate(found["films"], 1):
        _check_strings(f"film {at}", film)
    for name, pair in found["images"].items():
        _check_type(f"image {name}", pair, list)
        _check_strings(f"image {name}", dict(enumerate(pair)))
    for name, query in found["queries"].items():
        _check_type(f"query {name}", query, dict)
        _check_strings(f"query {name}", {one: value for one, value in query.items() if one != "practice"})
    for note in found["notes"]:
        _check_type("a note", note, str)


def _check_strings(place: str, found: Any) -> None:
    _check_type(place, found, dict)
    for name, value in found.items():
        _check_type(f"{place}: {name}", value, str)


def _check_type(place: str, value: Any, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind):
        expected = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{place} is {str(value)[:40]!r}; expected {expected}")


def _json(path: Path, expected: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {expected}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(f"{path}: is not of version {FORMAT} of a study; make it again with this version of the plugin")
    return found


def changes(folder: Path, study: Study, key_path: Path, key: Key, published: str = "") -> Iterator[str]:
    """Yield what of a study was changed since it was made: the key, what is shown, or an image.

    Args:
        folder: the study's.
        study: what is in it.
        key_path: the key's file.
        key: what is in it.
        published: the SHA-256 of the key that was published; empty: not known.
    """
    found = file_digest(key_path)
    if published and found != published:
        yield f"{key_path}: has the SHA-256 {found}; the key that was published has {published}"
    if found != study.key_sha256:
        yield f"{key_path}: is not the key whose SHA-256 was published, in study.json {study.key_sha256}"
    if study.shown_digest() != key.shown_sha256:
        yield f"{folder / 'study.json'}: was changed since the key was sealed"
    for query, why in unknown_queries(study, key).items():
        yield f"{key_path}: query {query}: {why}; choices for it are left out"
    for name, known in study.images.items():
        path = folder / "images" / f"{name}.png"
        if not path.is_file():
            yield f"{path}: is absent"
        elif file_digest(path) != known:
            yield f"{path}: was changed since the study was made"
