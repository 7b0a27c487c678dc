"""Faults of the wire: what may become of one request or one reply of one flow, whatever the services do."""

import sys
from collections.abc import Callable
from typing import Any

import eventlet
from nameko.constants import HEADER_PREFIX
from nameko.rpc import get_rpc_exchange

from chassis.errors import ServiceError
from chassis.rpc import Rpc, RpcConsumer, _describe, _encode
from chassis.types import refusals_of, service_of
from tests.sandboxes import wait_until

Fault = Callable[["Wire", Any, Any, Any], bool]
"""What is done with a request (entry point, body, message); True: it does not go on to its method."""


LATE = "x-late"


def path_of(method: Callable[..., Any]) -> str:
    return f"{service_of(method)}.{method.__name__}"


class Wire:
    """`plan(flow, method, fault)`: the next request of this flow to the method, or its reply, meets that fault."""

    def __init__(self, monkeypatch: Any) -> None:
        self.requests: dict[tuple[str, str], list[Fault]] = {}
        self.replies: dict[tuple[str, str], list[str]] = {}
        self.held: list[Callable[[], None]] = []
        self.late: dict[tuple[str, str], str] = {}
        self._late_answers = 0
        self._take, self._answer = Rpc.handle_message, RpcConsumer.handle_result

        def take(entrypoint: Any, body: Any, message: Any) -> None:
            self._on(entrypoint, body, message)

        def answer(consumer: Any, message: Any, result: Any, exc_info: Any) -> Any:
            return self._on_result(consumer, message, result, exc_info)

        monkeypatch.setattr(Rpc, "handle_message", take)
        monkeypatch.setattr(RpcConsumer, "handle_result", answer)

    def on_request(self, flow: str, method: Callable[..., Any], *faults: Fault) -> None:
        self.requests[flow, path_of(method)] = list(faults)

    def on_reply(self, flow: str, method: Callable[..., Any], *faults: str) -> None:
        """`lost` or `twice`"""
        self.replies[flow, path_of(method)] = list(faults)

    def unmet(self) -> list[tuple[str, str]]:
        """Flow and method of every fault that was planned and has not happened."""
        return [key for planned in (self.requests, self.replies) for key, faults in planned.items() if faults]

    def release(self) -> dict[tuple[str, str], str]:
        """Let arrive what was held back, however late; by flow and method, answers ok or the code of the refusal.

        It comes without its deadline, as if clocks differed.
        """
        late, self.held, self.late, self._late_answers = self.held, [], {}, 0
        for let_go in late:
            let_go()
        wait_until(lambda: self._late_answers == len(late))
        return self.late

    def _on(self, entrypoint: Any, body: Any, message: Any) -> None:
        planned = self.requests.get(_key_of(message))
        if not planned or not planned.pop(0)(self, entrypoint, body, message):
            self._take(entrypoint, body, message)

    def _on_result(self, consumer: Any, message: Any, result: Any, exc_info: Any) -> Any:
        if LATE in message.headers:
            code = "ok" if exc_info is None else getattr(exc_info[1], "code", str(exc_info[1]))
            self.late[_key_of(message)] = code
            self._late_answers += 1
        planned = self.replies.get(_key_of(message))
        fault = planned.pop(0) if planned else None
        if fault == "lost":
            consumer.queue_consumer.ack_message(message)
            return result, exc_info
        if fault == "twice":
            error = None if exc_info is None else _describe(exc_info[1])
            properties = message.properties
            consumer.publisher.publish(
                get_rpc_exchange(consumer.container.config).name,
                properties["reply_to"],
                _encode({"result": result, "error": error}),
                correlation_id=properties["correlation_id"],
            )
        return self._answer(consumer, message, result, exc_info)


def _key_of(message: Any) -> tuple[str, str]:
    return message.headers.get(f"{HEADER_PREFIX}.trace_id", ""), message.delivery_info["routing_key"]


# --- faults of a request


def lost(wire: Wire, entrypoint: Any, body: Any, message: Any) -> bool:
    entrypoint.rpc_consumer.queue_consumer.ack_message(message)
    return True


def twice(wire: Wire, entrypoint: Any, body: Any, message: Any) -> bool:
    """A second one arrives at once, and both are answered."""
    _copy(entrypoint, body, message)
    return False


def refused(code: str) -> Fault:
    def refuse(wire: Wire, entrypoint: Any, body: Any, message: Any) -> bool:
        try:
            raise ServiceError(code, "Refused by the wire.")
        except ServiceError:
            entrypoint.rpc_consumer.handle_result(message, None, sys.exc_info())
        return True

    return refuse


def held(wire: Wire, entrypoint: Any, body: Any, message: Any) -> bool:
    """It comes when it is released."""
    message.headers.pop(f"{HEADER_PREFIX}.deadline", None)
    message.headers[LATE] = True
    wire.held.append(lambda: wire._take(entrypoint, body, message))
    return True


def held_copy(wire: Wire, entrypoint: Any, body: Any, message: Any) -> bool:
    """It is served, and once more when the copy is released."""
    wire.held.append(lambda: _copy(entrypoint, body, message, **{LATE: True}))
    return False


def after(seconds: float, meanwhile: Callable[[], None]) -> Fault:
    """It rests so long at its service; `meanwhile` is done first."""

    def rest(wire: Wire, entrypoint: Any, body: Any, message: Any) -> bool:
        meanwhile()
        eventlet.sleep(seconds)
        return False

    return rest


def _copy(entrypoint: Any, body: Any, message: Any, **marks: bool) -> None:
    headers = {name: value for name, value in message.headers.items() if name != f"{HEADER_PREFIX}.deadline"}
    consumer = entrypoint.rpc_consumer
    consumer.publisher.publish(
        get_rpc_exchange(consumer.container.config).name,
        message.delivery_info["routing_key"],
        _encode(body),
        reply_to=message.properties["reply_to"],
        correlation_id=message.properties["correlation_id"],
        application_headers={**headers, **marks},
    )


def a_refusal_of(method: Callable[..., Any]) -> str:
    """A code that the method's contract lists."""
    codes = [code for code in refusals_of(method) if code.startswith(service_of(method))]
    return codes[0] if codes else "request.invalid"
