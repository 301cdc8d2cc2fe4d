"""What networks cost: counted as by hand, measured in processes that may fail without harm to the others."""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from restorekit import Domain, RecipeError, Task, nd
from restorekit.discovery.plugins import Plugins, load
from restorekit.evaluation import costs
from restorekit.evaluation.costs import CLASSIFY, RESTORE, check_device, multiply_adds
from restorekit.evaluation.profile import (
    Profile,
    Row,
    Target,
    Timing,
    slower_though_smaller,
    summary,
    table,
    targets,
)
from restorekit.io.tables import Table, write_table
from restorekit.recipes import recipe
from restorekit.runs.nets import build_nets, placeholder_domains
from restorekit.runs.run import Run

ROOT = Path(__file__).parents[2]
XRAY = ROOT / "recipes" / "r2cgan_xray.yaml"
SCRIPT = Path(sys.executable).parent / "restorekit"


@settings(deadline=None)  # the first call imports the counter
@given(
    dims=st.integers(1, 3),
    q=st.integers(0, 5),
    groups=st.integers(1, 2),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    transposed=st.booleans(),
    batch=st.integers(1, 3),
)
def test_layers_are_counted_as_by_hand(
    dims: int, q: int, groups: int, kernel: int, stride: int, transposed: bool, batch: int
) -> None:
    """Order q costs q convolutions: every tap of every kernel meets every place once. Order 0: a plain convolution."""
    make = load().parts.resolve("layer", {"name": "selfonn", "q": q})(dims) if q else nd.conv(dims)
    options = {"stride": stride, "groups": groups, "padding": kernel // 2, "transposed": transposed}
    layer = make(4, 6, kernel, **options).to("meta")
    x = torch.empty(batch, 4, *[8] * dims, device="meta")
    with torch.inference_mode():
        places = math.prod((x if transposed else layer(x)).shape[2:])
        assert multiply_adds(lambda: layer(x)) == batch * places * max(q, 1) * 4 * 6 // groups * kernel**dims


class Attentive(nn.Module):
    """Queries, keys and values of 16 x 16 patches, each head's attention over all of them, and what mixes the heads."""

    def __init__(self, heads: int, pairs: int, width: int) -> None:
        super().__init__()
        self.sizes = [n * width for n in (heads, pairs, pairs)]
        self.width = width
        self.patches = nn.Conv2d(3, heads * width, 16, 16)
        self.project = nn.Linear(heads * width, sum(self.sizes))
        self.mixed = nn.Linear(heads * width, heads * width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).mT
        q, k, v = (
            part.unflatten(-1, (-1, self.width)).transpose(1, 2) for part in self.project(tokens).split(self.sizes, -1)
        )
        seen = nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape != k.shape)
        made: torch.Tensor = self.mixed(seen.transpose(1, 2).flatten(2))
        return made


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("heads", "pairs", "width"), [(3, 3, 64), (4, 2, 8), (1, 1, 16)])
def test_attention_is_counted_as_by_hand(device: str, heads: int, pairs: int, width: int) -> None:
    """Every query meets every key, and every value is weighted for every query; heads may share keys and values."""
    net = Attentive(heads, pairs, width).to(device).eval()
    places, wide = 14 * 14, heads * width
    layers = places * wide * (3 * 16 * 16 + wide + 2 * pairs * width + wide)
    with torch.inference_mode():
        image = torch.zeros(2, 3, 224, 224, device=device)
        assert multiply_adds(lambda: net(image)) == 2 * (layers + 2 * heads * places * places * width)


@pytest.mark.parametrize(
    ("variant", "whole", "classify"),
    [("q1", 9.89, 9.78), ("q3", 29.67, 29.33), ("q5", 49.45, 48.88), ("cnn_light", 9.89, 9.78), ("cnn", 99.10, 54.38)],
)
def test_networks_of_the_paper_are_counted_as_by_hand(variant: str, whole: float, classify: float) -> None:
    """GFLOP of one 256 x 256 image, two a multiply-add, summed over the layers' shapes by hand."""
    spec = recipe.load(XRAY, load(), variant=variant)
    with torch.device("meta"), torch.inference_mode():
        net = build_nets(spec, load().parts, placeholder_domains(spec)).ab.eval()
        image = torch.empty(1, 3, 256, 256)
        assert 2e-9 * multiply_adds(lambda: net(image)) == pytest.approx(whole, abs=0.006)
        assert 2e-9 * multiply_adds(lambda: net.raw(image)) == pytest.approx(classify, abs=0.006)


def test_published_parameters_round_as_ours() -> None:
    found = recipe.load_variants(XRAY, load(), ["", "q1", "q3", "q5", "cnn_light", "cnn", "no_task"])
    assert found["no_task"].paper == {}
    for variant in ("", "q1", "q3", "q5", "cnn_light", "cnn"):
        spec = found[variant]
        with torch.device("meta"):
            net = build_nets(spec, load().parts, placeholder_domains(spec)).ab
        assert round(sum(p.numel() for p in net.parameters()), -3) == spec.paper["parameters"]


RISE_AND_FALL = """
import numpy as np
from restorekit.evaluation.costs import peak_memory

def rise_and_fall():
    one = np.ones(96 * 2**20, np.uint8)
    other = np.ones(64 * 2**20, np.uint8)
    del one, other
    np.ones(80 * 2**20, np.uint8)

print(*(peak_memory(call) / 2**20 for call in (rise_and_fall, rise_and_fall, lambda: None)))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system keeps no such mark")
def test_peak_memory_is_the_highest_not_the_last() -> None:
    """In a process of its own, as a profile measures: what others left in this one may go while we look."""
    done = subprocess.run([sys.executable, "-c", RISE_AND_FALL], capture_output=True, text=True, check=True)
    first, second, nothing = map(float, done.stdout.split())
    assert 158 <= first < 168
    assert 158 <= second < 168, "an earlier peak does not hide a later one"
    assert nothing < 1


def profile_of(*rows: Row) -> Profile:
    made = Profile([Target(row.name, RecipeError("none")) for row in rows], [1], "cpu")
    made.rows = {row.name: [row] for row in rows}
    return made


def row(name: str, parameters: int, *ms: float, work: str = CLASSIFY) -> Row:
    return Row(name, work, parameters=parameters, seconds={1: [m / 1000 for m in ms]})


def test_few_parameters_do_not_mean_speed() -> None:
    small, middle = row("small", 1000, 78, 80, 82), row("middle", 9000, 40, 41, 42)
    large, unclear = row("large", 26_000, 40, 40, 44), row("unclear", 30_000, 60, 81, 90)
    alike, other = row("alike", 1100, 10, 10, 10), row("other", 10**6, 1, 1, 1, work=RESTORE)
    assert slower_though_smaller(profile_of(small, middle, large, unclear, alike, other)) == [
        "small has 26.0 times fewer parameters than large and takes 2.0 times as long to classify in batches of 1: "
        "80.0 and 40.0 ms an image."
    ]
    assert slower_though_smaller(profile_of(row("small", 10, 1, 2, 3), row("large", 100, 4, 5, 6))) == []


def test_networks_are_held_against_those_that_take_the_same_images() -> None:
    """Four times the pixels take four times as long, and three channels longer than one."""
    rows = [row("small", 1000, 78, 80, 82), row("large", 26_000, 40, 40, 44), row("other", 9000, 20, 20, 20)]
    spec = recipe.load(XRAY, load())
    for shape in ((3, (32, 32)), (1, (64, 64)), (3, (64, 64, 64))):
        images = {"small": (3, (64, 64)), "large": shape, "other": (3, (64, 64))}
        made = Profile([Target(name, spec, {"a": Domain("a", *images[name])}) for name in images], [1], "cpu")
        made.rows = {one.name: [one] for one in rows}
        assert slower_though_smaller(made) == [
            "small has 9.0 times fewer parameters than other and takes 4.0 times as long to classify in batches of 1: "
            "80.0 and 20.0 ms an image."
        ]


@pytest.mark.parametrize(
    ("count", "cell", "shown"),
    [
        (14_840_000_000, "14.84 G", "14.84"),
        (10_000_000, "0.01 G", "0.01"),
        (9_990_000, "9.99 M", "9.99 M"),
        (10_000, "0.01 M", "0.01 M"),
        (9_999, "9,999", "9,999"),
        (None, "-", "-"),
    ],
)
def test_multiply_adds_of_small_networks_are_not_rounded_away(count: int | None, cell: str, shown: str) -> None:
    found = profile_of(Row("net", CLASSIFY, multiply_adds=count))
    (cells,), (screen,) = table(found).rows, summary(found)[1]
    assert (cells[3], screen[3]) == (cell, shown)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20), st.integers(1, 64))
def test_timing_is_the_middle_and_the_quartiles(seconds: list[float], batch: int) -> None:
    found = Timing.of(seconds, batch)
    each = [1000 * s / batch for s in seconds]
    assert (found.low, found.median, found.high) == pytest.approx(tuple(np.quantile(each, [0.25, 0.5, 0.75])))


def test_what_is_asked_for_and_not_there(tmp_path: Path, spec: Any) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="--device cpu"):
            check_device("cuda")
    with pytest.raises(RecipeError, match="'gpu'"):
        check_device("gpu")
    with pytest.raises(RecipeError, match="gone"):
        targets([tmp_path / "gone"], load(), [])
    with pytest.raises(RecipeError, match=r"--variants: .*'q33'.*'q3'"):
        targets([XRAY], load(), ["q33"])
    plain = tmp_path / "plain.yaml"
    plain.write_text("extends: " + str(XRAY) + "\nname: plain\nvariants: {}\n")
    plain.write_text(plain.read_text().replace("variants: {}", "variants: {own: {data.channels: 1}}"))
    assert [t.name for t in targets([XRAY, XRAY], load(), ["q5"])] == ["r2cgan_xray q5", "r2cgan_xray q5 (2)"]
    names = [t.name for t in targets([XRAY], load(), None)]
    assert "r2cgan_xray" not in names, "the recipe itself is its variant q3"
    assert names == [f"r2cgan_xray {v}" for v in ("q1", "q3", "q5", "cnn_light", "cnn", "no_task")]
    assert [t.domains["a"].channels for t in targets([plain], load(), ["own"])] == [1]


RECIPE = """\
name: tiny
data: {size: [16, 16], a: {name: phantom, side: a}, b: {name: phantom, side: b}}
nets: {generator: {name: resnet, width: 4, blocks: 1, downs: 1}}
losses: [cycle]
train: {steps: 2}
variants:
  wrong: {nets.generator.width: 0}
  deadly: {nets.generator: {name: deadly}}
"""
DEADLY = """
import os, signal
from torch import nn
from restorekit import Generator, hookimpl

class Deadly(Generator):
    features = 1
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
    def encode(self, image):
        if image.device.type != "meta":
            os.kill(os.getpid(), signal.SIGKILL)
        return image, image
    def decode(self, state):
        return self.layer(state)

def deadly(source, target):
    "A network that takes its process with it, as want of memory does."
    return Deadly()

@hookimpl
def register_parts(add):
    add("generator", "deadly", deadly)
"""


def plugin(folder: Path, name: str, code: str) -> None:
    """Write a plugin that is installed wherever the folder is on the path."""
    (folder / f"plugin_{name}.py").write_text(code)
    info = folder / f"restorekit_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: restorekit-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[restorekit]\n{name} = plugin_{name}\n")


def profiled(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Profile tiny.yaml of a folder, with the plugins in it, into costs.csv."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [str(SCRIPT), "profile", "tiny.yaml", *options, "-o", "costs.csv"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "400", "PYTHONPATH": path},
        timeout=250,
        check=False,
    )


@pytest.mark.full
def test_error_is_reported_in_its_row_only(tmp_path: Path) -> None:
    """A variant that cannot be made, one whose process dies, and a batch for which no memory suffices."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    plugin(tmp_path, "deadly", DEADLY)
    options = ["--variants", "all", "--batch", "2", "--batch", "1000000000", "--rounds", "1", "--device", "cpu"]
    done = profiled(tmp_path, *options)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    with (tmp_path / "costs.csv").open(newline="") as stream:
        rows = {found["network"]: found for found in csv.DictReader(stream)}
    assert [*rows] == ["tiny", "tiny wrong", "tiny deadly"]
    good = rows["tiny"]
    spec = recipe.load(tmp_path / "tiny.yaml", load())
    net = build_nets(spec, load().parts, {n: Domain(n, 1, (16, 16)) for n in "ab"}).ab
    assert int(good["parameters"]) == sum(p.numel() for p in net.parameters())
    assert 0 < float(good["ms_2_q1"]) <= float(good["ms_2"]) <= float(good["ms_2_q3"])
    assert int(good["peak_bytes_2"]) > 4 * int(good["parameters"])
    assert good["ms_1000000000"] == ""
    assert good["error"].startswith("batch 1000000000: out of memory: it tried to allocate ")
    assert (good["does"], good["threads"], good["precision"]) == ("restore", os.environ["OMP_NUM_THREADS"], "fp32")
    assert "nets.generator.width: generator 'resnet': width must be" in rows["tiny wrong"]["error"]
    assert rows["tiny deadly"]["error"] == "the process was killed (signal 9), most likely out of memory"
    first = [line.partition(":")[0] for line in done.stderr.splitlines() if not line.startswith("error: ")]
    assert first == ["tiny, restore", "tiny wrong, restore", "tiny deadly, restore"], (
        "each is reported when it is measured"
    )


GREEDY = """
import os, signal
from torch import nn
from restorekit import Generator, hookimpl

class Greedy(Generator):
    features = 1
    def __init__(self, job):
        super().__init__()
        self.layer, self.job = nn.Conv2d(1, 1, 1), job
    def encode(self, image):
        return image, self.layer(image)
    def decode(self, state):
        job = "memory" if "MALLOC_MMAP_THRESHOLD_" in os.environ else "time"
        if job == self.job and len(state) == 3 and state.device.type != "meta":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(state)

def greedy(source, target, *, job: str):
    "A network that takes its process with it when it restores three images at once, in one of the two measurements."
    return Greedy(job)

@hookimpl
def register_parts(add):
    add("generator", "greedy", greedy)
"""
GREEDY_RECIPE = """\
name: greedy
data: {size: [8, 8], a: {name: phantom, side: a}, b: {name: phantom, side: b}}
nets: {generator: {name: greedy, job: time}, head: classify}
losses: [cycle, task]
train: {steps: 2}
"""


@pytest.mark.full
@pytest.mark.parametrize("job", ["time", "memory"])
def test_a_killed_process_costs_one_batch_of_one_work(tmp_path: Path, job: str) -> None:
    """All else is measured, in every round: the other batches of the work, and the other work at that batch."""
    (tmp_path / "tiny.yaml").write_text(GREEDY_RECIPE.replace("job: time", f"job: {job}"))
    plugin(tmp_path, "greedy", GREEDY)
    batches = [word for batch in (1, 3, 2) for word in ("--batch", str(batch))]
    done = profiled(tmp_path, *batches, "--rounds", "2", "--device", "cpu")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    with (tmp_path / "costs.csv").open(newline="") as stream:
        classify, restore = csv.DictReader(stream)
    assert (classify["does"], classify["error"]) == ("classify", "")
    what = "peak memory: " if job == "memory" else ""
    killed = "the process was killed (signal 9), most likely out of memory"
    assert (restore["does"], restore["error"]) == ("restore and classify", f"batch 3: {what}{killed}")
    assert restore["peak_bytes_3"] == ""
    assert (restore["calls_3"] == "0") == (job == "time")
    timed = [(found, batch) for found in (classify, restore) for batch in "132" if found[f"ms_{batch}"]]
    assert len(timed) == (5 if job == "time" else 6)
    assert all(int(found[f"calls_{batch}"]) >= 10 for found, batch in timed), "five calls in each of two rounds"
    assert all(int(found[f"peak_bytes_{batch}"]) > 0 for found, batch in timed if (found, batch) != (restore, "3"))
    assert int(restore["multiply_adds"]) == 2 * 8 * 8 + 2, "a pixel twice, and two classes"


HANDING = """
import torch
from torch import nn
from restorekit import Generator, hookimpl

class Handing(Generator):
    features = 1
    translates = False
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
    def encode(self, image):
        return image, self.layer(image)
    def decode(self, state):
        return state.clone()

def handing(source, target):
    "Answers; its images are handed through, in memory of their own."
    return Handing()

@hookimpl
def register_parts(add):
    add("generator", "handing", handing)
"""
CLASSIFIER = """\
name: tiny
data: {size: [8, 8], a: {name: phantom, side: a}, b: {name: phantom, side: b}}
nets: {generator: {name: handing}, head: classify, one_way: true}
losses: [task]
train: {steps: 2}
paper: {parameters: 6, encode_and_head: 6}
variants:
  headless: {nets.head: null, losses: [cycle], nets.one_way: false}
"""


def test_of_images_handed_through_only_classifying_is_measured(
    spec: Callable[..., Any], plugins: Plugins, capfd: pytest.CaptureFixture[str]
) -> None:
    domains = {name: Domain(name, 1, (16, 16), Task("class", ("no", "yes"))) for name in "ab"}
    works = [(work, batch) for batch in (1, 2) for work in (CLASSIFY, RESTORE)]
    made = spec(nets__head={"name": "classify"}, losses=["lsgan", "task"])
    net = build_nets(made, plugins.parts, domains).ab
    assert costs._meaningful(net, works) == works
    assert capfd.readouterr().out == ""
    net.generator.translates = False
    assert costs._meaningful(net, works) == [(CLASSIFY, 1), (CLASSIFY, 2)]
    assert json.loads(capfd.readouterr().out) == {"handed_through": True}
    net.head = None
    with pytest.raises(RecipeError, match=r"^nets\.head: "):
        costs._meaningful(net, works)


@pytest.mark.full
def test_a_classifier_has_no_restoring_to_measure(tmp_path: Path) -> None:
    """From the command, with times and memory: one row, to classify; without a head, nothing and one line."""
    (tmp_path / "tiny.yaml").write_text(CLASSIFIER)
    plugin(tmp_path, "handing", HANDING)
    done = profiled(tmp_path, "--variants", "all", "--batch", "2", "--rounds", "1", "--device", "cpu")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    with (tmp_path / "costs.csv").open(newline="") as stream:
        found, headless = csv.DictReader(stream)
    assert (found["does"], found["parameters"], found["published"], found["error"]) == (CLASSIFY, "6", "6.0", "")
    assert int(found["multiply_adds"]) == 8 * 8 + 2, "a pixel once, and two classes"
    assert float(found["ms_2"]) > 0
    assert int(found["calls_2"]) >= 2
    assert int(found["peak_bytes_2"]) > 4 * 64 * 2
    assert headless["network"] == "tiny headless"
    assert headless["error"].startswith("nets.head: the generator hands its images through")


NASTY = 'a|b & <i>50 %</i> of $x_1$ \\ "q"\n#'


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
        assert tag != "i"

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_tables_of_every_format(tmp_path: Path) -> None:
    made = Table("Title", ["name", "n"], [[NASTY, "1"], ["plain", "2"]], ["A note."], numbers=[{"name": NASTY, "n": 1}])
    for end in ("md", "tex", "html", "csv"):
        write_table(tmp_path / f"t.{end}", made)
    parser = Cells()
    parser.feed((tmp_path / "t.html").read_text())
    assert parser.cells[2] == NASTY
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [{"name": NASTY, "n": "1"}]
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[2:5] == ["| name | n |", "| --- | ---: |", '| a\\|b & <i>50 %</i> of $x_1$ \\ "q" # | 1 |']
    assert lines[-1] == "A note."
    tex = (tmp_path / "t.tex").read_text()
    assert r'a$|$b \& $<$i$>$50 \%$<$/i$>$ of \$x\_1\$ \textbackslash{} "q"' in tex
    assert tex.count(" \\\\\n") == 3
    with pytest.raises(RecipeError, match=r"t\.xlsx: .*\.md, \.csv, \.tex, \.html"):
        write_table(tmp_path / "t.xlsx", made)


def test_a_table_for_latex_compiles(tmp_path: Path, compiled: Callable[[str], str]) -> None:
    wide = Table(NASTY, ["name", *["a number"] * 20], [[NASTY, *["12,345.6"] * 20]], [NASTY, "A note."])
    write_table(tmp_path / "t.tex", wide)
    assert "Overfull" not in compiled((tmp_path / "t.tex").read_text())


def test_a_run_is_profiled_with_its_own_classes(build_run: Callable[..., Run], plugins: Plugins) -> None:
    sides = {f"data__{side}__classes": ["x", "y", "z"] for side in "ab"}
    made = build_run("three", nets__head={"name": "classify"}, losses=["lsgan", "task"], **sides)
    made.begin("test")
    (target,) = targets([made.folder], plugins, None)
    assert len(target.domains["a"].classes) == 2, "nothing is known yet: two are taken for granted"
    made.save()
    (target,) = targets([made.folder], plugins, [])
    assert (target.name, target.domains["a"].classes) == ("three", ("x", "y", "z"))
