"""Conversations as the contract has them. Customers do not see notes, nor who of staff did something."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from contracts import support as contract
from contracts.support import Change, Said, Source
from services.support import actions, store
from services.support.domain import ASSISTANT, GUEST, LISTED, SYSTEM, begins

SHOWN = 200
"""Messages of a conversation, the latest."""
STAFF = "staff"


def action(row: Row[Any], for_staff: bool = False) -> contract.Action:
    return contract.Action(
        id=row.id,
        kind=row.kind,
        status=row.status,
        summary=row.summary,
        changes=msgspec.convert(row.changes, list[Change]),
        expires_at=row.expires_at,
        order_id=row.order_id,
        subject_id=row.subject_id,
        reason_code=row.reason_code,
        reason=row.reason,
        by=_who(row.by, for_staff),
    )


def said(row: Row[Any], offered: Iterable[contract.Action] = (), for_staff: bool = False) -> Said:
    """A happening that is a message, with the actions that it offers."""
    return Said(
        id=row.id,
        at=row.at,
        sender=row.sender,
        text=row.text,
        sources=msgspec.convert(row.sources, list[Source]),
        actions=list(offered),
        author=_who(row.author, for_staff) if row.sender == "staff" else None,
        note=row.note,
    )


def messages(session: Session, conversation_id: str, for_staff: bool = False) -> list[Said]:
    """The latest, the oldest first."""
    offered = _by_message(actions.of_conversation(session, conversation_id), for_staff)
    rows = store.messages(session, conversation_id, SHOWN, with_notes=for_staff)
    return [said(row, offered.get(row.id, ()), for_staff) for row in rows]


def conversation(
    session: Session,
    row: Row[Any],
    *,
    token: str | None = None,
    for_staff: bool = False,
    whole: bool = True,
    listed: bool = False,
) -> contract.Conversation:
    return contract.Conversation(
        id=row.id,
        status=row.status,
        language=row.language,
        subject=begins(row.subject, LISTED) if listed else row.subject,
        created_at=row.created_at,
        updated_at=row.updated_at,
        messages=messages(session, row.id, for_staff) if whole else [],
        order_id=row.order_id,
        token=token,
        rating=row.rating,
    )


def happenings(session: Session, row: Row[Any], after: int, for_staff: bool = False) -> contract.Happenings:
    rows = store.happenings(session, row.id, after, SHOWN, with_notes=for_staff)
    shown = {each.id: each for each in actions.of_conversation(session, row.id)} if rows else {}
    offered = _by_message(shown.values(), for_staff)
    open_names = None if for_staff else {row.customer_id, ASSISTANT, SYSTEM, GUEST}
    items = [_happening(each, shown, offered.get(each.id, ()), open_names) for each in rows]
    last = items[-1].sequence if len(items) == SHOWN else max(after, row.happened)
    return contract.Happenings(items=items, last=last)


def _happening(
    row: Row[Any],
    shown: Mapping[str, Row[Any]],
    offered: Sequence[contract.Action],
    open_names: Set[str | None] | None,
) -> contract.Happening:
    """`open_names`: the authors that are told by name, others are of staff; None for staff, who see them all."""
    for_staff = open_names is None
    about = shown.get(row.action_id) if row.action_id else None
    seen = action(about, for_staff) if about is not None else None
    return contract.Happening(
        sequence=row.sequence,
        at=row.at,
        kind=row.kind,
        author=row.author if open_names is None or row.author in open_names else STAFF,
        message=said(row, offered, for_staff) if row.kind == "message" else None,
        action=msgspec.structs.replace(seen, status=row.status) if seen and row.status else seen,
        status=row.status if row.kind == "state" else None,
        assigned_to=_who(row.assigned_to, for_staff),
    )


def _by_message(rows: Iterable[Row[Any]], for_staff: bool) -> dict[str, list[contract.Action]]:
    found: dict[str, list[contract.Action]] = {}
    for row in rows:
        found.setdefault(row.message_id, []).append(action(row, for_staff))
    return found


def _who(staff_id: str | None, for_staff: bool) -> str | None:
    return staff_id if staff_id is None or for_staff else STAFF
