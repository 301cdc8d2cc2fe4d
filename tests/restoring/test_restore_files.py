"""Files to restored files: whatever goes wrong with one costs that one, and nobody's file is written over."""

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from restorekit import DataError, Format, Intensity, write_image
from restorekit.discovery.plugins import Plugins
from restorekit.io.images import ImageFiles, read_image
from restorekit.restoring.levels import LEVELS
from restorekit.restoring.loading import load
from restorekit.restoring.model import Model
from restorekit.restoring.restore import PRIVATE, Row, restore_files
from restorekit.runs.run import Run
from tests.disks import small_disk

SCALE = {"name": "scale", "by": 0.5}
SAME = {"name": "scale", "by": 1}


@pytest.fixture(autouse=True)
def _toys(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)


@pytest.fixture
def restorer(build_run: Callable[..., Run]) -> Callable[..., Model]:
    def make(**changes: Any) -> Model:
        run = build_run(folder="run", **{"nets__generator": SCALE, **changes})
        run.begin("test")
        run.step = 1
        run.save()
        return load(run.folder)

    return make


@pytest.fixture
def made(restorer: Callable[..., Model]) -> Model:
    return restorer()


def picture(path: Path, level: float = 0.0) -> Path:
    write_image(path, np.full((1, 5, 7), level))
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "restored.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def call(made: Model, inputs: Any, out: Path, **options: Any) -> tuple[dict[str, Row], list[str]]:
    """Return the rows by source, and what was reported of the whole call."""
    reported: list[str] = []
    rows = list(restore_files(made, inputs, out, report=reported.append, **options))
    kept = [row for row in table(out) if row["written"]]
    files = {path.resolve() for path in out.rglob("*") if path.is_file() and path.name != "restored.csv"}
    assert {Path(row["written"]).resolve() for row in kept} <= files, "every row has its file"
    assert len({row["written"] for row in kept}) == len(kept), "no file has two rows"
    return {row.file: row for row in rows}, reported


class Panic(BaseException):
    """What a Rust library raises when it fails: no Exception; this one cannot even say what is wrong."""

    def __str__(self) -> str:
        raise ValueError("no message")


class Failing(ImageFiles):
    """Files that make a library raise whatever an image's name says, while they are named, read or written."""

    errors: dict[str, BaseException] = {  # noqa: RUF012
        "overflow": OverflowError("int too big to convert"),
        "value": ValueError("names must be unique\nsecond line"),
        "index": IndexError(),
        "memory": MemoryError(),
        "recursion": RecursionError("deep"),
        "system": OSError(28, "No space left on device"),
        "runtime": RuntimeError("out of memory"),
        "assertion": AssertionError(),
        "iteration": StopIteration(),
        "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        "panic": Panic(),
    }

    def fail(self, when: str, path: Path) -> None:
        moment, _, name = path.stem.partition("_")
        if moment == when and name in self.errors:
            raise self.errors[name]

    def restored_name(self, path: Path, name: Path) -> tuple[Path, str]:
        self.fail("name", path)
        return super().restored_name(path, name)

    def read(
        self, path: Path, *, range: Sequence[float] | None = None, dims: int | None = None
    ) -> tuple[NDArray[np.float32], Intensity]:
        self.fail("read", path)
        return super().read(path, range=range, dims=dims)

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        super().write(path, image, intensity)
        self.fail("write", path)


@pytest.mark.parametrize("moment", ["name", "read", "write"])
def test_any_exception_of_a_library_costs_one_file(made: Model, tmp_path: Path, moment: str) -> None:
    made.format = Failing()
    for name in (*Failing.errors, "good"):
        picture(tmp_path / "in" / f"{moment}_{name}.png")
    found, _ = call(made, tmp_path / "in", tmp_path / "out")
    assert len(found) == len(Failing.errors) + 1
    for path, row in found.items():
        assert bool(row.error) == ("good" not in path)
        assert bool(row.written) == ("good" in path)
        if row.error:
            assert path in row.error
            assert "\n" not in row.error
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {f"{moment}_good.png", "restored.csv"}


def test_a_network_that_fails_costs_one_file(made: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        picture(tmp_path / "in" / f"{name}.png", -0.5 if name == "a" else 0.5)
    own = made.restorer().net.forward

    def forward(image: torch.Tensor, *more: Any) -> Any:
        if image.mean() < 0:
            raise ZeroDivisionError("an error of a library")
        return own(image, *more)

    monkeypatch.setattr(made.restorer().net, "forward", forward)
    monkeypatch.setattr(made, "_bytes_at", 1.0)
    found, _ = call(made, tmp_path / "in", tmp_path / "out")
    assert {Path(path).name: bool(row.error) for path, row in found.items()} == {"a.png": True, "b.png": False}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU needs no temporary file")
def test_a_full_disk_of_temporary_files_does_not_hinder_restoring(made: Model, tmp_path: Path) -> None:
    source = picture(tmp_path / "x.png")
    with small_disk(1000):
        found, _ = call(made, source, tmp_path / "out")
    assert found[str(source)].error == ""
    assert (tmp_path / "out" / "x.png").is_file()


def test_the_file_of_another_source_is_refused_by_name(made: Model, tmp_path: Path) -> None:
    for level, site in enumerate(("A", "B")):
        picture(tmp_path / site / "IM0001.png", level / 2)
        picture(tmp_path / site / f"{site}.png")
    out = tmp_path / "out"
    call(made, tmp_path / "A", out)
    first = (out / "IM0001.png").read_bytes()
    found, _ = call(made, tmp_path / "B", out)
    error = found[str(tmp_path / "B" / "IM0001.png")].error
    assert all(str(tmp_path / name) in error for name in ("A/IM0001.png", "B/IM0001.png", "out/IM0001.png"))
    assert not found[str(tmp_path / "B" / "B.png")].error
    assert (out / "IM0001.png").read_bytes() == first
    assert [row["file"] for row in table(out) if row["written"].endswith("IM0001.png")] == [
        str(tmp_path / "A" / "IM0001.png")
    ]


def test_a_source_is_known_by_its_place_however_it_is_named(
    made: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "A" / "a.png")
    picture(tmp_path / "B" / "a.png", 0.5)
    (tmp_path / "link").symlink_to(tmp_path / "A")
    monkeypatch.chdir(tmp_path)
    for inputs in ("A", Path("./A/../A"), tmp_path / "A" / "a.png", "link", str(tmp_path / "link" / "a.png")):
        found, _ = call(made, inputs, Path("out"))
        assert [row.error for row in found.values()] == [""], inputs
    monkeypatch.chdir(tmp_path / "B")
    found, _ = call(made, ["a.png"], Path("../out"))
    assert found["a.png"].error.startswith("a.png: ")
    assert str(tmp_path / "A" / "a.png") in found["a.png"].error, "the name by which it was restored"


def test_a_source_that_was_moved_is_refused_until_its_old_result_is_deleted(made: Model, tmp_path: Path) -> None:
    picture(tmp_path / "A" / "x.png")
    call(made, tmp_path / "A", tmp_path / "out")
    (tmp_path / "A").rename(tmp_path / "B")
    source, target = (str(tmp_path / name / "x.png") for name in ("B", "out"))
    found, _ = call(made, tmp_path / "B", tmp_path / "out")
    assert all(path in found[source].error for path in (source, target, str(tmp_path / "A" / "x.png")))
    Path(target).unlink()
    found, reported = call(made, tmp_path / "B", tmp_path / "out")
    assert (found[source].written, found[source].error) == (target, "")
    assert len(reported) == 1, "the row of the deleted file is removed, and that is reported"


def test_the_table_of_version_1_0_0_is_taken_over(made: Model, tmp_path: Path) -> None:
    picture(tmp_path / "A" / "x.png")
    call(made, tmp_path / "A", tmp_path / "out")
    row = table(tmp_path / "out")[0]
    new = ("bits_read", "bits_written", "clipped", "scale", "change", *LEVELS, PRIVATE)
    old = [name for name in row if name not in new]
    with (tmp_path / "out" / "restored.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([old, [row[name] for name in old]])
    picture(tmp_path / "B" / "y.png")
    call(made, tmp_path / "B", tmp_path / "out")
    assert [(Path(r["written"]).name, r["scale"]) for r in table(tmp_path / "out")] == [
        ("x.png", ""),
        ("y.png", "native"),
    ]


def test_inputs_named_twice_are_restored_once(made: Model, tmp_path: Path) -> None:
    home = tmp_path / "in"
    picture(home / "sub" / "a.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").symlink_to(home / "sub" / "a.png")
    twice = str(home / "sub" / ".." / "sub" / "a.png")
    inputs = [home / "sub", home / "sub" / "a.png", home, tmp_path / "other", twice]
    found, reported = call(made, inputs, tmp_path / "out")
    assert [row.error for row in found.values()] == [""]
    assert any("4" in line for line in reported)
    assert len(table(tmp_path / "out")) == 1


def test_a_clash_of_names_costs_the_later_file(made: Model, tmp_path: Path) -> None:
    home = tmp_path / "in"
    for name in ("a.PNG", "a.png", "b.tif", "b.tiff", "good.png", "restored.CSV.png"):
        picture(home / name)
    shutil.copy(home / "b.tif", home / "c.png")  # TIFF by its content: becomes c.tif
    shutil.copy(home / "b.tif", home / "c.tif")
    found, _ = call(made, home, tmp_path / "out")
    failed = {Path(path).name for path, row in found.items() if row.error}
    assert failed == {"a.png", "c.tif"}
    for name, other in (("a.png", "a.PNG"), ("c.tif", "c.png")):
        assert str(home / other) in found[str(home / name)].error
    again, _ = call(made, home, tmp_path / "out")
    assert {Path(path).name for path, row in again.items() if row.error} == failed, "and it does so again"


@pytest.mark.parametrize("other", [False, True], ids=["inside", "above"])
def test_what_restoring_wrote_is_no_input(made: Model, tmp_path: Path, other: bool) -> None:
    scans = tmp_path / "scans"
    picture(scans / "a.png")
    out = scans / "restored"
    call(made, scans, out)
    picture(scans / "new.png")
    if other:  # a second output folder, so that only the table of the first says what was written
        out = tmp_path / "second"
    found, reported = call(made, scans, out)
    assert set(found) == {str(scans / "a.png"), str(scans / "new.png")}
    assert any("restored.csv" in line for line in reported)
    assert not (out / "restored").exists()
    with pytest.raises(DataError, match=r"a\.png"):
        call(made, scans / "restored" / "a.png", tmp_path / "third")


def test_a_foreign_file_in_an_output_folder_is_an_input_elsewhere(made: Model, tmp_path: Path) -> None:
    call(made, picture(tmp_path / "a.png"), tmp_path / "out")
    mine = picture(tmp_path / "out" / "mine.png")
    found, _ = call(made, tmp_path / "out", tmp_path / "second")
    assert set(found) == {str(mine)}
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "restored.csv").write_text(f"name,written\nx,{picture(tmp_path / 'tables' / 'b.png')}\n")
    found, _ = call(made, tmp_path / "tables", tmp_path / "third")
    assert set(found) == {str(tmp_path / "tables" / "b.png")}, "another tool's table says nothing"


def test_a_moved_output_folder_is_still_known(made: Model, tmp_path: Path) -> None:
    call(made, picture(tmp_path / "A" / "a.png"), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    with pytest.raises(DataError):
        call(made, tmp_path / "moved", tmp_path / "second")
    found, _ = call(made, tmp_path / "A", tmp_path / "moved")
    assert [row.error for row in found.values()] == [""]
    found, _ = call(made, picture(tmp_path / "B" / "a.png"), tmp_path / "moved")
    assert str(tmp_path / "A" / "a.png") in found[str(tmp_path / "B" / "a.png")].error


def test_a_file_that_is_gone_may_be_written_by_another_source(made: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call(made, picture(tmp_path / "A" / "a.png"), out)
    (out / "a.png").unlink()
    found, reported = call(made, picture(tmp_path / "B" / "a.png"), out)
    assert [row.error for row in found.values()] == [""]
    assert any(line.startswith(f"{out / 'restored.csv'}: 1 ") for line in reported)
    assert [row["file"] for row in table(out)] == [str(tmp_path / "B" / "a.png")]


def test_folders_pipes_and_names_in_the_way_cost_one_file(made: Model, tmp_path: Path) -> None:
    home, out = tmp_path / "in", tmp_path / "out"
    long = "x" * 247 + ".png"
    for name in ("a.png", "b.png", "c/d.png", "good.png", long):
        picture(home / name)
    (out / "a.png").mkdir(parents=True)
    (out / "b.png").symlink_to(tmp_path / "nowhere")
    (out / "c").write_text("a file where a folder should be")
    os.mkfifo(tmp_path / "pipe.png")
    found, _ = call(made, [home, tmp_path / "pipe.png"], out)
    names = {Path(path).name: bool(row.error) for path, row in found.items()}
    expected = {"a.png": True, "b.png": True, "d.png": True, "pipe.png": True, "good.png": False, long: False}
    assert names == expected
    assert (out / "c").is_file()
    assert not (tmp_path / "nowhere").exists()


def test_a_second_process_is_refused(made: Model, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    first = restore_files(made, tmp_path / "in", tmp_path / "out")
    next(first)
    with pytest.raises(DataError, match=str(tmp_path / "out")):
        list(restore_files(made, tmp_path / "in", tmp_path / "out"))
    first.close()  # type: ignore[attr-defined]
    assert [row.error for row in restore_files(made, tmp_path / "in", tmp_path / "out")] == [""]


def test_an_interrupt_while_restoring_leaves_no_file_without_a_row(made: Model, tmp_path: Path) -> None:
    class Stopped(Failing):
        errors = {"now": KeyboardInterrupt()}  # noqa: RUF012

    made.format = Stopped()
    for name in ("a", "write_now", "z"):
        picture(tmp_path / "in" / f"{name}.png")
    with pytest.raises(KeyboardInterrupt):
        list(restore_files(made, tmp_path / "in", tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "restored.csv"]
    assert [Path(row["file"]).name for row in table(tmp_path / "out")] == ["a.png"]


class Paired(Format):
    """A text file that is written as two."""

    def find(self, folder: Path) -> list[Path]:
        return sorted(folder.glob("*.txt"))

    def read(
        self, path: Path, *, range: Sequence[float] | None = None, dims: int | None = None
    ) -> tuple[NDArray[np.float32], Intensity]:
        return np.zeros((1, 4, 4), np.float32), Intensity("float32", -1, 1, 1)

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        path.write_text("header")
        path.with_suffix(".dat").write_text("samples")


def test_files_beside_a_restored_one_are_never_written_over(made: Model, tmp_path: Path) -> None:
    made.format = Paired()
    home, out = tmp_path / "in", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    for name in ("a", "b"):
        (home / f"{name}.txt").write_text("x")
    (out / "a.dat").write_text("mine")
    for _ in range(2):
        found = {Path(row.file).stem: row.error for row in restore_files(made, home, out)}
        assert str(out / "a.dat") in found["a"]
        assert found["b"] == ""
    assert (out / "a.dat").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == ["a.dat", "b.dat", "b.txt", "restored.csv"]


def test_a_record_is_restored_anew_into_a_relative_folder(
    made: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.format = Paired()
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    (Path("in") / "a.txt").write_text("x")
    for _ in range(2):
        assert [row.error for row in restore_files(made, "in", "out")] == [""]


def test_the_table_states_bits_clipping_scale_and_change(restorer: Callable[..., Model], tmp_path: Path) -> None:
    deep = (np.arange(16 * 16).reshape(16, 16) * 16).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="minisblack")
    picture(tmp_path / "plain.png", 0.5)
    made = restorer(nets__generator={"name": "scale", "by": 1.5})
    call(made, [tmp_path / "deep.tif"], tmp_path / "out", range=(0, 4095))
    call(made, [tmp_path / "plain.png"], tmp_path / "out")
    deep_row, plain = table(tmp_path / "out")
    assert (deep_row["bits_read"], deep_row["bits_written"]) == ("12", "12")
    assert (plain["bits_read"], plain["bits_written"]) == ("8", "8")
    unit = deep / 2047.5 - 1
    made_unit = np.clip(unit * 1.5, -1, 1)
    assert int(deep_row["clipped"]) == int((np.abs(unit * 1.5) > 1).sum()) > 0
    assert float(plain["change"]) == pytest.approx(0.25 * (191 / 127.5 - 1), abs=1e-6)
    assert float(deep_row["change"]) == pytest.approx(float(np.abs(unit * 1.5 - unit).mean()) / 2, abs=1e-4)
    assert deep_row["scale"] == plain["scale"] == "native"
    image, _ = read_image(tmp_path / "out" / "deep.tif", range=(0, 4095))
    np.testing.assert_allclose(image[0], made_unit, atol=1 / 4095)


def test_files_that_are_not_read_are_reported_with_their_count(made: Model, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    for name in ("b.jp2", "c.jp2", "d.heic"):
        (tmp_path / "in" / name).write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    _, reported = call(made, tmp_path / "in", tmp_path / "out")
    assert any("b.jp2" in line and " 2 " in line for line in reported)
    assert any("d.heic" in line for line in reported)
    assert not any("notes.txt" in line for line in reported)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("times", 0),
        ("times", -1),
        ("times", 1.5),
        ("times", True),
        ("times", "2"),
        ("window", 0),
        ("window", 3),
        ("window", 16.0),
        ("window", True),
        ("range", (1, 0)),
        ("range", (0, float("nan"))),
        ("range", 4095),
        ("range", "01"),
        ("range", (0, 1, 2)),
        ("range", (False, True)),
        ("scale", "half"),
        ("scale", 2),
        ("any_scale", 1),
        ("folder", 3),
        ("folder", ""),
        ("inputs", 3),
        ("inputs", []),
        ("inputs", [None]),
        ("inputs", b"scans"),
    ],
)
def test_wrong_arguments_are_refused_by_name(made: Model, tmp_path: Path, name: str, value: Any) -> None:
    picture(tmp_path / "a.png")
    options: dict[str, Any] = {"inputs": tmp_path / "a.png", "folder": tmp_path / "out", name: value}
    with pytest.raises(DataError, match=rf"^{name}\b"):
        restore_files(made, options.pop("inputs"), options.pop("folder"), **options)
    assert not (tmp_path / "out").exists()


def test_paths_may_be_text(made: Model, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    rows = list(restore_files(made, str(path), str(tmp_path / "out")))
    assert [(row.file, row.written) for row in rows] == [(str(path), str(tmp_path / "out" / "a.png"))]


def test_one_file_is_counted_in_the_singular(made: Model, tmp_path: Path) -> None:
    one, out = picture(tmp_path / "in" / "a.png"), tmp_path / "in" / "restored"
    (tmp_path / "in" / "b.jp2").write_bytes(b"")
    call(made, one, out)
    _, reported = call(made, [tmp_path / "in", one], out)
    assert sorted(line.removeprefix(f"{tmp_path / 'in'}: ")[:7] for line in reported) == [
        "1 file ",
        "1 file ",
        "1 file ",
    ]
    with pytest.raises(DataError, match=r"\(1 file there"):
        list(restore_files(made, out, tmp_path / "other"))
