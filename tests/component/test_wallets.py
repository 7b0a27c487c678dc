"""A payment from customers' accounts, alone and beside gift cards and a card: payments, the acquirer's real process and
the real ledger, which is asked as another company is. All or nothing, whatever answer is lost, late or doubled."""

import itertools

import pytest

from chassis.db import WorkerDatabase
from contracts.payments import Part, Payment, Refund, RefundPart
from tests import ledger as books
from tests.payments import (
    NOWHERE,
    TWENTY,
    Line,
    at_once,
    balance,
    by_wallet,
    card,
    decide,
    euro,
    hook,
    movements,
    part,
    refusal,
    service_on,
    shares,
    split,
    state_of,
    sums,
    tell,
    unknown,
    wallet_part,
)

FUNDS = 1000


@pytest.fixture
def ledger_database(open_database):
    return open_database("accounts")


@pytest.fixture
def ledger(ledger_database):
    return books.ledger_on(ledger_database)


@pytest.fixture
def line(ledger):
    return Line(ledger)


@pytest.fixture
def payments(acquirer, payments_database, line):
    return service_on(payments_database, acquirer.url, accounts=line)


@pytest.fixture
def cut_off(payments_database, line):
    """payments, to which no acquirer answers."""
    return service_on(payments_database, NOWHERE, accounts=line)


@pytest.fixture
def ada(order):
    return f"ada-{order}"


@pytest.fixture
def account(ledger, ada):
    """Open an account of Ada's; answers its id."""
    return lambda funds=FUNDS, customer=ada, currency="EUR": books.wallet(ledger, customer, funds, currency)


@pytest.fixture
def gift(payments, ada):
    return lambda amount=500: payments.issue_gift_card(ada, euro(amount), key=f"{ada}:{amount}").id


@pytest.fixture
def on(ledger):
    """What is posted on an account, and what of it is set aside, in books that hold."""

    def look(account_id):
        assert ledger.trial_balance().holds
        posted, pending_in, pending_out, _ = books.balance(ledger, account_id)
        assert pending_in == 0
        return posted, pending_out

    return look


@pytest.fixture
def taken(ledger):
    """What orders took from accounts, and was not given back."""

    def look():
        (line,) = [each for each in ledger.trial_balance().lines if each.role == "wallet_payments"] or [None]
        return line.credit - line.debit if line else 0

    return look


def authorize(payments, order, ada, method, amount=2000, **more):
    return payments.authorize(order, euro(amount), method, ada, key=f"{order}:a", **more)


def void(payments, order, ada, method, amount=2000):
    payments.void(order, euro(amount), method, ada, key=f"{order}:a")


def capture(payments, order, amount=2000):
    return payments.capture(order, euro(amount), key=f"{order}:c")


def refund(payments, order, amount, to="original", name="r"):
    return payments.refund(order, euro(amount), to, key=f"{order}:{name}")


# --- an account alone


def test_an_account_pays_and_gets_its_money_back(payments, acquirer, ledger, order, ada, account, on, taken):
    own = account()
    paid = authorize(payments, order, ada, by_wallet(own), 600)
    held = Part(method="wallet", status="authorized", amount=600, captured=0, refunded=0, account_id=own)
    assert paid == Payment(
        id=order,
        order_id=order,
        status="authorized",
        method="wallet",
        amount=600,
        captured=0,
        refunded=0,
        currency="EUR",
        parts=[held],
    )
    assert authorize(payments, order, ada, by_wallet(own), 600) == paid
    assert on(own) == (1000, 600)
    first = capture(payments, order, 600)
    assert (first.status, first.captured) == ("captured", 600)
    assert capture(payments, order, 600) == first
    assert (on(own), taken()) == ((400, 0), 600)
    back = RefundPart(payment_id=order, amount=250, account_id=own, method="wallet")
    for _ in range(2):
        assert refund(payments, order, 250) == Refund(order_id=order, amount=euro(250), parts=[back], left=350)
    assert refund(payments, order, 350, name="r2").left == 0
    assert (on(own), taken(), sums(payments, order)) == ((1000, 0), 0, ("refunded", 600, 600))
    lines = [(each.kind, each.subject, each.state, each.amount.amount) for each in ledger.entries(own).items]
    assert lines[:3] == [
        ("wallet_refund", f"order:{order}", "posted", 350),
        ("wallet_refund", f"order:{order}", "posted", 250),
        ("wallet_payment", f"order:{order}", "posted", -600),
    ]
    assert movements(acquirer, order) == []


def test_a_void_gives_an_account_its_money_back_once_and_a_late_authorization_nothing(
    payments, order, ada, account, on
):
    own = account()
    authorize(payments, order, ada, by_wallet(own), 600)
    for _ in range(2):
        void(payments, order, ada, by_wallet(own), 600)
    assert (payments.get(order).status, on(own)) == ("voided", (1000, 0))
    assert refusal(lambda: authorize(payments, order, ada, by_wallet(own), 600)).code == "saga.fenced"
    assert refusal(lambda: capture(payments, order, 600)).code == "payments.voided"
    assert on(own) == (1000, 0)


def test_a_void_that_comes_first_fences_and_asks_nobody(payments, line, order, ada, account, on):
    own = account()
    void(payments, order, ada, by_wallet(own), 600)
    assert refusal(lambda: authorize(payments, order, ada, by_wallet(own), 600)).code == "saga.fenced"
    assert (line.asked, on(own)) == ([], (1000, 0))


def test_an_account_that_was_captured_is_not_voided(payments, line, order, ada, account, on):
    own = account()
    authorize(payments, order, ada, by_wallet(own), 600)
    line.faults["settle"] = ["after"]
    unknown(lambda: capture(payments, order, 600))
    # only the ledger knows
    assert refusal(lambda: void(payments, order, ada, by_wallet(own), 600)).code == "payments.captured"
    assert capture(payments, order, 600).captured == 600
    again = refusal(lambda: void(payments, order, ada, by_wallet(own), 600))
    assert (again.code, on(own), sums(payments, order)) == ("payments.captured", (400, 0), ("captured", 600, 0))


# --- what an account does not pay


@pytest.mark.parametrize(
    ("which", "code", "more"),
    [
        ("eve's", "payments.unknown_account", {}),
        ("nobody's", "payments.unknown_account", {}),
        ("sales.EUR", "payments.unknown_account", {}),
        ("ünbekannt", "payments.unknown_account", {}),
        ("closed", "payments.unknown_account", {}),
        ("frozen", "payments.wallet_frozen", {}),
        ("dollars", "request.invalid", {}),
        ("poor", "payments.wallet_insufficient", {"available": 599}),
    ],
)
def test_an_account_that_does_not_fit_is_refused_with_its_field_and_nothing_is_held(
    payments, acquirer, ledger, order, ada, account, gift, on, which, code, more
):
    accounts = {
        "eve's": lambda: account(customer="eve"),
        "closed": lambda: account(funds=0),
        "frozen": account,
        "dollars": lambda: account(currency="USD"),
        "poor": lambda: account(funds=599),
    }
    own = accounts[which]() if which in accounts else which
    if which == "closed":
        ledger.close(own, "done", key=books.key())
    if which == "frozen":
        ledger.freeze(own, "lost", key=books.key())
    before = on(own) if which in accounts else None
    voucher = gift(500)
    for name, method, total, field in (
        ("alone", by_wallet(own), 600, "method.account_id"),
        (
            "split",
            split(part(voucher, 500), wallet_part(own, 600), part("tok_visa")),
            2000,
            "method.parts[1].account_id",
        ),
    ):
        each, details = f"{order}-{name}", {"field": field, "account_id": own, **more}
        for _ in range(2):
            refused = refusal(lambda e=each, m=method, t=total: authorize(payments, e, ada, m, t))
            assert (refused.code, refused.details) == (code, details)
        assert refusal(lambda m=method, t=total: payments.check(euro(t), m, ada)).details == details
        kept = payments.get(each)
        assert (kept.status, kept.reason) == ("declined", code)
        void(payments, each, ada, method, total)
        assert payments.get(each) == kept
        assert payments.acquirer.status(f"{each}:a") is None
    assert shares(payments, f"{order}-split") == [
        ("voided", 500, 0, 0),
        ("declined", 600, 0, 0),
        ("voided", 900, 0, 0),
    ]
    assert balance(payments, ada) == [(500, 500, 0)]
    assert before is None or on(own) == before
    assert movements(acquirer, order) == []


def test_the_houses_accounts_are_nobodys(payments, ledger, order, account, on, taken):
    account()  # so that bank.EUR is there
    refused = refusal(lambda: authorize(payments, order, None, by_wallet("bank.EUR"), 600))
    assert refused.code == "payments.unknown_account"
    assert taken() == 0


def test_a_check_holds_nothing(payments, order, ada, account, on):
    own = account()
    payments.check(TWENTY, split(wallet_part(own, 1000), part("tok_declined")), ada)
    assert on(own) == (1000, 0)


def test_two_payments_at_once_spend_an_account_once(
    payments, payments_database, ledger_database, acquirer, order, ada, account, on
):
    own = account()
    orders = [f"{order}-{n}" for n in range(4)]
    asked = [lambda each, o=o: authorize(each, o, ada, by_wallet(own), 400) for o in orders]
    answers = at_once(payments_database, acquirer.url, asked, lambda: _another(ledger_database))
    assert answers == ["ok"] * 2 + ["payments.wallet_insufficient"] * 2
    assert on(own) == (1000, 800)


def _another(database):
    return Line(books.ledger_on(WorkerDatabase(database.Session)))


# --- together with gift cards and a card


def test_a_split_is_held_taken_and_given_back_part_by_part(payments, acquirer, order, ada, account, gift, on, taken):
    own, other, voucher = account(), account(), gift(500)
    method = split(wallet_part(own, 700), part(voucher, 500), part("tok_visa", 400), wallet_part(other))
    first = authorize(payments, order, ada, method)
    assert (first.status, first.method) == ("authorized", "split")
    assert [each.account_id for each in first.parts] == [own, None, None, other]
    assert (on(own), on(other), balance(payments, ada)) == ((1000, 700), (1000, 400), [(500, 0, 500)])
    for _ in range(2):
        assert capture(payments, order).captured == 2000
    assert (on(own), on(other), taken(), balance(payments, ada)) == ((300, 0), (600, 0), 1100, [(500, 0, 0)])
    for _ in range(2):
        assert refund(payments, order, 1700).parts == [
            RefundPart(payment_id=order, amount=500, gift_card_id=voucher, method="gift_card"),
            RefundPart(payment_id=order, amount=700, account_id=own, method="wallet"),
            RefundPart(payment_id=order, amount=400),
            RefundPart(payment_id=order, amount=100, account_id=other, method="wallet"),
        ]
    assert (on(own), on(other), taken(), balance(payments, ada)) == ((1000, 0), (700, 0), 300, [(500, 500, 0)])
    assert movements(acquirer, order) == [("authorize", 400), ("capture", 400), ("refund", 400)]
    (kept,) = [each for each in payments.balances(limit=1000).items if each.order_id == order]
    assert (kept.captured, kept.refunded) == (2000, 1700)
    assert (kept.card, kept.gift_card, kept.wallet) == (0, 0, 300)


@pytest.mark.parametrize("lost", [[], ["before"], ["after"], ["", "before"], ["", "after"]])
def test_a_card_that_is_declined_gives_accounts_and_gift_cards_their_own_before_it_is_said(
    payments, payments_database, acquirer, line, order, ada, account, gift, on, lost
):
    own, other = account(), account()
    method = split(wallet_part(own, 300), part(gift(500), 500), wallet_part(other, 300), part("tok_declined"))
    line.faults["release"] = list(lost)
    if lost:
        unknown(lambda: authorize(payments, order, ada, method))
        assert state_of(payments_database, f"{order}:a") == "started"
    for _ in range(2):
        refused = refusal(lambda: authorize(payments, order, ada, method))
        assert (refused.code, refused.details["reason"]) == ("payments.declined", "declined")
    assert (on(own), on(other), balance(payments, ada)) == ((1000, 0), (1000, 0), [(500, 500, 0)])
    assert [status for status, *_ in shares(payments, order)] == ["voided", "voided", "voided", "declined"]
    assert (payments.get(order).status, payments.get(order).reason) == ("declined", "declined")
    void(payments, order, ada, method)
    assert (on(own), on(other), payments.get(order).status) == ((1000, 0), (1000, 0), "declined")
    assert movements(acquirer, order) == []


@pytest.mark.parametrize("lost", [[], ["before"], ["after"], ["", "after"], ["", "", "after"]])
def test_a_second_account_that_refuses_gives_the_first_its_own_before_it_is_said_and_no_card_is_asked(
    payments, acquirer, line, order, ada, account, on, lost
):
    own, poor, third = account(), account(funds=10), account()
    method = split(wallet_part(own, 300), wallet_part(poor, 300), wallet_part(third, 300), part("tok_visa"))
    line.faults["release"] = list(lost)
    if lost:
        unknown(lambda: authorize(payments, order, ada, method))
    for _ in range(2):
        refused = refusal(lambda: authorize(payments, order, ada, method))
        assert (refused.code, refused.details["field"]) == (
            "payments.wallet_insufficient",
            "method.parts[1].account_id",
        )
    assert (on(own), on(poor), on(third)) == ((1000, 0), (10, 0), (1000, 0))
    assert [status for status, *_ in shares(payments, order)] == ["voided", "declined", "voided", "voided"]
    assert payments.acquirer.status(f"{order}:a") is None


# --- lost, late and again


@pytest.mark.parametrize("method", ["get", "hold"])
@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_hold_in_doubt_is_asked_for_again_and_held_once(
    payments, acquirer, line, order, ada, account, on, method, fault
):
    own = account()
    wanted = split(wallet_part(own, 700), part("tok_visa"))
    line.faults[method] = [fault]
    unknown(lambda: authorize(payments, order, ada, wanted))
    assert (payments.get(order).status, payments.acquirer.status(f"{order}:a")) == ("none", None)
    assert authorize(payments, order, ada, wanted).status == "authorized"
    assert (on(own), movements(acquirer, order)) == ((1000, 700), [("authorize", 1300)])


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("second", ["", "before", "after"])
def test_a_void_of_a_hold_in_doubt_gives_it_back_and_refuses_it_should_it_still_come(
    payments, ledger, line, order, ada, account, on, fault, second
):
    own = account()
    method = split(wallet_part(own, 700), part("tok_visa"))
    line.faults["hold"] = [fault]
    unknown(lambda: authorize(payments, order, ada, method))
    if second:
        line.faults["release"] = [second]
        unknown(lambda: void(payments, order, ada, method))
    void(payments, order, ada, method)
    assert shares(payments, order) == [("voided", 700, 0, 0), ("voided", 1300, 0, 0)]
    assert on(own) == (1000, 0)
    late = books.entry(kind="late", wallet_payments=-700, **{own: 700})
    assert refusal(lambda: ledger.hold(f"payment:{order}:0", late, key=f"payments:{order}:a:w0")).code == "saga.fenced"
    assert refusal(lambda: authorize(payments, order, ada, method)).code == "saga.fenced"
    assert on(own) == (1000, 0)


def test_a_card_in_doubt_leaves_the_account_held_and_the_void_lets_both_go(
    payments, cut_off, acquirer, order, ada, account, gift, on
):
    own = account()
    method = split(wallet_part(own, 700), part(gift(500), 500), part("tok_lost_reply"))
    unknown(lambda: authorize(payments, order, ada, method))
    assert on(own) == (1000, 700)
    unknown(lambda: void(cut_off, order, ada, method))
    assert on(own) == (1000, 700)
    void(payments, order, ada, method)
    assert (on(own), balance(payments, ada), payments.get(order).status) == ((1000, 0), [(500, 500, 0)], "voided")
    assert movements(acquirer, order) == [("authorize", 800), ("void", 800)]


def test_an_authorization_that_goes_on_while_it_is_voided_keeps_nothing(
    payments, payments_database, ledger, acquirer, order, ada, account, on
):
    own = account()
    method = split(wallet_part(own, 700), part("tok_visa"))

    class Meanwhile(Line):
        """The ledger, and a void between its answer to the hold and our hearing of it."""

        def hold(self, *args, **kwargs):
            answer = ledger.hold(*args, **kwargs)
            void(payments, order, ada, method)
            return answer

    slow = service_on(WorkerDatabase(payments_database.Session), acquirer.url, accounts=Meanwhile(ledger))
    assert refusal(lambda: authorize(slow, order, ada, method)).code == "saga.fenced"
    assert (on(own), payments.get(order).status) == ((1000, 0), "voided")
    assert movements(acquirer, order) == []


def test_a_hold_that_somebody_else_let_go_before_it_came_is_no_authorization(
    payments, payments_database, ledger, order, ada, account, on
):
    own = account()
    wanted = books.entry(kind="by hand", wallet_payments=-600, **{own: 600})
    ledger.release(f"payment:{order}:0", wanted, key=f"payments:{order}:a:w0")
    for _ in range(2):
        unknown(lambda: authorize(payments, order, ada, by_wallet(own), 600))
    assert (payments.get(order).status, state_of(payments_database, f"{order}:a")) == ("none", "started")
    void(payments, order, ada, by_wallet(own), 600)
    assert (payments.get(order).status, on(own)) == ("voided", (1000, 0))


def test_without_the_ledger_an_account_is_in_doubt_and_cards_and_gift_cards_pay(
    payments, payments_database, acquirer, line, order, ada, account, gift, on
):
    own, away = account(), service_on(payments_database, acquirer.url)
    unknown(lambda: authorize(away, order, ada, by_wallet(own), 600))
    assert (payments.get(order).status, state_of(payments_database, f"{order}:a")) == ("none", "started")
    assert authorize(payments, order, ada, by_wallet(own), 600).status == "authorized"
    unknown(lambda: capture(away, order, 600))
    assert capture(payments, order, 600).captured == 600
    unknown(lambda: refund(away, order, 600))
    line.asked.clear()
    other = f"{order}-card"
    method = split(part(gift(500), 500), part("tok_visa"))
    away.check(TWENTY, method, ada)
    authorize(away, other, ada, method)
    capture(away, other)
    refund(away, other, 2000)
    authorize(away, f"{order}-void", ada, card())
    void(away, f"{order}-void", ada, card())
    assert sums(payments, other) == ("refunded", 2000, 2000)
    assert away.accounts.asked == ["get", "settle", "book"]
    assert refund(payments, order, 600).left == 0
    assert on(own) == (1000, 0)


# --- the card's bank asks its owner

CHALLENGE = "tok_challenge"


def test_a_challenge_holds_the_account_until_it_is_decided_and_the_void_gives_it_back(
    payments, acquirer, order, ada, account, on
):
    own = account()
    method = split(wallet_part(own, 700), part(CHALLENGE))
    asked = authorize(payments, order, ada, method)
    assert (asked.status, bool(asked.action_url)) == ("requires_action", True)
    tell(payments, hook("payment.declined", order, f"{order}:a", code="challenge_refused"))
    assert shares(payments, order) == [("authorized", 700, 0, 0), ("declined", 1300, 0, 0)]
    assert (payments.get(order).status, on(own)) == ("declined", (1000, 700))
    assert refusal(lambda: capture(payments, order)).code == "payments.not_authorized"
    for _ in range(2):
        void(payments, order, ada, method)
    assert (payments.get(order).status, on(own)) == ("declined", (1000, 0))


def test_a_challenge_that_is_approved_takes_both(payments, acquirer, order, ada, account, on):
    own = account()
    asked = authorize(payments, order, ada, split(wallet_part(own, 700), part(CHALLENGE)))
    decide(asked.action_url, "approve")
    tell(payments, hook("payment.authorized", order, f"{order}:a"))
    assert capture(payments, order).captured == 2000
    assert (on(own), movements(acquirer, order)) == ((300, 0), [("authorize", 1300), ("capture", 1300)])


@pytest.mark.parametrize("lost", [[], ["before"], ["after"]])
def test_a_challenge_that_is_refused_before_its_answer_is_heard_lets_the_account_go_before_that_is_said(
    payments, payments_database, acquirer, line, order, ada, account, gift, on, lost
):
    own = account()
    method = split(wallet_part(own, 700), part(gift(500), 500), part(CHALLENGE))
    ask = payments.acquirer.authorize

    def meanwhile(*args):
        asked = ask(*args)
        tell(payments, hook("payment.declined", order, f"{order}:a", code="challenge_refused"))
        return asked

    payments.acquirer.authorize = meanwhile
    unknown(lambda: authorize(payments, order, ada, method))
    assert (on(own), state_of(payments_database, f"{order}:a")) == ((1000, 700), "started")
    line.faults["release"] = list(lost)
    if lost:
        unknown(lambda: authorize(payments, order, ada, method))
    for _ in range(2):
        refused = refusal(lambda: authorize(payments, order, ada, method))
        assert (refused.code, refused.details["reason"]) == ("payments.declined", "challenge_refused")
    assert (on(own), balance(payments, ada)) == ((1000, 0), [(500, 500, 0)])
    assert [status for status, *_ in shares(payments, order)] == ["voided", "voided", "declined"]


# --- capture


@pytest.mark.parametrize(
    ("amount", "parts", "posted", "kept", "moved"),
    [
        (1800, ["captured", "captured", "captured"], 300, (500, 0, 0), ("capture", 600)),
        (1200, ["captured", "captured", "voided"], 300, (500, 0, 0), ("void", 800)),
        (900, ["captured", "captured", "voided"], 600, (500, 0, 0), ("void", 800)),
        (500, ["captured", "voided", "voided"], 1000, (500, 0, 0), ("void", 800)),
        (200, ["captured", "voided", "voided"], 1000, (500, 300, 0), ("void", 800)),
    ],
)
@pytest.mark.parametrize("lost", ["", "before", "after"])
def test_a_capture_of_less_takes_the_first_parts_and_lets_go_the_rest(
    payments, acquirer, line, order, ada, account, gift, on, amount, parts, posted, kept, moved, lost
):
    own = account()
    authorize(payments, order, ada, split(part(gift(500), 500), wallet_part(own, 700), part("tok_visa", 800)))
    if lost:
        line.faults["settle" if amount > 500 else "release"] = [lost]
        unknown(lambda: capture(payments, order, amount))
    for _ in range(2):
        taken = capture(payments, order, amount)
        assert (taken.status, taken.captured) == ("captured", amount)
    assert [status for status, *_ in shares(payments, order)] == parts
    assert (on(own), balance(payments, ada)) == ((posted, 0), [kept])
    assert movements(acquirer, order) == [("authorize", 800), moved]
    assert refund(payments, order, amount).left == 0
    assert (on(own), balance(payments, ada)) == ((1000, 0), [(500, 500, 0)])


def test_another_capture_of_what_is_being_let_go_is_refused(payments, line, order, ada, account, gift, on):
    own, voucher = account(), gift(500)
    authorize(payments, order, ada, split(part(voucher, 500), wallet_part(own, 700)), 1200)
    line.faults["release"] = ["before"]
    unknown(lambda: capture(payments, order, 500))
    second = refusal(lambda: payments.capture(order, euro(1200), key=f"{order}:c2"))
    assert (second.code, on(own), balance(payments, ada)) == ("payments.voided", (1000, 700), [(500, 0, 500)])
    assert capture(payments, order, 500).captured == 500
    assert (on(own), balance(payments, ada)) == ((1000, 0), [(500, 0, 0)])


def test_a_card_that_is_refused_at_capture_leaves_the_account_held_for_the_void(
    payments, acquirer, order, ada, account, on
):
    own = account()
    method = split(wallet_part(own, 700), part("tok_capture_fails"))
    authorize(payments, order, ada, method)
    for _ in range(2):
        assert refusal(lambda: capture(payments, order)).code == "payments.capture_refused"
    assert (shares(payments, order), on(own)) == ([("authorized", 700, 0, 0), ("authorized", 1300, 0, 0)], (1000, 700))
    void(payments, order, ada, method)
    assert (on(own), payments.get(order).status) == ((1000, 0), "voided")
    assert movements(acquirer, order) == [("authorize", 1300), ("void", 1300)]


@pytest.mark.parametrize("fault", ["before", "after"])
def test_an_account_in_doubt_after_the_card_was_taken_is_asked_again_until_it_is_taken_once(
    payments, acquirer, line, order, ada, account, on, taken, fault
):
    own, other = account(), account()
    authorize(payments, order, ada, split(wallet_part(own, 700), part("tok_visa", 1000), wallet_part(other)))
    line.faults["settle"] = [fault, "", fault]
    for _ in range(2):
        unknown(lambda: capture(payments, order))
    assert capture(payments, order).captured == 2000
    assert (on(own), on(other), taken()) == ((300, 0), (700, 0), 1000)
    assert movements(acquirer, order) == [("authorize", 1000), ("capture", 1000)]


def test_a_frozen_account_still_gives_what_it_holds(payments, ledger, order, ada, account, on):
    own = account()
    authorize(payments, order, ada, by_wallet(own), 600)
    ledger.freeze(own, "lost", key=books.key())
    assert capture(payments, order, 600).captured == 600
    assert on(own) == (400, 0)


def test_a_hold_that_an_operator_ended_refuses_the_capture_and_keeps_it_in_doubt_once_the_card_was_taken(
    payments, acquirer, ledger, order, ada, account, on
):
    own, with_card = account(), f"{order}-card"
    alone, both = by_wallet(own), split(wallet_part(own, 300), part("tok_visa", 1700))
    authorize(payments, order, ada, alone, 600)
    authorize(payments, with_card, ada, both)
    for name in (order, with_card):
        ledger.void(f"payment:{name}:0", key=books.key())
    for _ in range(2):
        refused = refusal(lambda: capture(payments, order, 600))
        assert (refused.code, refused.details["reason"]) == ("payments.capture_refused", "accounts.not_pending")
        unknown(lambda: capture(payments, with_card))
    void(payments, order, ada, alone, 600)
    assert (payments.get(order).status, on(own)) == ("voided", (1000, 0))
    assert movements(acquirer, with_card) == [("authorize", 1700), ("capture", 1700)]


def test_a_capture_that_is_refused_leaves_a_card_that_it_did_not_need_to_the_void(
    payments, acquirer, ledger, order, ada, account
):
    method = split(wallet_part(account(), 700), part("tok_visa", 1300))
    authorize(payments, order, ada, method)
    ledger.void(f"payment:{order}:0", key=books.key())
    assert refusal(lambda: capture(payments, order, 700)).code == "payments.capture_refused"
    void(payments, order, ada, method)
    assert shares(payments, order) == [("voided", 700, 0, 0), ("voided", 1300, 0, 0)]
    assert movements(acquirer, order) == [("authorize", 1300), ("void", 1300)]


def test_the_same_capture_at_once_takes_each_part_once(
    payments, payments_database, ledger_database, acquirer, order, ada, account, gift, on
):
    own = account()
    authorize(payments, order, ada, split(part(gift(500), 500), wallet_part(own, 700), part("tok_visa")))
    asked = [lambda each: capture(each, order)] * 4
    assert at_once(payments_database, acquirer.url, asked, lambda: _another(ledger_database)) == ["ok"] * 4
    assert (sums(payments, order), on(own)) == (("captured", 2000, 0), (300, 0))


# --- refunds


def paid(payments, order, ada, method, amount=2000):
    authorize(payments, order, ada, method, amount)
    return capture(payments, order, amount)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_refund_in_doubt_is_booked_once_and_holds_its_amount_until_then(
    payments, line, order, ada, account, on, fault
):
    own = account()
    paid(payments, order, ada, by_wallet(own), 600)
    line.faults["book"] = [fault]
    unknown(lambda: refund(payments, order, 400))
    left = refusal(lambda: refund(payments, order, 201, name="r2"))
    assert (left.code, left.details["left"]) == ("payments.refund_exceeds_capture", 200)
    assert refund(payments, order, 400).left == 200
    assert on(own) == (800, 0)


def test_a_refund_to_a_frozen_account_waits_and_the_rest_is_given_back_once(
    payments, payments_database, acquirer, ledger, order, ada, account, gift, on, taken
):
    own, voucher = account(), gift(500)
    paid(payments, order, ada, split(wallet_part(own, 700), part(voucher, 500), part("tok_visa")))
    ledger.freeze(own, "lost", key=books.key())
    for _ in range(3):
        assert refusal(lambda: refund(payments, order, 1900)).code == "payments.wallet_frozen"
        assert state_of(payments_database, f"{order}:r") is None
    assert shares(payments, order) == [
        ("captured", 700, 700, 0),
        ("refunded", 500, 500, 500),
        ("captured", 800, 800, 700),
    ]
    assert (on(own), taken(), balance(payments, ada)) == ((300, 0), 700, [(500, 500, 0)])
    assert refusal(lambda: refund(payments, order, 101, name="r2")).details["left"] == 100
    assert refusal(lambda: payments.refund(order, euro(5), key=f"{order}:r")).code == "command.key_reused"
    ledger.unfreeze(own, "found", key=books.key())
    for _ in range(2):
        assert refund(payments, order, 1900).left == 100
    assert (on(own), taken(), sums(payments, order)) == ((1000, 0), 0, ("captured", 2000, 1900))
    assert movements(acquirer, order)[2:] == [("refund", 700)]


@pytest.mark.parametrize("lost", ["", "before", "after"])
def test_what_a_closed_account_cannot_take_becomes_a_gift_card(
    payments, line, ledger, order, ada, account, on, taken, lost
):
    own = account(funds=700)
    paid(payments, order, ada, split(wallet_part(own, 700), part("tok_visa")))
    ledger.close(own, "done", key=books.key())
    line.faults["book"] = [lost]
    if lost:
        unknown(lambda: refund(payments, order, 900))
    for _ in range(2):
        given = refund(payments, order, 900)
        new = given.parts[0].gift_card_id
        assert given.parts == [
            RefundPart(payment_id=order, amount=700, gift_card_id=new, method="gift_card"),
            RefundPart(payment_id=order, amount=200),
        ]
    assert (balance(payments, ada), taken()) == ([(700, 700, 0)], 700)
    assert sums(payments, order) == ("captured", 2000, 900)


def test_an_account_that_was_closed_after_its_refund_was_booked_gets_no_gift_card_as_well(
    payments, line, ledger, order, ada, account
):
    own = account(funds=700)
    paid(payments, order, ada, by_wallet(own), 700)
    line.faults["book"] = ["after"]
    unknown(lambda: refund(payments, order, 700))
    ledger.book(books.entry(bank=-700, **{own: 700}), key=books.key())
    ledger.close(own, "done", key=books.key())
    back = RefundPart(payment_id=order, amount=700, account_id=own, method="wallet")
    assert refund(payments, order, 700).parts == [back]
    assert balance(payments, ada) == []


def test_a_refund_of_which_the_card_is_refused_and_the_account_is_closed_is_tried_anew_for_the_card_alone(
    payments, acquirer, ledger, order, ada, account
):
    own = account(funds=700)
    paid(payments, order, ada, split(part("tok_visa", 1300), wallet_part(own)))
    ledger.close(own, "done", key=books.key())
    payments.acquirer.refund(f"{order}:foreign", f"{order}:a", euro(1000))
    for _ in range(2):
        assert refusal(lambda: refund(payments, order, 2000)).code == "payments.refund_exceeds_capture"
        assert balance(payments, ada) == [(700, 700, 0)]
    assert sums(payments, order) == ("captured", 2000, 700)


def test_a_refund_to_a_gift_card_gives_accounts_their_own(payments, acquirer, order, ada, account, on):
    own = account()
    paid(payments, order, ada, split(wallet_part(own, 700), part("tok_visa")))
    for _ in range(2):
        given = refund(payments, order, 1000, "gift_card")
        assert [(each.method, each.amount) for each in given.parts] == [("gift_card", 300), ("wallet", 700)]
    assert (on(own), balance(payments, ada)) == ((1000, 0), [(300, 300, 0)])
    assert [kind for kind, _ in movements(acquirer, order)] == ["authorize", "capture"]


def test_refunds_at_once_give_back_no_more_than_was_taken(
    payments, payments_database, ledger_database, acquirer, order, ada, account, on
):
    own = account()
    paid(payments, order, ada, split(wallet_part(own, 700), part("tok_visa")))
    asked = [lambda each, n=n: refund(each, order, 800, name=f"r{n}") for n in range(4)]
    answers = at_once(payments_database, acquirer.url, asked, lambda: _another(ledger_database))
    assert answers == ["ok"] * 2 + ["payments.refund_exceeds_capture"] * 2
    assert on(own) == (1000, 0)
    assert sum(amount for kind, amount in movements(acquirer, order) if kind == "refund") == 900


def test_the_acquirers_statement_knows_nothing_of_accounts(
    payments_database, fresh_acquirer, line, order, ada, account
):
    payments, own = service_on(payments_database, fresh_acquirer.url, accounts=line), account()
    names = itertools.count()
    for amount in (2000, 1000, 600):
        each = f"{order}-{next(names)}"
        authorize(payments, each, ada, split(wallet_part(own, 700), part("tok_visa")))
        capture(payments, each, amount)
        refund(payments, each, amount)
    report = payments.reconcile()
    assert (report.compared, report.count) == (8, 0)
