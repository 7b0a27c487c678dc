"""What customers may ask of the whole house, as tables: an export of what is kept about them, and its erasure.

Who takes part is whose contract promises it; so a service that begins to keep something about customers changes the
steps, which are then those of the next version.
"""

from typing import Any, cast

from sqlalchemy.orm import Session

from chassis import saga_store
from chassis.privacy_types import Person
from chassis.saga import Run, Saga, Step
from chassis.types import Message
from contracts.catalogue import CONTRACTS
from contracts.privacy import PrivacyApi
from contracts.users import UsersApi
from services.users import requests

DEADLINE_S = 900.0
"""So long a customer may be kept from beginning anything before it is known whether they can leave."""

PARTICIPANTS = {
    name: cast(type[PrivacyApi], contract) for name, contract in CONTRACTS.items() if PrivacyApi in contract.__mro__
}
OTHERS = {name: contract for name, contract in PARTICIPANTS.items() if name != "users"}


class About(Message):
    request_id: str
    person: Person


# --- ends


def ready(session: Session, run: Run[About]) -> None:
    requests.end(session, run.key, requests.READY)


def erased(session: Session, run: Run[About]) -> None:
    """With its sagas at once, this one too: whatever of it is repeated or late changes nothing any more."""
    requests.end(session, run.key, requests.ERASED)
    requests.forget_customer(session, run.data.person.customer_id, but=run.key)


def refused(session: Session, run: Run[About]) -> None:
    """With what each service said, not only the first."""
    lines = saga_store.log_of(session, [run.id])[run.id]
    said = [line.detail.partition(": ")[2] for line in lines if line.operation != "undo" and line.outcome == "refused"]
    requests.end(session, run.key, requests.REFUSED, said)


def nothing(session: Session, run: Run[Any]) -> None:
    """An export does not turn round."""


# --- steps


def _person(about: About) -> dict[str, Any]:
    return dict(person=about.person)


def _collect(service: str) -> Step[About]:
    return Step(
        f"collect_{service}",
        UsersApi.collect,
        lambda about: dict(request_id=about.request_id, service=service, person=about.person),
    )


def _begin(service: str) -> Step[About]:
    contract = PARTICIPANTS[service]
    return Step(f"begin_{service}", contract.begin_erasure, _person, undo=contract.cancel_erasure)


def _erase(service: str) -> Step[About]:
    return Step(f"erase_{service}", PARTICIPANTS[service].erase, _person)


EXPORT = (
    Saga("export", version=1, data=About, deadline_s=DEADLINE_S)
    .retriable(*map(_collect, PARTICIPANTS))
    .finish(ready, otherwise=nothing)
)

ERASE = (
    Saga("erase", version=1, data=About, deadline_s=DEADLINE_S)
    .stage(*map(_begin, PARTICIPANTS))
    .retriable(*map(_erase, OTHERS))
    .retriable(_erase("users"))
    .finish(erased, otherwise=refused)
)

BEGINS = {requests.EXPORT: EXPORT, requests.ERASURE: ERASE}
