"""Choices in the database: one a query, in order, none lost when the server is killed."""

import http.client
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from restorekit_study.files import digest
from restorekit_study.scoring import write_score
from restorekit_study.store import Conflict, Store


@pytest.fixture
def opened(example):
    one = example(queries=10, repeats=0, practice=0)
    with Store.open(one.folder, one.study) as store:
        yield one, store


def test_choice_that_is_sent_again_is_stored_once(opened):
    one, store = opened
    query = one.study.queries["anna"][0].id
    assert store.choose("anna", query, 1, 2.0, "a")
    assert not store.choose("anna", query, 1, 2.0, "a")
    assert store.state("anna")["choices"] == {query: 1}
    with pytest.raises(Conflict, match="turn of query 2"):
        store.choose("anna", query, 2, 2.0, "b")


def test_last_choice_alone_can_be_changed_and_both_stay_in_the_log(opened):
    one, store = opened
    first, second, *_ = one.study.queries["anna"]
    store.choose("anna", first.id, 1, 2.0, "a")
    store.choose("anna", second.id, 1, 2.0, "b")
    store.choose("anna", second.id, 2, 1.0, "c", change=True)
    with pytest.raises(Conflict):
        store.choose("anna", first.id, 0, 1.0, "d", change=True)
    assert [(choice.value, choice.changes) for choice in store.choices()] == [(1, 0), (2, 1)]
    assert store.problems() == []


@pytest.mark.parametrize("value", [-1, 3, True, "1", 1.0, None])
def test_impossible_value_is_refused(opened, value):
    one, store = opened
    with pytest.raises(Conflict, match="allowed: 0 to 2"):
        store.choose("anna", one.study.queries["anna"][0].id, value, 1.0, "a")
    assert store.choices() == []


def test_query_of_another_reader_or_out_of_turn_is_refused(opened):
    one, store = opened
    with pytest.raises(Conflict):
        store.choose("anna", one.study.queries["ben"][0].id, 1, 1.0, "a")
    with pytest.raises(Conflict, match="turn of query 1"):
        store.choose("anna", one.study.queries["anna"][3].id, 1, 1.0, "a")


def test_readers_at_once_make_one_unbroken_log(opened):
    one, store = opened

    def all_of(reader):
        with Store.open(one.folder, one.study) as own:  # as another process has it
            for query in one.study.queries[reader]:
                own.choose(reader, query.id, 1, 1.0, query.id)

    threads = [threading.Thread(target=all_of, args=(reader,)) for reader in one.study.queries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.choices()) == 30
    assert store.problems() == []


def test_log_cannot_be_changed_by_mistake_and_backup_is_whole(opened, tmp_path):
    one, store = opened
    store.choose("anna", one.study.queries["anna"][0].id, 1, 2.0, "a")
    store.backup(tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT COUNT(*) FROM choice").fetchone() == (1,)
        with pytest.raises(sqlite3.IntegrityError, match="the log is fixed"):
            copy.execute("UPDATE log SET body = '{}'")
    copy.close()


def exchange_key(one):
    """Exchange the methods of two images in the key, and name the new key in study.json."""
    key = json.loads(one.key.read_text())
    name, (film, method) = next(iter(key["images"].items()))
    other = next(n for n, (f, m) in key["images"].items() if f == film and m != method)
    key["images"][name], key["images"][other] = key["images"][other], key["images"][name]
    one.key.write_text(json.dumps(key))
    study = json.loads((one.folder / "study.json").read_text())
    study["key_sha256"] = digest(one.key.read_bytes())
    (one.folder / "study.json").write_text(json.dumps(study))


def test_key_that_is_exchanged_in_study_json_too_is_seen_by_the_published_digest(example, run, tmp_path, fond_of):
    one = example()
    published = one.published[0]
    one.choose(fond_of())
    assert run("score", one.folder, "-o", tmp_path / "a", "--sha256", published).code == 0
    assert "compare the SHA-256" not in (tmp_path / "a" / "score.html").read_text()
    (one.folder / "choices.db").unlink()
    exchange_key(one)
    one.choose(fond_of())
    assert run("score", one.folder, "-o", tmp_path / "b").code == 0
    assert "compare the SHA-256" in (tmp_path / "b" / "score.html").read_text()
    printed = run("score", one.folder, "-o", tmp_path / "c", "--sha256", published.upper())
    assert printed.code == 3
    assert published in printed.err
    assert "Something was changed" in (tmp_path / "c" / "score.html").read_text()
    printed = run("score", one.folder, "-o", tmp_path / "d", "--sha256", "abc")
    assert printed.code != 0
    assert "--sha256" in printed.err


@pytest.fixture(scope="module", params=["prefer", "visible"])
def finished(made_in, tmp_path_factory, request):
    """A study of a task that all readers have finished, and the lines of its choices.csv; tests change a copy."""
    home = tmp_path_factory.mktemp("finished")
    one = made_in(home, task=request.param, positive="ill", queries=12)
    one.choose(lambda shown: random.Random(shown["film"].name).randint(1, 2))
    assert write_score(one.folder, one.study, one.key, one.opened(), home / "score", {}, "none") == []
    return one, (home / "score" / "choices.csv").read_text().splitlines()


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished study, and the lines of its choices.csv."""
    one, before = finished
    key = shutil.copy(one.key, tmp_path)
    return replace(one, folder=shutil.copytree(one.folder, tmp_path / one.folder.name), key=Path(key)), before


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE choice SET value = 9 WHERE rowid = 9", "differs from the log"),
        ("UPDATE choice SET value = 'x' WHERE rowid = 9", "differs from the log"),
        ("UPDATE choice SET value = -1 WHERE rowid = 9", "differs from the log"),
        ("UPDATE choice SET value = 1.5 WHERE rowid = 9", "differs from the log"),
        ("UPDATE choice SET seconds = 'x' WHERE rowid = 9", "differs from the log"),
        ("UPDATE choice SET changes = 3 WHERE rowid = 9", "differs from the log"),
        ("UPDATE choice SET reader = x'ff' WHERE rowid = 9", "is not in the log"),
        ("UPDATE choice SET number = CAST(x'ff' AS TEXT) WHERE rowid = 9", "differs from the log"),
        ("UPDATE log SET body = '{\"query\":[1]}' WHERE seq = 9", "names no query"),
        ("UPDATE log SET body = x'ff' WHERE seq = 9", "something else than text"),
        ("UPDATE log SET reader = x'ff' WHERE seq = 9", "something else than text"),
        ("UPDATE log SET digest = CAST(x'ff' AS TEXT) WHERE seq = 9", "does not follow"),
    ],
)
def test_tampered_choice_is_named_and_left_out_of_the_page(copied, run, tmp_path, statement, named):
    one, before = copied
    one.corrupt(statement)
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 3
    assert named in printed.err
    assert "Something was changed" in (tmp_path / "out" / "score.html").read_text()
    after = (tmp_path / "out" / "choices.csv").read_text().splitlines()
    assert len(after) == len(before) - ("SET digest" not in statement)
    assert run("export", one.folder, "--csv", tmp_path / "c.csv").code == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key["images"].popitem(),
        lambda key: key["films"].pop(0),
        lambda key: key["queries"].popitem(),
        lambda key: key["sources"].popitem(),
    ],
)
def test_key_that_lacks_something_is_named_and_the_page_is_of_the_rest(example, run, tmp_path, fond_of, change):
    one = example()
    one.choose(fond_of())
    key = json.loads(one.key.read_text())
    change(key)
    one.key.write_text(json.dumps(key))
    printed = run("score", one.folder, "-o", tmp_path / "out")
    if "sharp" not in key["sources"]:  # every query has it
        assert printed.code == 2
        assert "not the key" in printed.err
        return
    assert printed.code == 3
    assert "choices for it are left out" in printed.err
    assert "Something was changed" in (tmp_path / "out" / "score.html").read_text()


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("key", "images", []),
        ("key", "queries", {"a": 1}),
        ("key", "films", [{"name": 1}]),
        ("key", "sources", {}),
        ("study", "queries", []),
        ("study", "queries", {"anna": [1]}),
        ("study", "images", {"a": 1}),
        ("study", "needed", "x"),
    ],
)
def test_key_or_study_of_wrong_types_is_refused_in_one_line(example, run, tmp_path, fond_of, name, field, value):
    one = example()
    one.choose(fond_of(), most=5)
    path = one.key if name == "key" else one.folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 2
    assert path.name in printed.err


def test_change_of_a_count_of_changes_is_seen(opened):
    one, store = opened
    query = one.study.queries["anna"][0].id
    store.choose("anna", query, 1, 2.0, "a")
    store.choose("anna", query, 2, 2.0, "b", change=True)
    assert store.problems() == []
    one.corrupt("UPDATE choice SET changes = 0")
    assert store.problems() == [f"choice of anna for query {query}: differs from the log"]


def start(folder):
    """Start a server in its own process; return it and its port."""
    call = [sys.executable, "-m", "restorekit", "study", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    for line in process.stdout:
        if found := re.search(r"127\.0\.0\.1:(\d+)/", line):
            return process, int(found[1])
    raise AssertionError(f"the server ended: {process.wait()}")


def send(port, token, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(3000)])])
def test_killed_server_loses_and_doubles_no_choice(example, kills):
    one = example(queries=4, repeats=0, practice=0, readers=("anna",))
    (first, *_) = one.study.queries["anna"]
    many = tuple(replace(first, id=f"{at:06x}") for at in range(100 * kills))  # more than are chosen
    replace(one.study, queries={"anna": many}).write(one.folder)
    token, sent, worked = one.tokens["anna"], 0, 0
    confirmed, pending = [], None

    def with_it(body):
        at = int(body["query"], 16)
        return [*confirmed[:at], body["value"]]

    for kill in range(kills):
        process, port = start(one.folder)
        assert send(port, token, "/consent", {}) == 200
        timer = threading.Timer(0.05 + 0.013 * (kill % 11), process.send_signal, [signal.SIGKILL])
        timer.start()
        before = sent
        try:
            while True:
                if pending is None:
                    change = bool(confirmed) and sent % 3 == 2
                    at = len(confirmed) - change
                    pending = {"query": many[at].id, "value": sent % 7 % 3, "seconds": 1, "number": f"n{sent}"}
                    pending["change"] = change
                assert send(port, token, "/choice", pending) == 200  # what a kill cut off is sent again
                confirmed, pending = with_it(pending), None
                sent += 1
        except (OSError, http.client.HTTPException):
            pass
        timer.join()
        worked += sent > before
        assert process.wait(20) == -signal.SIGKILL
        process.stdout.close()
        with Store.open(one.folder, one.study) as store:
            found = [choice.value for choice in store.choices()]
            assert found in (confirmed, with_it(pending))  # all that was confirmed, and at most the one under way
            assert store.problems() == []
            changes = sum(choice.changes for choice in store.choices())
            assert sent <= len(found) + changes <= sent + 1  # none is there twice
    assert worked > kills // 2
    assert len(confirmed) < len(many)
    print(f"{kills} kills, {sent} confirmed choices and changes, {worked} kills with choices before them")
