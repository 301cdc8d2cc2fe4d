"""Draw docs/images/analysis.webp and docs/images/sorting.webp: a card and a contact sheet of degraded phantoms.

    python docs/draw_analysis.py

The pictures are kept in the repository; draw them again when the card or the measures change. The card is a page, so
its picture takes chromium; without one, only the contact sheet is drawn.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from restorekit import Domain, write_image
from restorekit.discovery import plugins

SIDE, COUNT = 256, 40
WIDTH, HEIGHT = 1100, 1560
IMAGES = Path(__file__).parent / "images"


def films(folder: Path) -> None:
    """Write phantoms, the first third as they are, the others degraded ever more."""
    parts, domain = plugins.load().parts, Domain("phantom", 1, (SIDE, SIDE))
    subject = parts.resolve("dataset", {"name": "phantom", "side": "b", "count": COUNT, "size": [SIDE, SIDE]})
    good = subject(None, "train")
    blend = parts.resolve("degradation", "blend")(domain)
    for i in range(COUNT):
        rng = torch.Generator().manual_seed(i)
        image = good.load(i, rng).image
        share = max(0.0, i - COUNT / 3) / (COUNT * 2 / 3)
        drawn = {name: severity * share for name, severity in blend.draw(rng).items()}
        write_image(folder / f"film_{i:02d}.png", blend.apply(image, drawn, rng).numpy())


def main() -> None:
    """Draw the pictures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "phantoms"
        films(folder)
        analyze = [sys.executable, "-c", "from restorekit.app.cli import main; main()", "analyze", str(folder)]
        subprocess.run([*analyze, "-o", f"{place}/card.html", "--sort", "--to", f"{place}/sorted"], check=True)
        with Image.open(f"{place}/sorted/contact.png") as sheet:
            sheet.convert("L").save(IMAGES / "sorting.webp", quality=70, method=6)
        browser = shutil.which("chromium")
        if browser is None:
            sys.exit("no chromium: analysis.webp stays as it is")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={place}/user"]
        shot = [f"--screenshot={place}/card.png", f"--window-size={WIDTH},{HEIGHT}", f"file://{place}/card.html"]
        subprocess.run([browser, *options, *shot], check=True, stderr=subprocess.DEVNULL)
        with Image.open(f"{place}/card.png") as card:
            card.convert("RGB").save(IMAGES / "analysis.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
