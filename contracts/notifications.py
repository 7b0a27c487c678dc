"""notifications: mails to customers, each written once for its event."""

from datetime import datetime
from typing import Protocol

from chassis.types import Message, api


class Mail(Message):
    """`status`: queued or sent."""

    id: str
    to: str
    subject: str
    status: str
    kind: str
    created_at: datetime


@api("notifications")
class NotificationsApi(Protocol):
    name: str

    def find(self, to: str | None = None, limit: int = 20) -> list[Mail]:
        """The newest mails (staff), at most 100."""
        ...
