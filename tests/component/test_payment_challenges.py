"""A card whose owner has to approve at their bank: asked, decided, and told of, in whatever order the news comes."""

import sqlite3
import urllib.error

import msgspec
import pytest
from sqlalchemy import select

from chassis.errors import OutcomeUnknown
from chassis.tables import outbox
from contracts.payments import PaymentResolved
from services.payments.adapters import AcquirerClient
from tests.payments import (
    NOWHERE,
    TWENTY,
    balance,
    captured,
    card,
    decide,
    euro,
    hook,
    movements,
    part,
    refusal,
    shares,
    split,
    state_of,
    tell,
    unknown,
)
from tests.sandboxes import wait_until

CHALLENGE = "tok_challenge"


@pytest.fixture
def ada(order):
    return f"ada-{order}"


@pytest.fixture
def told(payments_database):
    """What payments told of this order's challenges: (payment, authorized, reason)."""

    def read(order):
        with payments_database.read() as session:
            rows = session.execute(select(outbox.c.payload).where(outbox.c.event == "payment_resolved"))
            events = [msgspec.json.decode(payload, type=PaymentResolved) for (payload,) in rows]
        return [(each.payment_id, each.authorized, each.reason) for each in events if each.order_id == order]

    return read


@pytest.fixture
def hear(payments, acquirer):
    """Hand over the acquirer's own calls of an order, `count` of them, each so many times."""

    def hand_over(order, count, times=1):
        mine = lambda: [each for each in acquirer.hooks.received if each.json["data"]["reference"] == order]  # noqa: E731
        wait_until(lambda: len(mine()) == count)
        for each in mine() * times:
            payments.acquirer_hook(each.signature, each.body.decode())

    return hand_over


def ask(payments, order, ada=None, method=None):
    return payments.authorize(order, TWENTY, method or card(CHALLENGE), ada, key=f"{order}:a")


def test_a_challenge_that_is_approved_is_told_of_and_captured_then(payments, acquirer, order, told, hear):
    asked = ask(payments, order)
    assert asked.status == "requires_action"
    assert asked.action_url.startswith(f"{acquirer.url}/challenges/pay_")
    assert ask(payments, order) == asked
    assert movements(acquirer, order) == []
    decide(asked.action_url, "approve")
    hear(order, count=1, times=2)
    assert told(order) == [(order, True, None)]
    paid = payments.get(order)
    assert (paid.status, paid.action_url) == ("authorized", None)
    assert payments.capture(order, TWENTY, key=f"{order}:c").captured == 2000
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000)]
    hear(order, count=2)
    assert told(order) == [(order, True, None)]


def test_a_challenge_that_is_refused_is_told_of_and_gives_the_gift_card_back(
    payments, acquirer, order, ada, told, hear
):
    voucher = payments.issue_gift_card(ada, euro(500), key=f"{ada}:g").id
    method = split(part(voucher, 500), part(CHALLENGE))
    asked = ask(payments, order, ada, method)
    assert (asked.status, asked.captured) == ("requires_action", 0)
    assert balance(payments, ada) == [(500, 0, 500)]
    decide(asked.action_url, "refuse")
    hear(order, count=1, times=2)
    assert told(order) == [(order, False, "challenge_refused")]
    assert shares(payments, order) == [("voided", 500, 0, 0), ("declined", 1500, 0, 0)]
    assert balance(payments, ada) == [(500, 500, 0)]
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.not_authorized"
    for _ in range(2):
        payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    assert (payments.get(order).status, payments.get(order).reason) == ("declined", "challenge_refused")
    assert balance(payments, ada) == [(500, 500, 0)]
    assert movements(acquirer, order) == []


def test_a_capture_before_the_approval_is_refused_here_and_nothing_is_taken(payments, acquirer, order):
    ask(payments, order)
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.requires_action"
    assert payments.get(order).status == "requires_action"
    assert payments.acquirer.status(f"{order}:c") is None


def test_a_capture_that_only_the_acquirer_knows_to_be_early_is_refused_and_leaves_the_payment_authorized(
    payments, acquirer, order
):
    asked = ask(payments, order)
    tell(payments, hook("payment.authorized", order, f"{order}:a"))
    assert refusal(lambda: payments.capture(order, TWENTY, key=f"{order}:c")).code == "payments.requires_action"
    decide(asked.action_url, "approve")
    assert payments.capture(order, TWENTY, key=f"{order}:c2").captured == 2000
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000)]


# --- the hook before the answer, late, and never


class Meanwhile(AcquirerClient):
    """The acquirer, where something happens between its decision on an authorization and our hearing of it."""

    def __init__(self, payments, then):
        super().__init__(payments.acquirer._company)
        self.then = then

    def authorize(self, *args):
        asked = super().authorize(*args)
        self.then(asked)
        return asked


def test_an_approval_whose_hook_comes_before_the_answer_is_answered_as_authorized_and_told_by_that_alone(
    payments_as, order, told
):
    def approve(asked):
        decide(asked.url, "approve")
        tell(payments_as(), hook("payment.authorized", order, f"{order}:a"))

    payments = payments_as()
    payments.acquirer = Meanwhile(payments, approve)
    assert ask(payments, order).status == "authorized"
    assert ask(payments, order).status == "authorized"
    assert told(order) == []


def test_a_refusal_whose_hook_comes_before_the_answer_declines_and_gives_the_gift_card_back(
    payments_as, acquirer, order, ada, told
):
    def refuse(asked):
        decide(asked.url, "refuse")
        tell(payments_as(), hook("payment.declined", order, f"{order}:a", code="challenge_refused"))

    payments = payments_as()
    payments.acquirer = Meanwhile(payments, refuse)
    voucher = payments.issue_gift_card(ada, euro(500), key=f"{ada}:g").id
    for _ in range(2):
        declined = refusal(lambda: ask(payments, order, ada, split(part(voucher, 500), part(CHALLENGE))))
        assert (declined.code, declined.details["reason"]) == ("payments.declined", "challenge_refused")
    assert payments.get(order).status == "declined"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert (told(order), movements(acquirer, order)) == ([], [])


@pytest.mark.parametrize(("decision", "status"), [("approve", "authorized"), ("refuse", "declined")])
def test_an_answer_that_was_lost_is_asked_for_again_after_the_decision(
    payments_as, order, told, hear, decision, status
):
    asked_at = []

    def lose(asked):
        asked_at.append(asked.url)
        if len(asked_at) == 1:
            raise OutcomeUnknown("acquirer", "the answer was lost")

    payments = payments_as()
    payments.acquirer = Meanwhile(payments, lose)
    unknown(lambda: ask(payments, order))
    decide(asked_at[0], decision)
    hear(order, count=1)
    assert payments.get(order).status == status
    if status == "authorized":
        assert ask(payments, order).status == "authorized"
    else:
        assert refusal(lambda: ask(payments, order)).code == "payments.declined"
    assert told(order) == []


def test_an_approval_that_comes_after_the_void_is_refused_at_the_bank_and_changes_nothing(
    payments, acquirer, order, told
):
    asked = ask(payments, order)
    for _ in range(2):
        payments.void(order, TWENTY, card(CHALLENGE), key=f"{order}:a")
    with pytest.raises(urllib.error.HTTPError) as late:
        decide(asked.action_url, "approve")
    assert (late.value.code, "cancelled" in late.value.read().decode()) == (409, True)
    assert payments.get(order).status == "voided"
    assert (told(order), movements(acquirer, order)) == ([], [])


def test_a_void_after_an_approval_whose_hook_is_still_on_its_way_gives_the_money_back(
    payments, acquirer, order, ada, told, hear
):
    voucher = payments.issue_gift_card(ada, euro(500), key=f"{ada}:g").id
    method = split(part(voucher, 500), part(CHALLENGE))
    asked = ask(payments, order, ada, method)
    decide(asked.action_url, "approve")
    payments.void(order, TWENTY, method, ada, key=f"{order}:a")
    hear(order, count=2)
    assert payments.get(order).status == "voided"
    assert balance(payments, ada) == [(500, 500, 0)]
    assert told(order) == []
    assert movements(acquirer, order) == [("authorize", 1500), ("void", 1500)]


def test_a_void_in_doubt_of_a_challenge_is_repeated_until_it_is_known(payments, payments_as, acquirer, order):
    asked = ask(payments, order)
    unknown(lambda: payments_as(url=NOWHERE).void(order, TWENTY, card(CHALLENGE), key=f"{order}:a"))
    decide(asked.action_url, "approve")
    payments.void(order, TWENTY, card(CHALLENGE), key=f"{order}:a")
    assert payments.get(order).status == "voided"
    assert movements(acquirer, order) == [("authorize", 2000), ("void", 2000)]


def test_a_refusal_that_is_told_after_the_approval_changes_nothing(payments, order, told):
    ask(payments, order)
    tell(payments, hook("payment.voided", "another", "another:a"))
    tell(payments, hook("payment.authorized", order, f"{order}:a"))
    tell(payments, hook("payment.declined", order, f"{order}:a", code="challenge_refused"))
    assert payments.get(order).status == "authorized"
    assert told(order) == [(order, True, None)]


def test_a_card_that_is_not_challenged_is_told_of_by_nobody(payments, acquirer, order, told, hear):
    captured(payments, order)
    hear(order, count=2, times=2)
    assert told(order) == []


# --- repair


def let_go(payments, order, authorize_key=None):
    return payments.void_unowned(authorize_key or f"{order}:a", key=f"{order}:repair")


def test_an_authorization_that_nobody_owns_is_let_go_and_is_no_difference_then(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    payments.acquirer.authorize(f"{order}:a", TWENTY, "tok_visa", order)
    (found,) = payments.reconcile().differences
    assert (found.kind, found.key, found.ours, found.theirs) == ("authorize", f"{order}:a", None, 2000)
    for _ in range(2):
        let_go(payments, order, found.key)
    assert movements(fresh_acquirer, order) == [("authorize", 2000), ("void", 2000)]
    assert (payments.reconcile().compared, payments.reconcile().count) == (2, 0)
    late = refusal(lambda: payments.authorize(order, TWENTY, card(), key=f"{order}:a"))
    assert late.code == "payments.voided"
    assert payments.get(order).status == "declined"


@pytest.mark.parametrize("state", ["none", "requires_action", "authorized", "captured", "refunded"])
def test_an_authorization_that_a_payment_may_count_on_is_never_let_go(payments, acquirer, order, state):
    token = {"none": "tok_lost_reply", "requires_action": CHALLENGE}.get(state, "tok_visa")
    if state == "none":
        unknown(lambda: ask(payments, order, method=card(token)))
    else:
        ask(payments, order, method=card(token))
    if state in ("captured", "refunded"):
        payments.capture(order, TWENTY, key=f"{order}:c")
    if state == "refunded":
        payments.refund(order, TWENTY, key=f"{order}:r")
    before = movements(acquirer, order)
    assert payments.get(order).status == state
    for _ in range(2):
        assert refusal(lambda: let_go(payments, order)).code == "payments.owned"
    assert movements(acquirer, order) == before


def test_an_authorization_that_was_given_up_here_is_let_go_where_it_still_stands(payments_as, fresh_acquirer, order):
    payments = payments_as(url=fresh_acquirer.url)
    refusal(lambda: ask(payments, order, method=card("tok_declined")))
    db = sqlite3.connect(fresh_acquirer.db)
    with db:  # a bank that declined, and set the money aside all the same
        db.execute(
            "INSERT INTO authorizations (key, payment, token, reference, amount, currency, challenge)"
            " VALUES (?, 'pay_x', 'tok_visa', ?, 2000, 'EUR', 'none')",
            (f"{order}:a", order),
        )
        db.execute(
            "INSERT INTO movements (kind, key, payment, amount, currency, at)"
            " VALUES ('authorize', ?, 'pay_x', 2000, 'EUR', '2026-01-01T00:00:00Z')",
            (f"{order}:a",),
        )
    db.close()
    assert payments.reconcile().count == 1
    let_go(payments, order)
    assert movements(fresh_acquirer, order) == [("authorize", 2000), ("void", 2000)]
    assert payments.reconcile().count == 0
    assert payments.get(order).status == "declined"


def test_an_authorization_of_nobodys_that_was_captured_there_is_told_to_somebody(
    payments, payments_database, acquirer, order
):
    payments.acquirer.authorize(f"{order}:a", TWENTY, "tok_visa", order)
    payments.acquirer.capture(f"{order}:c", f"{order}:a", TWENTY)
    for _ in range(2):
        assert refusal(lambda: let_go(payments, order)).code == "payments.captured"
    assert state_of(payments_database, f"{order}:repair") is None
    assert movements(acquirer, order) == [("authorize", 2000), ("capture", 2000)]
