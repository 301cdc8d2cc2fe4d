"""Pixels that are not square: what is written states it, or the row of the file does."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from restorekit import load, read_image
from restorekit.restoring.restore import restore_files
from tests.io.test_dicom import made

VALUES = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80


def restored(source: Path, out: Path, format: str | None) -> tuple[Path, str]:
    (row,) = restore_files(load("part:identity"), source, out, format=format)
    assert row.error == ""
    return Path(row.written), row.note


def chunk(path: Path, name: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    content = path.read_bytes()
    at = content.index(name)
    return content[at + 4 : at + 4 + int.from_bytes(content[at - 4 : at])]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Pixels three units high and two wide, of unknown size."""
    return made(tmp_path / "in" / "x.dcm", VALUES, bits=12, PixelAspectRatio=["3", "2"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()


def test_the_aspect_ratio_of_dicom_is_that_of_png_and_tiff(film: Path, tmp_path: Path) -> None:
    png, note = restored(film, tmp_path / "png", "png")
    assert struct.unpack(">IIB", chunk(png, b"pHYs")) == (3, 2, 0)  # pixels a unit across and down, of no unit
    assert "times as high" not in note
    tiff, note = restored(film, tmp_path / "tiff", "tiff")
    with tifffile.TiffFile(tiff) as file:
        tags = file.pages[0].tags
        assert (tags["XResolution"].value, tags["YResolution"].value) == ((3, 1), (2, 1))
        assert int(tags["ResolutionUnit"].value) == 1
    assert "times as high" not in note
    for path in (png, tiff):  # and so it goes on
        again, note = restored(Path(shutil.copy(path, tmp_path / "in")), tmp_path / "again", None)
        assert read_image(again)[1].details["aspect"] == (3, 2)
        assert read_image(again)[1].spacing is None
        assert "times as high" not in note


@pytest.mark.parametrize("format", ["npy", "nifti"])
def test_a_format_that_cannot_state_it_is_noted(film: Path, tmp_path: Path, format: str) -> None:
    assert "its pixels are 1.5 times as high as wide" in restored(film, tmp_path / "out", format)[1]


def test_a_jpeg_keeps_its_pixels_and_its_row_states_that_they_are_not_square(tmp_path: Path) -> None:
    path = tmp_path / "in" / "x.jpg"
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"JFIF") + 7
    content[at : at + 5] = struct.pack(">BHH", 0, 3, 2)
    path.write_bytes(content)
    assert read_image(path)[1].details["aspect"] == (3, 2)
    assert "1.5 times as high as wide, which JPEG does not state" in restored(path, tmp_path / "out", None)[1]


def test_an_exif_orientation_turns_the_shape_with_the_image(tmp_path: Path) -> None:
    path = tmp_path / "in" / "x.tif"
    options = {"resolution": (3, 2), "resolutionunit": "NONE", "extratags": [(274, 3, 1, 6, True)]}
    tifffile.imwrite(path, np.full((6, 8), 90, np.uint8), photometric="minisblack", metadata=None, **options)
    assert read_image(path)[1].details["aspect"] == (2, 3)


@pytest.mark.parametrize(
    ("format", "stated"), [("png", True), ("tiff", True), ("nifti", True), ("npy", False), (None, True)]
)
def test_distances_that_differ_are_kept_or_noted(tmp_path: Path, format: str | None, stated: bool) -> None:
    source = made(tmp_path / "in" / "x.dcm", VALUES, bits=12, PixelSpacing=[0.3, 0.2], PixelAspectRatio=["1", "2"])
    path, note = restored(source, tmp_path / "out", format)
    assert ("1.5 times as high as wide" in note) is not stated
    spacing = read_image(path)[1].spacing
    assert spacing == (pytest.approx((0.3, 0.2), rel=0.01) if stated else None)


def test_square_pixels_need_no_note(tmp_path: Path) -> None:
    for at, elements in enumerate([{}, {"PixelAspectRatio": ["1", "1"]}, {"PixelSpacing": [0.2, 0.2]}]):
        source = made(tmp_path / "in" / f"{at}.dcm", VALUES, bits=12, **elements)
        assert "times as high" not in restored(source, tmp_path / "out", "npy")[1]
