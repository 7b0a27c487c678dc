"""The versions of the rules, and the deny list."""

from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, desc, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.db import affected, now, run, table_of
from chassis.errors import OutcomeUnknown, ServiceError
from contracts import risk as contract
from services.risk.domain import normal
from services.risk.expressions import Compiled, compiled
from services.risk.models import Denied, RuleSet

MAY_BECOME = {"shadow": ("draft",), "live": ("shadow", "retired"), "retired": ("draft", "shadow")}
"""To each state, from which ones a version comes by an operator's word."""
MAKES_WAY = {"live": "retired", "shadow": "draft"}
"""What becomes of the version that has a state of which there is only one."""
SHOWN = 50
DENIED_SHOWN = 1000
KEPT_COMPILED = 8

_rules = table_of(RuleSet)
_denied = table_of(Denied)
_IN_EFFECT = select(_rules.c.state, _rules.c.version).where(_rules.c.state.in_(("live", "shadow")))
_GET = select(_rules).where(_rules.c.version == bindparam("of"))
_compiled: dict[tuple[str, int], Compiled] = {}


def in_effect(session: Session) -> dict[str, Compiled]:
    """The rules that decide, under `live`, and those that are tried, under `shadow` if there are any."""
    return {row.state: of_version(session, row.version) for row in run(session, _IN_EFFECT)}


def of_version(session: Session, version: int) -> Compiled:
    """A version, compiled once in a process for each database: its content never changes."""
    place = (str(session.get_bind().engine.url), version)
    if place not in _compiled:
        content = msgspec.convert(require(session, version).content, contract.Draft)
        while len(_compiled) >= KEPT_COMPILED:
            _compiled.pop(next(iter(_compiled)))
        _compiled[place] = compiled(content, version)
    return _compiled[place]


def require(session: Session, version: int) -> Row[Any]:
    row = run(session, _GET, of=version).one_or_none()
    if row is None:
        raise ServiceError("risk.no_such_rules", f"There is no version {version} of the rules.")
    return row


def live_version(session: Session) -> int:
    """The version that decides; the migration made the first one."""
    version: int = session.execute(select(_rules.c.version).where(_rules.c.state == "live")).scalar_one()
    return version


def view(session: Session, version: int) -> contract.RuleSet:
    row = require(session, version)
    newest = session.connection().execute(select(_rules).order_by(desc(_rules.c.version)).limit(SHOWN))
    return contract.RuleSet(
        version=row.version,
        state=row.state,
        author=row.author,
        content=msgspec.convert(row.content, contract.Draft),
        created_at=row.created_at,
        changed_at=row.changed_at,
        versions=[
            contract.RuleSetSummary(
                version=each.version,
                state=each.state,
                note=each.content["note"],
                author=each.author,
                rules=len(each.content["rules"]),
                created_at=each.created_at,
                changed_at=each.changed_at,
            )
            for each in newest
        ],
    )


def add(session: Session, content: contract.Draft, author: str) -> int:
    """Keep a draft under the next version."""
    at, version = now(session), session.execute(select(func.coalesce(func.max(_rules.c.version), 0) + 1)).scalar_one()
    row = dict(version=version, state="draft", content=msgspec.to_builtins(content), author=author)
    try:
        session.execute(insert(_rules).values(**row, created_at=at, changed_at=at))
    except IntegrityError as exc:
        raise OutcomeUnknown("database", "another version was kept at the same moment") from exc
    return int(version)


def advance(session: Session, version: int, state: str) -> None:
    """Move a version to a state, and the one that has it out of the way."""
    row, at = require(session, version), now(session)
    refusal = ServiceError("risk.rules_state", f"Version {version} is {row.state}: it cannot become {state}.")
    if row.state not in MAY_BECOME[state]:
        raise refusal
    if state in MAKES_WAY:
        other = update(_rules).where(_rules.c.state == state)
        session.execute(other.values(state=MAKES_WAY[state], changed_at=at))
    moved = update(_rules).where(_rules.c.version == version, _rules.c.state == row.state)
    try:
        if not affected(session, moved.values(state=state, changed_at=at)):
            raise refusal
    except IntegrityError as exc:  # another one's version went there at the same moment
        raise OutcomeUnknown("database", "another version was moved at the same moment") from exc


# --- the deny list


def deny(session: Session, kind: str, value: str, reason: str, author: str) -> contract.DenyEntry:
    if not normal(value):
        raise ServiceError("request.invalid", "This value is empty.", {"field": "value"})
    entry = dict(kind=kind, value=normal(value), reason=reason, author=author, at=now(session))
    _remove(session, kind, value)
    session.execute(insert(_denied).values(**entry))
    return msgspec.convert(entry, contract.DenyEntry)


def allow(session: Session, kind: str, value: str) -> None:
    if not _remove(session, kind, value):
        raise ServiceError("risk.not_denied", "This is not on the deny list.")


def _remove(session: Session, kind: str, value: str) -> int:
    return affected(session, delete(_denied).where(_denied.c.kind == kind, _denied.c.value == normal(value)))


def denied(session: Session) -> list[contract.DenyEntry]:
    found = select(_denied).order_by(_denied.c.kind, _denied.c.value).limit(DENIED_SHOWN)
    return [msgspec.convert(row._asdict(), contract.DenyEntry) for row in session.connection().execute(found)]
