import base64
import csv
import json
import math
import re
import shutil
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from restorekit.core.errors import DataError, either
from restorekit.data import text
from restorekit.data import warnings as data_warnings
from restorekit.reports import distance_sentences, figures, findings
from restorekit.reports.report import report
from restorekit.runs.runfolder import RunFolder

VOID = {"meta", "img", "br", "link", "input", "hr"}
IDS = {
    "psnr": "peak signal to noise ratio, peak 255, mean over images",
    "ssim": "structural similarity, Gaussian window 11, Wang 2004",
    "ms_ssim": "multi-scale SSIM, five scales, Wang 2003",
    "f1": "harmonic mean of precision and sensitivity",
    "accuracy": "share of images whose class is right",
    "auroc": "area under the ROC curve",
}


RENDERED = {
    "test_the_full_report_is_one_sound_page_with_no_outside_links",
    "test_the_page_lays_out_without_broken_words_on_a_desktop_and_a_phone",
    "test_the_same_folder_gives_the_same_page",
    "test_one_spike_does_not_hide_the_rest_of_a_curve",
}
"""Tests that need the figures."""


class Page(HTMLParser):
    """Keeps text, links and open tags; fails at the first tag that closes another."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.tags, self.alts, self.ids, self.words = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        self.links += [attrs[name] for name in ("src", "href") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            self.alts.append(attrs.get("alt"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def png(path, pixels):
    """Write (H, W, 3) uint8 without any library."""
    height, width, _ = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def phantoms(columns, rows=3, size=96, noise=0.0):
    """Return a grid of rings that look a little like something."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    cells = []
    for row in range(rows):
        clean = np.clip(1.1 - np.hypot(x / 0.9, y), 0, 1) + 0.4 * (np.hypot(x - 0.3, y + 0.1 * row) < 0.22)
        line = [clean + (0.25 if c == 0 else noise) * rng.standard_normal(clean.shape) for c in range(columns)]
        cells.append(np.concatenate(line, axis=1))
    grid = np.clip(np.concatenate(cells), 0, 1)
    return np.repeat((grid * 255).astype(np.uint8)[..., None], 3, axis=2)


def entry(value, low, high, n=157):
    return {"value": value, "low": low, "high": high, "n": n}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


HEALTHY = {"change": 0.6, "correlation": 0.9, "variation": 0.8, "checkerboard": 0.01, "discriminator": 0.4}


def recipe():
    return {
        "name": "r2cgan_xray",
        "seed": 0,
        "needs": ["restorekit-selfonn"],
        "data": {
            "root": None,
            "size": [256, 256],
            "channels": 3,
            "fit": "stretch",
            "a": {"name": "r2cgan_folders", "side": "A"},
            "b": {"name": "r2cgan_folders", "side": "B"},
            "augment": {"load": 1.1171875, "flip": True},
            "pairing": "random",
            "batch": 1,
            "val": None,
        },
        "nets": {
            "one_way": False,
            "generator": {"name": "r2cgan_compact", "layer": {"name": "selfonn", "q": 3}},
            "discriminator": {"name": "r2cgan_compact", "layer": {"name": "selfonn", "q": 3}},
            "head": {"name": "classify", "pool": "max"},
        },
        "losses": [
            {"name": "lsgan", "weight": 1, "fakes": "pool"},
            {"name": "cycle", "weight": 10},
            {"name": "identity", "weight": 5},
            {"name": "task", "weight": 0.1, "passes": ["ab", "ba", "aba", "bab", "aa", "bb"]},
        ],
        "train": {
            "epochs": 2000,
            "steps": None,
            "optimizer": {"lr": 2e-4, "betas": [0.5, 0.999], "eps": 1e-7},
            "schedule": {"name": "linear", "start": 0.05},
            "pool": 50,
            "precision": "fp32",
            "keep": "last",
        },
        "evaluate": {"metrics": ["psnr", "ssim", "f1"], "times": 3},
        "loggers": ["csv", "samples"],
        "paper": {"accuracy": 0.9586, "f1": 0.8785, "auroc": 0.97, "f2": 0.8834, "parameters": 0.907e6},
        "paper_note": "The paper trained for 2,000 epochs, this run for 15.",
    }


def counts(control, covid, sources=None, groups=None, skipped=0):
    return {
        "images": control + covid,
        "unlabelled": 0,
        "groups": groups,
        "ungrouped": 0 if groups else control + covid,
        "skipped": skipped,
        "classes": {"control": control, "covid": covid},
        "sources": sources or {},
    }


def scores():
    return {
        "split": "test",
        "step": 3000,
        "kept": "last",
        "times": 3,
        "images": 157,
        "groups": 140,
        "resamples": 1000,
        "confidence": 0.95,
        "positive": "covid",
        "unit": "patient",
        "channel_spread": {"mean": 0.0123, "max": 0.0512},
        "metrics": {
            "psnr": {
                "id": IDS["psnr"],
                "better": "higher",
                "needs": "truth",
                "undefined": None,
                "degraded": entry(18.104, 17.911, 18.322),
                "restored": entry(23.907, 23.6, 24.2),
                "gain": entry(5.803, 5.52, 6.11),
            },
            "ssim": {
                "id": IDS["ssim"],
                "better": "higher",
                "undefined": None,
                "degraded": entry(0.5123, 0.5, 0.525),
                "restored": entry(0.8011, 0.79, 0.81),
                "gain": entry(0.2888, 0.27, 0.3),
            },
            "ms_ssim": {
                "id": IDS["ms_ssim"],
                "better": "higher",
                "undefined": "images are smaller than 161 pixels",
                "degraded": entry(None, None, None),
                "restored": entry(float("nan"), None, None),
                "gain": None,
            },
            "f1": {"id": IDS["f1"], "better": "higher", "undefined": None, "score": entry(0.8513, 0.7821, 0.9104)},
            "accuracy": {"id": IDS["accuracy"], "undefined": None, "score": entry(0.9045, 0.86, 0.94)},
            "auroc": {"id": IDS["auroc"], "undefined": None, "score": entry(0.955, 0.92, 0.98)},
        },
        "confusion": {"classes": ["control", "covid"], "matrix": [[90, 10], [5, 52]]},
    }


@pytest.fixture(autouse=True)
def figures_unrendered(request):
    """Render no figure but where it is the subject."""
    if request.node.originalname not in RENDERED:
        request.getfixturevalue("unrendered_figures")


@pytest.fixture
def full(whole, tmp_path):
    """A whole run folder with synthetic data, which a test may change."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture(scope="module")
def shown(whole, tmp_path_factory):
    """The page of the whole run folder."""
    return page(shutil.copytree(whole, tmp_path_factory.mktemp("shown") / "run"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run folder with synthetic data."""
    tmp_path = tmp_path_factory.mktemp("whole")
    write(tmp_path, "recipe.json", recipe())
    write(tmp_path, "recipe.yaml", "# the resolved recipe\nname: r2cgan_xray\nseed: 0\n")
    environment = {
        "restorekit": "1.0.0",
        "plugins": {"restorekit-selfonn": "1.0.0"},
        "python": "3.11.2",
        "torch": "2.7.0",
        "libraries": {"scipy": "1.14.0", "timm": "1.0.16"},
        "device": "cpu",
        "device_name": "x86-64, 2 cores",
        "precision": "bf16",
        "threads": 2,
        "platform": "Linux",
        "seed": 0,
        "command": "restorekit run recipes/r2cgan_xray.yaml --set data.root=PATH",
        "notes": ["precision auto: bf16, the processor has it"],
    }
    write(tmp_path, "environment.json", environment)
    mixed = {"phantom": {"control": 280, "covid": 405}}
    splits = {
        "train": {"a": counts(280, 405, mixed, groups=500), "b": counts(310, 290, groups=480, skipped=2)},
        "test": {"a": counts(100, 57, groups=140)},
    }
    write(tmp_path, "data.json", {"synthetic": True, "splits": splits})
    net = {"generator": "r2cgan_compact", "parameters": 906507, "encode_and_head": 896130}
    critic = {"discriminator": "r2cgan_compact", "parameters": 411075}
    write(tmp_path, "networks.json", {"ab": net, "ba": net, "d_a": critic, "d_b": critic})
    rng = np.random.default_rng(0)
    with (tmp_path / "metrics.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "epoch", "rate", "lsgan", "cycle", "identity", "task", "discriminator"])
        for step in range(1, 3001):
            fall = np.exp(-step / 800)
            noise = rng.gamma(4, 0.25, 5)
            values = np.array([0.3, 0.05 + 0.4 * fall, 0.04 + 0.3 * fall, 0.2 + fall, 0.25]) * noise
            rows.writerow([step, step // 200, 2e-4 * min(1, (3000 - step) / 2850), *values.round(5)])
    with (tmp_path / "validation.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "psnr", "f1"])
        rows.writerows(
            [step, 24 - 5 * np.exp(-step / 700), 0.86 - 0.5 * np.exp(-step / 900)] for step in range(200, 3001, 200)
        )
    rows = [f"{step},{name},{value}" for step in range(250, 3001, 250) for name, value in HEALTHY.items()]
    write(tmp_path, "health.csv", "\n".join(["step,measure,value", *rows, "3000,chan"]))
    write(tmp_path, "health.json", {"steps": 3000, "counts_from": 300, "findings": []})
    for step in range(250, 3001, 250):
        png(tmp_path / f"samples/step_{step:08d}.png", phantoms(4, 2, 64, 0.3 * np.exp(-step / 700)))
    write(tmp_path, "scores/test.json", scores())
    write(tmp_path, "scores/test.csv", "key,psnr\na.png,23\n")
    png(tmp_path / "scores/test.png", phantoms(4, noise=0.03))
    write(tmp_path, "checkpoints/step_00003000/done", "")
    return tmp_path


def page(folder):
    return Page(report(folder).read_text(encoding="utf-8"))


def test_the_full_report_is_one_sound_page_with_no_outside_links(full):
    before = {path.name for path in full.iterdir()}
    found = page(full)
    assert {path.name for path in full.iterdir()} - before == {"report.html"}
    assert all(link.startswith(("data:image/", "#")) or link == "scores/test.csv" for link in found.links)
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert "script" not in found.tags
    assert all(found.alts)
    assert found.tags.count("caption") == found.tags.count("table")
    assert found.tags.count("h1") == 1
    assert "What is missing" not in found.text
    assert "Patients are not known" not in found.text


def test_numbers_shown_are_those_of_the_files(shown):
    text = shown.text
    assert (
        "Restoration raised PSNR against the known clean image from 18.10 dB to 23.91 dB "
        "(95 % interval of the gain 5.52 to 6.11)."
    ) in text
    assert "On 157 test images, F1, for covid against the rest, was 0.851 (95 % interval 0.782 to 0.910)." in text
    assert "Of 57 covid images, 52 were predicted covid." in text
    assert "1,000 bootstrap resamples of 140 patients" in text
    for shown in ("906,507", "896,130", "411,075", "0.801", "0.790 to 0.810", "0.955", "0.012", "0.051", "685", "500"):
        assert shown in text
    assert all(one in text for one in IDS.values())
    assert "restorekit run recipes/r2cgan_xray.yaml --set data.root=PATH" in text
    assert "restorekit==1.0.0 restorekit-selfonn==1.0.0" in text
    assert "Libraries scipy: 1.14.0, timm: 1.0.16" in text
    assert "# the resolved recipe" in text


def test_confusion_matrix_gives_counts_and_shares_of_rows(shown):
    assert re.search(r"true: control 90 90\.0 % 10 10\.0 % true: covid 5 8\.8 % 52 91\.2 %", shown.text)


def test_undefined_scores_say_why(shown):
    text = shown.text
    assert text.count("not defined (images are smaller than 161 pixels)") == 3
    assert "nan" not in text.lower().replace("ahishali", "").split()


def test_papers_numbers_stand_beside_ours_with_the_reason(shown):
    text = shown.text
    assert "accuracy 0.9586 0.904 0.860 to 0.940 \u22120.054 above our interval" in text
    assert "F1 0.8785 0.851 0.782 to 0.910 \u22120.027 inside our interval" in text
    assert "F2 0.8834 not measured" in text
    assert "trained parameters 907,000 906,507" in text
    assert "The paper trained for 2,000 epochs, this run for 15." in text
    assert "synthetic phantoms and the paper used patient images" in text


SET = " --set nets.head.pool=mix --set=losses.task.weight=1 --set train.steps=3000 --set data.size=[256,256]"
PLACES = (
    " --set data.a.path=degraded --set data.b.file=/home/x/m.csv --set data.cache.place=disk --set nets.head.pool=max"
)


@pytest.mark.parametrize(
    ("variant", "command", "expected"),
    [
        (None, "", "tested on 157."),
        (None, SET, "tested on 157; set for it: nets.head.pool=mix, losses.task.weight=1."),
        ("no_task", PLACES, "tested on 157; variant no_task; set for it: nets.head.pool=max."),
        (None, " --set 'torn", "tested on 157."),
    ],
)
def test_beside_the_paper_stands_what_the_run_was(full, variant, command, expected):
    environment = json.loads((full / "environment.json").read_text())
    write(full, "environment.json", environment | {"command": environment["command"] + command})
    write(full, "recipe.json", recipe() | {"variant": variant})
    text = page(full).text
    start = (
        "Why they differ This run: 256 x 256 pixels, 3,000 steps of batch 1 (4.4 epochs) on 685 images of domain a and"
    )
    assert f"{start} 600 of domain b, {expected} The paper trained for 2,000 epochs" in text


def test_beside_the_paper_a_run_that_was_not_scored_says_so(full):
    for name in ("scores/test.json", "metrics.csv"):
        (full / name).unlink()
    write(full, "recipe.json", recipe() | {"data": {"size": [640]}})
    start = "This run: 640 samples, no step yet on 685 images of domain a and 600 of domain b, not tested."
    assert start in page(full).text


def test_the_title_names_the_variant(full):
    write(full, "recipe.json", recipe() | {"variant": "no_task"})
    assert page(full).text.count("r2cgan_xray, variant no_task") == 2


def test_without_test_images_nobody_is_sent_to_evaluate(full):
    for name in ("scores/test.json", "scores/test.png"):
        (full / name).unlink()
    assert "evaluate the run to see" in page(full).text
    data = json.loads((full / "data.json").read_text())
    data["splits"]["test"] = {"a": counts(0, 0), "b": counts(3, 3)}
    write(full, "data.json", data)
    text = page(full).text
    assert "evaluate the run to see" not in text
    assert "No test split: domain a has no test images, so nothing is scored at the end" in text
    assert "What is missing" not in text
    assert "3,000 so far, no test images" in text


def test_the_rate_is_said_to_be_that_of_the_schedule_and_of_version_1_that_of_its_decay(full):
    assert "Schedule linear (start: 0.05)" in page(full).text
    assert "Learning rate constant" not in page(full).text
    old = recipe()
    for key in ("schedule", "optimizer"):
        old["train"].pop(key, None)
    for kept, expected in (({}, "constant"), ({"decay_from": 0.5}, "full for the first 50 %")):
        write(full, "recipe.json", old | {"train": old["train"] | kept})
        assert f"Learning rate {expected}" in page(full).text


def test_one_image_is_no_images():
    one = {"value": 0.0, "n": 1}
    harm = {"harm": {"share": one, "limit": 0.5, "metric": "psnr"}, "split": "test"}
    assert findings.score_sentences({"metrics": {}, **harm})[0].startswith("Of 1 test image, a share of 0.000")
    classes = {"classes": ["a", "b"], "matrix": [[1, 0], [1, 1]]}
    scored = {"metrics": {"f1": {"score": {"value": 1.0, "n": 1}}}, "confusion": classes, "split": "test"}
    assert findings.score_sentences(scored) == [
        "On 1 test image, F1 was 1.000.",
        "Of 1 a image, 1 was predicted a.",
        "Of 2 b images, 1 was predicted b.",
    ]
    assert distance_sentences.good_images({"good": {"images": 1, "split": "test"}, "split": "test"}).startswith(
        "1 test image "
    )


def test_scales_of_charts_have_units(full, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "spreads", lambda spread: drawn.update(spread) or "")
    monkeypatch.setattr(figures, "image_scores", lambda pairs: drawn.update(pairs) or "")
    monkeypatch.setattr(figures, "curves", lambda columns, names, **_: drawn.update(dict.fromkeys(names)) or "")
    blur = {"spread": {"degraded": [0, 1, 2, 3, 4]}, "good": {}, "unit": "px"}
    known = scores()
    write(full, "scores/test.json", known | {"metrics": known["metrics"] | {"blur_level": blur}})
    write(full, "validation.csv", "step,psnr\n1,20\n2,21\n")
    page(full)
    assert {"blur level (px)", "PSNR (dB)"} <= drawn.keys()
    assert "PSNR" not in drawn


def test_without_paper_there_is_no_such_section(full):
    write(full, "recipe.json", {key: value for key, value in recipe().items() if not key.startswith("paper")})
    found = page(full)
    assert "paper" not in found.ids
    assert "#paper" not in found.links


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_banner_tells_phantoms_from_patients(full, synthetic):
    data = json.loads((full / "data.json").read_text())
    write(full, "data.json", data | {"synthetic": synthetic})
    text = page(full).text
    assert ("Synthetic phantoms, no patient images" in text) is synthetic
    assert "Research use. Not for diagnosis." in text


@pytest.mark.parametrize("kept", [["recipe.json"], ["metrics.csv"], ["scores/test.json"], ["samples"], ["data.json"]])
def test_a_partial_folder_says_what_is_missing(full, kept):
    for path in sorted(full.rglob("*"), reverse=True):
        inside = str(path.relative_to(full)).startswith(tuple(kept))
        if path.is_file() and not inside:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    text = page(full).text
    assert "What is missing from this report" in text
    assert "Research use. Not for diagnosis." in text
    assert ("No test scores yet" in text) is (kept != ["scores/test.json"])
    for name in {"recipe.json", "metrics.csv", "scores/test.json"} - set(kept):
        assert f"{name} is not there" in text


def test_files_cut_short_do_not_stop_the_report(full):
    write(full, "scores/test.json", '{"split": "te')
    write(full, "networks.json", "[]")
    write(full, "metrics.csv", "step,epoch,rate,cycle\n1,0,1e-4,0.5\n2,0,1e-4,nan\n3,0,1e-4,\n4,0,1e")
    (full / "scores/test.png").write_bytes(b"\x89PNG\r\n")
    write(full, "validation.csv", "step,psnr\n")
    text = page(full).text
    assert "scores/test.json cannot be read" in text
    assert "networks.json holds no mapping" in text
    assert "scores/test.png is no complete PNG file" in text
    assert "validation.csv has no rows yet" in text
    assert "The run has taken 3 steps" in text


@pytest.mark.parametrize(("images", "missed"), [(0, False), (3, True)])
def test_validation_scores_are_missed_only_where_there_are_images_to_score(full, images, missed):
    (full / "validation.csv").unlink()
    data = json.loads((full / "data.json").read_text())
    data["splits"]["val"] = {"a": {"images": images}}
    write(full, "data.json", data)
    assert ("validation.csv is not there" in page(full).text) is missed


def test_no_run_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="is no run folder"):
        report(tmp_path)
    with pytest.raises(DataError, match="is no run folder"):
        report(tmp_path / "absent")


def test_hostile_names_are_escaped(full):
    bad = "<script>alert('$x^')</script>"
    found = scores() | {"positive": bad}
    found["confusion"]["classes"] = [bad, "covid"]
    found["metrics"][bad] = found["metrics"]["f1"] | {"id": bad}
    write(full, "scores/test.json", found)
    write(full, "recipe.json", recipe() | {"name": bad, "paper": {bad: bad}, "paper_note": bad})
    write(full, "metrics.csv", f"step,{bad}\n1,2\n2,1\n")
    sources = {bad: {bad: 9, "covid": 0}, "other": {bad: 0, "covid": 9}}
    splits = {"train": {"a": counts(0, 9, sources) | {"classes": {bad: 9}}}}
    write(full, "data.json", {"synthetic": False, "splits": splits})
    found = page(full)
    assert "script" not in found.tags
    assert bad in found.text


def test_confounded_sources_and_domains_are_named(full):
    sources = {"nih": {"control": 280, "covid": 0}, "clinic": {"control": 0, "covid": 405}}
    splits = {"train": {"a": counts(280, 405, sources), "b": counts(600, 0)}}
    write(full, "data.json", {"synthetic": False, "splits": splits})
    text = page(full).text
    assert (
        "Class and source are confounded: in the training images of domain a, source nih holds only control, "
        "source clinic holds only covid (Cramér's V 1.00), so accuracy measures source as well as class."
    ) in text
    assert "Class and domain are confounded: in the training images, domain a holds 41 % control and 59 % covid" in text
    assert "The patient is not known of" in text


NIH, CLINIC = {"control": 280, "covid": 0}, {"control": 0, "covid": 405}


def test_confounding_is_reported_once_for_test_images_first(full):
    alone = {"nih": NIH, "clinic": CLINIC}
    nearly = {"nih": {"control": 280, "covid": 4}, "clinic": CLINIC}
    weaker = {"nih": {"control": 280, "covid": 40}, "clinic": {"control": 20, "covid": 405}}
    splits = {
        "train": {"a": counts(280, 409, nearly), "b": counts(280, 405, alone)},
        "val": {"a": counts(280, 405, alone), "b": counts(300, 445, weaker)},
        "test": {"a": counts(280, 409, nearly)},
    }
    write(full, "data.json", {"synthetic": False, "splits": splits})
    text = page(full).text
    assert (
        "Class and source are confounded: in the test images of domain a and the training images of domain a, source "
        "clinic holds only covid (Cramér's V 0.99), so accuracy measures source as well as class. Much the same is "
        "true in the training images of domain b and the validation images of domain a." in text
    )
    assert "Class and source go together in the validation images of domain b (Cramér's V 0.8" in text
    assert text.count("Class and source") == 2


@pytest.mark.parametrize("train", [{"nih": CLINIC, "clinic": NIH}, {"paris": NIH, "rome": CLINIC}])
def test_different_confounding_gets_its_own_sentence(full, train):
    test = {"nih": NIH, "clinic": {"control": 3, "covid": 405}}
    splits = {"train": {"a": counts(280, 405, train)}, "test": {"a": counts(283, 405, test)}}
    write(full, "data.json", {"synthetic": False, "splits": splits})
    text = page(full).text
    assert "Much the same" not in text
    assert text.count("Class and source are confounded") == 2
    assert f"source {next(iter(train))} holds only {'covid' if 'nih' in train else 'control'}" in text


def test_harm_that_an_audit_proves_is_the_first_warning(full):
    found = json.loads((full / "scores/test.json").read_text())
    write(full, "scores/test.json", found | {"changed": "other images"})
    audit = {
        "step": found["step"],
        "headline": ["By a critic."],
        "sentences": ["It said so."],
        "flips": [],
        "scores": {},
    }
    write(full, "scores/audit.json", audit)  # of a version that proved nothing
    assert "Scored on other images" in page(full).text
    write(full, "scores/audit.json", audit | {"proven": ["Restoration does harm."]})
    text = page(full).text
    scores = {"accuracy": {which: {"value": 0.5, "low": 0.4, "high": 0.6} for which in ("degraded", "restored")}}
    write(full, "scores/audit.json", audit | {"scores": scores})
    table = page(full).text.partition("Scores of the audit classifier")[2]
    assert table.index("Degraded") < table.index("Restored") < table.index("accuracy")
    at = [text.index(result) for result in ("Read this before", "Restoration does harm.", "Scored on other images")]
    assert at == sorted(at)


def test_a_run_without_a_head_is_not_warned_of_accuracy(full):
    sources = {"nih": {"control": 280, "covid": 0}, "clinic": {"control": 0, "covid": 405}}
    write(full, "data.json", {"synthetic": False, "splits": {"train": {"a": counts(280, 405, sources)}}})
    plain = recipe()
    write(full, "recipe.json", plain | {"nets": plain["nets"] | {"head": None}})
    text = page(full).text
    assert "(Cramér's V 1.00), so signs of a source pass for signs of a class." in text
    assert "so accuracy" not in text


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((9, 9), (9, 9), []),
        ((9, 0), (9, 9), ["No training image of domain a is covid, so nothing is learnt of it there; if some should"]),
        ((9, 0), (9, 0), ["No training image is covid, so nothing is learnt of it; if some should be, check where"]),
        ((9, 0), (0, 0), ["No training image is covid, so nothing is learnt of it"]),
        ((0, 0), (0, 0), []),
    ],
)
def test_class_without_training_images_gives_a_sentence(a, b, expected):
    warnings = data_warnings.data_warnings({"splits": {"train": {"a": counts(*a, None, 9), "b": counts(*b, None, 9)}}})
    warnings = [sentence for sentence in warnings if sentence.startswith("No training")]
    assert len(warnings) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(warnings, expected, strict=True))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a"], "a"),
        (["a", "b"], "a or b"),
        (list("abcde"), "a, b, c, d or e"),
        (list("abcdefg"), "a, b, c, d, e or another 2"),
    ],
)
def test_words_of_which_one_is_meant(words, expected):
    assert either(words) == expected


def test_balanced_data_raise_no_warning():
    sources = {"x": {"control": 50, "covid": 60}, "y": {"control": 55, "covid": 50}}
    assert (
        data_warnings.data_warnings(
            {"splits": {"train": {"a": counts(105, 110, sources, 90), "b": counts(100, 99, None, 80)}}}
        )
        == []
    )


def test_patients_in_two_splits_are_counted():
    data = {"splits": {}, "shared_groups": ["p1", "p7"]}
    assert "2 patients stand in more than one split, such as p1" in data_warnings.data_warnings(data)[0]


def test_a_side_without_images_is_no_unknown_patient():
    empty = {**counts(0, 0, None, None), "ungrouped": 0}
    assert data_warnings.data_warnings({"splits": {"test": {"a": counts(10, 9, None, 12), "b": empty}}}) == []


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[10, 0], [0, 10]], 1.0),
        ([[5, 5], [5, 5]], 0.0),
        ([[90, 10], [5, 52]], 0.7991),
        ([[3, 4]], None),
        ([[3, 0], [4, 0]], None),
        ([], None),
    ],
)
def test_cramers_v(table, expected):
    found = data_warnings.cramers_v(table)
    assert found is expected if expected is None else found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "better", "degraded", "restored", "gain", "expected"),
    [
        ("mae", "lower", 0.04, 0.01, (-0.031, -0.029), "lowered MAE against the known clean image from 0.040 to 0.010"),
        ("mae", "lower", 0.04, 0.01, (-0.031, -0.029), "and lower is better"),
        ("psnr", "higher", 24.0, 20.0, (-4.2, -3.8), "\u22124.20 to \u22123.80), which is worse"),
        ("sharpness", "higher", 0.5, 0.51, (-0.02, 0.04), "No significant difference in sharpness against"),
    ],
)
def test_sentences_never_call_harm_a_gain(name, better, degraded, restored, gain, expected):
    metric = {"better": better, "needs": "truth", "degraded": entry(degraded, 0, 1), "restored": entry(restored, 0, 1)}
    metric["gain"] = entry(restored - degraded, *gain)
    found = findings.score_sentences({"metrics": {name: metric}, "confidence": 0.95})
    assert expected in found[0]
    assert bool(findings.score_warnings({"metrics": {name: metric}})) is (name == "psnr")


@pytest.mark.parametrize(
    ("groups", "ungrouped", "matrix", "expected"),
    [
        (30, 0, [[9, 1], [0, 10]], []),
        (29, 0, [[9, 1], [0, 10]], ["There are only 29 patients"]),
        (20, 15, [[9, 1], [0, 10]], []),
        (40, 0, [[60, 0], [1, 0]], ["Only one test image is covid"]),
        (40, 0, [[5, 4], [0, 50]], ["Only 9 test images are control"]),
        (40, 0, [[60, 0], [0, 0]], ["No test image is covid"]),
    ],
)
def test_few_patients_or_images_of_a_class_give_a_warning(groups, ungrouped, matrix, expected):
    confusion = {"classes": ["control", "covid"], "matrix": matrix}
    counted = {"groups": groups, "ungrouped": ungrouped, "unit": "patient", "confusion": confusion, "split": "test"}
    warnings = findings.score_warnings(counted)
    assert len(warnings) == len(expected)
    assert all(start in sentence for start, sentence in zip(expected, warnings, strict=True))


@pytest.mark.parametrize(
    ("value", "metric", "expected"),
    [
        (23.907, "psnr", "23.91 dB"),
        (0.85, "f1", "0.850"),
        (1e-5, "mae", "1.0e\u221205"),
        (0, "f1", "0.000"),
        (None, "f1", "not defined"),
        (float("nan"), "psnr", "not defined"),
        (-0.5, "", "\u22120.500"),
    ],
)
def test_numbers_as_text(value, metric, expected):
    assert text.number(value, metric) == expected


def test_downsampling_keeps_means_and_leaves_out_what_is_not_finite():
    y = np.arange(10_000.0)
    y[5] = np.nan
    x, small = figures.downsample(np.arange(10_000.0), y, 100)
    assert len(x) == len(small) == 100
    assert small[1:] == pytest.approx(np.arange(1, 100) * 100 + 50, abs=2)
    assert figures.smooth(np.ones(500)) == pytest.approx(np.ones(500))


def test_training_health_says_what_was_looked_for_also_when_all_is_well(shown):
    text = shown.text
    assert "Nothing was found" in text
    for finding in (
        "Identity collapse",
        "Inverted contrast",
        "Mode collapse",
        "Checkerboard",
        "Saturated discriminator",
        "Runaway discriminator",
    ):
        assert finding in text
    assert "no 0.4 below 0.05" in text, "the last value of the discriminators"


def test_training_health_that_is_damaged_or_odd_does_not_stop_the_report(full):
    write(full, "health.json", {"steps": "many"})
    write(full, "health.csv", "step,measure,value\n300,change,0.5\n600,brightness,0.5\n")
    assert "Training health" in page(full).text
    write(full, "health.csv", "step,measure,value\nx,change,0.5\n")
    assert "health.csv cannot be read" in page(full).text
    (full / "health.csv").unlink()
    assert "Training health was not measured yet" in page(full).text


def test_a_step_that_was_taken_twice_counts_once(tmp_path):
    write(tmp_path, "metrics.csv", "step,cycle\n1,5\n2,6\n3,7\n2,8\n3,9\n")
    found = RunFolder(tmp_path).columns("metrics.csv")
    assert found["step"].tolist() == [1, 2, 3]
    assert found["cycle"].tolist() == [5, 8, 9]


def test_the_same_folder_gives_the_same_page(full):
    assert report(full).read_bytes() == report(full).read_bytes()


def luminance(colour):
    """The relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_can_be_read_by_day_and_by_night(full):
    text = report(full).read_text(encoding="utf-8")
    day, night = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root {(.*?)}", text, re.S))
    assert day.keys() == night.keys()
    pairs = "ink-paper soft-paper soft-wash ink-wash link-paper ink-note amber-note leak-ink:leak made-ink:made"
    for pair in pairs.split():
        front, back = pair.split(":") if ":" in pair else pair.split("-")
        for colours in (day, night):
            bright, dark = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, pair
    assert luminance(night["paper"]) < 0.02


@pytest.mark.parametrize(
    ("p", "expected"), [(1e-9, "< 0.0001"), (0.00012, "0.0001"), (0.5, "0.5000"), (math.nan, "not defined")]
)
def test_p_values_as_text(p, expected):
    assert text.p_value(p) == expected


def test_numbered_metric_is_labelled_like_the_first():
    assert [text.label(name) for name in ("psnr", "psnr_2", "f1", "noise_level")] == [
        "PSNR",
        "PSNR 2",
        "F1",
        "noise level",
    ]
    assert text.number(20.0, "psnr_2") == "20.00 dB"


@pytest.mark.parametrize(("spike", "decades"), [(1.0, False), (40.0, False), (4e4, True), (-4e4, False)])
def test_one_spike_does_not_hide_the_rest_of_a_curve(spike, decades, monkeypatch):
    scales = []
    finish = figures._finish
    monkeypatch.setattr(
        figures, "_finish", lambda axes, *result: (scales.append(axes.get_yscale()), finish(axes, *result))
    )
    y = np.r_[np.linspace(1, 3, 20), spike]
    columns = {"step": np.arange(len(y), dtype=float), "loss": y}
    uri = figures.curves(columns, ["loss"], dots=True, limits={"loss": 10})
    assert scales == ["log" if decades else "linear"]
    svg = base64.b64decode(uri.partition(",")[2]).decode()
    assert ("<!-- 10,000 -->" in svg) is decades, "ticks as people write them"


def level(degraded, restored, good, away, ends):
    """A metric that good images were scored by."""
    named = {
        kind: entry(v, 0.9 * v, 1.1 * v) for kind, v in (("degraded", degraded), ("restored", restored), ("good", good))
    }
    distance = dict(zip(("degraded", "restored", "low", "high"), (*away, *ends), strict=True))
    gain = entry(restored - degraded, restored - degraded - 0.01, restored - degraded + 0.01)
    return {
        **named,
        "id": "as measured",
        "better": "nearer",
        "gain": gain,
        "distance": distance,
        "unit": "of the range",
    }


@pytest.fixture
def long(full):
    """The run folder with all that a report can hold, and long names."""
    found = scores()
    found["good"] = {"split": "test", "images": 300}
    found["metrics"]["noise_level"] = level(0.052, 0.0009, 0.021, (0.03, 0.02), (-0.02, 0.004))
    found["metrics"]["blur_level"] = level(0.52, 1.25, 0.41, (0.11, 0.84), (0.6, 0.85))
    found["metrics"]["sensitivity"] = {"id": "TP / (TP + FN)", "score": {**entry(0.0, 0.0, 0.308), "exact": 10}}
    write(full, "scores/test.json", found)
    names = {f"hospital_of_{town}/digital_radiography_2019": {"control": 20, "covid": 30} for town in ("Basel", "Zug")}
    splits = {
        split: {domain: counts(280, 405, names, groups=500) for domain in "ab"} for split in ("train", "val", "test")
    }
    write(full, "data.json", {"synthetic": False, "splits": splits})
    for i in range(6):
        for column in ("degraded", "restored", "truth"):
            png(full / f"scores/pictures/{i}_{column}.png", phantoms(1, 1, 96, 0.1))
    rows = [f"patient_{i:05d}/chest_pa_20190304.png,{i}_degraded.png,{i}_restored.png,{i}_truth.png" for i in range(6)]
    write(full, "scores/pictures/pictures.csv", "\n".join(["key,degraded,restored,truth", *rows]) + "\n")
    predicted = [f"patient_{i:05d}/chest_pa_20190304.png,covid,control" for i in range(6)]
    write(full, "scores/test.csv", "\n".join(["key,class,called", *predicted]) + "\n")
    return full


def test_the_page_lays_out_without_broken_words_on_a_desktop_and_a_phone(long, browsed):
    wide, narrow = browsed(report(long))
    for page in (wide, narrow):
        assert page["findings"] == []
        assert page["tables"] >= 8
    assert wide["top"] < 900, "a clinician sees first what the run did"


def test_pictures_are_captioned_with_the_true_and_the_predicted_class(long):
    text = page(long).text
    assert text.count("true: covid, predicted: control") == 6
    assert text.index("true: covid, predicted: control") < text.index("Image quality")


def test_harm_stands_in_the_report_and_the_image_that_lost_most_comes_first(long):
    found = json.loads((long / "scores/test.json").read_text())
    worst = "patient_00000/chest_pa_20190304.png"
    found["harm"] = {"metric": "psnr", "limit": 0.5, "share": {**entry(0.25, 0.1, 0.4), "n": 300}}
    write(long, "scores/test.json", found | {"harm": found["harm"] | {"worst": {"key": worst, "gain": -3.14}}})
    text = page(long).text
    assert text.count("lost most: PSNR \u22123.14 dB") == 1
    assert text.index("\u22123.14 dB") < text.index("Image quality")
    assert "0.250 (95 % interval 0.100 to 0.400)" in text
    write(long, "scores/test.json", found | {"harm": found["harm"] | {"worst": {"key": worst, "gain": None}}})
    assert "lost most: PSNR without limit" in page(long).text, "an infinite PSNR that became finite"
    write(long, "scores/test.json", found | {"harm": found["harm"] | {"worst": None}})
    assert "lost most: " not in page(long).text


def test_all_sources_stand_in_one_table(long):
    text = report(long).read_text(encoding="utf-8")
    assert text.count('aria-label="Classes by source') == 1
    table = text[text.index('aria-label="Classes by source') :].partition("</table>")[0]
    assert table.count("<tr") == 1 + 3 * 2 * 2
    assert table.count("training") == table.count("validation") == 4


def test_what_the_data_check_left_out_is_a_warning_and_stands_once(full):
    data = json.loads((full / "data.json").read_text())
    left_out = ["7 of 842 images were not read", "scan.xyz: is of no known format"]
    data["check"] = {"leaks": [], "unchecked": left_out, "warnings": ["Two images are alike.", left_out[1]]}
    write(full, "data.json", data)
    text = page(full).text
    warnings = text[text.index("Read this before") :]
    assert [warnings.count(line) for line in (*left_out, "Two images are alike")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("data", "warned"),
    [
        ({}, 0),
        ({"synthetic": True}, 0),
        ({"splits": {"test": {}}}, 1),  # of a run that recorded no check
        ({"splits": {"test": {}}, "check": {"leaks": []}}, 1),
        ({"splits": {"test": {}}, "check": {"leaks": [], "unchecked": []}}, 0),
        ({"synthetic": True, "check": {"unchecked": ["one", "two", "three"]}}, 3),
    ],
)
def test_only_a_complete_check_leaves_no_warning(data, warned):
    assert len(data_warnings.unchecked_warnings(data)) == warned
