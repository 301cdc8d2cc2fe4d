"""The recipes, tiny: each variant takes steps, is scored beside cubic interpolation, and restores a larger file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from restorekit import Sampled, Stepped, read_image, write_image
from restorekit.discovery import plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.recipes.model import RestorerRecipe
from restorekit.restoring.loading import load
from restorekit.restoring.restore import restore_files
from restorekit.runs import build
from restorekit.training.train import train

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "xray_table.py"
SR_XRAY = ROOT / "recipes" / "sr_xray.yaml"
VARIANTS = YAML(typ="safe").load(SR_XRAY.read_text("utf-8"))["variants"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good films of 48 x 44 pixels with edges, of seven patients, and a table of them."""
    splits = ("train", "train", "train", "train", "val", "test", "test")
    return written(tmp_path_factory.mktemp("films"), {split: [(48, 44)] * splits.count(split) for split in splits})


def written(folder: Path, sizes: Mapping[str, Sequence[tuple[int, int]]]) -> Path:
    """Write films with edges of such sizes by split, each of a patient of its own, and a table of them."""
    rng, lines = torch.Generator().manual_seed(0), ["path,split,patient,label"]
    for at, (split, size) in enumerate((split, size) for split, many in sizes.items() for size in many):
        coarse = torch.rand(1, 1, 6, 6, generator=rng) * 1.6 - 0.8
        write_image(folder / split / f"{at}.png", torch.nn.functional.interpolate(coarse, size)[0].numpy())
        lines.append(f"{split}/{at}.png,{split},p{at},{'yes' if at != 3 else 'no'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def small(variant: str, films: Path) -> list[str]:
    """Return what makes a variant of sr_xray tiny: 48 pixels in place of 256, narrow networks, drawn features."""
    scale = next((int(end) for end in "23" if variant.endswith(f"_x{end}")), 4)
    made = [f"data.root={films}", f"data.size=[{48 // scale}, {48 // scale}]", "data.a.dataset.size=[48, 48]"]
    made.append("evaluate.resamples=20")
    if variant.startswith("bicubic"):
        return made
    if "srgan" in variant:
        made += ["nets.discriminator.width=2", "nets.discriminator.dense=4", "losses.perceptual_vgg.weights=drawn"]
        made += ["losses.perceptual_vgg.convolution=conv1_2"]
    else:
        made += ["nets.generator.depth=3"]
    deep = {"srgan": ["blocks=1"], "vdsr_srgan": ["blocks=1", "depth=1"]}.get(variant.partition("_x")[0], [])
    return [*made, *(f"nets.generator.{one}" for one in [*deep, "width=4"]), "train.log_every=1"]


OTHER_SCALES = {variant for variant in VARIANTS if variant.endswith(("_x2", "_x3"))} - {"vdsr_srgan_x3"}
"""Variants that differ from another in their scale alone."""


@pytest.mark.parametrize(
    "variant", [pytest.param(one, marks=[pytest.mark.full] if one in OTHER_SCALES else []) for one in VARIANTS]
)
def test_each_variant_takes_an_epoch_and_is_scored(variant: str, films: Path, tmp_path: Path) -> None:
    known = plugins.load()
    sets = small(variant, films)
    sets += [] if variant.startswith("bicubic") else ["train.epochs=2"]
    spec = recipe.load(SR_XRAY, known, sets=sets, variant=variant)
    if isinstance(spec, RestorerRecipe):
        run = build.build_fitted(spec, known, tmp_path / "run")
        run.begin("test")
        run.fit()
        run.save()
    else:
        run = build.build(spec, known, tmp_path / "run")
        run.begin("test")
        before = {name: value.clone() for name, value in run.nets.named_parameters()}
        events = [event for event in train(run) if isinstance(event, Stepped)]
        assert [event.step for event in events] == [1, 2]
        assert all(np.isfinite(list(event.values.values())).all() for event in events)
        still = [name for name, value in run.nets.named_parameters() if torch.equal(value, before[name])]
        assert still == []
    scores = evaluate(run)["metrics"]["psnr"]
    assert scores["restored"]["n"] == 2
    if variant.startswith("bicubic"):  # what degraded images are enlarged by, too
        assert scores["gain"]["value"] == pytest.approx(0, abs=1e-4)


def test_ours_learns_more_than_cubic_interpolation_and_restores_a_larger_file(films: Path, tmp_path: Path) -> None:
    known = plugins.load()
    sets = [f"data.root={films}", "data.window=[8, 8]", "data.size=[8, 8]", "data.batch=4", "evaluate.resamples=20"]
    sets += ["nets.generator.blocks=2", "nets.generator.width=16", "train.steps=40", "train.schedule.warmup=0"]
    sets += ["train.optimizer.lr=3e-3", "train.ema=0.5", "evaluate.metrics=[psnr, ssim]"]
    run = build.build(recipe.load(ROOT / "recipes" / "sr.yaml", known, sets=sets), known, tmp_path / "run")
    run.begin("test")
    list(train(run))
    assert evaluate(run)["metrics"]["psnr"]["gain"]["value"] > 0.5
    good, intensity = read_image(films / "test" / "5.png")
    write_image(tmp_path / "film.png", good[:, :20, :12], intensity)
    (row,) = restore_files(load(run.folder), tmp_path / "film.png", tmp_path / "out")
    assert row.error == ""
    assert read_image(Path(row.written))[0].shape == (1, 80, 48)


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good films of unequal sizes, none a multiple of 4, of seven patients, and a table of them."""
    sizes = [(49 + 5 * at, 71 - 5 * at) for at in range(7)]
    return written(tmp_path_factory.mktemp("unequal"), {"train": sizes[:3], "val": sizes[3:5], "test": sizes[5:]})


def test_films_of_unequal_sizes_are_learnt_scored_and_shown(unequal: Path, tmp_path: Path) -> None:
    known = plugins.load()
    sets = [f"data.root={unequal}", "data.window=[8, 8]", "data.size=[8, 8]", "data.batch=2", "evaluate.resamples=20"]
    sets += ["nets.generator.blocks=1", "nets.generator.width=4", "train.steps=2", "train.schedule.warmup=0"]
    sets += ["evaluate.metrics=[psnr]"]
    run = build.build(recipe.load(ROOT / "recipes" / "sr.yaml", known, sets=sets), known, tmp_path / "run")
    run.begin("test")
    (sampled,) = (event for event in train(run) if isinstance(event, Sampled))
    assert {tuple(image.shape) for image in sampled.images.values()} == {(2, 1, 64, 48)}  # 64 x 56 and 68 x 48
    assert evaluate(run)["metrics"]["psnr"]["restored"]["n"] == 2
    with (run.folder / "scores" / "pictures" / "pictures.csv").open(encoding="utf-8") as stream:
        names = {row["key"]: row["restored"] for row in csv.DictReader(stream)}
    shapes = {key: read_image(run.folder / "scores" / "pictures" / name)[0].shape[1:] for key, name in names.items()}
    ratios = {key: height / width for key, (height, width) in shapes.items()}
    assert ratios["test/5.png"] == pytest.approx(72 / 44)  # each whole: 74 x 46 and 79 x 41, cut to a multiple of 4
    assert ratios["test/6.png"] == pytest.approx(76 / 40)


def script() -> SimpleNamespace:
    return SimpleNamespace(**run_path(str(SCRIPT)))


def test_the_table_of_films_has_those_asked_for_and_none_of_test_in_train(films: Path, tmp_path: Path) -> None:
    script().films(films, tmp_path / "films.csv", {"label": "yes"}, 2)
    rows = [line.split(",") for line in (tmp_path / "films.csv").read_text("utf-8").splitlines()[1:]]
    assert [split for _, split, _ in rows] == ["train", "train", "test", "test", "test"]
    assert {path for path, split, _ in rows if split == "test"} == {"val/4.png", "test/5.png", "test/6.png"}
    assert "train/3.png" not in {path for path, _, _ in rows}
    before = (tmp_path / "films.csv").read_bytes()
    with pytest.raises(SystemExit, match=r"films.csv: lists other films"):  # its runs would be compared with others
        script().films(films, tmp_path / "films.csv", {"label": "yes"}, 1)
    assert (tmp_path / "films.csv").read_bytes() == before
    with pytest.raises(SystemExit, match="no such films"):
        script().films(films, tmp_path / "none.csv", {"label": "maybe"}, 2)


@pytest.mark.full
def test_the_script_makes_the_row_of_cubic_interpolation_and_names_rows_without_weights(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    words = [films, "-o", tmp_path, "--rows", "bicubic", "srgan", "--train", "3"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
    threads = torch.get_num_threads()
    for _ in range(2):  # the second call has nothing left to do
        script().main()
    torch.set_num_threads(threads)
    table = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert table["cubic interpolation"]["films"] == 3
    assert table["cubic interpolation"]["metrics"]["psnr"]["gain"]["value"] == pytest.approx(0, abs=1e-4)
    assert all("weights absent" in table[f"SRGAN, VGG-{number}"]["absent"] for number in (16, 19))
    assert "27.24 / .957 / .801 / .953" in (tmp_path / "table.md").read_text("utf-8")
