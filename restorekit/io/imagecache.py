"""Decoded images for reading again: one file without a name that processes share, appended up to a limit.

It holds what an image file stores, at its own depth, so that an image from here is the one from its file, bit by bit.
Training reads images in new orders, each once an epoch: dropping old ones for new ones would never pay, so what is in
stays in, and what no longer fits is read from its file.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import tempfile
from multiprocessing.reduction import DupFd
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from restorekit.core.errors import RecipeError
from restorekit.io.intensity import Stored

__all__ = ["ImageCache"]

_HEAD = Struct("<16sQ")
"""Before each entry: the digest of its key, and its length."""
_NARROW = ("uint8", "int16", "uint16", "float32")


class ImageCache:
    """Entries of (format, stored values) by key. It is gone with the last process that has it open, even if killed.

    A worker process gets it by inheritance or as an argument, and from then on both see what either puts.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        """Make an empty one.

        Args:
            folder: where its file is; None: in memory.
            limit: the most bytes that it may take.

        Raises:
            RecipeError: if there is no such place here.
        """
        self._file = _unnamed_file(folder)
        self._limit = limit
        self._end: Any = multiprocessing.Value("Q", 0)
        self._places: dict[bytes, tuple[int, int]] = {}
        self._known = 0

    def get(self, key: object) -> tuple[str, Stored] | None:
        """Return what was put under `key`, a tuple of plain values, if anything was."""
        place = self._place(_digest(key))
        if place is None:
            return None
        format, stored, dtype = pickle.loads(os.pread(self._file, place[1], place[0]))
        return format, stored.holding(stored.array.astype(dtype, copy=False))

    def put(self, key: object, format: str, stored: Stored) -> None:
        """Keep an image, unless the limit would be passed or the disk is full."""
        array = _narrowed(stored.array)
        text = pickle.dumps((format, stored.holding(array), stored.array.dtype), protocol=5)
        digest = _digest(key)
        with self._end.get_lock():
            start = self._end.value + _HEAD.size
            if start + len(text) > self._limit or self._place(digest) is not None:
                return
            try:
                _write(self._file, _HEAD.pack(digest, len(text)) + text, self._end.value)
            except OSError:
                return
            self._end.value = start + len(text)

    def close(self) -> None:
        """Give the memory or the disk back, when the other processes close theirs."""
        os.close(self._file)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_file": state["_file"].detach()}

    def _place(self, digest: bytes) -> tuple[int, int] | None:
        """Return where an entry lies and its length; other processes may have put it since we last looked."""
        end = self._end.value
        while self._known < end:
            found, length = _HEAD.unpack(os.pread(self._file, _HEAD.size, self._known))
            self._places[found] = (self._known + _HEAD.size, length)
            self._known += _HEAD.size + length
        return self._places.get(digest)


def _unnamed_file(folder: Path | None) -> int:
    if folder is None:
        if not hasattr(os, "memfd_create"):
            raise RecipeError("memory is for Linux; use disk")
        return os.memfd_create("restorekit")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name: a killed process leaves nothing behind
            return os.dup(file.fileno())
    except OSError as error:
        raise RecipeError(f"disk needs a folder to write in; {folder}: {error.strerror}") from error


def _digest(key: object) -> bytes:
    return hashlib.blake2b(repr(key).encode(), digest_size=16).digest()


def _narrowed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a reader's float64 as the narrowest type that holds all its values exactly: DICOM rescales by 1 and 0."""
    if array.dtype != np.float64:
        return array
    for dtype in _NARROW:
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = array.astype(dtype)
        if np.array_equal(narrow, array):
            return narrow
    return array


def _write(file: int, data: bytes, at: int) -> None:
    while data:
        done = os.pwrite(file, data, at)
        data, at = data[done:], at + done
