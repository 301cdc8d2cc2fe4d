"""Structure trained on windows, then tone trained on small films: one restorer for films of any size."""

from pathlib import Path
from typing import Any

import pytest
import torch

from restorekit import DataError, load
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.runs.build import build_experiment

FILMS = {"name": "phantom", "side": "b", "count": 3, "val": 1, "test": 1, "size": [64, 64]}
PAIRS = {"name": "film_pairs", "dataset": FILMS, "fresh": True}


def saved(folder: Path, data: dict[str, Any], **rest: Any) -> Path:
    """Save what a recipe makes before any training, and return its folder."""
    given = {"name": folder.name, "data": {"a": PAIRS, "b": "same", **data}, **rest}
    run: Any = build_experiment(recipe.resolved(given, "r.yaml", plugins.load()), plugins.load(), folder)
    run.begin("test")
    run.save()
    return folder


def trained(folder: Path, data: dict[str, Any], **options: Any) -> Path:
    generator = {"name": "film_restorer", **options}
    return saved(
        folder, data, nets={"generator": generator}, losses=["decibels"], train={"steps": 1}, evaluate={"metrics": []}
    )


def test_structure_and_tone_restore_in_a_row_at_any_size(tmp_path: Path) -> None:
    structure = trained(tmp_path / "structure", {"window": [48, 48]}, tone=0)
    tone = trained(tmp_path / "tone", {"size": [32, 32]}, structure=0, haze=True)
    restorers = [{"name": "run", "path": str(one)} for one in (structure, tone)]
    both = saved(
        tmp_path / "both",
        {"window": [64, 64]},
        restorer={"name": "chain", "restorers": restorers},
        evaluate={"metrics": ["psnr"]},
    )
    image = torch.rand(1, 200, 144, generator=torch.Generator().manual_seed(0)).numpy() * 2 - 1
    wanted = load(tone).restored(load(structure).restored(image).image).image
    made = load(both).restored(image).image
    assert made == pytest.approx(wanted, abs=1e-6)


def test_only_tone_is_of_any_scale(tmp_path: Path) -> None:
    image = torch.zeros(1, 320, 320).numpy()
    for haze in (True, False):
        load(trained(tmp_path / f"tone-{haze}", {"size": [32, 32]}, structure=0, haze=haze)).restored(image)
    with pytest.raises(DataError, match="training images"):
        load(trained(tmp_path / "both", {"size": [32, 32]})).restored(image)
