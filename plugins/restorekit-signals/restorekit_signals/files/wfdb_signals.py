"""Signal files of WFDB: bytes to samples and back, by signal(5) of the WFDB Applications Guide."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError, cast
from restorekit_signals.files.wfdb_header import SignalLine

__all__ = ["INVALID", "WRITTEN", "encoded", "read_group", "sum_of", "to_digital"]

Samples = NDArray[np.signedinteger[Any]]
INVALID = {
    **dict.fromkeys(("80", "508"), -(2**7)),
    **dict.fromkeys(("310", "311"), -(2**9)),
    "212": -(2**11),
    **dict.fromkeys(("16", "61", "160", "516"), -(2**15)),
    **dict.fromkeys(("24", "524"), -(2**23)),
    "32": -(2**31),
}
"""The sample of each format that stands for no value; format 8 has none."""
WRITTEN = {"80": 7, "212": 11, "16": 15, "61": 15, "160": 15, "24": 23, "32": 31}
"""Formats that are written, and the bits of their values without the sign."""
_FLAC = ("508", "516", "524")
_BYTES = {"8": (1, 1), "80": (1, 1), "16": (1, 2), "61": (1, 2), "160": (1, 2), "24": (1, 3), "32": (1, 4)}
_BLOCKS = {**_BYTES, "212": (2, 3), "310": (3, 4), "311": (3, 4)}
"""Samples and bytes of what is decoded at once."""
_PARTS = {"212": (0, 2), "310": (0, 2, 4), "311": (0, 2, 3)}
"""Bytes of an unfinished last block, by the samples in it."""


@dataclass(frozen=True)
class _Layout:
    """What is common to the signals of one file."""

    file: str
    fmt: str
    offset: int
    frames: tuple[int, ...]
    """Samples of each signal in a frame."""


def read_group(folder: Path, lines: Sequence[SignalLine], samples: int | None) -> list[Samples]:
    """Read the signals of one file, skew not yet applied: (frames x samples a frame) each.

    Args:
        folder: of the record.
        lines: the signal lines of that file.
        samples: frames that the header states; None: what is in the file.

    Raises:
        DataError: if the file is not there, its length is not that of the header, or its samples are not those of the
            checksums.
    """
    layout = _layout(lines)
    path = folder / layout.file
    if layout.file == "-" or not path.is_file():
        raise DataError(f"names the signal file {layout.file}, which is not there")
    if layout.fmt in _FLAC:
        flat, spare = _flac(path, layout, samples), 0
    else:
        flat, spare = _flat(path, layout, samples)
    table = flat.reshape(-1, sum(layout.frames))
    ends = np.cumsum(layout.frames)
    signals = []
    for line, end in zip(lines, ends, strict=True):
        signal = table[:, end - line.frame : end].reshape(-1)
        signals.append(np.cumsum(signal, dtype=np.int64) + line.initial if layout.fmt == "8" else signal)
    proven = _checked(lines, signals, samples)
    if spare and not (layout.offset and proven):  # a file of another format may go on behind its samples
        raise DataError(f"{layout.file} has {spare} bytes more than its header states; correct the number of samples")
    return signals


def sum_of(digital: Samples) -> int:
    """Return the checksum of samples: the signed lower 16 bits of their sum."""
    return (int(digital.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15


def to_digital(values: NDArray[np.float64], gain: float, baseline: int, lead: str) -> tuple[Samples, int]:
    """Return the steps of values, NaN as 0, and how many bits without the sign the others need.

    Raises:
        DataError: if no format holds them.
    """
    steps = np.rint(values * gain + baseline)
    known = np.isfinite(steps)
    most = float(np.abs(steps[known]).max()) if known.any() else 0.0
    bits = int(most).bit_length()
    if np.isinf(steps).any() or bits > max(WRITTEN.values()):
        raise DataError(f"holds values of {most:g} steps, which no WFDB format does (lead {lead})")
    return cast(np.where(known, steps, 0), np.int64), bits


def encoded(digital: Samples, fmt: str) -> bytes:
    """Return the bytes of samples, flat, in the order of the file; each must be one that the format holds."""
    if len(digital) and not -(2 ** WRITTEN[fmt]) <= digital.min() <= digital.max() < 2 ** WRITTEN[fmt]:
        raise DataError(f"holds values from {digital.min()} to {digital.max()}, which format {fmt} does not")
    if fmt == "80":
        return cast(digital + 2**7, np.uint8).tobytes()
    if fmt == "160":
        return cast(digital + 2**15, "<u2").tobytes()
    if fmt == "24":
        return cast(digital, "<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if fmt == "212":
        pairs = np.append(digital, np.zeros(len(digital) % 2, np.int64)).reshape(-1, 2) & 0xFFF
        parts = [pairs[:, 0] & 0xFF, pairs[:, 0] >> 8 | pairs[:, 1] >> 8 << 4, pairs[:, 1] & 0xFF]
        data = cast(np.stack(parts, axis=1), np.uint8).tobytes()
        return data[:-1] if len(digital) % 2 else data
    return cast(digital, {"16": "<i2", "61": ">i2", "32": "<i4"}[fmt]).tobytes()


def _layout(lines: Sequence[SignalLine]) -> _Layout:
    first = lines[0]
    for what in ("fmt", "offset"):
        got = {getattr(line, what) for line in lines}
        if len(got) > 1:
            raise DataError(f"gives the signals of {first.file} several values of {what}: {', '.join(map(str, got))}")
    if first.fmt not in _BLOCKS and first.fmt not in _FLAC:
        raise DataError(f"is stored in format {first.fmt}; read are {', '.join([*_BLOCKS, *_FLAC])}")
    return _Layout(first.file, first.fmt, first.offset, tuple(line.frame for line in lines))


def _flat(path: Path, layout: _Layout, samples: int | None) -> tuple[Samples, int]:
    """Return all samples in the order of the file, and how many bytes are behind them."""
    raw = np.fromfile(path, np.uint8)
    there = len(raw) - layout.offset
    frame = sum(layout.frames)
    count = (_held(there, layout.fmt) // frame if samples is None else samples) * frame
    needed = _needed(count, layout.fmt)
    if there < needed or not count:
        stated = "no sample" if samples is None else f"{samples} samples for each signal, {needed} bytes"
        got = f"{layout.file} holds {max(there, 0)} bytes, the header states {stated}"
        raise DataError(f"its signals cannot be read ({got}); the file may be cut short")
    per, size = _BLOCKS[layout.fmt]
    spare = there - -(-count // per) * size  # the last block may be padded
    blocks = raw[layout.offset : layout.offset + -(-count // per) * size]
    blocks = np.append(blocks, np.zeros(-len(blocks) % size, np.uint8))
    return _decoded(blocks, layout.fmt)[:count], max(spare, 0)


def _held(there: int, fmt: str) -> int:
    """Return how many whole samples some bytes hold."""
    per, size = _BLOCKS[fmt]
    whole, over = divmod(max(there, 0), size)
    return whole * per + max(n for n, part in enumerate(_PARTS.get(fmt, (0,))) if part <= over)


def _needed(count: int, fmt: str) -> int:
    per, size = _BLOCKS[fmt]
    return count // per * size + (_PARTS[fmt][count % per] if count % per else 0)


def _decoded(blocks: NDArray[np.uint8], fmt: str) -> Samples:
    plain = {"8": "i1", "16": "<i2", "61": ">i2", "160": "<u2", "80": "u1", "32": "<i4"}
    if fmt in plain:
        return blocks.view(plain[fmt]).astype(np.int32) - {"80": 2**7, "160": 2**15}.get(fmt, 0)
    parts = blocks.reshape(-1, _BLOCKS[fmt][1]).astype(np.int32)
    if fmt == "24":
        return _signed(parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16, 24)
    if fmt == "212":
        pair = [parts[:, 0] | (parts[:, 1] & 0xF) << 8, parts[:, 2] | parts[:, 1] >> 4 << 8]
        return _signed(np.stack(pair, axis=1).reshape(-1), 12)
    first, second = parts[:, 0] | parts[:, 1] << 8, parts[:, 2] | parts[:, 3] << 8
    if fmt == "310":
        three = [first >> 1 & 0x3FF, second >> 1 & 0x3FF, first >> 11 | second >> 11 << 5]
    else:
        whole = first | second << 16  # the sign of the two unused bits is masked out below
        three = [whole & 0x3FF, whole >> 10 & 0x3FF, whole >> 20 & 0x3FF]
    return _signed(np.stack(three, axis=1).reshape(-1), 10)


def _signed(values: Samples, bits: int) -> Samples:
    half = 1 << (bits - 1)
    return (values ^ half) - half


def _flac(path: Path, layout: _Layout, samples: int | None) -> Samples:
    """Decode FLAC, and hold it against the MD5 sum of its samples, which decoders do not look at."""
    import soundfile  # comes with wfdb; here, since few records are FLAC

    if len(set(layout.frames)) > 1:
        raise DataError(f"gives the signals of {layout.file} unequal samples a frame, which FLAC has not")
    with path.open("rb") as stream:
        head = stream.read(42)  # up to the MD5 sum of STREAMINFO
    try:
        with soundfile.SoundFile(path) as file:
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(file.subtype, 0)
            frames, channels = file.frames, file.channels
            table = file.read(dtype="int32", always_2d=True).astype(np.int32) >> 32 - (bits or 32)
    except Exception as error:  # a damaged file can make the library raise anything
        raise DataError(f"its signals cannot be read ({layout.file}: {' '.join(str(error).split())[:200]})") from error
    if not 0 < bits <= int(layout.fmt) - 500 or channels != len(layout.frames):
        got = f"{channels} channels of {bits} bits"
        raise DataError(f"{layout.file} has {got}; its header states {len(layout.frames)} of format {layout.fmt}")
    if len(table) != frames:
        raise DataError(f"its signals cannot be read ({layout.file} holds {len(table)} of {frames} samples)")
    packed = table.astype("<i4").view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    if any(head[26:42]) and hashlib.md5(packed, usedforsecurity=False).digest() != head[26:42]:
        raise DataError(f"{layout.file} is damaged: its samples are not those of its MD5 sum")
    table = table[layout.offset :]
    wanted = len(table) if samples is None else samples * layout.frames[0]
    if len(table) != wanted or wanted % layout.frames[0]:
        raise DataError(f"{layout.file} holds {len(table)} samples of each signal, its header states {wanted}")
    flat: Samples = table.reshape(-1, layout.frames[0], channels).transpose(0, 2, 1).reshape(-1)
    return flat


def _checked(lines: Sequence[SignalLine], signals: Sequence[Samples], samples: int | None) -> bool:
    """Refuse samples that are not those of the checksums, and return whether all are proven by one.

    header(5): without a number of samples a checksum checks nothing. A checksum of 0 may be a placeholder, unless the
    header was made from the samples: its initial values are the first samples, and not all 0.
    """
    if samples is None:
        return False
    firsts = [int(signal[0]) for signal in signals]
    computed = any(firsts) and firsts == [line.initial for line in lines]
    proven = True
    for line, signal in zip(lines, signals, strict=True):
        if line.checksum is None or (line.checksum % 2**16 == 0 and sum_of(signal) != 0 and not computed):
            proven = False
        elif (line.checksum - sum_of(signal)) % 2**16:
            got, stated = sum_of(signal), line.checksum
            raise DataError(
                f"signal {line.name} of {line.file} is damaged: its checksum is {got}, its header states {stated}"
            )
    return proven
