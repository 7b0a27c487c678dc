"""Where a process may die: before and after each commit, message, acknowledgement and call to another company.

Nothing happens at these points, unless a test arms them. Services know nothing of them: whatever a service does passes
through the chassis, so a flow that is run once tells how many points it has, and can then be made to fail at each.
"""

from collections.abc import Callable

COMMIT, PUBLISH, ACK, OUTSIDE = "commit", "publish", "ack", "outside"

_armed: Callable[[str], None] | None = None


def arm(at_point: Callable[[str], None] | None) -> None:
    """For tests: have `at_point(name)` called at each point of this process, e.g. "commit.before"; None disarms.

    It may raise, which the code around takes for a failure there, or end the process.
    """
    global _armed
    _armed = at_point


def before(what: str) -> None:
    if _armed is not None:
        _armed(f"{what}.before")


def after(what: str) -> None:
    if _armed is not None:
        _armed(f"{what}.after")
