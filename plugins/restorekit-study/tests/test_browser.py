"""Scripted readers in headless Chromium: whole studies, with reload, back button, double click and a killed server."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from restorekit_study.exporting import take_file, write_offline
from restorekit_study.store import Store

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it drives the browser")

SIZES = {"desktop": {"width": 1280, "height": 800}, "tablet": {"width": 820, "height": 1180}}
PHONE = {"width": 390, "height": 844}
SETTLED = "body[data-query]"
WAIT = 60_000


@pytest.fixture(scope="module")
def chromium(browser_path):
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Server:
    """A server in its own process, always at the same port."""

    def __init__(self, folder):
        self.folder, self.port = folder, 0
        self.start()

    def start(self):
        call = [sys.executable, "-m", "restorekit", "study", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            call, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        for line in self.process.stdout:
            if found := re.search(r"127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"the server ended: {self.process.wait()}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def served(folder):
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


class Reader:
    """A reader at a browser, who chooses column (or rating) `rule(at)` for query `at`, and remembers it."""

    def __init__(self, browser, address, size):
        self.page = browser.new_context(viewport=size).new_page()
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.chosen = {}

    def agree(self):
        self.page.wait_for_selector("#start", timeout=WAIT)
        assert self.page.is_disabled("#start")
        assert "Research use" in self.page.inner_text("body")
        self.page.check("#agree")
        self.page.click("#start")

    def query(self):
        """Wait for the next query and return its id; None at the end."""
        self.page.wait_for_selector(f"{SETTLED}, #last:visible", timeout=WAIT)
        return None if self.page.is_visible("#last") else self.page.get_attribute("body", "data-query")

    def choose(self, value, how="key"):
        query = self.query()
        if how == "key":
            self.page.keyboard.press(str(value + 1))
        elif how == "click":
            self.page.click(f"[data-value='{value}']")
        else:
            self.page.dblclick(f"[data-value='{value}']")
        self.chosen[query] = value
        self.page.wait_for_selector(f"body:not([data-query='{query}'])", timeout=WAIT)

    def read_all(self, most=10**6):
        for at in range(most):
            if self.query() is None:
                return
            self.choose((at * 7) % 3, ("key", "click", "double")[at % 3])


def stored(one):
    with Store.open(one.folder, one.study) as store:
        assert store.problems() == []
        return {
            reader: {c.query: c.value for c in store.choices() if c.reader == reader} for reader in one.study.queries
        }


@pytest.mark.full
def test_two_readers_finish_at_once_with_reload_back_double_click_and_killed_server(example, chromium, run, tmp_path):
    two_at_once(example(queries=8, repeats=0.25, readers=("anna", "ben")), chromium, run, tmp_path)


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_two_readers_finish_a_study_of_200_queries(more_films, example, chromium, run, tmp_path):
    one = example(films=more_films(203), queries=200, readers=("anna", "ben"))
    assert {sum(not query.practice for query in queries) for queries in one.study.queries.values()} == {210}
    two_at_once(one, chromium, run, tmp_path, before=100)


def two_at_once(one, chromium, run, tmp_path, before=3):
    """Let both readers choose `before` queries, then comes what may happen to a page, then the others."""
    count = {reader: len(queries) for reader, queries in one.study.queries.items()}
    with served(one.folder) as server:
        readers = {}
        for name, size in zip(count, SIZES.values(), strict=True):
            address = f"http://127.0.0.1:{server.port}/#token={one.tokens[name]}"
            readers[name] = Reader(chromium, address, size)
            readers[name].agree()
        anna, ben = readers["anna"], readers["ben"]
        for at in range(before):  # in turn
            anna.choose(at % 3, "double")
            ben.choose((at + 1) % 3, "key")
        anna.page.reload()
        anna.choose(2, "click")
        ben.query()
        address = ben.page.url
        ben.page.goto("about:blank")
        ben.page.go_back()
        assert ben.page.url == address
        ben.choose(0, "double")
        query = anna.query()
        server.kill()
        anna.page.keyboard.press("2")  # chosen while there is no server
        api.expect(anna.page.locator("#message")).to_contain_text("Not stored", timeout=WAIT)
        anna.page.keyboard.press("3")  # nothing is taken until that one is stored
        anna.chosen[query] = 1
        server.start()
        anna.page.wait_for_selector(f"body[data-query]:not([data-query='{query}'])", timeout=WAIT)
        second = ben.page.context.new_page()  # the same reader in a second window, which is then out of date
        second.goto(address)
        second.wait_for_selector(SETTLED, timeout=WAIT)
        ben.choose(1)
        second.keyboard.press("1")
        second.wait_for_selector(f"{SETTLED}:not([data-query='{list(ben.chosen)[-1]}'])", timeout=WAIT)
        second.close()
        anna.read_all()
        ben.read_all()
        receipts = []
        for name, reader in readers.items():
            assert reader.errors == []
            assert reader.chosen == stored(one)[name]
            assert len(reader.chosen) == count[name]
            receipts += ["--receipt", f"{name}={reader.page.inner_text('#receipt')}"]
        printed = run("score", one.folder, "-o", tmp_path / "out", *receipts)
        assert printed.code == 0, printed.err
    key = one.opened()
    with (tmp_path / "out" / "choices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == sum(count.values())
    for row in rows:  # what was clicked is what is scored
        shown = next(q for q in one.study.queries[row["reader"]] if q.id == row["query"])
        column = readers[row["reader"]].chosen[row["query"]]
        assert key.images[shown.columns[column]] == (row["film"], row["method"])
    anna.page.goto((tmp_path / "out" / "score.html").as_uri())
    assert_page_agrees_with_the_csv(anna.page, [row for row in rows if row["practice"] == "False"])


def cells(page, title):
    """Return the rows of a table of the page of scores, by what their first cell holds."""
    rows = page.locator(f'section:has(> h2:text-is("{title}")) tr').all()
    found = [row.locator("th, td").all_inner_texts() for row in rows]
    return {first: [cell.split("\n")[0] for cell in rest] for first, *rest in found}


def assert_page_agrees_with_the_csv(page, rows):
    """Compute ratios, Cohen's kappa and repeats from the rows of choices.csv, and read them on the page."""
    first = [row for row in rows if not row["repeats"]]
    table = cells(page, "Selection ratios")
    methods = table["Reader"][1:]
    for name, part in (
        ("anna", [row for row in first if row["reader"] == "anna"]),
        ("ben", [row for row in first if row["reader"] == "ben"]),
        ("Overall, these readers", first),
    ):
        counts = [sum(row["method"] == method for row in part) for method in methods]
        assert table[name] == [str(len(part)), *(f"{n / len(part):.3f}" for n in counts)]
    means = [(float(a) + float(b)) / 2 for a, b in zip(table["anna"][1:], table["ben"][1:], strict=True)]
    assert [float(x) for x in table["Readers like these"][1:]] == pytest.approx(means, abs=0.0015)
    chosen = [{row["film"]: row["method"] for row in first if row["reader"] == name} for name in ("anna", "ben")]
    both = [(one, chosen[1][film]) for film, one in chosen[0].items() if film in chosen[1]]
    agreed = sum(one == other for one, other in both) / len(both)
    shares = [[sum(pair[at] == method for pair in both) / len(both) for method in methods] for at in (0, 1)]
    chance = sum(one * other for one, other in zip(*shares, strict=True))
    shown = cells(page, "Agreement between readers")["Cohen's kappa, anna and ben"]
    assert shown == [str(len(both)), f"{(agreed - chance) / (1 - chance):.3f}".replace("-", "\N{MINUS SIGN}")]
    by_query = {row["query"]: row for row in rows}
    for name, line in cells(page, "Agreement of readers with themselves").items():
        again = [row for row in rows if row["reader"] == name and row["repeats"]]
        if again:
            alike = sum(row["method"] == by_query[row["repeats"]]["method"] for row in again)
            assert line[:2] == [str(len(again)), f"{alike / len(again):.3f}"]


def test_last_choice_can_be_changed(example, chromium):
    one = example(queries=4, readers=("anna",), repeats=0, practice=0)
    with served(one.folder) as server:
        anna = Reader(chromium, f"http://127.0.0.1:{server.port}/#token={one.tokens['anna']}", SIZES["desktop"])
        anna.agree()
        for at in range(4):
            anna.choose(at % 3)
        anna.page.click("#undo-last")
        anna.choose(2)
        anna.query()
        assert list(stored(one)["anna"].values()) == [0, 1, 2, 2]


def test_paragraphs_of_the_consent_stay_apart(example, chromium):
    one = example(queries=4, readers=("anna",), consent="What is recorded.\n\nResearch use.")
    with served(one.folder) as server:
        anna = Reader(chromium, f"http://127.0.0.1:{server.port}/#token={one.tokens['anna']}", SIZES["desktop"])
        anna.page.wait_for_selector("#start", timeout=WAIT)
        assert anna.page.inner_text("#consent") == "What is recorded.\n\nResearch use."


def test_columns_show_the_pixels_in_the_same_window_and_zoom(example, chromium):
    one = example(queries=4, readers=("anna",), repeats=0, practice=0)
    key = one.opened()
    with served(one.folder) as server:
        anna = Reader(chromium, f"http://127.0.0.1:{server.port}/#token={one.tokens['anna']}", SIZES["desktop"])
        anna.agree()
        query = next(q for q in one.study.queries["anna"] if q.id == anna.query())
        low, high = query.window
        drawn = anna.page.evaluate(
            "columns.map(({picture: p}) => Array.from("
            "p.drawn.getContext('2d').getImageData(0, 0, p.width, p.height).data))"
        )
        from restorekit_study.pictures import unpacked

        for name, data in zip(query.columns, drawn, strict=True):
            image = unpacked((one.folder / "images" / f"{name}.png").read_bytes())
            expected = np.clip((image - low) / (high - low) * 255, 0, 255)
            pixels = np.array(data).reshape(*image.shape, 4)
            assert np.abs(pixels[..., 0] - expected).max() <= 1
            assert (pixels[..., 0] == pixels[..., 2]).all()
        methods = [key.images[name][1] for name in query.columns]
        assert sorted(methods) == ["original", "sharp", "soft"]
        box = anna.page.locator("canvas").nth(1).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        anna.page.mouse.move(x, y)
        anna.page.mouse.wheel(0, -400)
        anna.page.mouse.down()
        anna.page.mouse.move(x + 40, y + 30)
        anna.page.mouse.up()
        view = anna.page.evaluate("view")
        assert view["zoom"] > 2
        assert [view["low"], view["high"]] != [low, high]
        anna.page.keyboard.press("0")
        assert anna.page.evaluate("[view.low, view.high, view.zoom]") == [low, high, 1]
        for size in (*SIZES.values(), PHONE):
            anna.page.set_viewport_size(size)
            assert anna.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert anna.errors == []


@pytest.mark.full
def test_ratings_of_a_visible_study_and_a_link_without_a_token(example, chromium):
    one = example(task="visible", positive="ill", queries=6, readers=("anna", "ben"), repeats=0, practice=1)
    with served(one.folder) as server:
        address = f"http://127.0.0.1:{server.port}/"
        nobody = Reader(chromium, f"{address}#token=wrong", SIZES["desktop"])
        nobody.page.wait_for_selector("#problem:visible", timeout=WAIT)
        assert "no valid token" in nobody.page.inner_text("#why")
        anna = Reader(chromium, f"{address}#token={one.tokens['anna']}", SIZES["tablet"])
        anna.agree()
        for at in range(len(one.study.queries["anna"])):
            query = anna.query()
            anna.page.keyboard.press(str(1 + at % 5))
            anna.page.wait_for_selector(f"body:not([data-query='{query}'])", timeout=WAIT)
        anna.query()
        assert list(stored(one)["anna"].values()) == [1 + at % 5 for at in range(19)]


def test_offline_page_needs_no_server_and_its_file_is_taken_in_once(example, chromium, tmp_path):
    one = example(queries=4, readers=("anna",), repeats=0, practice=1)
    ((path, _),) = write_offline(tmp_path / "pages", one.folder, one.study)
    anna = Reader(chromium, path.as_uri(), SIZES["desktop"])
    anna.agree()
    anna.choose(1)
    anna.choose(2)
    anna.page.reload()
    anna.read_all()
    with anna.page.expect_download() as download:
        anna.page.click("#save-file")
    saved = tmp_path / "anna.choices.json"
    download.value.save_as(saved)
    with Store.open(one.folder, one.study) as store:
        assert take_file(saved, one.study, store) == ("anna", 5)
        assert take_file(saved, one.study, store) == ("anna", 0)
    assert stored(one)["anna"] == anna.chosen
    assert json.loads(saved.read_text())["study"] == one.study.key_sha256
    assert anna.errors == []
