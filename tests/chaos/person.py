"""Somebody who uses the shop over HTTP as a good client does: what is not answered is asked again, with the same key.

What they were told, word for word, is in the journal.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

AGAIN = (429, 500, 502, 503, 504)  # asked again with the same key, as the API's description says
IN_PROGRESS = "orders.in_progress"  # and so is this: something else is being done to the order
ANSWER_S = 20.0
PAUSE_S = (0.2, 3.0)  # between two attempts: the first, doubled up to the second
PASSWORD = "a-long-password"
PATIENCE_S = 120.0  # before somebody gives up asking


@dataclass
class Journal:
    """What customers asked and were told, as JSON lines."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, **facts: Any) -> None:
        line = {"at": time.time(), "what": what, **facts}
        with self.lock, self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class GaveUp(Exception):
    """The shop did not answer for as long as this person was ready to ask."""


class Person:
    """A session with the API."""

    def __init__(self, name: str, email: str, password: str, url: str, journal: Journal) -> None:
        self.name, self.email, self.password, self.journal = name, email, password, journal
        self.http = httpx.Client(base_url=url, timeout=ANSWER_S)

    def sign_up(self) -> str:
        """Answers the customer's id."""
        person = {"email": self.email, "password": self.password, "name": "Ada"}
        self.ask("POST", "/v1/users", f"{self.name}-account", json=person)
        self.log_in()
        return str(self.ask("GET", "/v1/me").json()["id"])

    def log_in(self) -> None:
        self.http.headers.pop("Authorization", None)
        tokens = self.ask("POST", "/v1/sessions", json={"email": self.email, "password": self.password}).json()
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def ask(self, method: str, path: str, key: str | None = None, **request: Any) -> httpx.Response:
        """One request until it is answered: with a result, or a refusal that another attempt would not change."""
        if key is not None:
            request["headers"] = {"Idempotency-Key": key}
        give_up_at, pause_s = time.monotonic() + PATIENCE_S, PAUSE_S[0]
        while time.monotonic() < give_up_at:
            answer = self._try(method, path, request)
            if answer is not None:
                return answer
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S[1])
        raise GaveUp(f"{method} {path}")

    def _try(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response | None:
        """The answer, unless it is one that says to ask again."""
        try:
            answer = self.http.request(method, path, **request)
        except httpx.TransportError as exc:
            self.journal.note("silence", who=self.name, asked=f"{method} {path}", why=type(exc).__name__)
            return None
        if answer.status_code == 401 and path != "/v1/sessions":
            self.log_in()
            return None
        again = answer.status_code in AGAIN
        if again:
            told = {"status": answer.status_code, "text": answer.text}
            self.journal.note("trouble", who=self.name, asked=f"{method} {path}", **told)
        elif answer.status_code == 409 and path != "/v1/orders":
            again = answer.json()["code"] == IN_PROGRESS
        return None if again else answer
