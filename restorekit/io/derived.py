"""The mark of an image that was made from another one, as by translation: it stands in the file and stays with it.

PNG holds it as a text, TIFF as the description of the image, DICOM as a contribution of equipment.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restorekit.io.filetypes import FORMATS, format_by_content

__all__ = ["MARKED", "Derived", "derived_from"]

MARKED = ("PNG", "TIFF", "DICOM")
"""The formats that hold a mark."""
BEGINS = "restorekit: derived, not recorded: "
"""What a mark begins with, for people and for the data check."""


@dataclass(frozen=True)
class Derived:
    """What an image was made from, and how."""

    source: str
    """The name of the image that it was made from: a file, or the key of a record."""
    pixels: str = ""
    """A digest of that image's values, by which it is known under any name; see `pixels_digest`."""
    made: Mapping[str, str] = field(default_factory=dict)
    """How it was made, such as the run and the seed."""

    @property
    def text(self) -> str:
        """The mark, as a file holds it: one line of ASCII."""
        return BEGINS + json.dumps({**self.made, "source": self.source, "pixels": self.pixels}, sort_keys=True)

    @classmethod
    def of(cls, text: str) -> Derived | None:
        """Return what a mark holds; None if the text is none."""
        if not text.startswith(BEGINS):
            return None
        try:
            found = {str(name): str(value) for name, value in json.loads(text.removeprefix(BEGINS)).items()}
            return cls(found.pop("source"), found.pop("pixels", ""), found)
        except (ValueError, KeyError, AttributeError):  # of another version: that it is derived is known all the same
            return cls("an image that the mark does not name")


def derived_from(path: str | os.PathLike[str]) -> Derived | None:
    """Return the mark of what an image file was made from; None if it has none, or cannot be read."""
    try:
        format = format_by_content(Path(path))
        if format not in MARKED:
            return None
        module: Any = importlib.import_module(f"restorekit.io.formats.{FORMATS[format].module}")
        return Derived.of(module.mark_of(Path(path)))
    except Exception:  # a damaged file makes a library raise anything; reading its pixels names the error
        return None
