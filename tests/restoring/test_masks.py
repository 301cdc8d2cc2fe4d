"""Masks as files: every class comes back, and a volume's mask has its place in space."""

from pathlib import Path

import numpy as np
import pytest

from restorekit import DataError, Intensity, read_image, to_stored
from restorekit.io.images import expecting
from restorekit.restoring.masks import mask_place, write_mask

PLAIN = Intensity("uint8", 0, 255, 1, "PNG")


@pytest.mark.parametrize(("shape", "name"), [((5,), "x.mask.npy"), ((4, 6), "x.mask.png"), ((3, 4, 5), "x.mask.npy")])
def test_every_class_comes_back(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    mask = np.arange(int(np.prod(shape))).reshape(shape) * 4 % 256
    path = mask_place(tmp_path / "x.tif", PLAIN, len(shape))
    assert path.name == name
    write_mask(path, mask, PLAIN)
    with expecting(len(shape)):
        image, intensity = read_image(path, range=(0, 255))
    assert np.array_equal(to_stored(image, intensity)[0], mask)


def test_the_mask_of_a_nifti_volume_keeps_its_header(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 7, -8, 9
    values = np.random.default_rng(0).integers(0, 900, (4, 5, 6)).astype(np.int16)
    volume = nibabel.Nifti1Image(values, affine)
    volume.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(volume, tmp_path / "ct.nii.gz")
    _, intensity = read_image(tmp_path / "ct.nii.gz", range=(-1000, 2000))
    path = mask_place(tmp_path / "ct.nii.gz", intensity, 3)
    assert path.name == "ct.mask.nii.gz"
    mask = values.astype(np.int64) % 3
    write_mask(path, mask, intensity)
    written = nibabel.load(path)
    assert np.array_equal(written.get_fdata(), mask)
    assert np.array_equal(written.affine, affine)


def test_more_classes_than_a_file_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a mask holds classes 0 to 255; got 256"):
        write_mask(tmp_path / "x.mask.png", np.array([[256]]), PLAIN)
