"""Three stages that overlap: threads read ahead, the caller's thread runs the networks, threads write behind.

What is in memory is bounded by the number of threads and the size of a batch, whatever the number of items. Decoding,
compressing and hashing release the interpreter lock, so threads do what processes would, and no pixel is copied
between processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from restorekit.core.errors import STOPPING

__all__ = ["Pipeline"]

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Done = TypeVar("Done")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pipeline(Generic[Item, Read, Made, Done]):
    """Items to results, in their order; an item of which a stage raises has the exception as its result."""

    read: Callable[[Item], Read]
    """From an item to what a batch is made of; called in threads."""
    batch_key: Callable[[Read], object]
    """Neighbours for which this is equal may share a batch."""
    run: Callable[[list[Read]], list[Made]]
    """From a batch to what is made of each; called in the thread that iterates. If it raises, each is run alone."""
    write: Callable[[Item, Read, Made], Done]
    """From an item, what was read and what was made of it to its result; called in threads."""
    jobs: int = 1
    """Threads that read, and as many that write."""
    batch: int = 1
    """The most items of a batch."""

    def over(self, items: Iterable[Item]) -> Iterator[tuple[Item, Done | BaseException]]:
        """Yield each item with its result, or with the exception of its stage. What stops a program is raised."""
        source, most = iter(items), self.jobs + self.batch
        ahead: deque[tuple[Item, Future[Read]]] = deque()
        behind: deque[tuple[Item, Future[Done]]] = deque()
        readers, writers = (ThreadPoolExecutor(self.jobs, f"restorekit-{name}") for name in ("read", "write"))
        try:
            while True:
                for item in islice(source, most - len(ahead)):
                    ahead.append((item, readers.submit(self.read, item)))
                if not ahead:
                    break
                for item, read, made in self._made(self._batch(ahead)):
                    behind.append((item, writers.submit(self._written, item, read, made)))
                # Ahead is empty at the end alone, for it holds more than a batch.
                while behind and (not ahead or len(behind) > most or behind[0][1].done()):
                    item, future = behind.popleft()
                    result = _result(future)
                    yield item, result
        finally:  # what is being read or written ends; what waits is dropped
            for pool in (readers, writers):
                pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, ahead: deque[tuple[Item, Future[Read]]]) -> list[tuple[Item, Read | BaseException]]:
        """Take the next items of one batch_key; one that could not be read is alone."""
        found: list[tuple[Item, Read | BaseException]] = []
        while ahead and len(found) < self.batch:
            item, future = ahead[0]
            read = _result(future)
            if found and not self._share(found[0][1], read):
                break
            found.append((item, read))
            ahead.popleft()
        return found

    def _share(self, first: Read | BaseException, other: Read | BaseException) -> bool:
        if isinstance(first, BaseException) or isinstance(other, BaseException):
            return False
        return self.batch_key(first) == self.batch_key(other)

    def _made(
        self, batch: list[tuple[Item, Read | BaseException]]
    ) -> Iterator[tuple[Item, Read | None, Made | BaseException]]:
        first = batch[0][1]
        if isinstance(first, BaseException):
            yield batch[0][0], None, first
            return
        read = [one for _, one in batch if not isinstance(one, BaseException)]
        try:
            made: list[Made | BaseException] = [*self.run(read)]
        except STOPPING:
            raise
        except BaseException as error:  # a library can raise anything
            made = [error] if len(read) == 1 else [self._alone(one) for one in read]
        yield from ((item, one, result) for (item, _), one, result in zip(batch, read, made, strict=True))

    def _alone(self, read: Read) -> Made | BaseException:
        try:
            return self.run([read])[0]
        except STOPPING:
            raise
        except BaseException as error:
            return error

    def _written(self, item: Item, read: Read | None, made: Made | BaseException) -> Done:
        if isinstance(made, BaseException):
            raise made
        assert read is not None
        return self.write(item, read, made)


def _result(future: Future[Value]) -> Value | BaseException:
    """Return what a thread returned or raised; what stops a program is raised here too."""
    try:
        return future.result()
    except STOPPING:
        raise
    except BaseException as error:
        return error
