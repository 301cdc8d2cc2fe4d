"""Codings of DICOM (PS3.5 8 and A.4) against known integers: every one, its colours, and objects that are damaged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, uid
from pydicom.encaps import encapsulate, encapsulate_extended

from restorekit import DataError
from restorekit.io.images import read_image
from tests.io.made_dicom import (
    CODINGS,
    RESCALES,
    RGB,
    VOIS,
    Array,
    Case,
    cells_of,
    fragments,
    j2k,
    rle,
    shown,
    some_values,
    stored_range,
    written,
)

# Making objects


def relabel(path: Path, syntax: str | None) -> None:
    """Write another transfer syntax, or none, into the meta information of an object."""
    content = path.read_bytes()
    at = content.index(b"\x02\x00\x10\x00UI")
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    name = (syntax or "").encode() + b"\0" * (len(syntax or "") % 2)
    element = content[at : at + 6] + len(name).to_bytes(2, "little") + name if syntax else b""
    group = content.index(b"\x02\x00\x00\x00UL") + 8
    size = int.from_bytes(content[group : group + 4], "little") + len(element) - (end - at)
    path.write_bytes(content[:group] + size.to_bytes(4, "little") + content[group + 4 : at] + element + content[end:])


# Codings


def coded(path: Path, coding: str, values: Array, allocated: int, stored: int, signed: bool, **elements: Any) -> Path:
    syntax, encode = CODINGS[coding]
    streams = None if encode is None else [encode(values, allocated, stored, signed)]
    cells = cells_of(values, allocated, stored)
    return written(path, cells, stored, syntax=syntax, signed=signed, streams=streams, **elements)


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_gives_the_stored_values(place: Path, coding: str) -> None:
    depths = [(8, 8), (8, 6), (16, 8), (16, 10), (16, 12), (16, 15), (16, 16)]
    for (allocated, stored), signed, inverted in product(depths, (False, True), (False, True)):
        values = some_values(stored, signed, (9, 7))  # an odd number of bytes too
        photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
        path = coded(place / "c.dcm", coding, values, allocated, stored, signed, photometric=photometric)
        image, known = read_image(path)
        low, high = stored_range(stored, signed)
        case = f"{stored} of {allocated} bits, signed {signed}, {photometric}"
        assert (known.low, known.high, known.bits) == (low, high, stored), case
        assert known.dtype == f"{'' if signed else 'u'}int{allocated}", case
        got = ((-image[0] if inverted else image[0]).astype(np.float64) + 1) / 2 * (high - low) + low
        np.testing.assert_array_equal(got.round(), values, err_msg=case)


@given(
    coding=st.sampled_from(sorted(CODINGS)),
    bits=st.sampled_from([(8, 8), (8, 7), (16, 12), (16, 16)]),
    signed=st.booleans(),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    rescale=st.sampled_from(RESCALES),
    case=st.sampled_from([case for case in VOIS if "VOILUTSequence" not in case.elements]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_every_coding_with_every_window(
    place: Path,
    coding: str,
    bits: tuple[int, int],
    signed: bool,
    photometric: str,
    rescale: tuple[float, float],
    case: Case,
    seed: int,
) -> None:
    values = some_values(bits[1], signed, (5, 3), seed)
    path = coded(
        place / "p.dcm", coding, values, *bits, signed, photometric=photometric, RescaleSlope=rescale[0],
        RescaleIntercept=rescale[1], **case.elements,
    )  # fmt: skip
    wanted = shown(values, stored_range(bits[1], signed), photometric, *rescale, case)
    np.testing.assert_allclose(read_image(path)[0][0], wanted, atol=3e-6)


def smooth(low: int, high: int, shape: tuple[int, int] = (32, 40)) -> Array:
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) / (sum(shape) - 2)
    return (low + ramp * (high - low)).round().astype(np.int64)


def jpeg(bits: int) -> Callable[[Array], bytes]:
    dtype = "u1" if bits == 8 else "u2"
    return lambda values: bytes(imagecodecs.jpeg8_encode(values.astype(dtype), level=98, bitspersample=bits))


def near(values: Array) -> bytes:
    return bytes(imagecodecs.jpegls_encode((values % 65536).astype("u2"), level=3))


def wavelets(dtype: str) -> Callable[[Array], bytes]:
    return lambda values: bytes(
        imagecodecs.jpeg2k_encode(values.astype(dtype), level=60, codecformat="j2k", bitspersample=12)
    )


@pytest.mark.parametrize(
    ("syntax", "allocated", "stored", "signed", "off", "encode"),
    [
        (uid.JPEGBaseline8Bit, 8, 8, False, 3, jpeg(8)),
        (uid.JPEGExtended12Bit, 8, 8, False, 3, jpeg(8)),
        (uid.JPEGExtended12Bit, 16, 12, False, 40, jpeg(12)),
        (uid.JPEGLSNearLossless, 16, 16, True, 3, near),
        (uid.JPEGLSNearLossless, 16, 12, False, 3, near),
        (uid.JPEGLSNearLossless, 16, 12, True, 3, near),
        (uid.JPEG2000, 16, 12, True, 40, wavelets("i2")),
        (uid.JPEG2000, 16, 12, False, 40, wavelets("u2")),
    ],
)
def test_lossy_codings_are_near(
    tmp_path: Path, syntax: str, allocated: int, stored: int, signed: bool, off: int, encode: Callable[[Array], bytes]
) -> None:
    low, high = stored_range(stored, signed)
    values = smooth(low + 60, high - 60)
    path = written(
        tmp_path / "x.dcm",
        cells_of(values, allocated, stored),
        stored,
        syntax=syntax,
        signed=signed,
        streams=[bytes(encode(values))],
    )
    got = (read_image(path)[0][0].astype(np.float64) + 1) / 2 * (high - low) + low
    assert np.abs(got - values).max() <= off + 0.5


def test_signed_lossy_jpeg_is_refused(tmp_path: Path) -> None:
    cells = smooth(0, 255).astype(np.uint8)
    stream = bytes(imagecodecs.jpeg8_encode(cells))
    with pytest.raises(DataError, match="PixelRepresentation"):
        read_image(written(tmp_path / "x.dcm", cells, 8, syntax=uid.JPEGBaseline8Bit, signed=True, streams=[stream]))


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.JPEG2000MC, "1.2.840.10008.1.2.4.110", "1.2.3.4"])
def test_unread_transfer_syntaxes_are_refused(tmp_path: Path, syntax: str) -> None:
    cells = np.zeros((2, 2), np.uint8)
    path = written(tmp_path / "x.dcm", cells, 8, syntax=uid.JPEGBaseline8Bit, streams=[b"\xff\xd8"])
    relabel(path, syntax)
    with pytest.raises(DataError, match="TransferSyntaxUID"):
        read_image(path)


# Colour


def to_ybr(rgb: Array) -> Array:
    """C.7.6.3.1.2."""
    r, g, b = (rgb[..., k].astype(float) for k in range(3))
    luma = 0.2990 * r + 0.5870 * g + 0.1140 * b
    blue = -0.1687 * r - 0.3313 * g + 0.5000 * b + 128
    red = 0.5000 * r - 0.4187 * g - 0.0813 * b + 128
    return np.clip(np.stack([luma, blue, red], -1).round(), 0, 255).astype(np.uint8)


def rgb_of(path: Path) -> Array:
    image, known = read_image(path)
    assert known.photometric == "RGB"
    return ((image.transpose(1, 2, 0) + 1) / 2 * known.high).round()


def test_uncompressed_colour(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    for syntax in (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        assert (rgb_of(written(path, RGB, 8, photometric="RGB", syntax=syntax)) == RGB).all()
    planes = DataElement("PixelData", "OB", RGB.transpose(2, 0, 1).tobytes())
    assert (rgb_of(written(path, RGB, 8, photometric="RGB", PlanarConfiguration=1, PixelData=planes)) == RGB).all()
    assert np.abs(rgb_of(written(path, to_ybr(RGB), 8, photometric="YBR_FULL")) - RGB).max() <= 2
    even = np.repeat(RGB[:, ::2], 2, axis=1)
    ybr = to_ybr(even)
    packed = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)
    element = DataElement("PixelData", "OB", packed.tobytes())
    assert np.abs(rgb_of(written(path, even, 8, photometric="YBR_FULL_422", PixelData=element)) - even).max() <= 2


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("space", ["rgb", "ycbcr"])
def test_jpeg_that_says_its_own_colours_goes_before_the_header(tmp_path: Path, photometric: str, space: str) -> None:
    smoothed = np.stack([smooth(0, 255), smooth(255, 0), smooth(40, 200)], -1).astype(np.uint8)
    stream = bytes(
        imagecodecs.jpeg8_encode(smoothed, level=98, colorspace="rgb", outcolorspace=space, subsampling="444")
    )
    path = written(
        tmp_path / "x.dcm", smoothed, 8, photometric=photometric, syntax=uid.JPEGBaseline8Bit, streams=[stream]
    )
    assert np.abs(rgb_of(path) - smoothed).max() <= 8


def test_colour_of_lossless_codings(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    deep = (RGB.astype(np.uint16) * 16 + 5) % 4096
    lossless = imagecodecs.jpeg8_encode(RGB, lossless=True, colorspace="rgb", outcolorspace="rgb")
    for syntax, photometric, cells, stored, stream in [
        (uid.RLELossless, "RGB", RGB, 8, rle(RGB)),
        (uid.RLELossless, "RGB", deep, 12, rle(deep)),
        (uid.JPEGLSLossless, "RGB", RGB, 8, imagecodecs.jpegls_encode(RGB)),
        (uid.JPEGLossless, "RGB", RGB, 8, lossless),
        (uid.JPEG2000Lossless, "YBR_RCT", RGB, 8, j2k(RGB, mct=True)),
        (uid.JPEG2000Lossless, "RGB", RGB, 8, j2k(RGB, mct=True)),
        (uid.JPEG2000Lossless, "RGB", RGB, 8, j2k(RGB, mct=False)),
        (uid.JPEG2000Lossless, "YBR_RCT", deep, 12, j2k(deep, 12)),
        (uid.HTJ2KLossless, "YBR_RCT", RGB, 8, imagecodecs.htj2k_encode(RGB, reversible=True)),
    ]:
        got = rgb_of(written(path, cells, stored, photometric=photometric, syntax=syntax, streams=[bytes(stream)]))
        np.testing.assert_array_equal(got, cells)
    for syntax, stream in [
        (uid.JPEG2000Lossless, j2k(to_ybr(RGB), mct=False)),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode(to_ybr(RGB))),
        (uid.RLELossless, rle(to_ybr(RGB))),
    ]:
        got = rgb_of(written(path, RGB, 8, photometric="YBR_FULL", syntax=syntax, streams=[bytes(stream)]))
        assert np.abs(got - RGB).max() <= 2


def test_jpeg_ls_in_three_scans(tmp_path: Path) -> None:
    """Interleave mode 0: a scan for each colour, put together from three gray streams."""
    grays = [bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(RGB[..., k]))) for k in range(3)]
    stream = b"\xff\xd8\xff\xf7\x00\x11\x08" + bytes([0, RGB.shape[0], 0, RGB.shape[1], 3])
    stream += b"".join(bytes([k, 0x11, 0]) for k in (1, 2, 3))
    for k, gray in enumerate(grays):
        scan = gray.index(b"\xff\xda")
        body = gray[scan + 2 + int.from_bytes(gray[scan + 2 : scan + 4], "big") : -2]
        stream += b"\xff\xda\x00\x08" + bytes([1, k + 1, 0, 0, 0, 0]) + body
    path = written(
        tmp_path / "x.dcm", RGB, 8, photometric="RGB", syntax=uid.JPEGLSLossless, streams=[stream + b"\xff\xd9"]
    )
    np.testing.assert_array_equal(rgb_of(path), RGB)


def test_colours_that_contradict_are_refused(tmp_path: Path) -> None:
    plain, mixed, jp2 = j2k(RGB, mct=False), j2k(RGB, mct=True), j2k(RGB, codecformat="jp2")
    packed: dict[str, Any] = {"syntax": uid.JPEG2000Lossless}
    for photometric, streams, elements, named in [
        ("YBR_RCT", [plain], packed, "YBR_RCT"),
        ("YBR_FULL", [mixed], packed, "YBR_FULL"),
        ("RGB", [jp2], packed, "JP2"),
        ("YBR_PARTIAL_422", None, {}, "YBR_PARTIAL_422"),
        ("HSV", None, {}, "HSV"),
        ("YBR_RCT", None, {}, "YBR_RCT"),
        ("RGB", None, {"signed": True}, "PixelRepresentation"),
        ("RGB", None, {"PlanarConfiguration": 2}, "PlanarConfiguration"),
        ("RGB", None, {"PlanarConfiguration": None}, "PlanarConfiguration"),
        ("RGB", None, {"RescaleSlope": 2, "RescaleIntercept": 0}, "RescaleSlope"),
    ]:
        with pytest.raises(DataError, match=named):
            read_image(written(tmp_path / "x.dcm", RGB, 8, photometric=photometric, streams=streams, **elements))


# Integrity


@pytest.mark.parametrize("coding", CODINGS)
def test_object_cut_anywhere_is_refused_or_whole(place: Path, coding: str) -> None:
    values = some_values(12, False, (9, 7))
    path = coded(place / f"{coding[:5]}.dcm", coding, values, 16, 12, False, PatientComments="x" * 30)
    content, whole = path.read_bytes(), read_image(path)[0]

    @given(at=st.integers(0, len(content) - 1))
    @settings(max_examples=15, deadline=None)
    def holds(at: int) -> None:
        path.write_bytes(content[:at])
        try:
            image = read_image(path)[0]
        except DataError:
            return
        assert np.array_equal(image, whole)

    holds()


@pytest.mark.parametrize("coding", [name for name, (_, encode) in CODINGS.items() if encode])
def test_stream_cut_inside_a_whole_object_is_refused(place: Path, coding: str) -> None:
    values = some_values(12, True, (40, 30))
    syntax, encode = CODINGS[coding]
    assert encode is not None
    stream = encode(values, 16, 12, True)
    for at in sorted({1, 2, 40, 64, 80, len(stream) // 2, len(stream) * 9 // 10, len(stream) - 40}):
        path = written(place / "s.dcm", cells_of(values, 16, 12), 12, syntax=syntax, signed=True, streams=[stream[:at]])
        with pytest.raises(DataError):
            read_image(path)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_lossy_jpeg_cut_short_is_refused(place: Path, syntax: str) -> None:
    cells = smooth(0, 255).astype(np.uint8)
    stream = bytes(imagecodecs.jpeg8_encode(cells, level=95))
    for at in range(1, len(stream) - 1, 37):
        with pytest.raises(DataError):
            read_image(written(place / "j.dcm", cells, 8, syntax=syntax, streams=[stream[:at]]))


@pytest.mark.parametrize("coding", [name for name, (_, encode) in CODINGS.items() if encode])
def test_stream_of_another_size_or_coding_is_refused(place: Path, coding: str) -> None:
    syntax, encode = CODINGS[coding]
    assert encode is not None
    cells = cells_of(some_values(12, False, (8, 8)), 16, 12)
    for shape in [(8, 7), (7, 8), (9, 8), (16, 8)]:
        stream = encode(some_values(12, False, shape), 16, 12, False)
        with pytest.raises(DataError):
            read_image(written(place / "o.dcm", cells, 12, syntax=syntax, streams=[stream]))
    png = bytes(imagecodecs.png_encode(cells))
    for stream in (png, b"", b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51\xff\xd9"):
        with pytest.raises(DataError):
            read_image(written(place / "o.dcm", cells, 12, syntax=syntax, streams=[stream]))


def test_rle_segments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    cells = cells_of(some_values(12, False), 16, 12)
    stream = rle(cells)
    bad = {
        "count": (3).to_bytes(4, "little") + stream[4:],
        "start": stream[:4] + (70).to_bytes(4, "little") + stream[8:],
        "order": stream[:8] + (10).to_bytes(4, "little") + stream[12:],
        "beyond": stream[:8] + (len(stream) + 5).to_bytes(4, "little") + stream[12:],
        "longer": stream[:-2] + bytes([0x9C, 7, 0x9C, 7]),
    }
    for content in bad.values():
        with pytest.raises(DataError, match="RLE"):
            read_image(written(tmp_path / "x.dcm", cells, 12, syntax=uid.RLELossless, streams=[content]))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_flipped_byte_gives_an_image_or_a_data_error(place: Path, data: st.DataObject) -> None:
    coding = data.draw(st.sampled_from(sorted(CODINGS)))
    path = coded(
        place / "f.dcm", coding, some_values(12, False, (9, 7)), 16, 12, False, WindowCenter=40, WindowWidth=99
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        image, _ = read_image(path)
    except DataError:
        return
    assert np.isfinite(image).all()


@pytest.mark.parametrize(
    ("length", "read"), [(96, True), (97, True), (108, True), (94, False), (0, False), (192, False)]
)
def test_bytes_of_pixels_are_those_of_the_header(tmp_path: Path, length: int, read: bool) -> None:
    """One byte, or zeros of less than a row, may be padding; a second frame may not."""
    cells = cells_of(some_values(12, False), 16, 12)
    content = (cells.tobytes() + bytes(200))[:length]
    path = written(tmp_path / "x.dcm", cells, 12, PixelData=DataElement("PixelData", "OW", content))
    if read:
        assert read_image(path)[0].shape == (1, 6, 8)
    else:
        with pytest.raises(DataError, match=f"{length} bytes of PixelData .*96"):
            read_image(path)
    content = cells.tobytes() + b"\0\1\0\0"
    with pytest.raises(DataError, match="100 bytes"):
        read_image(written(tmp_path / "x.dcm", cells, 12, PixelData=DataElement("PixelData", "OW", content)))


def test_frames_are_found_in_their_fragments(tmp_path: Path) -> None:
    frames = [some_values(12, False, (16, 16), seed) for seed in range(3)]
    cells = cells_of(frames[0], 16, 12)
    streams = [bytes(imagecodecs.jpegls_encode(cells_of(frame, 16, 12))) for frame in frames]
    streams = [stream + b"\0" * (len(stream) % 2) for stream in streams]
    halves = [part for stream in streams for part in (stream[:200], stream[200:])]
    starts = [0]
    for stream in streams[:-1]:
        starts.append(starts[-1] + len(stream) + 16)

    def read(element: DataElement, count: int = 3) -> list[Array]:
        path = written(
            tmp_path / "x.dcm",
            cells,
            12,
            syntax=uid.JPEGLSLossless,
            streams=[b""],
            NumberOfFrames=count,
            PixelData=element,
        )
        return [(read_image(path, frame=k)[0][0] + 1) / 2 * 4095 for k in range(count)]

    for element in [
        fragments(streams), fragments(halves), fragments(halves, starts),
        fragments(streams, [7, 9]),  # a table that is wrong, and not needed: each fragment is a frame
        DataElement("PixelData", "OB", encapsulate(streams), is_undefined_length=True),
        DataElement("PixelData", "OB", encapsulate(streams, fragments_per_frame=3), is_undefined_length=True),
    ]:  # fmt: skip
        np.testing.assert_array_equal(np.stack(read(element)).round(), np.stack(frames))
    assert len(read(fragments([streams[0][:100], streams[0][100:]], [0]), 1)) == 1
    table, _, _ = encapsulate_extended(streams)
    assert len(read(DataElement("PixelData", "OB", table, is_undefined_length=True))) == 3
    for element, count in [
        (fragments(streams[:2]), 3),
        (fragments(streams), 2),
        (fragments(streams), 1),
        (fragments(halves, [0, 7, 9]), 3),
        (fragments(halves, starts[:2]), 3),
        (fragments(halves, [starts[1], starts[0], starts[2]]), 3),
        (fragments([]), 1),
        (fragments(halves[1:]), 3),
    ]:
        with pytest.raises(DataError):
            read(element, count)


def test_pixels_of_another_coding_than_the_transfer_syntax_are_refused(tmp_path: Path) -> None:
    path, cells = tmp_path / "x.dcm", cells_of(some_values(12, False), 16, 12)
    relabel(written(path, cells, 12), uid.JPEGLSLossless)
    with pytest.raises(DataError, match="PixelData"):
        read_image(path)
    with pytest.raises(DataError, match="PixelData"):
        read_image(written(path, cells, 12, PixelData=fragments([cells.tobytes()])))


def test_transfer_syntax_that_is_missing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint16), 12)
    relabel(path, None)
    with pytest.raises(DataError, match="TransferSyntaxUID"):
        read_image(path)


def test_object_without_its_preamble_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint16), 12)
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(DataError, match="DICOM"):
        read_image(path)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"SOPClassUID": uid.SegmentationStorage}, "labels"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7"}, "labels"),
        ({"RecommendedViewingMode": "SUB"}, "RecommendedViewingMode"),
    ],
)
def test_values_that_are_no_intensities_are_refused(tmp_path: Path, elements: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_image(written(tmp_path / "x.dcm", np.zeros((2, 2), np.uint8), 8, **elements))


def test_what_follows_the_pixels_is_padding_or_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "x.dcm", tmp_path / "y.dcm"
    whole = written(path, np.array([[0, 4095]], np.uint16), 12).read_bytes()
    second = written(other, np.array([[4095, 0]], np.uint16), 12).read_bytes()
    for behind in (second, b"junkjunk"):
        path.write_bytes(whole + behind)
        with pytest.raises(DataError, match="pixels"):
            read_image(path)
    for padding in (bytes(64), b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0\0\0\0\0"):
        path.write_bytes(whole + padding)
        assert read_image(path)[0].tolist() == [[[-1, 1]]]
