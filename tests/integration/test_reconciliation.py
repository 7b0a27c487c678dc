"""Repair by reconciliation between the real services and the real companies."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis.db import shift_clock
from chassis.errors import ServiceError
from chassis.outside import OutsideClient
from chassis.types import Money
from contracts.common import Address
from services.payments.adapters import AcquirerClient
from services.shipping.adapters import CarrierClient
from tests.sandboxes import wait_until
from tests.shop import ADDRESS, Shop, in_green_threads, running_companies, running_shop

LAMP = "LAMP-1"
SETTLED = timedelta(minutes=10)
TWENTY = Money(amount=2000, currency="EUR")


@pytest.fixture
def lamps(shop: Shop) -> Shop:
    shop.sell(LAMP, 1999, stock=10)
    return shop


def authorize_by_hand(shop: Shop, key: str) -> None:
    AcquirerClient(OutsideClient("acquirer", shop.acquirer.url, 5.0)).authorize(key, TWENTY, "tok_visa", "o-unknown")


def settled(shop: Shop, times: int = 1) -> Any:
    """What a run does once everything is old enough to count."""
    shift_clock(times * SETTLED)
    return shop.rpc.orders.repair()


def subjects(found: list[dict[str, Any]]) -> list[str]:
    return sorted(each["subject"] for each in found)


def test_what_nobody_owns_is_voided_or_becomes_one_incident_and_orders_are_left_alone(lamps: Shop) -> None:
    order = lamps.ended(lamps.place(lamps.customer((LAMP, 2)))["id"])
    sold = [("authorize", order["totals"]["total"]["amount"]), ("capture", order["totals"]["total"]["amount"])]
    authorize_by_hand(lamps, "orphan")
    lamps.rpc.inventory.reserve("o-unknown", [{"sku": LAMP, "quantity": 1}], key="by-hand")
    carrier = CarrierClient(OutsideClient("carrier", lamps.carrier.url, 5.0))
    carrier.book("strange", Address(**ADDRESS), "o-unknown")

    first = settled(lamps)
    assert subjects(first["mended"]) == ["authorize orphan"]
    assert subjects(first["incidents"]) == ["booking strange", "reservation o-unknown"]
    assert lamps.movements() == [*sold, ("authorize", 2000), ("void", 2000)]
    assert lamps.stock(LAMP) == (7, 1, 2)

    again = settled(lamps, 2)
    assert (again["mended"], again["unasked"]) == ([], [])
    seen = [(each["subject"], each["first_seen"]) for each in again["incidents"]]
    assert sorted(seen) == sorted((each["subject"], each["first_seen"]) for each in first["incidents"])
    assert subjects(lamps.rpc.orders.incidents("mended")) == ["authorize orphan"]
    assert lamps.movements() == [*sold, ("authorize", 2000), ("void", 2000)]

    carrier.cancel("strange")
    lamps.rpc.inventory.release("o-unknown", [{"sku": LAMP, "quantity": 1}], key="by-hand")
    assert settled(lamps, 3)["incidents"] == []
    assert subjects(lamps.rpc.orders.incidents("gone")) == ["booking strange", "reservation o-unknown"]
    assert lamps.rpc.orders.get(order["id"])["status"] == "confirmed"


def test_two_runs_at_once_void_an_authorisation_once(lamps: Shop) -> None:
    authorize_by_hand(lamps, "orphan")
    shift_clock(SETTLED)

    def run() -> Any:
        try:
            return subjects(lamps.client.call("orders", "repair", {})["mended"])
        except ServiceError as exc:
            return exc.code

    ends = in_green_threads([run, run])
    assert ["authorize orphan"] in ends
    assert all(end in (["authorize orphan"], [], "orders.repair_running") for end in ends)
    assert ends.count(["authorize orphan"]) == 1
    assert lamps.movements() == [("authorize", 2000), ("void", 2000)]


def test_it_is_done_in_turn_without_being_asked_for(migrated_config: dict[str, Any], tmp_path: Path) -> None:
    often = {"repair_interval_s": 0.5, "repair_settle_s": 0}
    with running_companies(tmp_path) as companies, running_shop(migrated_config, *companies, **often) as shop:
        authorize_by_hand(shop, "orphan")
        wait_until(lambda: shop.movements() == [("authorize", 2000), ("void", 2000)])
        wait_until(lambda: subjects(shop.rpc.orders.incidents("mended")) == ["authorize orphan"])


def test_a_parcel_whose_calls_were_lost_is_taken_up_and_its_order_follows(lamps: Shop) -> None:
    """The carrier of this test calls nobody."""
    order = lamps.ended(lamps.place(lamps.customer((LAMP, 1)))["id"])
    carrier = CarrierClient(OutsideClient("carrier", lamps.carrier.url, 5.0))
    for _ in range(3):
        carrier.advance(order["shipment"]["tracking"])
    assert lamps.rpc.orders.get(order["id"])["status"] == "confirmed"
    mended = settled(lamps)["mended"]
    assert [(each["kind"], each["order_id"]) for each in mended] == [("parcel", order["id"])]
    assert lamps.mails(3) == {"order_confirmed": 1, "order_shipped": 1, "order_delivered": 1}
    assert lamps.rpc.orders.get(order["id"])["status"] == "delivered"
