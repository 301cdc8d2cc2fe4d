import numpy as np
import pytest
from restorekit import DataError

from restorekit_part_name import graymap, write_example


def test_gray_becomes_minus_one_to_one_at_any_depth(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5\n# made by hand\n3 1\n255\n\x00\xff\x33")
    image, intensity = graymap().read(tmp_path / "x.pgm")
    np.testing.assert_allclose(image, [[[-1.0, 1.0, -0.6]]], atol=1e-6)
    assert (intensity.dtype, intensity.low, intensity.high) == ("uint8", 0, 255)
    (tmp_path / "y.pgm").write_bytes(b"P5 2 1 4095 \x0f\xff\x00\x00")
    assert graymap().read(tmp_path / "y.pgm")[0].tolist() == [[[1.0, -1.0]]]


def test_what_was_read_is_written_byte_for_byte(tmp_path):
    write_example(tmp_path)
    found = graymap().find(tmp_path)
    assert len(found) == 6
    for path in found:
        graymap().write(tmp_path / "out.pgm", *graymap().read(path))
        assert (tmp_path / "out.pgm").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("data", [b"", b"P2\n1 1\n255\n0", b"P5\n2 2\n255\n\x00", b"P5\n0 0\n255\n"])
def test_what_is_no_graymap_is_refused_by_name(tmp_path, data):
    (tmp_path / "x.pgm").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.pgm: is "):
        graymap().read(tmp_path / "x.pgm")


def test_another_suffix(tmp_path):
    write_example(tmp_path)
    path = tmp_path / "good/test/3.pgm"
    path.rename(path.with_suffix(".gray"))
    assert graymap(suffix=".gray").find(tmp_path) == [path.with_suffix(".gray")]
