"""`restorekit plugin ...`: commands for those who write plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from restorekit.app import screen

if TYPE_CHECKING:
    from restorekit.testing import Case, Outcome

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write plugins, and hold them to their contracts.")


@app.callback()
def _plugin() -> None:
    """Keep `plugin` a group, with one command too."""


@app.command()
def check(
    what: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A plugin or its package; or a project's folder.")],
    full: Annotated[
        bool,
        typer.Option("--full", help="The slow checks in every number of dimensions, and torch.compile's inductor."),
    ] = False,
) -> None:
    """Hold every part of a plugin to its contract: the conformance kit, as restorekit.testing.

    Exit code 3 if a part does not hold.
    """
    from restorekit.testing import cases

    asked = cases(what, full=full)
    for line in _origins(asked):
        screen.note(line)
    outcomes = []
    with screen.telling() as say:
        for at, case in enumerate(asked, start=1):
            say(f"{at}/{len(asked)} {case}")
            outcomes.append(case.outcome())
    _show(outcomes)
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(3)


def _origins(asked: list[Case]) -> list[str]:
    """Say which files are checked: a folder's plugin may be installed from somewhere else."""
    from restorekit.core import plugins

    names = {case.plugin for case in asked}
    return [f"{p.name}: {p.distribution} {p.version}, {p.file}" for p in plugins.load().found if p.name in names]


def _show(outcomes: list[Outcome]) -> None:
    rows: dict[tuple[str, str, int | None], list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.case.kind, outcome.case.name, outcome.case.dims), []).append(outcome)
    columns = ["part", "in", "passed", "not passed", "time", "speed"]
    screen.table("", columns, [_row(kind, name, dims, of) for (kind, name, dims), of in rows.items()])
    screen.say(f"checks: {', '.join(dict.fromkeys(outcome.case.check for outcome in outcomes))}")
    told: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.state in ("exempt", "not tried"):
            told.setdefault(outcome.text, []).append(str(outcome.case))
    for text, ids in told.items():
        screen.warn(f"{text} ({', '.join(ids)})")
    for outcome in outcomes:
        if outcome.state == "failed":
            screen.fail(outcome.text)
    counts = [f"{sum(o.state == s for o in outcomes)} {s}" for s in ("passed", "failed", "exempt", "not tried")]
    screen.say(f"{', '.join(counts)}, in {screen.duration(sum(o.seconds for o in outcomes))}")


def _row(kind: str, name: str, dims: int | None, of: list[Outcome]) -> list[str]:
    others = [f"{o.case.check} {o.state}" for o in of if o.state != "passed"]
    passed = f"{len(of) - len(others)} of {len(of)}"
    figures = [o.text for o in of if o.state == "passed" and o.text]
    seconds = f"{sum(o.seconds for o in of):.1f} s"
    return [f"{kind} {name}", f"{dims}-D" if dims else "", passed, ", ".join(others), seconds, "; ".join(figures)]
