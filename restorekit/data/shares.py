"""The split of each group of a dataset without given splits, drawn from the groups' names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from restorekit.core.errors import RecipeError

__all__ = ["split_shares"]


def split_shares(groups: Sequence[str], strata: Sequence[str] | None = None, *, test: float, val: float) -> list[str]:
    """Return the split of each item of a dataset, so that items of one group are in one split.

    The draw depends on the names alone: the same groups in another folder are split alike. Each stratum gives its
    share, rounded, to each split; at least one group if it has three or more, and at least one stays for training.
    Shares of 1 in all leave none: for recipes that train nothing.

    Args:
        groups: the group of each item, such as the patient or, where that is not known, the file.
        strata: the stratum of each item, such as the class; None: all are alike. A group is in that of its first item.
        test: the share of the groups for testing, from 0 to 1.
        val: the share of the groups for validation, from 0 to 1.

    Returns:
        "train", "val" or "test" for each item.

    Raises:
        RecipeError: if the shares are above 1 in all.
    """
    if test + val > 1:
        text = f"test and val must be at most 1 in all; got shares of {test:g} and {val:g}"
        raise RecipeError(text, option="test")
    kept = 0 if test + val == 1 else 1
    members: dict[str, list[str]] = {}
    for group, stratum in dict(zip(reversed(groups), reversed(strata or [""] * len(groups)), strict=True)).items():
        members.setdefault(stratum, []).append(group)
    split_of: dict[str, str] = {}
    for names in members.values():
        drawn = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        for name, share in (("test", test), ("val", val)):
            count = min(len(drawn) - kept, max(round(share * len(names)), 1 if share and len(names) > 2 else 0))
            split_of |= dict.fromkeys(drawn[:count], name)
            drawn = drawn[count:]
        split_of |= dict.fromkeys(drawn, "train" if kept else "test")
    return [split_of[group] for group in groups]
