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
from typer.testing import CliRunner, Result

from restorekit import CheckpointError, DataError, load, write_image


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


def blobs(folder: Path, count: int) -> None:
    rng = torch.Generator().manual_seed(0)
    for i in range(count):
        coarse = torch.rand(1, 1, 5, 5, generator=rng) * 1.2 - 0.6
        image = torch.nn.functional.interpolate(coarse, (96, 96), mode="bicubic")[0].clamp(-1, 1)
        write_image(folder / f"{i}.png", image)


def verify(good: Path, out: Path) -> Result:
    return CliRunner().invoke(app, ["verify", "film_tiny", str(good), "-o", str(out)])


@pytest.mark.full
def test_figures_are_measured_again_on_good_images_of_ones_own(tmp_path: Path) -> None:
    blobs(tmp_path / "good", 3)
    made = verify(tmp_path / "good", tmp_path / "out")
    assert made.exit_code in (0, 3), made.output  # blobs are no films
    scores = json.loads((tmp_path / "out" / "verify_film_tiny-1" / "scores" / "test.json").read_text("utf-8"))
    assert scores["images"] == 3
    assert f"{scores['metrics']['psnr']['gain']['value']:+.3g}" in made.output


def test_one_image_in_a_folder_whose_name_means_something_in_yaml_has_no_interval(tmp_path: Path) -> None:
    blobs(tmp_path / "good", 2)  # what a name cut at the comment would mean
    blobs(tmp_path / "good #1: ü", 1)
    made = verify(tmp_path / "good #1: ü", tmp_path / "out")
    assert made.exit_code == 0, made.output
    assert "1 images of" in made.output
    assert "no interval" in made.output


def test_a_table_in_the_folder_names_what_is_scored_and_the_patients(tmp_path: Path) -> None:
    blobs(tmp_path / "good", 4)
    table = tmp_path / "good" / "manifest.csv"
    table.write_text("path,patient\n0.png,a\n1.png,b\n", encoding="utf-8")
    refused = verify(tmp_path / "good", tmp_path / "out")
    assert isinstance(refused.exception, DataError)
    assert "manifest.csv: column split" in str(refused.exception)
    table.write_text("path,split,patient\n0.png,test,a\n1.png,test,a\n2.png,test,b\n3.png,val,c\n", encoding="utf-8")
    made = verify(tmp_path / "good", tmp_path / "out")
    assert made.exit_code in (0, 3), made.output
    (found,) = (tmp_path / "out").glob("*/scores/test.json")
    scores = json.loads(found.read_text("utf-8"))
    assert (scores["images"], scores["groups"], scores["unit"]) == (3, 2, "patient")
    assert f"{scores['metrics']['psnr']['gain']['value']:+.3g}" in made.output
