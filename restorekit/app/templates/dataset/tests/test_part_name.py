import pytest
import torch
from restorekit import DataError, RecipeError

from restorekit_part_name import signals, write_example


def put(root, **files):
    """Write PATH/train/CLASS/PATIENT_*.csv of texts."""
    for name, text in files.items():
        place, _, stem = name.partition("__")
        path = root / "side" / place / "slow" / f"{stem}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def loaded(root, **options):
    return signals(root, "train", path="side", **options).load(0, torch.Generator()).image


def test_columns_are_channels_and_the_range_becomes_minus_one_to_one(tmp_path):
    put(tmp_path, train__p1_1="0,5\n10,2.5\n5,10\n")
    image = loaded(tmp_path, range=(0.0, 10.0))
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.tensor([[-1.0, 1.0, 0.0], [0.0, -0.5, 1.0]]))


def test_what_is_known_of_a_signal_stands_in_its_name(tmp_path):
    write_example(tmp_path)
    found = {split: signals(tmp_path, split, path="good") for split in ("train", "val", "test", "none")}
    assert [len(part.records) for part in found.values()] == [6, 2, 4, 0]
    assert all(part.classes == ("fast", "slow") for part in found.values())
    first = found["test"].records[-1]
    assert (first.key, first.target, first.group) == ("test/slow/good-p6_1.csv", 1, "good-p6")
    groups = [{record.group for record in part.records} for part in found.values()]
    assert len(set.union(*groups)) == sum(map(len, groups)), "no patient is in two splits"


def test_the_example_is_a_wave_and_its_hum(tmp_path):
    write_example(tmp_path)
    good, poor = (
        signals(tmp_path, "train", path=side, range=(-2.0, 2.0)).load(3, torch.Generator()).image * 2
        for side in ("good", "poor")
    )
    assert good.shape == (1, 64)
    spectra = [torch.fft.rfft(one[0]).abs() / 32 for one in (good, poor)]
    expected = torch.zeros(2, 33)
    expected[:, 2] = 1.0  # slow: two waves
    expected[1, 16] = 0.5
    torch.testing.assert_close(torch.stack(spectra), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("text", ["", "1,2\n3\n", "0.5\nnine\n", "0.5\nnan\n", "0.5\n1.5\n"])
def test_a_file_that_is_no_signal_is_refused_by_name(tmp_path, text):
    put(tmp_path, train__p1_1=text)
    with pytest.raises(DataError, match=r"p1_1\.csv: "):
        loaded(tmp_path)


def test_a_folder_without_signals_and_a_range_upside_down_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no signals; files named SPLIT/CLASS/PATIENT_\*\.csv are expected"):
        loaded(tmp_path)
    with pytest.raises(RecipeError, match="low < high"):
        loaded(tmp_path, range=(1.0, 1.0))
