"""All plugins: their names without an import, a part imported when it is needed, the error of what failed."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache, cached_property, partial
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import RLock
from typing import Any

from restorekit.core.errors import PluginError, unknown
from restorekit.discovery.hookspecs import ask
from restorekit.discovery.installed import (
    Key,
    Plugin,
    find,
    find_in,
    is_installed,
    own_version,
    put_on_path,
    same_distribution,
)
from restorekit.parts.registry import Parts

__all__ = ["Plugins", "load"]

BUILTIN = "restorekit.builtin"
TORCH = "restorekit.core.types"
"""Imports torch, which is seconds that no plugin is charged with."""


class Plugins:
    """The plugins of this process and their parts. A broken plugin never stops the tool.

    The meaning of a name does not depend on the order of imports: restorekit's own parts go first, then parts with an
    entry point, then those that hooks add; a name that two plugins have is refused.
    """

    def __init__(self, installed: Iterable[Plugin] = (), *, own: bool = False) -> None:
        """Take installed plugins, none of which is imported; `own`: load restorekit's own when a part is needed."""
        self.parts = Parts(self)
        self.found = [*installed]
        self.own: list[Plugin] = []
        """The modules of `restorekit.builtin`, once they are loaded."""
        self.warn: Callable[[str], None] = lambda line: None
        """Is called with a line when an import of a plugin takes long."""
        self._own_later = own
        self._lock = RLock()  # two threads may ask for the same plugin

    @cached_property
    def _version(self) -> str:
        return own_version() or "?"

    def missing(self, distribution: str) -> str | None:
        """Return why a needed distribution, of a plugin or another, is missing or broken; None if it works."""
        ours = [plugin for plugin in self.found if same_distribution(plugin.distribution, distribution)]
        if not ours and not is_installed(distribution):
            return f"{distribution} is not installed; run: pip install {distribution}, or pip install its folder"
        self._load_all(ours)
        broken = [plugin.error for plugin in ours if plugin.error is not None]
        return f"{distribution} is installed but did not load: {broken[0]}" if broken else None

    def named(self, name: str) -> list[Plugin]:
        """Import and return the plugin of a distribution, with or without restorekit-, or modules of restorekit's own.

        Raises:
            PluginError: if there is no such name, with the nearest guess.
        """
        self._load_own()
        every = [*self.found, *self.own]
        ours = [p for p in every if any(same_distribution(p.distribution, one) for one in (name, f"restorekit-{name}"))]
        ours = ours or [plugin for plugin in self.own if plugin.name == name]
        if not ours:
            raise PluginError(
                unknown("plugin", name, {n for plugin in every for n in (plugin.name, plugin.distribution)})
            )
        self._load_all(ours)
        return ours

    def load_folder(self, folder: Path) -> Plugin:
        """Return the plugin of a project's folder, which need not be installed; it is imported.

        What is installed, or was loaded before, is taken as it is. Otherwise the folder, and `src` in it, go on the
        path.

        Raises:
            DataError: if the folder is no project.
            PluginError: if that names no plugin.
        """
        plugin = find_in(folder)
        known = [one for one in self.found if same_distribution(one.distribution, plugin.distribution)]
        if not known:
            put_on_path(folder)
            self.found.append(plugin)
        self._load_all(known or [plugin])
        return (known or [plugin])[0]

    def register(self, name: str, module: Any) -> list[Key]:
        """Register a module that implements the hook, and return (kind, name) of the parts it brings.

        Raises:
            PluginError: if a name is taken, or the hook or a part breaks its contract; nothing of it is kept.
        """
        if any(plugin.name == name for plugin in self.own):
            raise PluginError("is already loaded", plugin=name)
        brought = ask(name, module)
        try:
            for (kind, part), factory in brought.items():
                self.parts.add(kind, part, factory, owner=name)
        except PluginError:
            self.parts.remove(name)
            raise
        self.own.append(Plugin(name, "restorekit", self._version, added=brought))
        return [*brought]

    def load_builtins(self) -> None:
        """Load `restorekit.builtin` through the hook; an error here is restorekit's own, and is raised."""
        self._own_later = False
        importlib.import_module(TORCH)
        package = importlib.import_module(BUILTIN)
        for info in pkgutil.iter_modules(package.__path__):
            self.register(info.name, importlib.import_module(f"{BUILTIN}.{info.name}"))

    def load_installed(self, kind: str | None = None) -> None:
        """Import the parts of every installed plugin, or those of one kind."""
        self._load_all(self.found, kind)

    def names(self, kind: str) -> set[str]:
        """Return the names of a kind that can be had; no part with an entry point is imported."""
        self._load_own()
        self._load_hooks()
        declared = {key for plugin in self._usable() for key in plugin.declared if key not in plugin.errors}
        return {name for k, name in declared if k == kind and self.name_conflict(k, name) is None}

    def bring(self, kind: str, name: str) -> str | None:
        """Import a part. Return why it is still missing, if the name is not the only error."""
        with self._lock:
            self._load_own()
            if (kind, name) in self.parts:
                return None
            declaring = [plugin for plugin in self.found if (kind, name) in plugin.declared]
            if declaring:
                first = next((plugin for plugin in declaring if plugin.refusal is None), declaring[0])
                return self.name_conflict(kind, name) or self._load((kind, name), first)
            self._load_hooks()
            conflict = self.name_conflict(kind, name)
            hooks = [p for p in self.found if p.hooks or any(isinstance(key, str) for key in p.errors)]
            broken = [plugin.error for plugin in hooks if plugin.error is not None]
            if (kind, name) in self.parts or conflict is not None or not broken:
                return conflict
            return f"{unknown(kind, name, self.parts.names(kind))}. Broken: {'. '.join(broken)}"

    def name_conflict(self, kind: str, name: str) -> str | None:
        """Return an error with a hint if several plugins have the part, which is then refused; else None."""
        usable = self._usable()
        bringers = [p for p in usable if (kind, name) in p.declared] or [p for p in usable if (kind, name) in p.added]
        if len(bringers) < 2:
            return None
        named = " and from ".join(plugin.distribution for plugin in bringers)
        return f"{kind} {name!r} comes from {named}; uninstall one of them, or have one rename it"

    def refused(self, plugin: Plugin) -> dict[Key, str]:
        """Return the parts of a plugin that are refused for their names, as far as is known, each with the reason."""
        found = {}
        for kind, name in plugin.parts:
            conflict = self.name_conflict(kind, name)
            owner = self.parts.owner(kind, name) if (kind, name) in self.parts else plugin.name
            if any(one.name == owner for one in self.own) and plugin not in self.own:
                found[kind, name] = f"{kind} {name!r} is restorekit's own; {plugin.distribution} must rename it"
            elif conflict is not None:
                found[kind, name] = conflict
        return found

    def _usable(self) -> list[Plugin]:
        return [plugin for plugin in self.found if plugin.refusal is None]

    def _load_own(self) -> None:
        with self._lock:
            if self._own_later:
                self.load_builtins()

    def _load_all(self, plugins: Iterable[Plugin], kind: str | None = None) -> None:
        """Import the parts of plugins; an error is kept in the plugin."""
        for plugin in [plugin for plugin in plugins if plugin not in self.own and plugin.refusal is None]:
            for key in [key for key in plugin.declared if kind in (None, key[0])]:
                self.bring(*key)
        self._load_hooks()

    def _load(self, key: Key, plugin: Plugin) -> str | None:
        """Import a part by its entry point; return why it failed."""
        kind, name = key
        if key not in plugin.errors:
            try:
                factory = plugin.load(plugin.declared[key], f"{kind} {name!r}", self.warn)
                self.parts.add(kind, name, factory, owner=plugin.name)
            except PluginError as error:
                plugin.errors[key] = str(error)
        return plugin.errors.get(key)

    def _load_hooks(self) -> None:
        """Import the modules with hooks, all of them, and give each name to the one plugin that adds it."""
        with self._lock:
            for plugin in self._usable():
                while plugin.hooks:
                    self._ask(plugin, plugin.hooks.pop(0))  # first, for its import may ask for parts
            taken = {key for plugin in self._usable() for key in plugin.declared}
            for plugin in self.found:
                for (kind, name), factory in plugin.added.items():
                    if not ((kind, name) in taken or (kind, name) in self.parts or self.name_conflict(kind, name)):
                        self.parts.add(kind, name, factory, owner=plugin.name)

    def _ask(self, plugin: Plugin, entry: EntryPoint) -> None:
        try:
            plugin.added |= plugin.load(entry, f"module {entry.value}", self.warn, partial(ask, plugin.name))
        except PluginError as error:
            plugin.errors[entry.value] = str(error)
        except KeyboardInterrupt:
            plugin.hooks.append(entry)
            raise


@cache
def load() -> Plugins:
    """Return the plugins of this process; each part is imported when it is needed."""
    return Plugins(find(), own=True)
