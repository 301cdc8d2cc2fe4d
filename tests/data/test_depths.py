"""Bit depth through a recipe: mixed films come out equally bright, sides agree, and a run keeps what was decided."""

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from typer.testing import CliRunner

from restorekit import DataError
from restorekit.app.cli import app
from restorekit.data.splits import Splits, opened
from restorekit.discovery.plugins import load
from restorekit.io import depths
from restorekit.io.depths import DepthError
from restorekit.recipes import recipe
from restorekit.runs.build import build

RECIPE = """name: mine
data: {{root: {root}, size: [24, 24], channels: 1, batch: 2, workers: 0, a: {a}, b: {b}}}
nets: {{generator: {{name: resnet, width: 4, blocks: 1, upsample: resize}}, discriminator: {{name: patch, width: 4}}}}
losses: [lsgan, {{name: cycle, weight: 10}}]
train: {{steps: 1}}
evaluate: {{metrics: []}}
loggers: []
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(depths, "_seen", {})


def scene(at: int, most: int) -> Any:
    """A film of values from 0 to `most`, each a little different."""
    y, x = np.mgrid[0:16, 0:18]
    return np.rint(((x + y * (at + 1)) % 32) / 31 * most).astype(np.uint16)


def png(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(array))


def dicom(path: Path, array: Any, kind: str) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.ComputedRadiographyImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid.generate_uid()
    data.Rows, data.Columns = array.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, kind
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = (4095 - array if kind == "MONOCHROME1" else array).astype(np.uint16).tobytes()
    data["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def films(root: Path) -> None:
    """Films of one scene each: 8-bit JPEG, 12 bits in PNG of 16, and DICOM of 12 bits and both polarities."""
    for side in ("poor", "good"):
        for at in range(4):
            png(root / side / f"{at}.png", scene(at, 4095))
            dicom(root / side / f"{at}-1.dcm", scene(at, 4095), "MONOCHROME1")
            dicom(root / side / f"{at}-2.dcm", scene(at, 4095), "MONOCHROME2")
            picture = Image.fromarray(np.rint(scene(at, 255)).astype(np.uint8))
            picture.save(root / side / f"{at}.jpg", quality=100)


def sides(root: Path, a: str = "{name: folder, path: poor}", b: str = "{name: folder, path: good}") -> Path:
    path = root / "mine.yaml"
    path.write_text(RECIPE.format(root=root, a=a, b=b))
    return path


def splits_of(path: Path) -> Splits:
    known = load()
    return opened(recipe.load(path, known), known.parts)


def test_films_of_every_container_and_polarity_are_equally_bright(tmp_path: Path) -> None:
    films(tmp_path)
    splits = splits_of(sides(tmp_path))
    side = splits["train", "a"]
    for position in range(len(side)):
        key = side.record(position).key
        wanted = scene(int(key[0]), 4095) / 2047.5 - 1
        error = np.abs(side.load(position, 0).image[0].numpy() - wanted)
        assert error.max() < (0.2 if key.endswith("jpg") else 1e-5), key
        assert error.mean() < 0.02, key
    notes = splits.depth_notes()
    assert [note.partition(":")[0] for note in notes] == ["data.a", "data.b"]
    assert all("4 PNG" in note and "12 bits" in note for note in notes)


def test_sides_of_which_one_is_dark_are_refused_until_the_recipe_decides(tmp_path: Path) -> None:
    for at in range(3):
        png(tmp_path / f"poor/{at}.png", scene(at, 1000))
        png(tmp_path / f"good/{at}.png", scene(at, 4095))
    with pytest.raises(DepthError, match=r"data\.a hold at most 1000.*data\.b up to 4095.*bits: 12"):
        splits_of(sides(tmp_path))
    path = sides(tmp_path, *(f"{{name: folder, path: {name}, bits: 12}}" for name in ("poor", "good")))
    assert float(splits_of(path)["train", "a"].load(0, 0).image.max()) == pytest.approx(1000 / 2047.5 - 1, abs=1e-5)


def test_check_and_data_check_say_what_was_decided_or_refuse(tmp_path: Path) -> None:
    films(tmp_path)
    path = str(sides(tmp_path))
    for call in (["check", path], ["data", "check", path, "-o", str(tmp_path / "found")]):
        done = CliRunner().invoke(app, call)
        assert done.output.replace("\n", "").count("4 PNG") == 2, done.output
    for at in range(3):
        png(tmp_path / f"poor/deep{at}.png", scene(at, 65535))
    for call in (["check", path], ["data", "check", path, "-o", str(tmp_path / "found")]):
        done = CliRunner().invoke(app, call)
        assert isinstance(done.exception, DepthError) or done.exit_code == 2


def test_a_run_keeps_the_depth_that_was_decided(tmp_path: Path) -> None:
    films(tmp_path)
    path, known, folder = sides(tmp_path), load(), tmp_path / "run"
    spec = recipe.load(path, known)
    run = build(spec, known, folder, verify=lambda line: None)
    assert {name: domain.bits for name, domain in run.images.domains.items()} == {"a": 12, "b": 12}
    assert any("12 bits" in note for note in run.engine.notes)
    run.begin("test")
    (one,) = json.loads((folder / "data.json").read_text())["depths"]["a"]
    assert (one["bits"], one["files"], one["most"], one["decided"]) == (12, 4, 4095, True)
    build(spec, known, folder)
    for side in ("poor", "good"):
        for at in range(4):  # the same names, so that nothing but the depth is another
            png(tmp_path / side / f"{at}.png", scene(at, 16383))
    with pytest.raises(DataError, match=r"data\.json.*12 bits.*14 bits"):
        build(spec, known, folder)


def test_a_side_without_such_files_has_no_depth(tmp_path: Path) -> None:
    for side in ("poor", "good"):
        (tmp_path / side).mkdir()
        Image.fromarray(scene(0, 255).astype(np.uint8)).save(tmp_path / side / "1.png")
    splits = splits_of(sides(tmp_path))
    assert splits.depth_notes() == []
    assert splits["train", "a"].counted().bits is None
    assert torch.isfinite(splits["train", "a"].load(0, 0).image).all()
