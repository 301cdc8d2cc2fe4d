"""Which files of a folder are signals, and which are but are not read."""

from __future__ import annotations

from pathlib import Path

from restorekit import files_below
from restorekit_signals.files.wfdb_files import segment_files

__all__ = ["SUFFIXES", "find_signals", "skipped_signals"]

SUFFIXES = (".hea", ".edf", ".bdf", ".csv", ".npy")
_OTHERS = {
    **dict.fromkeys((".txt", ".tsv", ".asc"), "text tables are read as .csv; rename it"),
    **dict.fromkeys((".rec", ".gdf", ".set", ".vhdr", ".cnt", ".mff", ".fif", ".scp", ".xml", ".ishne", ".ecg"), ""),
    **dict.fromkeys((".mat", ".npz", ".h5", ".hdf5", ".parquet", ".feather", ".xlsx", ".xls", ".wav"), ""),
}
_HEADS = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF", b"\x93NUMPY": "NumPy"}


def find_signals(folder: Path) -> list[Path]:
    """Return every WFDB header, EDF, BDF, CSV and .npy file below `folder`, sorted; hidden files are left out.

    Headers that a record of several segments names as its parts are left out too: their samples are that record's.
    """
    found = [path for path in files_below(folder) if path.suffix.lower() in SUFFIXES]
    parts = _parts(found)
    return sorted(path for path in found if path not in parts)


def skipped_signals(folder: Path) -> list[tuple[Path, str]]:
    """Return the files below `folder` that are signals and that `find_signals` leaves out, each with the reason."""
    files = sorted(files_below(folder))
    parts = _parts([path for path in files if path.suffix.lower() in SUFFIXES])
    reasons = [(path, parts[path] if path in parts else _reason(path)) for path in files]
    links = [path for path in files_below(folder, broken=True) if path.suffix.lower() in SUFFIXES]
    lost = [(path, "a link that leads to no file") for path in links]
    return sorted((path, reason) for path, reason in [*reasons, *lost] if reason)


def _parts(found: list[Path]) -> dict[Path, str]:
    """Return the headers that others name as their segments."""
    headers = [path for path in found if path.suffix.lower() == ".hea"]
    return {part: f"is a segment of {path.name}, which is read" for path in headers for part in segment_files(path)}


def _reason(path: Path) -> str:
    """Return why a signal file is left out; empty: it is read, or no signal."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return ""
    if suffix == ".dat" and not path.with_suffix(".hea").exists() and not list(path.parent.glob("*.hea")):
        return "is a signal file without a WFDB header, .hea"
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})" if suffix in _OTHERS else ""
    for start, kind in _HEADS.items():
        if head.startswith(start):
            return f"its content is {kind}; rename it to end in {'.npy' if kind == 'NumPy' else f'.{kind.lower()}'}"
    if suffix in _OTHERS:
        return _OTHERS[suffix] or f"{suffix} is not read; convert it to CSV, EDF or WFDB"
    return ""
