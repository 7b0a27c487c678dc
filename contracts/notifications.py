"""notifications: mails to customers, each written once for its event, and sent again where staff want it."""

from datetime import datetime
from typing import Annotated, Protocol

import msgspec

from chassis.types import Message, api, refuses
from contracts.operations import DeadLettersApi
from contracts.privacy import PrivacyApi

Address = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^\x00]*$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
SubjectId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[!-~]+$")]
"""What a mail is about: an order's id, or a transaction's."""


class Mail(Message):
    """`id` is the event's, `kind` its name. `status`: queued, sent, or failed (not to be delivered; see `error`).

    `about`: the order's or transaction's id; older mails do not tell. What is sent again is a new mail, with an id of
    its own, and names the first one by `copy_of`.
    """

    id: str
    to: str
    subject: str
    status: str
    kind: str
    created_at: datetime
    attempts: int = 0
    error: str | None = None
    about: str | None = None
    copy_of: str | None = None


@api("notifications")
class NotificationsApi(DeadLettersApi, PrivacyApi, Protocol):
    name: str

    def find(self, to: Address | None = None, limit: Limit = 20) -> list[Mail]:
        """The newest mails (staff), at most 100."""
        ...

    @refuses("notifications.not_found", "notifications.too_often")
    def resend(self, subject_id: SubjectId, *, key: str) -> Mail:
        """Send the newest mail about an order or a transaction once more, to the address that it went to (staff); a
        mail at most three times in 24 hours."""
        ...
