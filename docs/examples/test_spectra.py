import pytest
import torch
from restorekit import DataError

from restorekit_spectra import spectra, write_example


@pytest.fixture
def root(tmp_path):
    write_example(tmp_path)
    return tmp_path


def test_counts_come_back_from_the_range(root):
    part = spectra(root, "test", file="spectra.csv", side="good", range=(0, 400))
    sample = part.load(0, torch.Generator())
    assert sample.image.shape == (1, 64)
    counts = (sample.image[0].double() + 1) / 2 * (sample.intensity.high - sample.intensity.low)
    assert int(counts.argmax()) == 20  # where benign spectra have their peak
    assert counts.max() == pytest.approx(186, abs=1e-3)  # of patient 6, the first of the test split


def test_patients_keep_to_one_split(root):
    made = [
        spectra(root, split, file="spectra.csv", side="degraded", range=(0, 400)) for split in ("train", "val", "test")
    ]
    groups = [{record.group for record in part.records} for part in made]
    assert [len(part.records) for part in made] == [10, 2, 4]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def test_what_is_wrong_is_named(root):
    with pytest.raises(DataError, match=r"degraded-0-benign: holds values outside of 0 to 10"):
        spectra(root, "train", file="spectra.csv", side="degraded", range=(0, 10)).load(0, torch.Generator())
    (root / "other.csv").write_text("id,patient\n1,2\n")
    with pytest.raises(DataError, match=r"other.csv:1: has no column 'label'"):
        spectra(root, "train", file="other.csv", side="degraded", range=(0, 10))
