"""One plugin: an entry point of an installed package, checked for its API range, imported with its errors contained."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from traceback import format_exception_only, walk_tb
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from restorekit.core.errors import DataError, PluginError

__all__ = [
    "COMMANDS",
    "GROUP",
    "SLOW",
    "PluginSource",
    "find",
    "find_in",
    "is_slow",
    "libraries",
    "own_version",
    "put_on_path",
    "same_distribution",
]

GROUP = "restorekit"
COMMANDS = "restorekit.commands"
What = Literal["plugin", "command"]
SLOW = 2.0
"""Seconds of import from which the user is warned."""
DEVELOPERS = {"dev", "doc", "docs", "test", "tests"}
"""Extras for those who work on a distribution; no run uses what they ask for."""


class PluginSource:
    """A plugin or a command of a distribution; only its metadata are read until it is loaded.

    Args:
        what: "plugin" or "command".
        entry: where it is imported from.
        distribution: the name of the package that brings it.
        version: of that package.
        requires: the requirements of that package.
        own: True if restorekit itself has such a thing of that name.
    """

    def __init__(
        self, what: What, entry: EntryPoint, distribution: str, version: str, requires: list[str], *, own: bool = False
    ) -> None:
        self.entry = entry
        self.name = entry.name
        self.who = f"{what} {entry.name}"
        self.distribution, self.version = distribution, version
        self._requires = requires
        self.rivals: Sequence[PluginSource] = ()
        """Plugins of other distributions that have its name."""
        self._own = own
        self.seconds: float | None = None
        """How long its import took; None before that."""

    @property
    def slow(self) -> str | None:
        """A line for the user if its import took long."""
        text = f"{self.who} of {self.distribution} took {self.seconds or 0:.1f} s to import"
        return text if is_slow(self.seconds) else None

    def refusal(self) -> str | None:
        """Return why it is not imported, and a hint; None if its metadata are fine."""
        if self.rivals:
            named = sorted(f"{source.distribution} {source.version}" for source in (self, *self.rivals))
            listed = " and from ".join(named)
            return f"{self.who}: comes from {listed}; uninstall one, or have one rename its entry point"
        if self._own:
            return f"{self.who}: is a name of restorekit's own; {self.distribution} must rename its entry point"
        try:
            wanted = [r.specifier for r in self._required() if same_distribution(r.name, "restorekit")]
        except InvalidRequirement as error:
            return f"{self.who}: a requirement of {self.distribution} cannot be read ({' '.join(str(error).split())})"
        ours = own_version()
        for limits in wanted:
            # A pre-release of ours counts as itself, or as the release that it leads to.
            if ours is not None and not any(limits.contains(v, True) for v in (ours, Version(ours).base_version)):
                return (
                    f"{self.who}: {self.distribution} {self.version} is for restorekit{limits}, this is restorekit "
                    f"{ours}; run: pip install --upgrade restorekit {self.distribution}"
                )
        return None

    def load(self) -> Any:
        """Import it, and return what its entry point names.

        Raises:
            PluginError: if it is refused or breaks: one line that says what, where and, where it is known, a hint.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise PluginError(refusal)
        began = perf_counter()
        try:
            with self.contained("failed to import"):
                return self.entry.load()
        finally:
            self.seconds = perf_counter() - began

    @contextmanager
    def contained(self, doing: str) -> Iterator[None]:
        """Turn any exception of its code into a one-line PluginError; its prints go to standard error.

        Only Ctrl-C goes through.
        """
        try:
            with redirect_stdout(sys.stderr), _warnings_raise_nothing():
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit too; it must not take others with it
            raise PluginError(self._explained(doing, error)) from error

    def _explained(self, doing: str, error: BaseException) -> str:
        if isinstance(error, PluginError) and self.who == f"plugin {error.plugin}":  # its text names the plugin
            return " ".join(str(error).split())
        lacking = self._lacking(error.name) if isinstance(error, ModuleNotFoundError) and error.name else None
        if lacking is not None:
            return f"{self.who}: {lacking}"
        line = next(line for line in format_exception_only(error) if not line.startswith(" "))  # not a line of source
        place = self._place(error)
        return f"{self.who}: {doing}: {' '.join(line.split())}{place and f' ({place})'}"

    def _lacking(self, module: str) -> str | None:
        """Return which library is absent, and a hint; None if it is there, or is a module of the plugin's own."""
        top = module.partition(".")[0]
        if top == self._top or _spec_of(top) is not None:
            return None
        unmet = [r.name for r in self._required() if not is_installed(r.name)]
        named = [name for name in unmet if same_distribution(name, top)] or unmet or [top]
        return f"needs the library {top!r}, which is not installed; run: pip install {' '.join(named)}"

    def _place(self, error: BaseException) -> str:
        """Return the file and line of the plugin where an error arose, or nothing."""
        lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            lines.append((error.filename, error.lineno or 1))
        ours = [f"{file}:{line}" for file, line in lines if any(file.startswith(home) for home in self._homes)]
        return ours[-1] if ours else ""

    @property
    def _homes(self) -> list[str]:
        return [home if os.path.isfile(home) else os.path.join(home, "") for home in self.home]

    @cached_property
    def home(self) -> tuple[str, ...]:
        """The folders of its top-level package, or its one file; empty if it cannot be found."""
        spec = _spec_of(self._top)
        if spec is None:
            return ()
        if spec.submodule_search_locations is not None:
            return tuple(spec.submodule_search_locations)
        return (spec.origin,) if spec.origin else ()

    @property
    def _top(self) -> str:
        return self.entry.value.partition(":")[0].partition(".")[0].strip()

    def _required(self) -> list[Requirement]:
        """Return its requirements here, without those of its extras."""
        made = [Requirement(text) for text in self._requires]
        return [r for r in made if r.marker is None or r.marker.evaluate({"extra": ""})]


def find(what: What, own: Collection[str]) -> list[PluginSource]:
    """Return every installed plugin by name and distribution; `own` are the names that restorekit's own have."""
    entries = entry_points(group=GROUP if what == "plugin" else COMMANDS)
    made = [PluginSource(what, entry, *_metadata(entry), own=entry.name in own) for entry in entries]
    for source in made:
        source.rivals = [other for other in made if other.name == source.name and other is not source]
    return sorted(made, key=lambda source: (source.name, source.distribution, source.entry.value))


def find_in(folder: Path) -> list[PluginSource]:
    """Return the plugins of a project's folder, installed or not; none if it brings commands alone.

    Raises:
        DataError: if the folder has no readable pyproject.toml.
        PluginError: if that names neither plugin nor command.
    """
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise DataError(f"{folder}: has no pyproject.toml; give a plugin's name, or the folder of its project")
    try:
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    groups = project.get("entry-points", {})
    if GROUP not in groups and COMMANDS not in groups:
        raise PluginError(f'{file}: names no plugin; add [project.entry-points.{GROUP}] and NAME = "MODULE"')
    about = project.get("name", folder.name), project.get("version", "?"), project.get("dependencies", [])
    return [
        PluginSource("plugin", EntryPoint(name, of, GROUP), *about)
        for name, of in sorted(groups.get(GROUP, {}).items())
    ]


def put_on_path(folder: Path) -> None:
    """Let the modules of a project's folder, and of `src` in it, be imported."""
    for place in (folder.resolve(), folder.resolve() / "src"):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    importlib.invalidate_caches()


def is_slow(seconds: float | None) -> bool:
    """Return True if the user should be warned of an import's time."""
    return seconds is not None and seconds > SLOW


def own_version() -> str | None:
    """Return the version of restorekit; None in a checkout that was never installed."""
    try:
        return version("restorekit")
    except PackageNotFoundError:
        return None


def libraries(distributions: Iterable[str]) -> dict[str, str]:
    """Return the version here of everything that installed distributions ask for, by its name.

    What only an extra asks for is listed where it is installed; what must be there and is not, is "absent".
    """
    found: dict[str, str] = {}
    for name in distributions:
        try:
            metadata = distribution(name).metadata
        except PackageNotFoundError:  # a checkout that was never installed
            continue
        extras = ["", *(set(metadata.get_all("Provides-Extra", [])) - DEVELOPERS)]
        for wanted in map(Requirement, metadata.get_all("Requires-Dist", [])):
            asking = [extra for extra in extras if wanted.marker is None or wanted.marker.evaluate({"extra": extra})]
            if "" in asking or (asking and is_installed(wanted.name)):
                found[canonicalize_name(wanted.name)] = version(wanted.name) if is_installed(wanted.name) else "absent"
    return dict(sorted(found.items()))


def same_distribution(one: str, other: str) -> bool:
    """Return True if two names are of one distribution, however they are spelled."""
    return canonicalize_name(one) == canonicalize_name(other)


def _metadata(entry: EntryPoint) -> tuple[str, str, list[str]]:
    """Return name, version and requirements of the distribution; an uninstall cut short leaves one without metadata."""
    try:
        assert entry.dist is not None
        return entry.dist.name or entry.name, entry.dist.version or "?", entry.dist.requires or []
    except Exception:  # what a torn file makes importlib raise differs from one Python to the next
        return entry.name, "?", []


def is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _spec_of(module: str) -> Any:
    """Return where a top-level module comes from, or None; it is not imported."""
    try:
        return find_spec(module)
    except Exception:  # finders of editable installs are other people's code
        return None


@contextmanager
def _warnings_raise_nothing() -> Iterator[None]:
    """Keep warnings from raising where the user, or the user's tests, turn warnings into errors.

    Elsewhere nothing is touched: the filters that a plugin sets for its libraries stay.
    """
    if not any(action == "error" for action, *_ in warnings.filters):
        yield
        return
    with warnings.catch_warnings():
        warnings.filters = [rule for rule in warnings.filters if rule[0] != "error"]
        yield
