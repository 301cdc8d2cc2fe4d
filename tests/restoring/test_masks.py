"""Masks as files: every class comes back, a volume's mask has its place in space, and each has a place of its own."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restorekit import (
    DataError,
    Domain,
    Intensity,
    Output,
    Restorer,
    Task,
    find_images,
    read_image,
    skipped_images,
    to_stored,
    write_image,
)
from restorekit.builtin.resnet import resnet
from restorekit.builtin.segment import Segment
from restorekit.core.types import Translator
from restorekit.io.images import ImageFiles, expecting
from restorekit.restoring.masks import mask_place, write_mask
from restorekit.restoring.model import Model
from restorekit.restoring.restore import restore_files
from restorekit.runs.trained import TrainedRestorer

PLAIN = Intensity("uint8", 0, 255, 1, "PNG")


class Halves(Restorer):
    """Leaves images as they are and, if it predicts, gives the pixels above the middle of the range class 1."""

    def __init__(self, predicts: bool) -> None:
        self.predicts = predicts

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images, and the chance of each class at each pixel."""
        high = (image.mean(1, keepdim=True) > 0).float()
        return Output(image, prediction=torch.cat([1 - high, high], 1) if self.predicts else None)


def model(task: Task | None = None, *, predicts: bool = True, channels: int = 1) -> Model:
    domain = Domain("a", channels, (4, 4), task or Task("mask", ("ground", "finding")))
    made = Halves(predicts)
    return Model(lambda *_: made, domain=domain, data=None, scale=None, format=ImageFiles(), name="run")


def picture(path: Path) -> Path:
    write_image(path, np.linspace(-1, 1, 24).reshape(1, 4, 6))
    return path


def restored(inputs: Path | Sequence[Path], out: Path) -> dict[str, str]:
    """Return the error of each file; the table and the disk agree."""
    rows = list(restore_files(model(), inputs, out))
    with (out / "restored.csv").open(newline="") as stream:
        table = [row for row in csv.DictReader(stream) if row["written"]]
    named = {row[column] for row in table for column in ("written", "mask")}
    assert named == {str(path.resolve()) for path in out.iterdir() if path.name != "restored.csv"}
    return {Path(row.file).name: row.error for row in rows}


@pytest.mark.parametrize("predicts", [True, False])
@pytest.mark.parametrize("window", [None, 8])
def test_no_channel_of_a_picture_is_taken_for_a_class(predicts: bool, window: int | None) -> None:
    rgb = np.random.default_rng(0).uniform(-1, 1, (3, 12, 12)).astype(np.float32)
    run = model(predicts=predicts, channels=3)
    made = run.restored(rgb, window=window)
    assert run.masks is predicts
    np.testing.assert_allclose(made.image, rgb, atol=1e-6)
    assert (made.mask is not None) is predicts
    if made.mask is not None:
        assert np.array_equal(made.mask, rgb.mean(0) > 0)


def test_every_file_has_a_mask_of_its_own(tmp_path: Path) -> None:
    names = ["scan.1.png", "scan.2.png", "a.png", "a.tif", "a.mask.png"]
    found = restored([picture(tmp_path / name) for name in names], tmp_path / "out")
    assert found == dict.fromkeys(names, "")
    assert sorted(path.name for path in find_images(tmp_path / "out")) == sorted(names)
    assert {path.name for path, _ in skipped_images(tmp_path / "out")} == {f"{name}.mask.png" for name in names}


def test_a_file_that_would_go_where_a_mask_goes_is_refused(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "a.png"), picture(tmp_path / "a.png.mask.png")
    found = restored([one, other], tmp_path / "out")
    assert found["a.png"] == ""
    assert f"a.png.mask.png, as {one} is" in found["a.png.mask.png"]


def test_a_second_call_and_lost_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        picture(Path("in") / name)
    out, good = Path("out"), {"a.png": "", "b.png": ""}
    for lost in ("nothing", "a.png", "a.png.mask.png"):
        (out / lost).unlink(missing_ok=True)
        assert restored(Path("in"), out) == good
    (out / "a.png").unlink()
    (out / "b.png.mask.png").unlink()
    reported: list[str] = []
    list(restore_files(model(), picture(Path("c.png")), out, report=reported.append))
    assert sorted(path.name for path in out.iterdir()) == ["b.png", "c.png", "c.png.mask.png", "restored.csv"]
    with (out / "restored.csv").open(newline="") as stream:
        masks = {Path(row["written"]).name: Path(row["mask"]).name for row in csv.DictReader(stream)}
    assert masks == {"b.png": "", "c.png": "c.png.mask.png"}
    assert len(reported) == 2
    (out / "b.png.mask.png").write_text("mine")
    (row,) = restore_files(model(), Path("in/b.png"), out)
    assert "b.png.mask.png, which restorekit did not write" in row.error
    assert (out / "b.png.mask.png").read_text() == "mine"


@pytest.mark.parametrize("name", ["scale", "note", "mask"])
def test_predictions_that_are_called_as_a_column_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"restored.csv: .*{name!r}"):
        next(restore_files(model(Task("numbers", (name, "age"))), picture(tmp_path / "a.png"), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_no_halo_is_claimed_for_masks() -> None:
    generator = resnet(Domain("a", 1, (16, 16)), Domain("b", 1, (16, 16)), width=2, blocks=1, norm="none")
    assert TrainedRestorer(Translator(generator)).halo is not None
    assert TrainedRestorer(Translator(generator, Segment(2, generator.features, 2, 4, 1.0))).halo is None


SHAPES = [((5,), "x.npy.mask.npy"), ((4, 6), "x.tif.mask.png"), ((3, 4, 5), "x.npy.mask.npy")]


@pytest.mark.parametrize(("shape", "name"), SHAPES)
def test_every_class_comes_back(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    mask = np.arange(int(np.prod(shape))).reshape(shape) * 4 % 256
    path = mask_place(tmp_path / name.partition(".mask")[0], len(shape))
    assert path.name == name
    write_mask(path, mask, PLAIN)
    with expecting(len(shape)):
        image, intensity = read_image(path, range=(0, 255))
    assert np.array_equal(to_stored(image, intensity)[0], mask)
    if path.suffix == ".npy":
        assert np.load(path).shape == shape


def test_the_mask_of_a_nifti_volume_keeps_its_header(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 7, -8, 9
    values = np.random.default_rng(0).integers(0, 900, (4, 5, 6)).astype(np.int16)
    volume = nibabel.Nifti1Image(values, affine)
    volume.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(volume, tmp_path / "ct.nii.gz")
    _, intensity = read_image(tmp_path / "ct.nii.gz", range=(-1000, 2000))
    path = mask_place(tmp_path / "ct.nii.gz", 3)
    assert path.name == "ct.nii.gz.mask.nii.gz"
    mask = values.astype(np.int64) % 3
    write_mask(path, mask, intensity)
    written = nibabel.load(path)
    assert written.get_data_dtype() == np.uint8
    assert written.header["bitpix"] == 8
    assert np.array_equal(written.get_fdata(), mask)
    assert np.array_equal(written.affine, affine)


def test_more_classes_than_a_file_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a mask holds classes 0 to 255; got 256"):
        write_mask(tmp_path / "x.mask.png", np.array([[256]]), PLAIN)
