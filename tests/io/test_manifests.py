"""Manifests: what a table says of its images, and every error in one line with file and line."""

from pathlib import Path

import pytest

from restorekit import DataError, ManifestRow, read_manifest

TABLE = "path,domain,label,patient,split,source\na.png,poor,sick,p1,Training,north\nsub/b.png,good,,,test,\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).touch()
    return tmp_path


def test_rows(base: Path) -> None:
    (base / "m.csv").write_text("\ufeff" + TABLE)
    rows, there = read_manifest(base / "m.csv")
    assert rows == [
        ManifestRow(f"{base}/m.csv:2", "a.png", "poor", "sick", "p1", "train", "north"),
        ManifestRow(f"{base}/m.csv:3", "sub/b.png", "good", split="test"),
    ]
    assert there == {"path", "domain", "label", "patient", "split", "source"}


def test_columns_of_other_names_and_images_elsewhere(base: Path) -> None:
    (base / "sub" / "m.csv").write_text('file,finding\na.png,"two\nlines"\nsub/b.png,no\n')
    rows, there = read_manifest(base / "sub/m.csv", {"path": "file", "label": "finding"}, base)
    assert [(row.path, row.label) for row in rows] == [("a.png", "two\nlines"), ("sub/b.png", "no")]
    assert rows[1].where.endswith("m.csv:4")
    assert there == {"path", "label"}


def test_parquet_says_the_same(base: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns = {"path": ["a.png", "sub/b.png"], "patient": [7, None], "split": ["train", "test"]}
    parquet.write_table(pa.table(columns), base / "m.parquet")
    rows, there = read_manifest(base / "m.parquet")
    assert [(row.path, row.patient, row.split) for row in rows] == [
        ("a.png", "7", "train"),
        ("sub/b.png", None, "test"),
    ]
    assert there == {"path", "patient", "split"}
    (base / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"bad\.parquet: .*Parquet"):
        read_manifest(base / "bad.parquet")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", r"m.csv:1: has no column 'path'; columns are none"),
        ("file\na.png\n", r"m.csv:1: has no column 'path'; columns are file"),
        ("path\n", r"m.csv: names no image"),
        ("path\na.png\na.png\n", r"m.csv:3: 'a.png' is named twice"),
        ("path\na.png\nc.png\nd.png\n", r"m.csv:3: no file 'c.png' in .*, and 2 of 3 rows name none; paths are"),
        ("path,label\na.png,x\n,y\n", r"m.csv:3: names no path"),
        ("path,split\na.png,tst\n", r"m.csv:2: no split is called 'tst'. Did you mean 'test'\?"),
        ('path\na.png\n"b.png\n', r"m.csv:3: is not CSV"),
        ("path,label,patient\na.png,x,1,\nsub/b.png,a, b,2\n", r"m.csv:3: has more cells than the head line"),
        ("path,patient,patient\na.png,1,\n", r"m.csv:1: columns 'patient' and 'patient' both mean patient"),
        ("path,patient,Patient\na.png,1,2\n", r"m.csv:1: columns 'patient' and 'Patient' both mean patient"),
        (b"path\na\xff.png\n", r"m.csv:2: holds a byte that is not UTF-8"),
    ],
)
def test_errors(base: Path, text: str | bytes, named: str) -> None:
    (base / "m.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=named) as caught:
        read_manifest(base / "m.csv")
    assert "\n" not in str(caught.value)


def test_errors_of_columns_and_of_the_file(base: Path) -> None:
    (base / "m.csv").write_text(TABLE)
    with pytest.raises(DataError, match="'class'"):
        read_manifest(base / "m.csv", {"class": "label"})
    with pytest.raises(DataError, match=r"m\.csv:1: .*'finding'"):
        read_manifest(base / "m.csv", {"label": "finding"})
    with pytest.raises(DataError, match=r"none\.csv"):
        read_manifest(base / "none.csv")
    with pytest.raises(DataError, match=r"none\.pq"):
        read_manifest(base / "none.pq")


def test_names_of_columns_are_known_in_any_case(base: Path) -> None:
    (base / "m.csv").write_text("Path, SPLIT ,Patient\na.png,Test,7\n")
    (row,), there = read_manifest(base / "m.csv")
    assert (row.path, row.split, row.patient, there) == ("a.png", "test", "7", {"path", "split", "patient"})
    (base / "m.csv").write_text("path,Split,SPLIT\na.png,test,train\n")
    with pytest.raises(DataError, match="'Split' and 'SPLIT'"):
        read_manifest(base / "m.csv")
