"""Draw docs/images/study_*.png: the pages of a reader study of phantoms, made by the four commands of docs/study.md.

    python docs/draw_study.py [FOLDER]

Films are phantoms made in code, no patients, and choices are drawn by chance from fixed odds. The pages are shown by
Chromium through playwright, which is in the extra `test` of restorekit-study. The study stays in FOLDER, if one is
given. The pictures are kept in the repository; draw them again when a page changes.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from restorekit_study.files import Key, Study
from restorekit_study.store import Store

from restorekit import Domain, write_image
from restorekit.discovery import plugins

SIDE, COUNT, QUERIES = 256, 33, 30
IMAGES = Path(__file__).parent / "images"
DESKTOP, TABLET = (1280, 800), (820, 1180)
WIDTH = 900
READERS = ("anna", "ben", "cleo", "dora")
ODDS = {"original": 2.0, "median": 2.0, "tv": 5.0}
RESTOREKIT = [sys.executable, "-m", "restorekit"]


def main() -> None:
    """Make, serve and score a study, and draw its pages."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else place)
        films(folder / "films")
        run("restore", folder / "films", "-o", folder / "restored", "-m", "median")
        options = ["--readers", ",".join(READERS), "--queries", QUERIES, "--margin", 0.18, "--seed", 0]
        run(
            "make", f"median={folder / 'restored'}", "tv", "--films", folder / "films", "-o", folder / "study", *options
        )
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            with served(folder / "study") as link:
                draw_reading(browser, link)
            choose(folder / "study")
            run("score", folder / "study", "-o", folder / "results")
            draw_score(browser, folder / "results" / "score.html")
            browser.close()


def films(folder: Path) -> None:
    """Write degraded phantoms, half of them with an opacity, in a folder for each class."""
    parts, domain = plugins.load().parts, Domain("phantom", 1, (SIDE, SIDE))
    options = {"name": "phantom", "side": "b", "count": COUNT, "size": [SIDE, SIDE], "task": "class"}
    subject = parts.resolve("dataset", options)(None, "train")
    for at in range(COUNT):
        rng = torch.Generator().manual_seed(at)
        image = subject.load(at, rng).image
        for name, severity in (("blur", 0.8), ("poisson", 0.03 + 0.03 * (at % 3))):
            image = parts.resolve("degradation", name)(domain).apply(image, {name: severity}, rng).clamp(-1, 1)
        write_image(folder / subject.classes[subject.records[at].target] / f"{at:03d}.png", image)


def run(command: str, *arguments: object) -> None:
    """Run a command of restorekit, or of restorekit study."""
    group = [] if command == "restore" else ["study"]
    subprocess.run([*RESTOREKIT, *group, command, *map(str, arguments)], check=True)


@contextmanager
def served(study: Path) -> Iterator[str]:
    """Serve a study; give the link of the first reader."""
    call = [*RESTOREKIT, "study", "serve", str(study), "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(found[1] for line in process.stdout if (found := re.match(rf"{READERS[0]}: (\S+)", line)))
        finally:
            process.terminate()


def draw_reading(browser: Browser, link: str) -> None:
    """Draw the first page, and a query on a desktop and a tablet."""
    page = opened(browser, DESKTOP)
    page.goto(link)
    page.wait_for_selector("#start")
    shot(page, "study_first")
    page.check("#agree")
    page.click("#start")
    for at in range(4):  # three are for practice
        page.wait_for_selector("body[data-query]")
        if at < 3:
            query = page.get_attribute("body", "data-query")
            page.keyboard.press("1")
            page.wait_for_selector(f"body:not([data-query='{query}'])")
    shot(page, "study_query")
    page.set_viewport_size({"width": TABLET[0], "height": TABLET[1]})
    page.wait_for_timeout(300)
    shot(page, "study_tablet")


def choose(folder: Path) -> None:
    """Let every reader choose by chance."""
    study, key = Study.read(folder), Key.read(folder.with_name(f"{folder.name}.key.json"))
    chance = random.Random(0)
    with Store.open(folder, study) as store:
        for at, (reader, queries) in enumerate(study.queries.items()):
            store.consent(reader)
            done = store.state(reader)["choices"]
            odds = ODDS | {"tv": ODDS["tv"] + at}
            for query in queries:
                weights = [odds[key.images[name][1]] for name in query.columns]
                value = chance.choices(range(len(weights)), weights)[0]
                if query.id not in done:
                    store.choose(reader, query.id, value, round(chance.uniform(4, 12), 1), query.id)


def draw_score(browser: Browser, path: Path) -> None:
    """Draw the first tables of the page of scores."""
    page = opened(browser, (1280, 1180))
    page.goto(path.resolve().as_uri())
    shot(page, "study_score")


def opened(browser: Browser, size: tuple[int, int]) -> Page:
    """Return an empty page."""
    return browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()


def shot(page: Page, name: str) -> None:
    """Draw what is seen of a page, at most WIDTH pixels wide and high, in 64 colours: small, and text stays sharp."""
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        small.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
