"""Sentences about data: shares and signs are not rounded into another statement."""

import pytest

from restorekit.data.text import difference, number
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


def test_zero_has_one_sign() -> None:
    assert number(-0.0) == number(0.0) == "0.000"
    assert difference(-0.0) == "+0.000"
    assert number(-0.25) == "\u22120.250"
