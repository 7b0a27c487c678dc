"""A stand-in for a language model's server: it answers what a test says, and keeps what it was asked."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What is sent. `hold_s`: after how long; `drip_s`: between its bytes, of which there is no end."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    hold_s: float = 0.0
    drip_s: float = 0.0


def says(content: Any, **more: Any) -> Reply:
    """A completion with this text, or with this as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    completion = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    return Reply(json.dumps(completion).encode(), **more)


@dataclass
class StandIn:
    """`reads` and `phrases` are what it replies to the two tasks; `asked` are the bodies that came, `heads` theirs."""

    url: str = ""
    reads: Reply = field(default_factory=lambda: says({"intent": "none"}))
    phrases: Reply = field(default_factory=lambda: says({"text": ""}))
    asked: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)

    def reply_to(self, body: bytes, head: dict[str, str]) -> Reply:
        asked = json.loads(body)
        self.asked.append(asked)
        self.heads.append(head)
        return self.phrases if "passage" in self.told(-1) else self.reads

    def told(self, number: int) -> dict[str, Any]:
        """The input of a question."""
        told: dict[str, Any] = json.loads(self.asked[number]["messages"][1]["content"])
        return told


@contextmanager
def running() -> Iterator[StandIn]:
    it = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            reply = it.reply_to(self.rfile.read(int(self.headers["Content-Length"])), dict(self.headers))
            time.sleep(reply.hold_s)
            try:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.media_type)
                if not reply.drip_s:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                while reply.drip_s:
                    self.wfile.write(b" ")
                    time.sleep(reply.drip_s)
            except OSError:  # whoever asked has gone
                pass

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    it.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
