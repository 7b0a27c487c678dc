"""How the desk did. The database counts; how long things took in the desk's time is added up here, in pages."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, case, func, or_, select
from sqlalchemy.orm import Session

from chassis.db import now, table_of
from chassis.types import Message
from contracts.support import Report
from services.support import clocks
from services.support.domain import ENDED
from services.support.hours import Desk, worked
from services.support.models import Conversation

PAGE, PAGES = 1_000, 50
"""Conversations whose times are read at once, and how often: the means are of the first PAGE * PAGES."""

Position = tuple[datetime, str]

_conversations = table_of(Conversation)
_c = _conversations.c


class Times(Message):
    """How many first answers and solutions there were, and how long they took together."""

    answers: int = 0
    answers_s: float = 0.0
    solutions: int = 0
    solutions_s: float = 0.0


def counted(session: Session, since: datetime, until: datetime) -> Report:
    """The conversations that began in this time, counted; without the times."""
    at, handed = now(session), _c.handed_over_at.is_not(None)
    sums = {
        "conversations": func.count(),
        "handed_over": _count(handed),
        "deflected": _count(_c.status.in_(ENDED), ~handed),
        "solved": _count(handed, _c.solved_at.is_not(None)),
        "first_answer_met": _count(handed, clocks.kept(_c.first_due_at, _c.first_answered_at)),
        "first_answer_missed": _count(handed, clocks.missed(_c.first_due_at, _c.first_answered_at, at)),
        "solution_met": _count(handed, clocks.kept(_c.solve_due_at, _c.solved_at)),
        "solution_missed": _count(handed, clocks.missed(_c.solve_due_at, _c.solved_at, at)),
        "ratings": func.count(_c.rating),
        "stars": func.coalesce(func.sum(_c.rating), 0),
    }
    query = select(_c.queue, *(sum_.label(name) for name, sum_ in sums.items())).where(_began(since, until))
    rows = session.connection().execute(query.group_by(_c.queue).order_by(_c.queue)).mappings().all()
    total = {name: sum(int(row[name]) for row in rows) for name in sums}
    stars = total.pop("stars")
    return Report(
        **total,
        first_answer_s=None,
        solution_s=None,
        rating=_mean(stars, total["ratings"]),
        by_queue={row["queue"]: row["conversations"] for row in rows},
    )


def page(session: Session, since: datetime, until: datetime, after: Position | None) -> Sequence[Row[Any]]:
    """The moments of the next PAGE conversations that people had and answered or solved."""
    told = and_(_c.handed_over_at.is_not(None), or_(_c.first_answered_at.is_not(None), _c.solved_at.is_not(None)))
    query: Any = select(_c.created_at, _c.id, _c.handed_over_at, _c.first_answered_at, _c.solved_at, _c.paused_s)
    query = query.where(_began(since, until), told).order_by(_c.created_at, _c.id).limit(PAGE)
    if after is not None:
        at, last = after
        query = query.where(or_(_c.created_at > at, and_(_c.created_at == at, _c.id > last)))
    return session.connection().execute(query).all()


def added(times: Times, rows: Sequence[Row[Any]], desk: Desk) -> Times:
    """With the times of these. Pure, and a while of computing where they are many."""
    answers = [worked(desk, row.handed_over_at, row.first_answered_at) for row in rows if row.first_answered_at]
    solutions = [worked(desk, row.handed_over_at, row.solved_at) - row.paused_s for row in rows if row.solved_at]
    return Times(
        answers=times.answers + len(answers),
        answers_s=times.answers_s + sum(answers),
        solutions=times.solutions + len(solutions),
        solutions_s=times.solutions_s + sum(solutions),
    )


def means(times: Times) -> dict[str, float | None]:
    """As a report has them."""
    return dict(
        first_answer_s=_mean(times.answers_s, times.answers), solution_s=_mean(times.solutions_s, times.solutions)
    )


def _began(since: datetime, until: datetime) -> Any:
    return and_(_c.created_at >= since, _c.created_at < until)


def _count(*conditions: Any) -> Any:
    return func.count(case((and_(*conditions), 1)))


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 1) if count else None
