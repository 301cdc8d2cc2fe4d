"""Files to rows: each file read and measured, several at a time; one that cannot be read stops nothing."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from restorekit import CsvWriter, DataError, depths_of, find_images, measures, read_image, write_text
from restorekit_analysis.measures import MEASURES, measure
from restorekit_analysis.severity import quality

__all__ = ["Row", "analyse", "found_images", "write_csv"]


@dataclass(frozen=True)
class Row:
    """A file and what was measured, or why nothing was."""

    path: Path
    size: tuple[int, int] = (0, 0)
    """Height and width in pixels."""
    values: dict[str, float] = field(default_factory=dict)
    """By the names of `MEASURES`; NaN where one is not defined; empty if the file could not be used."""
    error: str = ""
    """One line that names the file; empty if all is well."""
    range: tuple[float, float] | None = None
    """The values of black and white by which it was read; None: those of the file."""

    def image(self) -> Tensor:
        """Read the image again, (1 or 3, H, W) in [-1, 1].

        Raises:
            DataError: if it cannot be read any more.
        """
        return read_image(self.path, range=self.range)[0]


def found_images(paths: Sequence[Path]) -> list[Path]:
    """Return files as they are and, of folders, every image file below, each once and in order.

    Raises:
        DataError: if a path is absent or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = find_images(path) if path.is_dir() else [path]
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if not inside:
            raise DataError(f"{path}: holds no image")
        found |= dict.fromkeys(inside)
    return list(found)


def analyse(
    paths: Iterable[Path],
    *,
    jobs: int = 1,
    range: tuple[float, float] | None = None,
    bits: int | None = None,
    ranges: Mapping[Path, tuple[float, float]] = {},
) -> Generator[Row, None, None]:
    """Yield a row a file, in order, as soon as it and those before it are done.

    Args:
        paths: image files.
        jobs: how many are read and measured at the same time, in threads.
        range: the values of black and white in the files; None: as each file states.
        bits: the significant bits of 16-bit files that do not state them; see `restorekit.depths_of`.
        ranges: the values of black and white of single files; they go before `range`.
    """
    waiting: deque[Future[Row]] = deque()
    pool = ThreadPoolExecutor(jobs)
    try:
        for path in paths:
            waiting.append(pool.submit(analyse_file, path, ranges.get(path) or range or _range(path, bits)))
            if len(waiting) > 2 * jobs:  # rows come while later files are read
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops listening waits for the files in work alone


def analyse_file(path: Path, range: tuple[float, float] | None = None) -> Row:
    """Return the row of a file; what is wrong with the file stands in it."""
    try:
        if range is None:
            _require_depth(path)
        image = read_image(path, range=range)[0]
        try:
            x = measures.gray(image)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        return Row(path, (x.shape[0], x.shape[1]), measure(x), range=range)
    except DataError as error:
        return Row(path, error=str(error))


def _range(path: Path, bits: int | None) -> tuple[float, float] | None:
    """Return black and white of a 16-bit file that does not state them, where all files decided the bits."""
    if bits is None:
        return None
    alone = depths_of([path], str(path))
    return replace(alone, bits=bits).ends if alone.files else None


def _require_depth(path: Path) -> None:
    """Refuse a file that does not state its black and white: its levels would be those of another scale.

    Raises:
        DataError: for scaled values, and for 16-bit ones that may be of fewer bits.
    """
    alone = depths_of([path], str(path))
    if alone.most and alone.bits is not None and alone.bits < 16:
        raise DataError(
            f"{path}: holds 16-bit values of at most {alone.most} and does not state its bits; declare its range "
            f"(--range 0 {2**alone.bits - 1} or --range 0 65535)"
        )


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write a row a file, whole or not at all: its path, height, width, every measure, the quality, and the error."""
    text = io.StringIO()
    table = CsvWriter(text)
    table.writerow(["path", "height", "width", *MEASURES, "quality", "error"])
    for row in rows:
        measured = [f"{row.values[name]:.6g}" if name in row.values else "" for name in MEASURES]
        sizes = ["", ""] if row.error else list(row.size)
        whole = "" if row.error else f"{quality(row.values):.4f}"
        table.writerow([row.path.as_posix(), *sizes, *measured, whole, row.error])
    write_text(path, text.getvalue())
