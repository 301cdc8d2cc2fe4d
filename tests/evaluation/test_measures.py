"""Measures against closed forms: noise that was added, edges that were blurred, values that were counted."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from restorekit import Batch, DataError, Domain, RecipeError
from restorekit.discovery import plugins
from restorekit.evaluation.measures import LEAST, LEVELS, MEASURES, gray, measure

FLAT = np.full((256, 256), 0.5, np.float32)


def phantom(index=0, size=256):
    """Return a chest phantom as (H, W) in [0, 1]."""
    made = plugins.load().parts.resolve(
        "dataset", {"name": "phantom", "side": "b", "count": index + 1, "size": [size, size]}
    )(None, "train")
    return gray(made.load(index, torch.Generator().manual_seed(index)).image)


def noisy(x, sigma, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(x + sigma * rng.standard_normal(x.shape), 0, 1).astype(np.float32)


def step(size=200, low=0.2, high=0.8):
    x = np.full((size, size), low, np.float32)
    x[:, size // 2 :] = high
    return x


def jpeg(x, quality):
    stream = io.BytesIO()
    Image.fromarray((x * 255 + 0.5).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.float32) / 255


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.05, 0.1, 0.2])
def test_noise_of_a_flat_image_is_what_was_added(sigma):
    assert measure(noisy(FLAT, sigma))["noise"] == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("level", [0.05, 0.1, 0.9])
def test_noise_is_right_where_values_are_clipped(level):
    x = noisy(np.full_like(FLAT, level), 0.1)
    assert x.std() < 0.09, "clipping hides noise, which a plain standard deviation does not see"
    assert measure(x)["noise"] == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.15])
def test_noise_of_a_phantom_is_what_was_added(sigma):
    found = [measure(noisy(phantom(i), sigma, i))["noise"] for i in range(3)]
    assert found == pytest.approx([sigma] * 3, rel=0.06)


def test_noise_that_jpeg_took_from_the_finest_scale_is_still_seen():
    x = jpeg(noisy(phantom(), 0.08), 50)
    assert measure(x)["noise"] == pytest.approx(0.08, rel=0.35)


@pytest.mark.parametrize("mode", ["edge", "constant"])
@pytest.mark.parametrize("amounts", [((300, 200), (0, 0)), ((0, 0), (7, 500)), ((90, 91), (92, 93))])
def test_noise_is_not_measured_in_padding(amounts, mode):
    x = np.pad(noisy(FLAT, 0.05), amounts, mode=mode, **({"constant_values": 0.4} if mode == "constant" else {}))
    assert measure(x)["noise"] == pytest.approx(0.05, rel=0.06)


@pytest.mark.parametrize("sigma", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("noise", [0, 0.05])
def test_blur_of_a_step_is_its_gaussian(sigma, noise):
    x = noisy(gaussian_filter(step(), sigma), noise)
    assert measure(x)["blur"] == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("sigma", [1, 2, 4])
@pytest.mark.parametrize("most", [0.04, 0.08, 0.16])
def test_blur_is_right_where_noise_is_eight_times_that_of_other_places(sigma, most):
    rows = np.repeat(np.tile([0.3, 0.7], 4), 64)
    x = gaussian_filter(np.repeat(rows[:, None], 512, 1), sigma)
    uneven = noisy(x, np.geomspace(most / 8, most, 512))
    assert measure(uneven)["blur"] == pytest.approx(sigma, rel=0.2)


def test_blur_of_a_sharp_step_is_small_and_of_no_edge_undefined():
    assert measure(step())["blur"] < 0.3
    assert math.isnan(measure(FLAT)["blur"])
    assert math.isnan(measure(noisy(FLAT, 0.1))["blur"]), "noise is no edge"


def test_blur_is_not_that_of_one_letter():
    soft = gaussian_filter(phantom(), 3)
    marked = soft.copy()
    marked[8:20, 8:14] = 1
    assert measure(marked)["blur"] == pytest.approx(measure(soft)["blur"], rel=0.25)


@pytest.mark.parametrize("stops", [-1.3, -0.5, 0.5, 1.3])
def test_exposure_adds_up(stops):
    x = phantom()
    before, after = (measure(y)["exposure"] for y in (x, x ** np.float32(2.0**stops)))
    assert after - before == pytest.approx(stops, abs=1e-3)


def test_contrast_is_the_deviation():
    x = noisy(np.full((40, 50), 0.4, np.float32), 0.1)
    assert measure(x)["contrast"] == pytest.approx(x.std(), rel=1e-5)
    assert measure(step(low=0.2, high=0.8))["contrast"] == pytest.approx(0.3, rel=1e-5)


def test_gray_is_the_mean_of_the_channels():
    image = torch.stack([torch.full((3, 4), v) for v in (-1.0, 0.0, 0.4)])
    assert gray(image) == pytest.approx(np.full((3, 4), 0.4))
    assert gray(torch.full((1, 2, 2), 3.0)).max() == 1


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (torch.tensor([[[0.0, math.nan]]]), "not finite"),
        (torch.tensor([[[0.0, math.inf]]]), "not finite"),
        (torch.zeros(1, 0, 3), "no pixel"),
        (torch.zeros(1, 5), "1 spatial sizes"),
        (torch.zeros(1, 2, 2, 2), "3 spatial sizes"),
    ],
)
def test_what_is_no_image_is_refused(image, why):
    with pytest.raises(DataError, match=why):
        gray(image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (LEAST - 1, 40)])
def test_small_images_have_brightness_and_nothing_else(shape):
    found = measure(np.full(shape, 0.25, np.float32))
    assert {name for name, value in found.items() if math.isfinite(value)} == {"exposure", "contrast"}
    assert found["exposure"] == pytest.approx(1, abs=1e-3), "a median of 0.25 is 0.5 squared"


@pytest.mark.parametrize("shape", [(LEAST, LEAST), (33, 500), (257, 64)])
def test_every_size_from_the_least_is_measured(shape):
    x = noisy(np.linspace(0.1, 0.9, shape[1], dtype=np.float32) * np.ones(shape, np.float32), 0.05)
    assert measure(x)["noise"] == pytest.approx(0.05, rel=0.25)


def test_a_measure_does_not_depend_on_which_others_are_asked_for():
    x = noisy(phantom(), 0.03)
    kept = x.copy()
    alone = {name: measure(x, {name: one})[name] for name, one in MEASURES.items()}
    assert alone == measure(x) == measure(x)
    assert np.array_equal(x, kept)


# Metrics


def images_of(*pictures):
    images = torch.from_numpy(np.stack(pictures)[:, None]) * 2 - 1
    return images, Batch(images, tuple(f"{i}.png" for i in range(len(images))))


@pytest.mark.parametrize("name", MEASURES)
def test_metrics_are_the_measures(name):
    metric = plugins.load().parts.resolve("metric", {"name": f"{name}_level"})(Domain("a", 1, (64, 64)))
    images, batch = images_of(noisy(phantom(0, 64), 0.1), phantom(1, 64), FLAT[:64, :64])
    rows = metric.measure(images, None, batch)
    wanted = [measure(gray(image))[name] for image in images]
    assert rows[:, 0] == pytest.approx(wanted, nan_ok=True)
    assert math.isnan(wanted[2]) is (name == "blur")
    assert metric.reduce(rows) == pytest.approx(np.nanmean(wanted))
    assert metric.needs is None
    assert metric.id.startswith(f"{name}: ")
    with pytest.raises(DataError, match=r"0\.png"):
        metric.measure(torch.full((1, 1, 64, 64), math.nan), None, batch)


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("noise", 16, "images of less than 32 pixels a side"),
        ("blur", 16, "images of less than 32 pixels a side"),
        ("blur", 32, "no edge rises above the noise"),
    ],
)
def test_a_metric_that_is_not_defined_says_why(name, size, why):
    metric = LEVELS[f"{name}_level"](Domain("a", 1, (size, 40)))
    images, batch = images_of(FLAT[:size, :40])
    assert math.isnan(metric.reduce(metric.measure(images, None, batch)))
    assert metric.undefined == why


@pytest.mark.parametrize("size", [(64,), (16, 16, 16)])
def test_signals_and_volumes_are_refused(size):
    with pytest.raises(RecipeError, match=f"metric 'blur_level': is for images, of 2 dimensions; .* {len(size)}"):
        LEVELS["blur_level"](Domain("a", 1, size))
