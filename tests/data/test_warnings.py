"""Sentences about data: shares and signs are not rounded into another statement."""

import pytest

from restorekit.data.text import difference, from_to, number
from restorekit.data.warnings import data_warnings


@pytest.mark.parametrize(
    ("well", "sick", "wanted"),
    [
        (999, 1, "more than 99 % well and less than 1 % sick"),
        (99, 1, "99 % well and 1 % sick"),
        (7, 0, "100 % well"),
        (1, 2, "33 % well and 67 % sick"),
    ],
)
def test_a_class_of_few_images_is_not_called_none(well: int, sick: int, wanted: str) -> None:
    a, b = (
        {"images": sum(row.values()), "classes": row}
        for row in ({"well": 0, "sick": 900}, {"well": well, "sick": sick})
    )
    found = data_warnings({"splits": {"train": {"a": a, "b": b}}, "synthetic": True})
    (line,) = [line for line in found if line.startswith("Class and domain")]
    assert f"domain b holds {wanted} (" in line


@pytest.mark.parametrize(
    ("before", "after", "metric", "expected"),
    [
        (0.035, 0.019, "noise_level", "0.035 to 0.019"),
        (0.0117, 0.01161, "noise_level", "0.0117 to 0.0116"),
        (0.012, 0.012, "noise_level", "0.012 to 0.012"),
        (0.0001234, 0.0001231, "noise_level", "1.234e\u221204 to 1.231e\u221204"),
        (24.2401, 24.2449, "psnr", "24.240 dB to 24.245 dB"),
        (None, 1.0, "psnr", "not defined to 1.00 dB"),
    ],
)
def test_two_values_that_differ_read_differently(
    before: float | None, after: float, metric: str, expected: str
) -> None:
    assert from_to(before, after, metric) == expected


def test_zero_has_one_sign() -> None:
    assert number(-0.0) == number(0.0) == "0.000"
    assert difference(-0.0) == "+0.000"
    assert number(-0.25) == "\u22120.250"
