"""Reading a run folder: files may be absent, incomplete or of an older version."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.runs.upgrade import present_names

__all__ = ["FILES", "Columns", "Json", "RunFolder"]

Json = Mapping[str, Any]
Columns = Mapping[str, NDArray[np.float64]]

FILES = {
    "recipe.json": "the recipe",
    "environment.json": "the machine and the versions",
    "data.json": "the data, and whether they are synthetic",
    "data-check/near.png": "images that look alike",
    "networks.json": "the networks and their sizes",
    "metrics.csv": "the losses",
    "validation.csv": "validation scores",
    "health.csv": "the values of training health",
    "health.json": "the findings of training health",
    "samples": "samples over training",
    "scores/test.json": "test scores",
    "scores/audit.json": "predictions of the audit classifier before and after restoration",
    "scores/pictures/traces.json": "test signals and what is marked along them",
    "scores/test.png": "test images and their restorations",
}


class RunFolder:
    """Reads the files of a run; nothing raises, and `missing` lists absent files with reasons."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.missing: dict[str, str] = {}

    def json(self, name: str, *, needed: bool = True) -> Json:
        """Return a JSON mapping, empty where there is none."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if needed:
                self.missing[name] = "is not there"
        except (OSError, ValueError) as error:
            self.missing[name] = f"cannot be read: {error}"
        else:
            if isinstance(found, dict):
                made: Json = present_names(found) if name.startswith("scores/") else found
                return made
            self.missing[name] = "holds no mapping"
        return {}

    def columns(self, name: str) -> Columns:
        """Return the columns of a CSV file by step; a last line that is still being written is left out."""
        try:
            with (self.path / name).open(newline="", encoding="utf-8") as stream:
                lines = csv.reader(stream)
                head = next(lines, [])
                rows = [[_float(cell) for cell in line] for line in lines if len(line) == len(head)]
        except FileNotFoundError:
            self.missing[name] = "is not there"
            return {}
        except (OSError, ValueError, csv.Error) as error:
            self.missing[name] = f"cannot be read: {error}"
            return {}
        if "step" not in head or not rows:
            self.missing[name] = "has no rows yet"
            return {}
        table = np.asarray(rows, dtype=np.float64)[::-1]
        # A run that was resumed from an earlier checkpoint took some steps twice: the later row counts.
        at = np.unique(table[:, head.index("step")], return_index=True)[1]
        return dict(zip(head, table[at].T, strict=True))

    def series(self, name: str) -> list[tuple[int, str, float]]:
        """Return the rows (step, measure, value) of a CSV file; a last line that is still being written is left out."""
        found = []
        try:
            for line in (self.path / name).read_text(encoding="utf-8").split("\n")[1:-1]:
                step, measure, value = line.split(",")
                found.append((int(step), measure, float(value)))
        except FileNotFoundError:
            self.missing[name] = "is not there"
        except (OSError, ValueError) as error:
            self.missing[name] = f"cannot be read: {error}"
        return found

    def picture(self, name: str) -> str:
        """Return a PNG file as a data URI, or the empty string."""
        path = self.path / name
        content = path.read_bytes() if path.is_file() else b""
        if content.startswith(b"\x89PNG") and b"IEND" in content[-12:]:
            return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
        self.missing[name] = "is no complete PNG file" if path.is_file() else "is not there"
        return ""

    def samples(self, most: int = 7) -> list[tuple[int, str]]:
        """Return (step, picture) for at most so many samples, evenly over training, the last among them."""
        paths = sorted((self.path / "samples").glob("step_*.png"))
        at = sorted({round(i) for i in np.linspace(0, len(paths) - 1, most)}) if paths else []
        found = list(self._samples([paths[i] for i in at]))
        if not found:
            self.missing["samples"] = "is not there"
        return found

    def _samples(self, paths: list[Path]) -> Iterator[tuple[int, str]]:
        for path in paths:
            digits = path.stem.removeprefix("step_")
            picture = self.picture(f"samples/{path.name}") if digits.isdecimal() else ""
            if picture:
                yield int(digits), picture

    def recipe_text(self, recipe: Json) -> str:
        """Return the resolved recipe as it was written, or as JSON, or the empty string."""
        path = self.path / "recipe.yaml"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
        return json.dumps(recipe, indent=2, ensure_ascii=False) if recipe else ""

    def checkpoints(self) -> list[str]:
        """Return the names of the complete checkpoints."""
        return sorted(p.name for p in (self.path / "checkpoints").glob("*") if not p.name.startswith("."))


def _float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
