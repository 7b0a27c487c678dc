"""A customer of a running Rialto: she buys, once with a card that fails, pays from her account, and asks customer
service, which returns goods for her and brings her to a person.

HTTP as any client would: `PORT=8000 python -m scripts.demo`; the books at the end are asked for at the broker, as
`nameko shell` would. What staff does, the operator of OPERATOR_EMAIL and OPERATOR_PASSWORD does; without them it is
left out. Exit code 0 if all ended as it should.
"""

import os
import secrets
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import yaml

from scripts.processes import ROOT

warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")  # known, and nothing that a user could do
from nameko.cli.main import setup_yaml_parser  # noqa: E402
from nameko.standalone.rpc import ClusterRpcProxy  # noqa: E402

END_S = 30.0
POLL_S = 0.05
BROKER_S = 10.0
LEARNS_S = 90.0
UNSETTLED = ("pending", "in_review", "rejecting", "cancelling")
WIDTH = 110
PARCEL_STATES = 3
ADDRESS = {
    "name": "Ada Demo",
    "line1": "1 Harbour Street",
    "city": "Rotterdam",
    "postal_code": "3011 AA",
    "country": "NL",
}
MARKS = {"ok": "✓", "refused": "✗", "unknown": "?", "undone": "↶"}


@dataclass
class Customer:
    """One customer's session."""

    http: httpx.Client
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One request; its JSON. A problem document ends the demo with its sentence."""
        headers = {**self.headers, **kwargs.pop("headers", {})}
        response = self.http.request(method, path, headers=headers, **kwargs)
        if response.is_error:
            sys.exit(f"{method} {path} answered {response.status_code}: {response.text}")
        return response.json() if response.content else None

    def begin(self, path: str, **asked: Any) -> dict[str, Any]:
        """Begin what a saga does, under a key of its own."""
        return dict(self.call("POST", path, json=asked, headers={"Idempotency-Key": secrets.token_hex(16)}))

    def sign_up(self) -> None:
        email, password = f"ada-{secrets.token_hex(4)}@rialto.example", secrets.token_urlsafe(12)
        self.call("POST", "/v1/users", json={"email": email, "password": password, "name": "Ada Demo"})
        self.log_in(email, password)
        print(f"  signed up and logged in as {email}")

    def log_in(self, email: str, password: str) -> None:
        tokens = self.call("POST", "/v1/sessions", json={"email": email, "password": password})
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    def fill_cart(self, query: str, lines: int) -> None:
        found = self.call("GET", "/v1/products", params={"query": query, "in_stock": "true", "limit": lines})["items"]
        print(f"  searched for {query!r}: {', '.join(product['name'] for product in found)}")
        for product in found:
            variant = next(each for each in product["variants"] if each["available"])
            self.call("PUT", f"/v1/cart/items/{variant['sku']}", json={"quantity": 1})
        quote = self.call("POST", "/v1/cart/quote", json={"shipping_address": ADDRESS})
        print(f"  filled the cart: {money(quote['total'])} in all, {money(quote['shipping'])} of it for shipping")

    def order(self, method: dict[str, Any], by: str) -> dict[str, Any]:
        """Place an order and print its timeline as it grows; answers the order at its end."""
        order = self.begin("/v1/orders", shipping_address=ADDRESS, payment_method=method)
        print(f"  ordered {order['id']} {by}")
        order = self.follow(f"/v1/orders/{order['id']}")
        print(f"  the order is {order['status']}, its payment {order['payment']['status']}{because(order)}\n")
        return order

    def follow(self, path: str, shown: int = 0) -> dict[str, Any]:
        """Print a timeline as it grows, without the lines shown before; answers what is there at its end."""
        print(f"\n      {'step':<20} {'service':<12} {'outcome':<9} {'ms':>5}")

        def ended(found: dict[str, Any]) -> bool:
            nonlocal shown
            shown += print_lines(found["timeline"][shown:])
            return found["status"] not in UNSETTLED

        found = self.wait(path, ended)
        print()
        return found

    def wait(self, path: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look there until it is as it should be; answers what is there then."""
        give_up_at = time.monotonic() + END_S
        while not until(found := self.call("GET", path)):
            if time.monotonic() > give_up_at:
                sys.exit(f"{path} is still {found['status']} after {END_S:.0f} s")
            time.sleep(POLL_S)
        return dict(found)

    def holds(self, account_id: str) -> int:
        balance = self.call("GET", f"/v1/accounts/{account_id}")["balance"]
        print(f"  the account holds {money(balance['available'])}")
        return int(balance["available"]["amount"])


@dataclass
class Conversation:
    """What a customer says to customer service, and what is said back, on the terminal."""

    customer: Customer
    path: str = ""

    def ask(self, text: str) -> dict[str, Any]:
        """Say something; the assistant's reply."""
        show("Ada", text)
        if self.path:
            reply = self.customer.call("POST", f"{self.path}/messages", json={"text": text})["reply"]
        else:
            begun = self.customer.call("POST", "/v1/conversations", json={"message": text})
            self.path, reply = f"/v1/conversations/{begun['id']}", begun["messages"][-1]
        show("assistant", reply["text"])
        for source in reply["sources"]:
            print(f"  {'':<10} from: {source['title']}, {source['url']}")
        return dict(reply)

    def action(self, action_id: str, *states: str) -> dict[str, Any]:
        """An action that it offered, once it is in one of these states; prints the last word."""

        def now(found: dict[str, Any]) -> dict[str, Any]:
            return next(each for said in found["messages"] for each in said["actions"] if each["id"] == action_id)

        found = self.customer.wait(self.path, lambda found: now(found)["status"] in states)
        show("Rialto", found["messages"][-1]["text"])
        return now(found)


def show(who: str, text: str) -> None:
    for number, line in enumerate(textwrap.wrap(text, WIDTH)):
        print(f"  {'' if number else who + ':':<10} {line}")


def print_lines(timeline: list[dict[str, Any]]) -> int:
    """Print these lines of a timeline; how many they are."""
    for entry in timeline:
        step, service, outcome, ms = (entry[name] for name in ("step", "service", "outcome", "ms"))
        print(f"    {MARKS[outcome]} {step:<20} {service or '':<12} {outcome:<9} {ms:>5}")
    return len(timeline)


def money(value: dict[str, Any]) -> str:
    return f"{value['amount'] // 100}.{value['amount'] % 100:02d} {value['currency']}"


def because(ended: dict[str, Any]) -> str:
    return f": {ended['reason']}" if ended.get("reason") else ""


def buys(customer: Customer) -> bool:
    """Whether a good card buys, and a bad one leaves all as it was."""
    print("\nA customer buys something:")
    customer.sign_up()
    customer.fill_cart("lamp", lines=2)
    good = customer.order({"type": "card", "token": "tok_visa"}, "with the card tok_visa")
    print("And again, with a card that the bank refuses in the end:")
    customer.fill_cart("lamp", lines=1)
    bad = customer.order({"type": "card", "token": "tok_capture_fails"}, "with the card tok_capture_fails")
    left = len(customer.call("GET", "/v1/cart")["lines"])
    bought = good["status"] in ("confirmed", "shipped", "delivered") and good["payment"]["status"] == "captured"
    return bought and (bad["status"], bad["payment"]["status"], left) == ("rejected", "voided", 1)


def pays_from_an_account(customer: Customer) -> bool:
    """Whether what was paid in pays an order, and comes back when that is cancelled."""
    print("She pays in, pays an order from her account, and cancels it:")
    account = customer.call("POST", "/v1/accounts", json={"currency": "EUR", "name": "Wallet"})["id"]
    card = {"type": "card", "token": f"tok_visa.{secrets.token_hex(4)}"}
    paid_in = customer.begin(
        "/v1/deposits", account_id=account, amount={"amount": 30_000, "currency": "EUR"}, payment_method=card
    )
    print(f"  paid in {money(paid_in['amount'])} with the card {card['token']}")
    paid_in = customer.follow(f"/v1/transactions/{paid_in['id']}")
    print(f"  the deposit is {paid_in['status']}{because(paid_in)}")
    before = customer.holds(account)
    order = customer.order({"type": "wallet", "account_id": account}, "from the account")
    paid = before - customer.holds(account)
    customer.call("POST", f"/v1/orders/{order['id']}/cancel", json={"reason": "changed my mind"})
    print("  cancelled it")
    cancelled = customer.follow(f"/v1/orders/{order['id']}", shown=len(order["timeline"]))
    print(f"  the order is {cancelled['status']}, its payment {cancelled['payment']['status']}")
    return (
        (paid_in["status"], paid, cancelled["status"]) == ("completed", order["totals"]["total"]["amount"], "cancelled")
        and cancelled["payment"]["status"] == "refunded"
        and customer.holds(account) == before == 30_000
    )


def asks(customer: Customer, staff: Customer | None) -> bool:
    """Whether a question is answered from its source, a return is refunded once confirmed, and a person answers."""
    print("\nShe asks customer service:")
    wait_for_answers(customer.http)
    talk, order = Conversation(customer), customer.call("GET", "/v1/orders")["items"][-1]
    answered = talk.ask("How long does a refund take?")["sources"]
    looked_up = talk.ask(f"And where is order {order['id'][:8]}?")["sources"]
    if staff is None:
        print("  (without OPERATOR_EMAIL and OPERATOR_PASSWORD nobody of staff takes back goods, or answers)")
        return bool(answered and looked_up)
    return bool(answered and looked_up) and returns(customer, staff, talk, order) and reaches(staff, talk)


def wait_for_answers(http: httpx.Client) -> None:
    """Customer service learns for a while after its start."""
    give_up_at = time.monotonic() + LEARNS_S
    while http.get("/v1/articles", params={"query": "refund"}).is_error and time.monotonic() < give_up_at:
        time.sleep(POLL_S)


def returns(customer: Customer, staff: Customer, talk: Conversation, order: dict[str, Any]) -> bool:
    """Whether goods go back by one word to customer service, and money by what staff finds."""
    path, article = f"/v1/orders/{order['id']}", order["lines"][0]
    deliver(staff, order["shipment"]["tracking"])
    shown = len(customer.wait(path, lambda found: found["status"] == "delivered")["timeline"])
    print("\n  its parcel has come\n")
    (offered,) = talk.ask(f"I want to return the {article['name']}, it is damaged")["actions"]
    customer.call("POST", f"{talk.path}/actions/{offered['id']}/confirm")
    print("\n  she confirms\n")
    begun = talk.action(offered["id"], "started", "refused")["subject_id"]
    staff.call("POST", f"/v1/returns/{begun}/lines", json={"decisions": [{"sku": article["sku"], "accept": True}]})
    print("\n  the goods come back, and staff accepts them")
    settled = customer.wait(f"{path}/returns/{begun}", lambda found: found["status"] == "settled")
    returned = customer.follow(path, shown)
    print(f"  the return is {settled['status']}, {money(returned['payment']['refunded'])} of the order are refunded\n")
    done = talk.action(offered["id"], "done", "refused")
    refunds = (returned["payment"]["refunded"], settled["refund"])
    return done["status"] == "done" and refunds == (article["line_total"], article["line_total"])


def deliver(staff: Customer, tracking: str) -> None:
    """Have the sandbox's carrier bring a parcel at once; it may be on its way already."""
    for _ in range(PARCEL_STATES):
        staff.http.post(f"/v1/shipments/{tracking}/advance", headers=staff.headers)


def reaches(staff: Customer, talk: Conversation) -> bool:
    """Whether a person claims what the assistant hands over, answers and solves it."""
    talk.ask("Can I talk to a person about the other lamp?")
    desk = f"/v1/desk{talk.path.removeprefix('/v1')}"
    summary = staff.call("GET", f"{desk}/context")["summary"]
    staff.call("POST", f"{desk}/claim")
    print(f"\n  staff claims the conversation, with a summary of {len(summary)} lines\n")
    staff.call("POST", f"{desk}/reply", json={"text": "Keep it, and enjoy it: it is one of the good ones."})
    staff.call("POST", f"{desk}/solve", json={})
    found = talk.customer.wait(talk.path, lambda found: found["status"] == "solved")
    show("staff", found["messages"][-1]["text"])
    rated = talk.customer.call("POST", f"{talk.path}/rating", json={"score": 5})
    print(f"\n  the conversation is {rated['status']}, and rated {rated['rating']} of 5")
    return (found["messages"][-1]["from"], rated["rating"]) == ("staff", 5)


def balances() -> bool:
    """Print the trial balance; whether it holds."""
    setup_yaml_parser()  # ${ENV:default} in config.yaml, as `nameko run` reads it
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    with ClusterRpcProxy(config, timeout=BROKER_S) as services:
        trial = services.accounts.trial_balance()
    print("\nThe books of all that, `n.rpc.accounts.trial_balance()` in the shell:\n")
    print(f"      {'accounts':<24} {'type':<10} {'debit':>12} {'credit':>12}")
    for line in trial["lines"]:
        debit, credit = (cents(line[side]) for side in ("debit", "credit"))
        print(f"      {line['role'] + ' ' + line['currency']:<24} {line['type']:<10} {debit:>12} {credit:>12}")
    sums = (cents(sum(line[side] for line in trial["lines"])) for side in ("debit", "credit"))
    print(f"      {'':<24} {'':<10} {next(sums):>12} {next(sums):>12}\n")
    return bool(trial["holds"])


def cents(amount: int) -> str:
    return f"{amount // 100}.{amount % 100:02d}" if amount else ""


def operator(http: httpx.Client) -> Customer | None:
    """Somebody of staff, if the environment says who."""
    email, password = os.environ.get("OPERATOR_EMAIL"), os.environ.get("OPERATOR_PASSWORD")
    if not (email and password):
        return None
    staff = Customer(http)
    staff.log_in(email, password)
    return staff


def main() -> int:
    with httpx.Client(base_url=f"http://127.0.0.1:{os.environ['PORT']}", timeout=20) as http:
        customer = Customer(http)
        as_it_should = (
            buys(customer) and pays_from_an_account(customer) and asks(customer, operator(http)) and balances()
        )
        print("All ended as it should." if as_it_should else "That is not how it should have ended.")
    return 0 if as_it_should else 1


if __name__ == "__main__":
    sys.exit(main())
