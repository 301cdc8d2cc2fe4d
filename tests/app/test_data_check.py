"""`restorekit data check`, and the same check before a run."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from restorekit import write_image
from tests.app.calls import Cli, Result, refused

pytestmark = pytest.mark.usefixtures("without_figures")


PATIENTS = """\
file,finding,split,patient
a/train/no/1.png,no,train,p1
a/train/yes/2.png,yes,train,p2
a/test/no/3.png,no,test,p3
a/test/yes/4.png,yes,test,p4
b/train/no/5.png,no,train,p5
b/train/yes/6.png,yes,train,p6
"""


COLUMNS = ("--column", "path=file", "--column", "label=finding")


def incomplete(result: Result, *named: str) -> None:
    """Nothing wrong was found, but not all was looked at: no line says that there is no leak."""
    assert result.code == 3, result
    assert "no leak" not in result.out + result.err
    assert result.errors
    for name in named:
        assert any(name in line for line in result.errors), (name, result.errors)


def test_data_check_of_a_recipe_a_folder_and_a_manifest(cli: Cli, recipe: Path) -> None:
    incomplete(cli("data", "check", recipe), "6 of 6 images in train and test")
    assert Path("data-check/check.json").is_file()
    result = cli("data", "check", "images", "-o", "other")
    incomplete(result, "6 of 6 images in train and test")
    assert re.search(r"test +a .* 2 ", result.out)
    assert Path("other/check.json").is_file()
    Path("images/m.csv").write_text(PATIENTS)
    result = cli("data", "check", "images/m.csv", *COLUMNS)
    assert (result.code, result.errors) == (0, [])
    assert "6 images: no leak, 0 unreadable" in result.out
    Path("images/m.csv").rename("images/manifest.csv")
    result = cli("data", "check", "images", *COLUMNS)
    assert (result.code, result.errors) == (0, [])
    assert "6 images: no leak, 0 unreadable" in result.out
    refused(
        cli("data", "check", "images"),
        ("images/manifest.csv:1: ", "'path'", "file, finding, split, patient"),
    )


def test_data_check_of_a_recipe_whose_patients_are_known_is_clean(cli: Cli, recipe: Path) -> None:
    rows = [line.split(",") for line in PATIENTS.splitlines()]
    for side in "ab":
        table = [f"{row[0].removeprefix(side + '/')},{row[1]},{row[3]}" for row in rows[1:] if row[0].startswith(side)]
        Path(f"images/{side}/labels.csv").write_text("\n".join(["file,label,patient", *table]) + "\n")
    sets = [arg for side in "ab" for arg in ("--set", f"data.{side}.labels=labels.csv")]
    result = cli("data", "check", recipe, *sets)
    assert (result.code, result.errors) == (0, []), result
    assert "6 images: no leak, 0 unreadable" in result.out
    Path("images/a/test/yes/9.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    incomplete(cli("data", "check", recipe, *sets), "9.jp2")


def test_data_check_finds_a_planted_film_that_no_row_of_the_manifest_names(cli: Cli, recipe: Path) -> None:
    Path("images/manifest.csv").write_text(PATIENTS)
    shutil.copy("images/a/train/no/1.png", "images/a/test/no/planted.png")
    result = cli("data", "check", "images", *COLUMNS)
    assert result.code == 2
    assert "no leak" not in result.out + result.err
    assert any("a/train/no/1.png" in line and "planted.png" in line for line in result.errors)
    assert any("6 of 7 images" in line and "planted.png" in line for line in result.errors)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda images: shutil.copy(images / "../other.png", images / "a/test/no/8.png"), "8.png"),
        (lambda images: (images / "a/scan.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n"), "scan.jp2"),
        (lambda images: (images / "manifest.csv").write_text(PATIENTS.replace(",p4", ",")), "1 of 6 images"),
        (lambda images: (images / "manifest.csv").write_text(PATIENTS.replace("p3", "P1")), "p1 and P1"),
        (lambda images: (images / "manifest.csv").write_text(PATIENTS.replace(",test,", ",val,")), "split test"),
    ],
    ids=["no row", "suffix", "patient", "spelling", "empty split"],
)
def test_data_check_that_did_not_look_at_all_exits_with_three(
    cli: Cli, recipe: Path, tmp_path: Path, make: Callable[[Path], object], named: str
) -> None:
    Path("images/manifest.csv").write_text(PATIENTS)
    write_image(
        tmp_path / "other.png", (torch.rand(1, 18, 20, generator=torch.Generator().manual_seed(9)) * 2 - 1).numpy()
    )
    make(tmp_path / "images")
    incomplete(cli("data", "check", "images", *COLUMNS), named)


def test_data_check_with_an_unreadable_file_is_not_clean(cli: Cli, recipe: Path) -> None:
    Path("images/manifest.csv").write_text(PATIENTS)
    Path("images/a/test/no/3.png").write_bytes(b"")
    result = cli("data", "check", "images", *COLUMNS)
    assert result.code == 2
    assert "no leak" not in result.out + result.err
    assert "1 unreadable" in result.out


def test_check_and_data_check_state_the_positive_class_and_the_line_to_write(cli: Cli, recipe: Path) -> None:
    for side in "ab":
        for old, new in (("no", "covid"), ("yes", "normal")):
            for folder in Path(f"images/{side}").glob(f"*/{old}"):
                folder.rename(folder.with_name(new))
    for command in (("check",), ("data", "check"), ("run",)):
        result = cli(*command, recipe)
        for line in ("[normal, covid]", "[covid, normal]"):
            for side in "ab":
                assert f"data.{side}.classes: {line}" in result.err, command
        assert "positive class: normal" in result.out + result.err
    sets = [arg for side in "ab" for arg in ("--set", f"data.{side}.classes=[normal, covid]")]
    for command in (("check",), ("data", "check"), ("run",)):
        result = cli(*command, recipe, *sets)
        assert "classes:" not in result.err
        assert "positive class: covid" in result.out + result.err
    assert json.loads(Path("runs/tiny-2/data.json").read_text())["positive"] == "covid"
    result = cli("data", "check", "images/a")
    assert "positive class: normal" in result.out


def test_data_check_sums_up_numbers(cli: Cli, recipe: Path) -> None:
    for at in range(12):
        shutil.copy("images/a/train/no/1.png", f"images/{at}.png")
    rows = [f"{at}.png,{at / 4}" for at in range(12)]
    Path("images/m.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    result = cli("data", "check", "images/m.csv")
    assert re.search(r"images +min +median +max +patients\n.* 12 +0 +1\.375 +2\.75 ", result.out), result.out
    assert "task: a number; " in result.out


def test_data_check_refuses_in_one_line(cli: Cli, recipe: Path) -> None:
    refused(cli("data", "check", "none"), ("none: ", ".yaml", ".csv, .parquet"))
    refused(cli("data", "check", "none.csv"), ("none.csv: ",))
    refused(cli("data", "check", "images", "--variant", "x"), ("images: ", "--variant", ".yaml"))
    Path("m.csv").write_text("path\n")
    refused(cli("data", "check", "m.csv", "--column", "x"), ("--column: ", "OURS=THEIRS", "'x'"))
    refused(cli("data", "check", "m.csv"), ("m.csv: ",))


def test_a_leak_stops_a_run_and_may_be_allowed(cli: Cli, recipe: Path) -> None:
    shutil.copy("images/a/train/no/1.png", "images/a/test/no/7.png")
    shutil.copy("images/a/train/no/1.png", "images/b/train/no/8.png")
    leak = "a: train/no/1.png (train) and a: test/no/7.png (test) hold the same pixels"
    refused(cli("data", "check", recipe), (leak,))
    refused(
        cli("run", recipe),
        ("data: ", leak, "restorekit data check", "--allow-leaks"),
    )
    result = cli("run", recipe, "--allow-leaks")
    assert result.code == 0, result.err
    assert f"leak, allowed: {leak}" in result.err
    page = Path("runs/tiny-1/report.html").read_text("utf-8")
    assert 'class="leak"' in page
    assert "hold the same pixels" in page
    assert Path("runs/tiny-1/splits.csv").is_file()
    assert Path("runs/tiny-1/data-check/check.json").is_file()
    again = cli("run", recipe, "--resume", "runs/tiny-1")
    assert again.code == 0, again.err
    assert f"leak, allowed: {leak}" in again.err, "what was allowed once is said again"
    shutil.copy("images/a/train/yes/2.png", "images/a/test/yes/8.png")
    more = cli("run", recipe, "--resume", "runs/tiny-1")
    assert more.code == 2, more.err
    assert "the images have changed since the run began: 1 added, such as test/yes/8.png" in more.err
    assert "1 added, such as test/yes/8.png" in cli("evaluate", "runs/tiny-1").err
    assert "Scored on other images" in Path("runs/tiny-1/report.html").read_text("utf-8")
