"""`restorekit list ...`: parts, recipes, plugins, and the schema of recipes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorekit.app import commands, screen
from restorekit.core.errors import RecipeError, RestorekitError, unknown
from restorekit.io.files import write_text

if TYPE_CHECKING:
    from restorekit.parts.registry import Parts

__all__ = ["app"]

COUNTED = ("generator", "discriminator")
"""Kinds whose parameters `list parts` counts."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List parts, recipes, plugins; print the schema.")


@app.command()
def parts(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Such as loss or generator.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A part of that kind.")] = None,
    sets: Annotated[
        list[str], typer.Option("--set", metavar="A.B=C", help="An option of the part, for its parameter count.")
    ] = [],  # noqa: B006
) -> None:
    """List kinds, the parts of a kind, or a part's options and, of networks, the parameters."""
    from restorekit.core.parts import KINDS

    if sets and (name is None or kind not in COUNTED):
        got = " ".join(filter(None, (kind, name))) or "neither kind nor name"
        allowed = f"{' or '.join(COUNTED)} NAME"
        raise RecipeError(f"--set: is of a network whose parameters are counted, {allowed}; got {got}")
    plugins = commands.known()
    if kind is not None and name is None:
        plugins.load_installed(kind)  # for their first lines; one that breaks is left out
    known = plugins.parts
    if kind is None:
        rows = [[k, c.about, ", ".join(known.names(k))] for k, c in KINDS.items()]
        screen.table("", ["kind", "is", "parts"], rows)
    elif name is None:
        rows = [[n, known.owner(kind, n), known.about(kind, n).partition("\n")[0]] for n in known.names(kind)]
        screen.table("", [kind, "plugin", "is"], rows)
    else:
        _describe(known, kind, name, sets)


@app.command()
def plugins(
    ctx: typer.Context,
    load: Annotated[
        bool, typer.Option("--import", help="Import every part and command: times, and errors of what breaks.")
    ] = False,
) -> None:
    """List installed plugins: versions, what each adds, what is refused and why.

    None is imported without --import. Exit code 0 also if one broke, for the others go on.
    """
    root = ctx.find_root()
    group: Any = root.command
    rows = commands.rows(group.own(root), load=load)
    screen.table("", ["plugin", "version", "import", "adds, or its error"], rows)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Where a copy goes.")] = None,
) -> None:
    """List the recipes that come with restorekit; print one, or write a copy of it.

    A name can be given wherever a recipe file can, unless a file has this name: restorekit run quickstart.
    """
    from restorekit.recipes import shipped

    ours = shipped.shipped()
    if name is None:
        if out is not None:
            raise RecipeError("-o: needs the NAME of the recipe to copy")
        screen.table("", ["recipe", "is"], [[known, shipped.about(path)] for known, path in ours.items()])
        return
    if name not in ours:
        raise RecipeError(f"NAME: {unknown('recipe', name, ours)}")
    text = ours[name].read_text("utf-8")
    if out is None:
        sys.stdout.write(text)
    elif out.exists():
        raise RecipeError(f"{out}: exists and is not overwritten")
    else:
        write_text(out, text)
        screen.show(f"written: {out.resolve()}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, with every installed part, for editors."""
    from restorekit.recipes.schema import schema as made

    known = commands.known()
    known.load_installed()
    sys.stdout.write(json.dumps(made(known.parts), indent=1) + "\n")


def _describe(known: Parts, kind: str, name: str, sets: list[str]) -> None:
    screen.show(f"{kind} {name}, from {known.owner(kind, name)}\n\n{known.about(kind, name)}\n")
    options = known.options(kind, name)
    if options:
        rows = [[o.name, o.type, "must be given" if o.default is None else o.default] for o in options]
        screen.table("", ["option", "type", "default"], rows)
    if kind in COUNTED:
        _sizes(known, kind, name, sets)


def _sizes(known: Parts, kind: str, name: str, sets: list[str]) -> None:
    """Count a network's parameters for the paper's images: 256x256, three channels, two classes, max pooling."""
    from restorekit.core.tasks import Task
    from restorekit.core.types import Domain
    from restorekit.recipes.recipe import options
    from restorekit.runs.sizes import part_sizes

    domain = Domain("a", 3, (256, 256), Task("class", ("negative", "positive")))
    try:
        found = part_sizes(known, kind, {"name": name, **options(sets)}, domain, {"name": "classify", "pool": "max"})
    except RestorekitError as error:
        if sets:
            raise
        screen.note(f"not counted: {error}")
        return
    given = f" with {' '.join(sets)}" if sets else ""
    screen.table(f"\n3 x 256 x 256, two classes{given}", ["trainable parameters", ""], _counts(found))


def _counts(found: dict[str, int]) -> list[list[str]]:
    return [[what, f"{count:,}"] for what, count in found.items()]
