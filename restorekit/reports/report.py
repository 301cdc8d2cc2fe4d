"""Run folder -> report.html: one page for clinicians and engineers, self-contained; reads files only."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from restorekit.core.errors import DataError, count
from restorekit.core.tasks import Task
from restorekit.data import text
from restorekit.data import warnings as data_warnings
from restorekit.data.targets import predicted_text, read_target, target_text, truths
from restorekit.data.text import label, number, value_of
from restorekit.evaluation import gallery
from restorekit.io.files import write_text
from restorekit.reports import conditions, distance_sentences, figures, findings
from restorekit.reports.page import render
from restorekit.reports.signals import traced
from restorekit.runs import health as training_health
from restorekit.runs import health_measures
from restorekit.runs.runfolder import FILES, Columns, Json, RunFolder

__all__ = ["image_columns", "report"]

COUNTS = {"parameters": "trained parameters", "encode_and_head": "trained parameters to classify"}
"""What a recipe's `paper` may hold besides scores, as networks.json has it of the restoring translator."""
OF_TRAINING = ("metrics.csv", "validation.csv", "health.csv", "health.json", "samples")
"""Files of a run folder that a recipe without training does not write."""
NO_LIMIT = "without limit, for the degraded image has no error"
"""What an image lost whose degraded image is the clean one."""
SHOWN = {"change": f"change, {gallery.CHANGE} times"}
"""What stands beneath a picture of a column, where it is not the name of the column."""
NETWORKS = {
    "ab": "restores: a to b",
    "ba": "degrades: b to a",
    "d_a": "discriminates domain a",
    "d_b": "discriminates domain b",
}


def report(folder: Path) -> Path:
    """Write `folder`/report.html from the files of a run folder, complete or not, and return its path.

    Raises:
        DataError: if the folder is absent or holds no file of a run.
    """
    if not any((folder / name).exists() for name in FILES):
        raise DataError(f"{folder}: is no run folder; expected recipe.json, metrics.csv or scores/test.json")
    page = folder / "report.html"
    write_text(page, render("report.html.j2", _view(folder)))
    return page


def _view(folder: Path) -> dict[str, Any]:
    """Return all that the template shows; what cannot be read is named in `missing`."""
    run = RunFolder(folder)
    recipe, environment = run.json("recipe.json"), run.json("environment.json")
    data, networks = run.json("data.json"), run.json("networks.json")
    steps = run.columns("metrics.csv")
    splits, synthetic = _mapping(data.get("splits")), bool(data.get("synthetic"))
    unseen = _mapping(_mapping(splits.get("val")).get("a")).get("images") == 0
    looked = not unseen and (not recipe or bool(_mapping(recipe.get("evaluate")).get("metrics")))
    validation = run.columns("validation.csv") if looked else {}
    translates = bool(_mapping(networks.get("ab")).get("translates", True))
    untested = data_warnings.untested(splits)
    scores = run.json("scores/test.json", needed=not untested)
    grid = run.picture("scores/test.png") if scores or not untested else ""
    progress = _progress(steps)
    samples = run.samples() if translates else []
    health = _health(run)
    audit = _audit(run.json("scores/audit.json", needed=bool(recipe.get("audit"))))
    if audit and audit.get("step") != scores.get("step"):
        run.missing["scores/audit.json"] = "is of another checkpoint than the scores; ask for the audit again"
        audit = {}
    trained = "restorer" not in recipe
    known = conditions.sentence(
        recipe, splits, scores, str(environment.get("command", "")), _steps_taken(progress, scores)
    )
    return {
        "name": _name(folder, recipe),
        "trained": trained,
        "synthetic": synthetic,
        "sentences": [
            *findings.score_sentences(scores),
            *distance_sentences.summary(scores),
            *(audit.get("headline") or []),
        ],
        "warnings": [
            *(audit.get("proven") or []),
            *_health_problems(health["findings"], scores),
            *_score_warnings(scores, splits),
            *data_warnings.data_warnings(
                data, synthetic=synthetic, translates=translates, classifies=_classifies(recipe)
            ),
            *_check_warnings(data),
        ],
        "scores": scores,
        "untested": untested,
        **_of_scores(scores, recipe),
        **_of_data(run, recipe, data),
        "audit": audit,
        "lacking": distance_sentences.lacking(scores, recipe) if scores and translates else "",
        "again": _iterations(folder, run, scores),
        "paper": _paper(recipe, scores, networks, known, synthetic=synthetic),
        "progress": progress,
        "curves": _curves(steps, validation, scores),
        "health": health,
        "samples": samples,
        "grid": grid,
        "shots": _shots(run, scores) if translates and scores.get("dims") != 1 else [],
        "traces": traced(_traces(run, scores), synthetic),
        "has_rows": (folder / "scores/test.csv").is_file(),
        "one_way": not trained or (bool(networks) and "ba" not in networks),
        "translates": translates,
        "recipe": recipe,
        "recipe_text": run.recipe_text(recipe),
        "networks": [(key, _does(key, _mapping(net)), _mapping(net)) for key, net in networks.items() if net],
        "environment": environment,
        "checkpoints": run.checkpoints(),
        "missing": [
            (name, FILES.get(name, "a picture"), why)
            for name, why in run.missing.items()
            if trained or name not in OF_TRAINING
        ],
    }


def _of_scores(scores: Json, recipe: Json) -> Json:
    """Return what the template shows of the scores alone."""
    return {
        "score_rows": _score_rows(scores),
        "image_columns": list(image_columns(scores).values()),
        "harm": _harm(scores),
        "task": _task(scores),
        "charts": _score_charts(scores, recipe),
        "good": distance_sentences.good_images(scores),
        "exact": any(_is_exact(metric) for metric in _mapping(scores.get("metrics")).values()),
    }


def _score_warnings(scores: Json, splits: Json) -> list[str]:
    """Return what to know before the scores are read."""
    if not scores:
        return data_warnings.no_test_split(splits)
    changed = [f"Scored on other images: {scores['changed']}."] if scores.get("changed") else []
    return [*changed, *findings.score_warnings(scores), *distance_sentences.warnings(scores)]


def _check_warnings(data: Json) -> list[str]:
    """Return what the check of the data left out and what it warns of, each once."""
    checked = _mapping(data.get("check"))
    others = [line for line in checked.get("warnings") or [] if line not in (checked.get("unchecked") or [])]
    return [*data_warnings.unchecked_warnings(data), *others]


def _of_data(run: RunFolder, recipe: Json, data: Json) -> Json:
    """Return what the template shows of the data, and of their check."""
    checked, asked = _mapping(data.get("check")), _mapping(recipe.get("data"))
    splits = _mapping(data.get("splits"))
    return {
        "leaks": checked.get("leaks") or [],
        "leak_count": checked.get("leak_count") or 0,
        "near": run.picture("data-check/near.png") if checked.get("near") else "",
        "paired": asked.get("pairing") == "key",
        "size": asked.get("size") or [],
        "whole": asked.get("window") is not None,
        "splits": splits,
        "sources": _sources(splits),
    }


def _name(folder: Path, recipe: Json) -> str:
    name = str(recipe.get("name") or folder.resolve().name)
    return f"{name}, variant {recipe['variant']}" if recipe.get("variant") else name


def _classifies(recipe: Json) -> bool:
    """True if the run predicts classes, or if that is not known."""
    return not recipe or bool(_mapping(recipe.get("nets")).get("head"))


def _steps_taken(progress: Mapping[str, int] | None, scores: Json) -> int | None:
    """Return how many steps were taken, by the losses or the scores; of those, the best may be early."""
    scored = scores.get("step")
    known = [(progress or {}).get("step"), scored if isinstance(scored, int) else None]
    return max((steps for steps in known if steps is not None), default=None)


def _traces(run: RunFolder, scores: Json) -> Json:
    """Return the signals that stand beside the scores; nothing of images and volumes."""
    if scores.get("dims") != 1:
        return {}
    found = run.json("scores/pictures/traces.json")
    if found and found.get("step") != scores.get("step"):
        run.missing["scores/pictures/traces.json"] = "is of another checkpoint than the scores; evaluate the run again"
        return {}
    return found


def _does(key: str, net: Json) -> str:
    return NETWORKS.get(key, "") if net.get("translates", True) else "classifies; images unchanged"


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def image_columns(scores: Json) -> dict[str, str]:
    """Return the columns of the table of image metrics, with their titles."""
    columns = {"degraded": "Degraded", "restored": "Restored", "gain": "Gain"}
    if scores.get("baseline"):
        columns |= {"baseline": str(scores["baseline"]), "over_baseline": f"Over {scores['baseline']}"}
    return columns


def _score_rows(scores: Json) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of three tables: image metrics, those by which good images were scored too, class metrics."""
    rows: dict[str, list[dict[str, Any]]] = {"images": [], "domains": [], "classes": []}
    for name, metric in _mapping(scores.get("metrics")).items():
        kind = "classes" if "score" in metric else "domains" if "good" in metric else "images"
        columns = {"classes": ("score",), "domains": distance_sentences.KINDS, "images": tuple(image_columns(scores))}
        keys = columns[kind]
        cells = [_cell(metric.get(key), name, metric.get("undefined")) for key in keys]
        last = _mapping(metric.get(keys[0]) or metric.get("restored"))
        row = {"name": label(name), "unit": metric.get("unit", ""), "cells": cells}
        row["better"] = metric.get("better", "higher")
        if kind == "domains":
            row["moved"] = distance_sentences.sentence(name, metric)
            for key, cell in zip(keys, cells, strict=True):
                cell["few"] = _few(metric.get(key), scores.get("good") if key == "good" else scores)
        rows[kind].append(row | {"n": last.get("n"), "id": metric.get("id", "")})
    return rows


def _harm(scores: Json) -> dict[str, Any]:
    """Return how many images were made worse, as cells; empty where it was not counted."""
    found = _mapping(scores.get("harm"))
    if value_of(found.get("share")) is None:
        return {}
    worst, name = _mapping(found.get("worst")), str(found.get("metric"))
    return {
        "name": label(name),
        "limit": number(found.get("limit"), name),
        "share": _cell(found["share"], "", None),
        "n": found["share"].get("n"),
        "worst": worst.get("key", ""),
        "gain": text.difference(worst["gain"], name) if text.finite(worst.get("gain")) else NO_LIMIT if worst else "",
    }


def _is_exact(metric: Json) -> bool:
    return any(_mapping(metric.get(part)).get("exact") for part in ("score", "degraded", "restored", "good"))


def _cell(entry: Any, name: str, undefined: Any) -> dict[str, str]:
    if value_of(entry) is None:
        return {"value": _undefined(undefined), "interval": ""}
    return {"value": number(value_of(entry), name), "interval": text.bounds(entry, name)}


def _undefined(reason: Any) -> str:
    """Return that a score is not defined, and why; the reason of some metrics has both."""
    text = str(reason or "no reason was recorded")
    return text if text.startswith("not defined") else f"not defined ({text})"


def _few(entry: Any, of: Any) -> str:
    """Return the number of images of a score, if not all."""
    scored, images = _mapping(entry).get("n"), _mapping(of).get("images")
    return f"{count(scored)} of {count(images)} images" if scored and images and scored < images else ""


def _bounds(entry: Any) -> tuple[float, float, float] | None:
    value = value_of(entry)
    if value is None:
        return None
    low, high = value_of(entry.get("low")), value_of(entry.get("high"))
    return value, value if low is None else low, value if high is None else high


TITLES = {
    "class": ("Classification", "class comes"),
    "labels": ("Labels", "labels come"),
    "numbers": ("Numbers", "numbers come"),
    "mask": ("Segmentation", "mask comes"),
}
"""The heading of the scores of predictions, and what a run predicts, by the kind of task."""


def _task(scores: Json) -> dict[str, str]:
    """Return the heading of the scores of predictions, and what the run predicts; one number names itself."""
    quantity = scores.get("quantity")  # of version 1.0
    found = {"kind": "numbers", "names": [quantity]} if quantity else _mapping(scores.get("task"))
    title, what = TITLES.get(str(found.get("kind")), TITLES["class"])
    names = found.get("names") or []
    if found.get("kind") == "numbers" and len(names) == 1:
        title, what = str(names[0]), "number comes"
    return {"title": title, "what": what}


def _score_charts(scores: Json, recipe: Json) -> dict[str, str]:
    metrics = _mapping(scores.get("metrics"))
    numbers = scores.get("quantity") or _mapping(scores.get("task")).get("kind") == "numbers"
    shares = {} if numbers else metrics  # errors of numbers have no common scale
    classes = {label(n): found for n, m in shares.items() if (found := _bounds(m.get("score"))) and 0 <= found[0] <= 1}
    paper = {label(n): float(v) for n, v in _mapping(recipe.get("paper")).items() if text.finite(v)}
    pairs: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, metric in metrics.items():
        if "good" in metric:
            continue  # has a chart of three
        pair = {kind: found for kind in ("degraded", "restored") if (found := _bounds(metric.get(kind)))}
        if len(pair) == 2:
            pairs[text.titled(name, metric.get("unit", ""))] = pair
    measured = {n: m for n, m in metrics.items() if any(_mapping(m.get("spread")).values())}
    spread = {text.titled(n, m.get("unit", "")): m["spread"] for n, m in measured.items()}
    charts = {"classes": figures.class_scores(classes, paper)} if classes else {}
    charts |= {"images": figures.image_scores(pairs)} if pairs else {}
    return charts | ({"domains": figures.spreads(spread)} if spread else {})


def _audit(found: Json) -> Json:
    """Return the scores of an audit and its changed predictions as rows of cells; empty without an audit."""
    looks = [which for which in ("degraded", "restored", "truth", "change") if _any_of(found, which)]
    scores = {
        label(name): [_cell(_mapping(entry).get(which), name, "the classes are not known") for which in looks]
        for name, entry in _mapping(found.get("scores")).items()
    }
    flips = [
        {"class": row["class"], "cells": [_share(row.get(key)) for key in ("lost", "invented", "away", "towards")]}
        for row in found.get("flips") or []
    ]
    return {**found, "looks": looks, "rows": scores, "flip_rows": flips} if found else {}


def _any_of(found: Json, which: str) -> bool:
    return any(_mapping(entry).get(which) for entry in _mapping(found.get("scores")).values())


def _share(entry: Any) -> dict[str, str]:
    counted = _mapping(entry)
    if not counted.get("n"):
        return {"value": "none to count", "interval": ""}
    low, high = (f"{100 * counted[bound]:.1f}" for bound in ("low", "high"))
    return {"value": f"{counted['k']} of {counted['n']}", "interval": f"{low} to {high} %"}


def _paper(recipe: Json, scores: Json, networks: Json, was: str, *, synthetic: bool) -> dict[str, Any] | None:
    """Return the paper's numbers beside ours, what the run `was` and why they differ; None where there are none."""
    paper = _mapping(recipe.get("paper"))
    if not paper:
        return None
    metrics = _mapping(scores.get("metrics"))
    counts = _mapping(networks.get("ab"))
    rows = [
        _count_row(COUNTS[name], theirs, counts.get(name))
        if name in COUNTS
        else _paper_row(name, theirs, _mapping(metrics.get(name)))
        for name, theirs in paper.items()
    ]
    reasons = [str(recipe["paper_note"])] if recipe.get("paper_note") else []
    if synthetic:
        reasons.append("This run used synthetic phantoms and the paper used patient images: they are not comparable.")
    return {"rows": rows, "was": was, "reasons": reasons}


def _iterations(folder: Path, run: RunFolder, scores: Json) -> dict[str, Any] | None:
    """Return the results after each number of passes; None without `restorekit evaluate --times`."""
    if not (folder / "scores/times.json").is_file():
        return None
    found = run.json("scores/times.json")
    if scores and found and found.get("step") != scores.get("step"):
        run.missing["scores/times.json"] = "is of another checkpoint than the scores; evaluate --times again"
        return None
    drawn: dict[str, Any] = {}
    rows, ends = [], []
    for name, curve in _mapping(found.get("curves")).items():
        title = curve.get("title") or label(name)
        for whose, line in _mapping(curve.get("lines")).items():
            points = line["points"]
            drawn.setdefault(curve.get("title") or text.titled(name), {})[whose] = points
            at = {point["times"]: point for point in points}
            cells = [_cell(at.get(k), name, curve.get("undefined")) for k in found["times"]]
            change = _cell(line["change"], name, "no number") if line["change"] else None
            row = {"name": title, "whose": "" if whose == "all" else whose, "cells": cells, "change": change}
            rows.append(row | {"best": _best(curve, points)})
            first, last = (number(value_of(point), name) for point in (points[0], points[-1]))
            ends.append(f"{title} of {whose} images from {first} to {last}")
    if not drawn:
        return None
    chart = figures.repeated(drawn, found.get("recipe_times"))
    return {**found, "rows": rows, "chart": chart, "alt": f"After each number of passes: {'; '.join(ends)}."}


def _best(curve: Json, points: list[Json]) -> str:
    """Return after how many passes a score is best; empty where that is not known."""
    if len(points) < 2:
        return ""
    if all(text.finite(point.get("distance")) for point in points):
        return str(min(points, key=lambda point: point["distance"])["times"])
    if curve.get("better") not in ("higher", "lower"):
        return ""
    sign = 1 if curve["better"] == "higher" else -1
    return str(max(points, key=lambda point: sign * point["value"])["times"])


def _count_row(name: str, theirs: Any, ours: Any) -> dict[str, str]:
    """Return published parameters beside those that the run trains; the published ones are rounded."""
    row = {"name": name, "paper": count(round(theirs)) if text.finite(theirs) else str(theirs)}
    return row | {"ours": count(ours), "interval": "", "difference": "", "where": ""}


def _paper_row(name: str, theirs: Any, metric: Json) -> dict[str, str]:
    entry = metric.get("score") or metric.get("restored")
    ours = value_of(entry)
    row = {"name": label(name), "paper": str(theirs) + (" dB" if text.in_decibels(name) else "")}
    if ours is None:
        why = _undefined(metric.get("undefined")) if metric else "not measured"
        return row | {"ours": why, "interval": "", "difference": "", "where": ""}
    where = ""
    if text.finite(theirs):
        row["difference"] = text.difference(ours - theirs, name)
        if entry and text.interval(entry):
            where = "above" if theirs > entry["high"] else "below" if theirs < entry["low"] else "inside"
    return (
        {"difference": ""}
        | row
        | {
            "ours": number(ours, name),
            "interval": text.bounds(entry, name),
            "where": f"{where} our interval" if where else "",
        }
    )


def _sources(splits: Json) -> dict[str, Any]:
    """Return one table of images by source and class, for each split and domain that has several sources."""
    found: list[dict[str, Any]] = []
    places = [
        (split, name, _mapping(counts.get("sources"))) for split, of in splits.items() for name, counts in of.items()
    ]
    shown = [(split, domain, sources) for split, domain, sources in places if len(sources) > 1]
    classes = list(dict.fromkeys(name for *_, sources in shown for row in sources.values() for name in row))
    for split, domain, sources in shown if classes else ():
        v = data_warnings.cramers_v([[row.get(name, 0) for name in classes] for row in sources.values()])
        for at, (source, row) in enumerate(sources.items()):
            cells = {"source": source, "split": text.split_word(split), "domain": domain, "first": at == 0}
            cells["v"] = f"{v:.2f}" if at == 0 and v is not None else ""
            found.append(cells | {"counts": [row.get(name, 0) for name in classes]})
    return {"classes": classes, "rows": found}


def _shots(run: RunFolder, scores: Json) -> list[dict[str, Any]]:
    """Return a few test images, each with its pictures by column, its name and what is known of its class."""
    files = gallery.read(run.path / "scores" / "pictures")
    predicted = _predicted(run.path / "scores" / "test.csv", scores) if files else {}
    lost = _harm(scores)
    shots = []
    for key, of in files.items():
        pictures = {name: run.picture(path.relative_to(run.path).as_posix()) for name, path in of.items()}
        shown = {SHOWN.get(name, name): picture for name, picture in pictures.items() if picture}
        if shown:
            worst = f"lost most: {lost['name']} {lost['gain']}" if lost and key == lost["worst"] else ""
            shots.append({"key": key, "pictures": shown, "prediction": predicted.get(key, ""), "worst": worst})
    return shots


def _predicted(path: Path, scores: Json) -> dict[str, str]:
    """Return by key "true: control, predicted: opacity" of scores/test.csv; empty without such a file, and of masks."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if "task" not in scores:  # of version 1.0
            of = {row["key"]: (row.get("class"), row["called"]) for row in rows if row.get("called")}
        elif scores["task"] is None or scores["task"]["kind"] == "mask":
            return {}
        else:
            task = Task.of(scores["task"])
            of = {row["key"]: _row_words(task, row) for row in rows}
    except (OSError, csv.Error, ValueError, KeyError, TypeError):
        return {}
    return {key: f"true: {true or 'unknown'}, predicted: {predicted}" for key, (true, predicted) in of.items()}


def _row_words(task: Task, row: Mapping[str, str]) -> tuple[str, str]:
    """Return the target and the prediction of a row of scores/test.csv."""
    target = read_target(task, [row[name] for name in truths(task)])
    return target_text(task, target), predicted_text(task, [float(row[name]) for name in task.columns])


def _progress(steps: Columns) -> dict[str, int] | None:
    if not steps:
        return None
    last = {key: steps[key][np.isfinite(steps[key])] for key in ("step", "epoch") if key in steps}
    return {key: int(values[-1]) for key, values in last.items() if len(values)}


def _curves(steps: Columns, validation: Columns, scores: Json) -> list[dict[str, str]]:
    """Return the charts of training, each with a caption and an alternative text with its ends."""
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


def _health(run: RunFolder) -> dict[str, Any]:
    """Return the checks of training health, their values over time, and the findings."""
    health, rows = run.json("health.json"), run.series("health.csv")
    rows = [row for row in rows if row[1] in health_measures.ABOUT]
    steps = health.get("steps")
    checked = training_health.check_rows(steps if isinstance(steps, int) else 0, rows)
    lasting = {finding["name"] for finding in training_health.lasting(checked.findings, None)}
    found = {finding["name"] for finding in checked.findings}
    looked_for = [
        {
            "finding": f.name,
            "about": health_measures.ABOUT[f.measure],
            "limit": f"{'above' if f.above else 'below'} {text.short(f.limit)}",
            "value": text.short(checked.latest[f.measure]) if f.measure in checked.latest else "not measured",
            "verdict": "yes, at the last" if f.name in lasting else "yes, over" if f.name in found else "no",
        }
        for f in training_health.FINDINGS
    ]
    return {
        "recorded": bool(health) and bool(rows),
        "counts_from": health.get("counts_from"),
        "checked": bool(checked.latest),
        "findings": checked.findings,
        "looked_for": looked_for,
        "chart": _health_chart(rows, health.get("counts_from"), found),
    }


def _health_problems(found: list[dict[str, Any]], scores: Json) -> list[str]:
    """Yield the findings of training health at the step whose weights are scored; without scores, at the last step."""
    step = scores.get("step") if isinstance(scores.get("step"), int) else None
    when = f"at step {count(step)}, whose weights are scored" if step else "at the last"
    return [f"{one['name'].capitalize()} {when}: {one['means']}." for one in training_health.lasting(found, step)]


def _health_chart(rows: list[tuple[int, str, float]], counts_from: Any, found: Set[str]) -> str:
    if not rows:
        return ""
    steps = sorted({step for step, _, _ in rows})
    place = {step: at for at, step in enumerate(steps)}
    columns = {"step": np.asarray(steps, dtype=np.float64)}
    for step, name, value in rows:
        columns.setdefault(name, np.full(len(steps), np.nan))[place[step]] = value
    names = [name for name in health_measures.ABOUT if name in columns]
    mark = counts_from if counts_from is not None and counts_from <= steps[-1] else None
    limits: dict[str, float] = {}
    for finding in training_health.FINDINGS:
        # Of two limits of a measure the first, or that which was passed: a line far from the values squeezes them.
        if finding.measure not in limits or finding.name in found:
            limits[finding.measure] = finding.limit
    return figures.curves(columns, names, dots=True, mark=mark, limits=limits)


def _some(columns: Columns, name: str) -> bool:
    return name in columns and bool(np.isfinite(columns[name]).any())


def _chart(
    title: str, caption: str, columns: Columns, names: list[str], *, dots: bool = False, mark: Any = None
) -> dict[str, str]:
    ends = []
    for name in names:
        values = columns[name][np.isfinite(columns[name])]
        ends.append(f"{name} from {number(float(values[0]))} to {number(float(values[-1]))}")
    shown = {name: text.titled(name) if dots else name for name in names}
    renamed = {"step": columns["step"]} | {shown[name]: columns[name] for name in names}
    picture = figures.curves(renamed, list(shown.values()), dots=dots, mark=mark)
    return {"title": title, "caption": caption, "alt": f"{title}: {'; '.join(ends)}.", "picture": picture}
