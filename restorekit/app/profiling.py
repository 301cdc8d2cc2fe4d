"""Output of `restorekit profile`: a line for each network as it is measured, the table at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from restorekit.app import screen

if TYPE_CHECKING:
    from restorekit.evaluation.profile import Profile

__all__ = ["show"]


def show(profile: Profile, rounds: int, out: Path | None) -> None:
    """Measure; print each network's rows after its first round, and update the file `out`.

    What was measured is printed even if Ctrl-C comes.
    """
    from restorekit.evaluation.profile import summary, table
    from restorekit.io.tables import write_table

    seen: set[str] = set()
    try:
        for name in profile.measure(rounds):
            made = table(profile)
            if out is not None:
                write_table(out, made)
            if name not in seen:
                seen.add(name)
                for row in (row for row in made.rows if row[0] == name):
                    cells = zip(made.head[2:], row[2:], strict=True)
                    screen.note(f"{name}, {row[1]}: " + "; ".join(f"{what} {value}" for what, value in cells if value))
                if len(seen) == len(profile.rows) and rounds > 1:
                    screen.note(f"all measured once; {rounds - 1} more rounds of times")
    finally:
        made = table(profile)
        screen.table("", *summary(profile))
        screen.show("\nG: multiply-adds; ms/N, MiB/N: milliseconds an image and peak memory, in batches of N")
        for one in profile:
            for error in one.errors:
                screen.fail(f"{one.name}: {error}")
        for note in made.notes:
            screen.show(f"\n{note}")
        if out is not None:
            screen.show(f"\ntable: {out.resolve()}")
