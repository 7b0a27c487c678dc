"""Operators at work: sagas of the real shop that are truly stuck, dead letters, and `make ops` over HTTP."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
import httpx
import pytest
from nameko.containers import ServiceContainer
from nameko.testing.utils import find_free_port

from chassis import events
from chassis.errors import OutcomeUnknown, ServiceError
from contracts.orders import OrderConfirmed
from gateway import GatewayService
from scripts import ops
from services.notifications.service import NotificationsService
from services.payments.adapters import AcquirerClient
from services.shipping.adapters import CarrierClient
from tests.sandboxes import wait_until
from tests.shop import Shop, running_companies, running_shop

LAMP = "LAMP-1"
WHY = "--reason=ticket 4711"


class Terminal:
    """`make ops` in this process: its exit code, what it printed, and what it said of a failure."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *args: str) -> tuple[int, str]:
        self.capsys.readouterr()
        code = ops.main(args)
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def ask(self, *args: str) -> Any:
        code, text = self("--json", *args)
        assert code == 0, text
        return json.loads(text)


@pytest.fixture
def shop(
    migrated_config: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch, request: Any
) -> Iterator[Shop]:
    port = find_free_port()
    migrated_config["WEB_SERVER_ADDRESS"] = f"127.0.0.1:{port}"
    monkeypatch.setenv("RIALTO_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OPERATOR_PASSWORD", "operator-password")
    monkeypatch.setenv("OPERATOR_EMAIL", "operator@rialto.example")
    stuck_soon = dict(saga_attention_after_ms=1, saga_attention_attempts=2, saga_step_attempts=3)
    stuck_soon.update(getattr(request, "param", {}))
    with (
        running_companies(tmp_path) as companies,
        running_shop(migrated_config, *companies, **stuck_soon) as running,
    ):
        gateway = ServiceContainer(GatewayService, migrated_config)
        gateway.start()
        running.sell(LAMP, 1999, stock=10)
        yield running
        gateway.stop()


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, of: type, name: str, fail: Callable[..., Any]) -> Iterator[None]:
    """Within the block `fail(real, self, ...)` stands in for a method."""
    real = getattr(of, name)
    with monkeypatch.context() as patched:
        patched.setattr(of, name, lambda self, *args, **kwargs: fail(real, self, *args, **kwargs))
        yield


def refuse_booking(real: Any, *args: Any, **kwargs: Any) -> Any:
    raise ServiceError("shipping.not_serviceable", "We do not go there.")


def lose_answer(real: Any, *args: Any, **kwargs: Any) -> Any:
    real(*args, **kwargs)
    raise OutcomeUnknown("acquirer", "its answer was lost")


def capture_before_us(real: Any, self: Any, key: str, authorization_key: str, amount: Any) -> Any:
    real(self, f"not-ours-{key}"[:190], authorization_key, amount)
    return real(self, key, authorization_key, amount)


def stuck(terminal: Terminal, order_id: str) -> Any:
    """The order's saga, once it needs attention."""

    def look() -> Any:
        (found,) = terminal.ask("sagas", "--text", order_id)["items"]
        return found if found["attention"] else None

    return wait_until(look, 30)


def refused(terminal: Terminal, *args: str) -> str:
    """The sentence with which an action is refused; the saga has to be as it was."""
    before = unchanging(terminal.ask("show", args[1]))
    code, text = terminal(*args, WHY)
    assert code == ops.REFUSED, text
    assert unchanging(terminal.ask("show", args[1])) == before
    return text


def unchanging(saga: Any) -> Any:
    """What the engine's own attempts do not change."""
    outcomes = {step["name"]: (step["outcome"], step["undo_outcome"]) for step in saga["steps"]}
    acted = [line for line in saga["timeline"] if line["operation"] == "operator"]
    return saga["status"], saga["phase"], saga["paused_at"], outcomes, acted


# --- a carrier that refuses


def test_a_step_that_stays_refused_is_skipped_and_the_order_goes_on_without_it(shop, terminal, monkeypatch):
    with failing(monkeypatch, CarrierClient, "book", refuse_booking):
        order_id = shop.place(shop.customer((LAMP, 1)))["id"]
        saga = stuck(terminal, order_id)
        assert saga["attention"] == "refused for long: book_shipment"
        code, text = terminal("show", saga["id"], "--io")
        assert code == 0
        assert "✗  book_shipment" in text
        assert "shipping.not_serviceable: We do not go there." in text
        assert "you may: retry, pause, skip-step, resolve" in text
        assert "tok_visa" not in text
        assert "@rialto.example" in text
        assert "past its point of no return" in refused(terminal, "force-compensate", saga["id"])
        assert "a pivot is never skipped" in refused(terminal, "skip-step", saga["id"], "capture_payment")
        assert "before the point of no return" in refused(terminal, "skip-step", saga["id"], "reserve_stock")
        code, text = terminal("skip-step", saga["id"], "book_shipment", WHY)
        assert (code, text.startswith(f"done: skip-step of {saga['id']}")) == (0, True), text
        order = shop.ended(order_id)
    assert (order["status"], order["payment"]["status"], order["shipment"]["status"]) == (
        "confirmed",
        "captured",
        "none",
    )
    ended = terminal.ask("show", saga["id"])
    (line,) = [line for line in ended["timeline"] if line["operation"] == "operator"]
    operator = shop.rpc.users.log_in("operator@rialto.example", "operator-password")["user"]
    assert (line["step"], line["outcome"], line["author"], line["detail"]) == (
        "book_shipment",
        "skip-step",
        operator["id"],
        "ticket 4711",
    )
    assert shop.stock(LAMP) == (9, 0, 1)


def test_a_refused_step_is_tried_again_at_once_when_the_carrier_is_back(shop, terminal, monkeypatch):
    with failing(monkeypatch, CarrierClient, "book", refuse_booking):
        order_id = shop.place(shop.customer((LAMP, 1)))["id"]
        saga = stuck(terminal, order_id)
        assert terminal("pause", saga["id"], WHY)[0] == 0
    code, text = terminal("sagas", "--stuck")
    assert (code, saga["id"] in text, "paused for" in text) == (0, True, True), text
    assert "It is paused: resume it" in refused(terminal, "retry", saga["id"])
    assert shop.rpc.orders.get(order_id)["status"] == "pending"
    assert terminal("resume", saga["id"], WHY)[0] == 0
    order = shop.ended(order_id)
    assert (order["status"], order["shipment"]["status"]) == ("confirmed", "booked")
    assert terminal("sagas", "--stuck")[1] == "No saga is like that.\n"


def test_a_step_that_was_settled_by_hand_is_resolved(shop, terminal, monkeypatch):
    with failing(monkeypatch, CarrierClient, "book", refuse_booking):
        order_id = shop.place(shop.customer((LAMP, 1)))["id"]
        saga = stuck(terminal, order_id)
        assert terminal("resolve", saga["id"], WHY)[0] == 0
        order = shop.ended(order_id)
    assert order["status"] == "confirmed"
    states = {step["name"]: step["outcome"] for step in terminal.ask("show", saga["id"])["steps"]}
    assert states["book_shipment"] == "resolved"


# --- an acquirer whose answers get lost


def test_with_the_pivot_in_doubt_nothing_is_skipped_or_undone_and_the_money_is_taken_once(shop, terminal, monkeypatch):
    with failing(monkeypatch, AcquirerClient, "capture", lose_answer):
        order_id = shop.place(shop.customer((LAMP, 1)))["id"]
        saga = stuck(terminal, order_id)
        assert (saga["phase"], saga["attention"]) == ("in_doubt", "no answer after many attempts: capture_payment")
        for action in (("skip-step", "book_shipment"), ("skip-step", "capture_payment"), ("force-compensate",)):
            sentence = refused(terminal, action[0], saga["id"], *action[1:])
            assert "Its pivot capture_payment is in doubt" in sentence
        assert "Its pivot capture_payment is in doubt" in refused(terminal, "resolve", saga["id"])
        assert terminal("pause", saga["id"], WHY)[0] == 0
        assert terminal("resume", saga["id"], WHY)[0] == 0
        assert shop.stock(LAMP) == (9, 1, 0)
    assert terminal("retry", saga["id"], WHY)[0] in (0, ops.REFUSED)  # it may have ended by itself
    assert shop.ended(order_id)["status"] == "confirmed"
    assert [kind for kind, _ in shop.movements()] == ["authorize", "capture"]


# --- a payment that cannot be given back


def test_an_undo_that_is_refused_for_good_is_settled_by_hand_and_resolved(shop, terminal, monkeypatch):
    with failing(monkeypatch, AcquirerClient, "capture", capture_before_us):
        order_id = shop.place(shop.customer((LAMP, 1)))["id"]
        saga = stuck(terminal, order_id)
    assert (saga["phase"], saga["attention"]) == ("compensating", "cannot be undone yet: authorize_payment")
    assert "payments.captured" in terminal("show", saga["id"])[1]
    assert "It compensates already." in refused(terminal, "force-compensate", saga["id"])
    assert "an undo is never skipped" in refused(terminal, "skip-step", saga["id"], "book_shipment")
    assert "reserve_stock does not need attention" in refused(terminal, "resolve", saga["id"], "--step=reserve_stock")
    assert shop.stock(LAMP) == (10, 0, 0)  # what could be given back was
    assert terminal("resolve", saga["id"], "--step=authorize_payment", WHY)[0] == 0
    assert shop.ended(order_id)["status"] == "rejected"


# --- before the point of no return


@pytest.mark.parametrize("shop", [dict(saga_step_attempts=100)], indirect=True)
def test_an_order_whose_payment_gets_no_answer_is_paused_and_turned_round(shop, terminal, monkeypatch):
    never = eventlet.event.Event()
    monkeypatch.setattr(AcquirerClient, "authorize", lambda *args, **kwargs: never.wait())
    order_id = shop.place(shop.customer((LAMP, 1)))["id"]
    wait_until(lambda: shop.stock(LAMP) == (9, 1, 0))
    (saga,) = terminal.ask("sagas", "--text", order_id)["items"]
    wait_until(lambda: terminal("pause", saga["id"], WHY)[0] == ops.DONE)  # it may go on between the look and the act
    assert terminal("force-compensate", saga["id"], WHY)[0] == ops.DONE
    assert shop.rpc.orders.get(order_id)["status"] == "rejecting"
    assert shop.stock(LAMP) == (9, 1, 0)  # it is paused
    assert terminal("resume", saga["id"], WHY)[0] == ops.DONE
    order = shop.ended(order_id)
    assert (order["status"], order["reason_code"], shop.stock(LAMP)) == ("rejected", "saga.operator", (10, 0, 0))
    acts = [line["outcome"] for line in terminal.ask("show", saga["id"])["timeline"] if line["author"]]
    assert acts == ["pause", "force-compensate", "resume"]


# --- dead letters


def test_a_dead_letter_is_replayed_when_its_handler_is_mended(shop, terminal, monkeypatch):
    monkeypatch.setattr(events, "RETRY_AFTER_MS", 50)

    def no_template(real: Any, self: Any, fact: Any) -> None:
        if isinstance(fact, OrderConfirmed):
            raise LookupError(f"no template for {fact.email}")
        real(self, fact)

    with failing(monkeypatch, NotificationsService, "_write", no_template):
        ada = shop.customer((LAMP, 1), email="ada@rialto.example")
        assert shop.ended(shop.place(ada)["id"])["status"] == "confirmed"
        letters = wait_until(lambda: terminal.ask("dead-letters", "--service=notifications")["items"], 30)
        (letter,) = letters
        assert (letter["handler"], letter["attempts"]) == ("on_order_confirmed", 8)
        assert (letter["error"], letter["payload"]["email"]) == (
            "LookupError: no template for a***@rialto.example",
            "a***@rialto.example",
        )
        name = ("notifications", str(letter["id"]))
        code, text = terminal("replay", *name, WHY)
        assert (code, "It failed again, 9 times in all, and is kept" in text) == (ops.REFUSED, True), text
        assert shop.mails(0) == {}
    assert terminal("replay", *name, WHY) == (0, f"done: letter {letter['id']} of notifications is replayed\n")
    assert shop.mails(1) == {"order_confirmed": 1}
    assert terminal.ask("dead-letters")["items"] == []
    assert terminal("replay", *name, WHY)[0] == 0  # a repeat changes nothing
    assert shop.mails(1) == {"order_confirmed": 1}
    code, text = terminal("drop", *name, WHY)
    assert (code, "It was replayed before" in text) == (ops.REFUSED, True), text


# --- who does not answer


def test_a_service_that_is_down_is_named_and_the_others_are_shown(shop, terminal, monkeypatch):
    order_id = shop.place(shop.customer((LAMP, 1)))["id"]
    shop.ended(order_id)
    shop.stop("notifications")
    page = wait_until(lambda: _missing(terminal, ["notifications"]), 10)
    assert page["items"] == []
    code, text = terminal("dead-letters")
    assert (code, "No answer from: notifications." in text) == (0, True), text
    shop.stop("orders")
    wait_until(lambda: "No answer from: orders." in terminal("sagas")[1], 10)
    shop.stop("transactions")
    wait_until(lambda: "No answer from: orders, transactions." in terminal("sagas")[1], 10)
    assert terminal("show", "x")[0] == ops.SILENT
    shop.stop("users")
    wait_until(lambda: terminal("sagas")[0] == ops.SILENT, 10)


def _missing(terminal: Terminal, names: list[str]) -> Any:
    page = terminal.ask("dead-letters")
    return page if page["missing"] == names else None


# --- the command line


def test_the_command_line_teaches_and_tells_what_went_wrong(shop, terminal, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        ops.main(["--help"])
    assert ended.value.code == 0
    assert "docs/runbook.md" in capsys.readouterr().out
    for wrong in (["pause", "x"], ["sagas", "--older-than", "soon"], []):
        with pytest.raises(SystemExit) as ended:
            ops.main(wrong)
        assert ended.value.code == ops.MISUSED
    code, text = terminal("show", "nothing")
    assert (code, text.startswith("There is no saga 'nothing' here. (sagas.not_found, trace ")) == (ops.REFUSED, True)
    code, text = terminal("retry", "nothing", "--reason=x")
    assert (code, "sagas.not_found" in text) == (ops.REFUSED, True)
    assert terminal("audit")[0] == 0
    monkeypatch.setenv("OPERATOR_PASSWORD", "a-wrong-password")
    code, text = terminal("audit")
    assert (code, "users.bad_credentials" in text) == (ops.REFUSED, True)
    monkeypatch.delenv("OPERATOR_PASSWORD")
    assert terminal("audit")[0] == ops.MISUSED
    monkeypatch.setenv("OPERATOR_PASSWORD", "x")
    monkeypatch.setenv("RIALTO_URL", f"http://127.0.0.1:{find_free_port()}")
    code, text = terminal("audit")
    assert (code, "Does the shop run?" in text) == (ops.SILENT, True)


def test_an_operator_who_insists_on_a_version_is_told_that_it_went_on(shop, terminal, monkeypatch):
    with failing(monkeypatch, CarrierClient, "book", refuse_booking):
        order_id = shop.place(shop.customer((LAMP, 1)))["id"]
        saga = stuck(terminal, order_id)
        assert terminal("pause", saga["id"], WHY)[0] == 0
        paused = terminal.ask("show", saga["id"])
        code, text = terminal("resume", saga["id"], WHY, f"--ver={paused['ver'] - 1}")
        assert (code, "The saga has changed since you looked" in text) == (ops.REFUSED, True), text
        assert terminal.ask("show", saga["id"])["ver"] == paused["ver"]
        assert terminal("resolve", saga["id"], WHY, f"--ver={paused['ver']}")[0] == 0


def test_customers_do_not_see_what_operators_did(shop, terminal, monkeypatch):
    with failing(monkeypatch, CarrierClient, "book", refuse_booking):
        ada = shop.customer((LAMP, 1), email="ada@rialto.example")
        order_id = shop.place(ada)["id"]
        saga = stuck(terminal, order_id)
        assert terminal("skip-step", saga["id"], "book_shipment", WHY)[0] == 0
        shop.ended(order_id)
    url = str(ops.where(None))
    with httpx.Client(base_url=url, timeout=20) as http:
        tokens = http.post("/v1/sessions", json={"email": "ada@rialto.example", "password": "a-long-password"}).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        timeline = http.get(f"/v1/orders/{order_id}", headers=headers).json()["timeline"]
        assert "4711" not in json.dumps(timeline)
        assert {"skip-step"} & {entry["outcome"] for entry in timeline} == set()
        assert http.get(f"/v1/sagas/{saga['id']}", headers=headers).status_code == 403
