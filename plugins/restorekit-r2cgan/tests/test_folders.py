from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from restorekit import DataError
from restorekit.discovery.plugins import load


def dataset(root, split, side):
    return load().parts.resolve("dataset", {"name": "r2cgan_folders", "side": side})(root, split)


@pytest.fixture
def root(tmp_path):
    for name in ("trainA/covid_1.png", "trainA/control_2.png", "trainA/COVID-3.jpg", "trainB/control_4.png"):
        path = tmp_path / "covid_set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8), 255, np.uint8)).save(path)
    return tmp_path / "covid_set"


def test_the_class_is_in_the_name_of_the_file(root):
    found = dataset(root, "train", "A")
    assert found.classes == ("control", "covid")
    assert {record.key: record.target for record in found.records} == {
        "trainA/COVID-3.jpg": 1,
        "trainA/control_2.png": 0,
        "trainA/covid_1.png": 1,
    }
    assert all(record.group is None and record.source is None for record in found.records)
    sample = found.load(1, torch.Generator())
    assert sample.image.shape == (1, 6, 8)
    assert sample.intensity.dtype == "uint8"


@pytest.mark.parametrize(("split", "side"), [("test", "B"), ("test", "A"), ("val", "A"), ("val", "B")])
def test_a_split_without_a_folder_is_empty(root, split, side):
    assert list(dataset(root, split, side).records) == []


def test_the_manifest_knows_patients_and_sources(root):
    (root / "manifest.csv").write_text(
        "path,patient,source\ntrainA/covid_1.png,p1,hannover\ntrainA/control_2.png,,nih\n", encoding="utf-8"
    )
    records = {record.key: record for record in dataset(root, "train", "A").records}
    assert (records["trainA/covid_1.png"].group, records["trainA/covid_1.png"].source) == ("p1", "hannover")
    assert (records["trainA/control_2.png"].group, records["trainA/control_2.png"].source) == (None, "nih")
    assert records["trainA/COVID-3.jpg"].group is None


GOOD = b"path,patient\ntrainA/covid_1.png,1\n"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"file,patient\nx,1\n", r"csv:1: has no column 'path'; columns are file, patient"),
        (b"", r"csv:1: has no column 'path'; columns are none"),
        (GOOD + b"trainA/control_2.png,J\xfcrgen\n", r"csv:3: holds a byte that is not UTF-8"),
        (b"\xff\xfep\x00a\x00", r"csv:1: holds a byte that is not UTF-8"),
        (GOOD + b'"trainA/control_2.png,2\ntrainB/control_4.png,3\n', r"csv:3: is not CSV \(unexpected end of data\)"),
        (GOOD + b"trainA/control_2.png," + b"x" * 200_000, r"csv:3: is not CSV \(field larger"),
        (GOOD + b"trainA/covid_1.png,2\n", r"csv:3: 'trainA/covid_1.png' is named twice"),
        (
            GOOD + b"trainA/contrl_2.png,2\ntrainB/control_5.png,2\ntrainB/control_4.png\n",
            r"csv:3: no file 'trainA/contrl_2.png' in .*, and 2 of 4 rows name none",
        ),
        (GOOD + b"trainA/../trainA/control_2.png,2\n", r"csv:3: 'trainA/../trainA/control_2.png' is no image's path"),
        (GOOD + b",2\n", r"csv:3: names no path"),
        (b'"path\n', r"csv:1: is not CSV"),
    ],
    ids=lambda value: value if isinstance(value, str) else "manifest",
)
def test_a_manifest_that_would_lose_patients(root, content, named):
    (root / "manifest.csv").write_bytes(content)
    with pytest.raises(DataError, match=named) as caught:
        dataset(root, "train", "A")
    assert "\n" not in str(caught.value)


def test_columns_of_the_manifest_that_mean_something_else_are_passed_over(root):
    (root / "manifest.csv").write_bytes(b"path,patient,split\ntrainA/covid_1.png,1,fold 3\n")
    assert [record.group for record in dataset(root, "train", "A").records] == [None, None, "1"]


def test_a_declared_range_is_every_files(root):
    Image.fromarray(np.full((6, 8), 1000, np.uint16)).save(root / "trainA" / "control_5.png")
    options = {"name": "r2cgan_folders", "side": "A", "range": [0, 1000]}
    found = load().parts.resolve("dataset", options)(root, "train")
    index = [record.key for record in found.records].index("trainA/control_5.png")
    assert (found.load(index, torch.Generator()).image == 1).all()
    assert found.file(index) is None  # the file alone does not say its range


def test_a_manifest_need_not_name_every_image(root):
    (root / "manifest.csv").write_bytes(b"\xef\xbb\xbf" + GOOD + b"trainB/control_4.png\n")
    assert [record.group for record in dataset(root, "train", "A").records] == [None, None, "1"]
    assert [record.group for record in dataset(root, "train", "B").records] == [None]


@pytest.mark.parametrize("side", ["A", "B"])
def test_without_data_it_says_where_to_get_it(tmp_path, side):
    for root in (None, tmp_path):
        with pytest.raises(DataError, match=r"expected ROOT/trainA .*qatacov19-dataset.*R2C-GAN.*quickstart") as caught:
            dataset(root, "train", side)
        assert "\n" not in str(caught.value)


def test_poor_images_alone_are_not_enough(root):
    (root / "trainB" / "control_4.png").unlink()
    (root / "trainB").rmdir()
    with pytest.raises(DataError, match="trainB"):
        dataset(root, "train", "B")
