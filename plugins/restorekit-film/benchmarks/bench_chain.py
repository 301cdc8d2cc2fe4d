"""Time of the chain `film` on one core: processor seconds of whole draws and of each step, on a film of 1024 pixels.

python plugins/restorekit-film/benchmarks/bench_chain.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from restorekit_film.chain import SEVEREST, film

from restorekit import Domain, nd

SIDE = 1024
DRAWS = 200


def milliseconds(call: Callable[[], object]) -> float:
    """Return the processor time of one call, which other programs change little."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    chain = film(Domain("films", 1, (SIDE, SIDE)))
    rng = torch.Generator().manual_seed(0)
    image = nd.resize(torch.rand(1, 1, 64, 64, generator=rng) * 2 - 1, (SIDE, SIDE))[0]
    for name, severity in SEVEREST.items():
        chain.pair(image, {name: severity}, rng)
        times = [milliseconds(lambda: chain.pair(image, {name: severity}, rng)) for _ in range(7)]  # noqa: B023
        print(f"{name:14}{np.median(times):7.1f} ms")
    drawn = [chain.draw(rng) for _ in range(DRAWS)]
    times = [milliseconds(lambda: chain.pair(image, one, rng)) for one in drawn]  # noqa: B023
    print(f"draws: mean {np.mean(times):.0f}, 95 % {np.quantile(times, 0.95):.0f}, most {max(times):.0f} ms")


if __name__ == "__main__":
    main()
