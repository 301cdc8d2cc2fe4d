"""The released models: their files are checked, wherever they come from, and their figures are measured again."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from restorekit_models import registry
from restorekit_models.command import app
from restorekit_models.registry import MODELS, File, tensors, verified
from safetensors.torch import save
from typer.testing import CliRunner

from restorekit import CheckpointError, load, write_image


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves tmp_path / "served"."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_file_of_a_url_is_fetched_once_and_another_file_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    data = save({"weight": torch.arange(4.0)})
    served = tmp_path / "served" / "w.safetensors"
    served.write_bytes(data)
    file = File("w.safetensors", hashlib.sha256(data).hexdigest(), f"{server}/w.safetensors")
    assert tensors(file)["weight"].tolist() == [0, 1, 2, 3]
    served.write_bytes(save({"weight": torch.zeros(4)}))
    assert tensors(file)["weight"].tolist() == [0, 1, 2, 3]  # from the cache
    other = File("other.safetensors", "0" * 64, f"{server}/w.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        tensors(other)
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        tensors(File("absent.safetensors", "0" * 64, f"{server}/absent.safetensors"))


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda one: one.name)
def test_a_released_model_is_small_float32_permitted_and_has_a_card(model: registry.Model) -> None:
    for file, size in verified(model):
        assert size <= 7e6
        assert {tensor.dtype for tensor in tensors(file).values()} == {torch.float32}
    assert load(f"model:{model.name}") is not None
    text = (model.card / "card.md").read_text(encoding="utf-8")
    for line in (model.trained_on, model.licence, *model.limits, *model.not_for):
        assert line in text
    assert json.loads((model.card / "scores.json").read_text(encoding="utf-8"))["images"] >= 30


def test_figures_are_measured_again_on_good_images_of_ones_own(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    for i in range(3):
        coarse = torch.rand(1, 1, 5, 5, generator=rng) * 1.2 - 0.6
        image = torch.nn.functional.interpolate(coarse, (96, 96), mode="bicubic")[0].clamp(-1, 1)
        write_image(tmp_path / "good" / f"{i}.png", image)
    made = CliRunner().invoke(app, ["verify", "film_base", str(tmp_path / "good"), "-o", str(tmp_path / "out")])
    assert made.exit_code in (0, 3), made.output  # blobs are no films
    scores = json.loads((tmp_path / "out" / "verify_film_base-1" / "scores" / "test.json").read_text("utf-8"))
    assert scores["images"] == 3
    assert f"{scores['metrics']['psnr']['gain']['value']:+.3g}" in made.output
