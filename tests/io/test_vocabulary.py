"""One vocabulary of splits for folders, manifests and published layouts."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from restorekit import DataError, read_manifest, split_of
from restorekit.builtin.folder import folder
from restorekit.builtin.manifest import manifest
from restorekit.discovery.plugins import load
from restorekit.io.vocabulary import split_and_side

WORDS = {
    "train": [
        "train",
        "Train",
        "TRAIN",
        "training",
        "Training",
        "train_set",
        "Training Set",
        "trainset",
        "train-images",
    ],
    "val": ["val", "Val", "valid", "VALID", "validation", "Validation", "dev", "Dev", "valid_data", "validation split"],
    "test": ["test", "Test", "TEST", "testing", "Testing", "test_set", "Test Data", "testset"],
}
PAIRS = [(split, word) for split, words in WORDS.items() for word in words]
OTHERS = [
    "",
    "control",
    "tester",
    "latest",
    "training2",
    "trainer",
    "invalid",
    "devices",
    "test A b",
    "good",
    "a",
    "trains",
]


def put(base: Path, *names: str) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 5), 100).save(base / name)


@pytest.mark.parametrize(("split", "word"), PAIRS)
def test_every_word_in_folders_manifests_and_the_published_layout(tmp_path: Path, split: str, word: str) -> None:
    assert split_of(word) == split
    put(tmp_path, f"f/{word}/control/1.png", f"f/{word}/covid/2.png")
    if split != "train":
        put(tmp_path, "f/train/control/3.png")
    made = folder(tmp_path, split, path="f")
    assert made.classes == ("control", "covid")
    assert [r.key for r in made.records] == [f"{word}/control/1.png", f"{word}/covid/2.png"]
    (tmp_path / "f/m.csv").write_text(f"path,split\n{word}/control/1.png,{word}\n")
    assert [row.split for row in read_manifest(tmp_path / "f/m.csv")[0]] == [split]
    assert len(manifest(tmp_path, split, file="f/m.csv").records) == 1
    put(tmp_path, f"r/{word}A/covid_1.png", "r/trainB/x.png")
    if split != "train":
        put(tmp_path, "r/trainA/3.png")
    published = load().parts.resolve("dataset", {"name": "r2cgan_folders", "side": "A"})(tmp_path / "r", split)
    assert [r.key for r in published.records] == [f"{word}A/covid_1.png"]


@pytest.mark.parametrize("word", OTHERS)
def test_other_words_are_no_splits(word: str) -> None:
    assert split_of(word) is None


def test_a_side_is_no_part_of_a_plain_split() -> None:
    assert [split_and_side(word) for word in ("trainA", "Test_b", "valid B", "test")] == [
        ("train", "A"),
        ("test", "B"),
        ("val", "B"),
        ("test", ""),
    ]
    assert split_of("trainA") is None


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["control/train/1.png", "covid/train/2.png", "control/test/3.png"], "control/test"),
        (["control/1.png", "covid/2.png", "Test/control/3.png"], "control"),
        (["control/1.png", "covid/2.png", "Testing/3.png"], "control"),
        (["train/control/1.png", "train/control/test/2.png"], "train/control/test"),
        (["data/Train/1.png", "data/Test/2.png"], "data/Test"),
        (["train/a/1.png", "testA/2.png", "a/trainB/1.png"], None),
        (["a/trainB/1.png", "a/testB/1.png"], "a/testB"),
    ],
)
def test_a_folder_called_like_a_split_that_is_none_is_refused(
    tmp_path: Path, names: list[str], place: str | None
) -> None:
    put(tmp_path, *names)
    for split in ("train", "test"):
        if place is None:
            assert len(folder(tmp_path, split, path=".").records) == (split == "train")
            continue
        with pytest.raises(DataError) as caught:
            folder(tmp_path, split, path=".")
        assert str(caught.value).startswith(f"{tmp_path / place}: ")


def test_a_class_called_like_a_split_is_one_if_it_is_declared(tmp_path: Path) -> None:
    put(tmp_path, "train/valid/1.png", "train/invalid/2.png", "test/valid/3.png")
    with pytest.raises(DataError, match="valid: "):
        folder(tmp_path, "train", path=".")
    made = folder(tmp_path, "train", path=".", classes=["invalid", "valid"])
    assert [r.target for r in made.records] == [0, 1]


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "f/Train/1.png", "f/training/2.png", "r/trainA/1.png", "r/TrainA/2.png", "r/trainB/1.png")
    with pytest.raises(DataError, match="Train and training"):
        folder(tmp_path, "train", path="f")
    with pytest.raises(DataError, match="TrainA and trainA"):
        load().parts.resolve("dataset", {"name": "r2cgan_folders", "side": "B"})(tmp_path / "r", "train")


def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    put(tmp_path, "train/Covid/1.png", "train/control/2.png", "test/covid/3.png")
    with pytest.raises(DataError, match="'Covid' and 'covid'"):
        folder(tmp_path, "train", path=".")
    rows = ["path,domain,label,split", "train/Covid/1.png,Poor,x,train", "test/covid/3.png,poor,x,train"]
    (tmp_path / "m.csv").write_text("\n".join([*rows, "train/control/2.png,good,X,train"]))
    with pytest.raises(DataError, match=r"m\.csv:2: .*'x'.*'X'"):
        manifest(tmp_path, "train", file="m.csv")
    (tmp_path / "m.csv").write_text("\n".join([*rows, "train/control/2.png,good,y,train"]))
    for word in ("poor", "POOR", "Poor"):
        made = manifest(tmp_path, "train", file="m.csv", domain=word)
        assert len(made.records) == 2
        assert made.load(0, torch.Generator()).image.shape == (1, 5, 6)


@pytest.mark.parametrize(
    ("cells", "named"),
    [("0,", "low alone"), (",1", "high alone"), ("1,1", r"\[1\.0, 1\.0\]"), ("a,b", "'a' and 'b'"), ("0,nan", "nan")],
)
def test_low_and_high_of_a_row_are_checked(tmp_path: Path, cells: str, named: str) -> None:
    put(tmp_path, "1.png", "2.png")
    (tmp_path / "m.csv").write_text(f"path,low,high\n1.png,,\n2.png,{cells}\n")
    with pytest.raises(DataError, match=rf"m\.csv:3: .*{named}"):
        read_manifest(str(tmp_path / "m.csv"))


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("train_1", "test_1"), ("train_1", "test_1")),
        (("train01", "train02", "val01"), ("train02", "val01")),
        (("imagesTr", "imagesTs"), ("imagesTr", "imagesTs")),
        (("chestTrain", "chestTest"), ("chestTrain", "chestTest")),
        (("trn", "tst", "normal"), ("trn", "tst")),
        (("TR", "TS", "normal"), None),
        (("stress_test", "rest"), None),
        (("trained", "tested"), None),
    ],
)
def test_classes_that_look_like_splits_are_refused(
    tmp_path: Path, names: tuple[str, ...], named: tuple[str, ...] | None
) -> None:
    put(tmp_path, *(f"{name}/1.png" for name in names))
    assert folder(tmp_path, "train", path=".", classes=list(names)).classes == names
    if named is None:
        assert folder(tmp_path, "train", path=".").classes == tuple(sorted(names))
        return
    with pytest.raises(DataError) as error:
        folder(tmp_path, "train", path=".")
    assert all(f"{name} " in str(error.value) for name in named)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("10", "2"), ("2", "10")),
        (("-1", "0.5", "-10"), ("-10", "-1", "0.5")),
        (("10", "2", "none"), ("10", "2", "none")),
        (("nan", "1"), ("1", "nan")),
    ],
)
def test_classes_that_are_numbers_are_in_the_order_of_their_values(
    tmp_path: Path, names: tuple[str, ...], order: tuple[str, ...]
) -> None:
    put(tmp_path, *(f"{name}/1.png" for name in names))
    rows = [f"{name}/1.png,{name}" for name in names]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *rows]))
    assert folder(tmp_path, "train", path=".").classes == order
    assert manifest(tmp_path, "train", file="m.csv", test=0).classes == order


def test_images_beside_the_splits_are_in_the_list_of_skipped_files(tmp_path: Path) -> None:
    put(tmp_path, "train/control/1.png", "train/covid/2.png", "eval/covid/3.png", "4.png")
    assert {path.name for path, _ in folder(tmp_path, "train", path=".").skipped()} == {"3.png", "4.png"}
    assert folder(tmp_path / "train", "train", path=".").skipped() == []
