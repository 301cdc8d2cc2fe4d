"""`restorekit study serve`: the pages of a study over HTTP or HTTPS, with the standard library alone.

A reader is known by a token, which stands behind the # of the link, so that no log of a proxy holds it, and which the
page sends in a header. The server keeps the SHA-256 of each token, and never reads the key.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from restorekit import DataError
from restorekit_study.files import Study, digest
from restorekit_study.page import reader_page
from restorekit_study.store import Conflict, Store

__all__ = ["StudyServer", "serve", "shown_state"]

MOST_BYTES = 16_384
"""Of a request's body."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class StudyServer(ThreadingHTTPServer):
    """Serves one study; each request runs in its own thread."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], study: Study, folder: Path, store: Store, tls: ssl.SSLContext | None = None
    ) -> None:
        self.study = study
        self.folder = folder
        self.store = store
        self.page = reader_page(study).encode()
        self.tls = tls
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection; the TLS handshake is made in its thread, so that a slow one stops nobody."""
        request.settimeout(60)
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that readers' browsers break off."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)

    def reader_of(self, token: str) -> str | None:
        """Return whose token it is."""
        got = digest(token.encode())
        found = None
        for reader, known in self.study.tokens.items():  # all of them, so that the time is the same
            if hmac.compare_digest(known, got):
                found = reader
        return found


def serve(
    folder: Path,
    study: Study,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    ready: Callable[[str], None],
) -> None:
    """Serve a study until the process is stopped.

    Args:
        folder: the study's.
        study: what is in it.
        host: the address to listen at.
        port: 0: any that is free.
        certificate: a PEM file; None: not encrypted.
        key: the certificate's private key; None: in the same file.
        ready: gets the address once readers can connect.

    Raises:
        DataError: if the address is taken or the certificate cannot be used.
    """
    tls = _context(certificate, key) if certificate is not None else None
    with Store.open(folder, study) as store:
        try:
            server = StudyServer((host, port), study, folder, store, tls)
        except OSError as error:
            raise DataError(f"{host}:{port}: cannot be listened at ({error}); choose another --port") from error
        with server:
            named = socket.gethostname() if host in ("0.0.0.0", "::") else host
            shown = named if ":" not in named else f"[{named}]"
            ready(f"{'https' if tls else 'http'}://{shown}:{server.server_address[1]}/")
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever(poll_interval=0.2)


def shown_state(study: Study, reader: str) -> dict[str, Any]:
    """Return what a reader's page shows, without their choices."""
    return {
        "reader": reader,
        "title": study.title,
        "task": study.task,
        "question": study.question,
        "consent": study.consent,
        "display": study.display,
        "queries": [asdict(query) for query in study.queries[reader]],
    }


def _context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise DataError(
            f"{certificate}: cannot be used as certificate ({error}); expected PEM files of a certificate and its key"
        ) from error
    return context


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


class _Handler(BaseHTTPRequestHandler):
    """GET / is the page, GET /state and /image/NAME are what it shows, POST /consent and /choice what readers do."""

    protocol_version = "HTTP/1.1"
    server: StudyServer
    server_version = "restorekit-study"
    sys_version = ""

    def do_GET(self) -> None:
        """Send the page, a state or an image."""
        if self.path == "/":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
            return
        reader = self._reader()
        if reader is None:
            return
        if self.path == "/state":
            self._json(HTTPStatus.OK, shown_state(self.server.study, reader) | self.server.store.state(reader))
        elif self.path.startswith("/image/") and self.path.removeprefix("/image/") in self.server.study.images:
            self._image(self.path.removeprefix("/image/"))
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})

    def do_POST(self) -> None:
        """Take consent or a choice."""
        body = self._body()
        if body is None:
            return
        reader = self._reader()
        if reader is None:
            return
        if self.path == "/consent":
            self.server.store.consent(reader)
        elif self.path == "/choice":
            try:
                self._choose(reader, body)
            except Conflict as error:
                self._json(HTTPStatus.CONFLICT, self.server.store.state(reader) | {"error": str(error)})
                return
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                self._json(HTTPStatus.BAD_REQUEST, {"error": f"the request lacks something: {error}"})
                return
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})
            return
        self._json(HTTPStatus.OK, self.server.store.state(reader))

    def _choose(self, reader: str, body: dict[str, Any]) -> None:
        if not self.server.store.state(reader)["consented"]:
            raise Conflict("consent comes first")
        view = body.get("view")
        self.server.store.choose(
            reader,
            str(body["query"]),
            body["value"],
            float(body["seconds"]),
            str(body["number"])[:64],
            change=body.get("change") is True,
            view=view if isinstance(view, dict) and len(str(view)) < 500 else None,
        )

    def _reader(self) -> str | None:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        reader = self.server.reader_of(token) if kind == "Bearer" else None
        if reader is None:
            self._json(HTTPStatus.UNAUTHORIZED, {"error": "the link has no valid token; ask who runs the study"})
        return reader

    def _body(self) -> dict[str, Any] | None:
        """Return the request's JSON; None after an error was sent."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True  # the body is not read
            self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"at most {MOST_BYTES} bytes are taken"})
            return None
        try:
            found = json.loads(self.rfile.read(int(length)) or b"{}", parse_constant=_no_number)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._json(HTTPStatus.BAD_REQUEST, {"error": "the request is no JSON mapping"})
            return None
        return found

    def _image(self, name: str) -> None:
        try:
            data = (self.server.folder / "images" / f"{name}.png").read_bytes()
        except OSError:
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"image {name} cannot be read"})
            return
        if digest(data) != self.server.study.images[name]:
            self._json(
                HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"image {name} was changed since the study was made"}
            )
            return
        self._send(HTTPStatus.OK, data, "image/png")

    def _json(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: what readers do stands in the audit log."""
