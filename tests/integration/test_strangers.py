"""Each method of each contract, called by those who may not and with what makes no sense, by stock nameko clients."""

import logging
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from nameko.exceptions import RemoteError, RpcTimeout
from nameko.standalone.rpc import ClusterRpcProxy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chassis.db import new_engine
from chassis.errors import ServiceError
from chassis.types import refusals_of
from tests.contract.services import SERVICES, promised
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, Shop, has_learned, running_companies, running_shop

LAMP, CARD = "LAMP-1", {"type": "card", "token": "tok_visa"}
EURO = {"amount": 100, "currency": "EUR"}
IBAN = "DE89370400440532013000"
LINES = [{"sku": LAMP, "quantity": 1}]
BACK = [{"sku": LAMP, "quantity": 1, "reason": "not mine"}]
SWAPS = [{"sku": LAMP, "new_sku": "LAMP-2", "quantity": 1}]
PRODUCT = {
    "name": "Desk",
    "description": "Oak.",
    "category": "home",
    "variants": [{"sku": "DESK-1", "price": EURO, "options": {"colour": "oak"}}],
}
CHANGES = {"name": "Mine now", "variants": PRODUCT["variants"], "retired": True}
METHODS = {f"{service}.{name}": method for service in SERVICES for name, method in promised(service).items()}
LEARNS_WITHIN_S = 90
ANSWERED = None
"""For a method that anybody may call."""


@dataclass
class Victim:
    """Somebody with an order on its way, an address, a card and a cart; and the key that they put into it with."""

    id: str
    order: str
    saga: str
    tracking: str
    product: str
    session: str
    refresh_token: str
    cart_key: str
    account: str
    transaction: str
    conversation: str
    export: str


def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def shop(migrated_config: dict[str, Any], tmp_path: Any) -> Iterator[Shop]:
    """Every service that has a contract."""
    with running_companies(tmp_path) as companies, running_shop(migrated_config, *companies, "registry") as running:
        yield running


@pytest.fixture
def victim(shop: Shop) -> Victim:
    return victim_of(shop)


def victim_of(shop: Shop) -> Victim:
    shop.sell(LAMP, 1999, stock=10)
    ada = shop.customer((LAMP, 2), email="ada@rialto.example")
    order = shop.ended(shop.place(ada)["id"])
    assert order["status"] == "confirmed"
    shop.rpc.users.put_address(ada, "home", ADDRESS, key=key())
    shop.rpc.users.add_payment_method(ada, "tok_visa", "Visa", "4242", key=key())
    cart_key = key()
    shop.rpc.carts.put_item({"customer_id": ada}, LAMP, 3, key=cart_key)
    tokens = shop.rpc.users.log_in("ada@rialto.example", "a-long-password")["tokens"]
    with read(shop, "users") as users:
        (session,) = users.execute("SELECT id FROM login_session").fetchone()
    saga = shop.rpc.orders.find_sagas()["items"][0]["id"]
    product = shop.rpc.products.find()["items"][0]["id"]
    tracking = order["shipment"]["tracking"]
    account = shop.rpc.accounts.open(ada, "EUR", "savings", key=key())["id"]
    deposit = shop.rpc.transactions.deposit(ada, account, {"amount": 5_000, "currency": "EUR"}, CARD, 10, key=key())
    assert deposit["status"] == "completed"
    refresh_token, transaction = tokens["refresh_token"], deposit["id"]
    wait_until(lambda: has_learned(shop.rpc.support), LEARNS_WITHIN_S)
    conversation = shop.rpc.support.begin({"customer_id": ada}, "Where is my order?", key=key())["id"]
    export = shop.rpc.users.request_export(ada, key=key())["id"]
    return Victim(
        ada,
        order["id"],
        saga,
        tracking,
        product,
        session,
        refresh_token,
        cart_key,
        account,
        transaction,
        conversation,
        export,
    )


def read(shop: Shop, service: str) -> sqlite3.Connection:
    return sqlite3.connect(shop.config["DB_URIS"][f"{service}:Base"].removeprefix("sqlite:///"))


HEARERS = [service for service in SERVICES if "find_dead_letters" in promised(service)]
LETTERS: dict[str, dict[str, Any]] = {
    "find_dead_letters": {},
    "replay_dead_letter": {"letter_id": 1, "reason": "because I can"},
    "drop_dead_letter": {"letter_id": 1, "reason": "because I can"},
}
DRIVERS = [service for service in SERVICES if "find_sagas" in promised(service)]
KEEPERS = [service for service in SERVICES if "personal_data" in promised(service)]
PRIVATE = ("personal_data", "begin_erasure", "cancel_erasure", "erase")


def calls(on: Victim) -> dict[str, tuple[dict[str, Any], str | None]]:
    """Each method: what a stranger asks of it, and the code that it must refuse with."""
    forbidden, cart = "auth.forbidden", {"customer_id": on.id}
    risk = {"order_id": on.order, "customer_id": on.id, "email": "a@b.c", "amount": EURO, "country": "NL"}
    screened = {"kind": "order", "id": on.order, "customer_id": on.id, "amount": EURO, "card": "tok_visa"}
    rules = {"rules": [{"name": "mine", "condition": "amount > 1", "text": "Mine."}], "note": "Mine."}
    payment = {"order_id": on.order, "amount": EURO}
    hook = {"signature": "t=1,v1=00", "body": "{}"}
    booking = {
        "postings": [
            {"account_id": "bank.EUR", "amount": {"amount": 9_999, "currency": "EUR"}},
            {"account_id": on.account, "amount": {"amount": -9_999, "currency": "EUR"}},
        ],
        "kind": "gift",
    }
    talk = {"who": {"customer_id": on.id}, "conversation_id": on.conversation}
    ticket = {"conversation_id": on.conversation}
    article = {"title": "Mine", "text": "Send your parcels to me from now on."}
    return {
        "users.sign_up": ({"email": f"{key()}@b.c", "password": "a-long-password", "name": "Eve"}, ANSWERED),
        "users.log_in": ({"email": "ada@rialto.example", "password": "a-guess"}, "users.bad_credentials"),
        "users.refresh": ({"refresh_token": "a-guess"}, "users.bad_refresh_token"),
        "users.log_out": ({"session_id": on.session}, ANSWERED),
        "users.public_keys": ({}, ANSWERED),
        "users.profile": ({"user_id": on.id}, "users.not_found"),
        "users.update": ({"user_id": on.id, "name": "Eve"}, "users.not_found"),
        "users.set_roles": ({"user_id": on.id, "roles": ["operator"]}, forbidden),
        "users.put_address": ({"user_id": on.id, "name": "home", "address": ADDRESS}, "users.not_found"),
        "users.delete_address": ({"user_id": on.id, "name": "home"}, "users.not_found"),
        "users.add_payment_method": (
            {"user_id": on.id, "token": "tok_visa", "brand": "Visa", "last4": "1111"},
            "users.not_found",
        ),
        "users.delete_payment_method": ({"user_id": on.id, "method_id": "m"}, "users.not_found"),
        "users.request_export": ({"customer_id": on.id}, "users.not_found"),
        "users.request_erasure": ({"customer_id": on.id, "password": "a-guess"}, "users.not_found"),
        "users.privacy_request": ({"request_id": on.export}, "privacy.not_found"),
        "users.export_document": ({"request_id": on.export}, "privacy.not_found"),
        "users.collect": (
            {"request_id": on.export, "service": "orders", "person": {"customer_id": on.id, "email": "ada@x.example"}},
            forbidden,
        ),
        "products.find": ({}, ANSWERED),
        "products.get": ({"product_id": on.product}, ANSWERED),
        "products.offers": ({"skus": [LAMP]}, ANSWERED),
        "products.categories": ({}, ANSWERED),
        "products.price_history": ({"sku": LAMP}, ANSWERED),
        "products.create": ({"product": PRODUCT}, forbidden),
        "products.update": ({"product_id": on.product, "changes": CHANGES}, forbidden),
        "products.import_products": ({"products": [PRODUCT]}, forbidden),
        "inventory.stock_of": ({"sku": LAMP}, forbidden),
        "inventory.reserve": ({"order_id": "mine", "lines": LINES}, forbidden),
        "inventory.release": ({"order_id": on.order, "lines": LINES}, forbidden),
        "inventory.commit": ({"order_id": on.order}, forbidden),
        "inventory.restock": ({"lines": LINES, "reason": "stolen"}, forbidden),
        "inventory.discard": ({"lines": LINES, "reason": "stolen"}, forbidden),
        "inventory.write_off": ({"lines": LINES, "reason": "stolen"}, forbidden),
        "inventory.adjust": ({"sku": LAMP, "quantity": -1, "reason": "stolen"}, forbidden),
        "inventory.receive": ({"lines": LINES, "reason": "stolen"}, forbidden),
        "inventory.audit": ({}, forbidden),
        "carts.create_guest": ({}, ANSWERED),
        "carts.get": ({"cart": cart}, "carts.not_found"),
        "carts.put_item": ({"cart": cart, "sku": LAMP, "quantity": 9}, "carts.not_found"),
        "carts.merge": ({"customer_id": on.id, "token": "t"}, "carts.not_found"),
        "carts.remove_ordered": ({"customer_id": on.id, "lines": LINES}, forbidden),
        "orders.quote": ({"cart": cart, "shipping_address": ADDRESS}, "carts.not_found"),
        "orders.place": ({"customer_id": on.id, "shipping_address": ADDRESS, "payment_method": CARD}, forbidden),
        "orders.get": ({"order_id": on.order}, "orders.not_found"),
        "orders.find": ({"customer_id": on.id}, ANSWERED),
        "orders.preview": ({"order_id": on.order, "wish": {"kind": "cancel"}}, "orders.not_found"),
        "orders.cancel": ({"order_id": on.order, "reason": "because I can"}, "orders.not_found"),
        "orders.change": ({"order_id": on.order, "shipping_address": ADDRESS}, "orders.not_found"),
        "orders.begin_return": ({"order_id": on.order, "lines": BACK}, "orders.not_found"),
        "orders.decide_return": ({"return_id": "r", "decisions": [{"sku": LAMP, "accept": True}]}, forbidden),
        "orders.begin_exchange": ({"order_id": on.order, "lines": SWAPS}, "orders.not_found"),
        "orders.returns": ({"order_id": on.order}, "orders.not_found"),
        "orders.get_return": ({"order_id": on.order, "return_id": "r"}, "orders.not_found"),
        "orders.exchanges": ({"order_id": on.order}, "orders.not_found"),
        "orders.get_exchange": ({"order_id": on.order, "exchange_id": "e"}, "orders.not_found"),
        "orders.money": ({}, forbidden),
        "orders.saga_health": ({}, forbidden),
        "orders.incidents": ({}, forbidden),
        "orders.repair": ({}, forbidden),
        "payments.authorize": (payment | {"method": CARD}, forbidden),
        "payments.void": (payment | {"method": CARD}, forbidden),
        "payments.capture": (payment, forbidden),
        "payments.refund": (payment, forbidden),
        "payments.get": ({"order_id": on.order}, "payments.not_found"),
        "payments.acquirer_hook": (hook, "payments.bad_signature"),
        "payments.check": ({"amount": EURO, "method": CARD, "customer_id": on.id}, forbidden),
        "payments.issue_gift_card": ({"customer_id": on.id, "amount": EURO}, forbidden),
        "payments.gift_cards": ({"customer_id": on.id}, forbidden),
        "payments.void_unowned": ({"authorize_key": "mine"}, forbidden),
        "payments.pay_out": ({"payout_id": "mine", "amount": EURO, "iban": IBAN, "name": "Eve"}, forbidden),
        "payments.get_payout": ({"payout_id": "t"}, "payments.not_found"),
        "payments.bank_hook": (hook, "payments.bad_signature"),
        "payments.disputes": ({}, forbidden),
        "payments.dispute": ({"dispute_id": "d"}, forbidden),
        "payments.refresh_dispute": ({"dispute_id": "d"}, forbidden),
        "payments.audit_gift_cards": ({}, forbidden),
        "payments.balances": ({}, forbidden),
        "payments.reconcile": ({}, forbidden),
        "shipping.quote": ({"address": ADDRESS, "items": 1}, ANSWERED),
        "shipping.book": ({"order_id": on.order, "address": ADDRESS, "items": 1, "email": "a@b.c"}, forbidden),
        "shipping.cancel": ({"order_id": on.order}, forbidden),
        "shipping.hold": ({"order_id": on.order}, forbidden),
        "shipping.unhold": ({"order_id": on.order}, forbidden),
        "shipping.amend": ({"order_id": on.order, "address": ADDRESS, "items": 1}, forbidden),
        "shipping.refresh": ({"parcel_id": on.order}, forbidden),
        "shipping.reconcile": ({}, forbidden),
        "shipping.get": ({"order_id": on.order}, "shipping.not_found"),
        "shipping.advance": ({"tracking": on.tracking}, forbidden),
        "shipping.carrier_hook": (hook, "shipping.bad_signature"),
        "notifications.find": ({}, forbidden),
        "notifications.resend": ({"subject_id": on.order}, forbidden),
        "risk.assess": (risk, forbidden),
        "risk.forget": (risk, forbidden),
        "risk.get": ({"order_id": on.order}, forbidden),
        "risk.screen": ({"subject": screened}, forbidden),
        "risk.unscreen": ({"subject": screened}, forbidden),
        "risk.screening": ({"decision_id": "d"}, forbidden),
        "risk.screenings": ({"subject": on.order}, forbidden),
        "risk.replay": ({"decision_id": "d"}, forbidden),
        "risk.rule_set": ({}, forbidden),
        "risk.draft": ({"content": rules}, forbidden),
        "risk.check": ({"content": rules}, forbidden),
        "risk.advance": ({"version": 1, "state": "live"}, forbidden),
        "risk.denied": ({}, forbidden),
        "risk.deny": ({"kind": "email", "value": "ada@rialto.example", "reason": "because I can"}, forbidden),
        "risk.allow": ({"kind": "email", "value": "ada@rialto.example"}, forbidden),
        "risk.reviews": ({}, forbidden),
        "risk.claim": ({"review_id": "r"}, forbidden),
        "risk.approve": ({"review_id": "r", "reason": "because I can"}, forbidden),
        "risk.refuse": ({"review_id": "r", "reason": "because I can"}, forbidden),
        "accounts.open": ({"customer_id": on.id, "currency": "EUR", "name": "mine"}, forbidden),
        "accounts.get": ({"account_id": on.account}, "accounts.not_found"),
        "accounts.of_customer": ({"customer_id": on.id}, forbidden),
        "accounts.entries": ({"account_id": on.account}, "accounts.not_found"),
        "accounts.balance_at": ({"account_id": on.account, "at": "2026-01-01T00:00:00Z"}, "accounts.not_found"),
        "accounts.statement": ({"account_id": on.account, "month": "2026-01"}, "accounts.not_found"),
        "accounts.book": ({"entry": booking}, forbidden),
        "accounts.book_batch": ({"entries": [booking | {"key": "k"}]}, forbidden),
        "accounts.hold": ({"hold_id": "h", "entry": booking}, forbidden),
        "accounts.release": ({"hold_id": "h", "entry": booking}, forbidden),
        "accounts.settle": ({"hold_id": "h"}, forbidden),
        "accounts.void": ({"hold_id": "h"}, forbidden),
        "accounts.entry": ({"entry_id": "1"}, forbidden),
        "accounts.freeze": ({"account_id": on.account, "reason": "because I can"}, forbidden),
        "accounts.unfreeze": ({"account_id": on.account, "reason": "because I can"}, forbidden),
        "accounts.close": ({"account_id": on.account, "reason": "because I can"}, forbidden),
        "accounts.trial_balance": ({}, forbidden),
        "accounts.sums_by_subject": ({"prefix": "order:"}, forbidden),
        "accounts.verify": ({}, forbidden),
        "accounts.propose": ({"entry": booking, "reason": "because I can"}, forbidden),
        "accounts.approve": ({"proposal_id": "p"}, forbidden),
        "accounts.decline": ({"proposal_id": "p", "reason": "because I can"}, forbidden),
        "accounts.proposals": ({}, forbidden),
        "transactions.deposit": (
            {"customer_id": on.id, "account_id": on.account, "amount": EURO, "method": CARD},
            forbidden,
        ),
        "transactions.withdraw": (
            {"customer_id": on.id, "account_id": on.account, "amount": EURO, "iban": IBAN},
            forbidden,
        ),
        "transactions.transfer": (
            {"customer_id": on.id, "from_account": on.account, "to_account": "mine", "amount": EURO},
            forbidden,
        ),
        "transactions.reverse": ({"transaction_id": on.transaction, "reason": "because I can"}, forbidden),
        "transactions.get": ({"transaction_id": on.transaction}, "transactions.not_found"),
        "transactions.find": ({"customer_id": on.id}, forbidden),
        "transactions.deposits": ({}, forbidden),
        "support.begin": ({"who": {"customer_id": on.id}, "message": "Hello"}, forbidden),
        "support.say": (talk | {"text": "Hello"}, "support.not_found"),
        "support.confirm": (talk | {"action_id": "a"}, "support.not_found"),
        "support.decline": (talk | {"action_id": "a"}, "support.not_found"),
        "support.hand_over": (talk | {"reason": "because I can"}, "support.not_found"),
        "support.rate": (talk | {"score": 1}, "support.not_found"),
        "support.get": (talk, "support.not_found"),
        "support.events": (talk, "support.not_found"),
        "support.find": ({"customer_id": on.id}, forbidden),
        "support.search": ({"query": "cancel my order"}, ANSWERED),
        "support.article": ({"topic": "cancel_order", "language": "en"}, ANSWERED),
        "support.articles": ({}, ANSWERED),
        "support.versions": ({"topic": "cancel_order", "language": "en"}, forbidden),
        "support.write_article": (
            {"topic": "cancel_order", "language": "en", "article": article, "version": 1},
            forbidden,
        ),
        "support.vote": (
            {
                "who": {"customer_id": on.id},
                "topic": "cancel_order",
                "language": "en",
                "version": 1,
                "helpful": False,
            },
            forbidden,
        ),
        "support.unanswered": ({}, forbidden),
        "support.tickets": ({}, forbidden),
        "support.context": (ticket, forbidden),
        "support.claim": (ticket, forbidden),
        "support.release": (ticket, forbidden),
        "support.transfer": (ticket | {"queue": "en-orders"}, forbidden),
        "support.reply": (ticket | {"text": "Hello"}, forbidden),
        "support.note": (ticket | {"text": "Hello"}, forbidden),
        "support.solve": (ticket, forbidden),
        "support.mark": (ticket | {"priority": "urgent"}, forbidden),
        "support.propose": (ticket | {"kind": "cancel", "order_id": on.order}, forbidden),
        "support.act": (ticket | {"action_id": "a"}, forbidden),
        "support.canned": ({}, forbidden),
        "support.write_canned": ({"language": "en", "title": "Mine", "text": "Mine."}, forbidden),
        "support.report": ({"since": "2026-01-01", "until": "2026-01-02"}, forbidden),
        "registry.overview": ({}, forbidden),
        "registry.describe": ({"service": "users"}, forbidden),
        "registry.events": ({}, forbidden),
        "registry.targets": ({}, forbidden),
        **{
            f"{service}.{method}": (arguments, forbidden)
            for service in HEARERS
            for method, arguments in LETTERS.items()
        },
        **{
            f"{service}.{method}": ({"person": {"customer_id": on.id, "email": "ada@rialto.example"}}, forbidden)
            for service in KEEPERS
            for method in PRIVATE
        },
        **{
            f"{service}.{method}": (arguments, forbidden)
            for service in DRIVERS
            for method, arguments in {
                "find_sagas": {},
                "get_saga": {"saga_id": on.saga},
                "operate_saga": {"saga_id": on.saga, "action": "pause", "ver": 1, "reason": "because I can"},
            }.items()
        },
    }


def ask(rpc: Any, name: str, /, **arguments: Any) -> Any:
    service, _, method = name.partition(".")
    return getattr(getattr(rpc, service), method)(**arguments)


def is_command(name: str) -> bool:
    return "key" in METHODS[name].__annotations__


def refusal_of(rpc: Any, name: str, /, **arguments: Any) -> tuple[Any, str | None]:
    try:
        return ask(rpc, name, **arguments), ANSWERED
    except ServiceError as exc:
        return None, exc.code


def state(shop: Shop, of: Victim) -> dict[str, Any]:
    """All that a stranger might have changed."""
    rpc = shop.rpc
    return {
        "profile": rpc.users.profile(of.id),
        "cart": rpc.carts.get({"customer_id": of.id}),
        "orders": rpc.orders.find(),
        "payment": rpc.payments.get(of.order),
        "shipment": rpc.shipping.get(of.order),
        "account": rpc.accounts.get(of.account),
        "transactions": rpc.transactions.find(of.id),
        "conversation": rpc.support.get({"customer_id": of.id}, of.conversation),
        "conversations": rpc.support.find(of.id),
        "assessment": rpc.risk.get(of.order),
        "rules": rpc.risk.rule_set(),
        "denied": rpc.risk.denied(),
        "reviews": rpc.risk.reviews(),
        "product": rpc.products.get(of.product),
        "products": rpc.products.find(),
        "stock": rpc.inventory.audit(),
        "counts": rpc.inventory.stock_of(LAMP),
        "money": shop.movements(),
    }


def inbox(shop: Shop, used: str) -> list[str]:
    """The services that remember a key."""
    found = []
    for service in SERVICES:
        with read(shop, service) as database:
            if database.execute("SELECT 1 FROM inbox WHERE key LIKE ?", (f"%{used}",)).fetchone():
                found.append(service)
    return found


def test_every_method_is_called_as_a_stranger() -> None:
    victim = Victim("c", "o", "s", "t", "p", "s", "r", "k", "a", "t", "v", "e")
    assert calls(victim).keys() == METHODS.keys()


@pytest.mark.parametrize("role", ["nobody", "customer"])
def test_a_stranger_reads_and_changes_nothing_of_anybody_elses(shop: Shop, victim: Victim, role: str) -> None:
    caller = {"roles": []} if role == "nobody" else {"customer_id": shop.customer(), "roles": ["customer"]}
    before = state(shop, victim)
    expected, got, remembered, answers = {}, {}, {}, {}
    with ClusterRpcProxy(shop.config, context_data={"caller": caller}, timeout=20) as rpc:
        for name, (arguments, code) in calls(victim).items():
            extra = {"key": key()} if is_command(name) else {}
            expected[name] = code
            answers[name], got[name] = refusal_of(rpc, name, **arguments, **extra)
            if extra and got[name] == "auth.forbidden" and inbox(shop, extra["key"]):
                remembered[name] = inbox(shop, extra["key"])
    assert got == expected
    assert remembered == {}
    assert answers["orders.find"] == {"items": [], "next_cursor": None}
    assert state(shop, victim) == before
    assert shop.rpc.users.refresh(victim.refresh_token)["token_type"] == "Bearer"  # nobody ended the session


MALFORMED: list[Any] = ["operator", [], 1, True, {"roles": "operator"}, {"roles": [["operator"]]}, {"service": 1}]


def test_a_malformed_caller_is_nobody(shop: Shop) -> None:
    for caller in MALFORMED:
        with ClusterRpcProxy(shop.config, context_data={"caller": caller}, timeout=20) as rpc:
            assert refusal_of(rpc, "inventory.audit") == (None, "auth.forbidden"), caller
            assert refusal_of(rpc, "orders.find", customer_id="c") == ({"items": [], "next_cursor": None}, ANSWERED)


def test_a_strangers_guess_of_a_key_takes_it_from_nobody(shop: Shop) -> None:
    shop.sell(LAMP, 1999, stock=5)
    held = {"order_id": "o-1", "lines": LINES}
    with ClusterRpcProxy(shop.config, context_data={"caller": {"roles": []}}, timeout=20) as rpc:
        for name in ("inventory.reserve", "inventory.release", "inventory.commit"):
            arguments = held if name != "inventory.commit" else {"order_id": "o-1"}
            assert refusal_of(rpc, name, **arguments, key="s-1:reserve_stock") == (None, "auth.forbidden")
        assert shop.rpc.inventory.reserve(**held, key="s-1:reserve_stock")["status"] == "held"
        assert refusal_of(rpc, "inventory.release", **held, key="s-1:reserve_stock") == (None, "auth.forbidden")
    assert shop.stock(LAMP) == (4, 1, 0)


def test_another_customers_very_key_and_input_give_no_stored_answer(shop: Shop, victim: Victim) -> None:
    arguments = {"cart": {"customer_id": victim.id}, "sku": LAMP, "quantity": 3, "key": victim.cart_key}
    assert ask(shop.rpc, "carts.put_item", **arguments)["lines"] == [{"sku": LAMP, "quantity": 3}]
    for caller in ({"roles": []}, {"customer_id": "eve", "roles": ["customer"]}):
        with ClusterRpcProxy(shop.config, context_data={"caller": caller}, timeout=20) as rpc:
            assert refusal_of(rpc, "carts.put_item", **arguments) == (None, "command.key_reused")


# --- garbage

ANY: list[Any] = [None, "\0", "\ud800", 2**70, "x" * 400, {"\0": "\ud800"}]
INSTEAD: list[Any] = [*ANY, "", "a\0b", 2**31, 2**63, -1, -(2**63) - 1, 1.5, float("nan"), float("inf"), True, [], {}]


def spoiled(value: Any) -> list[Any]:
    """Garbage in the place of each part of a value."""
    if isinstance(value, dict):
        wrong = [{**value, name: bad} for name, part in value.items() for bad in ANY + spoiled(part)]
        missing = [{name: part for name, part in value.items() if name != left_out} for left_out in value]
        return [*wrong, *missing, {**value, "\ud800": 1}]
    if isinstance(value, list):
        return [[bad] for bad in ANY + spoiled(value[0])] + [value * 2000]
    return []


def bad_calls(name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    full = arguments | ({"key": "good"} if is_command(name) else {})
    found = [{**full, "nobody_knows_this": 1}]
    found += [{other: value for other, value in full.items() if other != missing} for missing in full]
    for field, value in arguments.items():
        fresh = [{"key": key()} if is_command(name) else {} for _ in range(200)]
        found += [{**full, **new, field: bad} for new, bad in zip(fresh, INSTEAD + spoiled(value), strict=False)]
    if is_command(name):
        found += [{**full, "key": bad} for bad in INSTEAD]
    return found


@pytest.fixture
def shop_on_any_database(config: dict[str, Any], database_uri: Any, tmp_path: Any, caplog: Any) -> Any:
    caplog.set_level(logging.ERROR, logger="nameko.containers")  # as config.yaml says: no traceback for a refusal
    config["DB_URIS"] = {name: database_uri(name.partition(":")[0]) for name in config["DB_URIS"]}
    with (
        running_companies(tmp_path) as companies,
        running_shop(config, *companies, "registry") as running,
    ):
        yield running


def test_garbage_is_refused_by_a_listed_code_and_every_service_lives_on(shop_on_any_database: Shop) -> None:
    shop = shop_on_any_database
    victim = Victim("c-1", "o-1", "s-1", "t-1", "p-1", "s-1", "r-1", "k-1", "a-1", "t-1", "v-1", "e-1")
    wrong, asked = [], 0
    for name, (arguments, _) in calls(victim).items():
        for bad in bad_calls(name, arguments):
            asked += 1
            try:
                _, code = refusal_of(shop.rpc, name, **bad)
            except (RemoteError, RpcTimeout) as exc:
                wrong.append(f"{name} {str(bad)[:200]}: {type(exc).__name__} {str(exc)[:300]}")
            else:
                if code is not ANSWERED and code not in refusals_of(METHODS[name]):
                    wrong.append(f"{name} {str(bad)[:200]}: {code}, which it does not list")
    assert not wrong, "\n".join(wrong)
    assert asked > 1500
    assert shop.rpc.inventory.audit()["broken"] == []
    buyer = shop.customer((LAMP, 1)) if not shop.sell(LAMP, 1999, stock=10) else ""
    assert shop.ended(shop.place(buyer)["id"])["status"] == "confirmed"


def test_a_database_error_tells_no_values(tmp_path: Any) -> None:
    engine = new_engine(f"sqlite:///{tmp_path}/any.db", pool_size=1)
    with engine.connect() as connection, pytest.raises(DBAPIError) as failed:
        connection.execute(text("SELECT * FROM nothing WHERE email = :email"), {"email": "ada@rialto.example"})
    assert "nothing" in str(failed.value)
    assert "ada@rialto.example" not in str(failed.value)
    engine.dispose()
