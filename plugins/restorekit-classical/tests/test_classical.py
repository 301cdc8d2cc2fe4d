"""The classical methods against scikit-image itself, closed forms, and what they must not do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import exposure, restoration
from torch import Tensor

from restorekit import Batch, CheckpointError, Domain, RecipeError, Restorer, nd
from restorekit.discovery import plugins

SIZES = {1: (64,), 2: (40, 48), 3: (12, 14, 16)}


def make(name: str, dims: int = 2, **options: object) -> Restorer:
    domain = Domain("a", 1, SIZES[dims])
    made: Restorer = plugins.load().parts.resolve("restorer", {"name": name, **options})(domain)
    return made


def noisy(dims: int = 2, sigma: float = 0.2) -> tuple[Tensor, Tensor]:
    """A smooth image, (1, 1, *S), and the same with noise."""
    rng = torch.Generator().manual_seed(dims)
    clean = nd.resize(torch.rand(1, 1, *[4] * dims, generator=rng) - 0.5, SIZES[dims])
    return clean, (clean + sigma * torch.randn(clean.shape, generator=rng)).clamp(-1, 1)


def error(image: Tensor, truth: Tensor) -> float:
    return float((image - truth).square().mean())


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["tv", "wavelet", "median", "nlm"])
def test_denoisers_bring_a_noisy_image_nearer_to_the_truth(name: str, dims: int) -> None:
    if name == "nlm" and dims == 1:
        with pytest.raises(RecipeError):
            make(name, dims)
        return
    clean, image = noisy(dims)
    assert error(make(name, dims).restore(image).image, clean) < 0.7 * error(image, clean)


@pytest.mark.parametrize("name", ["wavelet", "nlm"])
@pytest.mark.parametrize("value", [-1.0, -0.2, 0.0, 1.0, None])
def test_noise_is_removed_whatever_the_image_is_padded_with(name: str, value: float | None) -> None:
    clean, image = noisy()
    size = image.shape[2:]
    padded = torch.full((1, 1, size[0] + 60, size[1] + 60), value or 0.0)
    padded[..., 30:-30, 30:-30] = image
    if value is None:  # its own border, as `fit: pad` pads
        padded = nd.pad(image, [(30, 30)] * 2, "replicate")
    made = nd.crop(make(name).restore(padded).image, [30, 30], size)
    assert error(made, clean) < 0.7 * error(image, clean)


@pytest.mark.parametrize("name", ["tv", "wavelet", "median", "nlm", "clahe"])
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_a_volume_of_one_slice_is_restored_as_an_image(name: str, axis: int) -> None:
    _, image = noisy()
    wanted = make(name).restore(image).image
    assert torch.equal(make(name, 3).restore(image.unsqueeze(axis)).image, wanted.unsqueeze(axis))


def test_noise_of_a_single_row_is_removed() -> None:
    clean, image = noisy(1)
    row, wanted = make("wavelet").restore(image.unsqueeze(2)).image, make("wavelet", 1).restore(image).image
    assert error(row[:, :, 0], wanted) < 0.1 * error(image, clean)


def test_tv_is_scikit_images_on_values_from_0_to_1() -> None:
    _, image = noisy()
    unit = (image[0, 0].double().numpy() + 1) / 2
    wanted = restoration.denoise_tv_chambolle(unit, weight=0.15, max_num_iter=50) * 2 - 1
    made = make("tv", weight=0.15, steps=50).restore(image).image[0, 0].numpy()
    assert np.abs(made - wanted).max() < 1e-5


def test_clahe_is_scikit_images() -> None:
    _, image = noisy()
    unit = (image[0, 0].numpy() + 1) / 2
    wanted = exposure.equalize_adapthist(unit, kernel_size=[5, 6], clip_limit=0.02) * 2 - 1
    made = make("clahe", clip=0.02, tiles=8).restore(image).image[0, 0].numpy()
    assert np.abs(made - wanted).max() < 1e-5


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_richardson_lucy_sharpens_a_blurred_image(dims: int) -> None:
    from scipy import ndimage

    sharp = torch.zeros(SIZES[dims])
    sharp[tuple(slice(n // 3, 2 * n // 3) for n in SIZES[dims])] = 0.8
    blurred = torch.from_numpy(ndimage.gaussian_filter(sharp.numpy(), 1.5))[None, None]
    made = make("richardson_lucy", dims, sigma=1.5, steps=20).restore(blurred).image
    assert error(made, sharp[None, None]) < 0.7 * error(blurred, sharp[None, None])


@pytest.mark.parametrize("size", [(300,), (48, 40), (20, 18, 16), (1, 1)])
def test_richardson_lucy_leaves_a_constant_image_up_to_its_rim(size: tuple[int, ...]) -> None:
    flat = torch.full((1, 1, *size), 0.3)
    made = make("richardson_lucy", len(size), sigma=2.0, steps=100).restore(flat).image
    torch.testing.assert_close(made, flat, atol=1e-6, rtol=0)


def test_richardson_lucy_is_that_of_scikit_image_far_from_the_border() -> None:
    _, image = noisy()
    line = np.exp(-0.5 * np.arange(-4, 5.0) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    wanted = restoration.richardson_lucy((image[0, 0].double().numpy() + 1) / 2, kernel, num_iter=2)
    made = (make("richardson_lucy", 2, sigma=1.0, steps=2).restore(image).image[0, 0].numpy() + 1) / 2
    inside = slice(16, -16)  # two steps of two blurs that reach four pixels
    np.testing.assert_allclose(made[inside, inside], wanted[inside, inside].clip(0, 1), atol=1e-5)


def test_histogram_match_gives_the_histogram_of_the_good_images() -> None:
    rng = np.random.default_rng(0)
    good = torch.from_numpy(rng.normal(0.3, 0.1, (6, 1, 32, 32))).float().clamp(-1, 1)
    image = torch.from_numpy(rng.uniform(-1, 1, (2, 1, 32, 32))).float()
    part = make("histogram_match")
    with pytest.raises(CheckpointError):
        part.restore(image)
    part.fit([], [Batch(good, tuple("abcdef"))])
    made = part.restore(image).image
    shares = np.linspace(0.01, 0.99, 21)
    for one in made:
        difference = np.quantile(one.numpy(), shares) - np.quantile(good.numpy(), shares)
        assert np.abs(difference).max() < 0.02
    order = image[0].flatten().argsort()
    assert (made[0].flatten()[order].diff() >= -1e-6).all(), "a monotone map"


@settings(max_examples=25, deadline=None)
@given(low=st.floats(0, 0.2), high=st.floats(0, 0.2), seed=st.integers(0, 99))
def test_stretch_maps_its_quantiles_to_black_and_white(low: float, high: float, seed: int) -> None:
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.5 - 0.2
    made = make("stretch", low=low, high=high).restore(image).image
    ends = np.quantile(image.numpy(), [low, 1 - high])
    wanted = np.clip(2 * (image.numpy() - ends[0]) / (ends[1] - ends[0]) - 1, -1, 1)
    assert np.abs(made.numpy() - wanted).max() < 1e-4


@pytest.mark.parametrize("name", ["stretch", "clahe", "tv", "nlm", "wavelet", "median", "richardson_lucy"])
@pytest.mark.parametrize("value", [-1.0, 0.3, 1.0])
def test_a_constant_image_stays_finite_and_constant(name: str, value: float) -> None:
    made = make(name).restore(torch.full((1, 1, 40, 48), value)).image
    assert made.isfinite().all()
    assert float(made.std()) < 1e-3


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_bicubic_enlarges_a_linear_ramp_exactly_inside(dims: int) -> None:
    n = SIZES[dims][-1]
    ramp = torch.linspace(-0.5, 0.5, n).expand(1, 1, *SIZES[dims]).contiguous()
    made = make("bicubic", dims, scale=2).restore(ramp).image
    assert made.shape[2:] == tuple(2 * size for size in SIZES[dims])
    step = 1 / (n - 1) / 2
    inner = made[0, 0].reshape(-1, 2 * n)[0, 6:-6]
    torch.testing.assert_close(inner.diff(), torch.full_like(inner.diff(), step), atol=1e-5, rtol=0)


def test_a_chain_applies_its_restorers_in_order_and_fits_each_to_what_comes_before() -> None:
    _, image = noisy()
    good = Batch(image.flip(-1) * 0.5 + 0.2, ("b",))
    part = make("chain", restorers=["median", "histogram_match"])
    part.fit([Batch(image, ("a",))], [good])
    single = make("histogram_match")
    single.fit([], [good])
    wanted = single.restore(make("median").restore(image).image).image
    assert torch.equal(part.restore(image).image, wanted)
    twin = make("chain", restorers=["median", "histogram_match"])
    twin.load_state(part.state())
    assert torch.equal(twin.restore(image).image, wanted)


def test_an_ensemble_is_the_mean() -> None:
    _, image = noisy()
    parts = [make(name).restore(image).image for name in ("tv", "median")]
    assert torch.equal(make("ensemble", restorers=["tv", "median"]).restore(image).image, sum(parts) / 2)
