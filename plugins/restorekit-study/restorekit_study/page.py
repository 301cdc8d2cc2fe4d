"""The page of a reader and the page of scores: templates, with the style of restorekit's pages, to one file each."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from restorekit import DataError, write_text
from restorekit_study.files import RATINGS, Study
from restorekit_study.score import MINUS

__all__ = ["offline_page", "reader_page", "render"]


_NEGATIVE = re.compile(r"(?<!\S)-(?=\d)")


def render(template: str, view: Mapping[str, Any]) -> str:
    """Return a page from a template beside this file; `style` is the style of restorekit's pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = lambda text: _NEGATIVE.sub(MINUS, text)
    style = resources.files("restorekit.reports").joinpath("page.css").read_text("utf-8")
    return environment.get_template(template).render({**view, "style": style})


def reader_page(study: Study, offline: Mapping[str, Any] | None = None) -> str:
    """Return the page on which a reader chooses.

    Args:
        study: the study.
        offline: the state and the images of one reader, who has no server; None: the page asks its server.
    """
    script = Path(__file__).with_name("reader.js").read_text("utf-8")
    return render(
        "reader.html.j2",
        {
            "title": study.title,
            "script": script,
            "ratings": RATINGS,
            "offline": json.dumps(offline).replace("<", "\\u003c") if offline else "null",
        },
    )


def offline_page(study: Study, folder: Path, state: Mapping[str, Any], path: Path) -> int:
    """Write one file with all that a reader needs, and return its size in bytes.

    Raises:
        DataError: if an image cannot be read.
    """
    names = {name for query in state["queries"] for name in query["columns"]}
    try:
        images = {
            name: base64.b64encode((folder / "images" / f"{name}.png").read_bytes()).decode() for name in sorted(names)
        }
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    text = reader_page(study, {**state, "images": images, "study": study.key_sha256})
    write_text(path, text)
    return len(text.encode())
