"""Measures against closed forms: pixels that were counted, lines that were added, spectra that were cut."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from restorekit_analysis.measures import MEASURES, measure
from restorekit_analysis.severity import SCALES, flaws, quality, sentence
from scipy.stats import spearmanr

from restorekit import Batch, Domain, measures
from restorekit.discovery import plugins

FLAT = np.full((256, 256), 0.5, np.float32)


def phantom(index=0, size=256):
    """Return a chest phantom as (H, W) in [0, 1]."""
    made = plugins.load().parts.resolve(
        "dataset", {"name": "phantom", "side": "b", "count": index + 1, "size": [size, size]}
    )(None, "train")
    return measures.gray(made.load(index, torch.Generator().manual_seed(index)).image)


def noisy(x, sigma, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(x + sigma * rng.standard_normal(x.shape), 0, 1).astype(np.float32)


def jpeg(x, quality):
    stream = io.BytesIO()
    Image.fromarray((x * 255 + 0.5).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.float32) / 255


def test_varying_noise_is_measured():
    uneven = FLAT.copy()
    uneven[:, 128:] = noisy(FLAT, 0.08)[:, 128:]
    uneven[:, :128] = noisy(FLAT, 0.02)[:, :128]
    assert measure(noisy(FLAT, 0.05), "noise_variation")["noise_variation"] < 0.1
    assert measure(uneven, "noise_variation")["noise_variation"] == pytest.approx(0.6, abs=0.05)


def test_levels_and_clipped_shares_are_exact():
    x = np.full((40, 50), 0.25, np.float32)
    x[:4], x[4:6] = 0, 1
    found = measure(x)
    assert found["shadows"] == pytest.approx(0.1)
    assert found["highlights"] == pytest.approx(0.05)
    assert found["mean_level"] == pytest.approx(0.05 + 0.85 * 0.25)
    assert found["contrast"] == pytest.approx(x.std(), rel=1e-5)
    assert found["usable_range"] == pytest.approx(1, abs=1e-4)
    assert found["exposure"] == pytest.approx(1, abs=1e-3), "a median of 0.25 is 0.5 squared"


def test_blockiness_falls_with_the_quality_and_finds_blocks_wherever_they_begin():
    x = phantom() * 0.8
    qualities = [10, 20, 30, 50, 70, 90]
    found = [measure(jpeg(x, q), "blockiness")["blockiness"] for q in qualities]
    assert spearmanr(qualities, found)[0] == -1
    assert measure(x, "blockiness")["blockiness"] < found[-1] < 0.2
    cut = jpeg(x, 20)[3:, 5:]
    assert measure(cut, "blockiness")["blockiness"] == pytest.approx(found[1], rel=0.1)


def test_a_frame_and_a_label_are_no_blocks():
    x = phantom() * 0.8 + 0.1
    framed = np.pad(x, ((40, 24), (56, 72)))
    framed[48:72, 64:72] = 1  # a letter whose sides fall on block borders
    for clean, worse in ((x, framed), (jpeg(x, 30), np.pad(jpeg(x, 30), 64))):
        wanted, found = (measure(one, "blockiness")["blockiness"] for one in (clean, worse))
        assert found == pytest.approx(wanted, rel=0.15, abs=0.1)
    assert measure(framed, "blockiness")["blockiness"] < 0.2
    line = np.zeros((64, 64), np.float32)
    line[:, 30] = 1
    assert measure(line, "blockiness")["blockiness"] == 0


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("strength", [0.004, 0.02])
def test_grid_lines_are_found_with_their_strength(axis, strength):
    along = np.arange(256) * 0.31 + 0.01 * np.arange(256)[:, None]
    wave = math.sqrt(2) * strength * np.sin(2 * math.pi * along)
    x = (noisy(0.2 + 0.6 * phantom(), 0.01) + (wave.T if axis == 0 else wave)).astype(np.float32)
    assert measure(x, "grid")["grid"] == pytest.approx(strength, rel=0.2)


@pytest.mark.parametrize("x", [FLAT, noisy(FLAT, 0.05), jpeg(phantom(), 30)], ids=["flat", "noise", "jpeg"])
def test_grid_is_nothing_where_there_are_no_lines(x):
    assert measure(x, "grid")["grid"] < 0.003


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_resolution_is_where_the_spectrum_ends(share):
    waves = np.fft.fft2(0.2 + 0.6 * phantom())
    across, along = (2 * np.abs(np.fft.fftfreq(256)).reshape(shape) for shape in ((1, -1), (-1, 1)))
    waves[(across > share) | (along > share)] = 0
    x = np.fft.ifft2(waves).real.astype(np.float32)
    assert measure(x, "resolution")["resolution"] == pytest.approx(share, abs=0.05)


def test_more_noise_leaves_less_resolution():
    found = [measure(noisy(phantom(), sigma), "resolution")["resolution"] for sigma in (0.005, 0.02, 0.1)]
    assert found[0] > found[1] > found[2] > 0


def test_a_constant_image_has_no_flaw_but_its_level():
    found = measure(np.zeros((96, 96), np.float32))
    assert math.isnan(found.pop("blur"))
    assert found.pop("shadows") == 1
    assert found.pop("exposure") > 3
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (31, 40)])
def test_small_images_have_brightness_and_nothing_else(shape):
    found = measure(np.full(shape, 0.25, np.float32))
    assert {name for name, value in found.items() if math.isfinite(value)} == {
        name for name, m in MEASURES.items() if m.any_size
    }


@pytest.mark.parametrize("shape", [(measures.LEAST, measures.LEAST), (33, 500), (257, 64)])
def test_every_size_from_the_least_is_measured(shape):
    x = noisy(np.linspace(0.1, 0.9, shape[1], dtype=np.float32) * np.ones(shape, np.float32), 0.05)
    found = measure(x)
    assert found["noise"] == pytest.approx(0.05, rel=0.25)
    assert not [name for name, v in found.items() if not math.isfinite(v) and name not in ("blur", "noise_variation")]


def test_the_same_pixels_give_the_same_numbers_and_are_left_as_they_are():
    x = noisy(phantom(), 0.03)
    kept = x.copy()
    assert measure(x) == measure(x)
    assert np.array_equal(x, kept)
    alone = {name: measure(x, name)[name] for name in MEASURES}
    assert alone == measure(x), "a measure does not depend on which others are asked for"


# Words


def test_words_follow_the_limits():
    clean = {name: scale.edges[-1] if not scale.words[-1] else 0.0 for name, scale in SCALES.items()}
    assert sentence(clean) == "no flaw by these measures"
    result = sentence({**clean, "exposure": 1.4, "noise": 0.05})
    assert result == "moderately noisy, under-exposed"
    assert flaws({**clean, "noise": 0.005, "noise_variation": 0.9}) == {}, "where there is no noise, it cannot vary"
    assert flaws({**clean, "noise": 0.02, "noise_variation": 0.9})["noise_variation"] == "unevenly noisy"
    assert flaws({**clean, "blur": math.nan}) == {}


def test_quality_falls_with_every_flaw_and_most_with_the_worst():
    best = {name: scale.edges[-1] if scale.words[0] else 0.0 for name, scale in SCALES.items()} | {"exposure": 0.0}
    assert quality(best) == 1
    for name, values in {
        "noise": (0.02, 0.1),
        "contrast": (0.1, 0.03),
        "exposure": (-1.0, 2.5),
        "grid": (0.005, 0.03),
    }.items():
        found = [quality({**best, name: value}) for value in values]
        assert 1 > found[0] > found[1] > 0
    one = quality({**best, "noise": 0.2})
    many = quality({**best, "noise": 0.02, "blur": 2.0, "exposure": 1.2, "contrast": 0.11, "blockiness": 0.6})
    assert one < many, "one strong flaw is worse than some slight ones"
    worst = {name: SCALES[name].edges[0 if SCALES[name].words[0] else -1] for name in SCALES}
    assert quality(worst) == pytest.approx(0)
    assert quality({**best, "blur": math.nan}) == 1
    assert quality({}) == 1


@pytest.mark.parametrize("name", MEASURES)
def test_scales_are_sound(name):
    scale = SCALES[name]
    assert len(scale.edges) == len(scale.words) + 1
    assert list(scale.edges) == sorted(scale.edges)
    assert "" in scale.words
    places = [scale.place(v) for v in np.linspace(scale.edges[0] - 1, scale.edges[-1] + 1, 50)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 1)
    assert MEASURES[name].about.endswith(".")


# Metrics


@pytest.mark.parametrize("name", ["blockiness", "grid", "resolution"])
def test_metrics_are_the_measures(name):
    images = torch.from_numpy(np.stack([noisy(phantom(0, 64), 0.1), phantom(1, 64)])[:, None] * 2 - 1)
    metric = plugins.load().parts.resolve("metric", {"name": f"{name}_level"})(Domain("a", 1, (64, 64)))
    rows = metric.measure(images, None, Batch(images, ("one", "two")))
    assert rows[:, 0] == pytest.approx([measure(measures.gray(image), name)[name] for image in images])
    assert (metric.better, metric.unit) == (MEASURES[name].better, MEASURES[name].unit)


def test_the_measures_of_every_report_are_restorekits_own():
    assert {name: MEASURES[name] for name in measures.MEASURES} == dict(measures.MEASURES)
    x = noisy(phantom(), 0.03)
    assert measures.measure(x) == {name: value for name, value in measure(x).items() if name in measures.MEASURES}
