"""`restorekit plugin ...`: commands for those who write plugins."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorekit.app import commands, screen
from restorekit.core.errors import RecipeError, unknown

if TYPE_CHECKING:
    from restorekit.app.scaffold import Name
    from restorekit.parts.registry import Parts
    from restorekit.testing import Case, Outcome

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Start a plugin, and check it against its contract."
)


@app.callback()
def _plugin() -> None:
    """Keep `plugin` a group although it may have one command."""


@app.command()
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the part; the package is restorekit-NAME.")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="A kind that `restorekit list parts` lists, or command.")
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
    screen.show(f"{folder}: {', '.join(sorted(package.files))}\n\nnext:")
    for line in (
        f"cd {quote(str(folder))}",
        "pip install -e '.[test]'",
        "restorekit plugin check .",
        "pytest",
        package.run,
    ):
        screen.show(f"  {line}")
    screen.show(f"\nto use it:\n  {package.use}")


def _owner(kind: str, name: Name, ctx: Any) -> str | None:
    """Return what already has the name and its origin, or None."""
    from restorekit.app.scaffold import COMMAND

    loaded = commands.known()
    loaded.parts.names("loss")  # from now on names that only code adds are known
    try:
        return f"package {name.distribution!r} is installed, version {version(name.distribution)}"
    except PackageNotFoundError:
        pass
    if kind == COMMAND:
        owners = {name: plugin.distribution for plugin in loaded.found for name in plugin.commands}
        known = ctx.find_root().command.list_commands(ctx)
        return f"command {name.dashed!r} is {owners.get(name.dashed, 'restorekit')}'s" if name.dashed in known else None
    owned = [plugin for plugin in (*loaded.own, *loaded.found) if (kind, name.part) in plugin.parts]
    return f"{kind} {name.part!r} comes from {owned[0].distribution} {owned[0].version}" if owned else None


@app.command()
def check(
    what: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A plugin or its package; or a project's folder.")],
    full: Annotated[
        bool,
        typer.Option("--full", help="The slow checks in every number of dimensions, and torch.compile's inductor."),
    ] = False,
) -> None:
    """Check every part of a plugin against its contract by the conformance kit, restorekit.testing.

    Exit code 3 if a part does not hold.
    """
    from restorekit.testing import cases

    known = commands.known()
    chosen = cases(what, full=full)
    if not chosen:
        screen.show(f"{what}: has commands only, no part to check")
        return
    for line in _origins(chosen, known.parts):
        screen.note(line)
    outcomes = []
    with screen.progress() as report:
        for at, case in enumerate(chosen, start=1):
            report(f"{at}/{len(chosen)} {case}")
            outcomes.append(case.outcome())
    _show(outcomes)
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(3)


def _origins(chosen: list[Case], known: Parts) -> list[str]:
    """Print which files are checked: the plugin of a folder may be installed from another place."""
    modules = {case.plugin: sys.modules[known.factory(case.kind, case.name).__module__] for case in chosen}
    return [f"plugin {name}: {module.__file__}" for name, module in modules.items()]


def _show(outcomes: list[Outcome]) -> None:
    rows: dict[tuple[str, str, int | None], list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.case.kind, outcome.case.name, outcome.case.dims), []).append(outcome)
    columns = ["part", "in", "passed", "not passed", "time", "speed"]
    screen.table("", columns, [_row(kind, name, dims, of) for (kind, name, dims), of in rows.items()])
    screen.show(f"checks: {', '.join(dict.fromkeys(outcome.case.check for outcome in outcomes))}")
    failures: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.state in ("exempt", "not tried"):
            failures.setdefault(outcome.text, []).append(str(outcome.case))
    for text, ids in failures.items():
        screen.warn(f"{text} ({', '.join(ids)})")
    for outcome in outcomes:
        if outcome.state == "failed":
            screen.fail(outcome.text)
    counts = [f"{sum(o.state == s for o in outcomes)} {s}" for s in ("passed", "failed", "exempt", "not tried")]
    screen.show(f"{', '.join(counts)}, in {screen.duration(sum(o.seconds for o in outcomes))}")


def _row(kind: str, name: str, dims: int | None, of: list[Outcome]) -> list[str]:
    others = [f"{o.case.check} {o.state}" for o in of if o.state != "passed"]
    passed = f"{len(of) - len(others)} of {len(of)}"
    figures = [o.text for o in of if o.state == "passed" and o.text]
    seconds = f"{sum(o.seconds for o in of):.1f} s"
    return [f"{kind} {name}", f"{dims}-D" if dims else "", passed, ", ".join(others), seconds, "; ".join(figures)]
