"""The adapters of payments and shipping against the sandboxes' real processes, and the sandboxes' own manners."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.outside import OutsideClient, verify_signature
from chassis.types import Money
from contracts.common import Address
from services.payments.adapters import AcquirerClient
from services.shipping.adapters import CarrierClient
from tests.sandboxes import ROOT, Sandbox, receiving_hooks, running_acquirer, running_carrier, wait_until

TWENTY = Money(amount=2000, currency="EUR")
BERLIN = Address(name="Ada", line1="Street 1", city="Berlin", postal_code="10115", country="DE")
NOWHERE = Address(name="Ada", line1="Street 1", city="Nowhere", postal_code="1", country="XX")


@pytest.fixture(scope="module")
def acquirer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_acquirer(tmp_path_factory.mktemp("acquirer")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_carrier(tmp_path_factory.mktemp("carrier")) as sandbox:
        yield sandbox


def payments(sandbox: Sandbox, timeout_s: float = 5.0) -> AcquirerClient:
    return AcquirerClient(OutsideClient("acquirer", sandbox.url, timeout_s))


def shipping(sandbox: Sandbox) -> CarrierClient:
    return CarrierClient(OutsideClient("carrier", sandbox.url, 5.0))


def movements(sandbox: Sandbox, key: str) -> list[str]:
    """What truly happened under keys that begin so, read from the acquirer's own file."""
    with sqlite3.connect(sandbox.db) as db:
        rows = db.execute("SELECT kind FROM movements WHERE key LIKE ? ORDER BY id", (key + "%",)).fetchall()
    db.close()
    return [kind for (kind,) in rows]


def refusal(error: pytest.ExceptionInfo[ServiceError]) -> tuple[str, str]:
    return error.value.code, error.value.details["reason"]


def test_payments_authorizes_captures_and_refunds(acquirer: Sandbox) -> None:
    client = payments(acquirer)
    held = client.authorize("p1:a", TWENTY, "tok_visa", "order-1")
    taken = client.capture("p1:c", "p1:a", TWENTY)
    back = client.refund("p1:r", "p1:a", Money(amount=500, currency="EUR"))
    assert [m.status for m in (held, taken, back)] == ["authorized", "captured", "refunded"]
    assert held.payment == taken.payment == back.payment
    with pytest.raises(ServiceError) as error:
        client.refund("p1:r2", "p1:a", Money(amount=1501, currency="EUR"))
    assert refusal(error) == ("payments.refund_exceeds_capture", "refund_exceeds_capture")
    found = client.status("p1:a")
    assert found is not None
    assert (found.captured, found.refunded, found.payment) == (2000, 500, held.payment)
    assert movements(acquirer, "p1:") == ["authorize", "capture", "refund"]
    lines = [line for line in client.statement(limit=1000).items if line.reference == "order-1"]
    assert [(line.kind, line.authorization_key, line.amount) for line in lines] == [
        ("authorize", "p1:a", 2000),
        ("capture", "p1:a", 2000),
        ("refund", "p1:a", 500),
    ]


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_declined", ("payments.declined", "declined")),
        ("tok_insufficient_funds", ("payments.declined", "insufficient_funds")),
        ("tok_nobody", ("payments.unknown_token", "unknown_token")),
    ],
)
def test_a_bad_card_is_a_refusal_with_its_reason(acquirer: Sandbox, token: str, code: tuple[str, str]) -> None:
    with pytest.raises(ServiceError) as error:
        payments(acquirer).authorize(f"bad:{token}", TWENTY, token, "o")
    assert refusal(error) == code
    assert movements(acquirer, f"bad:{token}") == []


def test_a_card_that_fails_at_capture_is_refused_then_and_voided(acquirer: Sandbox) -> None:
    client = payments(acquirer)
    client.authorize("cf:a", TWENTY, "tok_capture_fails", "o")
    with pytest.raises(ServiceError) as error:
        client.capture("cf:c", "cf:a", TWENTY)
    assert refusal(error) == ("payments.capture_refused", "capture_refused")
    client.void("cf:a")
    client.void("cf:a")
    assert movements(acquirer, "cf:") == ["authorize", "void"]


def test_a_lost_reply_is_an_unknown_outcome_that_the_same_key_resolves_without_paying_twice(acquirer: Sandbox) -> None:
    client = payments(acquirer)
    for done, ask in (
        ("authorized", lambda: client.authorize("lr:a", TWENTY, "tok_lost_reply", "o")),
        ("captured", lambda: client.capture("lr:c", "lr:a", TWENTY)),
    ):
        with pytest.raises(OutcomeUnknown) as error:
            ask()
        assert not isinstance(error.value, Unavailable)
        assert ask().status == ask().status == done
    assert movements(acquirer, "lr:") == ["authorize", "capture"]


def test_a_slow_card_times_out_here_though_it_is_done_there(acquirer: Sandbox) -> None:
    with pytest.raises(OutcomeUnknown):
        payments(acquirer, timeout_s=0.3).authorize("slow:a", TWENTY, "tok_slow", "o")
    assert movements(acquirer, "slow:") == ["authorize"]
    assert payments(acquirer, timeout_s=1.0).authorize("slow:a", TWENTY, "tok_slow", "o").status == "authorized"


def test_a_void_that_comes_first_keeps_the_late_authorization_from_happening(acquirer: Sandbox) -> None:
    client = payments(acquirer)
    assert client.status("late:a") is None
    client.void("late:a")
    with pytest.raises(ServiceError) as error:
        client.authorize("late:a", TWENTY, "tok_visa", "o")
    assert refusal(error) == ("payments.voided", "voided")
    found = client.status("late:a")
    assert found is not None
    assert found.status == "voided"
    assert movements(acquirer, "late:") == []


def test_shipping_quotes_books_moves_and_can_no_longer_cancel(carrier: Sandbox) -> None:
    client = shipping(carrier)
    quoted = client.quote(BERLIN, items=2)
    assert quoted.price == Money(amount=540, currency="EUR")
    booked = client.book("b1", BERLIN, "order-1", quote_id=quoted.quote_id)
    assert client.book("b1", BERLIN, "order-1", quote_id=quoted.quote_id) == booked == client.status("b1")
    assert booked.tracking is not None
    assert client.advance(booked.tracking, key="adv").status == client.advance(booked.tracking, key="adv").status
    with pytest.raises(ServiceError) as error:
        client.cancel("b1")
    assert refusal(error) == ("shipping.handed_over", "handed_over")
    assert client.parcel(booked.tracking).status == "handed_over"
    assert [b.tracking for b in client.bookings().items if b.key == "b1"] == [booked.tracking]


def test_shipping_names_the_carriers_refusals(carrier: Sandbox) -> None:
    client = shipping(carrier)
    client.cancel("b2")
    for code, ask in (
        ("shipping.not_serviceable", lambda: client.quote(NOWHERE, 1)),
        ("shipping.not_serviceable", lambda: client.book("b3", NOWHERE, "o")),
        ("shipping.cancelled", lambda: client.book("b2", BERLIN, "o")),
        ("shipping.not_found", lambda: client.parcel("RT0")),
        ("shipping.not_found", lambda: client.advance("RT0")),
    ):
        with pytest.raises(ServiceError) as error:
            ask()
        assert error.value.code == code
    assert client.status("b4") is None


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with running_acquirer(tmp_path) as sandbox:
        first = payments(sandbox).authorize("k:a", TWENTY, "tok_visa", "o")
        sandbox.process.send_signal(signal.SIGKILL)
        sandbox.process.wait(5)
        with pytest.raises(Unavailable):
            payments(sandbox).authorize("k:a", TWENTY, "tok_visa", "o")
    with running_acquirer(tmp_path) as sandbox:
        assert payments(sandbox).authorize("k:a", TWENTY, "tok_visa", "o") == first
        assert movements(sandbox, "k:") == ["authorize"]


def test_every_movement_is_told_by_a_signed_hook_in_order(tmp_path: Path) -> None:
    with receiving_hooks() as hooks, running_acquirer(tmp_path, hooks) as sandbox:
        client = payments(sandbox)
        client.authorize("h:a", TWENTY, "tok_visa", "order-1")
        taken = client.capture("h:c", "h:a", TWENTY)
        client.refund("h:r", "h:a", TWENTY)
        wait_until(lambda: len(hooks.received) == 3)
        events = [hook.json for hook in hooks.received]
        assert [e["type"] for e in events] == ["payment.authorized", "payment.captured", "payment.refunded"]
        data = events[1]["data"]
        assert (data["authorization_key"], data["key"], data["id"], data["amount"]) == (
            "h:a",
            "h:c",
            taken.payment,
            2000,
        )
        for hook in hooks.received:
            assert verify_signature(hooks.secret, hook.signature, hook.body, time.time())


def test_hooks_that_nobody_takes_are_sent_after_a_restart_in_order_and_under_their_first_ids(tmp_path: Path) -> None:
    with receiving_hooks() as hooks:
        hooks.status = 503
        with running_carrier(tmp_path, hooks) as sandbox:
            tracking = shipping(sandbox).book("hr", BERLIN, "o").tracking
            assert tracking is not None
            for _ in range(3):
                shipping(sandbox).advance(tracking)
            wait_until(lambda: len(hooks.received) >= 2)
        refused = {hook.json["id"] for hook in hooks.received}
        assert [hook.json["data"]["sequence"] for hook in hooks.received] == [2] * len(hooks.received)
        hooks.received.clear()
        hooks.status = 204
        with running_carrier(tmp_path, hooks):
            wait_until(lambda: len(hooks.received) == 3)
        events = [hook.json for hook in hooks.received]
        assert [(e["type"], e["data"]["status"], e["data"]["sequence"]) for e in events] == [
            ("parcel.moved", "handed_over", 2),
            ("parcel.moved", "in_transit", 3),
            ("parcel.moved", "delivered", 4),
        ]
        assert {events[0]["id"]} == refused


def test_parcels_move_by_themselves_when_the_carrier_is_told_to(tmp_path: Path) -> None:
    with receiving_hooks() as hooks, running_carrier(tmp_path, hooks, auto_s=0.1) as sandbox:
        shipping(sandbox).book("auto", BERLIN, "o")
        wait_until(lambda: len(hooks.received) == 3)
        assert [hook.json["data"]["status"] for hook in hooks.received] == ["handed_over", "in_transit", "delivered"]


@pytest.mark.parametrize("name", ["acquirer", "carrier"])
def test_a_taken_port_is_one_line_and_sigterm_ends_it_at_once(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", f"sandbox.{name}", "--db", str(tmp_path / "x.db"), "--port"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([*argv, str(port)], cwd=ROOT, check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{name}: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    running = running_acquirer(tmp_path) if name == "acquirer" else running_carrier(tmp_path)
    with running as sandbox:
        OutsideClient(name, sandbox.url, 2).call("GET", "/health")
        started = time.monotonic()
        sandbox.process.terminate()
        assert sandbox.process.wait(5) == 0
        assert time.monotonic() - started < 1.0


def test_hooks_without_a_secret_are_refused_at_start(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "sandbox.carrier", "--db", str(tmp_path / "x.db"), "--port", "0"]
    done = subprocess.run(
        [*argv, "--hook-url", "http://127.0.0.1:9/"],
        check=False,
        cwd=ROOT,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (1, "carrier: --hook-url needs --hook-secret\n")
