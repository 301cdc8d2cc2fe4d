"""Three full training steps held against the authors' TensorFlow code, as tests/golden/README.md tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from restorekit_r2cgan import export_weights, import_nets
from restorekit_r2cgan.weights import NAMES

from restorekit import Batch, Domain, HistoryPool, Task
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved
from restorekit.runs.engine import Engine
from restorekit.runs.images import Images
from restorekit.runs.nets import build_nets, make_terms
from restorekit.runs.optimization import make_optimization
from restorekit.runs.run import Run
from restorekit.runs.selection import Selection
from restorekit.training.train import step

GOLDEN = next(
    parent / "tests" / "golden" for parent in Path(__file__).parents if (parent / "tests" / "golden").is_dir()
)
ADAM = {"lr": 2e-4, "betas": [0.5, 0.999], "eps": 1e-7}
NETS: dict[str, tuple[int, dict[str, Any]]] = {  # the weights' seed; the networks
    "operational_q3": (1, {"layer": {"name": "selfonn", "q": 3}}),
    "operational_q1": (2, {"layer": {"name": "selfonn", "q": 1}}),
    "convolutional_light": (3, {"activation": "relu"}),
}


def recipe_of(options: dict[str, Any], optimizer: str) -> Any:
    generator = {"name": "r2cgan_compact", **options}
    critic = {"name": "r2cgan_compact", **({"last": "none"} if "activation" in options else options)}
    side = {"name": "r2cgan_folders"}
    spec = {
        "name": "golden",
        "data": {"size": [64, 64], "channels": 3, "a": {**side, "side": "A"}, "b": {**side, "side": "B"}},
        "nets": {"generator": generator, "discriminator": critic, "head": {"name": "classify", "pool": "max"}},
        "losses": [
            {"name": "lsgan", "fakes": "pool"},
            {"name": "cycle", "weight": 10},
            {"name": "identity", "weight": 5},
            {"name": "task", "weight": 0.1, "passes": ["ab", "ba", "aba", "bab", "aa", "bb"]},
        ],
        # ten epochs of one step, the rate falling from the second
        "train": {"steps": 10, "schedule": {"name": "linear", "start": 0.1}, "optimizer": {"name": optimizer, **ADAM}},
        "loggers": [],
    }
    return resolved(spec, "golden", load())


def run_of(options: dict[str, Any], optimizer: str, folder: Path) -> Run:
    """A run without data: `step` is given its batches."""
    recipe, parts = recipe_of(options, optimizer), load().parts
    domains = {name: Domain(name, 3, (64, 64), Task("class", ("control", "covid"))) for name in "ab"}
    nets, engine = build_nets(recipe, parts, domains), Engine("fp32")
    nets.to(engine.device)
    return Run(
        recipe=recipe,
        nets=nets,
        images=Images(domains=domains, scoring=lambda split: iter(()), sizes={}),
        terms=make_terms(recipe, parts),
        engine=engine,
        optimization=make_optimization(recipe, parts, nets, 10),
        selection=Selection(),
        pools=(HistoryPool(50), HistoryPool(50)),
        batches=lambda start, stop: iter(()),
        steps=10,
        steps_per_epoch=1,
        folder=folder,
    )


def starting_weights(golden: Any, seed: int) -> dict[str, list[np.ndarray]]:
    """The starting weights by formula, as the file's README gives it."""
    made: dict[str, list[np.ndarray]] = {}
    for k, net in enumerate(NAMES):
        made[net] = []
        for i in range(count(golden, net)):
            kind, shape = str(golden[f"{net}/{i:02d}/name"]), golden[f"{net}/{i:02d}/shape"]
            u = np.random.RandomState(seed * 10000 + k * 100 + i).uniform(-1, 1, shape).astype("float32")
            scale = 0.08 if kind == "kernel" else 0.1
            made[net].append((scale * u + (kind == "gamma")).astype("float32"))
    return made


def count(golden: Any, net: str) -> int:
    return sum(key.startswith(f"{net}/") and key.endswith("/shape") for key in golden)


def batch(golden: Any, at: int, side: str) -> Batch:
    image = torch.from_numpy(golden[f"step{at}/{side}"]).movedim(-1, 1).float()
    target = torch.from_numpy(golden[f"step{at}/label_{side}"]).argmax(1)
    return Batch(image, tuple(map(str, range(len(image)))), target)


@torch.no_grad()
def result(run: Run, a: Batch, b: Batch) -> dict[str, np.ndarray]:
    """What the networks say before a step, by the golden names, channels last."""
    ab, ba = run.nets.ab(a.image), run.nets.ba(b.image)
    return {
        "A2B": ab.image.movedim(1, -1).numpy(),
        "B2A": ba.image.movedim(1, -1).numpy(),
        "prob_A2B": ab.raw.softmax(1).numpy(),
        "mask_D_B_of_B": run.nets.d_b(b.image).movedim(1, -1).numpy(),
    }


def distance(key: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    size = max(1.0, float(np.abs(theirs).max())) if key.startswith("mask") else 1.0
    return float(np.abs(ours - theirs).max()) / size


def replay(name: str, folder: Path, optimizer: str) -> tuple[list[dict[str, float]], np.ndarray]:
    """Take the three steps; return each step's largest output differences, and those of the sampled weights.

    The mask's are relative to its largest value, 13 for Q = 3. That departs from the file's README, which has 2e-5 for
    all outputs: the recorded mask is itself 3e-5 from the mask computed in float64 and ours up to 5e-5, on some
    processors, which is float32's rounding at that size. Fakes and probabilities are held as they are.
    """
    seed, options = NETS[name]
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    run = run_of(options, optimizer, folder)
    import_nets(run.nets, starting_weights(golden, seed))
    outputs = []
    for at in range(3):
        a, b = batch(golden, at, "A"), batch(golden, at, "B")
        outputs.append({key: distance(key, v, golden[f"step{at}/{key}"]) for key, v in result(run, a, b).items()})
        step(run, [(a, b)])
        run.step += 1
    difference = []
    for net, ours in NAMES.items():
        for i, array in enumerate(export_weights(getattr(run.nets, ours))):
            where = f"{net}/{i:02d}"
            difference.append(
                np.abs(array.reshape(-1)[golden[f"{where}/after_index"]] - golden[f"{where}/after_value"])
            )
            assert np.linalg.norm(array) == pytest.approx(golden[f"{where}/after_norm"], rel=1e-4)
    return outputs, np.concatenate(difference)


@pytest.mark.parametrize("name", NETS)
def test_three_steps_as_the_authors_code_takes_them(name, tmp_path):
    outputs, difference = replay(name, tmp_path, "adam_tf")
    assert max(outputs[0].values()) < 2e-5
    assert outputs[2]["A2B"] < 1e-3
    assert np.mean(difference < 2e-5) >= 0.99
    assert difference.max() < 5e-4
