"""What is printed: a comparison that is wider than the terminal."""

from io import StringIO

import pytest
from rich.console import Console

from restorekit.app import screen
from restorekit.evaluation.compare import Column
from restorekit.reports.comparison_text import Line, Words

NAMES = ("accuracy", "sensitivity", "specificity", "noise_level")


@pytest.mark.parametrize("width", [30, 40, 60, 400])
def test_a_comparison_breaks_no_number(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    printed = StringIO()
    monkeypatch.setattr(screen, "out", Console(file=printed, soft_wrap=True, highlight=False, width=width))
    columns = [Column(name, "higher", name) for name in NAMES] + [Column("exposure_level", "neither", "")]
    cells = tuple(Words(f"0.{i}00", (f"0.{i}11 to 0.{i}99",), best=i == 2) for i in range(5))
    screen.comparison("two methods", columns, [Line("r2cgan", "1 seed", cells), Line("other", "1 seed", cells)])
    lines = printed.getvalue().splitlines()
    whole = printed.getvalue().split()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert [word for word in whole if word in NAMES] == list(NAMES)
    assert whole.count("0.200*") == 2
    assert "exposure_level" not in whole
    tables = sum(line.startswith("method") for line in lines)
    assert tables == {30: 4, 40: 2, 60: 2, 400: 1}[width]
    assert printed.getvalue().count("two methods") == 1


def test_the_table_of_scores_names_degraded_and_restored_images(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = StringIO()
    monkeypatch.setattr(screen, "out", Console(file=printed, soft_wrap=True, highlight=False, width=400))
    known = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 12}
    missing = {"value": 1.0, "low": None, "high": None, "n": 12}
    psnr = {"degraded": known, "restored": {**missing, "why": "one patient"}, "gain": known, "undefined": None}
    f1 = {"score": {**missing, "why": "no resample differs"}, "undefined": None}  # as version 1.0 wrote it
    exact = {"score": {**known, "value": 0.0, "low": 0.0, "exact": 7}, "undefined": None}
    summary = {
        "split": "test",
        "images": 12,
        "step": 9,
        "kept": "last",
        "unit": "patient",
        "confidence": 0.9,
        "metrics": {"psnr": psnr, "f1": f1, "sensitivity": exact},
    }
    screen.scores(summary)
    title, head, *rows = (line.split() for line in printed.getvalue().splitlines()[:7])
    assert "test:" in title
    assert head[:3] == ["metric", "images", "value"]
    assert [row[:3] for row in rows] == [
        ["psnr", "degraded", "0.5000"],
        ["psnr", "restored", "1.0000"],
        ["psnr", "gain", "0.5000"],
        ["f1", "1.0000", "no"],
        ["sensitivity", "0.0000", "0.0000"],
    ]
    assert rows[0][3:] == ["0.4000", "to", "0.6000"]
    assert rows[1][-2:] == ["one", "patient"]
    assert "differs" not in rows[3]
    assert "(7" in rows[4]
