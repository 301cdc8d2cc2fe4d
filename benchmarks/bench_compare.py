"""How long a comparison takes: ten runs, 1,000 test images of 500 patients, 2,000 bootstrap resamples, one thread.

    pytest benchmarks/bench_compare.py --benchmark-enable
    python benchmarks/bench_compare.py                          processor seconds: the table, and with the page

Ten methods of one seed make 45 pairs and 315 tests; five methods of two seeds 10 pairs and 70 tests. Predictions are
drawn, no network is trained.
"""

from __future__ import annotations

import json
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restorekit.evaluation.classification import CLASS_SCORES, class_score
from restorekit.evaluation.compare import TABLE, compare
from restorekit.reports.pages import write_page

IMAGES = 1000
SHAPES = ((10, 1), (5, 2))
"""Methods and seeds."""


def runs(folder: Path, methods: int, seeds: int) -> Path:
    """Write run folders as `evaluate` leaves them."""
    target = np.arange(IMAGES) // 2 % 2
    for method in range(methods):
        for seed in range(seeds):
            rng = np.random.default_rng([method, seed])
            positive = 1 / (1 + np.exp(-(2 * target - 1) * (1 + method / 10) - 1.5 * rng.standard_normal(IMAGES)))
            chances = np.stack([1 - positive, positive], axis=1).round(6)
            home = folder / f"m{method}-{seed}"
            (home / "scores").mkdir(parents=True)
            metrics = {
                name: {"id": name, "better": "higher", "score": {"value": float(class_score(name, chances, target))}}
                for name in CLASS_SCORES
                if name in TABLE
            }
            recipe = {"name": f"m{method}", "seed": seed, "paper": {"f1": 0.8}}
            (home / "recipe.json").write_text(json.dumps(recipe))
            (home / "scores" / "test.json").write_text(json.dumps({"step": 1, "metrics": metrics}))
            rows = [
                f"x{i:04d}.png,p{i // 2},s,{('no', 'yes')[t]},{('no', 'yes')[int(p > 0.5)]},{1 - p:.6f},{p:.6f}"
                for i, (t, p) in enumerate(zip(target, chances[:, 1], strict=True))
            ]
            table = "\n".join(["key,group,source,class,predicted,p_no,p_yes", *rows])
            for split in ("test", "val"):
                (home / "scores" / f"{split}.csv").write_text(table + "\n")
    return folder


def table(folder: Path) -> Any:
    """Compare."""
    return compare([folder])


def page(folder: Path) -> Any:
    """Compare, and write the page."""
    return write_page(compare([folder]), folder / "compare.html")


@pytest.mark.parametrize("what", [table, page])
@pytest.mark.parametrize(("methods", "seeds"), SHAPES)
def test_comparing(benchmark: Any, tmp_path: Path, methods: int, seeds: int, what: Any) -> None:
    """Compare ten runs."""
    runs(tmp_path, methods, seeds)
    benchmark.pedantic(what, args=(tmp_path,), rounds=3)


def main() -> None:
    """Print seconds."""
    for methods, seeds in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            home = runs(Path(folder), methods, seeds)
            text = [f"{what.__name__} {seconds(what, home):.1f} s" for what in (table, page)]
        print(f"{methods} methods, seeds of each {seeds}: {', '.join(text)}")


def seconds(what: Any, home: Path) -> float:
    """Return seconds of processor time, which other work on the machine does not stretch; the best of three."""
    return min(timeit.repeat(lambda: what(home), timer=time.process_time, number=1, repeat=3))


if __name__ == "__main__":
    main()
