"""Curves from stored values to light, which files state as a gamma or in a colour profile.

Images are read as they are encoded for display. A file that states another curve, such as values linear in light, holds
other values than its neighbours, and is refused.
"""

from __future__ import annotations

import math
from struct import error as StructError
from struct import unpack_from
from typing import Any

from restorekit.core.errors import DataError

__all__ = ["require_display_exif", "require_display_gamma", "require_display_profile"]

_LEAST, _MOST = 1.6, 2.8
"""Gamma of displays: from 1.8 of old Macintosh systems to 2.6 of cinemas."""
_EXIF, _GAMMA = 0x8769, 0xA500
"""The tag of EXIF's own directory, and in it the exponent that leads from stored values to light."""
_PROFILE_LEAST, _PROFILE_MOST = 1.2, 3.2
"""Wider, as profiles of dot gain are."""


def require_display_gamma(gamma: float, what: str) -> None:
    """Refuse a curve that is far from those of displays; a gamma of 1 is linear in light.

    Raises:
        DataError: naming `what` states it.
    """
    if not _LEAST <= gamma <= _MOST:
        raise DataError(
            f"has {what} of gamma {gamma:.3g}; values encoded for a display, of {_LEAST} to {_MOST}, are read; convert "
            f"it, or remove {what} if it is wrong"
        )


def require_display_exif(exif: Any) -> None:
    """Refuse a Gamma of EXIF that is far from those of displays; one that is no number is passed over.

    Args:
        exif: as Pillow reads it. Where a file has a colour profile as well, that counts alone.

    Raises:
        DataError: with the gamma.
    """
    try:
        gamma = float(exif.get_ifd(_EXIF)[_GAMMA])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return
    if math.isfinite(gamma):
        require_display_gamma(gamma, "an EXIF tag")


def require_display_profile(profile: bytes) -> None:
    """Refuse an ICC profile whose tone curve is linear or nearly so. A profile that cannot be read is passed over."""
    try:
        gamma = _gamma(profile)
    except (StructError, ValueError, ZeroDivisionError):
        return
    if gamma is not None and not _PROFILE_LEAST <= gamma <= _PROFILE_MOST:
        raise DataError(
            f"has a colour profile of gamma {gamma:.3g}, as values linear in light have; convert it to sRGB "
            "or to a gray profile of gamma 2.2"
        )


def _gamma(profile: bytes) -> float | None:
    """Return the gamma at the middle of the first tone curve of an ICC profile (ISO 15076-1), if it has one."""
    if profile[36:40] != b"acsp":
        return None
    for at in range(min(100, unpack_from(">I", profile, 128)[0])):
        name, start = unpack_from(">4sI", profile, 132 + 12 * at)
        if name in (b"kTRC", b"rTRC"):
            middle = _middle(profile, start)
            return math.log(middle) / math.log(0.5) if 0 < middle < 1 else None
    return None


def _middle(profile: bytes, start: int) -> float:
    """Return the light of a stored value of one half."""
    kind = profile[start : start + 4]
    if kind == b"curv":
        count = unpack_from(">I", profile, start + 8)[0]
        if count == 0:
            return 0.5
        if count == 1:
            return float(0.5 ** (unpack_from(">H", profile, start + 12)[0] / 256))
        return float(unpack_from(">H", profile, start + 12 + 2 * ((count - 1) // 2))[0]) / 65535
    if kind != b"para":
        return 0.0
    function = unpack_from(">H", profile, start + 8)[0]
    count = (1, 3, 4, 5, 7)[function]
    stated = [value / 65536 for value in unpack_from(f">{count}i", profile, start + 12)]
    g, a, b, c, d, e, f = stated + [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0][count:]
    if function == 0:
        return float(0.5**g)
    if function in (1, 2):
        return float((a * 0.5 + b) ** g + (c if function == 2 else 0))
    return float((a * 0.5 + b) ** g + e if d <= 0.5 else c * 0.5 + f)
