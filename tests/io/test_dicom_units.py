"""DICOM values of a unit: a range that is only that of 16 bits is noted, refused where it matters, and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restorekit import DataError, FileDataset, Record
from restorekit.data.checks import examine
from restorekit.data.items import depth_lines, folder_items
from restorekit.io.images import ImageFiles, read_image
from tests.io.made_dicom import written

HU: dict[str, Any] = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
TISSUE = np.arange(24, 3000, 31, dtype=np.uint16).reshape(8, 12)  # -1000 to 1945 HU


class Files(FileDataset):
    def __init__(self, base: Path, **options: Any) -> None:
        super().__init__(base, **options)
        self.records = [Record(path.name) for path in sorted(base.iterdir())]


@pytest.mark.parametrize(
    ("bits", "elements", "unit"),
    [
        (16, HU, "HU"),
        (16, {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}, "HU"),
        (16, {"Modality": "CT"}, "CT numbers"),
        (16, {"Modality": "MR", "RescaleSlope": 2.5, "RescaleIntercept": 0, "RescaleType": "US"}, "US"),
        (12, {"Modality": "PT", "RescaleSlope": 0.7, "RescaleIntercept": 0, "Units": "BQML"}, "BQML"),
        (16, {"Modality": "RTDOSE", "DoseGridScaling": 0.001, "DoseUnits": "GY"}, "GY"),
    ],
)
def test_values_of_a_unit_without_black_and_white_are_refused(
    tmp_path: Path, bits: int, elements: dict[str, Any], unit: str
) -> None:
    path = written(tmp_path / "x.dcm", TISSUE, bits, **elements)
    assert "the file does not state them" in read_image(path)[1].note
    with pytest.raises(DataError, match=f"values in {unit}.*--range LOW HIGH.*range: "):
        ImageFiles().read(path)
    with pytest.raises(DataError, match=f"values in {unit}.*range: "):
        Files(tmp_path).load(0, torch.Generator())
    slope = float(elements.get("RescaleSlope", elements.get("DoseGridScaling", 1)))
    values = TISSUE * slope + float(elements.get("RescaleIntercept", 0))
    low, high = (-1024, 9000) if values.min() < 0 else (0, 9000)
    image, known = ImageFiles().read(path, range=(low, high))
    assert (known.low, known.high, known.note) == (low, high, "")
    np.testing.assert_allclose(image[0], (values - low) / (high - low) * 2 - 1, atol=1e-6)
    loaded = Files(tmp_path, range=[low, high]).load(0, torch.Generator()).image
    np.testing.assert_array_equal(loaded.numpy(), image)


def test_the_range_of_all_of_a_ct_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"range: \[-1024, 3071\]"):
        ImageFiles().read(written(tmp_path / "x.dcm", TISSUE, 16, **HU))


@pytest.mark.parametrize(
    ("bits", "elements", "ends"),
    [
        (12, HU, (-1024, 3071)),
        (16, {**HU, "WindowCenter": 40, "WindowWidth": 401}, (-160.5, 239.5)),
        (16, {"Modality": "MR"}, (0, 65535)),
        (16, {"Modality": "DX", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}, (0, 65535)),
    ],
)
def test_what_states_its_range_is_read(
    tmp_path: Path, bits: int, elements: dict[str, Any], ends: tuple[float, float]
) -> None:
    known = ImageFiles().read(written(tmp_path / "x.dcm", TISSUE, bits, **elements))[1]
    assert (known.low, known.high, known.note) == (*ends, "")
    assert Files(tmp_path).load(0, torch.Generator()).image.shape == (1, 8, 12)


def test_the_data_check_names_the_files_and_the_line_to_write(tmp_path: Path) -> None:
    for at in range(3):
        written(tmp_path / f"{at}.dcm", TISSUE + at, 16, **HU)
    _, (undecided,) = depth_lines(folder_items(tmp_path, print))
    assert "3 files hold values in HU, such as -1000 to 1945" in undecided
    assert "range: [-1024, 3071]" in undecided


@pytest.mark.parametrize(("most", "percent"), [(1966, "3 %"), (40000, "")])
def test_images_that_use_a_small_part_of_their_range_are_reported(tmp_path: Path, most: int, percent: str) -> None:
    for at in range(3):
        cells = np.linspace(at, most, 96).reshape(8, 12).astype(np.uint16)
        written(tmp_path / f"{at}.dcm", cells, 16, Modality="NM")
    warnings = [line for line in examine(folder_items(tmp_path, print)).warnings if "of their range" in line]
    assert len(warnings) == bool(percent)
    assert all(percent in line and "of 0 to 65535" in line for line in warnings)
