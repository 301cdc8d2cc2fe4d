"""Train the translator, translate, train the classifiers of resnet50_regimes, and print their table and quality.py's.

It goes on where it was stopped.

    python plugins/restorekit-pix2pix/benchmarks/regimes.py PATH --translator small --count 400 --size 128

PATH holds classes.csv and held_out.csv (see classes.py). Runs are kept in PATH/runs, translated films in
PATH/translated, the tables in PATH/table.json and PATH/quality.json. A step that is done is not done again; a run that
was stopped is resumed. All arms from scratch take the same steps, and see each class equally often, so that they differ
in the films alone. Arms whose weights cannot be had print "not run", with their command.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
from pathlib import Path

ARMS = ("original_scratch", "augmented_scratch", "augmentation_scratch")
TRANSFER = ("original_transfer", "augmented_transfer")
AGAINST = ("original_scratch", "augmentation_scratch", "lite0_original", "lite0_augmentation")
"""What translation has to beat: repetition, and the usual augmentation."""
LITE = ("lite0_original", "lite0_augmented", "lite0_augmentation")
BATCH = 32
"""Of the recipe."""
TESTED = 30
"""Translated films that the paper has among its 60 test films of the class."""


def call(*words: object) -> None:
    """Run a command of restorekit; its errors end this script."""
    line = [sys.executable, "-m", "restorekit", *map(str, words)]
    print("$", shlex.join(["restorekit", *line[3:]]), flush=True)
    done = subprocess.run(line, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def script(name: str, *words: object) -> None:
    """Run a script beside this one; its errors end this one."""
    subprocess.run([sys.executable, str(Path(__file__).with_name(name)), *map(str, words)], check=True)


def trained(out: Path, recipe: str, variant: str, *options: object, seeds: int = 1) -> list[Path]:
    """Return the run folders of a recipe's variant, one of each seed: a sweep, which goes on where it was stopped."""
    call("run", f"recipes/{recipe}.yaml", "--variants", variant, "--seeds", seeds, "--out", out, *options)
    return [out / f"{recipe}-{variant}-seed{seed}" for seed in range(seeds)]


def class_sets(arm: str, classes: str) -> list[str]:
    """Return the settings of an arm's datasets for other classes than the recipe's, given as A,B,C."""
    joined = "augmented" in arm or arm == "as_paper"
    places = [f"datasets.{at}." for at in range(2)] if joined else [""]
    return [
        word for side in "ab" for at in places if classes for word in ("--set", f"data.{side}.{at}classes=[{classes}]")
    ]


def steps_of(table: Path, count: int, epochs: int) -> int:
    """Return the steps of every arm: so many epochs of the training films of a table and of those translated.

    An epoch is of the films that are there, so in epochs the arm with translated films would train longer.
    """
    with table.open(encoding="utf-8", newline="") as file:
        films = sum(row["split"] == "train" for row in csv.DictReader(file))
    return max(1, round(epochs * (films + count) / BATCH))


def write_as_paper(folder: Path) -> None:
    """Write as_paper.csv: the manifest of the translated films, of which the first 30 are for testing."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "as_paper.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({**row, "split": "test" if at < TESTED else "train"} for at, row in enumerate(rows))


def main() -> None:
    """Do what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--translator", default="small", help="variant of pix2pix_covid")
    parser.add_argument("--class", dest="label", default="covid", help="the rare class")
    parser.add_argument("--classes", metavar="A,B,C", default="", help="other classes than the recipe's, in order")
    parser.add_argument("--count", type=int, default=1100, help="translated films")
    parser.add_argument("--size", type=int, default=224, help="pixels of the classifiers' films")
    parser.add_argument("--epochs", type=int, default=60, help="of the films with those translated, for every arm")
    parser.add_argument("--seeds", type=int, default=1, help="of the classifiers that differ in the films alone")
    parser.add_argument("--precision", default="fp32", help="of all trainings: fp32 or bf16")
    parser.add_argument("--lite0", type=Path, help="file of python -m restorekit_timm.lite 0 FILE")
    given = parser.parse_args()
    out = given.path / "runs"
    every = ["--set", f"data.root={given.path}", "--set", f"train.precision={given.precision}"]
    [run] = trained(out, "pix2pix_covid", given.translator, *every)
    folder = given.path / "translated"
    if not (folder / "manifest.csv").is_file():
        call("augment", run, "--class", given.label, "--count", given.count, "-o", folder)
    write_as_paper(folder)
    shared = [*every, "--set", f"data.size=[{given.size},{given.size}]"]
    steps = steps_of(given.path / "classes.csv", given.count, given.epochs)
    scratch = [*shared, "--set", "train.epochs=null", "--set", f"train.steps={steps}"]

    def classifiers(arm: str, *options: object, seeds: int = 1) -> list[Path]:
        return trained(out, "resnet50_regimes", arm, *options, *class_sets(arm, given.classes), seeds=seeds)

    runs = {arm: classifiers(arm, *scratch, seeds=given.seeds) for arm in ARMS}
    runs["as_paper"] = classifiers("as_paper", *scratch, "--allow-leaks")
    for arm in LITE if given.lite0 else ():
        weights = f"nets.generator.checkpoint={given.lite0.resolve()}"
        runs[arm] = classifiers(arm, *shared, "--set", weights)
    others = [word for arm in AGAINST for run in runs.get(arm, ()) for word in ("--against", run)]
    script("table.py", *(run for arm in runs.values() for run in arm), *others, "-o", given.path / "table.json")
    [other] = classifiers("held_out", *scratch)
    script("quality.py", given.path, "--class", given.label, "-m", other, "-o", given.path / "quality.json")
    for arm in (*TRANSFER, *(() if given.lite0 else LITE)):
        weights = "nets.generator.checkpoint=FILE"
        words = ["restorekit", "run", "recipes/resnet50_regimes.yaml", "--variant", arm, *shared, "--set", weights]
        print(f"{arm}: not run: weights absent; {shlex.join(words)}")


if __name__ == "__main__":
    main()
