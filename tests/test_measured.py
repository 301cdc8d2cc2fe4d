"""What the docs tell of real images is what `compare` makes of the runs that were kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from restorekit.evaluation.compare import compare
from restorekit.reports import words

KEPT = Path(__file__).parents[1] / "benchmarks" / "xray96"
SEEDS = ("q3", "cnn_light", "no_task")


def runs_of(table: str) -> list[Path]:
    """The run folders that a table is made of."""
    if table == "halves":
        return sorted((KEPT / "halves").iterdir())
    if table == "three_seeds":
        return [run for name in SEEDS for run in sorted((KEPT / "runs").glob(f"r2cgan_xray-{name}-seed*"))]
    return sorted(run for run in (KEPT / "runs").glob("*-seed0") if "no_task" not in run.name)


@pytest.mark.parametrize("table", ["one_seed", "three_seeds", "halves"])
def test_a_kept_table_is_that_of_its_runs(table: str) -> None:
    assert words.markdown(compare(runs_of(table))) == (KEPT / f"{table}.md").read_text("utf-8")
