"""A call that goes on where another ended: what is done is skipped, what changed is restored again, nothing is lost."""

import csv
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw
from pydicom import dcmread
from pydicom.data import get_testdata_file
from restorekit_signals.files.signal_format import signal
from torch import Tensor

from restorekit import (
    DataError,
    Derived,
    Domain,
    Intensity,
    Output,
    Restorer,
    Task,
    derived_from,
    read_image,
    write_image,
)
from restorekit.io.images import ImageFiles
from restorekit.restoring.loading import load
from restorekit.restoring.model import Model
from restorekit.restoring.restore import Row, restore_files
from tests.io.made_dicom import RGB, written
from tests.io.test_dicom import made

MEDIAN = "part:median"


def pictures(folder: Path, count: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        write_image(folder / f"{i}.png", rng.uniform(-1, 1, (1, 12, 10 + i % 2)))
    return folder


def call(inputs: Any, out: Path, model: str = MEDIAN, **options: Any) -> list[Row]:
    return list(restore_files(load(model), inputs, out, **options))


def table(out: Path) -> list[dict[str, str]]:
    with (out / "restored.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_is_done_is_skipped_and_what_differs_is_restored_again(tmp_path: Path) -> None:
    home, out = pictures(tmp_path / "in"), tmp_path / "out"
    first = call(home, out)
    assert not any(row.skipped or row.error for row in first)
    rows = table(out)
    for row in rows:
        assert row["input_sha256"] == sha256(Path(row["file"]).read_bytes()).hexdigest()
        assert row["written_sha256"] == sha256(Path(row["written"]).read_bytes()).hexdigest()
    again = call(home, out)
    assert [row.written for row in again if row.skipped] == [row.written for row in first]
    assert table(out) == rows
    write_image(home / "0.png", np.zeros((1, 12, 10)))  # other bytes
    (out / "1.png").unlink()
    (out / "2.png").write_bytes(b"another program's")
    assert [row.skipped for row in call(home, out)] == [False, False, False, True]
    assert [row["written_sha256"] for row in table(out)][1:] == [
        sha256((out / Path(row["written"]).name).read_bytes()).hexdigest() for row in table(out)
    ][1:]
    for options in ({"strength": 0.5}, {"times": 2}, {"range": (0, 255)}, {"keep_text": True}):
        assert not any(row.skipped for row in call(home, out, **options)), options
        assert all(row.skipped for row in call(home, out, **options)), options
    assert not any(row.skipped for row in call(home, out, "part:{name: median, size: 5}")), "another model"
    assert len(table(out)) == 4


class Paired(ImageFiles):
    """A picture beside a file of the same name that belongs to it."""

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_suffix(".more")]

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        super().write(path, image, intensity)
        path.with_suffix(".more").write_text("written")


def test_every_file_that_an_image_is_made_of_decides_whether_it_is_done(tmp_path: Path) -> None:
    home, out, model = pictures(tmp_path / "in", 1), tmp_path / "out", load(MEDIAN)
    model.format = Paired()
    for at, path in enumerate((home, home, out, out)):
        path.mkdir(exist_ok=True)
        if at in (0, 1, 2):
            (path / "0.more").write_text(f"{at}" if at < 3 else "")
        if at == 2:
            (path / "0.more").unlink()
        (row,) = restore_files(model, home, out)
        assert (row.error, row.skipped) == ("", at == 3), at


@pytest.mark.parametrize("segments", [False, True])
def test_a_record_is_made_of_its_header_samples_segments_and_annotations(tmp_path: Path, segments: bool) -> None:
    (tmp_path / "part.hea").write_text("part 1 250 4\npart_1.dat 16 200 16 0 0 0 0 MLII\n")
    (tmp_path / "whole.hea").write_text("whole/2 1 250 8\npart 4\nwhole 4\n")  # names itself
    (tmp_path / "part.atr").write_bytes(b"")
    found = signal(rate=250, range=[-5, 5]).files(tmp_path / ("whole" if segments else "part"))
    own = ["whole.hea", "part.hea", "part_1.dat"] if segments else ["part.hea", "part_1.dat", "part.atr"]
    assert [path.name for path in found] == own


def test_an_error_is_tried_again_and_files_of_archives_are_skipped(tmp_path: Path) -> None:
    home, out = pictures(tmp_path / "in", 2), tmp_path / "out"
    good = (home / "0.png").read_bytes()
    (home / "0.png").write_bytes(good[:40])
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("sub/z.png", good)
        archive.writestr("../y.png", good)
    inputs = [home, tmp_path / "more.zip"]
    rows = call(inputs, out)
    assert [bool(row.error) for row in rows] == [True, False, True, False]
    assert rows[2].file == str(tmp_path / "more.zip")
    assert "'../y.png'" in rows[2].error
    (home / "0.png").write_bytes(good)
    rows = call(inputs, out)
    assert [(bool(row.error), row.skipped) for row in rows] == [
        (False, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    assert rows[3].file == str(tmp_path / "more.zip" / "sub" / "z.png")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "0.png", "1.png", "restored.csv", "sub/z.png"
    ]  # fmt: skip


def test_strength_blends_and_zero_returns_every_value(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 2**16, (20, 14), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="minisblack")
    values = {}
    for strength in (0, 0.25, 1):
        (row,) = call(tmp_path / "deep.tif", tmp_path / str(strength), strength=strength)
        assert row.error == ""
        values[strength] = tifffile.imread(tmp_path / str(strength) / "deep.tif").astype(float)
    assert np.array_equal(values[0], deep)
    assert np.abs(values[0.25] - (0.75 * values[0] + 0.25 * values[1])).max() <= 1
    assert not np.array_equal(values[1], deep)


def test_every_format_holds_the_values_that_were_restored(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 1) / "0.png"
    call(source, tmp_path / "out")
    expected = np.asarray(Image.open(tmp_path / "out" / "0.png"))
    for name, suffix in (("png", ".png"), ("tiff", ".tif"), ("nifti", ".nii"), ("npy", ".npy")):
        (row,) = call(source, tmp_path / name, format=name)
        assert Path(row.written) == tmp_path / name / f"0{suffix}"
        image, _ = read_image(row.written, dims=2, range=(0, 255) if name == "npy" else None)
        assert np.array_equal(np.rint((image.numpy()[0] + 1) * 127.5).reshape(expected.shape), expected)
    (row,) = call(source, tmp_path / "dicom", format="dicom")
    assert "dicom" in row.error
    film = get_testdata_file("CT_small.dcm")
    for name in ("dicom", "png"):
        (row,) = call(film, tmp_path / "film", format=name, range=(-1024, 3071))
        assert row.error == ""
        assert Path(row.written).suffix == (".dcm" if name == "dicom" else ".png")
    assert dcmread(tmp_path / "film" / "CT_small.dcm").ImageType[0] == "DERIVED"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_a_colour_profile_goes_with_the_colours(tmp_path: Path, suffix: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (8, 6), (200, 100, 50)).save(tmp_path / f"x{suffix}", icc_profile=profile)
    for name in ("png", "tiff"):
        (row,) = call(tmp_path / f"x{suffix}", tmp_path / name, format=name)
        with Image.open(row.written) as image:
            assert image.info["icc_profile"] == profile


def test_a_colour_profile_of_dicom_goes_with_the_colours(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    written(tmp_path / "x.dcm", RGB, 8, photometric="RGB", ICCProfile=profile)
    (row,) = call(tmp_path / "x.dcm", tmp_path / "png", "part:identity", format="png")
    with Image.open(row.written) as image:
        assert image.info["icc_profile"] == profile
    (row,) = call(tmp_path / "x.dcm", tmp_path / "dicom", "part:identity")
    assert dcmread(row.written).ICCProfile == profile


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_an_image_was_made_from_stays_stated_and_a_format_without_it_is_noted(tmp_path: Path, suffix: str) -> None:
    mark = Derived("a.png", "0" * 64, {"run": "translator", "seed": "1"})
    write_image(tmp_path / f"x{suffix}", np.zeros((1, 8, 6)), derived=mark)
    for name in ("", "png", "tiff"):
        (row,) = call(tmp_path / f"x{suffix}", tmp_path / f"as{name}", "part:identity", format=name or None)
        assert derived_from(row.written) == mark
        assert "made from another image" not in row.note
    (row,) = call(tmp_path / f"x{suffix}", tmp_path / "npy", "part:identity", format="npy")
    assert "made from another image" in row.note


def test_nifti_that_was_no_nifti_states_its_spacing_and_no_place_in_space(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80
    made(tmp_path / "x.dcm", values, bits=12, PixelSpacing=[0.8, 0.5])
    (row,) = restore_files(load("part:identity"), tmp_path / "x.dcm", tmp_path / "out", format="nifti")
    volume = nibabel.load(row.written)
    assert np.array_equal(np.asarray(volume.dataobj), values)
    assert volume.header.get_zooms() == pytest.approx((0.8, 0.5))
    assert volume.header.get_xyzt_units()[0] == "mm"
    assert (int(volume.header["sform_code"]), int(volume.header["qform_code"])) == (0, 0)
    assert read_image(row.written, range=(0, 4095))[1].spacing == pytest.approx((0.8, 0.5))


def test_jobs_and_batches_change_no_value(tmp_path: Path) -> None:
    home = pictures(tmp_path / "in", 7)
    (home / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    for name, options in {"one": {}, "many": {"jobs": 3, "batch": 4}}.items():
        rows = call(home, tmp_path / name, **options)
        assert [Path(row.file).name for row in rows] == [f"{i}.png" for i in range(7)]
        assert [bool(row.error) for row in rows] == [i == 3 for i in range(7)]
    for path in (tmp_path / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


class Mean(Restorer):
    """Halves the values, and predicts the mean of each image."""

    predicts = True

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return them."""
        mean = (image.mean((1, 2, 3)) + 1) / 2
        return Output(image / 2, prediction=torch.stack([1 - mean, mean], 1))


def test_each_image_of_a_batch_has_its_own_prediction(tmp_path: Path) -> None:
    domain = Domain("a", 1, (8, 8), Task("class", ("no", "yes")))
    model = Model(lambda *_: Mean(), domain=domain, data=None, scale=None, format=ImageFiles(), name="run")
    for i in range(5):
        write_image(tmp_path / "in" / f"{i}.png", np.full((1, 6, 6), i / 4 - 0.5))
    found = {
        batch: [row.prediction for row in restore_files(model, tmp_path / "in", tmp_path / f"{batch}", batch=batch)]
        for batch in (1, 3)
    }
    assert found[1] == found[3]
    values = [one["yes"] for one in found[3] if one is not None]
    assert values == pytest.approx([(np.rint((i / 4 + 0.5) * 127.5)) / 255 for i in range(5)], abs=1e-5)


class Overwriting(Mean):
    """Writes another image in the place of the first source, as an archive that is being filled may."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.source = source

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return half of the values."""
        if self.source.exists():
            write_image(self.source.with_name("new.png"), np.ones((1, 6, 6)))
            self.source.with_name("new.png").replace(self.source)
            self.source = self.source.with_name("none")
        return super().restore(image, summary, rng)


def test_a_file_that_is_changed_while_it_is_restored_is_an_error(tmp_path: Path) -> None:
    domain = Domain("a", 1, (8, 8), Task("class", ("no", "yes")))
    home, out = tmp_path / "in", tmp_path / "out"
    for i in range(2):
        write_image(home / f"{i}.png", np.full((1, 6, 6), -0.5))
    part = Overwriting(home / "0.png")
    model = Model(lambda *_: part, domain=domain, data=None, scale=None, format=ImageFiles(), name="run")
    first, second = restore_files(model, home, out, jobs=1)
    assert "changed" in first.error
    assert (second.error, [path.name for path in out.glob("*.png")]) == ("", ["1.png"])
    first, second = restore_files(model, home, out, jobs=1)
    assert (first.error, second.skipped) == ("", True)
    assert table(out)[-1]["input_sha256"] == sha256((home / "0.png").read_bytes()).hexdigest()


def test_values_that_are_stored_as_shown_are_noted(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    made(tmp_path / "curved.dcm", values, bits=12, VOILUTFunction="SIGMOID", **window)
    made(tmp_path / "straight.dcm", values, bits=12, **window)
    for format, noted in ((None, [True, False]), ("png", [False, False])):
        rows = [*restore_files(load("part:identity"), tmp_path, tmp_path / f"{format}", format=format)]
        assert [row.error for row in rows] == ["", ""]
        assert ["as they are shown" in row.note for row in rows] == noted


@pytest.mark.parametrize(
    ("name", "value"),
    [("strength", 2), ("strength", "1"), ("strength", True), ("jobs", 0), ("batch", 0), ("format", "gif")],
)
def test_wrong_arguments_are_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(DataError, match=f"^{name}: got"):
        restore_files(load(MEDIAN), tmp_path, tmp_path / "out", **options)


def test_a_series_stays_one_whatever_each_image_holds_and_is_another_by_other_options(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i, words in enumerate(([], ["CHEST AP"], ["CHEST AP", "SUPINE 12"])):
        film = Image.new("L", (160, 128), 90)
        for at, word in enumerate(words):
            ImageDraw.Draw(film).text((20, 20 + 60 * at), word, fill=255)
        extra = {"SeriesInstanceUID": "1.2.9", "SOPInstanceUID": f"1.2.9.{i}"}
        written(tmp_path / "in" / f"{i}.dcm", np.asarray(film), 8, **extra)
    found = []
    for number, options in enumerate(({"keep_text": True}, {"keep_text": True, "measure": True}, {"times": 2})):
        rows = call(tmp_path / "in", tmp_path / f"{number}", "part:tv", **options)
        assert [row.error for row in rows] == [""] * 3
        assert len({row.note for row in rows}) == (1 if number == 2 else 3)
        (series,) = {dcmread(row.written).SeriesInstanceUID for row in rows}
        found.append(series)
    assert found[0] == found[1] != found[2] != "1.2.9"
