"""A real Chromium for the page's tests, driven by Debian's chromedriver over the W3C WebDriver protocol: plain HTTP."""

import base64
import http.client
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.processes import connects, free_port, stop, wait_until
from tests.children import start

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " ", "Down": "\ue015", "Shift": "\ue008", "Control": "\ue009"}
MAX_TABS = 120
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may be run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--lang=en",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it may not call anybody else
    "--remote-debugging-pipe",  # it ends when the driver does, however that ends
)


class Browser:
    """A window with an empty profile. A context manager; everything that it started has ended after it."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self.size = (width, height)
        self.undo = ExitStack()

    def __enter__(self) -> Self:
        with self.undo:
            folder = Path(self.undo.enter_context(tempfile.TemporaryDirectory(prefix="rialto-browser-")))
            self.port = free_port()
            log = self.undo.enter_context((folder / "driver.log").open("ab"))
            env = {"HOME": str(folder), "TMPDIR": str(folder)}
            process = start(("chromedriver", f"--port={self.port}"), env, log)
            self.undo.callback(stop, process, 2)
            assert wait_until(lambda: connects(self.port), 20), (folder / "driver.log").read_text()
            options = {
                "args": [*FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={self.size[0]},{self.size[1]}"]
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            self.session = ""
            answer = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
            self.session = f"/{answer['sessionId']}"
            self.undo.callback(self._call, "DELETE", "")
            self.undo = self.undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = json.dumps(body if body is not None else {}) if method == "POST" else None
        connection.request(method, f"/session{self.session}{path}", content)
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{method} {path}: {answer['message']}")
        return answer

    def go(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *args: Any) -> Any:
        """What a JavaScript expression is; `arguments` are the args."""
        return self._call("POST", "/execute/sync", {"script": f"return {script}", "args": args})

    def text(self, selector: str) -> str:
        """What a person reads there; empty where nothing is shown."""
        seen = "[document.querySelector(arguments[0])].map((each) => each?.checkVisibility() ? each.innerText : '')[0]"
        return str(self.run(seen, selector)).strip()

    def wait_for(self, expression: str, *args: Any, timeout_s: float = 15) -> Any:
        """Poll until a JavaScript expression is true, and give its value; fails with what the page shows."""
        found: list[Any] = []

        def holds() -> bool:
            found[:] = [self.run(expression, *args)]
            return bool(found[0])

        assert wait_until(holds, timeout_s), f"never: {expression} {args}\n{self.text('body')}"
        return found[0]

    def press(self, *names: str) -> None:
        """Press keys, the last one while those before it are held."""
        keys = [KEYS.get(name, name) for name in names]
        downs = [{"type": "keyDown", "value": key} for key in keys]
        ups = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": [*downs, *ups]}]})

    def type(self, text: str) -> None:
        strokes = [{"type": kind, "value": char} for char in text for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def tab_to(self, selector: str) -> None:
        """Press Tab until what has the focus matches: so it can be reached without a mouse."""
        for _ in range(MAX_TABS):
            if self.run("document.activeElement.matches(arguments[0])", selector):
                return
            self.press("Tab")
        raise AssertionError(f"{MAX_TABS} times Tab never came to {selector}")

    def fill(self, selector: str, text: str) -> None:
        """Tab to a field and type over what stands in it."""
        self.tab_to(selector)
        self.press("Control", "a")
        self.type(text)

    def resize(self, width: int, height: int) -> None:
        """The size of the page itself, which a window may not fall below."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """Errors on the console since it was asked last: of scripts, or breaches of the content security policy."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        # An answer that is an error is noted there too, as coming from the network.
        return [each["message"] for each in entries if each["level"] == "SEVERE" and each["source"] != "network"]
