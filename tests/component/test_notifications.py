"""notifications on a real database: one mail for each event, delivered once however often it is tried."""

import re
import socket
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from functools import partial

import eventlet
import msgspec
import pytest
from nameko.exceptions import ConfigurationError
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.services import worker_factory
from sqlalchemy import select

from chassis.context import Call
from chassis.db import WorkerDatabase, shift_clock
from chassis.errors import ServiceError
from chassis.leases import take_lease
from chassis.types import Caller, Money
from contracts.amendments import ReturnedLine, ReturnLine, SwapLine
from contracts.common import Address, OrderLine
from contracts.orders import (
    ExchangeSettled,
    OrderCancelled,
    OrderChanged,
    OrderConfirmed,
    OrderDisputed,
    OrderRejected,
    ReturnRequested,
    ReturnSettled,
)
from contracts.shipping import OrderDelivered, OrderShipped
from contracts.transactions import TransactionDisputed
from services.notifications.models import Mail
from services.notifications.service import LEASE, MailSettings, NotificationsService
from tests.shop import in_green_threads


def fact(kind, event_id="e1", **values):
    common = dict(event_id=event_id, occurred_at=datetime(2026, 3, 1, tzinfo=UTC), aggregate_id="o1", sequence=1)
    return kind(**common | dict(order_id="o1", email="anna@x.example", name="Anna") | values)


def euros(amount):
    return Money(amount=amount, currency="EUR")


LAMPS = OrderLine(
    sku="LAMP-1",
    name="Lamp <Oak>",
    options={"size": "L"},
    quantity=2,
    unit_price=euros(1999),
    line_total=euros(3998),
    tax=euros(638),
)


def confirmed(event_id="e1", **values):
    known = dict(customer_id="anna", total=euros(4488), lines=[LAMPS], tracking="TRK1")
    return fact(OrderConfirmed, event_id, **known | values)


def rejected(event_id="e1", **values):
    known = dict(customer_id="anna", reason="payments.declined", message="Your card was declined.")
    return fact(OrderRejected, event_id, **known | values)


def cancelled(**values):
    known = dict(customer_id="anna", reason="Ordered <twice>", refunded=euros(4488))
    return fact(OrderCancelled, **known | values)


def changed(**values):
    paris = Address(name="Grace", line1="Rue 1", city="Paris", postal_code="75001", country="FR")
    known = dict(customer_id="anna", lines=[LAMPS], total=euros(4488), shipping_address=paris)
    return fact(OrderChanged, **known | dict(charged=euros(0), refunded=euros(0)) | values)


def return_requested(**values):
    lines = [ReturnLine(sku="LAMP-1", quantity=2, reason="too <dark>")]
    known = dict(customer_id="anna", return_id="r1", lines=lines, expires_at=datetime(2026, 3, 7, tzinfo=UTC))
    return fact(ReturnRequested, **known | values)


def return_settled(**values):
    lines = [
        ReturnedLine(sku="LAMP-1", quantity=2, reason="too dark", accepted=True, refund=euros(3998)),
        ReturnedLine(sku="DESK-1", quantity=1, reason="too high", accepted=False, note="it is <scratched>"),
    ]
    known = dict(customer_id="anna", return_id="r1", lines=lines, refund=euros(4488), refund_to="original")
    return fact(ReturnSettled, **known | values)


def exchange_settled(**values):
    lines = [SwapLine(sku="LAMP-1", new_sku="LAMP-2", quantity=2)]
    known = dict(customer_id="anna", exchange_id="x1", lines=lines, difference=euros(0), tracking="TRK2")
    return fact(ExchangeSettled, **known | dict(expires_at=datetime(2026, 3, 7, tzinfo=UTC)) | values)


DISPUTE = dict(customer_id="anna", dispute_id="dp_1", amount=euros(700))


def disputed(status="opened"):
    return fact(OrderDisputed, status=status, **DISPUTE)


def deposit_disputed(status="opened"):
    told = disputed(status)
    about = {name: getattr(told, name) for name in TransactionDisputed.__struct_fields__ if hasattr(told, name)}
    return TransactionDisputed(**about, kind="deposit")


@pytest.fixture
def database(open_database):
    return open_database("notifications")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "var" / "mail"


@pytest.fixture
def notifications(database, folder):
    return service_of(database, mail_dir=str(folder))


def service_of(database, caller=None, **settings):
    known = MailSettings(**dict(mail_dir="unused", mail_from="shop@rialto.example") | settings)
    return worker_factory(NotificationsService, db=database, call=Call(trace_id="t", caller=caller), settings=known)


def handle(service, event):
    handler = {
        OrderConfirmed: service.on_order_confirmed,
        OrderRejected: service.on_order_rejected,
        OrderCancelled: service.on_order_cancelled,
        OrderChanged: service.on_order_changed,
        ReturnRequested: service.on_return_requested,
        ReturnSettled: service.on_return_settled,
        ExchangeSettled: service.on_exchange_settled,
        OrderShipped: service.on_order_shipped,
        OrderDelivered: service.on_order_delivered,
        OrderDisputed: service.on_order_disputed,
        TransactionDisputed: service.on_transaction_disputed,
    }[type(event)]
    handler(msgspec.to_builtins(event))


def text_of(database, column=Mail.text):
    with database.read() as session:
        return session.scalar(select(column))


def states(service):
    return [(mail.id, mail.status, mail.attempts) for mail in sorted(service.find(), key=lambda mail: mail.id)]


def in_folder(folder, name="new"):
    return sorted(path.name for path in (folder / name).iterdir())


# --- writing


def test_a_confirmation_tells_lines_shipping_total_and_tracking(notifications, database):
    handle(notifications, confirmed())
    assert text_of(database) == (
        "Hello Anna,\n\n"
        "Thank you. Your order o1 is confirmed.\n\n"
        "2 x Lamp <Oak>, size L: 39.98 EUR\n"
        "Shipping: 4.90 EUR\n"
        "Total, taxes included: 44.88 EUR\n\n"
        "Your parcel's tracking number is TRK1.\n\n"
        "Your Rialto team"
    )
    html = text_of(database, Mail.html)
    assert "<td>Lamp &lt;Oak&gt;, size L</td>" in html
    assert "<b>44.88 EUR</b>" in html


def test_a_confirmation_without_tracking_or_name_does_without(notifications, database):
    handle(notifications, confirmed(tracking=None, name=""))
    assert text_of(database).startswith("Hello,\n")
    assert text_of(database).endswith("included: 44.88 EUR\n\nYour Rialto team")


def test_a_rejection_tells_its_reason(notifications, database):
    handle(notifications, rejected(name="<script>"))
    assert "Your card was declined." in text_of(database)
    html = text_of(database, Mail.html)
    assert "Your card was declined." in html
    assert "<script>" not in html


def body_of(service, database, event):
    """What the text says between greeting and signature; the HTML one says the same, with nothing unescaped."""
    handle(service, event)
    html = text_of(database, Mail.html)
    assert re.search(r"<(Oak|dark|twice|scratched)>", html) is None
    text = text_of(database)
    for word in re.sub(r"[<>]", " ", text.replace(" x ", " ")).split():
        assert word.strip(",.:") in html
    return text.removeprefix("Hello Anna,\n\n").removesuffix("\n\nYour Rialto team")


def test_a_cancellation_tells_its_reason_and_what_is_refunded(notifications, database):
    assert body_of(notifications, database, cancelled()) == (
        "Your order o1 is cancelled.\nReason: Ordered <twice>\n\nWe refunded 44.88 EUR, to what you paid with."
    )


def test_a_cancellation_before_anything_was_charged_says_so(notifications, database):
    assert body_of(notifications, database, cancelled(refunded=None)).endswith("\n\nNothing was charged.")


@pytest.mark.parametrize(
    ("money", "sentence"),
    [
        ({}, ""),
        ({"charged": euros(500)}, "We charged 5.00 EUR.\n"),
        ({"refunded": euros(500)}, "We refunded 5.00 EUR, to what you paid with.\n"),
    ],
)
def test_a_change_tells_the_order_as_it_is_now_and_what_it_cost(notifications, database, money, sentence):
    assert body_of(notifications, database, changed(**money)) == (
        "Your order o1 is changed. This is how it is now:\n\n"
        "2 x Lamp <Oak>, size L: 39.98 EUR\n"
        "Shipping: 4.90 EUR\n"
        "Total, taxes included: 44.88 EUR\n\n"
        f"{sentence}It goes to Grace, Rue 1, 75001 Paris, FR."
    )


def test_a_return_tells_what_to_send_until_when(notifications, database):
    assert body_of(notifications, database, return_requested()) == (
        "Please send back, until 7 March 2026, what you want to return of order o1:\n\n"
        "2 x LAMP-1: too <dark>\n\n"
        "We look at it when it is here, and write to you again. The number of your return is r1."
    )


@pytest.mark.parametrize(
    ("settled", "sentence"),
    [
        ({}, "We refunded 44.88 EUR, to what you paid with."),
        ({"refund_to": "gift_card"}, "We refunded 44.88 EUR to a gift card of yours."),
        ({"refund": euros(0)}, "Nothing is refunded."),
    ],
)
def test_a_settled_return_tells_of_each_line_and_where_the_refund_went(notifications, database, settled, sentence):
    assert body_of(notifications, database, return_settled(**settled)) == (
        "We looked at what you returned of order o1:\n\n"
        "2 x LAMP-1: accepted, 39.98 EUR\n"
        "1 x DESK-1: not accepted (it is <scratched>)\n\n"
        f"{sentence}"
    )


@pytest.mark.parametrize(
    ("settled", "sentences"),
    [
        ({"tracking": None}, ""),
        ({"difference": euros(500), "tracking": None}, "We charged the difference of 5.00 EUR.\n"),
        (
            {"difference": euros(-500), "tracking": None},
            "We refunded the difference of 5.00 EUR, to what you paid with.\n",
        ),
        ({}, "The parcel's tracking number is TRK2.\n"),
    ],
)
def test_an_exchange_tells_what_comes_what_goes_back_and_the_difference(notifications, database, settled, sentences):
    assert body_of(notifications, database, exchange_settled(**settled)) == (
        "The new articles of your order o1 are on their way:\n\n"
        "2 x LAMP-2, for LAMP-1\n\n"
        f"{sentences}Please send the old articles back until 7 March 2026."
    )


@pytest.mark.parametrize(
    ("event", "of"), [(disputed, "your order o1"), (deposit_disputed, "your deposit")], ids=["order", "deposit"]
)
@pytest.mark.parametrize(
    ("status", "sentence", "more"),
    [
        (
            "opened",
            "Your bank tells us that you dispute 7.00 EUR of the payment for {}, and took the money back from us.",
            "Until it has decided we cannot refund this amount as well. If it is a mistake, please tell your bank.",
        ),
        (
            "lost",
            (
                "Your bank has decided the dispute about the payment for {} in your favour: the 7.00 EUR that it took "
                "back from us stay with you."
            ),
            "We refund this amount no second time.",
        ),
        (
            "won",
            (
                "Your bank has decided the dispute about the payment for {} in our favour: the 7.00 EUR were paid to "
                "us again."
            ),
            "If you sent something back, or cancelled, we can refund it as usual.",
        ),
    ],
)
def test_a_dispute_tells_who_has_the_money(notifications, database, event, of, status, sentence, more):
    assert body_of(notifications, database, event(status)) == f"{sentence.format(of)}\n\n{more}"


def parcel(kind, event_id="e1", **values):
    return fact(kind, event_id, **dict(parcel_id="o1", tracking="TRK1") | values)


@pytest.mark.parametrize(
    ("event", "kind", "subject", "says"),
    [
        (confirmed(), "order_confirmed", "Your order o1 is confirmed", "is confirmed"),
        (rejected(), "order_rejected", "We could not accept your order o1", "could not be accepted"),
        (cancelled(), "order_cancelled", "Your order o1 is cancelled", "is cancelled"),
        (changed(), "order_changed", "Your order o1 is changed", "is changed"),
        (return_requested(), "return_requested", "Your return of order o1", "send back"),
        (return_settled(), "return_settled", "What became of your return of order o1", "We looked at"),
        (exchange_settled(), "exchange_settled", "Your exchange of order o1", "on their way"),
        (disputed(), "order_disputed", "A dispute about your order o1", "you dispute"),
        (deposit_disputed(), "transaction_disputed", "A dispute about your deposit", "you dispute"),
        (parcel(OrderShipped), "order_shipped", "Your order o1 is on its way", "number is TRK1."),
        (parcel(OrderDelivered), "order_delivered", "Your order o1 was delivered", "was delivered"),
    ],
)
def test_each_event_is_one_queued_mail_however_often_it_comes(notifications, database, event, kind, subject, says):
    for _ in range(3):
        handle(notifications, event)
    [mail] = notifications.find()
    assert (mail.id, mail.to, mail.subject, mail.status, mail.kind) == ("e1", "anna@x.example", subject, "queued", kind)
    assert says in text_of(database)


def test_a_mail_to_no_address_is_kept_as_failed_and_never_tried(notifications, folder):
    handle(notifications, rejected(email="anna@x.example\r\nBcc: all@x.example"))
    notifications.send_queued()
    assert [(mail.status, mail.attempts, mail.error) for mail in notifications.find()] == [
        ("failed", 0, "This is not an address that mail can be sent to.")
    ]
    assert not folder.exists()


# --- a Maildir


def test_queued_mails_are_delivered_into_the_maildir(notifications, folder):
    for number in range(120):
        handle(notifications, rejected(f"e{number:03}"))
    for _ in range(10):  # a tick ends after some seconds, and leaves the rest to the next
        notifications.send_queued()
    assert in_folder(folder) == [f"e{number:03}.rialto" for number in range(120)]
    assert in_folder(folder, "tmp") == []
    assert {(mail.status, mail.attempts, mail.error) for mail in notifications.find(limit=100)} == {("sent", 1, None)}
    message = message_from_bytes((folder / "new" / "e007.rialto").read_bytes(), policy=default)
    assert message["Message-ID"] == "<e007.rialto@rialto.example>"
    assert "Your card was declined." in message.get_body(("plain",)).get_content()
    assert "Your card was declined." in message.get_body(("html",)).get_content()


@pytest.mark.parametrize("read", [False, True])
def test_a_delivery_whose_note_was_lost_is_not_repeated(notifications, database, folder, read):
    handle(notifications, rejected())
    notifications.send_queued()
    with database.write() as session:
        session.get(Mail, "e1").status = "queued"
    first = (folder / "new" / "e1.rialto").stat().st_ino
    if read:
        (folder / "new" / "e1.rialto").rename(folder / "cur" / "e1.rialto:2,S")
    notifications.send_queued()
    assert states(notifications) == [("e1", "sent", 2)]
    assert (in_folder(folder), in_folder(folder, "cur")) == (([], ["e1.rialto:2,S"]) if read else (["e1.rialto"], []))
    assert next(folder.glob("*/e1.rialto*")).stat().st_ino == first


def test_a_mail_that_cannot_be_written_is_tried_again_later(notifications, folder):
    folder.parent.mkdir()
    folder.write_text("in the way")
    handle(notifications, rejected())
    notifications.send_queued()
    [mail] = notifications.find()
    assert (mail.status, mail.attempts) == ("queued", 1)
    assert mail.error.startswith(("FileExistsError", "NotADirectoryError"))
    folder.unlink()
    notifications.send_queued()
    assert states(notifications) == [("e1", "queued", 1)]
    shift_clock(timedelta(seconds=2.1))
    notifications.send_queued()
    assert states(notifications) == [("e1", "sent", 2)]
    assert in_folder(folder) == ["e1.rialto"]


def test_another_instances_lease_is_respected_until_it_ends(notifications, database, folder):
    with database.write() as session:
        assert take_lease(session, "sender", "another", LEASE)
    handle(notifications, rejected())
    notifications.send_queued()
    assert states(notifications) == [("e1", "queued", 0)]
    shift_clock(LEASE + timedelta(seconds=1))
    notifications.send_queued()
    assert in_folder(folder) == ["e1.rialto"]


# --- SMTP


@contextmanager
def smtp_server(replies=None, drop_after_data=False):
    """A server for one conversation at a time; `replies` overrides answers by verb. Yields (url, what was received)."""
    replies, received = {"DATA": "354 go on", ".": "250 taken"} | (replies or {}), []
    listener = socket.create_server(("127.0.0.1", 0))

    def converse(connection):
        stream = connection.makefile("rwb")

        def say(line):
            stream.write(line.encode() + b"\r\n")
            stream.flush()

        say("220 here")
        while line := stream.readline():
            verb = line.decode().split(maxsplit=1)[0].upper()
            if verb == "DATA" and replies["DATA"].startswith("354"):
                say(replies["DATA"])
                received.append(b"".join(iter(stream.readline, b".\r\n")))
                if drop_after_data:
                    return
                verb = "."
            say(replies.get(verb, "221 bye" if verb == "QUIT" else "250 fine"))
            if verb == "QUIT":
                return

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                converse(connection)

    server = eventlet.spawn(serve)
    try:
        yield f"smtp://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        server.kill()
        listener.close()


def test_mails_go_to_the_smtp_server_that_is_configured(database, folder):
    with smtp_server() as (url, received):
        service = service_of(database, smtp_url=url, mail_dir=str(folder))
        handle(service, rejected("e1"))
        handle(service, rejected("e2", email="berta@x.example"))
        service.send_queued()
    messages = [message_from_bytes(data, policy=default) for data in received]
    assert [(message["To"], message["Message-ID"]) for message in messages] == [
        ("anna@x.example", "<e1.rialto@rialto.example>"),
        ("berta@x.example", "<e2.rialto@rialto.example>"),
    ]
    assert states(service) == [("e1", "sent", 1), ("e2", "sent", 1)]
    assert not folder.exists()


def test_a_mail_whose_answer_was_lost_is_sent_again_with_the_same_message_id(database):
    with smtp_server(drop_after_data=True) as (url, received):
        service = service_of(database, smtp_url=url)
        handle(service, rejected())
        service.send_queued()
        assert states(service) == [("e1", "queued", 1)]
        shift_clock(timedelta(seconds=2.1))
        service.send_queued()
    assert len(received) == 2
    assert received[0] == received[1]


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        ({"RCPT": "550 no such user"}, "failed"),
        ({".": "554 looks like spam"}, "failed"),
        ({"RCPT": "450 try later"}, "queued"),
        ({".": "451 try later"}, "queued"),
        ({"MAIL": "530 who are you"}, "queued"),
    ],
)
def test_only_a_final_refusal_of_this_mail_is_final(database, replies, status):
    with smtp_server(replies) as (url, _):
        service = service_of(database, smtp_url=url)
        handle(service, rejected())
        service.send_queued()
    assert states(service) == [("e1", status, 1)]


def test_a_password_is_not_given_to_a_server_without_tls(database):
    with smtp_server() as (url, received):
        service = service_of(database, smtp_url=url.replace("//", "//shop:secret@"))
        handle(service, rejected())
        service.send_queued()
    [mail] = service.find()
    assert (mail.status, received) == ("queued", [])
    assert mail.error == "OSError: the mail server offers no TLS: it is not given the password"


def test_a_server_that_is_not_there_holds_mails_back_one_by_one(database):
    with smtp_server() as (url, _):
        pass
    service = service_of(database, smtp_url=url)
    handle(service, rejected("e1"))
    handle(service, rejected("e2"))
    service.send_queued()
    assert states(service) == [("e1", "queued", 1), ("e2", "queued", 1)]


# --- sending once more


@pytest.fixture
def at_seconds(notifications):
    """Handles events, each some seconds after the one before."""

    def handle_all(*events):
        for seconds, event in enumerate(events):
            shift_clock(timedelta(seconds=seconds))
            handle(notifications, event)

    return handle_all


def refused(code, service, subject_id="o1", key=None):
    with pytest.raises(ServiceError) as refusal:
        service.resend(subject_id, key=key or uuid.uuid4().hex)
    assert refusal.value.code == code
    return refusal.value


def resend(service, subject_id="o1", key=None):
    return service.resend(subject_id, key=key or uuid.uuid4().hex)


def test_the_newest_mail_about_an_order_is_sent_once_more_to_where_it_went(notifications, folder, at_seconds):
    at_seconds(confirmed("e1"), parcel(OrderShipped, "e2"), confirmed("e3", order_id="o2", email="berta@x.example"))
    copy = resend(notifications)
    assert (copy.to, copy.subject, copy.status, copy.kind, copy.about, copy.copy_of) == (
        "anna@x.example",
        "Your order o1 is on its way",
        "queued",
        "order_shipped",
        "o1",
        "e2",
    )
    notifications.send_queued()
    assert in_folder(folder) == sorted(["e1.rialto", "e2.rialto", "e3.rialto", f"{copy.id}.rialto"])
    first, again = (
        message_from_bytes((folder / "new" / f"{name}.rialto").read_bytes(), policy=default) for name in ("e2", copy.id)
    )
    assert (again["To"], again["Subject"]) == (first["To"], first["Subject"])
    assert again["Message-ID"] != first["Message-ID"]
    for part in ("plain", "html"):
        assert again.get_body((part,)).get_content() == first.get_body((part,)).get_content()


def test_what_is_sent_once_more_is_the_mail_itself_however_often_it_was(notifications, at_seconds):
    at_seconds(confirmed("e1"))
    copies = [resend(notifications) for _ in range(2)]
    assert [copy.copy_of for copy in copies] == ["e1", "e1"]
    assert len({copy.id for copy in copies}) == 2


def test_a_key_sends_a_mail_once_more_once(notifications):
    handle(notifications, confirmed())
    copy = resend(notifications, key="k")
    assert resend(notifications, key="k") == copy
    refused("command.key_reused", notifications, "o2", key="k")
    assert sorted(mail.id for mail in notifications.find()) == sorted(["e1", copy.id])


def test_a_mail_is_sent_again_three_times_in_a_day_and_another_one_as_often(notifications):
    handle(notifications, confirmed("e1"))
    for hours in range(3):
        shift_clock(timedelta(hours=hours))
        resend(notifications)
    shift_clock(timedelta(hours=20))
    before = notifications.find()
    refusal = refused("notifications.too_often", notifications)
    assert 4 * 3600 - 60 < refusal.details["retry_after_s"] <= 4 * 3600
    assert notifications.find() == before
    handle(notifications, parcel(OrderShipped, "e2"))
    assert [resend(notifications).copy_of for _ in range(3)] == ["e2"] * 3
    refused("notifications.too_often", notifications)
    shift_clock(timedelta(hours=44, seconds=1))
    assert resend(notifications).copy_of == "e2"


def test_the_first_of_three_makes_room_when_its_day_is_over(notifications):
    handle(notifications, confirmed("e1"))
    for hours in (0, 1, 2):
        shift_clock(timedelta(hours=hours))
        resend(notifications)
    shift_clock(timedelta(hours=24, seconds=1))
    resend(notifications)
    refused("notifications.too_often", notifications)


def test_of_many_who_want_it_at_once_three_have_it_sent(sessions):
    opened = sessions("notifications")
    databases = [WorkerDatabase(opened.factory) for _ in range(6)]
    services = [service_of(database) for database in databases]
    handle(services[0], confirmed())

    def click(service):
        try:
            return resend(service).status
        except ServiceError as exc:
            return exc.code

    answers = in_green_threads([partial(click, service) for service in services])
    assert sorted(answers) == ["notifications.too_often"] * 3 + ["queued"] * 3
    assert len(services[0].find()) == 4
    for database in databases:
        database.close()


def test_a_mail_about_a_transaction_is_found_by_its_id_and_one_about_any_parcel_by_the_orders(notifications):
    handle(notifications, deposit_disputed())
    assert resend(notifications).kind == "transaction_disputed"
    handle(notifications, parcel(OrderShipped, "e2", aggregate_id="x1", parcel_id="x1", order_id="o2"))
    refused("notifications.not_found", notifications, "x1")
    assert resend(notifications, "o2").copy_of == "e2"


def test_about_what_no_mail_was_written_none_is_sent(notifications, database):
    refused("notifications.not_found", notifications)
    handle(notifications, confirmed())
    refused("notifications.not_found", notifications, "o2")
    with database.write() as session:
        session.get(Mail, "e1").about = None  # as those are that were written before
    refused("notifications.not_found", notifications)
    assert [mail.id for mail in notifications.find()] == ["e1"]


def test_a_mail_to_no_address_is_not_tried_by_sending_it_again(notifications, folder):
    handle(notifications, rejected(email="nobody"))
    copy = resend(notifications)
    notifications.send_queued()
    assert (copy.status, copy.error) == ("failed", "This is not an address that mail can be sent to.")
    assert not folder.exists()


@pytest.mark.parametrize(
    "caller",
    [
        None,
        Caller(service="support"),
        Caller(customer_id="s", roles=("staff",)),
        Caller(customer_id="o", roles=("operator",)),
    ],
)
def test_staff_and_other_services_have_a_mail_sent_again(database, notifications, caller):
    handle(notifications, confirmed())
    assert resend(service_of(database, caller)).copy_of == "e1"


def test_customers_do_not_have_mails_sent_again_not_even_their_own(database, notifications):
    handle(notifications, confirmed())
    anna = service_of(database, Caller(customer_id="anna", roles=("customer",)))
    refused("auth.forbidden", anna, key="k")
    assert [mail.id for mail in notifications.find()] == ["e1"]
    assert resend(notifications, key="k").copy_of == "e1"


# --- finding, and the whole service


def test_staff_finds_the_newest_mails_by_address(notifications):
    for seconds, event in enumerate(
        [rejected("e1"), rejected("e2", email="berta@x.example"), rejected("e3")],
    ):
        shift_clock(timedelta(seconds=seconds))
        handle(notifications, event)
    assert [mail.id for mail in notifications.find()] == ["e3", "e2", "e1"]
    assert [mail.id for mail in notifications.find(to="anna@x.example")] == ["e3", "e1"]
    assert [mail.id for mail in notifications.find(limit=1)] == ["e3"]


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": 101}, {"to": "a\0b"}])
def test_a_search_out_of_bounds_is_refused(notifications, arguments):
    with pytest.raises(ServiceError) as refusal:
        notifications.find(**arguments)
    assert refusal.value.code == "request.invalid"


def test_customers_do_not_read_mails(database, notifications):
    handle(notifications, rejected())
    anna = service_of(database, Caller(customer_id="anna", roles=("customer",)))
    with pytest.raises(ServiceError) as refusal:
        anna.find(to="anna@x.example")
    assert refusal.value.code == "auth.forbidden"


def test_events_from_the_broker_become_mails_in_the_maildir(container_factory, migrated_config, tmp_path):
    container_factory(NotificationsService, migrated_config).start()
    event_id = uuid.uuid4().hex
    dispatch = event_dispatcher(migrated_config)
    for _ in range(2):
        dispatch("orders", "order_confirmed", msgspec.to_builtins(confirmed(event_id)))
        dispatch("shipping", "order_delivered", msgspec.to_builtins(parcel(OrderDelivered, "e9")))
    with ServiceRpcProxy("notifications", migrated_config, timeout=10) as proxy, eventlet.Timeout(15):
        while sorted(mail["status"] for mail in proxy.find()) != ["sent", "sent"]:
            eventlet.sleep(0.1)
    assert in_folder(tmp_path / "mail") == sorted([f"{event_id}.rialto", "e9.rialto"])


def test_a_wrong_setting_is_a_sentence_at_start(container_factory, migrated_config):
    migrated_config["smtp_url"] = "mail.example:25"
    with pytest.raises(ConfigurationError, match=r"as notifications reads it: .*smtp_url"):
        container_factory(NotificationsService, migrated_config).start()
