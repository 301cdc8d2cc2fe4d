"""Find plugins, load them, and remember who broke and why. A broken guest never stops the tool."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from time import perf_counter
from types import ModuleType

import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from restorekit.core import hookspecs
from restorekit.core.errors import PluginError
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
            self.found.append(
                Plugin(info.name, "restorekit", _version("restorekit"), perf_counter() - began, tuple(added))
            )

    def load_guests(self) -> None:
        """Load every installed guest; one that breaks is remembered and the others go on."""
        for entry in _guests():
            began = perf_counter()
            added: list[tuple[str, str]] = []
            fault = None
            doing = "failed to import"
            try:
                _check_range(entry)
                module = entry.load()
                doing = "register_parts raised"
                added = self.register(entry.name, module)
            except PluginError as error:
                fault = str(error)
            except (Exception, SystemExit) as error:  # a guest may raise anything; it must not take the others with it
                fault = f"plugin {entry.name}: {doing}: {type(error).__name__}: {error}"
            dist = entry.dist.name if entry.dist else entry.name
            release = entry.dist.version if entry.dist else "?"
            self.found.append(Plugin(entry.name, dist, release, perf_counter() - began, tuple(added), fault))


@cache
def load() -> Plugins:
    """Return the plugins of this process: built-ins and guests, loaded once."""
    plugins = Plugins()
    plugins.load_builtins()
    plugins.load_guests()
    return plugins


def _guests() -> Iterator[EntryPoint]:
    yield from sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _check_range(entry: EntryPoint) -> None:
    """Hold a guest to the versions of restorekit that it requires, before it is imported."""
    ours = _version("restorekit")
    for text in (entry.dist.requires or []) if entry.dist else []:
        wanted = Requirement(text)
        if canonicalize_name(wanted.name) == "restorekit" and not wanted.specifier.contains(ours, prereleases=True):
            raise PluginError(
                f"plugin {entry.name}: is for restorekit{wanted.specifier}, this is {ours}; update one of them"
            )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "?"
