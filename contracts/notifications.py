"""notifications: mails to customers, each written once for its event."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Message, api
from contracts.operations import DeadLettersApi

Address = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^\x00]*$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Mail(Message):
    """`id` is the event's, `kind` its name. `status`: queued, sent, or failed (not to be delivered; see `error`)."""

    id: str
    to: str
    subject: str
    status: str
    kind: str
    created_at: datetime
    attempts: int = 0
    error: str | None = None


@api("notifications")
class NotificationsApi(DeadLettersApi, Protocol):
    name: str

    def find(self, to: Address | None = None, limit: Limit = 20) -> list[Mail]:
        """The newest mails (staff), at most 100."""
        ...
