"""Numbers: scores, intervals, tests, audits, comparisons and costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["measures"])  # a public module, imported at its first use
