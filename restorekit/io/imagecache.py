"""Decoded images for reading again: one file without a name that processes share, appended up to a limit.

It holds what an image file stores, at its own depth, so that an image from here is the one from its file, bit by bit.
Training reads images in new orders, each once an epoch: dropping old ones for new ones would never pay, so what is in
stays in, and what no longer fits is read from its file. An entry is JSON and a NumPy array, never a pickle, so that
reading one runs no code; one that is damaged is not used.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import multiprocessing
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from multiprocessing.reduction import DupFd
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from restorekit.core.errors import RecipeError
from restorekit.io import displays
from restorekit.io.intensity import Stored

__all__ = ["ImageCache"]

_HEAD = Struct("<16sQII")
"""Before each entry: the digest of its key, its length, that of its JSON, and the CRC-32 of all of it."""
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
        self._places: dict[bytes, tuple[int, int, int, int]] = {}
        self._known = 0

    def get(self, key: object) -> tuple[str, Stored] | None:
        """Return what was put under `key`, a tuple of plain values, if anything was and it is not damaged."""
        place = self._place(_digest(key))
        if place is None:
            return None
        start, length, json_length, checksum = place
        entry = os.pread(self._file, length, start)
        if len(entry) != length or zlib.crc32(entry) != checksum:
            return None
        return _decoded(entry[:json_length], entry[json_length:])

    def put(self, key: object, format: str, stored: Stored) -> None:
        """Keep an image, unless the limit would be passed or the disk is full.

        Raises:
            TypeError: if `stored` holds what is neither a plain value nor one of `io/displays.py`.
        """
        record, pixels = _encoded(format, stored)
        entry, digest = record + pixels, _digest(key)
        with self._end.get_lock():
            start = self._end.value + _HEAD.size
            if start + len(entry) > self._limit or self._place(digest) is not None:
                return
            try:
                head = _HEAD.pack(digest, len(entry), len(record), zlib.crc32(entry))
                _write(self._file, head + entry, self._end.value)
            except OSError:
                return
            self._end.value = start + len(entry)

    def close(self) -> None:
        """Give the memory or the disk back, when the other processes close theirs."""
        os.close(self._file)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_file": state["_file"].detach()}

    def _place(self, digest: bytes) -> tuple[int, int, int, int] | None:
        """Return the position of an entry and its head; other processes may have written it since the last call."""
        end = self._end.value
        while self._known < end:
            found, length, *rest = _HEAD.unpack(os.pread(self._file, _HEAD.size, self._known))
            self._places[found] = (self._known + _HEAD.size, length, *rest)
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


def _encoded(format: str, stored: Stored) -> tuple[bytes, bytes]:
    """Return an entry: its JSON, and its pixels as a .npy file."""
    record = {f.name: _plain(getattr(stored, f.name)) for f in fields(stored) if f.name != "array"}
    text = json.dumps({"format": format, "dtype": stored.array.dtype.str, "stored": record})
    return text.encode(), _npy(_narrowed(stored.array))


def _decoded(record: bytes, pixels: bytes) -> tuple[str, Stored]:
    """Undo `_encoded`."""
    head = json.loads(record)
    array = _from_npy(pixels).astype(head["dtype"], copy=False)
    return head["format"], Stored(array, **{name: _value(plain) for name, plain in head["stored"].items()})


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it. What JSON does not know becomes a mapping of its type's name to its content."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(one) for one in value]}
    if isinstance(value, Mapping):
        return {"mapping": {key: _plain(one) for key, one in value.items()}}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        return {"array": base64.b64encode(_npy(value)).decode()}
    name = type(value).__name__
    if name in displays.__all__:
        return {name: {f.name: _plain(getattr(value, f.name)) for f in fields(value)}}
    raise TypeError(f"the image cache cannot keep {value!r}, a {name}")


def _value(plain: Any) -> Any:
    """Undo `_plain`."""
    if isinstance(plain, list):
        return [_value(one) for one in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "tuple":
        return tuple(_value(one) for one in content)
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "array":
        return _from_npy(base64.b64decode(content))
    held = {key: _value(one) for key, one in content.items()}
    return held if kind == "mapping" else getattr(displays, kind)(**held)


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _from_npy(data: bytes) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array


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
