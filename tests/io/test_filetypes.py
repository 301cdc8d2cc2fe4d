"""Which files of a folder are images, and which images are left out with a reason."""

import gzip
import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from restorekit import DataError, find_images, skipped_images, write_image
from restorekit.io.images import ImageFiles, read_image

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def skipped(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): reason for path, reason in skipped_images(folder)}


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.jif"])
def test_jpeg_suffixes_are_found_and_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encoded("JPEG"))
    assert [path.name for path in find_images(tmp_path)] == [name]
    image, intensity = read_image(tmp_path / name)
    assert (image.shape, intensity.format) == ((1, 8, 8), "JPEG")
    assert skipped(tmp_path) == {}
    assert ImageFiles().restored_name(tmp_path / name, Path(name)) == (Path(name), "")


def dicom_without_preamble() -> bytes:
    return b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(400)


CONTENTS = {
    "GIF": encoded("GIF"),
    "JPEG 2000": imagecodecs.jpeg2k_encode(PIXELS),
    "JPEG XL": imagecodecs.jpegxl_encode(PIXELS),
    "Netpbm": encoded("PPM"),
    "NRRD": b"NRRD0004\ntype: uint8\n",
    "MetaImage": b"ObjectType = Image\nNDims = 2\n",
    "NIfTI": (348).to_bytes(4, "little") + bytes(340) + b"ni1\0",
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0",
    "DICOM": dicom_without_preamble(),
}


@pytest.mark.parametrize("name", ["scan.bin", "scan", "scan.001"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_formats_that_are_not_read_are_reported_by_content(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENTS[kind])
    assert find_images(tmp_path) == []
    assert kind in skipped(tmp_path)[name]


@pytest.mark.parametrize(
    "name", ["x.gif", "x.jp2", "x.JP2", "x.svs", "x.mha", "x.nrrd", "x.img", "x.nrrd.gz", "x.nii.bz2", "x.dcm.gz"]
)
def test_image_suffixes_that_are_not_read_are_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert find_images(tmp_path) == []
    assert list(skipped(tmp_path)) == [name]


@pytest.mark.parametrize("name", ["scan.bak", "scan", "scan.7", "scan.svs"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "NPY", "NPZ"])
def test_images_under_other_names_are_reported_with_their_content(tmp_path: Path, kind: str, name: str) -> None:
    stream = io.BytesIO()
    if kind == "TIFF":
        tifffile.imwrite(stream, PIXELS)
    elif kind in ("NPY", "NPZ"):
        (np.save if kind == "NPY" else np.savez)(stream, PIXELS)
    else:
        stream.write(encoded(kind))
    (tmp_path / name).write_bytes(stream.getvalue())
    assert find_images(tmp_path) == []
    assert kind in skipped(tmp_path)[name]


def test_gzip_is_looked_into(tmp_path: Path) -> None:
    nifti = (348).to_bytes(4, "little") + bytes(340) + b"n+1\0" + bytes(100)
    (tmp_path / "volume.gz").write_bytes(gzip.compress(nifti))
    (tmp_path / "picture.gz").write_bytes(gzip.compress(encoded("PNG")))
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"some text"))
    found = skipped(tmp_path)
    assert set(found) == {"volume.gz", "picture.gz"}
    assert "NIFTI" in found["volume.gz"]
    assert "PNG" in found["picture.gz"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"BMI of all patients, and more text"),
        ("patients.txt", b"P1 was seen in May"),
        ("raw.dat", b"\x08\0\0\0\x07\0\0\0"),
        ("labels.csv", b"path,label\n"),
        ("report.docx", b"PK\x03\x04" + b"word/document.xml"),
        ("Makefile", b"all:\n"),
        ("empty", b""),
        ("DICOMDIR", bytes(128) + b"DICM"),
        ("record.edf", b"0       "),
        (".hidden.gif", b"GIF89a"),
    ],
)
def test_files_that_are_no_images_are_not_reported(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert find_images(tmp_path) == []
    assert skipped(tmp_path) == {}


def test_a_known_suffix_with_unknown_content_is_found_and_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    assert [path.name for path in find_images(tmp_path)] == ["x.png"]
    assert skipped(tmp_path) == {}
    with pytest.raises(DataError, match=r"x\.png"):
        read_image(tmp_path / "x.png")


def test_files_that_cannot_be_opened_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IM0001", "x.gif", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")

    def refuse(self: Path, *mode: object) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert find_images(tmp_path) == []
    assert set(skipped(tmp_path)) == {"IM0001", "x.gif"}


def test_every_file_below_a_folder_is_found_or_reported_or_no_image(tmp_path: Path) -> None:
    for name in ("b/x.png", "a/y.gif", "a/z.jpg", "c/n.txt", "c/IM1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded("PNG"))
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a/z.jpg", "b/x.png"]
    assert list(skipped(tmp_path)) == ["a/y.gif", "c/IM1", "c/n.txt"]
    assert ImageFiles().skipped(tmp_path) == skipped_images(tmp_path)


@pytest.mark.parametrize("length", [201, 240, 251])
@pytest.mark.parametrize("letter", ["x", "ä"])
def test_long_names_are_written(tmp_path: Path, length: int, letter: str) -> None:
    stem = letter * ((length - 4) // len(letter.encode()))
    name = stem + "x" * (length - 4 - len(stem.encode())) + ".png"
    write_image(tmp_path / name, np.zeros((1, 4, 4)))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_links_that_lead_to_no_file_are_reported_and_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    for name, target in (("gone.png", "nowhere"), ("loop.nii.gz", "loop.nii.gz"), ("scan", "nowhere"), ("x.txt", "no")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "folder").symlink_to("folder")
    assert [path.name for path in find_images(tmp_path)] == ["a.png"]
    assert skipped(tmp_path) == dict.fromkeys(
        ["folder", "gone.png", "loop.nii.gz", "scan"], "a link that leads to no file"
    )
