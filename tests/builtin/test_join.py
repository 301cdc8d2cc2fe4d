"""Several datasets as one: order, splits that only some of them have, and what is refused."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from restorekit import DataError, Dataset, RecipeError, Record, Sample, write_image
from restorekit.builtin.degradations import blend
from restorekit.builtin.degraded import degraded
from restorekit.builtin.folder import folder
from restorekit.builtin.join import join
from restorekit.builtin.phantom import phantom

SIZE = {"size": (16, 20), "count": 3, "val": 0, "test": 2}
ONE, OTHER = partial(phantom, side="a", **SIZE), partial(phantom, side="b", **SIZE)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_images_stand_one_dataset_after_the_other() -> None:
    made, one, other = join(None, "train", datasets=[ONE, OTHER]), ONE(None, "train"), OTHER(None, "train")
    assert [record.key for record in made.records] == [r.key for r in [*one.records, *other.records]]
    for index, source in enumerate([(one, 0), (one, 1), (one, 2), (other, 0), (other, 1), (other, 2)]):
        assert torch.equal(made.load(index, rng()).image, source[0].load(source[1], rng()).image)
    assert made.synthetic
    assert made.classes == one.classes


def test_trained_on_one_and_tested_on_another() -> None:
    poor = partial(
        degraded, dataset=partial(phantom, side="a", size=(16, 20), count=3, val=0, test=0), degradation=blend
    )
    only = partial(join, datasets=[poor, partial(Numbers, classes=("control", "opacity"), split="test")])
    assert [len(only(None, split).records) for split in ("train", "val", "test")] == [3, 0, 2]
    assert only(None, "train").load(0, rng()).truth is not None
    assert float(only(None, "test").load(1, rng()).image.mean()) == 1


class Numbers(Dataset):
    """Two images, 0 and 1, of one split."""

    def __init__(self, root: None, now: str, *, classes: tuple[str, ...], split: str) -> None:
        self.classes = classes
        self.records = [Record(f"n{i}", i) for i in range(2 if now == split else 0)]

    def load(self, index: int, rng: torch.Generator) -> Sample:
        return Sample(torch.full((1, 16, 20), float(index)))


def test_other_classes_twice_the_same_image_and_nothing_are_refused() -> None:
    numbers = [partial(Numbers, classes=classes, split="train") for classes in (("control", "opacity"), ("x", "y"))]
    with pytest.raises(DataError, match=r"control, opacity .*x, y"):
        join(None, "train", datasets=numbers)
    with pytest.raises(DataError, match="phantom-a-train-0000"):
        join(None, "train", datasets=[ONE, ONE])
    with pytest.raises(DataError, match="datasets"):
        join(None, "train", datasets=[ONE, numbers[0]])
    with pytest.raises(RecipeError, match="datasets"):
        join(None, "train", datasets=[])


def test_folders_with_other_splits_join(tmp_path: Path) -> None:
    for name in ("one/train/no/1", "one/train/yes/2", "two/test/no/3", "two/test/yes/4"):
        write_image(tmp_path / f"{name}.png", np.zeros((1, 4, 4)))
    parts = [partial(folder, path=name, classes=["no", "yes"]) for name in ("one", "two")]
    splits = ("train", "val", "test")
    keys = {split: [record.key for record in join(tmp_path, split, datasets=parts).records] for split in splits}
    assert keys == {
        "train": ["train/no/1.png", "train/yes/2.png"],
        "val": [],
        "test": ["test/no/3.png", "test/yes/4.png"],
    }


def test_split_is_synthetic_only_if_its_images_are() -> None:
    """A dataset without images of a split must not let recorded images pass as made, which nobody reads or compares."""
    made = partial(phantom, side="a", **{**SIZE, "test": 0})
    recorded = partial(Numbers, classes=("control", "opacity"), split="test")
    assert not join(None, "test", datasets=[made, recorded]).synthetic
    assert join(None, "train", datasets=[made, recorded]).synthetic
