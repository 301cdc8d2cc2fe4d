"""Whole runs of a classifier: weights that are not there, fine-tuning that is resumed, and a report that says so."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from restorekit import RecipeError, StepDone, load, read_image, write_image
from restorekit.app.cli import main
from restorekit.discovery import plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.reports.report import report
from restorekit.runs import build
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.run import Run
from restorekit.training.train import train

RECIPE = """\
name: tiny
data:
  size: [32, 32]
  a: {name: phantom, side: a, count: 8, val: 4, test: 6}
  b: {name: phantom, side: b, count: 8, val: 4, test: 6}
  batch: 2
nets:
  generator: {name: timm, model: test_efficientnet, view: data}
  head: {name: classify, pool: avg}
  one_way: true
losses: [{name: task, passes: [ab, bb]}]
train: {steps: 6, log_every: 1, save_every: 1}
evaluate: {metrics: [accuracy, auroc], resamples: 20}
loggers: [csv]
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    return path


def built(tmp_path: Path, folder: str, *sets: str) -> Run:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE, "utf-8")
    known = plugins.load()
    return build.build(recipe.load(path, known, sets=sets), known, tmp_path / folder)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address of this machine at which nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def in_new_process(tmp_path: Path, code: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: what the libraries know of the network is read once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**kept, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("offline", [pytest.param(True, marks=pytest.mark.full), False])
def test_weights_that_cannot_be_downloaded_stop_the_run_in_one_line(
    tmp_path: Path, nowhere: str, offline: bool
) -> None:
    """A machine whose hub client is offline, and one that has none."""
    (tmp_path / "tiny.yaml").write_text(RECIPE, "utf-8")
    code = "import sys; from restorekit.app.cli import main; sys.argv[0] = 'restorekit'; main()"
    env = {"HF_HUB_OFFLINE": "1"} if offline else {"HF_ENDPOINT": nowhere}
    done = in_new_process(tmp_path, code, "run", "tiny.yaml", "--out", "runs", **env)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "the weights of 'test_efficientnet' cannot be had" in line
    assert "fetch model.safetensors of the Hugging Face repository timm/test_efficientnet.r160_in1k" in line
    assert line.endswith("set checkpoint: PATH, or start from drawn weights: pretrained: false")
    assert not (tmp_path / "runs").exists(), "nothing was trained from other weights"


LOADING = """
import sys, time
from restorekit import RecipeError
from restorekit_timm.models import load_published, make
for name in sys.argv[1:]:
    model = make("here", name, (160, 160))
    began, result = time.monotonic(), None
    try:
        load_published("here", model, name, (160, 160))
        result = float(next(iter(model.state_dict().values())).double().sum())
    except RecipeError as error:
        result = error
    print(time.monotonic() - began, result)
"""


class Mirror(SimpleHTTPRequestHandler):
    """Serves a folder as the hub does: with the file's etag and its commit."""

    def end_headers(self) -> None:
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "1" * 40)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.full
@pytest.mark.parametrize("served", ["model.safetensors", "pytorch_model.bin"])
def test_published_weights_come_from_a_mirror_then_from_the_cache_without_one(
    tmp_path: Path, weights: Path, nowhere: str, served: str
) -> None:
    """A repository may have the second of the two files alone. Without a network nothing is waited for.

    The hub would try six times for each of two files, and wait 23 seconds between.
    """
    published = torch.load(weights)
    path = tmp_path / "served" / "timm" / "test_efficientnet.r160_in1k" / "resolve" / "main" / served
    path.parent.mkdir(parents=True)
    save_file(published, path) if served.endswith(".safetensors") else torch.save(published, path)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(tmp_path / "served"))) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        first = in_new_process(tmp_path, LOADING, "test_efficientnet", HF_ENDPOINT=address)
        server.shutdown()
    assert first.returncode == 0, first.stderr
    total = float(first.stdout.split()[1])
    assert total == float(published["conv_stem.weight"].double().sum()), "the published ones, none drawn"
    if served == "model.safetensors":
        again = in_new_process(tmp_path, LOADING, "test_efficientnet", "test_resnet", HF_ENDPOINT=nowhere)
        assert again.returncode == 0, again.stderr
        cached, absent = again.stdout.splitlines()
        assert float(cached.split()[1]) == total
        assert "'test_resnet'" in absent
        assert float(absent.split()[0]) < 15


NORMED = """
import sys, timm, torch
from restorekit_timm.models import load_published, make
name, size = "eva02_tiny_patch14_224", (224, 224)
model = make("here", name, size)
load_published("here", model, name, size)
theirs = torch.load("published.pth")
print(all(value.equal(theirs[key]) for key, value in model.state_dict().items()))
load_published("here", timm.create_model(name, num_classes=0, global_pool=""), name, size)
"""


def test_no_drawn_weight_stands_in_for_a_published_one(tmp_path: Path) -> None:
    """EVA has a norm behind its pooling; made without a pooling it has another, of which nothing is published."""
    torch.manual_seed(3)
    theirs = timm.create_model("eva02_tiny_patch14_224", num_classes=0)
    for value in theirs.fc_norm.parameters():
        torch.nn.init.normal_(value)
    torch.save(theirs.state_dict(), tmp_path / "published.pth")
    path = tmp_path / "served" / "timm" / "eva02_tiny_patch14_224.mim_in22k" / "resolve" / "main" / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(theirs.state_dict(), path)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(tmp_path / "served"))) as server:
        threading.Thread(target=server.serve_forever).start()
        done = in_new_process(tmp_path, NORMED, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert done.stdout == "True\n", done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("restorekit.core.errors.RecipeError: here: ")
    assert "norm.weight" in last


@pytest.mark.parametrize("stop", [1, 3])
def test_fine_tuning_resumes_exactly_and_reads_its_weights_once(tmp_path: Path, weights: Path, stop: int) -> None:
    """Frozen until step 3, then the last blocks at a tenth of the rate; stopped before, and as it unfreezes."""
    options = {"checkpoint": weights, "freeze": "true", "unfreeze_at": 3, "unfreeze_blocks": 2, "lr_factor": 0.1}
    sets = [f"nets.generator.{name}={value}" for name, value in options.items()]
    straight, broken = built(tmp_path, "straight", *sets), built(tmp_path, "broken", *sets)
    start = {name: value.clone() for name, value in straight.nets.ab.generator.state_dict().items()}
    assert torch.equal(start["model.conv_stem.weight"], torch.load(weights)["conv_stem.weight"])
    for event in train(straight):
        if isinstance(event, StepDone) and event.step == 3:
            now = straight.nets.ab.generator.state_dict()
            assert all(torch.equal(now[name], value) for name, value in start.items()), "frozen, and its statistics"
    moved = {name for name, value in straight.nets.ab.generator.state_dict().items() if not value.equal(start[name])}
    assert {name.split(".")[1] for name in moved} == {"blocks", "conv_head", "bn2"}
    assert not any(name.startswith(("model.blocks.0", "model.blocks.1")) for name in moved)
    for event in train(broken):
        if isinstance(event, StepDone) and event.step == stop:
            break
    weights.unlink()  # a run that goes on has its weights in its checkpoint
    again = built(tmp_path, "broken", *sets)
    again.resume(checkpoints(again.folder)[-1])
    list(train(again))
    ends = [checkpoints(run.folder)[-1] for run in (straight, again)]
    for name in ("nets.safetensors", "optimisers.safetensors"):
        assert (ends[0] / name).read_bytes() == (ends[1] / name).read_bytes()


def test_unfreeze_step_beyond_the_run_is_refused(tmp_path: Path, weights: Path) -> None:
    sets = [f"nets.generator.checkpoint={weights}", "nets.generator.freeze=true", "nets.generator.unfreeze_at=6"]
    with pytest.raises(RecipeError) as caught:
        built(tmp_path, "run", *sets)
    (line,) = map(str, caught.value.errors)
    assert line.endswith(
        "nets.generator: 'timm' has parameters that learn from step 6 on, counted from 0, and the run has 6 steps, so "
        "they never would; let them learn from a step below 6 on, or train longer"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("finished")
    run = built(home, "run", "nets.generator.pretrained=false", "loggers=[csv, samples]")
    run.begin("test")
    loggers = [plugins.load().parts.resolve("logger", spec.spec)(run.folder) for spec in run.recipe.loggers]
    for event in train(run):
        for logger in loggers:
            logger(event)
    evaluate(run)
    return run.folder


def test_the_report_of_a_classifier_speaks_of_no_restored_image(finished: Path) -> None:
    text = re.sub(r"data:image/[^\"]*|<style>.*?</style>|<pre>.*?</pre>", "", report(finished).read_text("utf-8"))
    assert "It classifies, and restores nothing." in text
    assert "classifies; images unchanged" in text
    assert "What is missing from this report" not in text
    result = re.findall(r"[^.>]*restor(?:ed|ation|er)\b[^.<]*", re.sub(r"restorekit\S*", "", text), re.IGNORECASE)
    assert result == []


def test_images_come_back_as_they_were_with_an_answer(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "in" / "one.png", torch.linspace(-1, 1, 50 * 40).reshape(1, 50, 40).numpy())
    monkeypatch.setattr(
        sys, "argv", ["restorekit", "restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(finished)]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert "1 classified (pixels unchanged), 0 failed" in capsys.readouterr().out
    pictures = [read_image(tmp_path / folder / "one.png")[0] for folder in ("in", "out")]
    assert np.array_equal(*pictures)
    assert load(finished).restored(pictures[0]).prediction is not None


@pytest.mark.parametrize(
    ("sets", "result"),
    [
        (["evaluate.metrics=[psnr, accuracy]"], "psnr scores restored images; generator 'timm' hands its images"),
        (["losses=[task, lsgan]", "nets.discriminator=patch"], "nets.discriminator: generator 'timm' hands its images"),
    ],
)  # fmt: skip
def test_what_only_a_restorer_can_have_is_refused(tmp_path: Path, sets: list[str], result: str) -> None:
    with pytest.raises(RecipeError, match=result):
        built(tmp_path, "run", "nets.generator.pretrained=false", *sets)
