"""Tables of measurements for the docs, of the JSON files that scripts of benchmarks wrote; generate.py calls them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "benchmarks" / "xray96"
"""Numbers of finished runs; `summarize.py` in it wrote them."""
METHODS = {"q1": "q1", "q3": "q3", "q5": "q5", "cnn_light": r"CNN\*", "cnn": "CNN", "no_task": "q3 without head"}
CLASSIFIERS = {
    "resnet50": "ResNet-50",
    "inception_v3": "Inception-v3",
    "efficientnet_b4": "EfficientNet-B4",
    "efficientnet_b5": "EfficientNet-B5",
}
FILM_RESULTS = ROOT / "plugins" / "restorekit-film" / "benchmarks" / "results"
PIX2PIX = ROOT / "plugins" / "restorekit-pix2pix" / "benchmarks" / "results"
SUPER_RESOLUTION = ROOT / "plugins" / "restorekit-superres" / "benchmarks" / "results"
FILM_METHODS = {
    "films_test": {
        "tv08": "total variation, weight 0.08",
        "structure": "`film_base`, structure alone",
        "film_base": "`film_base`",
    },
    "xray128_test": {
        "nlm": "non-local means",
        "r2cgan": "R2C-GAN, three passes",
        "restore_xray_128": "`restore_xray_128`",
    },
}
FILM_SCORES = {"psnr": 2, "psnr_aligned": 2, "ssim_aligned": 3, "tone_error": 3}
"""Scores of films, and their digits."""
DENOISED = {
    "noisy": "noisy",
    "part:tv": "total variation, weight 0.1",
    "part:nlm": "non-local means",
    "runs/denoise_pediatric-dncnn-1": "`dncnn`, 1,030 steps",
    "runs/denoise_pediatric-nafnet-1": "`nafnet`, 1,730 steps",
    "runs/denoise_pediatric-1": "`film_restorer`, 4,200 steps",
}
"""Models of the denoising benchmark, as its scores name them."""
ABLATIONS = {
    "losses": {
        "tiny": "`decibels` and `gradients`, as in the recipe",
        "decibels": "`decibels` alone",
        "charbonnier": "Charbonnier and `gradients`",
        "similar": "`decibels`, `gradients` and `ms_ssim`",
    },
    "degree": {
        "bounded": "degree 1, 400 steps, rate 1e-3",
        "operational": "degree 3, as many weights and steps, rate 2e-4",
        "operational_time": "degree 3, as many weights, as much time: 240 steps",
    },
}
"""Networks that differ in one thing, by the file and the names of `compare_draws.py`."""
FIRST = {
    "films_test_nlm": "non-local means",
    "films_test_tv08": "total variation, weight 0.08",
    "films_test_r2cgan": "R2C-GAN, three passes",
    "films_test_film_base": "`film_base`",
}
JOINT = {
    "paired": "pairs alone",
    "real": "and real films, adversarial",
    "task": "and their class",
    "r2cgan": "R2C-GAN, 1,500 steps",
    "classifier": "ResNet-10 on the degraded films",
}
PARTS_OF_R2CGAN = {
    "faithful": "as the paper",
    "no_norm": "no norm in the generator",
    "resize": "`upsample: resize`",
    "mix": "`pool: mix`",
    "paired": "pairs in place of cycle and identity",
}
ARMS = {
    "original_scratch": "ResNet-50 from scratch, repetition",
    "augmented_scratch": "the same, with translated films",
    "augmentation_scratch": "the same, repetition and usual augmentation",
    "as_paper": "as the paper tests: translated films in test too",
    "original_transfer": "ResNet-50 from ImageNet, repetition",
    "augmented_transfer": "the same, with translated films",
    "lite0_original": "EfficientNet-Lite0 from ImageNet, repetition",
    "lite0_augmented": "the same, with translated films",
    "lite0_augmentation": "the same, repetition and usual augmentation",
}
"""Arms of `recipes/resnet50_regimes.yaml`."""
UNSEEN = {
    "salt_pepper": "salt and pepper",
    "quantised": "few gray levels",
    "oversharpened": "over-sharpening",
    "jpeg2000": "JPEG 2000",
    "banding": "horizontal banding",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|").replace("\n", " ") for cell in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measured(name: str) -> str:
    """Return a table of finished runs, from the numbers that `benchmarks/xray96/summarize.py` wrote of them."""
    tables = {
        "variants": ("one_seed", variants_table),
        "seeds": ("three_seeds", seeds_table),
        "levels": ("three_seeds", levels_table),
        "audits": ("halves", audits_table),
    }
    file, write = tables[name]
    found = json.loads((MEASURED / f"{file}.json").read_text("utf-8"))["methods"]
    return write({re.sub(r"(r2cgan|baselines)_xray-", "", method): entry for method, entry in found.items()})


def variants_table(found: Mapping[str, Any]) -> str:
    """Return scores of the recipe's variants and of classifiers, beside the paper's."""
    rows = []
    for name, label in {**METHODS, **CLASSIFIERS}.items():
        if name in found:
            entry = found[name]
            size = entry["parameters"] / 1e6
            scores = [interval(entry["scores"][score]) for score in ("accuracy", "f1", "auroc")]
            paper = [f"{entry['paper'][score]:.3f}" for score in ("accuracy", "f1")]
            rows.append([label, f"{size:.{1 if size > 10 else 2}f} M", *scores, *paper])
    head = ["", "parameters", "accuracy", "F1", "AUROC", "paper: accuracy", "F1"]
    return table(head, rows).replace("| --- | --- |", "| --- | ---: |", 1)


def seeds_table(found: Mapping[str, Any]) -> str:
    """Return mean and range over seeds of class scores."""
    shown = {
        label: found[name]["scores"]
        for name, label in METHODS.items()
        if "accuracy" in found.get(name, {}).get("scores", {})
    }
    rows = [
        [label, *(interval(scores[name]) for scores in shown.values())]
        for name, label in {"accuracy": "accuracy", "f1": "F1", "auroc": "AUROC"}.items()
    ]
    return table(["three seeds: mean (range)", *shown], rows)


def film_scores(draws: str) -> str:
    """Return the scores of the methods of a table of draws, as `score_draws.py` wrote them; the input is the first."""
    rows = []
    for stem, label in FILM_METHODS[draws].items():
        found = json.loads((FILM_RESULTS / f"{draws}_{stem}.json").read_text("utf-8"))
        scores = found["scores"]
        if not rows:
            rows.append(["input", *(bracketed(scores[f"input_{name}"], d) for name, d in FILM_SCORES.items()), "", ""])
        harmed = bracketed({end: 100 * value for end, value in scores["harm"].items()}, 1, " %")
        worst = f"{found['worst']['gain_psnr']:.2f}"
        rows.append([label, *(bracketed(scores[name], d) for name, d in FILM_SCORES.items()), harmed, worst])
    return table(["", "PSNR, dB", "aligned PSNR, dB", "aligned SSIM", "tone error", "harmed", "worst, dB"], rows)


def film_ablation(of: str) -> str:
    """Return gains of networks that differ in one thing, and how far the first is ahead."""
    found = json.loads((FILM_RESULTS / f"films_val_{of}.json").read_text("utf-8"))
    rows = []
    for name, label in ABLATIONS[of].items():
        scores, seeds = found["scores"][name], found["seeds"][name]
        each = ", ".join(f"{one['gain_psnr_aligned']:.2f}" for one in seeds) or "one seed"
        ahead = found["differences"].get(name)
        less = ["", ""] if ahead is None else [bracketed(ahead["psnr_aligned"], 2), bracketed(ahead["ssim_aligned"], 3)]
        rows.append([label, bracketed(scores["gain_psnr_aligned"], 2), each, *less])
    head = ["", "gain, aligned PSNR, dB", "of each seed", "the first is ahead by, dB", "aligned SSIM"]
    return table(head, rows)


def film_first(of: str) -> str:
    """Return the scores of methods on the draws that all have, as `compare_draws.py --shared` wrote them."""
    found = json.loads((FILM_RESULTS / f"films_test_{of}.json").read_text("utf-8"))
    rows = []
    for name, label in FIRST.items():
        scores, harm = found["scores"][name], found["harm"][name]
        harmed = bracketed({end: 100 * value for end, value in harm["share"].items()}, 1, " %")
        digits = [bracketed(scores[score], d) for score, d in FILM_SCORES.items()]
        if not rows:
            rows.append(
                ["input", *(bracketed(scores[f"input_{score}"], d) for score, d in FILM_SCORES.items()), "", ""]
            )
        rows.append([label, *digits, harmed, f"{harm['worst']['gain']:.2f}"])
    return table(["", "PSNR, dB", "aligned PSNR, dB", "aligned SSIM", "tone error", "harmed", "worst, dB"], rows)


def film_joint() -> str:
    """Return what the arms of the joint recipe gain on films with a known truth, and how they classify real ones."""
    found = json.loads((FILM_RESULTS / "joint.json").read_text("utf-8"))
    classes = json.loads((FILM_RESULTS / "joint_classes.json").read_text("utf-8"))
    other = json.loads((FILM_RESULTS / "xray128_test_r2cgan.json").read_text("utf-8"))["scores"]
    scores = {**found["scores"], "r2cgan": other}
    harm = {**{name: one["share"] for name, one in found["harm"].items()}, "r2cgan": other["harm"]}
    rows = []
    for name, label in JOINT.items():
        gains = ["", "", ""]
        if name in scores:
            share = {end: 100 * value for end, value in harm[name].items()}
            gains = [bracketed(scores[name][f"gain_{score}"], 2) for score in ("psnr", "psnr_aligned")]
            gains.append(bracketed(share, 1, " %"))
        runs = [one for one in classes.get(name, []) if "f1" in one]
        each = [", ".join(f"{one[metric]['value']:.3f}" for one in runs) for metric in ("f1", "auroc")]
        rows.append([label, *gains, *each])
    return table(["", "gain, PSNR, dB", "aligned PSNR, dB", "harmed", "F1 of each seed", "AUROC of each seed"], rows)


def film_parts() -> str:
    """Return what R2C-GAN gains with one of its parts replaced, as `compare_parts.py` wrote it."""
    found = json.loads((FILM_RESULTS / "r2cgan_parts.json").read_text("utf-8"))
    rows = []
    for name, label in PARTS_OF_R2CGAN.items():
        scores, less = found["scores"][name], found["differences"].get(name)
        ahead = "" if less is None else bracketed(_negated(less["psnr_aligned"]), 2)
        share = bracketed({end: 100 * value for end, value in scores["harm"].items()}, 0, " %")
        gains = [bracketed(scores[score], 2) for score in ("psnr", "psnr_aligned")]
        rows.append([label, *gains, ahead, share, bracketed(scores["checkerboard"], 1)])
    head = ["", "gain, PSNR, dB", "aligned PSNR, dB", "ahead of the paper's, aligned", "harmed", "checkerboard"]
    return table(head, rows)


def film_unseen(model: str) -> str:
    """Return what a model gains and loses on degradations that it was not trained on, as `score_unseen.py` wrote it."""
    kinds = json.loads((FILM_RESULTS / f"films_unseen_{model}.json").read_text("utf-8"))["kinds"]
    rows = []
    for kind, label in UNSEEN.items():
        gain, worst = kinds[kind]["scores"]["gain_psnr"], kinds[kind]["worst"]["gain_psnr"]
        rows.append([label, bracketed(gain, 2), f"{worst:.2f}", f"{kinds[kind]['warned']} of {kinds[kind]['rows']}"])
    return table(["", "gain, dB", "worst, dB", "with a warning"], rows)


def film_denoising() -> str:
    """Return the scores of the public denoising benchmark, and how far the first network is ahead."""
    found = json.loads((FILM_RESULTS / "pediatric_test.json").read_text("utf-8"))
    over = {one["over"]: one for one in found["differences"] if one["model"] == "runs/denoise_pediatric-1"}
    over |= {
        one["model"]: {**one, **{name: _negated(one[name]) for name in ("psnr", "ssim")}}
        for one in found["differences"]
        if one["over"] == "runs/denoise_pediatric-1"
    }
    rows = []
    for name, label in DENOISED.items():
        scores, ahead = found["models"][name], over.get(name)
        cells = [bracketed(scores["psnr"], 2), bracketed(scores["ssim"], 4)]
        cells += ["", ""] if ahead is None else [bracketed(ahead["psnr"], 2), bracketed(ahead["ssim"], 4)]
        rows.append([label, *cells])
    return table(["", "PSNR, dB", "SSIM", "`film_restorer` ahead by, dB", "SSIM"], rows)


def _negated(one: Mapping[str, float]) -> dict[str, float]:
    return {"mean": -one["mean"], "low": -one["high"], "high": -one["low"]}


def bracketed(found: Mapping[str, float], digits: int, unit: str = "") -> str:
    """Return a mean and its interval."""
    mean, low, high = (f"{found[end]:z.{digits}f}" for end in ("mean", "low", "high"))  # z: no -0.00
    return f"{mean}{unit} ({low} to {high})"


def levels_table(found: Mapping[str, Any]) -> str:
    """Return mean and range over seeds of predictions kept in the audit, and of levels, beside other images' levels."""
    methods = [found[name] for name in ("q3", "no_task", "cnn_light")]
    kept = {
        "covid": "COVID-19 still recognised, of 48",
        "control": "control still recognised, of 106",
    }
    rows = [
        [label, *(interval(entry["scores"][f"audit_keeps_{name}"]) for entry in methods), "", ""]
        for name, label in kept.items()
    ]
    for name, label, digits in (
        ("blur", "blur level, px", 2),
        ("noise", "noise level", 3),
        ("contrast", "contrast level", 3),
    ):
        key = f"{name}_level"
        others = [f"{methods[0][side][key]:.{digits}f}" for side in ("degraded", "good")]
        rows.append([label, *(interval(entry["scores"][key], digits) for entry in methods), *others])
    return table(["", "q3", METHODS["no_task"], METHODS["cnn_light"], "degraded", "good films"], rows)


def audits_table(found: Mapping[str, Any]) -> str:
    """Return an audit of runs that were trained on other patients than the audit classifier."""
    entries = [found[name] for name in ("q3", "no_task")]
    audits = [entry["audits"][0] for entry in entries]
    before = audits[0]["auroc"]["degraded"][0]
    counts = {
        "lost": "COVID-19 hidden, of {} recognised (exact, by image)",
        "invented": "controls turned into COVID-19, of {} (exact, by image)",
    }
    rows = [
        [
            f"AUROC of the audit classifier, {before:.3f} on degraded images",
            *(interval(audit["auroc"]["restored"]) for audit in audits),
        ]
    ]
    for name, label in counts.items():
        rows.append([label.format(audits[0][name][1]), *(counted(*audit[name]) for audit in audits)])
    rows.append(["same predicted class", *(interval(entry["scores"]["audit_agrees"]) for entry in entries)])
    return table(["one seed, 95 % intervals by patient", "q3", METHODS["no_task"]], rows)


def interval(value: list[float], digits: int = 3) -> str:
    """Return a number with its interval."""
    middle, low, high = (f"{one:.{digits}f}" for one in value)
    return f"{middle} ({low} to {high})"


def counted(count: int, of: int, low: float, high: float) -> str:
    """Return a count with the interval of its share in per cent."""
    first = f"{100 * low:.1f}" if low else "0"
    return f"{count} ({first} to {100 * high:.1f} %)"


def super_resolution(films: str) -> str:
    """Return the table of the paper's networks on some films, as `xray_table.py` wrote it."""
    return (SUPER_RESOLUTION / f"{films}.md").read_text("utf-8")


def regimes(films: str) -> str:
    """Return accuracy, and the differences to what translation has to beat, of the arms of `resnet50_regimes`."""
    found = _regimes(films)
    rare = {"pediatric": "viral", "xray": "covid"}[films]
    rows: list[list[str]] = []
    for name, label in ARMS.items():
        if name not in found:
            why = "not run: weights absent" if "transfer" in name else "not run"
            rows.append([label, why, "", "", "", ""])
            continue
        arm = found[name]
        seeds = ", ".join(f"{value:.3f}" for value in arm["accuracy_of_seeds"])
        family = "lite0_{}" if "lite0" in name else "{}_scratch"
        less = [
            _ended(of["classes"][rare]["f1"], "+") if (of := _less(arm, family.format(other))) else ""
            for other in ("original", "augmentation")
        ]
        rows.append([label, _ended(arm["accuracy"]), seeds, _ended(arm["classes"][rare]["f1"]), *less])
    head = ["", "accuracy", "of each seed", f"F1 of {rare}"]
    return table([*head, f"F1 of {rare}, less repetition", "less usual augmentation"], rows)


def regime_classes(films: str) -> str:
    """Return precision, recall and F1 of each class of the arms of `resnet50_regimes`."""
    rows = [
        ["" if at else ARMS[name], of, *(_ended(scores[key]) for key in ("precision", "recall", "f1"))]
        for name, arm in _regimes(films).items()
        for at, (of, scores) in enumerate(arm["classes"].items())
    ]
    return table(["", "class", "precision", "recall", "F1"], rows)


def translated(films: str) -> str:
    """Return the quality of translated films, as `quality.py` wrote it."""
    found = json.loads((PIX2PIX / f"{films}_quality.json").read_text("utf-8"))
    labels = {
        "translated": "translated films",
        "sources": "films that they were made of",
        "train": "real training films of the class",
        "test": "its real films of val and test",
    }
    rows = []
    for name, label in labels.items():
        of = found[name]
        distance = _ended(of["kernel_distance"]) if "kernel_distance" in of else ""
        shares = [_ended(of[key], percent=True) for key in ("copies", "seen")]
        rows.append([label, str(of["films"]), distance, _ended(of["nearest"], digits=1), *shares])
    head = ["", "films", "kernel distance to the class", "to the nearest training film, gray levels"]
    return table([*head, "copies", "class seen"], rows)


def _regimes(films: str) -> dict[str, Any]:
    found = json.loads((PIX2PIX / f"{films}.json").read_text("utf-8"))
    return {name.removeprefix("resnet50_regimes-"): arm for name, arm in found.items()}


def _less(arm: Mapping[str, Any], other: str) -> Any:
    return arm.get("against", {}).get(f"resnet50_regimes-{other}")


def _ended(one: Mapping[str, float] | None, sign: str = "", *, digits: int = 3, percent: bool = False) -> str:
    """Return a value with the ends of its interval."""
    if one is None:
        return "not defined"
    scale, places, unit = (100, 1, " %") if percent else (1, digits, "")
    value, low, high = (f"{scale * one[key]:{sign}.{places}f}" for key in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"


def super_resolution_lines(films: str) -> str:
    """Return what enlarging did to films at their own size, and to lines, as `score_lines.py` wrote it."""
    found = json.loads((SUPER_RESOLUTION / f"{films}.json").read_text("utf-8"))
    [(run, test)] = found["tests"].items()
    scores = {"PSNR, dB": ("psnr", 2), "UQI": ("uqi", 3), "SSIM": ("ssim", 3), "MS-SSIM": ("ms_ssim", 3)}
    columns = {"degraded": "", "restored": "", "gain": "+"}
    rows = [
        [label, *(_ended(test["metrics"][name].get(key), sign, digits=digits) for key, sign in columns.items())]
        for label, (name, digits) in scores.items()
    ]
    cubic, ours = found["scores"]["cubic interpolation"], found["scores"][run]
    for level in (5, 15):
        key = f"kept_{level}"
        values = [bracketed(one, 3) for one in (cubic[key], ours[key], ours[f"gain_{key}"])]
        rows.append([f"kept of lines of {level} gray levels", *values])
    for key, label in (("checkerboard_ratio", "checkerboard index over the film's"), ("grid", "grid, gray levels")):
        rows.append([label, *(bracketed(one[key], 2) for one in (cubic, ours)), ""])
    return table(["", "cubic interpolation", "ours", "gain"], rows)


TABLES: Mapping[str, Callable[..., str]] = {
    "super-resolution-lines": super_resolution_lines,
    "regimes": regimes,
    "regime-classes": regime_classes,
    "translated": translated,
    "measured": measured,
    "film-scores": film_scores,
    "film-denoising": film_denoising,
    "film-unseen": film_unseen,
    "film-ablation": film_ablation,
    "film-first": film_first,
    "film-joint": film_joint,
    "film-parts": film_parts,
    "super-resolution": super_resolution,
}
"""Sections of pages, by the name in `<!-- generated: NAME ARGUMENT -->`."""
