"""Losses with networks: the regressor learns PSNR and leads to the truth; features count as stated and stay frozen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from restorekit_film.generator import film_restorer
from torch import Tensor, nn

from restorekit import Batch, Domain, Factory, HistoryPool, Loss, Nets, Output, Passes, RecipeError, Stepped, Translator
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.runs import build
from restorekit.runs.run import Run
from restorekit.training.train import train

SIDE = 40
DOMAIN = Domain("a", 1, (SIDE, SIDE))
MASTER = {"name": "patch", "width": 16, "layers": 2, "norm": "none", "conditional": True}


def part(kind: str, spec: str | dict[str, Any]) -> Factory:
    made: Factory = plugins.load().parts.resolve(kind, spec)
    return made


def loss(name: str, **options: object) -> Any:
    return part("loss", {"name": name, **options})()


def phantoms(count: int) -> Tensor:
    spec = {"name": "phantom", "side": "b", "count": count, "size": [SIDE, SIDE]}
    films = part("dataset", spec)(None, "train")
    return torch.stack([films.load(at, torch.Generator().manual_seed(0)).image for at in range(count)])


def passes(restored: Tensor, degraded: Tensor, truth: Tensor, nets: Nets | None = None, seed: int = 0) -> Passes:
    """Return a step that made `restored`."""
    keys = tuple(map(str, range(len(truth))))
    a, b = Batch(degraded, keys, truth=truth), Batch(truth, keys)
    made = Nets(Translator(film_restorer(DOMAIN, DOMAIN))) if nets is None else nets
    p = Passes(made, a, b, (HistoryPool(0), HistoryPool(0)), torch.Generator().manual_seed(seed))
    p.ab = Output(restored)  # type: ignore[misc]
    return p


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    return -10 * torch.log10((image - truth).square().flatten(1).mean(1) / 4)


def restored_badly(truth: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return (degraded, restored): noise and blur of drawn strength, of which a drawn share is left."""
    rng = torch.Generator().manual_seed(seed)
    shape = (len(truth), 1, 1, 1)
    strength = 0.02 * 20 ** torch.rand(shape, generator=rng)
    blurred = nn.functional.avg_pool2d(truth, 3, 1, 1, count_include_pad=False)
    soft = torch.lerp(truth, blurred, 0.3 * torch.rand(shape, generator=rng))
    degraded = soft + strength * torch.randn(truth.shape, generator=rng)
    return degraded, torch.lerp(truth, degraded, 0.3 + 0.7 * torch.rand(shape, generator=rng))


@pytest.fixture(scope="module")
def regressor() -> tuple[Loss, Nets]:
    """The loss, and networks with a regressor that it trained for 250 steps."""
    films, term = phantoms(24), loss("psnr_regressor")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets = Nets(Translator(film_restorer(DOMAIN, DOMAIN)), extra={"psnr": part("discriminator", MASTER)(DOMAIN)})
    optimizer = torch.optim.Adam(nets.extra.parameters(), 4e-3)
    for step in range(250):
        truth = films[torch.randperm(20, generator=torch.Generator().manual_seed(step))[:8]]
        degraded, restored = restored_badly(truth, step)
        p = passes(restored, degraded, truth, nets, step)
        optimizer.zero_grad()
        p.mean(term.extra(p)["psnr"]).backward()
        optimizer.step()
    return term, nets


def unseen() -> tuple[Tensor, Tensor, Tensor]:
    truth = phantoms(24)[20:].repeat(8, 1, 1, 1)
    degraded, restored = restored_badly(truth, 9999)
    return truth, degraded, restored


def test_regressor_learns_the_psnr_of_unseen_images(regressor: tuple[Any, Nets]) -> None:
    term, nets = regressor
    truth, degraded, restored = unseen()
    with torch.no_grad():
        found = term.predicted(passes(restored, degraded, truth, nets), restored)
    wanted = psnr(restored, truth)
    assert float(torch.corrcoef(torch.stack([found, wanted]))[0, 1]) > 0.8
    assert float((found - wanted).abs().mean()) < 4


def test_its_gradient_leads_to_the_truth(regressor: tuple[Any, Nets]) -> None:
    term, nets = regressor
    truth, degraded, restored = unseen()
    image = restored.clone()
    for _ in range(10):
        image = image.detach().requires_grad_()
        p = passes(image, degraded, truth, nets)
        (slope,) = torch.autograd.grad(p.mean(term.generator(p)), image)
        image = image - 0.003 * slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
    gain = psnr(image.detach(), truth) - psnr(restored, truth)
    noisy = psnr(restored, truth) < 28
    assert float(gain[noisy].median()) > 0.15
    assert float((gain[noisy] > 0).float().mean()) > 0.8


def test_loss_is_the_shortfall_of_the_pooled_scores_below_the_cap() -> None:
    class Given(part("discriminator", MASTER)(DOMAIN).__class__):  # type: ignore[misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.conditional = True

        def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
            return torch.tensor([[0.0, 1.0], [9.0, 9.0]]).view(2, 1, 2)

    nets = Nets(Translator(film_restorer(DOMAIN, DOMAIN)), extra={"psnr": Given()})
    truth = torch.zeros(2, 1, SIDE, SIDE)
    p = passes(truth + 0.2, truth, truth, nets)
    term = loss("psnr_regressor", cap=40)
    # patches of 20 and 30 dB have the mean error 0.0055; 110 dB is beyond the cap
    wanted = torch.tensor([40 + 10 * torch.log10(torch.tensor(0.0055)), 0])
    torch.testing.assert_close(term.generator(p).values, wanted)
    torch.testing.assert_close(term.true(truth + 0.2, truth), torch.tensor([20.0, 20.0]))
    torch.testing.assert_close(term.true(truth, truth), torch.tensor([40.0, 40.0]))


def test_regressor_must_be_a_discriminator() -> None:
    nets = Nets(Translator(film_restorer(DOMAIN, DOMAIN)), extra={"psnr": nn.Identity()})
    image = torch.zeros(1, 1, SIDE, SIDE)
    term = loss("psnr_regressor")
    with pytest.raises(RecipeError, match=r"nets\.extra\.psnr"):
        term.generator(passes(image, image, image, nets))
    with pytest.raises(RecipeError, match=r"nets\.extra"):
        term.generator(passes(image, image, image))


def taught() -> Nets:
    """Return networks whose teacher's features are a half and a tenth of the image."""
    nets = Nets(Translator(film_restorer(DOMAIN, DOMAIN)))
    teacher = part("generator", {"name": "resnet", "width": 4, "blocks": 1, "downs": 1})(DOMAIN, DOMAIN)
    layer = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 0.1]).view(2, 1, 1, 1))
    teacher.features, teacher.encode = 2, lambda image, summary=None: (image, layer(image))
    teacher.layer = layer
    nets.set_teacher(Translator(teacher))
    return nets


def test_perceptual_is_the_square_difference_of_features() -> None:
    truth = 0.5 * torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    nets = taught()

    def value(restored: Tensor, **options: object) -> float:
        p = passes(restored, truth, truth, nets)
        return float(p.mean(loss("perceptual", **options).generator(p)))

    error, power = noise.square().mean((1, 2, 3)), truth.square().mean((1, 2, 3))
    assert value(truth + noise, normalise=False) == pytest.approx(float(error.mean()) * (0.25 + 0.01) / 2, rel=1e-4)
    floor = 0.01 * (0.25 + 0.01) / 2
    shares = 0.25 / (0.25 + floor) + 0.01 / (0.01 + floor)
    assert value(truth + noise) == pytest.approx(float((error / power).mean()) * shares / 2, rel=1e-4)
    assert value(truth) == 0
    for other in (truth + 0.1, truth * 0.9, truth.roll(1, 3), nn.functional.avg_pool2d(truth, 3, 1, 1)):
        assert value(other) > 1e-3


def test_perceptual_reaches_the_image_and_not_the_teacher() -> None:
    nets, truth = taught(), phantoms(2)
    restored = (truth + 0.1).requires_grad_()
    p = passes(restored, truth, truth, nets)
    p.mean(loss("perceptual").generator(p)).backward()
    assert float(restored.grad.abs().min()) > 0
    assert all(one.grad is None for one in nets.teacher.parameters())


def test_perceptual_requires_a_teacher() -> None:
    image = torch.zeros(1, 1, SIDE, SIDE)
    with pytest.raises(RecipeError, match=r"nets\.teacher"):
        loss("perceptual").generator(passes(image, image, image))


def run(folder: Path, nets: dict[str, Any], losses: list[Any]) -> Run:
    films = {"name": "phantom", "side": "b", "count": 4, "size": [32, 32]}
    spec = {
        "name": "tiny",
        "data": {
            "size": [32, 32],
            "a": {"name": "degraded", "dataset": films, "degradation": "noise"},
            "b": "same",
            "batch": 2,
        },
        "nets": nets,
        "losses": losses,
        "train": {"steps": 3, "log_every": 1},
        "evaluate": {"metrics": ["psnr"], "resamples": 20},
    }
    loaded = plugins.load()
    path = folder / "recipe.json"
    made = recipe.resolved(spec, str(path), loaded)
    return build.build(made, loaded, folder, verify=lambda line: None)


def values(of: Run) -> list[dict[str, float]]:
    return [event.values for event in train(of) if isinstance(event, Stepped)]


RESTORER = {"name": "film_restorer", "tone": 0}


def test_recipe_trains_with_the_regressor(tmp_path: Path) -> None:
    term = {"name": "psnr_regressor", "weight": 0.01}
    nets = {"generator": RESTORER, "extra": {"psnr": {"discriminator": MASTER}}}
    of = run(tmp_path / "run", nets, ["paired", term])
    before = [p.clone() for p in of.nets.extra["psnr"].parameters()]
    found = values(of)
    assert {"generator.psnr_regressor", "psnr.psnr_regressor"} <= found[-1].keys()
    assert any(not torch.equal(p, old) for p, old in zip(of.nets.extra["psnr"].parameters(), before, strict=True))
    with pytest.raises(RecipeError, match=r"nets\.extra"):
        run(tmp_path / "other", {"generator": RESTORER}, ["paired", term])


def test_recipe_trains_with_the_features_of_a_classifier(tmp_path: Path) -> None:
    body = {"name": "resnet", "width": 4, "blocks": 1, "downs": 1}
    classifier = run(tmp_path / "classifier", {"generator": body, "head": "classify"}, ["paired", "task"])
    classifier.begin("test")
    list(train(classifier))
    of = run(tmp_path / "run", {"generator": RESTORER, "teacher": str(classifier.folder)}, ["paired", "perceptual"])
    found = values(of)
    assert all(one["generator.perceptual"] > 0 for one in found)
    assert "perceptual" not in "".join(name for name, _ in of.nets.named_parameters())
