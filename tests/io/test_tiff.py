"""TIFF: every tag that changes what a stored value means is applied or refused, and missing data are refused."""

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from restorekit import DataError, Intensity, write_image
from restorekit.io.images import ImageFiles, read_image
from tests.bits import check_flipped_bits

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)
STACK = np.stack([np.full((6, 8), 1000 * (k + 1), np.uint16) for k in range(5)])
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8}
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 11: "f", 12: "d"}


def tiff(data: bytes, tags: dict[int, tuple[int, Any]], size: tuple[int, int] = (6, 8)) -> bytes:
    """One page by hand: uncompressed gray of 8 bits unless `tags` (code: type, values) say otherwise."""
    known: dict[int, tuple[int, Any]] = {
        256: (4, [size[1]]),
        257: (4, [size[0]]),
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        273: (4, [0]),
        277: (3, [1]),
        278: (4, [size[0]]),
        279: (4, [len(data)]),
        **tags,
    }
    known = {code: entry for code, entry in sorted(known.items()) if entry[1] is not None}
    body, extra = b"", 8 + 2 + 12 * len(known) + 4
    blocks = b""
    for code, (kind, values) in known.items():
        raw = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{_CODES[kind]}", *values)
        count = len(raw) // _SIZES[kind]
        if code == 273 and values == [0]:
            body += struct.pack("<HHI", code, kind, 1) + b"DATA"
        elif len(raw) <= 4:
            body += struct.pack("<HHI", code, kind, count) + raw.ljust(4, b"\0")
        else:
            body += struct.pack("<HHII", code, kind, count, extra + len(blocks))
            blocks += raw + b"\0" * (len(raw) % 2)
    body = body.replace(b"DATA", struct.pack("<I", extra + len(blocks)))
    return b"II*\0" + struct.pack("<IH", 8, len(known)) + body + bytes(4) + blocks + data


def nih_image(**fields: int) -> bytes:
    """The header of NIH Image, by the layout that tifffile states."""
    header = np.zeros((), np.dtype(tifffile.TIFF.NIH_IMAGE_HEADER))
    for name, value in fields.items():
        header[name] = value
    return header.tobytes()


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def levels(path: Path, **options: Any) -> Any:
    """What is read, in stored values."""
    image, known = read_image(path, **options)
    return (image.astype(np.float64) + 1) / 2 * (known.high - known.low) + known.low


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_the_builder_makes_plain_tiff(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", tiff(GRAY.tobytes(), {}))
    assert np.array_equal(np.asarray(Image.open(path)), GRAY)
    assert np.array_equal(levels(path)[0].round(), GRAY)


# How many images there are


@pytest.mark.parametrize("options", [{"imagej": True, "metadata": {"axes": "ZYX"}}, {}])
def test_a_stack_behind_one_page_is_refused_with_its_count(tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "x.tif", STACK, truncate=True, **options)
    assert "5" in refused(tmp_path / "x.tif")
    for frame in range(5):
        image, known = read_image(tmp_path / "x.tif", frame=frame, range=(0, 65535))
        assert image.shape == (1, 6, 8)
        assert known.high == 65535
        assert np.allclose(levels(tmp_path / "x.tif", frame=frame, range=(0, 65535)), STACK[frame], atol=0.01)
    refused(tmp_path / "x.tif", frame=5)


def test_a_stack_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", STACK, truncate=True, imagej=True, metadata={"axes": "ZYX"})
    content = (tmp_path / "x.tif").read_bytes()
    refused(saved(tmp_path / "y.tif", content[: -2 * STACK[0].nbytes]))


def test_ome_planes_are_counted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.ome.tif", STACK, ome=True, metadata={"axes": "ZYX"})
    assert "5" in refused(tmp_path / "x.ome.tif")
    tifffile.imwrite(tmp_path / "y.ome.tif", GRAY, ome=True, metadata={"axes": "YX"})
    assert np.array_equal(levels(tmp_path / "y.ome.tif")[0].round(), GRAY)
    colours = np.stack([GRAY, GRAY + 1, GRAY + 2], -1)
    tifffile.imwrite(tmp_path / "z.ome.tif", colours, ome=True, photometric="rgb", metadata={"axes": "YXS"})
    assert np.array_equal(levels(tmp_path / "z.ome.tif").round(), colours.transpose(2, 0, 1))


def test_ome_planes_of_other_files_do_not_count(tmp_path: Path) -> None:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="6" SizeZ="2" SizeC="1" SizeT="1">'
        '<TiffData IFD="0" FirstZ="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1"><UUID FileName="b.ome.tif">urn:uuid:{}</UUID></TiffData></Pixels></Image></OME>'
    )
    for other, count in ((2, 1), (1, 2)):
        tifffile.imwrite(tmp_path / "x.tif", GRAY, description=xml.format(other), metadata=None)
        if count == 1:
            assert np.array_equal(levels(tmp_path / "x.tif")[0].round(), GRAY)
        else:
            assert "2" in refused(tmp_path / "x.tif")


@pytest.mark.parametrize("where", ["pages", "subifds"])
def test_smaller_copies_are_left_out_and_others_are_not(tmp_path: Path, where: str) -> None:
    small = GRAY[::2, ::2]
    for name, second, kind in (("reduced", small, 1), ("full", small, 0), ("no copy", GRAY, 1)):
        with tifffile.TiffWriter(tmp_path / "x.tif") as file:
            file.write(GRAY, metadata=None, subifds=1 if where == "subifds" else 0)
            file.write(second, metadata=None, subfiletype=kind)
        if name == "reduced":
            assert np.array_equal(levels(tmp_path / "x.tif")[0].round(), GRAY)
            assert np.array_equal(levels(tmp_path / "x.tif", frame=0)[0].round(), GRAY)
            refused(tmp_path / "x.tif", frame=1)
        else:
            assert "2" in refused(tmp_path / "x.tif"), name
            assert np.array_equal(levels(tmp_path / "x.tif", frame=1)[0].round(), second)


def test_a_transparency_mask_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "x.tif", tiff(GRAY.tobytes(), {254: (4, [4])}))
    refused(tmp_path / "x.tif", frame=0)


def test_a_page_that_the_file_lost_is_no_single_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.stack([GRAY] * 3), photometric="minisblack", metadata=None)
    content = (tmp_path / "x.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        second = file.pages[1].offset
    path = saved(tmp_path / "y.tif", content[:second])
    refused(path)
    refused(path, frame=0)


def test_a_circle_of_pages_is_refused(tmp_path: Path) -> None:
    content = bytearray(tiff(GRAY.tobytes(), {}))
    count = struct.unpack_from("<H", content, 8)[0]
    struct.pack_into("<I", content, 10 + 12 * count, 8)
    refused(saved(tmp_path / "x.tif", bytes(content)))


def test_a_volume_in_one_page_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", tiff(GRAY.tobytes() * 3, {32997: (4, [3]), 273: (4, [0]), 279: (4, [144])}))
    refused(path)


# What values mean


@pytest.mark.parametrize(
    ("name", "tags", "data"),
    [
        ("MASK", {262: (3, [4])}, GRAY),
        ("SEPARATED", {262: (3, [5]), 277: (3, [3])}, np.stack([GRAY] * 3, -1)),
        ("CIELAB", {262: (3, [8]), 277: (3, [3])}, np.stack([GRAY] * 3, -1)),
        ("ICCLAB", {262: (3, [9]), 277: (3, [3])}, np.stack([GRAY] * 3, -1)),
        ("CFA", {262: (3, [32803])}, GRAY),
        ("LOGL", {262: (3, [32844])}, GRAY),
        ("LOGLUV", {262: (3, [32845]), 277: (3, [3])}, np.stack([GRAY] * 3, -1)),
        ("LINEAR_RAW", {262: (3, [34892])}, GRAY),
        ("PhotometricInterpretation", {262: (3, None)}, GRAY),
        ("minisblack of three samples", {277: (3, [3]), 258: (3, [8, 8, 8])}, np.stack([GRAY] * 3, -1)),
        ("rgb of one sample", {262: (3, [2])}, GRAY),
        ("two extra samples", {277: (3, [3]), 258: (3, [8, 8, 8]), 338: (3, [0, 0])}, np.stack([GRAY] * 3, -1)),
        ("void samples", {339: (3, [4])}, GRAY),
        ("complex integers", {339: (3, [5]), 258: (3, [32])}, np.zeros((6, 8), np.uint32)),
        ("complex", {339: (3, [6]), 258: (3, [64])}, np.zeros((6, 8), np.complex64)),
        ("unequal bits", {262: (3, [2]), 277: (3, [3]), 258: (3, [5, 6, 5])}, np.zeros((6, 8), np.uint16)),
        ("GrayResponseCurve", {291: (3, list(range(256)))}, GRAY),
        ("MD FileTag", {33445: (4, [2])}, GRAY),
        ("BlackLevel 16", {50714: (3, [16])}, GRAY),
        ("WhiteLevel 200", {50717: (3, [200])}, GRAY),
        ("3 slices of NIH Image", {43314: (1, nih_image(nSlices=3))}, GRAY),
        ("calibration of NIH Image", {43314: (1, nih_image(nCoefficients=2))}, GRAY),
        ("linear TransferFunction", {301: (3, [257 * k for k in range(256)])}, GRAY),
        ("moved black", {262: (3, [2]), 277: (3, [3]), 258: (3, [8] * 3), 532: (5, [16, 1, 235, 1] * 3)}, [GRAY] * 3),
        ("predictor without compression", {317: (3, [2])}, GRAY),
        ("subsampled", {262: (3, [6]), 277: (3, [3]), 258: (3, [8] * 3), 530: (3, [2, 2])}, np.zeros((6, 12), "u1")),
        ("subsampled by default", {262: (3, [6]), 277: (3, [3]), 258: (3, [8] * 3)}, np.stack([GRAY] * 3, -1)),
        ("missing values", {42113: (2, b"7\0")}, GRAY),
    ],
)
def test_other_meanings_are_refused(tmp_path: Path, name: str, tags: dict[int, Any], data: Any) -> None:
    result = refused(saved(tmp_path / "x.tif", tiff(np.asarray(data).tobytes(), tags)))
    if name.isupper() and name != "SEPARATED":
        assert name in result


@pytest.mark.parametrize(
    "tags",
    [
        {301: (3, [int(65535 * (k / 255) ** 2.2) for k in range(256)])},
        {42113: (2, b"200\0")},
        {339: (3, [1])},
        {280: (3, [3]), 281: (3, [17])},
        {340: (1, [3]), 341: (1, [17])},
        {266: (3, [1])},
    ],
)
def test_plain_statements_change_nothing(tmp_path: Path, tags: dict[int, Any]) -> None:
    path = saved(tmp_path / "x.tif", tiff(GRAY.tobytes(), tags))
    assert np.array_equal(levels(path)[0].round(), GRAY)
    assert read_image(path)[1].high == 255


def test_fill_order_is_applied(tmp_path: Path) -> None:
    turned = imagecodecs.bitorder_decode(GRAY.tobytes())
    path = saved(tmp_path / "x.tif", tiff(bytes(turned), {266: (3, [2])}))
    assert np.array_equal(levels(path)[0].round(), GRAY)


@st.composite
def ycbcr(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    luma = draw(st.sampled_from([[0.299, 0.587, 0.114], [0.2125, 0.7154, 0.0721]]))
    ends = draw(st.sampled_from([[0, 255, 128, 255, 128, 255], [16, 235, 128, 240, 128, 240]]))
    return luma, ends


@given(known=ycbcr(), stated=st.booleans(), packed=st.booleans(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_ycbcr_is_converted_by_the_formula_of_tiff(
    tmp_path_factory: pytest.TempPathFactory, known: Any, stated: bool, packed: bool, data: st.DataObject
) -> None:
    """TIFF 6.0, section 21: R = Y + (2 - 2 LumaRed) Cr, B likewise, G from Y; codes scaled by ReferenceBlackWhite."""
    luma, ends = known if stated else ([0.299, 0.587, 0.114], [0, 255, 128, 255, 128, 255])
    codes = np.array(data.draw(st.lists(st.integers(0, 255), min_size=12, max_size=12)), np.uint8).reshape(2, 2, 3)
    wanted = np.zeros((3, 2, 2))
    for row in range(2):
        for column in range(2):
            y, cb, cr = (float(code) for code in codes[row, column])
            y = (y - ends[0]) * 255 / (ends[1] - ends[0])
            cb = (cb - ends[2]) * 127 / (ends[3] - ends[2])
            cr = (cr - ends[4]) * 127 / (ends[5] - ends[4])
            red, blue = y + (2 - 2 * luma[0]) * cr, y + (2 - 2 * luma[2]) * cb
            wanted[:, row, column] = red, (y - luma[0] * red - luma[2] * blue) / luma[1], blue
    tags: dict[int, Any] = {262: (3, [6]), 277: (3, [3]), 258: (3, [8] * 3), 530: (3, [1, 1])}
    if stated:
        tags[529] = (5, [n for value in luma for n in (round(value * 10000), 10000)])
        tags[532] = (5, [n for value in ends for n in (int(value), 1)])
    stored = codes.tobytes()
    if packed:
        tags[259], stored = (3, [8]), imagecodecs.zlib_encode(stored)
    path = saved(tmp_path_factory.mktemp("ycbcr") / "x.tif", tiff(stored, tags, (2, 2)))
    assert np.abs(levels(path) - wanted.clip(0, 255)).max() < 0.6


def test_ycbcr_of_pillow_is_its_rgb(tmp_path: Path) -> None:
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[...] = (200, 100, 50)
    Image.fromarray(rgb).convert("YCbCr").save(tmp_path / "x.tif")
    assert np.abs(levels(tmp_path / "x.tif") - rgb.transpose(2, 0, 1)).max() < 3
    smooth = np.stack(np.broadcast_arrays(np.arange(64)[:, None] * 3, 99, np.arange(64) * 3), -1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "y.tif", smooth, photometric="rgb", compression="jpeg", compressionargs={"level": 98})
    assert np.abs(levels(tmp_path / "y.tif") - smooth.transpose(2, 0, 1)).max() < 12


@pytest.mark.parametrize(("bits", "dtype"), [(10, np.uint16), (12, np.uint16), (14, np.uint16), (16, np.uint16)])
def test_significant_bits_come_back(tmp_path: Path, bits: int, dtype: Any) -> None:
    stored = np.array([[0, 2**bits - 1, 77]], dtype)
    tifffile.imwrite(
        tmp_path / "x.tif", stored, extratags=[(340, 3, 1, 0, True), (341, 3, 1, 2**bits - 1, True)], metadata=None
    )
    image, known = read_image(tmp_path / "x.tif")
    assert known.bits == bits
    assert known.high == 2**bits - 1
    write_image(tmp_path / "y.tif", image, known)
    again, back = read_image(tmp_path / "y.tif")
    assert (back.bits, back.low, back.high) == (bits, 0, 2**bits - 1)
    assert np.array_equal(tifffile.imread(tmp_path / "y.tif"), stored)
    assert np.array_equal(again, image)


def test_ome_states_significant_bits_and_spacing(tmp_path: Path) -> None:
    stored = np.array([[0, 4095, 77]], np.uint16)
    result = {"axes": "YX", "SignificantBits": 12, "PhysicalSizeX": 0.5, "PhysicalSizeY": 250.0}
    result |= {"PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "x.ome.tif", stored, ome=True, metadata=result)
    known = read_image(tmp_path / "x.ome.tif")[1]
    assert known.bits == 12
    assert known.spacing == pytest.approx((0.00025, 0.0005))


def test_ranges_that_differ_by_channel_must_be_declared(tmp_path: Path) -> None:
    stored = np.zeros((3, 4, 3), np.float32)
    for high, known in (((1, 1, 1), True), ((1, 1, 2), False)):
        tags = [(340, 11, 3, (0.0, 0.0, 0.0), True), (341, 11, 3, high, True)]
        tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", extratags=tags, metadata=None)
        if known:
            assert read_image(tmp_path / "x.tif")[1].high == 1
        else:
            refused(tmp_path / "x.tif")


@pytest.mark.parametrize("ends", [(0.0, 0.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused_but_may_be_declared(tmp_path: Path, ends: tuple[float, float]) -> None:
    tags = [(340, 11, 1, ends[0], True), (341, 11, 1, ends[1], True)]
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((4, 4), np.float32), extratags=tags, metadata=None)
    refused(tmp_path / "x.tif")
    assert (read_image(tmp_path / "x.tif", range=(-1, 1))[0] == 0).all()


@pytest.mark.parametrize(
    ("tags", "data"),
    [
        ({258: (3, [24])}, bytes(range(144))),  # libtiff follows the byte order of the file, others do not
        ({258: (3, [24]), 339: (3, [3])}, bytes(range(144))),
        ({258: (3, [12]), 339: (3, [2])}, bytes(72)),
        ({42112: (2, b"<GDALMetadata><Item\0")}, bytes(48)),
        ({42112: (2, b'<GDALMetadata><Item role="scale">x</Item></GDALMetadata>\0')}, bytes(48)),
        ({340: (2, b"abc\0"), 341: (1, [255])}, bytes(48)),
    ],
)
def test_what_is_not_certain_is_refused_without_a_message_of_python(tmp_path: Path, tags: Any, data: bytes) -> None:
    (tmp_path / "x.tif").write_bytes(tiff(data, tags))
    result = refused(tmp_path / "x.tif", range=(0, 255))
    assert "cannot be read (" not in result


@pytest.mark.parametrize(("bits", "samples"), [(12, 1), (10, 3), (14, 1)])
def test_the_largest_sample_value_alone_states_bits(tmp_path: Path, bits: int, samples: int) -> None:
    array = np.full((4, 5, 3)[: 2 + (samples > 1)], 2**bits - 1, np.uint16)
    tags = [(341, 3, samples, (2**bits - 1,) * samples, True)]
    kind = "rgb" if samples == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "x.tif", array, photometric=kind, extratags=tags, metadata=None)
    image, known = read_image(tmp_path / "x.tif")
    assert (known.bits, known.high, bool((image == 1).all())) == (bits, 2**bits - 1, True)


@pytest.mark.parametrize("origin", ["imagej", "gdal"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_linear_calibrations_are_applied_and_written_back(tmp_path: Path, origin: str, dtype: str) -> None:
    stored = (
        np.array([[0, 200, 255], [1, 2, 100]], dtype) if dtype != "uint16" else np.array([[0, 32768, 65535]], dtype)
    )
    slope, inter = 0.5, -1024.0
    description: str | None = f"ImageJ=1.53t\nimages=1\ncf=0\nc0={inter}\nc1={slope}\nvunit=HU\n"
    tags: Any = []
    if origin == "gdal":
        text = f'<Item name="a" sample="0" role="scale">{slope}</Item><Item name="b" role="offset">{inter}</Item>'
        description, tags = None, [(42112, 2, 0, f"<GDALMetadata>{text}</GDALMetadata>", True)]
    tifffile.imwrite(tmp_path / "x.tif", stored, description=description, extratags=tags, metadata=None)
    declared = (-1024, 32000) if dtype == "uint16" else (-1024, -800)
    assert np.allclose(levels(tmp_path / "x.tif", range=declared)[0], stored * slope + inter, atol=0.01)
    if dtype != "float32":
        known = read_image(tmp_path / "x.tif")[1]
        most = np.iinfo(dtype).max
        assert (known.low, known.high) == (inter, most * slope + inter)
        assert known.note
        with pytest.raises(DataError, match=r"x\.tif"):
            ImageFiles().read(tmp_path / "x.tif")
    image, known = read_image(tmp_path / "x.tif", range=declared)
    write_image(tmp_path / "y.tif", image, known)
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.pages[0].dtype == dtype
        assert np.allclose(file.pages[0].asarray(), stored, atol=1e-2)
    assert np.allclose(levels(tmp_path / "y.tif", range=declared)[0], stored * slope + inter, atol=0.01)


def test_calibrations_that_are_no_line_are_refused(tmp_path: Path) -> None:
    for result in ("cf=1\nc0=0\nc1=1\nc2=3", "cf=21", "cf=0\nc0=0\nc1=0"):
        tifffile.imwrite(tmp_path / "x.tif", GRAY, description=f"ImageJ=1.53t\nimages=1\n{result}\n", metadata=None)
        refused(tmp_path / "x.tif")
    items = "".join(f'<Item sample="{at}" role="scale">{value}</Item>' for at, value in ((0, 1.0), (1, 2.0)))
    tags = [(42112, 2, 0, f"<GDALMetadata>{items}</GDALMetadata>", True)]
    tifffile.imwrite(tmp_path / "x.tif", GRAY, extratags=tags, metadata=None)
    refused(tmp_path / "x.tif")


def test_signed_16_bit_images_of_imagej_are_signed(tmp_path: Path) -> None:
    """ImageJ stores them as unsigned, with a calibration of offset -32768."""
    hu = np.array([[-1000, 0, 3000]], np.int16)
    text = "ImageJ=1.53t\nimages=1\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"
    tifffile.imwrite(
        tmp_path / "x.tif", (hu.astype(np.int32) + 32768).astype(np.uint16), description=text, metadata=None
    )
    assert np.allclose(levels(tmp_path / "x.tif", range=(-1000, 3000)), hu, atol=0.01)


@pytest.mark.parametrize(
    ("unit", "resolution", "wanted"),
    [
        ("mm", (2.0, 4.0), (0.25, 0.5)),
        ("micron", (10.0, 10.0), (1e-4, 1e-4)),
        ("\\u00B5m", (10.0, 5.0), (2e-4, 1e-4)),
        ("mm", (1, 1), (1.0, 1.0)),
        ("um", (1, 1), (1e-3, 1e-3)),
    ],
)
def test_units_of_imagej_are_applied(tmp_path: Path, unit: str, resolution: Any, wanted: Any) -> None:
    tifffile.imwrite(
        tmp_path / "x.tif", GRAY, imagej=True, resolution=resolution, metadata={"unit": unit, "axes": "YX"}
    )
    assert read_image(tmp_path / "x.tif")[1].spacing == pytest.approx(wanted)


@pytest.mark.parametrize("options", [{"imagej": True, "metadata": {"axes": "YX"}}, {"resolutionunit": "CENTIMETER"}])
def test_a_resolution_of_1_of_which_no_unit_is_named_is_none(tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "x.tif", GRAY, resolution=(1, 1), **options)
    assert read_image(tmp_path / "x.tif")[1].spacing is None


def test_a_colour_profile_is_kept(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "x.tif", np.stack([GRAY] * 3, -1), photometric="rgb", iccprofile=b"profile", metadata=None
    )
    write_image(tmp_path / "y.tif", *read_image(tmp_path / "x.tif"))
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.pages[0].iccprofile == b"profile"


# Files that are cut or damaged


def one(compression: str | None, tile: bool) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    how: dict[str, Any] = {"tile": (32, 32)} if tile else {"rowsperstrip": 32}
    tifffile.imwrite(stream, noise, compression=compression, metadata=None, **how)
    return stream.getvalue()


CODECS = [None, "lzw", "adobe_deflate", "packbits", "zstd", "jpeg"]


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("compression", CODECS)
def test_strips_and_tiles_that_lack_bytes_are_refused(tmp_path: Path, compression: str | None, tile: bool) -> None:
    content = one(compression, tile)
    read_image(saved(tmp_path / "x.tif", content))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        counts = file.pages[0].tags[325 if tile else 279]
        offsets = file.pages[0].tags[324 if tile else 273]
        kind = {3: "<H", 4: "<I"}[int(counts.dtype)]
    for tag, value in ((counts, 0), (counts, counts.value[0] // 2), (offsets, 0)):
        broken = bytearray(content)
        struct.pack_into(kind if tag is counts else "<I", broken, tag.valueoffset, value)
        refused(saved(tmp_path / "y.tif", bytes(broken)))


@pytest.mark.parametrize("compression", CODECS)
def test_a_truncated_file_is_refused(tmp_path: Path, compression: str | None) -> None:
    content = one(compression, False)

    @given(length=st.integers(0, len(content) - 1))
    @settings(max_examples=25, deadline=None)
    def holds(length: int) -> None:
        refused(saved(tmp_path / "x.tif", content[:length]))

    holds()


def test_a_flipped_bit_of_deflate_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    content = one("adobe_deflate", False)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        start, length = file.pages[0].dataoffsets[0], sum(file.pages[0].databytecounts)
    check_flipped_bits(tmp_path / "x.tif", content, range(start, start + length))


def test_a_damaged_tag_is_refused(tmp_path: Path) -> None:
    """tifffile leaves out a tag that it cannot read: here one that says that white is the lowest value."""
    content = bytearray(tiff(GRAY.tobytes(), {262: (3, [0])}))
    at = content.index(struct.pack("<HHI", 262, 3, 1))
    struct.pack_into("<H", content, at + 2, 99)
    refused(saved(tmp_path / "x.tif", bytes(content)))


def test_levels_that_are_the_ends_of_the_type_change_nothing(tmp_path: Path) -> None:
    tags: dict[int, tuple[int, Any]] = {50714: (3, [0]), 50717: (3, [255]), 43314: (1, nih_image(nSlices=1))}
    np.testing.assert_array_equal(levels(saved(tmp_path / "x.tif", tiff(GRAY.tobytes(), tags)))[0].round(), GRAY)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("ends", [(0.1, 0.7), (-0.3, 0.9), (0.123456789, 1234.56789)])
def test_a_range_that_the_type_rounds_holds_the_values_at_its_ends(tmp_path: Path, dtype: str, ends: Any) -> None:
    image = np.array([[[-1, 0, 1]]], np.float32)
    write_image(tmp_path / "x.tif", image, Intensity(dtype, *ends, 1, "TIFF"))
    found, known = read_image(tmp_path / "x.tif")
    np.testing.assert_allclose(found, image, atol=2e-3 if dtype == "float16" else 1e-6)
    assert known.dtype == dtype
