"""The data check: everything that was planted is found, and nothing that was not."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from restorekit import DataError, nd, write_image
from restorekit.data import checks, image_facts, splits
from restorekit.data.checks import examine
from restorekit.data.image_facts import facts_of, remembering
from restorekit.data.items import (
    Item,
    depth_lines,
    folder_items,
    listed_folder_items,
    manifest_items,
    recipe_items,
    skipped_files,
)
from restorekit.discovery.plugins import Plugins
from restorekit.io import images
from restorekit.io.images import read_image
from restorekit.recipes.model import Recipe
from restorekit.reports import report
from restorekit.runs import build

pytestmark = pytest.mark.usefixtures("without_figures")

Spec = Callable[..., Recipe]


def quiet(line: str) -> None:
    pass


def film(seed: int, size: tuple[int, int] = (48, 40)) -> Tensor:
    """A smooth random picture: as other seeds' pictures as two chests are, or more."""
    rng = torch.Generator().manual_seed(seed)
    image = nd.resize(torch.rand(1, 1, 6, 6, generator=rng) * 1.6 - 0.8, size)[0]
    return (image + 0.02 * torch.randn(1, *size, generator=rng)).clamp(-1, 1)


@pytest.fixture
def base(written: Path, tmp_path: Path) -> Path:
    """A copy of the images and their table, which a test may change."""
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains, two sources with the same mix of classes, three splits; nothing wrong with them."""
    tmp_path = tmp_path_factory.mktemp("written")
    rows = ["path,domain,label,patient,split,source"]
    for at in range(48):
        split = ("train", "train", "val", "test")[at // 2 % 4]
        name = f"{split}/{at:02d}.png"
        write_image(tmp_path / name, film(at).numpy())
        label, source, domain = (("well", "sick")[at % 2], ("n", "s")[at // 8 % 2], ("poor", "good")[at // 16 % 2])
        rows.append(f"{name},{domain},{label},p{at},{split},{source}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def picture(path: Path) -> Tensor:
    return torch.from_numpy(read_image(path)[0])


def plant(
    base: Path, name: str, image: Tensor, patient: str, split: str, label: str = "sick", source: str = "n"
) -> str:
    write_image(base / name, image.numpy())
    with (base / "m.csv").open("a") as table:
        table.write(f"{name},poor,sick,{patient},{split},n\n")
    return name


def checked(base: Path, **options: Any) -> checks.Checkup:
    return examine(manifest_items(base / "m.csv", None, quiet), **options)


def test_good_data_are_good(base: Path) -> None:
    found = checked(base)
    assert (found.images, found.leaks, found.unreadable, found.warnings, found.data_warnings) == (48, (), (), (), ())
    assert found.sizes == {"48x40": 48}
    assert found.depths == {"uint8": 48}
    assert found.associations["class and source"] < 0.1
    assert found.tables["train"]["poor"]["classes"] == {"sick": 8, "well": 8}


def relabelled(base: Path, label: Callable[[int], str]) -> None:
    head, *rows = (base / "m.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    lines = [",".join([*row[:2], label(at), *row[3:]]) for at, row in enumerate(cells)]
    (base / "m.csv").write_text("\n".join([head, *lines]) + "\n")


def test_numbers_are_a_quantity_and_are_summed_up(base: Path) -> None:
    relabelled(base, lambda at: "" if at == 0 else f"{20 + at}.5")
    found = checked(base)
    poor = found.tables["train"]["poor"]
    ages = [20.5 + at for at in range(1, 48) if at // 2 % 4 < 2 and at // 16 % 2 == 0]
    assert poor["classes"] == {}
    assert poor["target"] == {"known": len(ages), "min": ages[0], "median": np.median(ages), "max": ages[-1]}
    assert not any(pair.startswith("class") for pair in found.associations)


@pytest.mark.parametrize(
    "label",
    [lambda at: str(at % 10), lambda at: f"{at}a", lambda at: "nan" if at else "1"],
    ids=["few", "words", "nan"],
)
def test_other_labels_are_classes(base: Path, label: Callable[[int], str]) -> None:
    relabelled(base, label)
    tables = checked(base).tables
    assert all("target" not in counts for domains in tables.values() for counts in domains.values())
    assert tables["train"]["poor"]["classes"]


def test_all_that_is_planted_is_found(base: Path) -> None:
    same = plant(base, "x/same.png", picture(base / "train/00.png"), "q1", "test")
    plant(base, "x/patient.png", film(100), "p1", "test")
    plant(base, "x/val.png", film(101), "p2", "val")
    colour = plant(base, "x/rgb.png", picture(base / "train/09.png").expand(3, -1, -1), "q2", "train")
    other = plant(base, "x/val-same.png", picture(base / "train/08.png"), "q3", "val")
    flip = picture(base / "test/06.png")
    near = plant(base, "x/near.jpg", (flip * 0.9 + 0.02).clamp(-1, 1), "q4", "train")
    plant(base, "x/flat.png", torch.zeros(1, 48, 40), "q5", "train")
    plant(base, "x/flat-too.png", torch.zeros(1, 48, 40), "q6", "test")
    framed = film(102)
    framed[:, :, :8] = -1
    plant(base, "x/framed.png", framed, "q7", "train")
    plant(base, "x/torn.png", film(103), "q8", "train")
    (base / "x/torn.png").write_bytes((base / "x/torn.png").read_bytes()[:200])
    found = checked(base)
    assert found.leaks == (
        "patient p1 stands in train and test (train/01.png, x/patient.png)",
        f"train/00.png (train) and {same} (test) hold the same pixels",
    )
    assert len(found.unreadable) == 1
    assert "torn.png: " in found.unreadable[0]
    assert found.data_warnings[0] == "1 patient stands in val and another split: p2."
    result = " ".join(found.warnings)
    assert f"1 image stands in two splits with the same pixels: train/08.png (train) = {other} (val)." in result
    assert f"1 image is repeated within a split: train/09.png = {colour}." in result
    assert [(pair.one.name, pair.other.name) for pair in found.near] == [("test/06.png", near)]
    assert "1 pair of images looks alike (4 bits of 64 at most), 1 of them across splits, such as test/06.png" in result
    assert "2 images are constant, one value everywhere: x/flat.png, x/flat-too.png." in result
    assert "1 of 57 images have a flat border" in result
    assert "the widest takes 20 % of x/framed.png" in result
    found.write(base / "out")
    written = json.loads((base / "out/check.json").read_text())
    assert written["near"] == [["test/06.png", near, "test", "train", found.near[0].distance]]
    assert picture(base / "out/near.png").shape[1] > 224
    examine([]).write(base / "out")
    assert not (base / "out/near.png").exists(), "a picture of an earlier check is not left behind"


def test_many_planted_duplicates_are_all_found(base: Path) -> None:
    for at in range(48):
        plant(base, f"y/{at}.png", film(at), f"r{at}", "test" if at // 2 % 4 < 2 else "train")
    found = checked(base)
    across = [at for at in range(48) if at // 2 % 4 in (0, 1, 3)]
    assert len(found.leaks) == len(across)
    assert all(any(f"y/{at}.png " in leak for leak in found.leaks) for at in across)
    assert "12 images stand in two splits with the same pixels" in found.warnings[0]
    assert not found.near


def test_source_that_predicts_the_class_gives_a_warning(base: Path) -> None:
    table = (base / "m.csv").read_text().splitlines()
    rows = [line.rpartition(",")[0] + ("," + ("n" if ",well," in line else "s")) for line in table[1:]]
    (base / "m.csv").write_text("\n".join([table[0], *rows]))
    found = checked(base)
    assert found.associations["class and source"] == 1.0
    (line,) = found.data_warnings
    assert line.startswith("Class and source are confounded: in the images, source n holds only well")
    assert "accuracy measures source as well as class" in line
    (line,) = examine(manifest_items(base / "m.csv", None, quiet), classifies=False).data_warnings
    assert line.endswith("so signs of a source pass for signs of a class."), "no accuracy, where no class is predicted"


def test_borders_and_depths_that_tell_the_class(base: Path) -> None:
    changed = []
    for item in manifest_items(base / "m.csv", None, quiet):
        assert item.facts is not None
        image = item.load()
        if item.label == "sick":
            image[:, :4] = 1
        seen = facts_of(image.numpy())
        depth = "uint8" if item.label == "sick" else "uint16"
        changed.append(replace(item, facts=replace(seen, depth=depth)))
    result = " ".join(examine(changed).warnings)
    assert "24 of 48 images have a flat border" in result
    assert "Class and flat borders go together (Cramér's V 1.00)" in result
    assert "Images are stored at several depths: 24 are" in result
    assert "Class and depth go together (Cramér's V 1.00)" in result


def test_the_distance_is_an_option(base: Path) -> None:
    pairs = [len(checked(base, distance=distance).near) for distance in (0, 4, 32)]
    assert pairs[0] == pairs[1] == 0
    assert pairs[2] > 300


def test_folders_say_splits_domains_and_classes(tmp_path: Path) -> None:
    for word, split in (("Training", "train"), ("TEST", "test"), ("validation", "val"), ("TestA", "test")):
        write_image(tmp_path / "words" / word / "1.png", film(0).numpy())
        (item,) = folder_items(tmp_path / "words", quiet)
        assert item.split == split
        shutil.rmtree(tmp_path / "words")
    names = ["trainA/1.png", "testA/2.png", "b/train/sick/deep/3.png", "b/val/4.png", "well/5.png", "6.png"]
    for at, name in enumerate(names):
        write_image(tmp_path / name, film(at).numpy())
    found = {i.name: (i.split, i.domain, i.label) for i in folder_items(tmp_path, quiet)}
    assert found == {
        "trainA/1.png": ("train", "A", None),
        "testA/2.png": ("test", "A", None),
        "b/train/sick/deep/3.png": ("train", "b", "sick"),
        "b/val/4.png": ("val", "b", None),
        "well/5.png": (None, None, "well"),
        "6.png": (None, None, None),
    }
    with pytest.raises(DataError, match="holds no image"):
        folder_items(tmp_path / "b/none", quiet)


def test_each_file_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    names = [f"{split}/{at}{end}" for split in ("train", "test") for at, end in enumerate((".png", ".jpg", ".tif"))]
    for at, name in enumerate(names):
        write_image(tmp_path / "images" / name, film(at).numpy())
    decoded: list[str] = []
    decode = images._decoded

    def counted(path: Path, frame: int | None, dims: int | None) -> Any:
        decoded.append(path.relative_to(tmp_path / "images").as_posix())
        return decode(path, frame, dims)

    monkeypatch.setattr(images, "_decoded", counted)
    items = folder_items(tmp_path / "images", quiet)
    assert depth_lines(items) == ([], [])
    found = examine(items)
    assert (found.images, found.near, found.leaks) == (6, (), ())
    assert sorted(decoded) == sorted(names)


# Facts and their memory


def test_facts(tmp_path: Path) -> None:
    image = film(0)
    plain = facts_of(image.numpy())
    assert (plain.size, plain.channels, plain.gray, plain.finite, plain.constant) == ((48, 40), 1, True, True, False)
    assert facts_of(image.expand(3, -1, -1).numpy()).pixels == plain.pixels
    assert facts_of(image.flip(-1).numpy()).pixels != plain.pixels
    assert facts_of(image.reshape(1, 40, 48).numpy()).pixels != plain.pixels
    assert facts_of((image * 0.5).clamp(-1, 1).numpy()).look == plain.look
    assert facts_of(torch.zeros(1, 8, 8).numpy()).constant
    assert facts_of(torch.full((1, 8, 8), float("nan")).numpy()).finite is False
    assert facts_of(torch.full((1, 8, 8), float("inf")).numpy()).finite is False
    for shape in ((1, 9), (2, 9), (1, 4, 5, 6), (1, 1, 1), (1, 1, 9), (3, 2, 2)):  # any number of dimensions, any size
        other = torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
        assert facts_of(other.numpy()).size == shape[1:]
    framed = image.clone()
    framed[:, :12], framed[:, :, -4:] = -1, 1
    assert facts_of(framed.numpy()).border == (0.0, 0.0, 0.0, pytest.approx(0.1))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    path, read = tmp_path / "1.png", []
    write_image(path, film(0).numpy())
    monkeypatch.setattr(image_facts, "read_image", lambda file, **how: read.append(file) or read_image(file, **how))

    def look() -> image_facts.Facts:
        with remembering() as memory:
            return memory.read(path)

    assert look() == look()
    assert len(read) == 1
    stat = path.stat()
    write_image(path, film(1).numpy())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10))
    assert look().pixels == facts_of(read_image(path)[0]).pixels
    assert len(read) == 2
    stat = path.stat()
    raw = path.read_bytes()
    write_image(path, film(5).numpy())
    path.write_bytes(path.read_bytes()[: len(raw)].ljust(len(raw), b"\0"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as copying with its times does
    with suppress(DataError):
        assert look().pixels == facts_of(read_image(path)[0]).pixels
    assert len(read) == 3, "other content of the same size and time is read"
    path.write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be read"):
            look()
    (tmp_path / "cache/facts.sqlite").write_bytes(b"no database " * 400)
    write_image(path, film(2).numpy())
    assert look() == look()
    monkeypatch.setenv("RESTOREKIT_CACHE", str(path))  # a folder that cannot be
    assert look() == look()


# What was not looked at


def test_everything_looked_at_leaves_nothing_unchecked(base: Path) -> None:
    found = checked(base)
    assert (found.unchecked, found.verdict()) == ((), "no leak")


def rewritten(base: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the cells path, domain, label, patient, split and source of every row."""
    head, *rows = (base / "m.csv").read_text().splitlines()
    (base / "m.csv").write_text("\n".join([head, *(",".join(change(row.split(","))) for row in rows)]) + "\n")


def only(found: checks.Checkup) -> str:
    """The one line of what was not checked; then nothing may say that there is no leak."""
    assert "no leak" not in found.verdict()
    assert found.summary()["unchecked"] == list(found.unchecked)
    (line,) = found.unchecked
    return line


@pytest.mark.parametrize("unknown", [1, 36])
def test_unknown_patients_are_not_checked(base: Path, unknown: int) -> None:
    """36 of 48 images are in train or test."""
    left = [unknown]

    def change(cells: list[str]) -> list[str]:
        take = cells[4] != "val" and left[0] > 0
        left[0] -= take
        return [*cells[:3], "" if take else cells[3], *cells[4:]]

    rewritten(base, change)
    assert f"{unknown} of 36 images" in only(checked(base))


def test_unknown_patients_of_validation_do_not_matter(base: Path) -> None:
    rewritten(base, lambda cells: [*cells[:3], "" if cells[4] == "val" else cells[3], *cells[4:]])
    assert checked(base).unchecked == ()


def test_unreadable_files_are_not_checked(base: Path) -> None:
    for at in (0, 1):
        (base / f"train/{at:02d}.png").write_bytes(b"")
    found = checked(base)
    assert len(found.unreadable) == 2
    assert "2 of 48 images" in only(found)


def test_images_without_a_split_are_not_checked(base: Path) -> None:
    table = (base / "m.csv").read_text()
    plain = [line.split(",") for line in table.splitlines()]
    (base / "m.csv").write_text("\n".join(",".join([*row[:4], *row[5:]]) for row in plain))
    assert "split" in only(checked(base))


@pytest.mark.parametrize(("gone", "other"), [("test", "val"), ("train", "val"), ("test", "train")])
def test_splits_without_images_are_not_checked(base: Path, gone: str, other: str) -> None:
    rewritten(base, lambda cells: [*cells[:4], other if cells[4] == gone else cells[4], cells[5]])
    assert f"split {gone}" in only(checked(base))


@pytest.mark.parametrize(("one", "other"), [("P7", "p7"), ("007", "7"), ("12", "12.0"), ("A-1", "A 01"), ("x_3", "X3")])
def test_patients_written_differently_in_train_and_test_are_not_decided(base: Path, one: str, other: str) -> None:
    plant(base, "x/1.png", film(200), one, "train")
    plant(base, "x/2.png", film(201), other, "test")
    assert f"{one} and {other}" in only(checked(base))


@pytest.mark.parametrize(("one", "other"), [("p1x", "p1y"), ("10", "1"), ("100", "10"), ("1.5", "15")])
def test_different_patients_are_not_near_duplicates(base: Path, one: str, other: str) -> None:
    plant(base, "x/1.png", film(200), one, "train")
    plant(base, "x/2.png", film(201), other, "test")
    assert checked(base).unchecked == ()


@pytest.mark.parametrize(("split", "undecided"), [("test", 1), ("val", 0), ("train", 0)])
def test_near_duplicates_in_train_and_test_are_not_decided(base: Path, split: str, undecided: int) -> None:
    plant(base, "x/near.png", (picture(base / "train/00.png") * 0.9 + 0.02).clamp(-1, 1), "q1", split)
    found = checked(base)
    assert len(found.near) == 1
    assert len(found.unchecked) == undecided
    assert (found.verdict() == "no leak") is not bool(undecided)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda image: image.flip(-1),
    "mirrored and resized": lambda image: nd.resize(image.flip(-1)[None], (60, 50))[0],
    "inverted": lambda image: -image,
    "mirrored and inverted": lambda image: -image.flip(-1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_in_train_and_test_are_near_duplicates(base: Path, change: str) -> None:
    plant(base, "x/changed.png", CHANGES[change](picture(base / "train/00.png")), "q1", "test")
    (pair,) = checked(base).near
    assert {pair.one.name, pair.other.name} == {"train/00.png", "x/changed.png"}
    assert pair.mirrored == ("mirrored" in change)
    assert len(checked(base).unchecked) == 1


@pytest.mark.parametrize("shape", [(1, 400), (1, 6, 8, 9)], ids=["signal", "volume"])
def test_near_duplicates_of_signals_and_volumes_are_not_checked(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images = {"train": values, "val": values.flip(1), "test": values * 0.9}
    items = [
        Item(split, lambda: values, split, "a", "well", patient=split, facts=facts_of(image.numpy()))
        for split, image in images.items()
    ]
    assert "3 of 3" in only(examine(items))
    assert examine([replace(item, synthetic=True) for item in items]).unchecked == ()
    assert len(examine([*items, replace(items[0], name="copy", split="test", patient="q")]).leaks) == 1


def test_near_duplicates_beyond_those_that_are_kept_are_counted(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = checked(base, distance=26)
    items = manifest_items(base / "m.csv", None, quiet)
    hashes = {i.name: (int(i.facts.look, 16), int(i.facts.mirrored, 16)) for i in items if i.facts is not None}
    pairs = [(one, other) for at, one in enumerate(items) for other in items[at + 1 :]]
    both = [(i, j, [(hashes[i.name][0] ^ one).bit_count() for one in hashes[j.name]]) for i, j in pairs]
    alike = [(i, j) for i, j, bits in both if min(min(b, 64 - b) for b in bits) <= 26]
    leaks = sum({i.split, j.split} == {"train", "test"} for i, j in alike)
    monkeypatch.setattr(checks, "MOST_PAIRS", 5)
    few = checked(base, distance=26)
    assert (len(every.near), every.near_count, few.near_count) == (len(alike), len(alike), len(alike))
    kept, first = ([(p.one.name, p.other.name, p.distance) for p in found.near[:5]] for found in (few, every))
    assert kept == first, "the nearest across splits are kept"
    assert len(few.near) == 5
    assert f"{leaks} pairs" in only(few)
    assert few.summary()["near"] == len(alike)


def test_what_others_left_out_is_not_checked(base: Path) -> None:
    found = examine(manifest_items(base / "m.csv", None, quiet), unseen=["3 files are not read"])
    assert only(found) == "3 files are not read"
    assert "3 files are not read" in found.warnings


def test_no_images_are_no_clean_check() -> None:
    assert "no leak" not in examine([]).verdict()


# A folder and its manifest


def test_film_that_no_row_names_is_checked_by_its_folder(base: Path) -> None:
    """A training film is planted among the test images under another name."""
    (base / "m.csv").rename(base / "manifest.csv")
    write_image(base / "testA/planted.tif", picture(base / "train/00.png").numpy())
    items, errors = listed_folder_items(base, base / "manifest.csv", None, quiet)
    found = examine(items, unseen=errors)
    assert found.images == 49
    (leak,) = found.leaks
    assert "train/00.png" in leak
    assert "testA/planted.tif" in leak
    (error,) = errors
    assert "48 of 49" in error
    assert "planted.tif" in error
    assert error in found.unchecked


def test_manifest_that_names_few_files_leaves_the_others_checked(base: Path) -> None:
    rows = (base / "m.csv").read_text().splitlines()
    (base / "manifest.csv").write_text("\n".join(rows[:2]) + "\n")
    plant(base, "test/same.png", picture(base / "train/32.png"), "q", "test")
    items, errors = listed_folder_items(base, base / "manifest.csv", None, quiet)
    found = examine(items, unseen=errors)
    assert {(item.split or "") for item in items} == {"train", "val", "test"}
    assert len(found.leaks) == 1
    assert "1 of 49" in errors[0]
    assert len(items) == 49


def test_manifest_without_splits_takes_them_from_the_folders(base: Path) -> None:
    cells = [row.split(",") for row in (base / "m.csv").read_text().splitlines()]
    (base / "manifest.csv").write_text("\n".join(",".join([*row[:4], row[5]]) for row in cells) + "\n")
    items, errors = listed_folder_items(base, base / "manifest.csv", None, quiet)
    assert errors == []
    assert {item.name: item.split for item in items} == {row[0]: row[4] for row in cells[1:]}
    found = examine(items)
    assert (found.unchecked, found.leaks) == ((), ())


def test_splits_of_manifest_and_folders_that_differ_are_reported(base: Path) -> None:
    swap = {"train": "test", "test": "train"}
    rewritten(base, lambda cells: [*cells[:4], swap.get(cells[4], cells[4]), cells[5]])
    _, errors = listed_folder_items(base, base / "m.csv", None, quiet)
    (error,) = errors
    assert "36 of 48" in error


def test_other_spelling_of_a_path_names_the_same_file_and_a_link_does_not(base: Path) -> None:
    rewritten(base, lambda cells: [f"test/../{cells[0]}", *cells[1:]])
    items, errors = listed_folder_items(base, base / "m.csv", None, quiet)
    assert (len(items), errors) == (48, [])
    (base / "test/linked.png").symlink_to(base / "train/00.png")
    items, errors = listed_folder_items(base, base / "m.csv", None, quiet)
    assert len(examine(items, unseen=errors).leaks) == 1


# Classes of the test images


def test_class_without_a_test_image_is_reported_before_training(base: Path) -> None:
    rewritten(base, lambda cells: [cells[0], cells[1], "well" if cells[4] == "test" else cells[2], *cells[3:]])
    assert any("sick" in line for line in checked(base).data_warnings)
    items = manifest_items(base / "m.csv", None, quiet)
    assert not any("No test image" in line for line in examine(items, classifies=False).data_warnings)
    rewritten(base, lambda cells: [cells[0], cells[1], "" if cells[4] == "test" else cells[2], *cells[3:]])
    assert len(checked(base).data_warnings) == 1


# Recipes and runs


def manifest_spec(spec: Spec, base: Path, **changes: Any) -> Recipe:
    sides = {"data__a": ("poor",), "data__b": ("good",)}
    given = {k: {"name": "manifest", "file": "m.csv", "domain": domain} for k, (domain,) in sides.items()}
    return spec(data__root=str(base), **{**given, **changes})


def test_a_recipe_is_checked(spec: Spec, plugins: Plugins, base: Path) -> None:
    plant(base, "x/torn.png", film(103), "q8", "train")
    (base / "x/torn.png").write_bytes(b"")
    opened = splits.look(splits.opened(manifest_spec(spec, base), plugins.parts), quiet)
    found = examine(recipe_items(opened))
    assert found.images == 49
    assert len(found.unreadable) == 1
    assert found.leaks == ()
    skipping = splits.open_splits(manifest_spec(spec, base, data__unreadable="skip"), plugins.parts, verify=quiet)
    checkup = examine(recipe_items(skipping))
    assert checkup.unreadable == found.unreadable
    assert not any("skipped" in line for line in found.warnings)
    start = "1 image cannot be used and was skipped (data.unreadable: skip); the first: "
    assert [line for line in checkup.warnings if "skipped" in line] == [f"{start}{found.unreadable[0]}."]


@pytest.mark.parametrize(("size", "warnings"), [(0, 1), (2, 0)])
def test_missing_test_split_gives_a_warning_before_training(
    spec: Spec, plugins: Plugins, size: int, warnings: int
) -> None:
    made = spec(data__a={"name": "toy", "test": size}, data__b={"name": "toy", "side": "b", "test": 2})
    found = examine(recipe_items(splits.open_splits(made, plugins.parts, verify=quiet)))
    assert (
        sum(line.startswith("No test split: domain a has no test images") for line in found.data_warnings) == warnings
    )


THREE = {"name": "toy", "classes": ["no", "yes", "maybe"]}


@pytest.mark.parametrize(("b", "where"), [(6, " of domain a"), (2, "")])
def test_class_without_training_images_warns_and_with_a_head_is_refused(
    spec: Spec, plugins: Plugins, b: int, where: str
) -> None:
    sides = {"data__a": {**THREE, "count": 2}, "data__b": {**THREE, "side": "b", "count": b}}
    found = examine(recipe_items(splits.open_splits(spec(**sides), plugins.parts, verify=quiet)))
    assert any(line.startswith(f"No training image{where} is maybe, so") for line in found.data_warnings)
    headed = spec(**sides, nets__head={"name": "classify", "pool": "avg"}, losses=["lsgan", "task"])
    assert splits.open_splits(headed, plugins.parts).sides, "what is only scored again is not refused"
    if where:
        assert splits.open_splits(headed, plugins.parts, verify=quiet).sides, "the other side shows it"
        return
    with pytest.raises(
        DataError, match=r"^data: no training image of a or b is 'maybe', which nets.head is to predict; "
    ):
        splits.open_splits(headed, plugins.parts, verify=quiet)


@pytest.mark.parametrize(
    ("option", "head", "named"),
    [
        ({"numbers": ["age", "dose"]}, "regress", "'dose' is known of no training image"),
        ({"numbers": ["dose"]}, "regress", "'dose' is known of no training image"),
        ({"labels": ["sign"]}, "multilabel", "'sign' is known of no training image"),
        ({"mask": "mask", "classes": ["back", "lung"]}, "segment", "mask is known of no training image"),
    ],
)
def test_a_head_without_a_known_target_is_refused(
    spec: Spec, plugins: Plugins, base: Path, option: dict[str, Any], head: str, named: str
) -> None:
    rows = ["path,split,age,dose,sign,mask", "train/00.png,train,50,,,", "train/01.png,train,51,,-1,"]
    (base / "targets.csv").write_text("\n".join(rows) + "\n")
    side = {"name": "manifest", "file": "targets.csv", **option}
    made = manifest_spec(
        spec, base, data__a=side, data__b=side, nets__head=head, losses=["lsgan", "task"], evaluate={"metrics": []}
    )
    assert splits.opened(made, plugins.parts)["train", "a"].counts()["unlabelled"] == (0 if "age" in str(option) else 2)
    with pytest.raises(DataError, match=named):
        splits.open_splits(made, plugins.parts, verify=quiet)


def test_what_was_made_worse_is_known_by_its_file(spec: Spec, plugins: Plugins, base: Path) -> None:
    plant(base, "x/same.png", picture(base / "train/00.png"), "q1", "test")
    good = {"name": "manifest", "file": "m.csv", "domain": "poor"}
    made = manifest_spec(
        spec, base, data__a={"name": "degraded", "dataset": good, "degradation": "noise"}, data__b=good
    )
    found = examine(recipe_items(splits.look(splits.opened(made, plugins.parts), quiet)))
    assert len(found.leaks) == 1
    assert "hold the same pixels" in found.leaks[0]
    assert not any("repeated" in line for line in found.warnings)


def test_made_images_are_not_compared(spec: Spec, plugins: Plugins) -> None:
    sides = {f"data__{s}": {"name": "phantom", "side": s, "count": 4, "test": 2, "size": [16, 16]} for s in "ab"}
    opened = splits.look(splits.opened(spec(**sides), plugins.parts), quiet)
    found = examine(recipe_items(opened), distance=32)
    assert found.sizes == {"16x16": sum(bool(len(side)) for side in opened.sides.values())}
    assert (found.near, found.leaks, found.warnings) == ((), (), ())


def test_a_leak_stops_a_run_unless_it_is_allowed(spec: Spec, plugins: Plugins, base: Path) -> None:
    plant(base, "x/same.png", picture(base / "train/00.png"), "p1", "test")
    made = manifest_spec(spec, base)
    with pytest.raises(DataError) as caught:
        build.build(made, plugins, base / "run", verify=quiet)
    assert "\n" not in str(caught.value)
    for text in ("data: 2 leaks from train into test: patient p1 stands", "the same pixels", "--allow-leaks"):
        assert text in str(caught.value)
    run = build.build(made, plugins, base / "run", verify=quiet, allow_leaks=True)
    run.begin("restorekit run")
    assert len(json.loads((base / "run/data.json").read_text())["check"]["leaks"]) == 2
    assert (base / "run/data-check/check.json").is_file()
    page = report.report(base / "run").read_text("utf-8")
    assert 'class="leak"' in page
    assert "patient p1 stands in train and test" in page


@pytest.mark.parametrize("count", [3, 250])
def test_run_goes_on_with_the_leaks_it_began_with_and_no_others(base: Path, count: int) -> None:
    """More leaks than data.json lists must not hide others among them."""
    began = replace(checked(base), leaks=tuple(f"leak {at}" for at in range(count)))
    (base / "data.json").write_text(json.dumps({"check": began.summary()}))
    assert began.allowed_in(base)
    assert replace(began, leaks=began.leaks[::-1]).allowed_in(base)
    assert not replace(began, leaks=(*began.leaks[:-1], "another")).allowed_in(base)
    assert not replace(began, leaks=(*began.leaks, "another")).allowed_in(base)
    assert not began.allowed_in(base / "train")


def test_recorded_images_beside_made_ones_need_patients(spec: Spec, plugins: Plugins, base: Path) -> None:
    rewritten(base, lambda cells: [*cells[:3], "", *cells[4:]])
    made = {"name": "phantom", "side": "a", "count": 4, "val": 2, "test": 2, "size": [16, 16]}
    classes = ["control", "opacity"]
    rewritten(base, lambda cells: [*cells[:2], classes[cells[2] == "sick"], *cells[3:]])
    both = manifest_spec(spec, base, data__a=made)
    items = recipe_items(splits.look(splits.opened(both, plugins.parts), quiet))
    found = examine(items)
    (line,) = found.unchecked
    recorded = sum(i.domain == "b" and i.split in ("train", "test") for i in items)
    assert f"{recorded} of " in line


def test_files_that_a_dataset_leaves_out_are_reported(spec: Spec, plugins: Plugins, base: Path) -> None:
    write_image(base / "poor/train/1.png", film(0).numpy())
    (base / "poor/scan.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    inner = {"name": "folder", "path": "poor"}
    for side in (
        inner,
        {"name": "degraded", "dataset": inner, "degradation": "noise"},
        {"name": "join", "datasets": [inner]},
    ):
        opened = splits.opened(spec(data__root=str(base), data__a=side, data__b=inner), plugins.parts)
        assert [path.name for path, _ in opened.skipped_files()] == ["scan.jp2"], "once, though both sides have it"
    assert splits.opened(manifest_spec(spec, base), plugins.parts).skipped_files() == []


def test_images_in_no_split_are_reported_by_reason(spec: Spec, plugins: Plugins, base: Path) -> None:
    for name in ("train/1.png", "other/2.png", "3.png"):
        write_image(base / "poor" / name, film(0).numpy())
    (base / "poor/scan.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    inner = {"name": "folder", "path": "poor"}
    opened = splits.opened(spec(data__root=str(base), data__a=inner, data__b=inner), plugins.parts)
    assert {path.name for path, _ in opened.skipped_files()} == {"2.png", "3.png", "scan.jp2"}
    lines = skipped_files(opened.skipped_files())
    assert len(lines) == 2
    assert any(line.startswith("2 ") and "3.png" in line for line in lines)


def test_the_splits_of_a_run_are_stored_and_held(spec: Spec, plugins: Plugins, base: Path) -> None:
    table = (base / "m.csv").read_text()
    unsplit = "\n".join(
        ",".join(cell for at, cell in enumerate(line.split(",")) if at != 4) for line in table.split("\n")
    )
    (base / "m.csv").write_text(unsplit.strip())
    made = manifest_spec(spec, base)
    build.build(made, plugins, base / "run").begin("restorekit run")
    stored = (base / "run/splits.csv").read_text()
    build.build(made, plugins, base / "run").begin("restorekit run --resume")
    assert (base / "run/splits.csv").read_text() == stored
    (base / "s.csv").write_text(stored)  # which is itself a manifest
    side = {"name": "manifest", "file": "s.csv"}
    again = manifest_spec(spec, base, data__a={**side, "domain": "a"}, data__b={**side, "domain": "b"})
    assert sorted(splits.opened(again, plugins.parts).listing().split()) == sorted(stored.split())
    sides = {
        f"data__{s}": {"name": "manifest", "file": "m.csv", "domain": d, "seed": 1}
        for s, d in (("a", "poor"), ("b", "good"))
    }
    with pytest.raises(DataError, match=r"splits\.csv: \d+ "):
        build.build(manifest_spec(spec, base, **sides), plugins, base / "run")


def test_ranges_of_a_manifest_are_those_that_its_files_are_read_by(tmp_path: Path) -> None:
    """Floating point states no range; the same values by another range are another image."""
    rows = ["path,split,patient,low,high"]
    for at, (split, high) in enumerate([("train", 4), ("train", 8), ("test", 16)]):
        values = (film(at % 2).numpy() + 1) * high / 2
        np.save(tmp_path / f"{at}.npy", values.astype(np.float32))
        rows.append(f"{at}.npy,{split},p{at},0,{high}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    items = manifest_items(tmp_path / "m.csv", None, quiet)
    found = examine(items)
    assert found.unreadable == ()
    assert [line.split()[0] for line in found.leaks] == ["0.npy"], "0 and 2 are one film at two scales"
    assert torch.allclose(items[1].load(), film(1), atol=1e-5)
    assert depth_lines(items) == ([], [])


def test_a_name_that_is_no_utf8_costs_one_image_and_refuses_a_dataset(
    base: Path, spec: Spec, plugins: Plugins, tmp_path: Path
) -> None:
    place = tmp_path / "films"
    for split in ("train", "test"):
        (place / split).mkdir(parents=True)
        write_image(place / split / "1.png", film(len(split)).numpy())
    try:
        shutil.copy(place / "test/1.png", os.fsencode(place / "train") + b"/f\xfcr.png")
        (place / "train" / os.fsdecode(b"f\xfcr.gif")).write_bytes(b"GIF89a")
    except OSError:
        pytest.skip("this file system holds UTF-8 alone")
    found = examine(folder_items(place, quiet), unseen=skipped_files(images.skipped_images(place)))
    found.write(tmp_path / "check")
    assert [line for line in found.unreadable if "no UTF-8" in line] == list(found.unreadable)
    assert len(found.unreadable) == 1
    assert not found.leaks
    side = {"name": "folder", "path": str(place)}
    with pytest.raises(DataError, match=r"data\.a: .*no UTF-8"):
        splits.opened(spec(data__a=side, data__b=side), plugins.parts)
