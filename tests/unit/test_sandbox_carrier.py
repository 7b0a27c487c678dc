"""The carrier's rules, without a socket."""

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from sandbox.carrier import Carrier
from sandbox.hooks import Hooks

BERLIN = {"name": "Ada", "line1": "Street 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}


class Depot:
    def __init__(self, db: Path) -> None:
        self.at = 1_700_000_000.0
        self.app = Carrier(str(db), Hooks("http://127.0.0.1:9/", "s", 1.0), now=lambda: self.at)
        self.client = Client(self.app)

    def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = self.client.post(path, json=body)
        return answer.status_code, answer.get_json()

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        answer = self.client.get(path)
        return answer.status_code, answer.get_json()

    def book(self, key: str = "s1:book", country: str = "DE") -> tuple[int, dict[str, Any]]:
        return self.post("/bookings", key=key, address=BERLIN | {"country": country}, reference="order-1", parcels=1)

    def tell_hooks(self) -> list[str]:
        rows = self.app.db.execute(
            "SELECT json_extract(body, '$.data.status', '$.data.sequence') FROM hooks ORDER BY id"
        )
        return [row[0] for row in rows]


@pytest.fixture
def depot(tmp_path: Path):
    depot = Depot(tmp_path / "carrier.db")
    yield depot
    depot.app.db.close()


@pytest.mark.parametrize(
    ("country", "items", "weight", "amount"),
    [
        ("DE", 1, None, 490),
        ("DE", 3, 5000, 590),
        ("FR", 2, None, 1090),
        ("US", 1, 5001, 2070),
        ("US", 1, 7000, 2150),
    ],
)
def test_a_quote_goes_by_zone_items_and_started_kilograms_over_five(
    depot: Depot, country: str, items: int, weight: int | None, amount: int
) -> None:
    status, quote = depot.post("/quotes", address=BERLIN | {"country": country}, items=items, weight=weight)
    assert (status, quote["serviceable"], quote["price"]) == (200, True, {"amount": amount, "currency": "EUR"})
    assert quote["expires_at"] == "2023-11-14T22:43:20.000Z"


def test_country_xx_is_neither_quoted_nor_booked(depot: Depot) -> None:
    for status, body in (depot.post("/quotes", address=BERLIN | {"country": "XX"}, items=1), depot.book(country="XX")):
        assert (status, body["code"]) == (422, "not_serviceable")
    assert depot.get("/bookings")[1]["items"] == []


def test_a_booking_is_made_once_for_its_key(depot: Depot) -> None:
    status, booked = depot.book()
    assert (status, booked["status"], booked["sequence"]) == (201, "booked", 1)
    assert depot.book() == (201, booked)
    assert depot.book(country="FR")[1]["code"] == "key_reused"
    assert [item["tracking"] for item in depot.get("/bookings")[1]["items"]] == [booked["tracking"]]
    assert depot.get("/bookings/s1:book") == depot.get(f"/parcels/{booked['tracking']}") == (200, booked)


def test_a_cancellation_before_its_booking_is_remembered_and_the_late_one_refused(depot: Depot) -> None:
    assert depot.get("/bookings/s1:book")[1]["code"] == "not_found"
    assert depot.post("/cancellations", key="s1:book") == (200, {"key": "s1:book", "status": "cancelled"})
    status, body = depot.book()
    assert (status, body["code"]) == (409, "cancelled")
    assert depot.get("/bookings/s1:book")[1]["status"] == "cancelled"
    assert depot.get("/bookings")[1]["items"] == []


def test_a_booking_can_be_cancelled_again_and_again_until_it_is_handed_over(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    assert depot.post("/cancellations", key="s1:book")[0] == depot.post("/cancellations", key="s1:book")[0] == 200
    assert depot.get(f"/parcels/{tracking}")[1]["status"] == "cancelled"
    assert depot.post(f"/parcels/{tracking}/advance")[1]["code"] == "cancelled"
    other = depot.book("s2:book")[1]["tracking"]
    depot.post(f"/parcels/{other}/advance")
    status, body = depot.post("/cancellations", key="s2:book")
    assert (status, body["code"]) == (409, "handed_over")
    assert depot.get(f"/parcels/{other}")[1]["status"] == "handed_over"


def hold(depot: Depot, key: str = "h", booking_key: str = "s1:book") -> tuple[int, dict[str, Any]]:
    return depot.post("/holds", key=key, booking_key=booking_key)


def amend(depot: Depot, country: str = "FR", key: str = "a") -> tuple[int, dict[str, Any]]:
    body = {"key": key, "booking_key": "s1:book", "address": BERLIN | {"country": country, "city": "Paris"}}
    return depot.post("/amendments", **body, parcels=2)


def test_a_held_parcel_is_not_handed_over_until_every_hold_is_released(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    status, held = hold(depot, "h1")
    assert (status, held["on_hold"], held["status"]) == (201, True, "booked")
    assert hold(depot, "h1") == (201, held)
    hold(depot, "h2")
    for key in ("h1", "h2"):
        status, body = depot.post(f"/parcels/{tracking}/advance")
        assert (status, body["code"]) == (409, "on_hold")
        for _ in range(2):
            assert depot.post("/releases", key=key) == (200, {"key": key, "status": "released"})
    assert depot.post(f"/parcels/{tracking}/advance")[1]["status"] == "handed_over"
    assert depot.tell_hooks() == ['["handed_over",2]']


def test_a_release_before_its_hold_is_remembered_and_the_late_one_refused(depot: Depot) -> None:
    depot.book()
    assert depot.post("/releases", key="h")[0] == 200
    status, body = hold(depot)
    assert (status, body["code"]) == (409, "released")
    assert depot.get("/bookings/s1:book")[1]["on_hold"] is False


def test_only_a_parcel_that_is_here_is_held_or_amended_and_the_refusal_stays(depot: Depot) -> None:
    assert (hold(depot, "early")[1]["code"], amend(depot, key="early-a")[1]["code"]) == ("not_booked", "not_booked")
    tracking = depot.book()[1]["tracking"]
    assert (hold(depot, "early")[1]["code"], amend(depot, key="early-a")[1]["code"]) == ("not_booked", "not_booked")
    depot.post(f"/parcels/{tracking}/advance")
    assert (hold(depot)[1]["code"], amend(depot)[1]["code"]) == ("handed_over", "handed_over")
    parcel = depot.get(f"/parcels/{tracking}")[1]
    assert (parcel["on_hold"], parcel["address"]["city"]) == (False, "Berlin")


def test_a_held_parcel_can_be_cancelled_and_then_neither_held_nor_amended(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    hold(depot, "h1")
    depot.post("/cancellations", key="s1:book")
    assert depot.get(f"/parcels/{tracking}")[1]["on_hold"] is False
    assert (hold(depot, "h2")[1]["code"], amend(depot)[1]["code"]) == ("cancelled", "cancelled")


def test_an_amendment_changes_the_address_once_and_ends_the_hold(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    hold(depot, "h1")
    status, amended = amend(depot)
    assert (status, amended["address"]["city"], amended["parcels"], amended["on_hold"]) == (200, "Paris", 2, False)
    hold(depot, "h2")
    assert amend(depot) == (200, amended)
    assert amend(depot, "IT")[1]["code"] == "key_reused"
    assert amend(depot, "XX", "a2")[1]["code"] == "not_serviceable"
    (listed,) = depot.get("/bookings")[1]["items"]
    assert (listed["address"]["country"], listed["on_hold"], listed["tracking"]) == ("FR", True, tracking)


def test_a_parcel_moves_one_state_at_a_time_and_no_further_than_delivered(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    moves = [depot.post(f"/parcels/{tracking}/advance") for _ in range(4)]
    assert [(status, body.get("status")) for status, body in moves[:3]] == [
        (200, "handed_over"),
        (200, "in_transit"),
        (200, "delivered"),
    ]
    assert (moves[3][0], moves[3][1]["code"]) == (409, "delivered")
    assert depot.tell_hooks() == ['["handed_over",2]', '["in_transit",3]', '["delivered",4]']
    assert depot.post("/parcels/RT0/advance")[0] == 404


def test_an_advance_with_a_key_moves_the_parcel_once(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    first = depot.post(f"/parcels/{tracking}/advance", key="adv-1")
    assert depot.post(f"/parcels/{tracking}/advance", key="adv-1") == first
    assert depot.get(f"/parcels/{tracking}")[1]["status"] == "handed_over"
    assert len(depot.tell_hooks()) == 1


class Enough(BaseException):
    """Ends the carrier's endless loop from inside its pause."""


def test_parcels_move_by_themselves_only_after_they_have_rested(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    seen: list[str] = []

    def pause(seconds: float) -> None:
        seen.append(depot.get(f"/parcels/{tracking}")[1]["status"])
        depot.at += 3.0
        if len(seen) == 8:
            raise Enough

    depot.app.sleep = pause
    with pytest.raises(Enough):
        depot.app.move_on_every(5.0)
    road = ["booked"] * 2 + ["handed_over"] * 2 + ["in_transit"] * 2 + ["delivered"] * 2
    assert seen == road


def test_a_held_parcel_does_not_move_by_itself_until_it_is_released(depot: Depot) -> None:
    tracking = depot.book()[1]["tracking"]
    hold(depot)
    seen: list[str] = []

    def pause(seconds: float) -> None:
        seen.append(depot.get(f"/parcels/{tracking}")[1]["status"])
        depot.at += 6.0
        if len(seen) == 3:
            depot.post("/releases", key="h")
        if len(seen) == 4:
            raise Enough

    depot.app.sleep = pause
    with pytest.raises(Enough):
        depot.app.move_on_every(5.0)
    assert seen == ["booked", "booked", "booked", "handed_over"]


def test_an_address_without_a_city_is_refused_with_the_fields_name(depot: Depot) -> None:
    address = {name: value for name, value in BERLIN.items() if name != "city"}
    status, body = depot.post("/quotes", address=address, items=1)
    assert (status, body["code"], "city" in body["message"]) == (422, "invalid", True)
