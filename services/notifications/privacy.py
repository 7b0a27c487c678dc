"""What notifications keeps about customers (see chassis/privacy.py). A mail is its customer's alone: it goes. Of older
mails only the address is known."""

from sqlalchemy import ColumnElement, and_, or_

from chassis.db import table_of
from chassis.privacy import Kind
from chassis.privacy_types import Person
from services.notifications.models import Mail

_MAIL = table_of(Mail)


def _whose(person: Person) -> ColumnElement[bool]:
    by_address = and_(_MAIL.c.customer_id.is_(None), _MAIL.c.to_address == person.email)
    return or_(_MAIL.c.customer_id == person.customer_id, by_address)


KINDS = (
    Kind(
        "mail",
        _MAIL,
        whose=_whose,
        told=("id", "kind", "about", "to_address", "subject", "text", "status", "created_at", "sent_at"),
        at=_MAIL.c.created_at,
    ),
)
