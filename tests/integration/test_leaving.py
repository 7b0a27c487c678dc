"""Customers who ask what is kept about them, and who leave: every service on a real broker, over RPC and over HTTP."""

import sqlite3
import uuid

import httpx
import pytest
from nameko.containers import ServiceContainer
from nameko.testing.utils import find_free_port

from chassis.errors import ServiceError
from contracts.catalogue import CONTRACTS
from gateway import GatewayService
from services.users.flows import PARTICIPANTS
from tests.amending import reach
from tests.house import account, euro, key, roles
from tests.sandboxes import wait_until
from tests.shop import running_companies, running_shop, service_class

LAMP, NAME, STREET, PASSWORD = "LAMP-1", "Annabel Lee", "17 Kingdom by the Sea", "a-long-password"
ADDRESS = {"name": NAME, "line1": STREET, "city": "Delft", "postal_code": "2611", "country": "NL"}
OPERATOR = {"email": "operator@rialto.example", "password": "operator-password"}


@pytest.fixture
def shop(migrated_config, tmp_path):
    with (
        running_companies(tmp_path) as companies,
        running_shop(migrated_config, *companies, prune_every_s=1) as running,
    ):
        running.sell(LAMP, 1999, stock=9)
        running.email = f"{uuid.uuid4().hex[:12]}@rialto.example"
        running.ann = running.rpc.users.sign_up(running.email, PASSWORD, NAME, key=key())["id"]
        yield running


@pytest.fixture
def web(shop):
    """A client of the shop's gateway."""
    port = find_free_port()
    gateway = ServiceContainer(GatewayService, shop.config | {"WEB_SERVER_ADDRESS": f"127.0.0.1:{port}"})
    gateway.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield client
    gateway.stop()


def ordered(shop, token="tok_visa"):
    cart = {"customer_id": shop.ann}
    shop.rpc.carts.put_item(cart, LAMP, 1, key=key())
    return shop.rpc.orders.place(shop.ann, ADDRESS, {"type": "card", "token": token}, key=key())


def ended(shop, request, limit_s=30):
    def look():
        found = shop.rpc.users.privacy_request(request["id"])
        return found if found["status"] != "running" else None

    return wait_until(look, limit_s)


def erase(shop):
    return ended(shop, shop.rpc.users.request_erasure(shop.ann, PASSWORD, key=key()))


def erase_at_last(shop):
    """As soon as what was begun before is over."""

    def look():
        found = erase(shop)
        return found if found["status"] == "erased" else None

    return wait_until(look, 30)


def where(shop, *words):
    """The services in whose database one of these words stands."""
    found = set()
    for name in CONTRACTS:
        with sqlite3.connect(shop.config["DB_URIS"][f"{name}:Base"].removeprefix("sqlite:///")) as database:
            text = "\n".join(database.iterdump())
        found |= {name} if any(word in text for word in words) else set()
    return found


def test_an_export_holds_what_was_done(shop):
    order = shop.ended(ordered(shop)["id"])
    request = ended(shop, shop.rpc.users.request_export(shop.ann, key=key()))
    assert request["status"] == "ready"
    document = shop.rpc.users.export_document(request["id"])
    assert {part["service"]: part["complete"] for part in document["parts"]} == dict.fromkeys(PARTICIPANTS, True)
    told = {part["service"]: str(part["items"]) for part in document["parts"]}
    assert shop.email in told["users"]
    assert {name for name in ("orders", "payments", "shipping") if order["id"] in told[name]} == {
        "orders",
        "payments",
        "shipping",
    }
    assert order["shipment"]["tracking"] in told["shipping"]
    assert STREET in told["orders"]


def test_who_leaves_is_forgotten_by_every_service(shop):
    order = shop.ended(ordered(shop)["id"])
    for _ in range(3):
        shop.rpc.shipping.advance(order["shipment"]["tracking"], key=key())
    reach(shop, order["id"], "delivered")
    wait_until(lambda: "notifications" in where(shop, shop.email))
    assert where(shop, shop.email, STREET) >= {"users", "orders", "shipping", "notifications"}
    assert erase_at_last(shop)["open"] == []
    wait_until(lambda: where(shop, shop.email, NAME, STREET) == set(), 15)
    with pytest.raises(ServiceError) as refusal:
        shop.rpc.users.profile(shop.ann)
    assert refusal.value.code == "users.not_found"
    with pytest.raises(ServiceError) as refusal:
        shop.rpc.carts.put_item({"customer_id": shop.ann}, LAMP, 1, key=key())
    assert refusal.value.code == "privacy.leaving"
    again = shop.rpc.users.sign_up(shop.email, PASSWORD, NAME, key=key())
    assert again["id"] != shop.ann


def test_who_has_an_order_that_runs_stays_and_may_leave_after_it(shop):
    order = ordered(shop, "tok_challenge")
    wait_until(lambda: shop.rpc.orders.get(order["id"])["payment"]["status"] == "requires_action")
    request = erase(shop)
    assert request["status"] == "refused"
    assert [said for said in request["open"] if said.startswith("orders:") and order["id"] in said] != []
    assert shop.rpc.orders.get(order["id"])["status"] == "pending"
    assert shop.rpc.users.profile(shop.ann)["name"] == NAME
    assert shop.rpc.users.log_in(shop.email, PASSWORD)["user"]["id"] == shop.ann
    shop.rpc.carts.put_item({"customer_id": shop.ann}, LAMP, 2, key=key())
    shop.rpc.orders.cancel(order["id"], "changed my mind", key=key())
    shop.ended(order["id"])
    assert erase_at_last(shop)["open"] == []


def test_an_erasure_waits_for_a_service_that_is_down(shop):
    shop.rpc.carts.put_item({"customer_id": shop.ann}, LAMP, 1, key=key())
    shop.stop("carts")
    request = shop.rpc.users.request_erasure(shop.ann, PASSWORD, key=key())

    def is_waiting():
        (saga,) = shop.rpc.users.find_sagas(name="erase")["items"]
        steps = {each["step"]: each["outcome"] for each in shop.rpc.users.get_saga(saga["id"])["timeline"]}
        return steps.get("begin_carts") == "unknown" and steps.get("begin_users") == "ok"

    wait_until(is_waiting)
    with pytest.raises(ServiceError) as refusal:
        shop.rpc.users.log_in(shop.email, PASSWORD)
    assert refusal.value.code == "privacy.leaving"
    back = ServiceContainer(service_class("carts"), shop.config)
    back.start()
    try:
        assert ended(shop, request)["status"] == "erased"
        assert shop.cart(shop.ann) == []
    finally:
        back.stop()


def test_the_books_are_after_an_erasure_what_they_were_before(house):
    house.email, house.ann = None, house.ada
    of, to = account(house, house.ada, 10_000), account(house, house.ben)
    house.rpc.transactions.transfer(house.ada, of, to, euro(10_000), "rent", 20.0, key=key())
    before = (roles(house), house.rpc.accounts.trial_balance()["lines"])
    assert erase(house)["status"] == "erased"
    assert (roles(house), house.rpc.accounts.trial_balance()["lines"]) == before
    assert house.rpc.accounts.get(to)["balance"]["posted"]["amount"] == 10_000


def test_over_http_a_customer_fetches_everything_and_leaves(shop, web):
    tokens = web.post("/v1/sessions", json={"email": shop.email, "password": PASSWORD}).json()
    mine = {"Authorization": f"Bearer {tokens['access_token']}"}
    begun = web.post("/v1/me/exports", headers=mine)
    assert (begun.status_code, begun.json()["kind"], begun.json()["open"]) == (202, "export", [])
    place = begun.headers["Location"]
    assert place == f"/v1/me/exports/{begun.json()['id']}"
    wait_until(lambda: web.get(place, headers=mine).json()["status"] == "ready")
    file = web.get(f"{place}/file", headers=mine)
    assert (file.status_code, file.headers["Cache-Control"]) == (200, "no-store")
    assert file.headers["Content-Disposition"] == f'attachment; filename="rialto-{begun.json()["id"]}.json"'
    assert {part["service"] for part in file.json()["parts"]} == set(PARTICIPANTS)
    assert shop.email in file.text
    assert [web.get(path).status_code for path in (place, f"{place}/file")] == [401, 401]

    wrong = web.post("/v1/me/erasure", headers=mine, json={"password": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "users.bad_credentials")
    leaving = web.post("/v1/me/erasure", headers=mine, json={"password": PASSWORD})
    assert (leaving.status_code, leaving.headers["Location"]) == (202, f"/v1/erasures/{leaving.json()['id']}")
    wait_until(lambda: web.get(leaving.headers["Location"]).json()["status"] == "erased")
    assert web.post("/v1/sessions", json={"email": shop.email, "password": PASSWORD}).status_code == 401
    assert web.get("/v1/erasures/nobody").status_code == 404


def test_over_http_an_operator_has_a_customer_erased_who_asked_by_letter(shop, web):
    tokens = web.post("/v1/sessions", json=OPERATOR).json()
    theirs = {"Authorization": f"Bearer {tokens['access_token']}"}
    because = {"reason": "asked by letter"}
    assert web.post(f"/v1/customers/{shop.ann}/erasure", json=because).status_code == 401
    begun = web.post(f"/v1/customers/{shop.ann}/erasure", headers=theirs, json=because)
    assert begun.status_code == 202
    wait_until(lambda: web.get(begun.headers["Location"]).json()["status"] == "erased")
