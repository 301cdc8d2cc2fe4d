"""PNG: every chunk's checksum is verified, and what chunks say of values is applied or refused."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from restorekit import DataError, Intensity, write_image
from restorekit.io.images import read_image
from tests.bits import check_flipped_bits

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
START = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    array: Any = GRAY, before: bytes = b"", after: bytes = b"", *, adler: bytes = b"", extra: bytes = b"", cut: int = 0
) -> bytes:
    """A PNG by hand, with chunks before and after the image data."""
    deep, colours = array.dtype.itemsize * 8, 2 if array.ndim == 3 else 0
    raw = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array)
    packed = zlib.compress(raw[: len(raw) - cut] + extra)
    packed = packed[:-4] + adler if adler else packed
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], deep, colours, 0, 0, 0)
    return START + chunk(b"IHDR", header) + before + chunk(b"IDAT", packed) + after + chunk(b"IEND", b"")


DEEP = (GRAY.astype(np.uint16) * 273).clip(0, 65535)
COLOUR = np.stack([GRAY, 255 - GRAY, GRAY // 2], -1)
KINDS = {"gray 8": GRAY, "gray 16": DEEP, "colour 8": COLOUR, "colour 16": COLOUR.astype(np.uint16) * 257}


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def levels(path: Path, **options: Any) -> Any:
    """What is read, in stored values, as (H, W) or (H, W, 3)."""
    image, known = read_image(path, **options)
    values = ((image.astype(np.float64) + 1) / 2 * (known.high - known.low) + known.low).round()
    return values[0] if len(values) == 1 else values.transpose(1, 2, 0)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_all_depths_are_read(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "x.png", png(KINDS[kind]))
    most = 65535 if kind.endswith("16") else 255
    assert np.array_equal(levels(path, range=(0, most)), KINDS[kind])


@pytest.mark.parametrize("bits", [2, 4])
def test_fewer_bits_are_scaled_to_black_and_white(tmp_path: Path, bits: int) -> None:
    codes = np.arange(2**bits)
    packed = np.packbits(((codes[:, None] >> np.arange(bits)[::-1]) & 1).reshape(-1).astype(np.uint8)).tobytes()
    header = struct.pack(">IIBBBBB", len(codes), 1, bits, 0, 0, 0, 0)
    content = START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
    image, _ = read_image(saved(tmp_path / "x.png", content))
    assert np.allclose(image[0, 0], codes / (2**bits - 1) * 2 - 1, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_interlaced_files_are_read(tmp_path: Path, kind: str) -> None:
    """Adam7 by hand: seven passes of (first row, first column, row step, column step)."""
    array = KINDS[kind]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    raw = b"".join(
        b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes()
        for r, c, down, across in passes
        for row in array[r::down, c::across]
    )
    size = (array.shape[1], array.shape[0], array.dtype.itemsize * 8, 2 if array.ndim == 3 else 0, 0, 0, 1)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", *size)) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path = saved(tmp_path / "x.png", START + content)
    assert np.array_equal(levels(path, range=(0, 65535 if kind.endswith("16") else 255)), array)


# Meaning


@pytest.mark.parametrize("kind", KINDS)
def test_a_transparent_colour_is_refused(tmp_path: Path, kind: str) -> None:
    key = struct.pack(">H", 5) * (3 if kind.startswith("colour") else 1)
    assert "tRNS" in refused(saved(tmp_path / "x.png", png(KINDS[kind], chunk(b"tRNS", key))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gamma", [100000, 0, 20000, 90000])
def test_a_gamma_unlike_a_display_is_refused(tmp_path: Path, kind: str, gamma: int) -> None:
    content = png(KINDS[kind], chunk(b"gAMA", struct.pack(">I", gamma)))
    declared = (0, 65535 if kind.endswith("16") else 255)
    assert "gAMA" in refused(saved(tmp_path / "x.png", content), range=declared)


@pytest.mark.parametrize(
    "before",
    [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"gAMA", struct.pack(">I", 55556)),
        chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000)),
        chunk(b"cICP", bytes([1, 13, 0, 1])),
        chunk(b"cHRM", bytes(32)),
        chunk(b"bKGD", b"\0\1"),
        chunk(b"tEXt", b"Title\0x"),
        chunk(b"prVt", b"private"),
    ],
)
@pytest.mark.parametrize("kind", ["gray 8", "gray 16"])
def test_plain_statements_change_nothing(tmp_path: Path, kind: str, before: bytes) -> None:
    path = saved(tmp_path / "x.png", png(KINDS[kind], before))
    assert np.array_equal(levels(path, range=(0, 65535 if kind.endswith("16") else 255)), KINDS[kind])


@pytest.mark.parametrize(
    "before",
    [
        chunk(b"cICP", bytes([9, 16, 0, 1])),
        chunk(b"cICP", bytes([1, 8, 0, 1])),
        chunk(b"cICP", bytes([1, 13, 0, 0])),
        chunk(b"pCAL", b"name\0" + bytes(20)),
        chunk(b"CgBI", bytes(4)),
        chunk(b"sBIT", b"\x09"),
        chunk(b"sBIT", b"\0"),
        chunk(b"sBIT", b"\4\4\4"),
    ],
)
def test_other_meanings_are_refused(tmp_path: Path, before: bytes) -> None:
    refused(saved(tmp_path / "x.png", png(GRAY, before)))


@pytest.mark.parametrize("kind", ["colour 8", "colour 16"])
def test_what_states_the_colours_comes_back(tmp_path: Path, kind: str) -> None:
    stated = [
        chunk(b"cICP", bytes([9, 14, 0, 1])),
        chunk(b"gAMA", (55556).to_bytes(4, "big")),
        chunk(b"cHRM", bytes(range(32))),
        chunk(b"sRGB", b"\1"),
    ]
    path = saved(tmp_path / "x.png", png(KINDS[kind], b"".join(stated)))
    write_image(tmp_path / "y.png", *read_image(path, range=(0, 65535 if kind.endswith("16") else 255)))
    content = (tmp_path / "y.png").read_bytes()
    assert all(content.count(one) == 1 for one in stated)
    assert content.index(b"cHRM") < content.index(b"IDAT")
    read_image(tmp_path / "y.png", range=(0, 65535 if kind.endswith("16") else 255))


def icc(gamma: float | None) -> bytes:
    """A gray ICC profile with one tone curve: of a gamma, or none, which is linear."""
    curve = b"curv" + bytes(4) + (bytes(4) if gamma is None else struct.pack(">IH", 1, round(gamma * 256)))
    table = struct.pack(">I4sII", 1, b"kTRC", 144, len(curve))
    return (bytes(12) + b"mntrGRAYXYZ " + bytes(12) + b"acsp").ljust(128, b"\0") + table + curve


@pytest.mark.parametrize(("gamma", "read"), [(2.2, True), (1.8, True), (1.0, False), (None, False), (4.0, False)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_profiles_of_linear_light_are_refused(tmp_path: Path, gamma: float | None, read: bool, suffix: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"x{suffix}", icc_profile=icc(gamma))
    if read:
        assert read_image(tmp_path / f"x{suffix}")[1].details["icc_profile"] == icc(gamma)
    else:
        refused(tmp_path / f"x{suffix}")


def test_profiles_of_littlecms_are_read(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOUR).save(tmp_path / "x.png", icc_profile=profile)
    image, known = read_image(tmp_path / "x.png")
    assert known.details["icc_profile"] == profile
    write_image(tmp_path / "y.png", image, known)
    with Image.open(tmp_path / "y.png") as file:
        assert file.info["icc_profile"] == profile


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_significant_bits_come_back(tmp_path: Path, bits: int, channels: int) -> None:
    """Values of fewer bits that are stored as they are: the range is that of the bits."""
    stored = np.array([[0, 2**bits - 1, 77], [5, 6, 7]], np.uint16)
    stored = stored if channels == 1 else np.stack([stored] * 3, -1)
    path = saved(tmp_path / "x.png", png(stored, chunk(b"sBIT", bytes([bits] * channels))))
    image, known = read_image(path)
    assert (known.bits, known.low, known.high) == (bits, 0, 2**bits - 1)
    write_image(tmp_path / "y.png", image, known)
    again, back = read_image(tmp_path / "y.png")
    assert (back.bits, back.low, back.high) == (bits, 0, 2**bits - 1)
    assert np.array_equal(again, image)
    assert np.array_equal(imagecodecs.png_decode((tmp_path / "y.png").read_bytes()), stored)


def test_values_that_are_scaled_from_fewer_bits_use_the_whole_depth(tmp_path: Path) -> None:
    """By the specification of PNG: sample = floor(value * 65535 / 4095 + 0.5)."""
    twelve = np.array([[0, 1000, 2000, 4095]])
    stored = np.floor(twelve * 65535 / 4095 + 0.5).astype(np.uint16)
    image, known = read_image(saved(tmp_path / "x.png", png(stored, chunk(b"sBIT", b"\x0c"))))
    assert known.high == 65535
    assert np.allclose(image[0, 0], twelve[0] / 4095 * 2 - 1, atol=1e-4)


def test_a_depth_of_8_bits_is_kept_whatever_sbit_says(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", png(GRAY, chunk(b"sBIT", b"\5")))
    assert np.array_equal(levels(path), GRAY)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("still", [False, True])
def test_frames_of_an_animation_are_counted(tmp_path: Path, kind: str, still: bool) -> None:
    array = KINDS[kind]
    control = struct.pack(">IIIIHHBB", array.shape[1], array.shape[0], 0, 0, 1, 1, 0, 0)
    rows = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array // 2)
    first = b"" if still else chunk(b"fcTL", struct.pack(">I", 0) + control)
    at = 0 if still else 1
    second = chunk(b"fcTL", struct.pack(">I", at) + control)
    second += chunk(b"fdAT", struct.pack(">I", at + 1) + zlib.compress(rows))
    content = png(array, chunk(b"acTL", struct.pack(">II", 1 if still else 2, 0)) + first, second)
    path = saved(tmp_path / "x.png", content)
    assert "2" in refused(path)
    most = 65535 if kind.endswith("16") else 255
    assert np.array_equal(levels(path, frame=0, range=(0, most)), array)
    if most == 255:
        assert np.array_equal(levels(path, frame=1), array // 2)
    else:
        refused(path, frame=1, range=(0, most))
    wrong = png(array, chunk(b"acTL", struct.pack(">II", 3, 0)) + first, second)
    refused(saved(tmp_path / "y.png", wrong))


def test_one_frame_of_an_animation_is_an_image(tmp_path: Path) -> None:
    control = struct.pack(">IIIIIHHBB", 0, 8, 6, 0, 0, 1, 1, 0, 0)
    content = png(GRAY, chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", control))
    assert np.array_equal(levels(saved(tmp_path / "x.png", content)), GRAY)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["before", "after"])
def test_orientation_is_applied_wherever_it_stands(tmp_path: Path, kind: str, where: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = chunk(b"eXIf", exif.tobytes()[6:])
    path = saved(tmp_path / "x.png", png(KINDS[kind], **{where: turned}))
    most = 65535 if kind.endswith("16") else 255
    assert np.array_equal(levels(path, range=(0, most)), np.rot90(KINDS[kind], -1))


def test_spacing_is_that_of_phys_or_scal(tmp_path: Path) -> None:
    for before, wanted in (
        (chunk(b"pHYs", struct.pack(">IIB", 10000, 5000, 1)), (0.2, 0.1)),
        (chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)), None),
        (chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)), None),
        (chunk(b"sCAL", b"\x010.0001\x000.0002"), (0.2, 0.1)),
        (b"", None),
    ):
        spacing = read_image(saved(tmp_path / "x.png", png(GRAY, before)))[1].spacing
        assert spacing == (None if wanted is None else pytest.approx(wanted))


@given(dpi=st.floats(1e-3, 1e8), dtype=st.sampled_from(["uint8", "uint16"]), channels=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_resolution_is_written_right_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, dpi: float, dtype: str, channels: int
) -> None:
    path = tmp_path_factory.mktemp("dpi") / "x.png"
    known = Intensity(dtype, 0, np.iinfo(dtype).max, channels, "PNG", spacing=(25.4 / dpi,) * 2)
    write_image(path, np.zeros((channels, 4, 4)), known)
    spacing = read_image(path)[1].spacing
    assert spacing is None or spacing == pytest.approx((25.4 / dpi,) * 2, rel=0.0101)
    assert spacing is not None or dpi < 3 or dpi > 5e7


# Checksums and lengths


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    before = chunk(b"tEXt", b"Title\0a text") + chunk(b"pHYs", struct.pack(">IIB", 10000, 5000, 1))
    content = png(KINDS[kind], before, chunk(b"tIME", bytes([7, 230, 1, 1, 1, 1, 1])))
    declared = (0, 65535 if kind.endswith("16") else 255)
    check_flipped_bits(tmp_path / "x.png", content, range=declared)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str) -> None:
    content = png(KINDS[kind])
    for length in (0, 20, len(content) // 2, len(content) - 13, len(content) - 12, len(content) - 4, len(content) - 1):
        refused(saved(tmp_path / "x.png", content[:length]))


@pytest.mark.parametrize("kind", KINDS)
def test_image_data_of_a_wrong_checksum_or_length_are_refused(tmp_path: Path, kind: str) -> None:
    array = KINDS[kind]
    for content in (png(array, adler=bytes(4)), png(array, cut=7), png(array, extra=bytes(7))):
        refused(saved(tmp_path / "x.png", content))


@pytest.mark.parametrize("name", [b"tEXt", b"tIME", b"prVt", b"IDAT", b"IEND"])
def test_every_checksum_is_verified(tmp_path: Path, name: bytes) -> None:
    content = bytearray(png(GRAY, chunk(b"tEXt", b"a\0b") + chunk(b"prVt", b"x"), chunk(b"tIME", bytes(7))))
    at = content.index(name)
    length = struct.unpack_from(">I", content, at - 4)[0]
    content[at + 4 + length] ^= 1
    refused(saved(tmp_path / "x.png", bytes(content)))


def test_a_second_image_behind_the_end_is_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path / "x.png", png() + png()))
    assert np.array_equal(levels(saved(tmp_path / "y.png", png() + b"padding")), GRAY)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_files_of_pillow_are_read_as_pillow_reads_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    shape = (data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30)), 3)
    array = rng.integers(0, 256, shape[: data.draw(st.integers(2, 3))]).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", optimize=data.draw(st.booleans()))
    path = saved(tmp_path_factory.mktemp("pillow") / "x.png", stream.getvalue())
    assert np.array_equal(levels(path), array)
