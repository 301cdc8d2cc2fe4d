"""All plugins: list them, import one when a part of it is needed, keep the error of each that failed."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import RLock
from time import perf_counter
from types import ModuleType

import pluggy

from restorekit.core.errors import PluginError, unknown
from restorekit.core.parts import Factory, Parts
from restorekit.discovery import hookspecs
from restorekit.discovery.catalogue import Catalogue, Known
from restorekit.discovery.installed import (
    COMMANDS,
    GROUP,
    PluginSource,
    find,
    find_in,
    is_installed,
    libraries,
    own_version,
    put_on_path,
    same_distribution,
)

__all__ = ["COMMANDS", "GROUP", "Plugin", "Plugins", "load"]

BUILTIN = "restorekit.builtin"
TORCH = "restorekit.core.types"
"""Imports torch, which is seconds that no plugin is charged with."""
Brought = dict[tuple[str, str], Factory]
"""Factories by (kind, name)."""


@dataclass(frozen=True)
class Plugin:
    """One plugin: its parts, or its error. Before it is imported they are those of its last import, from the cache.

    `seconds` is the time of its import, without what was imported before; None if it never was.
    """

    name: str
    distribution: str
    version: str
    seconds: float | None
    parts: tuple[tuple[str, str], ...] = ()
    error: str | None = None


class Plugins:
    """All plugins of this process and their parts. A broken plugin never stops the tool."""

    def __init__(self) -> None:
        self.parts = Parts(self)
        self.found: list[Plugin] = []
        self.warn: Callable[[str], None] = lambda line: None
        """Is called with a line when a plugin takes long to import."""
        self._registered: set[str] = set()
        self._waiting: dict[str, PluginSource] = {}
        self._brought: dict[str, Brought] = {}
        self._catalogue = Catalogue()
        self._listed = False
        self._lock = RLock()  # two threads may ask for the same plugin

    def missing(self, distribution: str) -> str | None:
        """Return why a needed distribution, of a plugin or another, is missing or broken; None if it works."""
        self._import(lambda plugin: same_distribution(plugin.distribution, distribution))
        ours = [plugin for plugin in self.found if same_distribution(plugin.distribution, distribution)]
        if not ours and not is_installed(distribution):
            return f"{distribution} is not installed; run: pip install {distribution}, or pip install its folder"
        broken = [plugin.error for plugin in ours if plugin.error is not None]
        return f"{distribution} is installed but did not load: {broken[0]}" if broken else None

    def named(self, name: str) -> list[Plugin]:
        """Import and return the plugins that a name stands for: all of a distribution, or one by its own name.

        Raises:
            PluginError: if there is no such name, with the nearest guess.
        """

        def called(plugin: Plugin) -> bool:
            return plugin.name == name or same_distribution(plugin.distribution, name)

        self._import(called)
        ours = [plugin for plugin in self.found if called(plugin)]
        if not ours:
            raise PluginError(unknown("plugin", name, {n for p in self.found for n in (p.name, p.distribution)}))
        return ours

    def libraries(self, parts: Iterable[tuple[str, str]], needs: Iterable[str] = ()) -> dict[str, str]:
        """Return the versions of the libraries that restorekit, and the plugins that bring parts, ask for.

        Args:
            parts: (kind, name) of each part that is used.
            needs: distributions that are used besides.
        """
        owners = {self.parts.owner(kind, name) for kind, name in parts}
        found = libraries({"restorekit", *needs, *(p.distribution for p in self.found if p.name in owners)})
        ours = {"restorekit", *(plugin.distribution for plugin in self.found)}
        return {name: v for name, v in found.items() if not any(same_distribution(name, one) for one in ours)}

    def load_folder(self, folder: Path) -> list[Plugin]:
        """Import and return the plugins of a project's folder, which need not be installed.

        What is installed, or was loaded before, is taken as it is. Otherwise the folder, and `src` in it, go on the
        path.

        Raises:
            DataError: if the folder is no project.
            PluginError: if that names no plugin, or one whose name another distribution's plugin has.
        """
        sources = find_in(folder)
        for source in sources:
            known = [plugin for plugin in self.found if plugin.name == source.name]
            others = [p.distribution for p in known if not same_distribution(p.distribution, source.distribution)]
            if others:
                raise PluginError(f"{source.who}: is a name that {others[0]} has; rename its entry point")
            if not known:
                put_on_path(folder)
                self._list(source)
        names = {source.name for source in sources}
        self._import(lambda plugin: plugin.name in names)
        return [plugin for plugin in self.found if plugin.name in names]

    def register(self, name: str, module: ModuleType | object) -> list[tuple[str, str]]:
        """Register a module that implements the hook, and return (kind, name) of the parts it brings.

        Raises:
            PluginError: if a name is taken, or the hook or a part breaks its contract; nothing of it is kept.
        """
        if name in self._registered:
            raise PluginError("is already loaded; rename its entry point", plugin=name)
        brought = _ask(name, module)
        try:
            for (kind, part), factory in brought.items():
                self.parts.add(kind, part, factory, owner=name)
        except PluginError:
            self.parts.remove(name)
            raise
        self._registered.add(name)
        return list(brought)

    def load_builtins(self) -> None:
        """Load `restorekit.builtin` through the hook of plugins.

        An error here is restorekit's own: it is raised.
        """
        importlib.import_module(TORCH)
        package = importlib.import_module(BUILTIN)
        for info in pkgutil.iter_modules(package.__path__):
            began = perf_counter()
            module = importlib.import_module(f"{BUILTIN}.{info.name}")
            brought = self.register(info.name, module)
            took = perf_counter() - began
            self.found.append(Plugin(info.name, "restorekit", own_version() or "?", took, tuple(brought)))

    def find_installed(self) -> None:
        """List every installed plugin. None is imported; one with unusable metadata never will be."""
        self._listed = True
        for source in find("plugin", self._registered):
            self._list(source)

    def load_installed(self) -> None:
        """Import every installed plugin."""
        if not self._listed:
            self.find_installed()
        self._import(_each)

    def names(self, kind: str) -> set[str]:
        """Return the names of a kind that plugins bring which are not imported yet."""
        self._import(lambda plugin: not plugin.parts)  # of those that broke nothing is known, and they may be repaired
        waiting = [plugin for plugin in self.found if plugin.name in self._waiting]
        return {n for plugin in waiting for k, n in plugin.parts if k == kind and self.clash(k, n) is None}

    def bring(self, kind: str, name: str) -> str | None:
        """Import the plugins that bring a part. Return why it is still missing, if the name is not the only error."""
        self._import(lambda plugin: (kind, name) in plugin.parts)
        if (kind, name) not in self.parts and self.clash(kind, name) is None:
            self._import(_each)  # what was known of one may be stale, one that broke may be repaired
        clash = self.clash(kind, name)
        broken = ", ".join(plugin.name for plugin in self.found if plugin.error is not None)
        if (kind, name) in self.parts or clash is not None or not broken:
            return clash
        return f"{unknown(kind, name, self.parts.names(kind))}. Broken: {broken}; restorekit list plugins says why"

    def clash(self, kind: str, name: str) -> str | None:
        """Return an error with a hint if several plugins have the part, which is then refused; else None."""
        bringers = [p for p in self._usable() if (kind, name) in p.parts]
        if len(bringers) < 2:
            return None
        named = " and from ".join(f"{plugin.distribution} (plugin {plugin.name})" for plugin in bringers)
        return f"{kind} {name!r} comes from {named}; uninstall one of them, or have one rename it"

    def refused(self, plugin: Plugin) -> dict[tuple[str, str], str]:
        """Return the refused parts of a plugin that loaded, each with the reason."""
        found = {}
        for kind, name in plugin.parts if plugin.name in self._brought else ():
            clash = self.clash(kind, name)
            if (kind, name) in self.parts and self.parts.owner(kind, name) != plugin.name:
                found[kind, name] = f"{kind} {name!r} is restorekit's own; {plugin.distribution} must rename it"
            elif clash is not None:
                found[kind, name] = clash
        return found

    def _list(self, source: PluginSource) -> None:
        refusal = source.refusal()
        known = None if refusal else self._catalogue.known(source)
        seen = known or Known((), None, refusal)
        self.found.append(
            Plugin(source.name, source.distribution, source.version, seen.seconds, seen.parts, seen.error)
        )
        if refusal is None:
            self._waiting[source.name] = source

    def _usable(self) -> list[Plugin]:
        return [plugin for plugin in self.found if plugin.name in self._waiting or plugin.name in self._brought]

    def _import(self, wanted: Callable[[Plugin], bool]) -> None:
        """Import the wanted plugins, after those without a cache entry: a name is resolved when all are known."""
        with self._lock:
            for test in (_unseen, wanted):
                for plugin in list(self.found):
                    if plugin.name in self._waiting and test(plugin):
                        self._load(plugin)

    def _load(self, plugin: Plugin) -> None:
        source = self._waiting.pop(plugin.name)  # first, for its import may ask for parts
        brought: Brought = {}
        failure = None
        try:
            module = source.load()
            with source.contained("register_parts raised"):
                brought = _ask(source.name, module)
        except PluginError as error:
            failure = str(error)
        except KeyboardInterrupt:
            self._waiting[plugin.name] = source
            raise
        if source.slow is not None:
            self.warn(source.slow)
        seen = Known(tuple(brought), source.seconds, failure)
        self._brought[source.name] = brought
        self.found[self.found.index(plugin)] = replace(plugin, seconds=seen.seconds, parts=seen.parts, error=failure)
        self._catalogue.remember(source, seen)
        self._settle()

    def _settle(self) -> None:
        """Give each name to the one plugin that brings it, so that the order of imports does not matter."""
        for owner, brought in self._brought.items():
            for (kind, name), factory in brought.items():
                alone, taken = self.clash(kind, name) is None, (kind, name) in self.parts
                if alone and not taken:
                    self.parts.add(kind, name, factory, owner=owner)
                elif taken and not alone and self.parts.owner(kind, name) == owner:
                    self.parts.discard(kind, name)


@cache
def load() -> Plugins:
    """Return the plugins of this process: built-in ones imported, installed ones imported when needed."""
    plugins = Plugins()
    plugins.load_builtins()
    plugins.find_installed()
    return plugins


def _unseen(plugin: Plugin) -> bool:
    return not plugin.parts and plugin.error is None


def _each(plugin: Plugin) -> bool:
    return True


def _ask(name: str, module: ModuleType | object) -> Brought:
    """Call a module's hook, and return its parts, checked against the contracts.

    Raises:
        PluginError: if it breaks one.
    """
    table, brought = Parts(), Brought()

    def add(kind: str, name: str, factory: Factory) -> None:
        table.add(kind, name, factory, owner=owner)
        brought[kind, name] = factory

    owner = name
    manager = pluggy.PluginManager("restorekit")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(" ".join(str(error).split()), plugin=name) from error
    manager.hook.register_parts(add=add)
    if not brought:
        raise PluginError("brings no part; mark its function `@hookimpl def register_parts(add)`", plugin=name)
    return brought
