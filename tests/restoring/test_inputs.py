"""What names files: each form of input gives the same files, and none that is hostile leads anywhere else."""

import io
import os
import stat
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from restorekit import write_image
from restorekit.io.images import ImageFiles
from restorekit.restoring import inputs as module
from restorekit.restoring.inputs import Source, sources


def found(*inputs: Path | str, unpack: Path = Path("unpacked")) -> list[Source]:
    rows: list[Source] = []
    for one in sources([*map(Path, inputs)], ImageFiles(), unpack, lambda folder: None):
        rows.extend([one] if isinstance(one, Source) else one)
    return rows


def names(rows: Sequence[Source]) -> list[str]:
    assert not [row.error for row in rows if row.error]
    return [row.name.as_posix() for row in rows]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with scans/a.png, scans/sub/b.tif and scans/sub/notes.txt."""
    monkeypatch.chdir(tmp_path)
    for name in ("scans/a.png", "scans/sub/b.tif"):
        write_image(name, np.zeros((1, 4, 5)))
    (tmp_path / "scans/sub/notes.md").write_text("no image")
    return tmp_path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_every_form_of_input_names_the_same_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["scans/a.png", "scans/sub/b.tif"]
    inside = ["a.png", "sub/b.tif"]
    assert names(found("scans")) == inside
    assert names(found("scans/**/*.*g", "scans/**/b.*")) == inside
    Path("list.txt").write_text("\ufeffscans/a.png\n\nscans/sub/b.tif\n", encoding="utf-8")
    assert names(found("list.txt")) == listed
    Path("table.csv").write_text("patient,Path,low,high\n1,scans/a.png,,\n2,scans/sub/b.tif,0,4095\n")
    assert names(found("table.csv")) == listed
    assert [row.range for row in found("table.csv")] == [None, (0, 4095)]
    zipped(Path("scans.zip"), {name: Path("scans", name).read_bytes() for name in inside})
    rows = found("scans.zip")
    assert names(rows) == inside
    assert [row.shown for row in rows] == ["scans.zip/a.png", "scans.zip/sub/b.tif"]
    assert [row.path.read_bytes() for row in rows] == [Path("scans", name).read_bytes() for name in inside]
    given = io.TextIOWrapper(io.BytesIO(os.fsencode("\n".join(listed))))
    monkeypatch.setattr("sys.stdin", given)
    assert names(found("-")) == listed


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\0"])
def test_names_of_a_list_end_with_its_lines_or_with_nul_alone(home: Path, ends: str) -> None:
    listed = ["scans/a b.png", " a.png", "a .png", "a\u2028b.png", "a\x0cb.png", "a\x85b.png", "a\x1db.png"]
    listed += ["a\nb.png", "\n.png"] if ends == "\0" else []
    Path("list.txt").write_bytes(ends.join([*listed, ""]).encode())
    assert names(found("list.txt")) == listed
    assert not [row.error for row in found("list.txt") if row.error]


def test_a_list_of_another_encoding_is_refused_once(home: Path) -> None:
    Path("list.txt").write_text("scans/a.png\n", "utf-16")
    (row,) = found("list.txt")
    assert "UTF-16" in row.error


def test_a_csv_without_a_column_path_is_a_file_of_its_own(home: Path) -> None:
    Path("signal.csv").write_text("time,lead\n0,1\n")
    assert names(found("signal.csv")) == ["signal.csv"]


def test_missing_files_of_lists_are_reported_and_do_not_stop_the_rest(home: Path) -> None:
    Path("table.csv").write_text("path\ngone.png\nscans/a.png\n")
    assert names(found("table.csv")) == ["gone.png", "scans/a.png"]
    (row,) = found("gone/*.png")
    assert "no file matches" in row.error
    (row,) = found("empty.txt", "scans/a.png")[:1]
    assert row.path == Path("empty.txt")


def test_names_of_a_list_lead_to_no_place_outside_the_output_folder(home: Path) -> None:
    outside = home.parent / "x" / "secret.png"
    Path("list.txt").write_text(f"{outside}\n../../x/secret.png\nscans/../a.png\n")
    assert [row.name for row in found("list.txt")] == [Path("secret.png"), Path("secret.png"), Path("a.png")]
    Path("table.csv").write_text(f"path\n{outside}\n../y.png\n")
    assert [row.name for row in found("table.csv")] == [Path("secret.png"), Path("y.png")]


def test_hostile_members_of_an_archive_are_refused_by_name_and_the_rest_is_read(home: Path) -> None:
    good = Path("scans/a.png").read_bytes()
    hostile = ["../a.png", "/abs.png", "a/../../b.png", "..\\c.png", "C:\\d.png", "c:/e.png"]
    path = zipped(Path("hostile.zip"), dict.fromkeys([*hostile, "good.png"], good))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    before = {file for file in home.rglob("*") if "unpacked" not in file.parts}
    rows = found(path)
    assert [row.name.as_posix() for row in rows if not row.error] == ["good.png"]
    assert len([row for row in rows if row.error]) == len(hostile) + 1
    assert all(row.shown.startswith("hostile.zip") for row in rows)
    assert {file for file in home.rglob("*") if "unpacked" not in file.parts} == before
    assert [file.name for file in Path("unpacked").rglob("*") if not file.is_dir()] == ["good.png"]


def test_archives_that_grow_too_much_are_refused_before_they_are_unpacked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped(Path("bomb.zip"), {"a.png": bytes(8 * module.SMALL)})
    assert "compressed" in found("bomb.zip")[0].error
    zipped(Path("many.zip"), {f"{i}.png": b"x" for i in range(5)})
    monkeypatch.setattr(module, "MOST_NAMES", 4)
    assert "5 files" in found("many.zip")[0].error
    zipped(Path("large.zip"), {"a.png": os.urandom(2000)})
    monkeypatch.setattr(module, "MOST_UNPACKED", 1000)
    assert "2,000 bytes" in found("large.zip")[0].error
    assert not Path("unpacked").exists()


def test_names_of_an_archive_that_no_folder_can_hold_together_are_refused(home: Path) -> None:
    good = Path("scans/a.png").read_bytes()
    with zipfile.ZipFile("same.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("a.png", "a.png", "./a.png", "a.png/b.png", "d.png", "D.png", f"{'n' * 300}.png", "z.png"):
            archive.writestr(name, good)
    rows = found("same.zip")
    assert [row.name.as_posix() for row in rows if not row.error] == ["D.png", "a.png", "d.png", "z.png"]
    refused = [row.shown.removeprefix("same.zip/") for row in rows if row.error]
    assert refused == ["a.png", "./a.png", "a.png/b.png", f"{'n' * 300}.png"]


def test_masks_and_hidden_files_of_an_archive_are_no_images(home: Path) -> None:
    good = Path("scans/a.png").read_bytes()
    members = ["a.png", "a.png.mask.png", "b.png.mask.png", ".hidden.png", "__MACOSX/._a.png", "notes.md", ".d/a.png"]
    zipped(Path("more.zip"), dict.fromkeys(members, good))
    assert names(found("more.zip")) == ["a.png", "b.png.mask.png"]  # this one is beside no image


def test_a_damaged_archive_costs_what_is_damaged(home: Path) -> None:
    good = os.urandom(4000)
    path = zipped(Path("torn.zip"), {"a.png": good, "b.png": good})
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    rows = found(path)
    assert [(row.shown, bool(row.error)) for row in rows] == [("torn.zip/a.png", True), ("torn.zip/b.png", False)]
    path.write_bytes(content[:3000])
    (row,) = found(path, unpack=Path("again"))
    assert row.error.startswith("torn.zip")
