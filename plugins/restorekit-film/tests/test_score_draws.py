"""The script that scores on fixed draws: exact replay, going on where it was stopped, intervals by patient."""

import csv
import json
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch

from restorekit import Domain, nd, read_image, write_image
from restorekit.discovery import plugins

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**run_path(str(HERE / "benchmarks" / "score_draws.py")))


DRAWS = """file,draw,order,name,severity,seed
val/0.png,0,1,exposure,0.4,5
val/0.png,0,0,poisson,0.05,6
val/0.png,1,0,jpeg,40,7
val/1.png,0,0,defocus,1.5,8
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    for at in range(2):
        smooth = nd.resize(torch.rand(1, 1, 6, 6, generator=rng) * 1.6 - 0.8, (40, 48))[0]
        write_image(tmp_path / "films" / "val" / f"{at}.png", smooth)
    (tmp_path / "draws.csv").write_text(DRAWS, encoding="utf-8")
    return tmp_path


def run(script: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> list[dict[str, str]]:
    out = folder / "out" / "scores"
    words = ["score_draws", f"{folder / 'draws.csv'}", f"{folder / 'films'}", "-o", f"{out}", *more]
    monkeypatch.setattr(sys, "argv", words)
    script.main()
    with out.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_steps_are_applied_in_order_with_their_seeds(script: SimpleNamespace, folder: Path) -> None:
    clean = read_image(folder / "films" / "val" / "0.png")[0]
    steps = list(csv.DictReader(DRAWS.splitlines()))[:2]
    image = clean
    for name, severity, seed in (("poisson", 0.05, 6), ("exposure", 0.4, 5)):
        part = plugins.load().parts.resolve("degradation", name)(Domain("a", 1, (40, 48)))
        image = part.apply(image, {name: severity}, torch.Generator().manual_seed(seed)).clamp(-1, 1)
    assert torch.equal(script.degraded(clean, steps), image)


def test_a_stopped_call_goes_on_to_the_same_table(
    script: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run(script, folder, monkeypatch, "-m", "part:stretch")
    assert [(row["file"], row["draw"]) for row in rows] == [("val/0.png", "0"), ("val/0.png", "1"), ("val/1.png", "0")]
    table = folder / "out" / "scores.csv"
    whole = table.read_text("utf-8")
    table.write_text(whole[: whole.index("val/0.png,1") + 30], encoding="utf-8")  # killed within its second row
    again = run(script, folder, monkeypatch, "-m", "part:stretch")
    assert again == rows
    found = json.loads((folder / "out" / "scores.json").read_text("utf-8"))
    assert (found["rows"], found["patients"]) == (3, 2)
    gain = found["scores"]["gain_psnr"]
    assert gain["mean"] == pytest.approx(
        sum(float(row["psnr"]) - float(row["input_psnr"]) for row in rows) / 3, abs=1e-4
    )
    assert gain["low"] <= gain["mean"] <= gain["high"]


def test_another_model_does_not_go_on_with_a_table(
    script: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(script, folder, monkeypatch, "-m", "part:identity", "--size", "32", "32")
    with pytest.raises(SystemExit, match="other settings"):
        run(script, folder, monkeypatch, "-m", "part:stretch", "--size", "32", "32")


def test_a_table_without_a_later_column_goes_on_with_its_own(
    script: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run(script, folder, monkeypatch, "-m", "part:stretch")
    assert float(rows[0]["change"]) > 0
    table = folder / "out" / "scores.csv"
    old = [line.rpartition(",")[0] for line in table.read_text("utf-8").splitlines()]
    table.write_text("\n".join(old[:-1]) + "\n", encoding="utf-8")  # before `change` was written, and stopped
    again = run(script, folder, monkeypatch, "-m", "part:stretch")
    assert again == [{name: cell for name, cell in row.items() if name != "change"} for row in rows]
