"""The baseline `tone_tv` against scikit-image's TV, a tone change that is known, and what it must refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from restorekit_film.baseline import ToneTv
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from restorekit import Batch, CheckpointError, DataError, Domain, Restorer, nd
from restorekit.discovery import plugins


def make() -> Restorer:
    part: Restorer = plugins.load().parts.resolve("restorer", {"name": "tone_tv", "weight": 0.05})(
        Domain("a", 1, (32, 32))
    )
    return part


def pairs(count: int, gamma: float, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    truth = nd.resize(torch.rand(count, 1, 6, 6, generator=rng) * 1.8 - 0.9, (32, 32))
    degraded: Tensor = ((truth + 1) / 2) ** gamma * 2 - 1
    return Batch(degraded, tuple(map(str, range(count))), truth=truth)


def test_tone_change_of_all_training_films_is_taken_back() -> None:
    part, new = make(), pairs(4, 1.6, seed=1)
    part.fit([pairs(12, 1.6)], [])
    smooth = make()._smooth(new.truth)  # type: ignore[attr-defined]
    made = part.restore(new.image).image
    assert float((made - smooth).abs().mean()) < 0.03 < float((new.image - smooth).abs().mean())


def test_without_tone_changes_it_is_tv() -> None:
    part, seen, new = make(), pairs(12, 1.0), pairs(2, 1.0, seed=1)
    part.fit([replace(seen, truth=part._smooth(seen.image))], [])  # type: ignore[attr-defined]
    wanted = denoise_tv_chambolle((new.image[0, 0].numpy() + 1) / 2, weight=0.05, max_num_iter=200) * 2 - 1
    assert np.abs(part.restore(new.image).image[0, 0].numpy() - wanted).max() < 1e-3


def test_curves_never_fall_whatever_was_learnt() -> None:
    part = ToneTv(0.01, 2)
    part.load_state({"coefficients": torch.randn(17, 169, generator=torch.Generator().manual_seed(0))})
    image = pairs(1, 1.0).image
    order = part._smooth(image).flatten().argsort()
    assert (part.restore(image).image.flatten()[order].diff() >= -1e-6).all()


def test_films_without_truth_are_refused() -> None:
    with pytest.raises(DataError):
        make().fit([Batch(pairs(2, 1.0).image, ("a", "b"))], [])
    with pytest.raises(CheckpointError):
        make().restore(pairs(1, 1.0).image)
