"""Gauges of what lies in a service's database: sagas under way, events to send, dead letters.

They are counted when somebody scrapes, at most every FRESH_S, by three queries that stop at MOST rows: never for each
order. Each instance of a service tells the same, for they share the database: take the maximum by `service`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from logging import getLogger
from typing import Any

from prometheus_client.core import REGISTRY, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, Select, case, func, inspect, literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from chassis.db import Sessions, now
from chassis.errors import Failure
from chassis.saga import ENDED, RUNNING
from chassis.tables import dead_letter, outbox, saga

FRESH_S = 5.0
MOST = 10_000
OVERDUE = timedelta(minutes=1)
AGES = {"1d": 86_400, "1h": 3_600, "10m": 600, "1m": 60}
"""The label `age` of a saga: the longest of these that it has reached, else 0s."""

GAUGES = {
    "rialto_sagas": ("Sagas that have not ended; waiting is what waits for a signal", ("name", "status", "age")),
    "rialto_sagas_attention": ("Sagas that need an operator", ("name",)),
    "rialto_sagas_paused": ("Sagas that an operator paused", ("name",)),
    "rialto_sagas_overdue": ("Sagas that have been due for a minute and nobody drives", ("name",)),
    "rialto_outbox_rows": ("Events that were committed and not yet sent", ()),
    "rialto_outbox_returned": ("Events that no subscriber's queue took", ()),
    "rialto_outbox_oldest_seconds": ("Age of the oldest event that was not yet sent", ()),
    "rialto_dead_letters": ("Events that a handler failed with too often", ("handler",)),
}
"""Name -> what it says, and its labels besides `service`."""

Sample = tuple[str, tuple[str, ...], float]

log = getLogger("rialto.metrics")


@dataclass
class Watched:
    """One database. `samples` are those of the moment `at`, on the process's clock."""

    sessions: Sessions
    has_sagas: bool | None = None
    samples: list[Sample] = field(default_factory=list)
    at: float = float("-inf")

    def fresh(self) -> list[Sample]:
        """The samples, counted again if they are old; none while the database cannot be asked."""
        if time.monotonic() - self.at < FRESH_S:
            return self.samples
        self.at = time.monotonic()  # before the queries: a scrape that comes meanwhile asks nothing
        try:
            with self.sessions.read() as session:
                if self.has_sagas is None:
                    self.has_sagas = inspect(session.connection()).has_table(saga.name)
                counts = (_outbox, _dead_letters, _sagas) if self.has_sagas else (_outbox, _dead_letters)
                self.samples = [sample for count in counts for sample in count(session, now(session))]
        except (Failure, SQLAlchemyError) as exc:
            self.samples = []
            log.warning("gauges are not known now", extra={"reason": f"{type(exc).__name__}: {exc}"})
        return self.samples


class StateGauges(Collector):
    """All databases that this process's services have."""

    def __init__(self) -> None:
        self._watched: dict[str, Watched] = {}

    def watch(self, service: str, sessions: Sessions) -> None:
        self._watched[service] = Watched(sessions)

    def forget(self, service: str) -> None:
        self._watched.pop(service, None)

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(name, text) for name, (text, _) in GAUGES.items()]

    def collect(self) -> Iterator[Metric]:
        samples = [(service, each) for service, one in list(self._watched.items()) for each in one.fresh()]
        for name, (text, labels) in GAUGES.items():
            family = GaugeMetricFamily(name, text, labels=("service", *labels))
            for service, (of, values, number) in samples:
                if of == name:
                    family.add_metric((service, *values), number)
            yield family


STATE = StateGauges()
REGISTRY.register(STATE)


def _outbox(session: Session, at: datetime) -> Iterator[Sample]:
    some = select(outbox.c.attention).limit(MOST).subquery()
    rows, returned = session.execute(select(func.count(), func.count(some.c.attention))).one()
    oldest = session.scalar(select(outbox.c.created_at).order_by(outbox.c.id).limit(1))
    yield "rialto_outbox_rows", (), rows
    yield "rialto_outbox_returned", (), returned
    yield "rialto_outbox_oldest_seconds", (), max(0.0, (at - oldest).total_seconds()) if oldest else 0.0


def _dead_letters(session: Session, at: datetime) -> Iterator[Sample]:
    some = select(dead_letter.c.handler).where(dead_letter.c.state == "dead").limit(MOST).subquery()
    for handler, count in session.execute(select(some.c.handler, func.count()).group_by(some.c.handler)):
        yield "rialto_dead_letters", (handler,), count


def _sagas(session: Session, at: datetime) -> Iterator[Sample]:
    some = _going(at).limit(MOST).subquery()
    groups = select(
        some.c.name, some.c.status, some.c.age, func.count(), *(func.sum(some.c[flag]) for flag in _FLAGS)
    ).group_by(some.c.name, some.c.status, some.c.age)
    flagged: dict[tuple[str, str], float] = {}
    for name, status, age, count, *sums in session.execute(groups):
        yield "rialto_sagas", (name, status, age), count
        for flag, number in zip(_FLAGS, sums, strict=True):
            flagged[flag, name] = flagged.get((flag, name), 0) + number
    for (flag, name), number in flagged.items():
        yield f"rialto_sagas_{flag}", (name,), number


_FLAGS: dict[str, Callable[[datetime], ColumnElement[bool]]] = {
    "attention": lambda at: saga.c.attention.is_not(None),
    "paused": lambda at: saga.c.paused_at.is_not(None),
    "overdue": lambda at: (saga.c.wake_at < at - OVERDUE) & saga.c.paused_at.is_(None),
}


def _going(at: datetime) -> Select[Any]:
    age = case(*((saga.c.created_at < at - timedelta(seconds=s), name) for name, s in AGES.items()), else_="0s")
    asleep = (saga.c.wake_at > at + OVERDUE) & saga.c.owner.is_(None) & (saga.c.status == RUNNING)
    status = case((asleep, "waiting"), else_=saga.c.status).label("status")
    flags = [case((is_so(at), literal(1)), else_=literal(0)).label(flag) for flag, is_so in _FLAGS.items()]
    return select(saga.c.name, status, age.label("age"), *flags).where(saga.c.status.not_in(ENDED))
