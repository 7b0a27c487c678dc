"""What accounts keeps about customers (see chassis/privacy.py). Entries are sealed, and stay to the letter: nothing but
an account's own name can be taken out. What moved on it stays its id's, which is a pseudonym."""

from typing import Any

from sqlalchemy import Select, or_, select

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.privacy_types import Person
from services.accounts.models import Account, Entry, Posting

_ACCOUNT, _ENTRY, _POSTING = table_of(Account), table_of(Entry), table_of(Posting)


def _accounts(person: Person) -> Select[Any]:
    return select(_ACCOUNT.c.id).where(_ACCOUNT.c.customer_id == person.customer_id)


def _entries(person: Person) -> Select[Any]:
    return select(_POSTING.c.entry_id).where(_POSTING.c.account_id.in_(_accounts(person)))


KINDS = (
    Kind(
        "account",
        _ACCOUNT,
        whose=lambda person: _ACCOUNT.c.customer_id == person.customer_id,
        told=("id", "number", "name", "currency", "status", "debits", "credits", "created_at"),
        blank=dict(name=""),
        open=or_(
            _ACCOUNT.c.debits != _ACCOUNT.c.credits, _ACCOUNT.c.pending_debits > 0, _ACCOUNT.c.pending_credits > 0
        ),
    ),
    Kind(
        "entry",
        _ENTRY,
        whose=lambda person: _ENTRY.c.id.in_(_entries(person)),
        told=("id", "kind", "phase", "subject", "memo", "at"),
        blank={},
    ),
    Kind(
        "posting",
        _POSTING,
        whose=lambda person: _POSTING.c.account_id.in_(_accounts(person)),
        told=("entry_id", "account_id", "amount"),
        blank={},
    ),
)
