"""Compressed DICOM pixels: imagecodecs for what Pillow does not decode, as a plugin of pydicom's decoders.

GDCM would decode all of them, but it aborts the whole process on some damaged files.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder

__all__ = ["plugin_for"]

_NAME = "restorekit"
_JPEG = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_OURS = (*_JPEG, uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_PILLOW = (uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEG2000)

DECODER_DEPENDENCIES = dict.fromkeys(_OURS, ("imagecodecs",))
"""For pydicom, as `is_available` and `decode_frame` are."""


def plugin_for(syntax: Any, bits: int) -> str:
    """Return the name of the decoder for a transfer syntax; empty: pydicom needs none, or it has its own."""
    if syntax in _PILLOW or (syntax == uid.JPEGExtended12Bit and bits <= 8):
        return "pillow"
    if syntax in _OURS:
        decoder = get_decoder(syntax)
        if _NAME not in decoder.available_plugins:
            decoder.add_plugin(_NAME, (__name__, "decode_frame"))
        return _NAME
    return "pydicom" if syntax == uid.RLELossless else ""


def is_available(syntax: str) -> bool:
    """Tell pydicom that nothing is missing."""
    return syntax in _OURS


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Decode one frame into an array of the expected size, so that no frame can be larger than its header says."""
    few = runner.get_option("jls_precision", runner.bits_stored) <= 8
    samples = runner.samples_per_pixel
    shape = (runner.rows, runner.columns, *([samples] if samples > 1 else []))
    out = np.empty(shape, np.uint8 if few else np.uint16)
    decode = imagecodecs.jpeg8_decode if runner.transfer_syntax in _JPEG else imagecodecs.jpegls_decode
    decode(bytes(source), out=out)
    runner.set_option("bits_allocated", out.itemsize * 8)
    if samples > 1:
        runner.set_option("planar_configuration", 0)
    return out.tobytes()
