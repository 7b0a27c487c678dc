"""The broker's management API, as the registry reads it."""

import pytest

from services.registry.adapters import Broker
from services.registry.domain import QueueState


def test_a_queue_that_had_no_message_yet_is_read_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ writes its figures as an empty list then, not as an object."""
    quiet = '{"name":"rpc-risk","messages_ready":0,"messages_unacknowledged":0,"consumers":1,"message_stats":[]}'
    busy = (
        '{"name":"rpc-orders","messages_ready":2,"messages_unacknowledged":3,"consumers":4,"message_stats":{"ack":5}}'
    )
    unknown = '{"name":"rpc-users","consumers":1}'
    page = f'{{"items":[{quiet},{busy},{unknown}],"page_count":1}}'
    monkeypatch.setattr(Broker, "_get", lambda self, path: page.encode())
    broker = Broker("amqp://127.0.0.1/", "http://guest:guest@127.0.0.1:1", timeout_s=1)
    assert broker._queues() == {
        "rpc-risk": QueueState(ready=0, consumers=1, unacked=0, acked=0),
        "rpc-orders": QueueState(ready=2, consumers=4, unacked=3, acked=5),
        "rpc-users": QueueState(ready=0, consumers=1, unacked=0, acked=0),
    }
