"""Methods from run folders: runs of one recipe and variant are the seeds of one method."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.tasks import Task
from restorekit.evaluation.distances import read_good
from restorekit.evaluation.scoretable import ScoreTable, read_scores
from restorekit.recipes.recipe import read_resolved
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.health import check_rows, lasting
from restorekit.runs.upgrade import present_names

__all__ = ["Method", "Scored", "find_runs", "methods", "read_run"]

Json = Mapping[str, Any]

LABELS = ("name", "seed", "needs", "paper", "paper_note", "variants", "variant", "loggers", "watch")
HOUSEKEEPING = (
    *("data.root", "data.cache", "data.workers", "data.unreadable"),
    *("train.log_every", "train.save_every", "train.sample_every"),
    *("evaluate.metrics", "evaluate.resamples", "evaluate.confidence", "audit"),
)
"""Keys of a recipe that change no network and no restored image."""
FOR_THE_BEST = ("train.best", "train.score_every")
"""Keys that matter only where the best checkpoint is kept."""
RANKING = ("higher", "lower", "nearer")
"""Values of `Metric.better` of a metric that can name the best checkpoint."""
NO_PIXELS = ("root", "path", "file", "images", "labels", "train", "val", "count")
"""Options of datasets that make no test pixel: where files lie, and how much is trained and validated on."""


@dataclass(frozen=True)
class Scored:
    """A run that was trained and evaluated."""

    folder: Path
    recipe: Json
    scores: Json
    """scores/test.json."""
    test: ScoreTable
    val: ScoreTable | None
    """None: there is no scores/val.csv."""
    data: Json
    """data.json."""
    restores: bool = True
    """False: its generator hands images through, so no score of images is its own."""
    good: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By metric the values of the good images, (M,), that were measured beside the test images."""
    good_keys: tuple[str, ...] = ()
    """Names of the good images, M of them."""
    health_problems: tuple[str, ...] = ()
    """What training health finds at the step whose weights are compared."""

    @property
    def synthetic(self) -> bool:
        """True if images were made, not recorded."""
        return bool(self.data.get("synthetic"))

    @property
    def unit(self) -> str:
        """The name of groups of images: patients, or that of the dataset."""
        return str(self.data.get("unit", "patient"))

    @property
    def seed(self) -> int:
        """The seed of its recipe."""
        return int(self.recipe.get("seed", 0))

    @property
    def task(self) -> Task:
        """What it predicts; nothing without a head."""
        found = self.scores.get("task")
        if isinstance(found, Mapping):
            return Task.of(found)
        return Task.of_version_1(self.test.classes, str(self.scores.get("quantity") or ""))

    @property
    def sizing(self) -> tuple[Any, ...]:
        """How test images become what is scored: their size, the fit and the filter, or at their own size.

        None for what an older recipe does not have.
        """
        if _get(self.recipe, "data.window") is not None:
            return ("own size", None, None)
        size, scale = _get(self.recipe, "data.size"), _get(self.recipe, "data.scale") or 1
        shown = None if size is None else " x ".join(str(n * scale) for n in size)
        return (shown, _get(self.recipe, "data.fit"), _get(self.recipe, "data.antialias"))

    def sized_as(self, other: Scored) -> bool:
        """True if test images of both have the same size, brought to it in the same way."""
        return all(None in pair or pair[0] == pair[1] for pair in zip(self.sizing, other.sizing, strict=True))

    @property
    def confidence(self) -> Any:
        """That of the intervals that it wrote of itself."""
        return self.scores.get("confidence")

    def may_have(self, *, of_predictions: bool) -> bool:
        """True if it can have a score: of predictions where it has a head, of images where it restores them."""
        return self.task != Task() if of_predictions else self.restores


@dataclass(frozen=True)
class Method:
    """What is compared: a recipe and a variant, trained with one seed or several."""

    label: str
    runs: tuple[Scored, ...]
    """In the order of their seeds."""
    differs: Mapping[str, str]
    """By key of the recipe: its differences from other methods of the same name and variant."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return tuple(run.seed for run in self.runs)

    @property
    def paper(self) -> Mapping[str, float]:
        """Published scores, by metric."""
        return self.runs[0].recipe.get("paper") or {}

    @property
    def trained(self) -> bool:
        """False if its recipe names a restorer, which trains nothing from its seed."""
        return "restorer" not in self.runs[0].recipe

    @property
    def predicts(self) -> bool:
        """True if it predicts classes."""
        return bool(self.runs[0].test.classes)


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return run folders: those given, and those that stand directly in a given folder.

    Raises:
        DataError: if a folder is absent or holds no run.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise DataError(f"{path}: there is no such folder; give run folders, or a folder of them")
        here = [path] if (path / "recipe.json").is_file() else sorted(p.parent for p in path.glob("*/recipe.json"))
        if not here:
            raise DataError(f"{path}: holds no run: neither it nor a folder in it has a recipe.json")
        found += here
    twice = [path for path, times in Counter(path.resolve() for path in found).items() if times > 1]
    if twice:
        raise DataError(f"{twice[0]}: is given twice; name every run once")
    return found


def read_run(folder: Path) -> Scored:
    """Read the results of a finished run.

    Raises:
        RecipeError: if it is no run folder.
        DataError: if it is not finished, not evaluated since, or of a version that wrote other files.
    """
    recipe = read_resolved(folder)
    scores = _json(folder / "scores" / "test.json")
    last = _last_state(folder)
    if last and last["step"] < last["steps"]:
        at = f"step {last['step']} of {last['steps']}"
        raise DataError(f"{folder}: is not finished: {at}; go on: restorekit resume {folder}")
    if scores is None:
        raise DataError(f"{folder}: is not evaluated: it has no scores/test.json; restorekit evaluate {folder}")
    if not isinstance(scores.get("metrics"), dict) or not isinstance(scores.get("step"), int):
        raise DataError(f"{folder / 'scores' / 'test.json'}: holds no metrics and no step; evaluate again")
    best = last.get("best") if last and scores.get("kept") == "best" else None
    now = best["step"] if best else last["step"] if last else scores["step"]
    if scores["step"] != now:
        raise DataError(
            f"{folder}: was evaluated at step {scores['step']}, but keeps step {now}; restorekit evaluate {folder}"
        )
    val = folder / "scores" / "val.csv"
    good_keys, good = read_good(folder / "scores" / "test_good.csv")
    same = (_json(folder / "scores" / "val.json") or {}).get("step") == now  # else it is of another checkpoint
    return Scored(
        folder=folder,
        recipe=recipe,
        scores=scores,
        test=read_scores(folder / "scores" / "test.csv", scores["metrics"]),
        val=read_scores(val, scores["metrics"]) if val.is_file() and same else None,
        data=_json(folder / "data.json") or {},
        restores=_get(_json(folder / "networks.json") or {}, "ab.translates") is not False,
        good=good,
        good_keys=good_keys,
        health_problems=_health_problems(folder, now),
    )


def _health_problems(folder: Path, step: int) -> tuple[str, ...]:
    """Return what training health finds at a step, computed again from what the run measured.

    Nothing of a run that was not watched, or whose files are damaged: a note is no reason to refuse scores.
    """
    try:
        steps = json.loads((folder / "health.json").read_text("utf-8"))["steps"]
        with (folder / "health.csv").open(newline="", encoding="utf-8") as stream:
            rows = [(int(row["step"]), row["measure"], float(row["value"])) for row in csv.DictReader(stream)]
        return tuple(one["name"] for one in lasting(check_rows(steps, rows).findings, step))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def methods(runs: Sequence[Scored], *, allow_unequal: bool = False) -> list[Method]:
    """Return the methods of runs, in the order of the runs.

    Args:
        runs: at least one.
        allow_unequal: take methods that were trained with other seeds than each other.

    Raises:
        DataError: if the runs cannot be compared, with the reason.
    """
    for run in runs[1:]:
        _check_same_task(runs, run)
        _check_same_images(runs[0], run)
    by_method: dict[tuple[str, str], list[Scored]] = {}
    for run, key in zip(runs, _keys(runs), strict=True):
        by_method.setdefault(key, []).append(run)
    found = [Method(label, tuple(sorted(same, key=lambda r: r.seed)), {}) for (label, _), same in by_method.items()]
    found = _with_unique_labels(found)
    for method in found:
        for one, other in zip(method.runs, method.runs[1:], strict=False):
            if one.seed == other.seed:
                raise DataError(
                    f"{one.folder} and {other.folder}: are the same method and seed ({method.label}, seed {one.seed}); "
                    "the same training counts once; give one of them"
                )
    every = sorted({seed for method in found for seed in method.seeds})
    for method in found:
        lost = [seed for seed in every if seed not in method.seeds]
        if lost and not allow_unequal:
            raise DataError(
                f"{method.label}: has seeds {_list(method.seeds)}, others have {_list(every)}; missing: {_list(lost)}. "
                "Train them, or give --allow-unequal"
            )
    return found


def _keys(runs: Sequence[Scored]) -> list[tuple[str, str]]:
    """Return (label, settings) of each run. A recipe run as it is counts as its variant that changes nothing."""
    settings = [json.dumps(_settings(run), sort_keys=True) for run in runs]
    labels = {(_name(run), of): _label(run) for run, of in zip(runs, settings, strict=True) if _variant(run)}
    return [
        (_label(run) if _variant(run) else labels.get((_name(run), of), _name(run)), of)
        for run, of in zip(runs, settings, strict=True)
    ]


def _label(run: Scored) -> str:
    return "-".join(filter(None, [_name(run), _variant(run)]))


def _name(run: Scored) -> str:
    return str(run.recipe.get("name", run.folder.name))


def _variant(run: Scored) -> str:
    return str(run.recipe.get("variant") or "")


def _settings(run: Scored) -> dict[str, Any]:
    """What makes a method, by dotted key: the recipe without its labels, its housekeeping and what is null.

    Null is the default of a key that an older recipe has not. What stands for a null is compared: the half that
    `audit: split` trains on, and the metric that names the best checkpoint.
    """
    idle = HOUSEKEEPING if _get(run.recipe, "train.keep") == "best" else (*HOUSEKEEPING, *FOR_THE_BEST)
    whole = {key: value for key, value in run.recipe.items() if key not in LABELS}
    settings = dict(_flat(whole, ""))
    settings["data.half"] = _half(run)
    settings["train.best"] = _best(run)
    return {
        key: value
        for key, value in settings.items()
        if value is not None and not any(key == i or key.startswith(f"{i}.") for i in idle)
    }


def _half(run: Scored) -> Any:
    """The half of the training patients that it was trained on, as `Recipe.half`, of a recipe of any version."""
    return _get(run.recipe, "data.half") or ("first" if _get(run.recipe, "audit.name") == "split" else None)


def _best(run: Scored) -> Any:
    """The metric that names the best checkpoint: `train.best`, else the first with a direction."""
    listed = [str(metric.get("name")) for metric in _get(run.recipe, "evaluate.metrics") or ()]
    usable = (name for name in listed if run.scores["metrics"].get(name, {}).get("better") in RANKING)
    return _get(run.recipe, "train.best") or next(usable, None)


def _get(recipe: Json, dotted: str) -> Any:
    node: Any = recipe
    for key in dotted.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value); a part in a list goes by its name."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        seen = Counter[str]()
        for item in value:
            name = str(item.get("name"))
            seen[name] += 1
            yield from _flat(item, f"{key}.{name}" + (f"_{seen[name]}" if seen[name] > 1 else ""))
    else:
        yield key, value


def _with_unique_labels(found: list[Method]) -> list[Method]:
    """Number the methods that share a name and a variant, and label their differences."""
    shared = Counter(method.label for method in found)
    turn, made = Counter[str](), []
    for method in found:
        if shared[method.label] == 1:
            made.append(method)
            continue
        turn[method.label] += 1
        alike = [_settings(other.runs[0]) for other in found if other.label == method.label]
        keys = sorted({key for settings in alike for key in settings})
        keys = [key for key in keys if len({json.dumps(settings.get(key)) for settings in alike}) > 1]
        mine = _settings(method.runs[0])
        differs = {key: json.dumps(mine[key]) if key in mine else "not set" for key in keys}
        made.append(replace(method, label=f"{method.label} #{turn[method.label]}", differs=differs))
    return made


def _check_same_task(runs: Sequence[Scored], run: Scored) -> None:
    """Refuse different tasks; a method without a head has none, and may be compared with any."""
    predicting = next((other for other in runs if other.task != Task()), None)
    if predicting is None or run.task in (predicting.task, Task()):
        return
    tasks = [_task_words(other) for other in (predicting, run)]
    raise DataError(f"{predicting.folder} and {run.folder}: have other tasks: {tasks[0]}; {tasks[1]}")


def _task_words(run: Scored) -> str:
    classes = run.task.named("class")
    return run.task.words() + (f", positive {classes[-1]}" if len(classes) == 2 else "")


def _check_same_images(first: Scored, run: Scored) -> None:
    one, other = first.test, run.test
    where = f"{first.folder} and {run.folder}"
    alone = sorted(set(one.keys) ^ set(other.keys))
    if alone:
        every = len(set(one.keys) | set(other.keys))
        raise DataError(
            f"{where}: were tested on other images: {len(alone)} of {every} stand in one of them only, such as "
            f"{alone[0]!r}"
        )
    for what, mine, theirs in (("class", one.truth, other.truth), ("patient", one.groups, other.groups)):
        moved = [i for i, (m, t) in enumerate(zip(mine, theirs, strict=True)) if m != t]
        if moved:
            i = moved[0]
            raise DataError(
                f"{where}: give {len(moved)} of {len(one.keys)} test images another {what}, such as {one.keys[i]!r}: "
                f"{mine[i] or 'unknown'} and {theirs[i] or 'unknown'}"
            )
    _check_same_pixels(first, run, where)


def _check_same_pixels(first: Scored, run: Scored, where: str) -> None:
    """Refuse different pixels of equal keys, by the measures of the degraded images."""
    _check_same_making(first, run, where)
    if not first.sized_as(run) or _get(first.recipe, "data.channels") != _get(run.recipe, "data.channels"):
        return
    for name, mine in first.test.columns.items():
        theirs = run.test.columns.get(name)
        if not name.endswith("_degraded") or theirs is None:
            continue
        with np.errstate(invalid="ignore"):  # an infinite score is like itself
            differing = ~(np.isclose(mine, theirs, rtol=1e-3, atol=1e-5, equal_nan=True))
        if differing.any():
            i = int(np.argmax(differing))
            raise DataError(
                f"{where}: {int(differing.sum())} of {len(mine)} test images have equal keys but other pixels, "
                f"such as {first.test.keys[i]!r}: {name} is {mine[i]:.5g} and {theirs[i]:.5g}"
            )


def _check_same_making(first: Scored, run: Scored, where: str) -> None:
    whole = first.synthetic or run.synthetic
    mine, theirs = (_making(one, whole=whole) for one in (first, run))
    for key in sorted(mine.keys() | theirs.keys()):
        values = [json.dumps(one[key]) if key in one else "not set" for one in (mine, theirs)]
        if values[0] != values[1]:
            raise DataError(
                f"{where}: were tested on images that were made in another way: {key} is {values[0]} and {values[1]}"
            )


def _making(run: Scored, *, whole: bool) -> dict[str, Any]:
    """How the recipe makes its test pixels, by dotted key; empty where it reads them from files.

    Args:
        run: the run.
        whole: its images are synthetic, so all of `data.a` determines them, not only what is degraded.
    """
    a = _get(run.recipe, "data.a")
    degraded = list(_degraded(a, "data.a"))
    parts = [("data.a", a)] if whole else degraded
    made = {dotted: value for key, part in parts for dotted, value in _flat(_pixels(part), key)}
    drawn = run.scores.get("draws", f"by the seed {run.seed}")  # version 1
    return made | ({"the draw of fresh: true": drawn} if any(part.get("fresh") for _, part in degraded) else {})


def _degraded(node: Any, key: str) -> Iterator[tuple[str, Json]]:
    """Yield (dotted key, part) of each `degraded` that may have test images."""
    if isinstance(node, Mapping) and node.get("name") == "degraded":
        if not _only_trains(node.get("dataset")):
            yield key, node
    elif isinstance(node, Mapping):
        for name, inner in node.items():
            yield from _degraded(inner, f"{key}.{name}")
    elif isinstance(node, list):
        for i, inner in enumerate(node):
            yield from _degraded(inner, f"{key}.{i}")


def _only_trains(dataset: Any) -> bool:
    """True of a dataset that names the recordings it trains on and none to test on."""
    return isinstance(dataset, Mapping) and isinstance(dataset.get("train"), Mapping) and not dataset.get("test")


def _pixels(node: Any, key: str = "dataset") -> Any:
    """A dataset's options without those that make no test pixel, and those of the datasets within it likewise."""
    if isinstance(node, list):
        return [_pixels(inner, key) for inner in node]
    if not isinstance(node, Mapping):
        return node
    aside = NO_PIXELS if key in ("dataset", "datasets") else ()
    return {name: _pixels(inner, name) for name, inner in node.items() if name not in aside}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no mapping")
    made: dict[str, Any] = present_names(found)
    return made


def _last_state(folder: Path) -> dict[str, Any] | None:
    """The state of the last checkpoint; None where all were removed."""
    found = checkpoints(folder)
    state = _json(found[-1] / "state.json") if found else None
    return state if state and {"step", "steps"} <= state.keys() else None


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or "none"
