"""Every error that restorekit raises on purpose: a record for code, one line of text, and the wording of such lines.

RestorekitError
├── RecipeError        a recipe, an option or a command line that cannot be run; holds every error found
├── PluginError        a plugin that is absent, broken or breaks a contract
├── DataError          images, labels or folders that cannot be used
├── CheckpointError    a checkpoint that is absent, incomplete or of another version
└── TrainingError      a run that cannot go on: a loss is not finite, the disk is full
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Self

__all__ = [
    "STOPPING",
    "CheckpointError",
    "Code",
    "DataError",
    "ErrorRecord",
    "Origin",
    "Place",
    "PluginError",
    "RecipeError",
    "RestorekitError",
    "TrainingError",
    "count",
    "dotted",
    "either",
    "many",
    "message_of",
    "nearest",
    "render",
    "unknown",
    "unknown_record",
]

STOPPING = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What stops a program on purpose. All else is an error, also a panic of a Rust library, which is not an Exception."""

Place = tuple[str | int, ...]
"""The keys and indexes on the way to a value of a recipe, such as ("losses", 1, "norm")."""

Code = Literal[
    "unknown-key",  # a key or an option that does not exist
    "unknown-part",
    "unknown-name",
    "unusable-part",  # its plugin is broken, or two plugins have the name
    "missing",  # a value that must be given
    "wrong-type",
    "out-of-range",
    "not-allowed",  # none of the choices
    "conflict",  # values that exclude each other
    "outdated-key",  # of an older version
    "not-installed",  # a distribution that the recipe needs
    "does-not-fit",  # parts that do not fit each other or the data
    "invalid",  # all else
]
"""What kind of error it is; these names stay the same from version to version."""


class _Absent(Enum):
    """Marks an absent value where None is a value."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        """Return its name, as signatures show it."""
        return self.name


ABSENT: Final = _Absent.ABSENT


class Origin(NamedTuple):
    """Where a value of a recipe was written."""

    source: str
    """A file, or a setting of the command line, such as `--set train.steps`."""
    line: int | None = None
    """The line of the file, counted from 1."""
    variant: str = ""
    """The variant that set it."""

    def __str__(self) -> str:
        """Return it as `recipe.yaml:12 (variant wide)`."""
        line = "" if self.line is None else f":{self.line}"
        return f"{self.source}{line}" + (f" (variant {self.variant})" if self.variant else "")


@dataclass(frozen=True)
class ErrorRecord:
    """One error, for code to read; `str` returns its text."""

    message: str
    """What is wrong, without the fields below."""
    code: Code = "invalid"
    """What kind of error it is, such as "unknown-key"; the type `Code` lists all."""
    place: Place = ()
    """Where in the recipe; without an origin: within the part that the message names."""
    origin: Origin | None = None
    """Where the value at `place` was written; None: not known, as for a part that no recipe names."""
    got: Any = ABSENT
    """The value that was refused; a plain value."""
    allowed: tuple[str, ...] = ()
    """What is allowed: names of an `unknown-...` error, else descriptions, such as "at least 1"."""
    hint: str = ""
    """What to do."""

    def within(self, place: Place) -> ErrorRecord:
        """Return it with its place below another."""
        return replace(self, place=(*place, *self.place))

    def __str__(self) -> str:
        """Return its text in one line."""
        return render(self)


def render(error: ErrorRecord) -> str:
    """Return the text of an error in one line: origin, place, what is wrong, what was got, a hint, what is known."""
    text = error.message
    named = error.code.startswith("unknown-")  # the message names what was got
    if error.allowed and not named:
        text += f"{' ' if text else ''}must be {either(error.allowed, most=len(error.allowed))}"
    if error.got is not ABSENT and not named:
        text += f"; got {error.got!r:.80}"
    if named:
        text += f".{f' {error.hint}' if error.hint else ''} Known: {', '.join(error.allowed) or 'none'}"
    elif error.hint:
        text += f". {error.hint}"
    return text if error.origin is None else ": ".join(filter(None, (str(error.origin), dotted(error.place), text)))


def dotted(place: Place) -> str:
    """Return a place as text: `evaluate.metrics[1]`."""
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, place)))


class RestorekitError(Exception):
    """The base: a message for the user, no traceback. The command line exits with `exit_code`.

    `errors` holds a record of each error; the text has a line for each.
    """

    exit_code = 2

    def __init__(self, *errors: str | ErrorRecord) -> None:
        self.errors = _records(errors)
        super().__init__("\n".join(dict.fromkeys(map(render, self.errors))))


class RecipeError(RestorekitError):
    """One or more errors of a recipe, all found at once.

    Args:
        errors: a text or a record each.
        option: of an error that a part's factory raises: the option that is wrong, so that the error has its line.
    """

    def __init__(self, *errors: str | ErrorRecord, option: str = "") -> None:
        super().__init__(*(one.within((option,)) if option else one for one in _records(errors)))

    def within(self, place: Place) -> Self:
        """Return the error of a part as one of what holds the part at `place`."""
        return type(self)(*(error.within(place) for error in self.errors))


class PluginError(RestorekitError):
    """A plugin is absent, failed to load, or a part of it breaks its contract.

    Args:
        errors: a text or a record each.
        plugin: the name of the plugin, which the text then begins with.
    """

    def __init__(self, *errors: str | ErrorRecord, plugin: str = "") -> None:
        self.plugin = plugin
        start = f"plugin {plugin}: " if plugin else ""
        super().__init__(*(replace(one, message=start + one.message) for one in _records(errors)))


class DataError(RestorekitError):
    """Data cannot be used: missing, empty, unreadable, of the wrong shape or depth."""


class CheckpointError(RestorekitError):
    """A checkpoint is absent, incomplete or was written by another version."""


class TrainingError(RestorekitError):
    """A run had to stop; the message names the last good checkpoint."""


def _records(errors: Iterable[str | ErrorRecord]) -> tuple[ErrorRecord, ...]:
    return tuple(error if isinstance(error, ErrorRecord) else ErrorRecord(str(error)) for error in errors)


def message_of(error: BaseException) -> str:
    """Return the message of an error in one line, without the traceback that a library put there; else its type."""
    try:
        text = " ".join(str(error).split()).partition("Traceback (most recent call last)")[0].rstrip()
    except Exception:
        text = ""
    return text or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the nearest known name, or the empty string."""
    guesses = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {guesses[0]!r}?" if guesses else ""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return one line for a name that is not known: the nearest guess, then all known names."""
    return render(unknown_record(what, name, known))


def unknown_record(
    what: str, name: str, known: Iterable[str], code: Code = "unknown-name", place: Place = ()
) -> ErrorRecord:
    """Return the error of a name that is not known, with the nearest guess and all known names."""
    names = sorted(known)
    hint = nearest(name, names).strip()
    return ErrorRecord(f"no {what} is called {name!r}", code, place, got=name, allowed=tuple(names), hint=hint)


def either(words: Sequence[str], most: int = 5) -> str:
    """Return alternatives: "a, b or c"; of more than `most`, the number of the others."""
    shown = [*words[:most], *([f"another {len(words) - most}"] if len(words) > most else [])]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def count(value: Any) -> str:
    """Return a count with thousands apart, or "not known"."""
    return f"{value:,}" if isinstance(value, int) else "not known"


def many(number: Any, what: str) -> str:
    """Return a count of things that are named in the singular: "1 image", "1,200 images"."""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"
