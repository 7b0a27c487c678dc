"""Work that computes without yielding, such as a password's hash: in threads, so that the hub goes on."""

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from eventlet import tpool
from eventlet.semaphore import Semaphore

from chassis.context import time_left
from chassis.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

WAIT_LIMIT_S = 5.0
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
