"""`restorekit analyze` as people use it: numbers, cards, sorting, and files that are no images."""

import csv
import re
import signal
import statistics
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from restorekit_analysis import files, sorting
from restorekit_analysis.card import write_card
from restorekit_analysis.files import Row, analyse, found_images, write_csv
from restorekit_analysis.measures import MEASURES
from restorekit_analysis.severity import SCALES

from restorekit import DataError, RecipeError, read_image, read_manifest, write_image
from restorekit.app.cli import main
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.runs import build

VOID = {"meta", "img", "rect", "use", "path"}


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the command line and returns its exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["restorekit", "analyze", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        result = capsys.readouterr()
        assert "Traceback" not in result.out + result.err
        return Result(stopped.value.code or 0, result.out, result.err)

    return call


@pytest.fixture(scope="module")
def phantoms():
    """Twelve clean chest phantoms, (1, 96, 96)."""
    made = plugins.load().parts.resolve("dataset", {"name": "phantom", "side": "b", "count": 12, "size": [96, 96]})(
        None, "train"
    )
    return [made.load(i, torch.Generator().manual_seed(i)).image for i in range(12)]


@pytest.fixture
def folder(tmp_path, phantoms):
    """Images 00 to 05 are clean, 06 to 11 ever noisier."""
    rng = torch.Generator().manual_seed(0)
    for i, image in enumerate(phantoms):
        noise = max(0, i - 5) * 0.04 * torch.randn(image.shape, generator=rng)
        write_image(tmp_path / "images" / f"{i:02d}.png", (image + noise).clamp(-1, 1).numpy())
    return tmp_path / "images"


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


class Page(HTMLParser):
    """Keeps text and links; fails at the first tag that closes another, and at any link to elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.uses, self.words, self.images = [], [], [], [], 0
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())
        assert {use[1:] for use in self.uses} <= set(self.ids)
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.uses += [attrs[n] for n in ("href", "src") if n in attrs and not attrs[n].startswith("data:image/")]
        assert tag != "script"
        if tag == "img":
            self.images += 1
            assert attrs["alt"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def page(path):
    text = path.read_text("utf-8")
    assert not re.search(r"https?://", text.replace("http://www.w3.org", ""))
    return Page(text)


# Numbers


def test_a_row_a_file_in_order(run, folder, tmp_path):
    result = run(folder, "--csv", tmp_path / "out.csv", "--jobs", 3)
    assert result.code == 0
    assert "12 images measured, 0 could not be used" in result.out
    rows = table(tmp_path / "out.csv")
    assert [Path(row["path"]).name for row in rows] == [f"{i:02d}.png" for i in range(12)]
    assert list(rows[0]) == ["path", "height", "width", *MEASURES, "quality", "error"]
    noise = [float(row["noise"]) for row in rows]
    assert noise[6:] == pytest.approx([0.02 * n for n in range(1, 7)], rel=0.2)
    assert max(noise[:6]) < noise[6]
    run(folder, "--csv", tmp_path / "again.csv", "--jobs", 1)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_few_images_are_listed_one_per_line(run, folder):
    result = run(folder / "11.png", folder / "00.png")
    assert re.search(r"11\.png: .*very noisy", result.out)
    assert "noisy" not in next(line for line in result.out.splitlines() if "00.png" in line)


def test_many_images_are_summarised_by_medians(run, folder, tmp_path):
    for i in range(10):
        write_image(folder / f"more{i}.png", read_image(folder / "00.png")[0])
    result = run(folder)
    assert re.search(r"noise +median +0\.0\d+", result.out)


BAD = {
    "text.png": b"no image at all",
    "empty.jpg": b"",
    "cut.png": None,
    "nan.npy": np.full((40, 40), np.nan, np.float32),
    "volume.npy": np.zeros((8, 40, 40), np.float32),
}


@pytest.fixture
def bad(folder):
    """The folder, with five files that cannot be used among the others."""
    for name, content in BAD.items():
        if name == "cut.png":
            content = (folder / "00.png").read_bytes()[:900]
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            np.save(folder / name, content)
    return folder


def test_bad_files_are_named_counted_and_stop_nothing(run, bad, tmp_path):
    result = run(
        bad, "--csv", tmp_path / "out.csv", "-o", tmp_path / "card.html", "--sort", "--to", tmp_path / "sorted"
    )
    assert result.code == 3
    assert "12 images measured, 5 could not be used" in result.out
    assert all(re.search(rf"^error: .*{re.escape(name)}: ", result.err, re.MULTILINE) for name in BAD)
    rows = {Path(row["path"]).name: row for row in table(tmp_path / "out.csv")}
    assert len(rows) == 17
    for name, row in rows.items():
        assert bool(row["error"]) == (name in BAD)
        assert bool(row["noise"]) != (name in BAD)
    text = page(tmp_path / "card.html").text
    assert "5 files could not be used" in text
    assert all(name in text for name in BAD)
    assert len(table(tmp_path / "sorted" / "manifest.csv")) == 10


def test_only_bad_files_leave_no_card_behind(run, bad, tmp_path):
    result = run(bad / "text.png", "-o", tmp_path / "card.html")
    assert result.code == 3
    assert not (tmp_path / "card.html").exists()
    assert "0 images measured, 1 could not be used" in result.out


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 50), (3, 40, 50), (1, 20, 20)])
def test_images_of_every_size_and_colour(run, tmp_path, shape):
    write_image(tmp_path / "x.png", np.zeros(shape))
    result = run(tmp_path / "x.png", "--csv", tmp_path / "out.csv", "-o", tmp_path / "card.html")
    assert result.code == 0
    (row,) = table(tmp_path / "out.csv")
    assert (int(row["height"]), int(row["width"])) == shape[1:]
    assert float(row["contrast"]) == 0
    assert row["blur"] == "nan"
    assert "not defined" in page(tmp_path / "card.html").text


def test_wrong_options_give_one_line_errors(run, folder, tmp_path):
    (tmp_path / "none").mkdir()
    for arguments, line in (
        ([tmp_path / "absent"], "absent: no such file or folder"),
        ([tmp_path / "none"], "none: holds no image"),
        ([folder, "--quantiles", "0.1", "0.2"], "--quantiles: is an option of sorting; add --sort"),
        ([folder, "--sort", "--quantiles", "0.6", "0.2"], "0 <= LOW <= HIGH <= 1; got 0.6 0.2"),
        (
            [folder, "--sort", "--threshold", "noize=1"],
            "no measure to sort by is called 'noize'. Did you mean 'noise'?",
        ),
        ([folder, "--sort", "--threshold", "noise=a:b"], "takes MEASURE=GOOD:POOR, such as noise=0.02:0.05"),
        ([folder, "--sort", "--threshold", "noise=nan"], "takes MEASURE=GOOD:POOR"),
        (
            [folder, "--sort", "--threshold", "noise=1", "--quantiles", "0.1", "0.2"],
            "--quantiles and --threshold: one way of sorting at a time",
        ),
    ):
        result = run(*arguments)
        assert result.code == 2
        assert line in result.err


def test_a_declared_range_is_every_files(run, folder, tmp_path):
    plain = read_image(folder / "00.png")[0]
    deep = ((plain[0].numpy() + 1) / 2 * 4095).round().astype(np.uint16)  # 12 bits in 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for arguments in (
        (folder / "00.png", "--csv", tmp_path / "a.csv"),
        (tmp_path / "deep.png", "--csv", tmp_path / "b.csv"),
    ):
        ranged = ("--range", 0, 4095) if arguments[0].name == "deep.png" else ()
        assert run(*arguments, *ranged, "-o", tmp_path / "card.html").code == 0
    (one,), (other,) = table(tmp_path / "a.csv"), table(tmp_path / "b.csv")
    for name in ("exposure", "contrast", "mean_level", "blur"):
        assert float(other[name]) == pytest.approx(float(one[name]), abs=0.01), name
    assert run(tmp_path / "deep.png", "--range", 0, 100).code == 3  # values outside of it


def test_images_of_one_name_are_shown_with_their_folders(run, tmp_path):
    rng = np.random.default_rng(0)
    for place in ("before/1.png", "after/1.png", "after/2.png"):
        write_image(tmp_path / place, rng.uniform(-1, 1, (1, 64, 64)).astype(np.float32))
    assert run(tmp_path / "before", tmp_path / "after", "-o", tmp_path / "card.html").code == 0
    shown = set(re.findall(r"<h3[^>]*>([^<]*)</h3>", (tmp_path / "card.html").read_text("utf-8")))
    assert {"before/1.png", "after/1.png", "2.png"} <= shown


def test_ctrl_c_keeps_what_is_done(run, folder, tmp_path, monkeypatch):
    real = files.analyse_file

    def interrupted(path, range):
        if path.name == "05.png":
            signal.raise_signal(signal.SIGINT)  # reaches the main thread, as Ctrl-C does
        return real(path, range)

    monkeypatch.setattr(files, "analyse_file", interrupted)
    result = run(folder, "--csv", tmp_path / "out.csv", "-o", tmp_path / "card.html", "--jobs", 1)
    assert result.code == 130
    done = [Path(row["path"]).name for row in table(tmp_path / "out.csv")]
    assert 0 < len(done) <= 6
    assert done == [f"{i:02d}.png" for i in range(len(done))]
    assert page(tmp_path / "card.html").images == len(done)
    assert f"stopped after {len(done)} of 12 files" in result.err


def test_who_stops_listening_is_not_kept_waiting(folder):
    rows = analyse(found_images([folder]), jobs=2)
    assert next(rows).path.name == "00.png"
    rows.close()
    assert list(rows) == []


def test_a_path_counts_once(folder):
    assert len(found_images([folder, folder / "00.png", folder])) == 12


def test_a_table_of_nothing_has_a_head(tmp_path):
    write_csv(tmp_path / "out.csv", [])
    assert (tmp_path / "out.csv").read_text().startswith("path,height,width,noise,")


# Cards


def test_the_card_of_a_folder(folder, tmp_path):
    rows = list(analyse(found_images([folder])))
    write_card(tmp_path / "card.html", rows, "films <b>")
    found = page(tmp_path / "card.html")
    assert "films <b>" in found.text
    assert "Not for diagnosis" in found.text
    assert found.images == 12
    assert "very noisy" in found.text
    assert f"{statistics.median(row.values['noise'] for row in rows):.4f} (" in found.text
    first, last = (found.text.index(name) for name in ("11.png", "00.png"))
    assert first < last, "the poorest stands first"
    assert "100 0.1" not in found.text
    before = (tmp_path / "card.html").read_bytes()
    write_card(tmp_path / "card.html", rows, "films <b>")
    assert (tmp_path / "card.html").read_bytes() == before


def test_the_card_of_an_image(folder, tmp_path):
    rows = list(analyse([folder / "11.png"]))
    write_card(tmp_path / "card.html", rows, "11.png")
    found = page(tmp_path / "card.html")
    assert "Very noisy" in found.text or "very noisy" in found.text
    assert f"{rows[0].values['noise']:.4f}" in found.text
    assert "Percentile" not in found.text, "there is nothing to compare one image with"
    assert found.images == 1


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.full), 12])
def test_a_card_lays_out_without_broken_words_on_a_desktop_and_a_phone(folder, tmp_path, browsed, count):
    write_card(tmp_path / "card.html", list(analyse(found_images([folder])))[-count:], "films")
    for page in browsed(tmp_path / "card.html"):
        assert page["findings"] == []
        assert page["tables"] >= 1
        assert count == 1 or page["top"] < 900


def test_a_card_of_many_images_shows_the_ends(folder, tmp_path, monkeypatch):
    from restorekit_analysis import card

    monkeypatch.setattr(card, "MOST", 4)
    write_card(tmp_path / "card.html", list(analyse(found_images([folder]))), "many")
    found = page(tmp_path / "card.html")
    assert found.images == 4
    assert "8 images of middle quality are not shown" in found.text
    assert "11.png" in found.text


def test_a_card_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="none could be read"):
        write_card(tmp_path / "card.html", [Row(Path("x.png"), error="x.png: is broken")], "x")


# Sorting


def row(name, **values):
    """Return a row with the values of a clean image, but for those that are given."""
    clean = {name: scale.edges[-1] if scale.words[0] else 0.0 for name, scale in SCALES.items()} | {"exposure": 0.0}
    return Row(Path(name), (64, 64), clean | values)


def test_quantiles_leave_the_middle_out():
    rows = [row(f"{i}", noise=0.01 * i) for i in range(10)]
    found = sorting.by_quantiles(rows, 0.3, 0.8)
    assert found.places == ["good"] * 2 + [""] * 5 + ["poor"] * 3
    assert [found.count(place) for place in ("poor", "good", "")] == [3, 2, 5]
    with pytest.raises(RecipeError, match="LOW <= HIGH"):
        sorting.by_quantiles(rows, 0.8, 0.3)


@pytest.mark.parametrize(
    ("count", "low", "high", "counts"),
    [
        (6, 0.4, 0.6, (2, 2, 2)),
        (5, 0.4, 0.6, (2, 2, 1)),
        (7, 0.5, 0.5, (4, 3, 0)),
        (10, 0, 1, (0, 0, 10)),
        (3, 0, 0, (0, 3, 0)),
    ],
)
@pytest.mark.parametrize("alike", [False, True])
def test_quantiles_take_as_many_images_as_asked_for(count, low, high, counts, alike):
    rows = [row(f"{i}", noise=0.05 if alike else 0.01 * i) for i in range(count)]
    found = sorting.by_quantiles(rows, low, high)
    assert tuple(found.count(place) for place in ("poor", "good", "")) == counts


def test_thresholds_say_which_way_is_worse():
    rows = [
        row("good", noise=0.01, contrast=0.3),
        row("between", noise=0.03, contrast=0.3),
        row("noisy", noise=0.05, contrast=0.3),
        row("flat", noise=0.01, contrast=0.1),
        row("unknown", noise=float("nan"), contrast=0.3),
    ]
    found = sorting.by_thresholds(rows, {"noise": (0.02, 0.05), "contrast": (0.2, 0.12)})
    assert found.places == ["good", "", "poor", "poor", ""]
    assert sorting.by_thresholds(rows, {"noise": (0.02, 0.02)}).places == ["good", "poor", "poor", "good", ""]
    assert sorting.by_thresholds(rows, {"contrast": (0.2, 0.2)}).places == ["good", "good", "good", "poor", "good"]
    wrong = [row("dark", exposure=1.5), row("bright", exposure=-1.5), row("right")]
    assert sorting.by_thresholds(wrong, {"exposure": (0.5, 1.0)}).places == ["poor", "poor", "good"]
    with pytest.raises(RecipeError, match="--threshold exposure=-1:-2: "):
        sorting.by_thresholds(wrong, {"exposure": (-1.0, -2.0)})


def test_examples_are_learnt_from():
    rng = np.random.default_rng(0)
    good = [row(f"g{i}", noise=0.01 + 0.005 * rng.random(), blur=float("nan")) for i in range(8)]
    poor = [row(f"p{i}", noise=0.06 + 0.03 * rng.random()) for i in range(8)]
    new = [row("clean", noise=0.012), row("noisy", noise=0.08)]
    found = sorting.by_examples(new, good, poor)
    assert found.places == ["good", "poor"]
    assert "16 of 16 correct when held out" in found.note
    assert sorting.by_examples(new, good, poor).scores == pytest.approx(found.scores)
    uneven = sorting.by_examples(new, good * 6, poor[:4])
    assert "learnt from 48 good and 4 poor examples" in uneven.note
    assert uneven.places == ["good", "poor"], "few examples of one kind weigh as much as many of the other"
    with pytest.raises(DataError, match="4 of each"):
        sorting.by_examples(new, good[:2], poor)


def test_a_sorted_folder_trains(run, folder, tmp_path):
    """The manifest is one that the dataset `manifest` takes; the contact sheet can be read."""
    target = tmp_path / "made" / "sorted"
    result = run(folder, "--sort", "--to", target)
    assert result.code == 0
    assert "5 poor, 5 good, 2 left out" in result.out
    assert "patients are not known" in result.out
    rows, left = table(target / "manifest.csv"), table(target / "left_out.csv")
    assert len(rows) == 10
    assert len(left) == 2
    assert [float(row["score"]) for row in rows] == sorted(float(row["score"]) for row in rows)
    assert {row["domain"] for row in left} == {""}
    assert {"10.png", "11.png"} <= {Path(row["path"]).name for row in rows if row["domain"] == "poor"}
    assert all((target / row["path"]).resolve().is_file() for row in [*rows, *left])
    sheet = read_image(target / "contact.png")[0]
    assert min(sheet.shape[1:]) > 192
    spec = tmp_path / "sorted.yaml"
    spec.write_text(
        f"name: sorted\ndata:\n  root: {target}\n  size: [32, 32]\n"
        "  a: {name: manifest, file: manifest.csv, domain: poor}\n"
        "  b: {name: manifest, file: manifest.csv, domain: good}\n"
        "nets: {generator: {name: resnet, width: 4, blocks: 1, downs: 1}, discriminator: {name: patch, width: 4}}\n"
        "losses: [lsgan]\ntrain: {steps: 1}\nevaluate: {metrics: [noise_level, contrast_level]}\n"
    )
    made = build.build(recipe.load(spec, plugins.load()), plugins.load(), tmp_path / "run", verify=lambda line: None)
    assert made.images.sizes["train"] + made.images.sizes["test"] == 5


def test_sorting_keeps_what_a_manifest_knows(run, folder, tmp_path):
    lines = ["path,domain,label,patient,split"]
    lines += [f"{i:02d}.png,mid,covid,p{i // 2},train" for i in range(12)]
    (folder / "manifest.csv").write_text("\n".join(lines))
    result = run(folder, "--sort", "--to", tmp_path / "sorted")
    assert "patients are not known" not in result.out
    for found in table(tmp_path / "sorted" / "manifest.csv"):
        assert found["label"] == "covid"
        assert found["patient"] == f"p{int(Path(found['path']).stem) // 2}"
        assert found["domain"] in ("poor", "good")


def test_sorting_reads_by_the_ranges_of_a_manifest_and_keeps_them(run, folder, tmp_path, phantoms):
    """Floating point states no range: without that of the manifest it cannot be measured, nor trained on."""
    place, lines = tmp_path / "raw", ["path,low,high"]
    place.mkdir()
    for i, image in enumerate(phantoms[:6]):
        np.save(place / f"{i}.npy", (image[0].numpy() + 1) * 50 * (i + 1))
        lines.append(f"{i}.npy,0,{100 * (i + 1)}")
    (place / "manifest.csv").write_text("\n".join(lines))
    result = run(place, "--sort", "--to", tmp_path / "sorted")
    assert result.code == 0
    rows, _ = read_manifest(tmp_path / "sorted" / "manifest.csv")
    assert len(rows) >= 4
    assert {row.path[-5:]: row.range for row in rows}.items() <= {
        f"{i}.npy": (0.0, 100.0 * (i + 1)) for i in range(6)
    }.items()
    measured = {row["path"][-5:]: float(row["mean_level"]) for row in table(tmp_path / "sorted" / "manifest.csv")}
    assert all(
        value == pytest.approx(float(phantoms[int(name[0])].mean() + 1) / 2, abs=1e-4)
        for name, value in measured.items()
    )


def test_links_to_one_file_stay_images_of_their_own(run, folder, tmp_path):
    """As where a store keeps each content once, and links give it its names."""
    place = tmp_path / "links"
    place.mkdir()
    for i in range(4):
        (place / f"p{i}.png").symlink_to(folder / f"{6 * (i // 2):02d}.png")
    (place / "manifest.csv").write_text("path,patient\n" + "".join(f"p{i}.png,{i}\n" for i in range(4)))
    run(place, "--sort", "--quantiles", 0.5, 0.5, "--to", tmp_path / "sorted")
    rows, _ = read_manifest(tmp_path / "sorted" / "manifest.csv")
    assert sorted((Path(row.path).name, row.patient) for row in rows) == [(f"p{i}.png", str(i)) for i in range(4)]


def test_sorting_by_examples_and_by_thresholds_from_the_command_line(run, folder, tmp_path):
    for place, names in (("g", range(5)), ("p", range(7, 12))):
        for i in names:
            write_image(tmp_path / place / f"{i}.png", read_image(folder / f"{i:02d}.png")[0])
    (tmp_path / "g" / "broken.png").write_bytes(b"no image")
    result = run(folder, "--sort", "--examples", tmp_path / "g", tmp_path / "p", "--to", tmp_path / "one")
    assert result.code == 0, "examples are no files to analyse"
    assert "learnt from 5 good and 5 poor examples; 10 of 10" in result.out
    assert "not learnt from" in result.err
    result = run(folder, "--sort", "--threshold", "noise=0.03:0.05", "--to", tmp_path / "two")
    domains = {Path(r["path"]).stem: r["domain"] for r in table(tmp_path / "two" / "manifest.csv")}
    assert domains["00"] == "good"
    assert domains["11"] == "poor"
    assert "limits of good to poor: noise 0.03 to 0.05" in result.out


def test_levels_of_12_bits_in_16_are_those_of_8_bits(run, tmp_path, phantoms):
    place = tmp_path / "x"
    for at, image in enumerate(phantoms[:3]):
        write_image(place / f"{at}.jpg", image.numpy())
        Image.fromarray(np.rint((image[0].numpy() + 1) * 2047.5).astype(np.uint16)).save(place / f"{at}.png")
    result = run(place, "--csv", tmp_path / "x.csv")
    assert (result.code, "12 bits" in result.out) == (0, True)
    with (tmp_path / "x.csv").open(newline="") as stream:
        levels = {Path(row["path"]).name: float(row["mean_level"]) for row in csv.DictReader(stream)}
    for at in range(3):
        assert levels[f"{at}.png"] == pytest.approx(levels[f"{at}.jpg"], abs=0.01)
    for at in range(3):
        Image.fromarray(np.full((96, 96), 60000 + at, np.uint16)).save(place / f"deep{at}.png")
    result = run(place, "--csv", tmp_path / "y.csv")
    assert result.code == 3, "files of two depths decide nothing, and the others are measured"
    with (tmp_path / "y.csv").open(newline="") as stream:
        errors = {Path(row["path"]).name for row in csv.DictReader(stream) if row["error"]}
    assert errors == {f"{at}.png" for at in range(3)}


def test_scaled_volumes_without_a_range_are_not_measured(run, tmp_path, phantoms):
    nibabel = pytest.importorskip("nibabel")
    made = nibabel.Nifti1Image(np.linspace(-30000, 30000, 96 * 96).reshape(96, 96).astype(np.int16), np.eye(4))
    made.header.set_slope_inter(0.05, 100)
    nibabel.save(made, tmp_path / "ct.nii")
    write_image(tmp_path / "x.png", phantoms[0].numpy())
    result = run(tmp_path, "--csv", tmp_path / "y.csv")
    assert result.code == 3
    assert [bool(row["error"]) for row in table(tmp_path / "y.csv")] == [True, False]
    assert run(tmp_path / "ct.nii", "--range", -1401, 1601).code == 0
