"""Makes the table of the paper on super-resolution of chest X-rays, whole, with intervals by patient.

    python plugins/restorekit-superres/benchmarks/xray_table.py FILMS -o OUT [--where COLUMN=VALUE ...] [--vgg16 FILE]

FILMS/manifest.csv has the columns path, split and, where known, patient. 300 films of its split train are drawn to
train on, and all of val and test are scored: nothing is chosen on either. `--where domain=high --where label=control`
takes the rows with these values alone.

It trains the paper's variants of recipes/sr_xray.yaml as the recipe says, and `films` of recipes/sr.yaml on the same
films. A row of SRGAN or of the combination is trained once with each network of features that is there: VGG-19 as in
the paper (torch's cache, or `--vgg19 FILE`), VGG-16 of a package (`--vgg16 FILE`, made by
`python -m restorekit_superres.lpips FILE`). A row without weights is printed as not run, with the command that runs it.

OUT/films.csv is the table of films, OUT/runs holds a run folder for each row with scores/test.csv, a row for each film;
OUT/table.json and OUT/table.md have means, 95 % intervals by patient, and gains over cubic interpolation on the same
films. The same call goes on where it was stopped. `--time N` trains nothing and prints the mean seconds of N steps:
elapsed, and of the processor. `--ours N` gives `films` as many steps as take the time of VDSR, which depends on the
processor and on `--precision`. `--steps N` takes N steps of each row and scores, to try it out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from restorekit_film.evaluation import by_patient

from restorekit import write_text
from restorekit.discovery import plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.runs import build
from restorekit.training.train import step

RECIPES = Path(__file__).parents[3] / "recipes"
SCORES = {"psnr": 2, "uqi": 3, "ssim": 3, "ms_ssim": 3}
"""Scores of the table, and their digits."""
PAPER = {
    "vdsr": "28.80 / .986 / .912 / .973",
    "srgan": "27.24 / .957 / .801 / .953",
    "vdsr_srgan": "28.43 / .958 / .828 / .961",
}
VGG19 = Path("checkpoints", "vgg19-dcbb9e9d.pth")
"""Where torch keeps what torchvision publishes, below its own folder."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a variant of a recipe, with the settings that this call gives it."""

    label: str
    stem: str
    """The recipe."""
    variant: str
    sets: tuple[str, ...] = ()
    absent: str = ""
    """Why it cannot be run, with what to do; empty: it can."""

    @property
    def name(self) -> str:
        """The beginning of the name of its run folder."""
        return "-".join(filter(None, [self.stem, self.label.partition(", ")[2].replace(" ", "_").lower()]))

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.name}-{self.variant}-seed0"


def rows(asked: argparse.Namespace) -> list[Row]:
    """Return the rows, in the order of the table."""
    made = [Row("cubic interpolation", "sr_xray", "bicubic"), Row("VDSR", "sr_xray", "vdsr")]
    for label, variant in (("SRGAN", "srgan"), ("combination", "vdsr_srgan")):
        made += [_of_vgg19(label, variant, asked.vgg19), _of_vgg16(label, variant, asked.vgg16)]
    made.append(Row("ours", "sr", "films"))
    known = [row for row in made if not asked.rows or row.variant in asked.rows]
    if not known:
        raise SystemExit(
            f"error: --rows: got {', '.join(asked.rows)}; allowed: {', '.join(row.variant for row in made)}"
        )
    return known


def _of_vgg19(label: str, variant: str, file: Path | None) -> Row:
    cached = Path(torch.hub.get_dir()) / VGG19
    if file is None and not cached.is_file():
        how = "fetch https://download.pytorch.org/models/vgg19-dcbb9e9d.pth and add --vgg19 FILE"
        return Row(f"{label}, VGG-19", "sr_xray", variant, absent=f"weights absent; {how}")
    return Row(f"{label}, VGG-19", "sr_xray", variant, _weights("vgg19", file or cached))


def _of_vgg16(label: str, variant: str, file: Path | None) -> Row:
    if file is None:
        how = "python -m restorekit_superres.lpips vgg16.safetensors, then add --vgg16 vgg16.safetensors"
        return Row(f"{label}, VGG-16", "sr_xray", variant, absent=f"weights absent; {how}")
    return Row(f"{label}, VGG-16", "sr_xray", variant, _weights("vgg16", file))


def _weights(net: str, file: Path) -> tuple[str, ...]:
    last = {"vgg16": "conv5_3", "vgg19": "conv5_4"}[net]
    named = {"net": net, "convolution": last, "weights": f"file:{file.resolve()}"}
    return tuple(f"losses.perceptual_vgg.{key}={value}" for key, value in named.items())


def films(folder: Path, table: Path, where: Mapping[str, str], count: int) -> None:
    """Write the table of films: `count` to train on, drawn by a hash of their paths, and all of val and test."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        known = [row for row in csv.DictReader(stream) if all(row.get(name) == of for name, of in where.items())]
    train = sorted((row for row in known if row["split"] == "train"), key=lambda row: _hash(row["path"]))[:count]
    test = [row for row in known if row["split"] in ("val", "test")]
    if not train or not test:
        raise SystemExit(f"error: {folder / 'manifest.csv'}: has no such films in train, or none in val and test")
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["path", "split", "patient"])
    for split, of in (("train", train), ("test", test)):
        lines.writerows([row["path"], split, row.get("patient") or ""] for row in of)
    if table.is_file() and table.read_text("utf-8") != text.getvalue():
        raise SystemExit(f"error: {table}: lists other films than this call asks for; give another -o")
    write_text(table, text.getvalue())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sets(row: Row, folder: Path, table: Path, asked: argparse.Namespace) -> list[str]:
    """Return the settings of a row, over its recipe."""
    of = "data.a.dataset.dataset"
    made = [f"name={row.name}", f"data.root={folder.resolve()}", f"{of}.file={table.resolve()}"]
    made += [f"{of}.images={folder.resolve()}", *row.sets]
    if row.variant == "bicubic":
        return made
    if asked.precision:
        made.append(f"train.precision={asked.precision}")
    ours = row.stem == "sr"
    steps = asked.ours if ours and asked.steps is None else asked.steps
    if steps is not None:
        made += [f"train.steps={steps}", *([] if ours else ["train.epochs=null"])]
    return made


def train(row: Row, given: Sequence[str], out: Path) -> None:
    """Train and score a row, or go on with it; what is done stays.

    Raises:
        SystemExit: if the run failed; it says why.
    """
    words = [word for one in given for word in ("--set", one)]
    path = RECIPES / f"{row.stem}.yaml"
    command = [
        sys.executable,
        "-m",
        "restorekit",
        "run",
        f"{path}",
        "--variants",
        row.variant,
        "--out",
        f"{out}",
        *words,
    ]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: {row.label} failed; the same call goes on")


def seconds(row: Row, given: Sequence[str], folder: Path, count: int) -> tuple[float, float]:
    """Return the mean seconds of a step: elapsed, and of the processor."""
    known = plugins.load()
    spec = recipe.load(RECIPES / f"{row.stem}.yaml", known, sets=given, variant=row.variant)
    assert isinstance(spec, Recipe)
    run = build.build(spec, known, folder)
    run.nets.train()
    elapsed = of_processor = 0.0
    for batches in run.batches(0, count):
        began = time.perf_counter(), time.process_time()
        step(run, batches)
        elapsed += time.perf_counter() - began[0]
        of_processor += time.process_time() - began[1]
        run.step += 1
    return elapsed / count, of_processor / count


def scored(row: Row, out: Path) -> dict[str, Any]:
    """Return the scores of a row's run, with the gains over cubic interpolation on the same films."""
    found = json.loads((out / row.folder / "scores" / "test.json").read_text("utf-8"))
    metrics = {
        name: {"score": of["restored"], "gain": of["gain"]} for name, of in found["metrics"].items() if name in SCORES
    }
    return {"films": found["images"], "patients": found["groups"], "step": found["step"], "metrics": metrics}


def ahead(runs: Path, films: Path) -> dict[str, float]:
    """Return by how many decibels a run is ahead of another on the same films, with a 95 % interval by patient."""
    one, other = (_psnr(runs / row / "scores" / "test.csv") for row in ("sr-films-seed0", "sr_xray-vdsr-seed0"))
    with films.open(newline="", encoding="utf-8") as stream:
        patients = {row["path"]: row["patient"] or row["path"] for row in csv.DictReader(stream)}
    names = sorted(one)
    gains = np.array([one[name] - other[name] for name in names])
    return asdict(by_patient({"psnr": gains}, [patients[name] for name in names])["psnr"])


def _psnr(table: Path) -> dict[str, float]:
    with table.open(newline="", encoding="utf-8") as stream:
        return {row["key"]: float(row["psnr_restored"]) for row in csv.DictReader(stream)}


def markdown(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| | PSNR, dB | gain over cubic, dB | UQI | SSIM | MS-SSIM | the paper's |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for label, row in table.items():
        theirs = PAPER.get(row["variant"], "")
        if "absent" in row:
            yield f"| {label} | not run: weights absent | | | | | {theirs} |"
            continue
        cells = {name: _cell(of["score"], SCORES[name]) for name, of in row["metrics"].items()}
        gain = _cell(row["metrics"]["psnr"]["gain"], 2)
        others = " | ".join(cells[name] for name in ("uqi", "ssim", "ms_ssim"))
        yield f"| {label} | {cells['psnr']} | {gain} | {others} | {theirs} |"
    yield from (f"\n{label}, not run: {row['absent']}." for label, row in table.items() if "absent" in row)


def _cell(score: Mapping[str, Any], digits: int) -> str:
    if score["value"] is None:
        return ""
    ends = "" if score["low"] is None else f" ({score['low']:.{digits}f} to {score['high']:.{digits}f})"
    return f"{score['value']:.{digits}f}{ends}"


def arguments() -> argparse.Namespace:
    """Return what the script is called with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE")
    parser.add_argument("--train", type=int, default=300, metavar="FILMS")
    parser.add_argument("--rows", nargs="+", default=[], metavar="VARIANT", help="these rows alone")
    parser.add_argument("--vgg19", type=Path, metavar="FILE")
    parser.add_argument("--vgg16", type=Path, metavar="FILE")
    parser.add_argument("--steps", type=int, metavar="N", help="of every row")
    parser.add_argument("--ours", type=int, metavar="N", help="steps of `films`; default: the recipe's")
    parser.add_argument("--time", type=int, metavar="N")
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"), help="the recipes': fp32, ours auto")
    return parser.parse_args()


def main() -> None:
    """Write the table of films, train what is missing, and make the table."""
    asked = arguments()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    table, runs = asked.out / "films.csv", asked.out / "runs"
    asked.out.mkdir(parents=True, exist_ok=True)
    where = dict(one.partition("=")[::2] for one in asked.where)
    films(asked.films, table, where, asked.train)
    made: dict[str, Any] = {}
    for row in rows(asked):
        given = sets(row, asked.films, table, asked)
        if row.absent:
            made[row.label] = {"variant": row.variant, "absent": row.absent}
        elif asked.time is not None:
            if row.variant != "bicubic":
                took, worked = seconds(row, given, runs / "timing", asked.time)
                print(f"{row.label:24}{took:8.2f} s a step, {worked:8.2f} s of the processor", flush=True)
        else:
            train(row, given, runs)
            made[row.label] = {"variant": row.variant, **scored(row, runs)}
    if asked.time is None:
        text = "\n".join(markdown(made)) + "\n"
        if {"VDSR", "ours"} <= set(made):
            made["ours"]["ahead_of_vdsr"] = found = ahead(runs, table)
            text += f"\nOurs is ahead of VDSR by {found['mean']:.2f} dB ({found['low']:.2f} to {found['high']:.2f}).\n"
        write_text(asked.out / "table.json", json.dumps(made, indent=1))
        write_text(asked.out / "table.md", text)
        print(text)


if __name__ == "__main__":
    main()
