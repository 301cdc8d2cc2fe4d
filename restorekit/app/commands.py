"""Plugins on the command line: warnings of slow imports, commands of plugins, the list of all plugins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from restorekit.app import screen
from restorekit.core.errors import PluginError, RecipeError, unknown
from restorekit.discovery.installed import Plugin, find

if TYPE_CHECKING:
    from restorekit.discovery.plugins import Plugins

__all__ = ["Commands", "Grouped", "known", "rows", "versions"]

GROUPS = {
    "Prepare": ("data", "check"),
    "Train": ("run", "resume"),
    "Evaluate": ("evaluate", "audit", "compare", "profile", "card"),
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
    """Yield name, version, seconds of import, and parts and commands or the errors of every plugin.

    Args:
        own: the names of restorekit's own commands.
        load: import every part and command.
    """
    loaded = known()
    holders = _holders(loaded.found)
    if load:
        loaded.load_installed()
    for plugin in loaded.found:
        lost: dict[Any, str] = {**plugin.errors}
        lost |= {key: f"refused: {why}" for key, why in loaded.refused(plugin).items()}
        adds = [f"{kind} {name}" for kind, name in plugin.parts if (kind, name) not in lost]
        for name in plugin.commands if plugin.refusal is None else ():
            try:
                _app(name, holders[name], own) if load else _check(name, holders[name], own)
                adds.append(f"command {name}")
            except PluginError as error:
                lost[name] = str(error)
        took = "not imported" if plugin.seconds is None else f"{plugin.seconds:.2f} s"
        text = plugin.refusal or "; ".join(filter(None, [", ".join(adds), *lost.values()]))
        yield [plugin.name, plugin.version, took, text]


def versions() -> dict[str, str]:
    """Return the version of every distribution that brings parts or commands, by its name; none is imported."""
    return {plugin.distribution: plugin.version for plugin in find()}


def _holders(plugins: Iterable[Plugin]) -> dict[str, list[Plugin]]:
    """Return the plugins that have a command of a name, from metadata."""
    found: dict[str, list[Plugin]] = {}
    for plugin in plugins:
        for name in plugin.commands:
            found.setdefault(name, []).append(plugin)
    return found


def _check(name: str, plugins: Sequence[Plugin], own: Collection[str]) -> None:
    """Require that a command has a name of its own.

    Raises:
        PluginError: if restorekit or another plugin has one of that name.
    """
    named = " and from ".join(plugin.distribution for plugin in plugins)
    if name in own:
        raise PluginError(f"command {name!r} is restorekit's own; {named} must rename its entry point")
    if len(plugins) > 1:
        raise PluginError(f"command {name!r} comes from {named}; uninstall one of them, or have one rename it")


def _app(name: str, plugins: Sequence[Plugin], own: Collection[str]) -> typer.Typer:
    """Import a plugin's command.

    Raises:
        PluginError: if it is refused, breaks, or is no command.
    """
    _check(name, plugins, own)
    (plugin,) = plugins
    entry = plugin.commands[name]
    app = plugin.load(entry, f"command {name!r}", screen.warn)
    if not isinstance(app, typer.Typer):
        text = f"command {name!r}: {entry.value} is a {type(app).__name__}, must be a typer.Typer"
        raise PluginError(text, plugin=plugin.name)
    return app


class Commands(TyperGroup):
    """The built-in commands and those of plugins, which are listed from metadata and imported when called."""

    def own(self, ctx: Any) -> list[str]:
        """Return the names of the built-in ones."""
        return super().list_commands(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all, the built-in ones first."""
        own = self.own(ctx)
        return [*own, *sorted(_holders(find()).keys() - set(own))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; a built-in one wins over a plugin's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        plugins = _holders(find()).get(cmd_name)
        if plugins is None and cmd_name in RENAMED:
            raise RecipeError(f"{cmd_name}: since version 2 this is restorekit {RENAMED[cmd_name]}")
        if plugins is None:
            raise RecipeError(unknown("command", cmd_name, self.list_commands(ctx)))
        return _Command(cmd_name, plugins)

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


class Grouped(TyperCommand):
    """A command whose options are listed by what they are for: the panel of each."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options of each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            title = "Arguments" if param.param_type_name == "argument" else "Options"
            if record is not None:
                groups.setdefault(getattr(param, "rich_help_panel", None) or title, []).append(record)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class _Command(TyperCommand):
    """A plugin's command: until it is called, its help names its distribution alone."""

    def __init__(self, name: str, plugins: Sequence[Plugin]) -> None:
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        text = f"From {' and '.join(plugin.distribution for plugin in plugins)}."
        super().__init__(name, help=text, context_settings=settings, add_help_option=False)
        self._plugins = plugins

    def invoke(self, ctx: Any) -> Any:
        command = typer.main.get_command(_app(str(self.name), self._plugins, ()))
        with command.make_context(f"restorekit {self.name}", [*ctx.args]) as inner:
            command.invoke(inner)  # what it returns is no exit code; typer.Exit is one
