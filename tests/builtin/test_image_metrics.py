"""PSNR, SSIM, MS-SSIM and UQI against other libraries, at the edges of their definitions, in 1, 2 and 3 dimensions."""

import math

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as other_ms_ssim
from sewar import full_ref
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as padded_ms_ssim
from torchmetrics.functional.image import structural_similarity_index_measure as padded_ssim

from restorekit import Batch, DataError, Domain
from restorekit.builtin import image_metrics
from restorekit.parts.registry import Parts


@pytest.fixture(scope="module")
def metrics():
    parts = Parts()
    image_metrics.register_parts(lambda *part: parts.add(*part, owner="builtin"))
    return {name: parts.resolve("metric", name)(Domain("b", 1, (64, 64))) for name in parts.names("metric")}


def pair(*size, noise=0.2, seed=0, channels=1, count=2):
    """A smooth truth and a noisy image of it, in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*[torch.linspace(0, 7, n) for n in size], indexing="ij")
    truth = (
        torch.stack([torch.sin(sum(axes) + i) for i in range(count * channels)]).reshape(count, channels, *size) * 0.8
    )
    return (truth + noise * torch.randn(truth.shape, generator=rng)).clamp(-1, 1), truth


def rows(metric, image, truth):
    return metric.measure(image, None, Batch(image, tuple(map(str, range(len(image)))), truth=truth))


def unit(image):
    return (image[:, 0].double().numpy() + 1) / 2


@pytest.mark.parametrize("size", [(64,), (40, 33), (16, 14, 15)])
def test_psnr_and_ssim_agree_with_scikit_image(metrics, size):
    image, truth = pair(*size)
    psnr = [peak_signal_noise_ratio(y, x, data_range=1) for x, y in zip(unit(image), unit(truth), strict=True)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    ssim = [structural_similarity(x, y, **options) for x, y in zip(unit(image), unit(truth), strict=True)]
    np.testing.assert_allclose(rows(metrics["psnr"], image, truth)[:, 0], psnr, rtol=1e-9)
    np.testing.assert_allclose(rows(metrics["ssim"], image, truth)[:, 0], ssim, rtol=1e-9)


def test_ssim_of_valid_windows_differs_from_the_padded_one(metrics):
    image, truth = pair(32, 32)
    padded = padded_ssim((image + 1) / 2, (truth + 1) / 2, data_range=1.0, reduction="none").numpy()
    ours = rows(metrics["ssim"], image, truth)[:, 0]
    assert np.allclose(ours, padded, atol=0.05)
    assert not np.allclose(ours, padded, atol=1e-4)


@pytest.mark.parametrize("size", [(176, 176), (192, 176)])
def test_ms_ssim_agrees_with_pytorch_msssim(metrics, size):
    image, truth = pair(*size, count=1)
    unit_image, unit_truth = (image.double() + 1) / 2, (truth.double() + 1) / 2
    ours = rows(metrics["ms_ssim"], image, truth)[0, 0]
    assert ours == pytest.approx(other_ms_ssim(unit_image, unit_truth, data_range=1.0).item(), abs=5e-5)
    assert ours == pytest.approx(padded_ms_ssim(unit_image, unit_truth, data_range=1.0).item(), abs=2e-2)


def test_ms_ssim_needs_room_for_five_scales(metrics):
    assert np.isnan(rows(metrics["ms_ssim"], *pair(175, 300))).all()
    assert np.isfinite(rows(metrics["ms_ssim"], *pair(177, 179))).all()
    assert np.isfinite(rows(metrics["ms_ssim"], *pair(176))).all()
    assert metrics["ms_ssim"].undefined == "not defined at this size"


def test_uqi_departs_from_sewar_whose_windows_hold_means_where_sums_belong(metrics, monkeypatch):
    image, truth = pair(40, 33)
    # sewar also crops one valid window too many at the end of each axis.
    ours = rows(metrics["uqi"], image[..., :-1, :-1], truth[..., :-1, :-1])[:, 0]

    def sewar():
        return [full_ref.uqi(y, x, ws=8) for x, y in zip(unit(image), unit(truth), strict=True)]

    assert not np.allclose(ours, sewar(), atol=0.1)
    mean = full_ref.uniform_filter
    monkeypatch.setattr(full_ref, "uniform_filter", lambda values, width: mean(values, width) * width**2)
    np.testing.assert_allclose(ours, sewar(), rtol=1e-9)


def uqi_by_loops(x, y):
    """The formula of the paper, a window at a time."""
    values = []
    for corner in np.ndindex(*[n - 7 for n in x.shape]):
        window = tuple(slice(c, c + 8) for c in corner)
        a, b = x[window], y[window]
        covariance = ((a - a.mean()) * (b - b.mean())).mean()
        values.append(4 * covariance * a.mean() * b.mean() / ((a.var() + b.var()) * (a.mean() ** 2 + b.mean() ** 2)))
    return np.mean(values)


@pytest.mark.parametrize("size", [(30,), (12, 11), (9, 10, 9)])
def test_uqi_is_the_formula_in_every_dimension(metrics, size):
    image, truth = pair(*size, count=1)
    assert rows(metrics["uqi"], image, truth)[0, 0] == pytest.approx(uqi_by_loops(unit(image)[0], unit(truth)[0]))


def test_uqi_of_flat_windows_is_the_luminance_term(metrics):
    def flat(value):
        return torch.full((1, 1, 16, 16), value)

    assert rows(metrics["uqi"], flat(0.3), flat(0.3))[0, 0] == pytest.approx(1)
    assert rows(metrics["uqi"], flat(-1.0), flat(-1.0))[0, 0] == 1
    assert rows(metrics["uqi"], flat(0.0), flat(1.0))[0, 0] == pytest.approx(2 * 0.5 / 1.25)
    assert rows(metrics["uqi"], flat(-1.0), flat(1.0))[0, 0] == 0


def test_identical_images_are_perfect(metrics):
    _, truth = pair(176, 176, count=1)
    values = {name: metric.reduce(rows(metric, truth, truth)) for name, metric in metrics.items()}
    assert values == {"psnr": math.inf, "ssim": pytest.approx(1), "ms_ssim": pytest.approx(1), "uqi": pytest.approx(1)}


@pytest.mark.parametrize(("name", "least"), [("ssim", 11), ("uqi", 8)])
def test_a_side_below_the_window_is_not_defined(metrics, name, least):
    assert np.isnan(rows(metrics[name], *pair(least - 1, 40))).all()
    assert np.isfinite(rows(metrics[name], *pair(least, 40))).all()


def test_reduce_leaves_out_what_is_not_defined(metrics):
    for metric in metrics.values():
        assert metric.reduce(np.array([[1.0], [math.nan], [2.0]])) == 1.5
        assert math.isnan(metric.reduce(np.array([[math.nan]])))
        assert math.isnan(metric.reduce(np.empty((0, 1))))


def test_colour_is_the_channel_mean_and_values_are_clipped(metrics):
    image, truth = pair(20, 20, channels=3)
    for name in ("psnr", "ssim", "uqi"):
        gray = rows(metrics[name], image.mean(1, keepdim=True), truth.mean(1, keepdim=True))
        np.testing.assert_allclose(rows(metrics[name], image, truth), gray, rtol=1e-6)
        beyond = rows(metrics[name], image * 4, truth)
        np.testing.assert_array_equal(beyond, rows(metrics[name], (image * 4).clamp(-1, 1), truth))


def test_what_cannot_be_scored_is_named(metrics):
    image, truth = pair(20, 20)
    broken = image.clone()
    broken[1, 0, 3, 3] = math.nan
    with pytest.raises(DataError, match=r"^1: "):
        rows(metrics["psnr"], broken, truth)
    with pytest.raises(DataError, match="differ in size"):
        rows(metrics["psnr"], image[..., :10], truth)
    with pytest.raises(DataError, match="no truth"):
        rows(metrics["psnr"], image, None)


def test_ids_tell_the_definition(metrics):
    for metric in metrics.values():
        assert metric.needs == "truth"
        assert metric.better == "higher"
        assert "channel mean" in metric.id
        assert "[0, 1]" in metric.id
    assert "data range 2" in metrics["psnr"].id
