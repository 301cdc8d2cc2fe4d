"""What the effects do to whole batches: closed forms, batches against single images, devices."""

import math
from functools import partial
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from restorekit_kornia import effects
from torch import Generator, Tensor

from restorekit import nd

RANDOM = {
    "poisson": partial(effects.poisson, relationship="log"),
    "varying_noise": effects.varying_noise,
    "motion_blur": effects.motion_blur,
    "grid": partial(effects.grid, period=(4.0, 12.0)),
    "dead_pixels": effects.dead_pixels,
}
CERTAIN = {
    "defocus": effects.defocus,
    "contrast": effects.contrast,
    "saturation": effects.saturation,
    "downsample": effects.downsample,
    "jpeg": effects.jpeg,
    "scatter": partial(effects.scatter, spread=0.1, relationship="log"),
}
SEVERE = {
    "poisson": (0.02, 0.05, 0.1, 0.2, 0.4),
    "varying_noise": (0.02, 0.05, 0.1, 0.2, 0.4),
    "motion_blur": (0.5, 2.0, 4.0, 8.0, 16.0),
    "grid": (0.01, 0.03, 0.1, 0.2, 0.4),
    "dead_pixels": (0.001, 0.005, 0.02, 0.1, 0.5),
    "defocus": (0.5, 1.0, 2.0, 4.0, 8.0),
    "contrast": (0.1, 0.3, 0.5, 0.7, 1.0),
    "saturation": (0.1, 0.3, 0.5, 0.7, 0.9),
    "downsample": (0.3, 1.0, 2.0, 3.0, 4.0),
    "jpeg": (20.0, 50.0, 75.0, 90.0, 97.0),
    "scatter": (0.2, 0.5, 1.0, 2.0, 5.0),
}
EVERY = [*RANDOM, *CERTAIN]


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random images (B, C, *S), like organs, with some fine texture."""
    coarse = torch.rand(*shape[:2], *[max(2, n // 8) for n in shape[2:]], generator=rng(seed))
    smooth = nd.resize(coarse, shape[2:], antialias=False)
    return (1.4 * smooth + 0.2 * torch.rand(shape, generator=rng(seed + 1)) - 0.8).clamp(-1, 1)


def worsen(name: str, image: Tensor, severities: list[float], seeds: list[int]) -> Tensor:
    if name in RANDOM:
        return RANDOM[name](image, severities, [rng(seed) for seed in seeds])
    return CERTAIN[name](image, severities)


def dot(side: int) -> Tensor:
    image = torch.zeros(1, 1, side, side)
    image[..., side // 2, side // 2] = 1
    return image


def moments(spread: Tensor) -> tuple[float, float, float]:
    """The weight of a spread point, and its variance along and across its longest direction."""
    kernel = spread[0, 0].double()
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in kernel.shape)
    across = (kernel * x * y[:, None]).sum()
    covariance = torch.stack([(kernel * y[:, None] ** 2).sum(), across, across, (kernel * x**2).sum()]).view(2, 2)
    short, long = torch.linalg.eigvalsh(covariance / kernel.sum()).tolist()
    return float(kernel.sum()), long, short


@pytest.mark.parametrize("name", EVERY)
def test_severity_zero_changes_nothing(name: str) -> None:
    image = images(2, 1, 32, 24)
    torch.testing.assert_close(worsen(name, image, [0.0, 0.0], [1, 2]), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", EVERY)
def test_more_severe_is_farther_away(name: str) -> None:
    distances = []
    for severity in SEVERE[name]:
        image = images(8, 1, 64, 64)
        worse = worsen(name, image, [severity] * 8, list(range(8))).clamp(-1, 1)
        distances.append(float((worse - image).square().mean((1, 2, 3)).median()))
    assert distances[0] > 1e-9
    assert all(near < far for near, far in pairwise(distances)), distances


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_each_image_is_monotone(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 99))
    image = images(1, 1, data.draw(st.integers(24, 48)), data.draw(st.integers(24, 48)), seed=seed)
    lows = SEVERE[name][:-1]
    at = data.draw(st.integers(0, len(lows) - 1))
    near, far = (worsen(name, image, [s], [seed]).clamp(-1, 1) for s in SEVERE[name][at : at + 2])
    assert (near - image).square().mean() <= (far - image).square().mean()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EVERY)
def test_a_batch_is_its_images_one_by_one(name: str, channels: int) -> None:
    image, severities, seeds = images(3, channels, 40, 30), [SEVERE[name][1], 0.0, SEVERE[name][3]], [5, 6, 7]
    kept = image.clone()
    whole = worsen(name, image, severities, seeds)
    alone = [worsen(name, image[i : i + 1], severities[i : i + 1], seeds[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(whole, torch.cat(alone), atol=2e-6, rtol=0)
    assert torch.equal(image, kept)
    assert whole.dtype == torch.float32


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("poisson", "jpeg")])
def test_the_work_is_done_on_the_images_device(name: str) -> None:
    worse = worsen(name, torch.empty(2, 3, 32, 24, device="meta"), [SEVERE[name][1], 0.0], [1, 2])
    assert (worse.device.type, worse.shape, worse.dtype) == ("meta", (2, 3, 32, 24), torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", EVERY)
def test_a_gpu_says_the_same(name: str) -> None:
    image = images(2, 1, 40, 30)
    here, there = (worsen(name, one, [SEVERE[name][1]] * 2, [1, 2]) for one in (image, image.cuda()))
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)


# Noise


@pytest.mark.parametrize("value", [-0.5, 0.0, 0.8])
def test_photons_have_the_variance_of_their_mean(value: float) -> None:
    flat = torch.full((1, 1, 300, 300), value)
    light = (value + 1) / 2
    linear = (effects.poisson(flat, [0.1], [rng()], "linear") + 1) / 2
    assert linear.mean().item() == pytest.approx(light, rel=0.01)
    assert linear.var().item() == pytest.approx(0.1**2 * light, rel=0.02)
    counts = linear * 100
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    # In the log of the exposure, where white had a tenth of the photons: a first-order Taylor step of log10.
    log = (effects.poisson(flat, [0.01], [rng()], "log") + 1) / 2
    assert log.std().item() == pytest.approx(0.01 * 10 ** (light / 2) / math.log(10), rel=0.02)


@pytest.mark.parametrize("relationship", ["log", "linear"])
def test_a_pixel_without_photons_is_finite(relationship: effects.Relationship) -> None:
    image = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, 1.0)])
    assert torch.isfinite(effects.poisson(image, [10.0, 1e-9], [rng(), rng()], relationship)).all()


@pytest.mark.parametrize("size", [(4000,), (200, 160), (24, 24, 24)])
def test_varying_noise_has_its_deviation_over_the_image_and_not_everywhere(size: tuple[int, ...]) -> None:
    noisy = effects.varying_noise(torch.zeros(1, 1, *size), [0.1], [rng(3)])
    assert noisy.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.03)
    regions = noisy.flatten().reshape(8, -1) if len(size) == 1 else noisy[0, 0].flatten(1).reshape(8, -1)
    assert 1.3 < regions.std(1).max() / regions.std(1).min() < 8


def test_dead_pixels_are_so_many_black_or_white_in_every_channel() -> None:
    gray = torch.zeros(1, 3, 50, 40)
    few, more = (effects.dead_pixels(gray, [share], [rng()]) for share in (0.01, 0.05))
    assert ((few != 0).flatten(2).sum(2) == 20).all()
    assert ((more != 0).flatten(2).sum(2) == 100).all()
    assert set(more.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.equal(few[few != 0], more[few != 0])
    assert torch.equal(more[:, 0], more[:, 2])


@pytest.mark.parametrize("period", [4.0, 6.25, 10.0])
def test_grid_lines_have_their_period_and_amplitude(period: float) -> None:
    for seed in range(4):
        lines = effects.grid(torch.zeros(1, 1, 200, 200), [0.05], [rng(seed)], (period, period))
        assert lines.abs().max().item() == pytest.approx(0.1, rel=0.01)
        spectrum = torch.fft.fft2(lines[0, 0], s=(800, 800)).abs()
        peak = divmod(int(spectrum.argmax()), 800)
        cycles = [min(n, 800 - n) / 800 for n in peak]
        assert math.hypot(*cycles) == pytest.approx(1 / period, abs=1 / 800)
        assert math.atan2(min(cycles), max(cycles)) <= math.radians(2) + 0.01


# Blur


@pytest.mark.parametrize("length", [1.0, 4.0, 7.5, 20.0])
def test_motion_makes_a_line_of_a_point(length: float) -> None:
    directions = set()
    for seed in range(4):
        line = effects.motion_blur(dot(61), [length], [rng(seed)])
        weight, along, across = moments(line)
        assert weight == pytest.approx(1, abs=1e-4)
        assert along == pytest.approx(length**2 / 12, abs=0.3)  # a uniform distribution, on pixels
        assert across < 0.3
        lit = (line[0, 0] > 1e-3).nonzero() - 30
        assert length / 2 - 1 < lit.double().norm(dim=1).max() < length / 2 + 1.5
        directions.add(tuple(lit[0].tolist()))
    assert len(directions) > 1


@pytest.mark.parametrize("radius", [1.0, 3.0, 6.5, 12.0])
def test_defocus_makes_a_disc_of_a_point(radius: float) -> None:
    disc = effects.defocus(dot(61), [radius])
    weight, along, across = moments(disc)
    assert weight == pytest.approx(1, abs=1e-4)
    assert along == pytest.approx(across, rel=0.02)
    assert along == pytest.approx(radius**2 / 4, abs=0.3)
    y, x = torch.meshgrid(*[torch.arange(61) - 30] * 2, indexing="ij")
    away = torch.hypot(y.double(), x.double())
    inside = disc[0, 0][away <= radius - 1.5]
    torch.testing.assert_close(inside, torch.full_like(inside, 1 / (math.pi * radius**2)), rtol=0.05, atol=0)
    assert disc[0, 0][away >= radius + 1.5].abs().max() < 1e-6


@pytest.mark.parametrize("name", ["motion_blur", "defocus", "downsample", "scatter"])
@pytest.mark.parametrize("size", [(40, 30), (3, 50), (1, 1)])
def test_smoothing_keeps_a_constant_at_any_size(name: str, size: tuple[int, int]) -> None:
    flat = torch.full((1, 2, *size), 0.25)
    torch.testing.assert_close(worsen(name, flat, [SEVERE[name][3]], [0]), flat, atol=1e-5, rtol=0)


def test_downsampling_keeps_what_is_coarse_and_loses_what_is_fine() -> None:
    at = torch.arange(256)
    coarse, fine = (torch.cos(2 * math.pi * at / period).expand(1, 1, 256) for period in (64, 2.2))
    inner = slice(8, -8)  # away from the ends
    torch.testing.assert_close(effects.downsample(coarse, [1.0])[..., inner], coarse[..., inner], atol=0.01, rtol=0)
    assert effects.downsample(fine, [1.0])[..., inner].abs().max() < 0.02
    assert len(effects.downsample(coarse, [10.0]).unique()) == 1  # one pixel is left


# Tone and coding


@pytest.mark.parametrize("size", [(90,), (20, 30), (9, 8, 7)])
@given(share=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_low_contrast_takes_its_share_of_the_range_and_keeps_the_mean(size: tuple[int, ...], share: float) -> None:
    image = images(1, 2, *size)
    low = effects.contrast(image, [share])
    assert (low.max() - low.min()).item() == pytest.approx((image.max() - image.min()).item() * (1 - share), abs=1e-5)
    assert low.mean().item() == pytest.approx(image.mean().item(), abs=1e-5)


def test_saturation_clips_its_share_of_the_range() -> None:
    ramp = torch.linspace(-1, 1, 2001).expand(1, 1, -1)
    clipped = effects.saturation(ramp, [0.4])
    assert (clipped.abs() == 1).float().mean().item() == pytest.approx(0.4, abs=0.002)
    middle = ramp.abs() < 0.6
    torch.testing.assert_close(clipped[middle], ramp[middle] / 0.6)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("severity", [0.2, 10.0, 50.0, 99.0])
def test_jpeg_is_pillows_own(severity: float, channels: int) -> None:
    levels = torch.randint(0, 256, (channels, 20, 35), generator=rng(), dtype=torch.uint8)

    def coded(pixels: np.ndarray) -> Tensor:
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, format="JPEG", quality=round(100 - severity))
        return torch.from_numpy(np.array(Image.open(stream)))

    if channels == 3:
        expected = coded(levels.permute(1, 2, 0).contiguous().numpy()).permute(2, 0, 1)
    else:
        expected = torch.stack([coded(one.numpy()) for one in levels])
    got = effects.jpeg(levels[None] / 127.5 - 1, [severity])
    assert torch.equal(((got[0] + 1) * 127.5).round().byte(), expected)


def test_scatter_takes_fine_contrast_and_keeps_the_exposure() -> None:
    at = torch.arange(128)
    ripple = (0.2 * torch.cos(2 * math.pi * (at + 0.5) / 8)).expand(1, 1, 128, -1)
    for ratio in (0.5, 1.0, 3.0):
        veiled = effects.scatter(ripple, [ratio], 0.1, "linear")
        inner = slice(40, -40)  # away from the borders
        torch.testing.assert_close(veiled[..., inner], ripple[..., inner] / (1 + ratio), atol=2e-3, rtol=0)
    image = images(1, 1, 128, 100)
    veiled = effects.scatter(image, [2.0], 0.1, "linear")
    assert veiled.mean().item() == pytest.approx(image.mean().item(), abs=0.02)
    log = effects.scatter(image, [2.0], 0.1, "log")
    assert image.min() <= log.min() < log.max() <= image.max()
    assert log.mean() < image.mean()  # what had the least exposure is veiled most: white goes


def test_scatter_is_a_wide_gaussian() -> None:
    step = torch.cat([torch.full((1, 1, 200, 100), -1.0), torch.full((1, 1, 200, 100), 1.0)], 3)
    haze = 2 * effects.scatter(step, [1.0], 0.05, "linear") - step  # the exposure from scatter
    away = (torch.arange(200) - 99.5) / 10
    expected = torch.special.erf(away / math.sqrt(2)).expand(1, 1, 200, -1)
    torch.testing.assert_close(haze, expected, atol=0.02, rtol=0)
