import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import restorekit
from restorekit import DataError, Intensity, find_images, to_stored, write_image
from restorekit.io.images import read_image


def pixels(mode="L", size=(7, 5)):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_png_round_trip_is_bit_identical(tmp_path, mode):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stored = every if mode == "L" else np.stack([every, every.T, every[::-1]], -1)
    Image.fromarray(stored).save(tmp_path / "in.png")
    image, intensity = read_image(tmp_path / "in.png")
    assert image.shape == (1 if mode == "L" else 3, 16, 16)
    assert image.dtype == np.float32
    assert (image.min().item(), image.max().item()) == (-1, 1)
    assert (intensity.dtype, intensity.low, intensity.high, intensity.channels) == ("uint8", 0, 255, image.shape[0])
    write_image(tmp_path / "out.png", image)
    with Image.open(tmp_path / "out.png") as file:
        assert file.mode == mode
        assert np.array_equal(np.asarray(file), stored)


def test_jpeg_round_trip_is_close(tmp_path):
    smooth = np.broadcast_to(np.linspace(-1, 1, 64), (1, 64, 64))
    write_image(tmp_path / "x.jpg", smooth)
    assert np.abs(read_image(tmp_path / "x.jpg")[0] - smooth).max() < 0.05


@pytest.mark.parametrize(
    ("mode", "named"),
    [("P", "palette"), ("RGBA", "alpha"), ("LA", "alpha"), ("1", "1 bit")],
)
def test_other_modes_are_refused(tmp_path, mode, named):
    pixels(mode).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=rf"x.png: has .*{named}"):
        read_image(tmp_path / "x.png")


def test_cmyk_is_refused(tmp_path):
    pixels("CMYK").save(tmp_path / "x.jpg")
    with pytest.raises(DataError, match=r"x\.jpg: .*CMYK"):
        read_image(tmp_path / "x.jpg")


def test_palette_with_transparency_is_refused(tmp_path):
    pixels("P").save(tmp_path / "x.png", transparency=0)
    with pytest.raises(DataError, match=r"x\.png: .*palette"):
        read_image(tmp_path / "x.png")


def chunk(name, content):
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", zlib.crc32(name + content))


@given(hnp.arrays(st.sampled_from(["uint8", "uint16"]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
@settings(deadline=None)
def test_plain_gray_png_is_read_as_pillow_reads_it(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("png") / "x.png"
    Image.fromarray(array).save(path, dpi=(254, 254))
    read, intensity = read_image(path)
    assert intensity.dtype == array.dtype
    assert np.array_equal(((read[0].astype(np.float64) + 1) * (intensity.high / 2)).round(), array)
    assert intensity.spacing == pytest.approx((0.1, 0.1), rel=1e-3)


def test_what_stands_behind_the_pixels_of_a_png_counts(tmp_path):
    pixels("L", (8, 4)).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = chunk(b"eXIf", exif.tobytes()[6:])
    (tmp_path / "y.png").write_bytes(content[:-12] + turned + content[-12:])
    assert read_image(tmp_path / "x.png")[0].shape == (1, 4, 8)
    assert read_image(tmp_path / "y.png")[0].shape == (1, 8, 4)


def test_a_gray_png_with_a_clear_gray_is_refused(tmp_path):
    pixels("L").save(tmp_path / "x.png", transparency=3)
    with pytest.raises(DataError, match=r"x\.png: "):
        read_image(tmp_path / "x.png")


def test_a_gray_png_with_wrong_check_sums_is_named(tmp_path):
    content = bytearray(png("L"))
    content[-18] ^= 1  # in the check sum of the pixels
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x.png: "):
        read_image(tmp_path / "x.png")


def png(mode="RGB"):
    stream = io.BytesIO()
    pixels(mode, (64, 64)).save(stream, "PNG")
    return stream.getvalue()


def gif():
    stream = io.BytesIO()
    pixels("L").save(stream, "GIF")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG", png()[: len(png()) // 2], png()[:-30], png("L")[:-30], png("L")[:90], gif(), b"text"],
)
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x.png: ") as caught:
        read_image(tmp_path / "x.png")
    assert "\n" not in str(caught.value)


def test_truncated_jpeg_is_named(tmp_path):
    pixels("RGB", (64, 64)).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:900])
    with pytest.raises(DataError, match=r"x.jpg: "):
        read_image(tmp_path / "x.jpg")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"x\.png"):
        read_image(tmp_path / "x.png")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(DataError, match=r"d\.png"):
        read_image(tmp_path / "d.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    pixels("L", (8, 4)).save(tmp_path / f"x.{suffix}", exif=exif)
    assert read_image(tmp_path / f"x.{suffix}")[0].shape == (1, 8, 4)


@pytest.mark.parametrize(
    ("name", "shape", "named"),
    [
        ("x.gif", (1, 4, 4), "files are written as"),
        ("x", (1, 4, 4), "no suffix"),
        ("x.png", (2, 4, 4), "got"),
        ("x.png", (4, 4), "got"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, shape, named):
    with pytest.raises(DataError, match=named):
        write_image(tmp_path / name, np.zeros(shape))
    assert list(tmp_path.iterdir()) == []


def test_values_are_clamped_and_rounded(tmp_path):
    write_image(tmp_path / "deep" / "x.png", np.array([[[-7.0, 7.0, 0.001]]]))
    with Image.open(tmp_path / "deep" / "x.png") as file:
        assert np.asarray(file).tolist() == [[0, 255, 128]]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failing_write_leaves_what_was_there(tmp_path, monkeypatch, old):
    if old is not None:
        (tmp_path / "x.png").write_bytes(old)

    def fail(self, stream, **options):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_image(tmp_path / "x.png", np.zeros((1, 4, 4)))
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == ({} if old is None else {"x.png": old})


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="not finite"):
        write_image(tmp_path / "x.png", np.full((1, 4, 4), float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_find_images(tmp_path):
    for name in ("b/2.PNG", "a.jpg", "c.jpeg", "no.txt", ".hidden/x.png", ".y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == ["a.jpg", "b/2.PNG", "c.jpeg"]


def test_images_behind_links_are_found_and_circles_end(tmp_path):
    write_image(tmp_path / "disk" / "yes" / "1.png", np.zeros((1, 4, 4)))
    write_image(tmp_path / "here" / "no" / "2.png", np.zeros((1, 4, 4)))
    (tmp_path / "here" / "yes").symlink_to(tmp_path / "disk" / "yes")
    (tmp_path / "disk" / "yes" / "up").symlink_to(tmp_path / "here")
    (tmp_path / "here" / ".hidden").symlink_to(tmp_path / "disk")
    found = [path.relative_to(tmp_path / "here").as_posix() for path in find_images(tmp_path / "here")]
    assert found == ["no/2.png", "yes/1.png"]
    assert find_images(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "dtype", "ends"),
    [("x.nii", "float16", (0, 1)), ("x.nii.gz", "float16", (0, 1)), ("x.tif", "float32", (-1e39, 1e39))],
)
def test_what_a_library_cannot_write_is_an_error_that_names_the_file(tmp_path, name, dtype, ends):
    format = "TIFF" if name.endswith("tif") else "NIFTI"
    with pytest.raises(DataError, match=name):
        write_image(tmp_path / name, np.zeros((1, 4, 4)), Intensity(dtype, *ends, 1, format))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 4, 4, requires_grad=True), np.zeros((1, 4, 4), np.uint8), None, [[[0.0], [0.0, 1.0]]]]
)
def test_what_is_no_array_of_floating_point_is_refused(tmp_path, image):
    with pytest.raises(DataError, match="image: got"):
        write_image(tmp_path / "x.png", image)
    with pytest.raises(DataError, match="image: got"):
        to_stored(image, Intensity("uint8", 0, 255, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_is_written_like_an_array_and_read_back_as_one(tmp_path):
    values = torch.linspace(-1, 1, 256).reshape(1, 16, 16)
    write_image(tmp_path / "tensor.png", values)
    write_image(tmp_path / "array.png", values.numpy())
    assert (tmp_path / "tensor.png").read_bytes() == (tmp_path / "array.png").read_bytes()
    image, known = restorekit.read_image(tmp_path / "tensor.png")
    assert isinstance(image, torch.Tensor)
    assert np.array_equal(image.numpy(), read_image(tmp_path / "tensor.png")[0])
    assert known.high == 255
