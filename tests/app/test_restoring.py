"""What `restorekit restore` shows of many files: lines for what a person should look at, a sum for what all have."""

import csv
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from restorekit.app.restoring import show
from restorekit.app.screen import Files
from restorekit.restoring.loading import load
from restorekit.restoring.restore import PRIVATE, restore_files


def test_private_elements_are_a_column_and_one_line_for_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in range(4):
        data = dcmread(str(get_testdata_file("MR_small.dcm")))
        data.remove_private_tags()
        if at:
            block = data.private_block(0x0011, "SCANNER", create=True)
            for element in range(at):
                block.add_new(element, "LO", "raw scale 3")
        data.save_as(tmp_path / f"{at}.dcm")
    model, out = load("part:identity"), tmp_path / "out"
    rows = restore_files(model, [tmp_path / f"{at}.dcm" for at in range(4)], out)
    assert show(rows, Files(), model, out) == 0
    shown = capsys.readouterr().err
    assert shown.count("private elements") == 1
    assert "3 DICOM files" in shown
    assert PRIVATE in shown
    with (out / "restored.csv").open(newline="") as stream:
        found = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    assert [found[f"{at}.dcm"][PRIVATE] for at in range(4)] == ["0", "1", "2", "3"]
    assert not any("private" in row["note"] for row in found.values())
    show(restore_files(model, tmp_path / "3.dcm", tmp_path / "one"), Files(), model, tmp_path / "one")
    assert "1 DICOM file had" in capsys.readouterr().err
    (png,) = restore_files(model, tmp_path / "3.dcm", tmp_path / "png", format="png")
    assert png.private is None  # it has no header at all
