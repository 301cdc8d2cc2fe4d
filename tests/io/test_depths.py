"""Bit depth by the whole dataset: 12-bit values in 16-bit files, dark films, files that disagree."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from restorekit import DataError, RecipeError
from restorekit.builtin.folder import folder
from restorekit.builtin.join import join
from restorekit.builtin.manifest import manifest
from restorekit.io import depths
from restorekit.io.depths import FileDepth, decide, survey

ANY = torch.Generator()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(depths, "_seen", {})


def put(path: Path, most: int, dtype: str = "uint16", least: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.linspace(least, most, 30).round().astype(dtype).reshape(5, 6)
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(array))
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        np.save(path, array)
    return path


def found(*mosts: int, least: int = 0) -> dict[Path, FileDepth]:
    return {Path(f"{at}.png"): FileDepth("PNG", least, most) for at, most in enumerate(mosts)}


@pytest.mark.parametrize(
    ("mosts", "bits"),
    [
        ((255,), 8),
        ((1023, 900), 10),
        ((4087, 3000, 2500), 12),
        ((16383, 9000, 12000), 14),
        ((65535, 40000), 16),
        ((4096,), 14),
        ((65535, 50000, 30000, 20000, 15000, 9000, 7000, 5000, 3500), 16),  # a dark tail of the same depth
        ((0, 0), 8),
    ],
)
def test_the_fewest_bits_that_hold_every_file(mosts: Any, bits: int) -> None:
    decided = decide(found(*mosts))
    assert (decided.bits, decided.files, decided.most, decided.decided) == (bits, len(mosts), max(mosts), True)


@pytest.mark.parametrize(("kinds", "ends"), [("uu", (0, 65535)), ("ii", (-32768, 32767)), ("ui", None), ("us", None)])
def test_black_of_16_bits_is_one_value(kinds: str, ends: Any) -> None:
    known = {"u": "u", "i": "i", "s": "scaled"}
    files = {Path(f"{at}.nii"): FileDepth("NIFTI", 0, 30000, known[kind]) for at, kind in enumerate(kinds)}
    if ends is None:
        with pytest.raises(DataError, match=r"1\.nii"):
            decide(files)
    else:
        assert decide(files).ends == ends
        assert f"{ends[0]} and white {ends[1]}" in decide(files).sentence()


@pytest.mark.parametrize("small", [255, 1023, 4095, 16383])
@pytest.mark.parametrize("share", [1, 3, 30])
def test_files_of_two_depths_are_refused(small: int, share: int) -> None:
    large = 4 * (small + 1) - 1
    files = found(*([small] * 3 * share), *([large, large - large // 8] * share))
    with pytest.raises(DataError, match=rf"{3 * share} of {5 * share} .*at most {small}.*up to {large}"):
        decide(files, "PLACE")


def test_one_dark_film_of_many_does_not_stop_a_dataset_and_is_named() -> None:
    decided = decide(found(3000, *range(40000, 65000, 1000)))
    assert decided.bits == 16
    assert decided.dark == ("0.png",)
    with pytest.raises(DataError):
        decide(found(3000, 60000, 65535))


@given(mosts=st.lists(st.integers(1, 65535), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_a_decision_holds_every_value_or_there_is_none(mosts: list[int]) -> None:
    try:
        decided = decide(found(*mosts))
    except DataError:
        return
    assert decided.bits is not None
    assert max(mosts) < 2**decided.bits
    assert decided.bits == 8 or max(mosts) >= 2 ** (decided.bits - 2)


def test_negative_values_of_few_bits_are_never_guessed() -> None:
    with pytest.raises(DataError, match="-1000 to 3000"):
        decide(found(3000, least=-1000))
    assert decide(found(30000, least=-30000)).bits == 16


def test_only_16_bit_files_that_state_nothing_take_part(tmp_path: Path) -> None:
    deep = [put(tmp_path / f"deep{suffix}", 4000) for suffix in (".png", ".tif", ".npy")]
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "packed.tif", np.zeros((4, 4), np.uint16), bitspersample=12)
    np.save(tmp_path / "float.npy", np.zeros((4, 4), np.float32))
    (tmp_path / "broken.png").write_bytes(deep[0].read_bytes()[:60])
    assert survey([*sorted(tmp_path.iterdir()), tmp_path / "none.png"]) == {
        path: FileDepth(format, 0, 4000) for path, format in zip(deep, ("PNG", "TIFF", "NPY"), strict=True)
    }


def test_a_file_is_decoded_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = put(tmp_path / "x.png", 4000), []
    read = depths.stored_image
    monkeypatch.setattr(depths, "stored_image", lambda path: calls.append(path) or read(path))
    for _ in range(2):
        monkeypatch.setattr(depths, "_seen", {})  # another process
        assert survey([path])[path].most == 4000
    assert calls == [path]
    put(path, 50000)
    assert survey([path])[path].most == 50000
    assert calls == [path, path]


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = put(tmp_path / "x.npy", 4000), put(tmp_path / "other.npy", 50000)
    assert survey([path])[path].most == 4000
    before = path.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert survey([path])[path].most == 50000
    monkeypatch.setattr(depths, "_seen", {})  # another process
    assert survey([path])[path].most == 50000


def test_a_broken_memory_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/depths.sqlite").write_bytes(b"no data base" * 100)
    assert survey([put(tmp_path / "x.png", 7)])[tmp_path / "x.png"].most == 7
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(tmp_path / "cache/depths.sqlite").execute(f"SELECT * FROM depths_{depths.FORMAT}")


# Datasets


def levels(dataset: Any) -> dict[str, float]:
    return {r.key: float(dataset.load(i, ANY).image.max()) for i, r in enumerate(dataset.records)}


def test_8_bit_and_12_in_16_bit_files_come_out_equally_bright(tmp_path: Path) -> None:
    put(tmp_path / "train/a.png", 4095)
    put(tmp_path / "train/b.tif", 2048)
    put(tmp_path / "test/c.npy", 4095)
    for name, most in (("train/d.jpg", 255), ("train/e.png", 128)):
        Image.fromarray(np.full((8, 8), most, np.uint8)).save(tmp_path / name)
    wanted = {"a.png": 1, "b.tif": 0, "c.npy": 1, "d.jpg": 1, "e.png": 0}
    for split in ("train", "test"):
        made = folder(tmp_path, split, path=".")
        assert levels(made) == {key: pytest.approx(wanted[Path(key).name], abs=0.01) for key in levels(made)}
        (decided,) = made.depths()
        assert (decided.bits, decided.files, decided.most) == (12, 3, 4095)
        assert "4095" in decided.sentence()
    assert made.load(0, ANY).intensity.bits == 12


def test_the_test_split_alone_does_not_decide(tmp_path: Path) -> None:
    put(tmp_path / "train/a.png", 4000)
    put(tmp_path / "train/b.png", 1500)
    put(tmp_path / "test/c.png", 1500)
    assert levels(folder(tmp_path, "test", path=".")) == {
        "test/c.png": levels(folder(tmp_path, "train", path="."))["train/b.png"]
    }


def test_a_dark_film_keeps_the_depth_of_its_dataset(tmp_path: Path) -> None:
    for at, most in enumerate((65535, 50000, 30000, 20000, 15000, 9000, 5000, 3000)):
        put(tmp_path / f"{at}.png", most)
    made = folder(tmp_path, "train", path=".")
    assert levels(made)["7.png"] == pytest.approx(3000 / 32767.5 - 1, abs=1e-6)
    assert made.file(0) == tmp_path / "0.png"


def test_bits_and_range_of_a_dataset_decide_first(tmp_path: Path) -> None:
    put(tmp_path / "a.png", 4095)
    put(tmp_path / "b.png", 60000)
    put(tmp_path / "c.png", 4000)
    put(tmp_path / "d.png", 61000)
    with pytest.raises(DataError, match="bits: 16"):
        folder(tmp_path, "train", path=".").load(0, ANY)
    with pytest.raises(DataError, match="low and high"):
        folder(tmp_path, "train", path=".").depths()
    for options in ({"bits": 16}, {"range": [0, 65535]}):
        made = folder(tmp_path, "train", path=".", **options)
        assert levels(made)["a.png"] == pytest.approx(4095 / 32767.5 - 1, abs=1e-6)
        assert not any(one.decided for one in made.depths())
        assert made.file(0) is None
    with pytest.raises(DataError, match=r"b\.png.*0 to 4095"):
        levels(folder(tmp_path, "train", path=".", bits=12))
    with pytest.raises(RecipeError, match="bits"):
        folder(tmp_path, "train", path=".", bits=12, range=[0, 1])
    with pytest.raises(RecipeError, match="range"):
        folder(tmp_path, "train", path=".", range=[5, 5])


def test_a_row_of_a_manifest_says_its_range(tmp_path: Path) -> None:
    for name, most in (("a", 4095), ("b", 60000), ("c", 1000), ("d", 65535)):
        put(tmp_path / f"{name}.png", most)
    rows = ["path,split,low,high", "a.png,train,0,4095", "b.png,train,,", "c.png,train,0,2000", "d.png,test,,"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    made = manifest(tmp_path, "train", file="m.csv")
    wanted = {"a.png": 1, "b.png": 60000 / 32767.5 - 1, "c.png": 0}
    assert levels(made) == {key: pytest.approx(value, abs=1e-6) for key, value in wanted.items()}
    assert made.depths()[0].files == 2
    assert (made.file(0), made.file(1)) == (None, tmp_path / "b.png")
    ranged = manifest(tmp_path, "train", file="m.csv", range=[0, 65535])
    assert levels(ranged)["c.png"] == pytest.approx(0, abs=1e-6)


def test_both_domains_of_a_manifest_decide(tmp_path: Path) -> None:
    """Poor images may be dark: alone they would be taken for fewer bits, and brightened."""
    rows = ["path,domain,split"]
    for at, most in enumerate((900, 1000, 4000, 3000, 2000, 1500)):
        put(tmp_path / f"{at}.png", most)
        rows.append(f"{at}.png,{'poor' if at < 2 else 'good'},train")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    made = manifest(tmp_path, "train", file="m.csv", domain="poor")
    assert levels(made)["1.png"] == pytest.approx(1000 / 2047.5 - 1, abs=1e-6)


def test_values_beyond_are_clipped_and_said_with_the_image(tmp_path: Path) -> None:
    put(tmp_path / "a.npy", 3000, "int16", least=-1500)
    with pytest.raises(DataError, match=r"a\.npy.*beyond: clip"):
        folder(tmp_path, "train", path=".", range=[-1000, 1000]).load(0, ANY)
    (tmp_path / "m.csv").write_text("path\na.npy\n")
    for made in (
        folder(tmp_path, "train", path=".", range=[-1000, 1000], beyond="clip"),
        manifest(tmp_path, "train", file="m.csv", test=0, range=[-1000, 1000], beyond="clip"),
    ):
        sample = made.load(0, ANY)
        assert (sample.image.min(), sample.image.max()) == (-1, 1)
        stored = np.load(tmp_path / "a.npy")
        assert str(int((abs(stored) > 1000).sum())) in sample.intensity.note.split()


def test_joined_datasets_tell_of_each(tmp_path: Path) -> None:
    put(tmp_path / "one/a.png", 4095)
    put(tmp_path / "two/b.png", 65535)
    made = join(
        tmp_path,
        "train",
        datasets=[lambda root, split, name=name: folder(root, split, path=name) for name in ("one", "two")],
    )
    assert [one.bits for one in made.depths()] == [12, 16]


def test_two_processes_at_once_remember_what_they_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, calls = depths.stored_image, []

    def stored_image(path: Path) -> Any:
        calls.append(path.name)
        if path.name == "1.png":  # another one begins and ends meanwhile
            monkeypatch.setattr(depths, "_seen", {})
            began = time.monotonic()
            survey([tmp_path / "2.png", tmp_path / "3.png"])
            assert time.monotonic() - began < 3, "nobody waits"
        return read(path)

    monkeypatch.setattr(depths, "stored_image", stored_image)
    files = [put(tmp_path / f"{at}.png", 4000) for at in range(4)]
    survey(files[:2])
    monkeypatch.setattr(depths, "_seen", {})
    assert len(survey(files)) == 4
    assert sorted(calls) == [path.name for path in files]
