"""Aligned scores, the checkerboard index and line contrast against closed forms and other libraries."""

import math

import numpy as np
import pytest
import torch
from restorekit_film.evaluation import align, checkerboard, insert_lines, kept_contrast, line_contrast
from scipy import ndimage
from sklearn.isotonic import IsotonicRegression

from restorekit import Batch, DataError, Domain, Metric
from restorekit.discovery import plugins


def images(side: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth reference (side, side) in [0, 1] and the same with noise."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.zoom(rng.uniform(0.1, 0.9, (8, 8)), side / 8, order=1)
    return smooth, (smooth + rng.normal(0, 0.05, smooth.shape)).clip(0, 1)


def metric(name: str, **options: object) -> Metric:
    made: Metric = plugins.load().parts.resolve("metric", {"name": name, **options})(Domain("a", 1, (64, 64)))
    return made


def score(name: str, made: np.ndarray, truth: np.ndarray, **options: object) -> float:
    part = metric(name, **options)
    image, clean = (torch.from_numpy(one * 2 - 1)[None, None] for one in (made, truth))
    return part.reduce(part.measure(image, None, Batch(image, ("x",), truth=clean)))


def test_alignment_is_isotonic_regression_over_all_pixels() -> None:
    truth, noisy = images()
    made = (noisy**1.7 * 255).round() / 255
    wanted = IsotonicRegression().fit(made.ravel(), truth.ravel()).predict(made.ravel()).reshape(made.shape)
    np.testing.assert_allclose(align(made, truth).image, wanted, atol=1e-12)


def test_tone_error_and_aligned_error_add_up_to_the_error() -> None:
    truth, noisy = images()
    made = (noisy**1.7 * 255).round() / 255
    whole = np.square(made - truth).mean()
    left = 10 ** (-score("psnr_aligned", made, truth) / 10)
    assert score("tone_error", made, truth) ** 2 + left == pytest.approx(whole, rel=1e-6)


def test_tone_changes_alone_are_aligned_away() -> None:
    truth, _ = images()
    assert score("psnr_aligned", truth**1.5, truth) > 45
    assert score("psnr_aligned", truth**1.5, truth, cap=40) == 40
    assert score("ssim_aligned", truth**1.5, truth) > 0.995
    assert score("tone_error", truth**1.5, truth) == pytest.approx(
        math.sqrt(np.square(truth**1.5 - truth).mean()), rel=0.01
    )


def test_image_without_content_gains_nothing_by_alignment() -> None:
    truth, _ = images()
    flat = np.full_like(truth, 0.2)
    assert score("psnr_aligned", flat, truth) == pytest.approx(-10 * math.log10(truth.var()), abs=1e-6)


def test_aligned_ssim_is_restorekits_ssim_of_the_aligned_image() -> None:
    truth, noisy = images()
    aligned = align(noisy, truth).image
    assert score("ssim_aligned", noisy, truth) == pytest.approx(score("ssim", aligned, truth), abs=1e-9)


def test_checkerboard_follows_the_amplitude_of_a_pattern_in_white_noise() -> None:
    side, sigma = 256, 0.05
    noise = np.random.default_rng(0).normal(0.5, sigma, (side, side))
    assert checkerboard(noise) == pytest.approx(1, abs=0.5)
    rows, columns = np.indices((side, side))
    amplitude = 0.01
    # Under a Hann window, 3 x 3 frequencies averaged: one of the three frequencies of stride 2 stands out by this.
    stands = 1 + amplitude**2 * side**2 / (9 * sigma**2)
    made = checkerboard(noise + amplitude * (-1.0) ** (rows + columns))
    assert made == pytest.approx(stands ** (1 / 3), rel=0.35)
    assert made > 4


def test_checkerboard_sees_what_a_transposed_convolution_leaves() -> None:
    torch.manual_seed(0)
    grid = torch.nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1)
    coarse = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        made = grid(coarse)[0, 0].double().numpy()
    smooth = ndimage.zoom(coarse[0, 0].double().numpy(), 2, order=1)
    assert checkerboard(made) > 2 * checkerboard(smooth)


def test_blur_keeps_the_contrast_of_its_kernels_peak() -> None:
    clean = images(512)[0] * 0.8
    kernel = np.array([0.25, 0.5, 0.25])

    def blur(image: np.ndarray) -> np.ndarray:
        return ndimage.convolve1d(ndimage.convolve1d(image, kernel, 0), kernel, 1)

    worse, restored = kept_contrast(clean, 15 / 255, blur, lambda image: image * 2, np.random.default_rng(0))
    ends = 1 - 2 * 0.25 / 48  # a line's two last pixels lose a quarter along it
    assert worse == pytest.approx(0.5 * ends, rel=1e-6)
    assert restored == pytest.approx(ends, rel=1e-6)


def test_lines_keep_clear_of_each_other_and_add_their_contrast() -> None:
    clean = np.full((400, 500), 0.4)
    lined, lines = insert_lines(clean, 5 / 255, np.random.default_rng(1), count=10)
    assert len(lines) == 10
    assert (lined - clean).sum() == pytest.approx(10 * 48 * 5 / 255)
    assert line_contrast(lined, clean, lines) == pytest.approx(5 / 255)


@pytest.mark.parametrize("name", ["psnr_aligned", "ssim_aligned", "tone_error", "checkerboard"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_with_a_value_that_is_not_finite_is_named(name: str, value: float) -> None:
    truth = torch.zeros(2, 1, 64, 64)
    broken = truth.clone()
    broken[1, 0, 3, 3] = value
    with pytest.raises(DataError, match=r"^second: "):
        metric(name).measure(broken, None, Batch(broken, ("first", "second"), truth=truth))


def test_of_a_white_film_no_contrast_of_lines_is_known() -> None:
    def same(image: np.ndarray) -> np.ndarray:
        return image

    found = kept_contrast(np.ones((128, 128)), 5 / 255, same, same, np.random.default_rng(0))
    assert np.isnan(found).all()
