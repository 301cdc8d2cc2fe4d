"""`restorekit models`: the released models, their cards, and their figures on images of one's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from restorekit import DataError, RestorekitError, read_manifest
from restorekit_models.registry import MODELS, Model, model, verified

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="MODEL", help="The name of a released model.")]
SCORES = ("psnr", "psnr_aligned", "ssim_aligned", "tone_error")
"""Whose gains are compared with the card, as far as a model's recipe has them."""

DEMO = {
    "name": "blend",
    "least": 3,
    "degradations": [
        {"name": "scatter", "severity": [1, 1], "spread": 0.1, "relationship": "log"},
        {"name": "exposure", "severity": [0.4, 0.4]},
        {"name": "poisson", "severity": [0.06, 0.06], "relationship": "log"},
    ],
}
"""What happens to the film of the demonstration, in an order that its name decides."""


@app.callback()
def models(ctx: typer.Context) -> None:
    """The released models; without a command, a list of them."""
    if ctx.invoked_subcommand is None:
        for one in MODELS.values():
            Console(soft_wrap=True).print(_table(one.name, _facts(one)), highlight=False)
        typer.echo("restorekit models card MODEL: scores, failures, limits. restorekit restore IMAGES -o OUT -m MODEL")


@app.command()
def card(name: Name) -> None:
    """Print the card of a model: what it is, its scores with intervals, what goes wrong, what it is not for."""
    typer.echo((model(name).card / "card.md").read_text(encoding="utf-8"))


@app.command()
def verify(
    name: Name,
    images: Annotated[Path | None, typer.Argument(metavar="[GOOD]", help="A folder of good images.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the run with its report is made.")] = Path("verified"),
) -> None:
    """Check the files of a model, and measure the figures of its card again on a folder of good images.

    The good images are degraded by draws that depend on their names, restored and scored; the report of that run shows
    the worst ones. All images below the folder are scored, or those of a sub-folder test. Where it holds a table
    manifest.csv with columns path, split and patient, the images of split test are, and intervals are by patient. Exit
    code 3 if a gain is below that of the card, and the two intervals do not overlap.
    """
    found = model(name)
    for file, size in verified(found):
        typer.echo(f"{file.name}: {size / 1e6:.2g} MB, SHA-256 {file.sha256}: right")
    if images is None:
        return
    here = _scored(found, images.resolve(), out)
    there = json.loads((found.card / "scores.json").read_text(encoding="utf-8"))
    rows = list(_compared(there, here))
    typer.echo(f"gains on the {there['images']} images of the card, and on {here['images']} images of {images}")
    Console(soft_wrap=True).print(_rows(["score", "card", "here", ""], rows), highlight=False)
    share = here.get("harm", {}).get("share")
    if share:
        typer.echo(f"lost more than {here['harm']['limit']} dB here: {100 * share['value']:.1f} % of the images")
    if any(row[-1] for row in rows):
        raise typer.Exit(3)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the film and the run are put.")] = Path("demo"),
) -> None:
    """Restore a real chest film that was degraded on purpose, and write a page with what that gained and changed.

    The film is RG1 of the package pydicom-data, a computed radiograph with many nodules, made 1024 pixels high. It gets
    scattered radiation, wrong exposure and noise; the model is film_base.
    """
    from pydicom.data import get_testdata_file

    film = get_testdata_file("RG1_UNCI.dcm", download=False)
    if film is None:
        raise RestorekitError("the film RG1 is not installed; pip install pydicom-data")
    folder = out / "film"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(film, folder / "RG1.dcm")
    files = {"name": "folder", "path": ".", "test": 1}
    sets = {
        "name": "demo_film",
        "data.root": json.dumps(str(folder.resolve()), ensure_ascii=False),
        "data.a.dataset": json.dumps({"name": "resized", "size": [1024, 964], "dataset": files}),
        "data.a.degradation": json.dumps(DEMO),
    }
    _run("score_films", sets, out)


def _facts(one: Model) -> Iterator[tuple[str, str]]:
    scores = json.loads((one.card / "scores.json").read_text(encoding="utf-8"))
    sizes = [(file, size) for file, size in verified(one)]
    yield "task", one.task
    yield "modality", one.modality
    yield "size", f"trained at {one.trained_at} pixels; output {one.scale} times the input"
    yield "files", f"{sum(size for _, size in sizes) / 1e6:.1f} MB, float32"
    yield from (("", f"{file.name}, SHA-256 {file.sha256}") for file, _ in sizes)
    yield "trained on", one.trained_on
    yield "licence", one.licence
    gain = scores["metrics"]["psnr"]["gain"]
    yield "gain in PSNR", f"{_interval(gain)} dB, {scores['images']} held-out images"
    yield "limits", one.limits[0]
    yield from (("", line) for line in one.limits[1:])


def _scored(of: Model, images: Path, out: Path) -> Mapping[str, Any]:
    """Return the test scores of the model's recipe on a folder of good images, as scores/test.json holds them.

    Raises:
        RestorekitError: if the run fails; it has printed why.
    """
    name = f"verify_{of.name}"
    before = set(out.glob(f"{name}-*"))
    sets = {"name": name, "data.root": json.dumps(str(images), ensure_ascii=False), "restorer.name": of.name}
    _run(of.recipe, sets, out, variant="manifest" if _has_table(images) else None)
    (folder,) = set(out.glob(f"{name}-*")) - before
    scores: Mapping[str, Any] = json.loads((folder / "scores" / "test.json").read_text(encoding="utf-8"))
    return scores


def _has_table(images: Path) -> bool:
    """Return True if a table in a folder of images names those to score.

    Raises:
        DataError: if the table cannot be read, or names no image of split test.
    """
    table = images / "manifest.csv"
    if not table.is_file():
        return False
    rows, _ = read_manifest(table, {}, images)
    if not any(row.split == "test" for row in rows):
        raise DataError(f"{table}: column split names no image as test; images of split test are scored")
    return True


def _run(recipe: str, sets: Mapping[str, object], out: Path, variant: str | None = None) -> None:
    """Run a shipped recipe, or a variant of it, in a process of its own.

    Raises:
        RestorekitError: if it fails; it has printed why.
    """
    command = [sys.executable, "-m", "restorekit", "run", recipe, "--out", str(out)]
    command += [] if variant is None else ["--variant", variant]
    for place, value in sets.items():
        command += ["--set", f"{place}={value}"]
    if subprocess.run(command, check=False).returncode:
        raise RestorekitError(f"the run of recipe {recipe} failed; see above")


def _compared(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the name of each score, its gain on the card and here, and a remark where the one here is worse."""
    for name in SCORES:
        one, other = (scores["metrics"].get(name) for scores in (there, here))
        if one is None or other is None:
            continue
        higher = one.get("better") != "lower"
        card, now = one["gain"], other["gain"]
        known = now["low"] is not None  # of one image there is no interval
        worse = known and (now["high"] < card["low"] if higher else now["low"] > card["high"])
        yield [name, _interval(card), _interval(now), "worse than the card" if worse else ""]


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = entry.get("low"), entry.get("high")
    return f"{entry['value']:+.3g} ({f'{low:+.3g} to {high:+.3g}' if low is not None else 'no interval'})"


def _table(title: str, facts: Iterator[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in facts:
        table.add_row(*row)
    return table


def _rows(head: list[str], rows: list[list[str]]) -> Table:
    table = Table(*head, box=None)
    for row in rows:
        table.add_row(*row)
    return table
