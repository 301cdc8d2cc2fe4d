"""Every error that restorekit raises on purpose. Each message is one line made for people.

RestorekitError
├── RecipeError        a recipe, an option or a command line that cannot be run; holds every fault found
├── PluginError        a plugin that is absent, broken or breaks a contract
├── DataError          images, labels or folders that cannot be used
├── CheckpointError    a checkpoint that is absent, incomplete or of another version
└── TrainingError      a run that cannot go on: a loss is not finite, the disk is full
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "STOPPING",
    "CheckpointError",
    "DataError",
    "PluginError",
    "RecipeError",
    "RestorekitError",
    "TrainingError",
    "message_of",
    "nearest",
    "unknown",
]

STOPPING = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What stops a program on purpose. All else is an error, also the panic of a Rust library, which is no Exception."""


class RestorekitError(Exception):
    """The base: a message for the user, no traceback. The command line exits with `exit_code`."""

    exit_code = 2


class RecipeError(RestorekitError):
    """One or more faults of a recipe, all found at once; `faults` holds a line for each."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: Sequence[str] = faults


class PluginError(RestorekitError):
    """A plugin is absent, failed to import, or a part of it breaks its contract."""


class DataError(RestorekitError):
    """Data cannot be used: missing, empty, unreadable, of the wrong shape or depth."""


class CheckpointError(RestorekitError):
    """A checkpoint is absent, incomplete or was written by another version."""


class TrainingError(RestorekitError):
    """A run had to stop; the message names the last good checkpoint."""


def message_of(error: BaseException) -> str:
    """Return the message of an error in one line, or its type: an error of a library may fail to make its message."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    return text or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the nearest known name, or the empty string."""
    guesses = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {guesses[0]!r}?" if guesses else ""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return one line for a name that nobody knows: the nearest guess, then all known names."""
    names = sorted(known)
    listed = ", ".join(names) if names else "none"
    return f"no {what} is called {name!r}.{nearest(name, names)} Known: {listed}"
