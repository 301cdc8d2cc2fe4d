"""Rotation against SciPy, and of classes at right angles."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from restorekit import rotate


@given(degrees=st.floats(-180, 180), height=st.integers(3, 12), width=st.integers(3, 12))
@settings(max_examples=30, deadline=None)
def test_rotate_turns_as_scipy_does(degrees: float, height: int, width: int) -> None:
    image = torch.rand(2, 1, height, width, dtype=torch.float64)
    made = rotate(image, degrees)
    for one, other in zip(image, made, strict=True):
        wanted = ndimage.rotate(one[0].numpy(), degrees, reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(other[0].numpy(), wanted, atol=1e-9)


def test_rotate_of_classes_is_exact_at_right_angles_and_0_outside() -> None:
    classes = torch.arange(1.0, 26).reshape(1, 1, 5, 5)
    assert torch.equal(rotate(classes, 90, nearest=True), torch.rot90(classes, 1, (2, 3)))
    turned = rotate(classes, 45, nearest=True)
    assert turned[0, 0, 0, 0] == 0
    assert set(turned.unique().tolist()) <= {0.0, *classes.flatten().tolist()}
