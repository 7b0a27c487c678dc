"""What operators may ask of several services: parts of their contracts, which `@api` makes each service's own."""

from typing import Protocol

from chassis.operator_types import (
    Action,
    Age,
    DeadLetter,
    DeadLetterPage,
    Filter,
    LetterState,
    PageSize,
    Reason,
    Saga,
    SagaPage,
    SagaStatus,
    Version,
)
from chassis.types import refuses


class SagasApi(Protocol):
    """Of each service with sagas. The rules of the actions are one table: chassis/saga_rules.py."""

    @refuses("sagas.bad_cursor")
    def find_sagas(
        self,
        status: SagaStatus | None = None,
        name: Filter | None = None,
        stuck: bool | None = None,
        attention: bool | None = None,
        older_than_s: Age | None = None,
        text: Filter | None = None,
        limit: PageSize = 20,
        cursor: str | None = None,
    ) -> SagaPage:
        """Sagas of this service, newest first. Stuck is what goes nowhere until somebody acts.

        `text` is looked for in ids, keys, data and what is said of causes and attention.
        """
        ...

    @refuses("sagas.not_found")
    def get_saga(self, saga_id: str) -> Saga:
        """One saga with its steps, its timeline, and what may be done to it; secrets are masked."""
        ...

    @refuses("sagas.not_found", "sagas.stale", "sagas.not_allowed")
    def operate_saga(
        self, saga_id: str, action: Action, ver: Version, reason: Reason, step: Filter | None = None, *, key: str
    ) -> Saga:
        """Do one action to a saga that is still at version `ver`; it is logged with its author and the reason."""
        ...


class DeadLettersApi(Protocol):
    """Of each service that handles events."""

    @refuses("dead_letters.bad_cursor")
    def find_dead_letters(
        self,
        handler: Filter | None = None,
        state: LetterState = "dead",
        limit: PageSize = 20,
        cursor: str | None = None,
    ) -> DeadLetterPage:
        """Events of which a handler of this service had no success, newest first."""
        ...

    @refuses("dead_letters.not_found", "dead_letters.closed", "dead_letters.no_handler", "dead_letters.failed_again")
    def replay_dead_letter(self, letter_id: int, reason: Reason) -> DeadLetter:
        """Have the handler handle it now, once. If it fails again the letter stays, with one more attempt."""
        ...

    @refuses("dead_letters.not_found", "dead_letters.closed")
    def drop_dead_letter(self, letter_id: int, reason: Reason, *, key: str) -> DeadLetter:
        """Give it up: it is never handled."""
        ...
