"""`restorekit plugin ...`: commands for those who write plugins."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorekit.app import screen
from restorekit.core.errors import RecipeError, unknown

if TYPE_CHECKING:
    from restorekit.app.scaffold import Name

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Begin a plugin of your own.")


@app.callback()
def _plugin() -> None:
    """Keep `plugin` a group, with one command too."""


@app.command()
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the part; the package is restorekit-NAME.")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="A kind that `restorekit parts` lists, or command.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Of the package; default: restorekit-NAME.")
    ] = None,
) -> None:
    """Write a small plugin package that works and passes its own tests.

    It is an example of its kind, with a recipe that runs in seconds, to be changed into your own.
    """
    from restorekit.app import scaffold

    if kind not in scaffold.kinds():
        raise RecipeError(f"--kind: {unknown('kind', kind, scaffold.kinds())}")
    named = scaffold.Name.of(name)
    owner = _owner(kind, named, ctx)
    if owner is not None:
        raise RecipeError(f"NAME: {owner}; choose another")
    folder = out if out is not None else Path(named.distribution)
    package = scaffold.render(kind, named)
    scaffold.write(folder, package)
    screen.say(f"{folder}: {', '.join(sorted(package.files))}\n\nnext:")
    for line in (
        f"cd {quote(str(folder))}",
        "pip install -e '.[test]'",
        "restorekit plugin check .",
        "pytest",
        package.run,
    ):
        screen.say(f"  {line}")
    screen.say(f"\nto use it:\n  {package.use}")


def _owner(kind: str, name: Name, ctx: Any) -> str | None:
    """Return what has the name already and where that comes from, or None."""
    from restorekit.app.scaffold import COMMAND
    from restorekit.core import plugins

    try:
        return f"package {name.distribution!r} is installed, version {version(name.distribution)}"
    except PackageNotFoundError:
        pass
    if kind == COMMAND:
        guests = {entry.name: entry.dist.name for entry in entry_points(group=plugins.COMMANDS) if entry.dist}
        known = ctx.find_root().command.list_commands(ctx)
        return f"command {name.dashed!r} is {guests.get(name.dashed, 'restorekit')}'s" if name.dashed in known else None
    loaded = plugins.load()
    loaded.load_guests()  # one that was never imported has not said what it brings
    for plugin in loaded.found:
        if (kind, name.part) in plugin.parts:
            return f"{kind} {name.part!r} comes from {plugin.name}, of {plugin.distribution} {plugin.version}"
        if plugin.name == name.part:
            return f"plugin {name.part!r} comes from {plugin.distribution} {plugin.version}"
    return None
