"""Plugins on the command line: warnings of slow imports, commands of plugins, the list of all plugins."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from restorekit.app import screen
from restorekit.core.errors import PluginError, RecipeError, unknown
from restorekit.discovery.installed import Plugin, find

if TYPE_CHECKING:
    from restorekit.discovery.plugins import Plugins

__all__ = ["Commands", "known", "rows", "versions"]

GROUPS = {
    "Prepare": ("data", "check"),
    "Train": ("run", "resume"),
    "Evaluate": ("evaluate", "audit", "compare", "profile"),
    "Restore": ("restore",),
    "Extend": ("list", "plugin"),
}
"""The commands by what they are for, as the help shows them."""
RENAMED = {
    "parts": "list parts",
    "recipes": "list recipes",
    "plugins": "list plugins",
    "schema": "list schema",
    "report": "evaluate RUN --report",
}
"""Commands of version 1, and what they are since."""


def known() -> Plugins:
    """Return the plugins of this process; an import that takes long is reported on the screen."""
    from restorekit.discovery import plugins

    loaded = plugins.load()
    loaded.warn = screen.warn
    return loaded


def rows(own: Collection[str], *, load: bool) -> Iterator[list[str]]:
    """Yield name, version, seconds of import, and parts and commands or the error of every plugin.

    Args:
        own: the names of restorekit's own commands.
        load: import every part and command.
    """
    loaded = known()
    if load:
        loaded.load_installed()
    sources = _sources(own)
    for plugin in loaded.found:
        errors = [plugin.refusal] if plugin.refusal else [*plugin.errors.values()]
        errors += [f"refused: {why}" for why in loaded.refused(plugin).values()]
        commands = [sources[name] for name in plugin.commands if plugin.refusal is None]
        refused = {source.name: _error(source, load=load) for source in commands}
        lost = {*plugin.errors, *loaded.refused(plugin)}
        adds = [f"{kind} {name}" for kind, name in plugin.parts if (kind, name) not in lost and plugin.refusal is None]
        adds += [f"command {name}" for name, why in refused.items() if why is None]
        took = "not imported" if plugin.seconds is None else f"{plugin.seconds:.2f} s"
        text = "; ".join(filter(None, [", ".join(adds), *errors, *(why for why in refused.values() if why)]))
        yield [plugin.name, plugin.version, took, text]


def versions() -> dict[str, str]:
    """Return the version of every distribution that brings parts or commands, by its name; none is imported."""
    return {plugin.distribution: plugin.version for plugin in find()}


class _Source(NamedTuple):
    """A command of an installed plugin, or of several, which is then refused."""

    name: str
    plugins: list[Plugin]
    own: bool
    """Whether it is the name of one of restorekit's own."""

    @property
    def distributions(self) -> str:
        return " and from ".join(plugin.distribution for plugin in self.plugins)


def _sources(own: Collection[str]) -> dict[str, _Source]:
    """Return the commands of plugins by name, from metadata."""
    found: dict[str, _Source] = {}
    for plugin in find():
        for name in plugin.commands:
            found.setdefault(name, _Source(name, [], name in own)).plugins.append(plugin)
    return found


def _app(source: _Source) -> typer.Typer:
    """Import a plugin's command.

    Raises:
        PluginError: if it is refused, breaks, or is no command.
    """
    if source.own:
        raise PluginError(
            f"command {source.name!r} is restorekit's own; {source.distributions} must rename its entry point"
        )
    if len(source.plugins) > 1:
        raise PluginError(
            f"command {source.name!r} comes from {source.distributions}; uninstall one of them, or have one rename it"
        )
    plugin = source.plugins[0]
    entry = plugin.commands[source.name]
    app = plugin.load(entry, f"command {source.name!r}", screen.warn)
    if not isinstance(app, typer.Typer):
        text = f"command {source.name!r}: {entry.value} is a {type(app).__name__}, must be a typer.Typer"
        raise PluginError(text, plugin=plugin.name)
    return app


def _error(source: _Source, *, load: bool) -> str | None:
    """Return why a command cannot be used, as far as its metadata say, or its import."""
    if not load and not source.own and len(source.plugins) == 1:
        return source.plugins[0].refusal
    try:
        _app(source)
    except PluginError as error:
        return str(error)
    return None


class Commands(TyperGroup):
    """The built-in commands and those of plugins, which are listed from metadata and imported when called."""

    def own(self, ctx: Any) -> list[str]:
        """Return the names of the built-in ones."""
        return super().list_commands(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all, the built-in ones first."""
        own = self.own(ctx)
        return [*own, *sorted(name for name in _sources(own) if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; a built-in one goes before a plugin's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        source = _sources(self.own(ctx)).get(cmd_name)
        if source is None and cmd_name in RENAMED:
            raise RecipeError(f"{cmd_name}: since version 2 this is restorekit {RENAMED[cmd_name]}")
        if source is None:
            raise RecipeError(unknown("command", cmd_name, self.list_commands(ctx)))
        return _Command(source)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands of the help, by what they are for; those of plugins last."""
        others = [name for name in self.list_commands(ctx) if not any(name in names for names in GROUPS.values())]
        groups = {**GROUPS, "Plugins": others}
        found = {title: [(name, self.get_command(ctx, name)) for name in names] for title, names in groups.items()}
        limit = formatter.width - 6 - max(len(name) for names in groups.values() for name in names)
        for title, rows in found.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in rows])


class _Command(TyperCommand):
    """A plugin's command: until it is called, its help names its distribution alone."""

    def __init__(self, source: _Source) -> None:
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        text = f"From {source.distributions}."
        super().__init__(source.name, help=text, context_settings=settings, add_help_option=False)
        self._source = source

    def invoke(self, ctx: Any) -> Any:
        command = typer.main.get_command(_app(self._source))
        with command.make_context(f"restorekit {self.name}", [*ctx.args]) as inner:
            command.invoke(inner)  # what it returns is no exit code; typer.Exit is one
