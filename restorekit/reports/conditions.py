"""The conditions of a run as a sentence beside published numbers: size, steps, images, settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from restorekit.core.errors import count, many
from restorekit.recipes.recipe import FREE
from restorekit.runs.runfolder import Json

__all__ = ["sentence"]

UNITS = {1: "samples", 2: "pixels", 3: "voxels"}
NAMED = ("data.size", "data.batch", "train.steps", "train.epochs")
"""Keys with values that the sentence has already."""
PLACES = re.compile(r"[/\\~]|\b(root|path|file|labels)\b")
"""What a setting of a folder or a file holds: the location of images is private."""


def sentence(recipe: Json, splits: Json, scores: Json, command: str, steps: int | None) -> str:
    """Return the size of the images, the length of training, how many images, and what the command line set.

    Args:
        recipe: the resolved recipe.
        splits: images by split and domain.
        scores: those of the test images; empty where there are none.
        command: the command with which the run began.
        steps: how many it has taken; None where that is not known.
    """
    data = _mapping(recipe.get("data"))
    parts = [*_size(data.get("size")), *_length(data, splits, steps)]
    tested = scores.get("images")
    parts.append(f"tested on {count(tested)}" if tested else "not tested")
    chosen = [f"variant {recipe['variant']}"] if recipe.get("variant") else []
    values = _set(command)
    chosen += [f"set for it: {', '.join(values)}"] if values else []
    return f"This run: {'; '.join([', '.join(parts), *chosen])}."


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _size(size: Any) -> Iterator[str]:
    if isinstance(size, list) and size:
        yield f"{' x '.join(map(str, size))} {UNITS.get(len(size), '')}".rstrip()


def _length(data: Json, splits: Json, steps: int | None) -> Iterator[str]:
    train = _mapping(splits.get("train"))
    of = {name: int(_mapping(train.get(name)).get("images") or 0) for name in "ab"}
    batch = data.get("batch") or 1
    length = f"{many(steps, 'step')} of batch {batch}" if steps else "no step yet"
    if any(of.values()):
        longer = of["a"] if data.get("pairing") == "key" else max(of.values())
        if steps:
            length += f" ({_epochs(steps / max(1, longer // batch))})"
        length += f" on {many(of['a'], 'image')} of domain a and {count(of['b'])} of domain b"
    yield length


def _epochs(passes: float) -> str:
    if passes < 0.1:
        return "less than 0.1 epochs"
    text = f"{passes:,.1f}".removesuffix(".0")
    return f"{text} epoch{'' if text == '1' else 's'}"


def _set(command: str) -> list[str]:
    """Return the settings of a command on which a result depends, in their order, the last of each key."""
    try:
        words = shlex.split(command)
    except ValueError:  # written by hand
        return []
    found = [word for option, word in pairwise(words) if option == "--set"]
    found += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    last = {text.partition("=")[0].strip(): text for text in found}
    return [text for key, text in last.items() if not _is_left_out(key, text)]


def _is_left_out(key: str, text: str) -> bool:
    return key in NAMED or any(key == free or key.startswith(f"{free}.") for free in FREE) or bool(PLACES.search(text))
