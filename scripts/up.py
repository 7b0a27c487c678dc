"""`make run`: the whole shop from nothing, then a customer who buys something, then it stays up.

With `--demo` (`make demo`) it ends after the purchases; exit code 0 only if they ended as they should.
"""

import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from scripts import broker, plan, postgresql
from scripts.control import Control
from scripts.processes import ROOT, CannotStart, Command, kill_group, start, taken
from scripts.supervisor import Interrupted, Rank, Supervisor, Unit

BROKER_S = 120.0
READY_S = 120.0
JOB_S = 300.0


class System:
    """One running system on one state folder."""

    def __init__(self, wishes: plan.Wishes) -> None:
        self.wishes = wishes
        self.began = time.monotonic()
        self.made_up = wishes.var / "run/operator"
        self.env: dict[str, str] = {}
        for folder in ("log", "run"):
            (wishes.var / folder).mkdir(parents=True, exist_ok=True)
        for stale in (wishes.var / "run").glob("*.pid"):
            stale.unlink()
        self.supervisor = Supervisor(wishes.var / "log", wishes.var / "run", self.say)
        self.control = Control(self.supervisor, self.build, tuple(wishes.scale))
        self.supervisor.poll = self.control.poll

    def say(self, line: str) -> None:
        print(f"[{time.monotonic() - self.began:5.1f} s] {line}", flush=True)

    def build(self, service: str, number: int) -> Unit:
        """A further instance of a service; the supervisor's socket asks for it."""
        if not any(unit.rank is Rank.GATEWAY for unit in self.supervisor.units):
            raise CannotStart(f"The system on {self.wishes.var} is still starting: wait until it is ready.")
        return plan.service(service, number, self.env)

    def start(self) -> None:
        """Bring everything up, in order, and load the demo data once. Raises CannotStart, Interrupted."""
        node = self.start_broker()
        amqp_uri = node.amqp_uri if node else str(self.wishes.amqp_uri)
        self.env = plan.environment(self.wishes, amqp_uri, node, os.environ)
        plan.write_env(self.wishes, self.env)
        for name in plan.SANDBOXES:
            self.supervisor.add(plan.sandbox(name, self.wishes, self.env))
        self.migrate()
        self.env |= self.operator()
        for name, count in self.wishes.scale.items():
            for number in range(1, count + 1):
                self.supervisor.add(plan.service(name, number, self.env))
        self.supervisor.add(plan.gateway(self.env))
        self.say(f"started {len(self.supervisor.units)} processes; waiting until every service answers")
        if node:  # the services wait for it by themselves
            log = self.wishes.var / "log/broker-1.log"
            self.wait(node.ready, BROKER_S, f"The broker did not come up; its log is {log}.")
            self.say("the broker is up")
        self.wait_ready()
        self.made_up.write_text("")
        self.load_demo_data()

    def start_broker(self) -> broker.Node | None:
        """A node of our own, still starting; None when AMQP_URI names one to use."""
        if uri := self.wishes.amqp_uri:
            server = urlsplit(uri)
            try:
                socket.create_connection((server.hostname or "", server.port or 5672), 5).close()
            except OSError:
                raise CannotStart(f"The broker at {plan.masked(uri)} (AMQP_URI) does not answer.") from None
            self.say(f"using the broker at {plan.masked(uri)}")
            return None
        ports = (plan.port(os.environ, name) for name in ("BROKER_PORT", "MANAGEMENT_PORT"))
        node = broker.prepare(self.wishes.var / "broker", *ports)
        self.say(
            f"starting a RabbitMQ node of our own, its page is http://127.0.0.1:{node.management_port} (guest, guest)"
        )
        for unit in plan.broker(node):
            self.supervisor.add(unit)
        return node

    def operator(self) -> dict[str, str]:
        """The first operator: as told, or for new databases one that is made up and shown. Its password is kept in a
        file only until the services have been ready once, which is when it is in the users' database for certain.
        """
        email, password = os.environ.get("OPERATOR_EMAIL"), os.environ.get("OPERATOR_PASSWORD")
        if not (email and password):
            if not self.made_up.exists():
                self.made_up.touch(mode=0o600)
                self.made_up.write_text(f"{email or 'operator@rialto.example'} {password or secrets.token_urlsafe(12)}")
            email, _, password = self.made_up.read_text().partition(" ")
            if not password:
                return {}
            self.say(f"the operator is {email} with the password {password} (write it down)")
        return {"OPERATOR_EMAIL": email, "OPERATOR_PASSWORD": password}

    def migrate(self) -> None:
        """While the broker starts."""
        if self.wishes.pg_uri:
            postgresql.create_databases(self.wishes.pg_uri, [f"rialto_{name}" for name in self.wishes.scale])
        self.say("migrating databases")
        command = plan.python("migrate", "-m", "chassis.migrate", *self.wishes.scale, env=self.env)
        log = self.wishes.var / "log/migrate.log"
        with log.open("wb") as output:
            code = self.job(command, output)
        if code:
            raise CannotStart(f"A database could not be migrated; the reason is at the end of {log}.")

    def load_demo_data(self) -> None:
        done = self.wishes.var / "run/demo-data"
        if done.exists():
            return
        self.say("loading demo data")
        if self.job(plan.python("demo data", "scripts/demo_data.py", env=self.env), sys.stdout.buffer):
            raise CannotStart("The demo data could not be loaded; the lines above say why.")
        done.touch()

    def buy(self) -> bool:
        """The demo's purchases, on the terminal; whether they ended as they should."""
        return self.job(plan.python("demo", "scripts/demo.py", env=self.env), sys.stdout.buffer) == 0

    def job(self, command: Command, output: IO[bytes]) -> int:
        """Run a program to its end beside the units, and give its exit code."""
        process: subprocess.Popen[bytes] = start(command, output)
        try:
            self.wait(lambda: process.poll() is not None, JOB_S, f"The {command.name} took longer than {JOB_S:g} s.")
        finally:
            kill_group(process, signal.SIGKILL)
            process.wait()
        return process.returncode

    def wait(self, condition: Callable[[], bool], timeout_s: float, else_say: str) -> None:
        if not self.supervisor.wait_for(condition, timeout_s):
            raise CannotStart(else_say)

    def wait_ready(self) -> None:
        """Until the gateway says that every service answers, and show who does not yet."""
        shown, missing = "", "the gateway"

        def ready() -> bool:
            nonlocal shown, missing
            status, body = get(self.wishes.port, "/v1/ready")
            if status == 200:
                return True
            missing = unready(body) if status else "the gateway"
            if missing != shown and time.monotonic() - self.began > 5:
                self.say(f"waiting for {missing}")
                shown = missing
            return False

        if not self.supervisor.wait_for(ready, READY_S):
            raise CannotStart(f"Not ready after {READY_S:g} s: no answer from {missing}; see {self.wishes.var}/log.")

    def stop(self) -> None:
        if self.supervisor.units:
            self.say("stopping: the gateway, then the services, then the broker (Ctrl-C again kills them)")
            self.supervisor.stop()
            self.say("stopped")
        self.control.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET on the loopback; status 0 when nobody answers within 2 s."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def unready(body: bytes) -> str:
    """Whom the gateway's answer blames."""
    try:
        services = json.loads(body)["services"]
        return ", ".join(name for name, answers in services.items() if not answers)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "a service"


def lock(var: Path) -> IO[bytes]:
    """Hold `var` for ourselves as long as the file is open. Raises CannotStart when somebody else does."""
    try:
        (var / "run").mkdir(parents=True, exist_ok=True)
        held = (var / "run/lock").open("ab")
    except OSError as problem:
        raise CannotStart(f"The state folder {var} (VAR) cannot be used: {problem.strerror}.") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"A system runs on {var} already: `make stop` ends it, or choose another VAR.") from None
    return held


def how_to_go_on(env: Mapping[str, str], wishes: plan.Wishes) -> str:
    var = os.path.relpath(wishes.var, ROOT)
    var = str(wishes.var) if var.startswith("..") else var
    management = f"\n  broker     {plan.masked(env['MANAGEMENT_URI'])}" if "MANAGEMENT_URI" in env else ""
    return f"""
  shop       {wishes.url}/
  API        {wishes.url}/v1/openapi.json{management}
  mail       {var}/mail     logs  {var}/log     `make status` shows the processes, Ctrl-C stops them

Try more:
  . {var}/env; curl -s "http://127.0.0.1:$PORT/v1/products?category=home&limit=3"
  . {var}/env; curl -s -X POST http://127.0.0.1:$PORT/v1/carts
  . {var}/env; curl -s http://127.0.0.1:$PORT/v1/ready
  . {var}/env; .venv/bin/nameko shell --config config.yaml    # then: n.rpc.orders, n.rpc.inventory, ...
"""


def run(wishes: plan.Wishes, ends_after_demo: bool) -> int:
    if taken(wishes.port):
        raise CannotStart(f"Port {wishes.port} is taken; choose another, as in `make run PORT={wishes.port + 1}`.")
    system = System(wishes)
    system.supervisor.listen_to_signals()
    try:
        system.start()
        print(f"ready {wishes.url}", flush=True)
        bought = not wishes.demo or system.buy()
        if ends_after_demo:
            return 0 if bought else 1
        if not bought:
            system.say("the demo's purchases did not end as they should; the lines above say where")
        print(how_to_go_on(system.env, wishes), flush=True)
        system.supervisor.wait_for(lambda: False, float("inf"))
        return 0
    except Interrupted:
        return 130 if ends_after_demo else 0
    finally:
        system.stop()


def main() -> None:
    try:
        wishes = plan.read(os.environ)
        with lock(wishes.var):
            code = run(wishes, "--demo" in sys.argv[1:])
    except CannotStart as problem:
        sys.exit(str(problem))
    sys.exit(code)


if __name__ == "__main__":
    main()
