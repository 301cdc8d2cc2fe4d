"""Choices of readers in SQLite, with an audit log whose entries each carry the digest of the one before.

The database is in WAL mode and every choice is committed to the disk before the reader goes on, so a process that is
killed loses none. A choice has one row (reader, query); sending it again with the same number changes nothing.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from restorekit import DataError
from restorekit_study.files import Query, Study, canonical, digest

__all__ = ["Choice", "Conflict", "Store"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS choice (
    reader TEXT NOT NULL, query TEXT NOT NULL, value INTEGER NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL,
    number TEXT NOT NULL, changes INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (reader, query));
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, reader TEXT NOT NULL, event TEXT NOT NULL, body TEXT NOT NULL,
    before TEXT NOT NULL, digest TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS log_is_not_changed BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is fixed'); END;
CREATE TRIGGER IF NOT EXISTS log_is_not_deleted BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is fixed'); END;
"""
MOST_SECONDS = 86_400.0


class Conflict(Exception):
    """A choice that does not fit what is stored, such as one from a page that is out of date."""


@dataclass(frozen=True)
class Choice:
    """What a reader chose."""

    reader: str
    query: str
    value: int
    """A column from 0, or a rating from 1."""
    seconds: float
    """From when the images were displayed, without the time in which the page was hidden."""
    at: str
    """Time of the server in UTC, ISO 8601."""
    changes: int = 0
    """How often the reader changed it."""


class Store:
    """The choices of a study; may be used from several threads, and by several processes at once."""

    def __init__(self, connection: sqlite3.Connection, study: Study) -> None:
        self._connection = connection
        self._study = study
        self._lock = threading.Lock()
        self._orders = {
            reader: {query.id: at for at, query in enumerate(queries)} for reader, queries in study.queries.items()
        }

    @classmethod
    def open(cls, folder: Path, study: Study) -> Self:
        """Open or make `folder`/choices.db.

        Raises:
            DataError: if it cannot be opened.
        """
        path = folder / "choices.db"
        try:
            connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            connection.text_factory = _text
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # on the disk before the reader goes on
            connection.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise DataError(f"{path}: cannot be opened ({error})") from error
        return cls(connection, study)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state(self, reader: str) -> dict[str, Any]:
        """Return whether a reader has agreed, the value of each query that has one, and the receipt."""
        with self._lock:
            rows = self._connection.execute("SELECT query, value FROM choice WHERE reader = ?", (reader,)).fetchall()
            agreed = self._connection.execute(
                "SELECT 1 FROM log WHERE reader = ? AND event = 'consent' LIMIT 1", (reader,)
            ).fetchone()
            last = self._connection.execute(
                "SELECT digest FROM log WHERE reader = ? ORDER BY seq DESC LIMIT 1", (reader,)
            ).fetchone()
        return {"consented": bool(agreed), "choices": dict(rows), "receipt": last[0][:16] if last else ""}

    def consent(self, reader: str) -> None:
        """Record that a reader has agreed; again changes nothing."""
        with self._transaction() as connection:
            self._consent(connection, reader)

    def take(self, reader: str, sent: Sequence[tuple[str, int, float, str]]) -> int:
        """Record consent and choices that were made elsewhere, all or none; return how many are new.

        Args:
            reader: their name.
            sent: query, value, seconds and number of each choice, from the reader's first query on.

        Raises:
            Conflict: if one does not fit what is stored or is not possible; names the query.
        """
        with self._transaction() as connection:
            self._consent(connection, reader)
            stored = dict(connection.execute("SELECT query, value FROM choice WHERE reader = ?", (reader,)).fetchall())
            new = 0
            for query, value, seconds, number in sent:
                if query in stored and stored[query] != value:
                    raise Conflict(f"query {query}: {value} was chosen and {stored[query]} is stored")
                if query not in stored:
                    try:
                        new += self._choose(connection, reader, query, value, seconds, number, change=False, view=None)
                    except (Conflict, ValueError) as error:
                        raise Conflict(f"query {query}: {error}") from error
            return new

    def choose(
        self,
        reader: str,
        query: str,
        value: int,
        seconds: float,
        number: str,
        *,
        change: bool = False,
        view: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store a choice; return whether it is new. The same number again changes nothing and returns False.

        Args:
            reader: their name.
            query: the id of a query of theirs: the first without a choice, or, to change it, the last with one.
            value: a column from 0, or a rating from 1 to 5.
            seconds: how long it took.
            number: random text that the page makes for this choice, so that it can be sent twice.
            change: replace the reader's last choice.
            view: window and zoom at the moment of choice, for the log.

        Raises:
            Conflict: if it is not this query's turn, or the value is not possible.
            ValueError: if the seconds are not finite.
        """
        with self._transaction() as connection:
            return self._choose(connection, reader, query, value, seconds, number, change=change, view=view)

    def _consent(self, connection: sqlite3.Connection, reader: str) -> None:
        if not connection.execute(
            "SELECT 1 FROM log WHERE reader = ? AND event = 'consent' LIMIT 1", (reader,)
        ).fetchone():
            self._log(connection, reader, "consent", {"text": digest(self._study.consent.encode())})

    def _choose(
        self,
        connection: sqlite3.Connection,
        reader: str,
        query: str,
        value: int,
        seconds: float,
        number: str,
        *,
        change: bool,
        view: Mapping[str, Any] | None,
    ) -> bool:
        """As `choose`, within a transaction."""
        at = self._orders[reader].get(query)
        if at is None:
            raise Conflict(f"query {query!r} is none of {reader}")
        self._check_value(self._study.queries[reader][at], value)
        if not math.isfinite(seconds):
            raise ValueError(f"seconds are {seconds}; allowed: a finite number")
        seconds = min(max(float(seconds), 0.0), MOST_SECONDS)
        stored = connection.execute(
            "SELECT number FROM choice WHERE reader = ? AND query = ?", (reader, query)
        ).fetchone()
        if stored and stored[0] == number:
            return False
        (done,) = connection.execute("SELECT COUNT(*) FROM choice WHERE reader = ?", (reader,)).fetchone()
        if at != (done - 1 if change else done):
            raise Conflict(f"it is the turn of query {done + 1}, not {at + 1}")
        body = {"query": query, "value": value, "seconds": round(seconds, 3), "number": number, "view": view or {}}
        now = self._log(connection, reader, "change" if change else "choice", body)
        connection.execute(
            "INSERT INTO choice VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (reader, query) DO UPDATE SET value = "
            "excluded.value, seconds = excluded.seconds, at = excluded.at, number = excluded.number, "
            "changes = changes + 1",
            (reader, query, value, round(seconds, 3), now, number),
        )
        return True

    def choices(self) -> list[Choice]:
        """Return all choices that are possible, by reader in the order of their queries; `checked` names the others.

        Raises:
            DataError: if the database cannot be read.
        """
        rows = self._read("SELECT reader, query, value, seconds, at, changes FROM choice")
        known = [Choice(*row) for row in rows if not self._impossible(row)]
        readers = list(self._orders)
        return sorted(known, key=lambda one: (readers.index(one.reader), self._orders[one.reader][one.query]))

    def backup(self, path: Path) -> None:
        """Write a copy of the database, at any time, also while readers choose.

        Raises:
            DataError: if there is a file already, or it cannot be written.
        """
        if path.exists():
            raise DataError(f"{path}: is already there; a backup is not written over another file")
        try:
            with self._lock, closing(sqlite3.connect(path)) as copy:
                self._connection.backup(copy)
        except sqlite3.Error as error:
            raise DataError(f"{path}: cannot be written ({error})") from error

    def problems(self, receipts: Mapping[str, str] | None = None) -> list[str]:
        """Return what shows that the database was changed otherwise than by readers; empty: nothing.

        It is found where an entry of the log was changed, taken out, put in or moved, where a choice is not that of
        the log, and where a receipt that a reader noted is not in the log. Who can write the file can also compute all
        digests anew; then receipts alone show it.

        Args:
            receipts: what readers saw at the end of their page, by reader.

        Raises:
            DataError: if the database cannot be read.
        """
        return self.checked(receipts)[0]

    def checked(self, receipts: Mapping[str, str] | None = None) -> tuple[list[str], list[Choice]]:
        """Return the problems, as `problems` does, and the choices that none of them names, as `choices` does."""
        entries = self._read("SELECT seq, at, reader, event, body, before, digest FROM log ORDER BY seq")
        rows = self._read("SELECT reader, query, value, seconds, at, changes, number FROM choice")
        found = list(_broken(entries, self._study.key_sha256))
        replayed, unreadable = _replayed(entries)
        found += unreadable
        stored = {_name(row): row for row in rows}
        named: set[tuple[str, str]] = set()
        for name in sorted({*replayed, *stored}):
            row, logged = stored.get(name), replayed.get(name)
            if row is None:
                what = "is absent"
            elif logged is None:
                what = "is not in the log"
            elif tuple(row[2:]) != logged:
                what = "differs from the log"
            else:
                what = self._impossible(row)
            if what:
                found.append(f"choice of {name[0]} for query {name[1]}: {what}")
                named.add(name)
        digests = {(entry[2], str(entry[6])[:16]) for entry in entries}
        for reader, receipt in (receipts or {}).items():
            if (reader, receipt[:16]) not in digests:
                found.append(f"receipt {receipt} of {reader}: is not in the log")
        return found, [one for one in self.choices() if (one.reader, one.query) not in named]

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise DataError(f"choices.db: cannot be read ({error}); restore a backup of it") from error

    def _impossible(self, row: Sequence[Any]) -> str:
        """Return why a row of choices, from reader to changes, cannot be a choice; empty: it can."""
        reader, query, value, seconds, at, changes = row[:6]
        order = self._orders.get(reader, {})
        if query not in order:
            return "the study has no such query"
        if not isinstance(seconds, float) or not isinstance(at, str) or not isinstance(changes, int):
            return "seconds, time or changes are of another type"
        try:
            self._check_value(self._study.queries[reader][order[query]], value)
        except Conflict as error:
            return str(error)
        return ""

    def _check_value(self, query: Query, value: int) -> None:
        allowed = range(len(query.columns)) if self._study.task == "prefer" else range(1, 6)
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            raise Conflict(f"value {value!r} is not possible; allowed: {allowed.start} to {allowed.stop - 1}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _log(self, connection: sqlite3.Connection, reader: str, event: str, body: Mapping[str, Any]) -> str:
        """Add an entry; return its time."""
        last = connection.execute("SELECT digest FROM log ORDER BY seq DESC LIMIT 1").fetchone()
        before = last[0] if last else self._study.key_sha256
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = canonical(body).decode()
        connection.execute(
            "INSERT INTO log (at, reader, event, body, before, digest) VALUES (?, ?, ?, ?, ?, ?)",
            (now, reader, event, text, before, _entry_digest(before, now, reader, event, text)),
        )
        return now


def _entry_digest(before: str, at: str, reader: str, event: str, body: str) -> str:
    return digest(canonical([before, at, reader, event, body]))


def _broken(entries: Sequence[Sequence[Any]], start: str) -> Iterator[str]:
    """Yield the entries that do not follow from the one before."""
    before = start
    for at, (seq, time, reader, event, body, named, found) in enumerate(entries, 1):
        if not all(isinstance(one, str) for one in (time, reader, event, body, named, found)):
            yield f"log entry {seq}: holds something else than text; it was changed"
            return
        if seq != at:
            yield f"log entry {seq}: entry {at} is expected here; entries are missing"
            return
        if named != before or _entry_digest(before, time, reader, event, body) != found:
            yield f"log entry {seq}: its digest does not follow from entry {seq - 1}; it or that one was changed"
            return
        before = found


def _replayed(entries: Sequence[Sequence[Any]]) -> tuple[dict[tuple[str, str], tuple[Any, ...]], list[str]]:
    """Return value, seconds, time, changes and number of each choice as the log has them, and what is no choice."""
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    unreadable = []
    for seq, at, reader, event, body, _, _ in entries:
        if event not in ("choice", "change"):
            continue
        choice = _loaded(body)
        if not isinstance(choice.get("query"), str):
            unreadable.append(f"log entry {seq}: names no query; it was changed")
            continue
        name = _name((reader, choice["query"]))
        changes = 0 if event == "choice" else found[name][3] + 1 if name in found else 1
        found[name] = choice.get("value"), choice.get("seconds"), at, changes, choice.get("number")
    return found, unreadable


def _name(row: Sequence[Any]) -> tuple[str, str]:
    """Return reader and query of a row, as text whatever they are."""
    reader, query = (one if isinstance(one, str) else ascii(one) for one in row[:2])
    return reader, query


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _loaded(body: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
