"""The sandbox companies as real processes, for tests: started on free ports, stopped by their own pid."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from tests.children import dying

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Hook:
    signature: str
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)


@dataclass
class HookReceiver:
    """Takes hooks at `url` and answers `status`, which a test may change; `received` has all, refused ones too."""

    url: str = ""
    secret: str = "hook-secret"
    status: int = 204
    received: list[Hook] = field(default_factory=list)


@dataclass
class Sandbox:
    url: str
    db: Path
    process: subprocess.Popen[str]
    hooks: HookReceiver | None


def wait_until(condition: Callable[[], Any], limit_s: float = 10.0) -> Any:
    """The condition's first true value. Fails the test when there is none in time."""
    give_up_at = time.monotonic() + limit_s
    while time.monotonic() < give_up_at:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s} s")


@contextmanager
def receiving_hooks() -> Iterator[HookReceiver]:
    receiver = HookReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append(Hook(self.headers["X-Signature"], body))
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _running(
    name: str, folder: Path, hooks: HookReceiver | None, port: int, flags: dict[str, Any]
) -> Iterator[Sandbox]:
    db = folder / f"{name}.db"
    argv = [sys.executable, "-m", f"sandbox.{name}", "--port", str(port), "--db", str(db)]
    if hooks:
        argv += ["--hook-url", hooks.url, "--hook-secret", hooks.secret]
    for flag, value in flags.items():
        argv += [f"--{flag.replace('_', '-')}", str(value)]
    environ = {k: v for k, v in os.environ.items() if k not in ("CARRIER_AUTO_S", "BANK_AUTO_S", "HOOK_SECRET")}
    with (folder / f"{name}.log").open("a") as log:
        process = subprocess.Popen(dying(*argv), cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        if "ready on" not in ready:
            raise RuntimeError(f"{name} did not start: {(folder / f'{name}.log').read_text()}")
        yield Sandbox(ready.split()[-1], db, process, hooks)
    finally:
        process.terminate()
        process.wait(5)
        process.stdout.close()


def running_acquirer(
    folder: Path, hooks: HookReceiver | None = None, port: int = 0, **flags: Any
) -> AbstractContextManager[Sandbox]:
    """An acquirer with its database in `folder`; again on the same folder is a restart."""
    return _running("acquirer", folder, hooks, port, flags)


def running_carrier(
    folder: Path, hooks: HookReceiver | None = None, port: int = 0, **flags: Any
) -> AbstractContextManager[Sandbox]:
    """A carrier with its database in `folder`; `auto_s=0.2` makes parcels move by themselves."""
    return _running("carrier", folder, hooks, port, flags)


def running_bank(
    folder: Path, hooks: HookReceiver | None = None, port: int = 0, **flags: Any
) -> AbstractContextManager[Sandbox]:
    """A bank with its database in `folder`; `auto_s=0.2` makes payouts settle by themselves."""
    return _running("bank", folder, hooks, port, flags)
