"""CSV, and tables as Markdown, LaTeX, HTML or CSV, by the suffix of the file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TextIO

from restorekit.core.errors import RecipeError
from restorekit.io.files import write_text

__all__ = ["FORMATS", "CsvWriter", "Table", "check_format", "tex", "tex_table", "write_table"]


class CsvWriter:
    """Writes CSV with line ends of one newline; a name or label never makes a row of its own, whatever it holds.

    The writer of Python 3.11 and 3.12 does not quote a carriage return, which every reader takes for the end of a row.

    Args:
        stream: where to; a file is to be opened with `newline=""`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._plain = csv.writer(stream, lineterminator="\n")
        self._quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, row: Iterable[object]) -> None:
        """Write a row, its cells as `csv.writer` writes them: None as an empty cell."""
        cells = list(row)
        (self._quoted if any("\r" in str(cell) for cell in cells) else self._plain).writerow(cells)

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write several rows."""
        for row in rows:
            self.writerow(row)


@dataclass(frozen=True)
class Table:
    """A table and its notes."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    words: Collection[int] = (0,)
    """Which columns hold words; the others hold numbers."""
    numbers: Sequence[Mapping[str, Any]] = ()
    """What CSV gets: a row each, by column."""


def check_format(path: Path) -> None:
    """Refuse a file whose name ends with no format that is known.

    Raises:
        RecipeError: naming those that are.
    """
    if path.suffix.lower() not in FORMATS:
        raise RecipeError(f"{path}: ends with none of {', '.join(FORMATS)}")


def write_table(path: Path, table: Table) -> None:
    """Write a table to a file, completely or not at all.

    Raises:
        RecipeError: if its name ends with no format that is known.
    """
    check_format(path)
    write_text(path, FORMATS[path.suffix.lower()](table))


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"

    aligned = ["---" if i in table.words else "---:" for i in range(len(table.head))]
    lines = [line(table.head), line(aligned), *map(line, table.rows)]
    return f"# {table.title}\n\n{''.join(lines)}\n" + "".join(f"{note}\n\n" for note in table.notes).rstrip("\n") + "\n"


def _latex(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(tex, cells)) + " \\\\\n"

    columns = "".join("l" if i in table.words else "r" for i in range(len(table.head)))
    rows = "".join(map(line, table.rows))
    tabular = f"\\begin{{tabular}}{{{columns}}}\n\\hline\n{line(table.head)}\\hline\n{rows}\\hline\n\\end{{tabular}}"
    return tex_table(tabular, tex(table.title), "\n\n".join(map(tex, table.notes)))


def tex(text: str) -> str:
    """Return text in which nothing is a command for LaTeX."""
    return re.sub(r"[\\~^&%$#_{}<>|\u2212]", lambda m: _TEX.get(m[0], f"\\{m[0]}"), text)


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\u2212": "$-$"}
_TEX |= {sign: f"${sign}$" for sign in "<>|"}  # the old text fonts have other signs in their places


def tex_table(tabular: str, caption: str, below: str = "") -> str:
    """Return a floating table for LaTeX, made smaller where it is wider than the text."""
    return (
        "% Needs \\usepackage{graphicx}; letters that are not Latin need XeLaTeX or LuaLaTeX and a font.\n"
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\sbox0{{%\n{tabular}}}%\n"
        "\\leavevmode\\ifdim\\wd0>\\linewidth\\resizebox{\\linewidth}{!}{\\usebox0}\\else\\usebox0\\fi\n"
        f"\n{below}\n\\end{{table}}\n"
    )


def _html(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        made = [f"<{tag}{'' if i in table.words else STYLED}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells)]
        return f"<tr>{''.join(made)}</tr>\n"

    rows = "".join(line(row, "td") for row in table.rows)
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in table.notes)
    title = escape(table.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n{LOOK}</head>\n'
        f"<body>\n<h1>{title}</h1>\n<div>\n<table>\n<thead>\n{line(table.head, 'th')}</thead>\n<tbody>\n{rows}"
        f"</tbody>\n</table>\n</div>\n{notes}</body>\n</html>\n"
    )


STYLED = ' class="n"'
LOOK = """\
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { margin: 2rem; color: #1f2933; font: 16px/1.5 system-ui, "Segoe UI", Roboto, Arial, "DejaVu Sans", sans-serif; }
div { overflow-x: auto; }
h1 { font-size: 1.35rem; }
table { border-collapse: collapse; font-size: .94rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: left; vertical-align: top; border-bottom: 1px solid #d9dfe5; }
th { vertical-align: bottom; border-bottom: 2px solid #1f2933; }
.n { text-align: right; white-space: nowrap; }
th.n { white-space: normal; }
p { max-width: 50rem; color: #52606d; font-size: .92rem; }
</style>
"""


def _csv(table: Table) -> str:
    stream = io.StringIO()
    columns = dict.fromkeys(name for row in table.numbers for name in row)
    writer = CsvWriter(stream)
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in table.numbers)
    return stream.getvalue()


FORMATS = {".md": _markdown, ".csv": _csv, ".tex": _latex, ".html": _html}
"""Writers by the end of a file's name."""
