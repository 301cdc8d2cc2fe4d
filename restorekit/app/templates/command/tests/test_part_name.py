import pytest
from restorekit import DataError
from typer.testing import CliRunner

from restorekit_part_name import app, read_scores

TABLE = "step,psnr,mae\n100,20.5,0.3\n200,22.25,0.2\n300,21,nan\n400,,0.25\n"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "validation.csv").write_text(TABLE, "utf-8")
    return tmp_path


def printed(*args):
    done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_the_best_come_first(run):
    assert printed(run) == ["200  psnr  22.25"]
    assert printed(run, "--top", 9) == ["200  psnr  22.25", "300  psnr  21", "100  psnr  20.5"]
    assert printed(run, "--score", "mae", "--lowest", "--top", 9) == [
        "200  mae  0.2",
        "400  mae  0.25",
        "100  mae  0.3",
    ]


def test_missing_table_is_one_error(run, tmp_path):
    with pytest.raises(DataError, match=r"no score is called 'ssim'. Known: psnr, mae"):
        read_scores(run, "ssim")
    (run / "validation.csv").write_text("step,psnr\n", "utf-8")
    with pytest.raises(DataError, match="holds no value of 'psnr' yet"):
        read_scores(run)
    with pytest.raises(DataError, match="no such file"):
        read_scores(tmp_path / "elsewhere")


def test_none_is_printed():
    assert CliRunner().invoke(app, ["run", "--top", "0"]).exit_code == 2
