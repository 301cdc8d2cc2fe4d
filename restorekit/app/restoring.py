"""What `restorekit restore` shows: a line for each file with a note or an error, and the count at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from restorekit.app import screen

if TYPE_CHECKING:
    from restorekit.restoring.model import Model
    from restorekit.restoring.restore import Row

__all__ = ["show"]


def show(rows: Iterable[Row], display: screen.Files, model: Model, out: Path) -> int:
    """Show rows as they are done, and return how many have an error."""
    from restorekit.core.errors import many
    from restorekit.restoring.restore import PRIVATE

    failed = done = skipped = private = 0
    with display:
        for row in rows:
            display.step()
            if row.error:
                failed += 1
                screen.fail(row.error)
            elif row.skipped:
                skipped += 1
            else:
                done += 1
                private += bool(row.private)
                if text := "  ".join(filter(None, [_predicted(row, model), f"({row.note})" if row.note else ""])):
                    screen.note(f"{row.written}  {text}")
    if private:
        screen.note(f"{many(private, 'DICOM file')} had private elements, restored ones have not (column {PRIVATE})")
    did = "restored" if model.translates else "classified (pixels unchanged)"
    already = f"{skipped} skipped (done before), " if skipped else ""
    screen.show(f"{done} {did}, {already}{failed} failed; {out / 'restored.csv'} has a row for each")
    return failed


def _predicted(row: Row, model: Model) -> str:
    from restorekit.data.targets import predicted_text

    values = [*(row.prediction or {}).values()]
    if not values:
        return ""
    text = predicted_text(model.task, values)
    return f"{text} {max(values):.4g}" if model.task.kind == "class" else text
