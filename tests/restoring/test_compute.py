"""Where and how networks compute: device, precision, torch.compile; and what has no network."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from restorekit import DataError, RecipeError, write_image
from restorekit.discovery.plugins import Plugins
from restorekit.restoring.loading import load
from restorekit.restoring.restore import restore_files
from restorekit.runs.run import Run

RESNET = {"name": "resnet", "width": 4, "blocks": 1, "downs": 2}


@pytest.fixture(autouse=True)
def _toys(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)


@pytest.fixture
def folder(build_run: Callable[..., Run]) -> Path:
    run = build_run(nets__generator=RESNET)
    run.begin("test")
    run.step = 1
    run.save()
    return run.folder


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "gpu"}, "takes cpu or cuda; got 'gpu'"),
        ({"precision": "fp16"}, "precision: got 'fp16'; allowed: 'fp32' or 'bf16'"),
        ({"backend": "onnx"}, "backend: got 'onnx'; allowed: 'torch' or 'compiled'"),
        ({"precision": "bf16", "backend": "compiled"}, "--precision, --backend: part:identity has no network"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(options: dict[str, str], error: str) -> None:
    with pytest.raises((DataError, RecipeError), match=error):
        load("part:identity", **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="torch sees no GPU here; take --device cpu"):
        load(folder, device="cuda")


def test_a_restorer_without_networks_is_the_same_on_the_processor() -> None:
    assert load("part:identity", device="cpu").settings() == load("part:identity").settings()


def test_bf16_is_near_and_is_restored_again(folder: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (1, 24, 24)).astype(np.float32)
    exact, half = load(folder, device="cpu"), load(folder, device="cpu", precision="bf16")
    one, other = exact.restored(image).image, half.restored(image).image
    assert other.dtype == np.float32
    assert 0 < np.abs(one - other).max() < 0.1  # 8 bits of mantissa, through a dozen layers
    write_image(tmp_path / "x.png", image)
    calls = [next(restore_files(model, tmp_path / "x.png", tmp_path / "out")) for model in (exact, half, half)]
    assert [row.skipped for row in calls] == [False, False, True]


def test_the_identity_has_what_is_asked_for_but_no_device(folder: Path) -> None:
    found = {load(folder, **options).identity() for options in ({}, {"device": "cpu"})}
    assert len(found) == 1
    assert load(folder, device="cpu", precision="bf16").identity() not in found
    assert load(folder, device="cpu", backend="compiled").identity() not in found
    assert load("part:identity").identity() not in found


@pytest.mark.full
@pytest.mark.timeout(1800)  # a C++ compiler runs for minutes on a busy machine
def test_compiled_gives_the_same_values_at_several_sizes(folder: Path) -> None:
    plain, compiled = load(folder, device="cpu"), load(folder, device="cpu", backend="compiled")
    assert plain.settings() != compiled.settings()
    for size in ((24, 24), (17, 31)):
        image = np.random.default_rng(0).uniform(-1, 1, (1, *size)).astype(np.float32)
        np.testing.assert_allclose(compiled.restored(image).image, plain.restored(image).image, atol=1e-4)


PEAK = """
import sys
import numpy as np
from restorekit.evaluation.costs import peak_memory
from restorekit.restoring.loading import load

model = load("part:{name: film_base, tone: 0}", device="cpu")
image = np.zeros((1, 1024, 1024), np.float32)
model.restored(image[:, :64, :64], any_scale=True)  # what is loaded once
window = int(sys.argv[1]) or None
print(peak_memory(lambda: model.restored(image, window=window, any_scale=True)))
"""


def growth(window: int) -> int:
    """Bytes a restoration grows by, in a process that holds no freed memory to use again."""
    command = [sys.executable, "-c", PEAK, str(window)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the high-water mark of /proc")
def test_windows_take_less_than_a_third_of_the_memory_of_the_whole() -> None:
    pytest.importorskip("restorekit_models")
    windowed, whole = growth(256), growth(0)
    assert 0 < 3 * windowed < whole, f"{windowed / 2**20:.0f} of {whole / 2**20:.0f} MiB"
