"""The contracts: types, layers, passes, events, parts and Restorer. Imports no other layer of restorekit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["nd"])  # a public module, imported at its first use
