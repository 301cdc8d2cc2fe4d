"""Loggers for experiment trackers, MLflow and Weights & Biases: recipe, losses, rates and validation scores.

Each goes on with the run that it began when a training is resumed; steps that are taken again are logged again, with
the same values. Nothing leaves the machine unless an option names a server.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from restorekit import Event, Factory, Finished, RecipeError, Scored, Started, Stepped, hookimpl, write_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

Logger = Callable[[Event], None]


def mlflow(folder: Path, *, uri: str | None = None, experiment: str = "restorekit") -> Logger:
    """Log to MLflow: by default to the SQLite database `mlflow.db` of the run folder.

    To look: `mlflow ui --backend-store-uri sqlite:///RUN/mlflow.db`, of the package mlflow.

    Args:
        folder: The run folder.
        uri: The tracking server or database; null: SQLite in the run folder, and files in `mlflow` there.
        experiment: The experiment that the run is logged in.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError as error:
        raise _missing("mlflow") from error
    home = folder.resolve()
    opened: list[tuple[MlflowClient, str]] = []

    def start(event: Started) -> tuple[MlflowClient, str]:
        logging.getLogger("mlflow.store").setLevel(logging.WARNING)  # it logs every table that it creates
        client = MlflowClient(tracking_uri=uri or f"sqlite:///{home / 'mlflow.db'}")
        run, begun = _run_id(home / "mlflow.json", event, lambda: _begin(client, experiment, home, uri))
        if begun:
            params = [Param(key, str(value)[:6000]) for key, value in _flat(event.recipe, "")]
            for first in range(0, len(params), 100):  # the most that a call takes
                client.log_batch(run, params=params[first : first + 100])
        else:
            client.set_terminated(run, "RUNNING")
        client.log_dict(run, dict(event.recipe), f"recipe_{event.step:08d}.json")
        return client, run

    def log(event: Event) -> None:
        if isinstance(event, Started):
            opened[:] = [start(event)]
            return
        (client, run), found = opened[0], _values(event)
        if found is not None:
            now = int(1000 * time.time())
            client.log_batch(run, metrics=[Metric(name, value, now, found[0]) for name, value in found[1].items()])
        if isinstance(event, Finished):
            client.set_terminated(run)

    return log


def _begin(client: MlflowClient, experiment: str, home: Path, uri: str | None) -> str:
    """Return the id of a new run of MLflow."""
    known = client.get_experiment_by_name(experiment)
    place = None if uri else (home / "mlflow").as_uri()
    number = client.create_experiment(experiment, artifact_location=place) if known is None else known.experiment_id
    return str(client.create_run(number, run_name=home.name).info.run_id)


def wandb(
    folder: Path, *, project: str = "restorekit", mode: Literal["offline", "online", "disabled"] | None = None
) -> Logger:
    """Log to Weights & Biases: by default offline, to the folder `wandb` of the run folder.

    To send it: `wandb sync RUN/wandb/offline-run-*`.

    Args:
        folder: The run folder.
        project: The project that the run is logged in.
        mode: Null: as in the environment variable WANDB_MODE, or else offline.
    """
    try:
        import wandb as library
    except ImportError as error:
        raise _missing("wandb") from error
    home = folder.resolve()
    chosen = mode or os.environ.get("WANDB_MODE") or "offline"
    opened: list[library.Run] = []

    def start(event: Started) -> library.Run:
        run, _ = _run_id(home / "wandb.json", event, lambda: uuid4().hex[:12])
        return library.init(
            project=project,
            dir=home,
            mode=chosen,
            reinit="finish_previous",  # of a sweep, where a run may have failed before its end
            name=home.name,
            id=run,
            resume="allow" if chosen == "online" else None,
            config=dict(event.recipe),
            settings=library.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )

    def log(event: Event) -> None:
        if isinstance(event, Started):
            opened[:] = [start(event)]
        elif (found := _values(event)) is not None:
            opened[0].log(found[1], step=found[0])
        elif isinstance(event, Finished):
            opened[0].finish()

    return log


def _run_id(file: Path, event: Started, make: Callable[[], str]) -> tuple[str, bool]:
    """Return the tracker's id of the run, which a file keeps, and True if it is new: one that goes on has it."""
    if event.step and file.is_file():
        return str(json.loads(file.read_text("utf-8"))["run"]), False
    file.parent.mkdir(parents=True, exist_ok=True)
    made = make()
    write_text(file, json.dumps({"run": made}))
    return made, True


def _missing(name: str) -> RecipeError:
    fix = f"pip install 'restorekit[{name}]'"
    return RecipeError(f"logger {name!r} needs a package that is not installed; run: {fix}")


def _values(event: Event) -> tuple[int, dict[str, float]] | None:
    """Return the step and the named values that an event carries."""
    match event:
        case Stepped(step, _, rate, values):
            return step, {"rate": rate, **{f"loss/{name}": value for name, value in values.items()}}
        case Scored(step, values):
            return step, {f"validation/{name}": value for name, value in values.items()}
    return None


def _flat(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by their dotted places."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{place}.{key}" if place else str(key))
    elif place:
        yield place, value


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the loggers."""
    add("logger", "mlflow", mlflow)
    add("logger", "wandb", wandb)
