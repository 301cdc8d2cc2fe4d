"""JPEG, BMP and WebP: what their bytes say of values and pictures, and files that are cut short or damaged."""

import contextlib
import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from restorekit import DataError, Intensity, write_image
from restorekit.io.formats.jpeg import parse
from restorekit.io.images import read_image

RNG = np.random.default_rng(0)
GRAY = np.clip(np.cumsum(RNG.integers(-9, 10, (48, 64)), 1) + 128, 0, 255).astype(np.uint8)
COLOUR = np.stack([GRAY, np.roll(GRAY, 9, 1), 255 - GRAY], -1)


def encoded(array: Any, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def levels(path: Path, **options: Any) -> Any:
    values = ((read_image(path, **options)[0].astype(np.float64) + 1) * 127.5).round()
    return values[0] if len(values) == 1 else values.transpose(1, 2, 0)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "full chroma": {"subsampling": 0},
    "no colour transform": {"keep_rgb": True},
    "optimized": {"optimize": True, "quality": 40},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_pillow_are_read_as_pillow_reads_them(tmp_path: Path, way: str, channels: int) -> None:
    content = encoded(GRAY if channels == 1 else COLOUR, **WAYS[way])
    path = saved(tmp_path / "x.jpg", content)
    assert np.array_equal(levels(path), np.asarray(Image.open(path)))
    if way == "no colour transform" and channels == 3:
        assert parse(content).transform == 0
        assert np.abs(levels(path) - COLOUR).mean() < 8


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def test_contradicting_colours_are_refused(tmp_path: Path) -> None:
    """JFIF says YCbCr, Adobe's transform 0 says RGB."""
    content = encoded(COLOUR)
    for transform, read in ((1, True), (0, False), (2, False)):
        path = saved(tmp_path / "x.jpg", content[:20] + adobe(transform) + content[20:])
        if read:
            assert np.array_equal(levels(path), np.asarray(Image.open(io.BytesIO(content))))
        else:
            refused(path)


def test_other_processes_are_refused_by_name(tmp_path: Path) -> None:
    deep = (GRAY.astype(np.uint16) << 4) | 5
    contents = {
        "12": imagecodecs.jpeg_encode(deep, bitspersample=12),
        "lossless": imagecodecs.jpeg_encode(GRAY, lossless=True),
        "JPEG-LS": imagecodecs.jpegls_encode(GRAY),
    }
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(stream, "JPEG")
    contents["CMYK"] = stream.getvalue()
    for name, content in contents.items():
        assert name in refused(saved(tmp_path / "x.jpg", bytes(content))), name


def test_several_pictures_are_counted(tmp_path: Path) -> None:
    others = [255 - COLOUR, np.roll(COLOUR, 20, 0)]
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "MPO", save_all=True, append_images=[Image.fromarray(a) for a in others])
    path = saved(tmp_path / "x.jpg", stream.getvalue())
    assert "3" in refused(path)
    with Image.open(path) as file:
        for frame in range(3):
            file.seek(frame)
            assert np.array_equal(levels(path, frame=frame), np.asarray(file))
    refused(path, frame=3)
    first = parse(stream.getvalue())
    refused(saved(tmp_path / "y.jpg", stream.getvalue()[: first.end]))
    assert "2" in refused(saved(tmp_path / "z.jpg", encoded(GRAY) + encoded(GRAY)))


def test_smaller_copies_and_gain_maps_do_not_count(tmp_path: Path) -> None:
    main, other = encoded(COLOUR), encoded(COLOUR[::2, ::2])
    gain = other[:2] + segment(
        0xE1, b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'/>"
    )
    saved(tmp_path / "gain.jpg", main + gain + other[2:])
    assert np.array_equal(levels(tmp_path / "gain.jpg"), np.asarray(Image.open(io.BytesIO(main))))
    for kind, read in ((0x010001, True), (0x020002, False), (0, False)):
        index = b"MM\0*" + struct.pack(">IHHHIIHHIII", 8, 2, 0xB001, 4, 1, 2, 0xB002, 7, 32, 38, 0)
        place = len(main) + 4 + 4 + len(index) + 32 - 28  # of the second picture, from the byte order mark on
        index += struct.pack(">IIIHH", 0x030000, 0, 0, 0, 0) + struct.pack(">IIIHH", kind, len(other), place, 0, 0)
        content = main[:20] + segment(0xE2, b"MPF\0" + index) + main[20:]
        assert content[place + 28 :] == b"", "the second begins behind the first"
        path = saved(tmp_path / "x.jpg", content + other)
        if read:
            assert np.array_equal(levels(path), np.asarray(Image.open(io.BytesIO(main))))
        else:
            assert "2" in refused(path)


def test_other_data_behind_the_end_is_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", encoded(GRAY) + b"SAMSUNG TRAILER")
    assert np.array_equal(levels(path), np.asarray(Image.open(path)))


# Cut or damaged


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ended", [False, True])
def test_a_truncated_file_is_refused(tmp_path: Path, way: str, ended: bool) -> None:
    """Also where an end marker was put behind the cut, so that a decoder fills the rest with gray."""
    content = encoded(COLOUR, **WAYS[way])
    for length in range(len(content) // 5, len(content) - 40, 97):
        refused(saved(tmp_path / "x.jpg", content[:length] + (b"\xff\xd9" if ended else b"")))
    refused(saved(tmp_path / "x.jpg", content[:-2]))


def test_scans_that_are_missing_are_refused(tmp_path: Path) -> None:
    content = encoded(COLOUR, progressive=True)
    scans = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for scan in scans[1:]:
        refused(saved(tmp_path / "x.jpg", content[:scan] + b"\xff\xd9"))


def test_zeros_before_the_end_marker_do_no_harm(tmp_path: Path) -> None:
    content = encoded(GRAY)
    path = saved(tmp_path / "x.jpg", content[:-2] + bytes(5) + content[-2:])
    assert np.array_equal(levels(path), np.asarray(Image.open(io.BytesIO(content))))


@given(at=st.integers(2, len(encoded(COLOUR)) - 1), byte=st.integers(0, 255))
@settings(max_examples=25, deadline=None)
def test_a_damaged_file_ends_in_an_error_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    content = bytearray(encoded(COLOUR))
    content[at] = byte
    path = saved(tmp_path_factory.mktemp("jpeg") / "x.jpg", bytes(content))
    with contextlib.suppress(DataError):
        assert np.isfinite(read_image(path)[0]).all()


# Resolution


@pytest.mark.parametrize(
    ("density", "wanted"),
    [((1, 254, 127), (0.2, 0.1)), ((2, 100, 50), (0.2, 0.1)), ((0, 1, 1), None), ((1, 0, 0), None)],
)
def test_density_of_jfif_is_applied(tmp_path: Path, density: Any, wanted: Any) -> None:
    content = bytearray(encoded(GRAY))
    struct.pack_into(">BHH", content, 13, *density)
    spacing = read_image(saved(tmp_path / "x.jpg", bytes(content)))[1].spacing
    assert spacing == (None if wanted is None else pytest.approx(wanted))


def test_density_that_nobody_states_is_unknown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    path = saved(tmp_path / "x.jpg", encoded(GRAY, exif=exif))
    assert read_image(path)[1].spacing is None
    exif[0x011A], exif[0x011B], exif[0x0128] = 50.0, 100.0, 3
    path = saved(tmp_path / "x.jpg", encoded(GRAY, exif=exif))
    assert read_image(path)[1].spacing == pytest.approx((0.1, 0.2))


@given(dpi=st.floats(1e-2, 1e7), suffix=st.sampled_from([".jpg", ".bmp"]))
@settings(max_examples=25, deadline=None)
def test_resolution_is_written_right_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, dpi: float, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("dpi") / f"x{suffix}"
    write_image(path, np.zeros((1, 4, 4)), Intensity("uint8", 0, 255, 1, spacing=(25.4 / dpi, 12.7 / dpi)))
    spacing = read_image(path)[1].spacing
    assert spacing is None or spacing == pytest.approx((25.4 / dpi, 12.7 / dpi), rel=0.02)
    assert spacing is not None or suffix == ".bmp"


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".png", ".tif"])
@pytest.mark.parametrize(
    "spacing", [(0.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0), (1.0,), (1e-12, 1.0)]
)
def test_a_spacing_that_is_none_is_left_out(tmp_path: Path, suffix: str, spacing: Any) -> None:
    path = tmp_path / f"x{suffix}"
    write_image(path, np.zeros((1, 4, 4)), Intensity("uint8", 0, 255, 1, spacing=spacing))
    assert read_image(path)[1].spacing is None


def test_100000_dots_an_inch_are_written_as_such(tmp_path: Path) -> None:
    for suffix in (".jpg", ".bmp", ".png", ".tif"):
        path = tmp_path / f"x{suffix}"
        write_image(path, np.zeros((1, 4, 4)), Intensity("uint8", 0, 255, 1, spacing=(25.4 / 100000,) * 2))
        assert read_image(path)[1].spacing == pytest.approx((25.4 / 100000,) * 2, rel=1e-5)


# BMP


def bmp(
    bits: int = 8, packing: int = 0, *, height: int = 2, data: bytes = bytes(range(16)), palette: bytes = b""
) -> bytes:
    start = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, 3, height, 1, bits, packing, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + palette + data


RAMP = b"".join(bytes([k, k, k, 0]) for k in range(256))
TURNED = b"".join(bytes([255 - k] * 3 + [0]) for k in range(256))


def test_both_directions_of_bmp_are_read(tmp_path: Path) -> None:
    rows = bytes([1, 2, 3, 0, 4, 5, 6, 0])
    for height, wanted in ((2, [[4, 5, 6], [1, 2, 3]]), (-2, [[1, 2, 3], [4, 5, 6]])):
        path = saved(tmp_path / "x.bmp", bmp(height=height, data=rows, palette=RAMP))
        assert levels(path).tolist() == wanted


def test_other_bmp_are_refused(tmp_path: Path) -> None:
    rows = bytes(8)
    for content in (
        bmp(data=rows, palette=TURNED),
        bmp(packing=1, data=bytes([3, 7, 0, 0, 3, 8, 0, 1]), palette=RAMP),
        bmp(packing=4, data=encoded(GRAY)),
        bmp(height=0, data=rows, palette=RAMP),
        encoded(np.arange(64, dtype=np.uint8).reshape(4, 4, 4), "BMP"),
        encoded(np.zeros((4, 4), bool), "BMP"),
    ):
        refused(saved(tmp_path / "x.bmp", content))


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_colours_of_bmp_are_read(tmp_path: Path, bits: int) -> None:
    if bits == 16:  # five bits each
        data = struct.pack("<HHHH", 31 << 10, 31 << 5, 31, 0) * 2
    else:
        data = b"".join(bytes(c)[: bits // 8] for c in ((0, 0, 255, 9), (0, 255, 0, 9), (255, 0, 0, 9))) + bytes(
            3 * (bits == 24)
        )
        data = data * 2
    wanted = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert levels(saved(tmp_path / "x.bmp", bmp(bits, data=data))).tolist() == [wanted, wanted]


@pytest.mark.parametrize("kind", ["BMP", "WEBP"])
def test_every_truncated_file_is_refused(tmp_path: Path, kind: str) -> None:
    content = encoded(COLOUR, kind, **({"lossless": True} if kind == "WEBP" else {}))
    path = tmp_path / f"x.{kind.lower()}"
    for length in [*range(0, len(content) - 1, max(1, len(content) // 40)), len(content) - 1]:
        refused(saved(path, content[:length]))


# WebP


def test_frames_of_webp_are_counted(tmp_path: Path) -> None:
    frames = [Image.fromarray(array) for array in (COLOUR, 255 - COLOUR, np.roll(COLOUR, 9, 0))]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert "3" in refused(tmp_path / "x.webp")
    assert np.array_equal(levels(tmp_path / "x.webp", frame=2), np.asarray(frames[2]))


def test_orientation_of_webp_and_jpeg_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    for kind in ("JPEG", "WEBP"):
        path = saved(tmp_path / f"x.{kind.lower()}", encoded(COLOUR, kind, exif=exif))
        with Image.open(path) as file:
            assert np.array_equal(levels(path), np.rot90(np.asarray(file)))


def gamma_of_exif(gamma: float) -> Any:
    exif = Image.Exif()
    exif[0x8769] = {0xA500: gamma}
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_a_gamma_of_exif_is_that_of_a_display_or_refused(tmp_path: Path, kind: str) -> None:
    array = COLOUR if kind == "WEBP" else GRAY
    assert "of gamma 1" in refused(saved(tmp_path / "x", encoded(array, kind, exif=gamma_of_exif(1.0))))
    plain = levels(saved(tmp_path / "x", encoded(array, kind)))
    np.testing.assert_array_equal(levels(saved(tmp_path / "x", encoded(array, kind, exif=gamma_of_exif(2.2)))), plain)
