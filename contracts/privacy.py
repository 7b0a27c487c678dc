"""What each service that keeps something about customers promises, as a part of its contract."""

from typing import Protocol

from chassis.privacy_types import Cursor, Erased, Person, PersonalData, RecordLimit
from chassis.types import refuses


class PrivacyApi(Protocol):
    """Other services only. What is kept and what becomes of it is one table, the service's `privacy.py`."""

    @refuses("privacy.bad_cursor")
    def personal_data(self, person: Person, after: Cursor | None = None, limit: RecordLimit = 200) -> PersonalData:
        """What is kept about a customer, kind after kind; `after` is the `next_after` of the page before."""
        ...

    @refuses("privacy.open_business")
    def begin_erasure(self, person: Person, *, key: str) -> None:
        """Begin nothing new for a customer: from then on what would is refused with `privacy.leaving`. Refused itself
        while something is not over (details.open: what, in words)."""
        ...

    def cancel_erasure(self, person: Person, *, key: str) -> None:
        """The customer stays after all."""
        ...

    def erase(self, person: Person, *, key: str) -> Erased:
        """Forget a customer: remove what nobody has to keep, and take the person out of the rest. For ever."""
        ...
