"""DICOM: its order of LUTs and windows, its inversion, its codecs, on made objects and on real ones."""

import importlib.util
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom import Dataset, FileMetaDataset, examples
from pydicom import data as pydicom_files
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from restorekit import DataError, find_images, write_image
from restorekit.io.images import read_image

OWN = Path(pydicom_files.__file__).parent / "test_files"


def made(path: Path, array: Any, *, bits: int = 16, kind: str = "MONOCHROME2", **elements: Any) -> Path:
    """Write a small object; `elements` are added."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Rows, data.Columns = array.shape[:2]
    data.SamplesPerPixel = 3 if kind == "RGB" else 1
    if kind == "RGB":
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = kind
    data.BitsAllocated, data.BitsStored, data.HighBit = array.dtype.itemsize * 8, bits, bits - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    data["PixelData"] = _pixels(array)
    for name, value in elements.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def _pixels(array: Any) -> Any:
    from pydicom import DataElement

    content = array.tobytes()
    return DataElement("PixelData", "OW" if array.dtype.itemsize > 1 else "OB", content + b"\0" * (len(content) % 2))


def store(name: str) -> Path:
    """A file of pydicom-data, or a skip: pydicom itself brings only the small ones."""
    found = importlib.util.find_spec("data_store")
    if found is None or found.origin is None:
        pytest.skip(f"{name} is in pydicom-data, which is not installed")
    return Path(found.origin).parent / "data" / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dicom")


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("dtype", "bits"), [("uint8", 8), ("uint16", 10), ("uint16", 15), ("uint16", 16), ("int16", 12)]
)
def test_every_stored_value_is_in_the_png(place: Path, kind: str, dtype: str, bits: int) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype == "int16" else (0, 2**bits - 1)

    @given(array=hnp.arrays(dtype, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(low, high)))
    @settings(max_examples=15, deadline=None)
    def holds(array: Any) -> None:
        image, intensity = read_image(made(place / "x.dcm", array, bits=bits, kind=kind))
        assert (intensity.dtype, intensity.low, intensity.high) == (dtype, low, high)
        assert (intensity.format, intensity.photometric) == ("DICOM", kind)
        write_image(place / "x.png", image, intensity)
        png = imagecodecs.png_decode((place / "x.png").read_bytes())
        assert png.dtype == (np.uint8 if bits == 8 else np.uint16)
        full = 2**bits - 1  # the highest value of the bits that were stored
        shown = (full - png if kind == "MONOCHROME1" else png) / full * (high - low) + low
        assert np.array_equal(shown.round().astype(dtype), array)
        back = read_image(place / "x.png", bits=bits)[0]
        assert np.abs(back - image).max() <= 1 / full

    holds()


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [(None, 49.5 - 49.5, 49.5 + 49.5), ("LINEAR", 0, 99), ("LINEAR_EXACT", 0, 100)],
)
def test_straight_windows(tmp_path: Path, function: str | None, low: float, high: float) -> None:
    extra = {"VOILUTFunction": function} if function else {}
    array = np.array([[0, 10, 99, 100, 4000]], np.uint16)
    path = made(tmp_path / "x.dcm", array, bits=12, WindowCenter=[50, 9], WindowWidth=[100, 9], **extra)
    image, intensity = read_image(path)
    assert (intensity.low, intensity.high, intensity.window) == (low, high, (50, 100))
    wanted = np.clip(array, low, high) / (high - low) * 2 - 1
    np.testing.assert_allclose(image[0], wanted, atol=1e-6)
    declared, known = read_image(path, range=(0, 4095))
    assert (known.window, known.high) == (None, 4095)
    assert declared.max() == pytest.approx(4000 / 4095 * 2 - 1)


@pytest.mark.parametrize(
    ("centres", "widths", "window"),
    [
        (["", "40"], ["400", "80"], (40, 80)),
        (["2000", "40"], ["", "80"], (40, 80)),
        (["2000", "40"], ["400", "80"], (2000, 400)),
        (["2000", ""], ["", "80"], None),
        (["2000", "40"], "400", (2000, 400)),
    ],
)
def test_centre_and_width_of_one_place_are_one_window(
    tmp_path: Path, centres: Any, widths: Any, window: tuple[float, float] | None
) -> None:
    array = np.array([[0, 50, 100]], np.uint16)
    path = made(tmp_path / "x.dcm", array, bits=12, WindowCenter=centres, WindowWidth=widths)
    assert read_image(path)[1].window == window


def test_a_sigmoid_window(tmp_path: Path) -> None:
    array = np.array([[0, 50, 100]], np.uint16)
    path = made(tmp_path / "x.dcm", array, bits=12, WindowCenter=50, WindowWidth=100, VOILUTFunction="SIGMOID")
    wanted = 2 / (1 + np.exp(-4 * (array.astype(float) - 50) / 100)) - 1
    np.testing.assert_allclose(read_image(path)[0][0], wanted, atol=1e-3)


def test_the_order_is_rescale_window_inversion(tmp_path: Path) -> None:
    array = np.array([[0, 1024, 1064, 2000]], np.uint16)
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40.5, "WindowWidth": 401}
    image, intensity = read_image(made(tmp_path / "x.dcm", array, bits=12, kind="MONOCHROME1", **rescale))
    assert (intensity.low, intensity.high) == (-160, 240)
    np.testing.assert_allclose(image[0, 0], [1, 0.2, 0, -1], atol=1e-6)
    turned = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    image, intensity = read_image(made(tmp_path / "y.dcm", array, bits=12, **turned))
    assert (intensity.low, intensity.high) == (0, 4095)
    np.testing.assert_allclose(image[0, 0], 1 - array[0] / 2047.5, atol=1e-6)
    assert read_image(tmp_path / "x.dcm", range=(-1024, 3071))[0][0, 0, 0] == 1


def test_colour_and_spacing(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    image, intensity = read_image(made(tmp_path / "x.dcm", array, bits=8, kind="RGB", PixelSpacing=[0.2, 0.1]))
    assert (intensity.photometric, intensity.spacing) == ("RGB", (0.2, 0.1))
    write_image(tmp_path / "x.png", image, intensity)
    assert np.array_equal(read_image(tmp_path / "x.png")[0], image)
    assert read_image(tmp_path / "x.png")[1].spacing == pytest.approx((0.2, 0.1), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"NumberOfFrames": 4}, "holds 4 frames, and one is read at a time"),
        ({"Rows": 60000, "Columns": 60000}, "60000x60000 pixels, more than"),
        ({"Rows": 40}, "has 32 bytes of PixelData"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "has an indexed palette"),
        ({"PhotometricInterpretation": "ODD"}, "ODD"),
        ({"WindowCenter": 5, "WindowWidth": 1}, "WindowWidth 1,"),
        ({"BitsAllocated": 7}, "BitsAllocated 7"),
    ],
)
def test_objects_that_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = made(tmp_path / "x.dcm", np.zeros((4, 4), np.uint16), **change)
    with pytest.raises(DataError, match=named) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.5, 0.95, 0.999])
def test_truncated_objects(tmp_path: Path, part: float) -> None:
    path = made(tmp_path / "x.dcm", np.arange(1600, dtype=np.uint16).reshape(40, 40))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match=r"x.dcm: "):
        read_image(path)


def test_damaged_objects_never_end_in_a_traceback(place: Path) -> None:
    path = made(place / "damaged.dcm", np.zeros((8, 8), np.uint16), WindowCenter=5, WindowWidth=10)
    content = path.read_bytes()

    @given(at=st.integers(128, len(content) - 1), byte=st.integers(0, 255))
    @settings(max_examples=25, deadline=None)
    def holds(at: int, byte: int) -> None:
        path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
        try:
            image = read_image(path)[0]
        except DataError:
            return
        assert np.isfinite(image).all()

    holds()


def test_objects_without_a_suffix_are_found(tmp_path: Path) -> None:
    made(tmp_path / "IM0001", np.zeros((2, 2), np.uint16))
    made(tmp_path / "1.2.840.113", np.zeros((2, 2), np.uint16))
    made(tmp_path / "DICOMDIR", np.zeros((2, 2), np.uint16))
    (tmp_path / "README").write_text("nothing to see")
    assert [path.name for path in find_images(tmp_path)] == ["1.2.840.113", "IM0001"]


# pydicom's own files


@pytest.mark.parametrize("name", ["rtplan.dcm", "waveform_ecg.dcm", "test-SR.dcm", "dicomdirtests/DICOMDIR"])
def test_objects_without_pixels(name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: is a DICOM .* without pixels"):
        read_image(OWN / name)


@pytest.mark.parametrize("name", ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless"])
def test_every_coding_of_one_image_is_one_image(name: str) -> None:
    plain = read_image(OWN / "MR_small.dcm")[0]
    assert np.array_equal(read_image(OWN / f"MR_small_{name}.dcm")[0], plain)


def test_other_codecs() -> None:
    plain = store("SC_rgb.dcm")
    for name in ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"):  # JPEG lossless, RLE
        assert np.array_equal(read_image(OWN / name)[0], read_image(plain)[0])
    lossy = read_image(OWN / "SC_rgb_dcmtk_+eb+cy+np.dcm")[0]  # JPEG baseline, YBR_FULL_422
    assert np.abs(lossy - read_image(plain)[0]).mean() < 0.03


def test_jpeg_of_12_bits() -> None:
    image, intensity = read_image(OWN / "JPGExtended.dcm")
    assert (intensity.dtype, intensity.high, image.shape) == ("uint16", 4095, (1, 1024, 256))
    plain = read_image(store("JPEG-LL.dcm"), range=(0, 4095))[0]  # the same, without loss
    assert np.abs(image - plain).mean() < 0.01


def test_what_is_damaged_inside_a_codec_is_a_line(tmp_path: Path) -> None:
    """No decoder may end the process, as one does that was tried and left out."""
    rng = np.random.default_rng(0)
    names = ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm", "MR_small_RLE", "JPGExtended"]
    for name in names:
        content = (OWN / f"{name}.dcm").read_bytes()
        for _ in range(40):
            damaged = bytearray(content)
            for at in rng.integers(300, len(content), 3):
                damaged[at] = rng.integers(256)
            (tmp_path / "x.dcm").write_bytes(damaged)
            try:
                image = read_image(tmp_path / "x.dcm")[0]
            except DataError as error:
                message = str(error)
            else:
                message = "" if np.isfinite(image).all() else "not\nfinite"
            assert "\n" not in message


def test_truncated_pixels() -> None:
    with pytest.raises(DataError, match=r"MR_truncated\.dcm: .*8130 bytes"):
        read_image(OWN / "MR_truncated.dcm")


def test_every_file_of_pydicom_is_read_or_refused() -> None:
    read = 0
    for path in sorted(OWN.glob("*.dcm")):
        if path.name == "JPEG2000-embedded-sequence-delimiter.dcm":
            continue  # its decoder writes to the terminal by itself
        try:
            image, intensity = read_image(path)
        except DataError:
            continue
        read += 1
        assert image.shape[0] == intensity.channels
        assert np.abs(image).max() <= 1
    assert read > 40


def test_luts() -> None:
    for name in ("mlut_18.dcm", "vlut_04.dcm"):
        image, intensity = read_image(store(name))
        assert (intensity.low, intensity.high) == (0, 65535)
        assert image.std() > 0.1


def test_a_frame_of_an_enhanced_object() -> None:
    path = store("emri_small.dcm")
    with pytest.raises(DataError, match="10 frames"):
        read_image(path)
    frames = [read_image(path, frame=at) for at in (0, 9)]
    assert not np.array_equal(frames[0][0], frames[1][0])
    assert all(image.shape == (1, 64, 64) for image, _ in frames)
    known = read_image(store("eCT_Supplemental.dcm"), frame=1)[1]
    assert (known.low, known.high) == (49 - 0.5 - 50.5, 49 - 0.5 + 50.5)
    assert known.window == (49, 102)
    assert known.spacing is not None
    with pytest.raises(DataError, match="frame 10"):
        read_image(path, frame=10)


def test_a_chest_radiograph_of_15_bits(tmp_path: Path) -> None:
    """RG1: CR, MONOCHROME1, uncompressed and as JPEG 2000, with a window of 15000 and 30000."""
    plain, known = read_image(store("RG1_UNCR.dcm"))
    packed, _ = read_image(store("RG1_J2KR.dcm"))
    lossy, _ = read_image(store("RG1_J2KI.dcm"))
    assert plain.shape == (1, 1955, 1841)
    assert np.array_equal(plain, packed)
    assert np.abs(lossy - plain).mean() < 0.01
    assert (known.dtype, known.photometric, known.window) == ("uint16", "MONOCHROME1", (15000, 30000))
    full, whole = read_image(store("RG1_UNCR.dcm"), range=(0, 2**15 - 1))
    write_image(tmp_path / "x.png", full, whole)
    png = imagecodecs.png_decode((tmp_path / "x.png").read_bytes())
    from pydicom import dcmread

    stored = dcmread(store("RG1_UNCR.dcm")).pixel_array
    assert np.array_equal(2**15 - 1 - png.astype(np.int64), stored)
    assert len(np.unique(png)) > 2**8, "not cut to 8 bits"


def test_examples_of_pydicom() -> None:
    assert read_image(Path(str(examples.get_path("rgb_color"))))[0].shape == (3, 240, 320)


def test_deep_values_are_rescaled_too(place: Path) -> None:
    array = np.array([[0, 10_000, 20_000]], np.uint32)
    path = made(place / "deep.dcm", array, bits=32, RescaleSlope=0.1, RescaleIntercept=-1000)
    image, _ = read_image(path, range=(-1000, 1000))
    np.testing.assert_allclose(image[0], [[-1, 0, 1]], atol=1e-6)
    windowed = made(
        place / "deep_windowed.dcm",
        array,
        bits=32,
        RescaleSlope=0.1,
        RescaleIntercept=-1000,
        WindowCenter=0.5,
        WindowWidth=2001,
    )
    np.testing.assert_allclose(read_image(windowed)[0][0], [[-1, 0, 1]], atol=1e-6)
