"""Results of workers that share storage with the process that has the table: each once, however often it is made.

A worker writes into a hidden folder of its own, an attempt. When its files and its row are complete there, the attempt
is renamed to its result, whose name follows from the place, the bytes of the source, the model and the options. So a
result is whole or not there. Of two attempts at one result, as after a lost connection, the first stays, and the second
is given the row of the first.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from restorekit.restoring.restore import Row
from restorekit.restoring.table import FILES, place_key

__all__ = ["Attempt"]

MADE = "made.json"
"""In an attempt: the row of its files."""


class Attempt:
    """One attempt at a restored file.

    Args:
        hidden: the folder for attempts and results, which is there as long as the call is.
        target: where the restored file will be, below `folder`.
        folder: the output folder.

    Raises:
        OSError: if the folder for attempts is gone, or cannot be written.
    """

    def __init__(self, hidden: Path, target: Path, folder: Path) -> None:
        self._hidden, self._target = hidden, target
        self._home = hidden / f"attempt-{uuid4().hex}"
        self.place = self._home / FILES / target.relative_to(folder)
        """Where to write the file; its folder is there."""
        self._home.mkdir()  # not its parents: where the call has ended, nothing is left behind
        self.place.parent.mkdir(parents=True)

    def settled(self, row: Row) -> tuple[Row, str]:
        """Make the attempt a result, if none is there, and return the row and the name of the one that is.

        Raises:
            OSError: if the disk is full, or the call has ended.
        """
        key = json.dumps([place_key(self._target), *row.hashes[:2]])
        name = f"result-{sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
        (self._home / MADE).write_text(json.dumps(asdict(row)), "utf-8")
        result = self._hidden / name
        try:
            os.rename(self._home, result)
        except OSError:  # no system renames a folder to one that holds something
            if not (result / MADE).is_file():
                raise
            self.discard()
            row = _row((result / MADE).read_text("utf-8"))
        return row, name

    def discard(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._home, ignore_errors=True)


def _row(text: str) -> Row:
    fields = json.loads(text)
    return Row(**{**fields, "hashes": tuple(fields["hashes"]), "levels": tuple(fields["levels"])})
