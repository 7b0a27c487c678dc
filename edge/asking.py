"""Who asks, and under which key: what a route's policy made sure is there."""

from typing import Any

from chassis.routes import Request


def key_of(request: Request[Any, Any]) -> str:
    """The client's Idempotency-Key, or one that was made up for this request."""
    assert request.key is not None  # every unsafe request has one
    return request.key


def customer_of(request: Request[Any, Any]) -> str:
    """The id of the customer who is signed in."""
    assert request.caller.customer_id is not None  # the route's role asks for it
    return request.caller.customer_id
