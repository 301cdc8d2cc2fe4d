"""Test cases of the conformance kit: how it makes a part, and which checks the part is exempt from, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["ConformanceCase", "case_of", "conformance_case"]

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__restorekit_conformance_case__"


@dataclass(frozen=True)
class ConformanceCase:
    """How `restorekit plugin check` makes a part, and the checks that it leaves out."""

    options: Mapping[str, Any] = field(default_factory=dict)
    files: Callable[[Path], object] | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)


def conformance_case(
    *,
    options: Mapping[str, Any] | None = None,
    files: Callable[[Path], object] | None = None,
    exempt: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Mark a factory with the test case of its part; a part without required options needs none.

    Args:
        options: What the part is made with, as a recipe writes it: required options, and what keeps it small and quick.
        files: Of a dataset, a format or a degradation that reads files: called with an empty folder, its `root`, to
            write a small example into it.
        exempt: Checks that the part need not pass, and why in plain words: `{"onnx": "ONNX has no such operator"}`.
    """

    def mark(factory: F) -> F:
        setattr(factory, _MARK, ConformanceCase(dict(options or {}), files, dict(exempt or {})))
        return factory

    return mark


def case_of(factory: Callable[..., Any]) -> ConformanceCase:
    """Return the test case of a factory's part."""
    found: ConformanceCase = getattr(factory, _MARK, ConformanceCase())
    return found
