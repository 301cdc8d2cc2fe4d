"""What is read and written unrestored has the same pixels: every format, every depth that can be without loss."""

import contextlib
import gzip
import io
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from restorekit import DataError, Intensity, find_images, write_image
from restorekit.io.images import read_image

UNIT = (-1, 1)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def values(dtype: str, shape: Any) -> st.SearchStrategy[Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        elements: Any = st.floats(-1, 1, width=kind.itemsize * 8)
        return hnp.arrays(dtype, shape, elements=elements)
    known = np.iinfo(kind)
    return hnp.arrays(dtype, shape, elements=st.integers(int(known.min), int(known.max)))


def again(path: Path, **options: Any) -> tuple[Path, np.ndarray[Any, Any], Intensity]:
    """Read and write, unrestored."""
    image, intensity = read_image(path, **options)
    out = path.with_name("again" + "".join(path.suffixes))
    write_image(out, image, intensity)
    assert image.dtype == np.float32
    assert np.abs(image).max() <= 1
    return out, image, intensity


def same(found: Any, wanted: Any) -> None:
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("suffix", "dtype", "channels"),
    [
        *[(".png", dtype, c) for dtype in ("uint8", "uint16") for c in (1, 3)],
        (".bmp", "uint8", 1),
        (".bmp", "uint8", 3),
        (".webp", "uint8", 3),
    ],
)
def test_rasters_come_back_bit_by_bit(place: Path, suffix: str, dtype: str, channels: int) -> None:
    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def holds(data: st.DataObject) -> None:
        shape = (*data.draw(SIZES), *([3] if channels == 3 else []))
        array, path = data.draw(values(dtype, shape)), place / f"x{suffix}"
        if dtype == "uint16":
            path.write_bytes(imagecodecs.png_encode(array))
        else:
            Image.fromarray(array).save(path, **({"lossless": True} if suffix == ".webp" else {}))
        out, image, intensity = again(path)
        assert image.shape == (channels, *shape[:2])
        assert (intensity.dtype, intensity.channels) == (dtype, channels)
        if dtype == "uint16":
            same(imagecodecs.png_decode(out.read_bytes()), array)
        else:
            with Image.open(out) as file:
                same(np.asarray(file), array)

    holds()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiffs_come_back_bit_by_bit(place: Path, dtype: str, channels: int) -> None:
    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def holds(data: st.DataObject) -> None:
        planar = channels == 3 and data.draw(st.booleans())
        size = data.draw(SIZES)
        shape = size if channels == 1 else (3, *size) if planar else (*size, 3)
        array, path = data.draw(values(dtype, shape)), place / "x.tif"
        kind = "rgb" if channels == 3 else data.draw(st.sampled_from(["minisblack", "miniswhite"]))
        tifffile.imwrite(
            path,
            array,
            photometric=kind,
            planarconfig="separate" if planar else None,
            compression=data.draw(st.sampled_from([None, "lzw", "adobe_deflate", "packbits", "zstd"])),
            byteorder=data.draw(st.sampled_from("<>")),
            metadata=None,
        )
        out, image, _ = again(path, range=UNIT if dtype.startswith("float") else None)
        assert image.shape == (channels, *size)
        with tifffile.TiffFile(path) as old, tifffile.TiffFile(out) as new:
            same(new.pages[0].asarray(), array)
            for name in ("compression", "photometric", "planarconfig"):
                assert getattr(new.pages[0], name) == getattr(old.pages[0], name), name
            assert new.byteorder == old.byteorder
        if dtype.startswith("float"):  # what was declared is written, and not asked for again
            np.testing.assert_allclose(read_image(out)[0], image, rtol=0, atol=0)

    holds()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", ">u2", "float16", "float32"])
def test_arrays_come_back_bit_by_bit(place: Path, suffix: str, dtype: str) -> None:
    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def holds(data: st.DataObject) -> None:
        dims = data.draw(st.integers(1, 3))
        lead = data.draw(st.sampled_from([(), (1,), (2,), (3,)]))
        shape = (*lead, *data.draw(st.lists(st.integers(1, 6), min_size=dims, max_size=dims)))
        array, path = data.draw(values(dtype, shape)), place / f"x{suffix}"
        np.save(path, array) if suffix == ".npy" else np.savez(path, scan=array)
        declared = UNIT if array.dtype.kind == "f" else None
        out, image, _ = again(path, range=declared, dims=dims)
        assert image.shape == (shape if lead else (1, *shape))
        if suffix == ".npy":
            same(np.load(out), array)
        else:
            with np.load(out) as file:
                assert file.files == ["scan"]
                same(file["scan"], array)

    holds()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_nifti_comes_back_bit_by_bit(place: Path, suffix: str, kind: Any, dtype: str) -> None:
    @given(data=st.data())
    @settings(max_examples=8, deadline=None)
    def holds(data: st.DataObject) -> None:
        array = data.draw(values(dtype, data.draw(st.tuples(*[st.integers(1, 5)] * 3))))
        affine = np.diag([0.5, 2, 3, 1])
        made = kind(array, affine)
        scaled = dtype == "int16" and data.draw(st.booleans())
        made.header.set_slope_inter(2 if scaled else 1, -1024 if scaled else 0)
        made.to_filename(place / f"x{suffix}")
        declared = UNIT if dtype == "float32" else (-66560, 64510) if scaled else None
        out, image, intensity = again(place / f"x{suffix}", range=declared, dims=3)
        assert image.shape == (1, *array.shape)
        assert intensity.spacing == (0.5, 2, 3)
        back = nibabel.load(out)
        same(np.asarray(back.dataobj.get_unscaled()), array)
        assert np.array_equal(back.affine, affine)
        assert (back.dataobj.slope, back.dataobj.inter) == ((2, -1024) if scaled else (1, 0))

    holds()


def test_a_declared_range_is_black_and_white(tmp_path: Path) -> None:
    deep = np.array([[0, 1000, 4095]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    out, image, _ = again(tmp_path / "x.png", range=(0, 4095))
    assert image[0, 0].tolist() == pytest.approx([-1, 1000 / 2047.5 - 1, 1], abs=1e-7)
    same(imagecodecs.png_decode(out.read_bytes()), deep)
    with pytest.raises(DataError, match=r"x\.png: .*0 to 4095.*0 to 4094"):
        read_image(tmp_path / "x.png", range=(0, 4094))
    for wrong in [(1, 1), (2, 1), (0, float("nan")), (0,)]:
        with pytest.raises(DataError, match=r"range is \[LOW, HIGH\]"):
            read_image(tmp_path / "x.png", range=wrong)


@given(array=hnp.arrays("int32", (3, 4), elements=st.integers(-(2**23), 2**23 - 1)))
@settings(max_examples=30, deadline=None)
def test_wide_integers_of_a_declared_range_come_back(place: Path, array: Any) -> None:
    np.save(place / "x.npy", array)
    same(np.load(again(place / "x.npy", range=(-(2**23), 2**23 - 1))[0]), array)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float16", "float32", "float64"])
def test_an_unknown_range_is_never_guessed(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1]], dtype)
    np.save(tmp_path / "x.npy", array)
    tifffile.imwrite(tmp_path / "x.tif", array)
    for name in ("x.npy", "x.tif"):
        with pytest.raises(DataError, match=rf"{name}: .*{dtype} .*0 to 1.*range"):
            read_image(tmp_path / name)
        assert read_image(tmp_path / name, range=(0, 1))[0].tolist() == [[[-1, 1]]]
    if dtype.endswith("32") and "int" in dtype:
        with pytest.raises(DataError, match="float32"):
            read_image(tmp_path / "x.npy", range=(0, 2**25))


def test_floats_of_another_range_are_close(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", array)
    out, _, _ = again(tmp_path / "x.tif", range=(0, 1))
    np.testing.assert_allclose(tifffile.imread(out), array, rtol=0, atol=2**-24)


def test_packed_bits_stay_packed(tmp_path: Path) -> None:
    array = np.array([[0, 4095, 7]], np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", array, bitspersample=12)
    out, image, _ = again(tmp_path / "x.tif")
    assert (image.min(), image.max()) == (-1, 1)
    with tifffile.TiffFile(out) as file:
        assert file.pages[0].bitspersample == 12
        same(file.pages[0].asarray(), array)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientations_are_those_of_pillow(tmp_path: Path, turn: int) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = turn
    plain = Image.fromarray(array)
    plain.save(tmp_path / "x.png", exif=exif)
    Image.fromarray(array.astype(np.uint16)).save(tmp_path / "deep.png", exif=exif)
    tifffile.imwrite(tmp_path / "x.tif", array, extratags=[(274, 3, 1, turn, True)])
    with Image.open(tmp_path / "x.png") as file:
        wanted = np.asarray(ImageOps.exif_transpose(file))
    for name in ("x.png", "x.tif"):
        out, _, _ = again(tmp_path / name)
        stored = tifffile.imread(out) if name == "x.tif" else np.asarray(Image.open(out))
        assert np.array_equal(stored, wanted), name
        assert np.array_equal(read_image(out)[0], read_image(tmp_path / name)[0]), "it is not turned twice"
    assert read_image(tmp_path / "deep.png")[0].shape == (1, *wanted.shape)


def test_spacing_and_colour_profile_are_kept(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    picture.save(tmp_path / "x.png", dpi=(254, 127), icc_profile=b"profile")
    out, _, intensity = again(tmp_path / "x.png")
    assert intensity.spacing == pytest.approx((0.2, 0.1), rel=1e-3)
    assert read_image(out)[1].spacing == pytest.approx((0.2, 0.1), rel=1e-3)
    with Image.open(out) as file:
        assert file.info["icc_profile"] == b"profile"
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((4, 6), np.uint8), resolution=(100, 50), resolutionunit="CENTIMETER")
    out, _, intensity = again(tmp_path / "x.tif")
    assert intensity.spacing == pytest.approx((0.2, 0.1))
    assert read_image(out)[1].spacing == pytest.approx((0.2, 0.1))


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".jpg", "uint16"), (".bmp", "uint16"), (".webp", "int16"), (".png", "float32")]
)
def test_what_a_format_cannot_hold_is_never_cut(tmp_path: Path, suffix: str, dtype: str) -> None:
    with pytest.raises(DataError, match=dtype):
        write_image(tmp_path / f"x{suffix}", np.zeros((1, 4, 4)), Intensity(dtype, 0, 100, 1))
    assert list(tmp_path.iterdir()) == []


def test_other_format_gets_range_and_spacing(tmp_path: Path) -> None:
    """A TIFF whose lowest value is white, of another byte order, as PNG and as NumPy file."""
    array = np.array([[0, 65535, 100]], np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", array, photometric="miniswhite", byteorder=">")
    image, intensity = read_image(tmp_path / "x.tif")
    assert intensity.photometric == "MONOCHROME1"
    assert image[0, 0, :2].tolist() == [1, -1]
    for name in ("x.png", "x.npy", "x.npz", "y.tiff"):
        write_image(tmp_path / name, image, intensity)
        np.testing.assert_allclose(read_image(tmp_path / name)[0], image, rtol=0, atol=1e-6)
    same(imagecodecs.png_decode((tmp_path / "x.png").read_bytes()), 65535 - array)


# Files that are not as they should be: one line each, with the file's name


def refused(path: Path, named: str, **options: Any) -> None:
    with pytest.raises(DataError, match=named) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


def whole(suffix: str) -> bytes:
    stream, array = io.BytesIO(), np.random.default_rng(0).integers(0, 2**16, (40, 40)).astype(np.uint16)
    if suffix == ".png":
        Image.fromarray(array).save(stream, "PNG")
    elif suffix == ".tif":
        tifffile.imwrite(stream, array, compression="lzw")
    elif suffix == ".npy":
        np.save(stream, array)
    elif suffix == ".npz":
        np.savez_compressed(stream, array)
    elif suffix in (".nii", ".nii.gz"):
        data = nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)).to_bytes()
        stream.write(gzip.compress(data) if suffix == ".nii.gz" else data)
    else:
        kind = {".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}[suffix]
        Image.fromarray((array >> 8).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


SUFFIXES = [".png", ".jpg", ".tif", ".bmp", ".webp", ".npy", ".npz", ".nii", ".nii.gz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0, 0.003, 0.1, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, suffix: str, part: float) -> None:
    content = whole(suffix)
    (tmp_path / f"x{suffix}").write_bytes(content[: int(len(content) * part)])
    refused(tmp_path / f"x{suffix}", "x" if part else "is empty")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_never_end_in_a_traceback(place: Path, suffix: str) -> None:
    content, path = whole(suffix), place / f"damaged{suffix}"

    @given(at=st.integers(0, len(content) - 1), byte=st.integers(0, 255), head=st.booleans())
    @settings(max_examples=25, deadline=None)
    def holds(at: int, byte: int, head: bool) -> None:
        at = at % 400 if head else at
        path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
        with contextlib.suppress(DataError):
            assert np.isfinite(read_image(path)[0]).all()

    holds()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_content_decides_whatever_the_name_says(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"right{suffix}").write_bytes(whole(suffix))
    (tmp_path / "wrong.jpeg").write_bytes(whole(suffix))
    right, wrong = read_image(tmp_path / f"right{suffix}"), read_image(tmp_path / "wrong.jpeg")
    assert np.array_equal(right[0], wrong[0])
    assert right[1].format == wrong[1].format


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_decompression_bombs(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.io.intensity.LIMIT", 1599)
    (tmp_path / f"x{suffix}").write_bytes(whole(suffix))
    refused(tmp_path / f"x{suffix}", "has .*40x40.* pixels, more than 1,599")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Sizes that a header promises, without the pixels."""
    np.lib.format.write_array_header_1_0(
        stream := io.BytesIO(), {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    (tmp_path / "x.npy").write_bytes(stream.getvalue())
    refused(tmp_path / "x.npy", "1000000x1000000 pixels, more than")
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "x.nii").write_bytes(header.binaryblock + b"\0" * 8)
    refused(tmp_path / "x.nii", "30000x30000x30000 pixels, more than")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".npy", ".npz"])
def test_thin_images(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    write_image(tmp_path / f"x{suffix}", np.full((3, *size), 0.5))
    image, _ = read_image(tmp_path / f"x{suffix}", range=UNIT if suffix.startswith(".np") else None)
    assert image.shape == (3, *size)
    assert np.abs(image - 0.5).max() < 0.02


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    array = np.array([[0, value]], np.float32)
    np.save(tmp_path / "x.npy", array)
    tifffile.imwrite(tmp_path / "x.tif", array)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "x.nii")
    for name in ("x.npy", "x.tif", "x.nii"):
        refused(tmp_path / name, "holds values that are not finite", range=(0, 1))


def test_invalid_arrays_are_refused(tmp_path: Path) -> None:
    for name, array in {"bool": np.zeros((2, 2), bool), "complex": np.zeros((2, 2), complex)}.items():
        np.save(tmp_path / f"{name}.npy", array)
        refused(tmp_path / f"{name}.npy", f"holds values of type {name}")
    np.save(tmp_path / "object.npy", np.array([[None]]), allow_pickle=True)
    refused(tmp_path / "object.npy", "holds values of type object")
    np.save(tmp_path / "empty.npy", np.zeros((0, 4), np.uint8))
    refused(tmp_path / "empty.npy", "is empty")
    np.save(tmp_path / "many.npy", np.zeros((2, 2, 2, 2, 2), np.uint8))
    refused(tmp_path / "many.npy", "one, two or three spatial sizes")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    refused(tmp_path / "two.npz", r"holds 2 arrays \(a, b\); one is expected")


def test_colours_that_are_not_read(tmp_path: Path) -> None:
    for channels in (2, 4):
        deep = np.zeros((4, 4, channels), np.uint16)
        (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(deep))
        refused(tmp_path / "x.png", "has an alpha channel; flatten it first")
    Image.new("RGBA", (4, 4)).save(tmp_path / "x.webp", lossless=True)
    refused(tmp_path / "x.webp", "has an alpha channel")
    Image.new("L", (4, 4)).save(tmp_path / "clear.png", transparency=0)
    refused(tmp_path / "clear.png", "tRNS")
    Image.new("P", (4, 4)).save(tmp_path / "x.tif")
    refused(tmp_path / "x.tif", "has an indexed palette")
    Image.new("CMYK", (4, 4)).save(tmp_path / "x.tif")
    refused(tmp_path / "x.tif", "has CMYK colours")
    Image.new("RGBA", (4, 4)).save(tmp_path / "x.tif")
    refused(tmp_path / "x.tif", "has 4 samples a pixel")
    Image.new("1", (4, 4)).save(tmp_path / "x.tif")
    refused(tmp_path / "x.tif", "1 bit a pixel")


def test_several_images_in_one_file(tmp_path: Path) -> None:
    pages = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
    refused(tmp_path / "x.tif", "holds 3 pages, and one is read at a time")
    refused(tmp_path / "x.tif", "has no page 3; it holds 3, counted from 0", frame=3)
    assert read_image(tmp_path / "x.tif", frame=2)[0][0, 0, 0] == pytest.approx(2 / 127.5 - 1)
    frames = [Image.fromarray(page * 100) for page in pages]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "x.png", "holds 3 frames")
    nibabel.Nifti1Image(np.zeros((2, 3, 4, 5), np.int16), np.eye(4)).to_filename(tmp_path / "x.nii")
    refused(tmp_path / "x.nii", "holds 5 volumes")
    assert read_image(tmp_path / "x.nii", frame=4)[0].shape == (1, 2, 3, 4)


def test_nifti_without_nibabel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.nii").write_bytes(whole(".nii"))
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    monkeypatch.delitem(__import__("sys").modules, "restorekit.io.formats.nifti", raising=False)
    refused(tmp_path / "x.nii", r"is NIfTI, which takes an extra; run: pip install 'restorekit\[nifti\]'")


def test_images_are_found_by_name(tmp_path: Path) -> None:
    names = ["a.tif", "b.TIFF", "c.bmp", "d.webp", "e.npy", "f.npz", "g.dcm", "h.nii", "i.nii.gz"]
    for name in [*names, "j.gz", "k", "l.txt"]:
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == names
