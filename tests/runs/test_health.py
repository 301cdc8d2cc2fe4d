"""Training health: a real failure is reported once, a sound run is not, and no run is changed."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from restorekit import DataError, Event, Loss, Noticed, Sampled, Saved, Started, StepDone, Stepped
from restorekit.app import pace, screen
from restorekit.builtin.losses import Adversarial, hinge, lsgan, vanilla
from restorekit.reports.report import report
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.health import FINDINGS, Health, counts_from, monitor
from restorekit.runs.health_measures import change, checkerboard, correlation, discriminator, measured, variation
from restorekit.runs.run import Run
from restorekit.training.train import train

pytestmark = pytest.mark.usefixtures("without_figures")

Build = Callable[..., Run]
SIZES = {1: [64], 2: [32, 32], 3: [8, 16, 16]}
IMAGE_MEASURES = (change, correlation, variation, checkerboard)
NAMED = {finding.name: finding for finding in FINDINGS}
SMOOTH = {"name": "toy", "smooth": 8, "noise": 0.05}
GOOD = {"name": "toy", "side": "b", "smooth": 8}


def noticed(run: Run) -> list[tuple[str, bool]]:
    """Train a run to its end, and return what was noticed."""
    return [(event.name, event.over) for event in train(run) if isinstance(event, Noticed)]


def short(build_run: Build, dims: int = 2, **changes: Any) -> Run:
    """A run that is just long enough for findings to count."""
    train_ = {"train__steps": 120, "train__log_every": 2, "train__sample_every": 20}
    sides = {"data__a": dict(SMOOTH), "data__b": dict(GOOD)}
    return build_run(data__size=SIZES[dims], **{**train_, **sides, **changes})


def from_step(run: Run, step: int) -> Run:
    """Let a run go on from a step, as if it had taken those before."""
    run.step = step
    return run


# Runs that fail


def test_a_huge_identity_weight_without_an_adversary_is_identity_collapse(build_run: Build) -> None:
    run = short(
        build_run,
        dims=1,
        nets__generator={"name": "scale"},
        nets__discriminator=None,
        losses=[{"name": "identity", "weight": 1000}],
        train__optimizer={"lr": 0.05},
        train__schedule={"name": "linear", "start": 0.3},
    )
    assert noticed(run) == [("identity collapse", False)]


def test_two_translators_that_both_invert_satisfy_the_cycle_and_are_found(build_run: Build) -> None:
    run = short(
        build_run,
        dims=3,
        nets__generator={"name": "scale", "by": -0.7},
        nets__discriminator=None,
        losses=["cycle"],
        train__optimizer={"lr": 0.01},
    )
    assert noticed(run) == [("inverted contrast", False)]


def test_a_translator_that_is_taught_one_image_is_mode_collapse(build_run: Build) -> None:
    run = short(
        build_run,
        dims=2,
        data__b={"name": "alike"},
        data__pairing="key",
        nets__discriminator=None,
        nets__generator={"name": "painter"},
        losses=["paired"],
        train__optimizer={"lr": 0.05},
        train__schedule={"name": "linear", "start": 0.3},
    )
    assert noticed(run) == [("mode collapse", False)]


@pytest.mark.parametrize("loss", ["lsgan", pytest.param("vanilla", marks=pytest.mark.full)])
def test_a_discriminator_that_learns_much_faster_than_its_opponent_is_saturated(build_run: Build, loss: str) -> None:
    run = short(
        build_run,
        nets__generator={"name": "scale"},  # it can move, but it cannot take noise away
        nets__discriminator={"name": "patch", "width": 8, "layers": 1},
        data__a={"name": "toy", "smooth": 8, "noise": 0.8},
        losses=[loss, {"name": "cycle", "weight": 10}],
        train__optimizer={"lr": 5e-3},
    )
    assert ("saturated discriminator", False) in noticed(run)


def test_networks_that_learn_much_too_fast_run_away(build_run: Build) -> None:
    run = short(
        build_run,
        nets__generator={"name": "scale"},
        nets__discriminator={"name": "patch", "width": 8, "layers": 1},
        data__a=dict(GOOD),  # discriminators of equal domains cannot saturate
        losses=["hinge", {"name": "cycle", "weight": 10}],
        train__optimizer={"lr": 10.0},
    )
    assert ("runaway discriminator", False) in noticed(run)


@pytest.mark.parametrize(
    ("dims", "upsample"),
    [pytest.param(1, "transpose", marks=pytest.mark.full), (2, "transpose"), (2, "resize")],
)
def test_a_transposed_layer_makes_a_checkerboard_and_resizing_none(build_run: Build, dims: int, upsample: str) -> None:
    run = short(
        build_run,
        dims,
        nets__generator={"name": "resnet", "width": 8, "blocks": 1, "downs": 1, "upsample": upsample},
        losses=["lsgan", "cycle"],
        train__optimizer={"lr": 2e-3},
    )
    # The grid is there from the start, and would not count before.
    assert (("checkerboard", False) in noticed(from_step(run, 100))) is (upsample == "transpose")


# Runs that are sane


def test_a_run_that_restores_has_no_finding_and_its_report_says_what_was_looked_for(build_run: Build) -> None:
    run = short(
        build_run,
        dims=2,
        data__a={"name": "toy", "smooth": 8, "noise": 0.2},
        data__pairing="key",
        nets__discriminator=None,
        nets__generator={"name": "resnet", "width": 8, "blocks": 1, "downs": 1, "upsample": "resize"},
        losses=["paired"],
        train__optimizer={"lr": 5e-3},
    )
    run.begin("test")
    assert noticed(run) == []
    assert json.loads((run.folder / "health.json").read_text())["findings"] == []
    text = report(run.folder).read_text("utf-8")
    assert "Nothing was found" in text
    assert all(finding.name.capitalize() in text for finding in FINDINGS)


def test_a_run_too_short_to_tell_says_so(build_run: Build) -> None:
    run = short(build_run, train__steps=20, train__sample_every=5)
    run.begin("test")
    assert noticed(run) == []
    assert "Too short to tell" in report(run.folder).read_text("utf-8")


# The report, the screen and the files


def test_the_report_tells_what_was_found_and_what_to_do(build_run: Build) -> None:
    run = short(build_run, nets__generator={"name": "scale", "by": -0.7}, nets__discriminator=None, losses=["cycle"])
    run.begin("test")
    list(train(run))
    text = report(run.folder).read_text("utf-8")
    inverted = NAMED["inverted contrast"]
    assert "Inverted contrast</strong>, from step 120 on" in text
    assert inverted.hint in text
    assert f"Inverted contrast at the last: {inverted.means}" in text


def test_the_screen_tells_it_once_when_it_begins_and_once_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    flat = NAMED["mode collapse"]
    events: list[Event] = [
        Started(0, 300, 10, (), ()),
        Noticed(120, flat.name, 0.01, flat.limit, flat.means, flat.hint),
        StepDone(120),
        Noticed(160, flat.name, 0.5, flat.limit, flat.means, flat.hint, over=True),
        StepDone(160),
    ]
    list(screen.ProgressDisplay().over(events))
    lines = [line for line in capsys.readouterr().err.splitlines() if "mode collapse" in line]
    assert lines == [
        f"step 120: mode collapse: {flat.means} (0.01, limit 0.1). {flat.hint}",
        "step 160: mode collapse is over (0.5, limit 0.1)",
    ]


def test_the_screen_tells_what_is_left_and_what_shortens_a_long_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that stands still except for 100 s a step: 2000 steps take more than two days."""
    now = [0.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])

    def events() -> Iterator[Event]:
        yield Started(0, 2000, 10, (), ())
        for step in range(1, 21):
            now[0] += 100
            if step % 10 == 0:
                yield Stepped(step, 0, 1e-4, {"generator.cycle": 0.5})
            yield StepDone(step)
        yield Stepped(2000, 0, 1e-4, {"generator.cycle": 0.5})

    list(screen.ProgressDisplay().over(events()))
    result = capsys.readouterr().err
    assert "step 10/2000  0.01 steps/s  g.cycle 0.500\n" in result
    assert "step 20/2000  0.01 steps/s  2.3 days left  g.cycle 0.500\n" in result
    assert "2000 steps take about 2.3 days" in result
    assert "fewer steps (--set train.steps=860 takes about a day)" in result
    assert result.count("left") == 2


def collapsing(build_run: Build, folder: str) -> Run:
    return short(
        build_run,
        dims=1,
        folder=folder,
        nets__generator={"name": "scale", "by": -0.7},
        nets__discriminator={"name": "patch", "width": 4, "layers": 1},
        losses=["lsgan", {"name": "cycle", "weight": 10}],
        train__steps=130,
        train__save_every=10,
        train__sample_every=10,
        train__log_every=1,
    )


@pytest.mark.parametrize("killed", [pytest.param(95, marks=pytest.mark.full), 117])
def test_a_killed_and_resumed_run_leaves_the_same_health(build_run: Build, killed: int) -> None:
    whole = from_step(collapsing(build_run, "whole"), 80)
    assert ("inverted contrast", False) in noticed(whole)
    first = from_step(collapsing(build_run, "killed"), 80)
    for event in train(first):
        if isinstance(event, StepDone) and event.step == killed:
            break
    with (first.folder / "health.csv").open("a") as file:
        file.write(f"{killed + 1},chan")  # torn by the kill
    second = collapsing(build_run, "killed")
    second.resume(checkpoints(second.folder)[-1])
    events = noticed(second)
    assert (("inverted contrast", False) in events) is (killed < 110), "reported once, not again when the run goes on"
    for name in ("health.csv", "health.json"):
        assert (second.folder / name).read_text() == (whole.folder / name).read_text()


def test_a_new_run_in_an_old_folder_keeps_nothing(build_run: Build) -> None:
    for _ in range(2):
        run = short(build_run, train__steps=20)
        list(train(run))
        rows = list(csv.DictReader((run.folder / "health.csv").read_text().splitlines()))
        assert [int(row["step"]) for row in rows if row["measure"] == "change"] == [20]


def test_a_file_of_another_kind_is_refused_when_a_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "health.csv").write_text("step,measure,value\n200,brightness,0.1\n")
    with pytest.raises(DataError, match=r"health\.csv: cannot be read .*brightness.*move it away"):
        list(monitor([Started(500, 900, 1, (), ())], tmp_path))


def test_health_changes_no_event_and_no_weight(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    one = from_step(short(build_run, folder="one", losses=["lsgan", "cycle"]), 90)
    events = [event for event in train(one) if not isinstance(event, Noticed | Saved)]
    monkeypatch.setattr("restorekit.training.train.monitor", lambda events, folder: events)
    other = from_step(short(build_run, folder="other", losses=["lsgan", "cycle"]), 90)
    without = [event for event in train(other) if not isinstance(event, Saved)]
    assert [type(event) for event in events] == [type(event) for event in without]
    assert [e.values for e in events if isinstance(e, Stepped)] == [e.values for e in without if isinstance(e, Stepped)]
    states = zip(one.nets.state_dict().values(), other.nets.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)


# The checks of rows


def test_noise_of_many_times_the_signal_is_no_mode_collapse() -> None:
    truth = torch.randn(6, 1, 256, generator=torch.Generator().manual_seed(0)).cumsum(-1) / 50
    degraded = truth + 20 * torch.randn(6, 1, 256, generator=torch.Generator().manual_seed(1)).cumsum(-1) / 50
    assert measured({"degraded": degraded, "restored": truth})["variation"] < 0.1
    assert measured({"degraded": degraded, "restored": truth, "truth": truth})["variation"] == pytest.approx(1)


def findings_of(values: list[float], name: str = "variation", steps: int = 1000) -> list[tuple[int, bool]]:
    """Check samples at 100, 200, ... of a run, and return what was noticed."""
    health = Health(steps)
    events = [event for i, value in enumerate(values) for event in health.add(100 * (i + 1), name, value)]
    return [(event.step, event.over) for event in events]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5] * 10, []),
        ([0.0] * 10, [(200, False)]),
        ([0.0, 0.5] * 5, []),
        ([0.5] * 9 + [0.0], [(1000, False)]),
        ([0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.5, 0.5], [(300, False), (800, True)]),
        ([0.0] * 9 + [0.5], [(200, False), (1000, True)]),
        ([0.0, 0.0, math.nan, 0.0, math.nan, math.nan], [(200, False)]),
    ],
    ids=[
        "sane",
        "from the start",
        "never twice in a row",
        "at the last step",
        "begins and ends",
        "ends last",
        "undefined",
    ],
)
def test_two_samples_in_a_row_begin_and_end_it(values: list[float], expected: list[tuple[int, bool]]) -> None:
    assert findings_of(values) == expected


@pytest.mark.parametrize(("steps", "first"), [(50, 100), (900, 100), (8000, 800)])
def test_nothing_counts_at_the_start(steps: int, first: int) -> None:
    assert counts_from(steps) == first
    health = Health(steps)
    assert [health.add(step, "variation", 0.0) for step in range(1, first)] == [[]] * (first - 1)
    assert health.findings == []
    assert health.latest == {}


def test_a_loss_counts_by_its_median_over_a_stretch() -> None:
    def reported(values: Callable[[int], float]) -> list[tuple[int, str, bool]]:
        health = Health(1000)
        events = [event for step in range(10, 1001, 10) for event in health.add(step, "discriminator", values(step))]
        return [(event.step, event.name.split()[0], event.over) for event in events]

    saturated, runaway = (200, "saturated", False), (200, "runaway", False)
    assert reported(lambda step: 0.0) == [saturated]
    assert reported(lambda step: 0.5) == []
    assert reported(lambda step: 0.0 if step % 30 else 2.0) == [saturated], "a spike now and then does not hide it"
    assert reported(lambda step: 2.0 if step % 30 else 0.0) == []
    assert reported(lambda step: 0.0 if step <= 500 else 1.0) == [saturated, (560, "saturated", True)]
    assert reported(lambda step: 0.04 if step % 200 < 100 else 0.06) == [(250, "saturated", False)], "reported once"
    assert reported(lambda step: 1e4) == [runaway]
    assert reported(lambda step: 1e4 if step % 30 == 0 else 1.0) == [], "a spike is not yet one"
    assert reported(lambda step: 8.0 if step % 200 < 100 else 12.0) == [runaway], "reported once"
    assert reported(lambda step: 20.0 if step <= 500 else 1.0) == [runaway, (560, "runaway", True)]
    over = reported(lambda step: 20.0 if step <= 500 else 0.0)
    assert over == [runaway, (560, "runaway", True), (560, "saturated", False)], "from one to the other"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=30), st.integers(0, 30))
def test_rows_checked_again_give_the_same_findings(values: list[float], cut: int) -> None:
    whole, again = Health(3000), Health(3000)
    for name in ("variation", "discriminator"):
        for i, value in enumerate(values):
            whole.add(100 * (i + 1), name, value)
        for i, value in list(enumerate(values))[: cut % len(values)]:
            again.add(100 * (i + 1), name, value)
        for i, value in list(enumerate(values))[cut % len(values) :]:
            again.add(100 * (i + 1), name, value)
    assert again.findings == whole.findings


# The measures


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Poor images and what was made of them, of one to three dimensions."""
    size = draw(st.sampled_from([(64,), (24, 16), (12, 8, 10)]))
    shape = (draw(st.integers(2, 5)), draw(st.integers(1, 2)), *size)
    rng = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.rand(shape, generator=rng) * 2 - 1, torch.rand(shape, generator=rng) * 2 - 1


@settings(max_examples=30, deadline=None)
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(pair: tuple[Tensor, Tensor], rnd: Any) -> None:
    order = list(range(len(pair[0])))
    rnd.shuffle(order)
    for measure in IMAGE_MEASURES:
        value, other = measure(*pair), measure(*(images[order] for images in pair))
        assert other == pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True), measure.__name__


@settings(max_examples=30, deadline=None)
@given(pairs(), st.floats(0.1, 3))
def test_measures_of_images_by_closed_forms(pair: tuple[Tensor, Tensor], gain: float) -> None:
    degraded = pair[0]
    assert change(degraded, degraded) == 0
    assert change(
        degraded, degraded + gain * degraded.flatten(1).std(1, correction=0).reshape(-1, *[1] * (degraded.ndim - 1))
    ) == (pytest.approx(gain, rel=1e-4))
    assert correlation(degraded, gain * degraded - 0.3) == pytest.approx(1)
    assert correlation(degraded, -gain * degraded) == pytest.approx(-1)
    assert variation(degraded, gain * degraded + 0.2) == pytest.approx(gain, rel=1e-4)
    assert variation(degraded, degraded[:1].expand_as(degraded)) == 0
    grid = checkerboard(degraded, gain * degraded)
    assert math.isnan(grid) or grid == pytest.approx(0, abs=1e-3), "what the input has is not the network's"


@pytest.mark.parametrize("size", [(128,), (64, 48), (32, 32, 32), (6, 64, 64)])
@pytest.mark.parametrize("amplitude", [0.05, 0.2])
def test_a_grid_of_period_two_has_its_own_amplitude(size: tuple[int, ...], amplitude: float) -> None:
    axes = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    smooth = sum(torch.sin(axis * (6.0 / n) + 1) for axis, n in zip(axes, size, strict=True)) * 0.3
    degraded = smooth.expand(6, 1, *size)
    board = 1 - 2 * (axes[-1] % 2)  # along one axis: stripes
    restored = degraded + amplitude * board
    expected = amplitude / math.sqrt(float(smooth.var(correction=0)) + amplitude**2)
    assert checkerboard(degraded, restored) == pytest.approx(expected, rel=0.03)
    assert checkerboard(degraded, degraded) == 0
    assert checkerboard(restored, restored) == 0


def test_what_cannot_be_measured_is_not_a_number() -> None:
    flat, image = torch.zeros(3, 1, 16, 16), torch.rand(3, 1, 16, 16)
    assert math.isnan(change(flat, image))
    assert math.isnan(correlation(image, flat))
    assert math.isnan(variation(image[:1], image[:1]))
    assert math.isnan(variation(image[:1].expand(3, -1, -1, -1), image))
    assert math.isnan(checkerboard(image, flat))
    assert math.isnan(checkerboard(image[..., :4, :4], image[..., :4, :4]))
    assert variation(image, flat) == 0
    assert measured({"degraded": image, "restored": flat}).keys() == {"change", "variation"}
    assert measured({"degraded": image, "restored": image * math.nan}) == {}
    assert measured({}) == {}
    assert math.isnan(discriminator({"generator.cycle": 1.0}, {}))


@pytest.mark.parametrize("make", [lsgan, vanilla, hinge])
def test_floor_and_chance_are_what_the_losses_reach(make: Callable[[], Loss]) -> None:
    loss = make()
    assert isinstance(loss, Adversarial)
    scores = torch.linspace(-60, 60, 12001, dtype=torch.float64)
    real, fake = (torch.stack([term(score) for score in scores]) for term in (loss.real, loss.fake))
    assert loss.discriminator_range is not None
    floor, chance = loss.discriminator_range
    assert float((real + fake).min()) == pytest.approx(chance, abs=1e-4), "the same score for both"
    assert float(real.min() + fake.min()) == pytest.approx(floor, abs=1e-6), "each its own score"


def test_a_run_sums_the_ranges_over_its_discriminators(build_run: Build) -> None:
    both = build_run(losses=["lsgan", "cycle", {"name": "hinge", "weight": 2}])
    assert both.ranges == {"discriminator.lsgan": (0.0, 1.0), "discriminator.hinge": (0.0, 4.0)}
    one = build_run(folder="one", losses=["vanilla"], nets__one_way=True)
    assert one.ranges == {"discriminator.vanilla": (0.0, pytest.approx(2 * math.log(2)))}
    started = next(iter(train(one)))
    assert isinstance(started, Started)
    assert discriminator({"discriminator.vanilla": math.log(2)}, started.ranges) == pytest.approx(0.5)
    sampled = [event for event in train(build_run(folder="more")) if isinstance(event, Sampled)]
    assert measured(sampled[-1].images).keys() >= {"change", "variation"}
