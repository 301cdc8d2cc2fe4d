"""restorekit: plugin-based restoration of biomedical images without pairs, evaluated with confidence intervals.

This is the public API: everything that a plugin author imports. It is lazy, so `import restorekit` imports no torch.
`__init__.pyi` lists the names.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = version("restorekit")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
