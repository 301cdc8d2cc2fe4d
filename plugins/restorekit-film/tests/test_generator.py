"""The generator: identity at the start, monotone curves, stated halo and sizes, and what its variance does."""

import pytest
import torch
from restorekit_film import effects
from restorekit_film.generator import FilmRestorer, film_restorer
from restorekit_film.tone import Bend
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from restorekit import Domain, RecipeError
from restorekit.discovery import plugins


def make(channels: int = 1, **options: object) -> FilmRestorer:
    domain = Domain("a", channels, (64, 64))
    torch.manual_seed(0)
    made: FilmRestorer = plugins.load().parts.resolve("generator", {"name": "film_restorer", **options})(domain, domain)
    return made


def drawn(net: FilmRestorer, scale: float = 0.05) -> FilmRestorer:
    """Return the network with its zero layers drawn, so that it does something."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.copy_(scale * torch.randn(parameter.shape, generator=rng))
    return net.eval()


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


SELFONN = {"layer": {"name": "selfonn", "q": 3}, "activation": "tanh"}


@pytest.mark.parametrize(
    "options", [{}, {"size": "base"}, {"upsample": "shuffle"}, {"tone": 0}, {"haze": True}, SELFONN]
)
def test_untrained_is_exactly_the_identity(options: dict[str, object]) -> None:
    x = image(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(make(**options)(x)[0], x)


@pytest.mark.parametrize(("size", "millions", "most"), [("tiny", 0.31, 60), ("base", 1.45, 120)])
def test_sizes_hold_what_is_stated(size: str, millions: float, most: float) -> None:
    net = make(size=size)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image(1, 1, 256, 256))
    assert counter.get_total_flops() / 1e9 / (256 * 256 / 1e6) <= most


def test_input_of_every_operational_layer_is_within_one() -> None:
    net = drawn(make(tone=0, **SELFONN), scale=1)
    largest: list[float] = []
    for layer in net.modules():
        if type(layer).__name__ == "Operational":
            layer.register_forward_pre_hook(lambda _, inputs: largest.append(float(inputs[0].abs().max())))
    with torch.no_grad():
        net(image(1, 1, 64, 64))
    assert len(largest) == 20
    assert max(largest) <= 1


@pytest.mark.parametrize("options", [{"size": "tiny"}, {"size": "base"}, {"upsample": "shuffle"}])
def test_gradients_reach_no_farther_than_the_halo(options: dict[str, object]) -> None:
    net = drawn(make(tone=0, **options))
    x = (0.1 * image(1, 1, 256, 8)).requires_grad_()
    net(x)[0][0, 0, 128, 4].backward()
    reached = x.grad[0, 0].abs().sum(1).nonzero()[:, 0]
    far = max(128 - int(reached.min()), int(reached.max()) - 128)
    assert net.halo / 2 < far <= net.halo


def test_tile_with_its_halo_and_summary_is_exact() -> None:
    net = drawn(make())
    x = image(1, 1, 320, 32)
    with torch.no_grad():
        whole, summary = net(x)[0], net.summary(x)
        tile = net(x[:, :, 40:280], summary)[0]
    torch.testing.assert_close(tile[:, :, net.halo : -net.halo], whole[:, :, 40 + net.halo : 280 - net.halo])


def test_curves_never_fall_and_are_shrunk_by_their_variance() -> None:
    net = drawn(make(structure=0, caution=1), scale=1.0).requires_grad_(False)
    ramp = torch.linspace(-1, 1, 500).view(1, 1, 20, 25)
    bend = net.bend(ramp)
    assert (bend.values.diff() >= 0).all()
    applied = [net.tone.bent(ramp, bend._replace(variance=torch.full((1,), v)), 1.0) for v in (0.0, 0.1, 1e6)]
    assert all((one.flatten().diff() >= -1e-6).all() for one in applied)
    moved = [float((one - ramp).abs().mean()) for one in applied]
    assert moved[0] > moved[1] > moved[2]
    torch.testing.assert_close(applied[2], ramp, atol=1e-5, rtol=0)
    knots = net.tone.bent(net.tone.knots.view(1, 1, 1, -1), bend._replace(variance=torch.zeros(1)), 1.0)
    torch.testing.assert_close(knots.flatten(), bend.values[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(64, 64), (300, 220)])
def test_haze_is_what_scatter_added(shape: tuple[int, int]) -> None:
    tone = make(structure=0, haze=True).tone
    clean = torch.nn.functional.interpolate(image(1, 1, 8, 8), shape, mode="bilinear")
    hazy = effects.scatter(clean[0], 1.5, torch.Generator())[None]
    none = tone.knots.expand(1, 2, -1)
    bend = Bend(none, torch.zeros(1), torch.ones(1), torch.tensor([1.5]))
    assert float((hazy - clean).abs().mean()) > 0.1
    torch.testing.assert_close(tone.bent(hazy, bend, 1.0), clean, atol=0.01, rtol=0)


def test_haze_and_its_curves_are_near_alike_at_any_resolution() -> None:
    net = drawn(make(structure=0, haze=True, caution=0), scale=0.3).requires_grad_(False)
    small, large = (torch.nn.functional.interpolate(image(1, 1, 8, 8), (n, n), mode="bilinear") for n in (128, 512))
    bends = [net.bend(one) for one in (small, large)]
    assert (bends[0].values.diff() >= 0).all()
    assert float((bends[0].values - bends[1].values).abs().mean()) < 0.02
    assert float((bends[0].haze - bends[1].haze).abs()) < 0.02
    shrunk = torch.nn.functional.interpolate(net(large)[0], (128, 128), mode="area")
    assert float((shrunk - net(small)[0]).abs().mean()) < 0.02


def test_strength_scales_what_structure_adds() -> None:
    x = 0.2 * image(1, 1, 64, 64)
    with torch.no_grad():
        whole, half = (drawn(make(tone=0, structure=s))(x)[0] - x for s in (1.0, 0.5))
    torch.testing.assert_close(half, whole / 2, atol=1e-6, rtol=1e-4)


def test_summary_hardly_depends_on_resolution_and_noise() -> None:
    net, coarse = make(), image(1, 1, 8, 8)
    small, large = (torch.nn.functional.interpolate(coarse, (n, n), mode="bilinear") for n in (128, 512))
    noise = 0.1 * torch.randn(large.shape, generator=torch.Generator().manual_seed(0))
    assert float((net.summary(small) - net.summary(large)).abs().max()) < 0.02
    assert float((net.summary(large + noise) - net.summary(large)).abs().mean()) < 0.01


def test_haze_needs_whole_films_of_two_dimensions() -> None:
    assert make(haze=True).halo is None
    assert not make(haze=True).summarises
    line = Domain("a", 1, (64,))
    with pytest.raises(RecipeError, match="2 dimensions"):
        film_restorer(line, line, haze=True)


@pytest.mark.parametrize("options", [{"tone": 0, "structure": 0}, {"size": "huge"}, {"tone": 2}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        make(**options)


def test_channels_must_be_alike() -> None:
    with pytest.raises(RecipeError, match="1 and 3"):
        film_restorer(Domain("a", 1, (64, 64)), Domain("b", 3, (64, 64)))
