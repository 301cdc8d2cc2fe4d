"""Seeds that are functions of numbers, so that no random state needs to be kept, saved or shared."""

from __future__ import annotations

import zlib

import numpy as np
import torch

__all__ = ["rng_of", "seed_of"]


def seed_of(*numbers: int | str) -> int:
    """Return a 63-bit seed that is a pure function of the arguments; words count by their checksum."""
    words = [n if isinstance(n, int) else zlib.crc32(n.encode()) for n in numbers]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def rng_of(*numbers: int | str) -> torch.Generator:
    """Return a generator on the CPU, seeded by `seed_of`."""
    return torch.Generator().manual_seed(seed_of(*numbers))
