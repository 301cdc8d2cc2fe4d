"""HTML pages: a view and a template to one self-contained file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restorekit.core.errors import count, many
from restorekit.data import text
from restorekit.reports import findings

__all__ = ["render"]


def render(template: str, view: Mapping[str, Any]) -> str:
    """Return a page; `template` stands beside this file, as does page.css, the style of all."""
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of classes, files and sources come from users' disks
        undefined=ChainableUndefined,  # a run of an older version lacks keys; its report states it
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "label": text.label,
        "many": many,
        "number": text.number,
        "p_value": text.p_value,
        "percent": text.percent,
        "pieces": _pieces,
        "short": text.short,
        "split": text.split_word,
        "tie": lambda text: text.replace(" dB", "\N{NO-BREAK SPACE}dB").replace(" %", "\N{NO-BREAK SPACE}%"),
        "words": findings.part_words,
    }
    return environment.get_template(template).render(view)


def _pieces(name: str) -> list[str]:
    """Return a long name in pieces: a line may end after a slash, an underscore or a hyphen, rather than anywhere."""
    return re.split(r"(?<=[/_-])", name)
