import pytest
import torch

from restorekit.builtin.phantom import phantom, phantom_volume

ANY = torch.Generator()
BOTH = pytest.mark.parametrize("make", [phantom, phantom_volume])


def load(split="train", side="a", index=0, make=phantom, **options):
    return make(None, split, side=side, **options).load(index, ANY)


@BOTH
def test_same_phantom_in_any_order(make):
    one, other = make(None, "train", side="a"), make(None, "train", side="a", count=20)
    forth = [one.load(i, torch.Generator().manual_seed(i)).image for i in range(6)]
    back = [other.load(i, ANY).image for i in reversed(range(6))]
    assert all(torch.equal(x, y) for x, y in zip(forth, reversed(back), strict=True))


@BOTH
def test_splits_sides_and_seeds_share_no_subject(make):
    images = [load(split, side, make=make).image for split in ("train", "val", "test") for side in ("a", "b")]
    images += [load(seed=1, make=make).image, load(index=2, make=make).image]
    assert all((x - y).abs().max() > 0.1 for i, x in enumerate(images) for y in images[:i])
    keys = [r.key for s in ("train", "val", "test") for side in "ab" for r in make(None, s, side=side).records]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("make", "split", "count"),
    [
        *((phantom, split, count) for split, count in (("train", 400), ("val", 100), ("test", 200), ("other", 0))),
        *(
            (phantom_volume, split, count)
            for split, count in (("train", 200), ("val", 50), ("test", 100), ("other", 0))
        ),
    ],
)
def test_counts_and_balance(make, split, count):
    made = make(None, split, side="b")
    assert len(made.records) == count
    assert sum(r.target for r in made.records) == count // 2
    assert len({r.group for r in made.records}) == count
    assert made.classes == ("control", "opacity")
    assert made.synthetic


@pytest.mark.parametrize("size", [(64, 64), (32, 48), (96, 96), (32, 32, 32), (20, 24, 40)])
def test_images_and_masks(size):
    for index in range(8):
        sample = load(index=index, size=size, make=phantom if len(size) == 2 else phantom_volume)
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


def test_tones_of_a_volume_are_those_of_ct():
    mean = torch.stack([load(index=i, make=phantom_volume).image[0] for i in range(0, 20, 2)]).mean(0)
    air, lung, heart, belly = (
        mean[:, 0, 0].mean(),
        mean[12:18, 14:18, 8:10].mean(),
        mean[18:22, 12, 17],
        mean[29, 16, 16],
    )
    spine = mean[8:24, 22:24, 15:17].mean()
    assert air < -0.95
    assert air < lung < -0.6 < belly < heart.mean() < spine < 1


def test_masks_of_volumes_lie_in_the_lungs():
    found = torch.stack([load(index=i, make=phantom_volume).mask[0] for i in range(1, 60, 2)]).mean(0)
    healthy = torch.stack([load(index=i, make=phantom_volume).image[0] for i in range(0, 60, 2)]).mean(0)
    assert found.sum() > 0
    assert healthy[found > 0].max() < 0.2, "no finding lies where every subject has bone or soft tissue"
    assert found[:, :, 15:17].sum() == 0


def test_a_finding_of_a_volume_is_where_the_mask_says():
    sick, well = ([load(index=i, make=phantom_volume) for i in range(first, 40, 2)] for first in (1, 0))
    mean = torch.stack([s.image for s in well]).mean(0)
    lung = (mean > -0.9) & (mean < -0.5)  # neither air nor soft tissue
    inside = torch.cat([s.image[lung & (s.mask > 0)] for s in sick]).mean()
    outside = torch.cat([s.image[lung & (s.mask == 0)] for s in sick]).mean()
    usual = torch.cat([s.image[lung] for s in well]).mean()
    assert inside > outside + 0.2
    assert abs(outside - usual) < 0.05


def test_a_volume_is_the_same_subject_at_any_size():
    small, large = (load(index=1, make=phantom_volume, size=(n, n, n)).image for n in (32, 64))
    again = torch.nn.functional.avg_pool3d(large[None], 2)[0]
    assert (small - again).abs().mean() < 0.06
