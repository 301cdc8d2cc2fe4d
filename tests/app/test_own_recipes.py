"""The recipes for one's own folders, copied and run as they are on made data, for a few steps."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from numpy.typing import NDArray

from restorekit import write_image
from tests.app.calls import Cli

pytestmark = pytest.mark.usefixtures("without_figures")
SMALL = [word for one in ("train.steps=2", "evaluate.resamples=20") for word in ("--set", one)]


def images(folder: Path, classes: tuple[str, ...] = ("",)) -> None:
    """Write degraded/ and good/ of ten images a class, of the same names."""
    for at in range(10 * len(classes)):
        image = torch.rand(1, 40, 36, generator=torch.Generator().manual_seed(at)) * 2 - 1
        name = Path(classes[at % len(classes)]) / f"p{at:02d}.png"
        write_image(folder / "good" / name, image.numpy())
        write_image(folder / "degraded" / name, (image / 2).numpy())


def write_csv(path: Path, time: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    np.savetxt(path, np.column_stack([time, values]), "%.5f", ",", header="time,value", comments="")


def write_wfdb(path: Path, time: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    rate = round(1 / float(time[1] - time[0]))
    wfdb.wrsamp(path.stem, rate, ["mV"], ["II"], p_signal=values[:, None], fmt=["16"], write_dir=str(path.parent))


def signals(folder: Path, suffix: str) -> None:
    """Write degraded/ and good/ of ten people: eight seconds at 200 samples a second, a file or record each."""
    write = {".csv": write_csv, ".hea": write_wfdb}[suffix]
    time = np.arange(8 * 200) / 200
    for at in range(10):
        rng = np.random.default_rng(at)
        good = np.sin(2 * np.pi * (1 + at / 20) * time)
        for side, values in (("good", good), ("degraded", good + rng.normal(0, 0.2, len(time)))):
            path = folder / side / f"s{at}{suffix}"
            path.parent.mkdir(exist_ok=True)
            write(path, time, values)


def splits_of(run: Path) -> dict[str, Counter[str]]:
    """Return how many images of each split a side has."""
    found: dict[str, Counter[str]] = {}
    with (run / "splits.csv").open() as table:
        for row in csv.DictReader(table):
            found.setdefault(row["domain"], Counter())[row["split"]] += 1
    return found


SLOW = pytest.mark.full
"""Recipes of which another variant is run by the fast tests."""


@pytest.mark.parametrize(
    ("variant", "classes"),
    [
        pytest.param(None, ("",), marks=SLOW),
        pytest.param("pairs", ("",), marks=SLOW),
        ("classes", ("control", "finding")),
    ],
)
def test_own_images_runs_as_it_is(cli: Cli, tmp_path: Path, variant: str | None, classes: tuple[str, ...]) -> None:
    images(tmp_path, classes)
    assert cli("list", "recipes", "own_images", "-o", "my.yaml").code == 0
    chosen = ["--variant", variant] if variant else []
    assert cli("check", "my.yaml", *chosen).code == 0
    result = cli("run", "my.yaml", *chosen, *SMALL)
    assert (result.code, result.errors) == (0, [])
    (run,) = Path("runs").iterdir()
    whole = len(classes)
    assert splits_of(run) == {side: Counter(train=7 * whole, val=whole, test=2 * whole) for side in "ab"}
    scores = json.loads((run / "scores" / "test.json").read_text())["metrics"]
    assert set(scores) >= {None: {"noise_level"}, "pairs": {"psnr"}, "classes": {"auroc"}}[variant]
    assert cli("restore", "degraded", "-o", "restored", "-m", run).code == 0


@SLOW
def test_own_images_takes_splits_of_folders(cli: Cli, tmp_path: Path) -> None:
    seed = 0
    for split, count in (("train", 4), ("test", 3)):
        for side in ("degraded", "good"):
            for at in range(count):
                seed += 1
                noise = torch.rand(1, 40, 36, generator=torch.Generator().manual_seed(seed))
                write_image(tmp_path / side / split / f"{at}.png", (noise * 2 - 1).numpy())
    assert cli("list", "recipes", "own_images", "-o", "my.yaml").code == 0
    assert cli("run", "my.yaml", *SMALL).code == 0
    assert splits_of(Path("runs/own_images-1")) == {side: Counter(train=4, test=3) for side in "ab"}


@pytest.mark.parametrize(
    ("variant", "suffix"),
    [pytest.param(None, ".csv", marks=SLOW), pytest.param("pairs", ".csv", marks=SLOW), ("pairs", ".hea")],
)
def test_own_signal_runs_as_it_is(cli: Cli, tmp_path: Path, variant: str | None, suffix: str) -> None:
    signals(tmp_path, suffix)
    assert cli("list", "recipes", "own_signal", "-o", "my.yaml").code == 0
    chosen = ["--variant", variant] if variant else []
    result = cli("run", "my.yaml", *chosen, *SMALL)
    assert (result.code, result.errors) == (0, [])
    (run,) = Path("runs").iterdir()
    windows = 8 * 250 // 512
    assert splits_of(run) == {side: Counter(train=7 * windows, val=windows, test=2 * windows) for side in "ab"}
    assert cli("restore", "degraded", "-o", "restored", "-m", run).code == 0
    assert {path.name for path in Path("restored").glob("s*")} == {path.name for path in Path("degraded").iterdir()}
    if suffix == ".hea":
        record = wfdb.rdrecord("restored/s0")
        assert (record.fs, record.units, record.sig_name, record.sig_len) == (200, ["mV"], ["II"], 8 * 200)
