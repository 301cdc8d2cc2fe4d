"""The recipes that come with restorekit: of a wheel beside its modules, of a checkout in its folder recipes/."""

from __future__ import annotations

from pathlib import Path

from restorekit.core.errors import RecipeError, nearest, unknown

__all__ = ["about", "located", "shipped"]

ENDS = ("", ".yaml", ".yml")


def shipped() -> dict[str, Path]:
    """Return the recipes that come with restorekit, by name."""
    package = Path(__file__).parents[1]
    homes = [package / "recipes"]
    if (package.parent / "pyproject.toml").is_file():  # a checkout, which its wheel was not built of yet
        homes.append(package.parent / "recipes")
    return {path.stem: path for home in reversed(homes) for path in sorted(home.glob("*.yaml"))}


def located(path: Path, by: Path | None = None) -> Path:
    """Return an existing path; else, of a bare name with or without .yaml, the shipped recipe.

    Args:
        path: relative to the file that names it, if one does, else to the current folder.
        by: that file.

    Raises:
        RecipeError: if it is neither, with the nearest name.
    """
    start = Path() if by is None else by.parent
    if (start / path).exists():
        return start / path
    ours, bare = shipped(), path.parent == Path() and not path.is_absolute()
    if bare and path.suffix in ENDS and path.stem in ours:
        return ours[path.stem]
    if bare and not path.suffix:
        raise RecipeError(f"{path}: no such file, and {unknown('recipe of restorekit', path.name, ours)}")
    others = [str(path.parent / one.name) for one in (start / path.parent).glob("*.yaml") if one != by]
    guess = nearest(str(path), [*others, *(ours if bare else [])])
    same = f" The one that comes with restorekit is called {path.stem}" if path.stem in ours else ""
    raise RecipeError(f"{path}: no such recipe.{guess}{same}")


def about(path: Path) -> str:
    """Return the comment in the first line of a recipe; empty if there is none."""
    first = path.read_text("utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""
