"""Warnings of libraries, ignored in every thread while one of them reads or writes a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["without_warnings"]

_lock = Lock()
_inside = 0
_catching: warnings.catch_warnings | None = None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore warnings: a flaw in the metadata of a file does not make it unreadable.

    `warnings.catch_warnings` alone is not for threads: one that leaves while another is inside would restore filters
    that are not its own. Here the first one in saves the filters, and the last one out restores them.
    """
    global _inside, _catching
    with _lock:
        if not _inside:
            _catching = warnings.catch_warnings()
            _catching.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _catching is not None:
                _catching.__exit__(None, None, None)
                _catching = None
