"""Installed plugins by their metadata, and the import of their code with its errors contained."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from traceback import format_exception_only, walk_tb
from typing import Any, TypeAlias

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from restorekit.core.errors import DataError, PluginError, unknown
from restorekit.core.parts import KINDS, Factory

__all__ = [
    "COMMANDS",
    "GROUP",
    "Key",
    "Plugin",
    "find",
    "find_in",
    "is_installed",
    "own_version",
    "put_on_path",
    "same_distribution",
]

GROUP = "restorekit"
"""The group of modules that implement the hook. The parts of a kind have the group `restorekit.KIND`."""
COMMANDS = f"{GROUP}.commands"
SLOW = 2.0
"""Seconds of import from which the user is warned."""
Key = tuple[str, str]
"""Kind and name of a part."""


@dataclass(eq=False)
class Plugin:
    """A package that brings parts or commands. Only its metadata are read until something of it is loaded."""

    name: str
    """That of its distribution; of restorekit's own that of the module."""
    distribution: str
    version: str
    requires: tuple[str, ...] = ()
    """The requirements of the distribution."""
    declared: dict[Key, EntryPoint] = field(default_factory=dict)
    """Where each part is imported from."""
    hooks: list[EntryPoint] = field(default_factory=list)
    """Modules that implement the hook and are not imported yet."""
    commands: dict[str, EntryPoint] = field(default_factory=dict)
    added: dict[Key, Factory] = field(default_factory=dict)
    """Parts that its hook added."""
    errors: dict[Key | str, str] = field(default_factory=dict)
    """Of what failed to load: a part, or a module with the hook."""
    seconds: float | None = None
    """How long its imports took so far, without torch; None before the first."""

    @property
    def parts(self) -> list[Key]:
        """(kind, name) of each part that is known so far: all that are declared, and those that a hook has added."""
        return [*self.declared, *(key for key in self.added if key not in self.declared)]

    @property
    def error(self) -> str | None:
        """Why it, or something of it, cannot be used; None as far as is known."""
        return self.refusal or "; ".join(dict.fromkeys(self.errors.values())) or None

    @cached_property
    def refusal(self) -> str | None:
        """Why nothing of it is imported, and a hint; None if its metadata are fine."""
        for kind, _ in self.declared:
            if kind not in KINDS:
                return f"plugin {self.name}: entry points {GROUP}.{kind}: {unknown('kind of part', kind, KINDS)}"
        try:
            wanted = [r.specifier for r in self._required() if same_distribution(r.name, "restorekit")]
        except InvalidRequirement as error:
            return f"plugin {self.name}: a requirement cannot be read ({' '.join(str(error).split())})"
        ours = own_version()
        for limits in wanted:
            # A pre-release of ours counts as itself, or as the release that it leads to.
            if ours is not None and not any(limits.contains(v, True) for v in (ours, Version(ours).base_version)):
                return (
                    f"plugin {self.name}: version {self.version} is for restorekit{limits}, this is restorekit {ours}; "
                    f"run: pip install --upgrade restorekit {self.distribution}"
                )
        return None

    def load(
        self, entry: EntryPoint, what: str, warn: Callable[[str], None], use: Callable[[Any], Any] = lambda made: made
    ) -> Any:
        """Import what an entry point names. Its prints go to standard error, and no exception but Ctrl-C is let out.

        Args:
            entry: of this plugin.
            what: names it in an error.
            warn: is called with a line if it takes long.
            use: is called with what was imported, as a part of loading it.

        Raises:
            PluginError: in one line, if the plugin is refused or its code fails: what, where and, if known, a hint.
        """
        if self.refusal is not None:
            raise PluginError(self.refusal)
        began = perf_counter()
        try:
            with redirect_stdout(sys.stderr), _warnings_raise_nothing():
                return use(entry.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit too; it must not take others with it
            if isinstance(error, PluginError) and error.plugin == self.name:  # its text names the plugin
                raise
            raise PluginError(self._explained(what, entry, error), plugin=self.name) from error
        finally:
            took = perf_counter() - began
            self.seconds = (self.seconds or 0.0) + took
            if took > SLOW:
                warn(f"plugin {self.name}: {what} took {took:.1f} s to load")

    def _explained(self, what: str, entry: EntryPoint, error: BaseException) -> str:
        top = entry.value.partition(":")[0].partition(".")[0].strip()
        lacking = self._lacking(error.name, top) if isinstance(error, ModuleNotFoundError) and error.name else None
        if lacking is not None:
            return lacking
        line = next(line for line in format_exception_only(error) if not line.startswith(" "))  # not a line of source
        place = _place(error, top)
        return f"{what} failed to load: {' '.join(line.split())}{place and f' ({place})'}"

    def _lacking(self, module: str, own: str) -> str | None:
        """Return which library is absent, and a hint; None if it is there, or is a module of the plugin's own."""
        top = module.partition(".")[0]
        if top == own or _spec_of(top) is not None:
            return None
        unmet = [r.name for r in self._required() if not is_installed(r.name)]
        named = [name for name in unmet if same_distribution(name, top)] or unmet or [top]
        return f"needs the library {top!r}, which is not installed; run: pip install {' '.join(named)}"

    def _required(self) -> list[Requirement]:
        """Return its requirements here, without those of its extras."""
        made = [Requirement(text) for text in self.requires]
        return [r for r in made if r.marker is None or r.marker.evaluate({"extra": ""})]


def find() -> list[Plugin]:
    """Return every installed plugin, by the name of its distribution."""
    found: dict[str, Plugin] = {}
    known: _Known = {}
    every = entry_points()
    for group in sorted(group for group in every.groups if group.partition(".")[0] == GROUP):
        for entry in every.select(group=group):
            name, version, requires = _metadata(entry, known)
            _enter(found.setdefault(canonicalize_name(name), Plugin(name, name, version, requires)), entry)
    return [plugin for _, plugin in sorted(found.items())]


def find_in(folder: Path) -> Plugin:
    """Return the plugin of a project's folder, installed or not.

    Raises:
        DataError: if the folder has no readable pyproject.toml.
        PluginError: if that names neither part nor command.
    """
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise DataError(f"{folder}: has no pyproject.toml; give a plugin's name, or the folder of its project")
    try:
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    name = project.get("name", folder.name)
    plugin = Plugin(name, name, project.get("version", "?"), tuple(project.get("dependencies", ())))
    groups: Mapping[str, Mapping[str, str]] = project.get("entry-points", {})
    for group in [group for group in groups if group.partition(".")[0] == GROUP]:
        for name, value in groups[group].items():
            _enter(plugin, EntryPoint(name, value, group))
    if not (plugin.declared or plugin.hooks or plugin.commands):
        raise PluginError(
            f'{file}: names no part; add [project.entry-points."{GROUP}.KIND"] and NAME = "MODULE:FACTORY"'
        )
    return plugin


def put_on_path(folder: Path) -> None:
    """Let the modules of a project's folder, and of `src` in it, be imported."""
    for place in (folder.resolve(), folder.resolve() / "src"):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    importlib.invalidate_caches()


def own_version() -> str | None:
    """Return the version of restorekit; None in a checkout that was never installed."""
    try:
        return version("restorekit")
    except PackageNotFoundError:
        return None


def same_distribution(one: str, other: str) -> bool:
    """Return True if two names are of one distribution, however they are spelled."""
    return canonicalize_name(one) == canonicalize_name(other)


def is_installed(distribution: str) -> bool:
    """Return True if a distribution is installed."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _enter(plugin: Plugin, entry: EntryPoint) -> None:
    """Enter an entry point of a plugin by its group."""
    if entry.group == COMMANDS:
        plugin.commands[entry.name] = entry
    elif entry.group == GROUP:
        plugin.hooks.append(entry)
    else:
        plugin.declared[entry.group.removeprefix(f"{GROUP}."), entry.name] = entry


_Known: TypeAlias = dict[int, tuple[str, str, tuple[str, ...]]]
"""What was read of distributions, by `id`: they parse their metadata at each question."""


def _metadata(entry: EntryPoint, known: _Known) -> tuple[str, str, tuple[str, ...]]:
    """Return name, version and requirements of the distribution; an uninstall cut short leaves one without metadata."""
    dist = entry.dist
    try:
        assert dist is not None
        if id(dist) not in known:
            known[id(dist)] = dist.name, dist.version or "?", tuple(dist.requires or ())
        name, number, requires = known[id(dist)]
        return name or entry.module, number, requires
    except Exception:  # what a torn file makes importlib raise differs from one Python to the next
        return entry.module, "?", ()


def _place(error: BaseException, top: str) -> str:
    """Return the file and line of a top-level package where an error arose, or nothing."""
    spec = _spec_of(top)
    folders = [os.path.join(home, "") for home in (spec and spec.submodule_search_locations) or ()]
    homes = tuple(folders or filter(None, [spec and spec.origin]))
    lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno or 1))
    return next((f"{file}:{line}" for file, line in reversed(lines) if file.startswith(homes)), "")


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
