"""Restoring by several processes, on one machine or on the nodes of a Ray cluster that share storage.

Each process loads the model once. The calling process gives them files, takes what is done, and alone writes the table
and moves files to their places. A process or a node may end at any time: its files go to others, and one that was done
twice is there once (`attempts.py`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock, current_thread, main_thread
from time import monotonic
from typing import Any
from uuid import uuid4

import ray
from ray import exceptions

from restorekit.core.errors import STOPPING, DataError, message_of
from restorekit.restoring.arguments import check_count
from restorekit.restoring.attempts import Attempt
from restorekit.restoring.contract import FileModel
from restorekit.restoring.engine import Call, Engine, Kept, Results, Stages, Task
from restorekit.restoring.pipeline import Pipeline
from restorekit.restoring.plan import line_of
from restorekit.restoring.restore import Row

__all__ = ["RayEngine"]

QUEUED = 2
"""Calls that wait in a worker, so that it need not wait for the next one."""
DEATHS = 3
"""Workers that may end over one file, each with no other file in work, before the file gets an error."""
CONNECT = 10.0
"""Seconds within which a cluster's address must react."""
SLOW = 30.0
"""Seconds without a worker after which a line is reported."""
PATIENCE = 600.0
"""Seconds without a worker after which the call ends."""
STARTING = 120.0
"""Seconds that a worker which is being started may take until files that no other node sees are given up."""
STORE = 2**27
"""Bytes of Ray's store of objects on this machine; no image goes through it."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""With which HTTP/2 begins, and so gRPC, which Ray speaks; a server's first frame is of type 4 too."""


class RayEngine(Engine):
    """Processes on a Ray cluster. A cluster that this Python process is connected to is used as it is.

    Args:
        load: makes the model in a worker; it must be the model of the call, but may compute on another device.
        address: HOST:PORT of a cluster's head, or "auto" for the one that runs on this machine; None: the one in
            RAY_ADDRESS, else a cluster is started on this machine for the call.
        workers: at most; None: as many as the cluster has GPUs, or else CPUs, as the call begins.
        gpu: each takes a GPU, if the cluster has any; False: the model computes on CPUs.
    """

    def __init__(
        self,
        load: Callable[[], FileModel],
        *,
        address: str | None = None,
        workers: int | None = None,
        gpu: bool = True,
    ) -> None:
        self._load, self._address, self._gpu = load, address, gpu
        self._workers = None if workers is None else check_count("workers", workers)

    def over(self, tasks: Iterator[Task], call: Call) -> Results:
        """Yield each task with its row, or with the error of it, as they are done.

        Raises:
            DataError: if the cluster cannot be reached, or no worker can be started, or none has the model of the call.
        """
        with _connected(self._address, self._workers):
            has = ray.cluster_resources()
            gpus = int(has.get("GPU", 0)) if self._gpu else 0
            most = self._workers or max(1, gpus or int(has.get("CPU", 1)))
            hidden = call.table.share()
            mark = hidden / f"shared-{uuid4().hex}"
            mark.touch()
            jobs = 1 if call.jobs is None else call.jobs
            order = _Order(self._load, call.stages, call.model.identity(), call.table.folder, mark, jobs, call.batch)
            pool = _Pool(call, order, most, gpu=gpus > 0)
            try:
                yield from pool.over(tasks)
            finally:
                pool.close()
                mark.unlink(missing_ok=True)


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine, unless this process is connected."""
    if ray.is_initialized():
        known = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", known):
            raise DataError(
                f"address: got {address!r}, and this process is connected to {known}; allowed: that, or None"
            )
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # names of files and models concern nobody else
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of its next version
    os.environ.setdefault("RAY_worker_niceness", "0")  # that of this process, where it starts the cluster; else 15
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address not in ("auto", "local"):
        _require_server(address)
    ends = signal.getsignal(signal.SIGTERM)
    try:
        if address == "local":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            ray.init(
                address,
                num_cpus=workers or cores,
                include_dashboard=False,
                object_store_memory=STORE,
                **quiet,
            )
        else:
            ray.init(address, **quiet)
    except STOPPING:
        raise
    except Exception as error:
        raise DataError(f"address: got {address!r}, and Ray cannot connect: {message_of(error)[:500]}") from error
    if current_thread() is main_thread():
        signal.signal(signal.SIGTERM, ends)  # Ray takes it, and prints a trace
    try:
        yield
    finally:
        ray.shutdown()


def _require_server(address: str) -> None:
    """Require that something that may be a cluster's head is at an address; Ray itself would try for minutes.

    Raises:
        DataError: if not.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and "/" not in host):
        raise DataError(
            f"address: got {address!r}; allowed: HOST:PORT of the cluster's head, as ray start shows it; auto"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT) as server:
            server.sendall(PREFACE)
            found = server.recv(9)
    except (OSError, OverflowError) as error:
        raise DataError(
            f"address: got {address!r}, where no cluster can be reached ({message_of(error)}); allowed: HOST:PORT of "
            "the cluster's head, as ray start shows it; auto"
        ) from error
    if found[3:4] != b"\x04" and os.environ.get("RAY_USE_TLS") != "1":
        raise DataError(f"address: got {address!r}, where no Ray cluster is but another server; see ray start")


@dataclass(frozen=True)
class _Order:
    """What a worker needs to know."""

    load: Callable[[], FileModel]
    stages: Callable[[FileModel], Stages]
    identity: str
    """Of the model of the call; the device is the worker's own."""
    folder: Path
    """Where restored files go, an absolute path."""
    mark: Path
    """A file that a worker sees that shares storage with the caller."""
    jobs: int
    batch: int


@dataclass(frozen=True)
class _Done:
    """A restored file that waits in a hidden folder."""

    row: Row
    name: str
    """Of the folder."""


@dataclass(frozen=True)
class _NotVisible:
    """A file or folder that a worker does not see."""

    path: Path
    host: str
    error: BaseException | None = None
    """What restoring the file gave."""


_Made = _Done | _NotVisible | BaseException


class _Worker:
    """A process that restores. Calls overlap: while one runs the networks, others read and write."""

    def __init__(self, order: _Order) -> None:
        self._order, self._networks = order, Lock()
        self._stages: Stages | None = None

    def open(self) -> tuple[str, str]:
        """Load the model, and return the node and why the worker cannot be used; empty: it can."""
        order, node = self._order, ray.get_runtime_context().get_node_id()
        try:
            model = order.load()
            if model.identity() != order.identity:
                return node, "loads another model, or has another version of restorekit, than the calling process"
            self._stages = order.stages(model)
        except STOPPING:
            raise
        except BaseException as error:
            return node, f"cannot load the model ({message_of(error)})"
        return node, ""

    def restore(self, tasks: list[Task]) -> list[_Made]:
        """Restore files, and return what was made of each, in their order."""
        if not self._order.mark.is_file():
            return [_NotVisible(self._order.folder, socket.gethostname()) for _ in tasks]
        stages = self._ready
        pipeline: Pipeline[Task, Any, Any, _Done] = Pipeline(
            stages.read, stages.batch_key, self._run, self._write, jobs=self._order.jobs, batch=self._order.batch
        )
        return [self._picklable(task, made) for task, made in pipeline.over(tasks)]

    @property
    def _ready(self) -> Stages:
        assert self._stages is not None
        return self._stages

    def _run(self, batch: list[Any]) -> list[Any]:
        with self._networks:
            return self._ready.run(batch)

    def _write(self, task: Task, read: Any, made: Any) -> _Done:
        job, order = task.job, self._order
        attempt = Attempt(order.mark.parent, job.target, order.folder)
        try:
            return _Done(*attempt.settled(self._ready.write(task, read, made, attempt.place)))
        except STOPPING:
            raise
        except BaseException as error:
            attempt.discard()
            line = line_of(job.path, job.shown, error)
            raise DataError(line.replace(str(attempt.place), str(job.target))) from error

    def _picklable(self, task: Task, made: _Done | BaseException) -> _Made:
        """Return a result that can be pickled."""
        if isinstance(made, _Done):
            return made
        job = task.job
        error = Kept() if isinstance(made, Kept) else DataError(line_of(job.path, job.shown, made))
        if not (job.error or isinstance(made, Kept) or os.path.lexists(job.path)):
            return _NotVisible(job.path, socket.gethostname(), error)
        return error


@dataclass(frozen=True)
class _Attempted:
    """A task, and what became of earlier tries."""

    task: Task
    deaths: int = 0
    """Workers that ended while this was all they had to do."""
    blind: frozenset[str] = frozenset()
    """Nodes that do not see its file, or the output folder."""
    unseen: str = ""
    """The error of the last of these."""


class _Handle:
    """A worker, as the calling process sees it."""

    def __init__(self, handle: Any) -> None:
        self.handle, self.since = handle, monotonic()
        self.node = ""
        """Empty: it is being started."""
        self.calls = 0
        self.alone = False
        """It has one file that may have ended another worker, and gets no more."""


class _Pool:
    """The workers of one call, and the tasks that they have."""

    def __init__(self, call: Call, order: _Order, most: int, *, gpu: bool) -> None:
        self._call, self._most, self._batch, self._hidden = call, most, order.batch, order.mark.parent
        self._room = order.jobs + 1 + QUEUED
        actor = ray.remote(_Worker).options(
            num_cpus=1,
            num_gpus=1 if gpu else 0,
            max_concurrency=order.jobs + 1,
            max_restarts=0,  # a new one may be started elsewhere
            max_task_retries=0,  # by the pool, which knows what a file did before
            scheduling_strategy="SPREAD",
        )
        self._start: Callable[[], Any] = partial(actor.remote, order)
        self._workers: list[_Handle] = []
        self._calls: dict[Any, tuple[_Handle, list[_Attempted]]] = {}
        """What is in work, by Ray's reference; of a worker that is being started, no task."""
        self._fresh: list[_Attempted] = []
        """The next tasks of all."""
        self._again: deque[_Attempted] = deque()
        """For other nodes."""
        self._suspects: deque[_Attempted] = deque()
        """They were in work as a worker ended; each is tried alone."""
        self._refused = ""
        self._losses, self._last = 0, ""
        """Workers that ended since a file was last done, and why the last of them did."""
        self._idle_since = monotonic()
        self._waits = False

    def over(self, tasks: Iterator[Task]) -> Results:
        """Yield each task with its row, or its error."""
        source = (_Attempted(task) for task in tasks)
        self._fresh = [*islice(source, self._batch)]
        self._call.report(f"ray: starts workers, {self._most} at most; each loads the model once")
        while self._fresh or self._again or self._suspects or any(tries for _, tries in self._calls.values()):
            self._start_workers()
            self._check_wait()
            yield from self._given_up()
            self._submit(source)
            ready, _ = ray.wait([*self._calls], timeout=5)
            for reference in ready:
                yield from self._collect(reference)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            with suppress(Exception):
                ray.kill(worker.handle)

    def _start_workers(self) -> None:
        while len(self._workers) < self._most and self._losses <= DEATHS * (self._most + 1):
            worker = _Handle(self._start())
            self._workers.append(worker)
            self._calls[worker.handle.open.remote()] = worker, []

    def _given_up(self) -> Results:
        """Yield the errors of tasks that no node can do."""
        now = monotonic()
        nodes = {worker.node for worker in self._workers if worker.node or now - worker.since < STARTING}
        for waiting in (self._again, self._suspects):
            for _ in range(len(waiting)):
                one = waiting.popleft()
                if nodes and nodes <= one.blind:  # a worker that is being started has the node ""
                    yield one.task, DataError(one.unseen)
                else:
                    waiting.append(one)

    def _submit(self, source: Iterator[_Attempted]) -> None:
        """Give workers what they have room for."""
        crowded = len(self._again) >= self._most * self._room  # a node that sees nothing must not take everything
        for worker in self._workers:
            while worker.node and not worker.alone and worker.calls < self._room:
                tries = self._next(self._again, worker)
                if not tries and not crowded:
                    tries, self._fresh = self._fresh, [*islice(source, self._batch)]
                if not tries and not worker.calls:
                    tries = self._next(self._suspects, worker)
                    worker.alone = bool(tries)
                if not tries:
                    break
                sent = [_absolute(one.task) for one in tries]
                self._calls[worker.handle.restore.remote(sent)] = worker, tries
                worker.calls += 1

    def _next(self, waiting: deque[_Attempted], worker: _Handle) -> list[_Attempted]:
        """Take the first task that a worker's node may see."""
        for at, one in enumerate(waiting):
            if worker.node not in one.blind:
                del waiting[at]
                return [one]
        return []

    def _collect(self, reference: Any) -> Results:
        """Take what a call returned, or see that its worker has ended."""
        worker, tries = self._calls.pop(reference)
        worker.calls -= 1 if tries else 0
        try:
            found = ray.get(reference)
        except exceptions.RayTaskError as error:  # raised by the worker's own code, which raises nothing on purpose
            if not tries:
                self._opened(worker, "", f"cannot be started ({message_of(error)[:500]})")
            yield from ((one.task, DataError(line_of(one.task.job.path, one.task.job.shown, error))) for one in tries)
        except exceptions.RayError as error:
            yield from self._worker_ended(worker, tries, error)
        else:
            if tries:
                self._losses = 0
                for one, made in zip(tries, found, strict=True):
                    yield from self._result(one, made, worker)
            else:
                self._opened(worker, *found)
        if not worker.calls:
            worker.alone = False

    def _result(self, one: _Attempted, made: _Made, worker: _Handle) -> Results:
        task, job = one.task, one.task.job
        if isinstance(made, _NotVisible):
            if made.error is not None and not os.path.lexists(job.path):
                yield task, made.error  # nobody sees it
                return
            what = "the output folder" if made.error is None else "the file"
            unseen = (
                f"{job.shown}: {what} {made.path} is not seen on node {made.host}; with --engine ray all nodes must "
                "see inputs and output under the same paths"
            )
            self._again.append(replace(one, blind=one.blind | {worker.node}, unseen=unseen))
        elif isinstance(made, _Done):
            yield task, self._moved_into_place(made, task)
        elif isinstance(made, DataError):
            absolute = str(_absolute(task).job.target)
            yield task, DataError(str(made).replace(absolute, str(job.target)))
        else:
            yield task, made

    def _moved_into_place(self, made: _Done, task: Task) -> Row | BaseException:
        """Bring the files of a result to where the table takes them from."""
        job, table = task.job, self._call.table
        try:
            table.take(job.target, self._hidden / made.name)
        except OSError as error:
            return error
        mask = str(job.mask) if made.row.mask else ""
        return replace(made.row, file=job.shown, written=str(job.target), mask=mask)

    def _opened(self, worker: _Handle, node: str, refusal: str) -> None:
        if not refusal:
            worker.node = node
            self._waits = False
            return
        self._refused = f"ray: a worker{f' on node {node[:8]}' if node else ''} {refusal}"
        self._call.report(f"{self._refused}; it is left out")
        self._end(worker)
        self._most -= 1

    def _worker_ended(self, worker: _Handle, tries: list[_Attempted], error: BaseException) -> Results:
        """Keep the tasks of a worker that has ended, or yield the error of one that ended too many."""
        if worker in self._workers:
            self._losses, self._last = self._losses + 1, message_of(error)[:500]
            self._end(worker)
        for one in tries:
            after = replace(one, deaths=one.deaths + worker.alone)
            if after.deaths < DEATHS:
                self._suspects.append(after)
            else:
                self._losses = 0
                why = f"{one.task.job.shown}: {DEATHS} workers ended while restoring it, such as for lack of memory"
                yield one.task, DataError(f"{why} ({type(error).__name__})")

    def _end(self, worker: _Handle) -> None:
        self._workers.remove(worker)
        with suppress(Exception):  # a worker that cannot be reached may still run
            ray.kill(worker.handle)

    def _check_wait(self) -> None:
        """Report that no worker runs, and do not wait for one for ever.

        Raises:
            DataError: if none will, or none did for long.
        """
        if not self._workers:
            why = self._refused or f"ray: {self._losses} workers ended and none restored a file ({self._last})"
            raise DataError(f"{why}; no worker is left. Start again: what is done is skipped")
        if any(worker.node for worker in self._workers):
            self._idle_since = monotonic()
            return
        waited = monotonic() - self._idle_since
        if waited > PATIENCE:
            raise DataError(
                f"ray: no worker could be started within {PATIENCE:.0f} s; the cluster has no free CPU or GPU"
            )
        if waited > SLOW and not self._waits:
            self._waits = True
            self._call.report("ray: waiting for a worker: they are starting, or the cluster has no free CPU or GPU")


def _absolute(task: Task) -> Task:
    """Return a task for a process whose current folder is another."""
    job = task.job
    path, target = (Path(os.path.abspath(one)) for one in (job.path, job.target))
    mask = None if job.mask is None else Path(os.path.abspath(job.mask))
    return replace(task, job=replace(job, path=path, target=target, mask=mask))
