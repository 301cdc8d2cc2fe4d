import hashlib
from functools import partial

import numpy as np
import pytest
import torch

from restorekit import DataError, Degradation, Intensity, write_image
from restorekit.builtin.degradations import Noise, blend, noise
from restorekit.builtin.degraded import degraded
from restorekit.builtin.folder import folder
from restorekit.builtin.join import join
from restorekit.builtin.phantom import phantom

GOOD = partial(phantom, side="a", count=6, size=(32, 32))


def make(split="train", **options):
    return degraded(None, split, **{"dataset": GOOD, "degradation": blend, **options})


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_truth_is_the_good_image():
    good, poor = GOOD(None, "train"), make()
    sample = poor.load(1, rng())
    assert torch.equal(sample.truth, good.load(1, rng()).image)
    assert torch.equal(sample.mask, good.load(1, rng()).mask)
    assert not torch.equal(sample.image, sample.truth)
    assert sample.drawn
    assert (poor.classes, poor.records, poor.synthetic) == (good.classes, good.records, True)


def test_fixed_depends_on_the_key_alone():
    first = [make().load(i, rng(i)) for i in range(6)]
    again = [make().load(i, rng(99)) for i in reversed(range(6))][::-1]
    assert all(torch.equal(x.image, y.image) and x.drawn == y.drawn for x, y in zip(first, again, strict=True))
    assert len({tuple(x.drawn.items()) for x in first}) == 6


def test_fresh_draws_from_the_given_rng():
    poor = make(fresh=True)
    assert torch.equal(poor.load(0, rng(1)).image, poor.load(0, rng(1)).image)
    assert not torch.equal(poor.load(0, rng(1)).image, poor.load(0, rng(2)).image)


def test_it_nests_and_keeps_the_first_truth():
    twice = make(dataset=partial(degraded, dataset=GOOD, degradation=noise), degradation=partial(blend, least=3))
    sample = twice.load(0, rng())
    assert torch.equal(sample.truth, GOOD(None, "train").load(0, rng()).image)
    assert set(sample.drawn) == {"noise", "blur", "exposure"}


def test_each_of_two_inside_each_other_has_random_numbers_of_its_own():
    known = partial(noise, severity=(0.05, 0.05))
    alone = partial(degraded, dataset=GOOD, degradation=known)
    joined = partial(join, datasets=[alone])
    once = alone(None, "train").load(0, rng())
    for inner in (alone, joined):
        twice = make(dataset=inner, degradation=known).load(0, rng())
        inside = once.truth.abs() < 0.5  # nothing is clipped
        first, second = (once.image - once.truth)[inside], (twice.image - once.image)[inside]
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.2
        assert second.std() / 2 == pytest.approx(0.05, rel=0.2)
    words = int.from_bytes(hashlib.sha256(f"train\0{alone(None, 'train').records[0].key}".encode()).digest()[:8], "big")
    chance = rng(words >> 1)
    assert once.drawn == known(None).draw(chance), "alone it draws what it always drew"


def test_the_degradation_learns_the_domain():
    seen = []

    def spy(domain) -> Degradation:
        seen.append((domain.channels, domain.size, domain.classes))
        return noise(domain)

    make(degradation=spy)
    assert seen == [(1, (32, 32), ("control", "opacity"))]


def test_the_degradation_learns_the_split_and_the_spacing(tmp_path):
    asked = []

    class Asks(Noise):
        def for_split(self, root, split):
            asked.append((root, split))
            return Asks((0.1, 0.1))

    def asks(domain):
        asked.append(domain.spacing)
        return Asks((0.5, 0.5))

    write_image(tmp_path / "train/1.png", np.zeros((1, 8, 8)), Intensity("uint8", 0, 255, 1, spacing=(0.2, 0.1)))
    made = partial(blend, degradations=[asks])
    part = degraded(tmp_path, "train", dataset=partial(folder, path="."), degradation=made)
    assert asked[0] == pytest.approx((0.2, 0.1), rel=0.01)
    assert asked[1:] == [(tmp_path, "train")]
    assert part.load(0, rng()).drawn == {"noise": 0.1}, "the one for the split is used"


def test_an_empty_split_is_empty():
    assert len(make("other").records) == 0


def test_a_damaged_first_file_is_left_to_who_decides_about_it(tmp_path):
    for name in ("1", "2"):
        write_image(tmp_path / "a" / f"{name}.png", np.zeros((1, 8, 8)))
    (tmp_path / "a" / "1.png").write_bytes(b"no image")
    made = degraded(tmp_path, "train", dataset=partial(folder, path="a"), degradation=blend)
    assert made.load(1, rng()).image.shape == (1, 8, 8)
    with pytest.raises(DataError, match=r"1\.png"):
        made.load(0, rng())


class Halving(Degradation):
    """Halves an image in place."""

    def draw(self, rng):
        return {"halving": 1.0}

    def apply(self, image, drawn, rng):
        return image.mul_(0.5)


def test_a_degradation_in_place_leaves_the_truth():
    sample = make(degradation=lambda domain: Halving()).load(0, rng())
    assert torch.equal(sample.truth, GOOD(None, "train").load(0, rng()).image)
    assert torch.equal(sample.image, sample.truth * 0.5)
