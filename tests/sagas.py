"""A saga engine without a broker: its calls go to a script, and tests see every message and every commit."""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

import eventlet

from chassis.db import Sessions
from chassis.errors import Failure, OutcomeUnknown, ServiceError
from chassis.saga import Saga, Step
from chassis.saga_engine import Sagas
from chassis.types import Message, api, refuses


class Trip(Message):
    place: str


@api("agency")
class AgencyApi(Protocol):
    @refuses("agency.full")
    def book_hotel(self, place: str, *, key: str) -> str: ...
    def cancel_hotel(self, place: str, *, key: str) -> None: ...
    @refuses("agency.full")
    def book_car(self, place: str, *, key: str) -> str: ...
    def cancel_car(self, place: str, *, key: str) -> None: ...
    @refuses("agency.full")
    def book_flight(self, place: str, *, key: str) -> str: ...
    def cancel_flight(self, place: str, *, key: str) -> None: ...
    @refuses("agency.no_money")
    def pay(self, place: str, *, key: str) -> str: ...
    @refuses("agency.closed")
    def send_tickets(self, place: str, *, key: str) -> str: ...


def arguments(trip: Trip) -> dict[str, Any]:
    return dict(place=trip.place)


def trip_saga(deadline_s: float = 60, **hooks: Callable[..., None]) -> Saga[Trip]:
    """hotel and car at once, then the flight, then the payment as pivot, then the tickets."""

    def nothing(session: Any, run: Any) -> None: ...

    return (
        Saga("trip", version=1, data=Trip, deadline_s=deadline_s)
        .stage(
            Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel),
            Step("car", AgencyApi.book_car, arguments, undo=AgencyApi.cancel_car),
        )
        .stage(Step("flight", AgencyApi.book_flight, arguments, undo=AgencyApi.cancel_flight))
        .pivot(Step("pay", AgencyApi.pay, arguments))
        .retriable(Step("tickets", AgencyApi.send_tickets, arguments))
        .finish(
            hooks.get("completed", nothing),
            otherwise=hooks.get("otherwise", nothing),
            compensating=hooks.get("compensating", nothing),
        )
    )


REFUSED = ServiceError("agency.full", "All booked.")
UNKNOWN = OutcomeUnknown("agency", "it did not answer in time")


class Agency:
    """Answers calls as scripted: a list of answers for each method, the last of which is kept up. Default: "ok"."""

    def __init__(self, **script: Any) -> None:
        self.script = {name: list(answers) for name, answers in script.items()}
        self.calls: list[str] = []
        self.places: list[tuple[str, str]] = []
        self.keys: dict[str, set[str]] = {}

    def send(self, service: str, method: str, args: Any, kwargs: dict[str, Any], **options: Any) -> Any:
        self.calls.append(method)
        self.places.append((method, kwargs["place"]))
        self.keys.setdefault(method, set()).add(kwargs["key"])
        answers = self.script.get(method, ["ok"])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer()

        def result() -> Any:
            if isinstance(answer, Failure):
                raise answer
            return answer

        return SimpleNamespace(result=result)


def engine(sessions: Sessions, agency: Agency, saga: Saga[Any], *more: Saga[Any], **config: Any) -> Sagas:
    """An instance of the engine on a database; several of them may share one."""
    settings = {"saga_backoff_ms": 1, "saga_backoff_max_ms": 5, "saga_poll_ms": 10, **config}
    database = SimpleNamespace(sessions=sessions)
    made = Sagas(saga, *more)
    made.container = SimpleNamespace(
        config=settings,
        service_name="travel",
        dependencies=[database],
        spawn_managed_thread=lambda fn, identifier: eventlet.spawn(fn),
    )
    made.client = agency
    made._owner = uuid.uuid4().hex
    made.setup()
    made.sessions = sessions
    made.prepare()
    return made


def begin(sagas: Sagas, saga: Saga[Any], key: str = "trip-1") -> str:
    """Start a saga and drive it in this green thread, until it ended or was let go."""
    with sagas.sessions.write() as session:
        saga_id = sagas.start_saga(session, saga, key, Trip(place="Rome"))
        (held,) = session.info.pop("sagas")
    sagas._drive(held)
    return saga_id


def go_on(sagas: Sagas, rounds: int = 200) -> None:
    """Poll and drive what is due, until nothing is left to do or `rounds` are over."""
    for _ in range(rounds):
        sagas._claim_due()
        sagas.pool.waitall()
        eventlet.sleep(0.002)
