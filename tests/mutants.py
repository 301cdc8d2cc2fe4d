"""Wrong versions of the code, each of which the named tests must catch: `python tests/mutants.py [NAME ...]`.

The project is copied, so the checkout is never changed. Each mutant replaces a text of one file of the copy; one of its
tests must then fail, and the same test must pass when the text is as it was. A table shows a line for each mutant. The
exit code is 1 if a mutant survives, its old text is gone, or its tests cannot be run.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ["torch", "numpy.testing", "scipy.stats", "pydantic", "ruamel.yaml", "PIL.Image"]
"""Imported once, for all mutants; pytest and its plugins are not, since they rewrite what they import."""


@dataclass(frozen=True)
class Mutant:
    """A defect, and the test files that must catch it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = [
    Mutant(
        "padding-before",
        "restorekit/core/nd.py",
        "amounts.append((total // 2, total - total // 2))",
        "amounts.append((total - total // 2, total // 2))",
        ("tests/core/test_nd.py",),
    ),
    Mutant(
        "padding-wrong-axis",
        "restorekit/core/nd.py",
        "flat = [n for pair in reversed(amounts) for n in pair]",
        "flat = [n for pair in amounts for n in pair]",
        ("tests/core/test_nd.py",),
    ),
    Mutant(
        "detach-dropped",
        "restorekit/core/passes.py",
        "self._pool_b.query(wide(self.ab.image.detach())",
        "self._pool_b.query(wide(self.ab.image)",
        ("tests/core/test_passes.py",),
    ),
    Mutant(
        "pool-without-condition",
        "restorekit/core/passes.py",
        "None if conditions is None else self._swap(conditions, places, self.conditions)",
        "conditions",
        ("tests/core/test_passes.py",),
    ),
    Mutant(
        "unknown-images-counted",
        "restorekit/core/passes.py",
        "value.values, 0).sum() / value.known.count",
        "value.values, 0).mean()",
        ("tests/builtin/test_losses.py",),
    ),
    Mutant(
        "cast-without-clipping",
        "restorekit/io/intensity.py",
        "return clipped.astype(target)",
        "return values.astype(target)",
        ("tests/io/test_cast.py",),
    ),
    Mutant(
        "inversion-not-undone",
        "restorekit/io/intensity.py",
        "        unit = -unit",
        "        unit = +unit",
        ("tests/io/test_cast.py",),
    ),
    Mutant(
        "dicom-slope-ignored",
        "restorekit/io/formats/dicom/values.py",
        "return array.astype(np.float64) * slope + intercept, span",
        "return array.astype(np.float64) + intercept, span",
        ("tests/io/test_dicom_values.py",),
    ),
    Mutant(
        "dicom-window-off-by-half",
        "restorekit/io/formats/dicom/values.py",
        "middle, half = centre - 0.5, (width - 1) / 2",
        "middle, half = centre, width / 2",
        ("tests/io/test_dicom_values.py",),
    ),
    Mutant(
        "epochs-draw-alike",
        "restorekit/data/batches.py",
        "seeds = (self.seed, epoch, index)",
        "seeds = (self.seed, 0, index)",
        ("tests/data/test_data.py",),
    ),
    Mutant(
        "pairs-cut-apart",
        "restorekit/data/batches.py",
        "alike_draws = self.data.alike",
        "alike_draws = not self.data.alike",
        ("tests/data/test_data.py",),
    ),
    Mutant(
        "leak-into-test-missed",
        "restorekit/data/splits.py",
        'pairs = (("train", "val"), ("train", "test"), ("val", "test"))',
        'pairs = (("train", "val"), ("val", "test"))',
        ("tests/data/test_data.py",),
    ),
    Mutant(
        "step-seed-reused",
        "restorekit/training/train.py",
        'torch.manual_seed(seed_of(run.recipe.seed, "step", run.step))',
        'torch.manual_seed(seed_of(run.recipe.seed, "step"))',
        ("tests/training/test_train.py",),
    ),
    Mutant(
        "loss-weight-ignored",
        "restorekit/training/train.py",
        "total = torch.stack([term.weight * value for term, value in given.items()]).sum()\n        if",
        "total = torch.stack([value for term, value in given.items()]).sum()\n        if",
        ("tests/training/test_train.py",),
    ),
    Mutant(
        "ema-decay-too-large",
        "restorekit/runs/average.py",
        "share = 1 - min(self.decay, step / (step + 9))",
        "share = 1 - max(self.decay, step / (step + 9))",
        ("tests/runs/test_average.py",),
    ),
    Mutant(
        "ema-not-scored",
        "restorekit/runs/run.py",
        "return self.nets if self.average is None else self.average.nets",
        "return self.nets",
        ("tests/runs/test_average.py",),
    ),
    Mutant(
        "worst-checkpoint-kept",
        "restorekit/runs/selection.py",
        'sign = 1 if self.metrics[name].better == "higher" else -1',
        'sign = -1 if self.metrics[name].better == "higher" else 1',
        ("tests/runs/test_selection.py",),
    ),
    Mutant(
        "halo-too-small",
        "restorekit/restoring/windows.py",
        "border = _ceil(halo, multiple)",
        "border = _ceil(halo // 2, multiple)",
        ("tests/restoring/test_windows.py",),
    ),
    Mutant(
        "window-weights-reversed",
        "restorekit/restoring/windows.py",
        "torch.minimum(ramp[n - shared :], rise.flip(0))",
        "torch.minimum(ramp[n - shared :], rise)",
        ("tests/restoring/test_windows.py",),
    ),
    Mutant(
        "row-without-its-file",
        "restorekit/restoring/table.py",
        "                self._move(stage)\n        except OSError:",
        "                self._drop(stage)\n        except OSError:",
        ("tests/restoring/test_restored_table.py",),
    ),
    Mutant(
        "interval-by-image",
        "restorekit/evaluation/intervals.py",
        "table.setdefault(i if group is None else group, [])",
        "table.setdefault(i, [])",
        ("tests/training/test_exact.py",),
    ),
    Mutant(
        "p-value-of-one-side",
        "restorekit/evaluation/inference.py",
        "found = np.abs(d.of(d.base + shifts[:, edges[i] : edges[i + 1]]))",
        "found = d.of(d.base + shifts[:, edges[i] : edges[i + 1]])",
        ("tests/evaluation/test_inference.py",),
    ),
    Mutant(
        "cycle-sign-flipped",
        "restorekit/builtin/losses.py",
        "self.norm) + _distance(p.bab.image",
        "self.norm) - _distance(p.bab.image",
        ("tests/builtin/test_losses.py",),
    ),
    Mutant(
        "ssim-constant",
        "restorekit/builtin/image_metrics.py",
        "c1, c2 = 0.01**2, 0.03**2",
        "c1, c2 = 0.01**2, 0.01**2",
        ("tests/builtin/test_image_metrics.py",),
    ),
    Mutant(
        "selfonn-gradient",
        "plugins/restorekit-selfonn/restorekit_selfonn/layer.py",
        ".add(of[i - 1], alpha=i)",
        ".add(of[i - 1])",
        ("plugins/restorekit-selfonn/tests/test_layer.py",),
    ),
    Mutant(
        "clipping-of-all-leads-alike",
        "plugins/restorekit-signals/restorekit_signals/degradations/clipping.py",
        "low, high = image.amin(1, keepdim=True), image.amax(1, keepdim=True)",
        "low, high = image.amin(), image.amax()",
        ("plugins/restorekit-signals/tests/test_degradations.py",),
    ),
]


def copied(home: Path) -> Path:
    """Copy the files of the project that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name)
    return home


def run_tests(home: Path, tests: list[str], output: Path) -> None:
    """Run tests on a copy of the project in this process, and end it with pytest's exit code."""
    os.chdir(home)
    path = [str(home), *(str(folder) for folder in (home / "plugins").iterdir())]
    sys.path[:0] = path
    sys.dont_write_bytecode = True  # a mutant of the same size and second would be taken for the code before it
    os.environ |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import pytest

    import restorekit

    assert Path(restorekit.__file__).is_relative_to(home), restorekit.__file__
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not full", *tests]))


def exit_code(home: Path, tests: list[str], output: Path) -> int:
    """Run tests on a copy of the project in a process of its own, and return pytest's exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=run_tests, args=(home, tests, output))
    process.start()
    process.join()
    return process.exitcode if process.exitcode is not None else -1


def failed_test(output: Path) -> str:
    """Return the first test that failed by pytest's summary, or an empty text."""
    lines = output.read_text("utf-8", "replace").splitlines()
    found = [line.removeprefix("FAILED ").partition(" - ")[0] for line in lines if line.startswith("FAILED ")]
    return found[0] if found else ""


def tried(home: Path, mutant: Mutant, output: Path) -> tuple[str, str]:
    """Apply a mutant to the copy, run its tests, take it back; return "caught" and the test, or what is wrong."""
    file = home / mutant.file
    text = file.read_text("utf-8")
    if (count := text.count(mutant.old)) != 1:
        return "error", f"{mutant.file} has the old text {count} times"
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code = exit_code(home, [*mutant.tests], output)
    finally:
        file.write_text(text, encoding="utf-8")
    if code == 0:
        return "survived", " ".join(mutant.tests)
    test = failed_test(output)
    if code != 1 or not test:
        return "error", f"pytest ended with {code}, {output}"
    if exit_code(home, [test], output):
        return "error", f"{test} fails without the mutant too, {output}"
    return "caught", test


def main(names: list[str]) -> int:
    """Try the mutants of these names, or all; print a line for each, and return the exit code."""
    if unknown := set(names) - {mutant.name for mutant in MUTANTS}:
        print(f"no mutant is called {', '.join(sorted(unknown))}")
        return 1
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    folder = Path(tempfile.mkdtemp(prefix="restorekit-mutants-"))
    home = copied(folder / "copy")
    width = max(len(mutant.name) for mutant in chosen)
    print(f"{'mutant':<{width}}  {'result':<8}  {'time':>7}  test")
    states = []
    for mutant in chosen:
        began = time.monotonic()
        state, place = tried(home, mutant, folder / f"{mutant.name}.txt")
        states.append(state)
        print(f"{mutant.name:<{width}}  {state:<8}  {time.monotonic() - began:5.0f} s  {place}", flush=True)
    print(f"{states.count('caught')} of {len(states)} caught")
    if states.count("caught") < len(states):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
