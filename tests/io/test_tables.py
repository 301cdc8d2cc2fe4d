"""CSV: what a name or a label holds makes no row of its own."""

import csv
import io
from pathlib import Path

import pytest

from restorekit import CsvWriter
from restorekit.io.files import read_own_text, write_text
from restorekit.io.tables import Table, write_table

FORGED = "a.png\rb.png,test"
ODD = [FORGED, "a\r\nb", "\r", 'say "x"\r', "a,b", "a\nb", ""]


@pytest.mark.parametrize("name", ODD)
def test_a_cell_stays_a_cell(name: str) -> None:
    text = io.StringIO()
    CsvWriter(text).writerows([["path", "split"], [name, "train"], ["plain", 1, None, 0.5]])
    rows = list(csv.reader(io.StringIO(text.getvalue(), newline="")))
    assert rows == [["path", "split"], [name, "train"], ["plain", "1", "", "0.5"]]


def test_plain_rows_are_not_quoted() -> None:
    text = io.StringIO()
    CsvWriter(text).writerow(["path", 1])
    assert text.getvalue() == "path,1\n"


def test_a_table_as_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", Table("t", [], [], [], numbers=[{"who": FORGED, "n": 1}, {"n": 2}]))
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["who", "n"], [FORGED, "1"], ["", "2"]]


def test_line_ends_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_text(tmp_path / "own", FORGED)
    assert read_own_text(tmp_path / "own") == FORGED


def test_a_name_that_is_no_utf8_is_written_as_the_bytes_that_it_is(tmp_path: Path) -> None:
    text = io.StringIO()
    CsvWriter(text).writerow([b"f\xfcr.png".decode("utf-8", "surrogateescape"), "\u00e9"])
    write_text(tmp_path / "x.csv", text.getvalue())
    assert (tmp_path / "x.csv").read_bytes() == b"f\xfcr.png,\xc3\xa9\n"
