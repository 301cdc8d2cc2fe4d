"""One thread a process: tests run side by side, and threads that wait for each other's cores cost a hundredfold."""

import gc
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import settings

if "--benchmark-only" not in sys.argv:  # benchmarks use the machine as a user does
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, and by every child process

settings.register_profile("suite", max_examples=25, deadline=None)  # machines differ; a test may ask for fewer or more
settings.load_profile("suite")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits that Ctrl-C is ignored


LONG = (
    "test_every_part.py",
    "test_every_recipe.py",
    "test_plugin_new.py",
    "test_kill.py",
    "test_runs.py",
    "test_docs.py",
    "test_health.py",
    "test_browser.py",
    "test_profile.py",
    "test_plugin_commands.py",
)
"""Files of tests that take the longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take the longest: processes that share the others end at about the same time."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    """Leave what is imported and collected out of every later search for garbage: it stays, and it is most of all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def cheap_calls() -> Iterator[None]:
    """Build the command line once a process, not at each call; do not wait for the disk, as no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of images stays with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTOREKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


WIDTHS = (1280, 390)
"""Pixels of the windows in which pages must be readable: a desktop's and a phone's."""

LOOK = r"""
function look(frame) {
  const page = frame.contentDocument, found = [];
  const style = element => frame.contentWindow.getComputedStyle(element);
  const scroller = element => {
    for (let e = element.parentElement; e; e = e.parentElement)
      if (["auto", "scroll"].includes(style(e).overflowX)) return e;
  };
  const root = page.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} pixels wide`);
  for (const table of page.querySelectorAll("table"))
    if (!scroller(table) && table.getBoundingClientRect().right > root.clientWidth + 1)
      found.push(`a table without its own scroll: ${table.innerText.slice(0, 60)}`);
  for (const cell of page.querySelectorAll("td, th, caption, dt, figcaption")) {
    const walk = page.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const text = walk.currentNode;
      for (const word of text.data.matchAll(/[^\s\u2010-\u2014-]+/g)) {
        const range = page.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].filter(r => r.width > 0).map(r => Math.round(r.top)));
        if (lines.size > 1) found.push(`${word[0]} is broken in a ${cell.tagName}`);
      }
    }
  }
  const first = page.querySelector("figure img, .pictures img, .image img");
  const top = first && first.getBoundingClientRect().top;
  return {findings: found, tables: page.querySelectorAll("table").length, top: top};
}
addEventListener("load", () => {
  const looks = [...document.querySelectorAll("iframe")].map(look);
  const out = document.createElement("pre");
  out.id = "looks";
  out.textContent = JSON.stringify(looks);
  document.body.replaceChildren(out);
});
"""
"""What a browser is asked of a page: words that are broken in cells, tables that overflow, where the pictures begin."""


@pytest.fixture
def browsed(tmp_path: Path) -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that lays a page out in Chromium at each of `WIDTHS` and returns what it finds there."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser is installed; one of {', '.join(names)} lays pages out")

    def look(page: Path) -> list[dict[str, Any]]:
        inside = html.escape(page.read_text(encoding="utf-8"))
        frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{inside}"></iframe>' for width in WIDTHS)
        outer = tmp_path / "layout.html"
        outer.write_text(f"<!DOCTYPE html><meta charset=utf-8><script>{LOOK}</script><body>{frames}", encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
        call = [browser, *options, "--virtual-time-budget=20000", "--dump-dom", outer.as_uri()]
        done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=240)
        found = re.search('<pre id="looks">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stdout[-500:] + done.stderr[-500:]
        return list(json.loads(html.unescape(found[1])))

    return look
