"""The points of `chassis/faults.py` that one flow passes, each with a name of its own, and a death at any of them.

A point is named by where it is passed (`payments.capture`, or `saga` for the engine's own green thread), what it is,
and how often the flow passed such a one there before: `payments.capture commit.before 2`. Names do not depend on the
order in which green threads run, so a flow that is run once tells where all later ones can die.

A flow is all that happens under one trace id, together with the events about its order or transaction. What is done
for many flows at once belongs to none: relays are a flow of their own, polls and timers are not counted.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import structlog
from greenlet import GreenletExit
from nameko.containers import ServiceContainer

from chassis import faults
from chassis.context import from_context_data
from chassis.outbox import Relay
from tests.faults.world import Flow, World

RELAY, SAGA, SHARED = "relay", "saga", "shared"
KINDS = {
    f"{what}.{when}"
    for what in (faults.COMMIT, faults.PUBLISH, faults.ACK, faults.OUTSIDE)
    for when in ("before", "after")
}
SUBJECTS = ("order_id", "subject_id", "payout_id", "aggregate_id")
"""Where an event says what it is about: the first of these that it has."""
_here: ContextVar[tuple[str, str] | None] = ContextVar("here", default=None)


class Died(GreenletExit):
    """The end of a green thread, wherever it is: neither nameko nor the chassis takes it for an error."""


class Points:
    """Counts the points of the flows that are watched, and calls `die` at the one that a flow is to die at."""

    def __init__(self, die: Callable[[str], None]) -> None:
        self._die = die
        self.passed: dict[str, Counter[str]] = {}
        self.named: dict[str, list[str]] = {}
        self.deaths: dict[str, str] = {}
        self.died: set[str] = set()
        self._flow_of: dict[str, str] = {}

    def watch(self, flow: str, dies_at: str | None = None) -> None:
        """Count this flow's points from now on; `dies_at`: the name of the one at which it dies, once."""
        self.passed[flow], self.named[flow] = Counter(), []
        if dies_at is not None:
            self.deaths[flow] = dies_at

    def own(self, flow: str, subject: str) -> None:
        """Events about this order or transaction belong to the flow, whatever trace they bring."""
        self._flow_of[subject] = flow

    def __call__(self, point: str) -> None:
        flow, where = self._where()
        if flow not in self.passed:
            return
        self.passed[flow][f"{where} {point}"] += 1
        name = f"{where} {point} {self.passed[flow][f'{where} {point}']}"
        self.named[flow].append(name)
        if self.deaths.get(flow) == name and flow not in self.died:
            self.died.add(flow)
            self._die(name)

    def _where(self) -> tuple[str, str]:
        here = _here.get()
        if here is not None:
            return here
        trace = structlog.contextvars.get_contextvars().get("trace_id")
        return (str(trace), SAGA) if trace is not None else _shared()

    def enter(self, worker_ctx: Any) -> None:
        """Note for this green thread what it does, and for which flow."""
        payload = worker_ctx.args[0] if worker_ctx.args and isinstance(worker_ctx.args[0], dict) else {}
        subject = next((payload[name] for name in SUBJECTS if name in payload), "")
        flow = self._flow_of.get(subject) or from_context_data(worker_ctx.data).trace_id
        _here.set((flow, f"{worker_ctx.service_name}.{worker_ctx.entrypoint.method_name}"))


def _shared() -> tuple[str, str]:
    """Whether a relay is at work here, found by who called."""
    frame = sys._getframe(3)
    while frame is not None:
        if isinstance(relay := frame.f_locals.get("self"), Relay):
            return RELAY, f"{relay.container.service_name}.{RELAY}"
        frame = frame.f_back
    return SHARED, SHARED


def armed(monkeypatch: Any, die: Callable[[str], None]) -> Points:
    """Points that are counted from now on, until `monkeypatch` is undone."""
    points = Points(die)
    run_worker = ServiceContainer._run_worker

    def run_and_redeliver(self: Any, worker_ctx: Any, handle_result: Any) -> None:
        points.enter(worker_ctx)
        try:
            run_worker(self, worker_ctx, handle_result)
        except Died:
            message = handle_result.args[0]
            if not message.acknowledged:  # as the broker does when a consumer is gone
                message.requeue()
            raise

    monkeypatch.setattr(ServiceContainer, "_run_worker", run_and_redeliver)
    monkeypatch.setattr(faults, "_armed", points)
    return points


def begin(points: Points, world: World, flow: Flow, case: Any) -> None:
    """Begin a flow whose points are watched. Events about its order are its own as soon as the order is known."""
    if case.subject:
        points.own(case.trace, case.subject)
    flow.begin(world, case)
    points.own(case.trace, case.subject)


def place_of(name: str) -> str:
    """Where the point of this name is passed."""
    return name.split(maxsplit=1)[0]


def miscounted(flow: Flow, names: Iterable[str]) -> set[str]:
    """The places at which a flow has points, or should have, but not both; and kinds of points that it has none of.
    Relays may come to it or not."""
    places = {place_of(name) for name in names}
    own = {place for place in places if not place.endswith(f".{RELAY}")}
    kinds = {kind for kind in KINDS if flow.outside or not kind.startswith(faults.OUTSIDE)}
    return (own ^ set(flow.through)) | (kinds - {name.split()[1] for name in names})


def die_here(name: str) -> None:
    raise Died(name)
