"""Where files are restored: the contract of engines, and the local one, which is threads of this process.

An engine is given tasks and gives back rows or exceptions. It may lose a task and do it again, on any machine; the
process that called it has the table, and alone adds rows and moves files to their places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from restorekit.core.errors import DataError
from restorekit.restoring.arguments import default_jobs
from restorekit.restoring.contract import FileModel
from restorekit.restoring.pipeline import Pipeline
from restorekit.restoring.plan import Job
from restorekit.restoring.table import Table

if TYPE_CHECKING:
    from restorekit.restoring.restore import Row

__all__ = ["ENGINES", "Call", "Engine", "Kept", "Local", "Results", "Stages", "Task", "named"]

Results: TypeAlias = "Generator[tuple[Task, Row | BaseException], None, None]"

ENGINES = ("local", "ray")
"""What `restorekit restore --engine` takes."""


class Kept(Exception):
    """A file that an earlier call restored in the same way."""


@dataclass(frozen=True)
class Task:
    """One file to restore, with what the table knows of its place."""

    job: Job
    conflict: str = ""
    """Why its place cannot be taken; empty: it can."""
    known: tuple[str, ...] | None = None
    """The source and the hashes of what an earlier call wrote there."""


class Stages(ABC):
    """What is done with one file, in three stages that may overlap. It knows no table, so it works on any machine."""

    @abstractmethod
    def read(self, task: Task) -> Any:
        """Read a file and measure it, in any thread.

        Raises:
            Kept: if an earlier call restored it in the same way.
            DataError: if it cannot be restored.
        """

    @abstractmethod
    def batch_key(self, read: Any) -> object:
        """Return what is equal for files that may share a batch."""

    @abstractmethod
    def run(self, batch: list[Any]) -> list[Any]:
        """Restore what `read` returned, of files of one batch_key, in one thread at a time."""

    @abstractmethod
    def write(self, task: Task, read: Any, made: Any, place: Path) -> Row:
        """Write a restored file to `place`, whose folder is there, and return its row; in any thread."""


@dataclass(frozen=True)
class Call:
    """One call of `restore_files`, as engines see it."""

    model: FileModel
    stages: Callable[[FileModel], Stages]
    """What is done with a file, by a model; it can be pickled, which a model need not be."""
    table: Table
    jobs: int | None
    """Threads that read, and as many that write; None: as the engine sees fit."""
    batch: int
    """Images of one size in one call of the networks."""
    report: Callable[[str], None]
    """Is called with a line for what concerns the whole call."""


class Engine(ABC):
    """Runs tasks. What is in memory or unfinished is bounded, whatever the number of tasks."""

    @abstractmethod
    def over(self, tasks: Iterator[Task], call: Call) -> Results:
        """Yield each task once, with its row, whose files then lie where `call.table.add` takes them from, or an error.

        Tasks are taken from the iterator as there is room for them. The order of what is yielded is free.
        """


class Local(Engine):
    """Threads of this process, in the order of the tasks."""

    def over(self, tasks: Iterator[Task], call: Call) -> Results:
        """Yield each task with its row, or with the exception of its stage."""
        stages, table = call.stages(call.model), call.table
        pipeline: Pipeline[Task, Any, Any, Row] = Pipeline(
            stages.read,
            stages.batch_key,
            stages.run,
            lambda task, read, made: stages.write(task, read, made, table.stage(task.job.target)),
            jobs=default_jobs() if call.jobs is None else call.jobs,
            batch=call.batch,
        )
        yield from pipeline.over(tasks)


def named(
    name: str,
    load: Callable[[], FileModel],
    *,
    address: str | None = None,
    workers: int | None = None,
    gpu: bool = True,
) -> Engine:
    """Return an engine by its name.

    Args:
        name: one of `ENGINES`.
        load: makes the model in another process, as `functools.partial(restorekit.load, "part:tv")` does.
        address: of the cluster, HOST:PORT or "auto"; None: the one in RAY_ADDRESS, else one on this machine alone.
        workers: processes that restore, at most; None: as many as the cluster has GPUs, or else CPUs.
        gpu: each takes a GPU, if the cluster has any; False: the model computes on CPUs.

    Raises:
        DataError: if the name is unknown, an option is not for it, or what it needs is not installed.
    """
    if name not in ENGINES:
        raise DataError(f"engine: got {name!r}; allowed: {' or '.join(map(repr, ENGINES))}")
    if name == "local":
        for option, value in (("address", address), ("workers", workers)):
            if value is not None:
                raise DataError(f"{option}: got {value!r} with the engine 'local'; allowed: with --engine ray")
        return Local()
    try:
        from restorekit.restoring.cluster import RayEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise DataError(
            "engine: got 'ray', which is not installed; run: pip install 'restorekit[ray]', here and on every node"
        ) from error
    return RayEngine(load, address=address, workers=workers, gpu=gpu)
