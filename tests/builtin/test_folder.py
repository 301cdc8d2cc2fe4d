import numpy as np
import pytest
import torch

from restorekit import UNLABELLED, DataError, Format, RecipeError, Stored, to_unit, write_image
from restorekit.builtin.folder import folder

ANY = torch.Generator()


def put(base, *names):
    for at, name in enumerate(names):
        write_image(base / name, np.full((1 + 2 * (at % 2), 5, 4), at / 10))


def labels(dataset):
    return {r.key: (dataset.classes[r.target] if r.target != UNLABELLED else None) for r in dataset.records}


def test_splits_and_classes(tmp_path):
    put(tmp_path / "poor", "train/sick/1.png", "train/well/2.jpg", "train/3.png", "test/well/deep/4.png")
    train, val, test = (folder(tmp_path, s, path="poor") for s in ("train", "val", "test"))
    assert labels(train) == {"train/3.png": None, "train/sick/1.png": "sick", "train/well/2.jpg": "well"}
    assert len(val.records) == 0
    assert labels(test) == {"test/well/deep/4.png": "well"}
    assert train.classes == val.classes == test.classes == ("sick", "well")
    sample = train.load(0, ANY)
    assert sample.image.shape == (1, 5, 4)
    assert sample.intensity.dtype == "uint8"


def test_files_of_a_format(tmp_path):
    class Numbers(Format):
        def find(self, folder):
            return sorted(folder.rglob("*.num"))

        def read(self, path, *, range=None, dims=None):
            values = np.array([[float(word) for word in path.read_text().split()]])
            return to_unit(Stored(values, 0, 4), "NUM", range)

        def write(self, path, image, intensity):
            raise NotImplementedError

    put(tmp_path, "train/no.png")
    for name in ("train/sick/1.num", "train/well/2.num"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("0 1 4")
    part = folder(tmp_path, "train", path=".", format=Numbers)
    assert labels(part) == {"train/sick/1.num": "sick", "train/well/2.num": "well"}
    assert part.load(1, ANY).image.tolist() == [[-1, -0.5, 1]]
    assert part.file(0) is None, "read_image cannot read it"
    wide = folder(tmp_path, "train", path=".", format=Numbers, range=[0, 8])
    assert wide.load(1, ANY).image.tolist() == [[-1, -0.75, 0]]


def test_one_flat_folder_is_for_training(tmp_path):
    put(tmp_path, "b.png", "a.png", ".hidden.png")
    assert labels(folder(None, "train", path=str(tmp_path))) == {"a.png": None, "b.png": None}
    assert len(folder(tmp_path, "test", path=".").records) == 0


def test_one_sub_folder_alone_is_no_class(tmp_path):
    put(tmp_path, "images/a.png")
    assert folder(tmp_path, "train", path=".").classes == ()
    assert labels(folder(tmp_path, "train", path=".", classes=["well", "images"])) == {"images/a.png": "images"}


def test_classes_in_the_given_order_or_none(tmp_path):
    put(tmp_path, "a/1.png", "b/2.png")
    assert [r.target for r in folder(tmp_path, "train", path=".", classes=["b", "a"]).records] == [1, 0]
    plain = folder(tmp_path, "train", path=".", classes=[])
    assert [r.target for r in plain.records] == [UNLABELLED] * 2


def test_table(tmp_path):
    put(tmp_path, "train/1.png", "train/2.png", "train/3.png", "val/4.png")
    (tmp_path / "labels.csv").write_text(
        "file,label,patient,source\ntrain/1.png,sick,p1,north\ntrain/2.png,,p2,\nval/4.png,well,p3,south\n"
    )
    train = folder(tmp_path, "train", path=".", labels="labels.csv")
    assert labels(train) == {"train/1.png": "sick", "train/2.png": None, "train/3.png": None}
    assert [(r.group, r.source) for r in train.records] == [("p1", "north"), ("p2", None), (None, None)]
    assert train.classes == ("sick", "well")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,name\n", r"labels.csv:1: has no column 'label'; columns are file, name"),
        ("", r"labels.csv:1: has no column 'file'; columns are none"),
        ("file,label\n1.png,a\n1.png,b\n", r"labels.csv:3: '1.png' is named twice"),
        ("file,label\n9.png,a\n", r"labels.csv:2: no file '9.png'"),
        ("file,label\n1.png,wel\n", r"labels.csv:2: .*Did you mean 'well'"),
    ],
)
def test_table_errors(tmp_path, text, named):
    put(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=named) as caught:
        folder(tmp_path, "train", path=".", labels="labels.csv", classes=["sick", "well"])
    assert "\n" not in str(caught.value)


def test_folder_errors(tmp_path):
    with pytest.raises(DataError, match="none"):
        folder(tmp_path, "val", path="none")
    (tmp_path / "empty" / "val").mkdir(parents=True)
    assert not folder(tmp_path, "val", path="empty").records
    assert not folder(tmp_path, "train", path="empty").records, "of what it is a part of, another may have some"
    (tmp_path / "empty" / "train").mkdir()
    with pytest.raises(DataError, match="train"):
        folder(tmp_path, "train", path="empty")
    put(tmp_path, "full/a/1.png", "full/b/1.png")
    with pytest.raises(DataError, match="'b'"):
        folder(tmp_path, "train", path="full", classes=["a", "c"])
    with pytest.raises(RecipeError, match="a, b, a"):
        folder(tmp_path, "train", path="full", classes=["a", "b", "a"])
    with pytest.raises(DataError, match=r"none\.csv"):
        folder(tmp_path, "train", path="full", labels="none.csv")


def test_a_declared_range_is_every_files(tmp_path):
    np.save(tmp_path / "1.npy", np.array([[0, 5, 10]], np.float32))
    with pytest.raises(DataError, match="declare their range"):
        folder(None, "train", path=str(tmp_path)).load(0, torch.Generator())
    declared = folder(None, "train", path=str(tmp_path), range=[0, 10])
    sample = declared.load(0, torch.Generator())
    assert sample.image.tolist() == [[[-1, 0, 1]]]
    assert sample.intensity.high == 10
    assert declared.file(0) is None, "read without the range, the file is not the image"


def test_a_table_may_write_a_path_in_any_way(tmp_path):
    put(tmp_path, "in/1.png", "in/2.png", "3.png")
    inside = tmp_path / "in"
    for form in ("./{}", "../in/{}", "sub/../{}", f"{inside}/{{}}"):
        (inside / "sub").mkdir(exist_ok=True)
        (inside / "t.csv").write_text(f"file,label,patient\n{form.format('1.png')},a,p1\n{form.format('2.png')},b,p2\n")
        made = folder(tmp_path, "train", path="in", labels="t.csv")
        assert [(r.key, r.target, r.group) for r in made.records] == [("1.png", 0, "p1"), ("2.png", 1, "p2")]
    for second, named in (("../3.png", "is not in"), ("./1.png", "named twice"), ("sub/../1.png", "names 1.png")):
        (inside / "t.csv").write_text(f"file,label\n1.png,a\n{second},b\n")
        with pytest.raises(DataError, match=rf"t\.csv:3: .*{named}"):
            folder(tmp_path, "train", path="in", labels="t.csv")
