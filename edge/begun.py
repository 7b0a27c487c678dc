"""The answer to a request that begins something which goes on for a while: 202 with its address, or 201 with its end
where the client waited for that and saw it."""

from typing import TypeVar

from chassis.routes import Reply

T = TypeVar("T")


def begun(body: T, address: str, wait_s: float, ended: bool) -> Reply[T]:
    """`ended`: whether `body` is what it came to; it counts only for a client who waited (`Prefer: wait`)."""
    headers = {"Location": address}
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s:.0f}"
    return Reply(body, status=201 if wait_s and ended else 202, headers=headers)
