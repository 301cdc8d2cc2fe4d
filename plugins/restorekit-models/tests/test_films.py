"""The released model: its weights are those that were released, its strengths scale what it does, noise goes."""

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from restorekit_models import registry
from restorekit_models.films import film_base
from torch import Tensor

from restorekit import CheckpointError, Domain, RecipeError, load, nd

GRAY = Domain("films", 1, (96, 120))


def smooth(*shape: int) -> Tensor:
    coarse = torch.rand(shape[0], shape[1], 5, 5, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    return nd.resize(coarse, shape[2:], mode="cubic")


def noisy(image: Tensor) -> Tensor:
    return (image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


def test_noise_is_taken_away_and_a_smooth_film_stays() -> None:
    clean = smooth(1, 1, 96, 120)
    model = film_base(GRAY, tone=0)
    made = model.restore(noisy(clean)).image
    assert float((made - clean).square().mean()) < 0.1 * float((noisy(clean) - clean).square().mean())
    assert float((model.restore(clean).image - clean).abs().mean()) < 0.01


def test_strengths_scale_what_each_network_does() -> None:
    image = noisy(smooth(1, 1, 96, 120)) * 0.5
    for name in ("structure", "tone"):
        other = {"structure": "tone", "tone": "structure"}[name]
        whole, half = (film_base(GRAY, **{name: s, other: 0.0}).restore(image).image for s in (1.0, 0.5))
        inside = whole.abs() < 1  # what would leave the range is cut
        torch.testing.assert_close((half - image)[inside], (whole - image)[inside] / 2, atol=1e-5, rtol=1e-3)


def test_channels_and_films_are_restored_by_themselves_at_any_size() -> None:
    image = noisy(smooth(2, 3, 61, 90))
    model = film_base(Domain("films", 3, (61, 90)))
    made = model.restore(image).image
    assert made.shape == image.shape
    torch.testing.assert_close(made[1, 2], model.restore(image[1:, 2:]).image[0, 0], atol=1e-5, rtol=0)


def test_it_is_loaded_by_its_name() -> None:
    image = noisy(smooth(1, 1, 96, 120))
    made = torch.from_numpy(load("film_base").restored(image[0].numpy()).image)
    torch.testing.assert_close(made, film_base(GRAY).restore(image).image[0], atol=1e-5, rtol=0)


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "restorekit_models"
    shutil.copytree(Path(str(files("restorekit_models"))), copy)
    file = copy / "weights" / registry.FILM_BASE_STRUCTURE.name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr(registry, "files", lambda package: tmp_path / package)
    with pytest.raises(CheckpointError, match="SHA-256"):
        film_base(GRAY)


@pytest.mark.parametrize("options", [{"structure": 0.0, "tone": 0.0}])
def test_it_must_do_something(options: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="both 0"):
        film_base(GRAY, **options)


def test_volumes_are_refused() -> None:
    with pytest.raises(RecipeError, match="2 dimensions"):
        film_base(Domain("volumes", 1, (16, 16, 16)))


def test_a_film_unlike_those_of_training_comes_back_with_a_warning() -> None:
    model = load("film_base")
    small = model.restored(noisy(smooth(1, 1, 96, 120))[0].numpy())
    assert "longer side is 120" in small.note
    levels = ((smooth(1, 1, 600, 520) * 2).round() / 2)[0].numpy()
    for scale in ("native", "train"):
        assert "gray levels" in model.restored(levels, scale=scale).note
    assert "colours" in model.restored(smooth(1, 3, 600, 520)[0].numpy()).note


def test_a_film_far_more_blurred_than_those_of_training_comes_back_with_a_warning() -> None:
    rng = torch.Generator().manual_seed(0)
    image = nd.resize(torch.rand(1, 1, 12, 12, generator=rng) * 1.2 - 0.6, (600, 600), mode="cubic")[0].clamp(-1, 1)
    assert "coarse sharpness is " in load("film_tiny").restored(image.numpy()).note


def test_a_released_model_has_a_name_of_its_own() -> None:
    levels = smooth(1, 1, 96, 120)[0].numpy()
    assert (load("model:film_base").restored(levels).image == load("film_base").restored(levels).image).all()
    with pytest.raises(RecipeError, match="film_base"):
        load("model:tv")
