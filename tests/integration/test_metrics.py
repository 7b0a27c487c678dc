"""Metrics of an instance: on a port of its own, without touching the service."""

import time

import eventlet
import httpx
import pytest
from nameko.exceptions import RemoteError
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.utils import find_free_port

from chassis import metrics
from chassis.context import Call
from chassis.errors import ServiceError
from chassis.provide import provided
from chassis.rpc import rpc
from chassis.service import CallContext
from tests.sandboxes import wait_until


class MeteredService:
    name = "metered"
    call = provided(Call, CallContext())

    @rpc
    def work(self, how: str) -> int:
        if how == "refused":
            raise ServiceError("metered.no", "No.")
        if how == "failed":
            raise ZeroDivisionError
        return 1


@pytest.fixture
def port(container_factory, rabbit_config, monkeypatch):
    free = find_free_port()
    monkeypatch.setenv("METRICS_PORT", str(free))
    container_factory(MeteredService, rabbit_config).start()
    return free


def value(port, name):
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0.0)


def test_what_became_of_each_call_is_counted(port, rabbit_config):
    with ServiceRpcProxy("metered", rabbit_config, timeout=10) as proxy:
        proxy.work("ok")
        proxy.work("ok")
        with pytest.raises(ServiceError):
            proxy.work("refused")
        with pytest.raises(RemoteError):
            proxy.work("failed")
    for outcome, count in (("ok", 2), ("refused", 1), ("failed", 1)):
        name = f'rialto_handled_total{{method="work",outcome="{outcome}",service="metered"}}'
        wait_until(lambda name=name, count=count: value(port, name) == count)
    wait_until(lambda: value(port, 'rialto_handled_seconds_count{method="work",service="metered"}') == 4)


def test_the_longest_pause_of_the_hub_is_seen(port, monkeypatch):
    monkeypatch.setattr(metrics, "PROBE_EVERY_S", 0.01)
    eventlet.sleep(0.12)
    block = time.monotonic() + 0.4
    while time.monotonic() < block:  # code that does not yield
        pass
    wait_until(lambda: value(port, "rialto_hub_pause_seconds") >= 0.25)


def test_the_port_is_free_again_when_the_service_stopped(container_factory, rabbit_config, monkeypatch):
    port = find_free_port()
    monkeypatch.setenv("METRICS_PORT", str(port))
    for _ in range(2):
        container = container_factory(MeteredService, rabbit_config)
        container.start()
        assert "rialto_handled" in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        container.stop()
