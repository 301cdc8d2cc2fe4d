"""Good films that are varied before they are degraded: thin lines where lines are asked for, truth and all."""

import torch
from restorekit_film.variety import with_lines

from restorekit import Dataset
from restorekit.discovery import plugins

PHANTOMS = {"name": "phantom", "side": "b", "count": 3, "val": 2, "test": 1, "size": [64, 64]}


def pairs(split: str, **options: float) -> Dataset:
    given = {"name": "film_pairs", "dataset": PHANTOMS, "truth": "clean", **options}
    made: Dataset = plugins.load().parts.resolve("dataset", given)(None, split)
    return made


def test_lines_are_thin_few_and_within_the_range() -> None:
    flat = torch.zeros(1, 256, 256)
    for seed in range(8):
        made = with_lines(flat, torch.Generator().manual_seed(seed))
        changed = (made != flat).float().mean()
        assert 0 < float(changed) < 5 * 210 * 5 / 256**2
        assert 2 / 255 < float((made - flat).abs().max()) < 5 * 81 / 255
    bright = with_lines(torch.full((1, 64, 64), 0.99), torch.Generator().manual_seed(0))
    assert float(bright.max()) <= 1


def test_training_films_alone_are_varied_and_the_truth_with_them() -> None:
    plain, lined, toned = pairs("train"), pairs("train", lines=1.0), pairs("train", tones=1.0)
    truth, with_line, other_tone = (
        one.load(0, torch.Generator().manual_seed(3)).truth for one in (plain, lined, toned)
    )
    assert truth is not None
    assert with_line is not None
    assert other_tone is not None
    assert 0 < float((with_line != truth).float().mean()) < 0.7
    assert float((other_tone - truth).abs().mean()) > 0.01
    before, after = (
        pairs("val", lines=share, tones=share).load(0, torch.Generator().manual_seed(3)).image for share in (0.0, 1.0)
    )
    torch.testing.assert_close(before, after, rtol=0, atol=0)
