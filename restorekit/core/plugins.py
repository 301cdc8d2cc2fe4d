"""Find plugins, load them, and remember who broke and why. A broken guest never stops the tool."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from restorekit.core import hookspecs
from restorekit.core.errors import DataError, PluginError, unknown
from restorekit.core.parts import Factory, Parts

__all__ = ["COMMANDS", "GROUP", "Plugin", "Plugins", "load"]

GROUP = "restorekit"
COMMANDS = "restorekit.commands"
BUILTIN = "restorekit.builtin"


@dataclass(frozen=True)
class Plugin:
    """One plugin as it was found: what it adds, or why it broke."""

    name: str
    distribution: str
    version: str
    seconds: float
    parts: tuple[tuple[str, str], ...] = ()
    error: str | None = None
    file: Path | None = None
    """The file of its module; None if it could not be imported."""


class Plugins:
    """All plugins of this process and their parts."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.found: list[Plugin] = []
        self._manager = pluggy.PluginManager("restorekit")
        self._manager.add_hookspecs(hookspecs)

    def fault(self, distribution: str) -> str | None:
        """Return why a distribution that a recipe needs is not at hand, and the mend; None if it is."""
        wanted = canonicalize_name(distribution)
        ours = [plugin for plugin in self.found if canonicalize_name(plugin.distribution) == wanted]
        if not ours:
            return f"{distribution} is not installed; run: pip install {distribution}"
        broken = [plugin.error for plugin in ours if plugin.error is not None]
        return f"{distribution} is installed but did not load: {broken[0]}" if broken else None

    def named(self, name: str) -> list[Plugin]:
        """Return the plugins that a name stands for: all of a distribution, or the one of an entry point or module.

        Raises:
            PluginError: if nobody is called so, with the nearest guess.
        """
        wanted = canonicalize_name(name)
        ours = [p for p in self.found if canonicalize_name(p.distribution) == wanted or p.name == name]
        if not ours:
            raise PluginError(unknown("plugin", name, {n for p in self.found for n in (p.name, p.distribution)}))
        return ours

    def register(self, name: str, module: ModuleType | object) -> list[tuple[str, str]]:
        """Register a module that implements the hook, and return (kind, name) of the parts it brings.

        Raises:
            PluginError: if the name is taken, or the hook or a part breaks its contract; nothing of it is kept.
        """
        if self._manager.has_plugin(name) or self._manager.is_registered(module):
            raise PluginError(f"plugin {name}: is already loaded under this name or another; rename its entry point")
        added: list[tuple[str, str]] = []

        def add(kind: str, part: str, factory: Factory) -> None:
            self.parts.add(kind, part, factory, owner=name)
            added.append((kind, part))

        try:
            self._manager.register(module, name)
            others = [p for p in self._manager.get_plugins() if p is not module]
            self._manager.subset_hook_caller("register_parts", others)(add=add)
        except pluggy.PluginValidationError as error:
            self._forget(name, module)
            raise PluginError(f"plugin {name}: {' '.join(str(error).split())}") from error
        except Exception:
            self._forget(name, module)
            raise
        if not added:
            self._forget(name, module)
            raise PluginError(f"plugin {name}: brings no part; mark its function `@hookimpl def register_parts(add)`")
        return added

    def _forget(self, name: str, module: object) -> None:
        self.parts.remove(name)
        if self._manager.is_registered(module):
            self._manager.unregister(module)

    def load_builtins(self) -> None:
        """Load the modules of `restorekit.builtin` through the guests' hook. A fault here is ours: it raises."""
        package = importlib.import_module(BUILTIN)
        for info in pkgutil.iter_modules(package.__path__):
            began = perf_counter()
            module = importlib.import_module(f"{BUILTIN}.{info.name}")
            added = self.register(info.name, module)
            spent = perf_counter() - began
            self.found.append(
                Plugin(info.name, "restorekit", _version("restorekit"), spent, tuple(added), file=_file(module))
            )

    def load_guests(self) -> None:
        """Load every installed guest; one that breaks is remembered and the others go on."""
        for entry in _guests():
            if entry.dist is None:
                self._load(entry, entry.name, "?", [])
            else:
                self._load(entry, entry.dist.name, entry.dist.version, entry.dist.requires or [])

    def load_folder(self, folder: Path) -> list[Plugin]:
        """Load the guests of a project's folder, which need not be installed, and return them.

        What is installed, or was loaded before, is taken as it is. The folder, and `src` in it, go on the path.

        Raises:
            DataError: if the folder has no readable pyproject.toml.
            PluginError: if that names no plugin.
        """
        file = folder / "pyproject.toml"
        project = _project(file)
        entries = project.get("entry-points", {}).get(GROUP, {})
        if not entries:
            raise PluginError(f'{file}: names no plugin; add [project.entry-points.{GROUP}] and NAME = "MODULE"')
        name = project.get("name", folder.name)
        wanted = canonicalize_name(name)

        def ours() -> dict[str, Plugin]:
            same = [p for p in self.found if canonicalize_name(p.distribution) == wanted]
            return {p.name: p for p in same if p.name in entries}

        for entry in sorted(entries.keys() - ours().keys()):
            _put_on_path(folder)
            release, requires = project.get("version", "?"), project.get("dependencies", [])
            self._load(EntryPoint(entry, entries[entry], GROUP), name, release, requires)
        return list(ours().values())

    def _load(self, entry: EntryPoint, distribution: str, release: str, requires: Sequence[str]) -> None:
        began = perf_counter()
        added: list[tuple[str, str]] = []
        module = fault = None
        doing = "failed to import"
        try:
            _check_range(entry.name, requires)
            module = entry.load()
            doing = "register_parts raised"
            added = self.register(entry.name, module)
        except PluginError as error:
            fault = str(error)
        except (Exception, SystemExit) as error:  # a guest may raise anything; it must not take the others with it
            fault = f"plugin {entry.name}: {doing}: {type(error).__name__}: {error}"
        spent = perf_counter() - began
        self.found.append(Plugin(entry.name, distribution, release, spent, tuple(added), fault, _file(module)))


@cache
def load() -> Plugins:
    """Return the plugins of this process: built-ins and guests, loaded once."""
    plugins = Plugins()
    plugins.load_builtins()
    plugins.load_guests()
    return plugins


def _guests() -> Iterator[EntryPoint]:
    yield from sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _check_range(name: str, requires: Sequence[str]) -> None:
    """Hold a guest to the versions of restorekit that it requires, before it is imported."""
    ours = _version("restorekit")
    for text in requires:
        wanted = Requirement(text)
        if canonicalize_name(wanted.name) == "restorekit" and not wanted.specifier.contains(ours, prereleases=True):
            raise PluginError(f"plugin {name}: is for restorekit{wanted.specifier}, this is {ours}; update one of them")


def _project(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"{file.parent}: has no pyproject.toml; give a plugin's name, or the folder of its project")
    try:
        project: dict[str, Any] = tomllib.loads(file.read_text("utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    return project


def _put_on_path(folder: Path) -> None:
    for place in (folder.resolve(), folder.resolve() / "src"):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    importlib.invalidate_caches()


def _file(module: object) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if file else None


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "?"
