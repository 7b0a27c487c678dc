"""What a mail is, and how money is written in one. Pure: the standard library's email package does no I/O here."""

import functools
import hashlib
import re
from datetime import datetime
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import default

from chassis.types import Message, Money
from contracts.common import Address

SUBJECTS = {
    "order_confirmed": "Your order {order_id} is confirmed",
    "order_rejected": "We could not accept your order {order_id}",
    "order_cancelled": "Your order {order_id} is cancelled",
    "order_changed": "Your order {order_id} is changed",
    "return_requested": "Your return of order {order_id}",
    "return_settled": "What became of your return of order {order_id}",
    "exchange_settled": "Your exchange of order {order_id}",
    "order_disputed": "A dispute about your order {order_id}",
    "order_shipped": "Your order {order_id} is on its way",
    "order_delivered": "Your order {order_id} was delivered",
    "transaction_ended": "Your {kind} is {status}",
    "transaction_disputed": "A dispute about your {kind}",
}
BACK_OFF_MAX_S = 900
COPIES_IN_A_DAY = 3
_IN_ADDRESS = r"[^@\s\"<>(),:;\[\]\\\x00-\x1f\x7f]+"
_ADDRESS = re.compile(f"{_IN_ADDRESS}@{_IN_ADDRESS}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Headers(HeaderRegistry):
    """Makes the class of a header once. The standard one makes it for each header anew: a third of a mail's cost."""

    __getitem__ = functools.cache(HeaderRegistry.__getitem__)


_policy = default.clone(header_factory=_Headers())


class Letter(Message):
    """A written mail. `id` is the id of the event that it tells of, or a copy's own; `at` is when it was written,
    `about` the order or transaction, and `customer_id` whose that is."""

    id: str
    to: str
    subject: str
    text: str
    html: str
    at: datetime
    about: str | None = None
    copy_of: str | None = None
    customer_id: str | None = None


def absolute(money: Money) -> Money:
    return Money(amount=abs(money.amount), currency=money.currency)


def on_one_line(address: Address) -> str:
    """Grace, Rue 1, 75001 Paris, FR."""
    places = (address.name, address.line1, address.line2, f"{address.postal_code} {address.city}", address.country)
    return ", ".join(place for place in places if place)


def day(at: datetime) -> str:
    """7 March 2026, in UTC."""
    return f"{at.day} {at:%B %Y}"


def is_address(text: str) -> bool:
    """Whether mail can be addressed so. Stricter than the standard, which allows quotes, comments and lists."""
    return _ADDRESS.fullmatch(text) is not None


def back_off_s(attempts: int) -> int:
    """How long to wait after so many attempts that failed."""
    return min(1 << min(attempts, 10), BACK_OFF_MAX_S)


def file_name(event_id: str) -> str:
    """The name of an event's mail in a Maildir: always the same, and safe as a file's name."""
    if not _FILE_NAME.fullmatch(event_id):
        event_id = hashlib.sha256(event_id.encode()).hexdigest()
    return f"{event_id}.rialto"


def to_message(letter: Letter, sender: str) -> EmailMessage:
    """The letter as MIME: the same bytes whenever it is made, with a Message-ID made from its event's id."""
    message = EmailMessage(policy=_policy.clone(utf8=not letter.to.isascii()))
    message["From"] = sender
    message["To"] = letter.to
    message["Subject"] = letter.subject
    message["Date"] = letter.at
    message["Message-ID"] = f"<{file_name(letter.id)}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{file_name(letter.id)}")
    return message
