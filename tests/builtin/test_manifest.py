"""The manifest dataset: rows by split and domain, and splits by patient where the table gives none."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from restorekit import UNLABELLED, DataError, RecipeError, Task, write_image
from restorekit.builtin.manifest import Masks, manifest
from restorekit.io.images import expecting

SPLITS = ("train", "val", "test")


def table(base: Path, *rows: str, head: str = "path,domain,label,patient,split,source") -> None:
    base.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = base / row.partition(",")[0]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (base / "m.csv").write_text("\n".join([head, *rows]) + "\n")


def test_rows_of_a_split_and_a_domain(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "1.png", np.zeros((1, 5, 4)))
    table(
        tmp_path / "set",
        *("1.png,poor,sick,p1,train,x", "2.png,good,well,p2,train,x", "3.png,mid,,,test,", "4.png,poor,well,p4,test,y"),
    )
    train = manifest(tmp_path, "train", file="set/m.csv", domain="poor")
    assert [(r.key, r.target, r.group, r.source) for r in train.records] == [("1.png", 0, "p1", "x")]
    assert train.classes == ("sick", "well")
    assert train.load(0, torch.Generator()).image.shape == (1, 5, 4)
    assert train.file(0) == tmp_path / "set/1.png"
    test = manifest(tmp_path, "test", file="set/m.csv", domain=["poor", "mid"], classes=["well", "sick"])
    assert [(r.key, r.target) for r in test.records] == [("3.png", UNLABELLED), ("4.png", 0)]
    assert len(manifest(tmp_path, "val", file="set/m.csv").records) == 0
    assert len(manifest(tmp_path, "train", file="set/m.csv").records) == 2


def test_images_elsewhere(tmp_path: Path) -> None:
    table(tmp_path / "set", "x/1.png", head="path")
    (tmp_path / "set" / "m.csv").rename(tmp_path / "m.csv")
    found = manifest(tmp_path, "train", file="m.csv", images="set", test=0)
    assert [r.key for r in found.records] == ["x/1.png"]
    assert found.file(0) == tmp_path / "set/x/1.png"


def drawn(base: Path, **options: Any) -> dict[str, list[Any]]:
    return {split: list(manifest(base, split, file="m.csv", **options).records) for split in SPLITS}


def test_splits_by_patient(tmp_path: Path) -> None:
    rows = [
        f"{p}/{i}.png,{'poor' if p % 2 else 'good'},{'sick' if p % 5 == 0 else 'well'},p{p}"
        for p in range(60)
        for i in range(1 + p % 3)
    ]
    table(tmp_path, *rows, head="path,domain,label,patient")
    both = {domain: drawn(tmp_path, domain=domain, test=0.2, val=0.1) for domain in ("poor", "good")}
    whole = drawn(tmp_path, test=0.2, val=0.1)
    assert sorted(r.key for records in whole.values() for r in records) == sorted(row.partition(",")[0] for row in rows)
    patients = {split: {r.group for r in records} for split, records in whole.items()}
    assert all(not patients[one] & patients[other] for one in SPLITS for other in SPLITS if one < other)
    shares = {split: len(records) / len(rows) for split, records in whole.items()}
    assert shares == {
        "train": pytest.approx(0.7, abs=0.05),
        "val": pytest.approx(0.1, abs=0.05),
        "test": pytest.approx(0.2, abs=0.05),
    }
    sick = {split: Counter(r.target for r in records)[0] / len(records) for split, records in whole.items()}
    assert all(abs(share - 0.2) < 0.1 for share in sick.values()), sick
    for split in SPLITS:  # what a domain gets does not depend on who asks
        assert {r.key for d in both.values() for r in d[split]} == {r.key for r in whole[split]}
    assert drawn(tmp_path, test=0.2, val=0.1) == whole
    assert drawn(tmp_path, test=0.2, val=0.1, seed=1) != whole


def test_images_without_a_patient_stand_alone(tmp_path: Path) -> None:
    table(tmp_path, *(f"{i}.png" for i in range(10)), head="path")
    assert {split: len(records) for split, records in drawn(tmp_path, test=0.3).items()} == {
        "train": 7,
        "val": 0,
        "test": 3,
    }


@pytest.mark.parametrize(
    ("rows", "options", "named"),
    [
        (["1.png,a,x,p,train,s", "2.png,a,x,p,,s"], {}, r"m.csv:3: names no split, and other rows do"),
        (["1.png,a,x,p,train,s"], {"domain": "b"}, r"m.csv: no image is of domain 'b'. Known: a"),
        (["1.png,a,x,p,train,s"], {"classes": ["y"]}, r"m.csv:2: no class is called 'x'. Known: y"),
        (["1.png,a,x,p,,s", "2.png,a,x,p,,s"], {}, r"m.csv: 1 patients are too few for shares of 0.2 and 0.0"),
    ],
)
def test_errors(tmp_path: Path, rows: list[str], options: dict[str, Any], named: str) -> None:
    table(tmp_path, *rows)
    with pytest.raises(DataError, match=named):
        manifest(tmp_path, "train", file="m.csv", **options)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    table(tmp_path, "1.png,a,x,p,,s")
    with pytest.raises(RecipeError, match="train"):
        manifest(tmp_path, "train", file="m.csv", test=0.5, val=0.5)
    with pytest.raises(RecipeError, match="x, x"):
        manifest(tmp_path, "train", file="m.csv", classes=["x", "x"])


HEAD = "path,label,split,age,weight,effusion,nodule,lung"


def several(base: Path, *rows: str) -> None:
    table(base, *rows, head=HEAD)


def test_several_numbers_and_labels(tmp_path: Path) -> None:
    several(tmp_path, "1.png,,train,54,70.5,1,0,", "2.png,,train,,61,,1.0,", "3.png,,test,1,2,0,-1,")
    numbers = manifest(tmp_path, "train", file="m.csv", numbers=["age", "weight"])
    assert numbers.task == Task("numbers", ("age", "weight"))
    assert numbers.records[0].target == (54, 70.5)
    assert math.isnan(numbers.records[1].target[0])
    one = manifest(tmp_path, "train", file="m.csv", numbers=["weight"])
    assert one.task == Task("numbers", ("weight",))
    assert one.records[0].target == 70.5
    table(tmp_path, "1.png,54,train", "2.png,,train", head="path,label,split")
    target = manifest(tmp_path, "train", file="m.csv", target="age, years")
    assert target.records[0].target == 54
    assert math.isnan(float(target.records[1].target))  # type: ignore[arg-type]
    several(tmp_path, "1.png,,train,54,70.5,1,0,", "2.png,,train,,61,,1.0,", "3.png,,test,1,2,0,-1,")
    labels = {split: manifest(tmp_path, split, file="m.csv", labels=["effusion", "nodule"]) for split in SPLITS}
    assert labels["train"].task == Task("labels", ("effusion", "nodule"))
    assert [record.target for record in labels["train"].records] == [(1, 0), (UNLABELLED, 1)]
    assert labels["test"].records[0].target == (0, UNLABELLED)


def test_masks(tmp_path: Path) -> None:
    several(tmp_path, "1.png,,train,,,,,masks/1.png", "2.png,,train,,,,,")
    picture = torch.tensor([[0, 255, 0], [7, 255, 0]])
    for name, values in (("1.png", torch.zeros(2, 3)), ("2.png", torch.zeros(2, 3)), ("masks/1.png", picture)):
        write_image(tmp_path / name, values[None] * 2 / 255 - 1)
    options: dict[str, Any] = {"mask": "lung", "classes": ["background", "lung"], "mask_values": [0, 255]}
    part = manifest(tmp_path, "train", file="m.csv", **options, mask_ignore=7)
    assert part.task == Task("mask", ("background", "lung"))
    assert part.load(0, torch.Generator()).target.tolist() == [[0, 1, 0], [UNLABELLED, 1, 0]]
    assert part.load(1, torch.Generator()).target is None
    assert [part.task.is_labelled(record.target) for record in part.records] == [True, False]
    with pytest.raises(DataError, match=r"masks/1\.png: .* 7; .*0, 255"):
        manifest(tmp_path, "train", file="m.csv", **options).load(0, torch.Generator())


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_masks_of_every_type_hold_the_classes_that_were_written(tmp_path: Path, dtype: str) -> None:
    every = tuple(range(256))
    values = np.arange(256).reshape(8, 8, 4).astype(dtype)
    np.save(tmp_path / "m.npy", values)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "m.nii.gz")
    for name in ("m.npy", "m.nii.gz"):
        with expecting(3):
            found = Masks("mask", every, None).read(tmp_path / name)
        assert torch.equal(found.flatten().sort().values, torch.arange(256)), name
    np.save(tmp_path / "part.npy", np.full((4, 4), 2.6, "float32"))
    with pytest.raises(DataError, match=r"part\.npy: .*2\.6; "):
        Masks("mask", every, None).read(tmp_path / "part.npy")


@pytest.mark.parametrize(
    ("row", "options", "named"),
    [
        ("1.png,,train,old,1,,,", {"numbers": ["age", "weight"]}, "m.csv:2: age is a number; got 'old'"),
        ("1.png,,train,,,2,0,", {"labels": ["effusion"]}, "m.csv:2: effusion is 1 where the label is present"),
        ("1.png,,train,,,,,x.png", {"mask": "lung", "classes": ["no", "yes"]}, "m.csv:2: lung: no file 'x.png'"),
        ("1.png,,train,,,,,", {"labels": ["mass"]}, "m.csv:1: has no column 'mass'"),
        ("1.png,,train,,,,,", {"labels": ["nodule"], "numbers": ["age"]}, "numbers and labels are several tasks"),
        ("1.png,,train,,,,,", {"mask": "lung"}, "mask needs classes"),
    ],
)
def test_errors_of_several_targets(tmp_path: Path, row: str, options: dict[str, Any], named: str) -> None:
    several(tmp_path, row)
    with pytest.raises((DataError, RecipeError), match=named):
        manifest(tmp_path, "train", file="m.csv", **options)
