"""EDF and EDF+ by edfio: the home of that library."""

from __future__ import annotations

from pathlib import Path

import edfio
import numpy as np

from restorekit import DataError
from restorekit_signals.files.recording import Recording

__all__ = ["read_edf"]


def read_edf(path: Path, leads: tuple[str, ...] | None) -> Recording:
    """Read the signals of an EDF file that are named, or all; annotations of EDF+ are no signal.

    Raises:
        DataError: if it is damaged, a lead is missing, or those read have unequal rates.
    """
    try:
        file = edfio.read_edf(path)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except Exception as error:  # a damaged file can make the library raise anything
        raise DataError(f"cannot be read as EDF ({' '.join(str(error).split())[:200]})") from error
    known = {signal.label: signal for signal in file.signals}
    lost = [lead for lead in leads or () if lead not in known]
    if lost or not known:
        raise DataError(f"has no lead {lost[0]!r}; its leads are {', '.join(known)}" if lost else "holds no signal")
    taken = [known[lead] for lead in leads] if leads else list(file.signals)
    rates = [float(signal.sampling_frequency) for signal in taken]
    if len(set(rates)) > 1:
        told = ", ".join(f"{signal.label} {rate:g} Hz" for signal, rate in zip(taken, rates, strict=True))
        raise DataError(f"its leads have unequal rates ({told}); name those of one rate: leads: [...]")
    names, units = tuple(signal.label for signal in taken), tuple(signal.physical_dimension for signal in taken)
    return Recording(np.stack([signal.data for signal in taken]).astype(np.float64), names, units, rates[0])
