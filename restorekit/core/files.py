"""Files that appear whole or not at all: a reader, or a run that goes on after a kill, never meets half of one.

And where the user's own things are remembered.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["cache_folder", "replacing", "write_text"]


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends well; else `path` stays as it was.

    `shared` is for files that other processes may write at the same time: the last to end wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a kill leaves is written over; but two writers may not meet in one file.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part" if shared else f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, line ends as they are."""
    with replacing(path) as stream:
        stream.write(text.encode())


def cache_folder() -> Path:
    """Return where things are remembered for the user: RESTOREKIT_CACHE, else the user's own folder for such things.

    Raises:
        OSError: if there is no such folder, for the user has no home.
    """
    if given := os.environ.get("RESTOREKIT_CACHE"):
        return Path(given)
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "restorekit"
    try:
        return Path.home() / ".cache" / "restorekit"
    except RuntimeError as error:
        raise OSError(str(error)) from error
