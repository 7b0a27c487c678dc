"""Work that computes without yielding, such as a password's hash: in threads, so that the hub goes on."""

import os
import time
from collections.abc import Callable
from functools import partial
from logging import getLogger
from typing import Generic, ParamSpec, TypeVar, cast

import eventlet
from eventlet import patcher, tpool
from eventlet.event import Event as GreenEvent
from eventlet.semaphore import Semaphore

from chassis.context import time_left
from chassis.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

WAIT_LIMIT_S = 5.0
LOOK_EVERY_S = 0.05
_Thread = patcher.original("threading").Thread
log = getLogger("rialto.offhub")
_room = Semaphore(os.cpu_count() or 1)


def off_hub(fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `fn` in a thread, as many at once as there are processors; its result or its exception.

    `fn` must not touch what green threads share: sessions, connections, contexts. Raises Unavailable, with nothing
    done, when no processor became free before the call's deadline.
    """
    if not _room.acquire(timeout=time_left(WAIT_LIMIT_S)):
        raise Unavailable("processor", "all of them were busy for too long")
    try:
        return cast(R, tpool.execute(fn, *args, **kwargs))
    finally:
        _room.release()


class Prepared(Generic[R]):
    """A value that takes seconds of computing: made once, off the hub, while everything else goes on.

    A process that ends does not wait for it: the thread is a daemon, which those of eventlet's pool are not. What is
    called there must not log, as the locks of logging are the hub's.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._made = GreenEvent()

    def prepare(self, make: Callable[[], R]) -> None:
        """Begin to make it. What `make` raises is raised to whoever asks for the value."""
        eventlet.spawn_n(self._prepare, make)

    def is_made(self) -> bool:
        """Whether who asks gets it, or what went wrong, at once."""
        return bool(self._made.ready())

    def get(self, limit_s: float = WAIT_LIMIT_S) -> R:
        """The value; who asks early waits for it, as long as this and the call's deadline let them, then it is
        Unavailable."""
        if not self._made.ready() and self._made.wait(timeout=time_left(limit_s)) is None:
            raise Unavailable(self.what, "it is not ready yet")
        return cast(R, self._made.wait())

    def _prepare(self, make: Callable[[], R]) -> None:
        ends: list[Callable[[], None]] = []

        def run() -> None:
            try:
                ends.append(partial(self._made.send, make()))
            except Exception as exc:  # said to whoever asks
                ends.append(partial(self._made.send_exception, exc))

        began, thread = time.monotonic(), _Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            eventlet.sleep(LOOK_EVERY_S)
        log.info("prepared", extra={"what": self.what, "took_s": round(time.monotonic() - began, 1)})
        ends[0]()
