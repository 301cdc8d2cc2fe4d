"""`restorekit data ...`: commands about images, before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorekit.app import guests, screen
from restorekit.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from restorekit.stages.data.doctor import Checkup
    from restorekit.stages.data.items import Item

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at images before training on them.")


@app.callback()
def _data() -> None:
    """Keep `data` a group, with one command too."""


@app.command()
def check(
    what: Annotated[Path, typer.Argument(metavar="RECIPE|MANIFEST|FOLDER", help="YAML; CSV or Parquet; images.")],
    sets: Annotated[list[str], typer.Option("--set", metavar="A.B=C", help="Set a value of the recipe.")] = [],  # noqa: B006
    variant: Annotated[str | None, typer.Option("--variant", help="One of the recipe's variants.")] = None,
    columns: Annotated[
        list[str], typer.Option("--column", metavar="OURS=THEIRS", help="What the manifest calls a column.")
    ] = [],  # noqa: B006
    distance: Annotated[
        int, typer.Option("--distance", min=0, max=32, help="Bits of 64 in which near duplicates may differ.")
    ] = 4,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="For check.json and near.png.")] = Path(
        "data-check"
    ),
) -> None:
    """Look for what spoils a result: unreadable files, duplicates, patients in two splits, sources that tell the class.

    Exit code 2 if a run would be stopped: a patient or the same pixels in train and test, or unreadable files.
    """
    from restorekit.stages.data import doctor
    from restorekit.stages.recipes.shipped import shipped

    if not what.exists():
        what = shipped().get(str(what), what)
    with screen.telling() as say:
        items, known = _items(what, sets, variant, columns, say)
        found = doctor.examine(items, distance=distance, **known)
    found.write(out)
    _show(found, out)
    if found.leaks or found.unreadable:
        raise typer.Exit(2)


def _items(
    what: Path, sets: list[str], variant: str | None, columns: list[str], say: screen.Say
) -> tuple[list[Item], dict[str, bool]]:
    """Return the images of a recipe, a manifest or a folder, and what a recipe knows of them."""
    from restorekit.core.images import find_images
    from restorekit.stages.data.items import folder_items, manifest_items, recipe_items

    if what.suffix.lower() in (".yaml", ".yml"):
        from restorekit.stages.data import splits
        from restorekit.stages.recipes import recipe

        known = guests.known()
        spec = recipe.load(what, known, sets=sets, variant=variant)
        opened = splits.look(splits.opened(spec, known.parts), say)
        for text in opened.depth_notes():
            screen.note(text)
        return recipe_items(opened), {"synthetic": opened.synthetic, "answers": spec.nets.head is not None}
    if sets or variant:
        raise RecipeError(f"{what}: --set and --variant are for recipes (.yaml)")
    if what.is_dir():
        listed = what / "manifest.csv"
        if not listed.is_file():
            return folder_items(what, say), {}
        screen.note(f"{listed} says what is known of the images")
        items = _items(listed, sets, variant, columns, say)[0]
        named = {item.file for item in items}
        lost = [path for path in find_images(what) if path not in named]
        if lost:
            screen.warn(f"{listed} does not name {len(lost)} images of the folder, such as {lost[0]}: not checked")
        return items, {}
    if what.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise DataError(f"{what}: is no recipe (.yaml), manifest (.csv, .parquet) or folder")
    pairs = [text.partition("=") for text in columns]
    if wrong := [text for text, pair in zip(columns, pairs, strict=True) if not all(pair)]:
        raise RecipeError(f"--column: takes OURS=THEIRS, such as label=finding; came {wrong[0]!r}")
    return manifest_items(what, {ours: theirs for ours, _, theirs in pairs}, say), {}


def _show(found: Checkup, out: Path) -> None:
    classes = list(
        dict.fromkeys(n for domains in found.tables.values() for c in domains.values() for n in c["classes"])
    )
    sides = [counts for domains in found.tables.values() for counts in domains.values()]
    ends = ["min", "median", "max"] if any("quantity" in counts for counts in sides) else []
    rows = []
    for split, domains in found.tables.items():
        for domain, counts in domains.items():
            known = [str(counts["classes"].get(name, 0)) for name in classes]
            known += [f"{counts['quantity'][end]:g}" if "quantity" in counts else "-" for end in ends]
            rows.append([split, domain, "", str(counts["images"]), *known, str(counts["groups"] or "-")])
            for source, row in counts["sources"].items():
                shares = [*(str(row.get(name, 0)) for name in classes), *("" for _ in ends)]
                rows.append(["", "", source, str(sum(row.values())), *shares, ""])
    screen.table("", ["split", "domain", "source", "images", *classes, *ends, "patients"], rows)
    if ends:
        screen.say("\nlabels are numbers, a quantity: the least, the median and the greatest of each side")
    screen.say(f"\nsizes: {_most(found.sizes)}\ndepths: {_most(found.depths)}")
    if found.associations:
        listed = ", ".join(f"{pair} {v:.2f}" for pair, v in found.associations.items())
        screen.say(f"how far two go together (Cramér's V, 0 to 1): {listed}")
    for text in (*found.data_warnings, *found.warnings):
        screen.warn(text)
    for text in (*found.unreadable[:20], *found.leaks[:20]):
        screen.fail(text)
    told = "no leak" if not found.leaks else f"{len(found.leaks)} leaks from train into test"
    screen.say(f"{found.images} images: {told}, {len(found.unreadable)} unreadable; {out / 'check.json'} has it all")


def _most(counts: object) -> str:
    assert isinstance(counts, dict)
    listed = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:5])
    return f"{len(counts)} different, most often {listed}" if len(counts) > 5 else listed or "none read"
