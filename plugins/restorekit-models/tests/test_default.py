"""`restorekit restore` without -m: radiographs are restored, and what is known to be something else is refused."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import data as pydicom_data
from pydicom import dcmread

from restorekit import write_image

RESTOREKIT = Path(sys.executable).parent / "restorekit"


@pytest.fixture(scope="module")
def restored(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("films")
    films = folder / "films"
    films.mkdir()
    image = np.random.default_rng(0).uniform(-0.6, 0.6, (1, 64, 80)).astype(np.float32)
    write_image(films / "picture.png", image)
    np.save(films / "values.npy", image)
    scan = dcmread(Path(pydicom_data.__file__).parent / "test_files" / "CT_small.dcm")
    scan.save_as(films / "ct.dcm")
    scan.Modality = "DX"
    scan.WindowCenter, scan.WindowWidth = 0, 2000
    scan.save_as(films / "dx.dcm")
    done = subprocess.run(
        [RESTOREKIT, "restore", "films", "-o", "out"], cwd=folder, capture_output=True, text=True, check=False
    )
    with (folder / "out" / "restored.csv").open(newline="") as stream:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    return done, rows


def test_radiographs_and_pictures_are_restored_by_the_model_that_is_printed(
    restored: tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]],
) -> None:
    done, rows = restored
    assert "film_base" in done.stderr
    for name in ("picture.png", "dx.dcm"):
        assert rows[name]["written"], rows[name]["error"]
        assert "unlike the films" in rows[name]["note"]


@pytest.mark.parametrize(("name", "kind"), [("ct.dcm", "CT"), ("values.npy", "NPY")])
def test_other_modalities_and_values_are_refused_and_the_others_go_on(
    restored: tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]], name: str, kind: str
) -> None:
    done, rows = restored
    assert done.returncode == 3
    assert (rows[name]["written"], f"{kind}; without -m" in rows[name]["error"]) == ("", True)
