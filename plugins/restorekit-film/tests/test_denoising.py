"""The denoisers and the public noise: identity at the start, reach, sizes, exact moments, and the table of scores."""

import csv
import json
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from restorekit_film.photons import photon_noise
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restorekit import Domain, Generator, RecipeError, nd, read_image, write_image
from restorekit.discovery import plugins

DOMAIN = Domain("a", 1, (64, 64))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str, **options: object) -> Generator:
    torch.manual_seed(0)
    made: Generator = plugins.load().parts.resolve("generator", {"name": name, **options})(DOMAIN, DOMAIN)
    return made


@pytest.mark.parametrize(("name", "millions"), [("dncnn", 0.556), ("nafnet", 0.707)])
def test_untrained_is_the_identity_and_has_the_stated_size(name: str, millions: float) -> None:
    net, x = make(name).eval(), torch.rand(2, 1, 32, 40, generator=rng()) * 2 - 1
    with torch.no_grad():
        assert torch.equal(net(x)[0], x)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=1e-3)


def test_dncnn_depends_on_pixels_up_to_its_depth_away_and_no_farther() -> None:
    net = make("dncnn", depth=6, width=8).eval()
    torch.nn.init.normal_(net.last.weight, std=0.01)
    x = (0.1 * (torch.rand(1, 1, 64, 8, generator=rng()) * 2 - 1)).requires_grad_()
    net(x)[0][0, 0, 32, 4].backward()
    reached = x.grad[0, 0].abs().sum(1).nonzero()[:, 0]
    assert max(32 - int(reached.min()), int(reached.max()) - 32) == net.halo == 6


def test_nafnet_reads_the_whole_image_and_refuses_unequal_levels() -> None:
    net = make("nafnet", width=4, down=[1, 1], up=[1, 1])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng()))
    x = (0.1 * torch.rand(1, 1, 64, 64, generator=rng())).requires_grad_()
    net(x)[0][0, 0, 2, 2].backward()
    assert net.halo is None
    assert float(x.grad[0, 0, -2:, -2:].abs().max()) > 0
    with pytest.raises(RecipeError, match="got 2 and 1"):
        make("nafnet", down=[1, 1], up=[1])


def exact(value: float, photons: float, sigma: float) -> tuple[float, float]:
    """Return mean and variance of what is stored of a value in [0, 1], of 255, summed over counts and gray levels."""
    counts = np.arange(2 * int(photons) + 60)
    weights = stats.poisson.pmf(counts, value * photons)
    levels = np.arange(1, 256)
    # A level or more is stored where the sum reaches it: floor, then clipping at both ends.
    reach = stats.norm.sf(levels[:, None], 255 * counts / photons, sigma) @ weights
    mean = reach.sum()
    return float(mean), float(((2 * levels - 1) * reach).sum() - mean**2)


@pytest.mark.parametrize(("value", "photons", "sigma"), [(0.02, 50, 5), (0.5, 50, 25), (0.5, 300, 5), (0.97, 120, 15)])
def test_noise_has_the_moments_of_its_closed_form(value: float, photons: float, sigma: float) -> None:
    part = photon_noise(DOMAIN, photons=(photons, photons), sigma=(sigma, sigma))
    image = torch.full((1, 600, 600), 2 * value - 1)
    stored = (part.apply(image, part.draw(rng(1)), rng(2)).double() + 1) / 2 * 255
    assert float((stored - stored.round()).abs().max()) < 1e-4
    mean, variance = exact(value, photons, sigma)
    count = image.numel()
    kurtosis = float(((stored - stored.mean()) / stored.std()).pow(4).mean())
    assert abs(float(stored.mean()) - mean) < 4 * (variance / count) ** 0.5
    assert abs(float(stored.var()) - variance) < 4 * variance * ((kurtosis - 1) / count) ** 0.5


def test_severities_are_drawn_uniformly_in_photons_and_gray_levels() -> None:
    part, chance = photon_noise(DOMAIN), rng(3)
    drawn = [part.draw(chance) for _ in range(2000)]
    photons, sigma = [one["photon_noise"] ** -2 for one in drawn], [255 * one["detector_noise"] for one in drawn]
    for values, low, high in ((photons, 50, 300), (sigma, 5, 25)):
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001
    gray = torch.zeros(1, 8, 8).expand(3, 8, 8)
    worse = part.apply(gray, drawn[0], chance)
    assert torch.equal(worse[0], worse[2])
    with pytest.raises(RecipeError, match="least <= most"):
        photon_noise(DOMAIN, photons=(300, 50))


def test_noise_in_a_blend_is_stored_once() -> None:
    film = torch.rand(1, 64, 64, generator=rng()) * 2 - 1
    noise = photon_noise(DOMAIN)
    blend = plugins.load().parts.resolve("degradation", {"name": "blend", "degradations": ["photon_noise"]})(DOMAIN)
    drawn = noise.draw(rng(1))
    assert torch.equal(blend.apply(film, drawn, rng(2)), noise.apply(film, drawn, rng(2)))


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "benchmarks" / "score_denoising.py")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = ["path,split,patient", "train/9.png,train,p9"]
    for at, patient in enumerate(("p0", "p0", "p1", "p2")):
        smooth = nd.resize(torch.rand(1, 1, 6, 6, generator=rng(at)) * 1.6 - 0.8, (40, 48))[0]
        write_image(tmp_path / "films" / "test" / f"{at}.png", smooth)
        lines.append(f"test/{at}.png,test,{patient}")
    (tmp_path / "films" / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def run(script: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch, *models: str) -> list[dict[str, str]]:
    monkeypatch.setattr(
        sys, "argv", ["score", f"{folder / 'films'}", "-m", *models, "-o", f"{folder / 'out' / 'v1.0'}"]
    )
    script.main()
    with (folder / "out" / "v1.0.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_table_goes_on_where_it_was_stopped_and_takes_more_models(
    script: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run(script, folder, monkeypatch, "part:identity")
    assert [row["model"] for row in rows] == ["noisy"] * 4 + ["part:identity"] * 4
    assert [row["psnr"] for row in rows[:4]] == [row["psnr"] for row in rows[4:]]
    table = folder / "out" / "v1.0.csv"
    whole = table.read_text("utf-8")
    table.write_text(whole[: whole.index("part:identity,test/2") + 25], encoding="utf-8")  # killed within a row
    again = run(script, folder, monkeypatch, "part:identity", "part:stretch")
    assert [{**row, "seconds": ""} for row in again[:8]] == [{**row, "seconds": ""} for row in rows]
    found = json.loads((folder / "out" / "v1.0.json").read_text("utf-8"))
    assert (found["patients"], list(found["models"])) == (3, ["noisy", "part:identity", "part:stretch"])
    same, *_, last = found["differences"]
    assert same["psnr"] == {"mean": 0, "low": 0, "high": 0}
    gap = [float(b["psnr"]) - float(a["psnr"]) for a, b in zip(again[4:8], again[8:], strict=True)]
    assert last["psnr"]["mean"] == pytest.approx(np.mean(gap), abs=1e-6)
    assert last["psnr"]["low"] <= last["psnr"]["mean"] <= last["psnr"]["high"]


def test_scores_are_those_of_scikit_image_on_the_noise_of_the_name(script: SimpleNamespace, folder: Path) -> None:
    truth = read_image(folder / "films" / "test" / "0.png")[0]
    worse = script.noisy(truth, "test/0.png")
    assert torch.equal(worse, script.noisy(truth, "test/0.png"))
    assert not torch.equal(worse, script.noisy(truth, "test/1.png"))
    x, y = (one[0].double().numpy() / 2 + 0.5 for one in (worse, truth))
    wanted = {
        "psnr": peak_signal_noise_ratio(y, x, data_range=1),
        "ssim": structural_similarity(y, x, data_range=1),
    }
    assert script.scores(worse, truth) == pytest.approx(wanted, rel=1e-9)


def test_other_weights_at_the_same_place_are_refused(script: SimpleNamespace, tmp_path: Path) -> None:
    weights, report = tmp_path / "run" / "nets.safetensors", tmp_path / "out.json"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    report.write_text(json.dumps({"weights": script.known(report, [f"{weights.parent}"])}), encoding="utf-8")
    weights.write_bytes(b"two")
    with pytest.raises(SystemExit, match="weights differ"):
        script.known(report, [f"{weights.parent}"])
