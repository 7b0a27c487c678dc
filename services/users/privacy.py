"""What users keeps about customers (see chassis/privacy.py).

An erasure's own request stays, by a customer's id that leads nowhere: it says that it was done, and when.
"""

from sqlalchemy import String, and_, cast, exists, or_, select

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.tables import inbox
from chassis.types import OPERATOR, STAFF
from services.users.domain import address_of
from services.users.models import (
    Account,
    ExportPart,
    LoginFailures,
    LoginSession,
    PrivacyRequest,
    RefreshToken,
    SavedAddress,
    SavedMethod,
)

_ACCOUNT, _ADDRESS, _METHOD = table_of(Account), table_of(SavedAddress), table_of(SavedMethod)
_SESSION, _TOKEN, _FAILURES = table_of(LoginSession), table_of(RefreshToken), table_of(LoginFailures)
_REQUEST, _PART = table_of(PrivacyRequest), table_of(ExportPart)
_ROLES = cast(_ACCOUNT.c.roles, String)

KINDS = (
    Kind(
        "request",
        _REQUEST,
        whose=lambda person: _REQUEST.c.customer_id == person.customer_id,
        told=("kind", "status", "open", "reason", "requested_at", "ended_at"),
        blank={"reason": ""},
        open=and_(_REQUEST.c.kind == "export", _REQUEST.c.status == "running"),
    ),
    Kind(
        "export_part",
        _PART,
        whose=lambda person: _PART.c.request_id.in_(
            select(_REQUEST.c.id).where(_REQUEST.c.customer_id == person.customer_id)
        ),
        told=("service", "number"),
    ),
    Kind(
        "saved_address",
        _ADDRESS,
        whose=lambda person: _ADDRESS.c.account_id == person.customer_id,
        told=("name", "address"),
    ),
    Kind(
        "repeatable_answer",  # about a card, which names its owner nowhere
        inbox,
        whose=lambda person: and_(
            inbox.c.command == "add_payment_method",
            exists().where(_METHOD.c.account_id == person.customer_id, inbox.c.result.contains(_METHOD.c.id)),
        ),
        told=("command", "updated_at"),
    ),
    Kind(
        "saved_method",
        _METHOD,
        whose=lambda person: _METHOD.c.account_id == person.customer_id,
        told=("id", "brand", "last4", "created_at"),
    ),
    Kind(
        "refresh_token",
        _TOKEN,
        whose=lambda person: _TOKEN.c.session_id.in_(
            select(_SESSION.c.id).where(_SESSION.c.account_id == person.customer_id)
        ),
        told=("expires_at", "used_at"),
    ),
    Kind(
        "login_session",
        _SESSION,
        whose=lambda person: _SESSION.c.account_id == person.customer_id,
        told=("created_at", "expires_at", "ended_at"),
    ),
    Kind(
        "login_failures",
        _FAILURES,
        whose=lambda person: _FAILURES.c.address == address_of(person.email),
        told=("failures", "failed_at", "blocked_until"),
    ),
    Kind(
        "roles",  # of staff: somebody takes them first
        _ACCOUNT,
        whose=lambda person: _ACCOUNT.c.id == person.customer_id,
        told=("roles",),
        blank={},
        open=or_(*(_ROLES.contains(f'"{role}"') for role in (STAFF, OPERATOR))),
    ),
    Kind(
        "account",
        _ACCOUNT,
        whose=lambda person: _ACCOUNT.c.id == person.customer_id,
        told=("id", "email", "name", "created_at"),
    ),
)
