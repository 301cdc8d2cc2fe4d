"""Plugins on the command line: warnings of slow imports, commands of plugins, the list of all plugins."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from restorekit.app import screen
from restorekit.core.errors import PluginError, RecipeError, unknown
from restorekit.discovery.installed import PluginSource, find, is_slow

if TYPE_CHECKING:
    from restorekit.discovery.plugins import Plugin, Plugins

__all__ = ["Commands", "known", "rows", "versions"]

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


def rows(own: Collection[str]) -> Iterator[list[str]]:
    """Import every plugin and command; yield name, distribution, seconds, and its parts or its error.

    Args:
        own: the names of restorekit's own commands.
    """
    loaded = known()
    loaded.load_installed()
    for plugin in loaded.found:
        yield _row(plugin, plugin.error or _adds(plugin, loaded.refused(plugin)))
    for source in find("command", own):
        text = f"command {source.name}"
        try:
            _app(source)
        except PluginError as error:
            text = str(error)
        yield _row(source, text)


def versions() -> dict[str, str]:
    """Return the version of every distribution that brings plugins or commands, by its name; none is imported."""
    return {source.distribution: source.version for what in ("plugin", "command") for source in find(what, ())}


def _row(plugin: Plugin | PluginSource, text: str) -> list[str]:
    took = "not imported" if plugin.seconds is None else f"{plugin.seconds:.2f} s"
    slow = ", slow" if is_slow(plugin.seconds) else ""
    return [plugin.name, f"{plugin.distribution} {plugin.version}", took + slow, text]


def _adds(plugin: Plugin, refused: dict[tuple[str, str], str]) -> str:
    taken = ", ".join(f"{kind} {name}" for kind, name in plugin.parts if (kind, name) not in refused)
    return "; ".join([*([taken] if taken else []), *(f"refused: {why}" for why in refused.values())])


class Commands(TyperGroup):
    """The built-in commands and those of plugins, which are listed from metadata and imported when called."""

    def own(self, ctx: Any) -> list[str]:
        """Return the names of the built-in ones."""
        return super().list_commands(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all, the built-in ones first."""
        own = self.own(ctx)
        return [*own, *(name for name in _sources(own) if name not in own)]

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

    def __init__(self, source: PluginSource) -> None:
        owners = " and ".join(sorted({one.distribution for one in (source, *source.rivals)}))
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        super().__init__(source.name, help=f"From {owners}.", context_settings=settings, add_help_option=False)
        self._source = source

    def invoke(self, ctx: Any) -> Any:
        command = typer.main.get_command(_app(self._source))
        if self._source.slow is not None:
            screen.warn(self._source.slow)
        with command.make_context(f"restorekit {self.name}", [*ctx.args]) as inner:
            command.invoke(inner)  # what it returns is no exit code; typer.Exit is one


def _sources(own: Collection[str]) -> dict[str, PluginSource]:
    """Return plugins' commands by name; two of one name are both refused."""
    return {source.name: source for source in find("command", own)}


def _app(source: PluginSource) -> typer.Typer:
    """Import a plugin's command.

    Raises:
        PluginError: if it is refused, breaks, or is no command.
    """
    app = source.load()
    if not isinstance(app, typer.Typer):
        raise PluginError(f"{source.who}: {source.entry.value} is a {type(app).__name__}, must be a typer.Typer")
    return app
