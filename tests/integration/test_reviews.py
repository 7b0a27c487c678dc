"""An order that risk wants looked at: it waits for staff's word, over a real broker, and for nothing else."""

import uuid
from datetime import timedelta

import pytest

from chassis.db import shift_clock
from services.orders.saga import PLACE_ORDER_1, REVIEW_S
from services.risk.service import RiskService
from tests.sandboxes import wait_until
from tests.shop import running_companies, running_shop

YACHT, PRICE = "YACHT-1", 250_000


@pytest.fixture
def yard(migrated_config, tmp_path):
    """The shop with an article that risk always wants looked at, and a customer with one in the cart."""
    with (
        running_companies(tmp_path) as companies,
        running_shop(migrated_config, *companies, risk_expire_every_s=0.2) as shop,
    ):
        shop.sell(YACHT, PRICE, stock=10)
        shop.buyer = shop.customer((YACHT, 1))
        yield shop


def reviews(shop, order_id, state="open"):
    return [each for each in shop.rpc.risk.reviews(state)["items"] if each["subject_id"] == order_id]


def waiting(shop):
    """An order that waits for staff, and its review."""
    placed = shop.place(shop.buyer)

    def look():
        order = shop.rpc.orders.get(placed["id"])
        return order if order["review"] and reviews(shop, order["id"]) else None

    order = wait_until(look)
    return order, reviews(shop, order["id"])[0]


def decide(shop, review, word):
    shop.rpc.risk.claim(review["id"], key=uuid.uuid4().hex)
    getattr(shop.rpc.risk, word)(review["id"], "I looked at it.", key=uuid.uuid4().hex)


def assert_all_is_given_back(shop, order, code):
    assert (order["status"], order["reason_code"], order["payment"]["status"]) == ("rejected", code, "none")
    assert order["review"]
    assert shop.stock(YACHT) == (10, 0, 0)
    assert shop.movements() == []
    assert shop.mails(1) == {"order_rejected": 1}
    kept = shop.rpc.risk.screenings(order["id"])
    assert [each["screening"]["decision"] for each in kept] == ["review"]
    assert "I looked at it." not in str(order["timeline"])


def test_an_order_in_review_is_pending_holds_its_units_and_charges_nothing(yard):
    order, review = waiting(yard)
    assert (order["status"], order["payment"]["status"]) == ("pending", "none")
    assert yard.stock(YACHT) == (9, 1, 0)
    assert yard.movements() == []
    assert [each["rule"] for each in review["reasons"]] == ["amount_large"]
    assert yard.rpc.orders.saga_health()["running"] == 0


def test_an_approved_order_goes_on_and_is_charged_once(yard):
    order, review = waiting(yard)
    decide(yard, review, "approve")
    ended = yard.ended(order["id"])
    total = order["totals"]["total"]["amount"]
    assert (ended["status"], ended["payment"]["status"], ended["review"]) == ("confirmed", "captured", True)
    assert yard.movements() == [("authorize", total), ("capture", total)]
    assert yard.stock(YACHT) == (9, 0, 1)
    assert yard.mails(1) == {"order_confirmed": 1}
    steps = [each["step"] for each in ended["timeline"]]
    assert steps.index("assess_risk") < steps.index("review") < steps.index("authorize_payment")


def test_a_refused_order_is_rejected_and_everything_is_given_back(yard):
    order, review = waiting(yard)
    decide(yard, review, "refuse")
    assert_all_is_given_back(yard, yard.ended(order["id"]), "orders.review_refused")


def test_an_order_that_nobody_decides_on_in_time_is_rejected(yard):
    order, _ = waiting(yard)
    shift_clock(timedelta(seconds=yard.config["risk_review_s"] + 1))
    assert_all_is_given_back(yard, yard.ended(order["id"]), "orders.review_refused")
    assert [each["reason"] for each in reviews(yard, order["id"], "expired")] == ["Nobody decided in time."]


def test_an_order_whose_review_is_never_heard_of_is_rejected_by_itself(yard):
    order, _ = waiting(yard)
    yard.stop("risk")
    shift_clock(timedelta(seconds=REVIEW_S + 5))
    ended = wait_until(lambda: _with(yard, order["id"], "rejecting"))
    assert yard.movements() == []
    assert ended["payment"]["status"] == "none"


def test_an_order_in_review_can_be_cancelled_and_its_review_is_closed(yard):
    order, review = waiting(yard)
    yard.rpc.orders.cancel(order["id"], "changed my mind", key="c")
    ended = wait_until(lambda: _with(yard, order["id"], "cancelled"))
    assert ended["payment"]["status"] == "none"
    assert yard.stock(YACHT) == (10, 0, 0)
    assert yard.movements() == []
    assert [each["id"] for each in reviews(yard, order["id"], "closed")] == [review["id"]]


def _with(shop, order_id, status):
    order = shop.rpc.orders.get(order_id)
    return order if order["status"] == status else None


def without_risk(shop, buyer):
    """How an order ends that is placed when no instance of risk is there."""
    shop.stop("risk")
    placed = shop.place(buyer)
    wait_until(lambda: any(each["outcome"] == "unknown" for each in shop.rpc.orders.get(placed["id"])["timeline"]))
    shift_clock(timedelta(seconds=31))
    return placed["id"]


def test_a_small_order_goes_on_when_risk_does_not_answer_and_its_timeline_says_so(yard):
    yard.sell("BUOY-1", 1_000, stock=10)
    ended = yard.ended(without_risk(yard, yard.customer(("BUOY-1", 1))))
    assert (ended["status"], ended["payment"]["status"], ended["review"]) == ("confirmed", "captured", False)
    said = [each["detail"] for each in ended["timeline"] if each["outcome"] == "given_up"]
    assert said == ["Risk does not answer: open for this amount."]
    assert yard.stock("BUOY-1") == (9, 0, 1)


def test_a_large_order_is_given_up_when_risk_does_not_answer_and_its_timeline_says_so(yard, container_factory):
    order_id = without_risk(yard, yard.buyer)
    order = wait_until(lambda: _with(yard, order_id, "rejecting"))
    assert yard.movements() == []
    said = [(each["step"], each["detail"]) for each in order["timeline"] if each["outcome"] == "refused"]
    assert said == [("assess_risk", "orders.not_screened: Risk does not answer: closed for this amount.")]
    container_factory(RiskService, yard.config).start()
    ended = yard.ended(order_id)
    assert (ended["status"], ended["reason_code"]) == ("rejected", "orders.not_screened")
    assert yard.stock(YACHT) == (10, 0, 0)
    assert yard.mails(1) == {"order_rejected": 1}
    assert yard.rpc.risk.screenings(order_id) == []


def test_a_saga_of_the_version_before_reviews_ends_without_one(yard, monkeypatch):
    monkeypatch.setattr("services.orders.service.PLACE_ORDER", PLACE_ORDER_1)
    ended = yard.ended(yard.place(yard.buyer)["id"])
    assert (ended["status"], ended["review"]) == ("confirmed", True)
    assert yard.rpc.risk.reviews("open")["items"] == []
    assert yard.rpc.risk.get(ended["id"])["decision"] == "review"
