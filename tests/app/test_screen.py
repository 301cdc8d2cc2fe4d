"""What is printed: a comparison that is wider than the terminal."""

from io import StringIO

import pytest
from rich.console import Console

from restorekit.app import screen
from restorekit.stages.comparing.compare import Column
from restorekit.stages.comparing.words import Line, Words

NAMES = ("accuracy", "sensitivity", "specificity", "noise_level")


@pytest.mark.parametrize("width", [30, 40, 60, 400])
def test_a_comparison_breaks_no_number(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    told = StringIO()
    monkeypatch.setattr(screen, "out", Console(file=told, soft_wrap=True, highlight=False, width=width))
    columns = [Column(name, "higher", name) for name in NAMES] + [Column("exposure_level", "neither", "")]
    cells = tuple(Words(f"0.{i}00", (f"0.{i}11 to 0.{i}99",), best=i == 2) for i in range(5))
    screen.comparison("two methods", columns, [Line("r2cgan", "1 seed", cells), Line("other", "1 seed", cells)])
    lines = told.getvalue().splitlines()
    whole = told.getvalue().split()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert [word for word in whole if word in NAMES] == list(NAMES)
    assert whole.count("0.200*") == 2
    assert "exposure_level" not in whole
    tables = sum(line.startswith("method") for line in lines)
    assert tables == {30: 4, 40: 2, 60: 2, 400: 1}[width]
    assert told.getvalue().count("two methods") == 1
