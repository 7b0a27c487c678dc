"""support on a database, with an assistant that says what a test wants and services that answer what it wants."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import eventlet
import msgspec
from nameko.testing.services import worker_factory

from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import Failure
from chassis.types import Caller, Money
from contracts.support import Change, Who
from services.support import service as module
from services.support.domain import SupportSettings
from services.support.hours import Desk as Hours
from services.support.hours import Promise
from services.support.service import SupportService
from services.support.turns import Answer, Proposal, Turn

ALWAYS = Hours(zone="UTC", days=(1, 2, 3, 4, 5, 6, 7), opens="00:00", closes="23:59", country="")
SETTINGS = SupportSettings(
    support_action_valid_s=900,
    support_action_attempts=3,
    support_idle_s=86_400,
    support_pending_s=432_000,
    support_reopen_s=604_800,
    support_claim_s=900,
    support_desk_every_s=10,
    support_four_eyes_over_minor={"EUR": 20_000, "JPY": 30_000},
    support_desk=ALWAYS,
    support_promises={
        "low": Promise(first_s=20_000, solve_s=80_000),
        "normal": Promise(first_s=10_000, solve_s=40_000),
        "high": Promise(first_s=5_000, solve_s=20_000),
        "urgent": Promise(first_s=1_000, solve_s=5_000),
    },
    support_foresee_s=1_800,
)
ADA, BEN = Who(customer_id="ada"), Who(customer_id="ben")
ORDER = "e10732d2edd840649ae49ec73dfb6773"


def proposal(kind: str = "cancel", order_id: str | None = ORDER, **wish: Any) -> Proposal:
    """An action to offer."""
    return Proposal(
        kind=kind,
        order_id=order_id,
        wish=wish or dict(reason="changed my mind"),
        summary=f"Do {kind}.",
        changes=[Change(what="status", before="confirmed", after=kind)],
        amount=Money(amount=1999, currency="EUR"),
    )


class Scripted:
    """An assistant: `says` has what it answers next, each once, then a default. `heard` are the turns."""

    def __init__(self) -> None:
        self.says: list[Answer | Exception] = []
        self.heard: list[Turn] = []
        self.meanwhile: Callable[[], Any] | None = None
        self.ports: Any = None

    def will(self, text: str = "Well.", **more: Any) -> None:
        known: dict[str, Any] = dict(intent="greeting", confidence=0.9, memory={})
        self.says.append(Answer(text=text, **{**known, **more}))

    def __call__(self, ports: Any, answers: Any) -> "Scripted":
        self.ports = ports
        return self

    def respond(self, turn: Turn) -> Answer:
        self.heard.append(turn)
        if self.meanwhile is not None:
            self.meanwhile()
        said = self.says.pop(0) if self.says else Answer(text="Well.", intent="greeting", confidence=0.9, memory={})
        if isinstance(said, Exception):
            raise said
        return said


class FakeService:
    """Another service: `answers` by method, each a value, an exception, or a function of the arguments."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.calls = answers, []
        self.callers: list[Caller] = []  # of the calls, where they were made as somebody
        self.caller: Caller | None = None

    def tuned(self, caller: Caller | None = None, timeout_s: float | None = None) -> "FakeService":
        one = FakeService()
        one.__dict__.update(self.__dict__)
        one.caller = caller
        return one

    def __getattr__(self, method: str) -> "FakeMethod":
        return FakeMethod(self, method)


class FakeMethod:
    """Called at once, or sent now and waited for later."""

    def __init__(self, service: FakeService, name: str) -> None:
        self.service, self.name = service, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.service.calls.append((self.name, args, kwargs))
        if self.service.caller is not None:
            self.service.callers.append(self.service.caller)
        answer = self.service.answers[self.name]
        answer = answer(*args, **kwargs) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Sent":
        return Sent(args, kwargs)

    def result_of(self, sent: "Sent") -> Any:
        return self(*sent.args, **sent.kwargs)


class Sent(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    give_up_at: float = 0.0


class Desk:
    """SupportService with its fakes, as an operator at the broker, or as a caller."""

    def __init__(self, database: WorkerDatabase, monkeypatch: Any) -> None:
        self.database, self.assistant = database, Scripted()
        self.orders, self.accounts, self.notifications = FakeService(), FakeService(), FakeService()
        self.users, self.transactions, self.risk = FakeService(), FakeService(), FakeService()
        monkeypatch.setattr(module, "Assistant", self.assistant)
        self.service = self.on(database)

    def on(self, database: WorkerDatabase, caller: Caller | None = None, **settings: Any) -> SupportService:
        return worker_factory(
            SupportService,
            db=database,
            call=Call(trace_id="t", caller=caller),
            settings=msgspec.structs.replace(SETTINGS, **settings),
            model=None,
            orders=self.orders,
            accounts=self.accounts,
            notifications=self.notifications,
            users=self.users,
            transactions=self.transactions,
            risk=self.risk,
        )

    def as_customer(self, customer_id: str | None) -> SupportService:
        roles = ("customer",) if customer_id else ()
        return self.on(self.database, Caller(customer_id=customer_id, roles=roles))

    def as_staff(self, staff_id: str) -> SupportService:
        return self.on(self.database, Caller(customer_id=staff_id, roles=("customer", "staff")))

    def at_once(self, *jobs: Callable[[SupportService], Any]) -> list[Any]:
        """Run jobs in green threads, each with a session of its own; answers results and exceptions, in order."""

        def run(job: Callable[[SupportService], Any]) -> Any:
            own = WorkerDatabase(self.database.Session)
            try:
                return job(self.on(own))
            except Failure as exc:
                return exc
            finally:
                own.close()

        threads = [eventlet.spawn(run, job) for job in jobs]
        return [thread.wait() for thread in threads]

    def begin(self, who: Who = ADA, message: str = "Hello there", **more: Any) -> Any:
        return self.service.begin(who, message, key=uuid.uuid4().hex, **more)

    def say(self, conversation: Any, text: str = "And now?", who: Who = ADA) -> Any:
        return self.service.say(who, conversation.id, text, key=uuid.uuid4().hex)

    def offered(self, *proposals: Proposal, message: str = "Please cancel my order") -> tuple[Any, Any]:
        """A conversation of Ada's in which something is offered, and the first action."""
        self.assistant.will("Shall I?", intent="do_cancel", proposals=list(proposals) or [proposal()], topic="orders")
        conversation = self.begin(message=message)
        return conversation, conversation.messages[-1].actions[0]

    def shown(self, conversation: Any, who: Who = ADA) -> Any:
        return self.service.get(who, conversation.id)

    def action(self, conversation: Any, action_id: str) -> Any:
        return next(
            each for message in self.shown(conversation).messages for each in message.actions if each.id == action_id
        )

    def told(self, conversation: Any) -> list[tuple[str, str]]:
        """Sender and text of each message."""
        return [(each.sender, each.text) for each in self.shown(conversation).messages]


def fact(kind: Any, /, **values: Any) -> Any:
    """An event about Ada's order, of now."""
    known = dict(
        event_id=uuid.uuid4().hex,
        occurred_at=datetime.now(UTC),
        aggregate_id=ORDER,
        sequence=1,
        order_id=ORDER,
        customer_id="ada",
        email="ada@rialto.example",
        name="Ada",
    )
    return kind(**{**{name: known[name] for name in known if name in kind.__struct_fields__}, **values})
