"""Log lines: JSON with the ids of what was at work, and no password in them."""

import json
import logging
import sys

import eventlet
import pytest
import structlog

from chassis import logs
from chassis.context import Call, bind
from chassis.types import Caller

URI = "pyamqp://ann:s3cret@broker:5672/"


@pytest.fixture
def line(monkeypatch):
    """(level, message, **more) -> the line, as it would stand in the file."""
    monkeypatch.setattr(logs, "_service", {})
    formatter = logs.formatter()

    def write(level, message, *args, exc_info=None, **extra):
        logger = logging.getLogger("rialto.test")
        record = logger.makeRecord(logger.name, level, __file__, 1, message, args, exc_info, extra=extra)
        return json.loads(formatter.format(record))

    yield write
    structlog.contextvars.clear_contextvars()


def test_a_line_carries_the_service_and_the_ids_of_the_call(line):
    def serve():
        bind(Call(trace_id="trace-1", caller=Caller(service="orders", saga_id="saga-1")))
        return line(logging.INFO, "done %s", "well", order_id="o1")

    logs.bind_service("orders")
    written = eventlet.spawn(serve).wait()  # so that the call is not that of tests that follow
    assert written.pop("timestamp").endswith("Z")
    assert written == {
        "event": "done well",
        "level": "info",
        "logger": "rialto.test",
        "order_id": "o1",
        "saga_id": "saga-1",
        "service": "orders",
        "trace_id": "trace-1",
    }


@pytest.mark.parametrize("uri", [URI, "postgresql+psycopg2://ann:s3cret@db/x", "redis://:s3cret@cache/0"])
def test_no_password_of_a_uri_is_written(line, uri):
    for written in (line(logging.INFO, "connected to %s.", uri), line(logging.INFO, "connected", reason=f"at {uri}")):
        assert "s3cret" not in json.dumps(written)
        assert "***@" in json.dumps(written)


def test_no_password_is_written_with_a_traceback(line):
    try:
        raise ConnectionError(f"cannot reach {URI}")
    except ConnectionError:
        written = line(logging.ERROR, "broken", exc_info=sys.exc_info())
    assert "s3cret" not in json.dumps(written)
    assert "ConnectionError: cannot reach pyamqp://ann:***@broker:5672/" in written["exception"]


def test_an_address_without_a_password_stays_readable(line):
    assert line(logging.INFO, "see http://127.0.0.1:8000/v1/orders@home")["event"] == (
        "see http://127.0.0.1:8000/v1/orders@home"
    )
