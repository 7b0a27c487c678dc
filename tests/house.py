"""A bank to be tried out: the whole shop with its companies, and what customers, staff and the bank do there."""

import sqlite3
import time
import uuid
from contextlib import contextmanager

import httpx

from chassis.outside import sign
from tests.sandboxes import receiving_hooks, running_acquirer, running_bank, running_carrier, wait_until
from tests.shop import running_shop

IBAN = "DE89370400440532013000"
FEE = 50
"""Of a withdrawal, by config.yaml."""
NOTHING = {"posted": 0, "pending_in": 0, "pending_out": 0, "available": 0}


@contextmanager
def running_house(config, folder):
    """Every service, and the companies, whose calls are kept until somebody hands them on."""
    with receiving_hooks() as of_bank, receiving_hooks() as of_acquirer:
        of_bank.secret, of_acquirer.secret = config["bank_hook_secret"], config["acquirer_hook_secret"]
        with (
            running_acquirer(folder, of_acquirer) as acquirer,
            running_carrier(folder, auto_s=0) as carrier,
            running_bank(folder, of_bank) as bank,
            running_shop(
                config, acquirer, carrier, bank_url=bank.url, seal_every_s=0.1, risk_expire_every_s=0.2
            ) as shop,
        ):
            shop.bank, shop.handed = bank, 0
            shop.ada, shop.ben = shop.customer(), shop.customer()
            yield shop


def euro(amount):
    return {"amount": amount, "currency": "EUR"}


def key():
    return uuid.uuid4().hex


def account(house, customer_id, funds=0):
    account_id = house.rpc.accounts.open(customer_id, "EUR", "savings", key=key())["id"]
    if funds:
        postings = [
            {"account_id": "bank.EUR", "amount": euro(funds)},
            {"account_id": account_id, "amount": euro(-funds)},
        ]
        house.rpc.accounts.book({"kind": "paid_in", "postings": postings}, key=key())
    return account_id


def balance(house, account_id):
    return {name: money["amount"] for name, money in house.rpc.accounts.get(account_id)["balance"].items()}


def holding(amount):
    """A balance with nothing on its way."""
    return NOTHING | {"posted": amount, "available": amount}


def roles(house):
    """What each role has, debits above zero; after the books were looked at as a whole."""
    trial = house.rpc.accounts.trial_balance()
    assert trial["holds"]
    verified = wait_until(lambda: _sealed(house.rpc.accounts.verify()))
    assert (verified["holds"], verified["broken"]) == (True, [])
    sums = {line["role"]: line["debit"] - line["credit"] for line in trial["lines"]}
    return {role: amount for role, amount in sums.items() if amount}


def _sealed(verified):
    return verified if not verified["unsealed"] else None


def in_status(house, transaction_id, *statuses):
    def look():
        found = house.rpc.transactions.get(transaction_id)
        return found if found["status"] in statuses else None

    return wait_until(look, 20)


def ended(house, begun):
    return in_status(house, begun["id"], "completed", "rejected", "reversed")


def transfer(house, of, to, amount):
    return house.rpc.transactions.transfer(house.ada, of, to, euro(amount), "rent", key=key())


def deposit(house, to, amount, token="tok_visa"):
    card = {"type": "card", "token": token}
    return house.rpc.transactions.deposit(house.ada, to, euro(amount), card, key=key())


def withdraw(house, of, amount, iban=IBAN):
    return house.rpc.transactions.withdraw(house.ada, of, euro(amount), iban, key=key())


def reverse(house, transaction, amount=None):
    asked = None if amount is None else euro(amount)
    return ended(house, house.rpc.transactions.reverse(transaction["id"], "a mistake", asked, key=key()))


def at_bank(house, path, transaction, later_s=0, **body):
    """Have the bank do something with a withdrawal, and hand on what it calls about it, signed at the moment to which
    our clock was shifted."""
    with sqlite3.connect(house.bank.db) as db:
        (payout,) = db.execute("SELECT key FROM payouts WHERE reference = ?", (transaction["id"],)).fetchone()
    assert httpx.post(f"{house.bank.url}/{path}", json={"key": payout, **body}).status_code == 200
    hooks = house.bank.hooks.received
    wait_until(lambda: len(hooks) > house.handed)
    hook = hooks[house.handed]
    house.handed += 1
    signature = sign(house.bank.hooks.secret, hook.body, int(time.time()) + later_s)
    house.rpc.payments.bank_hook(signature, hook.body.decode(), key="hook")


def sent(house):
    with sqlite3.connect(house.bank.db) as db:
        return db.execute("SELECT kind, amount FROM movements ORDER BY id").fetchall()


def letters(house):
    return sorted(mail["subject"] for mail in house.rpc.notifications.find(None, 100))


def review_of(house, transaction):
    """What waits for staff, once it is there; claimed."""

    def look():
        found = [each for each in house.rpc.risk.reviews("open")["items"] if each["subject_id"] == transaction["id"]]
        return found[0] if found else None

    review = wait_until(look)
    house.rpc.risk.claim(review["id"], key=key())
    return review


def used(house, kind):
    """What counts against everybody's limits, by its kind; read from the database."""
    query = "SELECT sum(amount) FROM usage WHERE kind = ?"
    with sqlite3.connect(house.config["DB_URIS"]["transactions:Base"].removeprefix("sqlite:///")) as db:
        return db.execute(query, (kind,)).fetchone()[0] or 0


def kept_for_sagas(house, service):
    """How many inbox rows a service keeps for transactions' sagas."""
    query = "SELECT count(*) FROM inbox WHERE saga_owner = 'transactions'"
    with sqlite3.connect(house.config["DB_URIS"][f"{service}:Base"].removeprefix("sqlite:///")) as db:
        return db.execute(query).fetchone()[0]
