"""NIfTI-1 and -2: what the header says of values is applied or refused, and every checksum and length is verified."""

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit import DataError, write_image
from restorekit.builtin.folder import folder
from restorekit.io.images import ImageFiles, read_image
from tests.bits import check_flipped_bits

VOXELS = np.random.default_rng(0).integers(-30000, 30000, (4, 5, 6)).astype(np.int16)
NARROW = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)


def nifti(array: Any = VOXELS, **fields: Any) -> bytes:
    """A NIfTI-1 file whose header is changed by hand after nibabel wrote it."""
    content = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header.structarr[name] = value
    return header.structarr.tobytes() + content[348:]


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def levels(path: Path, **options: Any) -> Any:
    image, known = read_image(path, **options)
    return (image[0].astype(np.float64) + 1) / 2 * (known.high - known.low) + known.low


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("units", "factor"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (3 + 8, 0.001), (2 + 16, 1.0)]
)
def test_spacing_is_in_millimetres(tmp_path: Path, units: int, factor: float) -> None:
    path = saved(tmp_path / "x.nii", nifti(xyzt_units=units, pixdim=[1, 0.5, 2, 3, 0, 0, 0, 0]))
    assert read_image(path)[1].spacing == pytest.approx((0.5 * factor, 2 * factor, 3 * factor))


def test_units_that_are_not_defined_are_refused(tmp_path: Path) -> None:
    assert "5" in refused(saved(tmp_path / "x.nii", nifti(xyzt_units=5)))


@pytest.mark.parametrize(
    ("pixdim", "spacing"),
    [([1, -1, 2, 3], (1, 2, 3)), ([1, 0, 2, 3], None), ([1, np.nan, 2, 3], None), ([1, np.inf, 2, 3], None)],
)
def test_spacing_is_positive_or_unknown(tmp_path: Path, pixdim: Any, spacing: Any) -> None:
    path = saved(tmp_path / "x.nii", nifti(pixdim=[*pixdim, 0, 0, 0, 0]))
    assert read_image(path)[1].spacing == spacing
    assert np.allclose(levels(path), VOXELS, atol=0.01)


@pytest.mark.parametrize("intent", [0, 1001, 1011, 2001])
def test_intents_of_images_are_read(tmp_path: Path, intent: int) -> None:
    assert np.allclose(levels(saved(tmp_path / "x.nii", nifti(intent_code=intent))), VOXELS, atol=0.01)


@pytest.mark.parametrize("intent", [3, 5, 22, 1002, 1003, 1006, 1007, 1008, 2003, 2005, 2006, 3001, 9999])
def test_intents_of_other_values_are_refused_by_code(tmp_path: Path, intent: int) -> None:
    assert str(intent) in refused(saved(tmp_path / "x.nii", nifti(intent_code=intent)))


@pytest.mark.parametrize("code", [0, 1, 32, 128, 1536, 1792, 2304, 7])
def test_types_that_are_no_real_numbers_are_refused(tmp_path: Path, code: int) -> None:
    refused(saved(tmp_path / "x.nii", nifti(datatype=code)), range=(0, 1))


def test_rgb_of_nibabel_is_refused(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(colours, np.eye(4)).to_filename(tmp_path / "x.nii")
    assert "RGB24" in refused(tmp_path / "x.nii")


@pytest.mark.parametrize(("slope", "inter"), [(2, -1024), (-1, 5), (0.25, 0)])
@pytest.mark.parametrize("packed", [False, True])
def test_scl_slope_and_scl_inter_are_applied(tmp_path: Path, slope: float, inter: float, packed: bool) -> None:
    content = nifti(scl_slope=slope, scl_inter=inter)
    path = saved(tmp_path / "x.nii", gzip.compress(content) if packed else content)
    assert np.allclose(levels(path), VOXELS.astype(float) * slope + inter, atol=0.02)
    ends = sorted((-32768 * slope + inter, 32767 * slope + inter))
    assert [read_image(path)[1].low, read_image(path)[1].high] == ends


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_scaled_values_without_a_declared_range_are_noted_and_refused_by_the_pipeline(
    tmp_path: Path, dtype: str
) -> None:
    ends = np.iinfo(dtype)
    array = np.linspace(ends.min, ends.max, VOXELS.size).reshape(VOXELS.shape).astype(dtype)
    made = nibabel.Nifti1Image(array, np.eye(4))
    made.header.set_slope_inter(0.5, -1024)
    made.to_filename(tmp_path / "x.nii")
    low, high = ends.min * 0.5 - 1024, ends.max * 0.5 - 1024
    known = read_image(tmp_path / "x.nii")[1]
    assert (known.low, known.high, bool(known.note)) == (low, high, True)
    for bits in (None, 12):
        with pytest.raises(DataError, match=r"x\.nii"):
            ImageFiles(bits=bits).read(tmp_path / "x.nii")
        data = folder(tmp_path, "train", path=".", bits=bits)
        with pytest.raises(DataError, match="range"):
            data.load(0, torch.Generator())
    image, known = ImageFiles().read(tmp_path / "x.nii", range=(low, high))
    assert known.note == ""
    assert np.allclose((image[0].astype(np.float64) + 1) / 2 * (high - low) + low, array * 0.5 - 1024, atol=0.01)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_a_slope_that_says_nothing_scales_nothing(tmp_path: Path, slope: float) -> None:
    path = saved(tmp_path / "x.nii", nifti(scl_slope=slope, scl_inter=7))
    assert np.allclose(levels(path), VOXELS, atol=0.01)


@pytest.mark.parametrize(("slope", "inter"), [(np.inf, 0), (1, np.nan), (2, np.inf)])
def test_a_scale_that_is_not_finite_is_refused(tmp_path: Path, slope: float, inter: float) -> None:
    refused(saved(tmp_path / "x.nii", nifti(scl_slope=slope, scl_inter=inter)))


def test_scaled_integers_of_unknown_depth_must_be_declared(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.nii", nifti(NARROW.astype(np.int16), scl_slope=1, scl_inter=-1024))
    refused(path)
    assert np.allclose(levels(path, range=(-1024, 3071)), NARROW - 1024.0, atol=0.01)


def test_display_ranges_are_not_used(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.nii", nifti(cal_min=0, cal_max=10))
    assert (read_image(path)[1].low, read_image(path)[1].high) == (-32768, 32767)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", ">f4"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_both_byte_orders_and_versions(tmp_path: Path, dtype: str, kind: Any) -> None:
    array = (VOXELS if "u" not in dtype else VOXELS.astype(np.int32) + 30000).astype(dtype)
    order = ">" if dtype.startswith(">") else "<"
    made = kind(array, np.eye(4), kind.header_class(endianness=order))
    made.set_data_dtype(dtype)
    made.header.set_slope_inter(1, 0)
    saved(tmp_path / "x.nii", made.to_bytes())
    assert np.allclose(levels(tmp_path / "x.nii", range=(-32768, 65535) if "f" in dtype else None), array, atol=0.01)


@pytest.mark.parametrize(("shape", "frames"), [((4, 5, 6, 1), 1), ((4, 5, 6, 3), 3), ((4, 5, 6, 1, 1), 1)])
def test_volumes_are_counted(tmp_path: Path, shape: Any, frames: int) -> None:
    array = np.resize(VOXELS, shape)
    path = saved(tmp_path / "x.nii", nifti(array))
    if frames > 1:
        assert str(frames) in refused(path)
    for frame in range(frames):
        wanted = array.reshape(4, 5, 6, frames)[..., frame]
        assert np.allclose(levels(path, frame=frame), wanted, atol=0.01)
    refused(path, frame=frames)


def test_vectors_are_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path / "x.nii", nifti(np.zeros((4, 5, 6, 1, 3), np.int16))))


@pytest.mark.parametrize(
    "fields",
    [
        {"vox_offset": 300},
        {"vox_offset": np.nan},
        {"vox_offset": 352.5},
        {"vox_offset": 1e9},
        {"bitpix": 8},
        {"dim": [0, 4, 5, 6, 1, 1, 1, 1]},
        {"dim": [3, 4, -5, 6, 1, 1, 1, 1]},
        {"dim": [3, 4, 5, 7, 1, 1, 1, 1]},
        {"dim": [3, 4, 5, 3, 1, 1, 1, 1]},
        {"datatype": 4, "bitpix": 16, "dim": [3, 2, 5, 6, 1, 1, 1, 1]},
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_that_contradict_the_file_are_refused(tmp_path: Path, fields: Any, packed: bool) -> None:
    content = nifti(**fields)
    refused(saved(tmp_path / "x.nii", gzip.compress(content) if packed else content))


def test_an_offset_of_zero_is_the_end_of_the_header(tmp_path: Path) -> None:
    assert np.allclose(levels(saved(tmp_path / "x.nii", nifti(vox_offset=0))), VOXELS, atol=0.01)


def test_extensions_and_padding_are_passed_over(tmp_path: Path) -> None:
    content = nifti(vox_offset=352 + 32)
    block = struct.pack("<ii", 32, 6) + b"x" * 24
    path = saved(tmp_path / "x.nii", content[:348] + b"\1\0\0\0" + block + content[352:] + bytes(100))
    assert np.allclose(levels(path), VOXELS, atol=0.01)


@pytest.mark.parametrize("name", ["x.hdr", "x.nii"])
def test_the_header_of_a_pair_is_refused(tmp_path: Path, name: str) -> None:
    refused(saved(tmp_path / name, nifti(magic=b"ni1", vox_offset=0)[:352]))


# Checksums and lengths


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_refused(tmp_path: Path, packed: bool) -> None:
    content = gzip.compress(nifti()) if packed else nifti()

    @given(length=st.integers(0, len(content) - 1))
    @settings(max_examples=25, deadline=None)
    def holds(length: int) -> None:
        refused(saved(tmp_path / "x.nii", content[:length]))

    holds()


def test_a_flipped_bit_of_gzip_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    check_flipped_bits(tmp_path / "x.nii.gz", gzip.compress(nifti(), mtime=0))


@pytest.mark.parametrize("at", [-1, -5])
def test_a_wrong_checksum_or_length_of_gzip_is_refused(tmp_path: Path, at: int) -> None:
    content = bytearray(gzip.compress(nifti(), mtime=0))
    content[at] ^= 1
    refused(saved(tmp_path / "x.nii.gz", bytes(content)))


def test_gzip_of_several_members_is_read_whole(tmp_path: Path) -> None:
    content = nifti()
    parts = [gzip.compress(content[:500]), gzip.compress(content[500:])]
    assert np.allclose(levels(saved(tmp_path / "x.nii.gz", b"".join(parts))), VOXELS, atol=0.01)
    refused(saved(tmp_path / "y.nii.gz", parts[0]))
    parts[1] = parts[1][:-8] + bytes(8)
    refused(saved(tmp_path / "z.nii.gz", b"".join(parts)))
    refused(saved(tmp_path / "w.nii.gz", gzip.compress(content) + gzip.compress(content)))


@pytest.mark.parametrize("array", [VOXELS, NARROW])
def test_a_restored_volume_keeps_units_and_offset(tmp_path: Path, array: Any) -> None:
    path = saved(tmp_path / "x.nii", nifti(array, xyzt_units=3, pixdim=[1, 5, 5, 5, 0, 0, 0, 0]))
    image, known = read_image(path)
    write_image(tmp_path / "y.nii", image, known)
    assert read_image(tmp_path / "y.nii")[1].spacing == pytest.approx((0.005,) * 3)
    assert np.array_equal(nibabel.load(tmp_path / "y.nii").dataobj.get_unscaled(), array)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", ["y.nii", "y.nii.gz", "Y.NII.GZ"])
@pytest.mark.parametrize("source", ["x.nii", "x.nii.gz"])
def test_the_name_alone_decides_whether_a_file_is_packed(tmp_path: Path, source: str, name: str, own: bool) -> None:
    nibabel.save(nibabel.Nifti1Image(NARROW, np.eye(4)), tmp_path / source)
    image, known = read_image(tmp_path / source)
    write_image(tmp_path / name, image, known if own else None)
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") is name.lower().endswith(".gz")
    if own and name[0] == "y":  # nibabel knows small letters
        assert np.array_equal(nibabel.load(tmp_path / name).dataobj, NARROW)
