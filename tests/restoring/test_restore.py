"""Restoring: any size, the type of the input, one file at a time, never over an input file."""

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import restorekit
from restorekit import CheckpointError, DataError, RecipeError, write_image
from restorekit.discovery.plugins import Plugins
from restorekit.io.images import read_image
from restorekit.restoring import model as stage
from restorekit.restoring.loading import load
from restorekit.restoring.model import Model
from restorekit.restoring.restore import COLUMNS, restore_files
from restorekit.restoring.windows import least_window
from restorekit.runs.run import Run

Build = Callable[..., Run]
Load = Callable[..., Model]
HEAD = {"name": "classify", "pool": "avg"}
RESNET = {"name": "resnet", "width": 4, "blocks": 1, "downs": 2}
SCALE = {"name": "scale", "by": 0.5}


@pytest.fixture(autouse=True)
def _toys(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)


@pytest.fixture
def saved(build_run: Build) -> Build:
    def make(folder: str = "run", **changes: Any) -> Run:
        if "nets__head" in changes:
            changes = {"losses": ["lsgan", "task"], **changes}
        run = build_run(folder=folder, **changes)
        run.begin("test")
        run.step = 1
        run.save()
        return run

    return make


@pytest.fixture
def restorer(saved: Build) -> Load:
    return lambda **changes: load(saved(**changes).folder)


NETS: list[tuple[Any, int]] = [
    (RESNET, 1),
    ({**RESNET, "norm": "batch"}, 3),
    ({"name": "unet", "width": 2}, 1),
]


@pytest.mark.parametrize(("generator", "channels"), NETS)
def test_any_size_keeps_its_shape(restorer: Load, generator: Any, channels: int) -> None:
    made = restorer(nets__generator=generator, data__channels=channels)
    for size in [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5), (4, 4), (16, 16), (17, 31), (33, 8), (1, 40)]:
        image = torch.rand(channels, *size) * 2 - 1
        out = made.restored(image.numpy()).image
        assert out.shape == image.shape
        assert np.isfinite(out).all()
        assert np.abs(out).max() <= 1


@pytest.mark.parametrize("dims", [1, 3])
def test_signals_and_volumes_of_any_size(restorer: Load, dims: int) -> None:
    made = restorer(nets__generator=RESNET, data__size=[32] if dims == 1 else [8, 8, 8])
    for size in [(1,), (7,), (33,)] if dims == 1 else [(1, 1, 1), (2, 7, 9), (8, 8, 8)]:
        assert made.restored(torch.zeros(1, *size).numpy()).image.shape == (1, *size)


def test_padding_is_cut_back_exactly(restorer: Load) -> None:
    """A net that looks at each pixel alone must give what it gives without any padding."""
    made = restorer(nets__generator=SCALE)
    made.restorer().net.generator.multiple = 8

    @given(height=st.integers(1, 40), width=st.integers(1, 40))
    @settings(max_examples=30, deadline=None)
    def holds(height: int, width: int) -> None:
        image = torch.rand(1, height, width) * 2 - 1
        torch.testing.assert_close(torch.from_numpy(made.restored(image.numpy()).image), image * 0.5, rtol=0, atol=0)

    holds()


def test_restoring_is_what_the_nets_say(saved: Build) -> None:
    run = saved(nets__generator=RESNET, nets__head=HEAD)
    made = load(run.folder)
    image = torch.rand(1, 16, 24) * 2 - 1
    with torch.inference_mode():
        direct = run.nets.eval().ab(image[None])
    found = made.restored(image.numpy())
    torch.testing.assert_close(torch.from_numpy(found.image), direct.image[0], rtol=0, atol=0)
    assert found.prediction is not None
    assert list(found.prediction) == ["no", "yes"]
    assert list(found.prediction.values()) == pytest.approx(direct.raw[0].softmax(0).tolist())
    assert found.spread is None
    twice = made.restored(image.numpy(), times=2)
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(twice.image), run.nets.ab(direct.image).image[0], rtol=0, atol=0)
    assert twice.prediction == found.prediction, "the prediction is of the image as given"
    again = load(run.folder / "checkpoints" / "step_000000001").restored(image.numpy())
    np.testing.assert_array_equal(again.image, found.image)


def test_reverse_is_what_the_cycle_learned_in_the_other_direction(saved: Build) -> None:
    run = saved(losses=["lsgan", "cycle"], evaluate__times=3)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert run.nets.ba is not None
    with torch.no_grad():
        expected = run.nets.ba.eval()(image).image[0]
    made = load(f"reverse:{run.folder}").restored(image[0].numpy()).image
    torch.testing.assert_close(torch.from_numpy(made), expected)


def test_reverse_of_a_run_without_a_cycle_is_refused(saved: Build) -> None:
    with pytest.raises(CheckpointError):
        load(f"reverse:{saved(nets__one_way=True).folder}")
    with pytest.raises(CheckpointError):
        load("reverse:no/such/run")


def test_times_defaults_to_the_recipes(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE, evaluate={"times": 3})
    image = torch.full((1, 4, 4), 0.8)
    assert made.restored(image.numpy()).image[0, 0, 0] == pytest.approx(0.1)
    assert made.restored(image.numpy(), times=1).image[0, 0, 0] == pytest.approx(0.4)


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (1, 1), (5, 9)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.float16])
def test_arrays_come_back_as_they_came(restorer: Load, shape: tuple[int, ...], dtype: Any) -> None:
    made = restorer(nets__generator=SCALE)
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, shape, dtype) if dtype == np.uint8 else (rng.random(shape) * 2 - 1).astype(dtype)
    kept = array.copy()
    out = made.restore(array, range=None if dtype == np.uint8 else (-1, 1))
    assert isinstance(out, np.ndarray)
    assert (out.shape, out.dtype) == (array.shape, array.dtype)
    assert np.array_equal(array, kept)
    wanted = (array / 127.5 - 1) * 0.5 * 127.5 + 127.5 if dtype == np.uint8 else array * 0.5
    np.testing.assert_allclose(out.astype(float), wanted.astype(float), atol=0.51 if dtype == np.uint8 else 1e-3)


@pytest.mark.parametrize(
    ("dtype", "range"),
    [("uint16", None), ("int16", None), ("uint16", (0, 4095)), ("int32", (-1024, 3071)), ("float32", (0, 1))],
)
def test_any_range_comes_back(restorer: Load, dtype: str, range: tuple[float, float] | None) -> None:
    made = restorer(nets__generator=SCALE)  # halves what lies between -1 and 1
    low, high = range or (np.iinfo(dtype).min, np.iinfo(dtype).max)
    array = np.linspace(low, high, 12).reshape(3, 4).astype(dtype)
    middle = (low + high) / 2
    for out in (made.restore(array, range=range), made.restore(torch.from_numpy(array), range=range).numpy()):
        assert out.dtype == array.dtype
        atol = 0.51 if out.dtype.kind in "ui" else 1e-6
        np.testing.assert_allclose(out, (array.astype(float) - middle) / 2 + middle, atol=atol)


def test_a_run_restores_in_the_range_that_its_data_declares(
    saved: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in "ab":
        write_image(tmp_path / side / "1.png", np.zeros((1, 16, 16)))
    declared = {"name": "folder", "range": [0, 4095]}
    a = {"name": "degraded", "dataset": {**declared, "path": str(tmp_path / "a")}, "degradation": "noise"}
    run = saved(nets__generator=SCALE, data__a=a, data__b={**declared, "path": str(tmp_path / "b")})
    made = load(run.folder)
    film = np.array([[0, 2047, 4095]], np.uint16)
    halved = [[1024, 2047, 3071]]
    np.testing.assert_allclose(made.restore(film), halved, atol=1)
    np.testing.assert_allclose(made.restore(film.astype(float)), halved, atol=1)
    np.testing.assert_allclose(made.restore(np.array([[-1.0, 1.0]]), range=(-1, 1)), [[-0.5, 0.5]])
    with pytest.raises(DataError, match="declares 0 to 4095"):
        made.restore(np.array([[0.0, 1.0]]))
    np.save(tmp_path / "film.npy", film)
    (row,) = restore_files(made, [tmp_path / "film.npy"], tmp_path / "out")
    np.testing.assert_allclose(np.load(row.written), halved, atol=1)
    assert "black is 0 and white 4095, as the run's data declares" in row.note
    (row,) = restore_files(made, [tmp_path / "film.npy"], tmp_path / "again", range=(0, 8190))
    assert np.load(row.written).max() > 4095 / 2
    assert "declares" not in row.note


def test_of_two_ranges_that_the_data_declares_none_is_guessed(saved: Build, tmp_path: Path) -> None:
    for name in ("1", "2"):
        write_image(tmp_path / name / f"{name}.png", np.zeros((1, 16, 16)))
    films = [{"name": "folder", "path": str(tmp_path / n), "range": [0, top]} for n, top in (("1", 4095), ("2", 255))]
    made = load(saved(nets__generator=SCALE, data__a={"name": "join", "datasets": films}, data__b=films[0]).folder)
    film = np.array([[0, 255]], np.uint16)
    with pytest.raises(RecipeError, match=r"declare range \[0, 4095\] and \[0, 255\]"):
        made.restore(film)
    np.testing.assert_allclose(made.restore(film, range=(0, 255)), [[64, 191]], atol=1)


def test_a_wide_integer_must_say_its_range(restorer: Load) -> None:
    with pytest.raises(DataError, match="int32 values"):
        restorer(nets__generator=SCALE).restore(np.zeros((4, 4), np.int32))


def test_tensors_come_back_as_tensors(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE)
    for tensor in (torch.zeros(4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.bfloat16)):
        out = made.restore(tensor, range=(-1, 1) if tensor.is_floating_point() else None)
        assert isinstance(out, torch.Tensor)
        assert (out.shape, out.dtype) == (tensor.shape, tensor.dtype)
    flipped = np.zeros((4, 6), np.float32)[::-1, ::2]  # negative strides
    assert made.restore(flipped, range=(-1, 1)).shape == (4, 3)


def test_pythons_own_door(saved: Build) -> None:
    run = saved(nets__generator=SCALE)
    out = restorekit.load(str(run.folder)).restore(np.zeros((3, 3), np.uint8))
    assert out.tolist() == [[64] * 3] * 3


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4), bool), "holds values of type bool; integers and real numbers are read"),
        (np.full((4, 4), 2.0), "holds values from 2 to 2, outside its range of -1 to 1"),
        (np.full((4, 4), np.nan), "holds values that are not finite"),
        (np.zeros(4), "an image of this run has 2 spatial sizes and may have channels; got (4,)"),
        (np.zeros((1, 1, 4, 4)), "an image of this run has 2 spatial sizes and may have channels; got (1, 1, 4, 4)"),
        (np.zeros((2, 4, 4)), "an image of this run has 1 channel, before its sizes; got 2"),
        (np.zeros((0, 4)), "an image of this run has 2 spatial sizes and may have channels; got (1, 0, 4)"),
    ],
)
def test_what_is_no_image(restorer: Load, array: Any, text: str) -> None:
    with pytest.raises(DataError) as caught:
        restorer(nets__generator=SCALE).restore(array, range=(-1, 1))
    assert text in str(caught.value)


def test_gray_in_nets_of_three_channels_is_written_as_their_mean(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE, data__channels=3)  # the channels are scaled by 0.5, 0.375 and 0.25
    image = torch.rand(1, 8, 8) * 2 - 1
    out = made.restored(image.numpy())
    assert out.image.shape == (1, 8, 8)
    torch.testing.assert_close(torch.from_numpy(out.image), image * 0.375)
    assert out.spread == pytest.approx(float(image.abs().mean()) * 0.25 / 2, rel=1e-4)
    assert made.restored(image.expand(3, 8, 8).numpy()).image.shape == (3, 8, 8)


def test_gray_stored_as_colour_in_nets_of_one_channel(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE)
    image = (torch.rand(1, 8, 8) * 2 - 1).expand(3, 8, 8)
    torch.testing.assert_close(torch.from_numpy(made.restored(image.numpy()).image), image * 0.5)
    with pytest.raises(DataError, match=r"an image of this run has 1 channel, before its sizes; got 3"):
        made.restored(torch.rand(3, 8, 8).numpy())


def test_too_large_is_refused_with_what_fits(restorer: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    made = restorer(nets__generator=RESNET)
    made.restored(torch.zeros(1, 8, 8).numpy())
    assert made._bytes_at is not None
    assert 4 * 4 < made._bytes_at < 10_000, "bytes for each pixel: some channels of float32"
    free = int(made._bytes_at * stage.MARGIN * 100 * 100) + 1
    monkeypatch.setattr(stage, "_free_memory", lambda device: free)
    with pytest.raises(DataError) as caught:
        made.restored(torch.zeros(1, 101, 120).numpy(), any_scale=True)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("101x120 needs about ")
    assert text.endswith("about 100x100 fits. Restore it in windows: --window 64")
    assert made.restored(torch.zeros(1, 100, 100).numpy(), any_scale=True).image.shape == (1, 100, 100)
    assert made.restored(torch.zeros(1, 48, 200).numpy(), any_scale=True).image.shape == (1, 48, 200)


def test_what_is_said_to_fit_fits(restorer: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    made = restorer(nets__generator=RESNET)
    made.restored(torch.zeros(1, 8, 8).numpy())
    assert made._bytes_at is not None
    free = int(made._bytes_at * stage.MARGIN * 102 * 102) + 1  # 102 is no multiple of 4: padded it would not fit
    monkeypatch.setattr(stage, "_free_memory", lambda device: free)
    with pytest.raises(DataError, match=r"^102x102 needs about .* about 100x100 fits"):
        made.restored(torch.zeros(1, 102, 102).numpy(), any_scale=True)
    assert made.restored(torch.zeros(1, 100, 100).numpy(), any_scale=True).image.shape == (1, 100, 100)


def test_what_is_no_array_is_refused(restorer: Load) -> None:
    with pytest.raises(DataError, match="an image is a NumPy array or a tensor; got list"):
        restorer(nets__generator=SCALE).restore([[0.0]])


def test_what_holds_no_value_at_every_place_is_refused(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE)
    plain = np.zeros((8, 8), np.uint8)
    for array in (np.ma.masked_array(plain, plain == 1), torch.zeros(8, 8).to_sparse()):
        with pytest.raises(DataError):
            made.restore(array, range=(0, 255))
    for half in (np.zeros((8, 8), np.float16), torch.zeros(8, 8, dtype=torch.float16)):
        with pytest.raises(DataError, match="float16"):
            made.restore(half, range=(0, 1e6))
        assert np.isfinite(np.asarray(made.restore(half, range=(0, 65504)))).all()


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4"])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_byte_order_and_subclasses_of_arrays_change_nothing(restorer: Load, dtype: str) -> None:
    made = restorer(nets__generator=SCALE)
    array = np.arange(64).reshape(8, 8).astype(dtype)
    for kind in (array, np.matrix(array)):
        out = made.restore(kind, range=(0, 100))
        assert isinstance(out, np.ndarray)
        assert out.dtype == np.dtype(dtype)
        np.testing.assert_allclose(np.asarray(out, float), np.arange(64).reshape(8, 8) / 2 + 25, atol=0.51)


def pictures(folder: Path) -> list[str]:
    names = ["1.png", "deep/er/2.JPG", "deep/3.jpeg"]
    for at, name in enumerate(names):
        write_image(folder / name, np.full((1, 5 + at, 7), at / 4))
    return names


def test_folders_keep_their_names(restorer: Load, tmp_path: Path) -> None:
    names = pictures(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    single = tmp_path / "single.png"
    write_image(single, np.zeros((3, 4, 4)))
    out = tmp_path / "out"
    rows = list(restore_files(restorer(nets__generator=SCALE), [tmp_path / "in", single], out))
    assert sorted(row.written for row in rows) == sorted(str(out / name) for name in [*names, "single.png"])
    assert all(row.error == "" and row.seconds >= 0 for row in rows)
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert found == sorted([*names, "single.png", "restored.csv"])
    image, intensity = read_image(out / "1.png")
    assert image.shape == (1, 5, 7)
    assert intensity.channels == 1
    assert read_image(out / "single.png")[1].channels == 3
    with Image.open(out / "deep" / "er" / "2.JPG") as file:
        assert file.format == "JPEG"


def test_a_bad_file_does_not_stop_the_rest(restorer: Load, tmp_path: Path) -> None:
    home = tmp_path / "in"
    pictures(home)
    whole = (home / "1.png").read_bytes()
    (home / "0_torn.png").write_bytes(whole[: len(whole) // 2])
    np.save(home / "5_float.npy", np.zeros((4, 4), np.float32))
    write_image(home / "4_colour.png", torch.rand(3, 4, 4).numpy())
    rows = list(restore_files(restorer(nets__generator=RESNET, nets__head=HEAD), [home], tmp_path / "out"))
    failed = {Path(row.file).name: row.error for row in rows if row.error}
    assert set(failed) == {"0_torn.png", "4_colour.png", "5_float.npy"}
    for name, error in failed.items():
        assert error.startswith(f"{home / name}: "), "an error names its file"
        assert "\n" not in error
    assert "declare their range" in failed["5_float.npy"]
    assert sum(not row.error for row in rows) == 3
    with (tmp_path / "out" / "restored.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == (*COLUMNS, "p_no", "p_yes")
    assert [row["file"] for row in table] == [row.file for row in rows]
    assert [bool(row["p_yes"]) for row in table] == [not row.error for row in rows]


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".png", "uint16"),
        (".tif", "uint16"),
        (".tif", "float32"),
        (".npy", "int16"),
        (".npz", "uint8"),
        (".bmp", "uint8"),
    ],
)
def test_format_and_depth_are_kept(restorer: Load, tmp_path: Path, suffix: str, dtype: str) -> None:
    array = (np.random.default_rng(0).random((9, 7)) * 250).astype(dtype)
    path = tmp_path / f"in/deep/x{suffix}"
    path.parent.mkdir(parents=True)
    if suffix.startswith(".np"):
        np.save(path, array) if suffix == ".npy" else np.savez(path, array)
    elif suffix == ".tif":
        tifffile.imwrite(path, array, compression="lzw")
    else:
        Image.fromarray(array).save(path)
    same = restorer(nets__generator={"name": "scale", "by": 1})
    (row,) = restore_files(same, [tmp_path / "in"], tmp_path / "out", range=(0, 250) if dtype != "uint8" else None)
    assert (row.error, row.note, row.written) == ("", "", str(tmp_path / f"out/deep/x{suffix}"))
    if suffix.startswith(".np"):
        loaded = np.load(row.written)
        found = loaded if suffix == ".npy" else loaded["arr_0"]
    else:
        found = tifffile.imread(row.written) if suffix == ".tif" else np.asarray(Image.open(row.written))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_allclose(found, array, atol=0 if dtype != "float32" else 1e-4)


def test_the_content_decides_and_that_is_said(restorer: Load, tmp_path: Path) -> None:
    home = tmp_path / "in"
    write_image(home / "a.tif", np.zeros((1, 4, 4)))
    (home / "a.tif").rename(home / "a.png")
    (home / "b.dcm").write_bytes(b"no such thing")
    rows = list(restore_files(restorer(nets__generator=SCALE), [home], tmp_path / "out"))
    assert [row.error.partition(" (")[0] for row in rows] == ["", f"{home / 'b.dcm'}: cannot be read as an image"]
    assert rows[0].written == str(tmp_path / "out" / "a.tif")
    assert rows[0].note == "its content is TIFF, whatever its name says; written as a.tif"
    with (tmp_path / "out" / "restored.csv").open(newline="") as stream:
        assert [row["note"] for row in csv.DictReader(stream)] == [rows[0].note, ""]


def test_a_radiograph_at_its_full_size_and_depth(restorer: Load, tmp_path: Path) -> None:
    """The CR of pydicom-data: 1955x1841 pixels of 15 bits, MONOCHROME1."""
    found = importlib.util.find_spec("data_store")
    if found is None or found.origin is None:
        pytest.skip("RG1_UNCR.dcm is in pydicom-data, which is not installed")
    source = Path(found.origin).parent / "data" / "RG1_UNCR.dcm"
    made = restorer(nets__generator=SCALE)
    (row,) = restore_files(made, [source], tmp_path / "out", range=(0, 2**15 - 1), any_scale=True)
    assert row.error == ""
    out, known = read_image(tmp_path / "out" / "RG1_UNCR.dcm", range=(0, 2**15 - 1))
    assert (out.shape, known.dtype, known.bits) == ((1, 1955, 1841), "uint16", 15)
    np.testing.assert_allclose(out, read_image(source, range=(0, 2**15 - 1))[0] * 0.5, rtol=0, atol=2 / 2**15)
    assert len(np.unique(out)) > 2**12


def test_volumes_of_nifti(restorer: Load, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
    affine = np.diag([1, 2, 3, 1])
    nibabel.Nifti1Image(array, affine).to_filename(tmp_path / "x.nii.gz")
    same = restorer(nets__generator={"name": "scale", "by": 1}, data__size=[8, 8, 8])
    (row,) = restore_files(same, [tmp_path / "x.nii.gz"], tmp_path / "out", range=(-1024, 1023))
    assert row.error == ""
    found = nibabel.load(row.written)
    assert np.array_equal(np.asarray(found.dataobj), array)
    assert np.array_equal(found.affine, affine)
    assert found.get_data_dtype() == np.int16


def test_interrupted_restore_reports_finished_files(restorer: Load, tmp_path: Path) -> None:
    pictures(tmp_path / "in")
    rows = restore_files(restorer(nets__generator=SCALE), [tmp_path / "in"], tmp_path / "out")
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert len((tmp_path / "out" / "restored.csv").read_text().splitlines()) == 2


def test_what_was_not_restored_is_never_written_over(restorer: Load, tmp_path: Path) -> None:
    pictures(tmp_path / "scans" / "sub")
    write_image(tmp_path / "scans" / "1.png", np.ones((1, 5, 7)))
    mine = (tmp_path / "scans" / "1.png").read_bytes()
    made = restorer(nets__generator=SCALE)
    rows = {Path(row.file).name: row for row in restore_files(made, [tmp_path / "scans" / "sub"], tmp_path / "scans")}
    assert str(tmp_path / "scans" / "1.png") in rows["1.png"].error
    assert not any(row.error for name, row in rows.items() if name != "1.png")
    assert (tmp_path / "scans" / "1.png").read_bytes() == mine


def test_a_second_call_keeps_the_rows_of_the_first(restorer: Load, tmp_path: Path) -> None:
    pictures(tmp_path / "in")
    write_image(tmp_path / "more.png", np.zeros((1, 5, 7)))
    made, out = restorer(nets__generator=SCALE), tmp_path / "out"
    first = [row.file for row in restore_files(made, [tmp_path / "in"], out)]
    assert all(not row.error for row in restore_files(made, [tmp_path / "more.png"], out))
    assert all(not row.error for row in restore_files(made, [tmp_path / "in" / "1.png"], out)), "ours is skipped"
    with (out / "restored.csv").open(newline="") as stream:
        rows = [row["file"] for row in csv.DictReader(stream)]
    assert rows == [*first, str(tmp_path / "more.png")]
    named = {"name": "toy", "classes": ["x", "y"]}
    other = restorer(folder="other", nets__generator=SCALE, data__a=named, data__b={**named, "side": "b"})
    with pytest.raises(DataError, match=r"restored\.csv: .*p_yes.*p_x"):
        list(restore_files(other, [tmp_path / "more.png"], out))


def test_inputs_are_never_written_over(restorer: Load, tmp_path: Path) -> None:
    pictures(tmp_path / "in")
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.*")}
    made = restorer(nets__generator=SCALE)
    for inputs, out in (([tmp_path / "in"], "in"), ([tmp_path / "in" / "1.png"], "in"), ([tmp_path / "in"], "x/../in")):
        with pytest.raises(DataError, match=r"would be overwritten; choose another -o FOLDER"):
            list(restore_files(made, inputs, tmp_path / out))
    assert {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.*")} == before


def test_two_files_of_one_name_are_not_written_over_each_other(restorer: Load, tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        write_image(tmp_path / name, np.zeros((1, 4, 4)))
    rows = list(restore_files(restorer(nets__generator=SCALE), [tmp_path / "a", tmp_path / "b"], tmp_path / "out"))
    assert [bool(row.error) for row in rows] == [False, True]
    assert all(str(tmp_path / name) in rows[1].error for name in ("a/1.png", "b/1.png", "out/1.png"))


def test_nothing_to_restore(restorer: Load, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = restorer(nets__generator=SCALE)
    with pytest.raises(DataError, match=r"empty: holds no file that this run can restore"):
        list(restore_files(made, [tmp_path / "empty"], tmp_path / "out"))
    (row,) = restore_files(made, [tmp_path / "gone.png"], tmp_path / "out")
    assert row.error == f"{tmp_path / 'gone.png'}: no such file"


def test_runs_that_cannot_be_loaded(saved: Build, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: is neither a run folder nor a checkpoint"):
        load(tmp_path / "nowhere")
    run = saved(nets__generator=SCALE)
    path = run.folder / "checkpoints" / "step_000000001" / "state.json"
    state = json.loads(path.read_text())
    state["recipe"]["needs"] = ["restorekit-gone"]
    path.write_text(json.dumps(state))
    with pytest.raises(
        RecipeError,
        match=r"restorekit-gone is not installed; run: pip install restorekit-gone, or",
    ):
        load(run.folder)
    path.write_text(json.dumps({**state, "format": 7}))
    with pytest.raises(CheckpointError, match=r"format 7, written by restorekit"):
        load(run.folder)


def test_a_deep_net_restores_its_own_size_without_padding(saved: Build) -> None:
    run = saved(nets__generator={"name": "unet", "width": 2, "depth": 4})
    image = torch.rand(1, 16, 16) * 2 - 1
    with torch.no_grad():
        direct = run.nets.eval().ab(image[None]).image[0]
    torch.testing.assert_close(torch.from_numpy(load(run.folder).restored(image.numpy()).image), direct, rtol=0, atol=0)


def test_what_is_restored_may_be_used_in_training(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE).restore(torch.zeros(1, 8, 8), range=(-1, 1))
    weight = torch.ones(1, requires_grad=True)
    (made * weight).sum().backward()
    assert weight.grad is not None


def test_windows_give_the_whole_of_what_looks_at_pixels_alone(restorer: Load) -> None:
    made = restorer(nets__generator=SCALE)
    image = torch.rand(1, 60, 45) * 2 - 1
    np.testing.assert_allclose(
        made.restored(image.numpy(), window=16, times=2).image,
        made.restored(image.numpy(), times=2).image,
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "generator", [{**RESNET, "norm": "none"}, {"name": "unet", "width": 2, "depth": 2, "norm": "batch"}]
)
def test_windows_with_room_for_the_halo_equal_the_whole(restorer: Load, generator: Any, times: int) -> None:
    made = restorer(nets__generator=generator)
    restored = made.restorer(times=times)
    assert restored.halo is not None
    window = least_window(restored.halo, restored.multiple)
    image = torch.rand(1, window + 13, window + 6) * 2 - 1
    whole = made.restored(image, times=times, any_scale=True)
    tiles = made.restored(image, window=window, times=times, any_scale=True)
    torch.testing.assert_close(tiles.image, whole.image, rtol=0, atol=1e-5)
    assert tiles.note == whole.note
    small = made.restored(image, window=window - restored.multiple, times=times, any_scale=True)
    assert small.note.endswith(
        f"windows of {window - restored.multiple} are blended and differ from the whole image; "
        f"from {window} on they are exact"
    )


def test_windows_have_no_answer_of_the_whole(restorer: Load) -> None:
    made = restorer(nets__generator=RESNET, nets__head=HEAD)
    image = torch.rand(1, 40, 40) * 2 - 1
    assert made.restored(image.numpy(), window=16).prediction is None
    assert made.restored(image.numpy(), window=64).prediction == made.restored(image.numpy()).prediction
    assert made.restored(image.numpy(), window=17).image.shape == image.shape
    with pytest.raises(DataError, match=r"^window: got 3"):
        made.restored(image.numpy(), window=3)


def test_what_is_too_large_fits_in_windows(restorer: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    made = restorer(nets__generator=RESNET)
    made.restored(torch.zeros(1, 16, 16).numpy())
    free = int(made._bytes_at * stage.MARGIN * 200 * 200)
    monkeypatch.setattr(stage, "_free_memory", lambda device: free)
    with pytest.raises(DataError, match=r"Restore it in windows: --window (\d+)") as caught:
        made.restored(torch.zeros(1, 400, 400).numpy(), any_scale=True)
    window = int(str(caught.value).rpartition(" ")[2])
    assert made.restored(torch.zeros(1, 400, 400).numpy(), window=window, any_scale=True).image.shape == (1, 400, 400)
