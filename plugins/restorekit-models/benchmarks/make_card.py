"""Makes the card of a released model: card.md, pictures and scores.json in the package.

    python plugins/restorekit-models/benchmarks/make_card.py MODEL GOOD [--variant manifest] [--failure PICTURE TEXT]

The shipped recipe of the model is run on the held-out good images in GOOD, and `restorekit card` writes the card of
that run. The run is kept in runs/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from restorekit_models.registry import model
from ruamel.yaml import YAML


def main() -> None:
    """Score, write the card, copy the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("good", type=Path)
    parser.add_argument("--variant")
    parser.add_argument("--failure", nargs=2, action="append", default=[], metavar=("PICTURE", "TEXT"))
    asked = parser.parse_args()
    found = model(asked.model)
    name = found.name
    sets = [f"data.root={asked.good}", f"restorer.name={found.name}", f"name={name}"]
    command = ["run", found.recipe, *(piece for one in sets for piece in ("--set", one))]
    restorekit(*command, *([] if asked.variant is None else ["--variant", asked.variant]))
    run = max(Path("runs").glob(f"{name}*-*"), key=lambda folder: folder.stat().st_mtime)
    place = Path(__file__).parents[1] / "restorekit_models" / "cards" / found.name
    shutil.rmtree(place, ignore_errors=True)
    about = {
        "summary": f"{found.name} {found.task}.",
        "modality": found.modality,
        "trained_on": found.trained_on,
        "licence": found.licence,
        "pictures": found.pictures,
        "limits": list(found.limits),
        "failures": [{"picture": str(Path(file).resolve()), "text": words} for file, words in asked.failure],
        "not_for": list(found.not_for),
    }
    with (run / "about.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(about, stream)
    restorekit("card", str(run), "-o", str(place), "--about", str(run / "about.yaml"))
    shutil.copy(run / "scores" / "test.json", place / "scores.json")


def restorekit(*arguments: str) -> None:
    """Run a command of restorekit; stop if it fails."""
    subprocess.run([sys.executable, "-m", "restorekit", *arguments], check=True)


if __name__ == "__main__":
    main()
