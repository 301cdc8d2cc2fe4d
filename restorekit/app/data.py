"""`restorekit data ...`: commands about images, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorekit.app import commands, screen
from restorekit.core.errors import DataError, RecipeError
from restorekit.io.files import require_folder

if TYPE_CHECKING:
    from restorekit.data.checks import Checkup
    from restorekit.data.items import Item
    from restorekit.data.polarity import Polarity

__all__ = ["app"]

LISTED = 20
"""Lines of a kind on the screen."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check images before training on them.")


@app.callback()
def _data() -> None:
    """Keep `data` a group although it may have one command."""


@app.command()
def check(
    what: Annotated[Path, typer.Argument(metavar="RECIPE|MANIFEST|FOLDER", help="YAML; CSV or Parquet; images.")],
    sets: Annotated[list[str], typer.Option("--set", metavar="A.B=C", help="Set a value of the recipe.")] = [],  # noqa: B006
    variant: Annotated[str | None, typer.Option("--variant", help="One of the recipe's variants.")] = None,
    columns: Annotated[
        list[str], typer.Option("--column", metavar="OURS=THEIRS", help="What the manifest calls a column.")
    ] = [],  # noqa: B006
    distance: Annotated[
        int, typer.Option("--distance", min=0, max=32, help="Near duplicates differ in at most so many of 64 bits.")
    ] = 4,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="For check.json and near.png.")] = Path(
        "data-check"
    ),
) -> None:
    """Find unreadable files, duplicates, patients in two splits, and sources that predict the class.

    Exit code 0: all images were checked and there is no leak; 2: a run would be stopped, by a patient or the same
    pixels in train and test, or by unreadable files; 3: no leak was found, but not all could be checked.
    """
    from restorekit.data import checks
    from restorekit.recipes.shipped import shipped

    if not what.exists():
        what = shipped().get(str(what), what)
    require_folder(out)
    with screen.progress() as report:
        looked = _items(what, sets, variant, columns, report)
        found = checks.examine(looked.items, distance=distance, classifies=looked.classifies, unseen=looked.unseen)
    found.write(out)
    _show(found, out, looked)
    if found.leaks or found.unreadable:
        raise typer.Exit(2)
    if found.unchecked:
        raise typer.Exit(3)


@dataclass(frozen=True)
class _Looked:
    """Images to check, and what is known of all of them."""

    items: list[Item]
    unseen: Sequence[str] = ()
    """What was left out, a line each."""
    classifies: bool = True
    """Classes are predicted, not only restored."""
    order: Polarity | None = None
    """Which class is positive."""
    depths: Sequence[str] = ()
    """What was decided of the bits of 16-bit files, a line each."""


def _items(what: Path, sets: list[str], variant: str | None, columns: list[str], report: screen.Report) -> _Looked:
    """Return the images of a recipe, a manifest or a folder."""
    from restorekit.data.items import folder_items, listed_folder_items, manifest_items, skipped_files
    from restorekit.io.images import skipped_images

    ours = _columns(columns)
    if what.suffix.lower() in (".yaml", ".yml"):
        if ours:
            raise RecipeError(f"{what}: --column is for manifests; a recipe has columns of its dataset manifest")
        return _of_recipe(what, sets, variant, report)
    if sets or variant:
        raise RecipeError(f"{what}: --set and --variant are for recipes (.yaml)")
    if what.is_dir():
        listed = what / "manifest.csv"
        errors: list[str] = []
        if listed.is_file():
            screen.note(f"{listed} has what is known of the images")
            items, errors = listed_folder_items(what, listed, ours, report)
        elif ours:
            raise RecipeError(f"{what}: --column is for manifests; there is no {listed}")
        else:
            items = folder_items(what, report)
        return _of_files(items, [*errors, *skipped_files(skipped_images(what))])
    if what.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise DataError(f"{what}: is no recipe (.yaml), manifest (.csv, .parquet) or folder")
    return _of_files(manifest_items(what, ours, report), [])


def _of_recipe(what: Path, sets: list[str], variant: str | None, report: screen.Report) -> _Looked:
    from restorekit.data import splits
    from restorekit.data.items import recipe_items, skipped_files
    from restorekit.data.polarity import polarity
    from restorekit.recipes import recipe

    known = commands.known()
    spec = recipe.load(what, known, sets=sets, variant=variant)
    opened = splits.look(splits.opened(spec, known.parts), report)
    return _Looked(
        recipe_items(opened),
        skipped_files(opened.skipped_files()),
        classifies=spec.predicts,
        order=polarity(spec, known.parts, opened),
        depths=opened.depth_notes(),
    )


def _of_files(items: list[Item], unseen: list[str]) -> _Looked:
    from restorekit.data.items import depth_lines
    from restorekit.data.polarity import polarity_of_names

    depths, undecided = depth_lines(items)
    order = polarity_of_names(sorted({item.label for item in items if item.label is not None}))
    return _Looked(items, [*unseen, *undecided], order=order, depths=depths)


def _columns(columns: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in columns]
    if wrong := [text for text, pair in zip(columns, pairs, strict=True) if not all(pair)]:
        raise RecipeError(f"--column: takes OURS=THEIRS, such as label=finding; got {wrong[0]!r}")
    return {ours: theirs for ours, _, theirs in pairs}


def _show(found: Checkup, out: Path, looked: _Looked) -> None:
    classes = list(
        dict.fromkeys(n for domains in found.tables.values() for c in domains.values() for n in c["classes"])
    )
    sides = [counts for domains in found.tables.values() for counts in domains.values()]
    ends = ["min", "median", "max"] if any("target" in counts for counts in sides) else []
    rows = []
    for split, domains in found.tables.items():
        for domain, counts in domains.items():
            known = [str(counts["classes"].get(name, 0)) for name in classes]
            known += [f"{counts['target'][end]:g}" if "target" in counts else "-" for end in ends]
            rows.append([split, domain, "", str(counts["images"]), *known, str(counts["groups"] or "-")])
            for source, row in counts["sources"].items():
                shares = [*(str(row.get(name, 0)) for name in classes), *("" for _ in ends)]
                rows.append(["", "", source, str(sum(row.values())), *shares, ""])
    screen.table("", ["split", "domain", "source", "images", *classes, *ends, "patients"], rows)
    if ends:
        screen.show("\ntask: a number; of each side its least, median and greatest")
    screen.show(f"\nsizes: {_most(found.sizes)}\ndepths: {_most(found.depths)}")
    if found.associations:
        listed = ", ".join(f"{pair} {v:.2f}" for pair, v in found.associations.items())
        screen.show(f"association of two properties (Cramér's V, 0 to 1): {listed}")
    for text in looked.depths:
        screen.show(text)
    order = looked.order
    if order is not None and order.statement():
        screen.show(order.statement())
    if order is not None and order.warning():
        screen.warn(order.warning())
    for text in (*found.data_warnings, *found.warnings):
        if text not in found.unchecked:
            screen.warn(text)
    for text in (*found.unreadable[:LISTED], *found.leaks[:LISTED]):
        screen.fail(text)
    for what, lines in (("unreadable files", found.unreadable), ("leaks", found.leaks)):
        if len(lines) > LISTED:
            screen.fail(f"and {len(lines) - LISTED} more {what}")
    stopped = bool(found.leaks or found.unreadable)
    for text in found.unchecked:
        (screen.warn if stopped and text not in found.warnings else screen.fail)(f"not checked: {text}")
    screen.show(
        f"{found.images} images: {found.verdict()}, {len(found.unreadable)} unreadable; details: {out / 'check.json'}"
    )


def _most(counts: object) -> str:
    assert isinstance(counts, dict)
    listed = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:5])
    return f"{len(counts)} different, most often {listed}" if len(counts) > 5 else listed or "none read"
