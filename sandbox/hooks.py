"""Calls that a company makes to its customer: signed, at least once, in order per subject, from a table.

`X-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`. Any 2xx accepts; anything else is tried again with a
growing pause until `give_up_s` after the event, then left in the table as given up.
"""

import hashlib
import hmac
import sqlite3
import sys
import threading
import time
import uuid
from typing import Any

import msgspec
import urllib3
from eventlet import GreenPool

SCHEMA = """
CREATE TABLE IF NOT EXISTS hooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL, body TEXT NOT NULL, created_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0, gave_up INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS hooks_waiting ON hooks (subject, id) WHERE gave_up = 0;
"""

DUE = """
SELECT id, subject, body, created_at, attempts FROM hooks h
WHERE gave_up = 0 AND next_at <= ? AND NOT EXISTS
    (SELECT 1 FROM hooks earlier WHERE earlier.subject = h.subject AND earlier.gave_up = 0 AND earlier.id < h.id)
ORDER BY id LIMIT 100
"""

FIRST_PAUSE_S, LONGEST_PAUSE_S, ATTEMPT_TIMEOUT_S, POLL_S, SENDERS = 0.25, 15.0, 5.0, 0.5, 8


def signature(secret: str, body: bytes, at: int) -> str:
    """The value of X-Signature for a body sent at a unix time."""
    digest = hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Hooks:
    """The outbox of one company, and the green thread that empties it."""

    def __init__(self, url: str, secret: str, give_up_s: float) -> None:
        self.url, self.secret, self.give_up_s = url, secret, give_up_s
        self.http = urllib3.PoolManager(maxsize=SENDERS, retries=False, timeout=ATTEMPT_TIMEOUT_S)
        self.woken = threading.Event()
        self.sending: set[str] = set()

    def attach(self, db: sqlite3.Connection) -> None:
        """Keep the table in the company's own database, so that a hook commits with what it tells of."""
        self.db = db
        db.executescript(SCHEMA)

    def add(self, subject: str, kind: str, at: str, data: dict[str, Any]) -> None:
        """Write one, in the running transaction. Its id stays the same however often it is sent."""
        body = msgspec.json.encode({"id": f"evt_{uuid.uuid4().hex}", "type": kind, "at": at, "data": data})
        self.db.execute(
            "INSERT INTO hooks (subject, body, created_at) VALUES (?, ?, ?)", (subject, body.decode(), time.time())
        )

    def wake(self) -> None:
        self.woken.set()

    def run(self) -> None:
        """Send what is due, for ever. A subject has one hook on its way at a time."""
        pool = GreenPool(SENDERS)
        while True:
            for row in self.db.execute(DUE, (time.time(),)).fetchall():
                if row[1] not in self.sending:
                    self.sending.add(row[1])
                    pool.spawn_n(self._send, *row)
            self.woken.wait(POLL_S)
            self.woken.clear()

    def _send(self, row: int, subject: str, body: str, created_at: float, attempts: int) -> None:
        failure = self._post(body.encode())
        now, pause = time.time(), min(FIRST_PAUSE_S * 2**attempts, LONGEST_PAUSE_S)
        if failure is None:
            self.db.execute("DELETE FROM hooks WHERE id = ?", (row,))
        elif now + pause - created_at < self.give_up_s:
            self.db.execute("UPDATE hooks SET attempts = ?, next_at = ? WHERE id = ?", (attempts + 1, now + pause, row))
        else:
            self.db.execute("UPDATE hooks SET attempts = ?, gave_up = 1 WHERE id = ?", (attempts + 1, row))
            print(f"hook {row} given up after {attempts + 1} attempts: {failure}", file=sys.stderr, flush=True)
        self.sending.discard(subject)
        self.wake()

    def _post(self, body: bytes) -> str | None:
        """None if it was accepted, otherwise why not."""
        headers = {"Content-Type": "application/json", "X-Signature": signature(self.secret, body, int(time.time()))}
        try:
            answer = self.http.request("POST", self.url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as e:
            return str(e)
        return None if 200 <= answer.status < 300 else f"answered {answer.status}"
