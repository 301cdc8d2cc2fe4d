"""The images of a run, as its recipe lists them: for commands that make something of them."""

from __future__ import annotations

from pathlib import Path

from restorekit.data.splits import Side, SideName, listed
from restorekit.discovery import plugins
from restorekit.recipes import recipe

__all__ = ["images_of"]


def images_of(run: Path, side: SideName = "a", split: str = "train", root: Path | None = None) -> Side:
    """Return one side of one split of a run; no image is read yet.

    Args:
        run: the run folder.
        side: a, the images that are restored or translated, or b.
        split: train, val or test.
        root: where its data are now; None: where they were.

    Raises:
        RecipeError: if it is no run folder, or its images are not there.
        DataError: if they cannot be listed.
    """
    known = plugins.load()
    return listed(recipe.reopened(run, known, root), known.parts)[split, side]
