"""Run folder -> report.html: one page for clinicians and engineers, self-contained; reads files only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from restorekit.core.errors import DataError
from restorekit.core.files import write_text
from restorekit.stages import figures, findings, towards
from restorekit.stages.findings import label, number, value_of
from restorekit.stages.page import render
from restorekit.stages.runfolder import FILES, Columns, Json, RunFolder

__all__ = ["report"]

NETWORKS = {"ab": "restores: a to b", "ba": "degrades: b to a", "d_a": "judges domain a", "d_b": "judges domain b"}


def report(folder: Path) -> Path:
    """Write `folder`/report.html from the files of a run folder, complete or not, and return its path.

    Raises:
        DataError: if the folder is absent or holds no file of a run.
    """
    if not any((folder / name).exists() for name in FILES):
        raise DataError(f"{folder}: is no run folder; it would hold recipe.json, metrics.csv or scores/test.json")
    page = folder / "report.html"
    write_text(page, render("report.html.j2", _view(folder)))
    return page


def _view(folder: Path) -> dict[str, Any]:
    """Return all that the template shows; what cannot be read is named in `missing`."""
    run = RunFolder(folder)
    recipe, environment = run.json("recipe.json"), run.json("environment.json")
    data, networks = run.json("data.json"), run.json("networks.json")
    steps, validation = run.columns("metrics.csv"), run.columns("validation.csv")
    scores, samples, grid = run.json("scores/test.json"), run.samples(), run.picture("scores/test.png")
    checked = _mapping(data.get("check"))
    splits, synthetic = _mapping(data.get("splits")), bool(data.get("synthetic"))
    return {
        "name": str(recipe.get("name") or folder.resolve().name),
        "synthetic": synthetic,
        "sentences": findings.score_sentences(scores),
        "leaks": checked.get("leaks") or [],
        "leak_count": checked.get("leak_count") or 0,
        "warnings": [
            *findings.score_warnings(scores),
            *findings.data_warnings(data, synthetic=synthetic),
            *(checked.get("warnings") or []),
        ],
        "scores": scores,
        "score_rows": _score_rows(scores),
        "charts": _score_charts(scores, recipe),
        "good": towards.good_images(scores),
        "paper": _paper(recipe, scores, synthetic),
        "splits": splits,
        "near": run.picture("data-check/near.png") if checked.get("near") else "",
        "source_tables": _source_tables(splits),
        "progress": _progress(steps),
        "curves": _curves(steps, validation, scores),
        "samples": samples,
        "grid": grid,
        "has_rows": (folder / "scores/test.csv").is_file(),
        "one_way": bool(networks) and "ba" not in networks,
        "recipe": recipe,
        "recipe_text": run.recipe_text(recipe),
        "networks": [(key, NETWORKS.get(key, ""), _mapping(net)) for key, net in networks.items() if net],
        "environment": environment,
        "checkpoints": run.checkpoints(),
        "missing": [(name, FILES.get(name, "a picture"), why) for name, why in run.missing.items()],
    }


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _score_rows(scores: Json) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of three tables: image metrics, those by which good images were scored too, class metrics."""
    rows: dict[str, list[dict[str, Any]]] = {"images": [], "domains": [], "classes": []}
    for name, metric in _mapping(scores.get("metrics")).items():
        kind = "classes" if "score" in metric else "domains" if metric.get("good") else "images"
        keys = {"classes": ("score",), "domains": towards.KINDS, "images": ("poor", "restored", "gain")}[kind]
        cells = [_cell(metric.get(key), name, metric.get("undefined")) for key in keys]
        last = _mapping(metric.get(keys[0]) or metric.get("restored"))
        row = {"name": label(name), "key": name, "better": metric.get("better", "higher"), "cells": cells}
        if kind == "domains":
            row["moved"] = towards.sentence(name, metric)
        rows[kind].append(row | {"n": last.get("n"), "id": metric.get("id", "")})
    return rows


def _cell(entry: Any, name: str, undefined: Any) -> dict[str, str]:
    if value_of(entry) is None:
        return {"value": f"not defined ({undefined or 'no reason was recorded'})", "interval": ""}
    return {"value": number(value_of(entry), name), "interval": findings.interval(entry, name)}


def _bounds(entry: Any) -> tuple[float, float, float] | None:
    value = value_of(entry)
    if value is None:
        return None
    low, high = value_of(entry.get("low")), value_of(entry.get("high"))
    return value, value if low is None else low, value if high is None else high


def _score_charts(scores: Json, recipe: Json) -> dict[str, str]:
    metrics = _mapping(scores.get("metrics"))
    told = {} if scores.get("quantity") else metrics  # errors of a number have no common scale
    classes = {label(n): found for n, m in told.items() if (found := _bounds(m.get("score"))) and 0 <= found[0] <= 1}
    paper = {label(n): float(v) for n, v in _mapping(recipe.get("paper")).items() if findings.finite(v)}
    pairs: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, metric in metrics.items():
        if metric.get("good"):
            continue  # has a chart of three
        pair = {kind: found for kind in ("poor", "restored") if (found := _bounds(metric.get(kind)))}
        if len(pair) == 2:
            pairs[label(name) + (" (dB)" if name.endswith("snr") else "")] = pair
    spread = {label(name): metric["spread"] for name, metric in metrics.items() if metric.get("spread")}
    charts = {"classes": figures.class_scores(classes, paper)} if classes else {}
    charts |= {"images": figures.image_scores(pairs)} if pairs else {}
    return charts | ({"domains": figures.spreads(spread)} if spread else {})


def _paper(recipe: Json, scores: Json, synthetic: bool) -> dict[str, Any] | None:
    """Return the paper's numbers beside ours and why they differ, or None where the recipe gives none."""
    paper = _mapping(recipe.get("paper"))
    if not paper:
        return None
    metrics = _mapping(scores.get("metrics"))
    rows = [_paper_row(name, theirs, _mapping(metrics.get(name))) for name, theirs in paper.items()]
    reasons = [str(recipe["paper_note"])] if recipe.get("paper_note") else []
    if synthetic:
        reasons.append("This run used synthetic phantoms and the paper used patient images: they are not comparable.")
    return {"rows": rows, "reasons": reasons}


def _paper_row(name: str, theirs: Any, metric: Json) -> dict[str, str]:
    entry = metric.get("score") or metric.get("restored")
    ours = value_of(entry)
    row = {"name": label(name), "paper": str(theirs) + (" dB" if name.endswith("snr") else "")}
    if ours is None:
        why = f"not defined ({metric.get('undefined') or 'no reason was recorded'})" if metric else "not measured"
        return row | {"ours": why, "interval": "", "difference": "", "where": ""}
    where = ""
    if findings.finite(theirs):
        row["difference"] = findings.difference(ours - theirs, name)
        if entry and findings.interval(entry):
            where = "above" if theirs > entry["high"] else "below" if theirs < entry["low"] else "inside"
    return (
        {"difference": ""}
        | row
        | {
            "ours": number(ours, name),
            "interval": findings.interval(entry, name),
            "where": f"{where} our interval" if where else "",
        }
    )


def _source_tables(splits: Json) -> list[dict[str, Any]]:
    tables = []
    for split, domains in splits.items():
        for domain, counts in domains.items():
            sources = _mapping(counts.get("sources"))
            classes = list(dict.fromkeys(name for row in sources.values() for name in row))
            if not classes or len(sources) < 2:  # one source is no table
                continue
            rows = [(source, [row.get(name, 0) for name in classes]) for source, row in sources.items()]
            v = findings.cramers_v([row for _, row in rows])
            where = f"{findings.split_word(split)} images of domain {domain}"
            tables.append({"where": where, "classes": classes, "rows": rows, "v": v})
    return tables


def _progress(steps: Columns) -> dict[str, int] | None:
    if not steps:
        return None
    last = {key: steps[key][np.isfinite(steps[key])] for key in ("step", "epoch") if key in steps}
    return {key: int(values[-1]) for key, values in last.items() if len(values)}


def _curves(steps: Columns, validation: Columns, scores: Json) -> list[dict[str, str]]:
    """Return the charts of training, each with a caption and an alternative text that tells its ends."""
    best = scores.get("step") if scores.get("kept") == "best" else None
    found = []
    losses = [name for name in steps if name not in {"step", "epoch", "rate"} and _some(steps, name)]
    if losses:
        caption = "Losses at each step (grey) and their running mean (green). Adversarial losses need not fall."
        found.append(_chart("Losses", caption, steps, losses))
    measured = [name for name in validation if name != "step" and _some(validation, name)]
    if measured:
        caption = "Scores on the validation images." + (" The dashed line is the step that was kept." if best else "")
        found.append(_chart("Validation", caption, validation, measured, dots=True, mark=best))
    if _some(steps, "rate"):
        found.append(_chart("Learning rate", "Learning rate at each step.", steps, ["rate"], dots=True))
    return found


def _some(columns: Columns, name: str) -> bool:
    return name in columns and bool(np.isfinite(columns[name]).any())


def _chart(
    title: str, caption: str, columns: Columns, names: list[str], *, dots: bool = False, mark: Any = None
) -> dict[str, str]:
    ends = []
    for name in names:
        values = columns[name][np.isfinite(columns[name])]
        ends.append(f"{name} from {number(float(values[0]))} to {number(float(values[-1]))}")
    shown = {name: label(name) if dots else name for name in names}
    renamed = {"step": columns["step"]} | {shown[name]: columns[name] for name in names}
    picture = figures.curves(renamed, list(shown.values()), dots=dots, mark=mark)
    return {"title": title, "caption": caption, "alt": f"{title}: {'; '.join(ends)}.", "picture": picture}
