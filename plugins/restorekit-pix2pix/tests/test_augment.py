"""`restorekit augment`: translated files that say what they are, and what the data check makes of them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
import torch
from PIL import Image

from restorekit import Derived, derived_from, nd, pixels_digest, read_image, write_image
from restorekit.app.cli import main
from restorekit.data.checks import examine
from restorekit.data.items import manifest_items
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved
from restorekit.restoring.loading import load as load_restorer
from restorekit.restoring.restore import restore_files
from restorekit.runs.build import build

SIZE = 16


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three normal films to train on and one to test on, and one of the rare class, of unlike pictures."""
    folder, rows = tmp_path_factory.mktemp("films"), ["path,split,label,patient"]
    rng = torch.Generator().manual_seed(0)
    for at, (split, label) in enumerate([("train", "normal")] * 3 + [("test", "normal"), ("train", "covid")]):
        coarse = torch.rand(1, 1, 5, 4, generator=rng) * 2 - 1
        write_image(folder / f"{at}.png", nd.resize(coarse, (24, 20))[0])
        rows.append(f"{at}.png,{split},{label},p{at}")
    (folder / "classes.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator that began, and learnt nothing yet."""
    side = {"name": "manifest", "file": "classes.csv", "columns": {"domain": "label"}}
    spec = {
        "name": "translator",
        "data": {
            "root": str(films),
            "size": [SIZE, SIZE],
            "a": {**side, "domain": "normal"},
            "b": {**side, "domain": "covid"},
            "augment": {"flip": True, "rotate": 5, "alike": True},
        },
        "nets": {"generator": {"name": "pix2pix_unet", "width": 2}, "one_way": True},
        "losses": ["pair"],
        "train": {"steps": 1},
    }
    made = build(resolved(spec, "translator", load()), load(), tmp_path_factory.mktemp("run") / "run")
    made.begin("test")
    made.save()
    return made.folder


@pytest.fixture
def augment(run: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that calls the command and returns its exit code."""

    def call(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["restorekit", "augment", str(run), *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    return call


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_translations_are_those_of_the_run_and_say_so(augment, run: Path, films: Path, tmp_path: Path) -> None:
    assert augment("--class", "covid", "--count", 5, "-o", tmp_path) == 0
    rows = rows_of(tmp_path)
    assert [row["label"] for row in rows] == ["covid"] * 5
    assert {row["split"] for row in rows} == {"train"}
    assert {row["made_from"] for row in rows[:3]} == {"0.png", "1.png", "2.png"}
    assert [float(row["degrees"]) == 0 for row in rows] == [True] * 3 + [False] * 2
    from restorekit import load as load_model

    for row in rows[:3]:
        source = read_image(films / row["made_from"])[0]
        assert row["patient"] == f"p{row['made_from'][0]}"
        derived = derived_from(tmp_path / row["path"])
        assert derived is not None
        assert (derived.source, derived.pixels) == (row["made_from"], pixels_digest(source.numpy()))
        wanted = load_model(run).restored(nd.resize(source[None], (SIZE, SIZE))[0].numpy()).image
        assert np.abs(read_image(tmp_path / row["path"])[0].numpy() - wanted).max() <= 1 / 255 + 1e-6
        with Image.open(tmp_path / row["path"]) as shown:
            assert "derived, not recorded" in shown.info["Comment"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    assert augment("--class", "covid", "--count", 5, "-o", tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()} == before


def test_dicom_and_tiff_say_that_they_are_derived(augment, tmp_path: Path) -> None:
    assert augment("--class", "covid", "--count", 1, "-o", tmp_path / "d", "--format", "dicom") == 0
    assert augment("--class", "covid", "--count", 1, "-o", tmp_path / "t", "--format", "tiff") == 0
    (dicom,), (tiff,) = ([*(tmp_path / name / "images").iterdir()] for name in "dt")
    data = pydicom.dcmread(dicom)
    assert data.ImageType[0] == "DERIVED"
    assert "not recorded" in data.ContributingEquipmentSequence[0].ContributionDescription
    with tifffile.TiffFile(tiff) as file:
        assert "not recorded" in file.pages[0].description
    assert derived_from(tiff) is not None
    assert derived_from(dicom) == derived_from(tiff)
    assert torch.equal(read_image(dicom)[0], read_image(tiff)[0])
    for format in (None, "png"):  # restored, they state it still
        (row,) = restore_files(load_restorer("part:identity"), dicom, tmp_path / f"as-{format}", format=format)
        assert derived_from(row.written) == derived_from(dicom)


@pytest.mark.parametrize("label", ["flu", "normal"])  # that of its other side, too
def test_class_that_the_run_does_not_translate_into_is_refused(label: str, augment, tmp_path: Path, capsys) -> None:
    assert augment("--class", label, "--count", 1, "-o", tmp_path) == 2
    assert f"translates into covid; got {label!r}" in capsys.readouterr().err


def test_fewer_images_or_another_format_leave_no_image_that_the_manifest_does_not_list(
    augment, tmp_path: Path, capsys
) -> None:
    assert augment("--class", "covid", "--count", 5, "-o", tmp_path) == 0
    (tmp_path / "images" / "mine.png").write_bytes((tmp_path / "images" / "covid_000005.png").read_bytes()[:20])
    kept = (tmp_path / "images" / "covid_000002.png").stat().st_mtime_ns
    for options, removed in ((["--count", 2], 3), (["--count", 2, "--format", "tiff"], 2)):
        capsys.readouterr()
        assert augment("--class", "covid", "-o", tmp_path, *options) == 0
        assert f"{removed} images removed, which the manifest no longer lists" in capsys.readouterr().out
        listed = {row["path"] for row in rows_of(tmp_path)}
        assert {f"images/{path.name}" for path in (tmp_path / "images").iterdir()} == {*listed, "images/mine.png"}
        if removed == 3:
            assert (tmp_path / "images" / "covid_000002.png").stat().st_mtime_ns == kept


def test_folder_with_other_translations_is_refused_and_stays(augment, run: Path, tmp_path: Path, capsys) -> None:
    assert augment("--class", "covid", "--count", 2, "-o", tmp_path) == 0
    assert {row["run"] for row in rows_of(tmp_path)} == {run.name}
    before = (tmp_path / "manifest.csv").read_bytes()
    assert augment("--class", "covid", "--count", 1, "--seed", 1, "-o", tmp_path) == 2
    assert "manifest.csv: lists images of another seed, 0, not 1" in capsys.readouterr().err
    assert (tmp_path / "manifest.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("split", "source", "leaks"),
    [("train", "train", 0), ("test", "train", 2), ("val", "train", 1), ("train", "test", 1)],
)
def test_data_check_keeps_translations_out_of_testing(
    split: str, source: str, leaks: int, films: Path, tmp_path: Path
) -> None:
    image = read_image(films / "0.png")[0]
    write_image(tmp_path / "renamed.png", image)
    made = Derived("0.png", pixels_digest(image.numpy()), {"run": "r"})
    write_image(tmp_path / "made.png", -image, derived=made)
    table = f"path,split\nrenamed.png,{source}\nmade.png,{split}\n"
    (tmp_path / "table.csv").write_text(table, "utf-8")
    found = examine(manifest_items(tmp_path / "table.csv", None, lambda line: None))
    assert len(found.leaks) == leaks
    assert all("made.png" in line for line in found.leaks)
