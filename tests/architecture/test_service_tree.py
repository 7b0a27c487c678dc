"""Each service is truly alone: from the files that its image copies, and no others, it migrates, starts and answers.

Its entry point is run as in a container, in a vhost of its own, with nothing of the project on Python's path but those
files. A stock client calls it; SIGTERM ends it.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import kombu
import pytest
from amqp.exceptions import ChannelError
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.errors import ServiceError
from scripts.processes import free_port, wait_until
from tests.architecture import dockerfile
from tests.contract.services import SERVICES

STARTS_WITHIN_S = 60
STOPS_WITHIN_S = 10  # Docker's patience, before it kills. On a machine with nothing else to do it takes 2 to 3

FIRST_ANSWER = {
    "users": lambda users: users.profile("nobody"),
    "products": lambda products: products.find("nothing is called so"),
    "inventory": lambda inventory: inventory.audit(),
    "carts": lambda carts: carts.get({"customer_id": "c-1"}),
    "orders": lambda orders: orders.saga_health(),
    "payments": lambda payments: payments.balances(),
    "shipping": lambda shipping: shipping.get("o-1"),
    "notifications": lambda notifications: notifications.find(),
    "risk": lambda risk: risk.get("o-1"),
    "accounts": lambda accounts: accounts.get("a-1"),
    "transactions": lambda transactions: transactions.get("t-1"),
    "support": lambda support: support.find("c-1"),
    "registry": lambda registry: registry.describe("nobody"),
}
ANSWERS = {
    "users": "users.not_found",
    "products": {"items": [], "next_cursor": None},
    "inventory": {"skus": 0, "broken": [], "open": []},
    "carts": {"id": "", "lines": [], "version": 0},
    "orders": {"running": 0, "overdue": [], "running_keys": [], "attention": []},
    "payments": {"items": [], "next_after": None},
    "shipping": "shipping.not_found",
    "notifications": [],
    "risk": "risk.not_found",
    "accounts": "accounts.not_found",
    "transactions": "transactions.not_found",
    "support": {"items": [], "next_cursor": None},
    "registry": "registry.unknown_service",
}


@pytest.fixture
def run(rabbit_config, tmp_path):
    """Start what a target's image starts, from the files that it holds. Its output is in `output`."""
    started = []

    def start(target, service, arguments=None, **env):
        tree = tmp_path / "rialto"
        dockerfile.build(target, service, tree)
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(
                dockerfile.command(target, arguments),
                cwd=tree,
                env=environment(service, rabbit_config["AMQP_URI"]) | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def environment(service, amqp_uri):
    """A container's: nothing is inherited that could lead back to the project."""
    interpreters = str(Path(sys.executable).parent)
    return {
        "PATH": f"{interpreters}:/usr/bin:/bin",
        "SERVICE": service,
        "AMQP_URI": amqp_uri,
        "PYTHONUNBUFFERED": "1",
    }


def wait_for(condition, process, output):
    """Until `condition` holds. An end, or nothing in time, fails with what was printed."""
    assert wait_until(lambda: process.poll() is not None or condition(), STARTS_WITHIN_S), output.read_text()
    assert process.poll() is None, output.read_text()


def is_served(amqp_uri, queue):
    """Asked of the broker itself: its management page tells seconds later."""
    with kombu.Connection(amqp_uri) as connection:
        try:
            return connection.default_channel.queue_declare(queue, passive=True).consumer_count > 0
        except ChannelError:
            return False


def stop(process, output):
    """SIGTERM; it ends well, and in time."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOPS_WITHIN_S) == 0, output.read_text()


def answer(call):
    try:
        return call()
    except ServiceError as refusal:
        return refusal.code


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_lives_from_what_its_image_copies(service, run, rabbit_config, tmp_path):
    process, output = run("service", service), tmp_path / "output"
    wait_for(lambda: is_served(rabbit_config["AMQP_URI"], f"rpc-{service}"), process, output)
    with ServiceRpcProxy(service, rabbit_config, timeout=10) as proxy:
        assert answer(lambda: FIRST_ANSWER[service](proxy)) == ANSWERS[service]
    assert (tmp_path / "rialto/var" / f"{service}.db").exists()
    stop(process, output)


def test_the_gateway_lives_from_what_its_image_copies(run, tmp_path):
    port = free_port()
    process, output = run("gateway", "gateway", PORT=str(port)), tmp_path / "output"
    wait_for(lambda: status_of(port, "/v1/health") == 200, process, output)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/openapi.json", timeout=10) as document:
        assert json.load(document)["openapi"] == "3.1.0"
    assert status_of(port, "/v1/ready") == 503
    stop(process, output)


@pytest.mark.parametrize("company", ["acquirer", "carrier", "bank"])
def test_a_sandbox_lives_from_what_its_image_copies(company, run, tmp_path):
    port = free_port()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--db", f"var/{company}.db"]
    process, output = run("sandbox", company, arguments), tmp_path / "output"
    wait_for(lambda: status_of(port, "/health") == 200, process, output)
    stop(process, output)


def test_nothing_else_of_the_project_is_within_reach(tmp_path):
    """Else the tests above would prove nothing."""
    look = "import importlib.util as i, sys; print([n for n in sys.argv[1:] if i.find_spec(n)])"
    names = ["chassis", "contracts", "edge", "gateway", "sandbox", "scripts", "services"]
    env = environment("orders", "")
    found = subprocess.check_output(["python", "-c", look, *names], cwd=tmp_path, env=env, text=True)
    assert found.strip() == "[]"


def status_of(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as found:
            return found.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
