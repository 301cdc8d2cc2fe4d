"""The server: no token, nothing; only a reader's own turn; TLS; and what is printed of a network without it."""

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from restorekit_study.serving import StudyServer, _context
from restorekit_study.store import Store


@contextmanager
def running(one, certificate=None):
    with Store.open(one.folder, one.study) as store:
        tls = _context(certificate, None) if certificate else None
        with StudyServer(("127.0.0.1", 0), one.study, one.folder, store, tls) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()


def ask(port, path, token=None, body=None, raw=None, tls=None):
    """Return status, headers and body of a request."""
    made = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = made("localhost", port, timeout=20, **({"context": tls} if tls else {}))
    try:
        data = raw if raw is not None else None if body is None else json.dumps(body)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("GET" if data is None else "POST", path, data, headers)
        got = connection.getresponse()
        return got.status, got.headers, got.read()
    finally:
        connection.close()


def test_nothing_but_the_empty_page_is_sent_without_a_token(example):
    one = example(queries=4)
    image = next(iter(one.study.images))
    with running(one) as port:
        status, headers, page = ask(port, "/")
        assert status == 200
        assert not any(name.encode() in page for name in one.study.images)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        for path in ("/state", f"/image/{image}", "/nothing"):
            assert ask(port, path)[0] == 401
            assert ask(port, path, "wrong")[0] == 401
        assert ask(port, "/choice", "wrong", {"query": "x"})[0] == 401


def test_reader_gets_their_own_queries_and_no_file_outside_of_the_study(example):
    one = example(queries=4)
    with running(one) as port:
        state = json.loads(ask(port, "/state", one.tokens["ben"])[2])
        assert [query["id"] for query in state["queries"]] == [query.id for query in one.study.queries["ben"]]
        assert ask(port, f"/image/{state['queries'][0]['columns'][0]}", one.tokens["ben"])[0] == 200
        for path in ("/image/../study.json", "/image/..%2Ftokens.csv", "/image/", "/tokens.csv"):
            assert ask(port, path, one.tokens["ben"])[0] == 404


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ("{}", 400),
        ("[" * 16_000, 400),
        ("x" * 20_000, 413),
        ('{"query": 1, "value": 0}', 400),
        ('{"query": "QUERY", "value": 0, "seconds": NaN, "number": "a"}', 400),
        ('{"query": "QUERY", "value": 0, "seconds": 1e999, "number": "a"}', 400),
        ('{"query": "QUERY", "value": 0, "seconds": 1' + "0" * 400 + ', "number": "a"}', 400),
    ],
)
def test_request_that_makes_no_sense_is_refused_and_the_server_goes_on(example, raw, status):
    one = example(queries=4)
    with running(one) as port:
        assert ask(port, "/consent", one.tokens["anna"], {})[0] == 200
        raw = raw.replace("QUERY", one.study.queries["anna"][0].id)
        assert ask(port, "/choice", one.tokens["anna"], raw=raw)[0] == status
        got, _, state = ask(port, "/state", one.tokens["anna"])
        assert (got, json.loads(state)["choices"]) == (200, {})


def test_choice_without_consent_or_out_of_turn_is_a_conflict(example):
    one = example(queries=4)
    first, second, *_ = one.study.queries["anna"]
    with running(one) as port:
        body = {"query": first.id, "value": 0, "seconds": 1, "number": "a"}
        assert ask(port, "/choice", one.tokens["anna"], body)[0] == 409
        ask(port, "/consent", one.tokens["anna"], {})
        assert ask(port, "/choice", one.tokens["anna"], {**body, "query": second.id})[0] == 409
        assert ask(port, "/choice", one.tokens["ben"], body)[0] == 409
        assert ask(port, "/choice", one.tokens["anna"], body)[0] == 200
        assert ask(port, "/choice", one.tokens["anna"], body)[0] == 200  # sent twice
        assert json.loads(ask(port, "/state", one.tokens["anna"])[2])["choices"] == {first.id: 0}


def test_changed_image_is_not_shown(example):
    one = example(queries=4)
    name = one.study.queries["anna"][0].columns[0]
    (one.folder / "images" / f"{name}.png").write_bytes(b"another picture")
    with running(one) as port:
        assert ask(port, f"/image/{name}", one.tokens["anna"])[0] == 500


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed; it makes a certificate")
def test_pages_are_encrypted_with_a_certificate(example, tmp_path):
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    options = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(pem)]
    subprocess.run([*call, *options], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    one = example(queries=4)
    with running(one, pem) as port:
        trusted = ssl.create_default_context(cafile=str(pem))
        assert ask(port, "/state", one.tokens["anna"], tls=trusted)[0] == 200
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(port, "/state", one.tokens["anna"])


def test_export_writes_blind_choices_and_is_refused_without_an_option(example, run, tmp_path):
    one = example(queries=4)
    one.choose(lambda shown: 1)
    assert run("export", one.folder).code == 2
    assert run("export", one.folder, "--csv", tmp_path / "c.csv", "--backup", tmp_path / "b.db").code == 0
    text = (tmp_path / "c.csv").read_text()
    assert len(text.splitlines()) == 1 + 3 * 7
    assert not any(name in text for name in ("soft", "sharp", ".png"))
    assert run("export", one.folder, "--backup", tmp_path / "b.db").code == 2


def test_other_computers_are_served_with_a_notice_that_nothing_is_encrypted(example):
    one = example(queries=4)
    call = [sys.executable, "-m", "restorekit", "study", "serve", str(one.folder), "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        lines = list(iter(process.stdout.readline, "stop with Ctrl-C\n"))
        process.terminate()
    assert "NOT encrypted" in lines[0]
    links = dict(re.findall(r"^(\w+): http://\S+/#token=(\S+)$", "".join(lines), re.MULTILINE))
    assert links == one.tokens


@pytest.mark.parametrize("host", ["::1", "::"])
def test_address_of_ip_6_is_served(example, host):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this computer has no address of IPv6")
    one = example(queries=4)
    call = [sys.executable, "-m", "restorekit", "study", "serve", str(one.folder), "--host", host, "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stdout:  # ends if the server does not start
            lines.append(line)
            if line == "stop with Ctrl-C\n":
                break
        port = re.search(r":(\d+)/#token", "".join(lines))[1]
        connection = http.client.HTTPConnection("::1", int(port), timeout=20)
        connection.request("GET", "/")
        status = connection.getresponse().status
        connection.close()
        process.terminate()
    assert status == 200
    assert ("NOT encrypted" in lines[0]) == (host == "::")


def test_export_and_backup_while_readers_choose_hold_whole_choices(example, run, tmp_path):
    one = example(queries=30, repeats=0)
    queries, token = [query.id for query in one.study.queries["anna"]], one.tokens["anna"]
    with running(one) as port:
        ask(port, "/consent", token, {})

        def choose():
            for at, query in enumerate(queries):
                body = {"query": query, "value": at % 3, "seconds": 1, "number": f"{at}"}
                assert ask(port, "/choice", token, body)[0] == 200

        thread = threading.Thread(target=choose)
        thread.start()
        for copy in range(5):
            at = tmp_path / f"{copy}.csv", tmp_path / f"{copy}.db"
            assert run("export", one.folder, "--csv", at[0], "--backup", at[1]).code == 0
        thread.join()
        for copy in range(5):
            rows = (tmp_path / f"{copy}.csv").read_text().splitlines()[1:]
            assert [row.split(",")[1] for row in rows] == queries[: len(rows)]
            place = tmp_path / f"copy{copy}"
            place.mkdir()
            (tmp_path / f"{copy}.db").rename(place / "choices.db")
            with Store.open(place, one.study) as store:
                assert store.problems() == []
                assert len(store.choices()) >= len(rows)
    with Store.open(one.folder, one.study) as store:
        assert len(store.choices()) == len(queries)


def test_offline_file_of_another_study_is_refused(example, run, tmp_path):
    one, other = example("one", queries=4), example("other", queries=4)
    first = one.study.queries["anna"][0].id
    choice = {"query": first, "value": 1, "seconds": 1.0, "number": "a"}
    saved = {"study": one.study.key_sha256, "reader": "anna", "consented": "now", "choices": [choice]}
    (tmp_path / "file.json").write_text(json.dumps(saved))
    printed = run("export", other.folder, "--take", tmp_path / "file.json")
    assert printed.code == 2
    assert "is of another study" in printed.err
    assert run("export", one.folder, "--take", tmp_path / "file.json").code == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda saved: saved["choices"][2].update(value=99), "99"),
        (lambda saved: saved["choices"][2].update(seconds=float("nan")), "nan"),
        (lambda saved: saved["choices"][2].update(seconds=10**400), "offline page"),
        (lambda saved: saved.update(reader=["anna"]), "reader"),
        (lambda saved: saved.update(choices=[1]), "offline page"),
    ],
)
def test_nothing_of_an_offline_file_is_taken_if_one_thing_does_not_fit(example, run, tmp_path, change, named):
    one = example(queries=4)
    choices = [
        {"query": query.id, "value": 1, "seconds": 1.0, "number": f"{at}"}
        for at, query in enumerate(one.study.queries["anna"][:3])
    ]
    saved = {"study": one.study.key_sha256, "reader": "anna", "consented": "now", "choices": choices}
    change(saved)
    (tmp_path / "file.json").write_text(json.dumps(saved))
    printed = run("export", one.folder, "--take", tmp_path / "file.json")
    assert printed.code != 0
    assert named in printed.err
    with Store.open(one.folder, one.study) as store:
        assert store.choices() == []
        assert not store.state("anna")["consented"]
