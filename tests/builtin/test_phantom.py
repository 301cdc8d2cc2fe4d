import pytest
import torch

from restorekit.builtin.phantom import phantom

ANY = torch.Generator()


def load(split="train", side="a", index=0, **options):
    return phantom(None, split, side=side, **options).load(index, ANY)


def test_same_phantom_in_any_order():
    one, other = phantom(None, "train", side="a"), phantom(None, "train", side="a", count=20)
    forth = [one.load(i, torch.Generator().manual_seed(i)).image for i in range(6)]
    back = [other.load(i, ANY).image for i in reversed(range(6))]
    assert all(torch.equal(x, y) for x, y in zip(forth, reversed(back), strict=True))


def test_splits_sides_and_seeds_share_no_subject():
    images = [load(split, side).image for split in ("train", "val", "test") for side in ("a", "b")]
    images += [load(seed=1).image, load(index=2).image]
    assert all((x - y).abs().max() > 0.1 for i, x in enumerate(images) for y in images[:i])
    keys = [r.key for s in ("train", "val", "test") for side in "ab" for r in phantom(None, s, side=side).records]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("split", "count"), [("train", 400), ("val", 100), ("test", 200), ("other", 0)])
def test_counts_and_balance(split, count):
    made = phantom(None, split, side="b")
    assert len(made.records) == count
    assert sum(r.target for r in made.records) == count // 2
    assert len({r.group for r in made.records}) == count
    assert made.classes == ("control", "opacity")
    assert made.synthetic


@pytest.mark.parametrize("size", [(64, 64), (32, 48), (96, 96)])
def test_images_and_masks(size):
    for index in range(8):
        sample = load(index=index, size=size)
        assert sample.image.shape == sample.mask.shape == (1, *size)
        assert sample.image.dtype == torch.float32
        assert sample.image.abs().max() <= 1
        assert sample.mask.unique().tolist() == ([0.0, 1.0] if index % 2 else [0.0])


def test_tones_are_those_of_a_radiograph():
    mean = torch.stack([load(index=i).image[0] for i in range(0, 20, 2)]).mean(0)
    corner, lung, spine, liver = mean[0, 0], mean[28:36, 14:20].mean(), mean[20:40, 31:33].mean(), mean[60:, 20].mean()
    assert corner < -0.95
    assert corner < lung < liver < 1
    assert lung < spine


def test_masks_lie_in_the_lungs():
    found = torch.stack([load(index=i).mask[0] for i in range(1, 60, 2)]).mean(0)
    assert found[:, :4].sum() == found[:, -4:].sum() == found[:5].sum() == found[54:].sum() == 0
    assert found[:, 30:34].mean() < 0.2 * found[20:45, 14:20].mean()


def test_the_finding_is_where_the_mask_says():
    # Neighbours differ far more inside an opacity than in a lung without one.
    rough = [(load(index=i).image.diff(dim=-1).abs(), load(index=i).mask[..., 1:] > 0) for i in range(1, 20, 2)]
    inside = torch.cat([d[m] for d, m in rough]).mean()
    outside = torch.cat([d[~m] for d, m in rough]).mean()
    assert inside > 1.5 * outside
