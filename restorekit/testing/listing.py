"""The cases of a plugin: a check of a part in a number of dimensions each."""

from __future__ import annotations

import os
import unittest
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from time import perf_counter
from typing import Literal

import torch

from restorekit.core.errors import PluginError, RecipeError
from restorekit.core.parts import KINDS
from restorekit.discovery import plugins
from restorekit.discovery.installed import Plugin
from restorekit.discovery.plugins import Plugins
from restorekit.parts.registry import Parts
from restorekit.testing.dimensions import claimed
from restorekit.testing.subject import Subject
from restorekit.testing.table import Check, checks_of

State = Literal["passed", "failed", "exempt", "not tried"]

__all__ = ["Case", "Outcome", "cases", "cases_of"]


class Case:
    """One check of one part; `str(case)` is an id for a test, such as `layer-selfonn-2d-gradcheck`.

    Attributes:
        kind: The part's kind.
        name: The part's name.
        dims: 1, 2 or 3; None where the number of dimensions does not matter.
        check: What is checked.
        plugin: Who brings the part.
    """

    def __init__(self, check: Check, subject: Subject) -> None:
        self._check, self._subject = check, subject
        self.kind, self.name, self.check = subject.kind, subject.name, check.name
        self.dims = subject.dims or None
        self.plugin = subject.parts.owner(subject.kind, subject.name)

    def __str__(self) -> str:
        return "-".join([self.kind, self.name, *([f"{self.dims}d"] if self.dims else []), self.check])

    __repr__ = __str__

    @property
    def exempt(self) -> str | None:
        """Why the part is exempt, from `conformance_case(exempt=...)` of its factory."""
        return self._subject.conformance.exempt.get(self.check)

    def run(self) -> str:
        """Run the check, and return a note such as a figure of speed; mostly nothing.

        Raises:
            AssertionError: if the part does not hold: one line of the contract, what was got, and a hint.
            unittest.SkipTest: if the part is exempt, or something that the check needs is not installed.
        """
        if self.exempt is not None:
            raise unittest.SkipTest(f"exempt: {self.exempt}")
        place = f"{self.kind} {self.name!r}{f' {self.dims}-D' if self.dims else ''} {self.check}"
        try:
            with torch.random.fork_rng(devices=[]):
                return self._check.run(self._subject) or ""
        except unittest.SkipTest as error:
            raise unittest.SkipTest(f"not tried: {error}") from error
        except AssertionError as error:
            raise AssertionError(f"{place}: {_line(error)}") from error
        except (Exception, SystemExit) as error:  # one that crashes does not stop the others
            if isinstance(error, RecipeError) and isinstance(error.__cause__, ImportError):
                raise unittest.SkipTest(f"not tried: {error}") from error  # its library is an extra
            raise AssertionError(f"{place}: must run; raised {type(error).__name__}: {_line(error)}") from error

    def outcome(self) -> Outcome:
        """Run the check, and return its outcome; no exception of the part is raised."""
        state: State
        began = perf_counter()
        try:
            state, text = "passed", self.run()
        except unittest.SkipTest as error:
            state, text = ("exempt" if self.exempt is not None else "not tried"), str(error)
        except AssertionError as error:
            state, text = "failed", str(error)
        return Outcome(self, state, text, perf_counter() - began)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case."""

    case: Case
    state: State
    text: str
    """A figure, or nothing; what is wrong; why it was not checked."""
    seconds: float


def cases(plugin: str | Path, *, full: bool = False) -> list[Case]:
    """Return every check of a plugin's parts, in each number of dimensions that they do not refuse.

    Slow checks, such as compiling and exporting, run in one number of dimensions, 2 where possible.

    Args:
        plugin: A distribution (restorekit-selfonn, or selfonn), a built-in module (losses), or the folder of a project
            with a pyproject.toml, which need not be installed.
        full: Ask the slow checks in every number of dimensions, and torch.compile's inductor too.

    Raises:
        PluginError: if no plugin has this name, or it did not load, or another brings the same part.
        DataError: if the folder is no project.
    """
    known = plugins.load()
    found = _plugins(known, plugin)
    broken = [why for one in found for why in (one.refusal, *one.errors.values(), *known.refused(one).values()) if why]
    if broken:
        raise PluginError(*dict.fromkeys(broken))
    return [case for one in found for kind, name in one.parts for case in cases_of(known.parts, kind, name, full=full)]


def cases_of(parts: Parts, kind: str, name: str, *, full: bool = False) -> list[Case]:
    """Return every check of one part, as `cases` does for all parts of a plugin."""
    asked = checks_of(kind)
    part = Subject(parts, kind, name, checks=tuple(check.name for check in asked))
    dims = claimed(part)
    if not dims:  # why it works nowhere is for these to say
        asked = [check for check in asked if len(check.kinds) == len(KINDS)]
    once = dims if full else [n for n in dims if n == 2] or dims[:1]
    where = {"part": [0], "each": dims, "one": once}
    chosen = [check for check in asked if full or not check.full]
    return [Case(check, replace(part, dims=n)) for check in chosen for n in where[check.where]]


def _line(error: BaseException) -> str:
    """Return the text of an error in one line, not too long."""
    return shorten(str(error), 400, placeholder=" ...")


def _plugins(known: Plugins, plugin: str | Path) -> list[Plugin]:
    if isinstance(plugin, str):
        try:
            return known.named(plugin)
        except PluginError:
            if os.sep not in plugin and not (Path(plugin) / "pyproject.toml").is_file():
                raise
    return [known.load_folder(Path(plugin).expanduser())]
