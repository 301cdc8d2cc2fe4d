"""Files restored to more pixels: as many times larger, and in the same place and size in millimetres."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray
from pydicom import examples

from restorekit import DataError
from restorekit.discovery.plugins import Plugins
from restorekit.io.images import read_image
from restorekit.restoring.loading import load
from restorekit.restoring.model import Model
from restorekit.restoring.restore import Row, restore_files
from restorekit.runs.run import Run

NET = {"name": "resnet", "width": 4, "blocks": 1, "downs": 1, "upsample": "resize", "norm": "none"}


@pytest.fixture(autouse=True)
def _toys(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)


@pytest.fixture
def enlarger(build_run: Callable[..., Run]) -> Callable[..., Model]:
    def make(scale: int, size: tuple[int, ...] = (16, 16)) -> Model:
        """A run that was never trained, of small images of `size`, to `scale` times as much."""
        name = "phantom" if len(size) == 2 else "phantom_volume"
        good = {"name": name, "side": "b", "count": 4, "val": 2, "test": 2, "size": [n * scale for n in size]}
        run = build_run(
            data__size=[*size],
            data__scale=scale,
            data__a={"name": "degraded", "dataset": good, "degradation": {"name": "bicubic", "scale": scale}},
            data__b="same",
            nets__generator={**NET, "scale": scale},
            nets__discriminator=None,
            losses=["paired"],
        )
        run.begin("test")
        run.step = 1
        run.save()
        return load(run.folder)

    return make


def restored(model: Model, path: Path, **options: Any) -> Path:
    (row,) = restore_files(model, path, path.parent / "out", **options)
    assert isinstance(row, Row)
    assert row.error == ""
    return Path(row.written)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_dicom_film_has_its_pixel_spacing_divided(enlarger: Callable[..., Model], tmp_path: Path, scale: int) -> None:
    data = pydicom.dcmread(examples.get_path("mr"))
    data.PixelSpacing = [0.4, 0.6]
    data.save_as(tmp_path / "film.dcm")
    made, intensity = read_image(restored(enlarger(scale), tmp_path / "film.dcm", any_scale=True))
    assert made.shape == (1, data.Rows * scale, data.Columns * scale)
    assert intensity.spacing == pytest.approx((0.4 / scale, 0.6 / scale), rel=0.01)


def test_a_tiff_has_its_resolution_multiplied(enlarger: Callable[..., Model], tmp_path: Path) -> None:
    pixels = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10) * 500
    tifffile.imwrite(tmp_path / "film.tif", pixels, resolution=(50, 80), resolutionunit="CENTIMETER")
    with tifffile.TiffFile(restored(enlarger(4), tmp_path / "film.tif")) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert (page.shape, page.dtype) == ((48, 40), np.uint16)
        found = [np.divide(*page.tags[name].value) for name in ("XResolution", "YResolution")]
        assert found == pytest.approx([200, 320], rel=1e-6)
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


AFFINE = np.array([[0, -0.8, 0, 30.0], [0.5, 0, 0, -20], [0, 0, 2.0, 7], [0, 0, 0, 1]])


def at_border(affine: NDArray[Any], shape: tuple[int, ...], end: int) -> NDArray[Any]:
    """Return the millimetres of the outer corner of the first voxel, end 0, or of the last one, end 1."""
    corner = np.array([n - 0.5 if end else -0.5 for n in (*shape, *[1] * (3 - len(shape)))])
    place: NDArray[Any] = (affine @ [*corner, 1])[:3]
    return place


@pytest.mark.parametrize(
    ("shape", "size"), [((12, 10), (16, 16)), ((12, 10, 1), (16, 16)), ((12, 10, 8), (8, 8, 8))], ids=str
)
@pytest.mark.parametrize("forms", ["both", "sform", "qform", "none"])
def test_a_nifti_image_covers_the_same_space(
    enlarger: Callable[..., Model], tmp_path: Path, shape: tuple[int, ...], size: tuple[int, ...], forms: str
) -> None:
    values = np.linspace(0, 255, int(np.prod(shape))).reshape(shape).astype(np.uint8)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.set_sform(AFFINE, 2 if forms in ("both", "sform") else 0)
    image.set_qform(AFFINE, 1 if forms in ("both", "qform") else 0)
    nibabel.save(image, tmp_path / "image.nii")
    before, after = (
        nibabel.load(path) for path in (tmp_path / "image.nii", restored(enlarger(2, size), tmp_path / "image.nii"))
    )
    assert after.shape == tuple(n * 2 if i < len(size) else n for i, n in enumerate(shape))
    assert [int(after.header[code]) for code in ("sform_code", "qform_code")] == [
        int(before.header[code]) for code in ("sform_code", "qform_code")
    ]
    steps = [step / 2 if i < len(size) else step for i, step in enumerate(before.header.get_zooms())]
    assert after.header.get_zooms() == pytest.approx(steps)
    for end in (0, 1) if forms != "none" else ():  # without a form, the origin is the middle of the image
        inside = (before.shape, after.shape)
        one, other = (at_border(of.affine, n, end) for of, n in zip((before, after), inside, strict=True))
        np.testing.assert_allclose(other, one, atol=1e-4)


def test_the_scale_of_training_is_refused_for_a_model_that_enlarges(
    enlarger: Callable[..., Model], tmp_path: Path
) -> None:
    model = enlarger(2)
    with pytest.raises(DataError, match="allowed: 'native', for this model makes images 2 times larger"):
        model.restore(np.zeros((64, 64), np.uint8), scale="train")


def test_hint_for_an_image_far_larger_than_in_training_is_one_that_an_enlarging_model_takes(
    enlarger: Callable[..., Model],
) -> None:
    model, image = enlarger(2), np.zeros((400, 400), np.uint8)
    with pytest.raises(DataError) as error:
        model.restore(image)
    assert "--scale train" not in str(error.value)
    assert "--any-scale" in str(error.value)
    assert model.restore(image, any_scale=True).shape == (800, 800)
